//! Questions for a person, across the eras: an old server sends requests of its own, a new one asks in its result.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value, json};
use shared::secret::{TokenHash, random_bytes};
use tokio::time::Instant;

use super::judging::digest;
use super::{Pending, Relay};
use crate::wrap::eras::{Host, needed_for};
use crate::wrap::message::{self, Id, param, params_mut};

/// How long a question of an old server waits for its answer.
const WAITS: Duration = Duration::from_secs(600);

/// How many questions may wait.
const MOST: usize = 256;

/// A question of an old server that a modern host's person answers.
pub(super) struct Question {
    /// The request at the server during which it was asked.
    pub call: Id,
    /// Its name at the server.
    id: Id,
    /// The request that may bring the answer, and whose.
    digest: TokenHash,
    principal: Option<TokenHash>,
    until: Instant,
}

/// The one question that an old server asks at a time has this name.
const KEY: &str = "question";

/// Questions of a modern server that an old host's person answers.
pub(super) struct Gathering {
    pending: Pending,
    /// What the answers are wanted for: the name of each of our requests to the host, and of its question.
    asked: BTreeMap<String, String>,
    missing: BTreeSet<String>,
    answers: Map<String, Value>,
    state: Option<Value>,
}

impl Gathering {
    pub(super) fn host_id(&self) -> &Id {
        &self.pending.host_id
    }

    /// Whether nothing of it is left to answer.
    pub(super) fn is_done(&self) -> bool {
        self.missing.is_empty()
    }
}

impl Relay {
    /// A server of the old era asks the host something, while a request of a modern host is under way: the request is
    /// answered with the question, and goes on when it comes back (MCP 2026-07-28, "Multi Round-Trip Requests").
    pub(super) fn question(&mut self, id: Id, method: &str, message: &Map<String, Value>) {
        self.questions.retain(|_, question| question.until > Instant::now());
        let refuse = |code, words: &str| message::failure(Some(&id), code, words, None);
        let Some(capability) = needed_for(method) else {
            return match method {
                "ping" => self.say(&message::success(&id, json!({}))),
                _ => self.say(&refuse(-32601, "Method not found")),
            };
        };
        // An old server does not say during which request it asks; the one that came last is the best guess.
        let asks = |pending: &&Pending| {
            pending.is_modern && matches!(pending.method.as_str(), "tools/call" | "prompts/get" | "resources/read")
        };
        let calls = self.pending.iter().filter(|(_, pending)| asks(pending));
        let call = calls.max_by_key(|(_, pending)| pending.since).map(|(name, _)| name.clone());
        let Some(call) = call.filter(|_| self.questions.len() < MOST) else {
            return self.say(&refuse(-32603, "Nobody is there to ask: no request is under way"));
        };
        let Some(pending) = self.pending.get(&call) else { return };
        let host_can = pending.message.as_ref().is_some_and(|sent| Host::of_meta(sent.get("params")).can(capability));
        if !host_can {
            return self.say(&refuse(-32601, "The host cannot be asked this"));
        }
        let digest = pending.message.as_ref().map(|sent| digest(&pending.method, sent));
        let Some(digest) = digest else { return };
        let state = format!("ask_{:032x}", u128::from_le_bytes(random_bytes()));
        let params = message.get("params").cloned().unwrap_or_else(|| json!({}));
        let result = json!({
            "resultType": "input_required",
            "inputRequests": { KEY: { "method": method, "params": params } },
            "requestState": state,
        });
        self.tell(&message::success(&pending.host_id, result));
        let principal = pending.asked.principal();
        self.questions.insert(state, Question { call, id, digest, principal, until: Instant::now() + WAITS });
    }

