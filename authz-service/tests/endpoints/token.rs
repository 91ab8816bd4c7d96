//! TOK: codes become tokens.

use serde_json::{Value, json};
use shared::oauth::form;
use shared::state::Change;

use crate::support::http::Answer;
use crate::support::{Options, REDIRECT, Service, VERIFIER, claims, code_form, header};

fn confidential(service: &Service, method: Value) -> (String, String) {
    let told = service.register(&json!({ "token_endpoint_auth_method": method }));
    let text = |name: &str| told[name].as_str().unwrap().to_owned();
    (text("client_id"), text("client_secret"))
}

fn basic(id: &str, secret: &str) -> String {
    use base64::Engine;
    let pair = format!("{}:{}", form::encode_value(id), form::encode_value(secret));
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

fn with_header(service: &Service, authorization: &str, code: &str) -> Answer {
    let headers = [("Authorization", authorization), ("Content-Type", "application/x-www-form-urlencoded")];
    let body = [("grant_type", "authorization_code"), ("code", code), ("code_verifier", VERIFIER)];
    service.connect().send("POST", "/oauth/token", &headers, form::encode(&body).as_bytes())
}

/// The form with one parameter replaced, or left out.
fn changed<'a>(form: &[(&'a str, &'a str)], name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut form: Vec<_> = form.iter().copied().filter(|(known, _)| *known != name).collect();
    if !value.is_empty() {
        form.push((name, value));
    }
    form
}

#[test]
fn tok_01_a_second_use_revokes_what_the_first_gave() {
    let service = Service::start();
    let client = service.public_client();
    let code = service.code(&client, &[]);
    let tokens = service.exchange(&client, &code).json();
    let access = tokens["access_token"].as_str().unwrap();
    assert!(service.is_alive(access));
    service.exchange(&client, &code).fails(400, "invalid_grant");
    assert!(!service.is_alive(access));
    service.refresh(&client, tokens["refresh_token"].as_str().unwrap(), &[]).fails(400, "invalid_grant");
}

#[test]
fn tok_02_to_09_18_a_failed_check_spends_and_revokes_nothing() {
    let service = Service::start();
    let (client, other) = (service.public_client(), service.public_client());
    let code = service.code(&client, &[]);
    let good = code_form(&client, &code);
    let (long, wrong) = ("x".repeat(60_000), "x".repeat(43));
    for (name, value, word) in [
        ("code_verifier", wrong.as_str(), "invalid_grant"),
        ("code_verifier", "short", "invalid_grant"),
        ("code_verifier", "", "invalid_request"),
        ("client_id", &other, "invalid_grant"),
        ("redirect_uri", "http://127.0.0.1:1/cb", "invalid_grant"),
        ("code", "garbage", "invalid_grant"),
        ("code", "", "invalid_request"),
        ("code", &long, "invalid_request"),
        ("resource", "urn:mcp:stdio:other", "invalid_target"),
        ("resource", "https://other.example", "invalid_target"),
        ("grant_type", "password", "unsupported_grant_type"),
        ("grant_type", "client_credentials", "unauthorized_client"),
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange", "unauthorized_client"),
        ("grant_type", "", "invalid_request"),
    ] {
        service.post("/oauth/token", &changed(&good, name, value)).fails(400, word);
    }
    service.post("/oauth/token", &changed(&good, "code", &"x".repeat(1 << 20))).fails(413, "invalid_request");
    let answer = service.post("/oauth/token", &changed(&good, "redirect_uri", ""));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn tok_08_a_code_lives_for_a_minute() {
    let service = Service::start();
    let client = service.public_client();
    let (in_time, late) = (service.code(&client, &[]), service.code(&client, &[]));
    service.advance(60);
    assert_eq!(service.exchange(&client, &in_time).status, 200);
    service.advance(1);
    service.exchange(&client, &late).fails(400, "invalid_grant");
}

#[test]
fn tok_11_json_bodies_as_in_the_systems_that_this_replaces() {
    let service = Service::start();
    let (client, secret) = confidential(&service, Value::Null);
    let code = service.code(&client, &[]);
    let body = json!({
        "grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT,
        "client_id": client, "client_secret": secret, "code_verifier": VERIFIER,
    });
    let text = body.to_string();
    let send = |content_type: &str, text: &str| {
        service.connect().send("POST", "/oauth/token", &[("Content-Type", content_type)], text.as_bytes())
    };
    send("text/plain", &text).fails(400, "invalid_request");
    send("application/json", &text.replacen('{', "{\"code\":\"x\",", 1)).fails(400, "invalid_request");
    send("application/json", &text.replacen('{', "{\"x\":{},", 1)).fails(400, "invalid_request");
    send("application/json", &text.replacen('{', "{\"x\":1,", 1)).fails(400, "invalid_request");
    send("application/json", &text[1..]).fails(400, "invalid_request");
    assert_eq!(send("application/json; charset=utf-8", &text).status, 200);
}

#[test]
fn tok_12_21_methods_and_origins() {
    let service = Service::start();
    let answer = service.get("/oauth/token?grant_type=authorization_code");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST, OPTIONS")));
    for path in ["/oauth/token", "/token", "/register", "/oauth/revoke"] {
        let headers = [
            ("Origin", "https://a.example"),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization,content-type"),
        ];
        let answer = service.connect().send("OPTIONS", path, &headers, b"");
        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        assert!(answer.header("access-control-allow-headers").unwrap().contains("Authorization"));
        let answer = service.post(path, &[]);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "errors can be read too");
    }
}

