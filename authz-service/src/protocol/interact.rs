//! Login and consent: what a person's answer on a page leads to. Nothing is stored until somebody has logged in, and
//! nothing about a request until a person has said yes (AUZ-26): the page carries the request itself, sealed.

use serde::{Deserialize, Serialize};
use shared::id::{GrantId, UserName};
use shared::scope::Scopes;
use shared::secret::{Secret, TokenHash};
use shared::state::{Answered, Change, Facts, Session, UserStage, Wanted};
use shared::time::Timestamp;
use shared::uri::Resource;

use super::Verdict;
use super::authorize::{self, Asked, AuthorizeRequest, FreshCode, Refused, ReplyTo};
use super::choice::{self, Choice};
use super::cimd;
use super::policy::Policy;
use super::refusal::Refusal;
use super::remembered;

/// What a login or consent page carries through the browser, under a seal of ours.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Transaction {
    /// The authorization request, as it came.
    pub query: String,
    /// When the page was made.
    pub issued: Timestamp,
    /// What the person was shown, on a consent page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Shown>,
    /// Where it goes on.
    #[serde(default)]
    pub to: Destination,
    /// What a passkey answers on this page, if one may; 256 random bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
}

/// Where a login leads.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// To what an app asks for.
    #[default]
    Authorize,
    /// To the person's own page.
    Account,
    /// To the administrator's page.
    Admin,
    /// To the code that a device shows.
    Device,
}

impl Destination {
    /// The path.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Authorize => "/oauth/authorize",
            Self::Account => "/account",
            Self::Admin => "/admin",
            Self::Device => "/device",
        }
    }
}

/// What a consent page showed: a yes is to this and to nothing else.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Shown {
    /// The name of the grant to be, so that a page is answered once.
    pub grant: GrantId,
    /// The scopes.
    pub scopes: Scopes,
    /// The resource.
    pub resource: Resource,
    /// What the client said about itself: another document is another client (N15).
    pub client: TokenHash,
    /// The tools behind the scopes, as one hash.
    pub tools: TokenHash,
}

impl Transaction {
    /// For a login page.
    pub fn login(query: String, now: Timestamp) -> Self {
        Self { query, issued: now, shown: None, to: Destination::Authorize, challenge: None }
    }

    /// For a login page that no app asked for.
    pub fn to(to: Destination, now: Timestamp) -> Self {
        Self { query: String::new(), issued: now, shown: None, to, challenge: None }
    }

    /// Where it goes on, from our root.
    pub fn target(&self) -> String {
        let path = self.to.path();
        if self.query.is_empty() { path.to_owned() } else { format!("{path}?{}", self.query) }
    }

    /// The same, for a page that a passkey may answer.
    #[must_use]
    pub fn asking(self, challenge: &Secret) -> Self {
        Self { challenge: Some(challenge.expose().to_owned()), ..self }
    }

    /// For a consent page.
    pub fn consent(query: String, asked: &Asked, grant: GrantId, now: Timestamp) -> Self {
        let (client, tools) = (cimd::fingerprint(&asked.client), choice::print_of(&asked.tools));
        let (scopes, resource) = (asked.scopes.clone(), asked.resource.clone());
        let shown = Shown { grant, scopes, resource, client, tools };
        Self { query, issued: now, shown: Some(shown), to: Destination::Authorize, challenge: None }
    }

    /// Whether the page may still be answered (UI-13).
    ///
    /// # Errors
    /// [`Refusal::PageExpired`].
    pub fn in_time(&self, policy: &Policy, now: Timestamp) -> Result<(), Refusal> {
        if self.issued + policy.lifetimes.page < now { Err(Refusal::PageExpired) } else { Ok(()) }
    }
}

/// What a person decided.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// "Allow".
    Allow,
    /// "Deny".
    Deny,
}

impl Decision {
    /// Reads the pressed button's value. Anything but a clear yes or no is an error, never a yes.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(word: Option<&str>) -> Result<Self, Refusal> {
        match word {
            Some("allow") => Ok(Self::Allow),
            Some("deny") => Ok(Self::Deny),
            _ => Err(Refusal::Malformed("decision")),
        }
    }
}

/// A consent page's answer.
#[derive(Debug)]
pub struct ConsentAnswer {
    request: AuthorizeRequest,
    transaction: Transaction,
    shown: Shown,
    decision: Decision,
    choice: Choice,
}

/// The evidence that a person consented to what the client asked for. Only [`decide`] makes one.
#[derive(Debug)]
pub struct Consented {
    /// Where the code goes.
    pub reply_to: ReplyTo,
    /// Who consented.
    pub user: UserName,
}

impl ConsentAnswer {
    /// Puts together what the page carried and what was pressed.
    ///
    /// # Errors
    /// When the transaction is not a consent page's.
    pub fn new(transaction: Transaction, decision: Decision, choice: Choice) -> Result<Self, Refusal> {
        let request = AuthorizeRequest::parse(&transaction.query)?;
        let shown = transaction.shown.clone().ok_or(Refusal::Forged)?;
        Ok(Self { request, transaction, shown, decision, choice })
    }

