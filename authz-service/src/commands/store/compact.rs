//! `authz-service store compact`.

use std::sync::Arc;

use serde::Serialize;
use shared::store::StoreError;
use shared::store::journal::JournalStore;
use shared::store::journal::inspect::{self, Sizes};
use shared::time::SystemClock;

use super::{Answer, size};
use crate::cli::store::Look;

#[derive(Serialize)]
struct Compacted {
    before: Sizes,
    after: Sizes,
}

pub(super) fn run(args: &Look) -> Result<Answer, String> {
    let folder = args.store.folder();
    let sizes = || {
        let sizes = inspect::sizes(&folder).map_err(|error| error.to_string())?;
        // A store is not made by compacting it.
        sizes.ok_or_else(|| StoreError::Absent(folder.clone()).to_string())
    };
    let before = sizes()?;
    let store = JournalStore::open(&folder, Arc::new(SystemClock)).map_err(|error| error.to_string())?;
    let done = store.compact().map_err(|error| error.to_string())?;
    drop(store);
    if !done {
        return Err("another process is compacting it at this moment; nothing was done here".to_owned());
    }
    let after = sizes()?;
    let text = format!(
        "Generation {}: {}, {} of it snapshot. Before: generation {}, {}.\n",
        after.generation,
        size(after.journal_bytes + after.snapshot_bytes),
        size(after.snapshot_bytes),
        before.generation,
        size(before.journal_bytes + before.snapshot_bytes),
    );
    Ok(Answer::new(text, &Compacted { before, after }))
}
