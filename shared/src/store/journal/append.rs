//! Writing at the end of a journal: into blanks, the first byte last, one sync.
//!
//! A file that grows with each sync costs the disk twice: contents and size. So the journal is kept longer than its
//! lines, by blanks (`jq`, `grep` and people do not mind them) that commits are written over. A batch's first byte is
//! written last: a reader that sees it may read on, for the rest is there; one that sees a blank has read everything.

use std::io;

use super::io_error;
use super::line::{self, Link, Minor};
use super::recover::cut;
use super::tail::{MAX_LINE, Tail};
use crate::files::disk;
use crate::state::Change;
use crate::store::StoreError;
use crate::time::Timestamp;

/// By how much the file is made longer than its lines: one sync in a hundred and more costs what all of them did.
const ROOM: usize = 64 * 1024;

impl Tail {
    /// Appends commits and waits until they are durable; we stand behind them then. For the holder of the exclusive
    /// lock, after [`catch_up`](Self::catch_up). On an error nothing counts as appended, and this tail must be
    /// dropped or [opened again](Self::again): a file handle whose sync failed is never trusted again (fault F-07).
    pub(super) fn append(&mut self, commits: &[Vec<Change>], at: Timestamp) -> Result<(), StoreError> {
        let (text, seq, link) = self.lines_for(commits, at);
        // Nobody could read it again.
        if text.len() > MAX_LINE && text.split_inclusive(|byte| *byte == b'\n').any(|line| line.len() > MAX_LINE) {
            return Err(io_error("write", &self.path)(io::Error::other("a commit may not be longer than 16 MiB")));
        }
        if let Err(error) = self.write_durably(&text) {
            // If this fails too, the next writer finds a torn or unwanted tail and judges it by its chain.
            let _ = cut(&self.path, self.offset);
            return Err(io_error("write", &self.path)(error));
        }
        self.offset += text.len() as u64;
        self.line += commits.len() as u64;
        (self.seq, self.link, self.latest) = (seq, link, at);
        self.minor = self.minor.max(Minor::OURS);
        Ok(())
    }

    /// The lines of commits that go on from here, as one batch; the number and the link of the last.
    pub(super) fn lines_for(&self, commits: &[Vec<Change>], at: Timestamp) -> (Vec<u8>, u64, Link) {
        let (mut text, mut link, mut seq) = (Vec::new(), self.link, self.seq);
        for changes in commits {
            seq += 1;
            link = line::write((seq, self.seq + 1), at, changes, self.minor, &link, &mut text);
        }
        (text, seq, link)
    }

    /// Seals the journal: the next generation goes on from here. For the holder of the exclusive lock.
    pub(super) fn seal(&mut self, next: u64) -> Result<(), StoreError> {
        let mut text = Vec::new();
        line::write_seal(self.seq, self.latest, next, &self.link, &mut text);
        self.write_durably(&text).map_err(io_error("write", &self.path))
    }

    /// Removes the blanks behind the last line. For the holder of the exclusive lock.
    pub(super) fn trim(&mut self) {
        let blanks = self.length.is_some_and(|length| length > self.offset);
        // They do no harm if they stay.
        if blanks && self.is_followed_by_blanks().unwrap_or(false) {
            let _ = disk::set_length(&self.file, &self.path, self.offset);
            self.length = Some(self.offset);
        }
    }

    fn write_durably(&mut self, text: &[u8]) -> io::Result<()> {
        let Some((first, rest)) = text.split_first() else { return Ok(()) };
        disk::write_at(&self.file, &self.path, self.offset + 1, rest)?;
        let end = self.offset + text.len() as u64;
        if self.length.is_none_or(|length| length < end + 1) {
            // A disk that has no room for blanks may still have it for commits.
            let _ = disk::write_at(&self.file, &self.path, end, &[b' '; ROOM]);
            self.length = Some(self.file.metadata()?.len());
        }
        disk::write_at(&self.file, &self.path, self.offset, &[*first])?;
        disk::sync_data(&self.file, &self.path)
    }
}
