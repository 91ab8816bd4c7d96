//! A store that forgets everything at the end: for tests and for `--ephemeral` runs.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use super::{Answer, CommitError, Store, StoreError};
use crate::state::{Change, Facts, State, Wanted};
use crate::time::Clock;

/// State in memory, of one process.
pub struct MemoryStore {
    state: RwLock<State>,
    clock: Arc<dyn Clock>,
    changed: watch::Sender<u64>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { state: RwLock::default(), clock, changed: watch::Sender::new(0) }
    }
}

impl Store for MemoryStore {
    fn load<'a>(&'a self, wanted: &'a Wanted) -> Answer<'a, Result<Facts, StoreError>> {
        let facts = self.state.read().unwrap_or_else(PoisonError::into_inner).facts(wanted);
        Box::pin(std::future::ready(Ok(facts)))
    }

    fn commit(&self, changes: Vec<Change>) -> Answer<'_, Result<(), CommitError>> {
        Box::pin(std::future::ready(self.commit_once(changes)))
    }

    fn commit_once(&self, changes: Vec<Change>) -> Result<(), CommitError> {
        let at = self.clock.now();
        let done = self.state.write().unwrap_or_else(PoisonError::into_inner).apply_all(changes, at);
        self.changed.send_modify(|count| *count += 1);
        done.map(|_| ()).map_err(CommitError::from)
    }

    fn read(&self, reader: &mut dyn FnMut(&State)) -> Result<(), StoreError> {
        reader(&self.state.read().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
