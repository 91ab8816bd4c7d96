//! What a running server writes down of the calls that it decides on (N12).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use shared::store::calls::{Bearer, Call, Decision, Entry, Outcome, whole};

use crate::host::{Host, eventually, modern};
use crate::store::Fixture;

const EXECUTE: &str = "mcp:tools:execute";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn calls(store: &Path) -> Vec<Call> {
    let mut calls = Vec::new();
    let visit = &mut |line: shared::store::calls::Recorded| match line.entry {
        Some(Entry::Call(call)) => calls.push(*call),
        other => panic!("{other:?}"),
    };
    whole(store, None, visit).unwrap();
    calls
}

#[test]
fn n12_every_decision_is_written_down_with_its_cause_and_no_value() {
    let fixture = Fixture::new();
    let (good, weak) = (fixture.issue(EXECUTE), fixture.issue("mcp:tools:read"));
    let mut host = Host::legacy(&fixture.path(), &["--login", "off"]);
    host.echo(&good.token);
    host.echo(&weak.token);
    host.echo("hunter2");
    host.call("echo", json!({ "message": "swordfish" }));
    host.call("public_info", json!({}));
    host.call("echo", json!({ "message": "swordfish", "access_token": 7 }));
    fixture.revoke(good.grant);
    host.echo(&good.token);
    let mut meta = modern();
    meta["authz/access_token"] = json!(weak.token);
    (meta["traceparent"], meta["tracestate"]) = (json!(PARENT), json!("a=b"));
    host.request("tools/call", json!({ "name": "whoami", "arguments": {}, "_meta": meta }));
    host.finish();

    let calls = calls(&fixture.path());
    let seen: Vec<_> = calls.iter().map(|call| (call.decision, call.cause.as_deref(), call.bearer.is_some())).collect();
    let refused = |cause, known| (Decision::Refused, Some(cause), known);
    assert_eq!(
        seen,
        [
            (Decision::Admitted, None, true),
            refused("scope-missing", true),
            refused("token-malformed", false),
            refused("no-token", false),
            (Decision::Open, None, false),
            refused("token-is-no-text", false),
            refused("token-revoked-or-unknown", true),
            (Decision::Admitted, None, true),
        ]
    );
    let first = &calls[0];
    let (grant, token, client) = (good.grant, good.claims.jti, fixture.client.clone());
    let bearer = Bearer::Ours { grant, user: Some("ada".parse().unwrap()), client, token };
    assert_eq!(first.bearer, Some(bearer));
    assert_eq!((first.tool.as_str(), first.server.as_str()), ("echo", "urn:mcp:stdio:default"));
    assert_eq!((&*first.transport, &*first.era, first.end.unwrap().outcome), ("stdio", "initialize", Outcome::Ok));
    assert!(first.host.as_ref().is_some_and(|host| !host.name.as_str().is_empty()), "{first:?}");
    // The same arguments have the same hash, whatever token came with them; it is not the plain one.
    assert_eq!(first.arguments, calls[1].arguments);
    assert!(first.arguments.is_some() && first.arguments != calls[3].arguments);
    assert_eq!((&*calls[7].era, calls[7].trace.as_ref().unwrap().parent.as_str()), ("stateless", PARENT));
    let text = std::fs::read_to_string(fixture.path().join("calls/calls.1.jsonl")).unwrap();
    for secret in [good.token.as_str(), weak.token.as_str(), "hunter2", "swordfish"] {
        assert!(!text.contains(secret));
    }
}

#[test]
fn n12_servers_that_are_killed_leave_one_whole_chain() {
    let fixture = Fixture::new();
    let issued = fixture.issue(EXECUTE);
    let mut one = Host::legacy(&fixture.path(), &[]);
    let mut other = Host::legacy(&fixture.path(), &[]);
    for _ in 0..300 {
        one.echo(&issued.token);
        other.echo(&issued.token);
    }
    // Not waited for by any call, and there soon.
    let admitted = || calls(&fixture.path()).len();
    eventually("the calls of both are written down", Duration::from_secs(10), || admitted() == 600);
    one.echo(&issued.token);
    drop(one);
    other.echo(&issued.token);
    other.finish();
    assert!((601..=602).contains(&admitted()), "{}", admitted());
}

#[test]
fn n12_nothing_is_written_when_that_is_off_or_there_is_no_store() {
    let fixture = Fixture::new();
    let issued = fixture.issue(EXECUTE);
    let mut host = Host::legacy(&fixture.path(), &["--audit", "off"]);
    host.echo(&issued.token);
    host.finish();
    assert!(!fixture.path().join("calls").exists());
    let nowhere = fixture.around().join("nowhere");
    let mut host = Host::legacy(&nowhere, &["--login", "off"]);
    host.echo(&issued.token);
    host.finish();
    assert!(!nowhere.exists());
}

/// A collector on this machine: answers each request, and gives back what it got.
fn collected(listener: &TcpListener) -> (String, Value) {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    reader.into_inner().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

#[test]
fn n12_calls_become_spans_of_their_callers_traces() {
    let fixture = Fixture::new();
    let issued = fixture.issue("mcp:tools:read");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut host = Host::start_with(&fixture.path(), &["--login", "off"], |command| {
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).env("OTEL_SERVICE_NAME", "tools");
    });
    let mut call = |parent: &str, token: &str| {
        let mut meta = modern();
        (meta["authz/access_token"], meta["traceparent"]) = (json!(token), json!(parent));
        host.request("tools/call", json!({ "name": "whoami", "arguments": {}, "_meta": meta }));
    };
    call(PARENT, &issued.token);
    call("nonsense", "hunter2");
    // Nobody records this one.
    call(&PARENT.replace("-01", "-00"), &issued.token);
    let mut spans = Vec::new();
    while spans.len() < 2 {
        let (head, body) = collected(&listener);
        assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
        assert!(!body.to_string().contains("hunter2") && !body.to_string().contains(&issued.token));
        let resource = &body["resourceSpans"][0];
        assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "tools");
        spans.extend(resource["scopeSpans"][0]["spans"].as_array().unwrap().clone());
    }
    let of = |span: &Value| (span["traceId"].clone(), span["parentSpanId"].clone(), span["status"]["code"].clone());
    assert_eq!(of(&spans[0]), (json!("0af7651916cd43dd8448eb211c80319c"), json!("b7ad6b7169203331"), json!(0)));
    assert_eq!(spans[0]["name"], "tools/call whoami");
    let time = |name: &str| spans[0][name].as_str().unwrap().parse::<u64>().unwrap();
    assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"));
    assert_eq!((spans.len(), &spans[1]["parentSpanId"], &spans[1]["status"]["code"]), (2, &json!(""), &json!(2)));
    host.finish();
}
