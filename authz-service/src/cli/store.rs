//! `authz-service store …`: the command line.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::StoreArgs;

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Verify the store: every line's hash, that every commit fits, the snapshot, the keys, and who can read them.
    Check(Look),
    /// Count what is in the store, and what of it has ended; say how large its files are.
    Stats(Look),
    /// Write the store into one file: a backup that `import` reads.
    ///
    /// It holds everything but the private keys (keys.json): no token and no secret, but their hashes and those of
    /// passwords. Keep it as private as the store.
    Export(Export),
    /// Read an export into an empty store, or the clients of another program's store into this one.
    Import(Import),
    /// Keep the readable part of a damaged journal. The damaged one is set aside, never deleted.
    ///
    /// Commits that were acknowledged are given up: restore a backup rather, when there is a recent one. Rights that the
    /// lost lines had ended or used are ended again. Nobody may use the store meanwhile.
    Repair(Repair),
    /// Write the live records into new files now. The service does so by itself when the journal has grown.
    Compact(Look),
}

impl StoreCommand {
    /// Whether the answer is JSON.
    pub fn json(&self) -> bool {
        match self {
            Self::Check(look) | Self::Stats(look) | Self::Compact(look) => look.json,
            Self::Export(export) => export.json,
            Self::Import(import) => import.json,
            Self::Repair(repair) => repair.json,
        }
    }
}

/// Looking at a store.
#[derive(Args, Debug)]
pub struct Look {
    /// Answer with one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// An export.
#[derive(Args, Debug)]
pub struct Export {
    /// The file to write; `-` for standard output.
    pub file: PathBuf,
    /// Leave out every hash, to show the file to somebody. It cannot be imported.
    #[arg(long)]
    pub redacted: bool,
    /// Answer with one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// An import.
#[derive(Args, Debug)]
pub struct Import {
    /// The export to read, or with --from the folder of the other program's store.
    #[arg(value_name = "FILE|DIR")]
    pub source: PathBuf,
    /// The other program whose store is read.
    #[arg(long, value_name = "PROGRAM")]
    pub from: Option<Program>,
    /// Say what would be imported, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Answer with one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Programs whose stores can be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Program {
    /// mcp-auth-poc: its folder .mcp-auth-storage. Clients are taken; tokens and codes are not.
    McpAuthPoc,
}

/// A repair.
#[derive(Args, Debug)]
pub struct Repair {
    /// Say what would be kept and lost, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Answer with one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}
