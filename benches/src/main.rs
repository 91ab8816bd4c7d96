//! Figures for `docs/FIGURES.md`: each from one run, each beside a baseline measured in the same run.
//!
//! `cargo run --release -p benches -- all` builds nothing but itself: build the binaries first with
//! `cargo build --release --workspace`.

mod http;
mod process;
mod service;
mod stats;
mod stdio;
mod store;

use std::io::{self, BufRead, Write};

use clap::{Parser, Subcommand};

/// Measures the programs on this machine, over loopback and pipes.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
    /// Seconds that each window lasts.
    #[arg(long, global = true, default_value_t = 2.0)]
    seconds: f64,
}

#[derive(Subcommand)]
enum What {
    /// The authorization service: flows per second, CPU and latency of a flow, start-up, memory.
    Service,
    /// The stdio server beside a bare line echo: round trip, throughput, start-up, memory.
    Stdio,
    /// The store beside the bare disk: commits per second, loading, how late a follower is.
    Store,
    /// All of them.
    All,
    /// The baseline of `stdio`: sends every line back.
    #[command(hide = true)]
    LineEcho,
}

fn main() -> io::Result<()> {
    let cli = Cli::parse();
    match cli.what {
        What::Service => service::run(cli.seconds),
        What::Stdio => stdio::run(cli.seconds),
        What::Store => store::run(cli.seconds),
        What::All => {
            store::run(cli.seconds)?;
            service::run(cli.seconds)?;
            stdio::run(cli.seconds)
        }
        What::LineEcho => line_echo(),
    }
}

fn line_echo() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        output.write_all(&line)?;
        output.flush()?;
        line.clear();
    }
    Ok(())
}
