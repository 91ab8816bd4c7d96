//! Reading the trail: forwards, with its chain checked on the way. Takes no lock and changes nothing.

use std::cmp::Ordering;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::head::{Head, Standing};
use super::line::{self, Header, Read};
use super::record::Recorded;
use super::{folder_of, numbers, path_of};
use crate::files::{self, disk};
use crate::secret::TokenHash;
use crate::store::StoreError;
use crate::store::journal::line::Link;
use crate::store::journal::{checked_file, io_error};

/// How much is read at once, and the longest line.
const CHUNK: usize = 4 * 1024 * 1024;

/// How far before the end a reader begins that only wants the end.
const NEAR: u64 = 64 * 1024;

/// What is told of each line.
type Visit<'a> = dyn FnMut(Head, Option<Recorded>) + 'a;

/// A place in the trail.
pub struct Reader {
    folder: PathBuf,
    file: File,
    pub(super) path: PathBuf,
    /// Which file.
    pub(super) number: u64,
    /// Behind the last line that was read.
    pub(super) offset: u64,
    /// The number of the last line that was read, and that before the file's first.
    pub(super) seq: u64,
    before: u64,
    pub(super) link: Link,
    /// A file that ends and has no successor yet.
    pub(super) turned: bool,
}

/// The trail, read through and found whole.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Whole {
    /// The first line that is there; older ones were removed with their files.
    pub first: u64,
    /// The last; `first - 1` when there is none.
    pub last: u64,
    /// In how many files.
    pub files: u64,
    /// Whether lines follow that a server is about to finish, or that a crash left.
    pub unfinished: bool,
    /// The last line, to be kept elsewhere. None when there is no line.
    pub head: Option<Head>,
    /// How it stands to a head that was kept.
    pub kept: Option<Standing>,
}

/// Reads all that is there of the trail in the store's folder `store`, and compares it with a head that was kept. `Ok(None)`
/// when there is none.
///
/// # Errors
/// The file and the line that are damaged; the chain is broken there.
pub fn whole(store: &Path, kept: Option<Head>, visit: &mut dyn FnMut(Recorded)) -> Result<Option<Whole>, StoreError> {
    let Some(mut reader) = Reader::oldest(store)? else { return Ok(None) };
    let (first, begun) = (reader.seq + 1, reader.number);
    let before = reader.head();
    let mut standing = kept.map(|kept| match kept.line.cmp(&before.line) {
        Ordering::Less => Standing::Gone,
        Ordering::Equal => of(kept, before),
        Ordering::Greater => Standing::Ends,
    });
    let unfinished = reader.walk(&mut |line, recorded| {
        if let Some(kept) = kept.filter(|kept| kept.line == line.line) {
            standing = Some(of(kept, line));
        }
        recorded.into_iter().for_each(&mut *visit);
    })?;
    let head = (reader.seq >= first).then(|| reader.head());
    Ok(Some(Whole { first, last: reader.seq, files: reader.number - begun + 1, unfinished, head, kept: standing }))
}

fn of(kept: Head, found: Head) -> Standing {
    if kept == found { Standing::Holds } else { Standing::Differs }
}

impl Reader {
    /// At the beginning of all that is there. `Ok(None)` when nothing is.
    ///
    /// # Errors
    /// When the oldest file cannot be read.
    pub fn oldest(store: &Path) -> Result<Option<Self>, StoreError> {
        let folder = folder_of(store);
        // The oldest file may be removed while we look.
        for number in numbers(&folder)? {
            if let Some(reader) = Self::open(&folder, number)? {
                return Ok(Some(reader));
            }
        }
        Ok(None)
    }

