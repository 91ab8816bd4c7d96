//! The decision: a tool's scopes × a credential × what the store knows × the time → a caller, or a challenge.

use shared::oauth::error::ErrorCode;
use shared::oauth::jwt::AccessClaims;
use shared::scope::{Scopes, expand};
use shared::state::{Facts, User};
use shared::time::Timestamp;
use shared::token::{TokenError, VerifiedToken};

/// Who may call a tool.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Access {
    /// Anybody.
    Open,
    /// Whoever holds a token with all of these scopes.
    Scopes(Scopes),
}

/// What a call shows of its right: nothing, a token that is no good, or one whose signature and claims were checked,
/// with what the store knows about it.
pub enum Shown<'a> {
    /// No token came with the call.
    Nothing,
    /// A token came, and its signature or its claims are wrong.
    Bad(TokenError),
    /// A token came and verified.
    Token(&'a VerifiedToken, &'a Facts),
}

/// Evidence that a token opens a tool. Only [`admit`] makes one.
#[derive(Clone, Debug)]
pub struct Caller {
    token: VerifiedToken,
    client_name: Option<String>,
    user: Option<User>,
}

impl Caller {
    /// What the token says.
    pub fn claims(&self) -> &AccessClaims {
        self.token.claims()
    }

    /// What the client calls itself: self-declared, not to be trusted.
    pub fn client_name(&self) -> Option<&str> {
        self.client_name.as_deref()
    }

    /// The person who consented.
    pub fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }
}

/// Why a call is refused. The cause is for the log; the caller learns [`Challenge::code`] (RFC 6750 section 3.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Challenge {
    /// No token came with the call.
    Unauthorized,
    /// The token is no good.
    InvalidToken(TokenError),
    /// The token lives and opens something else.
    InsufficientScope,
}

impl Challenge {
    /// What the caller may know: expired, revoked, unknown and foreign tokens are one (contract, ARG-02, ARG-04).
    pub fn code(&self) -> &'static str {
        match self {
            // RFC 6750 section 3.1: without a credential there is no error to name; MCP hosts need a word.
            Self::Unauthorized => "unauthorized",
            Self::InvalidToken(_) => ErrorCode::InvalidToken.as_str(),
            Self::InsufficientScope => ErrorCode::InsufficientScope.as_str(),
        }
    }
}

/// Decides whether a call may run a tool that needs `needed`. Pure: the same token, facts and second give the same
/// answer.
///
/// # Errors
/// The first thing that is missing.
pub fn admit(needed: &Scopes, shown: Shown<'_>, now: Timestamp) -> Result<Caller, Challenge> {
    let (token, facts) = match shown {
        Shown::Nothing => return Err(Challenge::Unauthorized),
        Shown::Bad(cause) => return Err(Challenge::InvalidToken(cause)),
        Shown::Token(token, facts) => (token, facts),
    };
    token.alive(facts, now).map_err(Challenge::InvalidToken)?;
    let held = &token.claims().scope;
    if !needed.within(held) && !needed.within(&expand(held)) {
        return Err(Challenge::InsufficientScope);
    }
    Ok(Caller {
        token: token.clone(),
        client_name: facts.client.as_ref().and_then(|client| client.name.clone()),
        user: facts.grant_user.clone(),
    })
}
