//! What a crash or a bad disk leaves at the end and in the middle of a journal.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use shared::state::{Change, Wanted};
use shared::store::conformance::Sample;
use shared::store::journal::JournalStore;
use shared::store::{Store, StoreError};

use crate::support::{NOW, clock, folder, follow, journal, live, lives, open, runtime, whole_state};

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

/// A store with two commits, each a batch of its own and some sectors long: the journal, and where its lines begin.
fn two_long_commits(path: &Path) -> (Vec<u8>, Vec<usize>) {
    let store = open(path);
    for _ in 0..2 {
        let samples: Vec<_> = (0..8).map(|_| Sample::new(NOW)).collect();
        store.commit_blocking(samples.iter().flat_map(Sample::known).collect()).unwrap();
    }
    drop(store);
    let text = fs::read(journal(path)).unwrap();
    let starts = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    (text, starts)
}

fn clients(path: &Path) -> Result<usize, StoreError> {
    JournalStore::open(path, clock()).map(|store| whole_state(&store).clients().len())
}

#[test]
fn commits_are_written_over_blanks_that_a_closed_journal_does_not_keep() {
    let (_parent, path) = folder();
    let store = open(&path);
    live(&store);
    let text = fs::read_to_string(journal(&path)).unwrap();
    let (lines, blanks) = text.split_at(text.rfind('\n').unwrap() + 1);
    assert!(blanks.len() > 50_000 && blanks.bytes().all(|byte| byte == b' '));
    assert!(lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    live(&store);
    assert_eq!(fs::read(journal(&path)).unwrap().len(), text.len(), "the size stays");
    let beside = open(&path);
    drop(store);
    live(&beside);
    drop(beside);
    assert_eq!(fs::read(journal(&path)).unwrap().last(), Some(&b'\n'));
    assert_eq!(clients(&path).unwrap(), 3);
}

#[test]
fn f_03_f_05_a_hole_in_the_last_batch_is_a_torn_tail_and_in_an_earlier_one_damage() {
    let (_parent, path) = folder();
    let (whole, starts) = two_long_commits(&path);
    let end = whole.len();
    for blank in [b' ', 0] {
        for sector in (starts[0].next_multiple_of(512)..end).step_by(512) {
            for after in [0, 100_000] {
                let mut text = whole.clone();
                text[sector..(sector + 512).min(end)].fill(blank);
                text.extend(std::iter::repeat_n(b' ', after));
                fs::write(journal(&path), &text).unwrap();
                let found = clients(&path);
                if sector >= starts[1] {
                    assert!(matches!(found, Ok(8)), "{blank} at {sector}: {found:?}");
                    continue;
                }
                assert!(matches!(found, Err(StoreError::Damaged { line: 2, .. })), "{blank} at {sector}: {found:?}");
                assert_eq!(fs::read(journal(&path)).unwrap(), text, "nothing is changed");
                let follower = follow(&path);
                let found = lives(&follower, &Sample::new(NOW));
                assert!(matches!(found, Err(StoreError::Damaged { line: 2, .. })), "{blank} at {sector}: {found:?}");
            }
        }
    }
}

#[test]
fn f_05_a_batch_whose_beginning_was_lost_is_cut_off_and_one_with_a_later_batch_behind_it_is_damage() {
    let (_parent, path) = folder();
    let (whole, starts) = two_long_commits(&path);
    for (line, expected) in [(1, Some(8)), (0, None)] {
        // The first byte is written last; a power cut loses sectors.
        let sector = starts[line].next_multiple_of(512) - starts[line];
        for lost in [1, sector, sector + 512, sector + 1024] {
            let mut text = whole.clone();
            text[starts[line]..starts[line] + lost].fill(b' ');
            fs::write(journal(&path), &text).unwrap();
            if line == 1 {
                let follower = follow(&path);
                assert_eq!(whole_state(&follower).clients().len(), 8, "{lost}: what is whole is read");
            }
            match (clients(&path), expected) {
                (Ok(found), Some(expected)) => assert_eq!(found, expected),
                (Err(StoreError::Damaged { line, .. }), None) => assert_eq!(line, 2),
                other => panic!("{lost} of line {line}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_line_that_somebody_else_appends_is_not_believed_and_not_written_over() {
    let (_parent, path) = folder();
    let store = open(&path);
    let sample = live(&store);
    let mut file = fs::OpenOptions::new().append(true).open(journal(&path)).unwrap();
    file.write_all(b"{\"n\":4,\"t\":1,\"c\":[]}\n").unwrap();
    let refused = store.commit_blocking(Sample::new(NOW).known()).unwrap_err();
    assert!(refused.to_string().contains("none of ours"), "{refused}");
    assert!(lives(&store, &sample).unwrap(), "reads go on");
    assert!(matches!(JournalStore::open(&path, clock()), Err(StoreError::Damaged { line: 5, .. })));
}

#[test]
fn sto_10_every_read_during_10_000_writes_sees_whole_commits() {
    let (_parent, path) = folder();
    let (store, follower) = (open(&path), follow(&path));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = runtime();
            for batch in 0..100 {
                // A line longer than a page now and then, so that reading meets writing in the middle of one.
                let size = if batch % 10 == 0 { 12 } else { 1 };
                let samples = (0..100).map(|_| (0..size).flat_map(|_| Sample::new(NOW).known()).collect::<Vec<_>>());
                let commits: Vec<_> = samples.map(|changes| store.commit(changes)).collect();
                commits.into_iter().for_each(|commit| runtime.block_on(commit).unwrap());
            }
            done.store(true, Ordering::Release);
        });
        let mut seen = 0;
        while !done.load(Ordering::Acquire) {
            let mut counts = Vec::new();
            follower.read(&mut |state| counts = state.counts().to_vec()).unwrap();
            let count = |what: &str| counts.iter().find(|(name, _)| *name == what).unwrap().1;
            let (clients, users) = (count("clients"), count("users"));
            assert!(clients == users && clients >= seen, "{clients} {users} {seen}");
            seen = clients;
        }
    });
    assert_eq!(whole_state(&follower), whole_state(&open(&path)));
}

#[test]
fn f_03_a_changed_newline_behind_the_last_commit_is_damage_and_not_a_torn_tail() {
    let (_parent, path) = folder();
    live(&open(&path));
    let whole = fs::read(journal(&path)).unwrap();
    for bit in 0..8 {
        for after in [0, 1, 1000] {
            let mut text = whole.clone();
            *text.last_mut().unwrap() ^= 1 << bit;
            text.extend(std::iter::repeat_n(b' ', after));
            fs::write(journal(&path), &text).unwrap();
            let found = clients(&path);
            assert!(matches!(found, Err(StoreError::Damaged { line: 4, .. })), "bit {bit}, {after}: {found:?}");
            assert_eq!(fs::read(journal(&path)).unwrap(), text, "nothing is changed");
        }
    }
}

#[test]
fn f_05_a_hole_in_a_batch_longer_than_what_is_read_at_a_time_is_damage_when_a_later_one_follows() {
    let (_parent, path) = folder();
    let store = open(&path);
    let lock = fs::File::open(path.join("store.lock")).unwrap();
    fs2::FileExt::lock_exclusive(&lock).unwrap();
    // The first waits for the lock, and the others for it: they are one batch.
    let commits: Vec<_> =
        (0..401).map(|_| store.commit((0..4).flat_map(|_| Sample::new(NOW).known()).collect())).collect();
    fs2::FileExt::unlock(&lock).unwrap();
    commits.into_iter().for_each(|commit| runtime().block_on(commit).unwrap());
    store.commit_blocking(Sample::new(NOW).known()).unwrap();
    drop(store);
    let whole = fs::read_to_string(journal(&path)).unwrap();
    let batch = |line: &str| line.rsplit_once(",\"b\":").unwrap().1.split(',').next().unwrap().to_owned();
    let lines: Vec<_> = whole.split_inclusive('\n').collect();
    let middle = batch(lines[200]);
    let of_it = |line: &&&str| batch(line) == middle;
    let start: usize =
        lines[0].len() + lines[1..].iter().take_while(|line| batch(line) != middle).map(|l| l.len()).sum::<usize>();
    assert!(lines[1..].iter().filter(of_it).map(|line| line.len()).sum::<usize>() > 300 * 1024, "the batch is long");
    for blank in [b' ', 0] {
        let mut text = whole.clone().into_bytes();
        let sector = (start + 1).next_multiple_of(512);
        text[sector..sector + 512].fill(blank);
        fs::write(journal(&path), &text).unwrap();
        let found = clients(&path);
        assert!(matches!(found, Err(StoreError::Damaged { .. })), "{found:?}");
        assert_eq!(fs::read(journal(&path)).unwrap(), text, "nothing is changed");
    }
}

#[test]
fn f_05_a_batch_whose_beginning_was_lost_is_cut_off_also_when_what_is_left_begins_with_a_blank_of_its_own() {
    let (_parent, path) = folder();
    let sample = Sample::new(NOW);
    {
        let store = open(&path);
        store.commit_blocking(sample.known()).unwrap();
        let password = "   x".repeat(800);
        store.commit_blocking(vec![Change::PasswordChanged { user: sample.user.name.clone(), password }]).unwrap();
    }
    let whole = fs::read(journal(&path)).unwrap();
    let start = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for sector in (start.next_multiple_of(512)..whole.len() - 200).step_by(512) {
        // Whatever stands at the edge of a sector: here every byte of the pattern in turn.
        for shift in 0..4 {
            let mut text = whole.clone();
            text[sector..sector + shift].fill(b' ');
            text[start..sector].fill(b' ');
            fs::write(journal(&path), &text).unwrap();
            assert!(matches!(clients(&path), Ok(1)), "{sector} {shift}: {:?}", clients(&path));
            assert_eq!(fs::read(journal(&path)).unwrap().len(), start);
        }
    }
}
