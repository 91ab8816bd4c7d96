//! What a line is: a request, a notification, something to refuse, or nothing.
//!
//! One strict reading (unique member names, exact spelling, bounded depth), from which rmcp's typed messages are
//! built without reading again. Tokens leave a call here, before anything that logs sees it.

use std::sync::Arc;

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientNotification, ClientRequest, ClientResult, CustomNotification,
    CustomRequest, DiscoverRequest, ElicitResult, ErrorData, GetExtensions, InitializeRequest, ListToolsRequest,
    MetaObject, PingRequest, RequestId, RequestMetaObject, SubscriptionsListenRequest,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use shared::oauth::json;

use crate::credential;

/// What a line is.
#[derive(Debug)]
pub enum Screened {
    /// A request. One with a method that we do not serve is a [`CustomRequest`].
    Request(RequestId, Box<ClientRequest>),
    /// A notification.
    Notification(Box<ClientNotification>),
    /// An answer to what we asked; rmcp knows whether we did.
    Answer(RequestId, Result<Box<ClientResult>, ErrorData>),
    /// Neither; this is the answer, with the id if there was one to read.
    Refused(Option<RequestId>, ErrorData),
    /// An empty line, an answer to nothing, a notification that makes no sense: no answer is owed.
    Ignored,
}

/// Reads a line.
pub fn screen(line: &[u8]) -> Screened {
    if line.trim_ascii().is_empty() {
        return Screened::Ignored;
    }
    match json::parse(line) {
        Ok(Value::Object(message)) => message_of(message),
        Ok(Value::Array(_)) => invalid(None, "batches are not supported; send one message per line"),
        Ok(_) => invalid(None, "a message is a JSON object"),
        Err(error) => Screened::Refused(None, ErrorData::parse_error(format!("Parse error: {error}"), None)),
    }
}

fn invalid(id: Option<RequestId>, what: &str) -> Screened {
    Screened::Refused(id, ErrorData::invalid_request(format!("Invalid Request: {what}"), None))
}

fn message_of(mut message: Map<String, Value>) -> Screened {
    let answers = !message.contains_key("method") && (message.contains_key("result") || message.contains_key("error"));
    let id = match message.remove("id") {
        None => None,
        // JSON-RPC 2.0 section 5: somebody could not read what we wrote. An error about an error would have no end.
        Some(Value::Null) if answers => None,
        Some(Value::String(id)) => Some(RequestId::String(id.into())),
        Some(Value::Number(id)) if id.is_i64() => Some(RequestId::Number(id.as_i64().unwrap_or_default())),
        Some(_) => return invalid(None, "\"id\" must be a string or an integer of 64 bits"),
    };
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return invalid(id, "\"jsonrpc\" must be \"2.0\"");
    }
    let params = message.remove("params");
    match (message.remove("method"), id) {
        (Some(Value::String(method)), Some(id)) => match request(method, params) {
            Ok(request) => Screened::Request(id, Box::new(request)),
            Err(error) => Screened::Refused(Some(id), error),
        },
        (Some(Value::String(method)), None) => notification(method, params),
        (None, Some(id)) if answers => answer(id, &mut message),
        (None, None) if answers => Screened::Ignored,
        (None, id) => invalid(id, "\"method\" is missing"),
        (Some(_), id) => invalid(id, "\"method\" must be a string"),
    }
}

/// An answer. The one thing that we ask is an elicitation; whatever is no answer to that says no more than an error.
fn answer(id: RequestId, message: &mut Map<String, Value>) -> Screened {
    let result = message.remove("result").and_then(|result| ElicitResult::deserialize(result).ok());
    let wrong = || ErrorData::invalid_params("the host gave no answer", None);
    Screened::Answer(id, result.map(|result| Box::new(ClientResult::ElicitResult(result))).ok_or_else(wrong))
}

/// A request's parameters, its `_meta` apart.
struct Params {
    meta: Option<Map<String, Value>>,
    rest: Option<Map<String, Value>>,
}

