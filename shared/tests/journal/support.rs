//! What the tests of the file-backed store share.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::state::State;
#[cfg(feature = "failpoints")]
use shared::state::{Change, RevocationCause};
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

/// A folder in memory where the system has such, for tests that sync a thousand times.
pub fn quick_folder() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let folder = parent.path().join("store");
    (parent, folder)
}

/// Commits in the order in which they fit, of `count` authorizations: client and person, consent, tokens, and the
/// revocation of every other.
#[cfg(feature = "failpoints")]
pub fn history(count: usize) -> Vec<Vec<Change>> {
    let steps = |number: usize| {
        let sample = Sample::new(NOW);
        let revoked = vec![Change::GrantRevoked { grant: sample.grant.id, cause: RevocationCause::User }];
        let mut steps = vec![sample.known(), sample.approved(), sample.redeemed()];
        steps.extend((number % 2 == 1).then_some(revoked));
        steps
    };
    (0..count).flat_map(steps).collect()
}

/// The states before, between and after commits.
#[cfg(feature = "failpoints")]
pub fn states(history: &[Vec<Change>]) -> Vec<State> {
    let mut states = vec![State::default()];
    for changes in history {
        let mut state = states.last().unwrap().clone();
        state.apply_all(changes.clone(), NOW).unwrap();
        states.push(state);
    }
    states
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

pub fn whole_state(store: &JournalStore) -> State {
    let mut copy = None;
    store.read(&mut |state| copy = Some(state.clone())).unwrap();
    copy.unwrap()
}
