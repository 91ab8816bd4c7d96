//! The same tools over Streamable HTTP: `/mcp`, its metadata, and Bearer challenges.
//!
//! [`request`] sorts what comes, [`endpoint`] carries it, [`backend`] answers: a served server as on stdio, one for each
//! session ([`session`], [`sessions`]). What it says goes into a [`channel`] for each request, which a client of the earlier
//! era may read again ([`track`]). The token of the `Authorization` header goes on in `_meta`, where the server behind
//! looks for it and takes it out; it goes nowhere else. What is not let in learns it from the status: 401 and 403, with a
//! challenge that says where to sign in and for what.

pub mod backend;
pub mod channel;
pub mod endpoint;
mod receive;
mod reply;
pub mod request;
pub mod routes;
pub mod session;
pub mod sessions;
pub mod stream;
pub mod track;

use std::sync::Arc;

use actix_web::http::header::AUTHORIZATION;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, guard};
use serde_json::{Map, Value};
use shared::oauth::metadata::{ProtectedResource, well_known};
use shared::scope::Scopes;
use shared::secret::Secret;
use shared::state::Kind;
use shared::time::Timestamp;
use shared::uri::Parts;

use self::backend::{Backend, Need};
use self::session::Principal;
use self::sessions::Sessions;
use crate::audit::Origin;
use crate::credential::Presented;
use crate::gate::{Entry, Gate};
use crate::guard::{Access, Challenge, Says, Shown, Wish, admit};
use crate::token::Token;
use crate::verify::{Checked, Unavailable, Unverified};

/// The longest message, as on stdio (contract C10).
pub const MAX_BODY: usize = crate::framing::lines::MAX_LINE;

/// The longest token (contract C9).
const MAX_TOKEN: usize = 8 * 1024;

/// The well-known name of a resource's metadata (RFC 9728 section 3).
const WELL_KNOWN: &str = "oauth-protected-resource";

/// How a front is set up.
pub struct Setup {
    /// What answers.
    pub backend: Arc<dyn Backend>,
    /// How tokens are checked, for the URL of the endpoint.
    pub gate: Gate,
    /// Whether what needs no scope needs no token either.
    pub open: bool,
    /// Which hosts a request may name; `None` for any, or when somebody else looks.
    pub hosts: Option<Vec<String>>,
    /// Origins whose pages may ask, besides our own.
    pub origins: Vec<String>,
    /// How many sessions there may be.
    pub sessions: usize,
}

/// The front of `/mcp`.
pub struct Front {
    gate: Gate,
    metadata_url: String,
    open: bool,
    hosts: Option<Vec<String>>,
    origins: Vec<String>,
    sessions: Sessions,
}

/// Whoever asks.
pub struct Asker {
    principal: Principal,
    token: Secret,
    checked: Checked,
}

impl Asker {
    /// What the answer to a request of this asker's hangs from.
    fn holder(self, method: &str) -> Holder {
        if method == "subscriptions/listen" {
            return Holder::Token(self.token);
        }
        let is_once = self.checked.facts.access.is_some_and(|access| access.once.is_some());
        Holder::Call { token: self.token, checked: Box::new(self.checked.token), is_once }
    }
}

/// What a stream hangs from: it ends with it.
pub enum Holder {
    /// A token: news come while it lives.
    Token(Secret),
    /// A token that was good when the request came. Its answer ends with what is taken back, and not with the token's
    /// time; one for one call is used up from the beginning.
    Call {
        /// The token.
        token: Secret,
        /// What it says.
        checked: Box<Token>,
        /// Whether it is for one call.
        is_once: bool,
    },
}

/// Why somebody is not let in.
#[derive(Debug)]
pub enum Denied {
    /// The token, or that there is none, and the scopes that are needed.
    Challenge(Challenge, Scopes),
    /// There is nothing to check a token against.
    Unavailable(Unavailable),
}

