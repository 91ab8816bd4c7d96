//! What operators and their machines ask.

use serde_json::json;

use crate::support::{Options, Service};

#[test]
fn a_request_has_one_name_in_header_body_and_page() {
    let service = Service::start();
    let answer = service.get("/health");
    let id = answer.header("x-request-id").unwrap();
    assert!(id.len() == 8 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    let page = service.get("/oauth/authorize?client_id=nobody");
    assert!(page.text().contains(page.header("x-request-id").unwrap()), "{}", page.text());
    // A stranger cannot choose it; a proxy of ours can, within reason.
    let with = |id: &str| {
        let answer = service.connect().send("GET", "/health", &[("X-Request-Id", id)], b"");
        answer.header("x-request-id").unwrap().to_owned()
    };
    assert_ne!(with("mine"), "mine");
    let networks = vec!["127.0.0.1".parse().unwrap()];
    service.app.proxies.set(authz_service::http::proxy::Proxies { networks, ..Default::default() });
    assert_eq!(with("from-the.proxy_1"), "from-the.proxy_1");
    for bad in ["<b>", "a b", "x".repeat(65).as_str(), ""] {
        assert_ne!(with(bad), bad);
    }
}

#[test]
fn ready_says_which_part_is_not() {
    let service = Service::start();
    let ready = service.get("/ready");
    assert_eq!((ready.status, &ready.json()["ready"]), (200, &json!(true)));
    service.app.stopping.store(true, std::sync::atomic::Ordering::SeqCst);
    let ready = service.get("/ready");
    assert_eq!((ready.status, &ready.json()["checks"]["stopping"]), (503, &json!(true)));
    service.app.stopping.store(false, std::sync::atomic::Ordering::SeqCst);
}

#[test]
fn after_a_failed_write_health_tries_again_by_itself() {
    let service = Service::start();
    service.app.store_failed.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(service.get("/health").json()["status"], "ok");
    assert!(!service.app.store_failed.load(std::sync::atomic::Ordering::SeqCst));
}

#[test]
fn met_03_a_resource_of_this_origin_is_described_at_its_own_place() {
    let issuer = "https://as.example";
    let resources = vec!["https://as.example/mcp", "https://elsewhere.example/mcp"];
    let service = Service::with(&Options { issuer: Some(issuer), resources, ..Options::default() });
    let found = service.get("/.well-known/oauth-protected-resource/mcp");
    assert_eq!((found.status, found.header("access-control-allow-origin")), (200, Some("*")));
    let document = found.json();
    assert_eq!(document["resource"], "https://as.example/mcp");
    assert_eq!(document["authorization_servers"], json!([issuer]));
    assert!(!document["scopes_supported"].to_string().contains("offline_access"));
    for path in ["", "/", "/other", "/mcp/x", "//mcp"] {
        let answer = service.get(&format!("/.well-known/oauth-protected-resource{path}"));
        answer.fails(404, "not_found");
    }
}

#[test]
fn only_pages_of_the_listed_origins_may_call_when_there_is_a_list() {
    let service = Service::start();
    service.app.cors.set(Some(vec!["https://app.example".to_owned()]));
    for (origin, allowed) in [("https://app.example", Some("https://app.example")), ("https://evil.example", None)] {
        for (method, path) in [("GET", "/oauth/jwks"), ("OPTIONS", "/oauth/token"), ("POST", "/oauth/token")] {
            let answer = service.connect().send(method, path, &[("Origin", origin)], b"");
            assert_eq!(answer.header("access-control-allow-origin"), allowed, "{method} {path}");
            assert_eq!(answer.header("vary"), Some("Origin"));
            assert_eq!(answer.header("access-control-allow-credentials"), None);
        }
    }
    let login = service.connect().send("POST", "/login", &[("Origin", "https://app.example")], b"");
    assert_eq!(login.header("access-control-allow-origin"), None);
}

#[test]
fn the_document_and_its_page_are_served_and_load_nothing_from_elsewhere() {
    let service = Service::start();
    let document = service.get("/openapi.json").json();
    assert_eq!((&document["openapi"], &document["servers"][0]["url"]), (&json!("3.1.0"), &json!(service.issuer)));
    let page = service.get("/docs");
    page.is_page(200);
    let text = page.text().replace("&#x2f;", "/");
    assert!(text.contains("POST /oauth/token") && !text.contains("POST /token"), "{text}");
}
