//! Where we are in the journal, and reading on from there.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::line::{self, Commit, Header, Link, Minor, Unreadable, VERSION};
use super::recover::has_hole;
use super::{checked_file, io_error, snapshot};
use crate::files::{self, disk};
use crate::secret::{TokenHash, random_uuid};
use crate::state::State;
use crate::store::StoreError;
use crate::time::Timestamp;

/// An open journal and how far it has been read.
pub(super) struct Tail {
    pub(super) file: File,
    /// Whether `file` can be written, too.
    writes: bool,
    pub(super) path: PathBuf,
    header: Header,
    /// The byte after the last line that was read.
    pub(super) offset: u64,
    /// The number of that line, counted from 1.
    pub(super) line: u64,
    /// The number of the last commit.
    pub(super) seq: u64,
    /// The link of the last commit.
    pub(super) link: Link,
    /// The second of the last commit: commits never go back in time.
    pub(super) latest: Timestamp,
    /// The newest minor version of the format among those who have written.
    pub(super) minor: Minor,
    /// How long the file was when we had made sure, under the lock, that only blanks follow.
    pub(super) length: Option<u64>,
}

/// What reading on has found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Progress {
    /// Everything complete was read. When `torn`, a batch follows that is not whole: under way, or left by a crash.
    Read { torn: bool },
    /// Everything was read, and the journal goes on in this generation.
    Sealed(u64),
    /// The file is not the one that we were reading: gone, cut or rewritten. Load anew.
    Lost,
}

/// What stands at our place. A writer writes a batch's first byte last (see `append.rs`): once that is there, so is
/// everything else of the batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ahead {
    /// The end, or the blanks that are written over next.
    Nothing,
    /// A line.
    Line,
    /// A line without its first byte: a batch under way, or what a crash left of one.
    Unfinished,
    /// Our place is no longer the end of a line: the file was cut or rewritten.
    Lost,
}

/// Why a chunk of lines was not read to its end.
enum Stop {
    /// It was, or what follows is to be looked at anew.
    No,
    /// What follows is what a crash left of a batch.
    Torn,
    /// The seal.
    Sealed(u64),
    /// The commit that was looked for.
    Reached,
}

/// How much is read at a time.
pub(super) const CHUNK: usize = 256 * 1024;

/// Lines longer than this are no lines of ours.
pub(super) const MAX_LINE: usize = 16 * 1024 * 1024;

/// What is done with each commit and its line; the error is a reason for a person.
pub(super) type Visit<'a> = &'a mut dyn FnMut(Commit, &[u8]) -> Result<(), String>;

impl Tail {
    /// Loads the store in `folder`, for reading or also for writing. `None` when there is none.
    pub(super) fn load(folder: &Path, write: bool) -> Result<Option<(Self, State)>, StoreError> {
        Self::of_newest(folder, |generation| Self::load_generation(folder, generation, write))
    }

    /// Does something with the newest generation, and again when a compaction has replaced it meanwhile.
    pub(super) fn of_newest<T>(
        folder: &Path,
        mut attempt: impl FnMut(u64) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        loop {
            let Some(generation) = newest_generation(folder)? else { return Ok(None) };
            match attempt(generation) {
                Ok(None) | Err(_) if newest_generation(folder)?.is_some_and(|newest| newest > generation) => {}
                done => return done,
            }
        }
    }

    fn load_generation(folder: &Path, generation: u64, write: bool) -> Result<Option<(Self, State)>, StoreError> {
        let Some(mut tail) = Self::open(folder, generation, write)? else { return Ok(None) };
        let mut state = if generation > 1 { tail.read_snapshot(folder)? } else { State::default() };
        tail.catch_up(&mut state)?;
        Ok(Some((tail, state)))
    }

    /// Opens a journal at its beginning. `None` when there is none, or when it was only just made.
    pub(super) fn open(folder: &Path, generation: u64, write: bool) -> Result<Option<Self>, StoreError> {
        let path = journal_path(folder, generation);
        checked_file(&path)?;
        let mut file = match File::options().read(true).write(write).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        let Some((header, length)) = read_header(&mut file, &path)? else { return Ok(None) };
        if let Some(found) = header.too_new() {
            return Err(StoreError::Newer { path, found: found.to_owned(), known: VERSION });
        }
        let (seq, link, minor) = (header.seq, *header.prev.as_bytes(), header.minor());
        let latest = Timestamp(0);
        Ok(Some(Self {
            file,
            writes: write,
            path,
            header,
            offset: length,
            line: 1,
            seq,
            link,
            latest,
            minor,
            length: None,
        }))
    }

