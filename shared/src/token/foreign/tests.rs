use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use super::*;
use TokenError::{Audience, Bound, Dead, Early, Expired, Form, Key, Signature, Type};

const NOW: Timestamp = Timestamp(1_800_000_000);
const AUDIENCE: &str = "https://mcp.example/mcp";

struct Pair {
    private: EncodingKey,
    public: Value,
}

fn pair(algorithm: &'static EcdsaSigningAlgorithm, crv: &str) -> Pair {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let point = &pair.public_key().as_ref()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let public = json!({ "kty": "EC", "crv": crv, "kid": "k1", "x": x, "y": y });
    Pair { private: EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref()), public }
}

fn p256() -> Pair {
    pair(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256")
}

fn wanted(token_type: TokenType) -> AccessTokenFor {
    AccessTokenFor { issuer: "https://id.example/t".parse().unwrap(), audience: AUDIENCE.into(), token_type }
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example/t", "sub": "s1", "aud": AUDIENCE, "client_id": "app", "jti": "t1", "iat": NOW.0,
        "exp": NOW.0 + 300, "scope": "b a",
    })
}

fn header(typ: Option<&str>) -> Header {
    Header { kid: Some("k1".into()), typ: typ.map(str::to_owned), ..Header::new(Algorithm::ES256) }
}

fn verify(keys: &Pair, header: &Header, claims: &Value, typ: TokenType) -> Result<ForeignToken, TokenError> {
    let token = jsonwebtoken::encode(header, claims, &keys.private).unwrap();
    ProviderKeys::read(&json!({ "keys": [keys.public] })).verify_access(&token, &wanted(typ), NOW)
}

/// `claims` with one of them changed, or taken out.
fn with(mut claims: Value, name: &str, value: &Value) -> Value {
    claims[name] = value.clone();
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    }
    claims
}

fn at(seconds: i64) -> Value {
    json!(NOW.0 as i64 + seconds)
}

/// What counts in the same way wherever it is said.
fn common() -> Vec<(&'static str, Value, Result<(), TokenError>)> {
    let issuer = || Err(TokenError::Issuer);
    vec![
        ("iss", json!("https://id.example/t/"), issuer()),
        ("iss", json!("https://id.example"), issuer()),
        ("iss", json!("https://evil.example"), issuer()),
        ("aud", json!([AUDIENCE]), Ok(())),
        ("aud", json!(["x", AUDIENCE]), Ok(())),
        ("aud", json!([]), Err(Audience)),
        ("aud", json!("https://mcp.example/mcp/"), Err(Audience)),
        ("aud", json!("https://MCP.example/mcp"), Err(Audience)),
        ("aud", json!("https://mcp.example/mc"), Err(Audience)),
        ("aud", json!([format!("{AUDIENCE} x")]), Err(Audience)),
        ("client_id", Value::Null, Err(Form)),
        ("client_id", json!(""), Err(Form)),
        ("client_id", json!("a\nb"), Err(Form)),
        ("sub", json!(""), Err(Form)),
        ("sub", json!("a\u{1b}[31m"), Err(Form)),
        ("sub", json!("x".repeat(1024)), Ok(())),
        ("sub", json!("x".repeat(1025)), Err(Form)),
        ("exp", at(1), Ok(())),
        ("exp", at(0), Err(Expired)),
        ("exp", at(-1), Err(Expired)),
        ("iat", at(60), Ok(())),
        ("iat", at(61), Err(Early)),
        ("iat", Value::Null, Ok(())),
        ("nbf", at(60), Ok(())),
        ("nbf", at(61), Err(Early)),
        ("jti", Value::Null, Ok(())),
        ("cnf", json!({ "jkt": "x" }), Err(Bound)),
        ("scope", Value::Null, Ok(())),
        ("scope", json!(["a", "b"]), Ok(())),
    ]
}

