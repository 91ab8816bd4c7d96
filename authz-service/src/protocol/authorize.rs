//! The authorization request (RFC 6749 section 4.1.1, RFC 7636, RFC 8707, RFC 9207): what is asked, and where an
//! answer may go. The order of the checks is contract C4: until the redirect URI is known to be the client's, nothing
//! is sent anywhere.

use shared::id::{ClientId, GrantId, UserName};
use shared::oauth::form::{self, BadForm, MAX_PARAMETERS, Parameters};
use shared::oauth::pkce::Challenge;
use shared::scope::{self, Scopes};
use shared::secret::{Secret, TokenHash};
use shared::state::{
    Change, Client, ClientOrigin, Code, CodeStage, Facts, Grant, GrantStage, Prints, Pushed, Session, Tool, UserStage,
    Wanted,
};
use shared::time::{Seconds, Timestamp};
use shared::uri::{ExactRedirect, Issuer, NoRedirect, Resource};

use super::Verdict;
use super::choice::{Chosen, Offer};
use super::cimd;
use super::grantable::Grantable;
use super::policy::{FRESH_LOGIN, Policy};
use super::pushed;
use super::refusal::Refusal;
use super::remembered;

/// An authorization request, read but not believed.
#[derive(Debug)]
pub struct AuthorizeRequest {
    client: String,
    redirect_uri: Option<String>,
    /// The name of the pushed request that is meant (RFC 9126 section 4).
    request_uri: Option<String>,
    /// `Err` when a parameter is repeated: told to the client, once it is known where the client is.
    rest: Result<Parameters, BadForm>,
    resources: Vec<String>,
    state: Option<String>,
    /// Whether the browser says that no page of any site sent it here.
    by_the_person: bool,
}

/// Where an answer goes, and what ties it to the request.
#[derive(Clone, Debug)]
pub struct ReplyTo {
    redirect: ExactRedirect,
    state: Option<String>,
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

impl AuthorizeRequest {
    /// Reads a query, or the form body of a POST.
    ///
    /// # Errors
    /// When it is not clear which client, or which redirect URI, is meant: then nobody but the person may know.
    pub fn parse(query: &str) -> Result<Self, Refusal> {
        let mut pairs = Pairs::read(query);
        let client = pairs.once("client_id")?.ok_or(Refusal::Missing("client_id"))?;
        let redirect_uri = pairs.once("redirect_uri")?;
        let request_uri = pairs.once("request_uri")?;
        // A state that is no text is not given back, for it would come back as another one.
        let readable = |_: &String| form::all_values(query, "state").next().is_some();
        let state = pairs.once("state").ok().flatten().filter(readable);
        let resources = pairs.take_all("resource");
        let rest = pairs.into_parameters();
        Ok(Self { client, redirect_uri, request_uri, rest, resources, state, by_the_person: false })
    }

    /// Says whether the person, or a program of theirs, opened the address: then no site's page did (UI-16).
    #[must_use]
    pub fn opened_by_the_person(self, by_the_person: bool) -> Self {
        Self { by_the_person, ..self }
    }

    /// The client, as it names itself.
    pub fn client_id(&self) -> &str {
        &self.client
    }

    /// The records to decide on.
    pub fn wants(&self, session: Option<TokenHash>, policy: &Policy) -> Wanted {
        Wanted {
            client: self.client.parse::<ClientId>().ok(),
            pushed: self.request_uri.as_deref().and_then(pushed::named),
            agreed: session.is_some(),
            session,
            user: policy.auto_approve.clone(),
            consents: policy.remember_consent && self.by_the_person,
            tools_of: policy.resource(self.resources.iter().map(String::as_str)).ok(),
            ..Wanted::default()
        }
    }
}

/// Parameters as they came, repeated or not: it depends on which they are who may know.
struct Pairs {
    read: Vec<(String, String)>,
    wrong: Option<BadForm>,
}

impl Pairs {
    fn read(query: &str) -> Self {
        let mut pairs = Self { read: Vec::new(), wrong: None };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            if pairs.read.len() == MAX_PARAMETERS {
                pairs.wrong = Some(BadForm::TooMany);
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (form::decode(name), form::decode(value));
            if name.is_err() || value.is_err() {
                pairs.wrong = Some(BadForm::NotUtf8);
            }
            // What cannot be read still stands there, and counts: a redirect URI that matches nothing.
            let unreadable = |_| char::REPLACEMENT_CHARACTER.to_string();
            pairs.read.push((name.unwrap_or_else(unreadable), value.unwrap_or_else(unreadable)));
        }
        pairs
    }