    pub(super) fn read_snapshot(&mut self, folder: &Path) -> Result<State, StoreError> {
        let path = snapshot::path(folder, self.header.generation);
        let (header, state) = snapshot::read(&path)?;
        self.take_snapshot(&path, &header)?;
        Ok(state)
    }

    /// Goes on from a snapshot, if it is the one that the journal goes on from.
    pub(super) fn take_snapshot(&mut self, path: &Path, header: &snapshot::Header) -> Result<(), StoreError> {
        if (header.store, header.generation, header.seq) != (self.header.store, self.header.generation, self.header.seq)
        {
            let reason = "it does not belong to the journal beside it".to_owned();
            return Err(StoreError::Damaged { path: path.to_owned(), line: 1, reason });
        }
        self.latest = header.latest;
        Ok(())
    }

    /// Opens the journal of `generation` where `at` stands in the one before it: nothing is applied anew. `None` when
    /// it is not there yet; the commits must be there, on the same chain.
    pub(super) fn resume(folder: &Path, generation: u64, at: &Self, write: bool) -> Result<Option<Self>, StoreError> {
        let Some(mut tail) = Self::open(folder, generation, write)? else { return Ok(None) };
        (tail.latest, tail.minor) = (at.latest, tail.minor.max(at.minor));
        if tail.seq < at.seq {
            tail.advance(Some(at.seq), &mut |_, _| Ok(()))?;
        }
        if tail.header.store == at.header.store && tail.is_at(at) {
            return Ok(Some(tail));
        }
        Err(tail.damaged("it does not go on from the journal before it".to_owned()))
    }

    /// Opens the journal of `generation` at its end, which is `length` bytes in and where `at` stands in the one before
    /// it: for whoever has just written it.
    pub(super) fn open_at_end(
        folder: &Path,
        generation: u64,
        at: &Self,
        length: u64,
        write: bool,
    ) -> Result<Option<Self>, StoreError> {
        let Some(mut tail) = Self::open(folder, generation, write)? else { return Ok(None) };
        tail.line += at.seq.saturating_sub(tail.seq);
        (tail.seq, tail.link, tail.latest, tail.offset) = (at.seq, at.link, at.latest, length);
        Ok(Some(tail))
    }

    /// The same place in the same file, to read on from independently. `None` when the file is no longer in its place.
    /// What stands behind it is looked at anew.
    pub(super) fn again(&self) -> Result<Option<Self>, StoreError> {
        let file = File::open(&self.path).map_err(io_error("open", &self.path))?;
        let (path, header) = (self.path.clone(), self.header.clone());
        Ok(self.is_in_place().then_some(Self { file, writes: false, path, header, length: None, ..*self }))
    }

    /// Makes a new store's first journal.
    pub(super) fn create(folder: &Path) -> Result<(), StoreError> {
        let path = journal_path(folder, 1);
        files::replace(&path, &Header::first(random_uuid()).to_line()).map_err(io_error("create", &path))
    }

    /// The same place in the same journal, to write there. For the holder of the exclusive lock.
    pub(super) fn for_writing(&self) -> Result<Self, StoreError> {
        checked_file(&self.path)?;
        let file = File::options().read(true).write(true).open(&self.path).map_err(io_error("open", &self.path))?;
        Ok(Self { file, writes: true, path: self.path.clone(), header: self.header.clone(), ..*self })
    }

    /// Whether it was opened for writing, too.
    pub(super) fn writes(&self) -> bool {
        self.writes
    }

    /// Whether nothing was committed since, and the file is still there: a read of three bytes and an `fstat`. With
    /// `whole`, also whether the file is as long as when only blanks were seen behind us.
    pub(super) fn is_current(&self, whole: bool) -> bool {
        let is_as_it_was =
            |metadata: fs::Metadata| !is_unlinked(&metadata) && (!whole || self.length == Some(metadata.len()));
        matches!(self.ahead(), Ok(Ahead::Nothing | Ahead::Unfinished)) && self.file.metadata().is_ok_and(is_as_it_was)
    }

    pub(super) fn ahead(&self) -> Result<Ahead, StoreError> {
        let mut bytes = [0; 3];
        let count = disk::read_at(&self.file, &mut bytes, self.offset - 1).map_err(io_error("read", &self.path))?;
        Ok(match bytes[..count] {
            [b'\n'] | [b'\n', b' '] | [b'\n', b' ', b' '] => Ahead::Nothing,
            [b'\n', b' ' | 0, ..] => Ahead::Unfinished,
            [b'\n', ..] => Ahead::Line,
            _ => Ahead::Lost,
        })
    }

    /// Whether the journal is still the one in the folder: neither it nor the folder was moved away.
    pub(super) fn is_in_place(&self) -> bool {
        files::is_in_place(&self.file, &self.path).unwrap_or(false)
    }

