//! Answers as event streams, and what ends them early.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::Bytes;
use futures_util::stream::unfold;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::session::{Asked, Inbox, Said};
use super::{Front, Holder};

/// How often a stream says that it is still there, and looks whether it may be: proxies cut quiet connections, and a client
/// that is gone is noticed only by writing to it.
const ALIVE: Duration = Duration::from_secs(10);

/// How long a stream goes on while nobody can say whether its token lives.
const UNSURE: Duration = Duration::from_secs(60);

/// Where a stream's messages come from.
pub enum Source {
    /// One request.
    Asked(Asked),
    /// What belongs to no request.
    Listening(Inbox),
}

impl Source {
    async fn next(&mut self) -> Option<Said> {
        match self {
            Self::Asked(asked) => asked.next().await,
            Self::Listening(inbox) => inbox.next().await,
        }
    }
}

struct Events {
    front: Arc<Front>,
    source: Source,
    first: Option<Said>,
    holder: Option<Holder>,
    changed: Option<watch::Receiver<u64>>,
    is_over: bool,
    /// When to look next.
    look: Instant,
    /// Until when it goes on without an answer.
    unsure_until: Instant,
}

/// A stream of what `source` says, `first` before it. It ends with the answer, and with its holder.
pub fn events(front: &Arc<Front>, source: Source, first: Option<Said>, holder: Option<Holder>) -> HttpResponse {
    let changed = front.gate.verify.changed();
    let (look, unsure_until) = (Instant::now() + ALIVE, Instant::now() + UNSURE);
    let events =
        Events { front: Arc::clone(front), source, first, holder, changed, is_over: false, look, unsure_until };
    let body = unfold(events, |mut events| async move {
        let bytes = events.next().await?;
        Some((Ok::<_, actix_web::Error>(bytes), events))
    });
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        // nginx would hold events back.
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(body)
}

impl Events {
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        if let Some(first) = self.first.take() {
            return Some(self.event(&first));
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
                said = source.next() => return said.map(|said| self.event(&said)),
                () = changing => {
                    if !self.may_go_on().await {
                        return None;
                    }
                }
            }
        }
    }

    fn event(&mut self, said: &Said) -> Bytes {
        self.is_over = said.is_answer;
        let mut event = b"event: message\ndata: ".to_vec();
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
