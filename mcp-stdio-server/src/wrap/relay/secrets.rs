//! A server that has its secrets only while a grant covers them: which one runs, and when another takes its place.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::judging::{Asked, Judged, LISTING};
use super::{Done, Greeting, Pending, Relay};
use crate::wrap::child::Child;
use crate::wrap::message;
use crate::wrap::release::Release;
use crate::wrap::standin::{self, Known};

/// What a call is told that loses its server with its grant.
const TAKEN_BACK: &str = "Internal error: the access was taken back, and the server behind this one was ended";

/// Which server runs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Kind {
    /// One that has no secrets of ours, and never gets any.
    #[default]
    Plain,
    /// One that has not got its secrets.
    Bare,
    /// One that has them.
    Trusted,
    /// None: it does not run without them.
    StandIn,
}

/// What is known about the secrets.
#[derive(Default)]
pub(super) struct Keeping {
    /// Which server runs.
    pub kind: Kind,
    /// Whether the one that runs has answered anything but an error.
    pub has_answered: bool,
    /// Whether it was asked for its era after it refused `initialize`.
    pub was_probed: bool,
    /// What was known of the server, and is.
    pub known: Known,
    /// What another server is to take the place of this one for: whether the secrets are covered.
    pub wanted: Option<bool>,
    /// What was let in, and since when it waits for the server that has its secrets.
    pub held: Vec<(Instant, Judged)>,
    /// Another server has taken the place of the one that the host knows.
    pub is_another: bool,
    /// Told whether the secrets are covered.
    pub covered: Option<watch::Receiver<bool>>,
    watching: Option<JoinHandle<()>>,
}

impl Drop for Keeping {
    fn drop(&mut self) {
        if let Some(watching) = &self.watching {
            watching.abort();
        }
    }
}

impl Relay {
    /// Begins to watch who has signed in, and starts what may run now.
    pub(super) async fn begin(&mut self) -> std::io::Result<()> {
        let Some(release) = self.wrapped.secrets.clone() else { return self.start_child() };
        self.keeping.known = self.wrapped.memory.recall();
        let covered = release.at_first(&self.wrapped.gate).await;
        let sender = watch::Sender::new(covered);
        self.keeping.covered = Some(sender.subscribe());
        let gate = Arc::clone(&self.wrapped.gate);
        self.keeping.watching = Some(tokio::spawn(release.watch(gate, sender)));
        self.start_child()
    }

    fn is_covered(&self) -> bool {
        self.keeping.covered.as_ref().is_some_and(|covered| *covered.borrow())
    }

    /// Starts the server, with its secrets while they are covered.
    pub(super) fn start_child(&mut self) -> std::io::Result<()> {
        (self.keeping.has_answered, self.keeping.was_probed) = (false, false);
        let (kind, child) = match self.wrapped.secrets.clone() {
            None => (Kind::Plain, Child::start(&self.wrapped.spec, &Vec::new())?),
            Some(release) => self.start_guarded(&release)?,
        };
        self.keeping.kind = kind;
        self.child = Some(child);
        Ok(())
    }

    fn start_guarded(&self, release: &Release) -> std::io::Result<(Kind, Child)> {
        if self.is_covered() {
            match release.read() {
                Ok(secrets) => return Ok((Kind::Trusted, Child::start(&self.wrapped.spec, &secrets)?)),
                Err(error) => tracing::error!(%error, "the server does not get its secrets"),
            }
        }
        if self.keeping.known.needs_secrets {
            return Ok((Kind::StandIn, standin::start(&self.keeping.known)));
        }
        Ok((Kind::Bare, Child::start(&self.wrapped.spec, &Vec::new())?))
    }

    /// Whether the server that ended, or refuses its host, only wants its secrets. A stand-in is to take its place then.
    pub(super) fn wants_secrets(&mut self) -> bool {
        if self.keeping.kind != Kind::Bare || self.keeping.has_answered {
            return false;
        }
        self.note_need();
        true
    }

