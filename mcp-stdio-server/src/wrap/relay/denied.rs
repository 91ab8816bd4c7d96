//! What a request gets that may not be.

use rmcp::model::{CallToolResult, InputRequiredResult};
use serde_json::{Value, json};

use super::{Pending, Relay};
use crate::login::host::Question;
use crate::wrap::message;

/// A page has to be opened before the request can be done (MCP 2025-11-25, elicitation, "URL Elicitation Required
/// Error").
const PAGE_REQUIRED: i64 = -32042;

/// What a request gets that may not be.
pub(super) enum Denied {
    /// There is no such thing, for anybody.
    Unknown,
    /// A result of the guard's.
    Refused(Box<CallToolResult>),
    /// The same, for a host of the `initialize` era that shows its person this page.
    Sent(Box<CallToolResult>, Box<Question>),
    /// A question of the guard's; the call comes back with the answer.
    Asked(Box<InputRequiredResult>),
    /// What it brought back was not given out for it.
    BadState,
}

impl Relay {
    /// The answer.
    pub(super) fn denied(&self, pending: &Pending, denied: Denied) -> Value {
        let id = Some(&pending.host_id);
        let is_call = pending.method == "tools/call";
        match denied {
            Denied::Asked(mut question) => {
                // So that it is told from a state of the server's when it comes back.
                question.request_state = question.request_state.map(|state| format!("{}{state}", self.names.prefix));
                let mut result = serde_json::to_value(&*question).unwrap_or_default();
                if let Some(server) = self.server() {
                    // Whatever was asked for: a question is not kept, as what is read may be.
                    result = server.modern_result("tools/call", result);
                }
                message::success(&pending.host_id, result)
            }
            Denied::BadState => {
                let words =
                    "Invalid params: \"requestState\" was not given out for this call, or is over; call without it";
                message::failure(id, -32602, words, None)
            }
            Denied::Unknown if is_call => message::failure(id, -32602, "Unknown tool; tools/list names them all", None),
            Denied::Unknown => message::failure(id, -32602, "Invalid params: there is nothing of this name", None),
            Denied::Refused(mut result) | Denied::Sent(mut result, _) if is_call => {
                result.result_type = None;
                let mut result = serde_json::to_value(&*result).unwrap_or_default();
                if let Some(server) = self.server().filter(|_| pending.is_modern) {
                    result = server.modern_result("tools/call", result);
                }
                message::success(&pending.host_id, result)
            }
            Denied::Refused(result) => {
                let (words, data) = told(&result);
                // Outside the ranges that JSON-RPC and MCP keep for themselves (STD-19), and familiar.
                let code = match data["error"].as_str() {
                    Some("insufficient_scope") => 403,
                    Some("temporarily_unavailable") => 503,
                    _ => 401,
                };
                message::failure(id, code, &words, Some(data))
            }
            Denied::Sent(result, page) => {
                let (words, mut data) = told(&result);
                data["elicitations"] = json!([page.params()]);
                message::failure(id, PAGE_REQUIRED, &words, Some(data))
            }
        }
    }
}

/// A refusal for people, and for programs.
fn told(result: &CallToolResult) -> (String, Value) {
    let data = result.structured_content.clone().unwrap_or_else(|| json!({}));
    (data["error_description"].as_str().unwrap_or_default().to_owned(), data)
}