    /// In the newest file, at most `near` bytes (and a batch of lines) before its end; the chain is checked from there on.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn near_the_end(store: &Path, near: u64) -> Result<Option<Self>, StoreError> {
        let folder = folder_of(store);
        let Some(number) = numbers(&folder)?.pop() else { return Ok(None) };
        let Some(mut reader) = Self::open(&folder, number)? else { return Ok(None) };
        reader.skip(near)?;
        Ok(Some(reader))
    }

    /// In the newest file, somewhere before its last batch.
    pub(super) fn newest(folder: &Path) -> Result<Option<Self>, StoreError> {
        let Some(number) = numbers(folder)?.pop() else { return Ok(None) };
        let Some(mut reader) = Self::open(folder, number)? else { return Ok(None) };
        reader.skip(NEAR)?;
        Ok(Some(reader))
    }

    pub(super) fn open(folder: &Path, number: u64) -> Result<Option<Self>, StoreError> {
        let path = path_of(folder, number);
        checked_file(&path)?;
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        let mut start = vec![0; 4096];
        let count = disk::read_at(&file, &mut start, 0).map_err(io_error("read", &path))?;
        let end = start[..count].iter().position(|byte| *byte == b'\n');
        let header = end.and_then(|end| Header::parse(&start[..end]));
        let (Some(header), Some(end)) = (header, end) else {
            let reason = "the header is not that of a trail of calls".to_owned();
            return Err(StoreError::Damaged { path, line: 1, reason });
        };
        if let Some(found) = header.too_new() {
            return Err(StoreError::Newer { found: found.to_owned(), known: line::VERSION, path });
        }
        let (offset, link) = (end as u64 + 1, *header.prev.as_bytes());
        let folder = folder.to_owned();
        let (seq, before) = (header.seq, header.seq);
        Ok(Some(Self { folder, file, path, number, offset, seq, before, link, turned: false }))
    }

    /// Goes forward to some line in the last `near` bytes that lies before the last batch; stays where none is found.
    fn skip(&mut self, near: u64) -> Result<(), StoreError> {
        let length = self.length()?;
        let Some(from) = length.checked_sub(near).filter(|from| *from > self.offset) else { return Ok(()) };
        let mut text = vec![0; usize::try_from(near).unwrap_or(CHUNK)];
        let count = disk::read_at(&self.file, &mut text, from).map_err(io_error("read", &self.path))?;
        let text = &text[..count];
        let mut lines = text.split_inclusive(|byte| *byte == b'\n');
        // The first is most likely a part of one.
        let part = lines.next().map_or(0, <[u8]>::len);
        let Some(first) = lines.next().and_then(|line| line.strip_suffix(b"\n")) else { return Ok(()) };
        let last = text.split(|byte| *byte == b'\n').rev().find_map(line::batch);
        let Some(((seq, link), batch)) = line::place_of(first).zip(last) else { return Ok(()) };
        if seq < batch {
            (self.seq, self.link) = (seq, link);
            self.offset = from + (part + first.len() + 1) as u64;
        }
        Ok(())
    }

    /// How long the file is.
    pub(super) fn length(&self) -> Result<u64, StoreError> {
        Ok(self.file.metadata().map_err(io_error("look at", &self.path))?.len())
    }

    /// Whether the file is still the one in the folder.
    pub(super) fn is_in_place(&self) -> bool {
        files::is_in_place(&self.file, &self.path).unwrap_or(false)
    }

    /// The file's line, from 1, of the line after the last that was read.
    fn next_line(&self) -> u64 {
        self.seq - self.before + 2
    }

    /// The number of the last line that was read.
    pub fn position(&self) -> u64 {
        self.seq
    }

    /// Reads on to the end of what is there; true when something follows that is not whole yet.
    ///
    /// # Errors
    /// The file and the line that are damaged.
    pub fn advance(&mut self, visit: &mut dyn FnMut(Recorded)) -> Result<bool, StoreError> {
        self.walk(&mut |_, recorded| recorded.into_iter().for_each(&mut *visit))
    }

    /// The last line that was read.
    pub(super) fn head(&self) -> Head {
        Head { line: self.seq, hash: TokenHash::from_digest(self.link) }
    }

    /// The same, with each line as a head; also the lines in which nothing happened.
    fn walk(&mut self, visit: &mut Visit<'_>) -> Result<bool, StoreError> {
        loop {
            // In this order: where another file follows, this one has got its last line before.
            let next = self.successor()?;
            let unfinished = self.walk_in_file(visit)?;
            let Some(next) = next else {
                if !self.turned || numbers(&self.folder)?.last().is_none_or(|last| *last <= self.number) {
                    return Ok(unfinished);
                }
                if self.successor()?.is_some() {
                    continue;
                }
                return Err(self.damaged("the file that goes on from here is missing"));
            };
            if !self.turned {
                // Whoever found it damaged has begun anew behind it.
                return Err(self.damaged("it is torn, and another file follows"));
            }
            let (seq, link) = (self.seq, self.link);
            *self = next;
            if (self.seq, self.link) != (seq, link) {
                self.offset = 0;
                return Err(self.damaged("it does not go on where the file before ends"));
            }
        }
    }

    fn successor(&self) -> Result<Option<Self>, StoreError> {
        Self::open(&self.folder, self.number + 1)
    }

    fn damaged(&self, reason: &str) -> StoreError {
        let line = if self.offset == 0 { 1 } else { self.next_line() };
        StoreError::Damaged { path: self.path.clone(), line, reason: reason.to_owned() }
    }

    fn walk_in_file(&mut self, visit: &mut Visit<'_>) -> Result<bool, StoreError> {
        let mut text = Vec::new();
        while !self.turned {
            let left = self.length()?.saturating_sub(self.offset);
            if left == 0 {
                return Ok(false);
            }
            text.resize(usize::try_from(left).unwrap_or(CHUNK).min(CHUNK), 0);
            let count = disk::read_at(&self.file, &mut text, self.offset).map_err(io_error("read", &self.path))?;
            let end = text[..count].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            for line in text[..end].split_inclusive(|byte| *byte == b'\n') {
                let bare = &line[..line.len() - 1];
                match line::read(bare, self.seq + 1, &self.link) {
                    Ok((read, link)) => {
                        (self.seq, self.link) = (self.seq + 1, link);
                        self.offset += line.len() as u64;
                        match read {
                            Read::Entry(entry) => visit(self.head(), Some(entry)),
                            Read::Turn => {
                                self.turned = true;
                                visit(self.head(), None);
                            }
                        }
                    }
                    Err(reason) => return self.torn_or_damaged(reason),
                }
            }
            if end == 0 {
                return self.torn_or_damaged("it has no end");
            }
        }
        Ok(false)
    }

    /// What a crash tears ends with its batch. With a later batch behind it, it was whole once.
    fn torn_or_damaged(&self, reason: &str) -> Result<bool, StoreError> {
        let left = self.length()?.saturating_sub(self.offset);
        let mut rest = vec![0; usize::try_from(left).unwrap_or(CHUNK).min(8 * CHUNK)];
        let count = disk::read_at(&self.file, &mut rest, self.offset).map_err(io_error("read", &self.path))?;
        let later =
            rest[..count].split(|byte| *byte == b'\n').filter_map(line::batch).any(|first| first > self.seq + 1);
        if later { Err(self.damaged(reason)) } else { Ok(true) }
    }
}
