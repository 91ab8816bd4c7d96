//! The administrator's page: who may open it, and what follows from a button there.

use shared::id::{ClientId, GrantId, UserName};
use shared::state::{Change, Facts, RevocationCause, Session, State, UserStage, Wanted};
use shared::time::Timestamp;

use super::Verdict;
use super::authorize::live_session;
use super::refusal::Refusal;

/// The part of the page that an address names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Section {
    /// How much there is of everything.
    Overview,
    /// Registered clients.
    Clients,
    /// Accounts.
    Users,
    /// What people gave to apps.
    Grants,
    /// What happened.
    Audit,
    /// Who called which tool.
    Calls,
}

impl Section {
    /// Every part, in the order of the menu.
    pub const ALL: [Self; 6] = [Self::Overview, Self::Clients, Self::Users, Self::Grants, Self::Audit, Self::Calls];

    /// Whether it is something that happens, which a person may want to watch.
    pub const fn may_live(self) -> bool {
        matches!(self, Self::Audit | Self::Calls)
    }

    /// Its path below our root.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Overview => "/admin",
            Self::Clients => "/admin/clients",
            Self::Users => "/admin/users",
            Self::Grants => "/admin/grants",
            Self::Audit => "/admin/audit",
            Self::Calls => "/admin/calls",
        }
    }

    /// Its name in the menu.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Clients => "Clients",
            Self::Users => "Accounts",
            Self::Grants => "Grants",
            Self::Audit => "Audit trail",
            Self::Calls => "Tool calls",
        }
    }
}

/// A button.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Take back a grant.
    RevokeGrant(GrantId),
    /// Remove a client, and every token that it has.
    RemoveClient(ClientId),
    /// Let an account rest, or work again.
    SetStage(UserName, UserStage),
    /// Log a person out everywhere.
    EndSessions(UserName),
}

impl Action {
    /// Reads the button's word and what it is about.
    ///
    /// # Errors
    /// When it is none of ours.
    pub fn parse(word: Option<&str>, target: Option<&str>) -> Result<Self, Refusal> {
        let target = target.ok_or(Refusal::Missing("target"))?;
        let user = || target.parse::<UserName>().map_err(|_| Refusal::Malformed("target"));
        Ok(match word {
            Some("revoke") => Self::RevokeGrant(target.parse().map_err(|_| Refusal::Malformed("target"))?),
            Some("remove-client") => Self::RemoveClient(target.parse().map_err(|_| Refusal::Malformed("target"))?),
            Some("disable") => Self::SetStage(user()?, UserStage::Disabled),
            Some("enable") => Self::SetStage(user()?, UserStage::Enabled),
            Some("sign-out") => Self::EndSessions(user()?),
            _ => return Err(Refusal::Malformed("action")),
        })
    }

    /// Where it is pressed.
    pub const fn section(&self) -> Section {
        match self {
            Self::RevokeGrant(_) => Section::Grants,
            Self::RemoveClient(_) => Section::Clients,
            Self::SetStage(..) | Self::EndSessions(_) => Section::Users,
        }
    }

    /// Whether there is what it is about.
    pub fn is_about_something(&self, state: &State) -> bool {
        let none = Wanted::default();
        match self {
            Self::RevokeGrant(id) => state.facts(&Wanted { grant: Some(*id), ..none }).grant.is_some(),
            Self::RemoveClient(id) => state.facts(&Wanted { client: Some(id.clone()), ..none }).client.is_some(),
            Self::SetStage(name, _) | Self::EndSessions(name) => {
                let user = state.facts(&Wanted { user: Some(name.clone()), ..none }).user;
                user.is_some_and(|user| user.stage != UserStage::Removed)
            }
        }
    }
}

/// The session, if it is an administrator's (ADM-01).
///
/// # Errors
/// [`Refusal::NotLoggedIn`], [`Refusal::NotAdmin`].
pub fn administrator(facts: &Facts, now: Timestamp) -> Result<&Session, Refusal> {
    let session = live_session(facts, now).ok_or(Refusal::NotLoggedIn)?;
    if facts.user.as_ref().is_some_and(|user| user.admin) { Ok(session) } else { Err(Refusal::NotAdmin) }
}

/// Decides on a button.
pub fn decide(action: &Action, facts: &Facts, now: Timestamp) -> Verdict<()> {
    let session = match administrator(facts, now) {
        Ok(session) => session,
        Err(refusal) => return Verdict::unchanged(Err(refusal)),
    };
    let change = match action {
        Action::RevokeGrant(grant) => Change::GrantRevoked { grant: *grant, cause: RevocationCause::Operator },
        Action::RemoveClient(id) => Change::ClientRemoved(id.clone()),
        Action::SetStage(user, UserStage::Disabled) if *user == session.user => {
            return Verdict::unchanged(Err(Refusal::Account(
                "this is your own account; another administrator may do that",
            )));
        }
        Action::SetStage(user, stage) => Change::UserStageSet { user: user.clone(), stage: *stage },
        Action::EndSessions(user) => Change::SessionsClosed(user.clone()),
    };
    Verdict { changes: vec![change], reply: Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::sample::{NOW, client, grant, with_session};

    fn admin() -> Facts {
        let mut facts = with_session();
        facts.user.as_mut().unwrap().admin = true;
        facts
    }

    #[test]
    fn adm_01_only_an_administrator_who_is_logged_in_changes_anything() {
        let bob: UserName = "bob".parse().unwrap();
        for action in [
            Action::RevokeGrant(grant().id),
            Action::RemoveClient(client().id),
            Action::SetStage(bob.clone(), UserStage::Disabled),
            Action::SetStage(bob.clone(), UserStage::Enabled),
            Action::EndSessions(bob.clone()),
        ] {
            let check = |facts: &Facts, reply: Result<(), Refusal>| {
                let verdict = decide(&action, facts, NOW);
                assert_eq!(verdict.changes.len(), usize::from(reply.is_ok()));
                assert_eq!(verdict.reply, reply);
            };
            check(&admin(), Ok(()));
            check(&with_session(), Err(Refusal::NotAdmin));
            check(&Facts { session: None, ..admin() }, Err(Refusal::NotLoggedIn));
            let mut disabled = admin();
            disabled.user.as_mut().unwrap().stage = UserStage::Disabled;
            check(&disabled, Err(Refusal::NotLoggedIn));
        }
        let own = Action::SetStage("ada".parse().unwrap(), UserStage::Disabled);
        assert!(matches!(decide(&own, &admin(), NOW).reply, Err(Refusal::Account(_))));
    }

    #[test]
    fn adm_05_a_button_is_one_of_ours_about_something_well_formed() {
        for (word, target) in [
            (None, Some("ada")),
            (Some("disable"), None),
            (Some("disable"), Some("a/../b")),
            (Some("disable"), Some("../../keys.json")),
            (Some("revoke"), Some("ada")),
            (Some("remove-client"), Some("a b")),
            (Some("remove"), Some("ada")),
            (Some(""), Some("")),
        ] {
            assert!(Action::parse(word, target).is_err(), "{word:?} {target:?}");
        }
        let good = Action::parse(Some("disable"), Some("ada")).unwrap();
        assert_eq!(good, Action::SetStage("ada".parse().unwrap(), UserStage::Disabled));
        assert!(!good.is_about_something(&State::default()));
    }
}
