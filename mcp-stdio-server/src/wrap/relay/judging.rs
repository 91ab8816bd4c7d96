//! Whether a request may be: found out beside everything else, for a person may have to be asked.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable};
use serde_json::{Map, Value, json};
use shared::id::GrantId;
use shared::secret::TokenHash;
use tokio::sync::watch;
use tokio::time::timeout;

use super::denied::Denied;
use super::listens::narrow;
use super::person::Person;
use super::target::Target;
use super::{Done, Pending, Relay};
use crate::audit::{Origin, Underway};
use crate::credential::{self, Place, Presented};
use crate::era::Era;
use crate::gate::{Entry, Turned};
use crate::guard::{Access, Says};
use crate::login::QUESTION;
use crate::login::host::Action;
use crate::wrap::Wrapped;
use crate::wrap::eras::{self, Host};
use crate::wrap::listing::{List, Listing, Viewer, filter};
use crate::wrap::message::{self, Id, param};
use crate::wrap::rules::{Rules, Verdict};
use crate::wrap::standin::SIGN_IN;

/// How long a call waits for the server to list its tools. Then nothing that the tool says of itself counts.
pub(super) const LISTING: Duration = Duration::from_secs(5);

/// Whoever asks for something.
pub(super) struct Asked {
    /// The tokens that came with it.
    pub presented: Presented,
    /// The tool that is asked for.
    pub tool: Option<String>,
}

impl Asked {
    pub(super) fn nobody() -> Arc<Self> {
        Arc::new(Self { presented: Presented::default(), tool: None })
    }

    /// A name for whoever asks, that says nothing: what is given out to one is not taken from another (ARG-14).
    pub(super) fn principal(&self) -> Option<TokenHash> {
        match (&self.presented.meta, &self.presented.argument) {
            (Place::Token(token), _) | (_, Place::Token(token)) => Some(token.hash()),
            _ => None,
        }
    }
}

/// A request that was judged.
pub(super) struct Judged {
    pending: Pending,
    message: Map<String, Value>,
    line: Option<Vec<u8>>,
    verdict: Result<Option<Underway>, Denied>,
    /// Whether a grant covers the server's secrets.
    pub is_covered: bool,
    /// Whether it is a call of the one tool of a stand-in.
    pub is_sign_in: bool,
    /// What it took to be let in.
    access: Option<Access>,
    /// What the tool said of itself then.
    print: Option<TokenHash>,
}

impl Judged {
    /// Its name at the host.
    pub(super) fn host_id(&self) -> &Id {
        &self.pending.host_id
    }

    /// The tool that it calls.
    fn tool(&self) -> Option<&str> {
        param(&self.message, "name").and_then(Value::as_str).filter(|_| self.pending.method == "tools/call")
    }

    /// Whether it takes the same to be let in, and the tool is the same, now that another server runs.
    pub(super) fn still_holds(&self, rules: &Rules, listing: &Listing) -> bool {
        let Some(tool) = self.tool() else { return true };
        let is_same = listing.print(tool) == self.print;
        is_same
            && matches!(listing.verdict(rules, tool), Verdict::Needs(access) if Some(&access) == self.access.as_ref())
    }
}

/// What lets something in.
struct Let {
    underway: Option<Underway>,
    grant: Option<GrantId>,
    access: Access,
}

/// What a call brings back that the guard has asked something.
struct Back {
    state: Option<String>,
    action: Option<Action>,
}

impl Back {
    /// Takes it out of a request. The state of a server behind us has no prefix of ours.
    fn of(message: &mut Map<String, Value>, prefix: &str) -> Self {
        let ours = |state: &Value| state.as_str()?.strip_prefix(prefix).map(str::to_owned);
        let state = param(message, "requestState").and_then(ours);
        let mut action = None;
        if state.is_some()
            && let Some(Value::Object(params)) = message.get_mut("params")
        {
            params.remove("requestState");
            let answers = params.remove("inputResponses");
            let answer = answers.as_ref().and_then(|answers| answers.get(QUESTION)?.get("action")?.as_str());
            action = answer.and_then(Action::of);
        }
        Self { state, action }
    }
}

/// Whoever calls, and what they have to say.
#[derive(Clone, Copy)]
struct Caller<'a> {
    /// What runs is a stand-in for a server that nobody knows.
    before_all: bool,
    /// What runs is not the server that has its secrets.
    lacks_secrets: bool,
    presented: &'a Presented,
    person: &'a Person,
    back: &'a Back,
}

