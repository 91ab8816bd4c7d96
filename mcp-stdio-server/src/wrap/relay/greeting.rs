//! Finding out which era the server is of, and greeting it: at the beginning, and again after it has ended.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::judging::{Asked, without_token};
use super::{Done, Pending, Relay};
use crate::wrap::eras::{Host, Server};
use crate::wrap::listing::Listing;
use crate::wrap::message::{self, Id};

/// How long a server may take to answer what only the other era knows.
const PROBE: Duration = Duration::from_secs(3);

/// At most so many pages of tools are read.
const PAGES: usize = 64;

/// What is known of the server.
#[derive(Default)]
pub(super) enum Greeting {
    /// Nothing: nobody has asked it anything.
    #[default]
    None,
    /// The host's `initialize` is under way to it.
    Initializing,
    /// It is asked which era it is of.
    Probing {
        /// The host's `initialize` that it refused: what it answered.
        refused: Option<(Id, Option<String>, Vec<u8>)>,
    },
    /// It is greeted.
    Done(Box<Greeted>),
}

/// A server that is greeted.
pub(super) struct Greeted {
    server: Server,
    is_modern: bool,
    /// The parameters with which it was initialized, to do it again.
    params: Option<Value>,
    /// It is being greeted again.
    again: bool,
}

/// What we ask the server for ourselves.
pub(super) enum Own {
    /// `server/discover`, to learn its era.
    Probe,
    /// `initialize` in the host's name, with these parameters.
    Initialize(Value),
    /// A page of its tools, with those of the pages before.
    Tools(Vec<Value>, usize),
    /// Something whose answer says nothing.
    Other,
}

impl Greeting {
    pub(super) fn server(&self) -> Option<&Server> {
        match self {
            Self::Done(greeted) => Some(&greeted.server),
            _ => None,
        }
    }
}

impl Relay {
    /// Whether the server is greeted and of the modern era; `None` while that is not known.
    pub(super) fn server_is_modern(&self) -> Option<bool> {
        match &self.greeting {
            Greeting::Done(greeted) if !greeted.again && self.child.is_some() => Some(greeted.is_modern),
            _ => None,
        }
    }

    /// The host's `initialize`.
    pub(super) fn initialize(&mut self, id: Id, mut message: Map<String, Value>, line: Vec<u8>) {
        let (line, presented) = without_token(&mut message, line);
        let params = message.get("params").cloned();
        self.host_is = Some(Host::of_initialize(params.as_ref()));
        self.host_initializes = true;
        self.meet(Arc::new(Asked { presented, tool: None }));
        match &self.greeting {
            Greeting::Done(greeted) if greeted.is_modern => {
                let asked = params.as_ref().and_then(|params| params.get("protocolVersion")).and_then(Value::as_str);
                self.tell(&message::success(&id, greeted.server.initialized(asked)));
            }
            Greeting::None | Greeting::Done(_) if self.child.is_some() => {
                if matches!(self.greeting, Greeting::None) {
                    self.greeting = Greeting::Initializing;
                }
                let again = self.wrapped.secrets.is_some().then(|| message.clone());
                let pending = Pending { again, ..Pending::plain(id.clone(), "initialize", Some(message)) };
                self.pending.insert(id, pending);
                self.pass_on(line);
            }
            _ => self.park(id, "initialize".to_owned(), message, line),
        }
    }

    /// The server's answer to the host's `initialize`. Whether the host gets it.
    pub(super) fn initialize_answered(&mut self, pending: &Pending, answer: &Map<String, Value>, line: &[u8]) -> bool {
        let params = pending.message.as_ref().and_then(|message| message.get("params")).cloned();
        match answer.get("result") {
            Some(result) => {
                self.greeted(Server::of_initialize(result), false, params);
                if self.host_is_initialized {
                    self.server_is_ready();
                }
                true
            }
            None if answer["error"]["code"] != -32601 && self.wants_secrets() => {
                if let Some(message) = pending.message.clone() {
                    let line = Value::Object(message.clone()).to_string().into_bytes();
                    self.park(pending.host_id.clone(), "initialize".to_owned(), message, line);
                }
                self.keeping.wanted = Some(false);
                false
            }
            None if matches!(self.greeting, Greeting::Initializing) => {
                // It may be of the other era, and know no `initialize`.
                let asked = params.as_ref().and_then(|params| params.get("protocolVersion")).and_then(Value::as_str);
                let refused = Some((pending.host_id.clone(), asked.map(str::to_owned), line.to_vec()));
                self.probe(refused);
                false
            }
            None => true,
        }
    }

