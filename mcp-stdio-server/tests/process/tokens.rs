//! Rows JWT, and what the store decides, through a running server.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use shared::oauth::jwt::Audience;
use shared::secret::{Secret, TokenHash};
use shared::state::{Change, Terms};
use shared::time::{Seconds, Timestamp};
use shared::token::KeySet;

use crate::arguments::{check_open, check_refused};
use crate::host::{Host, modern};
use crate::store::{Fixture, now};

const EXECUTE: &str = "mcp:tools:execute";

fn started() -> (Fixture, Host) {
    let fixture = Fixture::new();
    let host = Host::legacy(&fixture.path(), &[]);
    (fixture, host)
}

#[test]
fn f_33_rev_07_a_token_issued_after_the_start_opens_and_its_revocation_closes_at_the_next_call() {
    let (fixture, mut host) = started();
    for _ in 0..20 {
        let issued = fixture.issue(EXECUTE);
        check_open(&host.echo(&issued.token));
        fixture.revoke(issued.grant);
        check_refused(&host.echo(&issued.token), "invalid_token");
    }
}

#[test]
fn std_21_two_servers_follow_one_store() {
    let (fixture, mut one) = started();
    let mut two = Host::legacy(&fixture.path(), &[]);
    let issued = fixture.issue(EXECUTE);
    check_open(&one.echo(&issued.token));
    check_open(&two.echo(&issued.token));
    fixture.commit(vec![Change::AccessRevoked(issued.claims.jti)]);
    check_refused(&two.echo(&issued.token), "invalid_token");
    check_refused(&one.echo(&issued.token), "invalid_token");
}