impl Relay {
    /// Judges a request, and then sends it on or refuses it.
    pub(super) fn judge(
        &mut self,
        id: Id,
        method: String,
        message: Map<String, Value>,
        line: Vec<u8>,
        is_modern: bool,
    ) {
        let mut message = message;
        let target = self.tasks.resolved(Target::of(&method, &message));
        if let Target::Malformed(what) = target {
            return self.tell(&message::failure(Some(&id), -32602, &format!("Invalid params: {what}"), None));
        }
        if method == "subscriptions/listen" && is_modern {
            self.watch_for_subscription(&id, &message);
        }
        let (presented, was_there) = take(&mut message, self.wrapped.gate.token_argument);
        let tool = if let Target::Tool(name) = &target { Some(name.clone()) } else { None };
        let asked = Arc::new(Asked { presented, tool });
        let pending = Pending { is_modern, asked: Arc::clone(&asked), ..Pending::plain(id.clone(), &method, None) };
        // What carried a token goes on without it, anything else as it came.
        let line = (!was_there).then_some(line);
        if target == Target::Nothing {
            if was_there {
                self.meet(asked);
            }
            return self.forward(pending, message, line);
        }
        let (wrapped, listing) = (Arc::clone(&self.wrapped), self.listing.subscribe());
        let (before_all, lacks_secrets) = (self.knows_nothing(), self.lacks_secrets());
        let (abort, registration) = AbortHandle::new_pair();
        self.judging.insert(id, abort);
        let is_of_a_tool = matches!(target, Target::Tool(_) | Target::TaskOf(_));
        if is_of_a_tool {
            self.learn_tools_once();
        }
        let person = self.person(&pending.method, &message, is_modern);
        let back = Back::of(&mut message, &self.names.prefix);
        let line = line.filter(|_| back.state.is_none());
        let judging = async move {
            let listing = if is_of_a_tool { listed(listing).await } else { Arc::default() };
            let era = if is_modern { Era::Modern } else { Era::Legacy };
            let caller =
                Caller { before_all, lacks_secrets, presented: &asked.presented, person: &person, back: &back };
            let line = match target {
                Target::News if narrow(&wrapped, &mut message, &asked.presented).await => None,
                _ => line,
            };
            let verdict = may(&wrapped, &target, &listing, (&pending.method, &message, era), caller).await;
            let is_covered = match (&wrapped.secrets, &verdict) {
                (Some(secrets), Ok(admitted)) => secrets.covers(&wrapped.gate, admitted.grant).await,
                _ => false,
            };
            let access = verdict.as_ref().ok().map(|admitted| admitted.access.clone());
            let verdict = verdict.map(|admitted| admitted.underway);
            let print = if let Target::Tool(name) = &target { listing.print(name) } else { None };
            let is_sign_in = before_all && matches!(&target, Target::Tool(name) if name == SIGN_IN);
            Done::Judged(Box::new(Judged { pending, message, line, verdict, is_covered, is_sign_in, access, print }))
        };
        self.work.push(Box::pin(async move { Abortable::new(judging, registration).await.unwrap_or(Done::Nothing) }));
    }

    pub(super) fn judged(&mut self, judged: Judged) {
        self.judging.remove(&judged.pending.host_id);
        let Some(judged) = self.holds(judged) else { return };
        let Judged { mut pending, message, line, verdict, .. } = judged;
        let verdict = verdict.map(|underway| pending.underway = underway.map(Arc::new));
        match verdict {
            Ok(()) if self.resumed(&pending, &message) => {}
            Ok(()) if self.server_is_modern().is_none() && self.child.is_none() => {
                let words =
                    "Internal error: the server behind this one has ended; it is started again. Try again in a moment";
                self.tell(&message::failure(Some(&pending.host_id), -32603, words, None));
            }
            Ok(()) => self.forward(pending, message, line),
            Err(denied) => self.tell(&self.denied(&pending, denied)),
        }
    }

    /// The person behind a request.
    fn person(&self, method: &str, message: &Map<String, Value>, is_modern: bool) -> Person {
        let host = match (&self.host_is, is_modern) {
            (Some(host), false) => host.clone(),
            _ => Host::of_meta(message.get("params")),
        };
        Person {
            is_modern,
            comes_back: eras::comes_back(method),
            capabilities: host.capabilities,
            progress: message::meta_of(message, "progressToken").cloned(),
            host: self.host.clone(),
            waiting: self.waiting.clone(),
            left: self.left.subscribe(),
        }
    }

    /// Takes out of a list what its reader may not use, and sends it to the host.
    pub(super) fn filtered(&mut self, list: List, pending: Pending, answer: Map<String, Value>, line: Vec<u8>) {
        let wrapped = Arc::clone(&self.wrapped);
        let standard = self.knows_nothing().then(Rules::default);
        self.work.push(Box::pin(async move {
            let rules = standard.as_ref().unwrap_or(&wrapped.rules);
            let view = wrapped.gate.view(&pending.asked.presented).await;
            let mut answer = answer;
            let viewer = Viewer { view: &view, shows_locked: wrapped.shows_locked };
            let changed = answer.get_mut("result").is_some_and(|result| filter(list, result, rules, viewer));
            Done::Ready(if changed { message::line(&Value::Object(answer)) } else { line })
        }));
    }
}

