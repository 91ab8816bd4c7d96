//! "Connected apps": what a person sees of their account, and what follows from a button there.

use shared::date;
use shared::id::{ClientId, GrantId, UserName};
use shared::scope::{Catalogue, Scope};
use shared::secret::Secret;
use shared::state::{Change, Client, ClientOrigin, Effect, Facts, Grant, LiveGrant, Program, RevocationCause, State};
use shared::time::Timestamp;

use super::Verdict;
use super::authorize::live_session;
use super::grantable;
use super::interact;
use super::policy::Policy;
use super::refusal::Refusal;

/// An app with access, as its person sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnectedApp {
    /// Its name for us.
    pub id: ClientId,
    /// What it calls itself.
    pub name: Option<String>,
    /// Whether nobody vouches for the name.
    pub self_declared: bool,
    /// Where it lies on this machine, when the machine says.
    pub place: Option<String>,
    /// Where its codes go, without doublets.
    pub hosts: Vec<String>,
    /// What it may do; one entry a consent, newest first.
    pub accesses: Vec<AppAccess>,
}

/// One consent that is in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AppAccess {
    /// The consent.
    pub grant: GrantId,
    /// To which server.
    pub resource: String,
    /// What it may do: the scope, and its meaning in words.
    pub scopes: Vec<(Scope, String)>,
    /// The tools that it may call: as their server announced them, or as the person chose them.
    pub tools: Vec<AppTool>,
    /// Whether the person left some out.
    pub narrowed: bool,
    /// Since when.
    pub since: Timestamp,
    /// When tokens were last given out.
    pub used: Timestamp,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
}

/// A tool that an app may call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AppTool {
    /// Its name.
    pub name: String,
    /// Its name for people, when its server has one.
    pub title: String,
    /// What it does to the world; `None` when its server no longer announces it.
    pub effect: Option<Effect>,
    /// Whether it has become another since its person agreed to it, and is not called any more.
    pub changed: bool,
}

impl ConnectedApp {
    /// When it was first let in, by what is still in force: its first tokens came with that.
    pub fn first_used(&self) -> Option<Timestamp> {
        self.accesses.iter().map(|access| access.since).min()
    }

    /// When tokens were last given out to it.
    pub fn last_used(&self) -> Option<Timestamp> {
        self.accesses.iter().map(|access| access.used).max()
    }
}

/// The apps to which `user` gave access, the one used last first.
pub fn connected_apps(state: &State, user: &UserName, catalogue: &Catalogue, now: Timestamp) -> Vec<ConnectedApp> {
    let mut apps: Vec<ConnectedApp> = Vec::new();
    for live in state.live_grants(Some(user), now) {
        let access = access(state, &live, catalogue);
        match apps.iter_mut().find(|app| app.id == live.client.id) {
            Some(app) => app.accesses.push(access),
            None => apps.push(app(live.client, access)),
        }
    }
    apps.sort_by_key(|app| std::cmp::Reverse(app.last_used()));
    apps
}

fn app(client: &Client, access: AppAccess) -> ConnectedApp {
    ConnectedApp {
        id: client.id.clone(),
        name: client.name.as_deref().map(str::to_owned),
        self_declared: client.origin == ClientOrigin::Dynamic,
        place: client.program.as_deref().map(Program::place).filter(|place| !place.is_empty()),
        hosts: redirect_hosts(client),
        accesses: vec![access],
    }
}

