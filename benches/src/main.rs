//! Figures for `docs/FIGURES.md`: each from one run, each beside a baseline measured in the same run.
//!
//! `cargo run --release -p benches -- all` builds nothing but itself: build the binaries first with
//! `cargo build --release --workspace`.

mod http;
mod memory;
mod population;
mod process;
mod service;
mod stats;
mod stdio;
mod store;

use std::io::{self, BufRead, Write};
use std::path::PathBuf;

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
    /// What a store of a given size takes in memory, and to open.
    Memory {
        /// How many clients and grants.
        #[arg(long, value_delimiter = ',', default_value = "10000,100000")]
        sizes: Vec<u64>,
    },
    /// All of them.
    All,
    /// Opens a store and says what it took, for `memory`.
    #[command(hide = true)]
    OpenStore {
        /// Its folder.
        store: PathBuf,
    },
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
        What::Memory { sizes } => memory::run(&sizes),
        What::OpenStore { store } => memory::open_here(&store),
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
