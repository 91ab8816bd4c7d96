//! Forgetting what has ended, so that the store's size follows live data.

use super::apply::{State, Undo};
use super::table::NEVER;
use crate::time::{Seconds, Timestamp};

/// Which of the clients that came by themselves are forgotten (RFC 7591 section 5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientCare {
    /// How long one is kept that no grant needs, counted from its last use.
    pub unused: Seconds,
    /// How many such are kept besides those of the last ten minutes; the ones that were used last.
    pub most_unused: usize,
}

/// How long a client is kept in any case: somebody may be signing in for it right now.
const IN_PEACE: Seconds = Seconds(600);

impl Default for ClientCare {
    fn default() -> Self {
        Self { unused: Seconds(30 * 86_400), most_unused: 50_000 }
    }
}

impl State {
    /// The second before which clients that no grant needs must have been used last to be forgotten.
    pub fn unused_before(&self, now: Timestamp, care: &ClientCare) -> Timestamp {
        let ago = |seconds: Seconds| Timestamp(now.0.saturating_sub(seconds.0));
        let (old, disturbed) = (ago(care.unused), ago(IN_PEACE));
        let unused = || self.clients.due_before(disturbed, usize::MAX);
        // The search takes longer than the question whether it is needed.
        let mut uses: Vec<_> = match self.clients.len() > care.most_unused {
            true => unused().into_iter().map(|entry| entry.client().last_use()).collect(),
            false => return old,
        };
        let Some(excess) = uses.len().checked_sub(care.most_unused).filter(|excess| *excess > 0) else { return old };
        let first_kept = if excess < uses.len() { *uses.select_nth_unstable(excess).1 } else { disturbed };
        old.max(first_kept)
    }

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
        let used: Vec<_> = self.assertions.due_before(before, ALL).iter().map(|used| used.name).collect();
        used.into_iter().for_each(|name| self.forget_assertion(name, undo));
        let pushed: Vec<_> = self.pushed.due_before(before, ALL).iter().map(|pushed| pushed.hash).collect();
        pushed.into_iter().for_each(|hash| self.forget_pushed(hash, undo));
        let devices: Vec<_> = self.devices.due_before(before, ALL).into_iter().cloned().collect();
        devices.iter().for_each(|device| self.forget_device(device, undo));
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
            self.assertions.earliest(),
            self.pushed.earliest(),
            self.devices.earliest(),
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
                + self.assertions.due_before(before, most).len()
                + self.pushed.due_before(before, most).len()
                + self.devices.due_before(before, most).len()
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
    use super::ClientCare;
    use crate::state::{Change, RevocationCause, State, Wanted};
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
    fn a_pushed_request_is_opened_once_spent_once_and_forgotten_when_it_is_over() {
        let sample = Sample::new(NOW);
        let pushed = sample.pushed();
        let (hash, until) = (pushed.hash, NOW + Seconds(600));
        let mut state = State::default();
        let opened = || vec![Change::PushedOpened { hash, until }];
        assert!(state.apply_all(opened(), NOW).is_err());
        state.apply_all(vec![Change::RequestPushed(pushed.clone())], NOW).unwrap();
        assert!(state.apply_all(vec![Change::RequestPushed(pushed)], NOW).is_err());
        let there = |state: &State| state.facts(&Wanted { pushed: Some(hash), ..Wanted::default() }).pushed.is_some();
        assert!(there(&swept(state.clone(), NOW + Seconds(90), Timestamp(0))));
        assert!(!there(&swept(state.clone(), NOW + Seconds(91), Timestamp(0))));
        state.apply_all(opened(), NOW).unwrap();
        assert!(state.apply_all(opened(), NOW).is_err());
        assert!(there(&swept(state.clone(), until, Timestamp(0))));
        state.apply_all(vec![Change::PushedSpent(hash)], NOW).unwrap();
        assert!(!there(&state) && state.apply_all(vec![Change::PushedSpent(hash)], NOW).is_err());
    }

