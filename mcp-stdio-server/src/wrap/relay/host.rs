//! What the host says.

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::judging::{Asked, without_token};
use super::target::Target;
use super::{MOST, Pending, Relay};
use crate::wrap::eras::{Host, MODERN, legacy_request, modern_request};
use crate::wrap::exact::lookalike;
use crate::wrap::message::{self, Id, Message, meta, meta_of, param};

impl Pending {
    /// A request that nobody had to judge.
    pub(super) fn plain(host_id: Id, method: &str, message: Option<Map<String, Value>>) -> Self {
        let (asked, since) = (Asked::nobody(), Instant::now());
        Self {
            host_id,
            method: method.to_owned(),
            is_modern: false,
            asked,
            since,
            message,
            again: None,
            underway: None,
        }
    }
}

impl Relay {
    /// A line of the host's.
    pub(super) fn host_line(&mut self, line: Vec<u8>) {
        let read = message::read(&line);
        if let Ok(Message::Request(_, _, message) | Message::Notification(_, message) | Message::Response(_, message)) =
            &read
            && let Some(member) = lookalike(message)
        {
            let words = format!(
                "Invalid Request: the member \"{}\" could be taken for another one",
                crate::results::shown(member)
            );
            let id = message.get("id").filter(|_| matches!(read, Ok(Message::Request(..)))).and_then(Id::of);
            return self.tell(&message::failure(id.as_ref(), -32600, &words, None));
        }
        match read {
            Ok(Message::Request(id, method, message)) => self.host_request(id, method, message, line),
            Ok(Message::Notification(method, message)) => self.host_notification(&method, message, line),
            Ok(Message::Response(id, message)) => self.host_answer(id, message, line),
            Ok(Message::Empty) => {}
            Err(answer) => self.tell(&answer),
        }
    }

    fn host_request(&mut self, id: Id, method: String, message: Map<String, Value>, line: Vec<u8>) {
        if self.is_under_way(&id) {
            let words = "Invalid Request: a request with this id is still under way";
            return self.tell(&message::failure(None, -32600, words, None));
        }
        if self.pending.len() + self.judging.len() + self.parked.len() >= MOST {
            let words = format!("Internal error: {MOST} requests are under way; wait for some of them");
            return self.tell(&message::failure(Some(&id), -32603, &words, None));
        }
        self.request(id, method, message, line);
    }

    /// A request whose name is free.
    pub(super) fn request(&mut self, id: Id, method: String, message: Map<String, Value>, line: Vec<u8>) {
        if method == "initialize" {
            return self.initialize(id, message, line);
        }
        let version = meta_of(&message, meta::VERSION).and_then(Value::as_str).map(str::to_owned);
        match (&version, self.server_is_modern()) {
            (Some(_), None) => return self.park_and_probe(id, method, message, line),
            (None, None) if self.child.is_none() || self.is_being_greeted() => {
                return self.park(id, method, message, line);
            }
            (Some(version), Some(false)) if version != MODERN => {
                let data = json!({ "supported": [MODERN], "requested": crate::results::shown(version) });
                let words = "Unsupported protocol version";
                return self.tell(&message::failure(Some(&id), -32022, words, Some(data)));
            }
            _ => {}
        }
        if version.is_some() {
            self.host_is = Some(Host::of_meta(message.get("params")));
        }
        let is_modern = version.is_some();
        if self.answered_here(&id, &method, &message, is_modern) {
            return;
        }
        self.judge(id, method, message, line, is_modern);
    }

    /// Whether a request of this name waits for its answer.
    fn is_under_way(&self, id: &Id) -> bool {
        self.judging.contains_key(id)
            || self.listens.contains_key(id)
            || self.pending.values().any(|pending| pending.host_id == *id)
            || self.parked.iter().any(|(parked, ..)| parked == id)
            || self.gatherings.values().any(|gathering| gathering.host_id() == id)
    }

    pub(super) fn park(&mut self, id: Id, method: String, message: Map<String, Value>, line: Vec<u8>) {
        self.parked.push((id, method, message, line));
    }

    fn park_and_probe(&mut self, id: Id, method: String, message: Map<String, Value>, line: Vec<u8>) {
        let host = Host::of_meta(message.get("params"));
        self.park(id, method, message, line);
        if self.child.is_some() && !self.is_being_greeted() {
            self.host_is = Some(host);
            self.probe(None);
        }
    }

    fn is_being_greeted(&self) -> bool {
        !matches!(self.greeting, super::Greeting::None) && self.server_is_modern().is_none()
    }

