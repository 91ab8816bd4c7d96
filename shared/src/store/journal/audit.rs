//! The journal as an audit trail: every commit since the last compaction, in words, with its chain checked on the way.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::tail::{Progress, Tail};
use crate::state::{Event, State};
use crate::store::StoreError;
use crate::time::Timestamp;

/// One event, and the commit that holds it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Audited {
    /// The commit's number.
    pub commit: u64,
    /// Its second.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// What was read and found whole: the snapshot by its hash, the journal by its chain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verified {
    /// The store's name.
    pub store: Uuid,
    /// Which journal: it counts compactions.
    pub generation: u64,
    /// The first commit of the journal; what was before it stands in the snapshot, without its history.
    pub first: u64,
    /// The last commit; `first - 1` when there is none.
    pub last: u64,
    /// Its second; 0 when there is none.
    pub latest: Timestamp,
    /// Whether a batch follows that a writer is about to finish, or that a crash left.
    pub unfinished: bool,
}

/// Reads the journal in `folder` from its beginning, and hands every event to `visit`. Takes no lock and changes
/// nothing; works beside running writers.
///
/// # Errors
/// The file and the line that are damaged; then the chain is broken there.
pub fn audit(folder: &Path, visit: &mut dyn FnMut(Audited)) -> Result<Verified, StoreError> {
    let mut history = History::open(folder)?;
    let (store, before) = history.tail.position();
    let unfinished = history.advance(visit)?;
    let tail = &history.tail;
    let (generation, last) = (tail.generation(), tail.position().1);
    Ok(Verified { store, generation, first: before + 1, last, latest: tail.latest(), unfinished })
}

/// A reader of the trail that goes on where it was.
pub struct History {
    folder: PathBuf,
    tail: Tail,
    state: State,
}

impl History {
    /// At the beginning of the newest journal.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let (tail, state) = open(folder)?;
        Ok(Self { folder: folder.to_owned(), tail, state })
    }

    /// Hands every event that has come to `visit`; true when a batch follows that is not whole yet.
    ///
    /// # Errors
    /// The file and the line that are damaged.
    pub fn advance(&mut self, visit: &mut dyn FnMut(Audited)) -> Result<bool, StoreError> {
        loop {
            let state = &mut self.state;
            let end = self.tail.advance(None, &mut |commit, _| {
                for change in commit.c {
                    visit(Audited { commit: commit.n, at: commit.t, event: state.event(&change) });
                    let applied = state.apply_all(vec![change], commit.t);
                    applied.map_err(|conflict| format!("it contradicts the lines before it: {conflict}"))?;
                }
                Ok(())
            })?;
            let next = match end {
                Progress::Read { torn } => return Ok(torn),
                Progress::Sealed(next) => open_generation(&self.folder, next)?,
                // A journal that was compacted away while we read it was whole all the same.
                Progress::Lost => None,
            };
            match next {
                Some((tail, state)) => (self.tail, self.state) = (tail, state),
                None => return Ok(false),
            }
        }
    }
}

/// The newest journal, at its beginning, and what was before it.
fn open(folder: &Path) -> Result<(Tail, State), StoreError> {
    let opened = Tail::of_newest(folder, |generation| open_generation(folder, generation))?;
    opened.ok_or_else(|| StoreError::Absent(folder.to_owned()))
}

fn open_generation(folder: &Path, generation: u64) -> Result<Option<(Tail, State)>, StoreError> {
    let Some(mut tail) = Tail::open(folder, generation, false)? else { return Ok(None) };
    let state = if generation > 1 { tail.read_snapshot(folder)? } else { State::default() };
    Ok(Some((tail, state)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::conformance::Sample;
    use crate::store::journal::JournalStore;
    use crate::time::ManualClock;

    fn words(folder: &Path) -> Result<(Vec<&'static str>, Verified), StoreError> {
        let mut words = Vec::new();
        let verified = audit(folder, &mut |audited| words.push(audited.event.what))?;
        Ok((words, verified))
    }

    #[test]
    fn adm_04_every_event_since_the_compaction_is_told_in_order_and_a_flipped_bit_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(words(folder.path()), Err(StoreError::Absent(_))));
        let clock = Arc::new(ManualClock::at(Timestamp(7)));
        let sample = Sample::new(Timestamp(7));
        let store = JournalStore::open(folder.path(), clock).unwrap();
        store.commit_blocking(sample.known()).unwrap();
        store.commit_blocking(sample.approved()).unwrap();
        let (seen, verified) = words(folder.path()).unwrap();
        assert_eq!(seen.last(), Some(&"approved"));
        assert_eq!((verified.first, verified.last, verified.latest), (1, 2, Timestamp(7)));
        assert!(store.compact().unwrap());
        store.commit_blocking(sample.redeemed()).unwrap();
        let (seen, verified) = words(folder.path()).unwrap();
        assert_eq!((seen, verified.first, verified.last), (vec!["code-redeemed"], 3, 3));
        drop(store);
        let journal = folder.path().join("journal.2.jsonl");
        let text = std::fs::read_to_string(&journal).unwrap();
        std::fs::write(&journal, text.replacen("\"t\":7", "\"t\":8", 1)).unwrap();
        assert!(matches!(words(folder.path()), Err(StoreError::Damaged { line: 2, .. })));
    }
}
