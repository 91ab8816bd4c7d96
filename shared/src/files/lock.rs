//! A lock between processes, for files that one of them at a time changes.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::private_options;

/// How long to wait: whoever holds it writes one small file.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// Locks the file at `path`, which is made if need be and never renamed or removed: a lock on an unlinked file excludes nobody.
/// `None` when somebody else held it all the time. It ends when the file is dropped; the system gives it back when its holder dies.
///
/// # Errors
/// Those of the operating system.
pub fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = private_options().write(true).create(true).truncate(false).open(path)?;
    let end = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}
