//! A service on a real socket with a store in memory and a clock that tests turn, and what talks to it.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod authenticator;
pub mod documents;
pub mod http;
pub mod person;
pub mod provider;

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;

use actix_web::dev::ServerHandle;
use actix_web::web::Data;
use authz_service::http::app::App;
use authz_service::http::limit::{Limits, Rates};
use authz_service::http::{password, server};
use authz_service::protocol::Policy;
use serde_json::{Value, json};
use shared::oauth::form;
use shared::secret::Secret;
use shared::state::{Change, Facts, Session, User, UserStage, Wanted};
use shared::store::Store;
use shared::store::memory::MemoryStore;
use shared::time::{Clock, ManualClock, Seconds, Timestamp};
use shared::token::KeySet;

use self::http::{Answer, Connection};
use self::person::Person;

/// RFC 7636 appendix B.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub const REDIRECT: &str = "http://127.0.0.1:49152/cb";
pub const PASSWORD: &str = "correct horse";
pub const START: Timestamp = Timestamp(1_800_000_000);

/// What a test wants otherwise than usual.
#[derive(Default)]
pub struct Options {
    pub auto_approve: bool,
    pub limits: bool,
    pub resources: Vec<&'static str>,
    /// The issuer's name; else the listener's.
    pub issuer: Option<&'static str>,
    /// Pushed requests only.
    pub require_pushed: bool,
    /// Without ada's account.
    pub empty: bool,
    /// Any other choice of the operator's.
    pub policy: Option<fn(&mut Policy)>,
}

pub struct Service {
    pub address: SocketAddr,
    pub issuer: String,
    pub clock: Arc<ManualClock>,
    pub store: Arc<dyn Store>,
    pub app: Data<App>,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    pub fn start() -> Self {
        Self::with(&Options::default())
    }