    /// Asks the server which era it is of.
    pub(super) fn probe(&mut self, refused: Option<(Id, Option<String>, Vec<u8>)>) {
        self.greeting = Greeting::Probing { refused };
        let host = self.host_is.clone().unwrap_or_else(|| Host::of_initialize(None));
        let id = self.ask(Own::Probe, "server/discover", json!({ "_meta": host.meta() }));
        self.work.push(Box::pin(async move {
            tokio::time::sleep(PROBE).await;
            Done::Late(id)
        }));
    }

    /// Asks the server something for ourselves.
    pub(super) fn ask(&mut self, own: Own, method: &str, mut params: Value) -> Id {
        if self.server_is_modern() == Some(true) {
            let mut message = Map::from_iter([("params".to_owned(), params)]);
            let host = self.host_is.clone().unwrap_or_else(|| Host::of_initialize(None));
            crate::wrap::eras::modern_request(&mut message, &host);
            params = message.remove("params").unwrap_or_default();
        }
        let id = self.names.next();
        self.own.insert(id.clone(), own);
        self.say(&message::request(&id, method, params));
        id
    }

    /// The server's answer to something of ours.
    pub(super) fn own_answered(&mut self, id: &Id, own: Own, answer: &Map<String, Value>) {
        match (own, answer.get("result")) {
            (Own::Probe, Some(result)) => self.discovered(Server::of_discover(result)),
            // A modern server that speaks no version of ours says so itself, to whatever the host asks.
            (Own::Probe, None) if answer["error"]["code"] == -32022 => {
                self.discovered(Server::of_discover(&Value::Null))
            }
            (own @ Own::Probe, None) => {
                self.own.insert(id.clone(), own);
                self.probe_failed(id, Some(answer));
            }
            (Own::Initialize(params), Some(result)) => {
                self.say(&message::notification("notifications/initialized", json!({})));
                self.greeted(Server::of_initialize(result), false, Some(params));
                self.server_is_ready();
            }
            (Own::Initialize(_), None) if answer["error"]["code"] != -32601 && self.wants_secrets() => {
                self.keeping.wanted = Some(false);
            }
            (Own::Initialize(_), None) if self.keeping.is_another && !self.keeping.was_probed => {
                self.keeping.was_probed = true;
                self.probe(None);
            }
            (Own::Initialize(_), None) => {
                self.greeting = Greeting::None;
                let error = answer.get("error").cloned().unwrap_or_default();
                for (id, ..) in std::mem::take(&mut self.parked) {
                    self.tell(&json!({ "jsonrpc": "2.0", "id": id.value(), "error": error }));
                }
            }
            (Own::Tools(tools, page), Some(result)) => self.tools_page(tools, page, result),
            (Own::Tools(tools, _), None) => self.tools_are(tools),
            (Own::Other, _) => {}
        }
    }

    /// The probe came to nothing: the server is of the `initialize` era.
    pub(super) fn probe_failed(&mut self, id: &Id, _answer: Option<&Map<String, Value>>) {
        if !matches!(self.own.remove(id), Some(Own::Probe)) {
            return;
        }
        let Greeting::Probing { refused } = std::mem::take(&mut self.greeting) else { return };
        match refused {
            // It has refused `initialize`, too: that is what the host should know.
            Some((_, _, mut line)) => {
                line.push(b'\n');
                self.host.put(line);
            }
            None => {
                self.greeting = Greeting::Probing { refused: None };
                let params =
                    self.host_is.as_ref().map_or_else(|| Host::of_initialize(None).initialize(), Host::initialize);
                self.ask(Own::Initialize(params.clone()), "initialize", params);
            }
        }
    }

