//! The contents of the credentials file: the one place where secrets are written out.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use shared::id::ClientId;
use shared::oauth::json;
use shared::oauth::register::AuthMethod;
use shared::scope::Scopes;
use shared::secret::Secret;
use shared::time::Timestamp;
use shared::uri::{Issuer, Resource};

use crate::flow::client::Client;
use crate::flow::token::Tokens;

/// The version that we write, and the newest that we read.
const VERSION: u32 = 1;

/// Everything that is kept.
#[derive(Debug, Deserialize, Serialize)]
pub struct Book {
    version: u32,
    /// Who we are, at which issuer.
    #[serde(default)]
    pub registrations: Vec<Registration>,
    /// What we were given, for which resource.
    #[serde(default)]
    pub tokens: Vec<Entry>,
}

/// How we came to a registration.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The server gave it to us (RFC 7591). Another can be had.
    Dynamic,
    /// A person gave it to us.
    Given,
    /// The URL of a metadata document.
    Document,
}

/// Our name at one issuer, for one profile.
#[derive(Debug, Deserialize, Serialize)]
pub struct Registration {
    /// The issuer that it is for, and no other.
    pub issuer: Issuer,
    /// The person's name for this set of logins.
    pub profile: String,
    /// How we came to it.
    pub source: Source,
    /// Our name.
    pub client_id: ClientId,
    /// Our secret.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "write_secret")]
    pub client_secret: Option<Secret>,
    /// How the secret is sent.
    pub method: AuthMethod,
    /// What was registered.
    pub redirect_uri: String,
}

/// What tokens belong to. Another issuer, resource or profile never sees them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Key {
    /// Who gave them.
    pub issuer: Issuer,
    /// What they open.
    pub resource: Resource,
    /// The person's name for this set of logins.
    pub profile: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A newline stands in none of the three.
        write!(f, "{}\n{}\n{}", self.issuer, self.resource, self.profile)
    }
}

/// Tokens for one resource.
#[derive(Debug, Deserialize, Serialize)]
pub struct Entry {
    /// Who gave them.
    pub issuer: Issuer,
    /// What they open.
    pub resource: Resource,
    /// The person's name for this set of logins.
    pub profile: String,
    /// The URL of the MCP server, when it is not a stdio server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Our name when they were given.
    pub client_id: ClientId,
    /// Opens the resource.
    #[serde(serialize_with = "write_one")]
    pub access_token: Secret,
    /// Gets the next ones.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "write_secret")]
    pub refresh_token: Option<Secret>,
    /// When the access token dies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// What was granted.
    pub scope: Scopes,
    /// When they were given.
    pub obtained: Timestamp,
    /// Counts up with every replacement, so that a program that waited can see that another was first.
    pub generation: u64,
}

impl Default for Book {
    fn default() -> Self {
        Self { version: VERSION, registrations: Vec::new(), tokens: Vec::new() }
    }
}

/// Why a file is no book.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unreadable {
    /// A newer version.
    Newer,
    /// Anything else.
    Damaged,
}

