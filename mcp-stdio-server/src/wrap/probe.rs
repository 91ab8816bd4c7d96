//! Asking a server for its tools, without a host: for whoever writes rules.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::child::{Child, Spec};
use super::eras::{LEGACY, ourselves};
use super::message::{self, Id, Message};
use crate::framing::lines::Found;

/// How long a server may take to start and to list its tools. Package runners download it first.
const PATIENCE: Duration = Duration::from_secs(60);

/// The tools of a server, as it lists them.
///
/// # Errors
/// When it cannot be started, ends, or lists none in a minute.
pub async fn tools(spec: &Spec) -> io::Result<Vec<Value>> {
    let mut child = Child::start(spec, &Vec::new())?;
    let asked = tokio::time::timeout(PATIENCE, ask(&mut child)).await;
    child.end().await;
    asked.unwrap_or_else(|_| Err(io::Error::other("the server does not answer")))
}

async fn ask(child: &mut Child) -> io::Result<Vec<Value>> {
    let host = json!({ "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": ourselves() });
    let mut modern = None;
    if let Err(refused) = answer(child, 1, "initialize", host).await {
        // A server of the other era knows no handshake.
        let host = super::eras::Host::of_initialize(None);
        answer(child, 2, "server/discover", json!({ "_meta": host.meta() })).await.map_err(|_| refused)?;
        modern = Some(host);
    } else {
        child.queue.put(message::line(&message::notification("notifications/initialized", json!({}))));
    }
    let mut tools = Vec::new();
    let mut cursor = None;
    for page in 3..64 {
        let mut params = json!({});
        if let Some(cursor) = cursor.take() {
            params["cursor"] = cursor;
        }
        if let Some(host) = &modern {
            params["_meta"] = host.meta();
        }
        let result = answer(child, page, "tools/list", params).await?;
        tools.extend(result.get("tools").and_then(Value::as_array).cloned().unwrap_or_default());
        match result.get("nextCursor").filter(|cursor| !cursor.is_null()) {
            Some(next) => cursor = Some(next.clone()),
            None => break,
        }
    }
    Ok(tools)
}

async fn answer(child: &mut Child, id: i64, method: &str, params: Value) -> io::Result<Value> {
    child.queue.put(message::line(&message::request(&Id::Number(id), method, params)));
    loop {
        let Found::Line(length) = child.find().await else {
            return Err(io::Error::other("the server ended before it answered"));
        };
        let read = message::read(child.lines.line(length));
        child.lines.consume(length);
        match read {
            Ok(Message::Response(found, mut answer)) if found == Id::Number(id) => {
                return answer.remove("result").ok_or_else(|| {
                    let words = answer["error"]["message"].as_str().unwrap_or_default();
                    io::Error::other(format!("the server refuses {method}: {}", crate::results::shown(words)))
                });
            }
            _ => {}
        }
    }
}
