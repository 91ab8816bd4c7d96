//! Where state lives. Outside this module nobody knows which kind of store it is.

pub mod calls;
pub mod conformance;
pub mod journal;
pub mod memory;
pub mod place;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use crate::state::{Change, Conflict, Facts, State, Wanted};

/// An answer that may have to wait for a disk or a database.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A store of the state that the processes share.
pub trait Store: Send + Sync {
    /// Looks records up. The answer knows every commit that was acknowledged, by any process, before the call.
    fn load<'a>(&'a self, wanted: &'a Wanted) -> Answer<'a, Result<Facts, StoreError>>;

    /// Commits changes, whole or not at all. When it answers `Ok` they are durable.
    fn commit(&self, changes: Vec<Change>) -> Answer<'_, Result<(), CommitError>>;

    /// Commits one thing, from a process that only follows too. Blocks: for the lock, then for the disk.
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn commit_once(&self, changes: Vec<Change>) -> Result<(), CommitError>;

    /// Reads the state as a whole, for lists, keys and statistics. Not on the way of a request.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn read(&self, reader: &mut dyn FnMut(&State)) -> Result<(), StoreError>;

    /// What it has done since it was opened, and how large it is. Not on the way of a request.
    fn figures(&self) -> Figures {
        Figures::default()
    }

    /// Whether commits can be written, as far as can be told without one.
    ///
    /// # Errors
    /// Why they cannot.
    fn writable(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Counts up whenever the state may have changed, by any process.
    fn changed(&self) -> tokio::sync::watch::Receiver<u64>;
}

/// What a store has done since this process opened it, for graphs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Figures {
    /// Batches that were written: each is one sync.
    pub batches: u64,
    /// Commits in them, those included that did not fit.
    pub commits: u64,
    /// How long the writer waited for the lock, in all.
    pub lock_wait: Duration,
    /// How large it is on the disk now.
    pub bytes: u64,
}

/// Why a store cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// There is none yet.
    #[error("there is no store at {0}; start authz-service first, or name the folder with --data")]
    Absent(PathBuf),
    /// It is being read for the first time; [`Store::changed`] tells when that is done.
    #[error("the store is still loading; try again in a moment")]
    Loading,
    /// The operating system says no.
    #[error("{what} {path}: {reason}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer.
        reason: String,
    },
    /// The contents contradict themselves.
    #[error("{path} line {line}: {reason}. Nothing was changed; restore a backup, or keep the readable part of it")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// Written by a newer program.
    #[error("{path} has format {found}, this program knows {known}; use the newer program")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format version.
        found: String,
        /// Ours.
        known: &'static str,
    },
    /// The lock was not to be had in time.
    #[error("the store's lock is held by {holder} since more than 5 seconds")]
    Locked {
        /// Which process, as far as the system says.
        holder: String,
    },
    /// Something must be done that nobody may be beside of.
    #[error("{path} is in use by {by}; stop it first")]
    InUse {
        /// The store's folder.
        path: PathBuf,
        /// Which process, as far as the system says.
        by: String,
    },
    /// Not safe to use as it is.
    #[error("{path}: {reason}")]
    Unsafe {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Why a commit was not made. Nothing of it was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// Somebody was first: load and decide again.
    #[error("conflict: {0}")]
    Conflict(#[from] Conflict),
    /// The store does not take writes now.
    #[error("the store does not take writes: {0}")]
    Unavailable(StoreError),
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error)
    }
}
