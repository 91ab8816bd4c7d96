//! A snapshot: the state as it was after one commit, one record a line.
//!
//! A header line, the records, and a closing line with their number and the SHA-256 of every byte before it, so that a
//! snapshot is whole or refused.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::foreign::Foreign;
use super::line::{self, Minor, VERSION};
use super::{checked_file, io_error, tail};
use crate::files::disk;
use crate::secret::TokenHash;
use crate::state::{OwnedRecord, Restoring, State};
use crate::store::StoreError;
use crate::time::Timestamp;

const FORMAT: &str = "mcp-authz-snapshot";

/// After how many records a snapshot is synced: all at the end would be a load that every commit has to wait behind.
const SYNCED: u64 = 16_384;

/// The first line: after which commit this was the state.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Header {
    format: String,
    version: String,
    /// The same in every file of one store.
    pub(super) store: Uuid,
    /// The generation of the journal that goes on from here.
    pub(super) generation: u64,
    /// The commit's number.
    pub(super) seq: u64,
    /// The commit's second.
    pub(super) latest: Timestamp,
    /// What a newer minor version has added.
    #[serde(flatten)]
    pub(super) other: Map<String, Value>,
}

/// The last line.
#[derive(Deserialize, Serialize)]
struct End {
    end: u64,
    h: TokenHash,
}

/// Where the snapshot of a generation lies.
pub(super) fn path(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("snapshot.{generation}.jsonl"))
}

/// Writes a snapshot under its temporary name and returns that: durable, but not in force yet.
pub(super) fn write(folder: &Path, header: &Header, state: &State, foreign: &Foreign) -> Result<PathBuf, StoreError> {
    let path = path(folder, header.generation).with_extension("jsonl.tmp");
    let written = || {
        let mut out = BufWriter::with_capacity(1 << 18, disk::Writer::create(path.clone())?);
        let sync = |out: &mut BufWriter<disk::Writer>| out.flush().and_then(|()| out.get_ref().sync());
        write_records(&mut out, header, state, |out, record| out.line(&foreign.complete(record)), sync)?;
        out.into_inner()?.sync()
    };
    written().map_err(io_error("write", &path))?;
    Ok(path)
}

/// Writes a header, every record of a state as `write_one` does it, and the closing line; `rest` is called now and then.
pub(super) fn write_records<'a, W: Write>(
    out: &mut W,
    header: &impl Serialize,
    state: &'a State,
    write_one: impl Fn(&mut Hashed<&mut W>, crate::state::Record<'a>) -> std::io::Result<()>,
    rest: impl Fn(&mut W) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut out = Hashed { inner: out, hash: digest::Context::new(&digest::SHA256), line: Vec::new() };
    out.line(header)?;
    let mut count = 0;
    for record in state.records() {
        write_one(&mut out, record)?;
        count += 1;
        if count % SYNCED == 0 {
            rest(out.inner)?;
        }
    }
    let h = out.digest();
    out.line(&End { end: count, h })
}

impl Header {
    /// The header of a snapshot for the journal of `generation`, with what `foreign` has of the one before.
    pub(super) fn new(store: Uuid, generation: u64, seq: u64, latest: Timestamp, foreign: &Foreign) -> Self {
        let (version, other) = (foreign.minor().version(), foreign.snapshot_header().clone());
        Self { format: FORMAT.to_owned(), version, store, generation, seq, latest, other }
    }
}

/// A writer that hashes what passes.
pub(super) struct Hashed<W> {
    inner: W,
    hash: digest::Context,
    line: Vec<u8>,
}

impl<W: Write> Hashed<W> {
    pub(super) fn line(&mut self, value: &impl Serialize) -> std::io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, value)?;
        self.line.push(b'\n');
        self.hash.update(&self.line);
        self.inner.write_all(&self.line)
    }

    fn digest(&self) -> TokenHash {
        finished(self.hash.clone())
    }
}

fn finished(hash: digest::Context) -> TokenHash {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    TokenHash::from_digest(bytes)
}

