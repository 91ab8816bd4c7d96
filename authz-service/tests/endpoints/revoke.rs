//! REV and INT: giving tokens back, and asking about them.

use serde_json::{Value, json};

use crate::machines::resource_server;
use crate::support::{Options, Service};

fn text<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap()
}

#[test]
fn rev_01_an_access_token_goes_alone() {
    let service = Service::start();
    let client = service.public_client();
    let tokens = service.tokens(&client);
    let answer = service.post("/oauth/revoke", &[("client_id", &client), ("token", text(&tokens, "access_token"))]);
    assert_eq!((answer.status, answer.body.len(), answer.header("cache-control")), (200, 0, Some("no-store")));
    assert!(!service.is_alive(text(&tokens, "access_token")));
    assert_eq!(service.refresh(&client, text(&tokens, "refresh_token"), &[]).status, 200);
}

#[test]
fn rev_02_06_a_refresh_token_takes_everything_along_and_twice_is_fine() {
    let service = Service::start();
    let client = service.public_client();
    let tokens = service.tokens(&client);
    for path in ["/oauth/revoke", "/revoke"] {
        let form =
            [("client_id", client.as_str()), ("token", text(&tokens, "refresh_token")), ("token_type_hint", "x")];
        assert_eq!(service.post(path, &form).status, 200);
        assert!(!service.is_alive(text(&tokens, "access_token")));
    }
    service.refresh(&client, text(&tokens, "refresh_token"), &[]).fails(400, "invalid_grant");
}

#[test]
fn rev_03_04_05_unknown_missing_and_foreign_tokens() {
    let service = Service::start();
    let (client, other) = (service.public_client(), service.public_client());
    let tokens = service.tokens(&client);
    let long = "x".repeat(8 * 1024);
    for token in ["unknown", "a.b.c", long.as_str(), text(&tokens, "access_token"), text(&tokens, "refresh_token")] {
        assert_eq!(service.post("/oauth/revoke", &[("client_id", &other), ("token", token)]).status, 200);
    }
    // Contract C9: a longer one is no token of anybody's.
    let longer = service.post("/oauth/revoke", &[("client_id", &client), ("token", &format!("{long}x"))]);
    longer.fails(400, "invalid_request");
    assert!(service.is_alive(text(&tokens, "access_token")));
    assert_eq!(service.refresh(&client, text(&tokens, "refresh_token"), &[]).status, 200);
    service.post("/oauth/revoke", &[("client_id", &client)]).fails(400, "invalid_request");
    service.post("/oauth/revoke", &[("token", "x")]).fails(401, "invalid_client");
    service.post("/oauth/revoke", &[("client_id", "c_unknown"), ("token", "x")]).fails(401, "invalid_client");
}

#[test]
fn int_01_to_07_only_the_owner_learns_anything() {
    let service = Service::start();
    let owner = service.register(&json!({ "token_endpoint_auth_method": "client_secret_post" }));
    let other = service.register(&json!({ "token_endpoint_auth_method": "client_secret_post" }));
    let (id, secret) = (text(&owner, "client_id"), text(&owner, "client_secret"));
    let code = service.code(id, &[]);
    let mut form = crate::support::code_form(id, &code);
    form.push(("client_secret", secret));
    let tokens = service.post("/oauth/token", &form).json();
    let ask = |id: &str, secret: &str, token: &str| {
        service.post("/oauth/introspect", &[("client_id", id), ("client_secret", secret), ("token", token)])
    };
    let access = text(&tokens, "access_token");
    let told = ask(id, secret, access).json();
    for (name, value) in
        [("active", json!(true)), ("client_id", json!(id)), ("sub", json!("ada")), ("token_type", json!("Bearer"))]
    {
        assert_eq!(told[name], value, "{told}");
    }
    let nothing = json!({ "active": false });
    assert_eq!(ask(text(&other, "client_id"), text(&other, "client_secret"), access).json(), nothing);
    let (before, after) = access.split_at(access.len() - 20);
    let flipped = format!("{before}{}{}", if after.starts_with('A') { 'B' } else { 'A' }, &after[1..]);
    for token in ["unknown", "a.b.c", &flipped, text(&tokens, "refresh_token")] {
        assert_eq!(ask(id, secret, token).json(), nothing);
    }
    ask(id, "wrong", access).fails(401, "invalid_client");
    let public = service.public_client();
    service.post("/oauth/introspect", &[("client_id", &public), ("token", access)]).fails(401, "invalid_client");
    assert_eq!(service.get("/oauth/introspect").status, 405);
    let revoke = [("client_id", id), ("client_secret", secret), ("token", access)];
    assert_eq!(service.post("/oauth/revoke", &revoke).status, 200);
    assert_eq!(ask(id, secret, access).json(), nothing);
}

#[test]
fn int_03_a_resource_server_learns_of_the_tokens_for_it_and_of_no_others() {
    let served = "https://mcp.example/mcp";
    let service = Service::with(&Options { resources: vec![served, "https://other.example"], ..Options::default() });
    let server = |id: &str, resource: &str| service.commit(resource_server(&service, id, &[resource]));
    server("files", "urn:mcp:stdio:default");
    server("remote", "HTTPS://MCP.example/mcp");
    let client = service.public_client();
    let token = |more: &[(&str, &str)]| {
        let tokens = service.exchange(&client, &service.code(&client, more)).json();
        text(&tokens, "access_token").to_owned()
    };
    let (local, remote) = (token(&[]), token(&[("resource", served)]));
    let other = token(&[("resource", "https://other.example")]);
    let ask = |id: &str, token: &str| {
        service.post("/oauth/introspect", &[("client_id", id), ("client_secret", "s"), ("token", token)]).json()
    };
    let nothing = json!({ "active": false });
    for (id, token, aud) in [("files", &local, "urn:mcp:stdio:default"), ("remote", &remote, served)] {
        let told = ask(id, token);
        for (name, value) in [("active", json!(true)), ("client_id", json!(client)), ("aud", json!(aud))] {
            assert_eq!(told[name], value, "{told}");
        }
        for member in ["scope", "sub", "exp", "iss", "token_type"] {
            assert!(!told[member].is_null(), "{member}: {told}");
        }
    }
    for (id, token) in [("files", &remote), ("files", &other), ("remote", &local), ("remote", &other)] {
        assert_eq!(ask(id, token), nothing, "{id}");
    }
    // To ask is all it may: it gets no tokens, and takes none back.
    let form = [("client_id", "files"), ("client_secret", "s"), ("grant_type", "client_credentials")];
    service.post("/oauth/token", &form).fails(400, "unauthorized_client");
    let revoke = [("client_id", "files"), ("client_secret", "s"), ("token", local.as_str())];
    assert_eq!(service.post("/oauth/revoke", &revoke).status, 200);
    assert!(service.is_alive(&local));
    // The next answer knows of a revocation.
    service.post("/oauth/revoke", &[("client_id", &client), ("token", &local)]);
    assert_eq!(ask("files", &local), nothing);
    // Nobody names itself a resource server.
    let told = service.register(&json!({ "token_endpoint_auth_method": "client_secret_post", "resource": served }));
    let (id, secret) = (text(&told, "client_id"), text(&told, "client_secret"));
    let asked = [("client_id", id), ("client_secret", secret), ("token", remote.as_str())];
    assert_eq!(service.post("/oauth/introspect", &asked).json(), nothing);
}
