//! The one word that a follower has to say: committed without a second copy of the store, beside its writers.

use std::sync::Arc;

use shared::scope::Scopes;
use shared::state::{Change, Effect, Tool};
use shared::store::journal::JournalStore;
use shared::store::{CommitError, Store, StoreError};
use shared::time::{ManualClock, Timestamp};
use shared::uri::Resource;

fn announced(server: &str) -> Vec<Change> {
    let tool = Tool {
        name: "whoami".parse().unwrap(),
        title: String::new(),
        effect: Effect::Read,
        scopes: "mcp:tools:read".parse().unwrap(),
        print: None,
    };
    vec![Change::ToolsAnnounced {
        resource: Resource::stdio(server).unwrap(),
        tools: vec![tool],
        scopes: Scopes::default(),
    }]
}

fn knows(store: &JournalStore, server: &str) -> bool {
    let (resource, mut known) = (Resource::stdio(server).unwrap(), false);
    store.read(&mut |state| known = state.announcement(&resource).is_some()).unwrap();
    known
}

/// A follower that has loaded.
fn follower(folder: &std::path::Path, clock: &Arc<ManualClock>) -> JournalStore {
    let store = JournalStore::follow(folder, clock.clone());
    while matches!(store.read(&mut |_| {}), Err(StoreError::Loading)) {
        std::thread::yield_now();
    }
    store
}

#[test]
fn a_followers_word_is_seen_by_writers_and_followers_and_survives_a_restart_and_a_compaction() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp(9)));
    let writer = JournalStore::open(folder.path(), clock.clone()).unwrap();
    let followers: Vec<_> = (0..4).map(|_| follower(folder.path(), &clock)).collect();
    std::thread::scope(|scope| {
        for (n, store) in followers.iter().enumerate() {
            scope.spawn(move || store.commit_once(announced(&format!("s{n}"))).unwrap());
        }
    });
    writer.commit_blocking(announced("writer")).unwrap();
    assert!(writer.compact().unwrap());
    followers[0].commit_once(announced("after")).unwrap();
    for store in followers.iter().chain([&writer]) {
        for server in ["s0", "s1", "s2", "s3", "writer", "after"] {
            assert!(knows(store, server), "{server}");
        }
    }
    drop((followers, writer));
    assert!(knows(&JournalStore::open(folder.path(), clock).unwrap(), "after"));
}

#[test]
fn sto_a_follower_makes_no_store_where_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let store = follower(&nowhere, &Arc::new(ManualClock::at(Timestamp(9))));
    let refused = store.commit_once(announced("a")).unwrap_err();
    assert!(matches!(refused, CommitError::Unavailable(StoreError::Absent(_))), "{refused:?}");
    assert!(!nowhere.exists());
}
