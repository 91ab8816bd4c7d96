//! What the tests of the file-backed store share.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::store::conformance::Sample;
use shared::store::journal::JournalStore;
use shared::store::{Store, StoreError};
use shared::time::{ManualClock, Timestamp};
use tempfile::TempDir;

pub const NOW: Timestamp = Timestamp(1_000_000);

pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(NOW))
}

pub fn open(folder: &Path) -> JournalStore {
    JournalStore::open(folder, clock()).unwrap()
}

/// A follower that has looked once.
pub fn follow(folder: &Path) -> JournalStore {
    let follower = JournalStore::follow(folder, clock());
    let nobody = Sample::new(NOW);
    eventually("loaded", || !matches!(lives(&follower, &nobody), Err(StoreError::Loading)));
    follower
}

pub fn folder() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("store");
    (parent, folder)
}

pub fn journal(folder: &Path) -> PathBuf {
    folder.join("journal.1.jsonl")
}

/// Commits a whole authorization.
pub fn live(store: &JournalStore) -> Sample {
    let sample = Sample::new(NOW);
    for changes in [sample.known(), sample.approved(), sample.redeemed()] {
        store.commit_blocking(changes).unwrap();
    }
    sample
}

pub fn lives(store: &dyn Store, sample: &Sample) -> Result<bool, StoreError> {
    runtime().block_on(store.load(&sample.wants_access())).map(|facts| facts.grant_lives())
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// Waits for a condition of another thread or process.
#[track_caller]
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::yield_now();
    }
}

pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn whole_state(store: &JournalStore) -> shared::state::State {
    let mut copy = None;
    store.read(&mut |state| copy = Some(state.clone())).unwrap();
    copy.unwrap()
}
