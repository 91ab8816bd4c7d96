//! The store's lock: one writer at a time, across processes.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{checked_file, io_error};
use crate::files;
use crate::store::StoreError;

/// How long a writer waits for its turn (fault F-11).
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest pause between two tries.
const PAUSE: Duration = Duration::from_millis(2);

/// `store.lock`: never renamed, never deleted, for a lock on an unlinked file excludes nobody.
///
/// The system frees it when its holder dies (flock(2)), so there is nothing to clean up after a `kill -9`.
pub(super) struct StoreLock {
    file: File,
    path: PathBuf,
}

/// The lock while it is held.
pub(super) struct Held<'a>(&'a StoreLock);

impl StoreLock {
    /// Opens the lock file, or makes it. Nothing is locked yet.
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("store.lock");
        checked_file(&path)?;
        let file = files::private_options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io_error("open", &path))?;
        Ok(Self { file, path })
    }

    /// Waits for the sole right to write.
    pub(super) fn exclusive(&self) -> Result<Held<'_>, StoreError> {
        self.wait(fs2::FileExt::try_lock_exclusive)
    }

    /// Waits until nobody writes, and keeps it so.
    pub(super) fn shared(&self) -> Result<Held<'_>, StoreError> {
        self.wait(fs2::FileExt::try_lock_shared)
    }

    fn wait(&self, attempt: impl Fn(&File) -> io::Result<()>) -> Result<Held<'_>, StoreError> {
        let busy = fs2::lock_contended_error().raw_os_error();
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(50);
        loop {
            match attempt(&self.file) {
                Ok(()) => return Ok(Held(self)),
                Err(error) if error.raw_os_error() != busy => return Err(io_error("lock", &self.path)(error)),
                Err(_) if Instant::now() >= deadline => return Err(StoreError::Locked { holder: self.holder() }),
                Err(_) => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(PAUSE);
        }
    }

    /// Who holds the lock, as far as the system tells.
    fn holder(&self) -> String {
        holder_of(&self.file).map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Closing the file would free it too; there is nothing to do about an error.
        let _ = fs2::FileExt::unlock(&self.0.file);
    }
}

/// Looks the lock up in `/proc/locks`: `1: FLOCK ADVISORY WRITE 1234 fd:01:5678 0 EOF`.
#[cfg(target_os = "linux")]
fn holder_of(file: &File) -> Option<String> {
    use std::os::unix::fs::MetadataExt;

    let inode = format!(":{}", file.metadata().ok()?.ino());
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let line = locks
        .lines()
        .find(|line| !line.contains("->") && line.split_whitespace().any(|word| word.ends_with(&inode)))?;
    line.split_whitespace().nth(4).map(str::to_owned)
}

#[cfg(not(target_os = "linux"))]
fn holder_of(_file: &File) -> Option<String> {
    None
}
