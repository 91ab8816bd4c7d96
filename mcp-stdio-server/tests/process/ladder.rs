//! A login from inside an assistant: one test for each rung and era, with a scripted host and a person who decides in
//! the store.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};
use shared::id::GrantId;
use shared::oauth::device::UserCode;
use shared::secret::random_uuid;
use shared::state::{Change, ClientOrigin, Device, Grant, GrantStage, RevocationCause, Terms, ToolName, Wanted};
use shared::store::calls::{Entry, Recorded, whole};

use crate::arguments::{check_open, check_refused};
use crate::host::{Host, eventually, modern};
use crate::store::{Fixture, now};

/// A store whose service takes connections, and says nothing.
pub struct World {
    pub fixture: Fixture,
    pub issuer: String,
    _service: TcpListener,
}

impl World {
    pub fn new() -> Self {
        let service = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://127.0.0.1:{}", service.local_addr().unwrap().port());
        let fixture = Fixture::of_issuer(tempfile::tempdir().unwrap(), "store", &issuer);
        Self { fixture, issuer, _service: service }
    }

    pub fn start(&self, flags: &[&str]) -> Host {
        let way = if flags.contains(&"--login") { &[][..] } else { &["--login", "browser"][..] };
        Host::start(&self.fixture.path(), &[way, flags].concat())
    }

    /// A host of the earlier era that can show a URL, or nothing.
    fn legacy(&self, flags: &[&str], shows_urls: bool) -> Host {
        let capabilities = if shows_urls { json!({ "elicitation": { "url": {} } }) } else { json!({}) };
        self.legacy_with(flags, &capabilities)
    }

    /// A host of the earlier era with these capabilities.
    pub fn legacy_with(&self, flags: &[&str], capabilities: &Value) -> Host {
        let mut host = self.start(flags);
        host.initialize_with("2025-11-25", capabilities);
        host
    }

    /// The device behind a code.
    pub fn device(&self, code: &str) -> Device {
        let code = UserCode::typed(code).unwrap();
        let wanted = Wanted { user_code: Some(self.fixture.keys.user_code(&code)), ..Wanted::default() };
        self.fixture.facts(wanted).device.unwrap()
    }

    /// A person says yes on the page.
    pub fn allow(&self, code: &str) -> GrantId {
        self.allow_tools(code, None)
    }

    fn allow_tools(&self, code: &str, tools: Option<&[&str]>) -> GrantId {
        let tools = tools.map(|tools| tools.iter().map(|tool| tool.parse().unwrap()).collect::<BTreeSet<_>>());
        self.allow_for(code, tools, 3600)
    }

    /// A person says yes to some tools or all, for some seconds.
    pub fn allow_for(&self, code: &str, tools: Option<BTreeSet<ToolName>>, seconds: u64) -> GrantId {
        let device = self.device(code);
        let terms = Terms { tools, until: Some(now() + shared::time::Seconds(seconds)), ..Terms::default() };
        let grant = Grant {
            id: GrantId(random_uuid()),
            user: Some("ada".parse().unwrap()),
            client: device.client,
            resource: device.resource,
            scopes: device.scopes,
            created: now(),
            stage: GrantStage::Consented,
            terms: Some(Box::new(terms)),
        };
        let id = grant.id;
        self.fixture.commit(vec![Change::DeviceApproved { device: device.hash, grant, session: None }]);
        id
    }

    pub fn deny(&self, code: &str) {
        let device = self.device(code).hash;
        self.fixture.commit(vec![Change::DeviceDenied { device, user: "ada".parse().unwrap() }]);
    }

    pub fn revoke(&self, grant: GrantId) {
        self.fixture.commit(vec![Change::GrantRevoked { grant, cause: RevocationCause::User }]);
    }

