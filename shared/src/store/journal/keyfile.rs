//! `keys.json`: the private keys, made once, under the store's lock.

use std::path::Path;

use super::lock::StoreLock;
use super::{checked_file, io_error};
use crate::files;
use crate::store::StoreError;
use crate::time::{Seconds, Timestamp};
use crate::token::{KeyError, KeySet};

/// Reads the keys that are there; `None` when there are none.
pub(super) fn read(folder: &Path) -> Result<Option<KeySet>, StoreError> {
    let path = folder.join("keys.json");
    checked_file(&path)?;
    match std::fs::read(&path) {
        Ok(text) => KeySet::from_json(&text).map(Some).map_err(damaged(&path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", &path)(error)),
    }
}

/// Adds a key that signs after `ahead`, unless the newest is younger than `age`. The keys as they are then, and whether
/// there is a new one.
pub(super) fn rotate(
    folder: &Path,
    now: Timestamp,
    ahead: Seconds,
    age: Option<Seconds>,
) -> Result<(KeySet, bool), StoreError> {
    let lock = StoreLock::open(folder)?;
    let _held = lock.exclusive()?;
    let path = folder.join("keys.json");
    let missing = || StoreError::Absent(folder.to_owned());
    let keys = read(folder)?.ok_or_else(missing)?;
    let newest = keys.signing().last().map_or(Timestamp(0), |key| key.created);
    if age.is_some_and(|age| newest + age > now) {
        return Ok((without_spent(keys, &path, now)?, false));
    }
    // Not before one that waits already: keys sign in the order in which they were made.
    let waiting = keys.signing().last().map_or(Timestamp(0), |key| key.signs_from);
    let rotated = keys.rotate(now, (now + ahead).max(waiting)).map_err(damaged(&path))?;
    files::replace(&path, &rotated.to_json()).map_err(io_error("replace", &path))?;
    Ok((rotated, true))
}

/// A private key that signs no more is only a risk.
fn without_spent(keys: KeySet, path: &Path, now: Timestamp) -> Result<KeySet, StoreError> {
    let Some(pruned) = keys.pruned(now).map_err(damaged(path))? else { return Ok(keys) };
    files::replace(path, &pruned.to_json()).map_err(io_error("replace", path))?;
    Ok(pruned)
}

fn damaged(path: &Path) -> impl Fn(KeyError) -> StoreError {
    move |error| StoreError::Damaged { path: path.to_owned(), line: 1, reason: error.to_string() }
}

/// Reads the keys, or makes them when there are none. Two services that start at once get the same ones.
pub(super) fn load_or_create(folder: &Path, now: Timestamp) -> Result<KeySet, StoreError> {
    let path = folder.join("keys.json");
    let lock = StoreLock::open(folder)?;
    let _held = lock.exclusive()?;
    if let Some(keys) = read(folder)? {
        return without_spent(keys, &path, now);
    }
    let keys = KeySet::generate(now).map_err(damaged(&path))?;
    files::replace(&path, &keys.to_json()).map_err(io_error("create", &path))?;
    Ok(keys)
}
