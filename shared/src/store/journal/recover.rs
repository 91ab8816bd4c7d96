//! What a crash leaves at the end of a journal, told apart from damage.
//!
//! A crash leaves less than the last batch: it was never acknowledged, and is cut off. A power cut may leave any of its
//! sectors and lose any other. With a later batch behind it, it had been synced: that is damage, and nothing is cut.

use std::fs::File;
use std::io;
use std::path::Path;

use super::io_error;
use super::line;
use super::tail::{Ahead, CHUNK, Tail};
use crate::files::disk;
use crate::store::StoreError;

/// What a disk writes whole or not at all, so that a power cut leaves holes of this size in what was never synced.
const SECTOR: u64 = 512;

/// Longer than the end of a line that names its batch: `,"b":`, the longest number and the seal.
const LINE_END: usize = 128;

impl Tail {
    /// Whether what follows, which begins with a hole, is what a crash left of the last batch or one under way; false
    /// when it has become whole meanwhile.
    pub(super) fn is_torn(&self) -> Result<bool, StoreError> {
        let checked = self.check_last();
        // In this order: if it is unfinished still, no later batch was there when it was read.
        if self.ahead()? != Ahead::Unfinished {
            return Ok(false);
        }
        checked.map(|()| true)
    }

    /// A hole in the last batch is what a crash leaves of what was never synced. When a later batch follows it, it is
    /// damage: what was acknowledged is never cut off.
    pub(super) fn check_last(&self) -> Result<(), StoreError> {
        if self.is_followed_by(|first| first > self.seq + 1)? {
            return Err(self.damaged("there is a hole in it, and later commits follow".to_owned()));
        }
        Ok(())
    }

    /// Whether the end of a line of such a batch, by its first commit, stands anywhere behind our place: a batch may be
    /// longer than what is read at a time.
    fn is_followed_by(&self, is_meant: impl Fn(u64) -> bool) -> Result<bool, StoreError> {
        let is_meant = |end: &[u8]| line::batch_of(end).is_some_and(&is_meant);
        let (mut at, mut text) = (self.offset, Vec::new());
        loop {
            let bytes = self.bytes_at(at, CHUNK)?;
            if bytes.is_empty() {
                return Ok(is_meant(&text));
            }
            at += bytes.len() as u64;
            text.extend_from_slice(&bytes);
            let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            if text[..whole].split(|byte| *byte == b'\n').any(is_meant) {
                return Ok(true);
            }
            text.drain(..whole.max(text.len().saturating_sub(LINE_END)));
        }
    }

    /// Makes sure that only blanks follow; for the holder of the exclusive lock. False when a power cut has lost the
    /// beginning of a batch and kept its end. One `fstat` as long as the file keeps its length.
    pub(super) fn is_followed_by_blanks(&mut self) -> Result<bool, StoreError> {
        let length = self.file.metadata().map_err(io_error("look at", &self.path))?.len();
        if self.length == Some(length) {
            return Ok(true);
        }
        let mut at = self.offset;
        while at < length {
            let bytes = self.bytes_at(at, CHUNK)?;
            if let Some(first) = bytes.iter().position(|byte| *byte != b' ') {
                at += first as u64;
                // A batch begins where we are, so what it lost of its beginning ends with a sector. What is left may begin
                // with blanks of its own, in somebody's name; then the end of a line must say that it is of that batch.
                let (sector, next) = (at - at % SECTOR, self.seq + 1);
                let is_torn = sector == at || sector > self.offset && self.is_followed_by(|first| first == next)?;
                if !is_torn || self.length.is_some_and(|length| length <= at) {
                    return Err(self.damaged("something stands behind the last commit that is none of ours".to_owned()));
                }
                self.check_last()?;
                return Ok(false);
            }
            at += bytes.len().max(1) as u64;
        }
        self.length = Some(length);
        Ok(true)
    }

    /// Cuts off what a crash left of a batch, or a seal whose successor never came. For the holder of the exclusive
    /// lock.
    pub(super) fn repair(&mut self) -> Result<(), StoreError> {
        tracing::warn!(path = %self.path.display(), from_byte = self.offset, "cut off the unfinished end of the journal");
        cut(&self.path, self.offset).map_err(io_error("repair", &self.path))?;
        self.length = Some(self.offset);
        Ok(())
    }
}

/// Whether a power cut has left a hole in a line that begins at `offset`: zeros, or a sector of the blanks that were
/// there before.
pub(super) fn has_hole(line: &[u8], offset: u64) -> bool {
    let skipped = usize::try_from(offset.next_multiple_of(SECTOR) - offset).unwrap_or(usize::MAX);
    let sectors = line.get(skipped..).unwrap_or_default().chunks_exact(SECTOR as usize);
    line.contains(&0) || sectors.into_iter().any(|sector| sector.iter().all(|byte| *byte == b' '))
}

/// Makes a file end at `length`, durably, by a handle of its own.
pub(super) fn cut(path: &Path, length: u64) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    disk::set_length(&file, path, length)?;
    disk::sync_all(&file, path)
}