/// Where a client's codes go, in words, without doublets.
pub fn redirect_hosts(client: &Client) -> Vec<String> {
    let mut hosts: Vec<_> = client.redirect_uris.iter().map(|uri| uri.shown_host()).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

fn access(state: &State, live: &LiveGrant<'_>, catalogue: &Catalogue) -> AppAccess {
    let tools = tools(state, live.grant);
    let meaning = |scope: &Scope| grantable::meaning(catalogue, scope, !tools.is_empty());
    AppAccess {
        grant: live.grant.id,
        resource: live.grant.resource.to_string(),
        scopes: live.grant.scopes.iter().map(|scope| (scope.clone(), meaning(scope).to_owned())).collect(),
        tools,
        narrowed: only_tools(live.grant).is_some(),
        since: live.grant.created,
        used: live.used,
        expires: live.expires,
    }
}

/// What is announced, and what was chosen and is announced no more: it may come back.
fn tools(state: &State, grant: &Grant) -> Vec<AppTool> {
    let announced = state.tools_opened_by(grant).map(|tool| AppTool {
        name: tool.name.as_str().to_owned(),
        title: tool.title.clone(),
        effect: Some(tool.effect),
        changed: grant.shown().is_some_and(|shown| shown.changed(tool)),
    });
    let mut tools: Vec<AppTool> = announced.collect();
    for name in only_tools(grant).unwrap_or_default() {
        if !tools.iter().any(|tool| tool.name == name) {
            tools.push(AppTool { name, title: String::new(), effect: None, changed: false });
        }
    }
    tools
}

/// The tools that a grant may call, when its person left some out.
pub fn only_tools(grant: &Grant) -> Option<Vec<String>> {
    let tools = grant.terms.as_ref()?.tools.as_ref()?;
    Some(tools.iter().map(|name| name.as_str().to_owned()).collect())
}

/// A moment as people read it, to the minute: `2026-07-28 09:05 UTC`.
pub fn moment(at: Timestamp) -> String {
    let text = date::spaced(at);
    format!("{} UTC", text.rsplit_once(':').map_or(text.as_str(), |(minutes, _)| minutes))
}

/// A button on the account page.
#[derive(Debug)]
pub enum Action {
    /// Take back what one app was given.
    Revoke(ClientId),
    /// Take back everything.
    RevokeAll,
    /// Log out in every browser, this one too.
    SignOutEverywhere,
    /// A new password: the hash, whether the old one was right, and the session that goes on.
    NewPassword {
        /// The old password was typed right.
        right: bool,
        /// The new one's argon2id hash.
        hash: String,
        /// The cookie that the browser gets.
        session: Secret,
    },
}

/// What was done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Done {
    /// One app's access, or every app's, was taken back.
    Revoked,
    /// Logged out everywhere.
    SignedOut,
    /// The password is another one.
    PasswordChanged,
}

impl Done {
    /// The word in the address of the page that says so.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::SignedOut => "signed-out",
            Self::PasswordChanged => "password",
        }
    }
}

/// Decides on a button.
pub fn decide(action: &Action, facts: &Facts, policy: &Policy, now: Timestamp) -> Verdict<Done> {
    let Some(session) = live_session(facts, now) else { return Verdict::unchanged(Err(Refusal::NotLoggedIn)) };
    let user = session.user.clone();
    let revoked = |client| Change::GrantsRevoked { user: user.clone(), client, cause: RevocationCause::User };
    let (changes, done) = match action {
        Action::Revoke(client) => (vec![revoked(Some(client.clone()))], Done::Revoked),
        Action::RevokeAll => (vec![revoked(None)], Done::Revoked),
        Action::SignOutEverywhere => (vec![Change::SessionsClosed(user)], Done::SignedOut),
        Action::NewPassword { right: false, .. } => return Verdict::unchanged(Err(Refusal::WrongLogin)),
        Action::NewPassword { hash, session, .. } => {
            let opened = Change::SessionOpened(interact::session(&user, session, policy, now));
            (vec![Change::PasswordChanged { user, password: hash.clone() }, opened], Done::PasswordChanged)
        }
    };
    Verdict { changes, reply: Ok(done) }
}

#[cfg(test)]
mod tests {
    use shared::state::UserStage;

    use super::*;
    use crate::protocol::sample::{NOW, client, policy, with_session};

    fn new_password(right: bool) -> Action {
        Action::NewPassword { right, hash: "$argon2id$x".into(), session: Secret::new("fresh".into()) }
    }

    #[track_caller]
    fn check(action: &Action, change: impl FnOnce(&mut Facts), reply: Result<Done, Refusal>, changes: usize) {
        let mut facts = with_session();
        change(&mut facts);
        let verdict = decide(action, &facts, &policy(), NOW);
        assert_eq!(verdict.reply, reply);
        assert_eq!(verdict.changes.len(), changes);
    }

    #[test]
    fn a_button_works_for_the_person_who_is_logged_in() {
        for (action, done, changes) in [
            (Action::Revoke(client().id), Done::Revoked, 1),
            (Action::RevokeAll, Done::Revoked, 1),
            (Action::SignOutEverywhere, Done::SignedOut, 1),
            (new_password(true), Done::PasswordChanged, 2),
        ] {
            check(&action, |_| {}, Ok(done), changes);
            check(&action, |facts| facts.session = None, Err(Refusal::NotLoggedIn), 0);
            let expired = |facts: &mut Facts| facts.session.as_mut().unwrap().expires = NOW;
            check(&action, expired, Err(Refusal::NotLoggedIn), 0);
            let disabled = |facts: &mut Facts| facts.user.as_mut().unwrap().stage = UserStage::Disabled;
            check(&action, disabled, Err(Refusal::NotLoggedIn), 0);
        }
        check(&new_password(false), |_| {}, Err(Refusal::WrongLogin), 0);
    }

    #[test]
    fn a_moment_is_told_to_the_minute() {
        assert_eq!(moment(Timestamp(1_785_229_501)), "2026-07-28 09:05 UTC");
    }
}
