//! Who waits for what a server says, and which messages of its own are for whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::channel::Channel;
use super::track::Said;
use crate::wrap::message::{self, Id, meta, meta_mut, params_mut};

/// How many streams that are over, and that nobody reads, are kept for who comes back; the newest.
const LEFT: usize = 16;

/// How many bytes of them.
const LEFT_BYTES: usize = 4 * 1024 * 1024;

/// The stream of what belongs to no request; the others have the number of their request.
pub const LISTENING: i64 = 0;

/// A request that waits for its answer.
pub struct Waiting {
    /// The name that its client gave it.
    pub id: Id,
    /// The name by which its client wants to hear of progress.
    pub progress: Option<Value>,
    /// Whether its client takes log messages.
    pub wants_logs: bool,
    /// Where its messages go.
    pub channel: Arc<Channel>,
}

/// A request's stream that may be read again.
pub struct Kept {
    /// Its messages.
    pub channel: Arc<Channel>,
    /// Which request's it is.
    pub what: What,
}

/// What a request is, as far as whoever reads its stream must be allowed it.
#[derive(Clone, Debug)]
pub struct What {
    /// Its method.
    pub method: String,
    /// What it names.
    pub name: Option<String>,
}

/// Who waits for what in one session.
pub struct Routes {
    /// The number of the latest request.
    pub next: i64,
    /// By our own numbers.
    pub waiting: BTreeMap<i64, Waiting>,
    /// The streams of requests that may be read again.
    pub kept: BTreeMap<i64, Kept>,
    /// What belongs to no request.
    pub listening: Arc<Channel>,
}

impl Default for Routes {
    fn default() -> Self {
        Self { next: LISTENING, waiting: BTreeMap::new(), kept: BTreeMap::new(), listening: Channel::new(true) }
    }
}

impl Routes {
    /// Brings a message of the server's own to the connection that it belongs to, as far as it tells.
    pub fn spread(&mut self, method: &str, mut message: Map<String, Value>, is_modern: bool) {
        let to = self.addressee(method, &mut message, is_modern);
        let channel = match to {
            To::Request(number) => self.waiting.get(&number).map(|waiting| &waiting.channel),
            To::Listener => Some(&self.listening),
            To::Nobody => None,
        };
        if let Some(channel) = channel {
            let json = Value::Object(message).to_string().into_bytes();
            channel.put(Said { json, is_answer: false, code: None });
        }
    }

    /// Its client wants nothing of a request any more. A server does not answer what was cancelled: its stream ends, and
    /// nobody reads it on.
    pub fn cancelled(&mut self, number: i64) {
        self.kept.remove(&number);
        if let Some(waiting) = self.waiting.remove(&number) {
            waiting.channel.close();
        }
    }

    /// Forgets streams that are over and that nobody reads, when there are too many.
    pub fn prune(&mut self) {
        let (mut count, mut bytes) = (0, 0);
        let mut over: Vec<_> =
            self.kept.iter().filter_map(|(number, kept)| Some((*number, kept.channel.left()?))).collect();
        while let Some((number, left)) = over.pop() {
            count += 1;
            bytes += left;
            // The newest stays, however large its answer is.
            if count > LEFT || (count > 1 && bytes > LEFT_BYTES) {
                self.kept.remove(&number);
            }
        }
    }

    fn addressee(&self, method: &str, message: &mut Map<String, Value>, is_modern: bool) -> To {
        if method == "notifications/progress" {
            let token = params_mut(message).get_mut("progressToken");
            let number = token.as_ref().and_then(|token| token.as_i64());
            return match (number.and_then(|number| Some((number, self.waiting.get(&number)?))), token) {
                (Some((number, waiting)), Some(token)) => {
                    *token = waiting.progress.clone().unwrap_or_default();
                    To::Request(number)
                }
                _ => To::Nobody,
            };
        }
        let subscription = message::meta_of(message, meta::SUBSCRIPTION).and_then(number_of);
        if let Some((number, waiting)) = subscription.and_then(|number| Some((number, self.waiting.get(&number)?))) {
            meta_mut(params_mut(message)).insert(meta::SUBSCRIPTION.to_owned(), waiting.id.value());
            return To::Request(number);
        }
        let is_of_a_call = !method.ends_with("/list_changed") && method != "notifications/resources/updated";
        // On stdio nothing says which call a log line or a question belongs to: the latest, most likely, of those whose client
        // is there to hear it.
        let mut calls = self.waiting.iter().rev().filter(|(_, waiting)| waiting.wants_logs).peekable();
        let latest = calls.peek().map(|(number, _)| **number);
        let heard = calls.find(|(_, waiting)| waiting.channel.is_read()).map(|(number, _)| *number);
        match heard.or(latest).filter(|_| is_of_a_call) {
            Some(number) => To::Request(number),
            None if is_modern => To::Nobody,
            None => To::Listener,
        }
    }
}

/// Whom a message of the server's is for.
enum To {
    Request(i64),
    Listener,
    Nobody,
}

fn number_of(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// Three calls are under way, and the clients of `there` are there to hear what comes; `found` is who hears of `method`.
    #[track_caller]
    fn check(method: &str, there: &[i64], found: &[i64]) {
        let mut routes = Routes::default();
        let mut channels = BTreeMap::from([(LISTENING, Arc::clone(&routes.listening))]);
        for number in 1..=3 {
            let channel = Channel::new(true);
            channels.insert(number, Arc::clone(&channel));
            routes.waiting.insert(number, Waiting { id: Id::Number(7), progress: None, wants_logs: true, channel });
        }
        let readers: Vec<_> = there.iter().map(|number| channels[number].read(None)).collect();
        routes.spread(method, Map::new(), false);
        drop(readers);
        let has_it = |channel: &Arc<Channel>| channel.read(None).next().now_or_never().flatten().is_some();
        let heard: Vec<_> = channels.iter().filter(|(_, channel)| has_it(channel)).map(|(number, _)| *number).collect();
        assert_eq!(heard, found, "{method} {there:?}");
    }

    #[test]
    fn a_question_goes_to_the_latest_call_whose_client_is_there_and_news_to_whoever_listens() {
        check("sampling/createMessage", &[1, 2, 3], &[3]);
        check("sampling/createMessage", &[1, 2], &[2]);
        check("sampling/createMessage", &[LISTENING, 1], &[1]);
        check("sampling/createMessage", &[], &[3]);
        check("notifications/tools/list_changed", &[1, 2, 3], &[LISTENING]);
    }
}
