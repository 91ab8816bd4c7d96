//! The tables of the pure part.

use serde_json::json;
use shared::oauth::form::Parameters;
use shared::oauth::pkce::Verifier;

use super::*;
use crate::protocol::sample::VERIFIER;

fn written() -> Value {
    json!({ "name": "corp", "issuer": "https://id.example", "client_id": "us", "client_secret": "s:cret" })
}

fn read(change: impl FnOnce(&mut Value)) -> Result<Upstream, String> {
    let mut value = written();
    change(&mut value);
    Upstream::read(
        &value,
        |file| if file == "there" { Ok(Secret::new("of the file".into())) } else { Err("no".into()) },
    )
}

fn upstream() -> Upstream {
    read(|_| {}).unwrap()
}

fn metadata() -> Value {
    json!({
        "issuer": "https://id.example",
        "authorization_endpoint": "https://id.example/auth?tenant=1",
        "token_endpoint": "https://id.example/token",
        "jwks_uri": "https://keys.example/jwks",
    })
}

fn provider(change: impl FnOnce(&mut Value)) -> Result<Provider, UpstreamFault> {
    let mut value = metadata();
    change(&mut value);
    Provider::read(&upstream(), value.to_string().as_bytes())
}

fn attempt() -> Attempt {
    let verifier = Verifier::parse(VERIFIER.to_owned()).unwrap();
    Attempt { state: "st&te".into(), nonce: Secret::new("n0nce".into()), verifier }
}

fn ours() -> Issuer {
    "https://as.example/tenant".parse().unwrap()
}

#[test]
fn a_description_is_whole_or_refused_with_its_reason() {
    let good = upstream();
    assert_eq!((good.title.as_str(), good.scope.as_str(), good.create), ("corp", "openid email", false));
    assert_eq!(good.discovery(), "https://id.example/.well-known/openid-configuration");
    let file = read(|value| {
        value["client_secret_file"] = json!("there");
        value.as_object_mut().unwrap().remove("client_secret");
    });
    assert_eq!(file.unwrap().secret.unwrap().expose(), "of the file");
    for (member, value, why) in [
        ("name", json!("Corp"), "lower-case"),
        ("name", json!(""), "lower-case"),
        ("name", json!("../x"), "lower-case"),
        ("issuer", json!("http://id.example"), ""),
        ("issuer", json!("https://id.example?x"), ""),
        ("client_id", json!(""), "client_id"),
        ("client_secret", json!(""), "secret"),
        ("client_secret", json!(12345), ""),
        ("client_secret_file", json!("there"), "exclude"),
        ("create", json!(true), "create needs allow"),
        ("allow", json!({}), "names nobody"),
        ("allow", json!({ "email": ["a@b"] }), ""),
        ("scopes", json!(["a b"]), "scopes"),
        ("unknown", json!(1), ""),
    ] {
        let error = read(|written| written[member] = value.clone()).unwrap_err();
        assert!(error.contains(why) && !error.contains("12345"), "{member} {value}: {error}");
    }
    assert!(read(|value| value["client_secret_file"] = json!("elsewhere")).is_err());
}

#[test]
fn metadata_are_the_issuers_own_byte_for_byte_and_lead_to_https() {
    assert!(provider(|_| {}).is_ok());
    for (member, value) in [
        ("issuer", json!("https://id.example/")),
        ("issuer", json!("https://ID.example")),
        ("issuer", Value::Null),
        ("token_endpoint", json!("http://id.example/token")),
        ("token_endpoint", json!("http://127.0.0.1/token")),
        ("token_endpoint", json!("file:///etc/passwd")),
        ("token_endpoint", json!("https://u@id.example/token")),
        ("token_endpoint", json!("https:///token")),
        ("authorization_endpoint", json!("javascript:alert(1)")),
        ("authorization_endpoint", json!("https://id.example/auth#x")),
        ("jwks_uri", json!("/jwks")),
        ("jwks_uri", Value::Null),
        ("code_challenge_methods_supported", json!(["plain"])),
    ] {
        let fault = provider(|metadata| metadata[member] = value.clone()).unwrap_err();
        assert!(fault.is_down(), "{member} {value}");
    }
    assert!(provider(|metadata| metadata["code_challenge_methods_supported"] = json!(["plain", "S256"])).is_ok());
    assert!(Provider::read(&upstream(), b"<html>").unwrap_err().is_down());
}

