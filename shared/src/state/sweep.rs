//! Forgetting what has ended, so that the store's size follows live data.

use std::collections::HashSet;

use super::apply::{State, Undo};
use super::record::{FamilyStage, GrantStage};
use crate::time::Timestamp;

impl State {
    /// Forgets codes, sessions, access tokens, keys and families that ended before `before`, and grants that have
    /// nothing left. Deterministic: every follower forgets the same.
    pub(super) fn sweep(&mut self, before: Timestamp, undo: &mut Undo) {
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
        self.sweep_grants(before, undo);
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
}
