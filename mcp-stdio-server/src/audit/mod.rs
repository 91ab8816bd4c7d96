//! Every decision about a call is written down, and how the call ended. No call waits for that: what is decided
//! goes into a queue, from which a thread of its own writes to the trail in the store's folder (`shared::store::calls`).

mod queue;
pub mod spans;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use shared::jcs;
use shared::state::{Facts, Kind};
use shared::store::calls::{Bearer, Decision, End, Outcome, Trace};
use shared::text::Text;
use shared::time::Timestamp;
use shared::uri::Resource;

use self::queue::{Item, Queue};
pub use self::writer::Trail;
use crate::era::Era;
use crate::token::Token;

/// The members of `_meta` that carry a trace context (MCP 2026-07-28, basic).
const TRACE_PARENT: &str = "traceparent";
const TRACE_STATE: &str = "tracestate";

/// Where decisions are written down. Cheap to clone; the default writes nothing.
#[derive(Clone, Default)]
pub struct Audit(Option<Inner>);

#[derive(Clone)]
struct Inner {
    queue: Arc<Queue>,
    transport: Transport,
}

/// How calls come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Transport {
    /// From the program that started us.
    #[default]
    Stdio,
    /// Over HTTP, from anywhere.
    Http,
}

impl Transport {
    const fn word(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Http => "http",
        }
    }
}

/// Where a call comes from, besides its token.
#[derive(Clone, Debug)]
pub struct Origin {
    /// In which of the protocol's eras.
    pub era: Era,
    /// The trace that its caller says it belongs to.
    pub trace: Option<Box<Trace>>,
}

impl Origin {
    /// That of a request with this `_meta`.
    pub fn of(era: Era, meta: Option<&Map<String, Value>>) -> Self {
        let text = |name| meta.and_then(|meta| meta.get(name)).and_then(Value::as_str);
        let trace = text(TRACE_PARENT).and_then(|parent| Trace::parse(parent, text(TRACE_STATE)));
        Self { era, trace: trace.map(Box::new) }
    }
}

/// A decision.
pub struct Decided<'a> {
    /// The server.
    pub server: &'a Resource,
    /// What was wanted.
    pub kind: Kind,
    /// Its name, or its URI.
    pub name: &'a str,
    /// By which method.
    pub method: &'a str,
    /// The arguments, without a token.
    pub arguments: &'a Map<String, Value>,
    /// Where it comes from.
    pub origin: &'a Origin,
    /// What was decided.
    pub decision: Decision,
    /// Why it was refused.
    pub cause: Option<&'static str>,
    /// By whose token.
    pub bearer: Option<Bearer>,
    /// When.
    pub at: Timestamp,
}

/// Who stands behind a token that was verified.
pub fn bearer(token: &Token, facts: &Facts) -> Bearer {
    match token {
        Token::Ours(token) => {
            let claims = token.claims();
            Bearer::Ours {
                grant: claims.grant,
                user: facts.grant.as_ref().and_then(|grant| grant.user.clone()),
                client: claims.client_id.clone(),
                token: claims.jti,
            }
        }
        Token::Foreign(token) => Bearer::Foreign {
            issuer: token.issuer().clone(),
            subject: token.subject().clone(),
            client: token.client().clone(),
            token: token.id().cloned(),
        },
    }
}

impl Audit {
    /// The same trail for calls that come another way.
    #[must_use]
    pub fn over(&self, transport: Transport) -> Self {
        Self(self.0.clone().map(|inner| Inner { transport, ..inner }))
    }

    /// Notes a decision. What is given back waits for the end of the call.
    pub fn decided(&self, decided: Decided<'_>) -> Underway {
        let Some(Inner { queue, transport }) = &self.0 else { return Underway(None) };
        let item = Arc::new(Item {
            server: decided.server.clone(),
            kind: decided.kind,
            name: kept(decided.kind, decided.name),
            method: decided.method.into(),
            decision: decided.decision,
            cause: decided.cause,
            bearer: decided.bearer,
            arguments: jcs::hash(decided.arguments),
            transport: *transport,
            era: decided.origin.era,
            trace: decided.origin.trace.clone(),
            at: decided.at,
            begun: Instant::now(),
            progress: Progress::default(),
            has_ended: AtomicBool::new(false),
        });
        queue.put(Arc::clone(&item));
        Underway((decided.decision != Decision::Refused).then(|| (Arc::clone(queue), item)))
    }
}

