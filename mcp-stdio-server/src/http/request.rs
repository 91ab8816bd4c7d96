//! What a message that came by POST is, by its headers and its body, and whether the two agree. Pure.
//!
//! Sources: MCP 2026-07-28 "Streamable HTTP" (request metadata, server validation), MCP 2025-11-25 "Transports".

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::results::shown;
use crate::wrap::eras::MODERN;
use crate::wrap::message::{Message, meta, meta_of, param};

/// The versions that began with `initialize` and had this transport.
pub const LEGACY: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];

/// The methods that the modern era has no more.
const REMOVED: [&str; 5] = ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];

/// A header that does not say what the body says.
pub const HEADER_MISMATCH: i64 = -32020;

/// A version that is not spoken here.
pub const UNSUPPORTED_VERSION: i64 = -32022;

/// The headers that say something about the body.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heads<'a> {
    /// `MCP-Protocol-Version`.
    pub version: Option<&'a str>,
    /// `Mcp-Method`.
    pub method: Option<&'a str>,
    /// `Mcp-Name`.
    pub name: Option<&'a str>,
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// The beginning of a session of the earlier era.
    Initialize,
    /// A message of a session.
    Session,
    /// A message of the modern era, which stands for itself.
    Alone,
}

/// Why a message is not taken: a status, and a JSON-RPC error.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    /// The HTTP status.
    pub status: u16,
    /// The JSON-RPC code.
    pub code: i64,
    /// For people.
    pub words: String,
    /// For programs.
    pub data: Option<Value>,
}

impl Rejection {
    /// A bad request.
    pub fn bad(code: i64, words: impl Into<String>) -> Self {
        Self { status: 400, code, words: words.into(), data: None }
    }

    /// A header that does not fit the body.
    pub fn mismatch(words: impl Into<String>) -> Self {
        Self::bad(HEADER_MISMATCH, format!("Header mismatch: {}", words.into()))
    }
}

/// Sorts a message.
///
/// # Errors
/// What is wrong with it.
pub fn sort(message: &Message, heads: Heads<'_>) -> Result<Way, Rejection> {
    let version = match message {
        Message::Request(_, _, members) | Message::Notification(_, members) => meta_of(members, meta::VERSION),
        Message::Response(..) | Message::Empty => None,
    };
    let by_header = heads.version.is_some_and(|version| version == MODERN);
    if version.is_none() && !by_header {
        known(heads.version)?;
        return Ok(match message {
            Message::Request(_, method, _) if method == "initialize" => Way::Initialize,
            _ => Way::Session,
        });
    }
    match message {
        Message::Request(_, method, members) => modern(method, members, heads).map(|()| Way::Alone),
        _ => Ok(Way::Alone),
    }
}

/// Whether a version that a header names is one that sessions are of.
///
/// # Errors
/// When it is not.
pub fn known(version: Option<&str>) -> Result<(), Rejection> {
    match version {
        None => Ok(()),
        Some(version) if LEGACY.contains(&version) => Ok(()),
        Some(version) => {
            let mut supported = LEGACY.to_vec();
            supported.push(MODERN);
            Err(Rejection {
                data: Some(json!({ "supported": supported, "requested": shown(version) })),
                ..Rejection::bad(UNSUPPORTED_VERSION, "Unsupported protocol version")
            })
        }
    }
}

/// Whether a client of this version knows streams that begin with an event without a message (MCP 2025-11-25, "Sending
/// Messages to the Server").
pub fn primes(version: Option<&str>) -> bool {
    version == Some("2025-11-25")
}

