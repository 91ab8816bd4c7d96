//! Writing the trail: a batch of lines at the end, one sync, under a lock of its own.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::line::{self, Header};
use super::read::Reader;
use super::record::Entry;
use super::{folder_of, numbers, path_of};
use crate::files::{self, disk};
use crate::store::StoreError;
use crate::store::journal::line::Link;
use crate::store::journal::lock::StoreLock;
use crate::store::journal::{checked_folder, io_error};
use crate::time::Timestamp;

/// At most so many bytes are written as one batch.
const BATCH: usize = 1024 * 1024;

/// How much of the trail is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Keep {
    /// A file that has so many bytes is followed by a new one.
    pub bytes: u64,
    /// So many files are kept; of several servers that write one trail, the smallest number counts.
    pub files: u64,
}

impl Default for Keep {
    /// 16 files of 16 MiB: some 400 000 calls.
    fn default() -> Self {
        Self { bytes: 16 * 1024 * 1024, files: 16 }
    }
}

/// The trail of one store, as one process writes it.
pub struct Calls {
    store: PathBuf,
    keep: Keep,
    lock: Option<StoreLock>,
    end: Option<Reader>,
}

impl Calls {
    /// The trail of the store in `folder`. Nothing is looked at or made yet.
    pub fn new(folder: &Path, keep: Keep) -> Self {
        Self { store: folder.to_owned(), keep, lock: None, end: None }
    }

    /// Writes what `next` gives for the number of each line, until it gives nothing, and makes it durable. `false` when
    /// there is no store: nothing is made for a trail alone.
    ///
    /// # Errors
    /// When the trail cannot be written. What was given may then be missing, and is not to be given again.
    pub fn append(&mut self, next: &mut dyn FnMut(u64) -> Option<(Timestamp, Entry)>) -> Result<bool, StoreError> {
        if !self.store.is_dir() {
            return Ok(false);
        }
        let folder = folder_of(&self.store);
        if !folder.is_dir() {
            checked_folder(&self.store)?;
            files::create_private_folder(&folder).map_err(io_error("create", &folder))?;
        }
        checked_folder(&folder)?;
        let lock = match self.lock.take() {
            Some(lock) => lock,
            None => StoreLock::at(folder.join("calls.lock"))?,
        };
        let written = {
            let _held = lock.exclusive()?;
            self.append_locked(&folder, next)
        };
        self.lock = Some(lock);
        if written.is_err() {
            self.end = None;
        }
        written.map(|()| true)
    }

    fn append_locked(
        &mut self,
        folder: &Path,
        next: &mut dyn FnMut(u64) -> Option<(Timestamp, Entry)>,
    ) -> Result<(), StoreError> {
        let (mut end, mut cut) = self.at_the_end(folder)?;
        let mut at = Timestamp::default();
        loop {
            let (first, mut text, mut seq, mut link) = (end.seq + 1, Vec::new(), end.seq, end.link);
            let mut put = |(when, entry): (Timestamp, Entry), seq: &mut u64, link: &mut Link, text: &mut Vec<u8>| {
                *seq += 1;
                at = when;
                *link = line::write((*seq, first), when, &entry, link, text);
            };
            let mut more = true;
            while text.len() < BATCH {
                // What happened since is at least when the cut was made.
                let number = seq + 1 + u64::from(cut > 0);
                let Some((when, entry)) = next(number) else {
                    more = false;
                    break;
                };
                if cut > 0 {
                    put((when, Entry::Cut(std::mem::take(&mut cut))), &mut seq, &mut link, &mut text);
                }
                put((when, entry), &mut seq, &mut link, &mut text);
            }
            if !text.is_empty() {
                write_durably(&mut end, &text)?;
                (end.seq, end.link) = (seq, link);
            }
            if end.offset >= self.keep.bytes {
                end = self.turn(folder, end, at)?;
            }
            if !more {
                self.end = Some(end);
                return Ok(());
            }
        }
    }

    /// Behind the last line. What a crash left there is cut off: so many bytes.
    fn at_the_end(&mut self, folder: &Path) -> Result<(Reader, u64), StoreError> {
        let known = self.end.take().filter(Reader::is_in_place);
        let found = match known {
            Some(end) => Some(end),
            None => Reader::newest(folder).or_else(|error| match error {
                // Its header is damaged: nothing can be appended to it.
                StoreError::Damaged { .. } => Ok(None),
                error => Err(error),
            })?,
        };
        let Some(mut end) = found else { return Ok((begin(folder)?, 0)) };
        match end.advance(&mut |_| ()) {
            Ok(torn) => {
                if end.turned {
                    end = next_file(folder, end.number + 1, end.seq, &end.link, false)?;
                    return Ok((end, 0));
                }
                let unfinished = if torn { end.length()?.saturating_sub(end.offset) } else { 0 };
                if unfinished > 0 {
                    cut_off(&end).map_err(io_error("cut", &end.path))?;
                }
                Ok((end, unfinished))
            }
            Err(StoreError::Damaged { path, line, reason }) => {
                tracing::warn!(path = %path.display(), line, reason, "the trail of calls is damaged; it goes on in a new file");
                let number = numbers(folder)?.pop().unwrap_or(0) + 1;
                Ok((next_file(folder, number, end.seq, &[0; 32], true)?, 0))
            }
            Err(error) => Err(error),
        }
    }

    /// Ends a file, begins the next, and removes the oldest.
    fn turn(&self, folder: &Path, mut end: Reader, at: Timestamp) -> Result<Reader, StoreError> {
        let (next, mut text) = (end.number + 1, Vec::new());
        let link = line::write_turn(end.seq + 1, at, next, &end.link, &mut text);
        write_durably(&mut end, &text)?;
        let end = next_file(folder, next, end.seq + 1, &link, false)?;
        for old in numbers(folder)?.into_iter().filter(|number| number + self.keep.files <= next) {
            let path = path_of(folder, old);
            disk::remove(&path).map_err(io_error("remove", &path))?;
        }
        Ok(end)
    }
}

/// The first file, or one behind what cannot be gone on from.
fn begin(folder: &Path) -> Result<Reader, StoreError> {
    let last = numbers(folder)?.pop();
    next_file(folder, last.unwrap_or(0) + 1, 0, &[0; 32], last.is_some())
}

/// Makes a file, whole or not at all, and stands behind its header.
fn next_file(folder: &Path, number: u64, seq: u64, link: &Link, anew: bool) -> Result<Reader, StoreError> {
    let path = path_of(folder, number);
    files::replace(&path, &Header::new(number, seq, link, anew).to_line()).map_err(io_error("create", &path))?;
    Reader::newest(folder)?.ok_or_else(|| StoreError::Absent(folder.to_owned()))
}

/// Each batch by a handle of its own: one whose sync failed is never trusted again.
fn write_durably(end: &mut Reader, text: &[u8]) -> Result<(), StoreError> {
    let write = |file: File| {
        disk::write_at(&file, &end.path, end.offset, text)?;
        disk::sync_data(&file, &end.path)
    };
    if let Err(error) = File::options().write(true).open(&end.path).and_then(write) {
        // If this fails too, the next writer finds a torn end.
        let _ = cut_off(end);
        return Err(io_error("write", &end.path)(error));
    }
    end.offset += text.len() as u64;
    Ok(())
}

fn cut_off(end: &Reader) -> io::Result<()> {
    disk::set_length(&File::options().write(true).open(&end.path)?, &end.path, end.offset)
}
