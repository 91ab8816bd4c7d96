//! Faults on demand: every operation that changes a disk can be made to fail, to stop half-way or to end the process.
//!
//! Only with the cargo feature `failpoints`; without it an operation is what it does and nothing else.

use std::io;
use std::path::Path;

/// What is about to be done to a disk.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "failpoints"), allow(dead_code, reason = "only faults look at it"))]
pub enum Operation<'a> {
    /// A file is opened, and made when it is not there.
    Create {
        /// Which.
        path: &'a Path,
    },
    /// Bytes are written into a file.
    Write {
        /// Which.
        path: &'a Path,
        /// From which byte on.
        at: u64,
        /// What.
        bytes: &'a [u8],
    },
    /// A file's contents are made durable.
    Sync {
        /// Which.
        path: &'a Path,
    },
    /// A file is cut off or lengthened with zeros.
    SetLength {
        /// Which.
        path: &'a Path,
        /// To how many bytes.
        length: u64,
    },
    /// A file gets another name.
    Rename {
        /// The old one.
        path: &'a Path,
        /// The new one.
        to: &'a Path,
    },
    /// A file is removed.
    Remove {
        /// Which.
        path: &'a Path,
    },
    /// The names in a folder are made durable.
    SyncFolder {
        /// Which.
        path: &'a Path,
    },
    /// Nothing is done to the disk: commits are about to be acknowledged.
    Answer {
        /// The store's folder.
        path: &'a Path,
        /// How many fitted.
        commits: usize,
    },
}

#[cfg(not(feature = "failpoints"))]
pub(super) fn around<T>(operation: Operation<'_>, act: impl FnOnce(&[u8]) -> io::Result<T>) -> io::Result<T> {
    act(if let Operation::Write { bytes, .. } = operation { bytes } else { &[] })
}

#[cfg(feature = "failpoints")]
pub use injected::{Fault, Faults, Injected, VARIABLE, inject};

#[cfg(feature = "failpoints")]
pub(super) use injected::around;

#[cfg(feature = "failpoints")]
mod injected {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

    use super::{Operation, Path, io};

    /// What happens to an operation.
    #[derive(Debug)]
    pub enum Fault {
        /// Nothing: it is done.
        None,
        /// It fails, and nothing of it was done.
        Fails(io::Error),
        /// A write fails after so many bytes.
        Torn(usize, io::Error),
        /// The process ends before it.
        Ends,
        /// The process ends after so many bytes of a write.
        EndsAfter(usize),
    }

    /// Who decides about the operations in a folder, and sees every one of them.
    pub trait Faults: Send + Sync {
        /// Decides about the next one.
        fn meets(&self, operation: &Operation<'_>) -> Fault;
    }

    /// The variable that ends a process of its own at an operation: `NUMBER` before the operation of that number, from 0 on,
    /// `NUMBER:BYTES` after so many bytes of it, when it writes.
    pub const VARIABLE: &str = "MCP_FAULT_AT";

    static ORDERED: LazyLock<Option<(usize, Option<usize>)>> = LazyLock::new(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let (number, bytes) =
            text.split_once(':').map_or((text.as_str(), None), |(number, bytes)| (number, Some(bytes)));
        Some((number.parse().ok()?, bytes.and_then(|bytes| bytes.parse().ok())))
    });

    static COUNT: AtomicUsize = AtomicUsize::new(0);

    /// What the environment orders for this operation.
    fn ordered() -> Option<Fault> {
        let (number, bytes) = (*ORDERED)?;
        (COUNT.fetch_add(1, Ordering::Relaxed) == number).then(|| bytes.map_or(Fault::Ends, Fault::EndsAfter))
    }

    static ACTIVE: Mutex<Vec<(PathBuf, Arc<dyn Faults>)>> = Mutex::new(Vec::new());

    /// Faults while they are active; dropping it ends them.
    #[derive(Debug)]
    pub struct Injected(PathBuf);

    /// Lets `faults` decide about every operation in `folder` and below.
    pub fn inject(folder: &Path, faults: Arc<dyn Faults>) -> Injected {
        active().push((folder.to_owned(), faults));
        Injected(folder.to_owned())
    }

    impl Drop for Injected {
        fn drop(&mut self) {
            active().retain(|(folder, _)| *folder != self.0);
        }
    }

    fn active() -> MutexGuard<'static, Vec<(PathBuf, Arc<dyn Faults>)>> {
        ACTIVE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    impl Operation<'_> {
        /// What it is done to.
        pub fn path(&self) -> &Path {
            match self {
                Self::Create { path }
                | Self::Write { path, .. }
                | Self::Sync { path }
                | Self::SetLength { path, .. }
                | Self::Rename { path, .. }
                | Self::Remove { path }
                | Self::SyncFolder { path }
                | Self::Answer { path, .. } => path,
            }
        }
    }

    pub(in crate::files) fn around<T>(
        operation: Operation<'_>,
        act: impl FnOnce(&[u8]) -> io::Result<T>,
    ) -> io::Result<T> {
        let bytes: &[u8] = if let Operation::Write { bytes, .. } = operation { bytes } else { &[] };
        let faults = active().iter().find(|(folder, _)| operation.path().starts_with(folder)).map(|(_, f)| f.clone());
        let found = faults.map_or(Fault::None, |faults| faults.meets(&operation));
        match ordered().unwrap_or(found) {
            Fault::None => act(bytes),
            Fault::Fails(error) => Err(error),
            Fault::Torn(count, error) => act(&bytes[..count.min(bytes.len())]).and(Err(error)),
            Fault::Ends => std::process::abort(),
            Fault::EndsAfter(count) => {
                let _ = act(&bytes[..count.min(bytes.len())]);
                std::process::abort()
            }
        }
    }
}
