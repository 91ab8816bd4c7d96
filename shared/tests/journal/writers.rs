//! Several writers, killed writers, and writers without a disk.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::state::{Change, Wanted};
use shared::store::Store;
use shared::store::conformance::Sample;
use shared::store::journal::JournalStore;
use shared::time::{SystemClock, Timestamp};

use crate::support::{NOW, clock, folder, live, lives, open, runtime, whole_state};

#[cfg(unix)]
#[test]
fn a_lock_file_that_is_removed_does_not_let_two_write_at_once() {
    let (_parent, path) = folder();
    let stores = [open(&path), open(&path)];
    fs::remove_file(path.join("store.lock")).unwrap();
    std::thread::scope(|scope| {
        for store in &stores {
            scope.spawn(|| (0..200).for_each(|_| store.commit_blocking(Sample::new(NOW).known()).unwrap()));
        }
    });
    assert_eq!(whole_state(&open(&path)).clients().len(), 400);
}

#[test]
fn sto_11_two_writers_lose_and_double_nothing() {
    let (_parent, path) = folder();
    let write = |count: usize| {
        let store = open(&path);
        let runtime = runtime();
        let commits: Vec<_> = (0..count).map(|_| store.commit(Sample::new(NOW).known())).collect();
        commits.into_iter().for_each(|commit| runtime.block_on(commit).unwrap());
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(|| (0..20).for_each(|_| write(50)))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let mut clients = 0;
    open(&path).read(&mut |state| clients = state.clients().len()).unwrap();
    assert_eq!(clients, 2000);
}

#[cfg(target_os = "linux")]
#[test]
fn f_11_a_lock_that_is_not_given_back_is_named_and_f_12_a_dead_holder_holds_nothing() {
    let (_parent, path) = folder();
    let store = open(&path);
    let mut holder = Command::new("flock")
        .arg("--no-fork")
        .arg(path.join("store.lock"))
        .args(["sh", "-c", "echo held; exec sleep 60"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    let begun = Instant::now();
    let error = store.commit_blocking(Sample::new(NOW).known()).unwrap_err().to_string();
    assert!(begun.elapsed() >= Duration::from_secs(5), "{error}");
    assert!(error.contains("held by process"), "{error}");
    holder.kill().unwrap();
    holder.wait().unwrap();
    store.commit_blocking(Sample::new(NOW).known()).unwrap();
}

/// A process that commits until it is killed, and says what was acknowledged.
fn writer_process(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writers::writer_child", "--nocapture"])
        .env("JOURNAL_TEST_FOLDER", folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The child of the next test; does nothing when it is run as a test itself.
#[expect(clippy::print_stdout, reason = "the parent process reads what was acknowledged")]
#[test]
fn writer_child() {
    let Some(folder) = std::env::var_os("JOURNAL_TEST_FOLDER") else { return };
    let store = JournalStore::open(Path::new(&folder), Arc::new(SystemClock)).unwrap();
    for _ in 0..100_000 {
        let sample = Sample::new(NOW);
        for changes in [sample.known(), sample.approved(), sample.redeemed()] {
            store.commit_blocking(changes).unwrap();
        }
        println!(
            "\n{} {}",
            serde_json::to_string(&sample.grant.id).unwrap(),
            serde_json::to_string(&sample.access.id).unwrap()
        );
    }
}

#[test]
fn f_01_kill_9_loses_nothing_that_was_acknowledged() {
    let (_parent, path) = folder();
    let mut acknowledged = Vec::new();
    for round in 0..20 {
        let mut child = writer_process(&path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = |line: &str| {
            line.split_once(' ').and_then(|(grant, access)| {
                Some((serde_json::from_str(grant).ok()?, serde_json::from_str(access).ok()?))
            })
        };
        for _ in 0..=round {
            let heard = lines.by_ref().map_while(Result::ok).find_map(|line| said(&line));
            acknowledged.push(heard.expect("the writer works"));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(lines.map_while(Result::ok).filter_map(|line| said(&line)));
    }
    let store = open(&path);
    for (grant, access) in acknowledged {
        let facts = runtime().block_on(store.load(&Wanted { access: Some(access), ..Wanted::default() })).unwrap();
        assert!(facts.grant_lives() && facts.grant.is_some_and(|found| found.id == grant));
    }
}

/// The child of the next test: commits until the disk is full, then reads.
#[expect(clippy::print_stdout, reason = "the parent process reads what was acknowledged")]
#[test]
fn full_disk_child() {
    let Some(folder) = std::env::var_os("JOURNAL_TEST_FULL") else { return };
    let store = JournalStore::open(Path::new(&folder), clock()).unwrap();
    let mut acknowledged = Vec::new();
    let refused = loop {
        let sample = Sample::new(NOW);
        match store.commit_blocking(sample.known()) {
            Ok(()) => acknowledged.push(sample.client.id),
            Err(error) => break error,
        }
    };
    assert!(refused.to_string().contains("write"), "{refused}");
    assert!(store.commit_blocking(Sample::new(NOW).known()).is_err(), "still full");
    for client in &acknowledged {
        let wanted = Wanted { client: Some(client.clone()), ..Wanted::default() };
        assert!(runtime().block_on(store.load(&wanted)).unwrap().client.is_some(), "reads go on");
    }
    println!("\n{}", serde_json::to_string(&acknowledged).unwrap());
}

#[cfg(unix)]
#[test]
fn f_06_a_full_disk_refuses_commits_keeps_what_was_acknowledged_and_heals() {
    let (_parent, path) = folder();
    drop(open(&path));
    let child = std::env::current_exe().unwrap();
    let limited =
        format!("trap '' XFSZ; ulimit -f 64; exec '{}' --exact writers::full_disk_child --nocapture", child.display());
    let output = Command::new("bash").args(["-c", &limited]).env("JOURNAL_TEST_FULL", &path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.starts_with('[')).unwrap();
    let acknowledged: Vec<shared::id::ClientId> = serde_json::from_str(line).unwrap();
    assert!(acknowledged.len() > 10);
    let store = open(&path);
    assert_eq!(whole_state(&store).clients().len(), acknowledged.len(), "nothing more, nothing less");
    live(&store);
}

/// Commits 5 000 times, many at once.
fn commit_5_000(folder: &Path) {
    let (store, runtime) = (open(folder), runtime());
    for _ in 0..50 {
        let commits: Vec<_> = (0..100).map(|_| store.commit(Sample::new(NOW).known())).collect();
        commits.into_iter().for_each(|commit| runtime.block_on(commit).unwrap());
    }
}

/// The child of the next test; does nothing when it is run as a test itself.
#[test]
fn busy_child() {
    let Some(folder) = std::env::var_os("JOURNAL_TEST_BUSY") else { return };
    commit_5_000(Path::new(&folder));
}

#[test]
fn f_14_of_10_000_commits_by_two_processes_none_is_lost_and_none_is_there_twice() {
    let (_parent, path) = folder();
    let store = open(&path);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writers::busy_child"])
        .env("JOURNAL_TEST_BUSY", &path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    commit_5_000(&path);
    assert!(child.wait().unwrap().success());
    for reader in [&store, &open(&path)] {
        assert_eq!(whole_state(reader).clients().len(), 10_000);
    }
    let text = fs::read_to_string(path.join("journal.1.jsonl")).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("{\"n\":")).count(), 10_000);
}

#[test]
fn f_15_f_16_f_17_commits_never_go_back_in_time_whatever_the_clock_does() {
    let (_parent, path) = folder();
    let clock = clock();
    let store = JournalStore::open(&path, Arc::clone(&clock) as _).unwrap();
    let mut samples = Vec::new();
    for now in [NOW.0, NOW.0 + 86_400, NOW.0, 0, NOW.0 + 60, u64::MAX / 2, NOW.0] {
        clock.set(Timestamp(now));
        samples.push(live(&store));
    }
    let text = fs::read_to_string(path.join("journal.1.jsonl")).unwrap();
    let lines = text.lines().skip(1).filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let seconds: Vec<_> = lines.map(|line| line["t"].as_u64().unwrap()).collect();
    assert!(seconds.is_sorted() && seconds.len() == 21, "{seconds:?}");
    for sample in &samples {
        assert!(lives(&open(&path), sample).unwrap(), "nothing is lost by it");
    }
    assert!(store.compact().unwrap());
    live(&store);
    assert_eq!(whole_state(&open(&path)).clients().len(), samples.len() + 1);
}

#[cfg(target_os = "linux")]
#[test]
fn f_14_whoever_opens_a_store_reads_it_before_it_takes_the_lock() {
    let (_parent, path) = folder();
    live(&open(&path));
    let lock = fs::File::open(path.join("store.lock")).unwrap();
    fs2::FileExt::lock_exclusive(&lock).unwrap();
    let is_read = || {
        let files = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|file| fs::read_link(file.path()).ok());
        files.into_iter().any(|file| file == path.join("journal.1.jsonl"))
    };
    std::thread::scope(|scope| {
        let opened = scope.spawn(|| JournalStore::open(&path, clock()).map(drop));
        while !is_read() {
            assert!(!opened.is_finished(), "it waited for the lock in vain, and had not read the journal");
            std::thread::yield_now();
        }
        fs2::FileExt::unlock(&lock).unwrap();
        opened.join().unwrap().unwrap();
    });
}

#[test]
fn a_commit_that_nobody_could_read_again_is_refused_and_the_store_works_on() {
    let (_parent, path) = folder();
    let store = open(&path);
    let sample = live(&store);
    let change = |size| vec![Change::PasswordChanged { user: sample.user.name.clone(), password: "x".repeat(size) }];
    let refused = store.commit_blocking(change(17 << 20)).unwrap_err();
    assert!(refused.to_string().contains("16 MiB"), "{refused}");
    store.commit_blocking(change((16 << 20) - 1024)).unwrap();
    live(&store);
    drop(store);
    assert_eq!(whole_state(&open(&path)).clients().len(), 2);
}
