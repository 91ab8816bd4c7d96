//! A store as one file: for backups, for other machines, and, without what nobody else should see, for showing.
//!
//! `{"format":"mcp-authz-export",…}`, one record a line as in a snapshot, and a closing line with their number and a hash.
//! The private keys are not in it.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::foreign::Foreign;
use super::inspect::{self, Inspected, Watch};
use super::line::{self, Minor, VERSION};
use super::lock::{self, StoreLock};
use super::snapshot::{self, Versioned};
use super::tail::{self, journal_path};
use super::{checked_file, checked_folder, io_error};
use crate::files::{self, disk};
use crate::secret::TokenHash;
use crate::state::{Record, State};
use crate::store::StoreError;
use crate::time::Timestamp;

const FORMAT: &str = "mcp-authz-export";

/// The generation that an imported store begins with: the first that goes on from a snapshot.
const GENERATION: u64 = 2;

/// The first line of an export.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Header {
    format: String,
    version: String,
    store: Uuid,
    /// After which commit this was the state.
    seq: u64,
    latest: Timestamp,
    /// What the next commit is chained to.
    prev: TokenHash,
    exported: Timestamp,
    /// Whether hashes were left out: to be shown, not to be imported.
    #[serde(default)]
    redacted: bool,
    /// What a newer minor version has added to the headers of the journal and of the snapshot.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    journal: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    snapshot: Map<String, Value>,
}

impl Versioned for Header {
    fn version(&self) -> &str {
        &self.version
    }
}

/// Whether an export is a backup, or to be shown to others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Contents {
    /// Everything but the private keys: it can be imported.
    Whole,
    /// No hash of a password, secret or token, and nothing that this version does not know.
    Redacted,
}

/// What was exported or imported.
#[derive(Debug, Serialize)]
pub struct Transferred {
    /// Which store.
    pub store: Uuid,
    /// The number of the last commit in it.
    pub commits: u64,
    /// Its second.
    pub last_commit: Timestamp,
    /// How many records of each kind.
    pub records: BTreeMap<&'static str, usize>,
}