    /// Why calls were refused, as the trail says, in the order of the servers that wrote it down.
    pub fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let visit = &mut |line: Recorded| match line.entry {
            Some(Entry::Call(call)) => causes.extend(call.cause.map(|cause| cause.into_owned())),
            other => panic!("{other:?}"),
        };
        whole(&self.fixture.path(), None, visit).unwrap();
        causes
    }

    /// The tokens of every login.
    fn tokens(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.fixture.path().join("logins.json")).unwrap();
        let book: Value = serde_json::from_str(&text).unwrap();
        book["logins"].as_array().unwrap().iter().map(|login| login["token"].as_str().unwrap().to_owned()).collect()
    }
}

pub fn echo(host: &mut Host) -> i64 {
    host.send_request("tools/call", json!({ "name": "echo", "arguments": { "message": "hello" } }))
}

/// A call of a host that wants to know how it goes on.
fn patient_echo(host: &mut Host) -> i64 {
    let params = json!({ "name": "echo", "arguments": { "message": "hello" }, "_meta": { "progressToken": "p" } });
    host.send_request("tools/call", params)
}

/// Calls, and gives the result, which comes without a question.
#[track_caller]
fn call(host: &mut Host) -> Value {
    let id = echo(host);
    answer(host, id)
}

/// The result of a call, past notifications.
#[track_caller]
pub fn answer(host: &mut Host, id: i64) -> Value {
    loop {
        let message = host.receive_any();
        if message["id"] == id && message.get("method").is_none() {
            return message["result"].clone();
        }
        assert!(message.get("id").is_none(), "a question: {message}");
    }
}

/// The next message with this method, past other notifications.
#[track_caller]
pub fn next(host: &mut Host, method: &str) -> Value {
    loop {
        let message = host.receive_any();
        if message["method"] == method {
            return message;
        }
        assert!(message.get("id").is_none(), "instead of {method}: {message}");
    }
}

#[track_caller]
pub fn check_link(world: &World, result: &Value) -> String {
    check_refused(result, "unauthorized");
    let details = &result["structuredContent"];
    let code = details["user_code"].as_str().unwrap().to_owned();
    let page = format!("{}/device", world.issuer);
    assert_eq!(details["verification_uri"], page);
    assert_eq!(details["verification_uri_complete"], format!("{page}?user_code={code}"));
    assert!((500..=600).contains(&details["expires_in"].as_u64().unwrap()), "{details}");
    assert_eq!(details["authorization_servers"], json!([world.issuer]));
    let words = result["content"][0]["text"].as_str().unwrap();
    assert!(words.contains(&format!("{page}?user_code={code}")), "{words}");
    code
}

#[test]
fn r27_a_host_without_elicitation_gets_the_link_at_once_and_succeeds_at_the_retry() {
    let world = World::new();
    let mut host = world.legacy(&[], false);
    let code = check_link(&world, &call(&mut host));
    // Everything that the tools need is asked for at once, by a client that the machine names.
    let device = world.device(&code);
    assert_eq!(device.scopes.to_string(), "mcp:tools:execute mcp:tools:read");
    let client = world.fixture.facts(Wanted { client: Some(device.client), ..Wanted::default() }).client.unwrap();
    assert_eq!((client.origin, client.grant_types.len()), (ClientOrigin::Local, 0));
    assert!(client.program.unwrap().path.is_some());
    world.allow(&code);
    check_open(&call(&mut host));
    // A second server of the same program, and one that comes later, need no login of their own.
    check_open(&call(&mut world.legacy(&[], false)));
    assert_eq!(world.tokens().len(), 1);
    // Another server of the same program does.
    check_link(&world, &call(&mut world.legacy(&["--name", "other"], false)));
    let (stdout, stderr) = host.finish();
    for token in world.tokens() {
        assert!(!stdout.contains(&token) && !stderr.contains(&token));
    }
}

