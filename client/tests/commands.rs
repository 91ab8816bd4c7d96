//! The commands as a script sees them: exit codes, one JSON object, no escape sequences, both eras.

mod common;

use std::net::TcpListener;

use common::{Answer, Fake, Home, Ran, scripted_server};
use serde_json::json;

fn scripted(home: &Home, script: &str, arguments: &[&str]) -> Ran {
    let server = scripted_server();
    let mut all = arguments.to_vec();
    all.extend(["--stdio", "--", &server]);
    Ran::from(home.command(&all).env("SCRIPT", script).output().unwrap())
}

#[test]
fn exit_codes_tell_a_script_what_happened() {
    let home = Home::new();
    let fake = Fake::start();
    for (arguments, code) in [
        (&["call", "show"][..], 0),
        (&["tools"], 0),
        (&["call", "fail"], 1),
        (&["call", "guarded"], 3),
        (&["call", "nonsense"], 4),
        (&["call", "show", "--args", "[]"], 2),
        (&["call"], 2),
        (&["call", "show", "--issuer", "ftp://x"], 2),
    ] {
        let ran = scripted(&home, "modern", arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        if code != 0 && code != 2 && !arguments.contains(&"fail") {
            assert!(ran.err.contains("Next:"), "every failure says what to do: {ran:?}");
        }
    }
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gone = format!("http://127.0.0.1:{free}/mcp");
    assert_eq!(home.run(&["tools", &gone]).code, 5);
    assert_eq!(home.run(&["login", "--no-browser", &gone]).code, 5);
    assert_eq!(home.run(&["tools", "--", "/no/such/program"]).code, 1);
    assert_eq!(home.run(&["status"]).code, 3);
    assert_eq!(home.run(&["refresh"]).code, 3);
    assert_eq!(home.run(&["tools", "http://example.com/mcp"]).code, 2);
    assert_eq!(home.run(&["--version"]).code, 0);
    assert_eq!(home.run(&["status", "--profile", "../x"]).code, 2);
    assert_eq!(home.run(&["tools", &fake.mcp()]).code, 3);
}

#[test]
fn a_guards_refusal_names_the_scopes_and_a_better_token_opens_the_tool() {
    let (fake, home) = (Fake::start(), Home::new());
    home.keep(&fake, json!({ "access_token": "narrow" }));
    let ran = scripted(&home, "modern", &["--json", "call", "guarded"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert_eq!(ran.json()["structuredContent"]["scope"], "a b");
    assert!(ran.err.contains("--scope 'a b'"), "{ran:?}");
    // A token that was revoked meanwhile is refreshed once.
    home.keep(&fake, json!({ "access_token": "revoked", "refresh_token": "r0" }));
    let ran = scripted(&home, "modern", &["call", "guarded"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "welcome\n"), "{ran:?}");
    assert_eq!(fake.grants("refresh_token").len(), 1);
    // And when that does not help, it is over.
    fake.tokens.lock().unwrap().push_front("bad".into());
    home.keep(&fake, json!({ "access_token": "revoked", "refresh_token": "r0" }));
    assert_eq!(scripted(&home, "modern", &["call", "guarded"]).code, 3);
    assert_eq!(fake.grants("refresh_token").len(), 2);
}

#[test]
fn json_is_one_object_on_stdout_for_every_command() {
    let (fake, home) = (Fake::start(), Home::new());
    let registered = home.run(&["--json", "register", &fake.url()]).json();
    assert_eq!((&registered["registered"], &registered["client_id"]), (&json!(true), &json!("c_1")));
    assert_eq!(home.run(&["--json", "register", &fake.url()]).json()["registered"], false);
    home.logged_in(&fake.url());
    assert_eq!(fake.requests("/register").len(), 1, "a login uses the registration that is there");
    let status = home.run(&["--json", "status", &fake.url()]).json();
    assert_eq!((&status["logged_in"], &status["login"]["state"]), (&json!(true), &json!("valid")));
    assert_eq!(status["login"]["scope"], "mcp:tools:execute mcp:tools:read offline_access");
    let list = home.run(&["--json", "list"]).json();
    assert_eq!((list["logins"].as_array().unwrap().len(), list["registrations"].as_array().unwrap().len()), (1, 1));
    assert_eq!(home.run(&["--json", "refresh", &fake.url()]).json()["refreshed"], true);
    let tools = scripted(&home, "modern", &["--json", "tools"]).json();
    assert_eq!((&tools["server"], tools["tools"].as_array().unwrap().len()), (&json!("scripted"), 3));
    assert_eq!(scripted(&home, "modern", &["--json", "call", "fail"]).json()["isError"], true);
    let error = scripted(&home, "modern", &["--json", "call", "nonsense"]).json();
    assert_eq!(error["error"], "json_rpc_error");
    assert!(error["message"].is_string() && error["next"].is_string());
    assert_eq!(home.run(&["--json", "call"]).json()["error"], "usage");
    assert_eq!(home.run(&["--json", "completions", "bash"]).json()["shell"], "bash");
    assert_eq!(home.run(&["--json", "logout", &fake.url()]).json()["logged_out"], true);
}

#[test]
fn dsc_13_no_server_writes_to_the_terminal() {
    let home = Home::new();
    for arguments in
        [&["tools"][..], &["call", "show"], &["call", "nonsense"], &["--json", "tools"], &["--json", "call", "show"]]
    {
        let ran = scripted(&home, "modern", arguments);
        let raw = |text: &str| text.chars().any(|c| c.is_control() && c != '\n');
        assert!(!raw(&ran.out) && !raw(&ran.err), "{arguments:?}: {ran:?}");
    }
    assert_eq!(scripted(&home, "modern", &["call", "show"]).out, "shown\n");
}

#[test]
fn servers_of_both_eras_are_understood() {
    let home = Home::new();
    for (script, protocol) in [("modern", "2026-07-28"), ("legacy", "2025-11-25"), ("fragile", "2025-11-25")] {
        let ran = scripted(&home, script, &["--json", "tools"]);
        assert_eq!((ran.code, ran.json()["protocol"].as_str().unwrap()), (0, protocol), "{script}: {ran:?}");
        assert_eq!(scripted(&home, script, &["call", "show"]).code, 0, "{script}");
    }
    let ran = scripted(&home, "dead", &["--json", "tools"]);
    assert_eq!((ran.code, ran.json()["error"].as_str().unwrap()), (5, "no_answer"), "{ran:?}");
}

#[test]
fn an_http_server_of_the_older_era_is_understood() {
    let fake = Fake::scripted(|request, _| {
        if request.path != "/mcp" {
            return None;
        }
        if request.method != "POST" {
            return Some(Answer::status(405));
        }
        let message: serde_json::Value = serde_json::from_str(&request.body).unwrap();
        let result = match message["method"].as_str().unwrap() {
            "initialize" => json!({
                "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
                "serverInfo": { "name": "old", "version": "1" },
            }),
            "notifications/initialized" => return Some(Answer::status(202)),
            "tools/list" => json!({ "tools": [{ "name": "old_tool", "inputSchema": { "type": "object" } }] }),
            _ => return Some(Answer::status(400)),
        };
        let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
        let sse = Answer { status: 200, headers: vec![], body: format!("event: message\ndata: {answer}\n\n") };
        Some(sse.with("Content-Type", "text/event-stream"))
    });
    let ran = Home::new().run(&["--json", "tools", &fake.mcp()]);
    assert_eq!((ran.code, &ran.json()["protocol"]), (0, &json!("2025-11-25")), "{ran:?}");
    assert_eq!(ran.json()["tools"][0]["name"], "old_tool");
}

#[test]
fn a_profile_keeps_its_logins_to_itself() {
    let (fake, home) = (Fake::start(), Home::new());
    let login = home.login(&["--profile", "work", &fake.url()]);
    login.follow();
    assert_eq!(login.end().code, 0);
    assert_eq!(home.run(&["status", &fake.url()]).code, 3);
    assert_eq!(home.run(&["status", &fake.url(), "--profile", "work"]).code, 0);
}

#[test]
fn the_help_says_how_servers_are_named_and_what_exit_codes_mean() {
    let help = Home::new().run(&["--help"]);
    for word in [
        "demo",
        "login",
        "logout",
        "refresh",
        "tools",
        "call",
        "status",
        "list",
        "completions",
        "Exit codes:",
        "--stdio",
    ] {
        assert!(help.out.contains(word), "{word}");
    }
    for absent in ["bridge", "doctor", "import"] {
        assert!(!help.out.contains(absent), "{absent}");
    }
}
