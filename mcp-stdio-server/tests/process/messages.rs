//! Rows STD: what a host may send, and what comes back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::host::{Host, modern};
use crate::store::Fixture;

fn nowhere() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Sends a line that is no request; it is answered with `code` and `id`, or not at all, and the server goes on.
#[track_caller]
fn check_refused(line: &[u8], code: i64, id: Value) {
    let folder = nowhere();
    let mut host = Host::start(folder.path(), &[]);
    host.send_bytes(line);
    host.send_bytes(b"\n");
    let answer = host.receive();
    let shown = String::from_utf8_lossy(line);
    assert_eq!(answer["error"]["code"], code, "{shown:.80}: {answer}");
    assert_eq!(answer.get("id").cloned().unwrap_or_default(), id, "{shown:.80}: {answer}");
    host.assert_alive();
    host.initialize("2025-11-25");
    host.assert_alive();
}

#[test]
fn std_01_a_line_that_is_no_json_is_answered_without_id_and_the_next_one_served() {
    for line in
        [&b"junk"[..], b"{", b"\xff\xfe", b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\xffng\"}", b"nul", b"'x'"]
    {
        check_refused(line, -32700, Value::Null);
    }
}

#[test]
fn std_01_duplicate_members_and_deep_nesting_are_not_executed() {
    check_refused(br#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}"#, -32700, Value::Null);
    check_refused(br#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, -32700, Value::Null);
    let deep =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}{}}}"#, "[".repeat(9000), "]".repeat(9000));
    check_refused(deep.as_bytes(), -32700, Value::Null);
}