impl Front {
    /// A front.
    pub fn new(setup: Setup) -> Self {
        let Setup { backend, gate, open, hosts, origins, sessions } = setup;
        let metadata_url = well_known(gate.resource.as_str(), WELL_KNOWN).unwrap_or_default();
        let sessions = Sessions::new(backend, sessions);
        Self { gate, metadata_url, open, hosts, origins, sessions }
    }

    /// Mounts the endpoint, below the path of its URL.
    pub fn mount(self: &Arc<Self>) -> impl FnOnce(&mut ServiceConfig) + use<> {
        let front = Arc::clone(self);
        move |config| {
            let path = front.path();
            let resource = web::resource(path)
                .app_data(Data::from(Arc::clone(&front)))
                .route(web::post().to(endpoint::post))
                .route(web::get().to(endpoint::get))
                .route(web::delete().to(endpoint::delete))
                .route(web::method(actix_web::http::Method::OPTIONS).to(endpoint::preflight))
                .default_service(web::route().to(endpoint::refuse_method));
            config.service(resource);
        }
    }

    /// Mounts the metadata, inserted before the path and at the root: clients look there too. All else leads nowhere.
    pub fn mount_metadata(self: &Arc<Self>) -> impl FnOnce(&mut ServiceConfig) + use<> {
        let front = Arc::clone(self);
        move |config| {
            let root = format!("/.well-known/{WELL_KNOWN}");
            let inserted = format!("{root}{}", front.path().trim_end_matches('/'));
            let paths = if inserted == root { vec![root] } else { vec![inserted, root] };
            for path in paths {
                let data = Data::from(Arc::clone(&front));
                let read = web::route().guard(guard::Any(guard::Get()).or(guard::Head())).to(endpoint::metadata);
                let other = web::route().to(endpoint::metadata_methods);
                config.service(web::resource(path).app_data(data).route(read).default_service(other));
            }
            config.app_data(Data::from(front)).default_service(web::route().to(endpoint::not_found));
        }
    }

    fn path(&self) -> String {
        let path = Parts::of(self.gate.resource.as_str()).map(|parts| parts.path).filter(|path| !path.is_empty());
        path.unwrap_or("/").to_owned()
    }

    /// What the endpoint says of itself (RFC 9728 section 2).
    pub async fn document(&self) -> ProtectedResource {
        let issuers = self.gate.verify.issuers().await;
        ProtectedResource {
            resource: self.gate.resource.to_string(),
            authorization_servers: issuers.iter().map(ToString::to_string).collect(),
            scopes_supported: self.sessions.backend().scopes().iter().map(ToString::to_string).collect(),
            bearer_methods_supported: vec!["header".to_owned()],
            resource_name: None,
        }
    }