    pub fn with(options: &Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let issuer = options.issuer.map_or_else(|| format!("http://localhost:{}", address.port()), str::to_owned);
        let clock = Arc::new(ManualClock::at(START));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::clone(&clock) as Arc<dyn Clock>));
        let mut policy = Policy::new(issuer.parse().unwrap()).unwrap();
        policy.resources = options.resources.iter().map(|text| text.parse().unwrap()).collect();
        policy.auto_approve = options.auto_approve.then(|| "demo".parse().unwrap());
        if let Some(choose) = options.policy {
            choose(&mut policy);
        }
        policy.require_pushed = options.require_pushed;
        let hosts = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec();
        let keys = KeySet::generate(START).unwrap();
        let app = App::new(
            Arc::clone(&store),
            keys,
            Arc::clone(&clock) as Arc<dyn Clock>,
            policy,
            Limits::new(options.limits.then(Rates::default).as_ref()),
            Some(hosts),
        );
        let (tell, told) = mpsc::channel();
        let app = Data::new(app.unwrap());
        let served = app.clone();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let running = server::start(served, vec![listener], 2, None).unwrap();
                tell.send(running.handle()).unwrap();
                running.await.unwrap();
            });
        });
        let service = Self { address, issuer, clock, store, app, handle: told.recv().unwrap(), thread: Some(thread) };
        if options.auto_approve {
            service.commit(Change::UserCreated(user("demo", None)));
        }
        if !options.empty {
            service.commit(Change::UserCreated(user("ada", Some(password_hash()))));
        }
        service
    }

    /// A new connection, as any stranger has.
    pub fn connect(&self) -> Connection {
        Connection::new(self.address)
    }

    pub fn get(&self, target: &str) -> Answer {
        self.connect().send("GET", target, &[], b"")
    }

    pub fn post(&self, target: &str, parameters: &[(&str, &str)]) -> Answer {
        self.connect().post(target, parameters)
    }

    pub fn post_json(&self, target: &str, body: &Value) -> Answer {
        let headers = [("Content-Type", "application/json")];
        self.connect().send("POST", target, &headers, body.to_string().as_bytes())
    }

    pub fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.set(self.clock.now() + Seconds(seconds));
    }

    pub fn commit(&self, change: Change) {
        block_on(self.store.commit(vec![change])).unwrap();
    }

    pub fn facts(&self, wanted: &Wanted) -> Facts {
        block_on(self.store.load(wanted)).unwrap()
    }

    pub fn count(&self, what: &str) -> usize {
        let mut found = 0;
        self.store.read(&mut |state| found = state.counts().iter().find(|(name, _)| *name == what).unwrap().1).unwrap();
        found
    }

    /// Everything in the store, as text to search for secrets.
    pub fn dump(&self) -> String {
        let mut text = String::new();
        self.store
            .read(&mut |state| text = format!("{:?} {:?} {:?}", state.users(), state.clients(), state.grants()))
            .unwrap();
        text
    }

    /// Every record as the store writes it, as text to search for secrets.
    pub fn dump_all(&self) -> String {
        let mut text = String::new();
        self.store
            .read(&mut |state| {
                text = state.records().filter_map(|record| serde_json::to_string(&record).ok()).collect();
            })
            .unwrap();
        text
    }

    /// Registers a client; the answer's body.
    pub fn register(&self, more: &Value) -> Value {
        let mut body = json!({ "client_name": "Test", "redirect_uris": ["http://127.0.0.1/cb"] });
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let answer = self.post_json("/register", &body);
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    /// A public client's id.
    pub fn public_client(&self) -> String {
        let answer = self.register(&json!({ "token_endpoint_auth_method": "none" }));
        answer["client_id"].as_str().unwrap().to_owned()
    }

    /// A browser in which ada is signed in, without the cost of a password.
    pub fn signed_in(&self) -> Person<'_> {
        self.signed_in_as("ada")
    }

    /// A browser of somebody whose account is new.
    pub fn signed_in_as_new(&self, name: &str) -> Person<'_> {
        self.commit(Change::UserCreated(user(name, None)));
        self.signed_in_as(name)
    }

    /// A browser in which somebody is signed in.
    pub fn signed_in_as(&self, name: &str) -> Person<'_> {
        let cookie = Secret::random();
        let now = self.clock.now();
        self.commit(Change::SessionOpened(Session {
            hash: cookie.hash(),
            user: name.parse().unwrap(),
            created: now,
            expires: now + Seconds(12 * 3600),
            grants: Vec::new(),
        }));
        let mut person = Person::new(self);
        person.cookies.push(("authz_session".into(), cookie.expose().into()));
        person
    }

    /// A code for a client, by ada's consent.
    pub fn code(&self, client: &str, more: &[(&str, &str)]) -> String {
        let answer = self.signed_in().consent(&authorize_url(client, more), "allow");
        answer.redirected("code").unwrap_or_else(|| panic!("{} {}", answer.status, answer.text()))
    }

    /// Exchanges a code of a public client.
    pub fn exchange(&self, client: &str, code: &str) -> Answer {
        self.post("/oauth/token", &code_form(client, code))
    }

    /// Tokens for a public client, by ada's consent.
    pub fn tokens(&self, client: &str) -> Value {
        let answer = self.exchange(client, &self.code(client, &[]));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    pub fn refresh(&self, client: &str, token: &str, more: &[(&str, &str)]) -> Answer {
        let form = [("grant_type", "refresh_token"), ("client_id", client), ("refresh_token", token)];
        self.post("/oauth/token", &[&form, more].concat())
    }

    /// Whether an access token opens anything, by the store's word.
    pub fn is_alive(&self, access_token: &str) -> bool {
        let claims = claims(access_token);
        let wanted = Wanted { access: Some(claims["jti"].as_str().unwrap().parse().unwrap()), ..Wanted::default() };
        let facts = self.facts(&wanted);
        facts.access.is_some() && facts.grant_lives()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        block_on(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The form that exchanges a code of a public client.
pub fn code_form<'a>(client: &'a str, code: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", "authorization_code"),
        ("client_id", client),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ]
}

/// An authorization request; `more` replaces or adds parameters.
pub fn authorize_url(client: &str, more: &[(&str, &str)]) -> String {
    format!("/oauth/authorize?{}", authorize_query(client, more))
}

pub fn authorize_query(client: &str, more: &[(&str, &str)]) -> String {
    let mut parameters = vec![
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", REDIRECT),
        ("state", "the-state"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    parameters.retain(|(name, _)| !more.iter().any(|(other, _)| name == other));
    parameters.extend(more.iter().filter(|(_, value)| *value != "(none)"));
    form::encode(&parameters)
}

pub fn user(name: &str, password: Option<String>) -> User {
    User {
        name: name.parse().unwrap(),
        password,
        admin: false,
        created: START,
        stage: UserStage::Enabled,
        passkeys: Vec::new(),
        links: Vec::new(),
    }
}

fn password_hash() -> String {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| password::hash(&Secret::new(PASSWORD.into())).unwrap()).clone()
}

/// A JWT's claims, unverified.
pub fn claims(token: &str) -> Value {
    part(token, 1)
}

/// A JWT's header, unverified.
pub fn header(token: &str) -> Value {
    part(token, 0)
}

fn part(token: &str, at: usize) -> Value {
    use base64::Engine;
    let part = token.split('.').nth(at).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Waits for a future that needs no reactor.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    actix_web::rt::Runtime::new().unwrap().block_on(future)
}

/// Waits until something is so, for ten seconds at most.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "{what}: not within ten seconds");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
