//! A change in the words of an audit trail: what happened, to whom, by which client, under which grant. Never a secret,
//! and never the hash of one (contract C15).

use serde::Serialize;

use super::apply::State;
use super::change::{Change, Expired, RevocationCause};
use super::record::{Access, Client, Grant, UserStage};
use crate::id::{ClientId, GrantId, UserName};
use crate::scope::Scopes;
use crate::secret::TokenHash;

/// One thing that happened.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Event {
    /// What: one word with dashes, for programs to match on.
    pub what: &'static str,
    /// Whom it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// Which client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientId>,
    /// Under which grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// What else there is to know. May hold text that a stranger chose: to be escaped where it is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Event {
    fn new(what: &'static str) -> Self {
        Self { what, ..Self::default() }
    }

    fn user(self, user: &UserName) -> Self {
        Self { user: Some(user.clone()), ..self }
    }

    fn client(self, client: &ClientId) -> Self {
        Self { client: Some(client.clone()), ..self }
    }

    fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    fn of(self, grant: &Grant) -> Self {
        Self { grant: Some(grant.id), user: grant.user.clone(), ..self }.client(&grant.client)
    }
}

impl State {
    /// A change in words. Asked before the change is applied, so that what it ends can still be named.
    pub fn event(&self, change: &Change) -> Event {
        match change {
            Change::IssuerDeclared(issuer) => Event::new("issuer-declared").detail(issuer.as_str()),
            Change::KeyPublished(key) => Event::new("key-published").detail(key.id.to_string()),
            Change::KeyRetired { id, .. } => Event::new("key-retired").detail(id.to_string()),
            Change::SetupOffered(_) => Event::new("setup-offered"),
            Change::OwnerCreated { user, .. } => Event::new("owner-created").user(&user.name),
            Change::UserCreated(user) => {
                let role = if user.admin { "administrator" } else { "user" };
                Event::new("user-created").user(&user.name).detail(role)
            }
            Change::PasswordChanged { user, .. } => Event::new("password-changed").user(user),
            Change::PasskeyAdded { user, passkey, .. } => Event::new("passkey-added").user(user).detail(&passkey.name),
            Change::PasskeyUsed { passkey, .. } => self.passkey_event("passkey-used", passkey),
            Change::PasskeyRemoved(passkey) => self.passkey_event("passkey-removed", passkey),
            Change::UpstreamLinked { user, link } => {
                Event::new("upstream-linked").user(user).detail(link.issuer.as_str())
            }
            Change::UpstreamUnlinked(link) => {
                let event = Event::new("upstream-unlinked");
                match self.link_owner(link) {
                    Some(user) => event.user(&user.name),
                    None => event,
                }
            }
            Change::UserStageSet { user, stage } => Event::new(match stage {
                UserStage::Enabled => "user-enabled",
                UserStage::Disabled => "user-disabled",
                UserStage::Removed => "user-removed",
            })
            .user(user),
            Change::SessionOpened(session) => Event::new("signed-in").user(&session.user),
            Change::SessionClosed(hash) => self.signed_out(hash),
            Change::SessionsClosed(user) => Event::new("signed-out-everywhere").user(user),
            Change::ClientRegistered(client) => named("client-registered", client),
            Change::ClientDescribed(client) => named("client-described", client),
            Change::ClientUpdated(client) => named("client-updated", client),
            Change::InitialTokenIssued(token) => {
                let event = Event::new("registration-token-issued");
                match &token.note {
                    Some(note) => event.detail(note),
                    None => event,
                }
            }
            Change::InitialTokenSpent(_) => Event::new("registration-token-used"),
            Change::ClientRemoved(id) => Event::new("client-removed").client(id),
            Change::Approved { grant, .. } => {
                Event::new("approved").of(grant).detail(may(grant.resource.as_str(), &grant.scopes))
            }
            Change::AssertionUsed { .. } => Event::new("client-assertion-used"),
            Change::RequestPushed(pushed) => Event::new("request-pushed").client(&pushed.client),
            Change::PushedOpened { hash, .. } => self.pushed_event("pushed-request-opened", hash),
            Change::PushedSpent(hash) => self.pushed_event("pushed-request-answered", hash),
            Change::DeviceAsked(device) => {
                Event::new("device-asked").client(&device.client).detail(may(device.resource.as_str(), &device.scopes))
            }
            Change::DeviceApproved { grant, .. } => {
                Event::new("device-approved").of(grant).detail(may(grant.resource.as_str(), &grant.scopes))
            }
            Change::DeviceDenied { device, user } => {
                let event = Event::new("device-denied").user(user);
                Event { client: self.devices.get(device).map(|device| device.client.clone()), ..event }
            }
            Change::DeviceRedeemed { access, .. } => self.token("device-code-redeemed", access),
            Change::ClientGranted { grant, .. } => {
                Event::new("granted-to-client").of(grant).detail(may(grant.resource.as_str(), &grant.scopes))
            }
            Change::Denied { user, client, .. } => Event::new("denied").user(user).client(client),
            Change::CodeRedeemed { access, .. } => self.token("code-redeemed", access),
            Change::RefreshRotated { access, .. } => self.token("token-refreshed", access),
            Change::RefreshRepeated { access, .. } => {
                self.under("token-refresh-repeated", access.grant).detail(format!(
                    "{}; a spent token came back in time, its successor is unused: the answer was lost",
                    access.scopes
                ))
            }
            Change::GrantRevoked { grant, cause } => self.under("grant-revoked", *grant).detail(cause.words()),
            Change::GrantsRevoked { user, client, cause } => {
                let event = Event::new("grants-revoked").user(user).detail(cause.words());
                Event { client: client.clone(), ..event }
            }
            Change::AccessRevoked(id) => match self.access.get(id) {
                Some(access) => self.under("token-revoked", access.grant),
                None => Event::new("token-revoked"),
            },
            Change::TokenExchanged { access, .. } => {
                let tool = access.once.as_ref().map(|once| once.tool.as_str().to_owned());
                self.under("call-allowed", access.grant).detail(tool.unwrap_or_default())
            }
            Change::CallSpent(id) => match self.access.get(id) {
                Some(access) => self.under("call-made", access.grant),
                None => Event::new("call-made"),
            },
            Change::StoreRepaired { line, set_aside } => {
                Event::new("store-repaired").detail(format!("from line {line} on; set aside as {set_aside}"))
            }
            Change::ToolsAnnounced { resource, tools, scopes } => {
                let own = if scopes.is_empty() { String::new() } else { format!("; scopes {scopes}") };
                Event::new("tools-announced").detail(format!("{resource}: {} tools{own}", tools.len()))
            }
            Change::Expired(what) => match what {
                Expired::Code(_) => Event::new("code-expired"),
                Expired::Session(hash) => Event { what: "session-expired", ..self.signed_out(hash) },
                Expired::Access(id) => match self.access.get(id) {
                    Some(access) => self.under("token-expired", access.grant),
                    None => Event::new("token-expired"),
                },
                Expired::Refresh(grant) => self.under("refresh-expired", *grant),
            },
            Change::Swept { .. } => Event::new("swept"),
        }
    }

