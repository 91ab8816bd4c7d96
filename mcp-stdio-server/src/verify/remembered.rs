//! Tokens whose signature and claims were right, so that the next call need not compute it again.

use std::collections::{HashMap, HashSet};

use shared::secret::TokenHash;
use shared::time::Timestamp;
use shared::token::{ForeignToken, TokenError, VerifiedToken};

/// At most this many are remembered: one per client and hour is far less.
const REMEMBERED: usize = 1024;

/// What a token's end is known of.
pub trait Ends {
    /// From when it opens nothing.
    fn ends(&self) -> Option<Timestamp>;
}

impl Ends for VerifiedToken {
    fn ends(&self) -> Option<Timestamp> {
        Some(self.claims().exp)
    }
}

impl Ends for ForeignToken {
    fn ends(&self) -> Option<Timestamp> {
        self.expires()
    }
}

/// Tokens by their hashes.
pub struct Remembered<T> {
    verified: HashMap<TokenHash, T>,
    /// Tokens that were seen expired: a clock that is set back does not wake them (F-16).
    expired: HashSet<TokenHash>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self { verified: HashMap::new(), expired: HashSet::new() }
    }
}

impl<T: Ends + Clone> Remembered<T> {
    /// The token of this hash, if it was verified; nothing when it has to be checked.
    pub fn verified(&self, hash: &TokenHash) -> Option<&T> {
        self.verified.get(hash)
    }

    /// Whether a token was seen expired. Its hash is not computed when none was.
    pub fn is_expired(&self, hash: impl FnOnce() -> TokenHash) -> bool {
        !self.expired.is_empty() && self.expired.contains(&hash())
    }

    /// What is known of a token at `now`; `None` when it has to be checked.
    pub fn recall(&mut self, hash: &TokenHash, now: Timestamp) -> Option<Result<T, TokenError>> {
        if self.expired.contains(hash) {
            return Some(Err(TokenError::Expired));
        }
        let token = self.verified.get(hash)?;
        if token.ends().is_some_and(|end| end <= now) {
            self.note(*hash, &Err(TokenError::Expired), now);
            return Some(Err(TokenError::Expired));
        }
        Some(Ok(token.clone()))
    }

    /// Notes how a token was found.
    pub fn note(&mut self, hash: TokenHash, verified: &Result<T, TokenError>, now: Timestamp) {
        match verified {
            Ok(token) => {
                if self.verified.len() >= REMEMBERED {
                    self.verified.retain(|_, token| token.ends().is_none_or(|end| end > now));
                }
                if self.verified.len() >= REMEMBERED {
                    self.verified.clear();
                }
                self.verified.insert(hash, token.clone());
            }
            // Only after the signature was found right: a stranger cannot fill this.
            Err(TokenError::Expired) => {
                self.verified.remove(&hash);
                if self.expired.len() >= REMEMBERED {
                    self.expired.clear();
                }
                self.expired.insert(hash);
            }
            Err(_) => {}
        }
    }

    /// Forgets what was verified. What was seen expired stays so.
    pub fn forget_verified(&mut self) {
        self.verified.clear();
    }
}
