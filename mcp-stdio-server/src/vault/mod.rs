//! The vault: secrets that hosts' files need not hold, encrypted beside the store.
//!
//! `vault.json` has one entry for each secret, sealed (AES-256-GCM) under the key of `vault.key`, which may lie elsewhere. The
//! file is only ever replaced whole, under a lock; readers need none. What undoes an import lies in it too, so that a
//! secret and the way back to where it was are written in one step.

mod file;
mod key;
mod name;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::files;
use shared::sealed::Sealer;
use shared::secret::Secret;
use shared::time::Timestamp;
use zeroize::Zeroizing;

use self::file::{Contents, Entry, Unreadable};
pub use self::file::{Import, Moved, Origin};
use self::key::Key;
pub use self::name::{NotAName, SecretName};

/// The environment variable that says where the key lies.
pub const KEY_VARIABLE: &str = "MCP_VAULT_KEY_FILE";

/// The files' names in the store's folder.
const FILE: &str = "vault.json";
const KEY: &str = "vault.key";
const LOCK: &str = "vault.lock";

/// A value is at most so many bytes long: no key that a server takes from its environment is longer.
pub const LONGEST_VALUE: usize = 64 * 1024;

/// How long to wait before a key is looked for again that another process is changing.
const PAUSE: Duration = Duration::from_millis(10);

/// Where a vault and its key are.
#[derive(Clone, Debug)]
pub struct Place {
    folder: PathBuf,
    key: PathBuf,
    key_is_elsewhere: bool,
}

impl Place {
    /// In the store's folder, the key in a file that somebody names or beside it.
    pub fn new(folder: PathBuf, key: Option<PathBuf>) -> Self {
        let key_is_elsewhere = key.is_some();
        Self { key: key.unwrap_or_else(|| folder.join(KEY)), folder, key_is_elsewhere }
    }
}

/// Why a vault cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The operating system says no.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// Others may write to it.
    #[error("{0}: {1}")]
    Unsafe(PathBuf, String),
    /// It holds something that we did not write. It is not written over.
    #[error("{0} is damaged, or not ours: {1}. Put a copy of it back, or move it out of the way to begin anew")]
    Damaged(PathBuf, String),
    /// A newer program wrote it. It is not written over.
    #[error("{0} was written by a newer version of this program; use that one")]
    Newer(PathBuf),
    /// The key is not there.
    #[error(
        "the vault's key {0} is not there: mount the disk that it is on, put a copy of it back, or name its place with \
         --vault-key-file or MCP_VAULT_KEY_FILE"
    )]
    NoKey(PathBuf),
    /// The key's file holds no key.
    #[error("{0} holds no key of a vault; put a copy of the key back")]
    NotAKey(PathBuf),
    /// It is another vault's key.
    #[error("{0} is not the key of this vault; name the right one with --vault-key-file or MCP_VAULT_KEY_FILE")]
    WrongKey(PathBuf),
    /// What is sealed does not open: it was changed, or moved to another name.
    #[error("the vault's entry {0} was changed by somebody without the key; write the secret anew with `vault set`")]
    Broken(String),
    /// Somebody else holds the lock.
    #[error("{0} is locked by another process")]
    Locked(PathBuf),
    /// The cryptographic library refuses; never in practice.
    #[error("the cryptographic library refuses")]
    Crypto,
}

/// A secret, without its value.
#[derive(Debug)]
pub struct Listed<'a> {
    /// Its name.
    pub name: &'a SecretName,
    /// When it was last written.
    pub written: Timestamp,
    /// Where it came from.
    pub origin: Origin,
    /// How often it was written.
    pub version: u64,
}

/// A vault that was read, and opens.
pub struct Vault {
    contents: Contents,
    key: Key,
    sealer: Sealer,
}

impl Vault {
    /// Reads a vault, without the lock. `None` when there is none.
    ///
    /// # Errors
    /// As [`VaultError`] says.
    pub fn open(place: &Place) -> Result<Option<Self>, VaultError> {
        let mut looks = 0;
        loop {
            looks += 1;
            match read(place) {
                // Between the two files the key may have been changed: once more, and it is the same pair.
                Err(VaultError::WrongKey(_) | VaultError::NoKey(_)) if looks < 3 => std::thread::sleep(PAUSE),
                read => return Ok(read?.map(|(vault, _)| vault)),
            }
        }
    }

    fn new(contents: Contents, key: Key) -> Result<Self, VaultError> {
        Ok(Self { contents, sealer: key.sealer()?, key })
    }