#[test]
fn the_way_there_names_everything_that_the_way_back_is_checked_against() {
    let url = request(&upstream(), &provider(|_| {}).unwrap(), &attempt(), &ours());
    let (endpoint, query) = url.split_once('?').unwrap();
    assert_eq!(endpoint, "https://id.example/auth");
    let query = Parameters::parse(query).unwrap();
    for (name, value) in [
        ("tenant", "1"),
        ("response_type", "code"),
        ("client_id", "us"),
        ("redirect_uri", "https://as.example/tenant/login/upstream/corp"),
        ("scope", "openid email"),
        ("state", "st&te"),
        ("nonce", "n0nce"),
        ("code_challenge", crate::protocol::sample::CHALLENGE),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(query.get(name), Some(value), "{name}");
    }
}

#[test]
fn an_answer_is_this_providers_with_a_code_or_an_error() {
    let accepted = |named: bool, query: &str| {
        let named = provider(|metadata| metadata["authorization_response_iss_parameter_supported"] = json!(named));
        let code = accept(&upstream(), &named.unwrap(), &mut Parameters::parse(query).unwrap());
        code.map(|code| code.expose().to_owned())
    };
    assert_eq!(accepted(false, "code=c"), Ok("c".into()));
    assert_eq!(accepted(true, "code=c&iss=https%3A%2F%2Fid.example"), Ok("c".into()));
    for (named, query, fault) in [
        (true, "code=c", UpstreamFault::Issuer),
        (true, "error=access_denied", UpstreamFault::Issuer),
        (false, "code=c&iss=https%3A%2F%2Fevil.example", UpstreamFault::Issuer),
        (false, "", UpstreamFault::Answer),
        (false, "code=", UpstreamFault::Answer),
        (false, "error=access_denied&code=c", UpstreamFault::Denied),
        (false, "error=server_error", UpstreamFault::Down("it answered with server_error".into())),
        (false, "error=inva%0Alid%22", UpstreamFault::Error("invalid\"".into())),
    ] {
        assert_eq!(accepted(named, query), Err(fault), "{query}");
    }
}

#[test]
fn the_secret_goes_as_the_provider_takes_it_and_nowhere_when_there_is_none() {
    let sent = |upstream: &Upstream, methods: Value| {
        let provider = provider(|metadata| metadata["token_endpoint_auth_methods_supported"] = methods).unwrap();
        let sent = exchange(upstream, &provider, &Secret::new("c".into()), &attempt(), &ours());
        let body = Parameters::parse(sent.body.expose()).unwrap();
        assert_eq!((body.get("code"), body.get("code_verifier")), (Some("c"), Some(VERIFIER)));
        let own = |name: &str| body.get(name).map(str::to_owned);
        (sent.authorization.map(|header| header.expose().to_owned()), own("client_id"), own("client_secret"))
    };
    // "us:s%3Acret"
    let basic = Some("Basic dXM6cyUzQWNyZXQ=".to_owned());
    assert_eq!(sent(&upstream(), Value::Null), (basic.clone(), None, None));
    assert_eq!(sent(&upstream(), json!(["client_secret_post", "client_secret_basic"])), (basic, None, None));
    let (us, secret) = (Some("us".to_owned()), Some("s:cret".to_owned()));
    assert_eq!(sent(&upstream(), json!(["client_secret_post"])), (None, us.clone(), secret));
    let public = Upstream { secret: None, ..upstream() };
    assert_eq!(sent(&public, json!(["none"])), (None, us, None));
}

#[test]
fn a_token_answer_without_an_id_token_is_the_codes_fault_or_the_providers() {
    assert!(tokens(200, br#"{"id_token":"a.b.c","access_token":"at","token_type":"Bearer"}"#).is_ok());
    for (status, body, is_down) in [
        (400, r#"{"error":"invalid_grant"}"#, false),
        (401, r#"{"error":"invalid_client"}"#, true),
        (400, r#"{"error":"invalid_request"}"#, true),
        (200, r#"{"access_token":"at"}"#, true),
        (302, "", true),
        (500, "<html>", true),
        (200, r#"{"id_token":"a","id_token":"b"}"#, true),
        (500, r#"{"id_token":"a.b.c"}"#, true),
    ] {
        let fault = tokens(status, body.as_bytes()).err().unwrap();
        assert_eq!(fault.is_down(), is_down, "{status} {body}: {fault:?}");
    }
}
