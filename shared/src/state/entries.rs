//! Records as the tables hold them: with what follows from other records, so that no commit has to search for it.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash, RandomState};
use std::ops::Deref;
use std::sync::Arc;

use super::record::{
    Access, Client, ClientOrigin, Code, Device, Family, FamilyStage, Grant, GrantStage, InitialToken, PublicKey,
    Pushed, Session, User, UserStage,
};
use super::table::{Keyed, NEVER, Table, Values};
use crate::id::{ClientId, GrantId, KeyId, TokenId, UserName};
use crate::secret::TokenHash;
use crate::time::Timestamp;

/// What a change needs of a table: one entry looked up, one entry exchanged.
pub(super) trait Entries {
    type Key;
    type Value;

    fn find(&self, key: &Self::Key) -> Option<&Self::Value>;

    /// Puts what is in `value` (or nothing) at `key`, and what was there into `value`.
    fn exchange(&mut self, key: &Self::Key, value: &mut Option<Self::Value>);
}

impl<R: Keyed> Entries for Table<R> {
    type Key = R::Key;
    type Value = R;

    fn find(&self, key: &R::Key) -> Option<&R> {
        self.get(key)
    }

    fn exchange(&mut self, key: &R::Key, value: &mut Option<R>) {
        *value = match value.take() {
            Some(record) => self.insert(record),
            None => self.remove(key),
        };
    }
}

impl<K: Clone + Eq + Hash, V> Entries for HashMap<K, V> {
    type Key = K;
    type Value = V;

    fn find(&self, key: &K) -> Option<&V> {
        self.get(key)
    }

    fn exchange(&mut self, key: &K, value: &mut Option<V>) {
        *value = match value.take() {
            Some(value) => self.insert(key.clone(), value),
            None => self.remove(key),
        };
    }
}

/// A client, and how many grants there are for it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClientEntry {
    client: Arc<Client>,
    pub(super) grants: u32,
}

impl ClientEntry {
    pub(super) fn new(client: Client, grants: u32) -> Self {
        Self { client: Arc::new(client), grants }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }
}

impl Deref for ClientEntry {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Keyed for ClientEntry {
    type Key = ClientId;

    fn key(&self) -> &ClientId {
        &self.client.id
    }

    /// A client that came by itself and that no grant needs is looked at from when it was last in use.
    fn due(&self) -> Timestamp {
        match self.client.origin {
            ClientOrigin::Operator => NEVER,
            _ if self.grants > 0 => NEVER,
            _ => self.client.last_use(),
        }
    }
}

/// A grant, its refresh tokens, and how many codes, devices and access tokens hang from it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GrantEntry {
    pub(super) grant: Grant,
    pub(super) family: Option<Arc<Family>>,
    pub(super) holders: u32,
}

impl GrantEntry {
    pub(super) fn new(grant: Grant) -> Self {
        Self { grant, family: None, holders: 0 }
    }

    pub(super) fn family(&self) -> Option<&Family> {
        self.family.as_deref()
    }
}

impl Deref for GrantEntry {
    type Target = Grant;

    fn deref(&self) -> &Grant {
        &self.grant
    }
}

impl Keyed for GrantEntry {
    type Key = GrantId;

    fn key(&self) -> &GrantId {
        &self.grant.id
    }

    /// What nothing hangs from has ended with its refresh tokens.
    fn due(&self) -> Timestamp {
        match (self.holders, self.grant.stage, self.family()) {
            (1.., _, _) => NEVER,
            (0, GrantStage::Revoked, _) | (0, _, None) => Timestamp(0),
            (0, _, Some(family)) if family.stage == FamilyStage::Dead => Timestamp(0),
            (0, _, Some(family)) => family.expires,
        }
    }
}

/// Which grant a refresh token belongs to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RefreshEntry {
    pub(super) token: TokenHash,
    pub(super) grant: GrantId,
}

impl RefreshEntry {
    /// For the current token of a family.
    pub(super) fn new(family: &Family) -> Self {
        Self { token: family.current, grant: family.grant }
    }
}

