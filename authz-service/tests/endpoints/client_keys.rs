//! Clients that sign, and keep their keys behind a `jwks_uri` (RFC 7591 section 2, RFC 7523).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use shared::oauth::form::Parameters;
use shared::secret::random_uuid;

use crate::support::documents::{Documents, document, ok, with};
use crate::support::http::Answer;
use crate::support::{Options, Service, authorize_query, code_form};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

struct Signer {
    kid: &'static str,
    pair: EcdsaKeyPair,
}

impl Signer {
    fn new(kid: &'static str) -> Self {
        Self { kid, pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap() }
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({
            "kty": "EC", "crv": "P-256", "kid": self.kid,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        })
    }

    fn assertion(&self, service: &Service, client: &str) -> String {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({
            "iss": client, "sub": client, "aud": service.issuer, "jti": random_uuid().to_string(),
            "exp": service.clock_now().0 + 60,
        });
        let text = format!("{}.{}", part(json!({ "alg": "ES256", "kid": self.kid })), part(claims));
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// Sends a form that this key authenticates.
    fn post(&self, service: &Service, path: &str, client: &str, form: &[(&str, &str)]) -> Answer {
        let assertion = self.assertion(service, client);
        let proof = [("client_assertion", assertion.as_str()), ("client_assertion_type", ASSERTION_TYPE)];
        service.post(path, &[form, &proof].concat())
    }
}

fn key_set(keys: &[&Signer]) -> Vec<u8> {
    let body = json!({ "keys": keys.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() });
    with("200 OK", "Content-Type: application/jwk-set+json\r\nCache-Control: max-age=3600\r\n", &body.to_string())
}

fn serve(keys: &[&Signer]) -> Documents {
    let documents = Documents::serve();
    let set = key_set(keys);
    documents.answer(move |_| set.clone());
    documents
}

fn service() -> Service {
    Service::with(&Options { policy: Some(|policy| policy.cimd.local = true), ..Options::default() })
}

fn register(service: &Service, documents: &Documents) -> String {
    let body = json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": documents.url("/keys.json") });
    let told = service.register(&body);
    assert_eq!((told.get("client_secret"), &told["jwks_uri"]), (None, &body["jwks_uri"]));
    told["client_id"].as_str().unwrap().to_owned()
}

/// Exchanges a fresh code.
fn exchange(service: &Service, signer: &Signer, client: &str) -> Answer {
    signer.post(service, "/oauth/token", client, &code_form(client, &service.code(client, &[])))
}

#[test]
fn c5_keys_are_fetched_once_and_again_when_a_client_signs_with_a_new_one() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let (documents, service) = (serve(&[&old]), service());
    let client = register(&service, &documents);
    assert_eq!(documents.requests(), 0, "registering fetches nothing");
    let tokens = exchange(&service, &old, &client);
    assert_eq!(tokens.status, 200, "{}", tokens.text());
    let access = tokens.json()["access_token"].as_str().unwrap().to_owned();
    let ask = |signer: &Signer| signer.post(&service, "/oauth/introspect", &client, &[("token", &access)]);
    assert_eq!(ask(&old).json()["active"], true);
    assert_eq!(documents.requests(), 1);
    // A key that is not in the set makes us look again, and not more than once a minute.
    let set = key_set(&[&new]);
    documents.answer(move |_| set.clone());
    ask(&new).fails(401, "invalid_client");
    assert_eq!(documents.requests(), 1, "the set is from just now");
    service.advance(60);
    assert_eq!(ask(&new).json()["active"], true);
    ask(&old).fails(401, "invalid_client");
    for kid in ["a", "b", "c"] {
        ask(&Signer::new(kid)).fails(401, "invalid_client");
    }
    assert_eq!(documents.requests(), 2);
    // Another key by the same name is not the client's.
    ask(&Signer::new("new")).fails(401, "invalid_client");
    // What the set's server says of its age counts.
    service.advance(3600);
    assert_eq!(new.post(&service, "/oauth/revoke", &client, &[("token", &access)]).status, 200);
    assert_eq!(documents.requests(), 3);
    // Nothing of ours goes along.
    assert!(documents.heads().iter().all(|head| !head.contains("cookie") && !head.contains("authorization")));
}

