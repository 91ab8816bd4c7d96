//! Locks between processes, on files that are never renamed or removed.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use shared::files;
use tokio::time::{Instant, sleep};

use super::VaultError;

/// How long to wait between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Holds a lock until dropped; the system drops it for a process that dies.
#[derive(Debug)]
pub struct Guard {
    _file: File,
}

/// Takes the lock, waiting at most `patience`. Can be given up at any time, unlike a blocking wait.
pub(super) async fn exclusive(path: &Path, patience: Duration) -> Result<Guard, VaultError> {
    let io = |error| VaultError::Io { what: "cannot lock", path: path.to_owned(), error };
    let file = files::private_options().write(true).create(true).truncate(false).open(path).map_err(io)?;
    let end = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Guard { _file: file }),
            Err(TryLockError::WouldBlock) if Instant::now() < end => sleep(PAUSE).await,
            Err(TryLockError::WouldBlock) => return Err(VaultError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
    }
}