#[test]
fn tok_13_to_17_clients_prove_who_they_are_by_their_own_method() {
    let service = Service::start();
    let (client, secret) = confidential(&service, json!("client_secret_basic"));
    let code = service.code(&client, &[]);
    let wrong = with_header(&service, &basic(&client, "wrong"), &code);
    wrong.fails(401, "invalid_client");
    assert!(wrong.header("www-authenticate").unwrap().starts_with("Basic "));
    let mut post = code_form(&client, &code);
    post.push(("client_secret", &secret));
    let by_form = service.post("/oauth/token", &post);
    by_form.fails(401, "invalid_client");
    assert_eq!(by_form.header("www-authenticate"), None);
    service.exchange(&client, &code).fails(401, "invalid_client");
    with_header(&service, "Bearer x", &code).fails(401, "invalid_client");
    with_header(&service, &basic("c_unknown", "x"), &code).fails(401, "invalid_client");
    service.exchange("c_unknown", &code).fails(401, "invalid_client");
    service.exchange("\u{e4}", &code).fails(401, "invalid_client");
    let query = format!("/oauth/token?client_id={client}&client_secret={secret}");
    service.post(&query, &code_form(&client, &code)[..1]).fails(401, "invalid_client");
    let lower = basic(&client, &secret).replace("Basic", "bAsIc");
    assert_eq!(with_header(&service, &lower, &code).status, 200, "nothing was spent");

    let public = service.public_client();
    let code = service.code(&public, &[]);
    let mut secretive = code_form(&public, &code);
    secretive.push(("client_secret", "x"));
    service.post("/oauth/token", &secretive).fails(401, "invalid_client");
    assert_eq!(service.exchange(&public, &code).status, 200);
}

#[test]
fn tok_19_a_guesser_waits_and_is_told_how_long() {
    let service = Service::with(&Options { limits: true, ..Options::default() });
    let (client, secret) = confidential(&service, json!("client_secret_post"));
    let code = service.code(&client, &[]);
    let attempt = |secret: &str| {
        let mut form = code_form(&client, &code);
        form.push(("client_secret", secret));
        service.post("/oauth/token", &form)
    };
    let limited = (0..100).map(|_| attempt("wrong")).find(|answer| answer.status == 429);
    assert!(limited.expect("a limit").header("retry-after").is_some());
    let other = service.public_client();
    assert_eq!(service.exchange(&other, &service.code(&other, &[])).status, 200, "others go on");
    service.advance(59);
    assert_eq!(attempt(&secret).status, 429, "until the minute is over");
    service.advance(1);
    attempt("wrong").fails(401, "invalid_client");
    assert_eq!(attempt(&secret).status, 200, "no permanent lock, and the code is not spent");
}

#[test]
fn tok_19_of_many_guesses_at_once_no_more_than_the_limit_are_told_anything() {
    let service = Service::with(&Options { limits: true, ..Options::default() });
    let (client, secret) = confidential(&service, json!("client_secret_post"));
    let ask = |secret: &str| {
        let form = [("client_id", client.as_str()), ("client_secret", secret), ("grant_type", "refresh_token")];
        service.post("/oauth/token", &[&form[..], &[("refresh_token", "x")]].concat()).status
    };
    let at_once = |secret: &str, times: usize| -> Vec<u16> {
        std::thread::scope(|scope| {
            let runs: Vec<_> =
                (0..8).map(|_| scope.spawn(|| (0..times).map(|_| ask(secret)).collect::<Vec<_>>())).collect();
            runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
        })
    };
    // What goes well is not counted, however much of it there is.
    assert_eq!(at_once(&secret, 10), [400; 80]);
    let told = at_once("wrong", 10);
    assert_eq!(told.iter().filter(|status| **status == 401).count(), 60, "{told:?}");
    assert_eq!(told.iter().filter(|status| **status == 429).count(), 20, "{told:?}");
}

#[test]
fn tok_20_24_the_answer_and_the_token() {
    let service = Service::start();
    let client = service.public_client();
    let code = service.code(&client, &[("scope", "mcp:tools:read unknown"), ("resource", "urn:mcp:stdio:notes")]);
    let answer = service.exchange(&client, &code);
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let tokens = answer.json();
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&json!("Bearer"), &json!(3600)));
    assert_eq!(tokens["scope"], "mcp:tools:read");
    let access = tokens["access_token"].as_str().unwrap();
    assert_eq!((&header(access)["typ"], &header(access)["alg"]), (&json!("at+jwt"), &json!("ES256")));
    let claims = claims(access);
    for (name, value) in [
        ("iss", json!(service.issuer)),
        ("sub", json!("ada")),
        ("aud", json!("urn:mcp:stdio:notes")),
        ("client_id", json!(client)),
        ("scope", json!("mcp:tools:read")),
        ("iat", json!(1_800_000_000_u64)),
        ("exp", json!(1_800_003_600_u64)),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    assert!(claims["jti"].is_string() && claims["grant"].is_string());
}

#[test]
fn tok_23_a_removed_clients_code_is_useless() {
    let service = Service::start();
    let client = service.public_client();
    let code = service.code(&client, &[]);
    service.commit(Change::ClientRemoved(client.parse().unwrap()));
    service.exchange(&client, &code).fails(401, "invalid_client");
}

#[test]
fn tok_01_of_32_parallel_redemptions_one_succeeds() {
    let service = Service::start();
    let client = service.public_client();
    let code = service.code(&client, &[]);
    let start = std::sync::Barrier::new(32);
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..32)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = service.connect();
                    start.wait();
                    connection.post("/oauth/token", &code_form(&client, &code)).status
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 31, "{statuses:?}");
}