/// Reads a snapshot.
pub(super) fn read(path: &Path) -> Result<(Header, State), StoreError> {
    walk(path, read_header, &mut |_, _| {})
}

/// Is shown every record and its line.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&OwnedRecord, &[u8]);

/// A header line that says which format the lines below it have.
pub(super) trait Versioned {
    fn version(&self) -> &str;
}

impl Versioned for Header {
    fn version(&self) -> &str {
        &self.version
    }
}

/// Reads the lines of a snapshot, or of another file of this build: header, records, closing line.
pub(super) fn walk<H: Versioned>(
    path: &Path,
    read_header: fn(&[u8], &Path) -> Result<H, StoreError>,
    visit: Visit<'_>,
) -> Result<(H, State), StoreError> {
    checked_file(path)?;
    let mut reader = BufReader::with_capacity(1 << 18, File::open(path).map_err(io_error("open", path))?);
    let (mut line, mut number, mut count) = (Vec::new(), 0, 0);
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut header: Option<H> = None;
    let mut restoring = Restoring::default();
    let damaged = |line: u64, reason: String| StoreError::Damaged { path: path.to_owned(), line, reason };
    let limit = tail::MAX_LINE as u64;
    while reader.by_ref().take(limit).read_until(b'\n', &mut line).map_err(io_error("read", path))? > 0 {
        number += 1;
        if line.len() == tail::MAX_LINE {
            return Err(damaged(number, "it is longer than any line of ours".to_owned()));
        }
        if line.starts_with(b"{\"end\":") {
            let end: End = serde_json::from_slice(&line)
                .map_err(|_| damaged(number, "the closing line cannot be read".to_owned()))?;
            let fits = end.end == count && end.h == finished(hash);
            let header = header.ok_or_else(|| damaged(1, "the header is missing".to_owned()))?;
            if !reader.fill_buf().map_err(io_error("read", path))?.is_empty() {
                return Err(damaged(number + 1, "it stands after the closing line".to_owned()));
            }
            if !fits {
                return Err(damaged(number, "the closing line does not fit: a line above was changed".to_owned()));
            }
            return match restoring.finish() {
                Some(state) => Ok((header, state)),
                None => Err(damaged(number, "a family of refresh tokens above belongs to no grant".to_owned())),
            };
        }
        hash.update(&line);
        if let Some(header) = &header {
            let record = serde_json::from_slice(&line).map_err(|error| match newer(header.version()) {
                Some(found) => StoreError::Newer { path: path.to_owned(), found, known: VERSION },
                None => damaged(number, line::unreadable(error)),
            })?;
            visit(&record, &line);
            if !restoring.add(record) {
                return Err(damaged(number, "its record stands above already".to_owned()));
            }
            count += 1;
        } else {
            header = Some(read_header(&line, path)?);
        }
        line.clear();
    }
    Err(damaged(number, "it ends without its closing line".to_owned()))
}

/// The version, if it is of somebody who knows more than we do.
fn newer(version: &str) -> Option<String> {
    Minor::of(version).is_some_and(Minor::is_newer).then(|| version.to_owned())
}

pub(super) fn read_header(line: &[u8], path: &Path) -> Result<Header, StoreError> {
    let damaged = || StoreError::Damaged {
        path: path.to_owned(),
        line: 1,
        reason: "the header is not that of a snapshot".to_owned(),
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

/// Removes what a crash or an earlier generation left: temporary files, and everything before `generation`. For the
/// holder of the exclusive lock.
pub(super) fn clean(folder: &Path, generation: u64) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let ours = ["journal.", "snapshot.", "keys.json."].iter().any(|kind| name.starts_with(kind));
        let is_temporary = ours && name.ends_with(".tmp");
        if is_temporary || tail::generation_of(name).is_some_and(|found| found != generation) {
            // What cannot be removed now is removed the next time.
            let _ = disk::remove(&entry.path());
        }
    }
}
