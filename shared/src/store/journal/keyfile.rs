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
    let signs_from = if ahead == Seconds(0) { now } else { (now + ahead).max(waiting) };
    let rotated = keys.rotate(now, signs_from).map_err(damaged(&path))?;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::Store;
    use crate::store::journal::{JournalStore, LONGEST_TOKEN};
    use crate::time::{Clock, ManualClock};

    const AHEAD: Seconds = Seconds(3600);
    const AGE: Option<Seconds> = Some(Seconds(10_000));

    #[test]
    fn jwt_09_of_two_services_one_makes_the_new_key_when_it_is_time_and_the_old_one_is_retired() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp(1_000_000)));
        let open = || JournalStore::open(&folder.path().join("s"), Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        let (one, other) = (open(), open());
        let first = one.keys().unwrap().signing();
        let known = |store: &JournalStore| {
            let mut keys = Vec::new();
            store.read(&mut |state| keys = state.keys()).unwrap();
            keys
        };
        clock.set(Timestamp(1_009_999));
        assert!(!one.rotate_keys(AHEAD, AGE).unwrap().1, "not yet");
        clock.set(Timestamp(1_010_000));
        assert!(one.rotate_keys(AHEAD, AGE).unwrap().1);
        let (keys, again) = other.rotate_keys(AHEAD, AGE).unwrap();
        assert!(!again && keys.signing().len() == 2);
        let old = known(&other).into_iter().find(|key| key.id == first[0].kid).unwrap();
        assert_eq!(old.retires, Some(Timestamp(1_010_000) + AHEAD + LONGEST_TOKEN));
        assert_eq!(known(&one).len(), 2);
        // When the new one signs, the old one's private half goes; its public one stays until it is swept.
        clock.set(Timestamp(1_010_000) + AHEAD);
        assert_eq!(other.rotate_keys(AHEAD, AGE).unwrap().0.signing().len(), 1);
        assert_eq!(known(&one).len(), 2);
        // In a hurry, what waits is given up, and retired too.
        clock.set(Timestamp(1_020_000));
        let waits = one.rotate_keys(AHEAD, None).unwrap().0.signing()[1].kid.clone();
        clock.set(Timestamp(1_020_001));
        one.rotate_keys(Seconds(0), None).unwrap();
        assert!(known(&one).iter().any(|key| key.id == waits && key.retires.is_some()));
        assert_eq!(one.read_keys().unwrap().unwrap().signing().last().unwrap().signs_from, Timestamp(1_020_001));
    }
}
