//! AUZ: the authorization endpoint.

use serde_json::json;
use shared::oauth::form;

use crate::support::http::Answer;
use crate::support::person::Person;
use crate::support::{CHALLENGE, Options, REDIRECT, Service, authorize_query, authorize_url};

/// What ada, signed in, is answered.
fn ask(service: &Service, client: &str, more: &[(&str, &str)]) -> Answer {
    service.signed_in().get(&authorize_url(client, more))
}

#[track_caller]
fn is_error(service: &Service, answer: &Answer, word: &str) {
    assert_eq!(answer.status, 302, "{}", answer.text());
    assert!(answer.header("location").unwrap().starts_with(REDIRECT));
    assert_eq!(answer.redirected("error").as_deref(), Some(word));
    assert_eq!(answer.redirected("state").as_deref(), Some("the-state"));
    assert_eq!(answer.redirected("iss").as_ref(), Some(&service.issuer));
    assert_eq!(answer.redirected("code"), None);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[test]
fn auz_01_to_04_without_a_known_client_and_redirect_there_is_a_page() {
    let service = Service::start();
    let client = service.public_client();
    for more in [
        &[("client_id", "c_unknown")][..],
        &[("client_id", "(none)")],
        &[("redirect_uri", "https://evil.example/cb")],
        &[("redirect_uri", "http://127.0.0.1:1/cb/../evil")],
        &[("redirect_uri", "javascript:alert(1)")],
    ] {
        ask(&service, &client, more).is_page(400);
        service.get(&authorize_url(&client, more)).is_page(400);
    }
    let two = service.register(&json!({ "redirect_uris": ["https://a.example/1", "https://a.example/2"] }));
    ask(&service, two["client_id"].as_str().unwrap(), &[("redirect_uri", "(none)")]).is_page(400);
    assert_eq!(service.count("codes"), 0);
}

#[test]
fn auz_05_06_the_only_redirect_is_used_and_loopback_ports_are_free() {
    let service = Service::start();
    for host in ["127.0.0.1", "[::1]", "localhost"] {
        let registered = format!("http://{host}/cb");
        let client = service.register(&json!({ "redirect_uris": [registered] }));
        let client = client["client_id"].as_str().unwrap();
        let requested = format!("http://{host}:49152/cb");
        let answer = service.signed_in().consent(&authorize_url(client, &[("redirect_uri", &requested)]), "allow");
        assert!(answer.header("location").unwrap().starts_with(&format!("{requested}?code=")));
        let answer = service.signed_in().consent(&authorize_url(client, &[("redirect_uri", "(none)")]), "allow");
        assert!(answer.header("location").unwrap().starts_with(&format!("{registered}?code=")));
    }
}

#[test]
fn auz_07_to_10_12_13_15_errors_go_to_the_client_of_a_person_who_is_signed_in() {
    let service = Service::start();
    let client = service.public_client();
    for (more, word) in [
        (("response_type", "(none)"), "invalid_request"),
        (("response_type", "token"), "unsupported_response_type"),
        (("response_type", "code token"), "unsupported_response_type"),
        (("code_challenge", "(none)"), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("scope", "admin"), "invalid_scope"),
        (("resource", "https://other.example"), "invalid_target"),
        (("prompt", "none"), "consent_required"),
    ] {
        is_error(&service, &ask(&service, &client, &[more]), word);
        // Anybody may have registered this client: without a session, its error goes nowhere (contract C4).
        let word = if word == "consent_required" { "login_required" } else { word };
        let page = service.get(&authorize_url(&client, &[more]));
        page.is_page(400);
        assert!(page.text().contains(word), "{}", page.text());
    }
    let two = format!("{}&resource=urn:mcp:stdio:a&resource=urn:mcp:stdio:b", authorize_url(&client, &[]));
    is_error(&service, &service.signed_in().get(&two), "invalid_target");
}

#[test]
fn auz_11_repeated_parameters_are_never_followed() {
    let service = Service::start();
    let client = service.public_client();
    for again in [format!("client_id={client}"), "redirect_uri=https%3A%2F%2Fevil.example%2Fcb".to_owned()] {
        let query = authorize_query(&client, &[]);
        for target in [format!("/oauth/authorize?{query}&{again}"), format!("/oauth/authorize?{again}&{query}")] {
            service.signed_in().get(&target).is_page(400);
        }
    }
    let twice = format!("{}&scope=a&scope=b", authorize_url(&client, &[]));
    is_error(&service, &service.signed_in().get(&twice), "invalid_request");
}

#[test]
fn auz_14_16_17_24_spelling_empty_and_unknown_parameters() {
    let service = Service::with(&Options { resources: vec!["https://mcp.example/mcp"], ..Options::default() });
    let client = service.public_client();
    let more =
        [("resource", "HTTPS://MCP.Example/mcp"), ("scope", ""), ("error", "x"), ("code", "y"), ("unknown", "z")];
    let code = service.code(&client, &more);
    let tokens = service.exchange(&client, &code).json();
    let claims = crate::support::claims(tokens["access_token"].as_str().unwrap());
    assert_eq!(claims["aud"], "https://mcp.example/mcp");
    let empty = [("resource", ""), ("state", ""), ("scope", "")];
    let answer = service.signed_in().consent(&authorize_url(&client, &empty), "allow");
    assert_eq!(answer.redirected("state"), None);
}

#[test]
fn auz_18_19_20_21_success_carries_code_state_and_iss_and_nothing_else() {
    let service = Service::start();
    let uri = "http://127.0.0.1/cb?keep=me&and=that";
    let client = service.register(&json!({ "redirect_uris": [uri] }));
    let client = client["client_id"].as_str().unwrap();
    let state = format!("%+&=\u{20ac}\u{1f600}{}", "s%".repeat(1000));
    let answer =
        service.signed_in().consent(&authorize_url(client, &[("redirect_uri", uri), ("state", &state)]), "allow");
    assert_eq!(answer.status, 303);
    let location = answer.header("location").unwrap();
    let (before, query) = location.split_once('?').unwrap();
    assert_eq!(before, "http://127.0.0.1/cb");
    assert!(query.starts_with("keep=me&and=that&code="));
    let names: Vec<_> = query.split('&').map(|pair| pair.split('=').next().unwrap()).collect();
    assert_eq!(names, ["keep", "and", "code", "state", "iss"]);
    assert_eq!(answer.redirected("state"), Some(state));
    assert_eq!(answer.redirected("iss").as_ref(), Some(&service.issuer));
}

#[test]
fn auz_22_23_other_methods_and_origins() {
    let service = Service::start();
    for method in ["HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = service.connect().send(method, "/oauth/authorize", &[("Origin", "https://a.example")], b"");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, POST")), "{method}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let client = service.public_client();
    let headers = [("Origin", "https://a.example")];
    let answer = service.connect().send("GET", &authorize_url(&client, &[]), &headers, b"");
    answer.is_page(200);
}

#[test]
fn auz_25_a_code_is_random_short_lived_and_stored_as_a_hash() {
    let service = Service::start();
    let client = service.public_client();
    let (one, two) = (service.code(&client, &[]), service.code(&client, &[]));
    assert!(one.len() >= 43 && one != two);
    service.advance(61);
    service.exchange(&client, &one).fails(400, "invalid_grant");
}

#[test]
fn auz_26_strangers_store_nothing() {
    let service = Service::start();
    let client = service.public_client();
    for n in 0..100 {
        service.get(&authorize_url(&format!("c_{n}"), &[])).is_page(400);
        service.get(&authorize_url(&client, &[])).is_page(200);
    }
    let counts = ["clients", "users", "sessions", "codes", "grants"].map(|what| service.count(what));
    assert_eq!(counts, [1, 1, 0, 0, 0]);
}

#[test]
fn a_request_may_come_as_a_form_and_by_the_other_path() {
    let service = Service::start();
    let client = service.public_client();
    let query = authorize_query(&client, &[]);
    for path in ["/oauth/authorize", "/authorize"] {
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let page = service.connect().send("POST", path, &headers, query.as_bytes());
        page.is_page(200);
        assert!(page.text().contains("name=\"password\""));
        service.get(&format!("{path}?{query}")).is_page(200);
    }
}

#[test]
fn what_real_clients_send_is_accepted() {
    let service = Service::start();
    let registered = service.register(&json!({ "scope": "mcp:tools", "token_endpoint_auth_method": "none" }));
    let client = registered["client_id"].as_str().unwrap();
    let granted = |more: &[(&str, &str)]| {
        let code = service.code(client, more);
        service.exchange(client, &code).json()["scope"].as_str().unwrap().to_owned()
    };
    assert_eq!(granted(&[("prompt", "consent")]), "mcp:tools:execute mcp:tools:read");
    assert_eq!(granted(&[("scope", "mcp:resources offline_access openid")]), "mcp:resources offline_access");
}

#[test]
fn auto_approve_answers_at_once() {
    let service = Service::with(&Options { auto_approve: true, ..Options::default() });
    let client = service.public_client();
    let answer = service.get(&authorize_url(&client, &[]));
    assert_eq!(answer.status, 302);
    let code = answer.redirected("code").unwrap();
    let tokens = service.exchange(&client, &code).json();
    assert_eq!(crate::support::claims(tokens["access_token"].as_str().unwrap())["sub"], "demo");
    is_error(
        &service,
        &service.get(&authorize_url(&client, &[("response_type", "token")])),
        "unsupported_response_type",
    );
}

#[test]
fn the_request_survives_the_login_byte_for_byte() {
    let service = Service::start();
    let client = service.public_client();
    let state = "a+b%2B c&\u{e4}";
    let query = form::encode(&[
        ("client_id", &client),
        ("response_type", "code"),
        ("state", state),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("redirect_uri", REDIRECT),
    ]);
    let mut person = Person::new(&service);
    let answer = person.sign_in(&format!("/oauth/authorize?{query}"), "ada", crate::support::PASSWORD);
    assert_eq!(
        (answer.status, answer.header("location").unwrap()),
        (303, format!("/oauth/authorize?{query}").as_str())
    );
    let answer = person.consent(answer.header("location").unwrap(), "allow");
    assert_eq!(answer.redirected("state").as_deref(), Some(state));
}