/// The most bytes that are kept of a name.
const LONGEST_NAME: usize = 512;

/// A name as it is written down. It is a caller's text: cut off when it is long, and a URI without what follows its path,
/// where secrets travel.
fn kept(kind: Kind, name: &str) -> Text {
    let end = if kind == Kind::Resource { name.find(['?', '#']).unwrap_or(name.len()) } else { name.len() };
    if end <= LONGEST_NAME {
        return name[..end].into();
    }
    format!("{}…", &name[..name.floor_char_boundary(LONGEST_NAME)]).into()
}

/// How far a call is, for the thread that writes it down and the one that carries it out: whoever comes second knows what
/// the first has done.
#[derive(Debug, Default)]
struct Progress(AtomicU64);

/// Outcomes stand in the upper bits, with the microseconds below; the number of a line stands alone.
const SHIFT: u32 = 62;

impl Progress {
    /// The call has ended. The number of its line, when it was written down before.
    fn end(&self, end: End) -> Option<u64> {
        let outcome = match end.outcome {
            Outcome::Ok => 1,
            Outcome::Error => 2,
            Outcome::Dropped => 3,
        };
        let value = (outcome << SHIFT) | end.us.min((1 << SHIFT) - 1);
        self.0.compare_exchange(0, value, Ordering::AcqRel, Ordering::Acquire).err()
    }

    /// The call is being written down as line `number`. How it has ended, if it has.
    fn write(&self, number: u64) -> Option<End> {
        let value = self.0.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire).err()?;
        let outcome = match value >> SHIFT {
            1 => Outcome::Ok,
            2 => Outcome::Error,
            _ => Outcome::Dropped,
        };
        Some(End { outcome, us: value & ((1 << SHIFT) - 1) })
    }
}

/// A call that was let in and has not ended. Dropped, it ended without an answer.
#[derive(Default)]
pub struct Underway(Option<(Arc<Queue>, Arc<Item>)>);

impl Underway {
    /// It has ended so. Only the first time counts.
    pub fn ended(&self, outcome: Outcome) {
        let Some((queue, item)) = &self.0 else { return };
        if item.has_ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let us = u64::try_from(item.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let end = End { outcome, us };
        if let Some(call) = item.progress.end(end) {
            queue.put_end(Arc::clone(item), call, end, item.at + shared::time::Seconds(us / 1_000_000));
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.ended(Outcome::Dropped);
    }
}

impl std::fmt::Debug for Underway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Underway(..)")
    }
}

/// How long the end of a server waits for its last lines to be written.
const LAST_LINES: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_without_its_secrets_and_bounded() {
        for (kind, name, text) in [
            (Kind::Tool, "what?", "what?"),
            (Kind::Resource, "db://table/7", "db://table/7"),
            (Kind::Resource, "https://x/y?access_token=hunter2#z", "https://x/y"),
            (Kind::Resource, "x:#hunter2", "x:"),
            (Kind::Prompt, "", ""),
        ] {
            assert_eq!(kept(kind, name).as_str(), text);
        }
        let long = "ä".repeat(1 << 20);
        let cut = kept(Kind::Prompt, &format!("x{long}"));
        assert!(cut.ends_with("ä…") && cut.len() == 514, "{}", cut.len());
    }

    #[test]
    fn whoever_comes_second_knows_what_the_first_has_done() {
        let end = End { outcome: Outcome::Error, us: 12 };
        let progress = Progress::default();
        assert_eq!((progress.end(end), progress.write(7)), (None, Some(end)));
        let progress = Progress::default();
        assert_eq!((progress.write(7), progress.end(end)), (None, Some(7)));
    }
}
