//! What an issuer said of tokens, by their hashes, within bounds.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use shared::secret::TokenHash;
use shared::time::Timestamp;
use shared::token::{ForeignToken, TokenError};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// At most this many tokens are remembered of each kind. Those that are refused are of their own kind, so that whoever
/// sends many has nobody else's forgotten.
const REMEMBERED: usize = 4096;

/// How long it is believed that a token is no good. Issuers of several machines may learn of a new one a little late.
const REFUSED: Duration = Duration::from_secs(2);

/// What was said of a token.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub token: Result<ForeignToken, TokenError>,
    /// When the question was asked.
    pub asked: Instant,
}

impl Told {
    /// What it means at `now`.
    pub(super) fn at(self, now: Timestamp) -> Result<ForeignToken, TokenError> {
        self.token.and_then(|token| token.alive(now).map(|()| token))
    }
}

/// Answers.
#[derive(Default)]
pub(super) struct Answers {
    active: HashMap<TokenHash, Told>,
    refused: HashMap<TokenHash, Told>,
    /// Who asks about a token.
    turns: HashMap<TokenHash, Weak<Mutex<()>>>,
}

impl Answers {
    /// What was said of a token, if that is younger than `cache`, or the question is not older than whoever `arrived`.
    pub(super) fn fresh(&self, hash: &TokenHash, cache: Duration, arrived: Instant) -> Option<Told> {
        let is_fresh = |told: &&Told, life: Duration| told.asked >= arrived || told.asked.elapsed() < life;
        let active = self.active.get(hash).filter(|told| is_fresh(told, cache));
        active.or_else(|| self.refused.get(hash).filter(|told| is_fresh(told, REFUSED.min(cache)))).cloned()
    }

    /// Whether a token was good the last time, however long ago.
    pub(super) fn is_active(&self, hash: &TokenHash, now: Timestamp) -> bool {
        self.active.get(hash).is_some_and(|told| told.clone().at(now).is_ok())
    }

    /// The turn to ask about a token.
    pub(super) fn turn(&mut self, hash: &TokenHash) -> Arc<Mutex<()>> {
        if let Some(turn) = self.turns.get(hash).and_then(Weak::upgrade) {
            return turn;
        }
        if self.turns.len() >= REMEMBERED {
            self.turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::default();
        self.turns.insert(*hash, Arc::downgrade(&turn));
        turn
    }

    /// How much is remembered.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.active.len() + self.refused.len() + self.turns.len()
    }

    /// Remembers what was said.
    pub(super) fn note(&mut self, hash: TokenHash, told: Told, now: Timestamp) {
        self.active.remove(&hash);
        self.refused.remove(&hash);
        let (kind, is_kept): (_, fn(&Told, Timestamp) -> bool) = match told.token {
            Ok(_) => (&mut self.active, |told, now| told.clone().at(now).is_ok()),
            Err(_) => (&mut self.refused, |told, _| told.asked.elapsed() < REFUSED),
        };
        if kind.len() >= REMEMBERED {
            kind.retain(|_, told| is_kept(told, now));
        }
        if kind.len() >= REMEMBERED {
            kind.clear();
        }
        kind.insert(hash, told);
    }
}
