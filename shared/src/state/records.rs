//! The state as a list of records: what a snapshot holds.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::apply::State;
use super::entries::{ClientEntry, CredentialEntry, GrantEntry, LinkEntry, RefreshEntry, UsedAssertion, UserCodeEntry};
use super::link::Link;
use super::passkey::Passkey;
use super::record::{
    Access, Client, Code, Device, DeviceStage, Family, Grant, InitialToken, PublicKey, Pushed, Session, SetupLink, User,
};
use super::tools::Announcement;
use crate::secret::TokenHash;
use crate::time::Timestamp;
use crate::uri::Issuer;

/// One record, borrowed to be written.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Record<'a> {
    /// A client.
    Client(&'a Client),
    /// A person.
    User(&'a User),
    /// A logged-in browser.
    Session(&'a Session),
    /// A code.
    Code(&'a Code),
    /// A grant.
    Grant(&'a Grant),
    /// A family of refresh tokens.
    Family(&'a Family),
    /// An access token.
    Access(&'a Access),
    /// A public key.
    Key(&'a PublicKey),
    /// The open set-up link.
    Setup(&'a SetupLink),
    /// An issuer, and since when it is declared.
    Issuer(&'a Issuer, Timestamp),
    /// A token for registering.
    Initial(&'a InitialToken),
    /// A client assertion that was used, and when it ends.
    Assertion(TokenHash, Timestamp),
    /// A device that waits for a person.
    Device(&'a Device),
    /// A pushed authorization request.
    Pushed(&'a Pushed),
    /// The tools of a server.
    Tools(&'a Announcement),
}

/// One record, read. The same names as [`Record`]'s; a test holds them together.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnedRecord {
    /// A client.
    Client(Client),
    /// A person.
    User(User),
    /// A logged-in browser.
    Session(Session),
    /// A code.
    Code(Code),
    /// A grant.
    Grant(Grant),
    /// A family of refresh tokens.
    Family(Family),
    /// An access token.
    Access(Access),
    /// A public key.
    Key(PublicKey),
    /// The open set-up link.
    Setup(SetupLink),
    /// An issuer, and since when it is declared.
    Issuer(Issuer, Timestamp),
    /// A token for registering.
    Initial(InitialToken),
    /// A client assertion that was used, and when it ends.
    Assertion(TokenHash, Timestamp),
    /// A device that waits for a person.
    Device(Device),
    /// A pushed authorization request.
    Pushed(Pushed),
    /// The tools of a server.
    Tools(Announcement),
}

impl OwnedRecord {
    /// The record, borrowed.
    pub fn as_record(&self) -> Record<'_> {
        match self {
            Self::Client(client) => Record::Client(client),
            Self::User(user) => Record::User(user),
            Self::Session(session) => Record::Session(session),
            Self::Code(code) => Record::Code(code),
            Self::Grant(grant) => Record::Grant(grant),
            Self::Family(family) => Record::Family(family),
            Self::Access(access) => Record::Access(access),
            Self::Key(key) => Record::Key(key),
            Self::Setup(link) => Record::Setup(link),
            Self::Issuer(issuer, at) => Record::Issuer(issuer, *at),
            Self::Initial(token) => Record::Initial(token),
            Self::Assertion(name, expires) => Record::Assertion(*name, *expires),
            Self::Device(device) => Record::Device(device),
            Self::Pushed(pushed) => Record::Pushed(pushed),
            Self::Tools(tools) => Record::Tools(tools),
        }
    }
}

impl State {
    /// Every record, in no particular order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let people = self.users.values().map(Record::User).chain(self.sessions.values().map(Record::Session));
        let clients = self.clients.values().map(|entry| Record::Client(entry.client()));
        let codes = self.codes.values().map(Record::Code);
        let grants = self.grants.values().map(|entry| Record::Grant(&entry.grant));
        let families = self.grants.values().filter_map(GrantEntry::family).map(Record::Family);
        let access = self.access.values().map(Record::Access);
        let keys = self.keys.values().map(Record::Key).chain(self.setup.values().map(Record::Setup));
        let issuers = self.issuers.iter().map(|(issuer, at)| Record::Issuer(issuer, *at));
        let issuers = issuers.chain(self.initial.values().map(Record::Initial));
        let asked = self.devices.values().map(Record::Device).chain(self.pushed.values().map(Record::Pushed));
        let assertions = self.assertions.values().map(|used| Record::Assertion(used.name, used.expires));
        let tools = self.announcements.values().map(Record::Tools);
        let named = keys.chain(issuers).chain(tools).chain(asked).chain(assertions);
        people.chain(clients).chain(codes).chain(grants).chain(families).chain(access).chain(named)
    }

    /// A copy to write records from while this state goes on changing. It shares all that does not change.
    /// Each table by name: `..self.clone()` would copy whose the grants are, a tenth of a second for a million.
    #[must_use]
    pub fn frozen(&self) -> Self {
        Self {
            clients: self.clients.clone(),
            users: self.users.clone(),
            sessions: self.sessions.clone(),
            codes: self.codes.clone(),
            grants: self.grants.frozen(),
            access: self.access.clone(),
            keys: self.keys.clone(),
            setup: self.setup.clone(),
            issuers: self.issuers.clone(),
            initial: self.initial.clone(),
            devices: self.devices.clone(),
            pushed: self.pushed.clone(),
            assertions: self.assertions.clone(),
            user_codes: self.user_codes.clone(),
            credentials: self.credentials.clone(),
            links: self.links.clone(),
            announcements: self.announcements.clone(),
            refresh: self.refresh.clone(),
        }
    }
}

/// A state on its way from a list of records.
#[derive(Debug, Default)]
pub struct Restoring {
    state: State,
    /// Families that came before their grants.
    early: Vec<Family>,
}

impl Restoring {
    /// Puts a record in its place; false when it is there already.
    pub fn add(&mut self, record: OwnedRecord) -> bool {
        let state = &mut self.state;
        match record {
            OwnedRecord::Client(client) => state.clients.insert(ClientEntry::new(client, 0)).is_none(),
            OwnedRecord::User(user) => Self::add_user(state, user),
            OwnedRecord::Session(session) => state.sessions.insert(session).is_none(),
            OwnedRecord::Code(code) => state.codes.insert(code).is_none(),
            OwnedRecord::Grant(grant) => state.grants.restore(GrantEntry::new(grant)).is_none(),
            OwnedRecord::Family(family) => self.add_family(family),
            OwnedRecord::Access(access) => state.access.insert(access).is_none(),
            OwnedRecord::Key(key) => state.keys.insert(key).is_none(),
            OwnedRecord::Setup(link) => state.setup.insert((), link).is_none(),
            OwnedRecord::Issuer(issuer, at) => state.issuers.insert(issuer, at).is_none(),
            OwnedRecord::Initial(token) => state.initial.insert(token).is_none(),
            OwnedRecord::Assertion(name, expires) => state.assertions.insert(UsedAssertion { name, expires }).is_none(),
            OwnedRecord::Pushed(pushed) => state.pushed.insert(pushed).is_none(),
            OwnedRecord::Device(device) => {
                state.user_codes.insert(UserCodeEntry { code: device.user_code, device: device.hash });
                state.devices.insert(device).is_none()
            }
            OwnedRecord::Tools(tools) => state.announcements.insert(tools.resource.clone(), tools).is_none(),
        }
    }

    /// Two people with one passkey or one link are no state of ours.
    fn add_user(state: &mut State, user: User) -> bool {
        let entry = |passkey: &Passkey| CredentialEntry { credential: passkey.id.hash(), user: user.name.clone() };
        let are_new = user.passkeys.iter().map(entry).all(|entry| state.credentials.insert(entry).is_none());
        let link = |link: &Link| LinkEntry { link: link.hash(), user: user.name.clone() };
        let are_new = are_new && user.links.iter().map(link).all(|entry| state.links.insert(entry).is_none());
        are_new && state.users.insert(user).is_none()
    }

    fn add_family(&mut self, family: Family) -> bool {
        if !self.state.grants.contains_key(&family.grant) {
            self.early.push(family);
            return true;
        }
        for hash in family.tokens() {
            self.state.refresh.insert(RefreshEntry { token: *hash, grant: family.grant });
        }
        let mut is_new = false;
        self.state.grants.change(family.grant, |entry| is_new = entry.family.replace(Arc::new(family)).is_none());
        is_new
    }

    /// The state, with what follows from its records; `None` when a family belongs to no grant, or two to one.
    #[must_use]
    pub fn finish(mut self) -> Option<State> {
        for family in std::mem::take(&mut self.early) {
            if !self.state.grants.contains_key(&family.grant) || !self.add_family(family) {
                return None;
            }
        }
        let Self { mut state, .. } = self;
        let codes = state.codes.values().map(|code| code.grant);
        let devices = state.devices.values().filter_map(|device| match device.stage {
            DeviceStage::Approved(grant) => Some(grant),
            _ => None,
        });
        let holders: Vec<_> = codes.chain(state.access.values().map(|access| access.grant)).chain(devices).collect();
        for grant in holders {
            state.grants.change(grant, |entry| entry.holders += 1);
        }
        for entry in state.grants.values() {
            state.clients.change(&entry.grant.client, |client| client.grants += 1);
        }
        state.grants.index();
        Some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Scopes;
    use crate::state::{AnsweredChallenge, Change, Effect, Tool};
    use crate::store::conformance::Sample;
    use crate::token::KeySet;

    #[test]
    fn a_state_of_every_kind_of_record_survives_its_list() {
        let now = Timestamp(5);
        let sample = Sample::new(now);
        let session = Session {
            hash: TokenHash::of(b"s"),
            user: sample.user.name.clone(),
            created: now,
            expires: now,
            grants: Vec::new(),
        };
        let (name, scopes) = ("whoami".parse().unwrap(), sample.grant.scopes.clone());
        let tool = Tool { name, title: "Who am I".into(), effect: Effect::Read, scopes, print: None };
        let mut changes = sample.known();
        changes.extend(sample.approved());
        changes.extend(sample.redeemed());
        changes.extend(sample.rotated(sample.family.current, TokenHash::of(b"r")));
        changes.extend([
            Change::SessionOpened(session),
            Change::KeyPublished(KeySet::generate(now).unwrap().public()),
            Change::SetupOffered(SetupLink { hash: TokenHash::of(b"l"), expires: now }),
            Change::IssuerDeclared("http://localhost:3000".parse().unwrap()),
            Change::DeviceAsked(sample.device()),
            Change::PasskeyAdded {
                user: sample.user.name.clone(),
                passkey: sample.passkey(),
                challenge: AnsweredChallenge { hash: TokenHash::of(b"c"), expires: now },
            },
            Change::RequestPushed(sample.pushed()),
            Change::PushedOpened { hash: sample.pushed().hash, until: now },
            Change::AssertionUsed { name: TokenHash::of(b"a"), expires: now },
            Change::InitialTokenIssued(InitialToken {
                hash: TokenHash::of(b"i"),
                note: None,
                created: now,
                expires: now,
                uses: 2,
            }),
            Change::ToolsAnnounced {
                resource: sample.grant.resource.clone(),
                tools: vec![tool],
                scopes: Scopes::default(),
            },
        ]);
        let mut state = State::default();
        state.apply_all(changes, now).unwrap();
        let lines: Vec<_> = state.records().map(|record| serde_json::to_string(&record).unwrap()).collect();
        // Whatever the order: the one of the file, and its reverse, with families before their grants.
        for backwards in [false, true] {
            let mut read = Restoring::default();
            let mut lines = lines.clone();
            if backwards {
                lines.reverse();
            }
            for text in lines {
                let record: OwnedRecord = serde_json::from_str(&text).unwrap();
                assert!(read.add(record), "{text}");
            }
            assert_eq!(read.finish().unwrap(), state);
        }
        for text in &lines {
            let mut read = Restoring::default();
            let twice = lines.iter().chain([text]).map(|text| serde_json::from_str(text).unwrap());
            let added = twice.fold(0, |added, record| added + usize::from(read.add(record)));
            assert_eq!(added, lines.len(), "a second one is noticed: {text}");
        }
        assert_eq!(state.frozen().records().count(), lines.len());
    }
}
