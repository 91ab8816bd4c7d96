//! What can happen. The same values are journal lines, the audit trail, and what followers apply.

use serde::{Deserialize, Serialize};

use super::link::Link;
use super::passkey::{AnsweredChallenge, Passkey};
use super::record::{
    Access, Answered, Client, Code, Device, Family, Grant, InitialToken, PublicKey, Pushed, Session, SetupLink, User,
    UserStage,
};
use super::tools::Tool;
use crate::id::{ClientId, GrantId, KeyId, TokenId, UserName};
use crate::scope::Scopes;
use crate::secret::TokenHash;
use crate::time::Timestamp;
use crate::uri::{Issuer, Resource};

/// One thing that happened. A commit is a list of them, applied whole or not at all.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A service with this name gives out tokens from this store.
    IssuerDeclared(Issuer),
    /// A public key may verify from now on.
    KeyPublished(PublicKey),
    /// A key signs no more, and is forgotten at `retires`.
    KeyRetired {
        /// Which.
        id: KeyId,
        /// When nothing that it signed can be valid any more.
        retires: Timestamp,
    },
    /// A link for making the first account is out. It replaces an earlier one.
    SetupOffered(SetupLink),
    /// The first account was made with the link, which is spent.
    OwnerCreated {
        /// The account.
        user: User,
        /// The link's hash.
        setup: TokenHash,
    },
    /// An account was made.
    UserCreated(User),
    /// A password was set; every session and grant from before ends.
    PasswordChanged {
        /// Whose.
        user: UserName,
        /// The new argon2id hash.
        password: String,
    },
    /// A person added a passkey.
    PasskeyAdded {
        /// Whose.
        user: UserName,
        /// The passkey.
        passkey: Passkey,
        /// What its authenticator answered.
        challenge: AnsweredChallenge,
    },
    /// A passkey signed its person in.
    PasskeyUsed {
        /// The hash of its credential id.
        passkey: TokenHash,
        /// How many signatures its authenticator has made; 0 when it does not count.
        counter: u32,
        /// What it answered.
        challenge: AnsweredChallenge,
    },
    /// A passkey signs nobody in any more: the hash of its credential id.
    PasskeyRemoved(TokenHash),
    /// A person of an OpenID provider signs in to an account from now on.
    UpstreamLinked {
        /// Whose.
        user: UserName,
        /// The provider and its person.
        link: Link,
    },
    /// A person of an OpenID provider signs in to no account any more: the hash of both ([`Link::hash`]).
    UpstreamUnlinked(TokenHash),
    /// An account works again, rests, or is gone. Unless it works, every session and grant of it ends.
    UserStageSet {
        /// Whose.
        user: UserName,
        /// What it is now.
        stage: UserStage,
    },
    /// Someone logged in.
    SessionOpened(Session),
    /// Someone logged out.
    SessionClosed(TokenHash),
    /// Someone is logged out everywhere.
    SessionsClosed(UserName),
    /// A client was registered.
    ClientRegistered(Client),
    /// A client changed its registration (RFC 7592).
    ClientUpdated(Client),
    /// A token with which clients may register is out.
    InitialTokenIssued(InitialToken),
    /// A client registered with it.
    InitialTokenSpent(TokenHash),
    /// A client's metadata document was read, and a person is saying yes to what it describes. Replaces what an earlier
    /// document described.
    ClientDescribed(Client),
    /// A client was removed; all its tokens are dead.
    ClientRemoved(ClientId),
    /// A person said yes: a grant, and the code for its first tokens.
    Approved {
        /// The consent.
        grant: Grant,
        /// The code.
        code: Code,
        /// The login with which the grant ends, if the person wanted it so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<TokenHash>,
    },
    /// A client pushed an authorization request (RFC 9126).
    RequestPushed(Pushed),
    /// A browser came with a pushed request, which is kept until its page has expired.
    PushedOpened {
        /// The hash of its name.
        hash: TokenHash,
        /// Until when it is kept.
        until: Timestamp,
    },
    /// A pushed request was answered: it is good once.
    PushedSpent(TokenHash),
    /// A device asked for a code, and waits for a person (RFC 8628).
    DeviceAsked(Device),
    /// A person said yes to a device.
    DeviceApproved {
        /// The device code's hash.
        device: TokenHash,
        /// The consent.
        grant: Grant,
        /// The login with which the grant ends, if the person wanted it so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<TokenHash>,
    },
    /// A person said no to a device.
    DeviceDenied {
        /// The device code's hash.
        device: TokenHash,
        /// Who.
        user: UserName,
    },
    /// A device code became tokens.
    DeviceRedeemed {
        /// The device code's hash.
        device: TokenHash,
        /// The access token.
        access: Access,
        /// The refresh token's family, when the client gets one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        family: Option<Family>,
    },
    /// A person said no. The page is answered with that, and nothing else is stored.
    Denied {
        /// Who.
        user: UserName,
        /// To whom.
        client: ClientId,
        /// Which page, and until when it could be answered; none in lines of before this was kept, and none for a request
        /// that is spent by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        page: Option<Answered>,
    },
    /// A client proved who it is by a signed assertion, which is good once (RFC 7523 section 3, `jti`).
    AssertionUsed {
        /// Its name: SHA-256 over the client and `jti`.
        name: TokenHash,
        /// When it ends anyway, and need not be remembered any longer.
        expires: Timestamp,
    },
    /// A client that the operator trusts got a token for itself (RFC 6749 section 4.4).
    ClientGranted {
        /// The grant, which nobody had to consent to.
        grant: Grant,
        /// The access token.
        access: Access,
    },
    /// A code became tokens.
    CodeRedeemed {
        /// The code's hash.
        code: TokenHash,
        /// The access token.
        access: Access,
        /// The refresh token's family, when the client gets one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        family: Option<Family>,
    },
    /// A refresh token became its successor.
    RefreshRotated {
        /// The family.
        grant: GrantId,
        /// The refresh token that was presented.
        presented: TokenHash,
        /// The refresh token that replaces it.
        successor: TokenHash,
        /// The new access token.
        access: Access,
    },
    /// A refresh token was presented again within the grace: the same successor was given (contract C7).
    RefreshRepeated {
        /// The family.
        grant: GrantId,
        /// The refresh token that was presented.
        presented: TokenHash,
        /// The new access token.
        access: Access,
    },
    /// Every token of a grant is dead.
    GrantRevoked {
        /// Which.
        grant: GrantId,
        /// Why.
        cause: RevocationCause,
    },
    /// What one person gave, to one client or to all, is taken back: every token is dead.
    GrantsRevoked {
        /// Whose.
        user: UserName,
        /// To whom; `None` for everybody.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<ClientId>,
        /// Why.
        cause: RevocationCause,
    },
    /// One access token is dead.
    AccessRevoked(TokenId),
    /// An access token became one for one call (RFC 8693).
    TokenExchanged {
        /// The token that was presented, which stays what it is.
        subject: TokenId,
        /// The token for the call.
        access: Access,
    },
    /// A token for one call was used for it.
    CallSpent(TokenId),
    /// The operator repaired the journal. Changes nothing; the line is for the audit trail.
    StoreRepaired {
        /// From which line on it could not be read.
        line: u64,
        /// The name of the file that the damaged journal is in now.
        set_aside: String,
    },
    /// A server told which tools it has.
    ToolsAnnounced {
        /// The server's name.
        resource: Resource,
        /// Its tools.
        tools: Vec<Tool>,
        /// The scopes that something else needs there, a resource or a prompt.
        #[serde(default, skip_serializing_if = "Scopes::is_empty")]
        scopes: Scopes,
    },
    /// Something was seen past its end: it stays ended, also when the clock is set back (fault F-16).
    Expired(Expired),
    /// What has ended is forgotten.
    Swept {
        /// Codes, sessions, tokens and keys that ended before this second.
        before: Timestamp,
        /// Self-registered clients from before this second that no grant needs.
        unused_clients: Timestamp,
    },
}

/// What was seen past its end.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Expired {
    /// A code that nobody redeemed.
    Code(TokenHash),
    /// A session.
    Session(TokenHash),
    /// An access token.
    Access(TokenId),
    /// The refresh tokens of a grant.
    Refresh(GrantId),
}

/// Why a grant was revoked.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationCause {
    /// Its code was redeemed twice (RFC 6749 section 4.1.2).
    CodeReplayed,
    /// A spent refresh token came back (RFC 9700 section 4.14.2).
    RefreshReplayed,
    /// The client gave it back (RFC 7009).
    Client,
    /// The person took it back.
    User,
    /// The operator took it back.
    Operator,
}
