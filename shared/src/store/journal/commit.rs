//! The one thread of a process that writes: group commit.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::lock::StoreLock;
use super::tail::Tail;
use super::{Core, stopped};
use crate::files::disk;
use crate::state::{Change, Undo};
use crate::store::{CommitError, StoreError};
use crate::time::{Seconds, Timestamp};

/// The most commits that share one sync. More would only lengthen the wait of the first.
const BATCH: usize = 512;

/// How often a writer looks for what has ended.
const CARE: Duration = Duration::from_secs(60);

/// About how many records are forgotten in one commit: nobody waits longer for it than for a batch.
const PART: usize = 2048;

/// How long after its end a record is kept, so that the clocks of several processes may differ.
const MARGIN: Seconds = Seconds(60);

/// A clock that leaps further than this between two looks is not believed at once: all that lives would be forgotten
/// because of a clock that was wrong for a minute. No grant is meant to be over sooner.
const LEAP: Seconds = Seconds(30 * 86_400);

/// How long a clock must go on from a leap before what it ended is forgotten.
const DOUBT: Duration = Duration::from_secs(3600);

/// A clock behind the last commit by more than this was set back.
const BACK: Seconds = Seconds(5);

type Outcome = Result<(), CommitError>;

/// Changes that wait for the disk, and who waits for them.
struct Request {
    changes: Vec<Change>,
    answer: oneshot::Sender<Outcome>,
}

/// The handle of the writing thread. Dropping it writes what waits and ends the thread.
pub(super) struct Committer {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    pub(super) fn start(core: Arc<Core>, lock: StoreLock) -> Self {
        let (requests, waiting) = mpsc::channel();
        let before = last_second(&core);
        let run = move || run(&core, &lock, &waiting, before);
        let thread = std::thread::Builder::new().name("store-commit".to_owned()).spawn(run).ok();
        Self { requests: Some(requests), thread }
    }

    /// Hands changes over; the answer comes when they are durable.
    pub(super) fn submit(&self, changes: Vec<Change>) -> oneshot::Receiver<Outcome> {
        let (answer, answered) = oneshot::channel();
        if let Some(requests) = &self.requests {
            // If the thread is gone, the answer is dropped with the request, and the receiver says so.
            let _ = requests.send(Request { changes, answer });
        }
        answered
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(core: &Arc<Core>, lock: &StoreLock, waiting: &mpsc::Receiver<Request>, before: Timestamp) {
    let mut care = Housekeeping::new(core, before);
    loop {
        match waiting.recv_timeout(care.pause()) {
            Ok(first) => serve(core, lock, std::iter::once(first).chain(waiting.try_iter().take(BATCH - 1))),
            Err(mpsc::RecvTimeoutError::Timeout) => core.tidy(lock),
            Err(mpsc::RecvTimeoutError::Disconnected) => return core.tidy(lock),
        }
        care.look(lock);
    }
}

/// Commits a batch and answers everyone in it.
fn serve(core: &Core, lock: &StoreLock, batch: impl Iterator<Item = Request>) {
    let (changes, answers): (Vec<_>, Vec<_>) = batch.map(|request| (request.changes, request.answer)).unzip();
    let outcomes = commit(core, lock, changes).unwrap_or_else(|error| vec![Err(error.into()); answers.len()]);
    disk::answering(&core.folder, outcomes.iter().filter(|outcome| outcome.is_ok()).count());
    for (answer, outcome) in answers.into_iter().zip(outcomes) {
        // Somebody who no longer waits is no error.
        let _ = answer.send(outcome);
    }
}

/// What a writer does besides: it forgets what has ended, and compacts a journal that has outgrown its contents.
struct Housekeeping<'a> {
    core: &'a Arc<Core>,
    swept: Instant,
    /// Whether there is more to forget now.
    sweeping: bool,
    /// What the clock said when it was last looked at.
    clock: (Timestamp, Instant),
    /// Since the clock leapt, until it is believed.
    doubt: Option<Instant>,
    compaction: Option<JoinHandle<()>>,
}

impl<'a> Housekeeping<'a> {
    fn new(core: &'a Arc<Core>, before: Timestamp) -> Self {
        let clock = (before, Instant::now());
        Self { core, swept: clock.1, sweeping: false, clock, doubt: None, compaction: None }
    }

    /// How long to wait for commits before looking again.
    fn pause(&self) -> Duration {
        if self.sweeping { Duration::ZERO } else { CARE }
    }