    /// Who asks, by the `Authorization` header alone (RFC 6750 section 2.1); nobody without one.
    ///
    /// # Errors
    /// When what is there is no token that lives.
    async fn asker(&self, http: &HttpRequest) -> Result<Option<Asker>, Denied> {
        let bad = |cause| Denied::Challenge(Challenge::InvalidToken(cause), self.sessions.backend().scopes());
        let mut headers = http.headers().get_all(AUTHORIZATION);
        let (Some(header), second) = (headers.next(), headers.next()) else { return Ok(None) };
        let malformed = || bad(shared::token::TokenError::Form);
        let text = header.to_str().map_err(|_| malformed())?.trim();
        let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("bearer") && second.is_none() {
            return Ok(None);
        }
        let token = token.trim();
        if second.is_some()
            || token.is_empty()
            || token.len() > MAX_TOKEN
            || !token.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(malformed());
        }
        let token = Secret::new(token.to_owned());
        let checked = match self.gate.verify.check(&token, self.gate.clock.now()).await {
            Ok(checked) => checked,
            Err(Unverified::Token(cause)) => return Err(bad(cause)),
            Err(Unverified::Unavailable(why)) => return Err(Denied::Unavailable(why)),
        };
        checked.token.alive(&checked.facts, self.gate.clock.now()).map_err(bad)?;
        let (issuer, subject, client) = (checked.token.issuer(), checked.token.subject(), checked.token.client());
        let principal = Principal { issuer: issuer.to_owned(), subject: subject.to_owned(), client: client.to_owned() };
        Ok(Some(Asker { principal, token, checked }))
    }

    /// Whether what a stream hangs from still lives; `None` when that cannot be told now. A store or an issuer that is away
    /// for a moment has taken nothing back.
    async fn is_alive(&self, holder: &Holder) -> Option<bool> {
        let now = self.gate.clock.now();
        match holder {
            Holder::Token(token) => self.is_good(token, now).await,
            Holder::Call { token, checked, is_once } => match checked.as_ref() {
                Token::Ours(claimed) => {
                    let facts = self.gate.verify.again(checked).await?;
                    let is_there = *is_once || facts.access.is_some() || claimed.claims().exp <= now;
                    Some(is_there && facts.grant_lives())
                }
                Token::Foreign(foreign) if foreign.expires().is_some_and(|end| end <= now) => Some(true),
                Token::Foreign(_) => self.is_good(token, now).await,
            },
        }
    }

    async fn is_good(&self, token: &Secret, now: Timestamp) -> Option<bool> {
        match self.gate.verify.check(token, now).await {
            Ok(checked) => Some(checked.token.alive(&checked.facts, now).is_ok()),
            Err(Unverified::Unavailable(Unavailable::Loading | Unavailable::Issuer | Unavailable::Busy)) => None,
            Err(_) => Some(false),
        }
    }

    /// Whether `asker` may ask for `name` by `method`.
    ///
    /// # Errors
    /// Why not, and what it takes.
    fn admits(&self, asker: Option<&Asker>, method: &str, name: Option<&str>) -> Result<(), Denied> {
        let need = self.sessions.backend().need(method, name);
        let Some(asker) = asker else {
            let scopes = match need {
                Need::Nothing if self.open => return Ok(()),
                Need::Scopes(_, scopes) => scopes,
                Need::Nothing | Need::Token => self.sessions.backend().scopes(),
            };
            return Err(Denied::Challenge(Challenge::Unauthorized, scopes));
        };
        let Need::Scopes(kind, scopes) = need else { return Ok(()) };
        let shown = Shown::Token(&asker.checked.token, &asker.checked.facts);
        let wish = Wish { kind, name: name.unwrap_or_default(), arguments: None, says: self.says(kind, name) };
        match admit(wish, &scopes, shown, self.gate.clock.now()) {
            Ok(_) => Ok(()),
            // A token for one call is held against the call's arguments by the server behind.
            Err(Challenge::AnotherCall) if kind.is_tool() => Ok(()),
            Err(challenge) => {
                tracing::info!(method, ?challenge, "request refused");
                Err(Denied::Challenge(challenge, scopes))
            }
        }
    }

    /// What a tool says of itself, as far as is known here. The server behind knows better.
    fn says(&self, kind: Kind, name: Option<&str>) -> Says {
        let print = name.filter(|_| kind.is_tool()).and_then(|name| self.sessions.backend().print(name));
        print.map_or(Says::Unknown, Says::This)
    }

    /// Writes down that a call was refused before it went any further. Not for strangers, who could fill the trail.
    fn note(
        &self,
        asker: &Asker,
        challenge: &Challenge,
        (method, name): (&str, &str),
        arguments: &Map<String, Value>,
        origin: &Origin,
    ) {
        let Need::Scopes(kind, scopes) = self.sessions.backend().need(method, Some(name)) else { return };
        let entry = Entry {
            kind,
            name,
            method,
            access: &Access::Scopes(scopes),
            arguments,
            presented: &Presented::default(),
            state: None,
            answer: None,
            host: None,
            origin,
            says: self.says(kind, Some(name)),
        };
        self.gate.refused(&entry, challenge, &asker.checked, self.gate.clock.now());
    }
}
