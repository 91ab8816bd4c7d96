//! The lines of a journal: a header, then one line a commit, each sealed with a hash over the line before.
//!
//! `{"n":7,"t":1790000000,"c":[…],"b":6,"h":"<43 characters>"}` where `h` is SHA-256 over the hash of the line before and
//! the bytes of this line up to `,"h":`. The chain finds torn tails and flipped bits, names the damaged line, and
//! makes the journal an audit trail that cannot be edited in the middle. `b` is the first commit of the batch that was
//! synced as one: what a power cut tore ends with its batch, and with a later one behind it, it is damage instead.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::oauth::json;
use crate::secret::TokenHash;
use crate::state::Change;
use crate::time::Timestamp;

/// What the first member of a journal's header says.
const FORMAT: &str = "mcp-authz-journal";

/// The format that we write. A reader takes any `1.x`: what a minor version adds can be left unread, and is carried
/// along ([`super::foreign`]).
pub(super) const VERSION: &str = "1.0";

/// The second number of a format version. Those who know more than we do write a higher one.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(super) struct Minor(pub(super) u64);

impl Minor {
    /// That of [`VERSION`].
    pub(super) const OURS: Self = Self(0);

    /// The minor version that a text like `1.7` names; `None` when its major version is not ours.
    pub(super) fn of(version: &str) -> Option<Self> {
        let (major, minor) = version.split_once('.')?;
        VERSION.strip_prefix(major)?.starts_with('.').then(|| minor.parse().map(Self).ok())?
    }

    /// The version of a file in which writers of this minor version and we have written.
    pub(super) fn version(self) -> String {
        let major = VERSION.split('.').next().unwrap_or_default();
        format!("{major}.{}", self.max(Self::OURS).0)
    }

    /// Whether it is that of somebody who knows more than we do.
    pub(super) fn is_newer(self) -> bool {
        self > Self::OURS
    }
}

/// `,"h":"` + 43 + `"}`.
const SEAL_LENGTH: usize = 6 + 43 + 2;

/// The hash of the line before.
pub(in crate::store) type Link = [u8; 32];

/// A journal's first line.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Header {
    pub(super) format: String,
    pub(super) version: String,
    /// The same in every file of one store.
    pub(super) store: Uuid,
    /// Counts the journals of a store, from 1.
    pub(super) generation: u64,
    /// The number of the last commit before this journal.
    pub(super) seq: u64,
    /// The link that this journal's first commit is chained to.
    pub(super) prev: TokenHash,
    /// What a newer minor version has added.
    #[serde(flatten)]
    pub(super) other: Map<String, Value>,
}

/// A commit as it is read.
#[derive(Debug, Deserialize)]
pub(super) struct Commit {
    /// Its number.
    pub(super) n: u64,
    /// Its second.
    pub(super) t: Timestamp,
    /// What happened.
    #[serde(default)]
    pub(super) c: Vec<Change>,
    /// Set on the last line of a journal: no commit, but where it goes on.
    #[serde(default)]
    pub(super) seal: Option<u64>,
    /// The minor version of whoever wrote it, where that is newer than the header says.
    #[serde(default)]
    pub(super) v: Minor,
}

/// What of a commit can be read whatever else is in it.
#[derive(Deserialize)]
struct Marked {
    #[serde(default)]
    v: Minor,
}

/// Why a line cannot be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// The chain is broken: it is not what was written.
    Broken(&'static str),
    /// It is what was written, but not for this program, by a writer of this minor version or newer.
    Unknown(String, Minor),
}

#[derive(Serialize)]
struct Body<'a> {
    n: u64,
    t: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    v: Option<Minor>,
    c: &'a [Change],
    b: u64,
}

#[derive(Serialize)]
struct Seal {
    n: u64,
    t: Timestamp,
    seal: u64,
    b: u64,
}

impl Header {
    /// The header of a later journal, which goes on from commit `seq` with what writers of `minor` have written.
    pub(super) fn next(&self, generation: u64, seq: u64, link: &Link, minor: Minor) -> Self {
        Self { version: minor.version(), generation, seq, prev: hash_of(link), ..self.clone() }
    }

