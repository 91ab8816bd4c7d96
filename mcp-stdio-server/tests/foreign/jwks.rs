//! Tokens that are checked by the keys of their issuer.

use serde_json::json;

use crate::issuer::{AUDIENCE, Issuer};
use crate::server::Server;

#[test]
fn a_token_of_another_issuer_opens_what_its_scopes_say_and_nothing_else() {
    let issuer = Issuer::start();
    let server = Server::start(&issuer, &["--verify", "jwks"]);

    let strange = server.call(None, "whoami", json!({}));
    assert_eq!(strange.status, 401);
    assert!(strange.challenge().contains("scope=\"mcp:tools:read\""), "{}", strange.challenge());
    let document = "https://mcp.example/.well-known/oauth-protected-resource/mcp";
    assert!(strange.challenge().contains(document), "{}", strange.challenge());
    let metadata = server.get("/.well-known/oauth-protected-resource/mcp").body;
    assert_eq!((&metadata["resource"], &metadata["authorization_servers"]), (&json!(AUDIENCE), &json!([issuer.url])));

    let good = server.whoami(&issuer.token(|_, _| {}));
    assert_eq!(good.status, 200, "{:?} {}", good.body, server.log());
    let who = good.structured();
    assert_eq!(
        (&who["subject"], &who["client_id"], &who["issuer"]),
        (&json!("ada@id"), &json!("app"), &json!(issuer.url))
    );
    assert_eq!((&who["resource"], &who["grant"]), (&json!(AUDIENCE), &json!(null)));

    let more = server.call(Some(&issuer.token(|_, _| {})), "echo", json!({ "message": "m" }));
    assert_eq!(more.status, 403);
    assert!(more.challenge().contains("insufficient_scope") && more.challenge().contains("mcp:tools:execute"));
    let other = server.whoami(&issuer.token(|_, claims| claims["aud"] = json!("https://other.example/mcp")));
    assert_eq!(other.status, 401);
    assert!(other.challenge().contains("invalid_token"));
}
