//! The gate: finds a call's token, has it checked, and lets the guard decide. One for everything that is guarded.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{CallToolResult, InputRequiredResult};
use serde_json::{Map, Value};
use shared::id::GrantId;
use shared::scope::Scopes;
use shared::secret::Secret;
use shared::state::{Grant, Kind};
use shared::store::calls::{Bearer, Decision};
use shared::time::{Clock, Timestamp};
use shared::token::TokenError;
use shared::uri::Resource;

use crate::announce::Announcer;
use crate::audit::{self, Audit, Decided, Origin, Transport, Underway};
use crate::credential::{self, BadPlace, Presented};
use crate::guard::{Access, Caller, Challenge, Says, Shown, Wish, admit};
use crate::login::book::Login;
use crate::login::host::{Action, Host, Question};
use crate::login::round::Asking;
use crate::login::words::Narrow;
use crate::login::{Attempt, Back, Climbed, Ladder, words};
use crate::results::{failure, shown};
use crate::token::Token;
use crate::verify::{Checked, Unavailable, Unverified, Verify};

/// How long a list of tools waits for a store that is still being read; then it is the whole list.
const LIST_PATIENCE: Duration = Duration::from_millis(200);

/// What calls are judged by.
pub struct Gate {
    /// How tokens are checked.
    pub verify: Arc<dyn Verify>,
    /// What the time is.
    pub clock: Arc<dyn Clock>,
    /// The name that tokens must be for.
    pub resource: Resource,
    /// The token of calls that bring none.
    pub environment: Option<Secret>,
    /// Whether tools take a token as an argument.
    pub token_argument: bool,
    /// How a call without a token asks a person for a login, by which such calls are judged from then on; not at all
    /// without. For hosts on this machine alone: a stranger who comes over a network must not be given its login.
    pub ladder: Option<Ladder>,
    /// Where every decision is written down.
    pub audit: Audit,
    /// Who tells the store about the tools.
    pub announcer: Option<Arc<Announcer>>,
}

/// A call that would come in: what it is judged by besides its token, and what its host can do about a refusal.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// What is wanted: a tool, a resource, a prompt.
    pub kind: Kind,
    /// Its name, or its URI.
    pub name: &'a str,
    /// By which method.
    pub method: &'a str,
    /// Who may have it.
    pub access: &'a Access,
    /// The arguments, without a token.
    pub arguments: &'a Map<String, Value>,
    /// Its tokens.
    pub presented: &'a Presented,
    /// What an earlier answer gave it to bring back (`requestState`, MCP 2026-07-28).
    pub state: Option<&'a str>,
    /// What the person did with our question (`inputResponses`).
    pub answer: Option<Action>,
    /// Who asks. Without one nobody is asked for a login.
    pub host: Option<&'a dyn Host>,
    /// Where it comes from.
    pub origin: &'a Origin,
    /// What a tool says of itself.
    pub says: Says,
}

impl Entry<'_> {
    fn wish(&self) -> Wish<'_> {
        Wish { kind: self.kind, name: self.name, arguments: Some(self.arguments), says: self.says }
    }

    fn asking(&self) -> Asking<'_> {
        Asking { kind: self.kind, name: self.name, arguments: self.arguments }
    }
}

/// A call that was let in.
#[derive(Debug)]
pub struct Admission {
    /// Whose it is; nobody's when the tool is open to anybody.
    pub caller: Option<Caller>,
    /// To be told how it ended.
    pub underway: Underway,
}

/// A judgement, and whose token it was about, where that could be told.
struct Judged {
    verdict: Result<Option<Caller>, Refused>,
    bearer: Option<Bearer>,
}

/// What a call gets that does not come in.
#[derive(Debug)]
pub enum Turned {
    /// A result that says why, and what to do.
    Back(Box<CallToolResult>),
    /// The same, with a page that its person has to go to, for a host that shows such pages.
    Page(Box<CallToolResult>, Box<Question>),
    /// A question for the host's person; the call then comes back.
    Ask(Box<InputRequiredResult>),
    /// What it brought back was not given out for it: -32602.
    BadState,
}

