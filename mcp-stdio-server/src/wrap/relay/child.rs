//! What the server says.

use serde_json::{Map, Value};
use shared::store::calls::Outcome;

use super::{Pending, Relay};
use crate::wrap::eras::{legacy_result, modern_error};
use crate::wrap::listing::List;
use crate::wrap::message::{self, Id, Message};

impl Relay {
    /// A line of the server's.
    pub(super) fn child_line(&mut self, length: usize) {
        let Some(child) = &mut self.child else { return };
        let line = child.lines.line(length).to_vec();
        child.lines.consume(length);
        match message::read(&line) {
            Ok(Message::Response(id, message)) => self.child_answer(id, message, line),
            Ok(Message::Request(id, method, message)) => self.child_asks(id, method, message, line),
            Ok(Message::Notification(method, message)) => self.child_notification(&method, message, line),
            Ok(Message::Empty) => {}
            // Servers print what they like. The host's stream carries messages only.
            Err(_) => tracing::debug!(bytes = line.len(), "the server wrote something that is no message"),
        }
    }

    fn child_answer(&mut self, id: Id, answer: Map<String, Value>, line: Vec<u8>) {
        self.has_spoken = true;
        self.keeping.has_answered |= answer.contains_key("result");
        if let Some(own) = self.own.remove(&id) {
            return self.own_answered(&id, own, &answer);
        }
        // Unknown, or cancelled meanwhile.
        let Some(pending) = self.pending.remove(&id) else { return };
        self.questions.retain(|_, question| question.call != id);
        if pending.method == "initialize" && !self.initialize_answered(&pending, &answer, &line) {
            return;
        }
        if let Some(tool) = &pending.asked.tool {
            self.tasks.answered(tool, &answer);
        }
        let Some((answer, line)) = self.translated(&id, &pending, answer, line) else { return };
        if let Some(underway) = &pending.underway {
            underway.ended(outcome(&answer));
        }
        match List::of(&pending.method) {
            Some(list) if answer.contains_key("result") => self.filtered(list, pending, answer, line),
            _ => self.host.put(line),
        }
    }

    /// An answer as the host reads it, and its line. `None` when it is not for the host yet.
    fn translated(
        &mut self,
        id: &Id,
        pending: &Pending,
        mut answer: Map<String, Value>,
        mut line: Vec<u8>,
    ) -> Option<(Map<String, Value>, Vec<u8>)> {
        let mut changed = *id != pending.host_id;
        if changed {
            answer.insert("id".to_owned(), pending.host_id.value());
        }
        match (pending.is_modern, self.server_is_modern()) {
            (true, Some(false)) => {
                changed = true;
                if let (Some(result), Some(server)) = (answer.remove("result"), self.server()) {
                    answer.insert("result".to_owned(), server.modern_result(&pending.method, result));
                }
                answer.get_mut("error").into_iter().for_each(modern_error);
            }
            (false, Some(true)) => {
                changed = true;
                if self.needs_input(pending, &answer) {
                    return None;
                }
                if let Some(result) = answer.remove("result") {
                    answer.insert("result".to_owned(), legacy_result(result));
                }
            }
            _ => {}
        }
        line.push(b'\n');
        let line = if changed { message::line(&Value::Object(answer.clone())) } else { line };
        Some((answer, line))
    }

    fn child_asks(&mut self, id: Id, method: String, message: Map<String, Value>, mut line: Vec<u8>) {
        if self.host_is_modern() {
            return self.question(id, &method, &message);
        }
        line.push(b'\n');
        self.host.put(line);
    }

    fn child_notification(&mut self, method: &str, message: Map<String, Value>, mut line: Vec<u8>) {
        if method == "notifications/tools/list_changed" {
            self.learn_tools();
        }
        let for_host = match self.server_is_modern() {
            Some(true) if self.listening.is_some() => self.heard_for_host(method, message),
            Some(false) if self.host_is_modern() => return self.heard_for_listens(method, message, line),
            _ => {
                line.push(b'\n');
                Some(line)
            }
        };
        for_host.into_iter().for_each(|line| self.host.put(line));
    }
}

/// How a call ended, by its answer.
fn outcome(answer: &Map<String, Value>) -> Outcome {
    let is_error = answer.get("result").is_none_or(|result| result.get("isError") == Some(&Value::Bool(true)));
    if is_error { Outcome::Error } else { Outcome::Ok }
}
