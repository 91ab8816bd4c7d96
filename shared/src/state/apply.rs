//! State × Change → State or Conflict: the one function that changes anything.

use std::collections::HashMap;
use std::sync::Arc;

use super::change::{Change, Expired};
use super::entries::{
    ClientEntry, CredentialEntry, Entries, GrantEntry, Grants, LinkEntry, RefreshEntry, UsedAssertion, UserCodeEntry,
};
use super::record::{
    Access, Answered, Client, Code, CodeStage, Device, DeviceStage, Family, FamilyStage, Grant, GrantStage,
    InitialToken, PublicKey, Pushed, Rotated, Session, SetupLink, User, UserStage,
};
use super::table::Table;
use super::tools::Announcement;
use crate::id::{ClientId, GrantId, KeyId, TokenId, UserName};
use crate::secret::TokenHash;
use crate::time::Timestamp;
use crate::uri::{Issuer, Resource};

/// Why a change does not fit: somebody else was there first. Decide again on the new facts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Conflict {
    /// What would be made is there already.
    #[error("{0} exists already")]
    Exists(&'static str),
    /// What would be changed is not there.
    #[error("{0} is unknown")]
    Missing(&'static str),
    /// It has moved on.
    #[error("{0} is past that stage")]
    Stage(&'static str),
}

/// Everything that is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub(super) clients: Table<ClientEntry>,
    pub(super) users: Table<User>,
    pub(super) sessions: Table<Session>,
    pub(super) codes: Table<Code>,
    pub(super) grants: Grants,
    pub(super) access: Table<Access>,
    pub(super) keys: Table<PublicKey>,
    pub(super) setup: HashMap<(), SetupLink>,
    pub(super) issuers: HashMap<Issuer, Timestamp>,
    pub(super) initial: Table<InitialToken>,
    pub(super) devices: Table<Device>,
    pub(super) pushed: Table<Pushed>,
    pub(super) assertions: Table<UsedAssertion>,
    /// Derived: which device shows a user code.
    pub(super) user_codes: Table<UserCodeEntry>,
    /// Derived: whose passkey a credential id names.
    pub(super) credentials: Table<CredentialEntry>,
    /// Derived: whose account a provider's person signs in to.
    pub(super) links: Table<LinkEntry>,
    pub(super) announcements: HashMap<Resource, Announcement>,
    /// Derived: which family a refresh token belongs to, the current one and the spent ones.
    pub(super) refresh: Table<RefreshEntry>,
}

/// What changes replaced, in order. [`State::revert`] puts it back, [`State::redo`] does them again.
#[derive(Debug, Default)]
pub struct Undo(Vec<Replaced>);

/// One entry of a table as it was before; between a revert and a redo, as it was after.
#[derive(Debug)]
pub(super) enum Replaced {
    Client(ClientId, Option<ClientEntry>),
    User(UserName, Option<User>),
    Session(TokenHash, Option<Session>),
    Code(TokenHash, Option<Code>),
    Grant(GrantId, Option<GrantEntry>),
    Access(TokenId, Option<Access>),
    Key(KeyId, Option<PublicKey>),
    Setup((), Option<SetupLink>),
    Issuer(Issuer, Option<Timestamp>),
    Initial(TokenHash, Option<InitialToken>),
    Assertion(TokenHash, Option<UsedAssertion>),
    Device(TokenHash, Option<Device>),
    Pushed(TokenHash, Option<Pushed>),
    UserCode(TokenHash, Option<UserCodeEntry>),
    Credential(TokenHash, Option<CredentialEntry>),
    Link(TokenHash, Option<LinkEntry>),
    Announcement(Resource, Option<Announcement>),
    Refresh(TokenHash, Option<RefreshEntry>),
}

/// Puts `value` (or nothing) at `key` and notes what was there.
pub(super) fn set<T: Entries>(
    table: &mut T,
    key: T::Key,
    value: Option<T::Value>,
    undo: &mut Undo,
    note: fn(T::Key, Option<T::Value>) -> Replaced,
) {
    let mut value = value;
    table.exchange(&key, &mut value);
    undo.0.push(note(key, value));
}

impl State {
    /// Applies a list of changes, whole or not at all. `at` is the second of the commit.
    ///
    /// # Errors
    /// The first conflict; the state is then as it was.
    pub fn apply_all(&mut self, changes: Vec<Change>, at: Timestamp) -> Result<Undo, Conflict> {
        let mut undo = Undo::default();
        for change in changes {
            if let Err(conflict) = self.apply(change, at, &mut undo) {
                self.revert(&mut undo);
                return Err(conflict);
            }
        }
        Ok(undo)
    }

    /// Takes changes back. Until then nothing else may change the state.
    pub fn revert(&mut self, undo: &mut Undo) {
        undo.0.iter_mut().rev().for_each(|replaced| self.exchange(replaced));
    }

    /// Does again what was taken back. Until then nothing else may change the state.
    pub fn redo(&mut self, undo: &mut Undo) {
        undo.0.iter_mut().for_each(|replaced| self.exchange(replaced));
    }

    fn exchange(&mut self, replaced: &mut Replaced) {
        match replaced {
            Replaced::Client(key, value) => self.clients.exchange(key, value),
            Replaced::User(key, value) => self.users.exchange(key, value),
            Replaced::Session(key, value) => self.sessions.exchange(key, value),
            Replaced::Code(key, value) => self.codes.exchange(key, value),
            Replaced::Grant(key, value) => self.grants.exchange(key, value),
            Replaced::Access(key, value) => self.access.exchange(key, value),
            Replaced::Key(key, value) => self.keys.exchange(key, value),
            Replaced::Setup(key, value) => self.setup.exchange(key, value),
            Replaced::Issuer(key, value) => self.issuers.exchange(key, value),
            Replaced::Refresh(key, value) => self.refresh.exchange(key, value),
            Replaced::Assertion(key, value) => self.assertions.exchange(key, value),
            Replaced::Device(key, value) => self.devices.exchange(key, value),
            Replaced::Pushed(key, value) => self.pushed.exchange(key, value),
            Replaced::UserCode(key, value) => self.user_codes.exchange(key, value),
            Replaced::Credential(key, value) => self.credentials.exchange(key, value),
            Replaced::Link(key, value) => self.links.exchange(key, value),
            Replaced::Initial(key, value) => self.initial.exchange(key, value),
            Replaced::Announcement(key, value) => self.announcements.exchange(key, value),
        }
    }

    fn apply(&mut self, change: Change, at: Timestamp, undo: &mut Undo) -> Result<(), Conflict> {
        match change {
            Change::IssuerDeclared(issuer) => {
                set(&mut self.issuers, issuer, Some(at), undo, Replaced::Issuer);
                Ok(())
            }
            Change::KeyPublished(key) => self.publish_key(key, undo),
            Change::KeyRetired { id, retires } => self.retire_key(&id, retires, undo),
            Change::SetupOffered(link) => {
                set(&mut self.setup, (), Some(link), undo, Replaced::Setup);
                Ok(())
            }
            Change::OwnerCreated { user, setup } => self.create_owner(user, &setup, undo),
            Change::UserCreated(user) => self.create_user(user, undo),
            Change::PasswordChanged { user, password } => self.change_password(&user, password, undo),
            Change::PasskeyAdded { user, passkey, challenge } => self.add_passkey(user, passkey, challenge, undo),
            Change::PasskeyUsed { passkey, counter, challenge } => {
                self.use_passkey(&passkey, counter, challenge, at, undo)
            }
            Change::PasskeyRemoved(passkey) => self.remove_passkey(&passkey, undo),
            Change::UpstreamLinked { user, link } => self.link(user, link, undo),
            Change::UpstreamUnlinked(link) => self.unlink(&link, undo),
            Change::UserStageSet { user, stage } => self.set_user_stage(&user, stage, undo),
            Change::SessionOpened(session) => self.open_session(session, undo),
            Change::SessionClosed(hash) => self.close_session(hash, undo),
            Change::SessionsClosed(user) => self.close_sessions(&user, undo),
            Change::ClientRegistered(client) => self.register_client(client, undo),
            Change::ClientUpdated(client) => self.update_client(client, undo),
            Change::InitialTokenIssued(token) => self.issue_initial_token(token, undo),
            Change::InitialTokenSpent(hash) => self.spend_initial_token(&hash, undo),
            Change::ClientDescribed(client) => self.describe_client(client, undo),
            Change::ClientRemoved(id) => self.remove_client(&id, undo),
            Change::Approved { grant, code, session } => self.approve(grant, code, session, undo),
            Change::Denied { page: None, .. } | Change::StoreRepaired { .. } => Ok(()),
            Change::Denied { page: Some(page), .. } => {
                vacant(&self.grants, &page.grant, "the grant")?;
                self.use_once(Answered::name(page.grant), page.until, "the answer", undo)
            }
            Change::AssertionUsed { name, expires } => {
                self.use_once(name, expires, "the use of the client assertion", undo)
            }
            Change::RequestPushed(pushed) => {
                vacant(&self.pushed, &pushed.hash, "the pushed request")?;
                set(&mut self.pushed, pushed.hash, Some(pushed), undo, Replaced::Pushed);
                Ok(())
            }
            Change::PushedOpened { hash, until } => self.open_pushed(hash, until, undo),
            Change::PushedSpent(hash) => {
                known(&self.pushed, &hash, "the pushed request")?;
                self.forget_pushed(hash, undo);
                Ok(())
            }
            Change::DeviceAsked(device) => self.ask_for_device(device, undo),
            Change::DeviceApproved { device, grant, session } => self.approve_device(device, grant, session, undo),
            Change::DeviceDenied { device, .. } => self.decide_device(device, DeviceStage::Denied, undo),
            Change::DeviceRedeemed { device, access, family } => self.redeem_device(device, access, family, undo),
            Change::ClientGranted { grant, access } => self.grant_to_client(grant, access, undo),
            Change::CodeRedeemed { code, access, family } => self.redeem(&code, access, family, undo),
            Change::RefreshRotated { grant, presented, successor, access } => {
                // The second of the decision, which the grace is counted from: that of the commit never goes back, and
                // a clock that was ahead for a while must not make a lost answer look like a replay.
                self.rotate(grant, presented, successor, access.issued, undo)?;
                self.issue(access, undo)
            }
            Change::RefreshRepeated { grant, presented, access } => self.repeat(grant, &presented, access, undo),
            Change::GrantRevoked { grant, .. } => self.revoke(grant, undo),
            Change::GrantsRevoked { user, client, .. } => self.revoke_all_of(&user, client.as_ref(), undo),
            Change::AccessRevoked(id) => {
                self.forget_access(id, undo);
                Ok(())
            }
            Change::TokenExchanged { subject, access } => self.allow_call(subject, access, undo),
            Change::CallSpent(id) => self.spend_call(id, undo),
            Change::ToolsAnnounced { resource, tools, scopes } => {
                self.announce(resource, tools, &scopes, at, undo);
                Ok(())
            }
            Change::Expired(what) => {
                match what {
                    Expired::Code(hash) => self.forget_code(hash, undo),
                    Expired::Session(hash) => self.forget_session(hash, undo),
                    Expired::Access(id) => self.forget_access(id, undo),
                    Expired::Refresh(grant) => self.end_family(grant, undo),
                }
                Ok(())
            }
            Change::Swept { before, unused_clients } => {
                self.sweep(before, unused_clients, undo);
                Ok(())
            }
        }
    }

    fn publish_key(&mut self, key: PublicKey, undo: &mut Undo) -> Result<(), Conflict> {
        vacant(&self.keys, &key.id, "the key")?;
        set(&mut self.keys, key.id.clone(), Some(key), undo, Replaced::Key);
        Ok(())
    }

    fn retire_key(&mut self, id: &KeyId, retires: Timestamp, undo: &mut Undo) -> Result<(), Conflict> {
        let mut key = known(&self.keys, id, "the key")?.clone();
        key.retires = Some(retires);
        set(&mut self.keys, id.clone(), Some(key), undo, Replaced::Key);
        Ok(())
    }

    fn create_owner(&mut self, user: User, setup: &TokenHash, undo: &mut Undo) -> Result<(), Conflict> {
        if self.setup.get(&()).is_none_or(|link| link.hash != *setup) {
            return Err(Conflict::Missing("the set-up link"));
        }
        set(&mut self.setup, (), None, undo, Replaced::Setup);
        self.create_user(user, undo)
    }

    fn create_user(&mut self, user: User, undo: &mut Undo) -> Result<(), Conflict> {
        // An account that nobody can log in with, made for approving without a person, may become a person's.
        let taken = |known: &User| known.can_log_in() || known.stage != UserStage::Enabled || user.password.is_none();
        if self.users.get(&user.name).is_some_and(taken) {
            return Err(Conflict::Exists("the account"));
        }
        self.note_links(&user, undo)?;
        set(&mut self.users, user.name.clone(), Some(user), undo, Replaced::User);
        Ok(())
    }

    /// Sessions and grants from before the change end with it (contract, REF-08).
    fn change_password(&mut self, name: &UserName, password: String, undo: &mut Undo) -> Result<(), Conflict> {
        let mut user = known(&self.users, name, "the account")?.clone();
        if user.stage == UserStage::Removed {
            return Err(Conflict::Stage("the account"));
        }
        user.password = Some(password);
        set(&mut self.users, name.clone(), Some(user), undo, Replaced::User);
        self.end_everything_of(name, undo)
    }

    fn set_user_stage(&mut self, name: &UserName, stage: UserStage, undo: &mut Undo) -> Result<(), Conflict> {
        let mut user = known(&self.users, name, "the account")?.clone();
        if user.stage == UserStage::Removed {
            return Err(Conflict::Stage("the account"));
        }
        user.stage = stage;
        if stage == UserStage::Removed {
            user.password = None;
            self.forget_credentials(&std::mem::take(&mut user.passkeys), undo);
            self.forget_links(&std::mem::take(&mut user.links), undo);
        }
        set(&mut self.users, name.clone(), Some(user), undo, Replaced::User);
        if stage == UserStage::Enabled { Ok(()) } else { self.end_everything_of(name, undo) }
    }

    /// Every session and every grant of a person.
    fn end_everything_of(&mut self, name: &UserName, undo: &mut Undo) -> Result<(), Conflict> {
        self.close_sessions(name, undo)?;
        self.revoke_all_of(name, None, undo)
    }

    fn close_sessions(&mut self, name: &UserName, undo: &mut Undo) -> Result<(), Conflict> {
        let theirs = self.sessions.values().filter(|session| session.user == *name);
        let sessions: Vec<_> = theirs.map(|session| session.hash).collect();
        sessions.into_iter().try_for_each(|hash| self.close_session(hash, undo))
    }

    /// Grants for as long as the login end with it. To end one that has ended is no conflict.
    fn close_session(&mut self, hash: TokenHash, undo: &mut Undo) -> Result<(), Conflict> {
        let grants = self.sessions.get(&hash).map(|session| session.grants.clone()).unwrap_or_default();
        set(&mut self.sessions, hash, None, undo, Replaced::Session);
        let known: Vec<_> = grants.into_iter().filter(|grant| self.grants.contains_key(grant)).collect();
        known.into_iter().try_for_each(|grant| self.revoke(grant, undo))
    }

    fn revoke_all_of(&mut self, name: &UserName, client: Option<&ClientId>, undo: &mut Undo) -> Result<(), Conflict> {
        let theirs = |id: &GrantId| {
            client.is_none_or(|client| self.grants.get(id).is_some_and(|entry| entry.grant.client == *client))
        };
        let grants: Vec<_> = self.grants.of_user(name).into_iter().filter(theirs).collect();
        grants.into_iter().try_for_each(|grant| self.revoke(grant, undo))
    }

    fn open_session(&mut self, session: Session, undo: &mut Undo) -> Result<(), Conflict> {
        vacant(&self.sessions, &session.hash, "the session")?;
        if known(&self.users, &session.user, "the account")?.stage != UserStage::Enabled {
            return Err(Conflict::Stage("the account"));
        }
        set(&mut self.sessions, session.hash, Some(session), undo, Replaced::Session);
        Ok(())
    }

    fn register_client(&mut self, client: Client, undo: &mut Undo) -> Result<(), Conflict> {
        vacant(&self.clients, &client.id, "the client")?;
        self.put_client(client, undo);
        Ok(())
    }

    fn remove_client(&mut self, id: &ClientId, undo: &mut Undo) -> Result<(), Conflict> {
        known(&self.clients, id, "the client")?;
        set(&mut self.clients, id.clone(), None, undo, Replaced::Client);
        self.grants.of_client(id).into_iter().try_for_each(|grant| self.revoke(grant, undo))
    }

    /// Notes that something that is good once was used; until `expires` it is not good again.
    fn use_once(
        &mut self,
        name: TokenHash,
        expires: Timestamp,
        what: &'static str,
        undo: &mut Undo,
    ) -> Result<(), Conflict> {
        vacant(&self.assertions, &name, what)?;
        set(&mut self.assertions, name, Some(UsedAssertion { name, expires }), undo, Replaced::Assertion);
        Ok(())
    }

    fn approve(
        &mut self,
        grant: Grant,
        code: Code,
        session: Option<TokenHash>,
        undo: &mut Undo,
    ) -> Result<(), Conflict> {
        vacant(&self.codes, &code.hash, "the code")?;
        self.consent(grant, session, undo)?;
        self.add_code(code, undo);
        Ok(())
    }

    /// A person's yes, whatever it was asked by; with `session`, it ends when that login does.
    pub(super) fn consent(
        &mut self,
        grant: Grant,
        session: Option<TokenHash>,
        undo: &mut Undo,
    ) -> Result<(), Conflict> {
        vacant(&self.grants, &grant.id, "the grant")?;
        vacant(&self.assertions, &Answered::name(grant.id), "the answer")?;
        let mut client = known(&self.clients, &grant.client, "the client")?.client().clone();
        let user = grant.user.as_ref().ok_or(Conflict::Missing("the account"))?;
        if known(&self.users, user, "the account")?.stage != UserStage::Enabled {
            return Err(Conflict::Stage("the account"));
        }
        client.approved_at = Some(grant.created);
        self.put_client(client, undo);
        if let Some(hash) = session {
            let mut session = known(&self.sessions, &hash, "the session")?.clone();
            session.grants.push(grant.id);
            set(&mut self.sessions, hash, Some(session), undo, Replaced::Session);
        }
        self.add_grant(grant, undo);
        Ok(())
    }

    fn open_pushed(&mut self, hash: TokenHash, until: Timestamp, undo: &mut Undo) -> Result<(), Conflict> {
        let pushed = known(&self.pushed, &hash, "the pushed request")?;
        if pushed.opened {
            return Err(Conflict::Stage("the pushed request"));
        }
        let opened = Pushed { opened: true, expires: until, ..pushed.clone() };
        set(&mut self.pushed, hash, Some(opened), undo, Replaced::Pushed);
        Ok(())
    }

    /// What a client may have for itself ends with the client, and hangs from no person.
    fn grant_to_client(&mut self, grant: Grant, access: Access, undo: &mut Undo) -> Result<(), Conflict> {
        vacant(&self.grants, &grant.id, "the grant")?;
        known(&self.clients, &grant.client, "the client")?;
        if grant.user.is_some() || grant.stage != GrantStage::Live {
            return Err(Conflict::Stage("the grant"));
        }
        self.add_grant(grant, undo);
        self.issue(access, undo)
    }

    fn redeem(
        &mut self,
        hash: &TokenHash,
        access: Access,
        family: Option<Family>,
        undo: &mut Undo,
    ) -> Result<(), Conflict> {
        let mut code = known(&self.codes, hash, "the code")?.clone();
        if code.stage != CodeStage::Issued {
            return Err(Conflict::Stage("the code"));
        }
        code.stage = CodeStage::Redeemed;
        let grant = code.grant;
        set(&mut self.codes, *hash, Some(code), undo, Replaced::Code);
        self.first_tokens(grant, access, family, undo)
    }

    /// The tokens that make a consent live.
    pub(super) fn first_tokens(
        &mut self,
        grant: GrantId,
        access: Access,
        family: Option<Family>,
        undo: &mut Undo,
    ) -> Result<(), Conflict> {
        let mut entry = known(&self.grants, &grant, "the grant")?.clone();
        if entry.grant.stage != GrantStage::Consented {
            return Err(Conflict::Stage("the grant"));
        }
        entry.grant.stage = GrantStage::Live;
        if let Some(family) = family {
            vacant(&self.refresh, &family.current, "the refresh token")?;
            if family.grant != entry.grant.id {
                return Err(Conflict::Missing("the grant"));
            }
            set(&mut self.refresh, family.current, Some(RefreshEntry::new(&family)), undo, Replaced::Refresh);
            entry.family = Some(Arc::new(family));
        }
        set(&mut self.grants, entry.grant.id, Some(entry), undo, Replaced::Grant);
        self.issue(access, undo)
    }

    fn rotate(
        &mut self,
        grant: GrantId,
        presented: TokenHash,
        successor: TokenHash,
        at: Timestamp,
        undo: &mut Undo,
    ) -> Result<(), Conflict> {
        let mut entry = self.live_family(grant)?.0.clone();
        let mut family = self.live_family(grant)?.1.clone();
        if family.current != presented {
            return Err(Conflict::Stage("the refresh token"));
        }
        vacant(&self.refresh, &successor, "the refresh token")?;
        if let Some(previous) = family.previous.take() {
            family.spent.push(previous.hash);
        }
        if family.spent.len() > Family::REMEMBERED {
            let forgotten = family.spent.remove(0);
            set(&mut self.refresh, forgotten, None, undo, Replaced::Refresh);
        }
        family.previous = Some(Rotated { hash: presented, at });
        family.current = successor;
        family.used = at;
        set(&mut self.refresh, successor, Some(RefreshEntry::new(&family)), undo, Replaced::Refresh);
        entry.family = Some(Arc::new(family));
        set(&mut self.grants, grant, Some(entry), undo, Replaced::Grant);
        Ok(())
    }

    fn repeat(
        &mut self,
        grant: GrantId,
        presented: &TokenHash,
        access: Access,
        undo: &mut Undo,
    ) -> Result<(), Conflict> {
        let (_, family) = self.live_family(grant)?;
        if family.previous.is_none_or(|previous| previous.hash != *presented) {
            return Err(Conflict::Stage("the refresh token"));
        }
        self.issue(access, undo)
    }

    fn live_family(&self, grant: GrantId) -> Result<(&GrantEntry, &Family), Conflict> {
        let entry = known(&self.grants, &grant, "the grant")?;
        if entry.grant.stage != GrantStage::Live {
            return Err(Conflict::Stage("the grant"));
        }
        let family = entry.family().ok_or(Conflict::Missing("the refresh token"))?;
        if family.stage == FamilyStage::Live { Ok((entry, family)) } else { Err(Conflict::Stage("the refresh token")) }
    }

    fn issue(&mut self, access: Access, undo: &mut Undo) -> Result<(), Conflict> {
        vacant(&self.access, &access.id, "the access token")?;
        self.hold_grant(access.grant, 1, undo);
        self.note_use(&access, undo);
        set(&mut self.access, access.id, Some(access), undo, Replaced::Access);
        Ok(())
    }

    /// A token for one call hangs from the grant of the token that it came from, and is at most as good.
    fn allow_call(&mut self, subject: TokenId, access: Access, undo: &mut Undo) -> Result<(), Conflict> {
        let from = known(&self.access, &subject, "the access token")?;
        let narrower = from.grant == access.grant && access.scopes.within(&from.scopes);
        if from.once.is_some() || access.once.is_none() || !narrower || access.expires > from.expires {
            return Err(Conflict::Stage("the access token"));
        }
        self.issue(access, undo)
    }

    /// Of two that use a token for one call, one finds it.
    fn spend_call(&mut self, id: TokenId, undo: &mut Undo) -> Result<(), Conflict> {
        if known(&self.access, &id, "the access token")?.once.is_none() {
            return Err(Conflict::Stage("the access token"));
        }
        self.forget_access(id, undo);
        Ok(())
    }

    /// Revoking twice is no conflict: the wish is fulfilled.
    fn revoke(&mut self, id: GrantId, undo: &mut Undo) -> Result<(), Conflict> {
        let mut entry = known(&self.grants, &id, "the grant")?.clone();
        entry.grant.stage = GrantStage::Revoked;
        if let Some(family) = &mut entry.family {
            Arc::make_mut(family).stage = FamilyStage::Dead;
        }
        set(&mut self.grants, id, Some(entry), undo, Replaced::Grant);
        Ok(())
    }

    /// No refresh token of a grant is taken any more; what it gave lives on until it ends.
    fn end_family(&mut self, id: GrantId, undo: &mut Undo) {
        let Some(mut entry) = self.grants.get(&id).cloned() else { return };
        if let Some(family) = &mut entry.family {
            Arc::make_mut(family).stage = FamilyStage::Dead;
            set(&mut self.grants, id, Some(entry), undo, Replaced::Grant);
        }
    }

    /// Puts a client's record in its place, whether it is known or new.
    pub(super) fn put_client(&mut self, client: Client, undo: &mut Undo) {
        let grants = match self.clients.get(&client.id) {
            Some(known) => known.grants,
            None => count(&self.grants.of_client(&client.id)),
        };
        set(&mut self.clients, client.id.clone(), Some(ClientEntry::new(client, grants)), undo, Replaced::Client);
    }

    /// Adds a grant that is not there yet; its client is now needed once more.
    fn add_grant(&mut self, grant: Grant, undo: &mut Undo) {
        self.hold_client(&grant.client, 1, undo);
        set(&mut self.grants, grant.id, Some(GrantEntry::new(grant)), undo, Replaced::Grant);
    }

    /// Adds a code that is not there yet; its grant is now needed once more.
    fn add_code(&mut self, code: Code, undo: &mut Undo) {
        self.hold_grant(code.grant, 1, undo);
        set(&mut self.codes, code.hash, Some(code), undo, Replaced::Code);
    }

    fn hold_client(&mut self, id: &ClientId, more: i32, undo: &mut Undo) {
        if let Some(mut entry) = self.clients.get(id).cloned() {
            entry.grants = entry.grants.saturating_add_signed(more);
            set(&mut self.clients, id.clone(), Some(entry), undo, Replaced::Client);
        }
    }

    pub(super) fn hold_grant(&mut self, id: GrantId, more: i32, undo: &mut Undo) {
        if let Some(mut entry) = self.grants.get(&id).cloned() {
            entry.holders = entry.holders.saturating_add_signed(more);
            set(&mut self.grants, id, Some(entry), undo, Replaced::Grant);
        }
    }

    pub(super) fn forget_code(&mut self, hash: TokenHash, undo: &mut Undo) {
        if let Some(grant) = self.codes.get(&hash).map(|code| code.grant) {
            self.hold_grant(grant, -1, undo);
            set(&mut self.codes, hash, None, undo, Replaced::Code);
        }
    }

    pub(super) fn forget_session(&mut self, hash: TokenHash, undo: &mut Undo) {
        set(&mut self.sessions, hash, None, undo, Replaced::Session);
    }

    pub(super) fn forget_access(&mut self, id: TokenId, undo: &mut Undo) {
        if let Some(grant) = self.access.get(&id).map(|access| access.grant) {
            self.hold_grant(grant, -1, undo);
            set(&mut self.access, id, None, undo, Replaced::Access);
        }
    }

    pub(super) fn forget_pushed(&mut self, hash: TokenHash, undo: &mut Undo) {
        set(&mut self.pushed, hash, None, undo, Replaced::Pushed);
    }

    pub(super) fn forget_assertion(&mut self, name: TokenHash, undo: &mut Undo) {
        set(&mut self.assertions, name, None, undo, Replaced::Assertion);
    }

    pub(super) fn forget_key(&mut self, id: KeyId, undo: &mut Undo) {
        set(&mut self.keys, id, None, undo, Replaced::Key);
    }

    pub(super) fn forget_initial_token(&mut self, hash: TokenHash, undo: &mut Undo) {
        set(&mut self.initial, hash, None, undo, Replaced::Initial);
    }

    pub(super) fn forget_client(&mut self, id: ClientId, undo: &mut Undo) {
        set(&mut self.clients, id, None, undo, Replaced::Client);
    }

    pub(super) fn forget_grant(&mut self, id: GrantId, undo: &mut Undo) {
        let Some(entry) = self.grants.get(&id).cloned() else { return };
        for hash in entry.family().into_iter().flat_map(Family::tokens) {
            set(&mut self.refresh, *hash, None, undo, Replaced::Refresh);
        }
        self.hold_client(&entry.grant.client, -1, undo);
        set(&mut self.grants, id, None, undo, Replaced::Grant);
    }
}

fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}

pub(super) fn vacant<T: Entries>(table: &T, key: &T::Key, what: &'static str) -> Result<(), Conflict> {
    if table.find(key).is_some() { Err(Conflict::Exists(what)) } else { Ok(()) }
}

pub(super) fn known<'a, T: Entries>(table: &'a T, key: &T::Key, what: &'static str) -> Result<&'a T::Value, Conflict> {
    table.find(key).ok_or(Conflict::Missing(what))
}