impl Params {
    fn of(params: Option<Value>) -> Result<Self, ErrorData> {
        let mut rest = match params {
            // Some hosts write an absent member as null.
            None | Some(Value::Null) => None,
            Some(Value::Object(params)) => Some(params),
            Some(_) => return Err(bad_params("\"params\" must be an object")),
        };
        let meta = match rest.as_mut().and_then(|params| params.remove("_meta")) {
            None => None,
            Some(Value::Object(meta)) => Some(meta),
            Some(_) => return Err(bad_params("\"_meta\" must be an object")),
        };
        Ok(Self { meta, rest })
    }
}

fn bad_params(what: &str) -> ErrorData {
    ErrorData::invalid_params(format!("Invalid params: {what}"), None)
}

fn request(method: String, params: Option<Value>) -> Result<ClientRequest, ErrorData> {
    let mut params = Params::of(params)?;
    let mut request = match method.as_str() {
        "tools/call" => return call(params),
        "initialize" => ClientRequest::InitializeRequest(typed::<InitializeRequest>(method, params.rest)?),
        "ping" => ClientRequest::PingRequest(typed::<PingRequest>(method, None)?),
        "server/discover" => ClientRequest::DiscoverRequest(typed::<DiscoverRequest>(method, Some(Map::new()))?),
        "subscriptions/listen" => {
            ClientRequest::SubscriptionsListenRequest(typed::<SubscriptionsListenRequest>(method, params.rest)?)
        }
        // rmcp reads a cursor that is none as no cursor.
        "tools/list" if !fits(params.rest.as_ref(), "cursor") => return Err(bad_params("\"cursor\" must be a string")),
        "tools/list" => ClientRequest::ListToolsRequest(typed::<ListToolsRequest>(method, params.rest)?),
        _ => ClientRequest::CustomRequest(CustomRequest::new(method, None)),
    };
    attach(&mut request, params.meta.take());
    Ok(request)
}

/// Whether a member is a text, or is not there.
fn fits(params: Option<&Map<String, Value>>, name: &str) -> bool {
    params.and_then(|params| params.get(name)).is_none_or(|value| value.is_string() || value.is_null())
}

/// A `tools/call`, the one request that has to be fast.
fn call(params: Params) -> Result<ClientRequest, ErrorData> {
    let mut meta = params.meta;
    let mut rest = params.rest.unwrap_or_default();
    let name = match rest.remove("name") {
        Some(Value::String(name)) => name,
        Some(_) => return Err(bad_params("\"name\" must be a string")),
        None => return Err(bad_params("\"name\" is missing")),
    };
    let mut arguments = match rest.remove("arguments") {
        None | Some(Value::Null) => None,
        Some(Value::Object(arguments)) => Some(arguments),
        Some(_) => return Err(bad_params("\"arguments\" must be an object")),
    };
    let presented = credential::take(meta.as_mut(), arguments.as_mut());
    let mut params = CallToolRequestParams::new(name);
    params.arguments = arguments;
    params.input_responses = optional(&mut rest, "inputResponses")?;
    params.request_state = optional(&mut rest, "requestState")?;
    let mut request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
    attach(&mut request, meta);
    request.extensions_mut().insert(Arc::new(presented));
    Ok(request)
}

fn optional<T: DeserializeOwned>(members: &mut Map<String, Value>, name: &str) -> Result<Option<T>, ErrorData> {
    let value = members.remove(name).filter(|value| !value.is_null());
    value.map(T::deserialize).transpose().map_err(|_| bad_params(&format!("\"{name}\" has the wrong form")))
}

/// Reads a request of a known method. What was wrong is not repeated: it may hold anything.
fn typed<T: DeserializeOwned>(method: String, params: Option<Map<String, Value>>) -> Result<T, ErrorData> {
    let wrong = bad_params(&format!("they do not fit {method}"));
    let mut message = Map::new();
    message.insert("method".to_owned(), Value::String(method));
    if let Some(params) = params {
        message.insert("params".to_owned(), Value::Object(params));
    }
    T::deserialize(Value::Object(message)).map_err(|_| wrong)
}

