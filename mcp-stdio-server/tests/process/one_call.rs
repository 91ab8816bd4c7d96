//! Tokens that are good for one call (N8).

use serde_json::{Value, json};

use crate::arguments::{check_open, check_refused};
use crate::host::Host;
use crate::store::Fixture;

fn with(token: &str, mut arguments: Value) -> Value {
    arguments["access_token"] = json!(token);
    arguments
}

#[test]
fn n8_a_token_for_one_call_opens_that_call_once() {
    let fixture = Fixture::new();
    let issued = fixture.issue("mcp:tools:execute mcp:tools:read");
    let mut host = Host::legacy(&fixture.path(), &[]);
    let hi = json!({ "message": "hello" });
    let token = fixture.one_call(&issued, "echo", &hi);
    // What is refused does not use it up.
    check_refused(&host.call("echo", with(&token, json!({ "message": "ho" }))), "invalid_token");
    check_refused(&host.call("whoami", with(&token, json!({}))), "invalid_token");
    check_open(&host.call("echo", with(&token, hi.clone())));
    check_refused(&host.call("echo", with(&token, hi.clone())), "invalid_token");
    // The one that it came from lives on, and takes those that came from it along when it goes.
    check_open(&host.echo(&issued.token));
    let token = fixture.one_call(&issued, "echo", &hi);
    fixture.revoke(issued.grant);
    check_refused(&host.call("echo", with(&token, hi)), "invalid_token");
}

#[test]
fn n8_of_two_servers_that_get_the_same_token_at_once_one_makes_the_call() {
    let fixture = Fixture::new();
    let issued = fixture.issue("mcp:tools:execute");
    let mut hosts = [(); 2].map(|()| Host::legacy(&fixture.path(), &[]));
    let hi = json!({ "message": "hello" });
    for _ in 0..25 {
        let token = fixture.one_call(&issued, "echo", &hi);
        let ids = hosts.each_mut().map(|host| {
            host.send_request("tools/call", json!({ "name": "echo", "arguments": with(&token, hi.clone()) }))
        });
        let mut open = 0;
        for (host, id) in hosts.iter_mut().zip(ids) {
            let answer = host.receive();
            assert_eq!(answer["id"], id);
            match answer["result"]["isError"].as_bool() {
                Some(true) => check_refused(&answer["result"], "invalid_token"),
                _ => open += 1,
            }
        }
        assert_eq!(open, 1);
    }
}