    /// Answers what needs no server of the other era. Whether it did.
    fn answered_here(&mut self, id: &Id, method: &str, message: &Map<String, Value>, is_modern: bool) -> bool {
        let Some(server_is_modern) = self.server_is_modern() else { return false };
        if is_modern == server_is_modern {
            return false;
        }
        let answer = match (method, is_modern) {
            ("server/discover", true) => self.server().map(super::Server::discovered),
            ("ping", false) => Some(json!({})),
            ("logging/setLevel", false) => {
                if let Some(host) = &mut self.host_is {
                    host.log_level = param(message, "level").cloned();
                }
                Some(json!({}))
            }
            _ => None,
        };
        let answered = answer.is_some();
        if let Some(answer) = answer {
            self.tell(&message::success(id, answer));
        }
        answered
    }

    /// Sends a request that may be to the server.
    pub(super) fn forward(&mut self, mut pending: Pending, mut message: Map<String, Value>, line: Option<Vec<u8>>) {
        if self.listened(&pending, &message) {
            return;
        }
        let mut line = line;
        match (pending.is_modern, self.server_is_modern()) {
            (true, Some(false)) => {
                self.set_log_level(&message);
                // What it was asked, to know it again when it comes back with an answer.
                pending.message = Some(message.clone());
                legacy_request(&mut message);
                line = None;
            }
            (false, Some(true)) => {
                let host = self.host_is.clone().unwrap_or_else(|| Host::of_initialize(None));
                modern_request(&mut message, &host);
                line = None;
                if matches!(
                    Target::of(&pending.method, &message),
                    Target::Tool(_) | Target::Read(_) | Target::Prompt(_)
                ) {
                    pending.message = Some(message.clone());
                }
            }
            _ => {}
        }
        if self.wrapped.secrets.is_some() && crate::wrap::listing::List::of(&pending.method).is_some() {
            pending.again = Some(message.clone());
        }
        pending.since = Instant::now();
        let id = pending.host_id.clone();
        self.pending.insert(id, pending);
        match line {
            Some(line) => self.pass_on(line),
            None => self.say(&Value::Object(message)),
        }
    }

    fn host_notification(&mut self, method: &str, mut message: Map<String, Value>, line: Vec<u8>) {
        // Nobody judges a request that asks for no answer; a server might do what it says.
        if !method.starts_with("notifications/") {
            return tracing::debug!(method = %crate::results::shown(method), "the host said something that is no notification");
        }
        let (line, _) = without_token(&mut message, line);
        match method {
            "notifications/cancelled" => return self.cancelled(&message, line),
            "notifications/initialized" => {
                if self.server_is_modern() == Some(true) {
                    return;
                }
                self.pass_on(line);
                self.host_is_initialized = true;
                // A host that does not wait for its answer says this first.
                if self.server_is_modern().is_some() {
                    self.server_is_ready();
                }
                return;
            }
            _ => {}
        }
        // What only the old era has means nothing to a server of the new one.
        if self.server_is_modern() != Some(true) || self.host_is_modern() {
            self.pass_on(line);
        }
    }

    /// Whether the host speaks the modern era only: what it says has a version, and there was no `initialize`.
    pub(super) fn host_is_modern(&self) -> bool {
        self.host_is.is_some() && !self.host_initializes
    }

    fn cancelled(&mut self, message: &Map<String, Value>, line: Vec<u8>) {
        let Some(id) = param(message, "requestId").and_then(Id::of) else { return };
        if let Some(judging) = self.judging.remove(&id) {
            return judging.abort();
        }
        if self.unlisten(&id) {
            return;
        }
        self.parked.retain(|(parked, ..)| *parked != id);
        self.gatherings.retain(|_, gathering| *gathering.host_id() != id);
        let at_server = self.pending.iter().find(|(_, pending)| pending.host_id == id).map(|(name, _)| name.clone());
        let Some(at_server) = at_server else { return };
        // A handshake cannot be taken back (MCP "Cancellation").
        if self.pending.get(&at_server).is_some_and(|pending| pending.method == "initialize") {
            return;
        }
        self.pending.remove(&at_server);
        self.questions.retain(|_, question| question.call != at_server);
        if at_server == id {
            self.pass_on(line);
        } else {
            self.say(&message::notification("notifications/cancelled", json!({ "requestId": at_server.value() })));
        }
    }

    fn host_answer(&mut self, id: Id, message: Map<String, Value>, line: Vec<u8>) {
        if self.gathered(&id, &message) || self.waiting.answered(&id, message) {
            return;
        }
        // An answer to a question that the server asked itself.
        if self.server_is_modern() == Some(false) {
            self.pass_on(line);
        }
    }

    /// A server of the old era has one level for all; a modern host names one with each request.
    fn set_log_level(&mut self, message: &Map<String, Value>) {
        let Some(level) = meta_of(message, meta::LOG_LEVEL).cloned() else { return };
        if self.server().is_some_and(|server| server.can("logging", None)) {
            self.ask(super::Own::Other, "logging/setLevel", json!({ "level": level }));
        }
    }
}