    fn look(&mut self, lock: &StoreLock) {
        if self.sweeping || self.swept.elapsed() >= CARE {
            self.swept = Instant::now();
            self.sweeping = self.clock_is_believed() && self.sweep_part(lock);
        }
        let wanted = || self.core.tail().as_ref().is_some_and(|tail| self.core.wants_compaction(tail));
        if self.compaction.as_ref().is_none_or(JoinHandle::is_finished) && wanted() {
            let core = Arc::clone(self.core);
            let run = move || {
                if let Err(error) = core.compact() {
                    tracing::warn!(%error, "the journal could not be compacted; it will be tried again");
                }
            };
            self.compaction = std::thread::Builder::new().name("store-compact".to_owned()).spawn(run).ok();
        }
    }

    /// Whether the clock has not leapt ahead lately. A machine that slept for a month forgets an hour later.
    fn clock_is_believed(&mut self) -> bool {
        let now = self.core.clock.now();
        if leapt(self.clock.0, self.clock.1.elapsed(), now) {
            tracing::warn!(
                "the clock leapt by more than 30 days, or nobody wrote for so long; what that has ended is forgotten in an hour"
            );
            self.doubt = Some(Instant::now());
        }
        self.clock = (now, Instant::now());
        self.doubt = self.doubt.filter(|since| since.elapsed() < DOUBT);
        self.doubt.is_none()
    }

    /// Forgets a part of what has ended; whether there is more. Commits that wait come in between.
    fn sweep_part(&self, lock: &StoreLock) -> bool {
        let end = Timestamp(self.core.clock.now().0.saturating_sub(MARGIN.0));
        let care = *self.core.client_care.lock().unwrap_or_else(PoisonError::into_inner);
        let (unused, before, unused_clients) = {
            let state = self.core.state();
            let unused = state.unused_before(end, &care);
            if !state.is_sweepable(end, unused) {
                return false;
            }
            let (before, unused_clients) = state.part_of_sweep(end, unused, PART);
            (unused, before, unused_clients)
        };
        if let Err(error) = commit(self.core, lock, vec![vec![Change::Swept { before, unused_clients }]]) {
            tracing::warn!(%error, "what has ended could not be forgotten; it will be tried again");
            return false;
        }
        self.core.state().is_sweepable(end, unused)
    }
}

impl Drop for Housekeeping<'_> {
    fn drop(&mut self) {
        if let Some(compaction) = self.compaction.take() {
            let _ = compaction.join();
        }
    }
}

/// What the clock was when somebody wrote last: one that is far ahead of it when we start has leapt, too.
fn last_second(core: &Core) -> Timestamp {
    let latest = core.tail().as_ref().map(Tail::latest).filter(|latest| *latest > Timestamp(0));
    latest.unwrap_or_else(|| core.clock.now())
}

/// Whether a clock that said `before` and says `now`, `elapsed` later, has leapt ahead.
fn leapt(before: Timestamp, elapsed: Duration, now: Timestamp) -> bool {
    now - before > Seconds(elapsed.as_secs()) + LEAP
}

/// Commits a batch: lock, read what others appended, check, append, sync, unlock. On an error nothing was committed.
fn commit(core: &Core, lock: &StoreLock, batch: Vec<Vec<Change>>) -> Result<Vec<Outcome>, StoreError> {
    let asked = Instant::now();
    let _held = lock.exclusive()?;
    let waited = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
    core.done.waited.fetch_add(waited, Ordering::Relaxed);
    core.done.batches.fetch_add(1, Ordering::Relaxed);
    core.done.commits.fetch_add(batch.len() as u64, Ordering::Relaxed);
    let mut tail = core.tail();
    core.catch_up_locked(&mut tail)?;
    if let Some(reading) = tail.as_ref().filter(|tail| !tail.writes()) {
        *tail = Some(reading.for_writing()?);
    }
    let Some(current) = tail.as_mut() else { return Err(stopped()) };
    let before = current.position();
    core.committing.store(true, Ordering::Release);
    let done = write_batch(core, current, batch);
    core.committing.store(false, Ordering::Release);
    match &done {
        Ok(_) => core.moved(tail.as_ref(), before),
        Err(error) => {
            tracing::error!(%error, "a commit was not written");
            // Where we stood, by another handle, which a disk that is read-only now gives us too. The state need not be read
            // anew: a disk that is full for an hour, and clients that try again, would have it read at every question.
            *tail = current.again().unwrap_or_default();
        }
    }
    done
}

