//! The power goes (F-05): what was not synced is lost, whole or in part, in any order. The real operations are recorded,
//! and after every one of them the disk is put together as a power cut may leave it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use shared::files::faults::{self, Fault, Faults, Operation};
use shared::state::{Change, State};
use shared::store::Store;

use crate::support::{history, open, quick_folder, runtime, states, whole_state};

/// What was done to the folder.
#[derive(Clone, Debug)]
enum Done {
    Created(PathBuf),
    Written(PathBuf, usize, Vec<u8>),
    Synced(PathBuf),
    Cut(PathBuf, usize),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
    FolderSynced,
    Answered(usize),
}

#[derive(Default)]
struct Recorder(Mutex<Vec<Done>>);

impl Faults for Recorder {
    fn meets(&self, operation: &Operation<'_>) -> Fault {
        let size = |number: u64| usize::try_from(number).unwrap();
        self.0.lock().unwrap().push(match *operation {
            Operation::Create { path } => Done::Created(path.to_owned()),
            Operation::Write { path, at, bytes } => Done::Written(path.to_owned(), size(at), bytes.to_vec()),
            Operation::Sync { path } => Done::Synced(path.to_owned()),
            Operation::SetLength { path, length } => Done::Cut(path.to_owned(), size(length)),
            Operation::Rename { path, to } => Done::Renamed(path.to_owned(), to.to_owned()),
            Operation::Remove { path } => Done::Removed(path.to_owned()),
            Operation::SyncFolder { .. } => Done::FolderSynced,
            Operation::Answer { commits, .. } => Done::Answered(commits),
        });
        Fault::None
    }
}

/// A disk that knows what is on it and what only the system remembers.
#[derive(Default)]
struct Disk {
    files: Vec<Contents>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<BTreeMap<PathBuf, usize>>,
}

#[derive(Default)]
struct Contents {
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

enum Pending {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// What a power cut does with what was not synced.
#[derive(Clone, Copy, Debug)]
enum Cut {
    LosesAll,
    KeepsAll,
    /// Keeps some sectors and names, by this seed.
    KeepsSome(u64),
}

/// A small generator of pseudo-random numbers (xorshift64), so that a failure can be had again.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).unwrap() % sides
    }
}

impl Disk {
    fn apply(&mut self, done: &Done) {
        match done {
            Done::Created(path) if path.extension().is_some_and(|extension| extension == "tmp") => self.make(path),
            Done::Created(path) if !self.names.contains_key(path) => self.make(path),
            Done::Created(_) | Done::Answered(_) => {}
            Done::Written(path, at, bytes) => self.file(path).pending.push(Pending::Write(*at, bytes.clone())),
            Done::Cut(path, length) => self.file(path).pending.push(Pending::Length(*length)),
            Done::Synced(path) => self.file(path).sync(),
            Done::Renamed(from, to) => {
                let file = self.names.remove(from).unwrap();
                self.names.insert(to.clone(), file);
                self.renamed();
            }
            Done::Removed(path) => {
                self.names.remove(path);
                self.renamed();
            }
            Done::FolderSynced => {
                self.durable_names = self.names.clone();
                self.pending_names.clear();
            }
        }
    }

    fn make(&mut self, path: &Path) {
        self.files.push(Contents::default());
        self.names.insert(path.to_owned(), self.files.len() - 1);
        self.renamed();
    }

    fn renamed(&mut self) {
        self.pending_names.push(self.names.clone());
    }

    fn file(&mut self, path: &Path) -> &mut Contents {
        let file = self.names[path];
        &mut self.files[file]
    }

    /// Writes into a folder what is on the disk after a power cut. Names change in the order in which they were changed,
    /// as file systems with a journal do it.
    fn leave(&self, cut: Cut, folder: &Path) {
        let mut dice = Dice(if let Cut::KeepsSome(seed) = cut { seed } else { 1 });
        let names = match cut {
            Cut::LosesAll => &self.durable_names,
            Cut::KeepsAll => &self.names,
            Cut::KeepsSome(_) => match dice.throw(self.pending_names.len() + 1) {
                0 => &self.durable_names,
                kept => &self.pending_names[kept - 1],
            },
        };
        shared::files::create_private_folder(folder).unwrap();
        for (path, file) in names {
            let path = folder.join(path.file_name().unwrap());
            shared::files::replace(&path, &self.files[*file].after(cut, &mut dice)).unwrap();
        }
    }
}

