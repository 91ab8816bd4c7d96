//! `keys.json`: the private keys, made once, under the store's lock.

use std::path::Path;

use super::lock::StoreLock;
use super::{checked_file, io_error};
use crate::files;
use crate::store::StoreError;
use crate::time::Timestamp;
use crate::token::KeySet;

/// Reads the keys, or makes them when there are none. Two services that start at once get the same ones.
pub(super) fn load_or_create(folder: &Path, now: Timestamp) -> Result<KeySet, StoreError> {
    let path = folder.join("keys.json");
    let lock = StoreLock::open(folder)?;
    let _held = lock.exclusive()?;
    checked_file(&path)?;
    let damaged = |reason: String| StoreError::Damaged { path: path.clone(), line: 1, reason };
    match std::fs::read(&path) {
        Ok(text) => KeySet::from_json(&text).map_err(|error| damaged(error.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let keys = KeySet::generate(now).map_err(|error| damaged(error.to_string()))?;
            files::replace(&path, &keys.to_json()).map_err(io_error("create", &path))?;
            Ok(keys)
        }
        Err(error) => Err(io_error("read", &path)(error)),
    }
}
