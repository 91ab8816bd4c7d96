//! A line as far as a relay must understand it. What it need not change it passes on byte for byte.

use std::borrow::Cow;

use serde_json::{Map, Value, json};
use shared::oauth::json;

/// The `_meta` members of the modern era (MCP 2026-07-28, basic, "Per-request protocol fields").
pub mod meta {
    /// The version.
    pub const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    /// The host.
    pub const CLIENT: &str = "io.modelcontextprotocol/clientInfo";
    /// What the host can do.
    pub const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    /// From which level on it wants log messages.
    pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
    /// Which subscription a notification belongs to.
    pub const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
    /// The server.
    pub const SERVER: &str = "io.modelcontextprotocol/serverInfo";
}

/// A request's name: a text or an integer.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Id {
    /// An integer.
    Number(i64),
    /// A text.
    Text(String),
}

impl Id {
    /// Reads one. `None` for what is no name, such as `null`.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_i64().map(Self::Number),
            Value::String(text) => Some(Self::Text(text.clone())),
            _ => None,
        }
    }

    /// As it travels.
    pub fn value(&self) -> Value {
        match self {
            Self::Number(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
        }
    }
}

/// What a line is.
#[derive(Debug)]
pub enum Message {
    /// Somebody wants an answer.
    Request(Id, String, Map<String, Value>),
    /// Somebody says something.
    Notification(String, Map<String, Value>),
    /// An answer: `result` or `error`.
    Response(Id, Map<String, Value>),
    /// Nothing at all.
    Empty,
}

/// Reads a line.
///
/// # Errors
/// The answer that is owed to whoever sent it (contract C10).
pub fn read(line: &[u8]) -> Result<Message, Value> {
    if line.trim_ascii().is_empty() {
        return Ok(Message::Empty);
    }
    let value = json::parse(line).map_err(|error| failure(None, -32700, &format!("Parse error: {error}"), None))?;
    let invalid = |id: Option<&Id>, what: &str| failure(id, -32600, &format!("Invalid Request: {what}"), None);
    let Value::Object(message) = value else {
        return Err(invalid(None, "a message is a JSON object; send one message per line"));
    };
    if message.contains_key("error") && !message.contains_key("method") && message.get("id").is_none_or(Value::is_null)
    {
        // About a message whose id could not be read. An error about an error would have no end.
        return Ok(Message::Empty);
    }
    let id =
        message.get("id").map(|id| Id::of(id).ok_or_else(|| invalid(None, "\"id\" must be a string or an integer")));
    let id = id.transpose()?;
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(invalid(id.as_ref(), "\"jsonrpc\" must be \"2.0\""));
    }
    match (message.get("method"), id) {
        (Some(Value::String(method)), Some(id)) => Ok(Message::Request(id, method.clone(), message)),
        (Some(Value::String(method)), None) => Ok(Message::Notification(method.clone(), message)),
        (None, Some(id)) if message.contains_key("result") || message.contains_key("error") => {
            Ok(Message::Response(id, message))
        }
        (None, id) => Err(invalid(id.as_ref(), "\"method\" is missing")),
        (Some(_), id) => Err(invalid(id.as_ref(), "\"method\" must be a string")),
    }
}

/// What a request passes on to what it names, as it is written down and as a login is bound to it: a tool's or a prompt's
/// arguments, else all that it says.
pub fn arguments<'a>(method: &str, message: &'a Map<String, Value>) -> Cow<'a, Map<String, Value>> {
    match (method, message.get("params")) {
        ("tools/call" | "prompts/get", Some(Value::Object(params))) => {
            params.get("arguments").and_then(Value::as_object).map_or_else(Cow::default, Cow::Borrowed)
        }
        (_, Some(Value::Object(params))) => {
            let mut params = params.clone();
            for name in ["_meta", "inputResponses", "requestState"] {
                params.remove(name);
            }
            Cow::Owned(params)
        }
        _ => Cow::default(),
    }
}

/// A request of ours, or one that was changed.
pub fn request(id: &Id, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.value(), "method": method, "params": params })
}

/// A notification of ours.
pub fn notification(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

/// An answer.
pub fn success(id: &Id, result: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.value(), "result": result })
}

/// A refusal.
pub fn failure(id: Option<&Id>, code: i64, message: &str, data: Option<Value>) -> Value {
    let mut error = json!({ "code": code, "message": message });
    if let Some(data) = data {
        error["data"] = data;
    }
    match id {
        Some(id) => json!({ "jsonrpc": "2.0", "id": id.value(), "error": error }),
        None => json!({ "jsonrpc": "2.0", "error": error }),
    }
}

/// One message as one line.
pub fn line(message: &Value) -> Vec<u8> {
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// The parameters of a message, made when there are none.
pub fn params_mut(message: &mut Map<String, Value>) -> &mut Map<String, Value> {
    object_at(message, "params")
}

/// The `_meta` of parameters or of a result, made when there is none.
pub fn meta_mut(holder: &mut Map<String, Value>) -> &mut Map<String, Value> {
    object_at(holder, "_meta")
}

fn object_at<'a>(holder: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let value = holder.entry(name.to_owned()).or_insert_with(|| Value::Object(Map::new()));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(members) => members,
        _ => unreachable!("it was just made one"),
    }
}

/// A member of the parameters.
pub fn param<'a>(message: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    message.get("params")?.get(name)
}

/// A member of the parameters' `_meta`.
pub fn meta_of<'a>(message: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    param(message, "_meta")?.get(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        for (text, what) in [
            ("", "empty"),
            (" \t\r", "empty"),
            ("x", "-32700"),
            (r#"{"a":1,"a":2}"#, "-32700"),
            ("[]", "-32600"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#, "request"),
            (r#"{"jsonrpc":"2.0","method":"x"}"#, "notification"),
            (r#"{"jsonrpc":"2.0","id":"a","result":{}}"#, "response"),
            (r#"{"jsonrpc":"2.0","id":1,"error":{}}"#, "response"),
            (r#"{"jsonrpc":"2.0","error":{}}"#, "empty"),
            (r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, "empty"),
            (r#"{"jsonrpc":"2.0","id":null,"method":"x","error":{}}"#, "-32600"),
            (r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#, "-32600"),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#, "-32600"),
            (r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#, "-32600"),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, "-32600"),
            (r#"{"jsonrpc":"2.0","id":1}"#, "-32600"),
        ] {
            let found = match read(text.as_bytes()) {
                Ok(Message::Request(..)) => "request".to_owned(),
                Ok(Message::Notification(..)) => "notification".to_owned(),
                Ok(Message::Response(..)) => "response".to_owned(),
                Ok(Message::Empty) => "empty".to_owned(),
                Err(answer) => answer["error"]["code"].to_string(),
            };
            assert_eq!(found, what, "{text}");
        }
    }
}