fn attach(request: &mut ClientRequest, meta: Option<Map<String, Value>>) {
    if let Some(meta) = meta {
        request.extensions_mut().insert(RequestMetaObject(MetaObject(meta)));
    }
}

fn notification(method: String, params: Option<Value>) -> Screened {
    let mut message = Map::new();
    message.insert("method".to_owned(), Value::String(method));
    if let Some(params) = params.filter(|params| !params.is_null()) {
        message.insert("params".to_owned(), params);
    }
    match ClientNotification::deserialize(Value::Object(message)) {
        // One that we do not know: nothing is owed, nobody is asked.
        Ok(ClientNotification::CustomNotification(CustomNotification { .. })) | Err(_) => Screened::Ignored,
        Ok(notification) => Screened::Notification(Box::new(notification)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::{META_MEMBER, Place, Presented};

    const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"message":"hi","access_token":"hunter2"},"_meta":{"authz/access_token":"hunter3","x":[1,{"y":null}]}}}"#;

    fn screened(line: &[u8]) -> &'static str {
        match screen(line) {
            Screened::Request(..) => "request",
            Screened::Notification(_) => "notification",
            Screened::Refused(Some(_), _) => "refused by name",
            Screened::Refused(None, _) => "refused",
            Screened::Answer(_, Ok(_)) => "answer",
            Screened::Answer(_, Err(_)) => "no answer",
            Screened::Ignored => "ignored",
        }
    }

    #[test]
    fn a_call_arrives_without_its_tokens() {
        let screened = screen(CALL.as_bytes());
        assert!(!format!("{screened:?}").contains("hunter"), "{screened:?}");
        let Screened::Request(RequestId::Number(7), request) = screened else { panic!("{screened:?}") };
        let presented = request.extensions().get::<Arc<Presented>>().unwrap();
        let token = |place: &Place| match place {
            Place::Token(token) => token.expose().to_owned(),
            _ => String::new(),
        };
        assert_eq!((token(&presented.meta), token(&presented.argument)), ("hunter3".to_owned(), "hunter2".to_owned()));
        let ClientRequest::CallToolRequest(call) = *request else { panic!("no call") };
        assert_eq!(Value::Object(call.params.arguments.unwrap()), serde_json::json!({ "message": "hi" }));
        assert!(!call.extensions.get::<RequestMetaObject>().unwrap().contains_key(META_MEMBER));
    }

    #[test]
    fn lines_are_told_apart() {
        for (line, what) in [
            ("", "ignored"),
            (" \t\r", "ignored"),
            ("x", "refused"),
            ("[]", "refused"),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "no answer"),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"action":"accept"}}"#, "answer"),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x"}}"#, "no answer"),
            (r#"{"jsonrpc":"2.0","result":{"action":"accept"}}"#, "ignored"),
            (r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}"#, "ignored"),
            (r#"{"jsonrpc":"2.0","id":null,"method":"x","error":{}}"#, "refused"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":1}}"#, "refused by name"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":null}}"#, "request"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#, "request"),
            (r#"{"jsonrpc":"2.0","method":"x"}"#, "ignored"),
            (r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, "notification"),
            (r#"{"jsonrpc":"2.0","method":"notifications/initialized","params":7}"#, "ignored"),
            (r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#, "notification"),
            (r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"echo"}}"#, "ignored"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#, "refused by name"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","_meta":7}}"#, "refused by name"),
        ] {
            assert_eq!(screened(line.as_bytes()), what, "{line}");
        }
    }

    /// Every byte of a good call changed to others, cut, and doubled: an answer, and never a panic.
    #[test]
    fn std_01_mutations_are_answered() {
        let line = CALL.as_bytes();
        for at in 0..line.len() {
            for byte in [0, b'"', b'{', b'}', b'[', b'\\', b',', b':', b'9', 0x80, 0xff, line[at] ^ 0x20] {
                let mut mutated = line.to_vec();
                mutated[at] = byte;
                screened(&mutated);
            }
            screened(&line[..at]);
            screened(&[&line[..at], line].concat());
        }
        assert_eq!(screened(line), "request");
    }
}
