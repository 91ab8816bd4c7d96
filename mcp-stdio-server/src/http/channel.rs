//! The way to one connection, or to one after another: whoever reads last is the reader.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::track::{Said, Track};

/// How many bytes may wait for one reader. Whoever reads slower is cut off.
const UNREAD: usize = 16 * 1024 * 1024;

/// A stream of messages.
pub struct Channel {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    track: Track,
    /// Which reader is the present one.
    reader: u64,
    is_read: bool,
    /// Nothing more will come.
    is_closed: bool,
}

impl Channel {
    /// A channel; `keeps` when it may be read again.
    pub fn new(keeps: bool) -> Arc<Self> {
        let state = State { track: Track::new(keeps), reader: 0, is_read: false, is_closed: false };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    /// Says something.
    pub fn put(&self, said: Said) {
        let mut state = self.state();
        if state.is_closed {
            return;
        }
        let is_read = state.is_read;
        state.track.put(said, is_read);
        if is_read && state.track.unread() > UNREAD {
            state.reader += 1;
            state.is_read = false;
            state.track.trim(false);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Nothing more will come.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_waiters();
    }

    /// Reads on from where the reader before has come to, or from behind a message. That reader hears no more: a message
    /// goes to one connection only.
    pub fn read(self: &Arc<Self>, after: Option<u64>) -> Inbox {
        let mut state = self.state();
        state.reader += 1;
        state.is_read = true;
        if let Some(number) = after {
            state.track.rewind(number);
        }
        let reader = state.reader;
        drop(state);
        self.changed.notify_waiters();
        Inbox { channel: Arc::clone(self), reader }
    }

    /// Whether somebody reads.
    pub fn is_read(&self) -> bool {
        self.state().is_read
    }

    /// How many bytes are kept of a stream that is over and that nobody reads; `None` of any other.
    pub fn left(&self) -> Option<usize> {
        let state = self.state();
        (!state.is_read && (state.is_closed || state.track.is_answered())).then(|| state.track.bytes())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a connection reads.
pub struct Inbox {
    channel: Arc<Channel>,
    reader: u64,
}

impl Inbox {
    /// What it reads.
    pub fn channel(&self) -> Arc<Channel> {
        Arc::clone(&self.channel)
    }

    /// The number of the last message that was read.
    pub fn read(&self) -> u64 {
        self.channel.state().track.read()
    }

    /// Waits for a message, and says whether it is the answer; `None` when there will be none.
    pub async fn ready(&mut self) -> Option<bool> {
        self.wait(|track| track.next().map(|said| said.is_answer)).await
    }

    /// The next message and its number; `None` when there will be none.
    pub async fn next(&mut self) -> Option<(u64, Arc<Said>)> {
        self.wait(Track::take).await
    }

    async fn wait<T>(&mut self, mut look: impl FnMut(&mut Track) -> Option<T>) -> Option<T> {
        loop {
            let changed = self.channel.changed.notified();
            {
                let mut state = self.channel.state();
                if state.reader != self.reader {
                    return None;
                }
                if let Some(found) = look(&mut state.track) {
                    return Some(found);
                }
                if state.is_closed {
                    return None;
                }
            }
            changed.await;
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut state = self.channel.state();
        if state.reader == self.reader {
            state.is_read = false;
            state.track.trim(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        Said { json: text.into(), is_answer: text == "answer", code: None }
    }

    async fn next(inbox: &mut Inbox) -> Option<String> {
        inbox.next().await.map(|(_, said)| String::from_utf8(said.json.clone()).unwrap())
    }

    #[tokio::test]
    async fn a_reader_takes_over_from_the_one_before_and_reads_on() {
        let channel = Channel::new(true);
        let mut first = channel.read(None);
        ["a", "b"].iter().for_each(|text| channel.put(said(text)));
        assert_eq!(next(&mut first).await.as_deref(), Some("a"));
        let mut second = channel.read(None);
        assert_eq!(next(&mut first).await, None);
        drop(first);
        assert!(channel.is_read(), "the one before is not the reader");
        assert_eq!(next(&mut second).await.as_deref(), Some("b"));
        drop(second);
        channel.put(said("answer"));
        assert_eq!(channel.left(), Some(8));
        let mut third = channel.read(Some(1));
        assert_eq!(channel.left(), None);
        assert_eq!((next(&mut third).await.as_deref(), third.ready().await), (Some("b"), Some(true)));
    }

    #[tokio::test]
    async fn a_reader_that_is_too_slow_is_cut_off_and_may_come_back() {
        let channel = Channel::new(true);
        let mut slow = channel.read(None);
        let large = "x".repeat(UNREAD / 2 + 1);
        [large.as_str(), large.as_str(), "answer"].iter().for_each(|text| channel.put(said(text)));
        assert_eq!(next(&mut slow).await, None);
        assert_eq!(next(&mut channel.read(Some(0))).await.as_deref(), Some("answer"), "within bounds, and the answer");
        channel.close();
        channel.put(said("late"));
        assert_eq!(next(&mut channel.read(None)).await, None);
    }
}