#[test]
fn r27_a_retry_waits_for_the_person_and_goes_through_when_they_have_decided() {
    let world = World::new();
    let mut host = world.legacy(&[], false);
    let code = check_link(&world, &call(&mut host));
    // Without a progress token the host is not kept waiting.
    assert_eq!(check_link(&world, &call(&mut host)), code);
    let waits = patient_echo(&mut host);
    let progress = next(&mut host, "notifications/progress");
    assert_eq!(progress["params"]["progressToken"], "p");
    assert!(progress["params"]["message"].as_str().unwrap().contains(&code), "{progress}");
    host.assert_alive_among_notifications();
    world.allow(&code);
    check_open(&answer(&mut host, waits));
    let mut impatient = world.legacy(&["--login-wait", "0", "--name", "other"], false);
    let first = check_link(&world, &call(&mut impatient));
    assert_eq!(check_link(&world, &call(&mut impatient)), first);
}

#[test]
fn r27_url_elicitation_of_2025_11_25() {
    let world = World::new();
    let mut host = world.legacy(&[], true);
    let id = echo(&mut host);
    let question = next(&mut host, "elicitation/create");
    let params = &question["params"];
    assert_eq!((&params["mode"], params["elicitationId"].is_string()), (&json!("url"), true), "{question}");
    let url = params["url"].as_str().unwrap();
    let code = url.strip_prefix(&format!("{}/device?user_code=", world.issuer)).unwrap().to_owned();
    assert!(params["message"].as_str().unwrap().contains(&code));
    host.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "accept" } }));
    host.assert_alive_among_notifications();
    world.allow(&code);
    let mut seen = Vec::new();
    let result = loop {
        let message = host.receive_any();
        match message.get("method") {
            Some(method) => seen.push((method.as_str().unwrap().to_owned(), message["params"].clone())),
            None => break message,
        }
    };
    assert_eq!(result["id"], id);
    check_open(&result["result"]);
    let done = json!({ "elicitationId": params["elicitationId"] });
    assert!(
        seen.iter().any(|(method, with)| method == "notifications/elicitation/complete" && *with == done),
        "{seen:?}"
    );
    if !seen.iter().any(|(method, _)| method == "notifications/tools/list_changed") {
        next(&mut host, "notifications/tools/list_changed");
    }
}

/// The call goes through, and no dialog is left behind; in which order they come is left open.
#[track_caller]
pub fn check_open_and_taken_back(host: &mut Host, id: i64, question: &Value) {
    let (mut went_through, mut was_taken_back) = (false, false);
    while !(went_through && was_taken_back) {
        let message = host.receive_any();
        if message["id"] == id {
            check_open(&message["result"]);
            went_through = true;
        }
        was_taken_back |=
            message["method"] == "notifications/cancelled" && message["params"]["requestId"] == question["id"];
    }
}

#[test]
fn r27_a_person_may_decline_or_close_the_question_or_be_quicker_than_the_dialog() {
    let world = World::new();
    let mut host = world.legacy(&[], true);
    let ask = |host: &mut Host| {
        let id = echo(host);
        (id, next(host, "elicitation/create"))
    };
    let (id, question) = ask(&mut host);
    host.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "decline" } }));
    check_refused(&answer(&mut host, id), "access_denied");
    let (id, question) = ask(&mut host);
    host.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "cancel" } }));
    let code = check_link(&world, &answer(&mut host, id));
    let (id, question) = ask(&mut host);
    host.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "error": { "code": -32603, "message": "x" } }));
    assert_eq!(check_link(&world, &answer(&mut host, id)), code, "it is one login all the while");
    let (id, question) = ask(&mut host);
    world.allow(&code);
    check_open_and_taken_back(&mut host, id, &question);
    // An answer that comes too late is nobody's.
    host.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "accept" } }));
    host.assert_alive_among_notifications();
}

/// A call of the later era by a host that shows URLs.
fn modern_call(host: &mut Host, message: &str, more: &Value) -> Value {
    let mut meta = modern();
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({ "elicitation": { "url": {} } });
    let mut params = json!({ "name": "echo", "arguments": { "message": message }, "_meta": meta });
    for (name, value) in more.as_object().unwrap() {
        match name.as_str() {
            "token" => params["_meta"]["authz/access_token"] = value.clone(),
            _ => params[name] = value.clone(),
        }
    }
    // STD-15: nothing but the answer comes, never a question.
    host.request("tools/call", params)
}

