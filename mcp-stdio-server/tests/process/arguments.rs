//! Rows ARG: what calls carry, and what results may say.

use serde_json::{Value, json};

use crate::host::{Host, modern};
use crate::store::{Fixture, ISSUER};

#[track_caller]
pub fn check_refused(result: &Value, error: &str) {
    assert_eq!(result["isError"], true, "{result}");
    assert_eq!(result["structuredContent"]["error"], error, "{result}");
    assert!(result["content"][0]["text"].as_str().is_some_and(|text| text.len() > 20), "{result}");
}

#[track_caller]
pub fn check_open(result: &Value) {
    assert_eq!(result["isError"], false, "{result}");
    assert_eq!(result["structuredContent"], json!({ "echo": "hello", "authorized": true, "length": 5 }));
}

#[test]
fn arg_01_without_a_token_the_answer_says_how_to_get_one() {
    let fixture = Fixture::new();
    let mut host = Host::legacy(&fixture.path(), &[]);
    for arguments in [json!({ "message": "hello" }), json!({ "message": "hello", "access_token": "" }), json!({})] {
        let result = host.call("echo", arguments);
        check_refused(&result, "unauthorized");
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("mcp-client login") && text.contains(ISSUER) && text.contains("urn:mcp:stdio:default"));
        let details = &result["structuredContent"];
        assert_eq!(details["scope"], "mcp:tools:execute");
        assert_eq!(details["resource"], "urn:mcp:stdio:default");
        assert_eq!(details["authorization_servers"], json!([ISSUER]));
    }
    let open = host.call("public_info", json!({}));
    assert_eq!(open["isError"], false);
}

#[test]
fn arg_02_and_04_every_bad_token_gets_the_same_answer() {
    let fixture = Fixture::new();
    let mut host = Host::legacy(&fixture.path(), &[]);
    let revoked = fixture.issue("mcp:tools:execute");
    fixture.revoke(revoked.grant);
    let mut expired = fixture.claims("mcp:tools:execute");
    expired.exp = expired.iat;
    let mut foreign = fixture.claims("mcp:tools:execute");
    foreign.aud = shared::oauth::jwt::Audience::One("urn:mcp:stdio:other".parse().unwrap());
    let unknown = fixture.sign(&fixture.claims("mcp:tools:execute"));
    let tokens = [
        revoked.token,
        fixture.issue_claims(expired).token,
        fixture.issue_claims(foreign).token,
        unknown,
        "garbage".to_owned(),
    ];
    let answers: Vec<_> = tokens.iter().map(|token| host.echo(token)).collect();
    check_refused(&answers[0], "invalid_token");
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
    }
}

#[test]
fn arg_03_a_token_without_the_scope_learns_which_are_needed() {
    let fixture = Fixture::new();
    let mut host = Host::legacy(&fixture.path(), &[]);
    let token = fixture.issue("mcp:tools:read").token;
    let result = host.echo(&token);
    check_refused(&result, "insufficient_scope");
    assert_eq!(result["structuredContent"]["scope"], "mcp:tools:execute");
    let result = host.call("whoami", json!({ "access_token": token }));
    assert_eq!(result["isError"], false, "{result}");
}

#[test]
fn arg_05_an_unknown_tool_has_invalid_params() {
    let fixture = Fixture::new();
    let mut host = Host::legacy(&fixture.path(), &[]);
    for name in ["nope", "Echo", "echo ", "", "get_weather"] {
        let answer = host.request("tools/call", json!({ "name": name, "arguments": {} }));
        assert_eq!(answer["error"]["code"], -32602, "{name}: {answer}");
    }
}

#[test]
fn arg_06_a_bad_argument_is_named_without_its_value() {
    let fixture = Fixture::new();
    let token = fixture.issue("mcp:tools:execute mcp:tools:read").token;
    let mut host = Host::legacy(&fixture.path(), &["--samples"]);
    for (tool, mut arguments, named) in [
        ("echo", json!({}), "message"),
        ("echo", json!({ "message": 1 }), "message"),
        ("echo", json!({ "message": ["hunter2"] }), "message"),
        ("echo", json!({ "message": "x", "other": "hunter2" }), "other"),
        ("get_weather", json!({}), "location"),
        ("get_weather", json!({ "location": "x", "units": "hunter2" }), "units"),
        ("list_files", json!({ "path": 7 }), "path"),
    ] {
        arguments["access_token"] = json!(token);
        let result = host.call(tool, arguments);
        check_refused(&result, "invalid_request");
        let text = result.to_string();
        assert!(text.contains(named) && !text.contains("hunter2"), "{text}");
    }
    let result = host.call("echo", json!({ "message": "x", "access_token": { "hunter2": 1 } }));
    check_refused(&result, "invalid_request");
    assert!(result.to_string().contains("access_token") && !result.to_string().contains("hunter2"), "{result}");
}

