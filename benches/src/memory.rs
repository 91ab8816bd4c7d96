//! How much memory and time a store of a given size takes, in a process of its own.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use shared::store::Store;
use shared::store::journal::JournalStore;
use shared::time::SystemClock;

use crate::population::{self, Contents, Layout};
use crate::process::{command, cpu_seconds, resident_mb};
use crate::stats::{figure, heading};

/// What a process that has opened a store says.
#[derive(Deserialize, Serialize)]
pub struct Opened {
    /// From the start of opening to its end.
    pub milliseconds: f64,
    /// User and system time of the same.
    pub cpu_seconds: f64,
    /// Resident memory for it, beyond what the process had before.
    pub megabytes: f64,
    /// How many records were read.
    pub records: usize,
}

/// Prints memory and opening times for stores of these sizes.
pub fn run(sizes: &[u64]) -> io::Result<()> {
    heading("memory");
    for &size in sizes {
        for (contents, layout, name) in [
            (Contents::Clients, Layout::Snapshot, "clients, snapshot"),
            (Contents::Grants, Layout::Snapshot, "live grants, snapshot"),
            (Contents::Grants, Layout::Journal, "live grants, journal of 3 commits a grant"),
        ] {
            let folder = tempfile::tempdir()?;
            let store = folder.path().join("store");
            population::write(&store, contents, layout, size)?;
            let opened = open_elsewhere(&store)?;
            figure(
                &format!("opening {size} {name}"),
                opened.milliseconds,
                "ms",
                &format!("{:.2} CPU-s", opened.cpu_seconds),
            );
            #[expect(clippy::cast_precision_loss, reason = "a count")]
            let each = opened.megabytes * 1_048_576.0 / size as f64;
            figure("  resident memory for it", opened.megabytes, "MB", &format!("{each:.0} bytes each"));
        }
    }
    Ok(())
}

/// Opens a store in another process, which says what it took.
pub fn open_elsewhere(store: &Path) -> io::Result<Opened> {
    let child = command("bench", ["open-store".as_ref(), store.as_os_str()])?.stdout(Stdio::piped()).spawn()?;
    let output = child.wait_with_output()?;
    serde_json::from_slice(&output.stdout).map_err(io::Error::other)
}

/// The other process.
#[expect(clippy::print_stdout, reason = "what it says is what it is for")]
pub fn open_here(store: &Path) -> io::Result<()> {
    let me = std::process::id();
    let (before, cpu, begun) = (resident_mb(me), cpu_seconds(me), Instant::now());
    let opened = JournalStore::open(store, Arc::new(SystemClock)).map_err(io::Error::other)?;
    let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
    let cpu_seconds = cpu_seconds(me) - cpu;
    let megabytes = resident_mb(me) - before;
    let mut records = 0;
    opened.read(&mut |state| records = state.records().count()).map_err(io::Error::other)?;
    println!("{}", serde_json::json!(Opened { milliseconds, cpu_seconds, megabytes, records }));
    Ok(())
}
