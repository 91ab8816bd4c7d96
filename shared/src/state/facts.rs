//! What a decision asks of the state, and what it is told.

use super::apply::State;
use super::change::{Change, Expired};
use super::entries::{ClientEntry, GrantEntry};
use super::prints::Prints;
use super::record::{
    Access, Client, Code, CodeStage, Device, DeviceStage, Family, FamilyStage, Grant, GrantStage, InitialToken,
    PublicKey, Pushed, Session, SetupLink, User, UserStage,
};
use super::table::NEVER;
use super::tools::Announcement;
use crate::id::{ClientId, GrantId, TokenId, UserName};
use crate::secret::TokenHash;
use crate::time::Timestamp;
use crate::uri::{Issuer, Resource};

/// The records that a decision wants. What hangs together comes together: a code brings its grant, the grant its
/// user and family, a session its user.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// A client by its name.
    pub client: Option<ClientId>,
    /// A user by name.
    pub user: Option<UserName>,
    /// A session by its cookie's hash.
    pub session: Option<TokenHash>,
    /// A code by its hash.
    pub code: Option<TokenHash>,
    /// A family by the hash of any of its refresh tokens.
    pub refresh: Option<TokenHash>,
    /// An access token by its `jti`.
    pub access: Option<TokenId>,
    /// A grant by its name.
    pub grant: Option<GrantId>,
    /// A token for registering by its hash.
    pub initial: Option<TokenHash>,
    /// A pushed authorization request by the hash of its name.
    pub pushed: Option<TokenHash>,
    /// A device by its code's hash.
    pub device: Option<TokenHash>,
    /// A device by its user code, under a key.
    pub user_code: Option<TokenHash>,
    /// The person whose passkey it is, by the hash of its credential id.
    pub passkey: Option<TokenHash>,
    /// The person to whose account a provider's person signs in, by the hash of the link.
    pub link: Option<TokenHash>,
    /// Whether something that is good once was used, by its name: a client assertion, a passkey's challenge, a page that was
    /// answered with no.
    pub assertion: Option<TokenHash>,
    /// The tools of the server with this name; of a pushed request's own, when one is wanted too, and of a device's own,
    /// when it is a person who wants it.
    pub tools_of: Option<Resource>,
    /// Consents that the session's person gave to the client for that server before, if they are remembered.
    pub consents: bool,
    /// What the session's person last agreed to at that server, tool by tool.
    pub agreed: bool,
}

/// The records that were found.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The client that was wanted; else the one of the device or of the grant that was found.
    pub client: Option<Client>,
    /// The user that was wanted; else the session's; else the grant's.
    pub user: Option<User>,
    /// The session that was wanted.
    pub session: Option<Session>,
    /// The code that was wanted.
    pub code: Option<Code>,
    /// The grant that was wanted; else the one of the code, refresh token, access token or device.
    pub grant: Option<Grant>,
    /// The person behind the grant; nobody when the client acts for itself.
    pub grant_user: Option<User>,
    /// Whether the client behind the grant still exists.
    pub grant_client_exists: bool,
    /// The grant's family.
    pub family: Option<Family>,
    /// The access token that was wanted.
    pub access: Option<Access>,
    /// The token for registering that was wanted.
    pub initial: Option<InitialToken>,
    /// The pushed authorization request that was wanted.
    pub pushed: Option<Pushed>,
    /// The device that was wanted.
    pub device: Option<Device>,
    /// The person whose passkey was wanted.
    pub passkey_user: Option<User>,
    /// The person whose link was wanted.
    pub linked_user: Option<User>,
    /// Whether the client assertion was used before, the challenge or the page answered.
    pub assertion_used: bool,
    /// The tools that were wanted.
    pub tools: Option<Announcement>,
    /// Live grants behind which a remembered consent stands, newest first.
    pub consents: Vec<Grant>,
    /// What the tools were when the session's person last agreed to them there, whichever app asked.
    pub agreed: Prints,
    /// The open set-up link, while nobody can log in.
    pub setup: Option<SetupLink>,
    /// Whether anybody can log in.
    pub has_users: bool,
    /// How many clients are known.
    pub clients: usize,
}

impl Facts {
    /// Whether the grant opens anything: live, its client registered and its person, if it has one, enabled.
    pub fn grant_lives(&self) -> bool {
        self.grant.as_ref().is_some_and(|grant| grant.stage == GrantStage::Live)
            && self.grant_client_exists
            && self.person_may_be_acted_for()
    }

