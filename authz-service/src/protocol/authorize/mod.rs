//! The authorization request (RFC 6749 section 4.1.1, RFC 7636, RFC 8707, RFC 9207): what is asked, and where an
//! answer may go. The order of the checks is contract C4: until the redirect URI is known to be the client's, nothing
//! is sent anywhere.

mod request;

use shared::id::{GrantId, UserName};
use shared::oauth::pkce::Challenge;
use shared::scope::{self, Scopes};
use shared::secret::{Secret, TokenHash};
use shared::state::{
    Change, Client, ClientOrigin, Code, CodeStage, Facts, Grant, GrantStage, Prints, Pushed, Session, Tool, UserStage,
};
use shared::time::{Seconds, Timestamp};
use shared::uri::{ExactRedirect, Issuer, NoRedirect, Resource};

pub use self::request::AuthorizeRequest;
use super::Verdict;
use super::choice::{Chosen, Offer};
use super::cimd;
use super::grantable::Grantable;
use super::policy::{FRESH_LOGIN, Policy};
use super::pushed;
use super::refusal::Refusal;
use super::remembered;

/// Where an answer goes, and what ties it to the request.
#[derive(Clone, Debug)]
pub struct ReplyTo {
    redirect: ExactRedirect,
    state: Option<String>,
}

impl ReplyTo {
    /// The host that a person is shown.
    pub fn redirect(&self) -> &ExactRedirect {
        &self.redirect
    }

    /// Where to send the browser with a code (RFC 6749 section 4.1.2, RFC 9207 section 2).
    pub fn with_code(&self, code: &Secret, issuer: &Issuer) -> String {
        self.location(&[("code", code.expose())], issuer)
    }

    /// Where to send the browser with an error (RFC 6749 section 4.1.2.1, RFC 9207 section 2).
    pub fn with_error(&self, cause: &Refusal, issuer: &Issuer) -> String {
        let description = shared::oauth::error::allowed(&cause.description());
        self.location(&[("error", cause.code().as_str()), ("error_description", &description)], issuer)
    }

    fn location(&self, answer: &[(&str, &str)], issuer: &Issuer) -> String {
        let mut parameters = answer.to_vec();
        if let Some(state) = &self.state {
            parameters.push(("state", state));
        }
        parameters.push(("iss", issuer.as_str()));
        self.redirect.with(&parameters)
    }
}

/// Why an authorization request is refused, and who may know.
#[derive(Debug)]
pub enum Refused {
    /// A page; nothing is sent anywhere (RFC 6749 section 4.1.2.1).
    Page(Refusal),
    /// The client is told. Can only be built with an [`ExactRedirect`] in hand.
    Client(ReplyTo, Refusal),
}

impl Refused {
    /// The cause, for whoever asked directly.
    pub(super) fn into_cause(self) -> Refusal {
        match self {
            Self::Page(cause) | Self::Client(_, cause) => cause,
        }
    }

    /// The cause.
    pub fn cause(&self) -> &Refusal {
        match self {
            Self::Page(cause) | Self::Client(_, cause) => cause,
        }
    }
}

/// A request that passed every check: what a person is asked to consent to.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Who asks.
    pub client: Client,
    /// Where the answer goes.
    pub reply_to: ReplyTo,
    /// What is asked for: plain scopes that we know.
    pub scopes: Scopes,
    /// For which resource, in our spelling.
    pub resource: Resource,
    /// The tools that the scopes open there, as far as their server announced them.
    pub tools: Vec<Tool>,
    /// What the tools were when the person last agreed to them.
    pub agreed: Prints,
    challenge: Challenge,
    /// The pushed request that asks, to be answered once.
    pushed: Option<TokenHash>,
    code_lifetime: Seconds,
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Show the login page.
    Login(Asked),
    /// Show the consent page to the person.
    Consent(Asked, UserName),
    /// Nobody is asked: the code goes out.
    Answer(ReplyTo),
}

/// What the shell draws for a code.
#[derive(Debug)]
pub struct FreshCode {
    /// The grant's name.
    pub grant: GrantId,
    /// The code.
    pub code: Secret,
}

/// The session, while it and its person are good.
pub fn live_session(facts: &Facts, now: Timestamp) -> Option<&Session> {
    facts.session.as_ref().filter(|session| {
        session.expires > now
            && facts.user.as_ref().is_some_and(|user| user.name == session.user && user.stage == UserStage::Enabled)
    })
}

/// Checks a request in the order of contract C4.
///
/// # Errors
/// The first thing that is wrong, and who may know.
pub fn check(request: &AuthorizeRequest, facts: &Facts, policy: &Policy, now: Timestamp) -> Result<Asked, Refused> {
    whole(request, facts, policy, now).map(|(asked, _)| asked)
}

