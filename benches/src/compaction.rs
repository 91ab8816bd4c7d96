//! How long anybody waits while a store is compacted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shared::state::Wanted;
use shared::store::Store;
use shared::store::conformance::Sample;
use shared::store::journal::JournalStore;
use shared::time::{Clock, SystemClock};

use crate::population::{self, Contents, Layout};
use crate::process::resident_mb;
use crate::stats::{Samples, figure};

/// Prints the longest waits of a commit and of a question while a store of `grants` live grants is compacted, beside
/// those of the same time before.
pub fn run(grants: u64) -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("store");
    population::write(&path, Contents::Grants, Layout::Snapshot, grants)?;
    let store = JournalStore::open(&path, Arc::new(SystemClock)).map_err(io::Error::other)?;
    let before = resident_mb(std::process::id());
    let mut took = Duration::from_secs(1);
    for (name, compacts) in [("while nothing else happens", false), ("while it is compacted", true)] {
        let done = AtomicBool::new(false);
        let (mut commits, mut questions, peak) = std::thread::scope(|scope| {
            let commits = scope.spawn(|| commits(&store, &done));
            let questions = scope.spawn(|| questions(&store, &done));
            let begun = Instant::now();
            let worked = if compacts {
                store.compact().map(|_| ()).map_err(io::Error::other)
            } else {
                std::thread::sleep(took);
                Ok(())
            };
            took = begun.elapsed();
            let peak = resident_mb(std::process::id());
            done.store(true, Ordering::Release);
            let ended = || io::Error::other("a thread ended");
            worked?;
            Ok::<_, io::Error>((commits.join().map_err(|_| ended())??, questions.join().map_err(|_| ended())??, peak))
        })?;
        figure(&format!("{grants} grants, {name}: longest commit"), commits.quantile(1.0) / 1000.0, "ms", "");
        figure("  commit p99", commits.quantile(0.99) / 1000.0, "ms", &format!("{} commits", commits.len()));
        figure("  longest question", questions.quantile(1.0) / 1000.0, "ms", "");
        if compacts {
            figure("  compaction took", took.as_secs_f64() * 1000.0, "ms", "");
            figure("  memory for it", peak - before, "MB", "at its end");
        }
    }
    Ok(())
}

fn commits(store: &JournalStore, done: &AtomicBool) -> io::Result<Samples> {
    let (mut samples, now) = (Samples::default(), SystemClock.now());
    while !done.load(Ordering::Acquire) {
        let changes = Sample::new(now).known();
        let begun = Instant::now();
        store.commit_blocking(changes).map_err(io::Error::other)?;
        samples.add(begun.elapsed());
    }
    Ok(samples)
}

fn questions(store: &JournalStore, done: &AtomicBool) -> io::Result<Samples> {
    let (mut samples, wanted) = (Samples::default(), Wanted::default());
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    while !done.load(Ordering::Acquire) {
        let begun = Instant::now();
        runtime.block_on(store.load(&wanted)).map_err(io::Error::other)?;
        samples.add(begun.elapsed());
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(samples)
}