    /// Whether the grant's person is enabled, or the grant needs none.
    pub fn person_may_be_acted_for(&self) -> bool {
        let Some(grant) = &self.grant else { return false };
        grant.user.is_none() || self.grant_user.as_ref().is_some_and(|user| user.stage == UserStage::Enabled)
    }

    /// What of it is past its end. To be committed: a clock that is set back must not wake it (fault F-16).
    pub fn expired(&self, now: Timestamp) -> Vec<Change> {
        let code = self.code.as_ref().filter(|code| code.stage == CodeStage::Issued && code.expires < now);
        let session = self.session.as_ref().filter(|session| session.expires < now);
        let access = self.access.as_ref().filter(|access| access.expires < now);
        let code = code.map(|code| Expired::Code(code.hash));
        let session = session.map(|session| Expired::Session(session.hash));
        let access = access.map(|access| Expired::Access(access.id));
        [code, session, access].into_iter().flatten().map(Change::Expired).collect()
    }

    /// The family, while it and its grant live.
    pub fn live_family(&self) -> Option<&Family> {
        self.family.as_ref().filter(|family| family.stage == FamilyStage::Live && self.grant_lives())
    }
}

impl State {
    /// Looks up what is wanted.
    pub fn facts(&self, wanted: &Wanted) -> Facts {
        let session = wanted.session.and_then(|hash| self.sessions.get(&hash));
        let code = wanted.code.and_then(|hash| self.codes.get(&hash));
        let access = wanted.access.and_then(|id| self.access.get(&id));
        let user_code = wanted.user_code.and_then(|code| self.user_codes.get(&code)).map(|entry| entry.device);
        let device = wanted.device.or(user_code).and_then(|hash| self.devices.get(&hash));
        let approved = device.and_then(|device| match device.stage {
            DeviceStage::Approved(grant) => Some(grant),
            _ => None,
        });
        let grant_id = wanted
            .grant
            .or(code.map(|code| code.grant))
            .or(wanted.refresh.and_then(|hash| self.refresh.get(&hash)).map(|entry| entry.grant))
            .or(access.map(|access| access.grant))
            .or(approved);
        let entry = grant_id.and_then(|id| self.grants.get(&id));
        let grant = entry.map(|entry| &entry.grant);
        let grant_user = grant.and_then(|grant| self.users.get(grant.user.as_ref()?));
        let grant_client = grant.and_then(|grant| self.clients.get(&grant.client));
        let user = match (&wanted.user, session) {
            (Some(name), _) => self.users.get(name),
            (None, Some(session)) => self.users.get(&session.user),
            (None, None) => grant_user,
        };
        let client = match (&wanted.client, device) {
            (Some(id), _) => self.clients.get(id),
            (None, Some(device)) => self.clients.get(&device.client),
            (None, None) => grant_client,
        };
        let has_users = self.someone_can_log_in();
        let pushed = wanted.pushed.and_then(|hash| self.pushed.get(&hash));
        // What a browser says beside the name of a pushed request does not count, for which server it is neither.
        let pushed_for = pushed.and_then(|pushed| pushed.resource.as_ref());
        // A device that polls is shown no tools; the person whom it waits for is.
        let device_for = device.filter(|_| session.is_some()).map(|device| &device.resource);
        let tools_of = pushed_for.or(device_for).or(wanted.tools_of.as_ref());
        let consents = match (tools_of, session, client) {
            (Some(resource), Some(session), Some(client)) if wanted.consents => {
                self.consents(&session.user, &client.id, resource)
            }
            _ => Vec::new(),
        };
        let tools = tools_of.and_then(|resource| self.announcement(resource));
        let agreed = match (tools, session) {
            (Some(announced), Some(session)) if wanted.agreed => self.agreed(&session.user, announced),
            _ => Prints::default(),
        };
        Facts {
            client: client.map(|entry| entry.client().clone()),
            user: user.cloned(),
            session: session.cloned(),
            code: code.cloned(),
            grant: grant.cloned(),
            grant_user: grant_user.cloned(),
            grant_client_exists: grant_client.is_some(),
            family: entry.and_then(GrantEntry::family).cloned(),
            access: access.cloned(),
            initial: wanted.initial.and_then(|hash| self.initial.get(&hash)).cloned(),
            pushed: pushed.cloned(),
            device: device.cloned(),
            linked_user: wanted.link.and_then(|link| self.link_owner(&link)).cloned(),
            passkey_user: wanted.passkey.and_then(|credential| self.passkey_owner(&credential)).cloned(),
            assertion_used: wanted.assertion.is_some_and(|name| self.assertions.contains_key(&name)),
            tools: tools.cloned(),
            consents,
            agreed,
            setup: self.setup.get(&()).filter(|_| !has_users).cloned(),
            has_users,
            clients: self.clients.len(),
        }
    }