    /// A request that brings the answer to a question. Whether it was one.
    pub(super) fn resumed(&mut self, pending: &Pending, message: &Map<String, Value>) -> bool {
        if !pending.is_modern || self.server_is_modern() != Some(false) {
            return false;
        }
        let Some(state) = param(message, "requestState").and_then(Value::as_str) else { return false };
        // Good once, for who was asked, and for what they asked (ARG-14).
        let fits = self.questions.get(state).is_some_and(|question| {
            question.until > Instant::now()
                && question.principal == pending.asked.principal()
                && question.digest == digest(&pending.method, message)
                && self.pending.contains_key(&question.call)
        });
        if !fits {
            let words = "Invalid params: the requestState is not of this request, or has expired";
            self.tell(&message::failure(Some(&pending.host_id), -32602, words, None));
            return true;
        }
        let Some(question) = self.questions.remove(state) else { return true };
        if let Some(waiting) = self.pending.get_mut(&question.call) {
            waiting.host_id = pending.host_id.clone();
            waiting.underway = pending.underway.clone();
        }
        match param(message, "inputResponses").and_then(|answers| answers.get(KEY)) {
            Some(answer) => self.say(&message::success(&question.id, answer.clone())),
            None => self.say(&message::failure(Some(&question.id), -32603, "The host gave no answer", None)),
        }
        true
    }

    /// A modern server's answer that asks for more: the old host is asked. Whether it was such an answer.
    pub(super) fn needs_input(&mut self, pending: &Pending, answer: &Map<String, Value>) -> bool {
        let Some(result) = answer.get("result").filter(|result| result["resultType"] == "input_required") else {
            return false;
        };
        let none = Map::new();
        let requests = result.get("inputRequests").and_then(Value::as_object).unwrap_or(&none);
        let host = self.host_is.clone();
        let lacking = requests.values().find_map(|request| {
            let method = request["method"].as_str().unwrap_or_default();
            let can = needed_for(method).is_some_and(|needed| host.as_ref().is_some_and(|host| host.can(needed)));
            (!can).then(|| method.to_owned())
        });
        if let Some(method) = lacking {
            let words = format!(
                "The server must ask the host ({}), and this host cannot be asked",
                crate::results::shown(&method)
            );
            self.tell(&message::failure(Some(&pending.host_id), -32603, &words, None));
            return true;
        }
        let mut asked = BTreeMap::new();
        for (key, request) in requests {
            let id = self.names.next();
            let Id::Text(name) = &id else { continue };
            asked.insert(name.clone(), key.clone());
            let method = request["method"].as_str().unwrap_or_default();
            let params = request.get("params").cloned().unwrap_or_else(|| json!({}));
            self.tell(&message::request(&id, method, params));
        }
        let gathering = Gathering {
            pending: pending.clone(),
            missing: asked.keys().cloned().collect(),
            asked,
            answers: Map::new(),
            state: result.get("requestState").cloned(),
        };
        let key = self.names.next();
        if gathering.is_done() {
            self.ask_once_more(gathering);
        } else {
            self.gatherings.insert(key, gathering);
        }
        true
    }

    /// An old host's answer to a question of ours. Whether it was one.
    pub(super) fn gathered(&mut self, id: &Id, message: &Map<String, Value>) -> bool {
        let Id::Text(name) = id else { return false };
        let found = self.gatherings.iter_mut().find(|(_, gathering)| gathering.missing.contains(name));
        let Some((key, gathering)) = found else { return false };
        gathering.missing.remove(name);
        // Who cannot answer has not agreed either.
        let answer = message.get("result").cloned().unwrap_or_else(|| json!({ "action": "cancel" }));
        if let Some(question) = gathering.asked.get(name) {
            gathering.answers.insert(question.clone(), answer);
        }
        let key = key.clone();
        if gathering.is_done()
            && let Some(gathering) = self.gatherings.remove(&key)
        {
            self.ask_once_more(gathering);
        }
        true
    }

    /// Sends a request again, with what the person said.
    fn ask_once_more(&mut self, gathering: Gathering) {
        let Gathering { pending, answers, state, .. } = gathering;
        let Some(mut message) = pending.message.clone() else { return };
        let params = params_mut(&mut message);
        params.insert("inputResponses".to_owned(), Value::Object(answers));
        match state {
            Some(state) => params.insert("requestState".to_owned(), state),
            None => params.remove("requestState"),
        };
        let id = self.names.next();
        message.insert("id".to_owned(), id.value());
        self.pending.insert(id, pending);
        self.say(&Value::Object(message));
    }
}