fn modern(method: &str, message: &Map<String, Value>, heads: Heads<'_>) -> Result<(), Rejection> {
    let version = match (heads.version, meta_of(message, meta::VERSION)) {
        (None, _) => return Err(Rejection::mismatch("the header MCP-Protocol-Version is missing")),
        (Some(_), None) => {
            let words = format!("Invalid params: _meta needs {} and {}", meta::VERSION, meta::CAPABILITIES);
            return Err(Rejection::bad(-32602, words));
        }
        (Some(header), Some(body)) if body.as_str() != Some(header) => {
            return Err(Rejection::mismatch("MCP-Protocol-Version is not the version that _meta names"));
        }
        (Some(version), Some(_)) => version,
    };
    if meta_of(message, meta::CAPABILITIES).is_none_or(|capabilities| !capabilities.is_object()) {
        return Err(Rejection::bad(-32602, format!("Invalid params: _meta needs {}", meta::CAPABILITIES)));
    }
    match heads.method {
        None => return Err(Rejection::mismatch("the header Mcp-Method is missing")),
        Some(header) if header != method => {
            return Err(Rejection::mismatch(format!("Mcp-Method \"{}\" is not the body's method", shown(header))));
        }
        Some(_) => {}
    }
    if version == MODERN && REMOVED.contains(&method) {
        let words = format!("Method not found: {method} is not of protocol version {MODERN}");
        return Err(Rejection { status: 404, ..Rejection::bad(-32601, words) });
    }
    match (target(method, message), heads.name) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(Rejection::mismatch("the header Mcp-Name is missing")),
        (Some(name), Some(header)) if decode(header).is_some_and(|header| header == name) => Ok(()),
        (Some(_), Some(header)) => {
            Err(Rejection::mismatch(format!("Mcp-Name \"{}\" is not what the body names", shown(header))))
        }
    }
}

/// What a request names, where a header has to say it too; of a task its id (extension `io.modelcontextprotocol/tasks`,
/// "Streamable HTTP: Routing Headers").
pub fn target<'a>(method: &str, message: &'a Map<String, Value>) -> Option<&'a str> {
    let member = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
        _ => return None,
    };
    param(message, member)?.as_str()
}

/// What a header's value stands for: itself, or UTF-8 in Base64 between `=?base64?` and `?=`. `None` when that is none.
pub fn decode(value: &str) -> Option<Cow<'_, str>> {
    let Some(encoded) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(Cow::Borrowed(value));
    };
    String::from_utf8(STANDARD.decode(encoded).ok()?).ok().map(Cow::Owned)
}

/// The status that the answer to a request of the modern era has.
pub fn status(code: Option<i64>) -> u16 {
    match code {
        Some(-32601) => 404,
        Some(HEADER_MISMATCH..=-32020 | -32021 | UNSUPPORTED_VERSION) => 400,
        _ => 200,
    }
}

/// Compares the headers `Mcp-Param-…` with the arguments that a tool's schema says they repeat (`x-mcp-header`).
/// `header` finds one by its name.
///
/// # Errors
/// When one does not say what the argument says.
pub fn mirrored<'a>(
    schema: &Value,
    arguments: Option<&Value>,
    header: &dyn Fn(&str) -> Option<Result<&'a str, ()>>,
) -> Result<(), Rejection> {
    let Some(Value::Object(properties)) = schema.get("properties") else { return Ok(()) };
    for (name, property) in properties {
        let value = arguments.and_then(|arguments| arguments.get(name)).filter(|value| !value.is_null());
        if let Some(Value::String(suffix)) = property.get("x-mcp-header") {
            let full = format!("Mcp-Param-{suffix}");
            let agrees = match (header(&full), value) {
                (None, None) => true,
                (Some(Ok(header)), Some(value)) => decode(header).is_some_and(|header| says(&header, value)),
                _ => false,
            };
            if !agrees {
                return Err(Rejection::mismatch(format!("{} does not say what the argument says", shown(&full))));
            }
        }
        mirrored(property, value, header)?;
    }
    Ok(())
}