#[test]
fn std_02_json_that_is_no_message_is_an_invalid_request() {
    check_refused(b"1", -32600, Value::Null);
    check_refused(b"null", -32600, Value::Null);
    check_refused(br#""ping""#, -32600, Value::Null);
    check_refused(br#"{"jsonrpc":"2.0"}"#, -32600, Value::Null);
    check_refused(br#"{"jsonrpc":"2.0","id":7}"#, -32600, json!(7));
    check_refused(br#"{"jsonrpc":"2.0","id":"a","method":1}"#, -32600, json!("a"));
    check_refused(br#"{"jsonrpc":"2.0","id":7,"Method":"ping"}"#, -32600, json!(7));
}

#[test]
fn std_03_an_unknown_method_is_not_found() {
    for method in ["foo", "resources/list", "prompts/list", "Tools/List", "sampling/createMessage", ""] {
        let line = json!({ "jsonrpc": "2.0", "id": "x1", "method": method });
        check_refused(line.to_string().as_bytes(), -32601, json!("x1"));
    }
}

#[test]
fn std_04_without_jsonrpc_two_nothing_is_executed() {
    check_refused(br#"{"id":1,"method":"ping"}"#, -32600, json!(1));
    check_refused(br#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600, json!(1));
    check_refused(br#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#, -32600, json!(1));
    check_refused(br#"{"JSONRPC":"2.0","id":1,"method":"ping"}"#, -32600, json!(1));
}

#[test]
fn std_05_an_id_is_a_string_or_an_integer() {
    for id in ["null", "1.5", "true", "[1]", "{}", "9223372036854775808", "1e3"] {
        let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        check_refused(line.as_bytes(), -32600, Value::Null);
    }
}

#[test]
fn ids_come_back_as_they_were() {
    let folder = nowhere();
    let mut host = Host::start(folder.path(), &[]);
    for id in [json!(0), json!(-1), json!(i64::MAX), json!(""), json!("7"), json!("ä\u{1b}")] {
        host.send(&json!({ "jsonrpc": "2.0", "id": id, "method": "ping" }));
        assert_eq!(host.receive()["id"], id);
    }
}

#[test]
fn std_06_a_batch_is_not_executed() {
    check_refused(br#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600, Value::Null);
    check_refused(b"[]", -32600, Value::Null);
}

#[test]
#[cfg(target_os = "linux")]
fn std_07_f_25_a_line_of_64_mib_is_dropped_in_bounded_memory() {
    let folder = nowhere();
    let mut host = Host::start(folder.path(), &[]);
    host.assert_alive();
    host.send_bytes(br#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":""#);
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..64 {
        host.send_bytes(&chunk);
    }
    host.send_bytes(b"\"}}\n");
    let answer = host.receive();
    assert_eq!((answer["error"]["code"].as_i64(), answer.get("id")), (Some(-32600), None), "{answer}");
    host.assert_alive();
    let peak = host.memory("VmHWM");
    assert!(peak < 64 * 1024, "{peak} KiB");
}

#[test]
fn std_08_an_unsupported_modern_version_names_those_that_are() {
    let folder = nowhere();
    let mut host = Host::start(folder.path(), &[]);
    for (method, version) in [("tools/list", "2099-01-01"), ("server/discover", "1900-01-01"), ("tools/call", "x")] {
        let mut meta = modern();
        meta["io.modelcontextprotocol/protocolVersion"] = json!(version);
        let answer = host.request(method, json!({ "name": "public_info", "_meta": meta }));
        assert_eq!(answer["error"]["code"], -32022, "{answer}");
        assert_eq!(answer["error"]["data"]["requested"], version);
        let supported = answer["error"]["data"]["supported"].as_array().unwrap();
        assert!(supported.contains(&json!("2026-07-28")), "{answer}");
    }
}

#[test]
fn std_09_a_modern_request_without_its_members_has_invalid_params() {
    let folder = nowhere();
    let mut host = Host::start(folder.path(), &[]);
    let version = "io.modelcontextprotocol/protocolVersion";
    let capabilities = "io.modelcontextprotocol/clientCapabilities";
    for initialized in [false, true] {
        if initialized {
            host.initialize("2025-11-25");
        }
        for meta in [
            json!({ version: "2026-07-28" }),
            json!({ capabilities: {} }),
            json!({ version: 1, capabilities: {} }),
            json!({ version: "2026-07-28", capabilities: "x" }),
        ] {
            for method in ["tools/list", "tools/call", "server/discover"] {
                let answer = host.request(method, json!({ "name": "public_info", "_meta": meta }));
                assert_eq!(answer["error"]["code"], -32602, "{method} {meta}: {answer}");
            }
        }
    }
    let mut host = Host::start(folder.path(), &[]);
    for method in ["tools/list", "tools/call", "server/discover"] {
        let answer = host.request(method, json!({ "name": "public_info" }));
        assert_eq!(answer["error"]["code"], -32602, "{method}: {answer}");
    }
}

#[test]
fn std_10_discover_may_come_first_and_lists_the_modern_version() {
    let folder = nowhere();
    let mut host = Host::start(folder.path(), &[]);
    let answer = host.request("server/discover", json!({ "_meta": modern() }));
    let result = &answer["result"];
    assert!(result["supportedVersions"].as_array().unwrap().contains(&json!("2026-07-28")), "{answer}");
    assert_eq!(result["resultType"], "complete");
    assert!(result["capabilities"]["tools"].is_object());
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "mcp-stdio-server");
    let listed = host.request("tools/list", json!({ "_meta": modern() }));
    assert_eq!(
        (&listed["result"]["resultType"], &listed["result"]["cacheScope"]),
        (&json!("complete"), &json!("private"))
    );
    assert_eq!(listed["result"]["ttlMs"], 0);
}

#[test]
fn a_modern_call_may_come_first() {
    let folder = nowhere();
    let mut host = Host::start(folder.path(), &[]);
    let answer = host.request("tools/call", json!({ "name": "public_info", "_meta": modern() }));
    assert_eq!(answer["result"]["structuredContent"]["server"], "mcp-stdio-server");
    assert_eq!(answer["result"]["resultType"], "complete");
    assert_eq!(answer["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "mcp-stdio-server");
}

#[test]
fn std_11_initialize_is_served_and_an_unknown_version_gets_the_newest_legacy_one() {
    for (asked, given) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("2099-01-01", "2025-11-25"),
        ("nonsense", "2025-11-25"),
    ] {
        let folder = nowhere();
        let mut host = Host::start(folder.path(), &[]);
        let answer = host.initialize(asked);
        assert_eq!(answer["result"]["protocolVersion"], given, "{asked}");
        assert_eq!(answer["result"]["serverInfo"]["name"], "mcp-stdio-server");
        assert!(answer["result"]["capabilities"]["tools"].is_object());
        let listed = host.request("tools/list", json!({}));
        assert!(listed["result"].get("resultType").is_none(), "{listed}");
        assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 4);
    }
}

#[test]
fn both_eras_live_on_one_process_in_any_order() {
    let folder = nowhere();
    let mut host = Host::start(folder.path(), &[]);
    let modern_call = |host: &mut Host| {
        let answer = host.request("tools/call", json!({ "name": "public_info", "_meta": modern() }));
        assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
    };
    let legacy_call = |host: &mut Host| {
        let answer = host.request("tools/call", json!({ "name": "public_info" }));
        assert_eq!(answer["result"]["isError"], false, "{answer}");
        assert!(answer["result"].get("resultType").is_none(), "{answer}");
    };
    host.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    host.request("server/discover", json!({ "_meta": modern() }));
    modern_call(&mut host);
    host.initialize("2025-06-18");
    legacy_call(&mut host);
    modern_call(&mut host);
    legacy_call(&mut host);
    // A second handshake counts, and ping belongs to the legacy era.
    assert_eq!(host.initialize("2025-11-25")["result"]["protocolVersion"], "2025-11-25");
    host.assert_alive();
    let ping = host.request("ping", json!({ "_meta": modern() }));
    assert_eq!(ping["error"]["code"], -32601, "{ping}");
}

#[test]
fn std_14_stdout_carries_json_rpc_only_and_every_request_has_one_answer() {
    let fixture = Fixture::new();
    let mut host = Host::start_with(&fixture.path(), &["--samples"], |command| {
        command.env("RUST_LOG", "trace");
    });
    host.initialize("2025-11-25");
    let mut owed = std::collections::BTreeSet::new();
    for round in 0..20 {
        owed.insert(host.send_request("tools/list", json!({})));
        owed.insert(host.send_request("tools/call", json!({ "name": "echo", "arguments": { "message": round } })));
        owed.insert(host.send_request("nonsense", json!({})));
        host.send_bytes(b"\n  \r\n");
    }
    while !owed.is_empty() {
        let answer = host.receive();
        assert!(owed.remove(&answer["id"].as_i64().unwrap()), "{answer}");
    }
    let (_, stderr) = host.finish();
    assert!(stderr.contains("call refused"), "the log has its own place: {stderr}");
}

#[test]
fn std_15_f_a_response_from_the_host_is_not_answered() {
    let folder = nowhere();
    let mut host = Host::start(folder.path(), &[]);
    host.send(&json!({ "jsonrpc": "2.0", "id": 1, "result": {} }));
    host.send(&json!({ "jsonrpc": "2.0", "id": 2, "error": { "code": 1, "message": "x" } }));
    host.send(&json!({ "jsonrpc": "2.0", "method": "notifications/unknown", "params": 1 }));
    host.assert_alive();
}

#[test]
fn std_16_cancelling_what_is_not_under_way_is_ignored() {
    let folder = nowhere();
    let mut host = Host::legacy(folder.path(), &[]);
    host.request("tools/list", json!({}));
    for id in [json!(1), json!(999), json!("x"), json!(null), json!({})] {
        host.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } }));
    }
    host.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled" }));
    host.assert_alive();
}

#[test]
fn std_18_params_that_are_no_object_are_invalid() {
    let folder = nowhere();
    let mut host = Host::legacy(folder.path(), &[]);
    for params in [json!([]), json!("x"), json!(1), json!(null)] {
        for method in ["tools/call", "tools/list", "initialize", "server/discover"] {
            let answer = host.request(method, params.clone());
            // Some hosts write an absent member as null; tools/call and initialize cannot do without.
            let may_be_absent = params.is_null() && ["tools/list", "server/discover"].contains(&method);
            let code = if may_be_absent { json!(null) } else { json!(-32602) };
            let code_is_right = answer["error"]["code"] == code || (may_be_absent && answer["error"]["code"] == -32602);
            assert!(code_is_right, "{method} {params}: {answer}");
        }
    }
    assert_eq!(host.request("tools/list", json!({ "cursor": "nowhere" }))["error"]["code"], -32602);
    for params in [
        json!({}),
        json!({ "name": 1 }),
        json!({ "name": "echo", "arguments": [] }),
        json!({ "name": "echo", "arguments": "x" }),
        json!({ "name": "echo", "_meta": [] }),
        json!({ "Name": "echo" }),
    ] {
        let answer = host.request("tools/call", params.clone());
        assert_eq!(answer["error"]["code"], -32602, "{params}: {answer}");
    }
    let answer = host.request("initialize", json!({ "protocolVersion": "2025-11-25" }));
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
}

#[test]
fn std_19_error_codes_are_those_of_json_rpc_and_mcp() {
    let folder = nowhere();
    let mut host = Host::start(folder.path(), &[]);
    let odd = [json!({}), json!([]), json!({ "_meta": modern() }), json!({ "_meta": modern(), "name": "nope" })];
    for method in ["tools/call", "tools/list", "resources/read", "prompts/get", "completion/complete", "tasks/get"] {
        for params in &odd {
            let answer = host.request(method, params.clone());
            if let Some(code) = answer["error"]["code"].as_i64() {
                assert!([-32700, -32600, -32601, -32602, -32603, -32022].contains(&code), "{answer}");
            }
        }
    }
}

#[test]
fn an_id_under_way_is_not_taken_twice() {
    let fixture = Fixture::new();
    let token = fixture.issue("mcp:tools:execute").token;
    let mut host = Host::legacy(&fixture.path(), &[]);
    let big = "x".repeat(500_000);
    let line = |id: i64, message: &str| {
        let arguments = json!({ "message": message, "access_token": token });
        let params = json!({ "name": "echo", "arguments": arguments });
        json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }).to_string() + "\n"
    };
    // In one write, so that the second is there before the first is answered.
    host.send_bytes((line(70, &big) + &line(70, "second")).as_bytes());
    let answers = [host.receive(), host.receive()];
    let refused = answers.iter().find(|answer| answer.get("id").is_none()).expect("one is refused without id");
    assert_eq!(refused["error"]["code"], -32600);
    let answered = answers.iter().find(|answer| answer["id"] == 70).unwrap();
    assert_eq!(answered["result"]["structuredContent"]["length"], 500_000);
    host.send_bytes(line(70, "third").as_bytes());
    assert_eq!(host.receive()["result"]["structuredContent"]["echo"], "third");
}

#[test]
fn a_last_line_without_newline_counts() {
    let folder = nowhere();
    let mut host = Host::start(folder.path(), &[]);
    host.send_bytes(br#"{"jsonrpc":"2.0","id":5,"method":"ping"}"#);
    drop(host.stdin.take());
    assert_eq!(host.receive()["id"], 5);
    assert!(host.wait(Duration::from_secs(2)).success());
}