    /// The one value of a parameter; none when it is absent or empty.
    fn once(&self, name: &'static str) -> Result<Option<String>, Refusal> {
        let mut values = self.read.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
        let first = values.next();
        match values.next() {
            Some(_) => Err(Refusal::Repeated(name)),
            None => Ok(first.filter(|value| !value.is_empty()).cloned()),
        }
    }

    /// Takes every value of the one parameter that may stand more than once (RFC 8707 section 2).
    fn take_all(&mut self, name: &str) -> Vec<String> {
        self.read.extract_if(.., |(known, _)| known == name).map(|(_, value)| value).collect()
    }

    fn into_parameters(self) -> Result<Parameters, BadForm> {
        let again = |(at, (name, _)): (usize, &(String, String))| {
            self.read[..at].iter().any(|(before, _)| before == name).then(|| BadForm::Repeated(name.clone()))
        };
        match self.wrong.clone().or_else(|| self.read.iter().enumerate().find_map(again)) {
            Some(wrong) => Err(wrong),
            None => Ok(Parameters::from_pairs(self.read)),
        }
    }
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
mod tests {
    use super::*;
    use crate::protocol::sample::{CHALLENGE, NOW, client, facts, fresh_code, policy, with_session};

    /// What a decision came to, in words.
    fn outcome(query: &str, facts: &Facts, policy: &Policy) -> String {
        let request = match AuthorizeRequest::parse(query) {
            Ok(request) => request,
            Err(cause) => return format!("page {}", cause.code().as_str()),
        };
        let verdict = decide(&request, facts, policy, &fresh_code(), NOW);
        match verdict.reply {
            Ok(Step::Login(_)) => "login".into(),
            Ok(Step::Consent(asked, user)) => format!("consent {user} {} {}", asked.resource, asked.scopes),
            Ok(Step::Answer(to)) => to.with_code(&fresh_code().code, &policy.issuer),
            Err(Refused::Page(cause)) => format!("page {}", cause.code().as_str()),
            Err(Refused::Client(to, cause)) => to.with_error(&cause, &policy.issuer),
        }
    }