#[test]
fn jwt_04_05_06_every_claim_of_a_foreign_token_counts() {
    let keys = p256();
    let good = verify(&keys, &header(Some("at+jwt")), &claims(), TokenType::AccessToken).unwrap();
    assert_eq!((good.subject().as_str(), good.client().as_str(), good.scopes().as_str()), ("s1", "app", "a b"));
    assert_eq!((good.expires(), good.id().unwrap().as_str()), (Some(Timestamp(NOW.0 + 300)), "t1"));
    assert_eq!((good.alive(NOW), good.alive(Timestamp(NOW.0 + 300))), (Ok(()), Err(Expired)));
    let signed = [
        ("iss", Value::Null, Err(Form)),
        ("iss", json!(7), Err(Form)),
        ("aud", Value::Null, Err(Form)),
        ("aud", json!(7), Err(Form)),
        ("sub", Value::Null, Err(Form)),
        ("sub", json!(7), Err(Form)),
        ("exp", Value::Null, Err(Form)),
        ("exp", json!("soon"), Err(Form)),
        ("exp", json!(-1), Err(Form)),
        ("exp", json!(1e300), Err(Form)),
        ("iat", json!("now"), Err(Form)),
        ("jti", json!(7), Err(Form)),
        ("scope", json!(7), Err(Form)),
    ];
    for (name, value, outcome) in common().into_iter().chain(signed) {
        let found = verify(&keys, &header(Some("at+jwt")), &with(claims(), name, &value), TokenType::AccessToken);
        assert_eq!(found.map(drop), outcome, "{name} {value}");
    }
}

#[test]
fn every_member_of_an_introspection_response_counts() {
    let introspect = |answer: &Value| {
        ForeignToken::introspected(answer.to_string().as_bytes(), &wanted(TokenType::AccessToken), NOW)
    };
    let active = || with(claims(), "active", &json!(true));
    assert_eq!(introspect(&active()).unwrap().unwrap().scopes().as_str(), "a b");
    let told = [
        ("active", json!(false), Err(Dead)),
        ("iss", Value::Null, Ok(())),
        // What is for nobody is not for us.
        ("aud", Value::Null, Err(Audience)),
        ("exp", Value::Null, Ok(())),
        ("sub", Value::Null, Ok(())),
        ("token_type", json!("Bearer"), Ok(())),
        ("token_type", json!("bearer"), Ok(())),
        ("token_type", json!("DPoP"), Err(Type)),
        ("token_type", json!("refresh_token"), Err(Type)),
        ("typ", json!("Bearer"), Ok(())),
        ("typ", json!("Refresh"), Err(Type)),
    ];
    for (name, value, outcome) in common().into_iter().chain(told) {
        let found = introspect(&with(active(), name, &value)).unwrap();
        assert_eq!(found.map(drop), outcome, "{name} {value}");
    }
    let itself = introspect(&with(active(), "sub", &Value::Null)).unwrap().unwrap();
    assert_eq!(itself.subject(), itself.client());
    assert_eq!(introspect(&with(active(), "exp", &Value::Null)).unwrap().unwrap().expires(), None);
    // Whoever says that it is not active says nothing else.
    assert_eq!(introspect(&json!({ "active": false, "exp": "x" })).unwrap(), Err(Dead));
}