/// Commits the one word that a follower has to say, on the state that it holds anyway: no second copy of a large store
/// is loaded, and no writing thread stays.
pub(super) fn once(core: &Core, lock: &StoreLock, changes: Vec<Change>) -> Outcome {
    let _held = lock.exclusive()?;
    let mut tail = core.tail();
    core.catch_up_locked(&mut tail)?;
    let Some(reading) = tail.as_ref() else { return Err(stopped().into()) };
    let before = reading.position();
    let mut writing = reading.for_writing()?;
    core.committing.store(true, Ordering::Release);
    let done = write_batch(core, &mut writing, vec![changes]);
    core.committing.store(false, Ordering::Release);
    // On an error we stand where we stood, with a handle that only reads.
    if done.is_ok() {
        *tail = Some(writing);
        core.moved(tail.as_ref(), before);
    }
    done?.pop().unwrap_or_else(|| Err(stopped().into()))
}

fn write_batch(core: &Core, current: &mut Tail, batch: Vec<Vec<Change>>) -> Result<Vec<Outcome>, StoreError> {
    let now = core.clock.now();
    let at = current.second(now);
    let is_behind = at - now > BACK;
    if is_behind && !core.behind.swap(is_behind, Ordering::AcqRel) {
        tracing::warn!(
            seconds = (at - now).0,
            "the clock is behind the last commit: it was set back, or was ahead then"
        );
    }
    core.behind.store(is_behind, Ordering::Release);
    let (outcomes, mut tried) = check(core, &batch, at);
    let accepted: Vec<_> =
        batch.into_iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(changes, _)| changes).collect();
    if accepted.is_empty() {
        return Ok(outcomes);
    }
    current.append(&accepted, at)?;
    let mut state = core.state_mut();
    tried.iter_mut().for_each(|undo| state.redo(undo));
    Ok(outcomes)
}

/// Tries a batch on the state, in order, and takes it back: what readers see is durable. What fitted can be done again,
/// as long as nothing else changes the state: the caller holds the place in the journal that every change goes through.
fn check(core: &Core, batch: &[Vec<Change>], at: Timestamp) -> (Vec<Outcome>, Vec<Undo>) {
    let mut state = core.state_mut();
    let mut tried = Vec::with_capacity(batch.len());
    let mut outcomes = Vec::with_capacity(batch.len());
    for changes in batch {
        match state.apply_all(changes.clone(), at) {
            Ok(undo) => {
                tried.push(undo);
                outcomes.push(Ok(()));
            }
            Err(conflict) => outcomes.push(Err(conflict.into())),
        }
    }
    tried.iter_mut().rev().for_each(|undo| state.revert(undo));
    (outcomes, tried)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use std::sync::Arc;

    use super::{Core, Housekeeping, last_second, leapt};
    use crate::store::conformance::Sample;
    use crate::store::journal::JournalStore;
    use crate::time::{ManualClock, Timestamp};

    #[test]
    fn f_17_a_clock_that_is_a_year_ahead_at_the_start_is_not_believed_at_once() {
        const NOW: u64 = 1_800_000_000;
        let folder = tempfile::tempdir().unwrap();
        let clock = |second| Arc::new(ManualClock::at(Timestamp(second)));
        let store = JournalStore::open(folder.path(), clock(NOW)).unwrap();
        store.commit_blocking(Sample::new(Timestamp(NOW)).known()).unwrap();
        drop(store);
        for (later, is_believed) in [(0, true), (29 * 86_400, true), (365 * 86_400, false)] {
            let core = Arc::new(Core::new(folder.path(), clock(NOW + later), true));
            core.refresh().unwrap();
            assert_eq!(Housekeeping::new(&core, last_second(&core)).clock_is_believed(), is_believed, "{later}");
        }
    }

    #[test]
    fn f_17_a_clock_that_leaps_a_year_ahead_is_not_believed_at_once_and_one_that_goes_on_or_back_is() {
        const MINUTE: Duration = Duration::from_secs(60);
        const NOW: u64 = 1_800_000_000;
        for (later, leaps) in
            [(60, false), (86_400, false), (30 * 86_400, false), (365 * 86_400, true), (u64::MAX - NOW, true)]
        {
            assert_eq!(leapt(Timestamp(NOW), MINUTE, Timestamp(NOW + later)), leaps, "{later}");
        }
        assert!(!leapt(Timestamp(NOW), MINUTE, Timestamp(NOW - 86_400)));
        assert!(!leapt(Timestamp(NOW), Duration::from_secs(365 * 86_400), Timestamp(NOW + 365 * 86_400)));
    }
}