/// Whether a header's text is an argument's value.
fn says(header: &str, value: &Value) -> bool {
    match value {
        Value::String(text) => text == header,
        Value::Bool(yes) => header == if *yes { "true" } else { "false" },
        // As numbers: 42.0 is 42.
        Value::Number(number) => header.parse::<f64>().is_ok_and(|header| number.as_f64() == Some(header)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wrap::message::read;

    fn full() -> Value {
        json!({ meta::VERSION: MODERN, meta::CAPABILITIES: {} })
    }

    #[track_caller]
    fn check(
        body: Value,
        version: Option<&str>,
        method: Option<&str>,
        name: Option<&str>,
        way: Result<Way, (u16, i64)>,
    ) {
        let message = read(body.to_string().as_bytes()).unwrap();
        let found = sort(&message, Heads { version, method, name });
        assert_eq!(found.map_err(|rejection| (rejection.status, rejection.code)), way, "{body}");
    }

    fn request(method: &str, params: Value) -> Value {
        json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
    }

    #[test]
    fn a_session_begins_with_initialize_and_a_modern_request_stands_alone() {
        check(request("initialize", json!({})), None, None, None, Ok(Way::Initialize));
        check(request("initialize", json!({})), Some("2025-11-25"), None, None, Ok(Way::Initialize));
        check(request("tools/list", json!({})), None, None, None, Ok(Way::Session));
        check(request("tools/list", json!({})), Some("2025-06-18"), None, None, Ok(Way::Session));
        check(request("tools/list", json!({})), Some("2024-01-01"), None, None, Err((400, UNSUPPORTED_VERSION)));
        check(json!({ "jsonrpc": "2.0", "id": 1, "result": {} }), Some("2025-11-25"), None, None, Ok(Way::Session));
        check(json!({ "jsonrpc": "2.0", "method": "notifications/x" }), Some(MODERN), None, None, Ok(Way::Alone));
        let list = request("tools/list", json!({ "_meta": full() }));
        check(list, Some(MODERN), Some("tools/list"), None, Ok(Way::Alone));
    }

    #[test]
    fn the_headers_of_a_modern_request_say_what_its_body_says() {
        let mismatch = Err((400, HEADER_MISMATCH));
        let list = || request("tools/list", json!({ "_meta": full() }));
        check(list(), None, Some("tools/list"), None, mismatch);
        check(list(), Some("2025-11-25"), Some("tools/list"), None, mismatch);
        check(list(), Some(MODERN), None, None, mismatch);
        check(list(), Some(MODERN), Some("TOOLS/LIST"), None, mismatch);
        check(request("tools/list", json!({})), Some(MODERN), Some("tools/list"), None, Err((400, -32602)));
        let bare = json!({ "_meta": { meta::VERSION: MODERN } });
        check(request("tools/list", bare), Some(MODERN), Some("tools/list"), None, Err((400, -32602)));
        let call = |name: &str| request("tools/call", json!({ "name": name, "_meta": full() }));
        let named = |header| (Some(MODERN), Some("tools/call"), header);
        for (name, header, way) in [
            ("echo", Some("echo"), Ok(Way::Alone)),
            ("echo", Some("=?base64?ZWNobw==?="), Ok(Way::Alone)),
            ("écho", Some("=?base64?w6ljaG8=?="), Ok(Way::Alone)),
            ("echo", Some("=?base64?ZWNobw?="), mismatch),
            ("echo", Some("Echo"), mismatch),
            ("echo", None, mismatch),
        ] {
            let (version, method, header) = named(header);
            check(call(name), version, method, header, way);
        }
        let read = request("resources/read", json!({ "uri": "x:/", "_meta": full() }));
        check(read.clone(), Some(MODERN), Some("resources/read"), Some("x:/"), Ok(Way::Alone));
        check(read, Some(MODERN), Some("resources/read"), None, mismatch);
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            let task = || request(method, json!({ "taskId": "t1", "_meta": full() }));
            check(task(), Some(MODERN), Some(method), Some("t1"), Ok(Way::Alone));
            check(task(), Some(MODERN), Some(method), Some("t2"), mismatch);
        }
        let gone = request("ping", json!({ "_meta": full() }));
        check(gone, Some(MODERN), Some("ping"), None, Err((404, -32601)));
    }

    #[test]
    fn arguments_that_headers_repeat_are_compared() {
        let schema = json!({ "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "inner": { "type": "object", "properties": { "n": { "type": "integer", "x-mcp-header": "N" } } },
        } });
        for (arguments, region, n, agrees) in [
            (json!({}), None, None, true),
            (json!({ "region": "eu" }), Some("eu"), None, true),
            (json!({ "region": "Hello" }), Some("=?base64?SGVsbG8=?="), None, true),
            (json!({ "region": "Hello" }), Some("=?base64?SGVsbG8?="), None, false),
            (json!({ "region": "SGVsbG8=" }), Some("SGVsbG8="), None, true),
            (json!({ "region": "eu" }), None, None, false),
            (json!({ "region": null }), None, None, true),
            (json!({}), Some("eu"), None, false),
            (json!({ "inner": { "n": 42 } }), None, Some("42.0"), true),
            (json!({ "inner": { "n": 42 } }), None, Some("43"), false),
        ] {
            let header = |name: &str| match name {
                "Mcp-Param-Region" => region.map(Ok),
                "Mcp-Param-N" => n.map(Ok),
                _ => None,
            };
            assert_eq!(mirrored(&schema, Some(&arguments), &header).is_ok(), agrees, "{arguments} {region:?} {n:?}");
        }
    }
}