    #[test]
    fn a_used_assertion_is_remembered_until_it_ends() {
        let name = crate::secret::TokenHash::of(b"a");
        let used = vec![Change::AssertionUsed { name, expires: NOW }];
        let mut state = State::default();
        state.apply_all(used.clone(), NOW).unwrap();
        assert!(state.apply_all(used.clone(), NOW).is_err(), "once");
        let wanted = Wanted { assertion: Some(name), ..Wanted::default() };
        for (before, is_used) in [(NOW, true), (NOW + Seconds(1), false)] {
            assert_eq!(state.is_sweepable(before, Timestamp(0)), !is_used);
            assert_eq!(swept(state.clone(), before, Timestamp(0)).facts(&wanted).assertion_used, is_used);
        }
    }

    #[test]
    fn what_a_client_got_for_itself_is_forgotten_with_its_token() {
        let sample = Sample::new(NOW);
        let mut known = state(&sample, &[Sample::known]);
        let granted = sample.granted_to_client();
        let Change::ClientGranted { grant, .. } = &granted[0] else { panic!() };
        let wanted = Wanted { grant: Some(grant.id), ..Wanted::default() };
        known.apply_all(granted.clone(), NOW).unwrap();
        assert!(known.apply_all(granted.clone(), NOW).is_err(), "once");
        assert!(known.facts(&wanted).grant_lives());
        for (after, is_there) in [(3600, true), (3601, false)] {
            let state = swept(known.clone(), NOW + Seconds(after), Timestamp(0));
            assert_eq!(state.facts(&wanted).grant.is_some(), is_there, "{after}");
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
    fn r22_a_client_counts_as_used_when_it_gets_a_token_and_not_only_when_people_say_yes() {
        let sample = Sample::new(NOW);
        let mut used = state(&sample, &[Sample::known, Sample::approved, Sample::redeemed]);
        let later = NOW + Seconds(40 * 86_400);
        let mut rotated = sample.rotated(sample.family.current, crate::secret::TokenHash::of(b"r"));
        for change in &mut rotated {
            if let Change::RefreshRotated { access, .. } = change {
                (access.issued, access.expires) = (later, later + Seconds(60));
            }
        }
        used.apply_all(rotated, later).unwrap();
        // The grant is gone, the use is remembered.
        used.apply_all(vec![Change::GrantRevoked { grant: sample.grant.id, cause: RevocationCause::User }], later)
            .unwrap();
        let forgotten = later + Seconds(86_400);
        assert_eq!(swept(used.clone(), forgotten, later).clients().len(), 1);
        let after = later + Seconds(1);
        let gone = swept(swept(used, forgotten, Timestamp(0)), forgotten, after);
        assert_eq!((gone.grants().len(), gone.clients().len()), (0, 0));
    }

    #[test]
    fn reg_18_too_many_unused_clients_push_out_the_oldest_and_nobody_who_is_signing_in() {
        let mut state = State::default();
        for n in 0..20u64 {
            let mut sample = Sample::new(NOW);
            sample.client.issued_at = NOW + Seconds(n * 100);
            state.apply_all(vec![Change::ClientRegistered(sample.client)], NOW).unwrap();
        }
        let now = NOW + Seconds(2000);
        let left = |most_unused, unused| {
            let care = ClientCare { unused: Seconds(unused), most_unused };
            let mut state = state.clone();
            let unused_clients = state.unused_before(now, &care);
            state.apply_all(vec![Change::Swept { before: now, unused_clients }], now).unwrap();
            state.clients().len()
        };
        assert_eq!(left(20, 10_000), 20);
        assert_eq!(left(10, 10_000), 16, "10, and 6 of the last ten minutes");
        assert_eq!(left(0, 10_000), 6, "those of the last ten minutes");
        assert_eq!(left(20, 1000), 10);
        assert_eq!(left(10, 1000), 10);
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
