//! Every operation that changes the disk, one after the other: the process ends there, or it fails there (F-02, F-07).

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use shared::files::faults::{self, Fault, Faults, Operation};
use shared::state::{Change, State};
use shared::store::journal::JournalStore;
use shared::store::{CommitError, Store, StoreError};

use crate::support::{clock, history, journal, names, open, quick_folder, states, whole_state};

/// Does `fault` to the operations from `at` on, `count` of them.
struct At {
    at: usize,
    count: usize,
    met: AtomicUsize,
    fault: fn(&Operation<'_>) -> Fault,
}

impl Faults for At {
    fn meets(&self, operation: &Operation<'_>) -> Fault {
        let number = self.met.fetch_add(1, Ordering::SeqCst);
        if (self.at..self.at + self.count).contains(&number) { (self.fault)(operation) } else { Fault::None }
    }
}

fn at(at: usize, count: usize, fault: fn(&Operation<'_>) -> Fault) -> Arc<At> {
    Arc::new(At { at, count, met: AtomicUsize::new(0), fault })
}

fn half(operation: &Operation<'_>) -> Option<usize> {
    if let Operation::Write { bytes, .. } = operation { Some(bytes.len() / 2) } else { None }
}

/// A store's life: every commit, a compaction in the middle, and its end. Says after each step that it was done.
fn live_through(folder: &Path, history: &[Vec<Change>], done: &mut dyn FnMut(usize)) {
    let store = open(folder);
    for (number, changes) in history.iter().enumerate() {
        if number == history.len() / 2 {
            store.compact().unwrap();
        }
        store.commit_blocking(changes.clone()).unwrap();
        done(number + 1);
    }
}

/// What a crash may have left in the folder before: a torn line, a batch without its beginning, a lone seal.
const LEFT: [fn(&Path); 3] = [
    |_| {},
    |folder| append(folder, b"{\"n\":1,\"t\":1000"),
    |folder| append(folder, b" \"n\":1,\"t\":1000000,\"c\":[],\"b\":1,\"h\":\"x\"}\n    "),
];

fn append(folder: &Path, bytes: &[u8]) {
    drop(open(folder));
    let mut text = fs::read(journal(folder)).unwrap();
    text.extend_from_slice(bytes);
    fs::write(journal(folder), text).unwrap();
}

/// The child of the next test: lives until it ends by a fault, and says what was acknowledged.
#[expect(clippy::print_stdout, reason = "the parent process reads what was acknowledged")]
#[test]
fn ended_child() {
    let Some(folder) = std::env::var_os("JOURNAL_TEST_ENDS") else { return };
    let (folder, value) = (Path::new(&folder), |name: &str| std::env::var(name).unwrap());
    let history: Vec<Vec<Change>> = serde_json::from_str(&value("JOURNAL_TEST_HISTORY")).unwrap();
    let ends = match value("JOURNAL_TEST_HALF").as_str() {
        "yes" => |operation: &Operation<'_>| half(operation).map_or(Fault::Ends, Fault::EndsAfter),
        _ => |_: &Operation<'_>| Fault::Ends,
    };
    let _injected = faults::inject(folder, at(value("JOURNAL_TEST_AT").parse().unwrap(), 1, ends));
    live_through(folder, &history, &mut |step| println!("\ndone {step}"));
    println!("\nlived");
}

/// How far a child came that ends at an operation; `None` when it lived to its end.
fn end_at(folder: &Path, history: &str, at: usize, half: bool) -> Option<usize> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::ended_child", "--nocapture"])
        .env("JOURNAL_TEST_ENDS", folder)
        .env("JOURNAL_TEST_HISTORY", history)
        .env("JOURNAL_TEST_AT", at.to_string())
        .env("JOURNAL_TEST_HALF", if half { "yes" } else { "no" })
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines: Vec<_> = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).collect();
    child.wait().unwrap();
    let last = lines.iter().rev().find_map(|line| line.strip_prefix("done ")?.parse().ok()).unwrap_or(0);
    (!lines.iter().any(|line| line == "lived")).then_some(last)
}

