//! What waits to be written down: bounded, and what does not fit is counted.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shared::secret::TokenHash;
use shared::state::Kind;
use shared::store::calls::{Bearer, Decision, End, Trace};
use shared::text::Text;
use shared::time::Timestamp;
use shared::uri::Resource;

use super::{Progress, Transport};
use crate::era::Era;

/// So many may wait.
const MOST: usize = 16 * 1024;

/// When so many wait, the writer need not wait for more.
const MANY: usize = MOST / 4;

/// How long the first waits for more to be written with it: a sync for each of ten batches a second is little.
const PAUSE: Duration = Duration::from_millis(100);

/// A call that was decided on.
pub(super) struct Item {
    pub server: Resource,
    pub kind: Kind,
    pub name: Text,
    pub method: Text,
    pub decision: Decision,
    pub cause: Option<&'static str>,
    pub bearer: Option<Bearer>,
    pub arguments: TokenHash,
    pub transport: Transport,
    pub era: Era,
    pub trace: Option<Box<Trace>>,
    pub at: Timestamp,
    pub begun: Instant,
    pub progress: Progress,
    pub has_ended: AtomicBool,
}

/// What waits.
pub(super) enum Waiting {
    /// A call that was decided on.
    Call(Arc<Item>),
    /// The end of the call of a line that is written.
    End(Arc<Item>, u64, End, Timestamp),
}

#[derive(Default)]
struct Inside {
    waiting: Vec<Waiting>,
    lost: u64,
    closed: bool,
    /// The writer has written its last.
    done: bool,
}

/// The queue between calls and the writer.
#[derive(Default)]
pub(super) struct Queue {
    inside: Mutex<Inside>,
    changed: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, item: Arc<Item>) {
        self.push(Waiting::Call(item));
    }

    pub(super) fn put_end(&self, item: Arc<Item>, call: u64, end: End, at: Timestamp) {
        self.push(Waiting::End(item, call, end, at));
    }

    fn push(&self, waiting: Waiting) {
        let mut inside = self.lock();
        if inside.waiting.len() >= MOST {
            inside.lost += 1;
            return;
        }
        inside.waiting.push(waiting);
        let count = inside.waiting.len();
        drop(inside);
        // Not at every call: waking a thread costs more than all the rest.
        if count == 1 || count == MANY {
            self.changed.notify_all();
        }
    }

    /// Waits for something, and a little for more. What there is, and how many were lost; `None` when nothing will come.
    pub(super) fn take(&self) -> Option<(Vec<Waiting>, u64)> {
        let nothing = |inside: &mut Inside| inside.waiting.is_empty() && inside.lost == 0 && !inside.closed;
        let few = |inside: &mut Inside| inside.waiting.len() < MANY && !inside.closed;
        let inside = self.changed.wait_while(self.lock(), nothing).unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(inside, PAUSE, few);
        let (mut inside, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let taken = (std::mem::take(&mut inside.waiting), std::mem::take(&mut inside.lost));
        (!taken.0.is_empty() || taken.1 > 0).then_some(taken)
    }

    /// So many that were taken are not written down.
    pub(super) fn lost(&self, count: u64) {
        let mut inside = self.lock();
        // There will be no later line that could say it.
        if !inside.closed {
            inside.lost += count;
        }
    }

    pub(super) fn done(&self) {
        self.lock().done = true;
        self.changed.notify_all();
    }

    /// Nothing will come any more. Waits for the writer, but not for ever.
    pub(super) fn close(&self, patience: Duration) {
        let mut inside = self.lock();
        inside.closed = true;
        self.changed.notify_all();
        let _ = self.changed.wait_timeout_while(inside, patience, |inside| !inside.done);
    }
}
