//! Records: what the store holds of each thing. Stages are enums that move one way, in `apply` only.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::link::Link;
use super::passkey::Passkey;
use super::prints::Prints;
use super::tools::ToolName;
use crate::id::{ClientId, GrantId, KeyId, TokenId, UserName};
use crate::list::List;
use crate::oauth::pkce::Challenge;
use crate::oauth::register::{AuthMethod, GrantType};
use crate::scope::Scopes;
use crate::secret::TokenHash;
use crate::text::Text;
use crate::time::{Seconds, Timestamp};
use crate::uri::{RedirectUri, Resource};

/// A client that may ask for tokens.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Client {
    /// Its name.
    pub id: ClientId,
    /// What it calls itself; self-declared, never to be trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// Where codes may be sent.
    pub redirect_uris: List<RedirectUri>,
    /// The registered method; `None` means that it registered none, and may use Basic or form (contract C5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_method: Option<AuthMethod>,
    /// What it may exchange.
    pub grant_types: List<GrantType>,
    /// Its secret, hashed. `None` for a public client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Box<ClientSecret>>,
    /// The secret before this one, while it still counts: whoever holds only that one must be able to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_secret: Option<Box<ClientSecret>>,
    /// SHA-256 of the token with which it manages its registration (RFC 7592), if it registered itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<TokenHash>,
    /// What it asks for when a request names no scope: a default, not a ceiling.
    #[serde(default, skip_serializing_if = "Scopes::is_empty")]
    pub scope: Scopes,
    /// Its home page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<Text>,
    /// Everything else that it registered and we echo, as a JSON object.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub other: serde_json::Map<String, serde_json::Value>,
    /// The resources that it is the server of, by the operator's word: of their tokens it may ask (RFC 7662).
    #[serde(default, skip_serializing_if = "is_empty")]
    pub resources: List<Resource>,
    /// How it came here.
    pub origin: ClientOrigin,
    /// What this machine knows of the program behind it, when a server here registered it for the program that started
    /// the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Box<Program>>,
    /// Since when.
    pub issued_at: Timestamp,
    /// When a person last said yes to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_at: Option<Timestamp>,
    /// When it last got a token, to within an hour: follows from the tokens, and costs no record of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<Timestamp>,
}

fn is_empty(list: &List<Resource>) -> bool {
    list.is_empty()
}

impl Client {
    /// When the client was last good for something: registered, said yes to, or given a token.
    pub fn last_use(&self) -> Timestamp {
        [Some(self.issued_at), self.approved_at, self.used_at].into_iter().flatten().max().unwrap_or(self.issued_at)
    }
}

/// A program on this machine, as the operating system names it and not as it names itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Program {
    /// Its executable's file name.
    pub name: Text,
    /// Where its executable lies, when the system says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Text>,
    /// The script that it runs, when it is an interpreter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Text>,
}

impl Program {
    /// Where it lies: executable and script, as far as they are known.
    pub fn place(&self) -> String {
        let places = [self.path.as_deref(), self.script.as_deref()];
        places.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// A token with which clients may register (RFC 7591 section 3, "initial access token").
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct InitialToken {
    /// SHA-256 of the token.
    pub hash: TokenHash,
    /// Whom the operator made it for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Since when.
    pub created: Timestamp,
    /// Dead from this second.
    pub expires: Timestamp,
    /// How many registrations it is still good for.
    pub uses: u32,
}

/// A client secret as it is kept.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ClientSecret {
    /// SHA-256 of a secret with 256 random bits.
    pub hash: TokenHash,
    /// When it ends; `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// How a client came here.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientOrigin {
    /// It registered itself (RFC 7591): nobody vouches for it.
    Dynamic,
    /// The operator registered it.
    Operator,
    /// Its metadata were read at its URL.
    MetadataDocument,
    /// A server on this machine registered it for the program that started the server. It can be used by servers that
    /// share the store, and not over HTTP.
    Local,
}

impl ClientOrigin {
    /// Whether the operator vouches for the client; nobody else does for what a client says about itself.
    pub fn is_vouched_for(self) -> bool {
        self == Self::Operator
    }
}

/// A person who can log in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct User {
    /// Login name, and the `sub` of tokens.
    pub name: UserName,
    /// The argon2id hash of the password in PHC form; `None` cannot log in with a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Whether the person may administrate.
    #[serde(default)]
    pub admin: bool,
    /// Since when.
    pub created: Timestamp,
    /// Whether the account works.
    pub stage: UserStage,
    /// With what else the person signs in; at most [`Passkey::MOST`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passkeys: Vec<Passkey>,
    /// Whom of which OpenID providers it signs in; at most [`Link::MOST`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
}

