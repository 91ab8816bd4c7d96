//! N8: a token becomes one that is good for one call (RFC 8693).

use serde_json::json;
use shared::state::Wanted;
use shared::token::opaque_id;

use crate::support::{REDIRECT, Service, code_form};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

#[test]
fn n8_a_live_token_becomes_one_for_one_call_and_nothing_else_does() {
    let service = Service::start();
    let metadata = service.get("/.well-known/oauth-authorization-server").json();
    assert!(metadata["grant_types_supported"].as_array().unwrap().contains(&json!(GRANT)));
    assert_eq!(metadata["authorization_details_types_supported"], json!(["mcp_tool_call"]));
    let register = |redirect: &str| {
        let more = json!({
            "redirect_uris": [redirect], "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", GRANT],
        });
        service.register(&more)["client_id"].as_str().unwrap().to_owned()
    };
    let (client, other) = (register(REDIRECT), register(REDIRECT));
    let code = service.code(&client, &[]);
    let tokens = service.post("/oauth/token", &code_form(&client, &code)).json();
    let subject = tokens["access_token"].as_str().unwrap();
    let details = json!([{
        "type": "mcp_tool_call", "tool": "echo", "arguments_sha256": "RBNvo1WzZ4oRRq0W9-hknpT7T8If536DEMBg9hyq_4o",
    }])
    .to_string();
    let ask = |client: &str, subject: &str, details: &str| {
        let form = [
            ("grant_type", GRANT),
            ("client_id", client),
            ("subject_token", subject),
            ("subject_token_type", ACCESS_TOKEN),
            ("authorization_details", details),
        ];
        service.post("/oauth/token", &form)
    };
    let answer = ask(&client, subject, &details);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let given = answer.json();
    assert_eq!((&given["issued_token_type"], &given["token_type"]), (&json!(ACCESS_TOKEN), &json!("Bearer")));
    assert_eq!((&given["expires_in"], given.get("refresh_token")), (&json!(60), None));
    let one_shot = given["access_token"].as_str().unwrap();
    let facts = service.facts(&Wanted { access: opaque_id(one_shot), ..Wanted::default() });
    assert_eq!(facts.access.unwrap().once.unwrap().tool.as_str(), "echo");
    assert!(!service.dump().contains(one_shot), "the store knows its hash");

    ask(&client, subject, "[]").fails(400, "invalid_authorization_details");
    ask(&other, subject, &details).fails(400, "invalid_request");
    ask(&client, one_shot, &details).fails(400, "invalid_request");
    ask(&client, "garbage", &details).fails(400, "invalid_request");
    ask(&service.public_client(), subject, &details).fails(400, "unauthorized_client");
    // REV-01, REV-05: who may give it back, and that it is gone then.
    let lives = || service.facts(&Wanted { access: opaque_id(one_shot), ..Wanted::default() }).access.is_some();
    for (who, token, left) in
        [(&other, one_shot, true), (&client, &one_shot[..one_shot.len() - 1], true), (&client, one_shot, false)]
    {
        let answer = service.post("/oauth/revoke", &[("client_id", who), ("token", token)]);
        assert_eq!((answer.status, lives()), (200, left));
    }

    service.post("/oauth/revoke", &[("client_id", &client), ("token", subject)]);
    ask(&client, subject, &details).fails(400, "invalid_request");
}