    /// Reads on to the end.
    pub(super) fn catch_up(&mut self, state: &mut State) -> Result<Progress, StoreError> {
        self.advance(None, &mut |commit, _| {
            let applied = state.apply_all(commit.c, commit.t);
            applied.map(drop).map_err(|conflict| format!("it contradicts the lines before it: {conflict}"))
        })
    }

    /// Reads on to the end and returns the lines as they are, or `None` when there are none.
    pub(super) fn next_lines(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let mut lines = Vec::new();
        self.advance(None, &mut |_, line| {
            lines.extend_from_slice(line);
            Ok(())
        })?;
        Ok((!lines.is_empty()).then_some(lines))
    }

    /// Reads on to the end, or to the commit numbered `until`.
    pub(super) fn advance(&mut self, until: Option<u64>, visit: Visit<'_>) -> Result<Progress, StoreError> {
        let metadata = self.file.metadata().map_err(io_error("look at", &self.path))?;
        let mut torn = false;
        loop {
            match self.ahead()? {
                Ahead::Nothing => break,
                Ahead::Lost => return Ok(Progress::Lost),
                Ahead::Unfinished => torn = self.is_torn()?,
                // What came while we were reading is for the next time: a busy writer must not keep us for ever.
                Ahead::Line if self.offset >= metadata.len() => break,
                Ahead::Line => match self.read_chunk(metadata.len() - self.offset, until, visit)? {
                    Stop::No => {}
                    Stop::Torn => torn = true,
                    Stop::Reached => break,
                    Stop::Sealed(next) => return Ok(Progress::Sealed(next)),
                },
            }
            if torn {
                break;
            }
        }
        if is_unlinked(&metadata) {
            return Ok(Progress::Lost);
        }
        Ok(Progress::Read { torn })
    }

    /// Reads some lines of the `available` bytes.
    fn read_chunk(&mut self, available: u64, until: Option<u64>, visit: Visit<'_>) -> Result<Stop, StoreError> {
        let available = usize::try_from(available).unwrap_or(usize::MAX);
        let mut size = available.min(CHUNK);
        loop {
            let bytes = self.bytes_at(self.offset, size)?;
            match bytes.iter().rposition(|byte| *byte == b'\n') {
                Some(end) => return self.read_lines(&bytes[..=end], until, visit),
                None if size == available => return self.check_newline(&bytes).map(|()| Stop::Torn),
                None if size >= MAX_LINE => return Err(self.damaged("it is longer than any line of ours".to_owned())),
                None => size = (size * 4).min(available),
            }
        }
    }

    /// A crash leaves a line without its end. A whole line with another byte in its newline's place was acknowledged.
    fn check_newline(&self, rest: &[u8]) -> Result<(), StoreError> {
        let end = rest.iter().rposition(|byte| !matches!(byte, b' ' | 0)).unwrap_or(0);
        match line::read(&rest[..end], &self.link) {
            Err(Unreadable::Broken(_)) => Ok(()),
            _ => Err(self.damaged("the newline at its end was changed".to_owned())),
        }
    }