/// What a list may show to whoever asks for it.
#[derive(Clone, Debug, PartialEq)]
pub enum View {
    /// Everything: nobody is known, and a person can be asked for it.
    Whole,
    /// What the grant lets its holder call.
    Granted(Box<Grant>),
    /// What these scopes open: those of a token behind which there is no grant of the store's.
    Scoped(Scopes),
    /// What needs no grant: the one that was there was taken back.
    Closed,
}

impl Gate {
    /// A gate behind a front that puts the token of each request into its `_meta`: there is no other place for one, and
    /// nobody to ask for a login but the front's own client.
    pub fn of_front(verify: Arc<dyn Verify>, clock: Arc<dyn Clock>, resource: Resource, audit: &Audit) -> Self {
        let audit = audit.over(Transport::Http);
        Self { verify, clock, resource, environment: None, token_argument: false, ladder: None, audit, announcer: None }
    }

    /// Lets a call in, or says what it gets instead; either is written down. A call without any token climbs the ladder,
    /// and may wait for a person on the way.
    ///
    /// # Errors
    /// What to answer.
    pub async fn enter(&self, entry: &Entry<'_>, now: Timestamp) -> Result<Admission, Turned> {
        let Access::Scopes(needed) = entry.access else { return Ok(self.admission(entry, None, None, now)) };
        let asking = entry.asking();
        let bare = matches!(self.presented(entry.presented), Ok(None));
        let ladder = self.ladder.as_ref().filter(|_| bare);
        // A state is given out to calls without a token only: with one, it is somebody else's (ARG-14).
        let round = match entry.state {
            None => None,
            Some(text) => {
                Some(ladder.and_then(|ladder| ladder.round(text, asking)).ok_or_else(|| self.bad_state(entry, now))?)
            }
        };
        let Judged { verdict, bearer } = self.weigh(entry.wish(), entry.access, entry.presented, now).await;
        let refused = match verdict {
            Ok(caller) => return Ok(self.admission(entry, caller, bearer, now)),
            Err(refused) => refused,
        };
        let by_token = matches!(refused, Refused::Challenge(Challenge::Unauthorized | Challenge::InvalidToken(_), _));
        if let (Some(ladder), Some(host), true) = (ladder, entry.host, by_token) {
            let answer = entry.answer;
            match ladder.climb(&Attempt { asking, needed, host, round: round.as_ref(), answer }).await {
                Climbed::In => return self.again(entry).await,
                Climbed::Ask(question) => {
                    self.note(entry, Decision::Refused, Some("login-asked-for"), None, now);
                    return Err(Turned::Ask(question));
                }
                Climbed::Back(Back { result, page, cause }) => {
                    self.note(entry, Decision::Refused, Some(cause), None, now);
                    return Err(match page {
                        Some(page) => Turned::Page(result, page),
                        None => Turned::Back(result),
                    });
                }
                Climbed::BadState => return Err(self.bad_state(entry, now)),
                Climbed::Nobody => {}
            }
        }
        self.note(entry, Decision::Refused, Some(refused.cause()), bearer, now);
        Err(self.back(entry.kind, &refused, bare).await)
    }

    /// Writes down that a call wanted what is for nobody.
    pub fn denied(&self, entry: &Entry<'_>, now: Timestamp) {
        self.note(entry, Decision::Refused, Some("denied-to-all"), None, now);
    }

    /// Writes down that a front refused a request before it went any further, and whose it was.
    pub fn refused(&self, entry: &Entry<'_>, challenge: &Challenge, checked: &Checked, now: Timestamp) {
        self.ask_anew(challenge);
        let bearer = audit::bearer(&checked.token, &checked.facts);
        self.note(entry, Decision::Refused, Some(challenge.cause()), Some(bearer), now);
    }

    /// A person is to be asked about a tool that has become another: what it is now must be what is announced.
    fn ask_anew(&self, challenge: &Challenge) {
        if let (Challenge::ToolChanged, Some(announcer)) = (challenge, &self.announcer) {
            announcer.again();
        }
    }