    fn pushed_event(&self, what: &'static str, hash: &TokenHash) -> Event {
        Event { client: self.pushed.get(hash).map(|pushed| pushed.client.clone()), ..Event::new(what) }
    }

    fn passkey_event(&self, what: &'static str, credential: &TokenHash) -> Event {
        let event = Event::new(what);
        let Some(user) = self.passkey_owner(credential) else { return event };
        let name = user.passkeys.iter().find(|one| one.id.hash() == *credential).map(|one| one.name.clone());
        Event { detail: name, ..event.user(&user.name) }
    }

    fn signed_out(&self, hash: &TokenHash) -> Event {
        let event = Event::new("signed-out");
        match self.sessions.get(hash) {
            Some(session) => event.user(&session.user),
            None => event,
        }
    }

    fn under(&self, what: &'static str, grant: GrantId) -> Event {
        let event = Event { grant: Some(grant), ..Event::new(what) };
        match self.grants.get(&grant) {
            Some(entry) => event.of(&entry.grant),
            None => event,
        }
    }

    fn token(&self, what: &'static str, access: &Access) -> Event {
        self.under(what, access.grant).detail(access.scopes.to_string())
    }
}

fn named(what: &'static str, client: &Client) -> Event {
    let event = Event::new(what).client(&client.id);
    match &client.name {
        Some(name) => event.detail(name),
        None => event,
    }
}

fn may(resource: &str, scopes: &Scopes) -> String {
    format!("{resource}: {scopes}")
}

impl RevocationCause {
    /// In words, as in "revoked because …".
    pub const fn words(self) -> &'static str {
        match self {
            Self::CodeReplayed => "its code was used twice",
            Self::RefreshReplayed => "a spent refresh token came back",
            Self::Client => "the client gave it back",
            Self::User => "the person took it back",
            Self::Operator => "the operator took it back",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::Sample;
    use crate::time::Timestamp;

    #[test]
    fn adm_04_an_event_names_person_client_and_grant_and_holds_no_hash() {
        let sample = Sample::new(Timestamp(1));
        let mut state = State::default();
        let revoked = Change::GrantRevoked { grant: sample.grant.id, cause: RevocationCause::Client };
        let mut seen = Vec::new();
        let changes = [sample.known(), sample.approved(), sample.redeemed(), vec![revoked]].concat();
        for change in changes {
            let event = state.event(&change);
            let text = serde_json::to_string(&event).unwrap();
            for hash in [sample.code.hash, sample.family.current] {
                assert!(!text.contains(&serde_json::to_string(&hash).unwrap()), "{text}");
            }
            if event.grant.is_some() {
                assert_eq!(event.user.as_ref(), Some(&sample.user.name), "{text}");
                assert_eq!(event.client.as_ref(), Some(&sample.client.id), "{text}");
            }
            seen.push(event.what);
            state.apply_all(vec![change], Timestamp(1)).unwrap();
        }
        for what in ["client-registered", "user-created", "approved", "code-redeemed", "grant-revoked"] {
            assert!(seen.contains(&what), "{what} in {seen:?}");
        }
    }
}