    /// A server that has tools only with its secrets shows nothing with which somebody could sign in: a stand-in does.
    pub(super) fn wants_secrets_for(&mut self, tools: &[Value]) {
        let can_list = self.server().is_some_and(|server| server.can("tools", None));
        if self.keeping.kind == Kind::Bare && tools.is_empty() && can_list {
            self.note_need();
            self.keeping.wanted = Some(false);
        }
    }

    fn note_need(&mut self) {
        tracing::info!("the server is of no use without its secrets; it is started when somebody has signed in");
        self.keeping.known.needs_secrets = true;
        self.wrapped.memory.remember(self.keeping.known.clone());
    }

    /// Puts another server in the place of the one that runs.
    pub(super) async fn exchange(&mut self, covered: bool) {
        let is_wanted = match self.keeping.kind {
            Kind::Plain => false,
            Kind::Trusted => !covered,
            Kind::Bare => covered || self.keeping.known.needs_secrets,
            Kind::StandIn => covered,
        };
        if !is_wanted {
            return;
        }
        if let (true, Some(release)) = (covered, &self.wrapped.secrets)
            && let Err(error) = release.read()
        {
            tracing::error!(%error, "the server does not get its secrets");
            return self.refuse_held(&format!("Internal error: the server does not get its secrets: {error}"));
        }
        if self.keeping.kind == Kind::Trusted {
            tracing::info!("no grant covers the server's secrets any more; it is ended");
        }
        if let Some(child) = self.child.take() {
            match covered {
                true => child.end().await,
                // What has a secret in its memory must not have it longer than whoever gave it said.
                false => child.kill().await,
            }
        }
        if covered {
            self.put_aside(
                "Internal error: somebody signed in, and the server behind this one is started again; try again",
            );
        } else {
            self.put_aside(TAKEN_BACK);
            self.refuse_held(TAKEN_BACK);
        }
        self.forget_era();
        if covered {
            // Calls are judged by what the server says that gets them.
            self.listing.send_replace(None);
        }
        self.keeping.is_another |= matches!(self.greeting, Greeting::Done(_));
        self.failures = 0;
        self.restart();
        if self.keeping.kind != Kind::Trusted {
            // The access was taken back while the server before this one ended.
            self.refuse_held(TAKEN_BACK);
        }
    }

    /// What the server was asked and has not answered is asked anew where that does no harm, else answered.
    pub(super) fn put_aside(&mut self, words: &'static str) {
        let pending: Vec<Pending> = self.pending.drain().map(|(_, pending)| pending).collect();
        for pending in pending {
            match &pending.again {
                Some(again) => {
                    let (id, message) = (pending.host_id.clone(), again.clone());
                    let line = Value::Object(message.clone()).to_string().into_bytes();
                    self.park(id, pending.method.clone(), message, line);
                }
                None => self.tell(&message::failure(Some(&pending.host_id), -32603, words, None)),
            }
        }
        for gathering in self.gatherings.drain().map(|(_, gathering)| gathering).filter(|one| !one.is_done()) {
            self.host.put(message::line(&message::failure(Some(gathering.host_id()), -32603, words, None)));
        }
        self.own.clear();
        self.questions.clear();
        self.listening = None;
        if !matches!(self.greeting, Greeting::Done(_)) {
            self.greeting = Greeting::None;
        }
    }

    /// Whether what runs is a stand-in for a server that nobody knows: what the rules say is not about it.
    pub(super) fn knows_nothing(&self) -> bool {
        self.keeping.kind == Kind::StandIn && self.keeping.known.server.is_none()
    }

    /// Whether what runs is not the server that has its secrets. It may list less, and other, than that.
    pub(super) fn lacks_secrets(&self) -> bool {
        matches!(self.keeping.kind, Kind::Bare | Kind::StandIn)
    }