    /// What a refused call gets. A login that does not reach far enough is widened by beginning anew: the person said what
    /// it may do.
    async fn back(&self, kind: Kind, refused: &Refused, bare: bool) -> Turned {
        let mut result = self.refusal(kind, refused).await;
        let why = match refused {
            Refused::Challenge(Challenge::InsufficientScope | Challenge::ToolLeftOut, _) => Some(Narrow::LeftOut),
            Refused::Challenge(Challenge::ToolChanged, _) => Some(Narrow::Changed),
            _ => None,
        };
        if let (Some(why), Some(login)) = (why, self.ladder.as_ref().filter(|_| bare).and_then(Ladder::login)) {
            result = words::too_narrow(&result, kind, why, &login.issuer);
        }
        Turned::Back(Box::new(result))
    }

    /// Judges a call for which a person has just signed in. Whatever is wrong now is not asked about again.
    async fn again(&self, entry: &Entry<'_>) -> Result<Admission, Turned> {
        let now = self.clock.now();
        let Judged { verdict, bearer } = self.weigh(entry.wish(), entry.access, entry.presented, now).await;
        match verdict {
            Ok(caller) => Ok(self.admission(entry, caller, bearer, now)),
            Err(refused) => {
                self.note(entry, Decision::Refused, Some(refused.cause()), bearer, now);
                Err(self.back(entry.kind, &refused, true).await)
            }
        }
    }

    fn admission(
        &self,
        entry: &Entry<'_>,
        caller: Option<Caller>,
        bearer: Option<Bearer>,
        now: Timestamp,
    ) -> Admission {
        let decision = if caller.is_some() { Decision::Admitted } else { Decision::Open };
        Admission { caller, underway: self.note(entry, decision, None, bearer, now) }
    }

    fn bad_state(&self, entry: &Entry<'_>, now: Timestamp) -> Turned {
        self.note(entry, Decision::Refused, Some("request-state-not-ours"), None, now);
        Turned::BadState
    }

    /// Writes a decision down.
    fn note(
        &self,
        entry: &Entry<'_>,
        decision: Decision,
        cause: Option<&'static str>,
        bearer: Option<Bearer>,
        at: Timestamp,
    ) -> Underway {
        let Entry { kind, name, method, arguments, origin, .. } = *entry;
        let server = &self.resource;
        self.audit.decided(Decided { server, kind, name, method, arguments, origin, decision, cause, bearer, at })
    }

    fn presented<'a>(&'a self, presented: &'a Presented) -> Result<Option<&'a Secret>, BadPlace> {
        credential::choose(presented, self.environment.as_ref(), self.token_argument)
    }

    /// Whether somebody may hear of a resource, by the token that came with the wish, else by the login of this program. A
    /// token for one call opens nothing here, and nobody is asked.
    pub async fn may_hear(&self, access: &Access, presented: &Presented, now: Timestamp) -> bool {
        let wish = Wish { kind: Kind::Resource, name: "", arguments: None, says: Says::Unknown };
        self.weigh(wish, access, presented, now).await.verdict.is_ok()
    }

    async fn weigh(&self, wish: Wish<'_>, access: &Access, presented: &Presented, now: Timestamp) -> Judged {
        let mut bearer = None;
        let verdict = self.weigh_for(&mut bearer, wish, access, presented, now).await;
        Judged { verdict, bearer }
    }

    async fn weigh_for(
        &self,
        bearer: &mut Option<Bearer>,
        wish: Wish<'_>,
        access: &Access,
        presented: &Presented,
        now: Timestamp,
    ) -> Result<Option<Caller>, Refused> {
        let Access::Scopes(needed) = access else { return Ok(None) };
        let chosen = self.presented(presented).map_err(Refused::Place)?;
        let login = self.login_without(chosen);
        let admitted = match chosen.or_else(|| login.as_deref().map(Login::token)) {
            None => admit(wish, needed, Shown::Nothing, now),
            Some(token) => match self.verify.check(token, now).await {
                Ok(checked) => {
                    note_open(login.as_deref(), &checked, now);
                    *bearer = Some(audit::bearer(&checked.token, &checked.facts));
                    admit(wish, needed, Shown::Token(&checked.token, &checked.facts), now)
                }
                // The token of a login that waits for a person opens nothing yet: none has come.
                Err(Unverified::Token(_)) if login.as_deref().is_some_and(|login| !login.was_open()) => {
                    admit(wish, needed, Shown::Nothing, now)
                }
                Err(Unverified::Token(cause)) => admit(wish, needed, Shown::Bad(cause), now),
                Err(Unverified::Unavailable(why)) => return Err(Refused::Unavailable(why)),
            },
        };
        let admitted = match admitted {
            Ok(caller) => self.spend(caller).await?,
            refused => refused,
        };
        admitted.map(Some).map_err(|challenge| {
            self.ask_anew(&challenge);
            tracing::info!(kind = wish.kind.word(), name = %shown(wish.name), ?challenge, "call refused");
            Refused::Challenge(challenge, needed.clone())
        })
    }

