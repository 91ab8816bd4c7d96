//! Pushed authorization requests (RFC 9126).

use serde_json::json;
use shared::oauth::form;
use shared::scope::Scopes;
use shared::state::{Change, Effect, Tool, Wanted};

use crate::support::documents::Documents;
use crate::support::http::Answer;
use crate::support::person::{Form, Person};
use crate::support::{CHALLENGE, Options, PASSWORD, REDIRECT, Service, claims, code_form};

fn push(service: &Service, client: &str, more: &[(&str, &str)]) -> Answer {
    let usual = [
        ("client_id", client),
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("state", "the-state"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    let mut fields: Vec<_> =
        usual.into_iter().filter(|(name, _)| !more.iter().any(|(other, _)| name == other)).collect();
    fields.extend(more.iter().filter(|(_, value)| *value != "(none)"));
    service.post("/oauth/par", &fields)
}

fn pushed(service: &Service, client: &str, more: &[(&str, &str)]) -> String {
    let answer = push(service, client, more);
    assert_eq!((answer.status, answer.header("cache-control")), (201, Some("no-store")), "{}", answer.text());
    assert_eq!(answer.json()["expires_in"], 90);
    answer.json()["request_uri"].as_str().unwrap().to_owned()
}

fn url(client: &str, request_uri: &str, more: &str) -> String {
    format!("/oauth/authorize?{}{more}", form::encode(&[("client_id", client), ("request_uri", request_uri)]))
}

#[test]
fn a_pushed_request_is_what_the_person_sees_whatever_the_browser_says_beside_it() {
    let service = Service::start();
    let client = service.public_client();
    let name = pushed(&service, &client, &[("scope", "mcp:tools:read"), ("resource", "urn:mcp:stdio:a")]);
    assert!(name.starts_with("urn:ietf:params:oauth:request_uri:"), "{name}");
    let more = "&scope=mcp:tools:execute&redirect_uri=https://evil.example/&state=other&resource=urn:mcp:stdio:b";
    let mut ada = service.signed_in();
    let page = ada.get(&url(&client, &name, more));
    page.is_page(200);
    assert!(page.text().contains("urn:mcp:stdio:a") && !page.text().contains("mcp:tools:execute"));
    // The person may look again, and answers once.
    let again = ada.get(&url(&client, &name, ""));
    let answer = ada.submit(&Form::first(&page).with("decision", "allow"));
    assert_eq!((answer.status, answer.redirected("state").as_deref()), (303, Some("the-state")));
    let tokens = service.post("/oauth/token", &code_form(&client, &answer.redirected("code").unwrap()));
    assert_eq!(tokens.json()["scope"], "mcp:tools:read");
    ada.submit(&Form::first(&again).with("decision", "allow")).is_page(400);
    ada.get(&url(&client, &name, "")).is_page(400);
    assert_eq!(service.count("grants"), 1);
}

#[test]
fn the_page_shows_the_tools_of_the_server_that_the_pushed_request_names() {
    let service = Service::with(&Options { resources: vec!["https://mcp.example/"], ..Options::default() });
    let announce = |resource: &str, name: &str| {
        let (name, scopes) = (name.parse().unwrap(), "mcp:tools:read".parse().unwrap());
        let tools = vec![Tool { name, title: String::new(), effect: Effect::Read, scopes, print: None }];
        service.commit(Change::ToolsAnnounced {
            resource: resource.parse().unwrap(),
            tools,
            scopes: Scopes::default(),
        });
    };
    announce("https://mcp.example/", "look");
    announce("urn:mcp:stdio:default", "elsewhere");
    let client = service.public_client();
    let asked = [("scope", "mcp:tools:read"), ("resource", "https://mcp.example/")];
    let name = pushed(&service, &client, &asked);
    let mut ada = service.signed_in();
    for more in ["", "&resource=urn:mcp:stdio:default"] {
        let page = ada.get(&url(&client, &name, more));
        page.is_page(200);
        assert!(page.text().contains("tool:look") && !page.text().contains("tool:elsewhere"), "{}", page.text());
    }
    // Unticked, the tool is not granted.
    let form = Form::first(&ada.get(&url(&client, &name, ""))).with("decision", "allow").with("lasting", "revoked");
    let answer = ada.submit(&form.with("scope:mcp:tools:read", "on"));
    assert_eq!(answer.status, 303, "{}", answer.text());
    let tokens = service.exchange(&client, &answer.redirected("code").unwrap()).json();
    let grant = claims(tokens["access_token"].as_str().unwrap())["grant"].as_str().unwrap().parse().unwrap();
    let grant = service.facts(&Wanted { grant: Some(grant), ..Wanted::default() }).grant.unwrap();
    assert_eq!((grant.resource.as_str(), grant.allows("look")), ("https://mcp.example/", false));
}

#[test]
fn a_name_is_its_clients_lives_for_90_seconds_and_a_no_ends_it_too() {
    let service = Service::start();
    let (client, other) = (service.public_client(), service.public_client());
    let mut ada = service.signed_in();
    let denied = pushed(&service, &client, &[]);
    let answer = ada.consent(&url(&client, &denied, ""), "deny");
    assert_eq!(answer.redirected("error").as_deref(), Some("access_denied"));
    let (in_time, late) = (pushed(&service, &client, &[]), pushed(&service, &client, &[]));
    ada.get(&url(&other, &in_time, "")).is_page(400);
    service.advance(90);
    ada.get(&url(&client, &in_time, "")).is_page(200);
    service.advance(1);
    let refused = ada.get(&url(&client, &late, ""));
    refused.is_page(400);
    assert!(refused.text().contains("invalid_request_uri"), "{}", refused.text());
    for name in
        [&denied, "urn:ietf:params:oauth:request_uri:", "urn:x", "https://client.example/request.jwt", &in_time[..40]]
    {
        ada.get(&url(&client, name, "")).is_page(400);
    }
    ada.get(&url(&client, &in_time, &format!("&request_uri={}", form::encode_value(&in_time)))).is_page(400);
}

#[test]
fn a_client_by_its_metadata_document_may_push_too() {
    let documents = Documents::serve();
    let service = Service::with(&Options { policy: Some(|policy| policy.cimd.local = true), ..Options::default() });
    let client = documents.url("/client.json");
    let name = pushed(&service, &client, &[]);
    let answer = service.signed_in().consent(&url(&client, &name, ""), "allow");
    let code = answer.redirected("code").unwrap_or_else(|| panic!("{}", answer.text()));
    assert_eq!(service.exchange(&client, &code).status, 200);
    let elsewhere = documents.url("/other.json");
    push(&service, &elsewhere, &[("redirect_uri", "https://evil.example/")]).fails(400, "invalid_request");
}

#[test]
fn a_person_who_signs_in_slowly_still_decides() {
    let service = Service::start();
    let client = service.public_client();
    let at = url(&client, &pushed(&service, &client, &[]), "");
    let mut person = Person::new(&service);
    let page = person.get(&at);
    page.is_page(200);
    service.advance(400);
    let form = Form::first(&page).with("username", "ada").with("password", PASSWORD);
    let answer = person.submit(&form);
    assert_eq!((answer.status, answer.header("location")), (303, Some(at.as_str())));
    let answer = person.consent(&at, "allow");
    assert!(answer.redirected("code").is_some(), "{}", answer.text());
}

#[test]
fn every_check_of_the_authorization_endpoint_is_made_at_once_and_told_as_json() {
    let service = Service::start();
    let client = service.public_client();
    for (more, status, word) in [
        (&[("redirect_uri", "https://evil.example/")][..], 400, "invalid_request"),
        (&[("code_challenge", "(none)")], 400, "invalid_request"),
        (&[("code_challenge_method", "plain")], 400, "invalid_request"),
        (&[("response_type", "token")], 400, "unsupported_response_type"),
        (&[("response_type", "(none)")], 400, "invalid_request"),
        (&[("scope", "nothing")], 400, "invalid_scope"),
        (&[("resource", "https://other.example")], 400, "invalid_target"),
        (&[("request_uri", "urn:ietf:params:oauth:request_uri:x")], 400, "invalid_request"),
        (&[("client_id", "c_nobody")], 401, "invalid_client"),
        (&[("client_id", "(none)")], 401, "invalid_client"),
        (&[("client_secret", "x")], 401, "invalid_client"),
    ] {
        push(&service, &client, more).fails(status, word);
    }
    service.post_json("/oauth/par", &json!({ "client_id": client })).fails(400, "invalid_request");
    let two = "resource=urn:mcp:stdio:a&resource=urn:mcp:stdio:b";
    let body = format!("{two}&{}", form::encode(&[("client_id", &client), ("response_type", "code")]));
    let body = format!("{body}&code_challenge={CHALLENGE}&code_challenge_method=S256");
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    service.connect().send("POST", "/oauth/par", &headers, body.as_bytes()).fails(400, "invalid_target");
    let get = service.get("/oauth/par");
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
}

#[test]
fn where_pushing_is_required_nothing_else_is_taken() {
    let service = Service::with(&Options { require_pushed: true, ..Options::default() });
    let client = service.public_client();
    let document = service.get("/.well-known/oauth-authorization-server").json();
    assert_eq!(document["require_pushed_authorization_requests"], true);
    let mut ada = service.signed_in();
    ada.get(&crate::support::authorize_url(&client, &[])).is_page(400);
    let name = pushed(&service, &client, &[]);
    let answer = ada.consent(&url(&client, &name, ""), "allow");
    assert!(answer.redirected("code").is_some(), "{}", answer.text());
}

#[test]
fn nobody_is_asked_in_development_mode_and_a_name_is_still_good_once() {
    let service = Service::with(&Options { auto_approve: true, ..Options::default() });
    let client = service.public_client();
    let at = url(&client, &pushed(&service, &client, &[]), "");
    assert!(service.get(&at).redirected("code").is_some());
    service.get(&at).is_page(400);
}
