//! Work that is done a few at a time, for which not too many wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long somebody waits for a place.
const PATIENCE: Duration = Duration::from_secs(5);

/// Places, and room to wait for one.
pub(super) struct Lane {
    places: Arc<Semaphore>,
    room: Arc<Semaphore>,
}

/// A place, until it is dropped.
pub(super) struct Permit {
    _place: OwnedSemaphorePermit,
    _room: OwnedSemaphorePermit,
}

impl Lane {
    /// `at_a_time` places, and room for so many more to wait.
    pub(super) fn new(at_a_time: usize, waiting: usize) -> Self {
        let room = at_a_time.saturating_add(waiting).min(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(at_a_time)), room: Arc::new(Semaphore::new(room)) }
    }

    /// Takes a place; `None` when too many wait, or none becomes free in time.
    pub(super) async fn enter(&self) -> Option<Permit> {
        let room = Arc::clone(&self.room).try_acquire_owned().ok()?;
        let place = timeout(PATIENCE, Arc::clone(&self.places).acquire_owned()).await;
        Some(Permit { _place: place.ok()?.ok()?, _room: room })
    }
}