    fn discovered(&mut self, server: Server) {
        if let Greeting::Probing { refused: Some((id, asked, _)) } = &self.greeting {
            self.tell(&message::success(id, server.initialized(asked.as_deref())));
        }
        self.greeted(server, true, None);
        self.server_is_ready();
    }

    fn greeted(&mut self, server: Server, is_modern: bool, params: Option<Value>) {
        let is_again = matches!(&self.greeting, Greeting::Done(greeted) if greeted.again);
        self.has_spoken = true;
        let is_another = std::mem::take(&mut self.keeping.is_another);
        self.greeting = Greeting::Done(Box::new(Greeted { server, is_modern, params, again: false }));
        if is_again || is_another {
            // It may be another version of itself by now.
            for kind in ["tools", "resources", "prompts"] {
                let part = Some("listChanged").filter(|_| !is_another);
                if self.server().is_some_and(|server| server.can(kind, part)) {
                    self.list_changed(kind);
                }
            }
        }
    }

    /// The server takes requests now: those that wait go on, and we learn its tools.
    pub(super) fn server_is_ready(&mut self) {
        self.learn_tools();
        self.listen_for_host();
        self.subscribe_again();
        if self.host_initializes {
            self.watch_for_host();
        }
        for (id, method, message, line) in std::mem::take(&mut self.parked) {
            self.request(id, method, message, line);
        }
        self.go_on_soon();
    }

    /// The server that comes next may be of the other era than the one before.
    pub(super) fn forget_era(&mut self) {
        if let Greeting::Done(greeted) = &mut self.greeting
            && greeted.params.is_none()
        {
            greeted.params = self.host_is.as_ref().map(Host::initialize);
        }
    }

    /// Greets a server that was started again as it was greeted before.
    pub(super) fn greet_again(&mut self) {
        let Greeting::Done(greeted) = &mut self.greeting else {
            self.greeting = Greeting::None;
            for (id, method, message, line) in std::mem::take(&mut self.parked) {
                self.request(id, method, message, line);
            }
            return;
        };
        greeted.again = true;
        match greeted.params.clone() {
            Some(params) => drop(self.ask(Own::Initialize(params.clone()), "initialize", params)),
            None => {
                greeted.again = false;
                for kind in ["tools", "resources", "prompts"] {
                    self.list_changed(kind);
                }
                self.server_is_ready();
            }
        }
    }

    /// Asks for the server's tools, to know what they say of themselves.
    pub(super) fn learn_tools(&mut self) {
        if self.server().is_some_and(|server| server.can("tools", None)) {
            self.ask(Own::Tools(Vec::new(), 0), "tools/list", json!({}));
        } else {
            self.tools_are(Vec::new());
        }
    }

    /// The same for a host that never said that it is initialized.
    pub(super) fn learn_tools_once(&mut self) {
        let is_asked = self.own.values().any(|own| matches!(own, Own::Tools(..)));
        if self.listing.borrow().is_none() && !is_asked && self.server_is_modern().is_some() {
            self.learn_tools();
        }
    }

    fn tools_page(&mut self, mut tools: Vec<Value>, page: usize, result: &Value) {
        tools.extend(result.get("tools").and_then(Value::as_array).cloned().unwrap_or_default());
        match result.get("nextCursor").filter(|cursor| !cursor.is_null()) {
            Some(cursor) if page < PAGES => {
                self.ask(Own::Tools(tools, page + 1), "tools/list", json!({ "cursor": cursor }));
            }
            _ => self.tools_are(tools),
        }
    }

    fn tools_are(&mut self, tools: Vec<Value>) {
        self.wants_secrets_for(&tools);
        let is_telling = self.is_telling(&tools);
        let listing = Listing::of(tools);
        for name in listing.changed(&self.wrapped.rules) {
            tracing::warn!(
                tool = %crate::results::shown(name),
                "the tool has become another since the rules were written, and is not offered; `rules check` says more"
            );
        }
        let listing = Arc::new(listing);
        if is_telling {
            (self.wrapped.told)(&listing);
        }
        self.listing.send_replace(Some(listing));
        self.go_on();
    }
}