    fn query(change: &[(&str, Option<&str>)]) -> String {
        let id = client().id.to_string();
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", id.as_str()),
            ("redirect_uri", "http://127.0.0.1:49152/cb"),
            ("state", "s"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        for (name, value) in change {
            parameters.retain(|(known, _)| known != name);
            if let Some(value) = value {
                parameters.push((name, value));
            }
        }
        form::encode(&parameters)
    }

    #[track_caller]
    fn check(change: &[(&str, Option<&str>)], anonymous: &str, logged_in: &str) {
        assert_eq!(outcome(&query(change), &facts(), &policy()), anonymous, "anonymous");
        let found = outcome(&query(change), &with_session(), &policy());
        assert!(found.starts_with(logged_in), "{found} does not start with {logged_in}");
    }

    const ERROR: &str = "http://127.0.0.1:49152/cb?error=";
    const ALL: &str = "consent ada urn:mcp:stdio:default mcp:resources mcp:tools:execute mcp:tools:read";

    #[track_caller]
    fn fails(change: &[(&str, Option<&str>)], word: &str) {
        check(change, &format!("page {word}"), &format!("{ERROR}{word}&error_description="));
    }

    #[test]
    fn auz_01_to_05_without_a_client_and_its_redirect_nothing_is_sent_anywhere() {
        check(&[("client_id", Some("c_unknown"))], "page invalid_client", "page invalid_client");
        check(&[("client_id", Some("\u{e4}"))], "page invalid_client", "page invalid_client");
        check(&[("client_id", None)], "page invalid_request", "page invalid_request");
        check(&[("client_id", Some(""))], "page invalid_request", "page invalid_request");
        for other in ["https://evil.example/cb", "http://127.0.0.1:1/cb2", "http://localhost:1/cb", "//evil.example"] {
            check(&[("redirect_uri", Some(other))], "page invalid_request", "page invalid_request");
        }
        check(&[("redirect_uri", None)], "login", ALL);
        let mut two = with_session();
        two.client.as_mut().unwrap().redirect_uris = ["http://127.0.0.1/cb", "https://a.example/cb"]
            .map(|uri| shared::uri::RedirectUri::register(uri, &[]).unwrap())
            .into_iter()
            .collect();
        assert_eq!(outcome(&query(&[("redirect_uri", None)]), &two, &policy()), "page invalid_request");
    }

    #[test]
    fn auz_07_to_10_only_code_with_s256() {
        fails(&[("response_type", None)], "invalid_request");
        for other in ["token", "id_token", "code token", "CODE"] {
            fails(&[("response_type", Some(other))], "unsupported_response_type");
        }
        fails(&[("code_challenge", None)], "invalid_request");
        fails(&[("code_challenge_method", None)], "invalid_request");
        fails(&[("code_challenge_method", Some("plain"))], "invalid_request");
        fails(&[("code_challenge", Some("short"))], "invalid_request");
        fails(&[("response_mode", Some("fragment"))], "invalid_request");
    }

    #[test]
    fn auz_07_18_20_an_error_and_a_code_carry_the_exact_state_and_iss() {
        let state = "a%20b+c&d=\u{20ac}";
        let found = outcome(&query(&[("state", Some(state)), ("response_type", None)]), &with_session(), &policy());
        assert!(found.ends_with("&state=a%2520b%2Bc%26d%3D%E2%82%AC&iss=http%3A%2F%2Flocalhost%3A3000"), "{found}");
        let mut auto = policy();
        auto.auto_approve = Some("demo".parse().unwrap());
        let found = outcome(&query(&[("state", Some(state))]), &facts(), &auto);
        let code = fresh_code().code;
        assert_eq!(
            found,
            format!(
                "http://127.0.0.1:49152/cb?code={}&state=a%2520b%2Bc%26d%3D%E2%82%AC&iss=http%3A%2F%2Flocalhost%3A3000",
                code.expose()
            )
        );
        fails(&[("state", Some(&"x".repeat(4097)))], "invalid_request");
        check(&[("state", Some(&"x".repeat(4096)))], "login", ALL);
    }

    #[test]
    fn auz_11_a_repeated_parameter_is_refused_and_never_followed() {
        for name in ["client_id=c_x", "redirect_uri=https%3A%2F%2Fevil.example", "client%5fid=c_x"] {
            for query in [format!("{}&{name}", query(&[])), format!("{name}&{}", query(&[]))] {
                assert_eq!(outcome(&query, &with_session(), &policy()), "page invalid_request", "{query}");
            }
        }
        for name in ["state=x", "scope=a", "code_challenge=x", "anything=1&anything=2"] {
            let found = outcome(&format!("{}&scope=b&{name}", query(&[])), &with_session(), &policy());
            assert!(found.starts_with(&format!("{ERROR}invalid_request")), "{found}");
        }
        let found = outcome(&format!("{}&state=x", query(&[])), &with_session(), &policy());
        assert!(!found.contains("state="), "of two states neither is the exact one: {found}");
        for unreadable in ["%FF", "%C0%80", "a%ED%A0%80"] {
            let found =
                outcome(&query(&[]).replace("state=s", &format!("state={unreadable}")), &with_session(), &policy());
            assert!(found.starts_with(&format!("{ERROR}invalid_request")), "{found}");
            assert!(!found.contains("state="), "a state that is no text cannot come back exactly: {found}");
        }
    }

    #[test]
    fn c4_details_that_nobody_would_heed_are_refused() {
        for details in ["{}", "x", r#"[{"type":"mcp_tool_call","tool":"look"}]"#] {
            fails(&[("authorization_details", Some(details))], "invalid_authorization_details");
        }
        for nothing in ["", "[]"] {
            check(&[("authorization_details", Some(nothing))], "login", ALL);
        }
    }

    #[test]
    fn auz_12_unknown_scopes_are_never_granted() {
        check(&[("scope", Some("mcp:tools:read admin"))], "login", "consent ada urn:mcp:stdio:default mcp:tools:read");
        check(
            &[("scope", Some("mcp:tools"))],
            "login",
            "consent ada urn:mcp:stdio:default mcp:tools:execute mcp:tools:read",
        );
        let offline = "consent ada urn:mcp:stdio:default mcp:tools:read offline_access";
        check(&[("scope", Some("offline_access mcp:tools:read"))], "login", offline);
        fails(&[("scope", Some("admin"))], "invalid_scope");
        fails(&[("scope", Some("a\"b"))], "invalid_scope");
        check(&[("scope", Some(""))], "login", ALL);
    }

    #[test]
    fn a_registered_scope_is_a_default_and_not_a_ceiling() {
        let mut facts = with_session();
        facts.client.as_mut().unwrap().scope = "mcp:resources openid".parse().unwrap();
        let asks = |change: &[(&str, Option<&str>)]| outcome(&query(change), &facts, &policy());
        assert_eq!(asks(&[]), "consent ada urn:mcp:stdio:default mcp:resources");
        assert_eq!(asks(&[("scope", Some("mcp:tools:read"))]), "consent ada urn:mcp:stdio:default mcp:tools:read");
    }

    #[test]
    fn auz_13_15_16_17_24_resources_and_strangers_among_the_parameters() {
        fails(&[("resource", Some("https://other.example"))], "invalid_target");
        check(&[("resource", Some(""))], "login", ALL);
        check(&[("resource", Some("URN:mcp:stdio:notes"))], "login", "consent ada urn:mcp:stdio:notes ");
        check(&[("nonsense", Some("1")), ("error", Some("x")), ("code", Some("y"))], "login", ALL);
        let two = format!("{}&resource=urn:mcp:stdio:a&resource=urn:mcp:stdio:b", query(&[]));
        assert!(outcome(&two, &with_session(), &policy()).starts_with(&format!("{ERROR}invalid_target")));
        let twice = format!("{}&resource=urn:mcp:stdio:a&resource=urn:mcp:stdio:a", query(&[]));
        assert!(outcome(&twice, &with_session(), &policy()).starts_with("consent ada urn:mcp:stdio:a "));
    }

    #[test]
    fn c9_200_parameters_and_no_more() {
        let many = |n: usize| {
            let more: Vec<_> = (0..n).map(|n| format!("&p{n}=x")).collect();
            outcome(&format!("{}&resource=urn:mcp:stdio:a{}", query(&[]), more.concat()), &with_session(), &policy())
        };
        let ours = query(&[]).split('&').count() + 1;
        assert!(many(200 - ours).starts_with("consent"));
        assert!(many(201 - ours).starts_with(&format!("{ERROR}invalid_request")));
    }

    #[test]
    fn prompts_are_met() {
        check(&[("prompt", Some("consent"))], "login", ALL);
        check(&[("prompt", Some("select_account"))], "login", ALL);
        check(&[("prompt", Some("none"))], "page login_required", &format!("{ERROR}consent_required"));
        for words in ["none login", "consent none", "none none", "none unknown"] {
            check(&[("prompt", Some(words))], "page invalid_request", &format!("{ERROR}invalid_request"));
        }
        let mut operator = facts();
        operator.client.as_mut().unwrap().origin = ClientOrigin::Operator;
        let found = outcome(&query(&[("prompt", Some("none"))]), &operator, &policy());
        assert!(found.starts_with(&format!("{ERROR}login_required")), "{found}");
        let mut old = with_session();
        old.session.as_mut().unwrap().created = Timestamp(NOW.0 - 61);
        assert_eq!(outcome(&query(&[("prompt", Some("login"))]), &old, &policy()), "login");
        check(&[("prompt", Some("login"))], "login", ALL);
    }

    #[test]
    fn ui_01_17_a_session_counts_while_it_and_its_person_are_good() {
        let mut expired = with_session();
        expired.session.as_mut().unwrap().expires = NOW;
        assert_eq!(outcome(&query(&[]), &expired, &policy()), "login");
        let mut disabled = with_session();
        disabled.user.as_mut().unwrap().stage = UserStage::Disabled;
        assert_eq!(outcome(&query(&[]), &disabled, &policy()), "login");
    }

    #[test]
    fn auz_25_26_only_an_approval_is_stored_and_a_code_is_bound_to_everything() {
        let request = AuthorizeRequest::parse(&query(&[])).unwrap();
        assert!(decide(&request, &with_session(), &policy(), &fresh_code(), NOW).changes.is_empty());
        let mut auto = policy();
        auto.auto_approve = Some("demo".parse().unwrap());
        let verdict = decide(&request, &facts(), &auto, &fresh_code(), NOW);
        let [Change::Approved { grant, code, .. }] = &verdict.changes[..] else { panic!("{:?}", verdict.changes) };
        assert_eq!((grant.client.clone(), grant.subject()), (client().id, "demo"));
        assert_eq!(code.redirect_uri.as_str(), "http://127.0.0.1:49152/cb");
        assert_eq!(
            (code.challenge.text().as_str(), code.expires),
            (CHALLENGE, NOW + crate::protocol::policy::CODE_LIFETIME)
        );
        assert_eq!(code.hash, fresh_code().code.hash());
    }
}
