//! MET: what the service says about itself, and that it is true.

use serde_json::json;

use crate::support::{Options, Service};

#[test]
fn met_01_06_07_09_both_documents_are_exact_and_everything_in_them_works() {
    let service = Service::start();
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
        let answer = service.get(path);
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("*")));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        let document = answer.json();
        assert_eq!(document["issuer"], service.issuer);
        assert_eq!(document["code_challenge_methods_supported"], json!(["S256"]));
        assert_eq!(document["authorization_response_iss_parameter_supported"], true);
        for (name, method) in [
            ("authorization_endpoint", "GET"),
            ("token_endpoint", "POST"),
            ("registration_endpoint", "POST"),
            ("revocation_endpoint", "POST"),
            ("introspection_endpoint", "POST"),
            ("device_authorization_endpoint", "POST"),
            ("pushed_authorization_request_endpoint", "POST"),
            ("jwks_uri", "GET"),
        ] {
            let url = document[name].as_str().unwrap();
            let target = url.strip_prefix(&service.issuer).unwrap();
            let answer = service.connect().send(method, target, &[], b"");
            assert!(![404, 405].contains(&answer.status), "{name}");
        }
        assert!(document.get("require_pushed_authorization_requests").is_none());
        assert_eq!(service.connect().send("HEAD", path, &[], b"").status, 200);
    }
}

#[test]
fn met_02_an_issuer_with_a_path_is_found_at_the_inserted_place_and_not_at_the_root() {
    let service = Service::with(&Options { issuer: Some("http://localhost:4000/tenant"), ..Options::default() });
    for path in [
        "/.well-known/oauth-authorization-server/tenant",
        "/.well-known/openid-configuration/tenant",
        "/tenant/.well-known/openid-configuration",
    ] {
        let document = service.get(path).json();
        assert_eq!(document["issuer"], "http://localhost:4000/tenant", "{path}");
        assert_eq!(document["token_endpoint"], "http://localhost:4000/tenant/oauth/token");
    }
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/oauth/jwks"] {
        assert_eq!(service.get(path).status, 404, "{path}");
    }
    assert_eq!(service.get("/tenant/oauth/jwks").status, 200);
    assert_eq!(service.get("/tenant").status, 200);
    assert_eq!(service.get("/health").status, 200);
}

#[test]
fn met_08_the_key_that_signs_is_published_and_nothing_private() {
    let service = Service::start();
    let answer = service.get("/oauth/jwks");
    assert!(answer.header("cache-control").unwrap().contains("max-age=300"));
    let keys = answer.json()["keys"].as_array().unwrap().clone();
    let client = service.public_client();
    let tokens = service.tokens(&client);
    let kid = crate::support::header(tokens["access_token"].as_str().unwrap())["kid"].clone();
    let key = keys.iter().find(|key| key["kid"] == kid).expect("our key");
    assert_eq!(
        (&key["kty"], &key["crv"], &key["alg"], &key["use"]),
        (&json!("EC"), &json!("P-256"), &json!("ES256"), &json!("sig"))
    );
    assert!(keys.iter().all(|key| key.get("d").is_none()));
}

#[test]
fn met_10_a_foreign_host_name_reaches_no_endpoint() {
    let service = Service::start();
    for host in ["evil.example", "evil.example:80", "localhost.evil.example"] {
        let request = format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = service.connect().raw(request.as_bytes(), false);
        assert_eq!(answer.status, 421, "{host}");
    }
    let absolute = b"GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(service.connect().raw(absolute, false).status, 421);
    let ours = b"GET /health HTTP/1.1\r\nHost: LocalHost:1\r\n\r\n";
    assert_eq!(service.connect().raw(ours, false).status, 200);
}

#[test]
fn health_and_index_tell_what_runs() {
    let service = Service::with(&Options { auto_approve: true, ..Options::default() });
    let health = service.get("/health").json();
    assert_eq!(
        (&health["status"], &health["service"], &health["auto_approve"]),
        (&json!("ok"), &json!("authz-service"), &json!(true))
    );
    let index = service.get("/").json();
    assert_eq!(index["endpoints"]["token"], format!("{}/oauth/token", service.issuer));
    let page = service.connect().send("GET", "/", &[("Accept", "text/html,*/*")], b"");
    page.is_page(200);
    assert!(page.text().contains("Development mode"));
    let style = service.get("/assets/style.css");
    assert_eq!((style.status, style.header("content-type")), (200, Some("text/css; charset=utf-8")));
}
