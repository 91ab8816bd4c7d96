//! What we were given, on the person's disk: registrations by (issuer, profile), tokens by (issuer, resource, profile).

mod book;
mod lock;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::{AppStrategy, AppStrategyArgs, choose_app_strategy};
use shared::files;
use shared::secret::TokenHash;
use shared::time::{Clock, SystemClock};

pub(crate) use book::copy;
pub use book::{Book, Entry, Key, Registration, Source};
pub use lock::Guard;

use crate::failure::Failure;

/// The file's name.
const FILE: &str = "credentials.json";
/// How long a change waits for another program's change.
const CHANGE_TIME: Duration = Duration::from_secs(10);
/// How long a refresh waits for another program's refresh, which may take four exchanges of ten seconds.
const REFRESH_TIME: Duration = Duration::from_secs(45);

/// The folder with the credentials.
#[derive(Clone, Debug)]
pub struct Vault {
    folder: PathBuf,
}

/// Why the vault cannot be used. Never says what is in it.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The operating system says no.
    #[error("{what} {path}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer.
        error: io::Error,
    },
    /// Others could read or change it.
    #[error("{path} is not safe to keep secrets in: {reason}")]
    Unsafe {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Written by a newer program.
    #[error("{0} was written by a newer mcp-client")]
    Newer(PathBuf),
    /// It was damaged, and is out of the way now.
    #[error("the credentials were damaged and cannot be read; the file was kept as {0}")]
    Damaged(PathBuf),
    /// Another program holds the lock.
    #[error("another mcp-client has held {0} for too long")]
    Locked(PathBuf),
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        let what = error.to_string();
        match error {
            VaultError::Io { .. } => Self::failed("store", what, "check the folder, or name another with --store"),
            VaultError::Unsafe { .. } => {
                Self::failed("unsafe_store", what, "mend that, or name another folder with --store")
            }
            VaultError::Newer(_) => {
                Self::failed("newer_store", what, "use that version, or another folder with --store")
            }
            VaultError::Damaged(_) => Self::login(what, "mcp-client login"),
            VaultError::Locked(_) => Self::failed("store_locked", what, "try again; if it stays so, end that program"),
        }
    }
}

impl Vault {
    /// The vault in `folder`, or in the platform's configuration folder.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder: folder.unwrap_or_else(default_folder) }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Everything that is kept; nothing when there is no file yet.
    ///
    /// # Errors
    /// When the file is not safe, newer, or damaged. A damaged one is moved aside first, so that the next try works.
    pub async fn read(&self) -> Result<Book, VaultError> {
        match self.read_now() {
            Err(VaultError::Damaged(_)) => {
                // Not while somebody replaces it, and not twice.
                let _guard = self.lock_file(CHANGE_TIME).await?;
                self.read_or_set_aside()
            }
            other => other,
        }
    }

    /// Changes what is kept, alone: reads, lets `change` work, and replaces the file.
    ///
    /// # Errors
    /// As [`read`](Self::read), and when the file cannot be written.
    pub async fn change<T>(&self, change: impl FnOnce(&mut Book) -> T) -> Result<T, VaultError> {
        self.prepare()?;
        let _guard = self.lock_file(CHANGE_TIME).await?;
        let mut book = self.read_or_set_aside()?;
        let result = change(&mut book);
        let path = self.file();
        let io = |what| move |error| VaultError::Io { what, path: self.file(), error };
        let text = book.to_json().map_err(|error| io("cannot encode")(error.into()))?;
        files::replace(&path, text.expose().as_bytes()).map_err(io("cannot write"))?;
        Ok(result)
    }

    /// Keeps every other program from refreshing these tokens meanwhile.
    ///
    /// # Errors
    /// When another one does so for too long.
    pub async fn lock_refresh(&self, key: &Key) -> Result<Guard, VaultError> {
        self.prepare()?;
        let name = serde_json::to_string(&TokenHash::of(key.to_string().as_bytes())).unwrap_or_default();
        let path = self.folder.join(format!("refresh-{}.lock", name.trim_matches('"')));
        lock::exclusive(&path, REFRESH_TIME).await
    }

    fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    async fn lock_file(&self, patience: Duration) -> Result<Guard, VaultError> {
        lock::exclusive(&self.folder.join("credentials.lock"), patience).await
    }

    fn prepare(&self) -> Result<(), VaultError> {
        let io = |error| VaultError::Io { what: "cannot make", path: self.folder.clone(), error };
        files::create_private_folder(&self.folder).map_err(io)?;
        check(&self.folder)
    }

    fn read_now(&self) -> Result<Book, VaultError> {
        let path = self.file();
        let read =
            fs::metadata(&path).and_then(|found| if found.is_file() { fs::read(&path).map(Some) } else { Ok(None) });
        let text = match read {
            Ok(Some(text)) => text,
            // A pipe would keep us waiting for ever.
            Ok(None) => return Err(VaultError::Unsafe { path, reason: "it is not a file".into() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Book::default()),
            Err(error) => return Err(VaultError::Io { what: "cannot read", path, error }),
        };
        check(&self.folder)?;
        check(&path)?;
        keep_private(&path)?;
        match Book::from_json(&text) {
            Ok(book) => Ok(book),
            Err(book::Unreadable::Newer) => Err(VaultError::Newer(path)),
            Err(book::Unreadable::Damaged) => Err(VaultError::Damaged(path)),
        }
    }

    fn read_or_set_aside(&self) -> Result<Book, VaultError> {
        match self.read_now() {
            Err(VaultError::Damaged(path)) => {
                let aside = self.folder.join(format!("{FILE}.damaged-{}", SystemClock.now()));
                let io = |error| VaultError::Io { what: "cannot move aside", path: path.clone(), error };
                fs::rename(&path, &aside).map_err(io)?;
                Err(VaultError::Damaged(aside))
            }
            other => other,
        }
    }
}

fn check(path: &Path) -> Result<(), VaultError> {
    let io = |error| VaultError::Io { what: "cannot look at", path: path.to_owned(), error };
    match files::unsafe_because(path).map_err(io)? {
        None => Ok(()),
        Some(reason) => Err(VaultError::Unsafe { path: path.to_owned(), reason }),
    }
}

/// Takes read permission away from others: an editor or a copy may have given it.
#[cfg(unix)]
fn keep_private(path: &Path) -> Result<(), VaultError> {
    use std::os::unix::fs::PermissionsExt;
    let io = |error| VaultError::Io { what: "cannot protect", path: path.to_owned(), error };
    let mode = fs::metadata(path).map_err(io)?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io)
}

#[cfg(not(unix))]
fn keep_private(_path: &Path) -> Result<(), VaultError> {
    Ok(())
}

fn default_folder() -> PathBuf {
    let names =
        AppStrategyArgs { top_level_domain: "dev".into(), author: "mcp-authz".into(), app_name: "mcp-client".into() };
    choose_app_strategy(names).map_or_else(|_| PathBuf::from(".mcp-client"), |strategy| strategy.config_dir())
}

#[cfg(test)]
mod tests;
