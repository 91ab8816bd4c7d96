//! What was said on one stream, as far as it is kept for a reader that comes back. Pure.
//!
//! Source: MCP 2025-11-25, Streamable HTTP, "Resumability and Redelivery".

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// How many messages of a stream are kept, the newest.
pub const KEPT: usize = 64;

/// How many bytes of them.
pub const KEPT_BYTES: usize = 256 * 1024;

/// Something for a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Said {
    /// One message.
    pub json: Vec<u8>,
    /// Whether it is the answer, behind which nothing comes.
    pub is_answer: bool,
    /// The code of an answer that is an error.
    pub code: Option<i64>,
}

/// A place in a stream: the name of the event before it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EventId {
    /// Of which session it is: another session's is no place in this one.
    pub session: u64,
    /// Of which of its streams.
    pub stream: u64,
    /// The number of the message; 0 before the first.
    pub number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}-{}", self.session, self.stream, self.number)
    }
}

/// What is no [`EventId`].
#[derive(Debug, Eq, PartialEq)]
pub struct NotAnEvent;

impl FromStr for EventId {
    type Err = NotAnEvent;

    fn from_str(text: &str) -> Result<Self, NotAnEvent> {
        let mut parts = text.split('-');
        let (Some(session), Some(stream), Some(number), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAnEvent);
        };
        let session = u64::from_str_radix(session, 16).map_err(|_| NotAnEvent)?;
        let number_of = |text: &str| text.parse().map_err(|_| NotAnEvent);
        let id = Self { session, stream: number_of(stream)?, number: number_of(number)? };
        // One name each: no signs, no zeros in front.
        (id.to_string() == text).then_some(id).ok_or(NotAnEvent)
    }
}

/// What was said, from some message on.
#[derive(Debug)]
pub struct Track {
    /// Whether what was read is kept.
    keeps: bool,
    events: VecDeque<Arc<Said>>,
    /// The number of the message before `events`.
    before: u64,
    /// The number of the last message that the reader has had.
    read: u64,
    bytes: usize,
    /// How many of them the reader has not had.
    unread: usize,
}

impl Track {
    /// A stream on which nothing was said yet.
    pub fn new(keeps: bool) -> Self {
        Self { keeps, events: VecDeque::new(), before: 0, read: 0, bytes: 0, unread: 0 }
    }

    /// Something is said. What nobody reads (`is_read`) or has read is kept within bounds, the answer always.
    pub fn put(&mut self, said: Said, is_read: bool) {
        self.bytes += said.json.len();
        self.unread += said.json.len();
        self.events.push_back(Arc::new(said));
        self.trim(is_read);
    }

    /// The next message that the reader has not had, and its number.
    pub fn take(&mut self) -> Option<(u64, Arc<Said>)> {
        let said = Arc::clone(self.next()?);
        self.read += 1;
        self.unread -= said.json.len();
        self.trim(true);
        Some((self.read, said))
    }

    /// The same without taking it.
    pub fn next(&self) -> Option<&Arc<Said>> {
        self.events.get(usize::try_from(self.read - self.before).ok()?)
    }

    /// Goes back to behind the message of this number, as far as is kept, and never on to what was not said.
    pub fn rewind(&mut self, number: u64) {
        let last = self.before + self.events.len() as u64;
        self.read = number.clamp(self.before, last);
        let had = usize::try_from(self.read - self.before).unwrap_or(usize::MAX);
        self.unread = self.events.iter().skip(had).map(|said| said.json.len()).sum();
    }

    /// The number of the last message that was read.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// How many bytes the reader has not had.
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// How many bytes are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the answer was said.
    pub fn is_answered(&self) -> bool {
        self.events.back().is_some_and(|said| said.is_answer)
    }

