//! Stores of every format that was ever released are read for ever (`fixtures/README.md`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use shared::files;
use shared::state::{Change, OwnedRecord};
use shared::store::Store;
use shared::store::journal::JournalStore;
use shared::time::{ManualClock, Timestamp};
use shared::token::KeySet;

const NOW: Timestamp = Timestamp(1_800_000_000);

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

fn open(folder: &Path) -> JournalStore {
    JournalStore::open(folder, Arc::new(ManualClock::at(NOW))).unwrap()
}

fn history(fixture: &Path) -> Vec<Vec<Change>> {
    let text = fs::read_to_string(fixture.join("history.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Every record, as text, in order.
fn records(store: &JournalStore) -> String {
    let mut lines = BTreeSet::new();
    store.read(&mut |state| lines = state.records().map(|r| serde_json::to_string(&r).unwrap()).collect()).unwrap();
    lines.into_iter().map(|line| line + "\n").collect()
}

/// A store of a fixture's files, owner-only as git does not keep them.
fn store_of(files: &[PathBuf]) -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("store");
    files::create_private_folder(&folder).unwrap();
    for file in files {
        files::replace(&folder.join(file.file_name().unwrap()), &fs::read(file).unwrap()).unwrap();
    }
    (parent, folder)
}

/// Writes the files of a fixture from its history.
fn write(fixture: &Path) {
    let (_parent, folder) = store_of(&[]);
    let mut commits = history(fixture);
    let last = commits.pop().unwrap();
    let store = open(&folder);
    commits.into_iter().for_each(|changes| store.commit_blocking(changes).unwrap());
    fs::create_dir_all(fixture.join("compacted")).unwrap();
    let (_parent_of_twin, twin) = store_of(&[folder.join("journal.1.jsonl")]);
    let compacted = open(&twin);
    assert!(compacted.compact().unwrap());
    for store in [&store, &compacted] {
        store.commit_blocking(last.clone()).unwrap();
    }
    fs::write(fixture.join("expected.jsonl"), records(&store)).unwrap();
    fs::write(fixture.join("keys.json"), KeySet::generate(NOW).unwrap().to_json()).unwrap();
    drop((store, compacted));
    fs::copy(folder.join("journal.1.jsonl"), fixture.join("journal.1.jsonl")).unwrap();
    for name in ["snapshot.2.jsonl", "journal.2.jsonl"] {
        fs::copy(twin.join(name), fixture.join("compacted").join(name)).unwrap();
    }
}

#[test]
fn sto_06_a_store_of_every_format_there_ever_was_is_read() {
    for fixture in fixtures() {
        if std::env::var_os("FIXTURES").is_some_and(|value| value == "write") {
            write(&fixture);
        }
        let expected = fs::read_to_string(fixture.join("expected.jsonl")).unwrap();
        let compacted = fixture.join("compacted");
        let keys = fixture.join("keys.json");
        for files in [
            vec![fixture.join("journal.1.jsonl"), keys.clone()],
            vec![compacted.join("snapshot.2.jsonl"), compacted.join("journal.2.jsonl"), keys],
        ] {
            let (_parent, folder) = store_of(&files);
            let store = open(&folder);
            assert_eq!(records(&store), expected, "{files:?}");
            store.keys().unwrap();
            let with_key = records(&store);
            assert!(store.compact().unwrap());
            drop(store);
            assert_eq!(records(&open(&folder)), with_key, "{files:?}, compacted");
        }
    }
}

/// The names of an enum's variants, as its reader lists them.
fn variants<T: DeserializeOwned>() -> Vec<String> {
    let error = serde_json::from_str::<T>(r#"{"no such variant":0}"#).map(drop).unwrap_err().to_string();
    let (_, names) = error.split_once("expected one of ").unwrap();
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_kind_of_change_and_of_record_stands_in_a_fixture() {
    let text = |name: &str| -> String {
        fixtures().iter().map(|fixture| fs::read_to_string(fixture.join(name)).unwrap()).collect()
    };
    for (kinds, text) in [
        (variants::<Change>(), text("journal.1.jsonl")),
        (variants::<OwnedRecord>(), text("compacted/snapshot.2.jsonl")),
    ] {
        assert!(kinds.len() > 5, "{kinds:?}");
        for kind in kinds {
            assert!(text.contains(&format!("{{\"{kind}\":")), "{kind}: see fixtures/README.md");
        }
    }
}
