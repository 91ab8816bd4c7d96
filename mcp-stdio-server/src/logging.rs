//! Logs on stderr: quiet by default, never a token, never a reason to fall over.

use std::io::{self, IsTerminal};

use shared::stderr::Stderr;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// Starts logging: warnings, or what `RUST_LOG` says.
pub fn start() {
    let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| Stderr)
        .with_ansi(color)
        // A closed or full stderr is not worth a panic.
        .log_internal_errors(false);
    // rmcp logs whole requests, and they hold what people say; every refusal as a warning; and a line for each answer
    // that a host no longer takes.
    let private = Targets::new().with_default(LevelFilter::TRACE).with_target("rmcp", LevelFilter::OFF);
    // Building a filter from text takes longer than a start should: only when there is a text.
    let wished = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let started = match wished {
        Some(text) => tracing_subscriber::registry()
            .with(lines.with_filter(private))
            .with(EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).parse_lossy(text))
            .try_init(),
        None => tracing_subscriber::registry().with(lines.with_filter(private)).with(LevelFilter::WARN).try_init(),
    };
    // A second start in one process, in tests: the first one counts.
    drop(started);
    // The default hook prints the panic's message, which may hold an argument.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a bug in this program; the call that met it was answered with an error");
    }));
}