/// The state is that after `acknowledged` commits, or after one more; the rest can be committed, and nothing lies around.
#[track_caller]
fn goes_on(folder: &Path, history: &[Vec<Change>], states: &[State], acknowledged: usize, what: &str) {
    let store = open(folder);
    let found = whole_state(&store);
    let next = (acknowledged + 1).min(history.len());
    let reached = [acknowledged, next].into_iter().find(|number| found == states[*number]);
    let reached = reached.unwrap_or_else(|| panic!("{what}: neither before nor after commit {next}"));
    assert!(names(folder).iter().all(|name| !name.ends_with(".tmp")), "{what}: {:?}", names(folder));
    for changes in &history[reached..] {
        store.commit_blocking(changes.clone()).unwrap();
    }
    drop(store);
    assert_eq!(whole_state(&open(folder)), states[history.len()], "{what}");
}

#[test]
fn f_02_a_process_that_ends_at_any_operation_leaves_the_state_before_or_after_it() {
    let history = history(2);
    let (states, text) = (states(&history), serde_json::to_string(&history).unwrap());
    let mut ended = 0;
    for (kind, leave) in LEFT.iter().enumerate() {
        for half in [false, true] {
            for at in 0.. {
                let (_parent, folder) = quick_folder();
                leave(&folder);
                let what = format!("after {kind}, ended at {at}, half: {half}");
                let Some(acknowledged) = end_at(&folder, &text, at, half) else { break };
                goes_on(&folder, &history, &states, acknowledged, &what);
                ended += 1;
                // The rest is the same as without.
                if kind > 0 && at > 8 {
                    break;
                }
            }
        }
    }
    assert!(ended > 80, "{ended} operations");
}

/// Lives with faults: what fails is tried again, until it is done. How many operations there were.
fn live_with(faults: &Arc<At>, history: &[Vec<Change>], states: &[State], what: &str) -> usize {
    let (_parent, folder) = quick_folder();
    let injected = faults::inject(&folder, faults.clone());
    let tries = || 0..20;
    let store = tries().find_map(|_| JournalStore::open(&folder, clock()).ok()).expect(what);
    for (number, changes) in history.iter().enumerate() {
        if number == history.len() / 2 {
            tries().find(|_| store.compact().is_ok_and(|done| done)).expect(what);
        }
        let mut refused = false;
        tries()
            .find(|_| match store.commit_blocking(changes.clone()) {
                Ok(()) => true,
                // It was written, and only the answer was no: that is "after".
                Err(CommitError::Conflict(_)) if refused => whole_state(&store) == states[number + 1],
                Err(CommitError::Conflict(conflict)) => panic!("{what}: {conflict}"),
                Err(CommitError::Unavailable(error)) => {
                    assert!(matches!(error, StoreError::Io { .. }), "{what}: {error}");
                    refused = true;
                    false
                }
            })
            .unwrap_or_else(|| panic!("{what}: commit {number}"));
        assert!(whole_state(&store) == states[number + 1], "{what}: commit {number}");
    }
    drop((store, injected));
    assert!(whole_state(&open(&folder)) == states[history.len()], "{what}");
    faults.met.load(Ordering::SeqCst)
}

fn fails(_: &Operation<'_>) -> Fault {
    Fault::Fails(io::Error::other("an injected fault"))
}

fn is_torn(operation: &Operation<'_>) -> Fault {
    half(operation).map_or_else(|| fails(operation), |half| Fault::Torn(half, io::Error::other("an injected fault")))
}

#[test]
fn f_02_f_07_an_operation_that_fails_refuses_its_commit_and_the_next_one_works() {
    let history = history(2);
    let states = states(&history);
    let operations = live_with(&at(usize::MAX / 2, 1, fails), &history, &states, "without a fault");
    assert!(operations > 40, "{operations}");
    for first in 0..operations {
        for count in [1, 2, 3, 7] {
            for (kind, fault) in [fails, is_torn].into_iter().enumerate() {
                live_with(&at(first, count, fault), &history, &states, &format!("{count} from {first}, kind {kind}"));
            }
        }
    }
}

