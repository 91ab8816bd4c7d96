//! An authorization server on this machine that does what a test says, faults included.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use shared::oauth::form::Parameters;
use shared::time::{Clock, SystemClock};

/// Whom tokens are for, unless a test says otherwise.
pub const AUDIENCE: &str = "https://mcp.example/mcp";

/// In place of an answer: none.
const HANG: &[u8] = b"hang";

pub struct Issuer {
    pub url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    metadata: Mutex<Value>,
    /// Where the metadata are.
    place: Mutex<String>,
    keys: Mutex<Vec<(String, EcdsaKeyPair)>>,
    /// What is said of a token; of any other, that it is not active.
    told: Mutex<HashMap<String, Value>>,
    /// Other answers than the usual ones, by path. An empty one closes the connection.
    instead: Mutex<HashMap<String, Vec<u8>>>,
    requests: Mutex<Vec<(String, String)>>,
}

impl Issuer {
    /// One at the root of its host.
    pub fn start() -> Self {
        Self::below("")
    }

    /// One whose name has this path.
    pub fn below(path: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = format!("http://{}", listener.local_addr().unwrap());
        let url = format!("{host}{path}");
        let shared = Arc::new(Shared::default());
        *shared.metadata.lock().unwrap() = json!({
            "issuer": url,
            "jwks_uri": format!("{host}/jwks"),
            "introspection_endpoint": format!("{host}/introspect"),
        });
        *shared.place.lock().unwrap() = format!("/.well-known/oauth-authorization-server{path}");
        let issuer = Self { url, shared: Arc::clone(&shared) };
        issuer.rotate("k1");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.one(stream.unwrap()));
            }
        });
        issuer
    }

    /// Signs with a new key and publishes no other.
    pub fn rotate(&self, kid: &str) {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        *self.shared.keys.lock().unwrap() = vec![(kid.to_owned(), key)];
    }

    pub fn metadata(&self, change: impl FnOnce(&mut Value)) {
        change(&mut self.shared.metadata.lock().unwrap());
    }

    /// Moves the metadata to another path.
    pub fn metadata_at(&self, path: &str) {
        *self.shared.place.lock().unwrap() = path.to_owned();
    }

    /// Answers a path with these bytes from now on; with none, by closing the connection.
    pub fn instead(&self, path: &str, answer: &[u8]) {
        self.shared.instead.lock().unwrap().insert(path.to_owned(), answer.to_vec());
    }

    pub fn as_usual(&self) {
        self.shared.instead.lock().unwrap().clear();
    }

    /// Answers nothing any more.
    pub fn down(&self) {
        for path in ["/jwks", "/introspect", "/.well-known/oauth-authorization-server"] {
            self.instead(path, b"");
        }
    }

    /// Reads requests for a path, and answers none.
    pub fn hang(&self, path: &str) {
        self.instead(path, HANG);
    }

    /// What it says of a token from now on.
    pub fn tells(&self, token: &str, told: Value) {
        self.shared.told.lock().unwrap().insert(token.to_owned(), told);
    }

    /// A good opaque token, but for `change`.
    pub fn opaque(&self, token: &str, change: impl FnOnce(&mut Value)) {
        let mut told = self.claims();
        (told["active"], told["token_type"]) = (json!(true), json!("Bearer"));
        change(&mut told);
        self.tells(token, told);
    }

    /// How often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        self.requests(path).len()
    }

    /// Heads and bodies of the requests for a path.
    pub fn requests(&self, path: &str) -> Vec<(String, String)> {
        let all = self.shared.requests.lock().unwrap();
        all.iter().filter(|(head, _)| head.split(' ').nth(1) == Some(path)).cloned().collect()
    }

    /// What a good token says (RFC 9068 section 2.2).
    pub fn claims(&self) -> Value {
        let now = SystemClock.now().0;
        json!({
            "iss": self.url, "sub": "ada@id", "aud": AUDIENCE, "client_id": "app", "jti": "t1", "iat": now, "exp": now + 600,
            "scope": "openid mcp:tools:read",
        })
    }

    /// A good token, but for `change`.
    pub fn token(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let keys = self.shared.keys.lock().unwrap();
        let (kid, key) = &keys[0];
        let (mut header, mut claims) = (json!({ "alg": "ES256", "typ": "at+jwt", "kid": kid }), self.claims());
        change(&mut header, &mut claims);
        sign(key, &header.to_string(), &claims.to_string())
    }

    /// A token with exactly this text as its claims.
    pub fn token_saying(&self, claims: &str) -> String {
        let keys = self.shared.keys.lock().unwrap();
        let (kid, key) = &keys[0];
        sign(key, &json!({ "alg": "ES256", "typ": "at+jwt", "kid": kid }).to_string(), claims)
    }
}

fn sign(key: &EcdsaKeyPair, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

impl Shared {
    fn one(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
        let length = head.to_ascii_lowercase().split("content-length: ").nth(1).map(str::to_owned);
        let length = length.and_then(|rest| rest.lines().next()?.trim().parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let instead = self.instead.lock().unwrap().get(&path).cloned();
        let answer = instead.unwrap_or_else(|| self.usual(&path, &body));
        // Whoever counts it may change what the next one gets, and not this.
        self.requests.lock().unwrap().push((head, body));
        if answer == HANG {
            // Until the other side has had enough.
            let _ = reader.read(&mut [0]);
            return;
        }
        // Who does not read all of it has closed.
        let _ = reader.get_mut().write_all(&answer);
    }

    fn usual(&self, path: &str, body: &str) -> Vec<u8> {
        if *self.place.lock().unwrap() == path {
            return answer(200, &self.metadata.lock().unwrap());
        }
        match path {
            "/jwks" => {
                let keys = self.keys.lock().unwrap();
                let jwk = |(kid, key): &(String, EcdsaKeyPair)| {
                    let point = key.public_key().as_ref();
                    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
                    json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": x, "y": y })
                };
                answer(200, &json!({ "keys": keys.iter().map(jwk).collect::<Vec<_>>() }))
            }
            "/introspect" => {
                let form = Parameters::parse(body).unwrap();
                let told = self.told.lock().unwrap().get(form.get("token").unwrap_or_default()).cloned();
                answer(200, &told.unwrap_or_else(|| json!({ "active": false })))
            }
            _ => answer(404, &json!({})),
        }
    }
}

pub fn answer(status: u16, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close");
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