    pub(super) fn bytes_at(&self, offset: u64, size: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; size];
        let count = disk::read_at(&self.file, &mut bytes, offset).map_err(io_error("read", &self.path))?;
        bytes.truncate(count);
        Ok(bytes)
    }

    fn read_lines(&mut self, bytes: &[u8], until: Option<u64>, visit: Visit<'_>) -> Result<Stop, StoreError> {
        let mut read = 0;
        while read < bytes.len() {
            let rest = &bytes[read..];
            let line = rest.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
            let (commit, link) = match line::read(&line[..line.len() - 1], &self.link) {
                Ok(whole) => whole,
                // It may have been written while we were reading: look at it anew.
                Err(_) if read > 0 => return Ok(Stop::No),
                Err(_) if has_hole(line, self.offset) => return self.check_last().map(|()| Stop::Torn),
                Err(why) => return Err(self.unreadable(why)),
            };
            self.minor = self.minor.max(commit.v);
            if let Some(next) = commit.seal {
                // Our place stays before the seal: a seal without its successor is taken back by the next writer.
                return Ok(Stop::Sealed(next));
            }
            self.take(commit, line, visit)
                .map_err(|reason| self.unreadable(Unreadable::Unknown(reason, Minor::OURS)))?;
            self.link = link;
            self.offset += line.len() as u64;
            self.line += 1;
            read += line.len();
            if until == Some(self.seq) {
                return Ok(Stop::Reached);
            }
        }
        Ok(Stop::No)
    }

    fn take(&mut self, commit: Commit, line: &[u8], visit: Visit<'_>) -> Result<(), String> {
        let (n, t) = (commit.n, commit.t);
        if n != self.seq + 1 {
            return Err(format!("it is commit {n}, but commit {} was expected", self.seq + 1));
        }
        visit(commit, line)?;
        (self.seq, self.latest) = (n, t);
        Ok(())
    }

    /// A line that was written like that, by somebody who knows more than we do, is no damage.
    fn unreadable(&self, why: Unreadable) -> StoreError {
        match why {
            Unreadable::Unknown(_, minor) if minor.max(self.minor).is_newer() => {
                StoreError::Newer { path: self.path.clone(), found: minor.max(self.minor).version(), known: VERSION }
            }
            Unreadable::Unknown(reason, _) => self.damaged(reason),
            Unreadable::Broken(reason) => self.damaged(reason.to_owned()),
        }
    }

    pub(super) fn damaged(&self, reason: String) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), line: self.line + 1, reason }
    }

    /// The second for the next commit: now, but never before the last one.
    pub(super) fn second(&self, now: Timestamp) -> Timestamp {
        now.max(self.latest)
    }

    /// The number of the last commit and which store it is of.
    pub(super) fn position(&self) -> (uuid::Uuid, u64) {
        (self.header.store, self.seq)
    }

    /// What the next commit is chained to.
    pub(super) fn link(&self) -> TokenHash {
        TokenHash::from_digest(self.link)
    }

    /// Which journal of the store this is.
    pub(super) fn generation(&self) -> u64 {
        self.header.generation
    }

    /// The second of the last commit.
    pub(super) fn latest(&self) -> Timestamp {
        self.latest
    }

    /// How many bytes have been read or written.
    pub(super) fn size(&self) -> u64 {
        self.offset
    }

    /// Whether both stand at the same commit of the same chain.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        (self.seq, self.link) == (other.seq, other.link)
    }

    /// The header of a journal that goes on from here.
    pub(super) fn header_of(&self, generation: u64) -> Header {
        self.header.next(generation, self.seq, &self.link, self.minor)
    }

    /// The newest minor version of the format among those who have written.
    pub(super) fn minor(&self) -> Minor {
        self.minor
    }

    /// Whether a program that knows more than we do has written.
    pub(super) fn is_newer(&self) -> bool {
        self.minor.is_newer()
    }
}

#[cfg(unix)]
fn is_unlinked(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) == 0
}

#[cfg(not(unix))]
fn is_unlinked(_metadata: &fs::Metadata) -> bool {
    false
}

/// Where the journal of a generation lies.
pub(super) fn journal_path(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("journal.{generation}.jsonl"))
}

/// The highest generation that has a journal.
pub(super) fn newest_generation(folder: &Path) -> Result<Option<u64>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read the folder", folder)(error)),
    };
    Ok(entries.filter_map(|entry| numbered(entry.ok()?.file_name().to_str()?, "journal.")).max())
}

/// The generation that a file's name puts it in, if it is a journal's or a snapshot's.
pub(super) fn generation_of(name: &str) -> Option<u64> {
    ["journal.", "snapshot."].iter().find_map(|kind| numbered(name, kind))
}

/// Only names that we give: somebody's `journal.1.jsonl.bak` or `journal.01.jsonl` is none of ours.
fn numbered(name: &str, kind: &str) -> Option<u64> {
    let digits = name.strip_prefix(kind)?.strip_suffix(".jsonl")?;
    digits.parse::<u64>().ok().filter(|number| number.to_string() == digits)
}

/// Refuses a folder without a readable journal that holds a part of a store: a snapshot that lost its journal, or a
/// journal that was emptied, may be all that is left of it, and a new store would take its place.
pub(super) fn check_nothing_left(folder: &Path) -> Result<(), StoreError> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| generation_of(name).is_some())
        .collect();
    names.sort();
    let Some(name) = names.first() else { return Ok(()) };
    let what = if name.starts_with("journal.") { "it is empty" } else { "the journal that goes on from it is missing" };
    let reason = format!("{what}; restore the store from a backup, or move this file away to begin anew");
    Err(StoreError::Unsafe { path: folder.join(name), reason })
}

/// Reads the header line; `None` when it is not whole, as when the file was only just made.
fn read_header(file: &mut File, path: &Path) -> Result<Option<(Header, u64)>, StoreError> {
    let mut bytes = Vec::new();
    file.take(4096).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    let damaged = |reason| StoreError::Damaged { path: path.to_owned(), line: 1, reason };
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return if bytes.is_empty() { Ok(None) } else { Err(damaged("the header is not whole".to_owned())) };
    };
    let header = Header::parse(&bytes[..end]).map_err(damaged)?;
    Ok(Some((header, end as u64 + 1)))
}