    /// Uses a token for one call up, before the call is made: of two that use it, one comes in.
    async fn spend(&self, caller: Caller) -> Result<Result<Caller, Challenge>, Refused> {
        let Some(name) = caller.once() else { return Ok(Ok(caller)) };
        match self.verify.spend(name).await {
            Ok(()) => Ok(Ok(caller)),
            Err(Unverified::Token(cause)) => Ok(Err(Challenge::InvalidToken(cause))),
            Err(Unverified::Unavailable(why)) => Err(Refused::Unavailable(why)),
        }
    }

    /// The login of this program, for a call that brings no token.
    fn login_without(&self, chosen: Option<&Secret>) -> Option<Arc<Login>> {
        self.ladder.as_ref().filter(|_| chosen.is_none())?.login()
    }

    /// What whoever sent a request for a list may see; everything while that cannot be told.
    pub async fn view(&self, presented: &Presented) -> View {
        let look = tokio::time::timeout(LIST_PATIENCE, self.sure_view(presented));
        look.await.ok().flatten().unwrap_or(View::Whole)
    }

    /// The same; `None` while the store has no answer.
    pub async fn sure_view(&self, presented: &Presented) -> Option<View> {
        let chosen = self.presented(presented).ok().flatten();
        let login = self.login_without(chosen);
        let Some(token) = chosen.or_else(|| login.as_deref().map(Login::token)) else { return Some(View::Whole) };
        let now = self.clock.now();
        let was_open = login.as_deref().is_none_or(Login::was_open);
        match self.verify.check(token, now).await {
            Ok(checked) => {
                note_open(login.as_deref(), &checked, now);
                Some(view_of(&checked, was_open, now))
            }
            Err(Unverified::Token(TokenError::Dead)) if was_open => Some(View::Closed),
            Err(Unverified::Token(_)) => Some(View::Whole),
            Err(Unverified::Unavailable(_)) => None,
        }
    }

    /// What a list may show now to the holder of a token that was checked before; `None` while the store has no answer.
    pub async fn view_again(&self, token: &Token) -> Option<View> {
        let facts = self.verify.again(token).await?;
        let checked = Checked { token: token.clone(), facts };
        Some(view_of(&checked, true, self.clock.now()))
    }

    /// What the token says that came with a request, when it is one of ours. The token itself is not kept.
    pub async fn holder(&self, presented: &Presented) -> Option<Token> {
        let token = self.presented(presented).ok().flatten()?;
        let check = tokio::time::timeout(LIST_PATIENCE, self.verify.check(token, self.clock.now()));
        check.await.ok()?.ok().map(|checked| checked.token)
    }

    /// The grant behind the token that came with a request, else behind this process's own credential. `None` when there is no
    /// token that is alive.
    pub async fn grant_of(&self, presented: &Presented) -> Option<GrantId> {
        let chosen = self.presented(presented).ok().flatten();
        let login = self.login_without(chosen);
        let token = chosen.or_else(|| login.as_deref().map(Login::token))?;
        let now = self.clock.now();
        let checked = self.verify.check(token, now).await.ok()?;
        checked.token.alive(&checked.facts, now).ok().and_then(|()| checked.token.grant())
    }

    /// The live grant behind the token that came with a request for a list. `None` without a good token.
    pub async fn grant(&self, presented: &Presented) -> Option<Grant> {
        match self.view(presented).await {
            View::Granted(grant) => Some(*grant),
            View::Whole | View::Scoped(_) | View::Closed => None,
        }
    }

    /// What a refused call gives back.
    async fn refusal(&self, kind: Kind, refused: &Refused) -> CallToolResult {
        match refused {
            Refused::Challenge(challenge, needed) => self.challenge(kind, challenge, needed).await,
            Refused::Place(place) => failure("invalid_request", &format!("Bad arguments: {place}."), Map::new()),
            Refused::Unavailable(why) => {
                let words = format!("The {} cannot be used now: {why}.", kind.word());
                failure("temporarily_unavailable", &words, Map::new())
            }
        }
    }

