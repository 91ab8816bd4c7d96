//! The store beside the bare disk.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use shared::store::Store;
use shared::store::conformance::Sample;
use shared::store::journal::JournalStore;
use shared::time::{Clock, SystemClock, Timestamp};

use crate::follower;
use crate::population::{self, Contents, Layout};
use crate::reference::Reference;
use crate::stats::{Samples, figure, heading};

/// Prints the store's figures.
pub fn run(sizes: &[u64], seconds: f64) -> io::Result<()> {
    heading("store");
    let disk = raw_syncs_per_second(seconds.min(1.0))?;
    figure("baseline: append 400 B and fdatasync, one writer", disk, "/s", "");
    for &grants in sizes {
        let whole = rewrites_per_second(grants, seconds.min(1.0))?;
        figure(
            &format!("baseline: whole file rewritten, {grants} grants"),
            whole,
            "/s",
            "without making its text, one writer",
        );
        let reference = Reference::with(grants)?;
        for writers in [1, 16, 256] {
            let (redb, mut theirs) = reference.commits(writers, seconds.min(1.0))?;
            let at = format!("{grants} live grants, {writers} writers");
            figure(&format!("baseline: redb, {at}"), redb, "/s", "who waits shares a transaction, nobody is woken");
            tail(&format!("baseline: redb, {at}"), &mut theirs);
            let (rate, mut ours) = commits(grants, writers, seconds)?;
            let note = format!(
                "{:.1} × the disk, {:.1} × redb, {:.0} × the rewriting",
                rate / disk,
                rate / redb,
                rate / whole
            );
            figure(&format!("commits, {at}"), rate, "/s", &note);
            tail(&format!("commits, {at}"), &mut ours);
        }
    }
    let mut lag = follower_lag(2000)?;
    figure("committed → seen by a follower of this process, p50", lag.quantile(0.5), "µs", "");
    figure("  p99", lag.quantile(0.99), "µs", "");
    follower::run(2000)?;
    Ok(())
}

fn tail(of: &str, samples: &mut Samples) {
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        figure(&format!("{of}, {name}"), samples.quantile(share), "µs", "");
    }
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

/// Commits of `writers` that each wait for their answer before the next, on a store of `grants` live grants: how many a
/// second, and how long each took.
fn commits(grants: u64, writers: u64, seconds: f64) -> io::Result<(f64, Samples)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("store");
    population::write(&path, Contents::Grants, Layout::Snapshot, grants)?;
    let store = open(&path)?;
    let now = SystemClock.now();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let begun = Instant::now();
    let samples = runtime.block_on(async {
        let one = async || {
            let mut samples = Samples::default();
            while begun.elapsed().as_secs_f64() < seconds {
                let changes = Sample::new(now).known();
                let start = Instant::now();
                store.commit(changes).await.map_err(io::Error::other)?;
                samples.add(start.elapsed());
            }
            Ok::<_, io::Error>(samples)
        };
        let mut all = Samples::default();
        for samples in futures_util::future::join_all((0..writers).map(|_| one())).await {
            all.append(samples?);
        }
        Ok::<_, io::Error>(all)
    })?;
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let rate = samples.len() as f64 / begun.elapsed().as_secs_f64();
    Ok((rate, samples))
}

/// What rewriting a file of as many records costs, each time whole, with rename and sync: what a store of one JSON file
/// would do for every commit.
fn rewrites_per_second(grants: u64, seconds: f64) -> io::Result<f64> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("store");
    population::write(&path, Contents::Grants, Layout::Snapshot, grants)?;
    let text = std::fs::read(path.join("snapshot.2.jsonl"))?;
    let (begun, mut count) = (Instant::now(), 0.0);
    while count == 0.0 || begun.elapsed().as_secs_f64() < seconds {
        let temporary = folder.path().join("whole.tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&temporary, folder.path().join("whole"))?;
        File::open(folder.path())?.sync_all()?;
        count += 1.0;
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