    /// The client, as it names itself.
    pub fn client_id(&self) -> &str {
        self.request.client_id()
    }

    /// The grant to be.
    pub fn grant(&self) -> GrantId {
        self.shown.grant
    }

    /// The records to decide on.
    pub fn wants(&self, session: TokenHash, policy: &Policy) -> Wanted {
        let grant = self.shown.grant;
        let said_no = Some(Answered::name(grant));
        Wanted { grant: Some(grant), assertion: said_no, user: None, ..self.request.wants(Some(session), policy) }
    }
}

/// Decides on a consent page's answer.
pub fn decide(
    answer: &ConsentAnswer,
    facts: &Facts,
    policy: &Policy,
    fresh: &FreshCode,
    now: Timestamp,
) -> Verdict<Consented, Refused> {
    let (asked, session) = match consented(answer, facts, policy, now) {
        Ok(found) => found,
        Err(refused) => return Verdict::unchanged(Err(refused)),
    };
    let (reply_to, user) = (asked.reply_to.clone(), session.user.clone());
    match answer.decision {
        Decision::Allow => match answer.choice.apply(asked.offer(), session, now) {
            Ok(mut chosen) => {
                if policy.remember_consent {
                    remembered::note(&mut chosen, &asked);
                }
                let approved = asked.approved_by(&user, chosen, fresh, now);
                Verdict { changes: approved, reply: Ok(Consented { reply_to, user }) }
            }
            Err(refusal) => Verdict::unchanged(Err(Refused::Page(refusal))),
        },
        Decision::Deny => {
            let page = Answered { grant: answer.shown.grant, until: answer.transaction.issued + policy.lifetimes.page };
            let denied = Change::Denied { user, client: asked.client.id.clone(), page: Some(page) };
            Verdict {
                changes: asked.spent().into_iter().chain([denied]).collect(),
                reply: Err(Refused::Client(reply_to, Refusal::Denied)),
            }
        }
    }
}

fn consented<'a>(
    answer: &ConsentAnswer,
    facts: &'a Facts,
    policy: &Policy,
    now: Timestamp,
) -> Result<(Asked, &'a Session), Refused> {
    let session = authorize::live_session(facts, now).ok_or(Refused::Page(Refusal::NotLoggedIn))?;
    answer.transaction.in_time(policy, now).map_err(Refused::Page)?;
    if facts.grant.is_some() || facts.assertion_used {
        return Err(Refused::Page(Refusal::PageAnswered));
    }
    // The whole request is checked again: the client may have changed since the page was made.
    let asked = authorize::check(&answer.request, facts, policy, now)?;
    let same = asked.scopes == answer.shown.scopes
        && asked.resource == answer.shown.resource
        && cimd::fingerprint(&asked.client) == answer.shown.client
        && choice::print_of(&asked.tools) == answer.shown.tools;
    if !same {
        return Err(Refused::Page(Refusal::PageExpired));
    }
    Ok((asked, session))
}

/// Decides on a login, after the password was compared: `right` says how that ended.
pub fn log_in(
    name: &UserName,
    right: bool,
    facts: &Facts,
    policy: &Policy,
    fresh: &Secret,
    now: Timestamp,
) -> Verdict<()> {
    let enabled = facts.user.as_ref().is_some_and(|user| user.name == *name && user.stage == UserStage::Enabled);
    if !right || !enabled {
        return Verdict::unchanged(Err(Refusal::WrongLogin));
    }
    Verdict { changes: vec![Change::SessionOpened(session(name, fresh, policy, now))], reply: Ok(()) }
}

/// A session that starts now.
pub(super) fn session(name: &UserName, fresh: &Secret, policy: &Policy, now: Timestamp) -> Session {
    let (user, expires) = (name.clone(), now + policy.lifetimes.session);
    Session { hash: fresh.hash(), user, created: now, expires, grants: Vec::new() }
}

#[cfg(test)]
mod tests {
    use shared::oauth::form;
    use shared::state::{Announcement, Effect, GrantStage, Tool};

    use super::*;
    use crate::protocol::sample::{CHALLENGE, NOW, client, fresh_code, grant, policy, user, with_grant, with_session};

