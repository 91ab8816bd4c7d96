//! The host's person, as far as a login asks them something.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use shared::secret::random_bytes;
use tokio::sync::{oneshot, watch};

use crate::conversation::{self, COMPLETE};
use crate::login::host::{Action, Asked, Elicits, Host, Mode, Question};
use crate::wrap::message::{self, Id};
use crate::wrap::queue::Queue;

/// Who waits, by the question's name.
type Questions = HashMap<Id, oneshot::Sender<Map<String, Value>>>;

/// Questions of our own that a host of the `initialize` era has not answered yet.
#[derive(Clone, Default)]
pub(super) struct Waiting(Arc<Mutex<Questions>>);

impl Waiting {
    /// Hands an answer to whoever waits for it. Whether somebody did.
    pub(super) fn answered(&self, id: &Id, answer: Map<String, Value>) -> bool {
        let waiting = self.questions().remove(id);
        waiting.map(|waiting| waiting.send(answer)).is_some()
    }

    fn questions(&self) -> MutexGuard<'_, Questions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The person behind one request.
pub(super) struct Person {
    /// Whether the request is of the modern era.
    pub is_modern: bool,
    /// Whether the request may be answered with a question (MCP 2026-07-28, "Multi Round-Trip Requests").
    pub comes_back: bool,
    /// What the host can do.
    pub capabilities: Value,
    /// What the host wants to hear of progress by.
    pub progress: Option<Value>,
    /// The way to the host.
    pub host: Queue,
    /// Who waits for answers.
    pub waiting: Waiting,
    /// True when the host has left.
    pub left: watch::Receiver<bool>,
}

impl Person {
    fn mode(&self) -> Option<Mode> {
        Mode::of(self.capabilities.get("elicitation")?)
    }

    /// Whether the host shows a page that an error names: in the era of `initialize` only.
    pub(super) fn is_sent_there(&self) -> bool {
        !self.is_modern && self.mode() == Some(Mode::Page)
    }
}

impl Host for Person {
    fn elicits(&self) -> Elicits {
        match (self.mode(), self.is_modern) {
            (Some(mode), false) => Elicits::Asks(mode),
            (Some(mode), true) if self.comes_back => Elicits::Returns(mode),
            (Some(_), true) | (None, _) => Elicits::Never,
        }
    }

    fn elicit<'a>(&'a self, question: &'a Question) -> Asked<'a, Option<Action>> {
        Box::pin(async move {
            let id = Id::Text(format!("login-{:032x}", u128::from_le_bytes(random_bytes())));
            let (sender, answer) = oneshot::channel();
            self.waiting.questions().insert(id.clone(), sender);
            let asked = UnderWay { person: self, id: id.clone() };
            self.host.put(message::line(&message::request(&id, "elicitation/create", question.params())));
            let answer = answer.await.ok()?;
            drop(asked);
            answer.get("result")?.get("action")?.as_str().and_then(Action::of)
        })
    }

    fn is_patient(&self) -> bool {
        self.progress.is_some()
    }

    fn left(&self) -> Asked<'_, ()> {
        Box::pin(conversation::left(Some(self.left.clone())))
    }

    fn settled<'a>(&'a self, question: &'a Question) -> Asked<'a, ()> {
        if question.mode == Mode::Page {
            let told = message::notification(COMPLETE, json!({ "elicitationId": question.id }));
            self.host.put(message::line(&told));
        }
        Box::pin(std::future::ready(()))
    }

    fn progress<'a>(&'a self, step: u32, words: &'a str) -> Asked<'a, ()> {
        if let Some(token) = &self.progress {
            let params = json!({ "progressToken": token, "progress": step, "message": words });
            self.host.put(message::line(&message::notification("notifications/progress", params)));
        }
        Box::pin(std::future::ready(()))
    }
}

/// A question that is under way: dropped without an answer, it is taken back, so that no dialog is left behind.
struct UnderWay<'a> {
    person: &'a Person,
    id: Id,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.person.waiting.questions().remove(&self.id).is_some() {
            let params = json!({ "requestId": self.id.value(), "reason": "the call that asked has ended" });
            let taken_back = message::notification("notifications/cancelled", params);
            self.person.host.put(message::line(&taken_back));
        }
    }
}
