//! A stdio MCP server for the tests: one tool that tells what it was given, and whims set by `SCRIPT`.
//!
//! `modern` (default) knows both eras; `legacy` knows `initialize` only; `fragile` ends at anything before
//! `initialize`; `mute` never answers; `dead` ends at once.

use std::io::{BufRead, Write};

use serde_json::{Value, json};

fn main() -> std::io::Result<()> {
    let script = std::env::var("SCRIPT").unwrap_or_else(|_| "modern".into());
    if script == "dead" {
        return Ok(());
    }
    if let Ok(path) = std::env::var("SCRIPT_PID") {
        std::fs::write(path, std::process::id().to_string())?;
    }
    let mut initialized = false;
    let mut asked = None;
    for line in std::io::stdin().lock().lines() {
        let Ok(request) = serde_json::from_str::<Value>(&line?) else { continue };
        if request["id"] == "q" && request.get("method").is_none() {
            let call = asked.take().unwrap_or_default();
            writeln!(
                std::io::stdout(),
                "{}",
                json!({ "jsonrpc": "2.0", "id": call, "result": answered(&request["result"]) })
            )?;
            continue;
        }
        let (Some(id), Some(method)) = (request.get("id"), request.get("method").and_then(Value::as_str)) else {
            continue;
        };
        initialized |= method == "initialize";
        let outcome = match method {
            _ if script == "mute" => continue,
            "server/discover" if script == "modern" => Ok(discovered()),
            _ if script == "fragile" && !initialized => return Ok(()),
            "initialize" => Ok(introduced(&request)),
            "tools/list" => Ok(json!({ "tools": [tool("show"), tool("fail"), tool("guarded")] })),
            "tools/call" if request["params"]["name"] == "ask" && initialized => {
                asked = Some(id.clone());
                let mut question = question();
                question["jsonrpc"] = json!("2.0");
                question["id"] = json!("q");
                writeln!(std::io::stdout(), "{question}")?;
                continue;
            }
            "tools/call" => called(&request["params"]),
            _ => Err(json!({ "code": -32601, "message": "no such method" })),
        };
        let answer = match outcome {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error }),
        };
        writeln!(std::io::stdout(), "{answer}")?;
    }
    Ok(())
}

fn discovered() -> Value {
    json!({
        "supportedVersions": ["2026-07-28"],
        "capabilities": { "tools": {} },
        "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "scripted", "version": "1" } },
        "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
    })
}

fn introduced(request: &Value) -> Value {
    json!({
        "protocolVersion": request["params"]["protocolVersion"],
        "capabilities": { "tools": {} },
        "serverInfo": { "name": "scripted", "version": "1" },
    })
}

fn tool(name: &str) -> Value {
    json!({ "name": name, "description": "\u{1b}[31mred\u{1b}[0m", "inputSchema": { "type": "object" } })
}

fn called(params: &Value) -> Result<Value, Value> {
    match params["name"].as_str() {
        Some("show") => Ok(shown(params)),
        Some("fail") => Ok(json!({ "content": [{ "type": "text", "text": "it failed" }], "isError": true })),
        Some("guarded") => Ok(guarded(params)),
        Some("ask") if params["requestState"] == "s" => Ok(answered(&params["inputResponses"]["q"])),
        Some("ask") => {
            Ok(json!({ "resultType": "input_required", "inputRequests": { "q": question() }, "requestState": "s" }))
        }
        _ => Err(json!({ "code": -32602, "message": "no such tool\u{1b}[2J" })),
    }
}

/// What the server was given: arguments, metadata, command line and environment.
fn shown(params: &Value) -> Value {
    let arguments: Vec<_> = std::env::args().collect();
    let environment: Vec<_> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    json!({
        "content": [{ "type": "text", "text": "\u{1b}]0;evil\u{7}shown" }],
        "structuredContent": {
            "arguments": params["arguments"], "meta": params["_meta"], "argv": arguments, "environment": environment,
        },
    })
}

/// A page that the person is to open: `SCRIPT_URL`.
fn question() -> Value {
    let url = std::env::var("SCRIPT_URL").unwrap_or_default();
    let params = json!({ "mode": "url", "message": "\u{1b}[2JSign in", "url": url, "elicitationId": "e" });
    json!({ "method": "elicitation/create", "params": params })
}

/// Tells what the person did.
fn answered(result: &Value) -> Value {
    json!({ "content": [{ "type": "text", "text": format!("the person: {}", result["action"].as_str().unwrap_or("nothing")) }] })
}

/// Takes the token `good`, and no other.
fn guarded(params: &Value) -> Value {
    let token = params["_meta"]["authz/access_token"].as_str();
    let error = match token {
        Some("good") => return json!({ "content": [{ "type": "text", "text": "welcome" }] }),
        Some("narrow") => json!({ "error": "insufficient_scope", "scope": "a b" }),
        Some(_) => json!({ "error": "invalid_token" }),
        None => json!({ "error": "unauthorized" }),
    };
    json!({ "content": [{ "type": "text", "text": "authorization is needed" }], "structuredContent": error, "isError": true })
}
