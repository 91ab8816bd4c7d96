//! Compaction: a new generation holds the live records, and the old one goes.
//!
//! The work is done beside commits, on a copy of the state that shares with it all that does not change meanwhile: it
//! costs no second load and no second state. Only the switch takes the lock, for as long as one batch. A crash at any step leaves the old generation in force, or the new one, never a mixture:
//!
//! 1. `snapshot.N.jsonl.tmp`, written and synced: the state after some commit.
//! 2. `journal.N.jsonl.tmp`: its header, and the commits since, copied byte for byte (their chain goes on).
//! 3. Under the lock: the last commits are copied too, then the old journal is sealed: nothing is appended to it.
//! 4. Both files get their names, the journal last. That rename is the switch.
//! 5. The old generation is removed. Who still reads it reads the seal and goes on in the new one.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::foreign::Foreign;
use super::lock::{self, StoreLock};
use super::snapshot::{self, Header};
use super::tail::{Tail, journal_path};
use super::{Core, io_error};
use crate::files::disk;
use crate::state::State;
use crate::store::StoreError;

/// What may be left to copy under the lock.
const LITTLE: u64 = 64 << 10;

/// How often to try to come so far: who writes faster than we copy waits a little longer.
const ROUNDS: usize = 16;

/// A journal below this size is not worth it.
const SMALLEST: u64 = 8 << 20;

impl Core {
    /// Whether the journal has outgrown what it is worth: 8 MiB, and three times the snapshot that it goes on from.
    pub(super) fn wants_compaction(&self, tail: &Tail) -> bool {
        let snapshot =
            fs::metadata(snapshot::path(&self.folder, tail.generation())).map_or(0, |metadata| metadata.len());
        tail.size() > SMALLEST.max(3 * snapshot)
    }

    /// Compacts. `Ok(false)` when another process did, or is about to.
    pub(super) fn compact(&self) -> Result<bool, StoreError> {
        if self.compacting.swap(true, Ordering::AcqRel) {
            return Ok(false);
        }
        let done = self.compact_now();
        self.compacting.store(false, Ordering::Release);
        done
    }

    fn compact_now(&self) -> Result<bool, StoreError> {
        let Some(_alone) = lock::try_alone(&self.folder)? else { return Ok(false) };
        let Some((mut copy, state)) = self.freeze()? else { return Ok(false) };
        let (store, seq) = copy.position();
        let next = copy.generation() + 1;
        let foreign = Foreign::collect(&self.folder, &copy)?;
        let header = Header::new(store, next, seq, copy.latest(), &foreign);
        let written = snapshot::write(&self.folder, &header, &state, &foreign)?;
        drop((state, foreign));
        let mut journal = NewJournal::create(self, next, &copy)?;
        journal.copy_most(&mut copy)?;
        let lock = StoreLock::open(&self.folder)?;
        let held = lock.exclusive()?;
        let mut tail = self.tail();
        self.catch_up_locked(&mut tail)?;
        let Some(current) = tail.as_mut().filter(|tail| tail.generation() + 1 == next) else { return Ok(false) };
        journal.copy(&mut copy)?;
        if !copy.is_at(current) {
            return Ok(false);
        }
        current.seal(next)?;
        let length = journal.0.length();
        self.publish(next, written, journal)?;
        *tail = Tail::open_at_end(&self.folder, next, &copy, length, self.writes)?;
        // To remove a large file takes a while, and only whoever compacts may do it: nobody need wait.
        drop((tail, held));
        snapshot::clean(&self.folder, next);
        Ok(true)
    }

    /// Where we are, and a copy of the state as it is there. `None` when the journal is no longer in its place.
    fn freeze(&self) -> Result<Option<(Tail, State)>, StoreError> {
        let mut tail = self.tail();
        self.catch_up(&mut tail)?;
        let Some(current) = tail.as_ref() else { return Ok(None) };
        Ok(current.again()?.map(|copy| (copy, self.state().frozen())))
    }

