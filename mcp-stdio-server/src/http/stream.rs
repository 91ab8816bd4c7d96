//! Answers as event streams, and what ends them early.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::Bytes;
use futures_util::stream::unfold;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::session::Reading;
use super::track::Said;
use super::{Front, Holder};

/// How often a stream says that it is still there, and looks whether it may be: proxies cut quiet connections, and a client
/// that is gone is noticed only by writing to it.
const ALIVE: Duration = Duration::from_secs(10);

/// How long a stream goes on while nobody can say whether its token lives.
const UNSURE: Duration = Duration::from_secs(60);

/// How long a client waits before it comes back, in milliseconds: as long as one that nobody told.
const RETRY: u64 = 1000;

struct Stream {
    front: Arc<Front>,
    reading: Reading,
    primes: bool,
    is_begun: bool,
    holder: Option<Holder>,
    changed: Option<watch::Receiver<u64>>,
    is_over: bool,
    /// When to look next.
    look: Instant,
    /// Until when it goes on without an answer.
    unsure_until: Instant,
}

/// A stream of what `reading` brings. It ends with the answer, and with its holder. `primes`: it begins with an event that has
/// a name and no message, so that its client can come back from the first moment on.
pub fn stream(front: &Arc<Front>, reading: Reading, primes: bool, holder: Option<Holder>) -> HttpResponse {
    let changed = front.gate.verify.changed();
    let (look, unsure_until) = (Instant::now() + ALIVE, Instant::now() + UNSURE);
    let front = Arc::clone(front);
    let stream =
        Stream { front, reading, primes, is_begun: false, holder, changed, is_over: false, look, unsure_until };
    let body = unfold(stream, |mut stream| async move {
        let bytes = stream.next().await?;
        Some((Ok::<_, actix_web::Error>(bytes), stream))
    });
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        // nginx would hold events back.
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(body)
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        if !std::mem::replace(&mut self.is_begun, true)
            && self.primes
            && let Some(name) = self.reading.place()
        {
            return Some(Bytes::from(format!("id: {name}\nretry: {RETRY}\ndata:\n\n")));
        }
        loop {
            let Self { reading, changed, look, .. } = self;
            let changing = async {
                let told = match changed {
                    Some(changed) => changed.changed().await.is_ok(),
                    None => false,
                };
                if !told {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                biased;
                () = sleep_until(*look) => {
                    return self.may_go_on().await.then(|| Bytes::from_static(b": alive\n\n"));
                }
                said = reading.inbox().next() => return said.map(|(number, said)| self.event(number, &said)),
                () = changing => {
                    if !self.may_go_on().await {
                        return None;
                    }
                }
            }
        }
    }

    fn event(&mut self, number: u64, said: &Said) -> Bytes {
        self.is_over = said.is_answer;
        let name = self.reading.event(number).map(|name| format!("id: {name}\n")).unwrap_or_default();
        let mut event = format!("event: message\n{name}data: ").into_bytes();
        event.extend_from_slice(&said.json);
        event.extend_from_slice(b"\n\n");
        Bytes::from(event)
    }

    /// A stream ends with what opened it: a token that was taken back hears nothing more (N3).
    async fn may_go_on(&mut self) -> bool {
        let Some(holder) = &self.holder else { return self.looked(true) };
        match self.front.is_alive(holder).await {
            Some(is_alive) => self.looked(is_alive),
            None => {
                self.look = Instant::now() + ALIVE;
                Instant::now() < self.unsure_until
            }
        }
    }

    fn looked(&mut self, may_go_on: bool) -> bool {
        (self.look, self.unsure_until) = (Instant::now() + ALIVE, Instant::now() + UNSURE);
        may_go_on
    }
}
