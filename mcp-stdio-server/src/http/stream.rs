//! Answers as event streams, and what ends them early.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::Bytes;
use futures_util::stream::unfold;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::channel::Inbox;
use super::session::{Asked, Events};
use super::track::Said;
use super::{Front, Holder};

/// How often a stream says that it is still there, and looks whether it may be: proxies cut quiet connections, and a client
/// that is gone is noticed only by writing to it.
const ALIVE: Duration = Duration::from_secs(10);

/// How long a stream goes on while nobody can say whether its token lives.
const UNSURE: Duration = Duration::from_secs(60);

/// How long a client waits before it comes back, in milliseconds: as long as one that nobody told.
const RETRY: u64 = 1000;

/// Where a stream's messages come from.
pub enum Source {
    /// One request.
    Asked(Asked),
    /// A stream that is listened to, or read on.
    Reading(Inbox),
}

impl Source {
    fn inbox(&mut self) -> &mut Inbox {
        match self {
            Self::Asked(asked) => asked.inbox(),
            Self::Reading(inbox) => inbox,
        }
    }
}

/// How a stream's events are named, where it can be read on.
#[derive(Clone, Copy)]
pub struct Names {
    /// What the names begin with.
    pub events: Events,
    /// Whether the stream begins with an event that has a name and no message, so that its client can come back from the
    /// first moment on. Clients of before 2025-11-25 would take it for a message.
    pub primes: bool,
}

struct Stream {
    front: Arc<Front>,
    source: Source,
    names: Option<Names>,
    is_begun: bool,
    holder: Option<Holder>,
    changed: Option<watch::Receiver<u64>>,
    is_over: bool,
    /// When to look next.
    look: Instant,
    /// Until when it goes on without an answer.
    unsure_until: Instant,
}

/// A stream of what `source` says. It ends with the answer, and with its holder.
pub fn stream(front: &Arc<Front>, source: Source, names: Option<Names>, holder: Option<Holder>) -> HttpResponse {
    let changed = front.gate.verify.changed();
    let (look, unsure_until) = (Instant::now() + ALIVE, Instant::now() + UNSURE);
    let front = Arc::clone(front);
    let stream = Stream { front, source, names, is_begun: false, holder, changed, is_over: false, look, unsure_until };
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
            && let Some(names) = self.names.filter(|names| names.primes)
        {
            let name = names.events.name(self.source.inbox().read());
            return Some(Bytes::from(format!("id: {name}\nretry: {RETRY}\ndata:\n\n")));
        }
        loop {
            let Self { source, changed, look, .. } = self;
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
                said = source.inbox().next() => return said.map(|(number, said)| self.event(number, &said)),
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
        let name = self.names.map(|names| format!("id: {}\n", names.events.name(number))).unwrap_or_default();
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
