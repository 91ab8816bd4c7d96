//! The store's lock: one writer at a time, across processes.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{checked_file, io_error};
use crate::files::{self, disk};
use crate::store::StoreError;

/// How long a writer waits for its turn (fault F-11).
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest pause between two tries.
const PAUSE: Duration = Duration::from_millis(2);

/// `store.lock`: never renamed, never deleted, for a lock on an unlinked file excludes nobody.
///
/// The system frees it when its holder dies (flock(2)), so there is nothing to clean up after a `kill -9`.
pub(in crate::store) struct StoreLock {
    file: Mutex<File>,
    path: PathBuf,
}

/// The lock while it is held.
pub(in crate::store) struct Held<'a>(MutexGuard<'a, File>);

impl StoreLock {
    /// Opens the lock file, or makes it. Nothing is locked yet.
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::at(folder.join("store.lock"))
    }

    /// The same for another file, which guards something else.
    pub(in crate::store) fn at(path: PathBuf) -> Result<Self, StoreError> {
        Ok(Self { file: Mutex::new(open_file(&path)?), path })
    }

    /// Waits for the sole right to write.
    pub(in crate::store) fn exclusive(&self) -> Result<Held<'_>, StoreError> {
        self.wait(fs2::FileExt::try_lock_exclusive)
    }

    /// The sole right to write, if it is to be had at once.
    pub(super) fn try_exclusive(&self) -> Option<Held<'_>> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let held = fs2::FileExt::try_lock_exclusive(&*file).is_ok();
        held.then(|| Held(file))
    }

    /// Waits until nobody writes, and keeps it so.
    pub(super) fn shared(&self) -> Result<Held<'_>, StoreError> {
        self.wait(fs2::FileExt::try_lock_shared)
    }

    fn wait(&self, attempt: impl Fn(&File) -> io::Result<()>) -> Result<Held<'_>, StoreError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.wait_for(&file, &attempt)?;
            // A lock on a file that is no longer the one in the folder excludes nobody who comes now.
            if files::is_in_place(&file, &self.path).map_err(io_error("look at", &self.path))? {
                return Ok(Held(file));
            }
            *file = open_file(&self.path)?;
        }
    }

    fn wait_for(&self, file: &File, attempt: impl Fn(&File) -> io::Result<()>) -> Result<(), StoreError> {
        let busy = fs2::lock_contended_error().raw_os_error();
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(50);
        loop {
            match attempt(file) {
                Ok(()) => return Ok(()),
                Err(error) if error.raw_os_error() != busy => return Err(io_error("lock", &self.path)(error)),
                Err(_) if Instant::now() >= deadline => return Err(StoreError::Locked { holder: holder(file) }),
                Err(_) => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(PAUSE);
        }
    }
}

/// The right to compact, or to clean up after a compaction: one process at a time, for their temporary files have the
/// same names. `None` when another has it.
pub(super) fn try_alone(folder: &Path) -> Result<Option<Locked>, StoreError> {
    let path = folder.join("compact.lock");
    let file = open_file(&path)?;
    match fs2::FileExt::try_lock_exclusive(&file) {
        Ok(()) => Ok(Some(Locked(file))),
        Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => Ok(None),
        Err(error) => Err(io_error("lock", &path)(error)),
    }
}

/// The sign that a process has the store open for writing: a shared lock on the folder itself, while the file lives.
/// Nobody waits for it; whoever must be alone sees it.
pub(super) fn user(folder: &Path) -> Result<Option<Locked>, StoreError> {
    lock_folder(folder, fs2::FileExt::try_lock_shared)
}

/// The right to be the only one that uses the store, for what cannot be done beside others.
pub(super) fn sole_user(folder: &Path) -> Result<Option<Locked>, StoreError> {
    lock_folder(folder, fs2::FileExt::try_lock_exclusive)
}

/// Locks the folder. Systems without handles for folders have no such sign.
fn lock_folder(folder: &Path, attempt: impl Fn(&File) -> io::Result<()>) -> Result<Option<Locked>, StoreError> {
    if !cfg!(unix) {
        return Ok(None);
    }
    let file = File::open(folder).map_err(io_error("open", folder))?;
    match attempt(&file) {
        Ok(()) => Ok(Some(Locked(file))),
        Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => {
            Err(StoreError::InUse { path: folder.to_owned(), by: holder(&file) })
        }
        // A file system that cannot lock folders.
        Err(_) => Ok(None),
    }
}

/// A lock of that kind while it is held.
pub(super) struct Locked(File);

impl Drop for Locked {
    fn drop(&mut self) {
        // Not by closing alone: a child process that is just being started has a copy of the file for a moment.
        let _ = fs2::FileExt::unlock(&self.0);
    }
}

/// Opens the lock file, or makes it.
fn open_file(path: &Path) -> Result<File, StoreError> {
    checked_file(path)?;
    let mut options = files::private_options();
    disk::create(options.read(true).write(true).create(true).truncate(false), path).map_err(io_error("open", path))
}

/// Who holds the lock, as far as the system tells.
fn holder(file: &File) -> String {
    holder_of(file).map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Closing the file would free it too; there is nothing to do about an error.
        let _ = fs2::FileExt::unlock(&*self.0);
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
