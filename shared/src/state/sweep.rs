//! Forgetting what has ended, so that the store's size follows live data.

use std::collections::HashSet;

use super::apply::{State, Undo};
use super::record::{Client, ClientOrigin, FamilyStage, GrantStage};
use crate::id::ClientId;
use crate::time::Timestamp;

impl State {
    /// Forgets codes, sessions, access tokens, keys and families that ended before `before`, and grants that have
    /// nothing left. Deterministic: every follower forgets the same.
    pub(super) fn sweep(&mut self, before: Timestamp, unused_clients: Timestamp, undo: &mut Undo) {
        let codes: Vec<_> = self.codes.values().filter(|code| code.expires < before).map(|code| code.hash).collect();
        codes.into_iter().for_each(|hash| self.forget_code(hash, undo));
        let sessions: Vec<_> = self.sessions.values().filter(|s| s.expires < before).map(|s| s.hash).collect();
        sessions.into_iter().for_each(|hash| self.forget_session(hash, undo));
        let tokens: Vec<_> = self.access.values().filter(|a| a.expires < before).map(|a| a.id).collect();
        tokens.into_iter().for_each(|id| self.forget_access(id, undo));
        let keys: Vec<_> = self
            .keys
            .values()
            .filter(|key| key.retires.is_some_and(|at| at < before))
            .map(|key| key.id.clone())
            .collect();
        keys.into_iter().for_each(|id| self.forget_key(id, undo));
        let initial: Vec<_> = self.initial.values().filter(|token| token.expires < before).map(|t| t.hash).collect();
        initial.into_iter().for_each(|hash| self.forget_initial_token(hash, undo));
        self.sweep_grants(before, undo);
        self.sweep_clients(unused_clients, undo);
    }

    /// Whether a sweep would forget anything: whether it is worth a commit.
    pub fn is_sweepable(&self, before: Timestamp, unused_clients: Timestamp) -> bool {
        self.codes.values().any(|code| code.expires < before)
            || self.access.values().any(|access| access.expires < before)
            || self.sessions.values().any(|session| session.expires < before)
            || self.initial.values().any(|token| token.expires < before)
            || self.unused_clients(unused_clients).next().is_some()
    }

    fn sweep_grants(&mut self, before: Timestamp, undo: &mut Undo) {
        let needed: HashSet<_> =
            self.codes.values().map(|code| code.grant).chain(self.access.values().map(|access| access.grant)).collect();
        let ended: Vec<_> = self
            .grants
            .values()
            .filter(|grant| !needed.contains(&grant.id))
            .filter(|grant| match (grant.stage, self.families.get(&grant.id)) {
                (GrantStage::Revoked, _) | (_, None) => true,
                (_, Some(family)) => family.stage == FamilyStage::Dead || family.expires < before,
            })
            .map(|grant| grant.id)
            .collect();
        ended.into_iter().for_each(|id| self.forget_grant(id, undo));
    }

    /// Clients that came by themselves and that nobody ever said yes to, or not for long (RFC 7591 section 5).
    fn sweep_clients(&mut self, before: Timestamp, undo: &mut Undo) {
        let unused: Vec<_> = self.unused_clients(before).map(|client| client.id.clone()).collect();
        unused.into_iter().for_each(|id| self.forget_client(id, undo));
    }

    fn unused_clients(&self, before: Timestamp) -> impl Iterator<Item = &Client> {
        let last_use = |client: &Client| client.approved_at.unwrap_or(client.issued_at);
        let old = move |client: &&Client| client.origin != ClientOrigin::Operator && last_use(client) < before;
        let none_is_old = !self.clients.values().any(|client| old(&client));
        let grants = self.grants.values().filter(|_| !none_is_old);
        let needed: HashSet<&ClientId> = grants.map(|grant| &grant.client).collect();
        self.clients.values().filter(old).filter(move |client| !needed.contains(&client.id))
    }
}

#[cfg(test)]
mod tests {
    use crate::state::{Change, State, Wanted};
    use crate::store::conformance::Sample;
    use crate::time::{Seconds, Timestamp};

    const NOW: Timestamp = Timestamp(1_000_000);

    fn state(sample: &Sample, steps: &[fn(&Sample) -> Vec<Change>]) -> State {
        let mut state = State::default();
        for step in steps {
            state.apply_all(step(sample), NOW).unwrap();
        }
        state
    }

    fn swept(mut state: State, before: Timestamp, unused_clients: Timestamp) -> State {
        state.apply_all(vec![Change::Swept { before, unused_clients }], before).unwrap();
        state
    }

    #[test]
    fn sto_09_what_has_ended_is_forgotten_and_what_lives_is_kept() {
        let sample = Sample::new(NOW);
        let live = state(&sample, &[Sample::known, Sample::approved, Sample::redeemed]);
        let refresh = Wanted { refresh: Some(sample.family.current), ..Wanted::default() };
        for (after, code, access, grant) in
            [(60, true, true, true), (61, false, true, true), (3601, false, false, true), (86_401, false, false, false)]
        {
            let state = swept(live.clone(), NOW + Seconds(after), Timestamp(0));
            let counts: std::collections::HashMap<_, _> = state.counts().into_iter().collect();
            assert_eq!(counts["codes"] == 1, code, "{after}");
            assert_eq!(counts["access_tokens"] == 1, access, "{after}");
            assert_eq!(state.facts(&refresh).grant.is_some(), grant, "{after}");
            assert_eq!(counts["users"], 1);
        }
    }

    #[test]
    fn a_consent_whose_code_ran_out_is_forgotten() {
        let sample = Sample::new(NOW);
        let state = swept(state(&sample, &[Sample::known, Sample::approved]), NOW + Seconds(61), Timestamp(0));
        assert_eq!(state.grants().len(), 0);
    }

    #[test]
    fn an_unused_client_is_forgotten_and_a_used_one_is_kept() {
        let sample = Sample::new(NOW);
        let known = state(&sample, &[Sample::known]);
        assert_eq!(swept(known.clone(), NOW, NOW).clients().len(), 1);
        assert_eq!(swept(known, NOW, NOW + Seconds(1)).clients().len(), 0);
        let used = state(&sample, &[Sample::known, Sample::approved]);
        assert_eq!(swept(used, NOW, NOW + Seconds(1)).clients().len(), 1);
    }

    #[test]
    fn a_sweep_can_be_taken_back() {
        let sample = Sample::new(NOW);
        let before = state(&sample, &[Sample::known, Sample::approved, Sample::redeemed]);
        let mut state = before.clone();
        let undo = state
            .apply_all(vec![Change::Swept { before: NOW + Seconds(1_000_000), unused_clients: NOW + Seconds(1) }], NOW)
            .unwrap();
        assert_ne!(state, before);
        state.revert(undo);
        assert_eq!(state, before);
    }
}