    fn publish(&self, generation: u64, snapshot: PathBuf, journal: NewJournal) -> Result<(), StoreError> {
        let temporary = journal.0.path().to_owned();
        journal.0.sync().map_err(io_error("sync", &temporary))?;
        let rename = |from: PathBuf, to: PathBuf| disk::rename(&from, &to).map_err(io_error("rename", &from));
        rename(snapshot, snapshot::path(&self.folder, generation))?;
        disk::sync_folder(&self.folder).map_err(io_error("sync", &self.folder))?;
        rename(temporary, journal_path(&self.folder, generation))?;
        disk::sync_folder(&self.folder).map_err(io_error("sync", &self.folder))
    }
}

/// The next journal, before it is in force.
struct NewJournal(disk::Writer);

impl NewJournal {
    fn create(core: &Core, generation: u64, from: &Tail) -> Result<Self, StoreError> {
        let path = journal_path(&core.folder, generation).with_extension("jsonl.tmp");
        let mut journal = Self(disk::Writer::create(path.clone()).map_err(io_error("create", &path))?);
        journal.write(&from.header_of(generation).to_line())?;
        Ok(journal)
    }

    /// Copies until little is left to copy under the lock, and makes it durable, for the same reason.
    fn copy_most(&mut self, from: &mut Tail) -> Result<(), StoreError> {
        for _ in 0..ROUNDS {
            let before = self.0.length();
            self.copy(from)?;
            self.0.sync().map_err(io_error("sync", self.0.path()))?;
            if self.0.length() - before < LITTLE {
                break;
            }
        }
        Ok(())
    }

    /// Copies the commits that `from` has not read yet, and checks their chain on the way.
    fn copy(&mut self, from: &mut Tail) -> Result<(), StoreError> {
        while let Some(lines) = from.next_lines()? {
            self.write(&lines)?;
        }
        Ok(())
    }

    fn write(&mut self, lines: &[u8]) -> Result<(), StoreError> {
        self.0.write_all(lines).map_err(io_error("write", self.0.path()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::store::conformance::Sample;
    use crate::store::journal::{Core, JournalStore};
    use crate::time::{SystemClock, Timestamp};

    #[test]
    fn a_reader_that_slept_through_two_generations_is_not_stale() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("store");
        let store = JournalStore::open(&folder, Arc::new(SystemClock)).unwrap();
        // Without the thread that would wake it in between.
        let reader = Core::new(&folder, Arc::new(SystemClock), false);
        for clients in 1..5 {
            store.commit_blocking(Sample::new(Timestamp(1)).known()).unwrap();
            reader.refresh().unwrap();
            assert_eq!(reader.state().clients().len(), 2 * clients - 1);
            assert!(store.compact().unwrap() && store.compact().unwrap());
            store.commit_blocking(Sample::new(Timestamp(1)).known()).unwrap();
            reader.refresh().unwrap();
            assert_eq!(reader.state().clients().len(), 2 * clients);
        }
    }

    #[test]
    fn a_seal_without_its_successor_hides_nothing_and_is_taken_back_by_the_next_writer() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("store");
        let open = || JournalStore::open(&folder, Arc::new(SystemClock)).unwrap();
        let sealed = || std::fs::read_to_string(folder.join("journal.1.jsonl")).unwrap().contains("\"seal\"");
        let sample = Sample::new(Timestamp(1));
        let store = open();
        store.commit_blocking(sample.known()).unwrap();
        store.core.tail().as_mut().unwrap().seal(2).unwrap();
        assert!(sealed());
        let follower = JournalStore::follow(&folder, Arc::new(SystemClock));
        let known = |store: &JournalStore| {
            store.core.refresh().map(|()| store.core.state().clients().len()).unwrap_or_default()
        };
        while known(&follower) == 0 {
            std::thread::yield_now();
        }
        let beside = open();
        assert!(!sealed(), "the writer that opens takes the seal back");
        beside.commit_blocking(sample.approved()).unwrap();
        store.commit_blocking(sample.redeemed()).unwrap();
        assert_eq!(follower.core.refresh().map(|()| follower.core.state().grants().len()).unwrap(), 1);
    }
}
