//! Looking at a store from outside: what is in it, and whether it is whole. Nothing is changed and nobody waits.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use uuid::Uuid;

use super::lock::StoreLock;
use super::snapshot;
use super::tail::{self, Progress, Tail, journal_path};
use super::{checked_folder, io_error};
use crate::state::State;
use crate::store::StoreError;
use crate::time::Timestamp;
use crate::token::KeySet;

/// Is told how far a long reading has come: bytes read, bytes in all.
pub type Watch<'a> = &'a mut dyn FnMut(u64, u64);

/// A store as it was at one moment.
pub struct Inspected {
    /// What it holds.
    pub state: State,
    /// Where it stands.
    pub place: Place,
    pub(super) tail: Tail,
}

/// Where a store stands.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    /// Which store.
    pub store: Uuid,
    /// The format of its files.
    pub version: String,
    /// How often it was compacted, and one.
    pub generation: u64,
    /// The number of the last commit.
    pub commits: u64,
    /// Its second.
    pub last_commit: Timestamp,
    /// The size of the journal.
    pub journal_bytes: u64,
    /// The size of the snapshot that it goes on from.
    pub snapshot_bytes: u64,
    /// What a crash has left unfinished at the end of the journal; the next commit cuts it off.
    pub unfinished: bool,
}

/// A generation, read as far as it can be.
pub(super) struct Reading {
    pub(super) state: State,
    pub(super) tail: Tail,
    pub(super) end: Result<Progress, StoreError>,
}

/// Reads the store in `folder`, without its lock. Where that finds damage, a writer may be at work, so it looks again
/// under the lock before it says so.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn read(folder: &Path, watch: Watch<'_>) -> Result<Inspected, StoreError> {
    match read_once(folder, watch) {
        Err(StoreError::Damaged { .. } | StoreError::Io { .. }) if folder.join("store.lock").exists() => {
            let lock = StoreLock::open(folder)?;
            let _held = lock.shared()?;
            read_once(folder, watch)
        }
        done => done,
    }
}

fn read_once(folder: &Path, watch: Watch<'_>) -> Result<Inspected, StoreError> {
    let absent = || StoreError::Absent(folder.to_owned());
    if !folder.is_dir() {
        return Err(absent());
    }
    checked_folder(folder)?;
    let reading = Tail::of_newest(folder, |generation| {
        let Some(reading) = read_generation(folder, generation, watch)? else { return Ok(None) };
        match reading.end {
            Ok(end) => Ok(Some((reading.state, reading.tail, end))),
            Err(error) => Err(error),
        }
    })?;
    let Some((state, tail, end)) = reading else {
        tail::check_nothing_left(folder)?;
        return Err(absent());
    };
    let place = place(folder, &tail, end);
    Ok(Inspected { state, place, tail })
}

fn place(folder: &Path, tail: &Tail, end: Progress) -> Place {
    let (store, commits) = tail.position();
    let generation = tail.generation();
    Place {
        store,
        version: tail.minor().version(),
        generation,
        commits,
        last_commit: tail.latest(),
        journal_bytes: size_of(&journal_path(folder, generation)),
        snapshot_bytes: size_of(&snapshot::path(folder, generation)),
        unfinished: matches!(end, Progress::Read { torn: true }),
    }
}

/// Reads a generation as far as it can be; `None` when its journal is not there. An error in the journal's lines is its
/// `end`; one in what comes before them leaves nothing to go on from.
pub(super) fn read_generation(folder: &Path, generation: u64, watch: Watch<'_>) -> Result<Option<Reading>, StoreError> {
    let Some(mut tail) = Tail::open(folder, generation, false)? else { return Ok(None) };
    let snapshot = snapshot::path(folder, generation);
    let all = size_of(&journal_path(folder, generation)) + size_of(&snapshot);
    let (mut state, mut done) = (State::default(), 0);
    let mut took = |line: &[u8]| {
        done += line.len() as u64;
        watch(done, all);
    };
    if generation > 1 {
        let (header, restored) = snapshot::walk(&snapshot, snapshot::read_header, &mut |_, line| took(line))?;
        tail.take_snapshot(&snapshot, &header)?;
        state = restored;
    }
    let end = tail.advance(None, &mut |commit, line| {
        took(line);
        let applied = state.apply_all(commit.c, commit.t);
        applied.map(drop).map_err(|conflict| format!("it contradicts the lines before it: {conflict}"))
    });
    // What a writer looks at before it writes: that nothing strange stands behind the last commit.
    let end = end.and_then(|end| match end {
        Progress::Read { torn: false } => tail.is_followed_by_blanks().map(|blanks| Progress::Read { torn: !blanks }),
        end => Ok(end),
    });
    Ok(Some(Reading { state, tail, end }))
}

/// How large the files of a store are.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sizes {
    /// How often it was compacted, and one.
    pub generation: u64,
    /// The size of the journal.
    pub journal_bytes: u64,
    /// The size of the snapshot that it goes on from.
    pub snapshot_bytes: u64,
}

/// Looks at the sizes only; `None` when there is no store.
///
/// # Errors
/// When the folder cannot be read.
pub fn sizes(folder: &Path) -> Result<Option<Sizes>, StoreError> {
    let Some(generation) = tail::newest_generation(folder)? else { return Ok(None) };
    let journal_bytes = size_of(&journal_path(folder, generation));
    let snapshot_bytes = size_of(&snapshot::path(folder, generation));
    Ok(Some(Sizes { generation, journal_bytes, snapshot_bytes }))
}