impl User {
    /// Whether a person made the account theirs: it has a password, or a provider's person signs in to it.
    pub fn can_log_in(&self) -> bool {
        self.password.is_some() || !self.links.is_empty()
    }
}

/// Whether an account works.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UserStage {
    /// It does.
    Enabled,
    /// Not now.
    Disabled,
    /// Never again; the name stays taken.
    Removed,
}

/// A one-time link with which the first account is made.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SetupLink {
    /// SHA-256 of the secret in the link.
    pub hash: TokenHash,
    /// Until when it works.
    pub expires: Timestamp,
}

/// A logged-in browser.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Session {
    /// SHA-256 of the cookie's value.
    pub hash: TokenHash,
    /// Who is logged in.
    pub user: UserName,
    /// Since when.
    pub created: Timestamp,
    /// Until when.
    pub expires: Timestamp,
    /// Grants that end with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantId>,
}

/// A consent of one person to one client for one resource; or what the operator lets a client have for itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Grant {
    /// Its name: drawn when the consent page is shown, so that one page is answered once.
    pub id: GrantId,
    /// Who consented; nobody when the client acts for itself (RFC 6749 section 4.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// To whom.
    pub client: ClientId,
    /// For what.
    pub resource: Resource,
    /// To do what.
    pub scopes: Scopes,
    /// Since when.
    pub created: Timestamp,
    /// Where it stands.
    pub stage: GrantStage,
    /// What the person made of it: less than everything, or for less long. `None` for the usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Box<Terms>>,
}

impl Grant {
    /// When it ends, whatever its tokens say; `None` when nobody said.
    pub fn until(&self) -> Option<Timestamp> {
        self.terms.as_ref().and_then(|terms| terms.until)
    }

    /// Whether its person lets it call this tool, if its scopes do.
    pub fn allows(&self, tool: &str) -> bool {
        let chosen = self.terms.as_ref().and_then(|terms| terms.tools.as_ref());
        chosen.is_none_or(|tools| tools.iter().any(|name| name.as_str() == tool))
    }

    /// What the tools were to which its person agreed; nothing when nobody was shown any.
    pub fn shown(&self) -> Option<&Prints> {
        self.terms.as_ref().map(|terms| &terms.shown).filter(|shown| !shown.is_empty())
    }

    /// Whether its person agreed to this tool when it said something else of itself (N15).
    pub fn saw_another(&self, tool: &str, print: Option<&TokenHash>) -> bool {
        self.shown().is_some_and(|shown| shown.differ(tool, print))
    }
}

/// What a person made of a consent.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Terms {
    /// The tools that may be called, when some were left out; `None` for all that the scopes open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<BTreeSet<ToolName>>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What the consent was to, as one hash: where the answer went, what the client said of itself, the tools that were
    /// shown. Kept where consent is remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<TokenHash>,
    /// What each tool was that the person was shown and let in. One that has become another is not called before they
    /// have agreed to what it is now.
    #[serde(default, skip_serializing_if = "Prints::is_empty")]
    pub shown: Prints,
}

impl Grant {
    /// Whom its tokens act for, their `sub`: the person, else the client itself (RFC 9068 section 2.2).
    pub fn subject(&self) -> &str {
        self.user.as_ref().map_or(self.client.as_str(), UserName::as_str)
    }
}

/// Where a grant stands: consented, live, revoked; never back.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantStage {
    /// A code is out; no token yet.
    Consented,
    /// Tokens are out.
    Live,
    /// Every token is dead.
    Revoked,
}

/// An authorization code (contract C6).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Code {
    /// SHA-256 of the code.
    pub hash: TokenHash,
    /// The consent behind it, with client, user, resource and scopes.
    pub grant: GrantId,
    /// Where it was sent.
    pub redirect_uri: RedirectUri,
    /// What its verifier must hash to.
    pub challenge: Challenge,
    /// Good through this second.
    pub expires: Timestamp,
    /// Whether it was used.
    pub stage: CodeStage,
}

/// Whether a code was used.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeStage {
    /// Not yet.
    Issued,
    /// Once; another valid use revokes its grant.
    Redeemed,
}