    async fn challenge(&self, kind: Kind, challenge: &Challenge, needed: &Scopes) -> CallToolResult {
        let issuers: Vec<_> = self.verify.issuers().await.iter().map(ToString::to_string).collect();
        let resource = &self.resource;
        let words = words(kind, challenge, needed, resource, &issuers, self.token_argument && kind.is_tool());
        let mut details = Map::new();
        details.insert("scope".to_owned(), needed.to_string().into());
        details.insert("resource".to_owned(), resource.as_str().into());
        details.insert("authorization_servers".to_owned(), issuers.into());
        failure(challenge.code(), &words, details)
    }
}

/// What a token shows of a list. One that was taken back shows nothing, unless it is a login that never was open here:
/// then a person may be asked anew.
fn view_of(checked: &Checked, was_open: bool, now: Timestamp) -> View {
    match (checked.token.alive(&checked.facts, now), &checked.facts.grant) {
        (Ok(()), Some(grant)) => View::Granted(Box::new(grant.clone())),
        (Ok(()), None) => View::Scoped(checked.token.scopes().clone()),
        (Err(TokenError::Dead), _) if was_open => View::Closed,
        _ => View::Whole,
    }
}

/// A login that opens something is remembered to have done so.
fn note_open(login: Option<&Login>, checked: &Checked, now: Timestamp) {
    if let Some(login) = login.filter(|login| !login.was_open()) {
        login.note_open(checked.token.alive(&checked.facts, now).is_ok());
    }
}

/// Why a call was not let in.
#[derive(Debug)]
pub enum Refused {
    /// The token does not open what it wants.
    Challenge(Challenge, Scopes),
    /// What should be a token is none.
    Place(BadPlace),
    /// There is nothing to check a token against.
    Unavailable(Unavailable),
}

impl Refused {
    /// Exactly why, in one word with dashes: for the trail.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Challenge(challenge, _) => challenge.cause(),
            Self::Place(BadPlace::Meta | BadPlace::Argument) => "token-is-no-text",
            Self::Place(BadPlace::ArgumentOff) => "token-argument-is-off",
            Self::Unavailable(Unavailable::Loading) => "store-loading",
            Self::Unavailable(Unavailable::Absent) => "store-absent",
            Self::Unavailable(Unavailable::Unreadable) => "store-unreadable",
            Self::Unavailable(Unavailable::Issuer) => "issuer-unavailable",
            Self::Unavailable(Unavailable::Busy) => "issuer-busy",
        }
    }
}

/// What a person or a model reads when a call is refused: what happened and what to do next. The same words for every
/// token that is no good, so that nothing can be learnt by trying.
fn words(
    kind: Kind,
    challenge: &Challenge,
    needed: &Scopes,
    resource: &Resource,
    issuers: &[String],
    argument: bool,
) -> String {
    let kind = kind.word();
    let what = match challenge {
        Challenge::Unauthorized => {
            &format!("Authorization is needed to use this {kind}: no access token came with the call.")
        }
        Challenge::InvalidToken(_) | Challenge::AnotherCall => {
            "The access token was refused: it is expired, revoked, unknown, or not for this server."
        }
        Challenge::InsufficientScope => {
            &format!("The access token is good, but does not have the scope that this {kind} needs.")
        }
        Challenge::ToolLeftOut => "The access token is good, but the person who gave it left this tool out.",
        Challenge::ToolChanged => {
            "The access token is good, but the tool says something else of itself than when the person who gave it agreed \
             to it: they have to look at it and allow it again."
        }
    };
    let from = match issuers {
        [] => "the authorization service (start authz-service first)".to_owned(),
        issuers => issuers.join(" or "),
    };
    let place = if argument { ", in the argument \"access_token\"," } else { "" };
    format!(
        "{what} Get a token with the scope \"{needed}\" for the resource {resource} from {from}, for example with \
         `mcp-client login`, and send it in _meta[\"{}\"]{place} or start this server with it in {}.",
        credential::META_MEMBER,
        credential::VARIABLE,
    )
}
