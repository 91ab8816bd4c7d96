//! Lines of bounded length out of a stream of bytes.

use std::io::{self, BufRead};

use tokio::io::{AsyncRead, AsyncReadExt};

/// A longer line is dropped up to its newline (contract C10). In bytes, without the newline.
pub const MAX_LINE: usize = 8 * 1024 * 1024;

/// How much is read at once: what a Linux pipe holds.
const CHUNK: usize = 64 * 1024;

/// A buffer larger than this is given back once it is empty.
const KEPT: usize = 4 * CHUNK;

/// What was found at the front of the stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Found {
    /// A line of so many bytes: [`Lines::line`] shows it, [`Lines::consume`] goes on.
    Line(usize),
    /// A line that was too long, and is gone. [`Lines::consume`] goes on.
    TooLong,
    /// No more will come.
    End,
}

/// A reader of lines. A last line without a newline counts.
pub struct Lines<R> {
    input: R,
    /// From `start` on: read and not yet consumed.
    buffer: Vec<u8>,
    start: usize,
    /// Up to here there is no newline.
    searched: usize,
    /// Inside a line that is too long.
    skipping: bool,
    ended: bool,
    /// What [`Lines::find`] found and nobody consumed.
    found: Option<Found>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Reads from `input`.
    pub fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), start: 0, searched: 0, skipping: false, ended: false, found: None }
    }

    /// Finds the next line, the same one until it is consumed. May be dropped at any time without loss.
    ///
    /// # Errors
    /// Those of the input.
    pub async fn find(&mut self) -> io::Result<Found> {
        loop {
            if let Some(found) = self.found.or_else(|| self.scan()) {
                self.found = Some(found);
                return Ok(found);
            }
            self.fill().await?;
        }
    }

    /// The line that was found, of `length` bytes.
    pub fn line(&self, length: usize) -> &[u8] {
        self.buffer.get(self.start..self.start + length).unwrap_or_default()
    }

    /// Goes on behind what was found.
    pub fn consume(&mut self, length: usize) {
        if let Some(Found::Line(_)) = self.found.take() {
            // The newline too; the last line may have none.
            self.start = (self.start + length + 1).min(self.buffer.len());
            self.searched = self.start;
        }
        if self.start == self.buffer.len() {
            self.restart();
        }
    }

    /// Looks for a line in what was read.
    fn scan(&mut self) -> Option<Found> {
        let mut rest = &self.buffer[self.searched..];
        // `skip_until` is the standard library's fast search for a byte.
        let passed = rest.skip_until(b'\n').unwrap_or_default();
        let complete = passed > 0 && self.buffer[self.searched + passed - 1] == b'\n';
        self.searched += passed;
        let length = self.searched - self.start - usize::from(complete);
        if self.skipping || length > MAX_LINE {
            self.skip(complete)
        } else if complete || (self.ended && length > 0) {
            Some(Found::Line(length))
        } else {
            self.ended.then_some(Found::End)
        }
    }

    /// Drops what belongs to a line that is too long.
    fn skip(&mut self, complete: bool) -> Option<Found> {
        self.skipping = !complete && !self.ended;
        self.start = self.searched;
        if self.start == self.buffer.len() {
            self.restart();
        }
        (!self.skipping).then_some(Found::TooLong)
    }

    fn restart(&mut self) {
        self.buffer.clear();
        if self.buffer.capacity() > KEPT {
            self.buffer = Vec::new();
        }
        (self.start, self.searched) = (0, 0);
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        self.buffer.reserve(CHUNK);
        self.ended = self.input.read_buf(&mut self.buffer).await? == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Reads everything, in pieces of `piece` bytes.
    async fn read_all(input: &[u8], piece: usize) -> Vec<Result<Vec<u8>, Found>> {
        let (mut writer, reader) = tokio::io::duplex(piece);
        let input = input.to_vec();
        tokio::spawn(async move { writer.write_all(&input).await });
        let mut lines = Lines::new(reader);
        let mut read = Vec::new();
        loop {
            match lines.find().await.unwrap() {
                Found::Line(length) => {
                    read.push(Ok(lines.line(length).to_vec()));
                    lines.consume(length);
                }
                Found::TooLong => {
                    read.push(Err(Found::TooLong));
                    lines.consume(0);
                }
                Found::End => return read,
            }
            assert!(lines.buffer.capacity() <= 3 * MAX_LINE, "{}", lines.buffer.capacity());
        }
    }

    #[tokio::test]
    async fn lines_come_whole_however_they_arrive() {
        for piece in [1, 2, 3, 7, 1000] {
            let read = read_all(b"one\n\ntwo\r\nthree", piece).await;
            assert_eq!(read, [Ok(b"one".to_vec()), Ok(vec![]), Ok(b"two\r".to_vec()), Ok(b"three".to_vec())]);
        }
        assert!(read_all(b"", 1).await.is_empty());
    }

    #[tokio::test]
    async fn std_07_a_line_too_long_is_dropped_to_its_newline() {
        let long = |length: usize| vec![b'x'; length];
        for (length, fits) in [(MAX_LINE, true), (MAX_LINE + 1, false), (3 * MAX_LINE, false)] {
            let mut input = b"before\n".to_vec();
            input.extend(long(length));
            input.extend(b"\nafter\n");
            let read = read_all(&input, 1 << 20).await;
            assert_eq!(read.len(), 3);
            assert_eq!((&read[0], &read[2]), (&Ok(b"before".to_vec()), &Ok(b"after".to_vec())));
            assert_eq!(read[1].is_ok(), fits, "{length}");
        }
        let read = read_all(&long(MAX_LINE + 10), 1 << 20).await;
        assert_eq!(read, [Err(Found::TooLong)]);
    }
}