    /// The header of a new store's first journal.
    pub(super) fn first(store: Uuid) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION.to_owned(),
            store,
            generation: 1,
            seq: 0,
            prev: TokenHash::of(store.as_bytes()),
            other: Map::new(),
        }
    }

    /// The line, with its newline.
    pub(super) fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// Reads a header line; the error is a reason for a person.
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        let header: Self =
            serde_json::from_slice(line).map_err(|_| "the header is not that of a journal".to_owned())?;
        if header.format != FORMAT {
            return Err("the header is not that of a journal".to_owned());
        }
        Ok(header)
    }

    /// The format version, if this program cannot read it.
    pub(super) fn too_new(&self) -> Option<&str> {
        Minor::of(&self.version).is_none().then_some(self.version.as_str())
    }

    /// The minor version.
    pub(super) fn minor(&self) -> Minor {
        Minor::of(&self.version).unwrap_or_default()
    }
}

/// Appends the line of a commit to `out`, in a file whose writers were of `minor` so far, and returns its link. `first` is
/// the first commit of the batch that is synced as one.
pub(super) fn write(
    (n, first): (u64, u64),
    t: Timestamp,
    changes: &[Change],
    minor: Minor,
    prev: &Link,
    out: &mut Vec<u8>,
) -> Link {
    write_chained(&Body { n, t, v: (Minor::OURS > minor).then_some(Minor::OURS), c: changes, b: first }, prev, out)
}

/// The first commit of the batch that a line was written in, by the line's end alone, which may be all that is left of
/// it. Nothing else is checked. `None` for what is no such end, and for lines from before there was a `b`.
pub(in crate::store) fn batch_of(end: &[u8]) -> Option<u64> {
    let body = &end[..end.len().checked_sub(SEAL_LENGTH)?];
    if !end[body.len()..].starts_with(b",\"h\":\"") || !end.ends_with(b"\"}") {
        return None;
    }
    let digits = body.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, number) = body.split_at(body.len() - digits);
    before.ends_with(b",\"b\":").then(|| std::str::from_utf8(number).ok()?.parse().ok())?
}

/// Appends the line that ends a journal: after commit `n` it goes on in generation `seal`.
pub(super) fn write_seal(n: u64, t: Timestamp, seal: u64, prev: &Link, out: &mut Vec<u8>) {
    write_chained(&Seal { n, t, seal, b: n + 1 }, prev, out);
}

pub(in crate::store) fn write_chained(body: &impl Serialize, prev: &Link, out: &mut Vec<u8>) -> Link {
    let start = out.len();
    // Serialising our own records into memory cannot fail.
    let _ = serde_json::to_writer(&mut *out, body);
    out.pop();
    let link = chain(prev, &out[start..]);
    out.extend_from_slice(b",\"h\":");
    let _ = serde_json::to_writer(&mut *out, &hash_of(&link));
    out.extend_from_slice(b"}\n");
    link
}

/// Checks that a line without its newline follows the one with the link `prev`, and returns its own link; the error is
/// a reason for a person.
pub(in crate::store) fn chained(line: &[u8], prev: &Link) -> Result<Link, &'static str> {
    let body = line.len().checked_sub(SEAL_LENGTH).map(|end| &line[..end]).ok_or("it is too short for a commit")?;
    let link = chain(prev, body);
    let mut seal = Vec::with_capacity(SEAL_LENGTH);
    seal.extend_from_slice(b",\"h\":");
    let _ = serde_json::to_writer(&mut seal, &hash_of(&link));
    seal.push(b'}');
    if line[body.len()..] != seal {
        return Err("its hash does not fit: a byte was changed, or a line before it is missing");
    }
    Ok(link)
}

/// The link that a line says it has. Nothing is checked.
pub(in crate::store) fn link_of(line: &[u8]) -> Option<Link> {
    let seal = &line[line.len().checked_sub(SEAL_LENGTH)?..];
    let hash: TokenHash = serde_json::from_slice(seal.strip_prefix(b",\"h\":")?.strip_suffix(b"}")?).ok()?;
    Some(*hash.as_bytes())
}

/// Reads a line without its newline and checks its seal.
pub(super) fn read(line: &[u8], prev: &Link) -> Result<(Commit, Link), Unreadable> {
    let link = chained(line, prev).map_err(Unreadable::Broken)?;
    let commit = serde_json::from_slice(line).map_err(|error| {
        let minor = serde_json::from_slice(line).map_or(Minor::default(), |marked: Marked| marked.v);
        Unreadable::Unknown(unreadable(error), minor)
    })?;
    Ok((commit, link))
}