impl Transferred {
    fn new(store: Uuid, commits: u64, last_commit: Timestamp, state: &State) -> Self {
        Self { store, commits, last_commit, records: state.counts().into_iter().collect() }
    }
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum NotImported {
    /// What is there is not written over.
    #[error("there is a store in {0} already; import into an empty folder, or move that store away first")]
    NotEmpty(PathBuf),
    /// It is no backup.
    #[error("{0} was exported with --redacted: it has no hashes, so nobody could log in with it. Use a whole export")]
    Redacted(PathBuf),
    /// A file cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes the store in `folder` to `out`, as it is at one moment, beside whoever uses it.
///
/// # Errors
/// When the store cannot be read, or `out` not written.
pub fn export(
    folder: &Path,
    out: &mut dyn Write,
    contents: Contents,
    now: Timestamp,
    watch: Watch<'_>,
) -> Result<Transferred, StoreError> {
    let (inspected, foreign) = read(folder, contents, watch)?;
    let Inspected { state, tail, place } = inspected;
    let mut header = Header {
        format: FORMAT.to_owned(),
        version: foreign.minor().version(),
        store: place.store,
        seq: place.commits,
        latest: place.last_commit,
        prev: tail.link(),
        exported: now,
        redacted: contents == Contents::Redacted,
        journal: Map::new(),
        snapshot: Map::new(),
    };
    let mut out = BufWriter::with_capacity(1 << 18, out);
    let nothing = |_: &mut BufWriter<_>| Ok(());
    let written = match contents {
        Contents::Whole => {
            header.journal = tail.header_of(place.generation).other;
            header.snapshot = foreign.snapshot_header().clone();
            snapshot::write_records(
                &mut out,
                &header,
                &state,
                |out, record| out.line(&foreign.complete(record)),
                nothing,
            )
        }
        Contents::Redacted => snapshot::write_records(
            &mut out,
            &header,
            &state,
            |out, record| shown(&record).map_or(Ok(()), |shown| out.line(&shown)),
            nothing,
        ),
    };
    written.and_then(|()| out.flush()).map_err(io_error("write", Path::new("the export")))?;
    Ok(Transferred::new(place.store, place.commits, place.last_commit, &state))
}

/// Reads a store, and what a newer minor version has added to it.
fn read(folder: &Path, contents: Contents, watch: Watch<'_>) -> Result<(Inspected, Foreign), StoreError> {
    loop {
        let inspected = inspect::read(folder, watch)?;
        if contents == Contents::Redacted {
            return Ok((inspected, Foreign::default()));
        }
        match Foreign::collect(folder, &inspected.tail) {
            Ok(foreign) => return Ok((inspected, foreign)),
            // A compaction has replaced the generation between the two readings.
            Err(_) if tail::newest_generation(folder)? > Some(inspected.place.generation) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The members of a record that may be shown; `None` when it is but a hash.
fn shown(record: &Record<'_>) -> Option<Value> {
    let members: &[&str] = match record {
        Record::Client(_) => &[
            "id",
            "name",
            "redirect_uris",
            "auth_method",
            "grant_types",
            "scope",
            "client_uri",
            "origin",
            "issued_at",
            "approved_at",
        ],
        Record::User(_) => &["name", "admin", "created", "stage"],
        Record::Session(_) => &["user", "created", "expires"],
        Record::Grant(_) => &["id", "user", "client", "resource", "scopes", "created", "stage"],
        Record::Code(_) => &["grant", "expires", "stage"],
        Record::Family(_) => &["grant", "used", "expires", "stage"],
        Record::Access(_) => &["id", "grant", "scopes", "issued", "expires"],
        Record::Key(_) => &["id", "alg", "jwk", "published", "retires"],
        Record::Setup(_) => &["expires"],
        Record::Initial(_) => &["note", "created", "expires", "uses"],
        Record::Assertion(..) => return None,
        Record::Device(_) => &["client", "scopes", "resource", "expires", "stage"],
        Record::Pushed(_) => &["client", "expires", "opened"],
        Record::Tools(_) | Record::Issuer(..) => return serde_json::to_value(record).ok(),
    };
    let mut whole = serde_json::to_value(record).ok()?;
    whole.as_object_mut()?.values_mut().next()?.as_object_mut()?.retain(|name, _| members.contains(&name.as_str()));
    Some(whole)
}

/// Makes a store in `folder` from an export: the same store, at the commit that was the last then. Nothing is half
/// imported: until the last step there is no store. The private keys are made or put there by whoever starts it.
///
/// # Errors
/// When there is a store already, the export is damaged or redacted, or a file cannot be written.
pub fn import(file: &Path, folder: &Path, dry_run: bool, watch: Watch<'_>) -> Result<Transferred, NotImported> {
    if tail::newest_generation(folder)?.is_some() {
        return Err(NotImported::NotEmpty(folder.to_owned()));
    }
    let first = first_line(file)?;
    if first.redacted {
        return Err(NotImported::Redacted(file.to_owned()));
    }
    let (header, state, foreign) = read_export(file, &first, watch)?;
    if !dry_run {
        write_store(folder, &header, &state, &foreign)?;
    }
    Ok(Transferred::new(header.store, header.seq, header.latest, &state))
}

fn read_export(file: &Path, first: &Header, watch: Watch<'_>) -> Result<(Header, State, Foreign), StoreError> {
    let all = std::fs::metadata(file).map_err(io_error("open", file))?.len();
    let (mut foreign, mut done) = (Foreign::default(), 0);
    // Where somebody who knows more than we do has written, every member is looked at.
    let is_newer = Minor::of(&first.version).is_some_and(Minor::is_newer);
    let (header, state) = snapshot::walk(file, read_header, &mut |record, line| {
        done += line.len() as u64;
        watch(done, all);
        if is_newer {
            foreign.take_record(line, &record.as_record());
        }
    })?;
    foreign.take_header(Minor::of(&header.version).unwrap_or_default(), header.snapshot.clone());
    Ok((header, state, foreign))
}

fn first_line(file: &Path) -> Result<Header, StoreError> {
    use std::io::{BufRead, BufReader, Read};

    checked_file(file)?;
    let mut line = Vec::new();
    let opened = std::fs::File::open(file).map_err(io_error("open", file))?;
    BufReader::new(opened.take(1 << 20)).read_until(b'\n', &mut line).map_err(io_error("read", file))?;
    read_header(&line, file)
}

fn read_header(line: &[u8], path: &Path) -> Result<Header, StoreError> {
    let damaged = || StoreError::Damaged {
        path: path.to_owned(),
        line: 1,
        reason: "the header is not that of an export".to_owned(),
    };
    let header: Header = serde_json::from_slice(line).map_err(|_| damaged())?;
    if header.format != FORMAT {
        return Err(damaged());
    }
    if Minor::of(&header.version).is_none() {
        return Err(StoreError::Newer { path: path.to_owned(), found: header.version, known: VERSION });
    }
    Ok(header)
}

fn write_store(folder: &Path, header: &Header, state: &State, foreign: &Foreign) -> Result<(), NotImported> {
    files::create_private_folder(folder).map_err(io_error("create", folder))?;
    checked_folder(folder)?;
    let _alone = lock::sole_user(folder)?;
    let lock = StoreLock::open(folder)?;
    let _held = lock.exclusive()?;
    if tail::newest_generation(folder)?.is_some() {
        return Err(NotImported::NotEmpty(folder.to_owned()));
    }
    let first = snapshot::Header::new(header.store, GENERATION, header.seq, header.latest, foreign);
    let written = snapshot::write(folder, &first, state, foreign)?;
    let path = snapshot::path(folder, GENERATION);
    disk::rename(&written, &path).map_err(io_error("rename", &written))?;
    let minor = foreign.minor();
    let journal = line::Header::first(header.store).next(GENERATION, header.seq, header.prev.as_bytes(), minor);
    let journal = line::Header { other: header.journal.clone(), ..journal };
    let path = journal_path(folder, GENERATION);
    // This rename is the moment of the import.
    files::replace(&path, &journal.to_line()).map_err(io_error("create", &path))?;
    Ok(())
}
