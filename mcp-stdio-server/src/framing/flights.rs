//! What is under way: every request between its line and its answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rmcp::model::RequestId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::lines::MAX_LINE;

/// What one request counts for at least, in bytes: its tasks and its answer.
const SMALLEST: usize = 16 * 1024;

/// How many bytes of requests may be under way: two of the longest, or a thousand of the shortest. Further ones stay
/// in the pipe, so that a host which does not read its answers fills its own pipe and not our memory.
const BUDGET: usize = 2 * MAX_LINE;

/// Room that a request takes up until its answer is written and its work has ended.
pub type Room = Option<OwnedSemaphorePermit>;

/// A request under way. Cloned with the request's context; the id is free when the last clone is gone.
#[derive(Clone)]
pub struct Flight {
    _shared: Arc<Shared>,
}

struct Shared {
    id: RequestId,
    table: Weak<Flights>,
    _room: Room,
}

/// A request whose answer is on its way out: holds the room until the line is written.
pub struct Landed {
    _flight: Flight,
}

/// The requests under way, by id.
pub struct Flights {
    room: Arc<Semaphore>,
    table: Mutex<HashMap<RequestId, State>>,
}

enum State {
    /// Awaits its answer.
    Flying(Flight),
    /// Answered or cancelled; its work has not ended everywhere yet.
    Ending,
}

impl Default for Flights {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(BUDGET)), table: Mutex::default() }
    }
}

impl Flights {
    /// Waits for room for a line of `length` bytes.
    pub async fn room(&self, length: usize) -> Room {
        let bytes = u32::try_from(length.clamp(SMALLEST, BUDGET)).unwrap_or(u32::MAX);
        Arc::clone(&self.room).acquire_many_owned(bytes).await.ok()
    }

    /// Enters a request; `None` when its id is under way.
    pub fn take_off(this: &Arc<Self>, id: &RequestId, room: Room) -> Option<Flight> {
        let mut table = this.table();
        if table.contains_key(id) {
            return None;
        }
        let shared = Shared { id: id.clone(), table: Arc::downgrade(this), _room: room };
        let flight = Flight { _shared: Arc::new(shared) };
        table.insert(id.clone(), State::Flying(flight.clone()));
        Some(flight)
    }

    /// Notes that a request's answer goes out.
    pub fn land(&self, id: &RequestId) -> Option<Landed> {
        self.end(id).map(|flight| Landed { _flight: flight })
    }

    /// Notes that a request will have no answer.
    pub fn cancel(&self, id: &RequestId) {
        drop(self.end(id));
    }

    fn end(&self, id: &RequestId) -> Option<Flight> {
        // The flight leaves the guard's scope before it may drop: dropping the last one locks the table again.
        let state = match self.table().get_mut(id) {
            Some(state) => std::mem::replace(state, State::Ending),
            None => return None,
        };
        match state {
            State::Flying(flight) => Some(flight),
            State::Ending => None,
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<RequestId, State>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(table) = self.table.upgrade() {
            table.table().remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: i64) -> RequestId {
        RequestId::Number(number)
    }

    #[test]
    fn an_id_is_free_again_when_its_answer_is_written() {
        let flights = Arc::<Flights>::default();
        let flight = Flights::take_off(&flights, &id(1), None).unwrap();
        assert!(Flights::take_off(&flights, &id(1), None).is_none());
        assert!(Flights::take_off(&flights, &id(2), None).is_some());
        drop(flight);
        assert!(Flights::take_off(&flights, &id(1), None).is_none());
        let landed = flights.land(&id(1));
        assert!(Flights::take_off(&flights, &id(1), None).is_none());
        drop(landed);
        assert!(Flights::take_off(&flights, &id(1), None).is_some());
    }

    #[test]
    fn a_cancelled_id_is_taken_until_its_work_has_ended() {
        let flights = Arc::<Flights>::default();
        let working = Flights::take_off(&flights, &id(1), None).unwrap();
        flights.cancel(&id(1));
        flights.cancel(&id(7));
        assert!(flights.land(&id(1)).is_none());
        assert!(Flights::take_off(&flights, &id(1), None).is_none());
        drop(working);
        assert!(Flights::take_off(&flights, &id(1), None).is_some());
    }

    #[tokio::test]
    async fn f_24_what_is_under_way_is_bounded() {
        let flights = Arc::<Flights>::default();
        let (first, second) = (flights.room(MAX_LINE).await, flights.room(MAX_LINE).await);
        assert!(first.is_some() && second.is_some());
        let mut waiting = Box::pin(flights.room(1));
        assert!(futures_now(&mut waiting).is_none());
        drop(first);
        assert!(waiting.await.is_some());
    }

    /// Polls once.
    fn futures_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
