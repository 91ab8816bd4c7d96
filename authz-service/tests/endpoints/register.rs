//! REG: dynamic registration.

use serde_json::json;

use crate::support::{Options, Service};

const GOOD: &str = r#"{"redirect_uris":["https://a.example/cb"]}"#;

#[test]
fn reg_01_02_only_a_json_object_with_its_own_content_type_registers() {
    let service = Service::start();
    for body in ["", "{", "redirect_uris=x", "<html></html>", "[]"] {
        let headers = [("Content-Type", "application/json")];
        service.connect().send("POST", "/register", &headers, body.as_bytes()).fails(400, "invalid_client_metadata");
    }
    for content_type in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", ""] {
        let headers = [("Content-Type", content_type)];
        let answer = service.connect().send("POST", "/register", &headers, GOOD.as_bytes());
        answer.fails(400, "invalid_client_metadata");
    }
    service.connect().send("POST", "/register", &[], GOOD.as_bytes()).fails(400, "invalid_client_metadata");
    let twice = br#"{"redirect_uris":["https://a.example/cb"],"redirect_uris":["https://b.example/cb"]}"#;
    let headers = [("Content-Type", "application/json")];
    service.connect().send("POST", "/register", &headers, twice).fails(400, "invalid_client_metadata");
    service
        .connect()
        .send("POST", "/register", &headers, b"{\"client_name\":\"\xff\"}")
        .fails(400, "invalid_client_metadata");
    assert_eq!(service.count("clients"), 0);
}

#[test]
fn reg_03_to_16_19_what_is_refused_stores_nothing() {
    let service = Service::start();
    for (body, word) in [
        (json!({}), "invalid_redirect_uri"),
        (json!({ "redirect_uris": [] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["javascript:alert(1)"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["https://a.example/cb#f"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["/cb"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["http://a.example/cb"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["https://*.example.org/cb"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["myapp:/cb"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": vec!["https://a.example/cb"; 11] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": [format!("https://a.example/{}", "x".repeat(2031))] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["https://a.example"], "grant_types": ["implicit"] }), "invalid_client_metadata"),
        (json!({ "redirect_uris": ["https://a.example"], "response_types": ["token"] }), "invalid_client_metadata"),
        (json!({ "redirect_uris": ["https://a.example"], "logo_uri": "javascript:x" }), "invalid_client_metadata"),
        (
            json!({ "redirect_uris": ["https://a.example"], "jwks": { "keys": [{ "kty": "oct", "k": "x" }] } }),
            "invalid_client_metadata",
        ),
        (
            json!({ "redirect_uris": ["https://a.example"], "software_statement": "x.y.z" }),
            "invalid_software_statement",
        ),
        (json!({ "Redirect_URIs": ["https://a.example"] }), "invalid_redirect_uri"),
    ] {
        service.post_json("/register", &body).fails(400, word);
    }
    assert_eq!(service.count("clients"), 0);
}

#[test]
fn reg_10_a_body_over_64_kib_is_refused_and_the_connection_survives_a_smaller_one() {
    let service = Service::start();
    let large = json!({ "redirect_uris": ["https://a.example"], "x": "y".repeat(65 * 1024) });
    service.post_json("/register", &large).fails(413, "invalid_client_metadata");
    let mut connection = service.connect();
    let body = json!({ "x": vec!["y".repeat(1024); 60] }).to_string();
    let headers = [("Content-Type", "application/json")];
    connection.send("POST", "/register", &headers, body.as_bytes()).fails(400, "invalid_redirect_uri");
    assert_eq!(connection.send("POST", "/register", &headers, GOOD.as_bytes()).status, 201);
}

#[test]
fn reg_17_too_many_registrations_from_one_address_wait() {
    let service = Service::with(&Options { limits: true, ..Options::default() });
    let known = service.public_client();
    let limited = (0..200).find_map(|_| {
        let answer = service.post_json("/register", &json!({ "redirect_uris": ["https://a.example/cb"] }));
        (answer.status == 429).then_some(answer)
    });
    let limited = limited.expect("a limit");
    assert!(limited.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    // Whoever is registered already is not affected.
    assert_eq!(service.exchange(&known, "x").json()["error"], "invalid_grant");
}

#[test]
fn reg_20_21_what_a_client_is_told() {
    let service = Service::start();
    for path in ["/register", "/oauth/register"] {
        let body = json!({ "redirect_uris": ["http://127.0.0.1/cb"], "token_endpoint_auth_method": "none" });
        let answer = service.post_json(path, &body);
        assert_eq!((answer.status, answer.header("cache-control")), (201, Some("no-store")));
        let told = answer.json();
        assert!(told.get("client_secret").is_none());
        assert_eq!(told["redirect_uris"], body["redirect_uris"]);
        assert_eq!(told["client_id_issued_at"], 1_800_000_000);
        assert!(!told["client_id"].as_str().unwrap().starts_with("https://"));
    }
    let told = service.register(&json!({}));
    let secret = told["client_secret"].as_str().unwrap();
    assert_eq!((secret.len(), &told["client_secret_expires_at"]), (43, &json!(0)));
    assert!(!service.dump().contains(secret));
}
