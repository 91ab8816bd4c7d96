//! Forgetting what has ended, so that the store's size follows live data.

use super::apply::{State, Undo};
use super::table::NEVER;
use crate::time::Timestamp;

impl State {
    /// Forgets codes, sessions, access tokens and keys that ended before `before`, grants that have nothing left, and
    /// clients that came by themselves and that nobody ever said yes to, or not for long (RFC 7591 section 5).
    ///
    /// Deterministic: every follower forgets the same. Costs as much as is forgotten.
    pub(super) fn sweep(&mut self, before: Timestamp, unused_clients: Timestamp, undo: &mut Undo) {
        const ALL: usize = usize::MAX;
        let codes: Vec<_> = self.codes.due_before(before, ALL).iter().map(|code| code.hash).collect();
        codes.into_iter().for_each(|hash| self.forget_code(hash, undo));
        let sessions: Vec<_> = self.sessions.due_before(before, ALL).iter().map(|session| session.hash).collect();
        sessions.into_iter().for_each(|hash| self.forget_session(hash, undo));
        let tokens: Vec<_> = self.access.due_before(before, ALL).iter().map(|access| access.id).collect();
        tokens.into_iter().for_each(|id| self.forget_access(id, undo));
        let keys: Vec<_> = self.keys.due_before(before, ALL).iter().map(|key| key.id.clone()).collect();
        keys.into_iter().for_each(|id| self.forget_key(id, undo));
        let initial: Vec<_> = self.initial.due_before(before, ALL).iter().map(|token| token.hash).collect();
        initial.into_iter().for_each(|hash| self.forget_initial_token(hash, undo));
        let grants: Vec<_> = self.grants.due_before(before, ALL).iter().map(|entry| entry.grant.id).collect();
        grants.into_iter().for_each(|id| self.forget_grant(id, undo));
        let unused = self.clients.due_before(unused_clients, ALL);
        let unused: Vec<_> = unused.iter().map(|entry| entry.client().id.clone()).collect();
        unused.into_iter().for_each(|id| self.forget_client(id, undo));
    }

    /// Whether a sweep would forget anything: whether it is worth a commit.
    pub fn is_sweepable(&self, before: Timestamp, unused_clients: Timestamp) -> bool {
        self.first_due() < before || self.clients.earliest() < unused_clients
    }

    fn first_due(&self) -> Timestamp {
        let ends = [
            self.codes.earliest(),
            self.sessions.earliest(),
            self.access.earliest(),
            self.keys.earliest(),
            self.initial.earliest(),
            self.grants.earliest(),
        ];
        ends.into_iter().min().unwrap_or(NEVER)
    }

    /// A part of a sweep that forgets about `most` records, so that nobody waits long for it: the latest seconds, at most
    /// `before` and `unused_clients`, found by halving the time. Records that end in one second go together.
    pub fn part_of_sweep(&self, before: Timestamp, unused_clients: Timestamp, most: usize) -> (Timestamp, Timestamp) {
        let ended = |before| {
            self.codes.due_before(before, most).len()
                + self.sessions.due_before(before, most).len()
                + self.access.due_before(before, most).len()
                + self.grants.due_before(before, most).len()
        };
        let unused = |before| self.clients.due_before(before, most).len();
        (
            part_of_time(self.first_due(), before, most, ended),
            part_of_time(self.clients.earliest(), unused_clients, most, unused),
        )
    }
}

/// The latest second up to `last` before which fewer than `most` are due; at least the one after `first`, so that every
/// part forgets something.
fn part_of_time(first: Timestamp, last: Timestamp, most: usize, due: impl Fn(Timestamp) -> usize) -> Timestamp {
    let (mut low, mut high) = (first.0.saturating_add(1).min(last.0), last.0);
    if due(last) < most {
        return last;
    }
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if due(Timestamp(middle)) < most {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Timestamp(low)
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
        let mut undo = state
            .apply_all(vec![Change::Swept { before: NOW + Seconds(1_000_000), unused_clients: NOW + Seconds(1) }], NOW)
            .unwrap();
        assert_ne!(state, before);
        let after = state.clone();
        state.revert(&mut undo);
        assert_eq!(state, before);
        state.redo(&mut undo);
        assert_eq!(state, after);
    }

    #[test]
    fn sto_09_a_large_sweep_is_made_in_parts_and_forgets_the_same() {
        let mut state = State::default();
        for second in 0..500 {
            let sample = Sample::new(NOW + Seconds(second));
            for changes in [sample.known(), sample.approved(), sample.redeemed()] {
                state.apply_all(changes, NOW).unwrap();
            }
        }
        let (end, unused) = (NOW + Seconds(100_000), NOW + Seconds(250));
        let mut whole = state.clone();
        whole.apply_all(vec![Change::Swept { before: end, unused_clients: unused }], end).unwrap();
        let mut parts = 0;
        while state.is_sweepable(end, unused) {
            let (before, unused_clients) = state.part_of_sweep(end, unused, 100);
            let left = state.records().count();
            state.apply_all(vec![Change::Swept { before, unused_clients }], end).unwrap();
            let forgotten = left - state.records().count();
            assert!((1..=500).contains(&forgotten), "{forgotten} at once");
            parts += 1;
        }
        assert!(parts > 5, "{parts}");
        assert_eq!(state, whole);
    }
}