/// What is wrong with a line of ours, without repeating what it holds.
pub(super) fn unreadable(error: serde_json::Error) -> String {
    let column = error.column();
    let text = json::describe(error).to_string();
    let what = text.trim_start_matches("not acceptable as JSON: ").split(" at line ").next().unwrap_or_default();
    format!("it cannot be read: {what} (column {column})")
}

fn chain(prev: &Link, body: &[u8]) -> Link {
    // This library's SHA-256 is twice as fast as sha2's on processors without SHA instructions, and a store is
    // loaded at the speed of its chain.
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(prev);
    context.update(body);
    let mut link = [0; 32];
    link.copy_from_slice(context.finish().as_ref());
    link
}

fn hash_of(link: &Link) -> TokenHash {
    TokenHash::from_digest(*link)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TokenId;

    fn line() -> Vec<u8> {
        let mut out = Vec::new();
        write((1, 1), Timestamp(5), &[Change::AccessRevoked(TokenId(Uuid::nil()))], Minor::OURS, &[7; 32], &mut out);
        out
    }

    #[test]
    fn a_line_is_json_and_comes_back() {
        let line = line();
        let text = std::str::from_utf8(&line).unwrap();
        assert!(text.starts_with(r#"{"n":1,"t":5,"c":[{"access_revoked":"00000000-"#), "{text}");
        serde_json::from_str::<Value>(text).unwrap();
        let (commit, _) = read(&line[..line.len() - 1], &[7; 32]).unwrap();
        assert_eq!((commit.n, commit.t, commit.c.len()), (1, Timestamp(5), 1));
    }

    #[test]
    fn a_batch_is_known_by_the_end_of_a_line() {
        let line = line();
        assert_eq!((batch_of(&line[..line.len() - 1]), batch_of(&line[40..line.len() - 1])), (Some(1), Some(1)));
        let mut seal = Vec::new();
        write_seal(6, Timestamp(5), 2, &[7; 32], &mut seal);
        assert_eq!(batch_of(&seal[..seal.len() - 1]), Some(7));
        for other in [&b""[..], b"{}", &line[..line.len() - 2], &[b' '; 600]] {
            assert_eq!(batch_of(other), None);
        }
    }

    #[test]
    fn any_flipped_bit_any_missing_byte_and_any_other_past_is_found() {
        let line = line();
        let line = &line[..line.len() - 1];
        for at in 0..line.len() {
            let mut flipped = line.to_vec();
            flipped[at] ^= 1;
            assert!(read(&flipped, &[7; 32]).is_err(), "bit at {at}");
            assert!(read(&line[..at], &[7; 32]).is_err(), "cut at {at}");
        }
        assert!(read(line, &[8; 32]).is_err());
    }

    #[test]
    fn a_newer_minor_version_is_read_and_a_newer_major_one_is_not() {
        let mut header = Header::first(Uuid::nil());
        for (version, minor) in [("1.0", Some(0)), ("1.7", Some(7)), ("2.0", None), ("10.0", None), ("1", None)] {
            header.version = version.to_owned();
            let header = Header::parse(&header.to_line()).unwrap();
            assert_eq!(header.too_new().is_some(), minor.is_none(), "{version}");
            assert_eq!(header.minor().0, minor.unwrap_or_default(), "{version}");
        }
        assert_eq!(Minor::of(VERSION), Some(Minor::OURS));
        assert_eq!((Minor(0).version().as_str(), Minor(7).version().as_str()), (VERSION, "1.7"));
    }

    #[test]
    fn a_line_of_an_unknown_change_is_told_from_a_damaged_one() {
        let mut out = Vec::new();
        let body = serde_json::json!({ "n": 1, "t": 5, "v": 3, "c": [{ "moved": { "to": "hunter2" } }] });
        write_chained(&body, &[7; 32], &mut out);
        let read_it = read(&out[..out.len() - 1], &[7; 32]).unwrap_err();
        let Unreadable::Unknown(reason, Minor(3)) = read_it else { panic!("{read_it:?}") };
        assert!(reason.contains("column") && !reason.contains("hunter2"), "{reason}");
        assert!(matches!(read(&out[..out.len() - 1], &[8; 32]), Err(Unreadable::Broken(_))));
    }
}