fn accepted(state: &Value) -> Value {
    json!({ "requestState": state, "inputResponses": { "login": { "action": "accept" } } })
}

/// The code in a question of the later era.
#[track_caller]
fn asked(answer: &Value) -> String {
    let result = &answer["result"];
    assert_eq!(result["resultType"], "input_required", "{answer}");
    assert!(result["_meta"]["io.modelcontextprotocol/serverInfo"].is_object(), "{answer}");
    let question = &result["inputRequests"]["login"];
    assert_eq!((&question["method"], &question["params"]["mode"]), (&json!("elicitation/create"), &json!("url")));
    let url = question["params"]["url"].as_str().unwrap();
    url.split_once("user_code=").unwrap().1.to_owned()
}

#[test]
fn std_15_and_r27_input_required_of_2026_07_28() {
    let world = World::new();
    let mut host = world.start(&["--login-wait", "1"]);
    let first = modern_call(&mut host, "hello", &json!({}));
    let code = asked(&first);
    let state = &first["result"]["requestState"];
    // Without an answer the question comes again; declined and closed are said.
    assert_eq!(asked(&modern_call(&mut host, "hello", &json!({ "requestState": state }))), code);
    for (action, error) in [("decline", "access_denied"), ("cancel", "unauthorized")] {
        let more = json!({ "requestState": state, "inputResponses": { "login": { "action": action } } });
        check_refused(&modern_call(&mut host, "hello", &more)["result"], error);
    }
    // Accepted and not decided yet: the call comes back by itself, and nobody is asked again.
    let waited = modern_call(&mut host, "hello", &accepted(state));
    assert_eq!(waited["result"]["resultType"], "input_required");
    assert!(waited["result"].get("inputRequests").is_none(), "{waited}");
    world.allow(&code);
    let more = json!({ "requestState": waited["result"]["requestState"] });
    let done = modern_call(&mut host, "hello", &more);
    check_open(&done["result"]);
    assert_eq!(done["result"]["resultType"], "complete");
    let text = state.as_str().unwrap();
    assert!(!text.contains(&code) && world.tokens().iter().all(|token| !text.contains(token)));
}