impl Keyed for RefreshEntry {
    type Key = TokenHash;

    fn key(&self) -> &TokenHash {
        &self.token
    }
}

impl Keyed for User {
    type Key = UserName;

    fn key(&self) -> &UserName {
        &self.name
    }

    /// Whoever can log in is always of interest: whether there is anybody decides whether the set-up link works.
    fn due(&self) -> Timestamp {
        if self.can_log_in() && self.stage != UserStage::Removed { Timestamp(0) } else { NEVER }
    }
}

impl Keyed for Session {
    type Key = TokenHash;

    fn key(&self) -> &TokenHash {
        &self.hash
    }

    fn due(&self) -> Timestamp {
        self.expires
    }
}

impl Keyed for Code {
    type Key = TokenHash;

    fn key(&self) -> &TokenHash {
        &self.hash
    }

    fn due(&self) -> Timestamp {
        self.expires
    }
}

impl Keyed for Access {
    type Key = TokenId;

    fn key(&self) -> &TokenId {
        &self.id
    }

    fn due(&self) -> Timestamp {
        self.expires
    }
}

impl Keyed for InitialToken {
    type Key = TokenHash;

    fn key(&self) -> &TokenHash {
        &self.hash
    }

    fn due(&self) -> Timestamp {
        self.expires
    }
}

impl Keyed for PublicKey {
    type Key = KeyId;

    fn key(&self) -> &KeyId {
        &self.id
    }

    fn due(&self) -> Timestamp {
        self.retires.unwrap_or(NEVER)
    }
}

/// Something that is good once and was used: a client assertion, a page that was answered with no.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct UsedAssertion {
    pub(super) name: TokenHash,
    pub(super) expires: Timestamp,
}

impl Keyed for UsedAssertion {
    type Key = TokenHash;

    fn key(&self) -> &TokenHash {
        &self.name
    }

    fn due(&self) -> Timestamp {
        self.expires
    }
}

/// Whose passkey a credential id names.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CredentialEntry {
    pub(super) credential: TokenHash,
    pub(super) user: UserName,
}

impl Keyed for CredentialEntry {
    type Key = TokenHash;

    fn key(&self) -> &TokenHash {
        &self.credential
    }
}

/// Whose account a provider's person signs in to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LinkEntry {
    pub(super) link: TokenHash,
    pub(super) user: UserName,
}

impl Keyed for LinkEntry {
    type Key = TokenHash;

    fn key(&self) -> &TokenHash {
        &self.link
    }
}

/// Which device shows a user code.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct UserCodeEntry {
    pub(super) code: TokenHash,
    pub(super) device: TokenHash,
}

impl Keyed for UserCodeEntry {
    type Key = TokenHash;

    fn key(&self) -> &TokenHash {
        &self.code
    }
}

impl Keyed for Device {
    type Key = TokenHash;

    fn key(&self) -> &TokenHash {
        &self.hash
    }

    /// Some time after its code, so that a device that comes late is told so.
    fn due(&self) -> Timestamp {
        self.expires + Self::REMEMBERED
    }
}

impl Keyed for Pushed {
    type Key = TokenHash;

    fn key(&self) -> &TokenHash {
        &self.hash
    }

    fn due(&self) -> Timestamp {
        self.expires
    }
}

/// The grants, and whose they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Grants {
    table: Table<GrantEntry>,
    /// A hash of each grant's user and one of its client, with its name. Whoever finds one compares the record.
    owners: BTreeSet<(u64, GrantId)>,
    hasher: RandomState,
}

