//! What a person, or an operator about a person, wants to see: apps with access, and browsers that are logged in.

use super::apply::State;
use super::entries::GrantEntry;
use super::record::{Client, FamilyStage, Grant, GrantStage, Session};
use super::tools::Tool;
use crate::id::UserName;
use crate::time::Timestamp;

/// A grant that may open something, and what is told with it.
#[derive(Clone, Copy, Debug)]
pub struct LiveGrant<'a> {
    /// The grant.
    pub grant: &'a Grant,
    /// Who holds it.
    pub client: &'a Client,
    /// When tokens were last given out for it: a client asks at least once an hour while it is in use.
    pub used: Timestamp,
    /// When it ends by itself, unless it is used before; `None` when its access token is the last there is.
    pub expires: Option<Timestamp>,
}

impl State {
    /// The grants that may open something now, newest first: of one person, or of everybody.
    pub fn live_grants(&self, user: Option<&UserName>, now: Timestamp) -> Vec<LiveGrant<'_>> {
        let mut live: Vec<_> = match user {
            Some(user) => {
                let theirs = self.grants.of_user(user).into_iter().filter_map(|id| self.grants.get(&id));
                theirs.filter_map(|entry| self.live_grant(entry, now)).collect()
            }
            None => self.grants.values().filter_map(|entry| self.live_grant(entry, now)).collect(),
        };
        live.sort_by(|a, b| (b.grant.created, &b.grant.id).cmp(&(a.grant.created, &a.grant.id)));
        live
    }

    fn live_grant<'a>(&'a self, entry: &'a GrantEntry, now: Timestamp) -> Option<LiveGrant<'a>> {
        let grant = &entry.grant;
        let client = self.clients.get(&grant.client).filter(|_| grant.stage == GrantStage::Live)?.client();
        match entry.family() {
            Some(family) => (family.stage == FamilyStage::Live && family.expires > now).then_some(LiveGrant {
                grant,
                client,
                used: family.used,
                expires: Some(family.expires),
            }),
            // Without refresh tokens there is the one access token; the sweep forgets the grant with it.
            None => grant.until().is_none_or(|until| until > now).then_some(LiveGrant {
                grant,
                client,
                used: grant.created,
                expires: grant.until(),
            }),
        }
    }

    /// The tools that a grant opens, as far as their server has announced them, in its order.
    pub fn tools_opened_by<'a>(&'a self, grant: &'a Grant) -> impl Iterator<Item = &'a Tool> {
        let announced = self.announcement(&grant.resource).into_iter();
        announced.flat_map(|known| known.opened_by(&grant.scopes)).filter(|tool| grant.allows(tool.name.as_str()))
    }

    /// Where a person is logged in, newest first.
    pub fn sessions_of(&self, user: &UserName, now: Timestamp) -> Vec<&Session> {
        let mut sessions: Vec<_> =
            self.sessions.values().filter(|session| session.user == *user && session.expires > now).collect();
        sessions.sort_by(|a, b| (b.created, b.hash.as_bytes()).cmp(&(a.created, a.hash.as_bytes())));
        sessions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::TokenHash;
    use crate::state::{Answered, Change, Conflict, RevocationCause, UserStage, Wanted};
    use crate::store::conformance::Sample;
    use crate::time::Seconds;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn in_use(sample: &Sample) -> State {
        let mut state = State::default();
        let user = sample.user.name.clone();
        let session =
            Session { hash: TokenHash::of(b"s"), user, created: NOW, expires: NOW + Seconds(9), grants: Vec::new() };
        let mut changes = [sample.known(), sample.approved(), sample.redeemed()].concat();
        changes.push(Change::SessionOpened(session));
        state.apply_all(changes, NOW).unwrap();
        state
    }

    #[test]
    fn adm_02_whatever_ends_a_persons_access_ends_every_token_at_once_and_for_good() {
        let sample = Sample::new(NOW);
        let user = sample.user.name.clone();
        let cause = RevocationCause::User;
        let stage = |stage| Change::UserStageSet { user: user.clone(), stage };
        for (change, sessions) in [
            (stage(UserStage::Disabled), 0),
            (stage(UserStage::Removed), 0),
            (Change::GrantsRevoked { user: user.clone(), client: None, cause }, 1),
            (Change::GrantsRevoked { user: user.clone(), client: Some(sample.client.id.clone()), cause }, 1),
        ] {
            let mut state = in_use(&sample);
            assert_eq!((state.live_grants(None, NOW).len(), state.sessions_of(&user, NOW).len()), (1, 1));
            let before = state.clone();
            let mut undo = state.apply_all(vec![change.clone()], NOW).unwrap();
            let wanted = Wanted { access: Some(sample.access.id), ..Wanted::default() };
            assert!(!state.facts(&wanted).grant_lives(), "{change:?}");
            assert!(state.live_grants(Some(&user), NOW).is_empty(), "{change:?}");
            assert_eq!(state.sessions_of(&user, NOW).len(), sessions, "{change:?}");
            if change == stage(UserStage::Disabled) {
                let mut enabled = state.clone();
                enabled.apply_all(vec![stage(UserStage::Enabled)], NOW).unwrap();
                assert!(!enabled.facts(&wanted).grant_lives(), "an account that works again starts without apps");
            }
            state.revert(&mut undo);
            assert_eq!(state, before);
        }
    }

    #[test]
    fn ui_10_a_page_has_one_answer_for_as_long_as_it_could_be_given() {
        let sample = Sample::new(NOW);
        let until = NOW + Seconds(600);
        let page = Some(Answered { grant: sample.grant.id, until });
        let no = vec![Change::Denied { user: sample.user.name.clone(), client: sample.client.id.clone(), page }];
        for (first, second) in [(&no, &sample.approved()), (&no, &no), (&sample.approved(), &no)] {
            let mut state = State::default();
            state.apply_all(sample.known(), NOW).unwrap();
            state.apply_all(first.clone(), NOW).unwrap();
            assert!(matches!(state.apply_all(second.clone(), NOW), Err(Conflict::Exists(_))), "{first:?}");
        }
        let mut state = State::default();
        state.apply_all([sample.known(), no].concat(), NOW).unwrap();
        let wanted = Wanted { assertion: Some(Answered::name(sample.grant.id)), ..Wanted::default() };
        for (before, said) in [(until, true), (until + Seconds(1), false)] {
            state.apply_all(vec![Change::Swept { before, unused_clients: Timestamp(0) }], before).unwrap();
            assert_eq!(state.facts(&wanted).assertion_used, said);
        }
    }

    #[test]
    fn a_removed_account_stays_removed_and_other_peoples_apps_are_left_alone() {
        let sample = Sample::new(NOW);
        let mut state = in_use(&sample);
        let other: UserName = "somebody-else".parse().unwrap();
        let cause = RevocationCause::Operator;
        state.apply_all(vec![Change::GrantsRevoked { user: other.clone(), client: None, cause }], NOW).unwrap();
        state.apply_all(vec![Change::SessionsClosed(other)], NOW).unwrap();
        assert_eq!(state.live_grants(None, NOW).len(), 1);
        let user = sample.user.name.clone();
        assert_eq!(state.sessions_of(&user, NOW).len(), 1);
        let stage = |stage| vec![Change::UserStageSet { user: user.clone(), stage }];
        state.apply_all(vec![Change::SessionsClosed(user.clone())], NOW).unwrap();
        assert_eq!((state.sessions_of(&user, NOW).len(), state.live_grants(None, NOW).len()), (0, 1));
        state.apply_all(stage(UserStage::Removed), NOW).unwrap();
        assert!(state.users()[0].password.is_none());
        assert!(state.apply_all(stage(UserStage::Enabled), NOW).is_err());
    }

    #[test]
    fn a_grant_for_as_long_as_the_login_ends_with_it_however_that_ends() {
        let sample = Sample::new(NOW);
        let user = sample.user.name.clone();
        let session = TokenHash::of(b"s");
        for end in [
            Change::SessionClosed(session),
            Change::SessionsClosed(user.clone()),
            Change::PasswordChanged { user: user.clone(), password: "x".into() },
        ] {
            let mut state = State::default();
            let grants = Vec::new();
            let opened = Session { hash: session, user: user.clone(), created: NOW, expires: NOW + Seconds(9), grants };
            let approved = |session| {
                let (grant, code) = (sample.grant.clone(), sample.code.clone());
                vec![Change::Approved { grant, code, session }]
            };
            state.apply_all(sample.known(), NOW).unwrap();
            assert!(state.apply_all(approved(Some(session)), NOW).is_err(), "there is no such login");
            state.apply_all(vec![Change::SessionOpened(opened)], NOW).unwrap();
            state.apply_all([approved(Some(session)), sample.redeemed()].concat(), NOW).unwrap();
            let before = state.clone();
            let mut undo = state.apply_all(vec![end], NOW).unwrap();
            assert!(state.live_grants(None, NOW).is_empty());
            state.revert(&mut undo);
            assert_eq!(state, before);
            // What was forgotten meanwhile is no hindrance.
            let grants = vec![sample.grant.id, crate::id::GrantId(uuid::Uuid::nil())];
            let opened = state.sessions.get(&session).unwrap().clone();
            state.sessions.insert(Session { grants, ..opened });
            state.apply_all(vec![Change::SessionClosed(session), Change::SessionClosed(session)], NOW).unwrap();
        }
    }

    #[test]
    fn a_grant_that_nothing_hangs_from_is_not_shown() {
        let sample = Sample::new(NOW);
        let state = in_use(&sample);
        let end = state.live_grants(None, NOW)[0].expires.unwrap();
        assert!(state.live_grants(None, end).is_empty());
        assert_eq!(state.live_grants(None, NOW)[0].used, sample.family.used);
    }
}