/// The line of a message that nobody judges, without the token that may have come with it.
pub(super) fn without_token(message: &mut Map<String, Value>, mut line: Vec<u8>) -> (Vec<u8>, Presented) {
    let (presented, was_there) = take(message, false);
    if was_there {
        line = message::line(&Value::Object(message.clone()));
        line.truncate(line.trim_ascii_end().len());
    }
    (line, presented)
}

/// Takes the tokens out of a request. Whether there were any, or what should be one. An argument of that name is the
/// tool's own unless it was said to be ours.
fn take(message: &mut Map<String, Value>, from_argument: bool) -> (Presented, bool) {
    let Some(Value::Object(params)) = message.get_mut("params") else { return (Presented::default(), false) };
    let (mut meta, mut arguments) = (params.remove("_meta"), params.remove("arguments"));
    let found = |value: &Option<Value>, name: &str| value.as_ref().is_some_and(|value| value.get(name).is_some());
    let was_there = found(&meta, credential::META_MEMBER) || (from_argument && found(&arguments, credential::ARGUMENT));
    let of_argument = arguments.as_mut().filter(|_| from_argument).and_then(Value::as_object_mut);
    let presented = credential::take(meta.as_mut().and_then(Value::as_object_mut), of_argument);
    params.extend(meta.map(|meta| ("_meta".to_owned(), meta)));
    params.extend(arguments.map(|arguments| ("arguments".to_owned(), arguments)));
    (presented, was_there)
}

/// The server's tools, when it has listed them.
async fn listed(mut listing: watch::Receiver<Option<Arc<Listing>>>) -> Arc<Listing> {
    let known = timeout(LISTING, listing.wait_for(Option::is_some)).await;
    known.ok().and_then(Result::ok).and_then(|listing| listing.clone()).unwrap_or_default()
}

async fn may(
    wrapped: &Wrapped,
    target: &Target,
    listing: &Listing,
    (method, message, era): (&str, &Map<String, Value>, Era),
    caller: Caller<'_>,
) -> Result<Let, Denied> {
    if *target == Target::News {
        return Ok(Let { underway: None, grant: None, access: Access::Open });
    }
    let Caller { before_all, lacks_secrets, presented, person, back } = caller;
    let verdict = match target {
        // The rules are about the server's tools, and this one is ours. Nothing is known of any other.
        Target::Tool(name) if before_all && name == SIGN_IN => listing.verdict(&Rules::default(), name),
        Target::Tool(_) if before_all => Verdict::Denied,
        _ => target.verdict(&wrapped.rules, listing),
    };
    let access = match &verdict {
        Verdict::Needs(access) => access.clone(),
        Verdict::Denied => Access::Open,
    };
    let arguments = message::arguments(method, message);
    let origin = Origin::of(era, param(message, "_meta").and_then(Value::as_object));
    let entry = Entry {
        kind: target.kind(),
        name: target.name(method),
        method,
        access: &access,
        arguments: &arguments,
        presented,
        state: back.state.as_deref(),
        answer: back.action,
        host: match target {
            // Hosts look after tasks by themselves, and try out at their start what nobody knows.
            Target::Task(_) | Target::TaskOf(_) | Target::Unknown => None,
            _ => Some(person),
        },
        origin: &origin,
        says: match target {
            Target::Tool(name) => match listing.print(name) {
                // The server that has its secrets may list it: the call is held against that then.
                None if lacks_secrets => Says::Unknown,
                print => Says::of(print),
            },
            _ => Says::Unknown,
        },
    };
    let gate = &wrapped.gate;
    let now = gate.clock.now();
    if verdict == Verdict::Denied {
        gate.denied(&entry, now);
        return Err(Denied::Unknown);
    }
    match gate.enter(&entry, now).await {
        Ok(admission) => {
            let grant = admission.caller.and_then(|caller| caller.token().grant());
            Ok(Let { underway: Some(admission.underway), grant, access })
        }
        Err(Turned::Back(result)) => Err(Denied::Refused(result)),
        Err(Turned::Page(result, page)) if person.is_sent_there() => Err(Denied::Sent(result, page)),
        Err(Turned::Page(result, _)) => Err(Denied::Refused(result)),
        Err(Turned::Ask(question)) => Err(Denied::Asked(question)),
        Err(Turned::BadState) => Err(Denied::BadState),
    }
}

/// The request as it identifies itself, without what a retry changes: a hash.
pub(super) fn digest(method: &str, message: &Map<String, Value>) -> TokenHash {
    let mut params = message.get("params").cloned().unwrap_or_default();
    if let Some(params) = params.as_object_mut() {
        for name in ["_meta", "inputResponses", "requestState"] {
            params.remove(name);
        }
    }
    TokenHash::of(json!([method, params]).to_string().as_bytes())
}