impl Contents {
    fn sync(&mut self) {
        self.durable = self.after(Cut::KeepsAll, &mut Dice(1));
        self.pending.clear();
    }

    fn after(&self, cut: Cut, dice: &mut Dice) -> Vec<u8> {
        match cut {
            Cut::LosesAll => self.durable.clone(),
            Cut::KeepsAll => self.version(self.pending.len()),
            Cut::KeepsSome(_) => self.mixture(dice),
        }
    }

    /// The contents after the first `count` of what was not synced.
    fn version(&self, count: usize) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for pending in &self.pending[..count] {
            match pending {
                Pending::Length(length) => bytes.resize(*length, 0),
                Pending::Write(at, text) => {
                    let end = at + text.len();
                    bytes.resize(bytes.len().max(end), 0);
                    bytes[*at..end].copy_from_slice(text);
                }
            }
        }
        bytes
    }

    /// The length of one version, and of each sector some version: a sector is written whole, as it was at some moment.
    fn mixture(&self, dice: &mut Dice) -> Vec<u8> {
        let versions: Vec<_> = (0..=self.pending.len()).map(|count| self.version(count)).collect();
        let length = versions[dice.throw(versions.len())].len();
        // Now few sectors are the newest, now most are.
        let odds = dice.throw(5);
        let mut bytes = vec![0; length];
        for at in (0..length).step_by(512) {
            let newest = if dice.throw(4) < odds { versions.len() - 1 } else { dice.throw(versions.len()) };
            let version = &versions[newest];
            let end = (at + 512).min(length).min(version.len());
            if at < end {
                bytes[at..end].copy_from_slice(&version[at..end]);
            }
        }
        bytes
    }
}

/// Records a store's life: alone and in batches, a compaction, a restart, a restart after a torn end.
fn record(history: &[Vec<Change>]) -> Vec<Done> {
    let (_parent, folder) = quick_folder();
    let recorder = Arc::new(Recorder::default());
    let _injected = faults::inject(&folder, recorder.clone());
    let third = history.len() / 3;
    for (part, commits) in history.chunks(third).enumerate() {
        let store = open(&folder);
        if part == 1 {
            let answers: Vec<_> = commits.iter().map(|changes| store.commit(changes.clone())).collect();
            answers.into_iter().for_each(|answer| runtime().block_on(answer).unwrap());
            store.compact().unwrap();
        } else {
            commits.iter().for_each(|changes| store.commit_blocking(changes.clone()).unwrap());
        }
        drop(store);
        let journal = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let journal = journal.filter(|path| path.to_string_lossy().contains("journal.")).max().unwrap();
        let torn = b"{\"n\":".to_vec();
        let end = fs::read(&journal).unwrap().len();
        fs::write(&journal, [fs::read(&journal).unwrap(), torn.clone()].concat()).unwrap();
        recorder.0.lock().unwrap().push(Done::Written(journal, end, torn));
    }
    recorder.0.lock().unwrap().clone()
}

#[test]
fn f_05_a_power_cut_after_any_operation_loses_nothing_that_was_acknowledged() {
    let history = history(6);
    let states = states(&history);
    let done = record(&history);
    assert!(done.len() > 80, "{}", done.len());
    let (mut disk, mut acknowledged) = (Disk::default(), 0);
    for (number, operation) in done.iter().enumerate() {
        disk.apply(operation);
        acknowledged += if let Done::Answered(commits) = operation { *commits } else { 0 };
        let some = (1..=6).map(|seed| Cut::KeepsSome(seed * 0x9e37_79b9 + number as u64));
        for cut in [Cut::LosesAll, Cut::KeepsAll].into_iter().chain(some) {
            is_whole(&disk, cut, &states, acknowledged, &format!("{cut:?} after {number}: {operation:?}"));
        }
    }
    assert_eq!(acknowledged, history.len());
}

#[track_caller]
fn is_whole(disk: &Disk, cut: Cut, states: &[State], acknowledged: usize, what: &str) {
    let (_parent, folder) = quick_folder();
    disk.leave(cut, &folder);
    let what = &what[..what.len().min(300)];
    let store = shared::store::journal::JournalStore::open(&folder, crate::support::clock());
    let store = store.unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = whole_state(&store);
    let reached = (acknowledged..states.len()).find(|number| states[*number] == found);
    assert!(reached.is_some(), "{what}: not the state after commit {acknowledged} or later");
    crate::support::live(&store);
    drop(store);
    assert_eq!(whole_state(&open(&folder)).clients().len(), found.clients().len() + 1, "{what}");
}