/// An authorization request that its client pushed (RFC 9126).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Pushed {
    /// SHA-256 of the random part of its name.
    pub hash: TokenHash,
    /// Whose it is.
    pub client: ClientId,
    /// The request, as the query of an authorization URL, without what authenticated the client.
    pub query: String,
    /// The resource that it is for, in our spelling; none in records of before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
    /// Good through this second.
    pub expires: Timestamp,
    /// Whether a browser has come with it. A person then has the time that a page gives.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opened: bool,
}

/// A program that waits until a person has said yes on another device (RFC 8628).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Device {
    /// SHA-256 of the device code.
    pub hash: TokenHash,
    /// The user code under a key of the services: it is too short for a hash alone to hide it.
    pub user_code: TokenHash,
    /// Who asks.
    pub client: ClientId,
    /// To do what.
    pub scopes: Scopes,
    /// For which resource.
    pub resource: Resource,
    /// Dead from this second.
    pub expires: Timestamp,
    /// What the person said.
    pub stage: DeviceStage,
}

impl Device {
    /// How long a device code waits for a person, in seconds. RFC 8628 leaves it open (section 3.2); long enough to find a
    /// browser and to sign in.
    pub const LIFETIME: Seconds = Seconds(600);

    /// How long a dead device code is remembered, in seconds: a device that polls late is told that its time is over.
    pub const REMEMBERED: Seconds = Seconds(600);
}

/// Where a device stands: waiting, approved or denied, redeemed; never back.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceStage {
    /// Nobody has decided.
    Waiting,
    /// A person said yes; no token yet.
    Approved(GrantId),
    /// A person said no.
    Denied,
    /// The tokens are out.
    Redeemed,
}

/// The refresh tokens of one grant: one is current, the others are spent (contract C7).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Family {
    /// The grant that it belongs to: each has at most one.
    pub grant: GrantId,
    /// SHA-256 of the one refresh token that works.
    pub current: TokenHash,
    /// What it replaced, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Rotated>,
    /// Spent before that, oldest first, at most [`Family::REMEMBERED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spent: Vec<TokenHash>,
    /// When a refresh token was last used or first issued: idle time counts from here.
    pub used: Timestamp,
    /// The end of its life, however often it is used.
    pub expires: Timestamp,
    /// Whether it lives.
    pub stage: FamilyStage,
}

impl Family {
    /// How many spent refresh tokens are recognised as replays. An older one is refused like an unknown one.
    pub const REMEMBERED: usize = 256;

    /// Every refresh token that is recognised: the current one and the spent ones.
    pub fn tokens(&self) -> impl Iterator<Item = &TokenHash> {
        self.spent.iter().chain(self.previous.as_ref().map(|previous| &previous.hash)).chain([&self.current])
    }
}

/// A refresh token that was exchanged.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Rotated {
    /// SHA-256 of the token.
    pub hash: TokenHash,
    /// When.
    pub at: Timestamp,
}

/// Whether a family lives.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FamilyStage {
    /// It does.
    Live,
    /// A refresh token was replayed, revoked, or the grant ended.
    Dead,
}

/// A page that was answered with no.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Answered {
    /// The grant that a yes would have made.
    pub grant: GrantId,
    /// When the page could not be answered any more anyway.
    pub until: Timestamp,
}

impl Answered {
    /// The name of a page among all that is good once.
    pub fn name(grant: GrantId) -> TokenHash {
        TokenHash::of(format!("page {grant}").as_bytes())
    }
}

/// An access token that is out.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Access {
    /// Its `jti`.
    pub id: TokenId,
    /// The grant that it hangs from.
    pub grant: GrantId,
    /// What it opens: at most what the grant allows.
    pub scopes: Scopes,
    /// Since when.
    pub issued: Timestamp,
    /// Dead from this second.
    pub expires: Timestamp,
    /// SHA-256 of the whole token, when it is opaque: there is no signature then, and this is what proves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opaque: Option<Box<TokenHash>>,
    /// The one call that it is good for, once, when it is good for one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<Box<OneCall>>,
}

/// One call of one tool, by what is passed to it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct OneCall {
    /// The tool.
    pub tool: ToolName,
    /// SHA-256 of the arguments in canonical form ([`crate::jcs::hash`]).
    pub arguments: TokenHash,
}

/// A public key that verifies our signatures.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PublicKey {
    /// Its name.
    pub id: KeyId,
    /// The one algorithm it is for: `ES256`.
    pub alg: String,
    /// RFC 7517 members `kty`, `crv`, `x`, `y`.
    pub jwk: serde_json::Map<String, serde_json::Value>,
    /// Since when it is known.
    pub published: Timestamp,
    /// From when nothing that it signed can be valid; `None` while it signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retires: Option<Timestamp>,
}