#[test]
fn jwt_01_and_03_and_10_forgeries_are_refused() {
    let (fixture, mut host) = started();
    let issued = fixture.issue(EXECUTE);
    let payload = issued.token.split('.').nth(1).unwrap();
    let kid = &fixture.keys.public().id.0;
    let header = |text: String| URL_SAFE_NO_PAD.encode(text);
    let mut tokens = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE", "HS256", "RS256", "ES384"] {
        let header = header(format!(r#"{{"alg":"{alg}","typ":"at+jwt","kid":"{kid}"}}"#));
        tokens.push(format!("{header}.{payload}."));
        tokens.push(format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode([0; 64])));
        tokens.push(format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode([0x30, 6, 2, 1, 1, 2, 1, 1])));
    }
    let signature = issued.token.rsplit('.').next().unwrap();
    for kid in ["", "other", "../../keys.json", "http://127.0.0.1:1/jwks", "' OR 1=1 --", &"x".repeat(100_000)] {
        tokens.push(format!(
            "{}.{payload}.{signature}",
            header(format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{kid}"}}"#))
        ));
    }
    tokens.push(format!("{}.{payload}.{signature}", header(r#"{"alg":"ES256","typ":"at+jwt"}"#.to_owned())));
    for token in tokens {
        check_refused(&host.echo(&token), "invalid_token");
    }
    check_open(&host.echo(&issued.token));
}

#[test]
fn jwt_04_time_is_checked() {
    let (fixture, mut host) = started();
    let mut claims = fixture.claims(EXECUTE);
    claims.exp = now();
    check_refused(&host.echo(&fixture.issue_claims(claims).token), "invalid_token");
    let mut claims = fixture.claims(EXECUTE);
    claims.iat = now() + Seconds(300);
    check_refused(&host.echo(&fixture.issue_claims(claims).token), "invalid_token");
    let mut claims = fixture.claims(EXECUTE);
    claims.nbf = Some(now() + Seconds(300));
    check_refused(&host.echo(&fixture.issue_claims(claims).token), "invalid_token");
}

#[test]
fn jwt_04_a_token_that_was_remembered_still_expires() {
    let (fixture, mut host) = started();
    let mut claims = fixture.claims(EXECUTE);
    claims.exp = now() + Seconds(2);
    let issued = fixture.issue_claims(claims);
    check_open(&host.echo(&issued.token));
    crate::host::eventually("the token expires", std::time::Duration::from_secs(5), || {
        host.echo(&issued.token)["isError"] == true
    });
    assert!(now() >= issued.claims.exp);
}

#[test]
fn jwt_05_and_06_issuer_and_audience_are_compared_byte_for_byte() {
    let (fixture, mut host) = started();
    for issuer in ["http://localhost:3000/", "http://LOCALHOST:3000", "http://localhost:3001", "https://evil.example"] {
        let mut claims = fixture.claims(EXECUTE);
        let Ok(issuer) = issuer.parse() else { continue };
        claims.iss = issuer;
        check_refused(&host.echo(&fixture.issue_claims(claims).token), "invalid_token");
    }
    let ours = "urn:mcp:stdio:default";
    for (audience, opens) in [
        (vec!["urn:mcp:stdio:other"], false),
        (vec![], false),
        (vec!["urn:mcp:stdio:defaul", "urn:mcp:stdio:default2"], false),
        (vec!["urn:mcp:stdio:other", ours], true),
    ] {
        let mut claims = fixture.claims(EXECUTE);
        claims.aud = Audience::Many(audience.into_iter().map(str::to_owned).collect());
        let result = host.echo(&fixture.issue_claims(claims).token);
        assert_eq!(result["isError"] == false, opens, "{result}");
    }
}

#[test]
fn the_name_and_the_issuer_can_be_chosen() {
    let fixture = Fixture::new();
    let mut claims = fixture.claims(EXECUTE);
    claims.aud = Audience::One("urn:mcp:stdio:notes".parse().unwrap());
    let token = fixture.issue_claims(claims).token;
    check_open(&Host::legacy(&fixture.path(), &["--name", "notes"]).echo(&token));
    check_refused(&Host::legacy(&fixture.path(), &[]).echo(&token), "invalid_token");
    for (issuer, opens) in [("http://localhost:3000", true), ("http://localhost:3000/", false)] {
        let mut host = Host::start_with(&fixture.path(), &["--name", "notes"], |command| {
            command.env("MCP_AUTHZ_ISSUER", issuer);
        });
        host.initialize("2025-11-25");
        assert_eq!(host.echo(&token)["isError"] == false, opens, "{issuer}");
    }
}

#[test]
fn jwt_07_a_flipped_byte_anywhere_is_refused() {
    let (fixture, mut host) = started();
    let issued = fixture.issue(EXECUTE);
    for at in (0..issued.token.len()).step_by(5).chain([issued.token.len() - 1]) {
        let mut bytes = issued.token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        check_refused(&host.echo(std::str::from_utf8(&bytes).unwrap()), "invalid_token");
    }
    check_open(&host.echo(&issued.token));
}

#[test]
fn jwt_08_the_store_has_the_last_word() {
    let (fixture, mut host) = started();
    let claims = fixture.claims(EXECUTE);
    let token = fixture.sign(&claims);
    check_refused(&host.echo(&token), "invalid_token");
    fixture.record(&claims);
    check_open(&host.echo(&token));
    // Signed with more than was granted.
    let granted = fixture.issue("mcp:tools:read");
    let mut more = granted.claims.clone();
    more.scope = EXECUTE.parse().unwrap();
    check_refused(&host.echo(&fixture.sign(&more)), "invalid_token");
    fixture.commit(vec![Change::ClientRemoved(fixture.client.clone())]);
    check_refused(&host.echo(&token), "invalid_token");
}

#[test]
fn jwt_09_keys_come_and_go_without_a_restart() {
    let (fixture, mut host) = started();
    check_open(&host.echo(&fixture.issue(EXECUTE).token));
    let claims = fixture.claims(EXECUTE);
    fixture.record(&claims);
    let new = KeySet::generate(now()).unwrap();
    let token = new.mint(&claims).unwrap().expose().to_owned();
    check_refused(&host.echo(&token), "invalid_token");
    fixture.commit(vec![Change::KeyPublished(new.public())]);
    check_open(&host.echo(&token));
    let retire = |retires| Change::KeyRetired { id: new.public().id, retires };
    fixture.commit(vec![retire(now() + Seconds(60))]);
    check_open(&host.echo(&token));
    let earlier = Timestamp(now().0 - 10);
    fixture.commit(vec![retire(earlier), Change::Swept { before: now(), unused_clients: Timestamp(0) }]);
    check_refused(&host.echo(&token), "invalid_token");
}

#[test]
fn jwt_13_and_14_other_secrets_and_near_misses_are_no_access_tokens() {
    let (fixture, mut host) = started();
    let token = fixture.issue(EXECUTE).token;
    let near = [
        token[..token.len() - 1].to_owned(),
        token[1..].to_owned(),
        token.to_uppercase(),
        format!("{token} "),
        format!("{token}="),
        format!("Bearer {token}"),
        format!("{token}.{token}"),
        Secret::random().expose().to_owned(),
        "a.b.c".to_owned(),
        "x".repeat(1 << 20),
    ];
    for token in near {
        check_refused(&host.echo(&token), "invalid_token");
    }
}

#[test]
fn n15_a_tool_of_ours_that_became_another_shows_its_name_alone_and_is_refused() {
    let fixture = Fixture::new();
    let mut host = Host::start(&fixture.path(), &[]);
    let shown = [("echo".parse().unwrap(), TokenHash::of(b"what echo said then"))].into_iter().collect();
    let token = fixture.issue_under(EXECUTE, Terms { shown, ..Terms::default() }).token;
    let mut meta = modern();
    meta["authz/access_token"] = json!(token);
    let listed = host.request("tools/list", json!({ "_meta": meta }));
    let tools = listed["result"]["tools"].as_array().unwrap();
    let [echo, other] = ["echo", "get_time"].map(|name| tools.iter().find(|tool| tool["name"] == name).unwrap());
    assert_eq!(echo["_meta"]["authz/changed"], true, "{echo}");
    assert!(echo["annotations"].is_null() && echo["inputSchema"]["properties"].is_null(), "{echo}");
    assert!(other["_meta"]["authz/changed"].is_null() && other["description"].is_string(), "{other}");
    let call = json!({ "name": "echo", "arguments": { "message": "x" }, "_meta": meta });
    check_refused(&host.request("tools/call", call)["result"], "insufficient_scope");
}
