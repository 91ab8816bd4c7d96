//! The trail of tool calls: who called which tool, under which grant, and what was decided. A sibling of the journal,
//! which several servers write in turns.
//!
//! The folder `calls` in the store's, with `calls.lock` and `calls.<number>.jsonl` (0600 each): a header line, then one
//! line an event, chained by hashes as the journal's are. A folder of its own, so that a call wakes nobody who follows
//! the store. What is in it decides nothing: without it everything works, and nothing waits for it.

mod append;
mod head;
mod line;
mod read;
mod record;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use self::append::{Calls, Keep};
pub use self::head::{Head, NotAHead, Standing};
pub use self::read::{Reader, Whole, whole};
pub use self::record::{Bearer, Call, Decision, End, Entry, Outcome, Recorded, Trace};
use super::StoreError;
use super::journal::io_error;

/// The folder of the trail in a store's folder.
fn folder_of(store: &Path) -> PathBuf {
    store.join("calls")
}

fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("calls.{number}.jsonl"))
}

/// The numbers of the files that there are, oldest first. None when there is no folder.
fn numbers(folder: &Path) -> Result<Vec<u64>, StoreError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("list", folder)(error)),
    };
    let number = |entry: std::fs::DirEntry| {
        entry.file_name().to_str()?.strip_prefix("calls.")?.strip_suffix(".jsonl")?.parse::<u64>().ok()
    };
    let mut numbers: Vec<_> = entries.flatten().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}
