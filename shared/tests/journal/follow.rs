//! Following a store that comes, goes and changes (table WAT).

use std::fs;

use shared::state::{Change, RevocationCause};
use shared::store::conformance::Sample;
use shared::store::{Store, StoreError};

use crate::support::{NOW, eventually, folder, follow, journal, live, lives, open};

#[cfg(unix)]
#[test]
fn f_09_a_folder_that_is_moved_away_denies_and_heals() {
    let (_parent, path) = folder();
    let store = open(&path);
    let sample = live(&store);
    let follower = follow(&path);
    eventually("alive", || lives(&follower, &sample).is_ok_and(|lives| lives));
    let away = path.with_file_name("away");
    fs::rename(&path, &away).unwrap();
    assert!(store.commit_blocking(Sample::new(NOW).known()).is_err(), "nothing is committed into the moved folder");
    for reader in [&store, &follower] {
        eventually("denied", || lives(reader, &sample).is_err());
    }
    assert!(!path.exists());
    fs::rename(&away, &path).unwrap();
    for reader in [&store, &follower] {
        eventually("alive again", || lives(reader, &sample).is_ok_and(|lives| lives));
    }
    live(&store);
}

#[test]
fn a_follower_needs_no_store_sees_one_appear_and_every_commit_at_once() {
    let (_parent, path) = folder();
    let follower = follow(&path);
    let unknown = Sample::new(NOW);
    // Its own thread may be looking at this very moment.
    let answer = loop {
        match lives(&follower, &unknown) {
            Err(StoreError::Loading) => std::thread::yield_now(),
            answer => break answer,
        }
    };
    assert!(matches!(answer, Err(StoreError::Absent(_))));
    assert!(!path.exists(), "a follower creates nothing");
    let store = open(&path);
    for _ in 0..50 {
        let sample = live(&store);
        assert!(lives(&follower, &sample).unwrap(), "a grant is in the next answer");
        store
            .commit_blocking(vec![Change::GrantRevoked { grant: sample.grant.id, cause: RevocationCause::User }])
            .unwrap();
        assert!(!lives(&follower, &sample).unwrap(), "a revocation is in the next answer");
    }
}

#[test]
fn a_follower_wakes_those_who_wait() {
    let (_parent, path) = folder();
    let store = open(&path);
    let follower = follow(&path);
    let mut changed = follower.changed();
    changed.mark_unchanged();
    live(&store);
    eventually("a wake-up", || changed.has_changed().unwrap());
}

#[test]
fn wat_03_a_store_that_is_deleted_denies_and_comes_back() {
    let (_parent, path) = folder();
    let store = open(&path);
    let sample = live(&store);
    let follower = follow(&path);
    eventually("alive", || lives(&follower, &sample).is_ok_and(|lives| lives));
    fs::remove_file(journal(&path)).unwrap();
    assert!(matches!(lives(&follower, &sample), Err(StoreError::Absent(_))));
    // F-10: never a silent start on an empty store.
    assert!(store.commit_blocking(Sample::new(NOW).known()).is_err());
    assert!(!journal(&path).exists());
    fs::remove_dir_all(&path).unwrap();
    drop(store);
    let sample = live(&open(&path));
    assert!(lives(&follower, &sample).unwrap());
}

#[test]
fn an_older_copy_put_back_is_noticed() {
    let (_parent, path) = folder();
    let store = open(&path);
    let sample = live(&store);
    let old = fs::read(journal(&path)).unwrap();
    let follower = follow(&path);
    eventually("alive", || lives(&follower, &sample).is_ok_and(|lives| lives));
    store.commit_blocking(vec![Change::GrantRevoked { grant: sample.grant.id, cause: RevocationCause::User }]).unwrap();
    assert!(!lives(&follower, &sample).unwrap());
    let copy = path.join("copy");
    fs::write(&copy, old).unwrap();
    fs::rename(&copy, journal(&path)).unwrap();
    assert!(lives(&follower, &sample).is_err(), "the revoked grant came back to life");
}

#[cfg(unix)]
#[test]
fn wat_06_contents_that_cannot_be_read_are_refused_and_heal() {
    let (_parent, path) = folder();
    let store = open(&path);
    let sample = live(&store);
    let journal = journal(&path);
    let aside = path.join("aside");
    fs::rename(&journal, &aside).unwrap();
    fs::create_dir(&journal).unwrap();
    let follower = follow(&path);
    eventually("refused", || matches!(lives(&follower, &sample), Err(StoreError::Unsafe { .. })));
    fs::remove_dir(&journal).unwrap();
    fs::rename(&aside, &journal).unwrap();
    eventually("alive again", || lives(&follower, &sample).is_ok_and(|lives| lives));
    store.commit_blocking(Sample::new(NOW).known()).unwrap();
}
