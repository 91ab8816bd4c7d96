//! Figures for `docs/FIGURES.md`: each from one run, each beside a baseline measured in the same run.
//!
//! `cargo run --release -p benches -- all` builds nothing but itself: build the binaries first with
//! `cargo build --release --workspace`.

mod compaction;
mod follower;
mod growth;
mod http;
mod logins;
mod memory;
mod population;
mod process;
mod reference;
mod revocation;
mod service;
mod stats;
mod stdio;
mod store;
mod wrap;

use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::population::{Contents, Layout};
use crate::stats::heading;

/// Measures the programs on this machine, over loopback and pipes.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
    /// Seconds that each window lasts.
    #[arg(long, global = true, default_value_t = 2.0)]
    seconds: f64,
    /// Print JSON, one figure a line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// The authorization service: flows per second, CPU and latency of a flow, start-up, memory.
    Service,
    /// The stdio server beside a bare line echo: round trip, throughput, start-up, memory.
    Stdio,
    /// The store beside the bare disk and a file rewritten whole: commits per second, how late a follower is.
    Store {
        /// How many live grants.
        #[arg(long, value_delimiter = ',', default_value = "1000,100000")]
        sizes: Vec<u64>,
    },
    /// What a store of a given size takes in memory, and to open.
    Memory {
        /// How many clients and grants.
        #[arg(long, value_delimiter = ',', default_value = "10000,100000")]
        sizes: Vec<u64>,
    },
    /// Flows per second with many stored clients, beside an empty store.
    Growth {
        /// How many clients.
        #[arg(long, value_delimiter = ',', default_value = "100000")]
        sizes: Vec<u64>,
    },
    /// The token endpoint while four people sign in at once, beside the same without them.
    Logins,
    /// How long anybody waits while a store is compacted.
    Compaction {
        /// How many live grants.
        #[arg(long, value_delimiter = ',', default_value = "100000")]
        sizes: Vec<u64>,
    },
    /// From a revocation to the servers that run: refused, told, hidden.
    Revocation {
        /// How many grants are given and taken back.
        #[arg(long, default_value_t = 200)]
        rounds: usize,
    },
    /// All of them.
    All,
    /// Follows a store and says what it sees, for `store`.
    #[command(hide = true)]
    Follow {
        /// Its folder.
        store: PathBuf,
        /// `woken` or `asked`.
        way: String,
    },
    /// Writes a made-up store: live grants, or clients only.
    MakeStore {
        /// Its folder.
        store: PathBuf,
        /// How many.
        #[arg(long, default_value_t = 100_000)]
        count: u64,
        /// Clients that registered themselves, and nothing else.
        #[arg(long)]
        clients: bool,
        /// As it was committed, and not as after a compaction.
        #[arg(long)]
        journal: bool,
    },
    /// Opens a store and says what it took, for `memory`.
    #[command(hide = true)]
    OpenStore {
        /// Its folder.
        store: PathBuf,
    },
    /// A wrapped server beside the same server bare: what is added to a call, to the start, in memory
    Wrap,
    /// The baseline of `stdio`: sends every line back.
    #[command(hide = true)]
    LineEcho,
    /// The baseline of `wrap`: a server with one tool.
    #[command(hide = true)]
    McpEcho,
}

fn main() -> io::Result<()> {
    let cli = Cli::parse();
    if cli.json {
        stats::print_json();
    }
    match cli.what {
        What::Service => service::run(cli.seconds),
        What::Stdio => stdio::run(cli.seconds),
        What::Store { sizes } => store::run(&sizes, cli.seconds),
        What::Memory { sizes } => memory::run(&sizes),
        What::OpenStore { store } => memory::open_here(&store),
        What::Growth { sizes } => growth::run(&sizes, cli.seconds),
        What::Logins => logins::run(cli.seconds),
        What::Compaction { sizes } => {
            heading("compaction");
            sizes.into_iter().try_for_each(compaction::run)
        }
        What::Revocation { rounds } => revocation::run(rounds),
        What::Follow { store, way } => follower::follow(&store, &way),
        What::MakeStore { store, count, clients, journal } => {
            let contents = if clients { Contents::Clients } else { Contents::Grants };
            let layout = if journal { Layout::Journal } else { Layout::Snapshot };
            population::write(&store, contents, layout, count)
        }
        What::All => {
            store::run(&[1_000, 100_000], cli.seconds.min(1.0))?;
            heading("compaction");
            compaction::run(100_000)?;
            memory::run(&[100_000])?;
            service::run(cli.seconds)?;
            logins::run(cli.seconds.max(5.0))?;
            growth::run(&[100_000], cli.seconds)?;
            stdio::run(cli.seconds)?;
            wrap::run(cli.seconds)?;
            revocation::run(200)
        }
        What::Wrap => wrap::run(cli.seconds),
        What::LineEcho => line_echo(),
        What::McpEcho => wrap::serve(),
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