#[test]
fn arg_14_a_request_state_is_for_its_call_its_login_and_nobody_elses_token() {
    let world = World::new();
    let mut host = world.start(&["--login-wait", "0"]);
    let first = modern_call(&mut host, "hello", &json!({}));
    let state = first["result"]["requestState"].as_str().unwrap().to_owned();
    #[track_caller]
    fn refused(answer: &Value) {
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
    let at = state.len() / 2;
    let flipped = if &state[at..=at] == "A" { "B" } else { "A" };
    let tampered = format!("{}{flipped}{}", &state[..at], &state[at + 1..]);
    for bad in [tampered.as_str(), "", "x", &state[1..], &"A".repeat(10_000)] {
        refused(&modern_call(&mut host, "hello", &accepted(&json!(bad))));
    }
    refused(&modern_call(&mut host, "other arguments", &accepted(&json!(state))));
    // Somebody else's token, good or bad, makes it somebody else's call.
    for token in [world.fixture.issue("mcp:tools:execute").token.as_str(), "bad"] {
        let mut more = accepted(&json!(state));
        more["token"] = json!(token);
        refused(&modern_call(&mut host, "hello", &more));
    }
    // Another process does not know it, and neither does the login that comes after this one.
    refused(&modern_call(&mut world.start(&[]), "hello", &accepted(&json!(state))));
    world.deny(&asked(&first));
    check_refused(&modern_call(&mut host, "hello", &json!({}))["result"], "access_denied");
    let second = modern_call(&mut host, "hello", &json!({}));
    assert_ne!(asked(&second), asked(&first));
    refused(&modern_call(&mut host, "hello", &accepted(&json!(state))));
    world.allow(&asked(&second));
    refused(&modern_call(&mut host, "hello", &accepted(&json!(state))));
    check_open(&modern_call(&mut host, "hello", &accepted(&second["result"]["requestState"]))["result"]);
    // It opens nothing where nobody may log in.
    refused(&modern_call(&mut world.start(&["--login", "off"]), "hello", &accepted(&json!(state))));
}

#[cfg(unix)]
#[test]
fn r27_the_browser_is_opened_once_however_many_call_and_never_after_a_no() {
    use std::os::unix::fs::PermissionsExt;

    let world = World::new();
    let (script, opened) = (world.fixture.around().join("browser"), world.fixture.around().join("opened"));
    std::fs::write(&script, format!("#!/bin/sh\necho \"$1 ${{MCP_ACCESS_TOKEN-}}\" >> '{}'\n", opened.display()))
        .unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    let start = || {
        let mut host =
            Host::start_with(&world.fixture.path(), &["--login", "browser", "--login-wait", "20"], |command| {
                command.env("BROWSER", &script);
            });
        host.initialize_with("2025-11-25", &json!({ "elicitation": { "url": {} } }));
        host
    };
    let (mut one, mut two) = (start(), start());
    let ids: Vec<_> = (0..3).map(|_| echo(&mut one)).chain([echo(&mut two)]).collect();
    let lines = || std::fs::read_to_string(&opened).unwrap_or_default();
    eventually("the browser opens", Duration::from_secs(10), || lines().ends_with('\n'));
    let url = lines().trim().to_owned();
    let code = url.strip_prefix(&format!("{}/device?user_code=", world.issuer)).unwrap().to_owned();
    let grant = world.allow(&code);
    for id in &ids[..3] {
        let message = loop {
            let message = one.receive_any();
            assert_ne!(message["method"], "elicitation/create");
            if message.get("method").is_none() {
                break message;
            }
        };
        assert!(ids.contains(&message["id"].as_i64().unwrap()), "{id}");
        check_open(&message["result"]);
    }
    check_open(&answer(&mut two, ids[3]));
    assert_eq!(lines().lines().count(), 1, "{}", lines());
    // What a person has taken back is not asked for by a window that comes up by itself.
    world.revoke(grant);
    check_refused(&call(&mut one), "invalid_token");
    let id = echo(&mut one);
    let question = next(&mut one, "elicitation/create");
    one.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "cancel" } }));
    assert_ne!(check_link(&world, &answer(&mut one, id)), code);
    assert_eq!(lines().lines().count(), 1, "{}", lines());
}

#[test]
fn r27_denied_is_said_once_and_the_next_call_asks_anew() {
    let world = World::new();
    let mut host = world.legacy(&[], false);
    let code = check_link(&world, &call(&mut host));
    let waits = patient_echo(&mut host);
    next(&mut host, "notifications/progress");
    world.deny(&code);
    check_refused(&answer(&mut host, waits), "access_denied");
    let second = check_link(&world, &call(&mut host));
    assert_ne!(second, code);
    world.allow(&second);
    check_open(&call(&mut host));
}

#[test]
fn r27_the_code_alone_and_no_login_at_all() {
    let world = World::new();
    let mut host = world.legacy(&["--login", "code"], true);
    let result = call(&mut host);
    check_refused(&result, "unauthorized");
    let details = &result["structuredContent"];
    let words = result["content"][0]["text"].as_str().unwrap();
    assert!(details.get("verification_uri_complete").is_none() && !words.contains("user_code="), "{result}");
    assert!(words.contains(details["user_code"].as_str().unwrap()), "{words}");
    let mut off = world.legacy(&["--login", "off"], true);
    let result = call(&mut off);
    check_refused(&result, "unauthorized");
    assert!(result["structuredContent"].get("user_code").is_none());
    // A token that came with the call is never passed over for a login.
    world.allow(details["user_code"].as_str().unwrap());
    check_open(&call(&mut host));
    check_refused(&host.echo_among_notifications("bad"), "invalid_token");
}

