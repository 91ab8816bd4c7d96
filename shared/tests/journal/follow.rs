//! Following a store that comes, goes and changes (table WAT).

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use shared::state::{Change, RevocationCause};
use shared::store::conformance::Sample;
use shared::store::{Store, StoreError};

use crate::support::{NOW, eventually, folder, follow, journal, live, lives, open, whole_state};

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

/// The child of the next test: follows where nothing can be watched, and says when it was woken.
#[expect(clippy::print_stdout, reason = "the parent process waits for it")]
#[test]
fn unwatched_child() {
    let Some(path) = std::env::var_os("JOURNAL_TEST_UNWATCHED") else { return };
    let follower = follow(Path::new(&path));
    let mut changed = follower.changed();
    changed.mark_unchanged();
    println!("\nfollows");
    eventually("a wake-up", || changed.has_changed().unwrap());
    println!("\nwoken with {}", whole_state(&follower).clients().len());
}

#[cfg(target_os = "linux")]
#[test]
fn wat_04_where_nothing_can_be_watched_a_change_is_seen_within_a_second_all_the_same() {
    let (_parent, path) = folder();
    let store = open(&path);
    let limit = "echo 0 > /proc/sys/user/max_inotify_instances";
    let unshare = |script: String| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "bash", "-c"]).arg(script).stdout(Stdio::piped());
        command
    };
    if !unshare(limit.to_owned()).status().is_ok_and(|status| status.success()) {
        return;
    }
    let test = std::env::current_exe().unwrap();
    let child = format!("{limit}; exec '{}' --exact follow::unwatched_child --nocapture", test.display());
    let mut child = unshare(child).env("JOURNAL_TEST_UNWATCHED", &path).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.find(|line| line == "follows").expect("it follows");
    let committed = Instant::now();
    live(&store);
    assert_eq!(lines.find(|line| line.starts_with("woken")).as_deref(), Some("woken with 1"));
    // A second, and time for a busy machine.
    assert!(committed.elapsed() < Duration::from_secs(3), "{:?}", committed.elapsed());
    assert!(child.wait().unwrap().success());
}

/// A store, and journals of it that go on one from the other.
fn versions(path: &Path, count: usize) -> Vec<Vec<u8>> {
    let store = open(path);
    let version = |_| {
        store.commit_blocking(Sample::new(NOW).known()).unwrap();
        fs::read(journal(path)).unwrap()
    };
    (0..count).map(version).collect()
}

fn put(path: &Path, contents: &[u8]) {
    shared::files::replace(&journal(path), contents).unwrap();
}

#[test]
fn wat_01_02_the_last_of_200_replaced_journals_is_in_force_within_a_second() {
    let (_parent, path) = folder();
    let versions = versions(&path, 200);
    put(&path, &versions[0]);
    let follower = follow(&path);
    // Nobody asks: the thread that follows tells those who wait.
    let mut changed = follower.changed();
    changed.mark_unchanged();
    put(&path, &versions[1]);
    let replaced = Instant::now();
    eventually("a wake-up", || changed.has_changed().unwrap());
    assert!(replaced.elapsed() < Duration::from_secs(2), "{:?}", replaced.elapsed());
    for version in &versions {
        put(&path, version);
    }
    let replaced = Instant::now();
    eventually("the last one", || whole_state(&follower).clients().len() == 200);
    assert!(replaced.elapsed() < Duration::from_secs(2), "{:?}", replaced.elapsed());
    drop(open(&path));
    assert_eq!(whole_state(&follower), whole_state(&open(&path)));
}

#[test]
fn f_10_a_journal_that_is_removed_or_emptied_is_never_begun_anew_by_a_running_writer() {
    let (_parent, path) = folder();
    let store = open(&path);
    live(&store);
    let before = whole_state(&store);
    let whole = fs::read(journal(&path)).unwrap();
    let removed = |path: &Path| fs::remove_file(path).unwrap();
    let emptied = |path: &Path| fs::write(path, "").unwrap();
    let begun_anew =
        |path: &Path| fs::write(path, whole.split_inclusive(|byte| *byte == b'\n').next().unwrap()).unwrap();
    for harm in [&removed as &dyn Fn(&Path), &emptied, &begun_anew] {
        harm(&journal(&path));
        for _ in 0..3 {
            assert!(store.commit_blocking(Sample::new(NOW).known()).is_err());
            assert!(store.read(&mut |_| ()).is_err(), "and nothing is read from it");
        }
        put(&path, &whole);
        eventually("it is back", || store.read(&mut |_| ()).is_ok());
        assert_eq!(whole_state(&store), before);
    }
    live(&store);
}