    /// The secrets, by name.
    pub fn list(&self) -> Vec<Listed<'_>> {
        let listed = |entry: &'_ Entry| (entry.written, entry.origin, entry.version);
        let mut all: Vec<_> = self.contents.secrets.iter().collect();
        all.sort_by_key(|entry| &entry.name);
        let listed = |entry| {
            let (written, origin, version) = listed(entry);
            Listed { name: &entry.name, written, origin, version }
        };
        all.into_iter().map(listed).collect()
    }

    /// A secret's value; `None` when there is none of this name.
    ///
    /// # Errors
    /// When its entry was changed by somebody without the key.
    pub fn get(&self, name: &SecretName) -> Result<Option<Secret>, VaultError> {
        let Some(entry) = self.entry(name) else { return Ok(None) };
        let broken = || VaultError::Broken(name.to_string());
        let value = self.sealer.open(&purpose(name, entry.version), &entry.sealed).ok_or_else(broken)?;
        let text = std::str::from_utf8(&value).map_err(|_| broken())?;
        Ok(Some(Secret::new(text.to_owned())))
    }

    /// The imports that can be undone, the earliest first.
    pub fn imports(&self) -> Vec<&Import> {
        let mut all: Vec<_> = self.contents.imports.iter().collect();
        all.sort_by_key(|import| import.number);
        all
    }

    /// What it takes to undo an import.
    ///
    /// # Errors
    /// When its entry was changed by somebody without the key.
    pub fn undoing(&self, import: &Import) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let opened = self.sealer.open(&undo_purpose(import.number), &import.sealed);
        opened.ok_or_else(|| VaultError::Broken(format!("of the import of {}", import.file.display())))
    }

    fn entry(&self, name: &SecretName) -> Option<&Entry> {
        self.contents.secrets.iter().find(|entry| entry.name == *name)
    }
}

/// A vault that nobody else writes to meanwhile. What is changed counts from [`Held::save`] on.
pub struct Held {
    place: Place,
    vault: Vault,
    is_new_key: bool,
    _lock: File,
}

impl std::ops::Deref for Held {
    type Target = Vault;

    fn deref(&self) -> &Vault {
        &self.vault
    }
}

impl Held {
    /// Takes the lock and reads the vault, or begins one where there is none. Blocks.
    ///
    /// # Errors
    /// As [`VaultError`] says.
    pub fn lock(place: &Place) -> Result<Self, VaultError> {
        files::create_private_folder(&place.folder).map_err(|error| VaultError::Io(place.folder.clone(), error))?;
        let lock = locked(&place.folder.join(LOCK))?;
        if !place.key_is_elsewhere && place.key.exists() {
            let private = files::make_private(&place.key);
            private.map_err(|error| VaultError::Io(place.key.clone(), error))?;
        }
        if let Some((vault, key_is_next)) = read(place)? {
            finish_rotation(place, key_is_next)?;
            return Ok(Self { place: place.clone(), vault, is_new_key: false, _lock: lock });
        }
        let found = Key::read(&place.key)?;
        // A disk that is not mounted must not get a key in the folder that it will cover.
        if let (None, true, Some(parent)) = (&found, place.key_is_elsewhere, place.key.parent())
            && !parent.as_os_str().is_empty()
            && !parent.is_dir()
        {
            return Err(VaultError::NoKey(place.key.clone()));
        }
        let is_new_key = found.is_none();
        let key = found.unwrap_or_else(Key::draw);
        let vault = Vault::new(Contents::new(key.id()), key)?;
        Ok(Self { place: place.clone(), vault, is_new_key, _lock: lock })
    }

    /// Writes a secret in place of the one before.
    ///
    /// # Errors
    /// Never in practice.
    pub fn set(&mut self, name: &SecretName, value: &Secret, origin: Origin, now: Timestamp) -> Result<(), VaultError> {
        let version = self.entry(name).map_or(1, |entry| entry.version.saturating_add(1));
        let sealed = self.seal(&purpose(name, version), value.expose().as_bytes())?;
        let secrets = &mut self.vault.contents.secrets;
        secrets.retain(|entry| entry.name != *name);
        secrets.push(Entry { name: name.clone(), version, written: now, origin, sealed });
        Ok(())
    }

    /// Removes a secret. Whether there was one.
    pub fn remove(&mut self, name: &SecretName) -> bool {
        let before = self.vault.contents.secrets.len();
        self.vault.contents.secrets.retain(|entry| entry.name != *name);
        self.vault.contents.secrets.len() < before
    }

    /// Notes an import, and what it takes to undo it.
    ///
    /// # Errors
    /// Never in practice.
    pub fn note_import(
        &mut self,
        host: &str,
        file: &Path,
        moved: Vec<Moved>,
        undoing: &[u8],
        now: Timestamp,
    ) -> Result<(), VaultError> {
        let number = self.imports().last().map_or(1, |import| import.number.saturating_add(1));
        let sealed = self.seal(&undo_purpose(number), undoing)?;
        let import = Import { number, host: host.to_owned(), file: file.to_owned(), at: now, moved, sealed };
        self.vault.contents.imports.push(import);
        Ok(())
    }

