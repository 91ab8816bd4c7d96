//! The lines of a file of calls. Its chain is the journal's.

use serde::{Deserialize, Serialize};

use super::record::{Entry, Recorded};
use crate::secret::TokenHash;
use crate::store::journal::line::{Link, batch_of, chained, link_of, write_chained};
use crate::time::Timestamp;

const FORMAT: &str = "mcp-authz-calls";
/// A reader takes any `1.x`.
pub(super) const VERSION: &str = "1.0";

/// A file's first line.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Header {
    format: String,
    version: String,
    /// Counts the files, from 1.
    pub(super) file: u64,
    /// The number of the last line before this file.
    pub(super) seq: u64,
    /// The link that the first line is chained to.
    pub(super) prev: TokenHash,
    /// The file before is damaged: the chain begins anew here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) anew: bool,
}

/// A line as it is read.
#[derive(Deserialize)]
struct Body {
    n: u64,
    t: Timestamp,
    #[serde(default)]
    e: Option<serde_json::Value>,
    #[serde(default)]
    next: Option<u64>,
}

#[derive(Serialize)]
struct Written<'a> {
    n: u64,
    t: Timestamp,
    e: &'a Entry,
    b: u64,
}

#[derive(Serialize)]
struct Turned {
    n: u64,
    t: Timestamp,
    next: u64,
    b: u64,
}

impl Header {
    pub(super) fn new(file: u64, seq: u64, link: &Link, anew: bool) -> Self {
        let prev = TokenHash::from_digest(*link);
        Self { format: FORMAT.to_owned(), version: VERSION.to_owned(), file, seq, prev, anew }
    }

    pub(super) fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok().filter(|header: &Self| header.format == FORMAT)
    }

    /// The version, if this program cannot read it.
    pub(super) fn too_new(&self) -> Option<&str> {
        (!self.version.starts_with("1.")).then_some(self.version.as_str())
    }
}

/// Appends a line to `out` and returns its link. `first` is the first line of those that are synced as one.
pub(super) fn write((n, first): (u64, u64), at: Timestamp, entry: &Entry, prev: &Link, out: &mut Vec<u8>) -> Link {
    write_chained(&Written { n, t: at, e: entry, b: first }, prev, out)
}

/// Appends the line that ends a file.
pub(super) fn write_turn(n: u64, at: Timestamp, next: u64, prev: &Link, out: &mut Vec<u8>) -> Link {
    write_chained(&Turned { n, t: at, next, b: n }, prev, out)
}

/// What a line is.
pub(super) enum Read {
    /// Something happened.
    Entry(Recorded),
    /// The trail goes on in the next file.
    Turn,
}

/// Reads line `n`, without its newline; the error is a reason for a person.
pub(super) fn read(line: &[u8], n: u64, prev: &Link) -> Result<(Read, Link), &'static str> {
    let link = chained(line, prev)?;
    let body: Body = serde_json::from_slice(line).map_err(|_| "it cannot be read")?;
    if body.n != n {
        return Err("its number does not follow the one before");
    }
    if body.next.is_some() {
        return Ok((Read::Turn, link));
    }
    // A newer program may write down other things: they are part of the chain and left unread.
    let entry = body.e.and_then(|entry| serde_json::from_value(entry).ok());
    Ok((Read::Entry(Recorded { number: n, at: body.t, entry }), link))
}

/// The number and the link of a line whose own chain is not checked, for whoever begins in the middle.
pub(super) fn place_of(line: &[u8]) -> Option<(u64, Link)> {
    batch_of(line)?;
    let body: Body = serde_json::from_slice(line).ok()?;
    Some((body.n, link_of(line)?))
}

/// The first line of the batch that a line was written in, by the line's end alone.
pub(super) fn batch(line: &[u8]) -> Option<u64> {
    batch_of(line)
}