    /// Forgets what is too much. `is_read`: then what was not read yet is not too much.
    pub fn trim(&mut self, is_read: bool) {
        while let Some(first) = self.events.front() {
            let was_read = self.read > self.before;
            let is_too_much = self.events.len() > KEPT || self.bytes > KEPT_BYTES;
            let goes = match (was_read, self.keeps) {
                (true, false) => true,
                (true, true) => is_too_much && !first.is_answer,
                (false, _) => is_too_much && !first.is_answer && !is_read,
            };
            if !goes {
                return;
            }
            self.bytes -= first.json.len();
            if !was_read {
                self.unread -= first.json.len();
            }
            self.events.pop_front();
            self.before += 1;
            self.read = self.read.max(self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        Said { json: text.into(), is_answer: text.starts_with("answer"), code: None }
    }

    /// Whatever happens, in whichever order: what is counted along is what is there.
    #[test]
    fn what_is_counted_along_is_what_is_there() {
        for seed in 0..64_u64 {
            let mut track = Track::new(seed % 2 == 0);
            let mut random = seed;
            for step in 0..400 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (what, amount) = (random >> 61, random >> 40 & 0x3fff);
                match what {
                    0..=3 => track.put(said(&"x".repeat(usize::try_from(amount).unwrap())), what < 2),
                    4 | 5 => drop(track.take()),
                    6 => track.rewind(amount % (step + 1)),
                    _ => track.trim(false),
                }
                let had = usize::try_from(track.read - track.before).unwrap();
                let lengths: Vec<_> = track.events.iter().map(|said| said.json.len()).collect();
                assert_eq!(track.bytes(), lengths.iter().sum::<usize>());
                assert_eq!(track.unread(), lengths[had..].iter().sum::<usize>());
            }
        }
    }

    fn rest(track: &mut Track) -> Vec<(u64, String)> {
        std::iter::from_fn(|| track.take())
            .map(|(number, said)| (number, String::from_utf8(said.json.clone()).unwrap()))
            .collect()
    }

    #[track_caller]
    fn check(after: u64, found: &[&str]) {
        let mut track = Track::new(true);
        ["a", "b", "answer"].iter().for_each(|text| track.put(said(text), true));
        assert_eq!(rest(&mut track).len(), 3);
        track.rewind(after);
        assert_eq!(track.read(), 3 - found.len() as u64);
        let again: Vec<_> = rest(&mut track).into_iter().map(|(_, text)| text).collect();
        assert_eq!(again, found);
    }

    #[test]
    fn a_reader_that_comes_back_gets_what_came_after_its_last_event() {
        check(0, &["a", "b", "answer"]);
        check(1, &["b", "answer"]);
        check(2, &["answer"]);
        check(3, &[]);
        check(4, &[]);
        check(u64::MAX, &[]);
    }

    #[test]
    fn what_is_not_kept_is_forgotten_when_it_is_read() {
        let mut track = Track::new(false);
        track.put(said("a"), true);
        assert_eq!((track.bytes(), track.unread()), (1, 1));
        assert_eq!(rest(&mut track), [(1, "a".to_owned())]);
        assert_eq!((track.bytes(), track.unread()), (0, 0));
        track.rewind(0);
        assert_eq!(rest(&mut track), []);
    }

    #[test]
    fn what_is_kept_is_bounded_but_for_the_answer_and_what_a_reader_still_has_to_get() {
        let large = "x".repeat(KEPT_BYTES / 2 + 1);
        for (texts, is_read, kept) in [
            (vec!["a"; KEPT + 3], false, KEPT),
            (vec!["a"; KEPT + 3], true, KEPT + 3),
            (vec![large.as_str(); 3], false, 1),
            (vec![large.as_str(); 3], true, 3),
        ] {
            let mut track = Track::new(true);
            texts.iter().for_each(|text| track.put(said(text), is_read));
            assert_eq!(track.events.len(), kept);
            assert_eq!(rest(&mut track).last().unwrap().0, texts.len() as u64, "numbers go on");
            assert!(track.bytes() <= KEPT_BYTES && track.events.len() <= KEPT);
        }
        let mut track = Track::new(true);
        track.put(said(&format!("answer{}", "x".repeat(KEPT_BYTES))), false);
        track.trim(false);
        assert!(track.is_answered());
    }

    #[test]
    fn an_event_has_one_name() {
        let id = EventId { session: 0xab, stream: 3, number: 12 };
        assert_eq!(id.to_string(), "00000000000000ab-3-12");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "1", "00000000000000ab-3", "00000000000000ab-3-12-1", "ab-3-12", "00000000000000AB-3-12"]
            .into_iter()
            .chain(["00000000000000ab-+3-12", "00000000000000ab-03-12", "00000000000000ab-3--1", "é-3-12"])
        {
            assert_eq!(text.parse::<EventId>(), Err(NotAnEvent), "{text}");
        }
    }
}
