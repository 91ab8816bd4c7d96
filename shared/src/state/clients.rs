//! Clients that change: by themselves, by their documents, by use.

use super::apply::{Conflict, Replaced, State, Undo, known, set, vacant};
use super::record::{Access, Client, ClientOrigin, InitialToken};
use crate::secret::TokenHash;
use crate::time::Seconds;

/// How exactly the last use of a client is known.
const USE_STEP: Seconds = Seconds(3600);

impl State {
    /// What people said about the client, and when, is not its own to change.
    pub(super) fn update_client(&mut self, client: Client, undo: &mut Undo) -> Result<(), Conflict> {
        let known = known(&self.clients, &client.id, "the client")?;
        let client = Client { approved_at: known.approved_at, used_at: known.used_at, ..client };
        self.put_client(client, undo);
        Ok(())
    }

    pub(super) fn issue_initial_token(&mut self, token: InitialToken, undo: &mut Undo) -> Result<(), Conflict> {
        vacant(&self.initial, &token.hash, "the registration token")?;
        set(&mut self.initial, token.hash, Some(token), undo, Replaced::Initial);
        Ok(())
    }

    pub(super) fn spend_initial_token(&mut self, hash: &TokenHash, undo: &mut Undo) -> Result<(), Conflict> {
        let mut token = known(&self.initial, hash, "the registration token")?.clone();
        token.uses = token.uses.checked_sub(1).ok_or(Conflict::Stage("the registration token"))?;
        let left = (token.uses > 0).then_some(token);
        set(&mut self.initial, *hash, left, undo, Replaced::Initial);
        Ok(())
    }

    pub(super) fn describe_client(&mut self, client: Client, undo: &mut Undo) -> Result<(), Conflict> {
        let described = ClientOrigin::MetadataDocument;
        if client.origin != described || self.clients.get(&client.id).is_some_and(|known| known.origin != described) {
            return Err(Conflict::Exists("the client"));
        }
        let used_at = self.clients.get(&client.id).and_then(|known| known.used_at);
        let client = Client { used_at, ..client };
        self.put_client(client, undo);
        Ok(())
    }

    /// Notes that a client got a token; not at each, since a copy of the record is the price of taking it back.
    pub(super) fn note_use(&mut self, access: &Access, undo: &mut Undo) {
        let grant = self.grants.get(&access.grant);
        let Some(client) = grant.and_then(|grant| self.clients.get(&grant.client)) else { return };
        if client.used_at.is_none_or(|before| before + USE_STEP <= access.issued) {
            let client = Client { used_at: Some(access.issued), ..client.client().clone() };
            self.put_client(client, undo);
        }
    }
}
