//! The store beside the bare disk.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::store::Store;
use shared::store::conformance::Sample;
use shared::store::journal::JournalStore;
use shared::time::{Clock, SystemClock, Timestamp};

use crate::process::resident_mb;
use crate::stats::{Samples, figure, heading};

/// Prints the store's figures.
pub fn run(seconds: f64) -> io::Result<()> {
    heading("store");
    let disk = raw_syncs_per_second(seconds.min(1.0))?;
    figure("baseline: append 400 B and fdatasync, one writer", disk, "/s", "");
    for writers in [1, 16, 256] {
        let rate = commits_per_second(writers, seconds)?;
        figure(
            &format!("commits per second, {writers} writers"),
            rate,
            "/s",
            &format!("{:.1} × the baseline", rate / disk),
        );
    }
    let mut lag = follower_lag(2000)?;
    figure("committed → seen by a follower, p50", lag.quantile(0.5), "µs", "");
    figure("committed → seen by a follower, p99", lag.quantile(0.99), "µs", "");
    for grants in [1_000, 100_000] {
        let before = resident_mb(std::process::id());
        let (time, store) = load(grants)?;
        figure(
            &format!("opening a store of {grants} live grants"),
            time.as_secs_f64() * 1000.0,
            "ms",
            "3 commits a grant",
        );
        figure("  resident memory for it", resident_mb(std::process::id()) - before, "MB", "");
        drop(store);
    }
    Ok(())
}

fn open(folder: &Path) -> io::Result<JournalStore> {
    JournalStore::open(folder, Arc::new(SystemClock)).map_err(io::Error::other)
}

/// The disk's own rate: 400 bytes appended and synced, again and again.
pub fn raw_syncs_per_second(seconds: f64) -> io::Result<f64> {
    let folder = tempfile::tempdir()?;
    let mut file = File::create(folder.path().join("raw"))?;
    let begun = Instant::now();
    let mut count = 0.0;
    while begun.elapsed().as_secs_f64() < seconds {
        file.write_all(&[b'x'; 400])?;
        file.sync_data()?;
        count += 1.0;
    }
    Ok(count / begun.elapsed().as_secs_f64())
}

fn commits_per_second(writers: usize, seconds: f64) -> io::Result<f64> {
    let folder = tempfile::tempdir()?;
    let store = open(folder.path())?;
    let now = SystemClock.now();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let begun = Instant::now();
    let mut count = 0.0;
    while begun.elapsed().as_secs_f64() < seconds {
        let commits: Vec<_> = (0..writers).map(|_| store.commit(Sample::new(now).known())).collect();
        for commit in commits {
            runtime.block_on(commit).map_err(io::Error::other)?;
            count += 1.0;
        }
    }
    Ok(count / begun.elapsed().as_secs_f64())
}

/// How long after a commit's answer a follower that is only woken by the folder's events knows of it.
fn follower_lag(commits: usize) -> io::Result<Samples> {
    let folder = tempfile::tempdir()?;
    let store = open(folder.path())?;
    let follower = JournalStore::follow(folder.path(), Arc::new(SystemClock));
    let mut changed = follower.changed();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(changed.changed()).map_err(io::Error::other)?;
    let mut lag = Samples::default();
    for _ in 0..commits {
        changed.mark_unchanged();
        store.commit_blocking(Sample::new(Timestamp(1)).known()).map_err(io::Error::other)?;
        let committed = Instant::now();
        runtime.block_on(changed.changed()).map_err(io::Error::other)?;
        lag.add(committed.elapsed());
    }
    Ok(lag)
}

fn load(grants: usize) -> io::Result<(Duration, JournalStore)> {
    let folder = tempfile::tempdir()?;
    fill(&open(folder.path())?, grants)?;
    let begun = Instant::now();
    let store = open(folder.path())?;
    Ok((begun.elapsed(), store))
}

fn fill(store: &JournalStore, grants: usize) -> io::Result<()> {
    let now = SystemClock.now();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for start in (0..grants).step_by(256) {
        let samples: Vec<_> = (start..grants.min(start + 256)).map(|_| Sample::new(now)).collect();
        for step in [Sample::known, Sample::approved, Sample::redeemed] {
            let commits: Vec<_> = samples.iter().map(|sample| store.commit(step(sample))).collect();
            commits.into_iter().try_for_each(|commit| runtime.block_on(commit)).map_err(io::Error::other)?;
        }
    }
    Ok(())
}
