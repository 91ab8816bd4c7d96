//! The file-backed JSON store: an append-only journal that several processes write and follow.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::{Answer, CommitError, Store, StoreError};
use crate::state::{Change, Facts, State, Wanted};
use crate::time::Clock;
use crate::token::KeySet;

/// A store in a folder.
pub struct JournalStore {
    changed: watch::Sender<u64>,
    folder: PathBuf,
}

impl JournalStore {
    /// Opens a store for reading and writing; makes it when there is none.
    ///
    /// # Errors
    /// When the folder is unsafe, or its contents are damaged.
    pub fn open(folder: &Path, _clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Ok(Self { changed: watch::Sender::new(0), folder: folder.to_owned() })
    }

    /// Follows a store that others write. Never creates anything; until there is a store, [`Store::load`] answers
    /// [`StoreError::Absent`]. Returns at once: reading begins in the background.
    pub fn follow(folder: &Path, _clock: Arc<dyn Clock>) -> Self {
        Self { changed: watch::Sender::new(0), folder: folder.to_owned() }
    }

    /// The store's private keys, made and published when there are none. For the service only.
    ///
    /// # Errors
    /// When `keys.json` cannot be read or made.
    pub fn keys(&self) -> Result<KeySet, StoreError> {
        Err(StoreError::Absent(self.folder.clone()))
    }
}

impl Store for JournalStore {
    fn load<'a>(&'a self, _wanted: &'a Wanted) -> Answer<'a, Result<Facts, StoreError>> {
        Box::pin(std::future::ready(Err(StoreError::Absent(self.folder.clone()))))
    }

    fn commit(&self, _changes: Vec<Change>) -> Answer<'_, Result<(), CommitError>> {
        Box::pin(std::future::ready(Err(StoreError::Absent(self.folder.clone()).into())))
    }

    fn read(&self, _reader: &mut dyn FnMut(&State)) -> Result<(), StoreError> {
        Err(StoreError::Absent(self.folder.clone()))
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