    fn query() -> String {
        form::encode(&[
            ("response_type", "code"),
            ("client_id", client().id.as_str()),
            ("state", "s"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("scope", "mcp:tools:read"),
        ])
    }

    fn transaction() -> Transaction {
        let request = AuthorizeRequest::parse(&query()).unwrap();
        let asked = authorize::check(&request, &with_session(), &policy(), NOW).unwrap();
        Transaction::consent(query(), &asked, grant().id, NOW)
    }

    #[track_caller]
    fn check(
        decision: Decision,
        change: impl FnOnce(&mut Transaction, &mut Facts),
        at: Timestamp,
        reply: Result<(), Refusal>,
        changes: usize,
    ) {
        let (mut transaction, mut facts) = (transaction(), with_session());
        facts.session.as_mut().unwrap().expires = Timestamp(NOW.0 + 3600);
        change(&mut transaction, &mut facts);
        let answer = ConsentAnswer::new(transaction, decision, Choice::EVERYTHING).unwrap();
        let verdict = decide(&answer, &facts, &policy(), &fresh_code(), at);
        assert_eq!(verdict.reply.map(|_| ()).map_err(|refused| refused.cause().clone()), reply);
        assert_eq!(verdict.changes.len(), changes);
    }

    #[test]
    fn ui_10_13_17_a_yes_counts_once_in_time_by_the_person_who_is_logged_in() {
        use Decision::{Allow, Deny};
        check(Allow, |_, _| {}, NOW, Ok(()), 1);
        check(Deny, |_, _| {}, NOW, Err(Refusal::Denied), 1);
        check(Allow, |_, _| {}, NOW + policy().lifetimes.page, Ok(()), 1);
        check(Allow, |_, _| {}, Timestamp(NOW.0 + 601), Err(Refusal::PageExpired), 0);
        check(Allow, |_, facts| facts.grant = Some(grant()), NOW, Err(Refusal::PageAnswered), 0);
        check(Deny, |_, facts| facts.grant = Some(grant()), NOW, Err(Refusal::PageAnswered), 0);
        check(Allow, |_, facts| facts.assertion_used = true, NOW, Err(Refusal::PageAnswered), 0);
        check(Deny, |_, facts| facts.assertion_used = true, NOW, Err(Refusal::PageAnswered), 0);
        check(Allow, |_, facts| facts.session = None, NOW, Err(Refusal::NotLoggedIn), 0);
        check(
            Allow,
            |_, facts| facts.user.as_mut().unwrap().stage = UserStage::Disabled,
            NOW,
            Err(Refusal::NotLoggedIn),
            0,
        );
        check(Allow, |_, facts| facts.client = None, NOW, Err(Refusal::UnknownClient), 0);
        check(
            Allow,
            |_, facts| facts.client.as_mut().unwrap().redirect_uris = Default::default(),
            NOW,
            Err(Refusal::RedirectMissing),
            0,
        );
        check(
            Allow,
            |transaction, _| transaction.shown.as_mut().unwrap().scopes = "mcp:tools:execute".parse().unwrap(),
            NOW,
            Err(Refusal::PageExpired),
            0,
        );
        check(
            Allow,
            |_, facts| facts.client.as_mut().unwrap().name = Some("Another".into()),
            NOW,
            Err(Refusal::PageExpired),
            0,
        );
        let other_tools = |_: &mut Transaction, facts: &mut Facts| {
            let (name, scopes) = ("new".parse().unwrap(), "mcp:tools:read".parse().unwrap());
            let tool = Tool { name, title: String::new(), effect: Effect::Destructive, scopes, print: None };
            facts.tools =
                Some(Announcement { resource: policy().default_resource, tools: vec![(tool, NOW)], scopes: vec![] });
        };
        let other_words = |transaction: &mut Transaction, facts: &mut Facts| {
            other_tools(transaction, facts);
            let tools = &mut facts.tools.as_mut().unwrap().tools;
            transaction.shown.as_mut().unwrap().tools = choice::print_of(&[tools[0].0.clone()]);
            tools[0].0.print = Some(TokenHash::of(b"another"));
        };
        check(Allow, other_words, NOW, Err(Refusal::PageExpired), 0);
        check(Allow, other_tools, NOW, Err(Refusal::PageExpired), 0);
    }

    #[test]
    fn only_allow_is_a_yes_and_a_login_page_is_no_consent_page() {
        for word in [None, Some(""), Some("yes"), Some("Allow")] {
            assert!(Decision::parse(word).is_err(), "{word:?}");
        }
        assert!(ConsentAnswer::new(Transaction::login(query(), NOW), Decision::Allow, Choice::EVERYTHING).is_err());
    }

    #[test]
    fn ui_08_a_login_needs_the_right_password_and_an_enabled_account() {
        let name = user().name;
        let secret = Secret::new("cookie".into());
        let ask = |right: bool, facts: &Facts| log_in(&name, right, facts, &policy(), &secret, NOW).reply;
        assert_eq!(ask(true, &with_grant(GrantStage::Live)), Ok(()));
        assert_eq!(ask(false, &with_grant(GrantStage::Live)), Err(Refusal::WrongLogin));
        assert_eq!(ask(true, &Facts::default()), Err(Refusal::WrongLogin));
        let mut disabled = with_grant(GrantStage::Live);
        disabled.user.as_mut().unwrap().stage = UserStage::Disabled;
        assert_eq!(ask(true, &disabled), Err(Refusal::WrongLogin));
    }
}