fn size_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// What a check has found.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// Where the store stands, when it can be read.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// What is to be said about it, the worst first.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// Whether the store is well: nothing but notes.
    pub fn is_well(&self) -> bool {
        self.findings.iter().all(|finding| finding.weight == Weight::Note)
    }
}

/// Something that a check has found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub weight: Weight,
    /// In which file or folder.
    pub path: PathBuf,
    /// In which line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What it is.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// The store cannot be used as it is.
    Damage,
    /// Others can read what they should not, or a file is missing or in the way.
    Problem,
    /// Nothing has to be done.
    Note,
}

/// Verifies a store: the headers, the hash of every line, that every commit fits the ones before it, the snapshot's
/// hash, the keys, and who may read it all. Changes nothing.
///
/// # Errors
/// When there is no store, or it cannot be looked at.
pub fn check(folder: &Path, watch: Watch<'_>) -> Result<Checked, StoreError> {
    let mut findings = Vec::new();
    let read = read(folder, watch);
    let place = match &read {
        Ok(inspected) => Some(inspected.place.clone()),
        Err(error @ (StoreError::Absent(_) | StoreError::Locked { .. })) => return Err(error.clone()),
        Err(error) => {
            findings.push(of_error(folder, error));
            None
        }
    };
    if let Some(place) = place.as_ref().filter(|place| place.unfinished) {
        let path = journal_path(folder, place.generation);
        findings.push(note(path, "a crash left an unfinished last line", "the next commit cuts it off"));
    }
    check_keys(folder, read.as_ref().ok().map(|inspected| &inspected.state), &mut findings)?;
    check_files(folder, place.as_ref().map(|place| place.generation), &mut findings)?;
    findings.sort_by_key(|finding| finding.weight);
    Ok(Checked { place, findings })
}

fn of_error(folder: &Path, error: &StoreError) -> Finding {
    let damage = |path: &Path, line, what: String, advice: &str| {
        let (weight, path, advice) = (Weight::Damage, path.to_owned(), advice.to_owned());
        Finding { weight, path, line, what, advice }
    };
    match error {
        StoreError::Damaged { path, line, reason } => {
            let is_journal =
                path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("journal."));
            let advice = if is_journal && *line > 1 {
                "restore a backup, or keep what stands before this line with `authz-service store repair`"
            } else {
                "restore a backup with `authz-service store import`"
            };
            damage(path, Some(*line), reason.clone(), advice)
        }
        StoreError::Newer { path, found, known } => {
            damage(path, None, format!("it has format {found}, this program knows {known}"), "use the newer program")
        }
        StoreError::Unsafe { path, reason } => damage(path, None, reason.clone(), "see above"),
        StoreError::Io { what, path, reason } => {
            damage(path, None, format!("cannot {what} it: {reason}"), "see whether the disk is well")
        }
        other => damage(folder, None, other.to_string(), "try again"),
    }
}

fn note(path: PathBuf, what: &str, advice: &str) -> Finding {
    Finding { weight: Weight::Note, path, line: None, what: what.to_owned(), advice: advice.to_owned() }
}

/// `keys.json` can be read, and its public key is one that the store knows.
fn check_keys(folder: &Path, state: Option<&State>, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
    let path = folder.join("keys.json");
    // To open a FIFO would wait for ever.
    if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
        let (what, advice) = ("it is not a file".to_owned(), "move it out of the way".to_owned());
        findings.push(Finding { weight: Weight::Damage, path, line: None, what, advice });
        return Ok(());
    }
    match fs::read(&path) {
        Ok(text) => match KeySet::from_json(&text) {
            Err(error) => findings.push(Finding {
                weight: Weight::Damage,
                path,
                line: None,
                what: error.to_string(),
                advice: "restore it from a backup, or remove it: the service then makes new keys".to_owned(),
            }),
            Ok(keys) => {
                let published = |state: &State, id| state.keys().iter().any(|key| key.id == id);
                let all = keys.all_public();
                if state.is_some_and(|state| !all.into_iter().all(|key| published(state, key.id))) {
                    findings.push(note(path, "a key in it is not published yet", "the service does so when it starts"));
                }
            }
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            findings.push(note(path, "there are no private keys", "the service makes them when it starts"));
        }
        Err(error) => return Err(io_error("read", &path)(error)),
    }
    Ok(())
}

/// Who may read the files, and which of them are of no use any more.
fn check_files(folder: &Path, generation: Option<u64>, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
    let entries = fs::read_dir(folder).map_err(io_error("read the folder", folder))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| is_a_file_of_it(path)).collect();
    paths.sort();
    for path in std::iter::once(folder.to_owned()).chain(paths) {
        if let Some(mode) = readable_by_others(&path) {
            findings.push(Finding {
                weight: Weight::Problem,
                line: None,
                what: format!("others can read or write it (mode {mode:03o})"),
                advice: "run chmod go-rwx on it; a service that starts does so too".to_owned(),
                path,
            });
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let of_another = tail::generation_of(name).is_some_and(|found| generation.is_some_and(|ours| found != ours));
        if name.ends_with(".tmp") || of_another {
            findings.push(note(path, "an interrupted compaction left it", "the next writer removes it"));
        } else if name.starts_with(super::repair::ASIDE) {
            findings.push(note(path, "a repair has set it aside", "remove it when it is no longer needed"));
        }
    }
    Ok(())
}

fn is_a_file_of_it(path: &Path) -> bool {
    super::is_ours(path) || path.extension().is_some_and(|extension| extension == "tmp")
}

/// The mode of a file that others can do something with.
#[cfg(unix)]
fn readable_by_others(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;

    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(not(unix))]
fn readable_by_others(_path: &Path) -> Option<u32> {
    None
}
