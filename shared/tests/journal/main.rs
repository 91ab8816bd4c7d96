//! The file-backed store through its files, its threads and its processes.

mod access;
mod compaction;
#[cfg(feature = "failpoints")]
mod faults;
mod follow;
mod model;
#[cfg(feature = "failpoints")]
mod power;
mod support;
mod tail;
mod writers;

use std::sync::Arc;

use shared::store::Store;
use shared::store::conformance::{self};
use shared::store::memory::MemoryStore;

use crate::support::{clock, folder, live, lives, open, runtime};

#[test]
fn both_kinds_of_store_conform() {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new(clock()));
    runtime().block_on(conformance::run(&|| Arc::clone(&memory)));
    let (_parent, folder) = folder();
    let open = || -> Arc<dyn Store> { Arc::new(open(&folder)) };
    runtime().block_on(conformance::run(&open));
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let (_parent, folder) = folder();
    let sample = live(&open(&folder));
    assert!(lives(&open(&folder), &sample).unwrap());
}
