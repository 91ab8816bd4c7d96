//! Tokens that their issuer is asked about.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;

use crate::issuer::{Issuer, answer};
use crate::server::{Server, eventually};

const SECRET: &str = "of the test: with % and + and : in it";
const ASK: [&str; 4] = ["--verify", "introspection", "--introspection-client", "mcp server"];

/// One that believes an answer for so many seconds.
fn server(issuer: &Issuer, cache: &str) -> Server {
    let flags = [&ASK[..], &["--introspection-cache", cache]].concat();
    Server::start_with(&flags, |command: &mut Command| {
        command.args(["--issuer", &issuer.url]).env("MCP_AUTHZ_INTROSPECTION_SECRET", SECRET);
    })
}

#[test]
fn an_opaque_token_opens_what_its_issuer_says_until_it_says_otherwise() {
    let issuer = Issuer::start();
    let server = server(&issuer, "0");
    issuer.opaque("opaque-1", |_| {});
    let good = server.whoami("opaque-1");
    assert_eq!(good.status, 200, "{:?} {}", good.body, server.log());
    let who = good.structured();
    assert_eq!(
        (&who["subject"], &who["client_id"], &who["issuer"]),
        (&json!("ada@id"), &json!("app"), &json!(issuer.url))
    );
    assert_eq!(server.call(Some("opaque-1"), "echo", json!({ "message": "m" })).status, 403);
    // RFC 6749 section 2.3.1: encoded, then joined.
    let requests = issuer.requests("/introspect");
    let (head, body) = requests.iter().find(|(_, body)| body.contains("opaque-1")).unwrap();
    let basic = "Basic bWNwK3NlcnZlcjpvZit0aGUrdGVzdCUzQSt3aXRoKyUyNSthbmQrJTJCK2FuZCslM0EraW4raXQ=";
    assert!(head.to_ascii_lowercase().contains(&format!("authorization: {}", basic.to_ascii_lowercase())), "{head}");
    assert_eq!(body, "token=opaque-1&token_type_hint=access_token");

    issuer.tells("opaque-1", json!({ "active": false }));
    let revoked = server.whoami("opaque-1");
    assert_eq!(revoked.status, 401);
    assert!(revoked.challenge().contains("invalid_token"), "{}", revoked.challenge());
    for secret in ["opaque-1", SECRET, "of+the+test", &basic[6..]] {
        assert!(!server.log().contains(secret), "{}", server.log());
    }
}

#[test]
fn whatever_an_issuer_says_of_a_token_has_to_fit() {
    let issuer = Issuer::start();
    let server = server(&issuer, "5");
    type Change = fn(&mut serde_json::Value);
    let changes: [(&str, Change, u16); 9] = [
        ("good", |_| {}, 200),
        ("another-issuer", |told| told["iss"] = json!("https://id.example"), 401),
        ("another-server", |told| told["aud"] = json!("https://other.example/mcp"), 401),
        ("nobody", |told| drop(told.as_object_mut().unwrap().remove("aud")), 401),
        ("over", |told| told["exp"] = json!(1), 401),
        ("refresh", |told| told["token_type"] = json!("refresh_token"), 401),
        ("bound", |told| told["cnf"] = json!({ "jkt": "x" }), 401),
        ("early", |told| told["nbf"] = json!(told["exp"].as_u64().unwrap()), 401),
        ("narrow", |told| told["scope"] = json!("openid"), 403),
    ];
    for (token, change, status) in changes {
        issuer.opaque(token, change);
        assert_eq!(server.whoami(token).status, status, "{token}");
    }
    // What was said a moment ago is not asked again, although front and tool both look.
    let asked = || issuer.requests("/introspect").iter().filter(|(_, body)| body.contains("=good&")).count();
    assert_eq!((server.whoami("good").status, asked()), (200, 1));
}

#[test]
fn an_issuer_that_does_not_answer_is_503_and_never_401() {
    let issuer = Issuer::start();
    let server = server(&issuer, "0");
    issuer.opaque("opaque-1", |_| {});
    let twice = b"HTTP/1.1 200 OK\r\nContent-Length: 31\r\n\r\n{\"active\":false,\"active\":true}\n".to_vec();
    for fault in [
        answer(500, &json!({})),
        answer(401, &json!({ "error": "invalid_client" })),
        answer(302, &json!({})),
        answer(200, &json!({ "active": "true" })),
        answer(200, &json!({})),
        answer(200, &json!({ "active": false, "x": "x".repeat(300_000) })),
        twice,
        Vec::new(),
    ] {
        issuer.instead("/introspect", &fault);
        let refused = server.whoami("opaque-1");
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")), "{}", refused.body);
        assert_eq!(refused.challenge(), "");
        issuer.as_usual();
        eventually("the issuer is well again", || server.whoami("opaque-1").status == 200);
    }
    server.logs("of no use");
    server.logs("well again");
    assert!(!server.log().contains("opaque-1"));
    issuer.hang("/introspect");
    assert_eq!(server.whoami("opaque-1").status, 503);
}

#[test]
fn a_secret_is_taken_from_a_file_that_nobody_else_may_read() {
    let issuer = Issuer::start();
    issuer
        .metadata(|metadata| metadata["introspection_endpoint_auth_methods_supported"] = json!(["client_secret_post"]));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let set_mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    let flags = [&ASK[..], &["--introspection-secret-file", file.to_str().unwrap()]].concat();
    set_mode(0o644);
    let refused = Server::refused(&[&flags[..], &["--issuer", &issuer.url]].concat());
    assert!(refused.contains("chmod 600") && !refused.contains(SECRET), "{refused}");
    set_mode(0o600);
    let server = Server::start(&issuer, &flags);
    issuer.opaque("opaque-1", |_| {});
    assert_eq!(server.whoami("opaque-1").status, 200);
    let requests = issuer.requests("/introspect");
    let (head, body) = requests.iter().find(|(_, body)| body.contains("opaque-1")).unwrap();
    assert!(!head.to_ascii_lowercase().contains("authorization:"), "{head}");
    assert!(body.contains("client_id=mcp+server&client_secret=of+the+test"), "{body}");
    let without = Server::refused(&[&ASK[..], &["--issuer", &issuer.url]].concat());
    assert!(without.contains("MCP_AUTHZ_INTROSPECTION_SECRET"), "{without}");
}

#[test]
fn n3_a_stream_ends_with_its_token_and_not_with_a_moment_of_its_issuers() {
    let issuer = Issuer::start();
    let server = server(&issuer, "5");
    issuer.opaque("opaque-1", |_| {});
    let heard = server.listen("opaque-1");
    issuer.down();
    // Asked once at least while the issuer is away, and then told of the revocation.
    let asked = issuer.count("/introspect");
    eventually("it is asked about the token", || issuer.count("/introspect") > asked);
    issuer.tells("opaque-1", json!({ "active": false }));
    issuer.as_usual();
    assert!(heard().contains(": alive"));
}
