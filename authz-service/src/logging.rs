//! What the service says while it runs: lines on stderr, as text or as JSON.

use std::io::IsTerminal;

use shared::stderr::Stderr;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::Handle;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::cli::ServeArgs;

/// What is logged when nobody says.
const USUAL: &str = "info,actix_server=warn,actix_http=off";

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// Changes what is logged while the service runs.
pub struct Log(Option<Handle<EnvFilter, Registry>>);

impl Log {
    /// Begins to log. A line that cannot be written is no reason to stop, nor to wait (F-36).
    pub fn start(args: &ServeArgs) -> Self {
        let (filter, handle) = reload::Layer::new(filter(args));
        let colours =
            std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let lines = fmt::layer().with_writer(|| Stderr).with_ansi(colours).log_internal_errors(false);
        let lines = match args.log_format {
            LogFormat::Text => lines.boxed(),
            LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
        };
        // rmcp, behind /mcp, logs whole requests, and they hold what people say.
        let private = Targets::new().with_default(LevelFilter::TRACE).with_target("rmcp", LevelFilter::OFF);
        let lines = lines.with_filter(private);
        // A second logger in one process, as in a test, is no error.
        let started = tracing_subscriber::registry().with(filter).with(lines).try_init();
        Self(started.ok().map(|()| handle))
    }

    /// Logs what `args` say from now on.
    pub fn set(&self, args: &ServeArgs) {
        if let Some(handle) = &self.0 {
            let _ = handle.reload(filter(args));
        }
    }
}

/// A directive that names no level is no reason not to start: it was checked when the settings were read.
fn filter(args: &ServeArgs) -> EnvFilter {
    match &args.log_level {
        Some(directives) => EnvFilter::try_new(directives).ok(),
        None => EnvFilter::try_from_default_env().ok(),
    }
    .unwrap_or_else(|| EnvFilter::new(USUAL))
}

/// Checks a level or a list of directives, such as `debug` or `info,authz_service::http=trace`.
///
/// # Errors
/// In words.
pub fn level(text: &str) -> Result<String, String> {
    // A word alone would be taken for the name of a module, and silence every other one.
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let is_meant = |part: &str| part.contains(['=', '[']) || is_level(part.trim());
    match EnvFilter::try_new(text) {
        Ok(_) if text.split(',').all(is_meant) => Ok(text.to_owned()),
        _ => Err("it takes error, warn, info, debug or trace, or directives as RUST_LOG does".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cfg_06_a_level_is_one_and_a_slip_does_not_silence_the_log() {
        for (text, fits) in [
            ("debug", true),
            ("WARN", true),
            ("info,authz_service::http=trace", true),
            ("off", true),
            ("loud", false),
            ("info,loud", false),
            ("", false),
            ("info,", false),
            ("a=loud", false),
        ] {
            assert_eq!(level(text).is_ok(), fits, "{text}");
        }
    }
}
