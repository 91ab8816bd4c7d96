//! An OpenID provider on this machine that does what a test says, faults included.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use shared::oauth::form::Parameters;

pub struct Provider {
    pub issuer: String,
    shared: Arc<Shared>,
}

struct Shared {
    keys: Mutex<Vec<(String, EcdsaKeyPair)>>,
    /// What the metadata say.
    metadata: Mutex<Value>,
    /// What the ID token of the next code says, and its header.
    token: Mutex<(Value, Value)>,
    /// Whole answers in place of the usual ones, by path.
    instead: Mutex<Vec<(&'static str, Vec<u8>)>>,
    requests: Mutex<Vec<(String, String)>>,
}

impl Provider {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let metadata = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/auth"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/jwks"),
            "authorization_response_iss_parameter_supported": true,
            "code_challenge_methods_supported": ["S256"],
        });
        let shared = Arc::new(Shared {
            keys: Mutex::default(),
            metadata: Mutex::new(metadata),
            token: Mutex::default(),
            instead: Mutex::default(),
            requests: Mutex::default(),
        });
        let provider = Self { issuer, shared: Arc::clone(&shared) };
        provider.rotate("k1");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.one(stream.unwrap()));
            }
        });
        provider
    }

    /// Signs with a new key and publishes no other.
    pub fn rotate(&self, kid: &str) {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        *self.shared.keys.lock().unwrap() = vec![(kid.to_owned(), key)];
    }

    /// What the next ID tokens say.
    pub fn says(&self, header: Value, claims: Value) {
        *self.shared.token.lock().unwrap() = (header, claims);
    }

    pub fn metadata(&self, change: impl FnOnce(&mut Value)) {
        change(&mut self.shared.metadata.lock().unwrap());
    }

    /// Answers a path with these bytes from now on.
    pub fn instead(&self, path: &'static str, answer: &[u8]) {
        self.shared.instead.lock().unwrap().push((path, answer.to_vec()));
    }

    pub fn as_usual(&self) {
        self.shared.instead.lock().unwrap().clear();
    }

    /// Heads and bodies of the requests for a path.
    pub fn requests(&self, path: &str) -> Vec<(String, String)> {
        let all = self.shared.requests.lock().unwrap();
        all.iter().filter(|(head, _)| head.split(' ').nth(1) == Some(path)).cloned().collect()
    }
}

impl Shared {
    fn one(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
        let length = head.to_ascii_lowercase().split("content-length: ").nth(1).map(|rest| rest.to_owned());
        let length = length.and_then(|rest| rest.lines().next().unwrap().trim().parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        self.requests.lock().unwrap().push((head, body.clone()));
        let instead =
            self.instead.lock().unwrap().iter().find(|(known, _)| *known == path).map(|(_, bytes)| bytes.clone());
        let answer = instead.unwrap_or_else(|| json_answer(&self.usual(&path, &body)));
        // Who does not read all of it has closed.
        let _ = reader.get_mut().write_all(&answer);
    }

    fn usual(&self, path: &str, body: &str) -> Value {
        let keys = self.keys.lock().unwrap();
        match path {
            "/.well-known/openid-configuration" => self.metadata.lock().unwrap().clone(),
            "/jwks" => {
                let jwk = |(kid, key): &(String, EcdsaKeyPair)| {
                    let point = key.public_key().as_ref();
                    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
                    json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": x, "y": y })
                };
                json!({ "keys": keys.iter().map(jwk).collect::<Vec<_>>() })
            }
            "/token" => {
                let form = Parameters::parse(body).unwrap();
                assert_eq!(form.get("grant_type"), Some("authorization_code"));
                let (header, claims) = self.token.lock().unwrap().clone();
                let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
                let signed = format!("{}.{}", part(&header), part(&claims));
                let signature = match header["alg"].as_str() {
                    Some("none") => String::new(),
                    _ => {
                        let signature = keys[0].1.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
                        URL_SAFE_NO_PAD.encode(signature.as_ref())
                    }
                };
                json!({ "access_token": "at", "token_type": "Bearer", "id_token": format!("{signed}.{signature}") })
            }
            _ => json!({}),
        }
    }
}

pub fn json_answer(body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
