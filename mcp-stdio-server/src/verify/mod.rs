//! Checking a token: its signature and claims, and whether what stands behind it still lives.

pub mod foreign;
pub mod local;
pub mod remembered;

use shared::id::{GrantId, TokenId};
use shared::secret::Secret;
use shared::state::Facts;
use shared::store::Answer;
use shared::time::Timestamp;
use shared::token::TokenError;
use shared::uri::Issuer;
use tokio::sync::watch;

use crate::token::Token;

/// A way to check tokens: following the store here, asking the service elsewhere.
pub trait Verify: Send + Sync {
    /// Checks one token. Asks anew at every call; the answer to "is it revoked?" is never older than the question.
    fn check<'a>(&'a self, token: &'a Secret, now: Timestamp) -> Answer<'a, Result<Checked, Unverified>>;

    /// What is known now about a token that was checked before; `None` while nothing is.
    fn again<'a>(&'a self, _token: &'a Token) -> Answer<'a, Option<Facts>> {
        Box::pin(std::future::ready(None))
    }

    /// What is known now about a grant; `None` while nothing is.
    fn grant(&self, _grant: GrantId) -> Answer<'_, Option<Facts>> {
        Box::pin(std::future::ready(None))
    }

    /// Uses up a token that is good for one call. Of two that do, one succeeds. Where nothing can be used up, no such token
    /// is good.
    fn spend(&self, _token: TokenId) -> Answer<'_, Result<(), Unverified>> {
        Box::pin(std::future::ready(Err(Unverified::Token(TokenError::Dead))))
    }

    /// Counts up when an answer may have changed; `None` where nothing tells.
    fn changed(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// Who issues tokens that would pass, as far as is known.
    fn issuers(&self) -> Answer<'_, Vec<Issuer>>;
}

/// A token whose signature and claims are right, and what is known about it. Whether it is alive is for the guard.
#[derive(Debug)]
pub struct Checked {
    /// The token.
    pub token: Token,
    /// The records behind it; none behind another issuer's.
    pub facts: Facts,
}

/// Why a token was not checked through.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unverified {
    /// The token is no good.
    Token(TokenError),
    /// There is nothing to check it against.
    Unavailable(Unavailable),
}

/// Why there is no answer. For a person: the path is in the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unavailable {
    /// Still being read.
    #[error("store loading; try again in a moment")]
    Loading,
    /// There is none.
    #[error(
        "store unavailable: there is none yet; start authz-service, or name its folder with --data or MCP_AUTHZ_DATA"
    )]
    Absent,
    /// Not readable, damaged, or from a newer program.
    #[error("store unavailable: it cannot be read; this server's log and `authz-service` say why")]
    Unreadable,
    /// The authorization server does not answer, or with something else.
    #[error("the authorization server does not answer; try again in a moment")]
    Issuer,
    /// Too many tokens wait to be asked about.
    #[error("too many tokens are being checked; try again in a moment")]
    Busy,
}
