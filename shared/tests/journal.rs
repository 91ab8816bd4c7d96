//! The file-backed store through its files, its threads and its processes.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::state::{Change, RevocationCause, Wanted};
use shared::store::conformance::{self, Sample};
use shared::store::journal::JournalStore;
use shared::store::memory::MemoryStore;
use shared::store::{Store, StoreError};
use shared::time::{ManualClock, SystemClock, Timestamp};
use tempfile::TempDir;

const NOW: Timestamp = Timestamp(1_000_000);

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(NOW))
}

fn open(folder: &Path) -> JournalStore {
    JournalStore::open(folder, clock()).unwrap()
}

/// A follower that has looked once.
fn follow(folder: &Path) -> JournalStore {
    let follower = JournalStore::follow(folder, clock());
    let nobody = Sample::new(NOW);
    eventually("loaded", || !matches!(lives(&follower, &nobody), Err(StoreError::Loading)));
    follower
}

fn folder() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("store");
    (parent, folder)
}

fn journal(folder: &Path) -> PathBuf {
    folder.join("journal.1.jsonl")
}

/// Commits a whole authorization.
fn live(store: &JournalStore) -> Sample {
    let sample = Sample::new(NOW);
    for changes in [sample.known(), sample.approved(), sample.redeemed()] {
        store.commit_blocking(changes).unwrap();
    }
    sample
}

fn lives(store: &dyn Store, sample: &Sample) -> Result<bool, StoreError> {
    runtime().block_on(store.load(&sample.wants_access())).map(|facts| facts.grant_lives())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// Waits for a condition of another thread or process.
#[track_caller]
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn both_kinds_of_store_conform() {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new(clock()));
    runtime().block_on(conformance::run(&|| Arc::clone(&memory)));
    let (_parent, folder) = folder();
    let open = || -> Arc<dyn Store> { Arc::new(open(&folder)) };
    runtime().block_on(conformance::run(&open));
}

#[test]
fn sto_01_folder_and_files_are_for_the_owner_only() {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let (_parent, folder) = folder();
        let store = open(&folder);
        store.keys().unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        for entry in names {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        }
    }
}

#[cfg(unix)]
#[test]
fn sto_03_04_what_is_not_ours_alone_or_no_file_is_refused_at_once() {
    use std::os::unix::fs::PermissionsExt;
    let refused = |folder: &Path| matches!(JournalStore::open(folder, clock()), Err(StoreError::Unsafe { .. }));
    let (_parent, path) = folder();
    drop(open(&path));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
    assert!(refused(&path), "a folder that the group may write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(journal(&path), fs::Permissions::from_mode(0o666)).unwrap();
    assert!(refused(&path), "a journal that all may write");
    fs::remove_file(journal(&path)).unwrap();
    assert!(Command::new("mkfifo").arg(journal(&path)).status().unwrap().success());
    assert!(refused(&path), "a FIFO");
    fs::remove_file(journal(&path)).unwrap();
    fs::create_dir(journal(&path)).unwrap();
    assert!(refused(&path), "a folder in the journal's place");
}

#[cfg(unix)]
#[test]
fn sto_03_what_others_can_read_is_taken_away_from_them() {
    use std::os::unix::fs::PermissionsExt;
    let (_parent, path) = folder();
    open(&path).keys().unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    for name in names(&path) {
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let _store = open(&path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    for name in names(&path) {
        assert_eq!(fs::metadata(path.join(&name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
}

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
fn what_was_committed_is_there_after_a_restart() {
    let (_parent, folder) = folder();
    let sample = live(&open(&folder));
    assert!(lives(&open(&folder), &sample).unwrap());
}

#[test]
fn sto_02_no_secret_is_in_the_journal() {
    let (_parent, folder) = folder();
    let store = open(&folder);
    let secret = shared::secret::Secret::random();
    let mut sample = Sample::new(NOW);
    sample.code.hash = secret.hash();
    for changes in [sample.known(), sample.approved()] {
        store.commit_blocking(changes).unwrap();
    }
    assert!(!fs::read_to_string(journal(&folder)).unwrap().contains(secret.expose()));
}

#[test]
fn f_03_a_tail_torn_at_any_byte_loses_only_the_last_commit() {
    let (_parent, path) = folder();
    let sample = live(&open(&path));
    let whole = fs::read(journal(&path)).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for end in last..whole.len() {
        fs::write(journal(&path), &whole[..end]).unwrap();
        let store = open(&path);
        let wanted = Wanted { code: Some(sample.code.hash), ..Wanted::default() };
        let facts = runtime().block_on(store.load(&wanted)).unwrap();
        assert_eq!(facts.code, Some(sample.code.clone()), "cut at {end}");
        assert!(facts.family.is_none(), "cut at {end}");
        // And the store works on.
        store.commit_blocking(sample.redeemed()).unwrap();
        drop(store);
        assert!(lives(&open(&path), &sample).unwrap(), "cut at {end}");
    }
}

#[test]
fn f_03_zeros_that_a_power_cut_left_are_a_torn_tail() {
    let (_parent, path) = folder();
    let sample = live(&open(&path));
    let mut file = fs::OpenOptions::new().append(true).open(journal(&path)).unwrap();
    file.write_all(&[b"{\"n\":4,".as_slice(), &[0; 600], b"}\n{}\n"].concat()).unwrap();
    let store = open(&path);
    assert!(lives(&store, &sample).unwrap());
    live(&store);
}

#[test]
fn a_flipped_bit_is_found_and_its_line_named() {
    let (_parent, path) = folder();
    live(&open(&path));
    let whole = fs::read(journal(&path)).unwrap();
    let lines: Vec<usize> = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
    for (line, window) in [(2_u64, 0..lines[1]), (3, lines[1] + 1..lines[2])] {
        let start = if line == 2 { lines[0] + 1 } else { window.start };
        for at in (start..window.end).step_by(7) {
            let mut damaged = whole.clone();
            damaged[at] ^= 4;
            if damaged[at] == b'\n' || damaged[at] == 0 {
                continue;
            }
            fs::write(journal(&path), &damaged).unwrap();
            match JournalStore::open(&path, clock()).map(|_| ()) {
                Err(StoreError::Damaged { line: named, path, .. }) => {
                    assert_eq!(named, line, "byte {at}");
                    assert!(path.ends_with("journal.1.jsonl"));
                }
                other => panic!("byte {at}: {other:?}"),
            }
            assert_eq!(fs::read(journal(&path)).unwrap(), damaged, "nothing is changed");
        }
    }
}

#[test]
fn a_newer_major_format_is_refused() {
    let (_parent, path) = folder();
    drop(open(&path));
    let text = fs::read_to_string(journal(&path)).unwrap().replace("\"version\":\"1.0\"", "\"version\":\"2.0\"");
    fs::write(journal(&path), text).unwrap();
    assert!(matches!(JournalStore::open(&path, clock()), Err(StoreError::Newer { .. })));
}

#[test]
fn a_follower_needs_no_store_sees_one_appear_and_every_commit_at_once() {
    let (_parent, path) = folder();
    let follower = follow(&path);
    let unknown = Sample::new(NOW);
    assert!(matches!(lives(&follower, &unknown), Err(StoreError::Absent(_))));
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
        .args(["--exact", "writer_child", "--nocapture"])
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

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn whole_state(store: &JournalStore) -> shared::state::State {
    let mut copy = None;
    store.read(&mut |state| copy = Some(state.clone())).unwrap();
    copy.unwrap()
}

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
    let limited = format!("trap '' XFSZ; ulimit -f 64; exec '{}' --exact full_disk_child --nocapture", child.display());
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
