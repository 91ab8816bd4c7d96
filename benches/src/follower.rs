//! How late another process is: from a commit's answer to the moment at which it knows.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use shared::store::Store;
use shared::store::conformance::Sample;
use shared::store::journal::JournalStore;
use shared::time::{SystemClock, Timestamp};

use crate::process::{Guarded, command};
use crate::stats::{Samples, figure};

/// Prints the lag of a follower in another process, woken and asked. Both figures hold the way back over a pipe.
pub fn run(commits: usize) -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let store = JournalStore::open(folder.path(), Arc::new(SystemClock)).map_err(io::Error::other)?;
    for (way, name) in [("woken", "woken by the folder's events"), ("asked", "asked, a question and its answer")] {
        let mut lag = lag(&store, folder.path(), way, commits)?;
        figure(&format!("committed → another process knows, {name}, p50"), lag.quantile(0.5), "µs", "");
        figure("  p99", lag.quantile(0.99), "µs", "");
    }
    Ok(())
}

fn lag(store: &JournalStore, folder: &Path, way: &str, commits: usize) -> io::Result<Samples> {
    let mut child = command("bench", ["follow".as_ref(), folder.as_os_str(), way.as_ref()])?;
    let mut child = Guarded(child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    let (Some(mut asked), Some(told)) = (child.0.stdin.take(), child.0.stdout.take()) else {
        return Err(io::Error::other("no pipes"));
    };
    let (mut told, mut line) = (BufReader::new(told), String::new());
    let mut lag = Samples::default();
    // The first line says that it has loaded.
    told.read_line(&mut line)?;
    let mut known = 0;
    store.read(&mut |state| known = clients(state)).map_err(io::Error::other)?;
    for _ in 0..commits {
        store.commit_blocking(Sample::new(Timestamp(1)).known()).map_err(io::Error::other)?;
        known += 1;
        let committed = Instant::now();
        while line.trim().parse() != Ok(known) {
            if way == "asked" {
                asked.write_all(b"\n")?;
            }
            line.clear();
            if told.read_line(&mut line)? == 0 {
                return Err(io::Error::other("the follower ended"));
            }
        }
        lag.add(committed.elapsed());
    }
    Ok(lag)
}

fn clients(state: &shared::state::State) -> usize {
    state.counts().iter().find(|(name, _)| *name == "clients").map_or(0, |(_, count)| *count)
}

/// The other process: says how many clients there are, whenever it is woken, or for each line that it gets.
#[expect(clippy::print_stdout, reason = "what it says is what it is for")]
pub fn follow(folder: &Path, way: &str) -> io::Result<()> {
    let store = JournalStore::follow(folder, Arc::new(SystemClock));
    let mut changed = store.changed();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut questions = io::stdin().lock().lines();
    loop {
        changed.mark_unchanged();
        let mut known = None;
        if store.read(&mut |state| known = Some(clients(state))).is_ok() {
            println!("{}", known.unwrap_or_default());
        }
        if way == "asked" && known.is_some() {
            if questions.next().transpose()?.is_none() {
                return Ok(());
            }
        } else if runtime.block_on(changed.changed()).is_err() {
            return Ok(());
        }
    }
}