    fn consents(&self, user: &UserName, client: &ClientId, resource: &Resource) -> Vec<Grant> {
        let refreshable = |entry: &&GrantEntry| {
            entry.grant.stage == GrantStage::Live
                && entry.family().is_some_and(|family| family.stage == FamilyStage::Live)
        };
        let remembered = |grant: &&Grant| {
            grant.client == *client
                && grant.resource == *resource
                && grant.terms.as_ref().is_some_and(|terms| terms.consent.is_some())
        };
        let theirs = self.grants.of_user(user);
        let live = theirs.iter().filter_map(|id| self.grants.get(id)).filter(refreshable).map(|entry| &entry.grant);
        let mut grants: Vec<_> = live.filter(remembered).cloned().collect();
        grants.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
        grants
    }

    /// A look at every grant of a person, where a server says of its tools what they are: most persons have a few.
    fn agreed(&self, user: &UserName, announced: &Announcement) -> Prints {
        if announced.tools.iter().all(|(tool, _)| tool.print.is_none()) {
            return Prints::default();
        }
        let theirs = self.grants.of_user(user);
        let there = theirs.iter().filter_map(|id| self.grants.get(id)).map(|entry| &entry.grant);
        let there = there.filter(|grant| grant.resource == announced.resource);
        Prints::latest(there.filter_map(|grant| Some(((grant.created, grant.id), grant.shown()?))))
    }

    /// Whether anybody has an account that a person can log in with; the one of `--auto-approve` is none.
    pub fn someone_can_log_in(&self) -> bool {
        self.users.earliest() < NEVER
    }

    /// The public keys, oldest first.
    pub fn keys(&self) -> Vec<PublicKey> {
        let mut keys: Vec<_> = self.keys.values().cloned().collect();
        keys.sort_by(|a, b| (a.published, &a.id).cmp(&(b.published, &b.id)));
        keys
    }

    /// The names of the services that give out tokens from this store.
    pub fn issuers(&self) -> Vec<Issuer> {
        let mut issuers: Vec<_> = self.issuers.keys().cloned().collect();
        issuers.sort();
        issuers
    }

    /// The same, the one that was declared first before the others.
    pub fn issuers_by_age(&self) -> Vec<Issuer> {
        let mut issuers: Vec<_> = self.issuers.iter().collect();
        issuers.sort_by_key(|(issuer, at)| (**at, *issuer));
        issuers.into_iter().map(|(issuer, _)| issuer.clone()).collect()
    }

    /// How many records of each kind there are, by name.
    pub fn counts(&self) -> [(&'static str, usize); 9] {
        [
            ("clients", self.clients.len()),
            ("users", self.users.len()),
            ("sessions", self.sessions.len()),
            ("codes", self.codes.len()),
            ("grants", self.grants.len()),
            ("families", self.grants.values().filter(|entry| entry.family.is_some()).count()),
            ("access_tokens", self.access.len()),
            ("keys", self.keys.len()),
            ("devices", self.devices.len()),
        ]
    }

    /// Every account, by name.
    pub fn users(&self) -> Vec<&User> {
        let mut users: Vec<_> = self.users.values().collect();
        users.sort_by(|a, b| a.name.cmp(&b.name));
        users
    }

    /// Every client, newest first.
    pub fn clients(&self) -> Vec<&Client> {
        let mut clients: Vec<_> = self.clients.values().map(ClientEntry::client).collect();
        clients.sort_by(|a, b| (b.issued_at, &b.id).cmp(&(a.issued_at, &a.id)));
        clients
    }

    /// Every grant, newest first.
    pub fn grants(&self) -> Vec<&Grant> {
        let mut grants: Vec<_> = self.grants.values().map(|entry| &entry.grant).collect();
        grants.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
        grants
    }
}
