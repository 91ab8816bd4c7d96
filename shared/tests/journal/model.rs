//! Anything that can happen, in any order, against a model in memory.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use shared::state::{Change, RevocationCause, State};
use shared::store::conformance::Sample;
use shared::store::journal::JournalStore;
use shared::store::{CommitError, Store};

use crate::support::{NOW, follow, open, quick_folder, whole_state};

const WRITERS: usize = 3;
const SAMPLES: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    /// A writer commits something, which fits or does not.
    Commit { writer: usize, kind: usize, sample: usize },
    /// A writer compacts.
    Compact { writer: usize },
    /// A writer ends and another begins.
    Reopen { writer: usize },
    /// All writers end, the last in the middle of a commit: after so many hundredths of its bytes.
    Crash { kind: usize, sample: usize, written: usize, first_byte: bool },
    /// A follower that saw everything goes, and a new one reads everything.
    Follow,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0..WRITERS, 0..6_usize, 0..SAMPLES).prop_map(|(writer, kind, sample)| Step::Commit { writer, kind, sample }),
        1 => (0..WRITERS).prop_map(|writer| Step::Compact { writer }),
        2 => (0..WRITERS).prop_map(|writer| Step::Reopen { writer }),
        2 => (0..6_usize, 0..SAMPLES, 0..=100_usize, any::<bool>())
            .prop_map(|(kind, sample, written, first_byte)| Step::Crash { kind, sample, written, first_byte }),
        1 => Just(Step::Follow),
    ];
    prop::collection::vec(step, 1..40)
}

fn changes(kind: usize, sample: &Sample, other: &Sample) -> Vec<Change> {
    match kind {
        0 => sample.known(),
        1 => sample.approved(),
        2 => sample.redeemed(),
        3 => sample.rotated(sample.family.current, other.family.current),
        4 => vec![Change::GrantRevoked { grant: sample.grant.id, cause: RevocationCause::User }],
        _ => [sample.known(), other.approved()].concat(),
    }
}

fn newest_journal(folder: &Path) -> std::path::PathBuf {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let number =
        |path: &Path| path.file_name()?.to_str()?.strip_prefix("journal.")?.strip_suffix(".jsonl")?.parse().ok();
    paths.filter_map(|path| Some((number(&path)?, path))).max_by_key(|(number, _): &(u64, _)| *number).unwrap().1
}

/// The bytes that a commit would append to the store, found out on a copy.
fn line_of(folder: &Path, changes: Vec<Change>) -> Option<Vec<u8>> {
    let (_parent, copy) = quick_folder();
    shared::files::create_private_folder(&copy).unwrap();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let before = fs::metadata(newest_journal(&copy)).unwrap().len();
    open(&copy).commit_blocking(changes).ok()?;
    Some(fs::read(newest_journal(&copy)).unwrap().split_off(usize::try_from(before).unwrap()))
}

fn run(steps: &[Step]) -> Result<(), TestCaseError> {
    let (_parent, folder) = quick_folder();
    let samples: Vec<_> = (0..SAMPLES).map(|_| Sample::new(NOW)).collect();
    let mut writers: Vec<JournalStore> = (0..WRITERS).map(|_| open(&folder)).collect();
    let mut follower = follow(&folder);
    let mut model = State::default();
    for step in steps {
        match *step {
            Step::Commit { writer, kind, sample } => {
                let changes = changes(kind, &samples[sample], &samples[(sample + 1) % SAMPLES]);
                let expected = model.apply_all(changes.clone(), NOW).map(drop);
                match (writers[writer].commit_blocking(changes), expected) {
                    (Ok(()), Ok(())) => {}
                    (Err(CommitError::Conflict(found)), Err(expected)) => prop_assert_eq!(found, expected),
                    (found, expected) => prop_assert!(false, "{:?} instead of {:?}", found, expected),
                }
            }
            Step::Compact { writer } => prop_assert!(writers[writer].compact().unwrap()),
            Step::Reopen { writer } => writers[writer] = open(&folder),
            Step::Crash { kind, sample, written, first_byte } => {
                writers.clear();
                let changes = changes(kind, &samples[sample], &samples[(sample + 1) % SAMPLES]);
                if let Some(mut line) = line_of(&folder, changes.clone()) {
                    if !first_byte {
                        line[0] = b' ';
                    }
                    let whole = first_byte && written == 100;
                    line.truncate(line.len() * written / 100);
                    let journal = newest_journal(&folder);
                    fs::write(&journal, [fs::read(&journal).unwrap(), line].concat()).unwrap();
                    if whole {
                        model.apply_all(changes, NOW).unwrap();
                    }
                }
                writers = (0..WRITERS).map(|_| open(&folder)).collect();
            }
            Step::Follow => follower = follow(&folder),
        }
        let (mut equal, reader) = (false, &writers[steps.len() % WRITERS]);
        for reader in [&follower, reader] {
            reader.read(&mut |state| equal = *state == model).unwrap();
            prop_assert!(equal, "after {:?}", step);
        }
    }
    drop(writers);
    prop_assert!(whole_state(&open(&folder)) == model);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_handle_is_in_the_state_of_the_model(steps in steps()) {
        run(&steps)?;
    }
}
