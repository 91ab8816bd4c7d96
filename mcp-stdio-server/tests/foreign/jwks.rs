//! Tokens that are checked by the keys of their issuer.

use std::net::TcpListener;

use serde_json::json;
use shared::store::calls::{Bearer, Decision, Entry, whole};

use crate::issuer::{AUDIENCE, Issuer, answer};
use crate::server::{Server, eventually};

const JWKS: [&str; 2] = ["--verify", "jwks"];

#[test]
fn a_token_of_another_issuer_opens_what_its_scopes_say_and_nothing_else() {
    let issuer = Issuer::start();
    let server = Server::start(&issuer, &JWKS);

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

#[test]
fn every_refusal_reaches_the_client_as_401_and_the_log_holds_no_token() {
    let issuer = Issuer::start();
    let server = Server::start(&issuer, &JWKS);
    let good = issuer.token(|_, _| {});
    let claims = issuer.claims().to_string();
    let twice = claims.replacen('{', "{\"aud\":\"https://other.example\",", 1);
    let bad = [
        issuer.token(|header, _| header["typ"] = json!("JWT")),
        issuer.token(|header, _| header["alg"] = json!("none")),
        issuer.token(|header, _| header["alg"] = json!("HS256")),
        issuer.token(|header, _| header["kid"] = json!("other")),
        issuer.token(|header, _| header["crit"] = json!(["b64"])),
        issuer.token(|_, claims| claims["iss"] = json!(format!("{}/", claims["iss"].as_str().unwrap()))),
        issuer.token(|_, claims| claims["aud"] = json!(["https://mcp.example/"])),
        issuer.token(|_, claims| claims["exp"] = json!(claims["iat"].as_u64().unwrap() - 1)),
        issuer.token(|_, claims| claims["nbf"] = json!(claims["iat"].as_u64().unwrap() + 120)),
        issuer.token(|_, claims| claims["cnf"] = json!({ "jkt": "x" })),
        issuer.token_saying(&twice),
        format!("{good}x"),
        "opaque".to_owned(),
    ];
    for token in &bad {
        let refused = server.whoami(token);
        assert_eq!(refused.status, 401, "{token}");
        assert!(refused.challenge().contains("error=\"invalid_token\""), "{}", refused.challenge());
        assert!(!server.log().contains(token), "{}", server.log());
    }
    assert_eq!(server.whoami(&good).status, 200);
    assert!(!server.log().contains(&good));
    // Whatever names an unknown key has the keys fetched again once in half a minute.
    assert_eq!(issuer.count("/jwks"), 2);
}

#[test]
fn jwt_09_a_new_key_is_found_and_the_old_one_counts_no_more() {
    let issuer = Issuer::start();
    let server = Server::start(&issuer, &JWKS);
    let old = issuer.token(|_, _| {});
    assert_eq!(server.whoami(&old).status, 200);
    issuer.rotate("k2");
    assert_eq!(server.whoami(&issuer.token(|_, _| {})).status, 200);
    assert_eq!(server.whoami(&old).status, 401);
}

#[test]
fn an_issuer_of_no_use_is_503_and_its_fault_is_in_the_log() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("http://{}/jwks", elsewhere.local_addr().unwrap());
    elsewhere.set_nonblocking(true).unwrap();
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n").into_bytes();
    let huge = answer(200, &json!({ "keys": [], "x": "x".repeat(300_000) }));
    let html = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>".to_vec();
    let twice = b"HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{\"keys\":[],\"keys\":[]}".to_vec();
    for (fault, said) in [
        (Vec::new(), ""),
        (redirect, "status 302"),
        (huge, "256 KiB"),
        (html, "cannot be read"),
        (twice, "cannot be read"),
        (answer(500, &json!({})), "status 500"),
        (answer(200, &json!({ "keys": [{ "kty": "oct", "k": "AAAA", "kid": "k1" }] })), "no key that can be used"),
    ] {
        let issuer = Issuer::start();
        issuer.instead("/jwks", &fault);
        let server = Server::start(&issuer, &JWKS);
        let refused = server.whoami(&issuer.token(|_, _| {}));
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")), "{said}");
        server.logs(said);
        server.logs("of no use");
        // Without a token nothing need be checked.
        assert_eq!(server.call(None, "whoami", json!({})).status, 401);
    }
    assert!(elsewhere.accept().is_err(), "a redirect was followed");
}