#[test]
fn arg_07_the_token_argument_is_marked_as_sensitive() {
    let fixture = Fixture::new();
    let mut host = Host::legacy(&fixture.path(), &["--samples"]);
    let listed = host.request("tools/list", json!({}));
    assert!(!listed.to_string().contains("x-mcp-header"));
    for tool in listed["result"]["tools"].as_array().unwrap() {
        let argument = &tool["inputSchema"]["properties"]["access_token"];
        if tool["name"] == "public_info" {
            assert!(argument.is_null());
            continue;
        }
        assert_eq!((&argument["type"], &argument["writeOnly"]), (&json!("string"), &json!(true)), "{tool}");
        assert!(argument["description"].as_str().unwrap().starts_with("Sensitive"));
        assert!(!tool["inputSchema"]["required"].to_string().contains("access_token"));
        assert_eq!(tool["outputSchema"]["type"], "object");
        assert_eq!(tool["annotations"]["readOnlyHint"], true);
    }
}

#[test]
fn the_token_argument_can_be_switched_off() {
    let fixture = Fixture::new();
    let token = fixture.issue("mcp:tools:execute").token;
    let mut host = Host::legacy(&fixture.path(), &["--token-argument", "off"]);
    let listed = host.request("tools/list", json!({}));
    assert!(!listed.to_string().contains("access_token"));
    let result = host.echo(&token);
    check_refused(&result, "invalid_request");
    assert!(!result.to_string().contains(&token));
    let params =
        json!({ "name": "echo", "arguments": { "message": "hello" }, "_meta": { "authz/access_token": token } });
    check_open(&host.request("tools/call", params)["result"]);
}

#[test]
fn arg_08_a_token_is_never_given_out() {
    let fixture = Fixture::new();
    let (good, other) = (fixture.issue("mcp:tools:execute mcp:tools:read"), fixture.issue("mcp:tools:read"));
    let mut tampered = good.token.clone();
    tampered.insert(40, 'x');
    let mut host = Host::start_with(&fixture.path(), &["--samples"], |command| {
        command.env("RUST_LOG", "trace,rmcp=trace").env("MCP_ACCESS_TOKEN", &other.token);
    });
    host.initialize("2025-11-25");
    for token in [&good.token, &tampered] {
        for tool in
            ["public_info", "echo", "whoami", "get_time", "get_weather", "list_files", "get_user_profile", "nope"]
        {
            for arguments in [json!({ "message": "m", "location": "l", "path": "." }), json!({}), json!({ "units": 1 })]
            {
                let mut with_token = arguments.clone();
                with_token["access_token"] = json!(token);
                host.request("tools/call", json!({ "name": tool, "arguments": with_token }));
                let mut meta = modern();
                meta["authz/access_token"] = json!(token);
                host.request("tools/call", json!({ "name": tool, "arguments": arguments, "_meta": meta }));
            }
        }
        let broken = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":\"{token}\"}}\n");
        host.send_bytes(broken.as_bytes());
        host.receive();
    }
    let (stdout, stderr) = host.finish();
    assert!(stderr.contains("TRACE") || stderr.contains("DEBUG") || stderr.contains("INFO"), "{stderr}");
    for token in [&good.token, &tampered, &other.token] {
        for part in token.split('.').filter(|part| part.len() > 60) {
            assert!(!stdout.contains(part) && !stderr.contains(part));
        }
    }
    let journal = std::fs::read_dir(fixture.path()).unwrap().flatten();
    for file in journal.filter(|file| file.file_name() != "keys.json") {
        let text = std::fs::read_to_string(file.path()).unwrap_or_default();
        assert!(!text.contains(good.token.rsplit('.').next().unwrap()));
    }
}

#[test]
fn arg_09_what_others_chose_is_data_and_steers_no_terminal() {
    let fixture = Fixture::new();
    let token = fixture.issue("mcp:tools:execute mcp:tools:read").token;
    let mut host = Host::legacy(&fixture.path(), &[]);
    let result = host.call("whoami", json!({ "access_token": token }));
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("A [31mred client"), "{text}");
    assert!(!text.contains('\u{202e}') && !text.contains("\\u001b"), "{text}");
    assert_eq!(result["structuredContent"]["client_name"], "A \u{1b}[31mred\u{202e} client");
    let message = "a\u{7}b\u{9b}c\u{200b}d\ne";
    let result = host.call("echo", json!({ "message": message, "access_token": token }));
    assert_eq!(result["structuredContent"]["echo"], message);
    assert_eq!(result["structuredContent"]["length"], 9);
    let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(text["echo"], "abcd\ne");
}

#[test]
fn arg_10_and_11_files_are_listed_below_the_root_only() {
    let fixture = Fixture::new();
    let token = fixture.issue("mcp:tools:read").token;
    let root = fixture.around().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("a.txt"), "x").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(fixture.path(), root.join("link")).unwrap();
    let mut host = Host::legacy(&fixture.path(), &["--samples", "--files-root", root.to_str().unwrap()]);
    let mut list = |path: &str, pattern: &str| {
        host.call("list_files", json!({ "path": path, "pattern": pattern, "access_token": token }))
    };
    let listed = list(".", "*.txt");
    assert_eq!(listed["structuredContent"]["files"][0]["name"], "a.txt", "{listed}");
    for path in ["..", "/", "/dev", "link", "link/..", "a\0b", "../root/../store", "a.txt"] {
        let refused = list(path, "*");
        check_refused(&refused, "invalid_request");
        assert!(!refused.to_string().contains("keys.json"), "{refused}");
    }
    check_refused(&list(".", &"*a".repeat(100)), "invalid_request");
    let begun = std::time::Instant::now();
    assert_eq!(list(".", &"*a".repeat(60))["isError"], false);
    assert!(begun.elapsed() < std::time::Duration::from_secs(2));
    let mut host = Host::legacy(&fixture.path(), &["--samples"]);
    let refused = host.call("list_files", json!({ "path": ".", "access_token": token }));
    check_refused(&refused, "server_error");
    assert!(refused.to_string().contains("--files-root"));
}

