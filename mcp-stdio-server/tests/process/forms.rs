//! A login asked for in a form, by hosts that show no pages: in either era, with a person who decides in the store.

use serde_json::{Value, json};

use crate::arguments::{check_open, check_refused};
use crate::host::{Host, modern};
use crate::ladder::{World, answer, check_link, check_open_and_taken_back, echo, next};

/// What the person reads, and the code in it; nothing is asked for.
#[track_caller]
fn read(world: &World, params: &Value) -> String {
    assert_eq!(params["mode"], "form", "{params}");
    assert_eq!(params["requestedSchema"], json!({ "type": "object", "properties": {} }), "{params}");
    let words = params["message"].as_str().unwrap();
    let (_, rest) = words.split_once(&format!("{}/device?user_code=", world.issuer)).unwrap();
    let code = rest[..9].to_owned();
    assert!(rest.contains(&format!("shows the code {code}")), "{words}");
    code
}

#[test]
fn r27_form_elicitation_of_2025_11_25_and_before() {
    for capability in [json!({ "form": {} }), json!({})] {
        let world = World::new();
        let mut host = world.legacy_with(&[], &json!({ "elicitation": capability }));
        let ask = |host: &mut Host| {
            let id = echo(host);
            (id, next(host, "elicitation/create"))
        };
        let (id, question) = ask(&mut host);
        let code = read(&world, &question["params"]);
        host.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "decline" } }));
        check_refused(&answer(&mut host, id), "access_denied");
        let (id, question) = ask(&mut host);
        host.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "cancel" } }));
        assert_eq!(check_link(&world, &answer(&mut host, id)), code, "it is one login all the while");
        let (id, question) = ask(&mut host);
        // Whoever says yes too early waits for themselves.
        let yes = json!({ "action": "accept", "content": {} });
        host.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": yes }));
        host.assert_alive_among_notifications();
        world.allow(&code);
        check_open(&answer(&mut host, id));
        let (seen, _) = host.finish();
        assert!(!seen.contains("elicitation/complete"), "that is for pages: {seen}");
    }
}

#[test]
fn r27_a_form_is_taken_back_when_the_person_was_quicker() {
    let world = World::new();
    let mut host = world.legacy_with(&[], &json!({ "elicitation": {} }));
    let id = echo(&mut host);
    let question = next(&mut host, "elicitation/create");
    world.allow(&read(&world, &question["params"]));
    check_open_and_taken_back(&mut host, id, &question);
}

#[test]
fn std_15_and_r27_a_form_in_a_result_of_2026_07_28() {
    let world = World::new();
    let mut host = world.start(&["--login-wait", "1"]);
    let mut call = |capability: &Value, more: &Value| {
        let mut meta = modern();
        meta["io.modelcontextprotocol/clientCapabilities"] = json!({ "elicitation": capability });
        let mut params = json!({ "name": "echo", "arguments": { "message": "hello" }, "_meta": meta });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        host.request("tools/call", params)["result"].clone()
    };
    let first = call(&json!({ "form": {} }), &json!({}));
    assert_eq!(first["resultType"], "input_required", "{first}");
    let question = &first["inputRequests"]["login"];
    assert_eq!(question["method"], "elicitation/create");
    let code = read(&world, &question["params"]);
    let back = |action: &str| json!({ "requestState": first["requestState"], "inputResponses": { "login": { "action": action } } });
    check_refused(&call(&json!({}), &back("decline")), "access_denied");
    check_refused(&call(&json!({}), &back("cancel")), "unauthorized");
    let waited = call(&json!({}), &back("accept"));
    assert!(waited["resultType"] == "input_required" && waited.get("inputRequests").is_none(), "{waited}");
    world.allow(&code);
    check_open(&call(&json!({}), &json!({ "requestState": waited["requestState"] })));
}

#[test]
fn r27_nobody_is_shown_a_form_below_its_rung_or_beside_a_page() {
    let world = World::new();
    for (flags, capability, mode) in [
        (&["--login", "link"][..], json!({ "form": {} }), None),
        (&["--login", "code"], json!({}), None),
        (&["--login", "elicit"], json!({ "form": {}, "url": {} }), Some("url")),
        (&["--login", "elicit"], json!({ "form": {} }), Some("form")),
    ] {
        let mut host = world.legacy_with(flags, &json!({ "elicitation": capability }));
        let id = echo(&mut host);
        match mode {
            None => check_refused(&answer(&mut host, id), "unauthorized"),
            Some(mode) => assert_eq!(next(&mut host, "elicitation/create")["params"]["mode"], mode),
        }
    }
}

#[test]
fn n12_the_trail_says_what_became_of_a_login_and_never_that_a_token_came() {
    let world = World::new();
    let mut host = world.legacy_with(&["--login", "elicit"], &json!({ "elicitation": {} }));
    let mut asked = |action: Option<&str>| {
        let id = echo(&mut host);
        let question = next(&mut host, "elicitation/create");
        let code = read(&world, &question["params"]);
        match action {
            Some(action) => {
                host.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": action } }));
            }
            None => world.deny(&code),
        }
        answer(&mut host, id)
    };
    for action in [Some("decline"), Some("cancel"), None] {
        asked(action);
    }
    host.finish();
    let mut plain = world.legacy_with(&["--login", "link", "--name", "other"], &json!({}));
    for _ in 0..2 {
        let id = echo(&mut plain);
        check_link(&world, &answer(&mut plain, id));
    }
    plain.finish();
    let causes = world.causes();
    assert_eq!(causes, ["login-declined", "login-closed", "login-denied", "no-token", "no-token"]);
}
