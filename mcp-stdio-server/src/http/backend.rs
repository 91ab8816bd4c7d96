//! What answers behind the front: our own tools, or a wrapped server. One runs for each session.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use shared::scope::Scopes;
use shared::secret::TokenHash;
use shared::state::Kind;
use tokio::io::DuplexStream;

use crate::announce::{self, Announced};
use crate::gate::Gate;
use crate::guard::Access;
use crate::handler::{Handler, Parts};
use crate::server::{self, Program};
use crate::tools::Catalog;
use crate::wrap::child::Spec;
use crate::wrap::listing::Listing;
use crate::wrap::rules::{Rules, Verdict};
use crate::wrap::standin::Memory;
use crate::wrap::{self, Wrapped, probe};

/// A server at work.
pub type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a request needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// A token that lives. What more it takes is judged behind.
    Token,
    /// A token with these scopes, for something of this kind.
    Scopes(Kind, Scopes),
}

impl Need {
    fn of(kind: Kind, verdict: Verdict) -> Self {
        match verdict {
            Verdict::Needs(Access::Open) => Self::Nothing,
            Verdict::Needs(Access::Scopes(scopes)) => Self::Scopes(kind, scopes),
            // That there is no such thing is said behind.
            Verdict::Denied => Self::Token,
        }
    }
}

/// What answers behind the front.
pub trait Backend: Send + Sync {
    /// Serves one session until its input ends.
    fn serve(&self, io: DuplexStream) -> Serving;

    /// What a request needs, as far as is known before it is judged.
    fn need(&self, method: &str, name: Option<&str>) -> Need;

    /// All that requests can need: what a person is asked for at the first login.
    fn scopes(&self) -> Scopes;

    /// What a tool takes (its `inputSchema`), as far as is known.
    fn input(&self, tool: &str) -> Option<Value>;

    /// What a tool says of itself, as one hash, as far as is known.
    fn print(&self, tool: &str) -> Option<TokenHash>;

    /// What the store is told, so that a person can be asked.
    fn announced(&self) -> Announced;
}

/// What every session's gate is made of. A gate of this front takes tokens from `_meta` alone, where the front puts the
/// one of the `Authorization` header.
pub type Gates = Box<dyn Fn() -> Gate + Send + Sync>;

/// Our own tools.
pub struct Own {
    catalog: Box<dyn Fn() -> Catalog + Send + Sync>,
    known: Catalog,
    gates: Gates,
    program: Program,
}

impl Own {
    /// Serves the tools of `catalog`.
    pub fn new(catalog: impl Fn() -> Catalog + Send + Sync + 'static, gates: Gates) -> Self {
        Self { known: catalog(), catalog: Box::new(catalog), gates, program: Program::OURS }
    }

    /// The same under another name.
    #[must_use]
    pub fn named(self, program: Program) -> Self {
        Self { program, ..self }
    }
}

impl Backend for Own {
    fn serve(&self, io: DuplexStream) -> Serving {
        let handler = Handler::new(Parts { catalog: (self.catalog)(), gate: (self.gates)() }).named(self.program);
        let (input, output) = tokio::io::split(io);
        Box::pin(async move {
            server::serve(handler, input, output, pending()).await;
        })
    }

    fn need(&self, method: &str, name: Option<&str>) -> Need {
        match (method, name.and_then(|name| self.known.get(name))) {
            ("tools/call", Some(tool)) => Need::of(Kind::Tool, Verdict::Needs(tool.definition.access.clone())),
            _ => need_of(method),
        }
    }

    fn scopes(&self) -> Scopes {
        self.known.scopes()
    }

    fn input(&self, tool: &str) -> Option<Value> {
        self.known.get(tool).map(|tool| Value::Object(tool.definition.input.clone()))
    }

    fn print(&self, tool: &str) -> Option<TokenHash> {
        self.known.get(tool).map(|tool| tool.print)
    }

    fn announced(&self) -> Announced {
        Announced { tools: announce::tools(&self.known), ..Announced::default() }
    }
}

/// What is open in every server, and what is not, when nothing else is known.
fn need_of(method: &str) -> Need {
    match method {
        "initialize" | "ping" | "server/discover" | "logging/setLevel" | "subscriptions/listen" => Need::Nothing,
        _ if method.ends_with("/list") || method.starts_with("notifications/") => Need::Nothing,
        _ => Need::Token,
    }
}

/// Who is told what needs a consent, whenever that is something else.
pub type Announce = Box<dyn Fn(Announced) + Send + Sync>;

/// A wrapped server.
pub struct Wrap {
    spec: Spec,
    shows_locked: bool,
    scopes: Scopes,
    gates: Gates,
    known: Arc<Known>,
}

/// The tools that the server has listed, in whichever session.
struct Known {
    rules: Rules,
    listing: Mutex<Arc<Listing>>,
    announce: Announce,
}

impl Known {
    fn listing(&self) -> Arc<Listing> {
        Arc::clone(&self.listing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A session's server has listed its tools.
    fn learn(&self, found: &Listing) {
        let mut listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(all) = listing.with(found) else { return };
        let (before, now) = (listing.told(&self.rules), all.told(&self.rules));
        *listing = Arc::new(all);
        drop(listing);
        if before != now {
            (self.announce)(now);
        }
    }
}

impl Wrap {
    /// Serves what `spec` starts. It is started once now, so that its tools are known before the first request; those that
    /// come later, in whichever session, are announced as they come.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn new(
        rules: Rules,
        spec: Spec,
        shows_locked: bool,
        scopes: Scopes,
        gates: Gates,
        announce: Announce,
    ) -> io::Result<Self> {
        let listing = Mutex::new(Arc::new(Listing::of(probe::tools(&spec).await?)));
        Ok(Self { spec, shows_locked, scopes, gates, known: Arc::new(Known { rules, listing, announce }) })
    }
}

impl Backend for Wrap {
    fn serve(&self, io: DuplexStream) -> Serving {
        let known = Arc::clone(&self.known);
        let wrapped = Wrapped {
            gate: Arc::new((self.gates)()),
            rules: known.rules.clone(),
            spec: self.spec.clone(),
            secrets: None,
            memory: Memory::none(),
            shows_locked: self.shows_locked,
            told: Box::new(move |listing| known.learn(listing)),
        };
        let (input, output) = tokio::io::split(io);
        Box::pin(async move {
            wrap::serve(wrapped, input, output, pending()).await;
        })
    }

    fn need(&self, method: &str, name: Option<&str>) -> Need {
        match (method, name) {
            ("tools/call", Some(name)) => Need::of(Kind::Tool, self.known.listing().verdict(&self.known.rules, name)),
            ("resources/read" | "resources/subscribe" | "resources/unsubscribe", Some(uri)) => {
                Need::of(Kind::Resource, self.known.rules.resource(uri))
            }
            ("prompts/get", Some(name)) => Need::of(Kind::Prompt, self.known.rules.prompt(name)),
            _ => need_of(method),
        }
    }

    fn scopes(&self) -> Scopes {
        self.scopes.clone()
    }

    fn input(&self, tool: &str) -> Option<Value> {
        self.known.listing().input(tool).cloned()
    }

    fn print(&self, tool: &str) -> Option<TokenHash> {
        self.known.listing().print(tool)
    }

    fn announced(&self) -> Announced {
        self.known.listing().told(&self.known.rules)
    }
}