#[test]
fn c5_keys_that_cannot_be_had_prove_nothing_and_spend_nothing() {
    let signer = Signer::new("a");
    let (documents, service) = (serve(&[&signer]), service());
    let client = register(&service, &documents);
    let code = service.code(&client, &[]);
    let redeem = || signer.post(&service, "/oauth/token", &client, &code_form(&client, &code));
    let json = "Content-Type: application/json\r\n";
    let long = json!({ "keys": [], "x": "y".repeat(32 * 1024) }).to_string();
    for bad in [
        with("500 Internal Server Error", json, "{}"),
        with("302 Found", &format!("{json}Location: {}\r\n", documents.url("/other")), ""),
        with("200 OK", "Content-Type: text/html\r\n", "{\"keys\":[]}"),
        with("200 OK", json, "{"),
        with("200 OK", json, "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}"),
        with("200 OK", json, &long),
        Vec::new(),
    ] {
        documents.answer(move |_| bad.clone());
        redeem().fails(401, "invalid_client");
    }
    let set = key_set(&[&signer]);
    documents.answer(move |_| set.clone());
    assert_eq!(redeem().status, 200);
}

#[test]
fn c5_many_at_once_wait_for_one_fetch() {
    let signer = Signer::new("a");
    let (documents, service) = (serve(&[&signer]), service());
    let client = register(&service, &documents);
    let ask = || signer.post(&service, "/oauth/introspect", &client, &[("token", "x")]).status;
    documents.gate(false);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        crate::support::eventually("the fetch", || documents.requests() == 1);
        documents.gate(true);
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert_eq!((statuses, documents.requests()), (vec![200; 8], 1));
}

#[test]
fn c5_a_client_that_a_document_describes_signs_at_every_endpoint() {
    let signer = Signer::new("a");
    let (documents, service) = (Documents::serve(), service());
    let (address, set) = (documents.address, key_set(&[&signer]));
    let keys = documents.url("/keys.json");
    documents.answer(move |path| match path {
        "/keys.json" => set.clone(),
        path => {
            let mut described = document(address, path);
            described["token_endpoint_auth_method"] = json!("private_key_jwt");
            described["jwks_uri"] = json!(keys);
            described["grant_types"] =
                json!(["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"]);
            ok(&described)
        }
    });
    let client = documents.url("/client.json");
    let device = signer.post(&service, "/oauth/device_authorization", &client, &[]);
    assert_eq!(device.status, 200, "{}", device.text());
    let pushed = authorize_query(&client, &[]);
    let pushed = Parameters::parse(&pushed).unwrap();
    let pairs: Vec<_> = pushed.iter().collect();
    assert_eq!(signer.post(&service, "/oauth/par", &client, &pairs).status, 201);
    let tokens = exchange(&service, &signer, &client);
    assert_eq!(tokens.status, 200, "{}", tokens.text());
    service.exchange(&client, &service.code(&client, &[])).fails(401, "invalid_client");
}

#[test]
fn a_place_for_keys_that_is_not_fetched_from_is_refused_at_registration() {
    let body = |uri: &str| {
        json!({
            "redirect_uris": ["https://a.example/cb"], "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": uri,
        })
    };
    let usual = Service::start();
    for bad in ["https://10.0.0.1/keys", "https://localhost.", "https://a.example", "http://127.0.0.1/keys"] {
        usual.post_json("/register", &body(bad)).fails(400, "invalid_client_metadata");
    }
    assert_eq!(usual.post_json("/register", &body("https://a.example/keys")).status, 201);
    let off = Service::with(&Options { policy: Some(|policy| policy.cimd.on = false), ..Options::default() });
    off.post_json("/register", &body("https://a.example/keys")).fails(400, "invalid_client_metadata");
}