#[test]
fn what_is_no_introspection_response_says_nothing_about_the_token() {
    let twice = r#"{"active":false,"active":true}"#;
    for body in
        ["", "{}", "[]", "<html>", "true", r#"{"active":"true"}"#, r#"{"active":1}"#, r#"{"active":null}"#, twice]
    {
        let found = ForeignToken::introspected(body.as_bytes(), &wanted(TokenType::AccessToken), NOW);
        assert!(found.is_err(), "{body}");
    }
    let secret = r#"{"active":true,"exp":"hunter2"}"#;
    let error = ForeignToken::introspected(secret.as_bytes(), &wanted(TokenType::Jwt), NOW).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn jwt_13_only_an_access_token_is_one() {
    use TokenType::{AccessToken, Jwt};
    let keys = p256();
    for (typ, strict, lax) in [
        (Some("at+jwt"), Ok(()), Ok(())),
        (Some("AT+JWT"), Ok(()), Ok(())),
        (Some("application/at+jwt"), Ok(()), Ok(())),
        (Some("JWT"), Err(Type), Ok(())),
        (None, Err(Type), Ok(())),
        (Some("logout+jwt"), Err(Type), Err(Type)),
        (Some("dpop+jwt"), Err(Type), Err(Type)),
        (Some("at"), Err(Type), Err(Type)),
    ] {
        assert_eq!(verify(&keys, &header(typ), &claims(), AccessToken).map(drop), strict, "{typ:?}");
        assert_eq!(verify(&keys, &header(typ), &claims(), Jwt).map(drop), lax, "{typ:?}");
    }
    // As Keycloak and Entra write them.
    let keycloak = with(with(with(claims(), "client_id", &Value::Null), "azp", &json!("app")), "typ", &json!("Bearer"));
    assert_eq!(verify(&keys, &header(Some("JWT")), &keycloak, Jwt).unwrap().client().as_str(), "app");
    let entra = with(with(claims(), "scope", &Value::Null), "scp", &json!("a b"));
    assert_eq!(verify(&keys, &header(Some("JWT")), &entra, Jwt).unwrap().scopes().as_str(), "a b");
    // And what else their keys sign.
    for (name, value) in [
        ("scope", Value::Null),
        ("at_hash", json!("x")),
        ("c_hash", json!("x")),
        ("typ", json!("ID")),
        ("typ", json!("Refresh")),
        ("typ", json!("Logout")),
    ] {
        let found = verify(&keys, &header(Some("JWT")), &with(claims(), name, &value), Jwt);
        assert_eq!(found.map(drop), Err(Type), "{name} {value}");
    }
}

#[test]
fn words_that_are_no_scopes_open_nothing() {
    let keys = p256();
    let scopes = |value: Value| {
        verify(&keys, &header(Some("at+jwt")), &with(claims(), "scope", &value), TokenType::AccessToken)
            .map(|token| token.scopes().to_string())
    };
    assert_eq!(scopes(json!("a  \"b\" a é c")), Ok("a c".to_owned()));
    assert_eq!(scopes(json!(["a b", "c"])), Ok("c".to_owned()));
    assert_eq!(scopes(json!("")), Ok(String::new()));
}

#[test]
fn jwt_12_a_key_of_an_issuers_is_public_and_for_one_algorithm() {
    let keys = p256();
    let check = |header: Header, keys: &Pair| verify(keys, &header, &claims(), TokenType::AccessToken).map(drop);
    let typed = || header(Some("at+jwt"));
    assert_eq!(check(Header { kid: None, ..typed() }, &keys), Ok(()));
    assert_eq!(check(Header { kid: Some("k2".into()), ..typed() }, &keys), Err(Key));
    let changed = |name: &str, value: Value| {
        let mut public = keys.public.clone();
        public[name] = value;
        check(typed(), &Pair { public, private: keys.private.clone() })
    };
    for (name, value, outcome) in [
        ("alg", json!("ES256"), Ok(())),
        ("alg", json!("ES384"), Err(Key)),
        ("alg", json!("none"), Err(Key)),
        ("use", json!("sig"), Ok(())),
        ("use", json!("enc"), Err(Key)),
        ("key_ops", json!(["verify"]), Ok(())),
        ("key_ops", json!(["encrypt"]), Err(Key)),
        ("kty", json!("oct"), Err(Key)),
        // Whoever published the private half has let everybody sign.
        ("d", json!("AAAA"), Err(Key)),
    ] {
        assert_eq!(changed(name, value.clone()), outcome, "{name} {value}");
    }
    let stranger = Pair { public: keys.public.clone(), private: p256().private };
    assert_eq!(check(typed(), &stranger), Err(Signature));
    // The public key as a shared secret, which everybody knows (RFC 8725 section 2.1).
    let secret = EncodingKey::from_secret(keys.public.to_string().as_bytes());
    let symmetric = Pair { public: keys.public.clone(), private: secret };
    let hs256 = Header { alg: Algorithm::HS256, ..typed() };
    assert_eq!(check(hs256, &symmetric), Err(Key));
    let p384 = pair(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384");
    assert_eq!(check(Header { alg: Algorithm::ES384, ..typed() }, &p384), Ok(()));
    assert_eq!(check(Header { crit: Some(vec!["exp".into()]), ..typed() }, &keys), Err(Form));
}

#[test]
fn jwt_01_10_an_unsigned_or_mangled_token_is_none() {
    let keys = p256();
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let none = format!("{}.{}.", part(r#"{"alg":"none","typ":"at+jwt"}"#), part(&claims().to_string()));
    let verify = |token: &str| {
        let keys = ProviderKeys::read(&json!({ "keys": [keys.public] }));
        keys.verify_access(token, &wanted(TokenType::Jwt), NOW).map(drop)
    };
    for token in ["", "a", "a.b.c", &none, &"A".repeat(MAX_TOKEN + 1)] {
        assert_eq!(verify(token), Err(Form), "{:.60}", token);
    }
    let good = jsonwebtoken::encode(&header(Some("at+jwt")), &claims(), &keys.private).unwrap();
    assert_eq!(verify(&good), Ok(()));
    for at in 0..good.len() {
        let mut bytes = good.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        assert!(verify(&String::from_utf8(bytes).unwrap()).is_err(), "byte {at}");
    }
}