    /// Whether something that was let in has to wait for another server. It is kept then.
    pub(super) fn holds(&mut self, judged: Judged) -> Option<Judged> {
        let is_there = match self.keeping.kind {
            Kind::Plain => true,
            Kind::Trusted => self.server_is_modern().is_some() && self.keeping.held.is_empty(),
            Kind::Bare | Kind::StandIn => false,
        };
        if judged.is_sign_in && judged.is_covered {
            let id = judged.host_id().clone();
            drop(judged);
            self.come_to_secrets();
            let mut result = standin::signed_in();
            if let Some(server) = self.server().filter(|_| self.host_is_modern()) {
                result = server.modern_result("tools/call", result);
            }
            self.tell(&message::success(&id, result));
            return None;
        }
        if is_there || !judged.is_covered {
            return Some(judged);
        }
        self.keeping.held.push((Instant::now(), judged));
        self.come_to_secrets();
        // What was right when the call was judged may be wrong a moment later; then nobody comes.
        self.work.push(Box::pin(async {
            tokio::time::sleep(LISTING).await;
            Done::HeldLong
        }));
        None
    }

    /// Lets the server that has its secrets come. Whether they are covered is for the one who watches to say: otherwise somebody
    /// could take the access back between two looks, and nobody would end the server.
    fn come_to_secrets(&mut self) {
        match &self.wrapped.secrets {
            _ if self.keeping.kind == Kind::Trusted => {}
            // They were to be had from nowhere the last time.
            Some(_) if self.is_covered() => self.keeping.wanted = Some(true),
            Some(release) => release.look_again(),
            None => {}
        }
    }

    /// What waits for a server that does not come waits no longer.
    pub(super) fn held_long(&mut self) {
        if self.keeping.kind == Kind::Trusted {
            return;
        }
        let (long, short) =
            std::mem::take(&mut self.keeping.held).into_iter().partition(|(since, _)| since.elapsed() >= LISTING);
        self.keeping.held = long;
        self.refuse_held(TAKEN_BACK);
        self.keeping.held = short;
    }

    /// The server that has its secrets takes requests. What waited for it goes on when its tools are known, or does not come.
    pub(super) fn go_on_soon(&mut self) {
        if self.keeping.kind == Kind::Trusted && !self.keeping.held.is_empty() {
            self.work.push(Box::pin(async {
                tokio::time::sleep(LISTING).await;
                Done::GoOn
            }));
        }
    }

    /// What waited for the server goes on, if it takes the same as when it was let in.
    pub(super) fn go_on(&mut self) {
        if self.keeping.kind != Kind::Trusted || self.server_is_modern().is_none() {
            return;
        }
        let listing = self.listing.borrow().clone().unwrap_or_default();
        for (_, judged) in std::mem::take(&mut self.keeping.held) {
            if judged.still_holds(&self.wrapped.rules, &listing) {
                self.judged(judged);
            } else {
                let words =
                    "Invalid params: the tool is another one now that the server has its secrets; list the tools again";
                self.tell(&message::failure(Some(judged.host_id()), -32602, words, None));
            }
        }
    }

    pub(super) fn refuse_held(&mut self, words: &str) {
        for (_, judged) in std::mem::take(&mut self.keeping.held) {
            self.tell(&message::failure(Some(judged.host_id()), -32603, words, None));
        }
    }

    /// Whether the tools that were listed are to be told to the store, and remembered if they are the server's own.
    pub(super) fn is_telling(&mut self, tools: &[Value]) -> bool {
        match self.keeping.kind {
            Kind::Plain => true,
            // It may have fewer without its secrets.
            Kind::Bare => self.keeping.known.server.is_none(),
            Kind::StandIn => false,
            Kind::Trusted => {
                let server = self.server().map(|server| server.initialized(None));
                let known = Known { server, tools: tools.to_vec(), ..self.keeping.known.clone() };
                if known != self.keeping.known {
                    self.keeping.known = known.clone();
                    if self.wrapped.secrets.as_ref().is_some_and(|release| release.is_free_of_secrets(&known)) {
                        self.wrapped.memory.remember(known);
                    }
                }
                true
            }
        }
    }

    /// Notes the grant behind a token that came with something that nobody judges.
    pub(super) fn meet(&self, asked: Arc<Asked>) {
        let Some(release) = self.wrapped.secrets.clone() else { return };
        let gate = Arc::clone(&self.wrapped.gate);
        self.work.push(Box::pin(async move {
            release.meet(&gate, &asked.presented).await;
            Done::Nothing
        }));
    }
}