#[test]
fn r27_a_service_that_does_not_run_is_asked_to_be_started() {
    let fixture = Fixture::of_issuer(tempfile::tempdir().unwrap(), "store", "http://127.0.0.1:9");
    let mut host = Host::legacy(&fixture.path(), &["--login", "browser"]);
    let result = call(&mut host);
    check_refused(&result, "unauthorized");
    assert_eq!(result["structuredContent"]["scope"], "mcp:tools:execute");
    let words = result["content"][0]["text"].as_str().unwrap();
    assert!(words.contains("http://127.0.0.1:9") && words.contains("authz-service"), "{words}");
    assert!(!fixture.path().join("logins.json").exists(), "nobody was asked");
    // A service that went by another name before is asked by the one that answers.
    let world = World::new();
    let moved = Fixture::of_issuer(tempfile::tempdir().unwrap(), "store", "http://127.0.0.1:9");
    moved.commit(vec![Change::IssuerDeclared(world.issuer.parse().unwrap())]);
    let mut host = Host::legacy(&moved.path(), &["--login", "browser"]);
    check_link(&world, &call(&mut host));
    // Nor is anybody where there is no store.
    let mut host = Host::legacy(&fixture.around().join("nowhere"), &["--login", "browser"]);
    check_refused(&call(&mut host), "unauthorized");
}

#[test]
fn r27_of_many_servers_one_asks_and_after_a_kill_any_other_finishes() {
    let world = World::new();
    let mut hosts: Vec<_> = (0..3).map(|_| world.legacy(&[], false)).collect();
    let ids: Vec<_> = hosts.iter_mut().map(echo).collect();
    let codes: BTreeSet<_> =
        hosts.iter_mut().zip(ids).map(|(host, id)| check_link(&world, &answer(host, id))).collect();
    assert_eq!(codes.len(), 1, "{codes:?}");
    let code = codes.first().unwrap();
    for host in &mut hosts {
        host.child.kill().unwrap();
        host.child.wait().unwrap();
    }
    // Nobody is there when the person decides.
    world.allow(code);
    check_open(&call(&mut world.legacy(&[], false)));
    check_open(&call(&mut world.legacy(&[], false)));
    assert_eq!(world.tokens().len(), 1);
}