/// Finds what is asked for, where it was pushed or in the request itself, and checks it. What a browser says beside the
/// name of a pushed request does not count (RFC 9126 section 4).
fn whole(
    request: &AuthorizeRequest,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> Result<(Asked, Prompt), Refused> {
    let Some(name) = &request.request_uri else {
        let asked = check_parameters(request, facts, policy, now)?;
        if policy.require_pushed {
            return Err(Refused::Page(Refusal::NotPushed));
        }
        return Ok((asked, Prompt::of(request)));
    };
    let known = facts.pushed.as_ref().filter(|pushed| pushed::named(name) == Some(pushed.hash));
    let fits = |pushed: &&Pushed| pushed.client.as_str() == request.client && pushed.expires >= now;
    let pushed = known.filter(fits).ok_or(Refused::Page(Refusal::RequestUri))?;
    let request = AuthorizeRequest::parse(&pushed.query).map_err(Refused::Page)?;
    let asked = check_parameters(&request, facts, policy, now)?;
    Ok((Asked { pushed: Some(pushed.hash), ..asked }, Prompt::of(&request)))
}

/// Checks the parameters themselves.
///
/// # Errors
/// The first thing that is wrong, and who may know.
pub(super) fn check_parameters(
    request: &AuthorizeRequest,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> Result<Asked, Refused> {
    let named = facts.client.as_ref().filter(|client| client.id.as_str() == request.client);
    // Without metadata documents, an app that came by one is unknown again (CIM-15).
    let admitted = named.filter(|client| policy.cimd.on || client.origin != ClientOrigin::MetadataDocument);
    let client = admitted.ok_or(Refused::Page(Refusal::UnknownClient))?;
    let redirect = ExactRedirect::find(&client.redirect_uris, request.redirect_uri.as_deref()).map_err(|why| {
        Refused::Page(match why {
            NoRedirect::Missing => Refusal::RedirectMissing,
            NoRedirect::Unregistered => Refusal::RedirectUnregistered,
        })
    })?;
    let reply_to =
        ReplyTo { redirect, state: request.state.clone().filter(|state| state.len() <= policy.bounds.state) };
    // Anybody can register a client, or publish a document. Until somebody has logged in, an error must not send a browser where a
    // stranger wants it (RFC 9700 section 4.11.2).
    let client_may_know =
        client.origin.is_vouched_for() || live_session(facts, now).is_some() || policy.auto_approve.is_some();
    what_is_asked(request, client, &reply_to, facts, policy)
        .map_err(|cause| if client_may_know { Refused::Client(reply_to.clone(), cause) } else { Refused::Page(cause) })
}

fn what_is_asked(
    request: &AuthorizeRequest,
    client: &Client,
    reply_to: &ReplyTo,
    facts: &Facts,
    policy: &Policy,
) -> Result<Asked, Refusal> {
    let rest = request.rest.as_ref().map_err(|error| Refusal::Form(error.clone()))?;
    if request.state.as_ref().is_some_and(|state| state.len() > policy.bounds.state) {
        return Err(Refusal::Malformed("state"));
    }
    policy.bounds.check_parameters(rest, request.resources.len())?;
    match rest.get("response_type") {
        Some("code") => {}
        Some(_) => return Err(Refusal::UnsupportedResponseType),
        None => return Err(Refusal::Missing("response_type")),
    }
    if rest.get("response_mode").is_some_and(|mode| mode != "query") {
        return Err(Refusal::Malformed("response_mode"));
    }
    // Not to ask anybody, and to ask (OpenID Connect Core section 3.1.2.1).
    if rest.get("prompt").is_some_and(|words| words.split(' ').any(|word| word == "none") && words.trim() != "none") {
        return Err(Refusal::Malformed("prompt"));
    }
    no_details(rest.get("authorization_details"))?;
    let challenge = Challenge::from_request(rest.get("code_challenge"), rest.get("code_challenge_method"))
        .map_err(Refusal::Challenge)?;
    let resource = policy.resource(request.resources.iter().map(String::as_str))?;
    let scopes = scopes(rest.get("scope"), client, &Grantable::of(policy, facts, &resource))?;
    let announced = facts.tools.iter().filter(|announced| announced.resource == resource);
    let tools = announced.flat_map(|announced| announced.opened_by(&scopes)).cloned().collect();
    let (client, reply_to) = (client.clone(), reply_to.clone());
    let (code_lifetime, agreed) = (policy.lifetimes.code, facts.agreed.clone());
    Ok(Asked { client, reply_to, scopes, resource, tools, agreed, challenge, code_lifetime, pushed: None })
}

/// `authorization_details` may be meant as limits, so what does not heed them refuses them (RFC 9396 section 5). An empty
/// list limits nothing.
pub(super) fn no_details(details: Option<&str>) -> Result<(), Refusal> {
    let refusal = Refusal::AuthorizationDetails("authorization_details are for token exchange only");
    if details.is_none_or(|text| text == "[]") { Ok(()) } else { Err(refusal) }
}

/// What is asked for, without what nobody here knows (AUZ-12: the person sees the smaller list). A client's
/// registered scope is a default, not a ceiling.
pub(super) fn scopes(named: Option<&str>, client: &Client, grantable: &Grantable<'_>) -> Result<Scopes, Refusal> {
    let known = |scopes: &Scopes| grantable.known(scopes);
    let opens_something = |scopes: &Scopes| scopes.iter().any(|scope| scope.as_str() != scope::OFFLINE_ACCESS);
    let usual = || {
        let registered = known(&client.scope);
        if opens_something(&registered) { registered } else { grantable.usual().union(&registered) }
    };
    let asked = match named.map(str::parse).transpose().map_err(|_| Refusal::UnknownScope)? {
        None => usual(),
        Some(named) => match known(&named) {
            // `offline_access` says how long, and not what for.
            asked if !asked.is_empty() && !opens_something(&asked) => asked.union(&usual()),
            asked => asked,
        },
    };
    if asked.is_empty() { Err(Refusal::UnknownScope) } else { Ok(asked) }
}

/// Decides what an authorization request leads to.
pub fn decide(
    request: &AuthorizeRequest,
    facts: &Facts,
    policy: &Policy,
    fresh: &FreshCode,
    now: Timestamp,
) -> Verdict<Step, Refused> {
    let (asked, prompt) = match whole(request, facts, policy, now) {
        Ok(found) => found,
        Err(refused) => return Verdict::unchanged(Err(refused)),
    };
    if let Some(user) = &policy.auto_approve {
        let reply_to = asked.reply_to.clone();
        let everything = Chosen::everything(&asked.scopes);
        let approved = asked.approved_by(user, everything, fresh, now);
        return Verdict { changes: approved, reply: Ok(Step::Answer(reply_to)) };
    }
    // From now on a person has the time that a page gives.
    let waiting = facts.pushed.as_ref().filter(|pushed| asked.pushed == Some(pushed.hash) && !pushed.opened);
    let opened = waiting.map(|pushed| Change::PushedOpened { hash: pushed.hash, until: now + policy.lifetimes.page });
    let session = live_session(facts, now).filter(|session| !prompt.login || session.created + FRESH_LOGIN >= now);
    if let Some(session) = session.filter(|_| policy.remember_consent && request.by_the_person && !prompt.consent)
        && let Some(chosen) = remembered::find(&asked, facts, session)
    {
        let reply_to = asked.reply_to.clone();
        let approved = asked.approved_by(&session.user, chosen, fresh, now);
        return Verdict { changes: approved, reply: Ok(Step::Answer(reply_to)) };
    }
    Verdict::unchanged(match (session, prompt.none) {
        (Some(session), false) => Ok(Step::Consent(asked, session.user.clone())),
        (None, false) => Ok(Step::Login(asked)),
        (Some(_), true) => Err(Refused::Client(asked.reply_to, Refusal::ConsentRequired)),
        (None, true) if !asked.client.origin.is_vouched_for() => Err(Refused::Page(Refusal::LoginRequired)),
        (None, true) => Err(Refused::Client(asked.reply_to, Refusal::LoginRequired)),
    })
    .after(opened)
}

/// What `prompt` asks for (OpenID Connect Core section 3.1.2.1).
struct Prompt {
    none: bool,
    login: bool,
    /// A page is wanted in any case, also to choose another account there.
    consent: bool,
}

impl Prompt {
    fn of(request: &AuthorizeRequest) -> Self {
        let words = request.rest.as_ref().ok().and_then(|rest| rest.get("prompt")).unwrap_or_default();
        let has = |word: &str| words.split(' ').any(|one| one == word);
        Self { none: has("none"), login: has("login"), consent: has("consent") || has("select_account") }
    }
}

impl Asked {
    /// What the page offers to choose from.
    pub fn offer(&self) -> Offer<'_> {
        Offer { scopes: &self.scopes, tools: &self.tools, agreed: &self.agreed }
    }

    /// That a pushed request is answered, with yes or no.
    pub(super) fn spent(&self) -> Option<Change> {
        self.pushed.map(Change::PushedSpent)
    }

    /// The changes that a yes leads to.
    pub(super) fn approved_by(self, user: &UserName, chosen: Chosen, fresh: &FreshCode, now: Timestamp) -> Vec<Change> {
        let described = cimd::change(&self.client);
        let spent = self.spent();
        let terms = chosen.kept_terms();
        let grant = Grant {
            id: fresh.grant,
            user: Some(user.clone()),
            client: self.client.id,
            resource: self.resource,
            scopes: chosen.scopes,
            created: now,
            stage: GrantStage::Consented,
            terms,
        };
        let code = Code {
            hash: fresh.code.hash(),
            grant: fresh.grant,
            redirect_uri: self.reply_to.redirect.to_uri(),
            challenge: self.challenge,
            expires: now + self.code_lifetime,
            stage: CodeStage::Issued,
        };
        let approved = Change::Approved { grant, code, session: chosen.session };
        described.into_iter().chain(spent).chain([approved]).collect()
    }
}

#[cfg(test)]
mod tests;
