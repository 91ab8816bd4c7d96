//! A snapshot: the state as it was after one commit, one record a line.
//!
//! A header line, the records, and a closing line with their number and the SHA-256 of every byte before it, so that a
//! snapshot is whole or refused.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::line::VERSION;
use super::{checked_file, io_error};
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
pub(super) fn write(folder: &Path, header: Header, state: &State) -> Result<PathBuf, StoreError> {
    let path = path(folder, header.generation).with_extension("jsonl.tmp");
    write_to(path.clone(), header, state).map_err(io_error("write", &path))?;
    Ok(path)
}

fn write_to(path: PathBuf, header: Header, state: &State) -> std::io::Result<()> {
    let inner = BufWriter::with_capacity(1 << 18, disk::Writer::create(path)?);
    let mut out = Hashed { inner, hash: digest::Context::new(&digest::SHA256), line: Vec::new() };
    out.line(&header)?;
    let mut count = 0;
    for record in state.records() {
        out.line(&record)?;
        count += 1;
        if count % SYNCED == 0 {
            out.inner.flush()?;
            out.inner.get_ref().sync()?;
        }
    }
    let h = out.digest();
    out.line(&End { end: count, h })?;
    out.inner.into_inner()?.sync()
}

impl Header {
    /// The header of a snapshot for the journal of `generation`.
    pub(super) fn new(store: Uuid, generation: u64, seq: u64, latest: Timestamp) -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION.to_owned(), store, generation, seq, latest }
    }
}

/// A writer that hashes what passes.
struct Hashed<W> {
    inner: W,
    hash: digest::Context,
    line: Vec<u8>,
}

impl<W: Write> Hashed<W> {
    fn line(&mut self, value: &impl Serialize) -> std::io::Result<()> {
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
    checked_file(path)?;
    let mut reader = BufReader::with_capacity(1 << 18, File::open(path).map_err(io_error("open", path))?);
    let (mut line, mut number, mut count) = (Vec::new(), 0, 0);
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut header: Option<Header> = None;
    let mut restoring = Restoring::default();
    let damaged = |line: u64, reason: String| StoreError::Damaged { path: path.to_owned(), line, reason };
    while reader.read_until(b'\n', &mut line).map_err(io_error("read", path))? > 0 {
        number += 1;
        if line.starts_with(b"{\"end\":") {
            let end: End = serde_json::from_slice(&line)
                .map_err(|_| damaged(number, "the closing line cannot be read".to_owned()))?;
            let fits = end.end == count && end.h == finished(hash);
            let header = header.ok_or_else(|| damaged(1, "the header is missing".to_owned()))?;
            if !fits {
                return Err(damaged(number, "the closing line does not fit: a line above was changed".to_owned()));
            }
            let state = restoring.finish();
            return match state {
                Some(state) => Ok((header, state)),
                None => Err(damaged(number, "a family of refresh tokens above belongs to no grant".to_owned())),
            };
        }
        hash.update(&line);
        if header.is_some() {
            let record: OwnedRecord = serde_json::from_slice(&line)
                .map_err(|error| damaged(number, format!("it cannot be read: {error}")))?;
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

fn read_header(line: &[u8], path: &Path) -> Result<Header, StoreError> {
    let damaged = || StoreError::Damaged {
        path: path.to_owned(),
        line: 1,
        reason: "the header is not that of a snapshot".to_owned(),
    };
    let header: Header = serde_json::from_slice(line).map_err(|_| damaged())?;
    if header.format != FORMAT {
        return Err(damaged());
    }
    if header.version.split('.').next() != VERSION.split('.').next() {
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
        let numbered = ["journal.", "snapshot."]
            .iter()
            .find_map(|kind| name.strip_prefix(kind)?.split('.').next()?.parse::<u64>().ok());
        let ours = name.ends_with(".tmp") && (numbered.is_some() || name.starts_with("keys.json."));
        if ours || numbered.is_some_and(|found| found != generation) {
            // What cannot be removed now is removed the next time.
            let _ = disk::remove(&entry.path());
        }
    }
}