impl Book {
    pub(super) fn from_json(text: &[u8]) -> Result<Self, Unreadable> {
        let value = json::parse(text).map_err(|_| Unreadable::Damaged)?;
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version > u64::from(VERSION) => Err(Unreadable::Newer),
            Some(_) => serde_json::from_value(value).map_err(|_| Unreadable::Damaged),
            None => Err(Unreadable::Damaged),
        }
    }

    pub(super) fn to_json(&self) -> Result<Secret, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| Secret::new(text + "\n"))
    }

    /// The tokens for a key.
    pub fn entry(&self, key: &Key) -> Option<&Entry> {
        self.tokens.iter().find(|entry| entry.is(key))
    }

    /// The tokens of a profile that `fits` picks.
    pub fn entries<'a>(
        &'a self,
        profile: &'a str,
        fits: impl Fn(&Entry) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Entry> {
        self.tokens.iter().filter(move |entry| entry.profile == profile && fits(entry))
    }

    /// Puts the tokens of a new login in the place of those for the same key.
    pub fn log_in(&mut self, key: &Key, server: Option<String>, client: &ClientId, tokens: &Tokens, now: Timestamp) {
        let generation = self.remove(key).map_or(1, |old| old.generation + 1);
        self.tokens.push(Entry {
            issuer: key.issuer.clone(),
            resource: key.resource.clone(),
            profile: key.profile.clone(),
            server,
            client_id: client.clone(),
            access_token: copy(&tokens.access),
            refresh_token: tokens.refresh.as_ref().map(copy),
            expires: tokens.expires,
            scope: tokens.scope.clone(),
            obtained: now,
            generation,
        });
        self.forget_unused();
    }

    /// Puts refreshed tokens in the place of those for the same key. Without a new refresh token the old one stays
    /// (RFC 6749 section 6).
    pub fn refresh(&mut self, key: &Key, tokens: &Tokens, now: Timestamp) {
        let Some(entry) = self.tokens.iter_mut().find(|entry| entry.is(key)) else { return };
        entry.access_token = copy(&tokens.access);
        if let Some(refresh) = &tokens.refresh {
            entry.refresh_token = Some(copy(refresh));
        }
        entry.expires = tokens.expires;
        entry.scope = tokens.scope.clone();
        entry.obtained = now;
        entry.generation += 1;
    }

    /// Takes the tokens for a key out.
    pub fn remove(&mut self, key: &Key) -> Option<Entry> {
        let at = self.tokens.iter().position(|entry| entry.is(key))?;
        Some(self.tokens.swap_remove(at))
    }

    /// Who we are at an issuer: the latest registration there.
    pub fn registration(&self, issuer: &Issuer, profile: &str) -> Option<&Registration> {
        self.registrations.iter().rfind(|known| known.issuer == *issuer && known.profile == profile)
    }

    /// Who we were when the tokens of `entry` were given: they can be refreshed under that name alone.
    pub fn registration_of(&self, entry: &Entry) -> Option<&Registration> {
        self.registrations.iter().find(|known| known.is_of(entry))
    }

    /// Keeps a registration as the one to use at its issuer. Earlier ones stay while there are tokens of theirs.
    pub fn register(&mut self, registration: Registration) {
        self.registrations.retain(|known| !known.is_beside(&registration) || known.client_id != registration.client_id);
        self.registrations.push(registration);
        self.forget_unused();
    }

    /// Forgets registrations that have a later one at their issuer and no tokens.
    fn forget_unused(&mut self) {
        let mut rest = std::mem::take(&mut self.registrations);
        while let Some(latest) = rest.pop() {
            let replaced = self.registrations.iter().any(|later| later.is_beside(&latest));
            if !replaced || self.tokens.iter().any(|entry| latest.is_of(entry)) {
                self.registrations.insert(0, latest);
            }
        }
    }

    /// Forgets who we were when the tokens of `entry` were given, if the server made that registration and can make
    /// another.
    pub fn unregister_dynamic(&mut self, entry: &Entry) {
        self.registrations.retain(|known| known.source != Source::Dynamic || !known.is_of(entry));
    }
}

impl Entry {
    /// What the tokens belong to.
    pub fn key(&self) -> Key {
        Key { issuer: self.issuer.clone(), resource: self.resource.clone(), profile: self.profile.clone() }
    }

    fn is(&self, key: &Key) -> bool {
        self.issuer == key.issuer && self.resource == key.resource && self.profile == key.profile
    }
}

impl Registration {
    /// A registration to keep.
    pub fn of(issuer: &Issuer, profile: &str, source: Source, client: &Client, redirect_uri: &str) -> Self {
        Self {
            issuer: issuer.clone(),
            profile: profile.to_owned(),
            source,
            client_id: client.id.clone(),
            client_secret: client.secret.as_ref().map(copy),
            method: client.method,
            redirect_uri: redirect_uri.to_owned(),
        }
    }

    fn is_beside(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.profile == other.profile
    }

    fn is_of(&self, entry: &Entry) -> bool {
        self.issuer == entry.issuer && self.profile == entry.profile && self.client_id == entry.client_id
    }

    /// The client that was registered.
    pub fn client(&self) -> Client {
        Client { id: self.client_id.clone(), secret: self.client_secret.as_ref().map(copy), method: self.method }
    }
}

/// A second copy of a secret, for the file or for the request: the one place that makes them.
pub(crate) fn copy(secret: &Secret) -> Secret {
    Secret::new(secret.expose().to_owned())
}

fn write_one<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

fn write_secret<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(Secret::expose).serialize(serializer)
}