    /// Forgets an import, and the secrets that came with it and that no other import needs.
    pub fn forget_import(&mut self, number: u64) {
        let contents = &mut self.vault.contents;
        let gone = contents.imports.iter().position(|import| import.number == number);
        let Some(gone) = gone.map(|at| contents.imports.remove(at)) else { return };
        let is_needed = |name: &SecretName| {
            contents.imports.iter().flat_map(|import| &import.moved).any(|moved| moved.secret == *name)
        };
        let goes = |name: &SecretName| gone.moved.iter().any(|moved| moved.secret == *name) && !is_needed(name);
        contents.secrets.retain(|entry| entry.origin == Origin::Set || !goes(&entry.name));
    }

    /// Forgets an import that came to nothing; its secrets stay.
    pub fn drop_import(&mut self, number: u64) {
        self.vault.contents.imports.retain(|import| import.number != number);
    }

    /// Makes it durable: everything since the last time, or nothing of it.
    ///
    /// # Errors
    /// Those of the operating system; the file is then as it was.
    pub fn save(&mut self) -> Result<(), VaultError> {
        if self.is_new_key {
            self.vault.key.write(&self.place.key)?;
            self.is_new_key = false;
        }
        let path = self.place.folder.join(FILE);
        let io = |error| VaultError::Io(path.clone(), error);
        let mut text = serde_json::to_vec_pretty(&self.vault.contents).map_err(|error| io(io::Error::other(error)))?;
        text.push(b'\n');
        files::replace(&path, &text).map_err(io)
    }

    /// Seals everything anew, under a new key. A kill leaves a vault that opens, with the old key or the new one.
    ///
    /// # Errors
    /// As [`VaultError`] says; the vault then opens with the old key.
    pub fn rotate(&mut self) -> Result<(), VaultError> {
        let key = Key::draw();
        let mut contents = Contents::new(key.id());
        let sealer = key.sealer()?;
        for entry in &self.vault.contents.secrets {
            let value = self.vault.get(&entry.name)?.ok_or(VaultError::Crypto)?;
            let sealed = sealer.seal(&purpose(&entry.name, entry.version), value.expose().as_bytes());
            contents.secrets.push(Entry { sealed: sealed.map_err(|_| VaultError::Crypto)?, ..entry.clone() });
        }
        for import in &self.vault.contents.imports {
            let sealed = sealer.seal(&undo_purpose(import.number), &self.vault.undoing(import)?);
            contents.imports.push(Import { sealed: sealed.map_err(|_| VaultError::Crypto)?, ..import.clone() });
        }
        key.write(&key::next(&self.place.key))?;
        self.vault = Vault { contents, key, sealer };
        self.is_new_key = false;
        self.save()?;
        finish_rotation(&self.place, true)
    }

    fn seal(&self, purpose: &str, contents: &[u8]) -> Result<String, VaultError> {
        self.vault.sealer.seal(purpose, contents).map_err(|_| VaultError::Crypto)
    }
}

/// What a secret's value is sealed for: no entry opens under another name, or as another version of itself.
fn purpose(name: &SecretName, version: u64) -> String {
    format!("mcp-authz-vault 1 secret {name} {version}")
}

fn undo_purpose(number: u64) -> String {
    format!("mcp-authz-vault 1 import {number}")
}

/// Reads a vault with its key, and whether that is the next one: whoever changed it was killed before the end.
fn read(place: &Place) -> Result<Option<(Vault, bool)>, VaultError> {
    let path = place.folder.join(FILE);
    let io = |error| VaultError::Io(path.clone(), error);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    if let Some(reason) = files::unsafe_because(&path).map_err(io)? {
        return Err(VaultError::Unsafe(path, reason));
    }
    let contents = Contents::parse(&text).map_err(|unreadable| match unreadable {
        Unreadable::Newer => VaultError::Newer(path.clone()),
        Unreadable::Damaged(what) => VaultError::Damaged(path.clone(), what),
    })?;
    let first = Key::read(&place.key);
    if let Ok(Some(key)) = first
        && key.id() == contents.key
    {
        return Vault::new(contents, key).map(|vault| Some((vault, false)));
    } else if let Ok(Some(key)) = Key::read(&key::next(&place.key))
        && key.id() == contents.key
    {
        return Vault::new(contents, key).map(|vault| Some((vault, true)));
    }
    Err(match Key::read(&place.key)? {
        Some(_) => VaultError::WrongKey(place.key.clone()),
        None => VaultError::NoKey(place.key.clone()),
    })
}

/// Lets the next key take the place of the one before, or removes one that came to nothing.
fn finish_rotation(place: &Place, is_next: bool) -> Result<(), VaultError> {
    let next = key::next(&place.key);
    let io = |error| VaultError::Io(next.clone(), error);
    match is_next {
        true => files::rename(&next, &place.key).map_err(io),
        false if next.exists() => files::remove(&next).map_err(io),
        false => Ok(()),
    }
}

fn locked(path: &Path) -> Result<File, VaultError> {
    let file = files::lock(path).map_err(|error| VaultError::Io(path.to_owned(), error))?;
    file.ok_or_else(|| VaultError::Locked(path.to_owned()))
}

#[cfg(test)]
mod tests;