#[test]
fn arg_13_each_call_is_judged_by_its_own_token() {
    let fixture = Fixture::new();
    let (writer, reader) = (fixture.issue("mcp:tools:execute"), fixture.issue("mcp:tools:read"));
    let mut host = Host::legacy(&fixture.path(), &[]);
    for _ in 0..3 {
        check_open(&host.echo(&writer.token));
        check_refused(&host.echo(&reader.token), "insufficient_scope");
        check_refused(&host.call("echo", json!({ "message": "hello" })), "unauthorized");
        check_refused(&host.call("whoami", json!({ "access_token": writer.token })), "insufficient_scope");
        let who = host.call("whoami", json!({ "access_token": reader.token }));
        assert_eq!(who["structuredContent"]["grant"], reader.grant.to_string());
    }
}

#[test]
fn a_token_may_come_from_meta_the_argument_and_the_environment_in_that_order() {
    let fixture = Fixture::new();
    let (good, weak) = (fixture.issue("mcp:tools:execute").token, fixture.issue("mcp:tools:read").token);
    let start = |token: &str| {
        let mut host = Host::start_with(&fixture.path(), &[], |command| {
            command.env("MCP_ACCESS_TOKEN", token);
        });
        host.initialize("2025-11-25");
        host
    };
    let call = |host: &mut Host, meta: Option<&str>, argument: Option<&str>| {
        let mut params = json!({ "name": "echo", "arguments": { "message": "hello" } });
        if let Some(token) = meta {
            params["_meta"] = json!({ "authz/access_token": token });
        }
        if let Some(token) = argument {
            params["arguments"]["access_token"] = json!(token);
        }
        host.request("tools/call", params)["result"].clone()
    };
    let mut host = start(&good);
    check_open(&call(&mut host, None, None));
    check_refused(&call(&mut host, None, Some(&weak)), "insufficient_scope");
    check_refused(&call(&mut host, Some(&weak), Some(&good)), "insufficient_scope");
    check_refused(&call(&mut host, Some("junk"), Some(&good)), "invalid_token");
    let mut host = start(&weak);
    check_open(&call(&mut host, None, Some(&good)));
    check_open(&call(&mut host, Some(&good), Some(&weak)));
    check_refused(&call(&mut host, None, None), "insufficient_scope");
}

#[test]
fn the_tools_give_what_their_schemas_say() {
    let fixture = Fixture::new();
    let issued = fixture.issue("mcp:tools:execute mcp:tools:read");
    let mut host = Host::legacy(&fixture.path(), &["--samples"]);
    let with = |mut arguments: Value| {
        arguments["access_token"] = json!(issued.token);
        arguments
    };
    let listed = host.request("tools/list", json!({}))["result"]["tools"].clone();
    for (tool, arguments) in [
        ("public_info", json!({})),
        ("echo", with(json!({ "message": "ä" }))),
        ("whoami", with(json!({}))),
        ("get_time", with(json!({}))),
        ("get_weather", with(json!({ "location": "Paris" }))),
        ("get_user_profile", with(json!({}))),
    ] {
        let result = host.call(tool, arguments);
        assert_eq!(result["isError"], false, "{result}");
        let schema = listed.as_array().unwrap().iter().find(|entry| entry["name"] == tool).unwrap();
        let data = result["structuredContent"].as_object().unwrap();
        for name in schema["outputSchema"]["anyOf"][0]["required"].as_array().unwrap() {
            assert!(data.contains_key(name.as_str().unwrap()), "{tool} {name}");
        }
        let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text.as_object().unwrap().len(), data.len());
    }
    let who = host.call("whoami", with(json!({})))["structuredContent"].clone();
    assert_eq!(who["subject"], "ada");
    assert_eq!(who["client_id"], fixture.client.as_str());
    assert_eq!(who["scopes"], json!(["mcp:tools:execute", "mcp:tools:read"]));
    assert_eq!(who["resource"], "urn:mcp:stdio:default");
    let weather = host.call("get_weather", with(json!({ "location": "Paris", "units": "fahrenheit" })));
    assert_eq!(weather["structuredContent"]["temperature"], 71);
    let profile = host.call("get_user_profile", with(json!({})))["structuredContent"].clone();
    assert_eq!((&profile["username"], &profile["roles"]), (&json!("ada"), &json!(["admin", "user"])));
    assert_eq!(profile["created_at"], "2026-07-28T09:05:01Z");
}