#[test]
fn dsc_03_an_issuer_is_who_it_says_it_is() {
    let issuer = Issuer::start();
    issuer.metadata(|metadata| metadata["issuer"] = json!("https://id.example"));
    let server = Server::start(&issuer, &JWKS);
    assert_eq!(server.whoami(&issuer.token(|_, _| {})).status, 503);
    server.logs("byte for byte");
    assert_eq!(issuer.count("/jwks"), 0);
}

#[test]
fn metadata_are_found_wherever_an_issuer_with_a_path_may_have_them() {
    for place in [
        "/.well-known/oauth-authorization-server/realms/one",
        "/.well-known/openid-configuration/realms/one",
        "/realms/one/.well-known/openid-configuration",
    ] {
        let issuer = Issuer::below("/realms/one");
        issuer.metadata_at(place);
        let server = Server::start(&issuer, &JWKS);
        assert_eq!(server.whoami(&issuer.token(|_, _| {})).status, 200, "{place} {}", server.log());
    }
}

#[test]
fn an_issuer_that_was_down_when_the_server_started_is_found_when_it_is_up() {
    let issuer = Issuer::start();
    issuer.down();
    let server = Server::start(&issuer, &JWKS);
    let token = issuer.token(|_, _| {});
    assert_eq!(server.whoami(&token).status, 503);
    issuer.as_usual();
    eventually("the keys are there", || server.whoami(&token).status == 200);
    server.logs("well again");
    // And what is known serves on when it is down again.
    issuer.down();
    assert_eq!(server.whoami(&token).status, 200);
}

#[test]
fn tokens_as_keycloak_writes_them_are_taken_when_the_operator_says_so() {
    let issuer = Issuer::start();
    let flags = ["--verify", "jwks", "--token-type", "jwt", "--audience", "account"];
    let server = Server::start(&issuer, &flags);
    let keycloak = |change: fn(&mut serde_json::Value)| {
        issuer.token(|header, claims| {
            header["typ"] = json!("JWT");
            let members = claims.as_object_mut().unwrap();
            members.remove("client_id");
            members.extend([
                ("azp".to_owned(), json!("app")),
                ("typ".to_owned(), json!("Bearer")),
                ("aud".to_owned(), json!(["other", "account"])),
            ]);
            change(claims);
        })
    };
    let good = server.whoami(&keycloak(|_| {}));
    assert_eq!((good.status, &good.structured()["client_id"]), (200, &json!("app")), "{:?}", good.body);
    // An ID token of the client that is called like the audience.
    let id = keycloak(|claims| {
        (claims["typ"], claims["aud"]) = (json!("ID"), json!("account"));
        claims.as_object_mut().unwrap().remove("scope");
    });
    assert_eq!(server.whoami(&id).status, 401);
    assert_eq!(server.whoami(&keycloak(|claims| claims["typ"] = json!("Refresh"))).status, 401);
}

#[test]
fn n12_the_trail_names_the_issuer_and_its_names_for_people_and_programs() {
    let issuer = Issuer::start();
    let server = Server::start(&issuer, &JWKS);
    assert_eq!(server.whoami(&issuer.token(|_, _| {})).status, 200);
    assert_eq!(server.call(Some(&issuer.token(|_, _| {})), "echo", json!({ "message": "m" })).status, 403);
    let calls = || {
        let mut calls = Vec::new();
        let visit = &mut |line: shared::store::calls::Recorded| {
            if let Some(Entry::Call(call)) = line.entry {
                calls.push(*call);
            }
        };
        whole(server.folder.path(), None, visit).unwrap();
        calls
    };
    eventually("both calls are written down", || calls().len() == 2);
    let bearer = Bearer::Foreign {
        issuer: issuer.url.parse().unwrap(),
        subject: "ada@id".into(),
        client: "app".into(),
        token: Some("t1".into()),
    };
    let seen: Vec<_> = calls().into_iter().map(|call| (call.decision, call.bearer, call.end.is_some())).collect();
    let expected = [(Decision::Admitted, Some(bearer.clone()), true), (Decision::Refused, Some(bearer), false)];
    assert_eq!(seen, expected);
}

#[test]
fn it_is_said_whose_tokens_are_taken() {
    assert!(Server::refused(&JWKS).contains("--verify needs --issuer"));
    for (flags, said) in [
        (["--audience", "x"], "--audience needs"),
        (["--token-type", "jwt"], "--token-type needs"),
        (["--introspection-client", "x"], "need --verify introspection"),
    ] {
        assert!(Server::refused(&flags).contains(said), "{flags:?}");
    }
    assert!(Server::refused(&["--verify", "jwks", "--issuer", "http://id.example"]).contains("--issuer"));
}
