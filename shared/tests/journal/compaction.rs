//! New generations, beside writers and crashes.

use std::fs;

use shared::store::StoreError;
use shared::store::journal::{JournalStore, inspect};

use crate::support::{clock, folder, follow, journal, live, lives, names, open, whole_state};

#[test]
fn compaction_keeps_every_record_and_one_generation() {
    let (_parent, path) = folder();
    let store = open(&path);
    let follower = follow(&path);
    let old = live(&store);
    store.keys().unwrap();
    let before = whole_state(&store);
    assert!(store.compact().unwrap());
    assert_eq!(names(&path), ["compact.lock", "journal.2.jsonl", "keys.json", "snapshot.2.jsonl", "store.lock"]);
    assert_eq!(whole_state(&store), before);
    let new = live(&store);
    assert!(store.compact().unwrap());
    let newest = live(&store);
    for sample in [&old, &new, &newest] {
        assert!(lives(&follower, sample).unwrap(), "a follower that slept through two generations");
        assert!(lives(&open(&path), sample).unwrap(), "a restart");
    }
    assert_eq!(whole_state(&follower), whole_state(&open(&path)));
}

#[test]
fn of_two_compactors_at_the_same_moment_one_does_it_and_the_store_stays_whole() {
    let (_parent, path) = folder();
    let stores = [open(&path), open(&path)];
    let samples: Vec<_> = (0..100).map(|_| live(&stores[0])).collect();
    for round in 0..30 {
        let barrier = std::sync::Barrier::new(2);
        let compacted: Vec<_> = std::thread::scope(|scope| {
            let compact = |store: &JournalStore| {
                barrier.wait();
                store.compact().unwrap()
            };
            let threads: Vec<_> = stores.iter().map(|store| scope.spawn(move || compact(store))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(compacted.contains(&true), "round {round}");
        live(&stores[round % 2]);
        let reopened = open(&path);
        assert_eq!(whole_state(&reopened).clients().len(), samples.len() + round + 1, "round {round}");
    }
}

#[test]
fn compaction_beside_writers_of_two_handles_loses_nothing() {
    let (_parent, path) = folder();
    let stores = [open(&path), open(&path)];
    let follower = follow(&path);
    std::thread::scope(|scope| {
        let writers: Vec<_> = stores
            .iter()
            .map(|store| {
                let follower = &follower;
                scope.spawn(move || {
                    for _ in 0..200 {
                        let sample = live(store);
                        assert!(lives(follower, &sample).unwrap());
                    }
                })
            })
            .collect();
        let finished = || writers.iter().all(std::thread::ScopedJoinHandle::is_finished);
        let mut compactions = 0;
        while !finished() {
            compactions += u32::from(stores[compactions as usize % 2].compact().unwrap());
            // Compacting without a pause would keep the lock from the writers for seconds.
            let clients = whole_state(&follower).clients().len();
            while !finished() && whole_state(&follower).clients().len() < clients + 20 {
                std::thread::yield_now();
            }
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert!(compactions > 2, "{compactions}");
    });
    let state = whole_state(&open(&path));
    assert_eq!(state.clients().len(), 400);
    assert_eq!(state, whole_state(&follower));
    assert_eq!(state, whole_state(&stores[0]));
}

/// The files of a store as a crash may leave them: `generation` 1 with its successor half made.
#[test]
fn f_02_f_04_a_crash_at_any_step_of_a_compaction_leaves_a_whole_store() {
    let (_parent, path) = folder();
    let store = open(&path);
    let sample = live(&store);
    let old_journal = fs::read(journal(&path)).unwrap();
    let before = whole_state(&store);
    store.compact().unwrap();
    drop(store);
    let new_journal = fs::read(path.join("journal.2.jsonl")).unwrap();
    let snapshot = fs::read(path.join("snapshot.2.jsonl")).unwrap();
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let steps: [&[(&str, Vec<u8>)]; 6] = [
        &[("snapshot.2.jsonl.tmp", half(&snapshot))],
        &[("snapshot.2.jsonl.tmp", snapshot.clone()), ("journal.2.jsonl.tmp", half(&new_journal))],
        &[("snapshot.2.jsonl.tmp", snapshot.clone()), ("journal.2.jsonl.tmp", new_journal.clone())],
        &[("snapshot.2.jsonl", snapshot.clone()), ("journal.2.jsonl.tmp", new_journal.clone())],
        &[("snapshot.2.jsonl", snapshot.clone()), ("journal.2.jsonl", new_journal.clone())],
        &[("keys.json.77.tmp", b"{".to_vec())],
    ];
    for (step, files) in steps.iter().enumerate() {
        for name in names(&path) {
            fs::remove_file(path.join(name)).unwrap();
        }
        fs::write(journal(&path), &old_journal).unwrap();
        for (name, contents) in *files {
            fs::write(path.join(name), contents).unwrap();
        }
        #[cfg(unix)]
        for name in names(&path) {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let store = open(&path);
        assert_eq!(whole_state(&store), before, "step {step}");
        assert!(names(&path).iter().all(|name| !name.ends_with(".tmp")), "step {step}: {:?}", names(&path));
        live(&store);
        assert!(store.compact().unwrap(), "step {step}");
        assert!(lives(&open(&path), &sample).unwrap(), "step {step}");
    }
}

#[test]
fn a_damaged_snapshot_is_named_with_its_line() {
    let (_parent, path) = folder();
    let store = open(&path);
    live(&store);
    store.compact().unwrap();
    drop(store);
    let snapshot = path.join("snapshot.2.jsonl");
    let whole = fs::read(&snapshot).unwrap();
    for at in (0..whole.len()).step_by(11) {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        fs::write(&snapshot, damaged).unwrap();
        let opened = JournalStore::open(&path, clock()).map(|_| ());
        assert!(
            matches!(&opened, Err(StoreError::Damaged { path, .. } | StoreError::Newer { path, .. }) if *path == snapshot),
            "byte {at}: {opened:?}"
        );
    }
    for end in (0..whole.len()).step_by(97) {
        fs::write(&snapshot, &whole[..end]).unwrap();
        assert!(matches!(JournalStore::open(&path, clock()), Err(StoreError::Damaged { .. })), "cut at {end}");
    }
}

#[test]
fn f_10_a_store_that_lost_its_journal_is_not_begun_anew_and_its_snapshot_stays() {
    let (_parent, path) = folder();
    let store = open(&path);
    live(&store);
    assert!(store.compact().unwrap());
    drop(store);
    let (journal, snapshot) = (path.join("journal.2.jsonl"), path.join("snapshot.2.jsonl"));
    let text = fs::read(&journal).unwrap();
    let refused = |left: &std::path::Path| {
        for _ in 0..2 {
            match JournalStore::open(&path, clock()).map(drop) {
                Err(StoreError::Unsafe { path, .. }) => assert_eq!(path, left),
                other => panic!("{other:?}"),
            }
            assert!(matches!(inspect::read(&path, &mut |_, _| {}).map(drop), Err(StoreError::Unsafe { .. })));
        }
        assert!(snapshot.exists() && !path.join("journal.1.jsonl").exists());
    };
    fs::remove_file(&journal).unwrap();
    refused(&snapshot);
    fs::write(&journal, "").unwrap();
    refused(&journal);
    fs::write(&journal, text).unwrap();
    assert_eq!(whole_state(&open(&path)).clients().len(), 1);
}

#[test]
fn files_that_only_look_like_the_stores_are_left_alone() {
    let (_parent, path) = folder();
    let store = open(&path);
    live(&store);
    let others = ["journal.1.jsonl.bak", "journal.009.jsonl", "journal.+9.jsonl", "snapshot.1.orig.jsonl"];
    for name in others {
        fs::write(path.join(name), "mine").unwrap();
    }
    assert!(store.compact().unwrap());
    drop(store);
    assert_eq!(whole_state(&open(&path)).clients().len(), 1);
    for name in others {
        assert_eq!(fs::read_to_string(path.join(name)).unwrap(), "mine", "{name}");
    }
}