/// What is hashed for an owner: people and clients may have the same names.
#[derive(Hash)]
enum Owner<'a> {
    User(&'a UserName),
    Client(&'a ClientId),
}

impl Grants {
    pub(super) fn get(&self, id: &GrantId) -> Option<&GrantEntry> {
        self.table.get(id)
    }

    pub(super) fn contains_key(&self, id: &GrantId) -> bool {
        self.table.contains_key(id)
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn values(&self) -> Values<'_, GrantEntry> {
        self.table.values()
    }

    pub(super) fn earliest(&self) -> Timestamp {
        self.table.earliest()
    }

    pub(super) fn due_before(&self, before: Timestamp, limit: usize) -> Vec<&GrantEntry> {
        self.table.due_before(before, limit)
    }

    /// The grants of a person.
    pub(super) fn of_user(&self, user: &UserName) -> Vec<GrantId> {
        self.of(&Owner::User(user), |grant| grant.user.as_ref() == Some(user))
    }

    /// The grants for a client.
    pub(super) fn of_client(&self, client: &ClientId) -> Vec<GrantId> {
        self.of(&Owner::Client(client), |grant| grant.client == *client)
    }

    fn of(&self, owner: &Owner<'_>, is_meant: impl Fn(&Grant) -> bool) -> Vec<GrantId> {
        let hash = self.hasher.hash_one(owner);
        let (first, last) = (GrantId(uuid::Uuid::nil()), GrantId(uuid::Uuid::max()));
        let found = self.owners.range((hash, first)..=(hash, last)).map(|(_, id)| *id);
        found.filter(|id| self.table.get(id).is_some_and(|entry| is_meant(&entry.grant))).collect()
    }

    fn owners_of(&self, grant: &Grant) -> impl Iterator<Item = (u64, GrantId)> + use<> {
        let hash = |owner: Owner<'_>| (self.hasher.hash_one(owner), grant.id);
        let user = grant.user.as_ref().map(|user| hash(Owner::User(user)));
        [Some(hash(Owner::Client(&grant.client))), user].into_iter().flatten()
    }

    pub(super) fn insert(&mut self, entry: GrantEntry) -> Option<GrantEntry> {
        // A grant's person and client never change.
        if !self.table.contains_key(&entry.grant.id) {
            self.owners.extend(self.owners_of(&entry.grant));
        }
        self.table.insert(entry)
    }

    /// Inserts an entry of a snapshot; [`index`](Self::index) is called when all are there.
    pub(super) fn restore(&mut self, entry: GrantEntry) -> Option<GrantEntry> {
        self.table.insert(entry)
    }

    /// Notes whose grants they are, all at once: quicker than one by one, and denser.
    pub(super) fn index(&mut self) {
        self.owners = self.table.values().flat_map(|entry| self.owners_of(&entry.grant)).collect();
    }

    fn remove(&mut self, id: &GrantId) -> Option<GrantEntry> {
        let removed = self.table.remove(id)?;
        for owner in self.owners_of(&removed.grant) {
            self.owners.remove(&owner);
        }
        Some(removed)
    }

    /// Changes an entry if it is there, but neither its name nor its person nor its client.
    pub(super) fn change(&mut self, id: GrantId, change: impl FnOnce(&mut GrantEntry)) {
        self.table.change(&id, change);
    }

    /// The grants without whose they are, for a copy that is only written out.
    pub(super) fn frozen(&self) -> Self {
        Self { table: self.table.clone(), owners: BTreeSet::new(), hasher: self.hasher.clone() }
    }
}

/// Whose grants they are follows from the grants.
impl PartialEq for Grants {
    fn eq(&self, other: &Self) -> bool {
        self.table == other.table
    }
}

impl Entries for Grants {
    type Key = GrantId;
    type Value = GrantEntry;

    fn find(&self, key: &GrantId) -> Option<&GrantEntry> {
        self.get(key)
    }

    fn exchange(&mut self, key: &GrantId, value: &mut Option<GrantEntry>) {
        *value = match value.take() {
            Some(entry) => self.insert(entry),
            None => self.remove(key),
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::TokenHash;
    use crate::state::{Change, Restoring, RevocationCause, State};
    use crate::store::conformance::Sample;
    use crate::time::{Seconds, Timestamp};

    const START: Timestamp = Timestamp(1_000_000);

    /// One thing that may happen to one of a few samples. Many of them conflict, which is part of the history.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Known,
        Approved,
        Redeemed,
        Rotated(u8),
        AccessRevoked,
        GrantRevoked,
        ClientRemoved,
        PasswordChanged,
        LoggedIn,
        Swept,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => Just(Event::Known),
            4 => Just(Event::Approved),
            4 => Just(Event::Redeemed),
            4 => (0..4_u8).prop_map(Event::Rotated),
            1 => Just(Event::AccessRevoked),
            1 => Just(Event::GrantRevoked),
            1 => Just(Event::ClientRemoved),
            1 => Just(Event::PasswordChanged),
            1 => Just(Event::LoggedIn),
            3 => Just(Event::Swept),
        ]
    }

    fn changes(event: Event, sample: &Sample, now: Timestamp) -> Vec<Change> {
        let token = |turn: u8| if turn == 0 { sample.family.current } else { TokenHash::of(&[turn]) };
        match event {
            Event::Known => sample.known(),
            Event::Approved => sample.approved(),
            Event::Redeemed => sample.redeemed(),
            Event::Rotated(turn) => sample.rotated(token(turn), token(turn + 1)),
            Event::AccessRevoked => vec![Change::AccessRevoked(sample.access.id)],
            Event::GrantRevoked => {
                vec![Change::GrantRevoked { grant: sample.grant.id, cause: RevocationCause::Operator }]
            }
            Event::ClientRemoved => vec![Change::ClientRemoved(sample.client.id.clone())],
            Event::PasswordChanged => {
                vec![Change::PasswordChanged { user: sample.user.name.clone(), password: "x".to_owned() }]
            }
            Event::LoggedIn => {
                let user = sample.user.name.clone();
                let hash = TokenHash::of(user.as_str().as_bytes());
                vec![Change::SessionOpened(Session {
                    hash,
                    user,
                    created: now,
                    expires: now + Seconds(600),
                    grants: Vec::new(),
                })]
            }
            Event::Swept => vec![Change::Swept { before: now, unused_clients: Timestamp(now.0 - 3000) }],
        }
    }

    /// The state as it is rebuilt from its records.
    fn rebuilt(state: &State) -> State {
        let mut restoring = Restoring::default();
        for record in state.records() {
            let text = serde_json::to_string(&record).unwrap();
            assert!(restoring.add(serde_json::from_str(&text).unwrap()), "{text}");
        }
        restoring.finish().unwrap()
    }

    /// What a sweep must leave, read off the records one by one.
    fn is_swept(state: &State, before: Timestamp) -> bool {
        state.codes.values().all(|code| code.expires >= before)
            && state.access.values().all(|access| access.expires >= before)
            && state.sessions.values().all(|session| session.expires >= before)
            && state.grants.values().all(|entry| {
                let id = entry.grant.id;
                let needed = state.codes.values().any(|code| code.grant == id)
                    || state.access.values().any(|access| access.grant == id);
                let refreshes = entry.family().is_some_and(|family| {
                    family.stage == FamilyStage::Live
                        && family.expires >= before
                        && entry.grant.stage != GrantStage::Revoked
                });
                needed || refreshes
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_follows_from_records_is_kept_right_through_every_history(
            events in prop::collection::vec((event(), 0..4_usize, 0..900_u64), 1..120),
        ) {
            let samples: Vec<_> = (0..4).map(|_| Sample::new(START)).collect();
            let (mut state, mut now) = (State::default(), START);
            for (event, who, later) in events {
                now = now + Seconds(later);
                let before = state.clone();
                match state.apply_all(changes(event, &samples[who], now), now) {
                    Err(_) => prop_assert_eq!(&state, &before, "a conflict leaves nothing behind: {:?}", event),
                    Ok(mut undo) => {
                        let after = state.clone();
                        state.revert(&mut undo);
                        prop_assert_eq!(&state, &before, "{:?} can be taken back", event);
                        state.redo(&mut undo);
                        prop_assert_eq!(&state, &after, "{:?} can be done again", event);
                    }
                }
                if matches!(event, Event::Swept) {
                    prop_assert!(is_swept(&state, now));
                    prop_assert!(!state.is_sweepable(now, Timestamp(now.0 - 3000)));
                }
            }
            prop_assert_eq!(rebuilt(&state), state);
        }
    }
}
