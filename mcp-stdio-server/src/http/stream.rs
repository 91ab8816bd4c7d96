//! Answers as event streams, and what ends them early.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::Bytes;
use futures_util::stream::unfold;
use shared::secret::Secret;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Front;
use super::session::{Asked, Inbox, Said};

/// How often a quiet stream says that it is still there: proxies cut quiet connections, and a client that is gone is
/// noticed only by writing to it.
const ALIVE: Duration = Duration::from_secs(10);

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
    token: Option<Secret>,
    changed: Option<watch::Receiver<u64>>,
    is_over: bool,
}

/// A stream of what `source` says, `first` before it. It ends with the answer, and with the token.
pub fn events(front: &Arc<Front>, source: Source, first: Option<Said>, token: Option<Secret>) -> HttpResponse {
    let changed = front.gate.verify.changed();
    let events = Events { front: Arc::clone(front), source, first, token, changed, is_over: false };
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
            let Self { source, changed, .. } = self;
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
                said = timeout(ALIVE, source.next()) => match said {
                    Ok(said) => return said.map(|said| self.event(&said)),
                    Err(_) => return self.may_go_on().await.then(|| Bytes::from_static(b": alive\n\n")),
                },
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
    async fn may_go_on(&self) -> bool {
        match &self.token {
            Some(token) => self.front.is_alive(token).await,
            None => true,
        }
    }
}
