//! A token that was checked, whoever issued it, and what it says.

use shared::id::{GrantId, TokenId};
use shared::oauth::jwt::Audience;
use shared::scope::{Scopes, expand};
use shared::secret::TokenHash;
use shared::state::{Facts, OneCall};
use shared::time::Timestamp;
use shared::token::{ForeignToken, TokenError, VerifiedToken};

/// Evidence that a token is for this server: one of the store's, whose records have the last word, or another issuer's.
#[derive(Clone, Debug)]
pub enum Token {
    /// Of the store.
    Ours(VerifiedToken),
    /// Of an authorization server of other people's. No records stand behind it.
    Foreign(ForeignToken),
}

impl Token {
    /// Asks whether it is good now: one of ours by what the store knows of it.
    ///
    /// # Errors
    /// Why it is not.
    pub fn alive(&self, facts: &Facts, now: Timestamp) -> Result<(), TokenError> {
        match self {
            Self::Ours(token) => token.alive(facts, now),
            Self::Foreign(token) => token.alive(now),
        }
    }

    /// Whether its scopes open what needs `needed`.
    pub fn opens(&self, needed: &Scopes) -> bool {
        let held = self.scopes();
        needed.within(held) || needed.within(&expand(held))
    }

    /// Whether its person lets it call this tool, if its scopes do.
    pub fn allows(&self, facts: &Facts, tool: &str) -> bool {
        match self {
            Self::Ours(_) => facts.grant.as_ref().is_some_and(|grant| grant.allows(tool)),
            Self::Foreign(_) => true,
        }
    }

    /// Whether its person agreed to this tool when it said something else of itself.
    pub fn saw_another(&self, facts: &Facts, tool: &str, now: Option<&TokenHash>) -> bool {
        match self {
            Self::Ours(_) => facts.grant.as_ref().is_some_and(|grant| grant.saw_another(tool, now)),
            Self::Foreign(_) => false,
        }
    }

    /// The one call that it is good for, if it is for one.
    pub fn once<'a>(&self, facts: &'a Facts) -> Option<(TokenId, &'a OneCall)> {
        match self {
            Self::Ours(token) => Some((token.claims().jti, facts.access.as_ref()?.once.as_deref()?)),
            Self::Foreign(_) => None,
        }
    }

    /// Who issued it.
    pub fn issuer(&self) -> &str {
        match self {
            Self::Ours(token) => token.claims().iss.as_str(),
            Self::Foreign(token) => token.issuer().as_str(),
        }
    }

    /// Whom it acts for: a person, or the client itself.
    pub fn subject(&self) -> &str {
        match self {
            Self::Ours(token) => &token.claims().sub,
            Self::Foreign(token) => token.subject(),
        }
    }

    /// To whom it was given.
    pub fn client(&self) -> &str {
        match self {
            Self::Ours(token) => token.claims().client_id.as_str(),
            Self::Foreign(token) => token.client(),
        }
    }

    /// What it opens.
    pub fn scopes(&self) -> &Scopes {
        match self {
            Self::Ours(token) => &token.claims().scope,
            Self::Foreign(token) => token.scopes(),
        }
    }

    /// Whom it is for.
    pub fn audience(&self) -> String {
        match self {
            Self::Ours(token) => match &token.claims().aud {
                Audience::One(resource) => resource.as_str().to_owned(),
                Audience::Many(resources) => resources.join(" "),
            },
            Self::Foreign(token) => token.audience().as_str().to_owned(),
        }
    }

    /// From when it opens nothing, as far as that is known.
    pub fn expires(&self) -> Option<Timestamp> {
        match self {
            Self::Ours(token) => Some(token.claims().exp),
            Self::Foreign(token) => token.expires(),
        }
    }

    /// The consent that it hangs from, in the store.
    pub fn grant(&self) -> Option<GrantId> {
        match self {
            Self::Ours(token) => Some(token.claims().grant),
            Self::Foreign(_) => None,
        }
    }
}

impl From<VerifiedToken> for Token {
    fn from(token: VerifiedToken) -> Self {
        Self::Ours(token)
    }
}

impl From<ForeignToken> for Token {
    fn from(token: ForeignToken) -> Self {
        Self::Foreign(token)
    }
}