/// Fails the next sync of the journal.
struct NextSync(Mutex<bool>);

impl Faults for NextSync {
    fn meets(&self, operation: &Operation<'_>) -> Fault {
        let fails_now = matches!(operation, Operation::Sync { path } if path.ends_with("journal.1.jsonl"))
            && std::mem::take(&mut *self.0.lock().unwrap());
        if fails_now { fails(operation) } else { Fault::None }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn f_07_a_handle_whose_sync_failed_is_not_used_again() {
    let (_parent, folder) = quick_folder();
    let (store, history) = (open(&folder), history(1));
    let handles = || {
        let open_files = fs::read_dir("/proc/self/fd").unwrap().flatten().map(|entry| entry.path());
        open_files.filter(|file| fs::read_link(file).is_ok_and(|to| to == journal(&folder))).collect::<Vec<_>>()
    };
    store.commit_blocking(history[0].clone()).unwrap();
    let (before, changed) = (handles(), store.changed());
    assert_eq!(before.len(), 1);
    let faults = Arc::new(NextSync(Mutex::new(true)));
    let _injected = faults::inject(&folder, faults.clone());
    assert!(matches!(store.commit_blocking(history[1].clone()), Err(CommitError::Unavailable(_))));
    assert_ne!(handles(), before, "dropped with the error");
    assert!(whole_state(&store) == states(&history)[1], "reads go on, without what was refused");
    assert!(!changed.has_changed().unwrap(), "and a store of a million grants is not read anew for it");
    store.commit_blocking(history[1].clone()).unwrap();
    assert_eq!(handles().len(), 1);
}

#[test]
fn f_07_what_a_failed_sync_refused_is_nowhere_to_be_seen() {
    let (_parent, folder) = quick_folder();
    let (store, beside, history) = (open(&folder), open(&folder), history(2));
    let states = states(&history);
    store.commit_blocking(history[0].clone()).unwrap();
    let faults = Arc::new(NextSync(Mutex::new(false)));
    let _injected = faults::inject(&folder, faults.clone());
    for (number, changes) in history.iter().enumerate().skip(1) {
        *faults.0.lock().unwrap() = true;
        assert!(store.commit_blocking(changes.clone()).is_err());
        for reader in [&store, &beside] {
            assert!(whole_state(reader) == states[number], "{number}");
        }
        assert!(whole_state(&open(&folder)) == states[number], "{number}: a restart");
        beside.commit_blocking(changes.clone()).unwrap();
    }
}

/// A disk that has become read-only.
struct ReadOnly;

impl Faults for ReadOnly {
    fn meets(&self, operation: &Operation<'_>) -> Fault {
        match operation {
            Operation::Answer { .. } => Fault::None,
            _ => Fault::Fails(io::ErrorKind::ReadOnlyFilesystem.into()),
        }
    }
}

#[test]
fn f_08_on_a_disk_that_has_become_read_only_reads_go_on_and_commits_come_back_with_it() {
    let (_parent, folder) = quick_folder();
    let (store, history) = (open(&folder), history(2));
    let states = states(&history);
    let half = history.len() / 2;
    history[..half].iter().for_each(|changes| store.commit_blocking(changes.clone()).unwrap());
    let follower = crate::support::follow(&folder);
    let injected = faults::inject(&folder, Arc::new(ReadOnly));
    for _ in 0..3 {
        let refused = store.commit_blocking(history[half].clone()).unwrap_err();
        assert!(refused.to_string().contains("read-only"), "{refused}");
        assert!(store.compact().is_err());
        for reader in [&store, &follower] {
            assert!(whole_state(reader) == states[half]);
        }
    }
    assert!(JournalStore::open(&folder, clock()).is_err(), "nothing starts on it");
    drop(injected);
    history[half..].iter().for_each(|changes| store.commit_blocking(changes.clone()).unwrap());
    assert!(whole_state(&follower) == states[history.len()]);
}