#[test]
fn n3_revoked_means_hidden_at_once_and_refused_at_the_next_call() {
    let world = World::new();
    let mut host = world.legacy(&[], false);
    let names = |host: &mut Host| {
        let id = host.send_request("tools/list", json!({}));
        let result = answer(host, id);
        result["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let whole = ["public_info", "echo", "whoami", "get_time"];
    assert_eq!(names(&mut host), whole);
    let code = check_link(&world, &call(&mut host));
    let grant = world.allow_tools(&code, Some(&["echo"]));
    check_open(&call(&mut host));
    assert_eq!(names(&mut host), ["public_info", "echo"]);
    let id = host.send_request("tools/call", json!({ "name": "whoami", "arguments": {} }));
    let left_out = answer(&mut host, id);
    check_refused(&left_out, "insufficient_scope");
    let words = left_out["content"][0]["text"].as_str().unwrap();
    assert!(words.contains(&format!("{}/account", world.issuer)), "{words}");
    // The later era, on the same store: a subscription of its own.
    let mut later = world.start(&[]);
    let params =
        json!({ "_meta": modern(), "notifications": { "toolsListChanged": true, "promptsListChanged": true } });
    let listening = later.send_request("subscriptions/listen", params);
    let acknowledged = next(&mut later, "notifications/subscriptions/acknowledged");
    assert_eq!(acknowledged["params"]["notifications"], json!({ "toolsListChanged": true }));
    let list = later.request("tools/list", json!({ "_meta": modern() }));
    assert_eq!(list["result"]["tools"].as_array().unwrap().len(), 2);
    world.revoke(grant);
    next(&mut host, "notifications/tools/list_changed");
    assert_eq!(names(&mut host), ["public_info"]);
    check_refused(&call(&mut host), "invalid_token");
    let told = next(&mut later, "notifications/tools/list_changed");
    assert_eq!(told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], listening);
    // A new process does not hide what nobody could then ask for.
    assert_eq!(names(&mut world.legacy(&[], false)), whole);
    let (_, stderr) = later.finish();
    assert_eq!(stderr, "");
}

#[test]
fn std_12_a_host_that_leaves_is_not_waited_for_by_a_call_or_a_subscription() {
    let world = World::new();
    let mut host = world.legacy(&[], false);
    check_link(&world, &call(&mut host));
    let waits = patient_echo(&mut host);
    next(&mut host, "notifications/progress");
    let listens = host.send_request(
        "subscriptions/listen",
        json!({ "_meta": modern(), "notifications": { "toolsListChanged": true } }),
    );
    next(&mut host, "notifications/subscriptions/acknowledged");
    let (stdout, _) = host.finish();
    let answers: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let answer = |id: i64| answers.iter().find(|answer| answer["id"] == id).unwrap();
    check_link(&world, &answer(waits)["result"]);
    assert_eq!(answer(listens)["result"]["resultType"], "complete", "{stdout}");
}

#[test]
fn n3_a_host_that_sends_a_token_with_each_request_learns_that_it_was_taken_back() {
    let world = World::new();
    let mut host = world.legacy(&["--login", "off"], false);
    let list = |host: &mut Host, token: &str| {
        let id = host.send_request("tools/list", json!({ "_meta": { "authz/access_token": token } }));
        answer(host, id)["tools"].as_array().unwrap().len()
    };
    let (first, second) = (world.fixture.issue("mcp:tools:execute"), world.fixture.issue("mcp:tools:execute"));
    assert_eq!(list(&mut host, &first.token), 4);
    assert_eq!(list(&mut host, &second.token), 4);
    // Whose list was seen last counts, and nobody else's.
    world.revoke(first.grant);
    world.revoke(second.grant);
    next(&mut host, "notifications/tools/list_changed");
    assert_eq!(list(&mut host, &second.token), 1);
    assert_eq!(list(&mut host, &world.fixture.issue("mcp:tools:execute").token), 4);
    let (stdout, _) = host.finish();
    assert_eq!(stdout.matches("list_changed").count(), 1, "{stdout}");
}

#[test]
fn n3_a_host_is_told_once_of_what_the_environments_token_no_longer_opens_and_of_nothing_else() {
    let world = World::new();
    let issued = world.fixture.issue("mcp:tools:execute");
    let mut host = Host::start_with(&world.fixture.path(), &["--login", "off"], |command| {
        command.env("MCP_ACCESS_TOKEN", &issued.token);
    });
    host.initialize("2025-11-25");
    let list = |host: &mut Host| {
        let id = host.send_request("tools/list", json!({}));
        answer(host, id)["tools"].as_array().unwrap().len()
    };
    assert_eq!(list(&mut host), 4);
    // What happens to others is no news.
    world.revoke(world.fixture.issue("mcp:tools:execute").grant);
    assert_eq!(list(&mut host), 4);
    world.revoke(issued.grant);
    next(&mut host, "notifications/tools/list_changed");
    assert_eq!(list(&mut host), 1);
    let (stdout, _) = host.finish();
    assert_eq!(stdout.matches("list_changed").count(), 1, "{stdout}");
}

#[test]
fn a_file_of_logins_that_is_not_ours_is_left_alone_and_not_shown() {
    let world = World::new();
    let path = world.fixture.path().join("logins.json");
    shared::files::replace(&path, b"{}").unwrap();
    let mut host = world.legacy(&[], false);
    let result = call(&mut host);
    check_refused(&result, "unauthorized");
    assert!(!result.to_string().contains("logins.json"));
    assert_eq!(std::fs::read(&path).unwrap(), b"{}");
    let (_, stderr) = host.finish();
    assert!(stderr.contains("logins.json"), "{stderr}");
}
