//! The state as a list of records: what a snapshot holds.

use serde::{Deserialize, Serialize};

use super::apply::State;
use super::record::{Access, Client, Code, Family, Grant, InitialToken, PublicKey, Session, SetupLink, User};
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
}

impl State {
    /// Every record, in no particular order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let people = self.users.values().map(Record::User).chain(self.sessions.values().map(Record::Session));
        let clients = self.clients.values().map(Record::Client).chain(self.codes.values().map(Record::Code));
        let grants = self.grants.values().map(Record::Grant).chain(self.families.values().map(Record::Family));
        let keys = self.keys.values().map(Record::Key).chain(self.setup.values().map(Record::Setup));
        let issuers = self.issuers.iter().map(|(issuer, at)| Record::Issuer(issuer, *at));
        let issuers = issuers.chain(self.initial.values().map(Record::Initial));
        people.chain(clients).chain(grants).chain(self.access.values().map(Record::Access)).chain(keys).chain(issuers)
    }

    /// Puts a record of a snapshot in its place; false when it is there already.
    pub fn restore(&mut self, record: OwnedRecord) -> bool {
        match record {
            OwnedRecord::Client(client) => self.clients.insert(client.id.clone(), client).is_none(),
            OwnedRecord::User(user) => self.users.insert(user.name.clone(), user).is_none(),
            OwnedRecord::Session(session) => self.sessions.insert(session.hash, session).is_none(),
            OwnedRecord::Code(code) => self.codes.insert(code.hash, code).is_none(),
            OwnedRecord::Grant(grant) => self.grants.insert(grant.id, grant).is_none(),
            OwnedRecord::Family(family) => self.restore_family(family),
            OwnedRecord::Access(access) => self.access.insert(access.id, access).is_none(),
            OwnedRecord::Key(key) => self.keys.insert(key.id.clone(), key).is_none(),
            OwnedRecord::Setup(link) => self.setup.insert((), link).is_none(),
            OwnedRecord::Initial(token) => self.initial.insert(token.hash, token).is_none(),
            OwnedRecord::Issuer(issuer, at) => self.issuers.insert(issuer, at).is_none(),
        }
    }

    fn restore_family(&mut self, family: Family) -> bool {
        for hash in family.tokens() {
            self.refresh.insert(*hash, family.grant);
        }
        self.families.insert(family.grant, family).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::TokenHash;
    use crate::state::Change;
    use crate::store::conformance::Sample;
    use crate::token::KeySet;

    #[test]
    fn a_state_of_every_kind_of_record_survives_its_list() {
        let now = Timestamp(5);
        let sample = Sample::new(now);
        let session = Session { hash: TokenHash::of(b"s"), user: sample.user.name.clone(), created: now, expires: now };
        let mut changes = sample.known();
        changes.extend(sample.approved());
        changes.extend(sample.redeemed());
        changes.extend(sample.rotated(sample.family.current, TokenHash::of(b"r")));
        changes.extend([
            Change::SessionOpened(session),
            Change::KeyPublished(KeySet::generate(now).unwrap().public()),
            Change::SetupOffered(SetupLink { hash: TokenHash::of(b"l"), expires: now }),
            Change::IssuerDeclared("http://localhost:3000".parse().unwrap()),
            Change::InitialTokenIssued(InitialToken {
                hash: TokenHash::of(b"i"),
                note: None,
                created: now,
                expires: now,
                uses: 2,
            }),
        ]);
        let mut state = State::default();
        state.apply_all(changes, now).unwrap();
        let mut read = State::default();
        for record in state.records() {
            let text = serde_json::to_string(&record).unwrap();
            let record: OwnedRecord = serde_json::from_str(&text).unwrap();
            assert!(read.restore(record.clone()), "{text}");
            assert!(!read.clone().restore(record), "a second one is noticed: {text}");
        }
        assert_eq!(read, state);
    }
}
