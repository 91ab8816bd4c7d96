//! Checking tokens against the store that this process follows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::secret::{Secret, TokenHash};
use shared::state::{Facts, PublicKey, Wanted};
use shared::store::{Answer, Store, StoreError};
use shared::time::Timestamp;
use shared::token::{Expected, KeyRing, TokenError, VerifiedToken};
use shared::uri::{Issuer, Resource};
use tokio::sync::watch;

use super::{Checked, Unavailable, Unverified, Verify};

/// How long a call waits for a store that is still being read. A host shows a spinner for that long; then it learns
/// that the store is loading.
const PATIENCE: Duration = Duration::from_secs(2);

/// At most this many verified tokens are remembered: one per client and hour is far less.
const REMEMBERED: usize = 1024;

/// A verifier that follows a store.
pub struct Local {
    store: Arc<dyn Store>,
    resource: Resource,
    only_issuer: Option<Issuer>,
    changed: watch::Receiver<u64>,
    known: Mutex<Known>,
    /// The store had no answer the last time, and the log says so.
    ailing: AtomicBool,
}

/// What was read of the store, and what follows from it. Dropped when keys or issuers change.
#[derive(Default)]
struct Known {
    /// The change counter when it was read; `None` before the first time.
    at: Option<u64>,
    keys: Vec<PublicKey>,
    ring: KeyRing,
    issuers: Vec<Issuer>,
    /// Tokens whose signature and claims were right, by hash. Whether they live is asked at every call.
    verified: HashMap<TokenHash, VerifiedToken>,
}

impl Local {
    /// A verifier of tokens for `resource`, from any issuer of the store, or from `only_issuer`.
    pub fn new(store: Arc<dyn Store>, resource: Resource, only_issuer: Option<Issuer>) -> Self {
        let changed = store.changed();
        Self { store, resource, only_issuer, changed, known: Mutex::default(), ailing: AtomicBool::new(false) }
    }

    async fn check_now(&self, token: &Secret, now: Timestamp) -> Result<Checked, Unverified> {
        let hash = token.hash();
        let remembered = self.known().verified.get(&hash).map(|token| token.claims().jti);
        // The first look brings the follower up to date, so that a key published a moment ago is known below.
        let mut looked_up = (remembered, self.load(remembered).await?);
        self.refresh()?;
        let token = self.verified(hash, token, now).map_err(Unverified::Token)?;
        let jti = Some(token.claims().jti);
        if looked_up.0 != jti {
            looked_up = (jti, self.load(jti).await?);
        }
        Ok(Checked { token, facts: looked_up.1 })
    }

    async fn load(&self, access: Option<shared::id::TokenId>) -> Result<Facts, Unverified> {
        let wanted = Wanted { access, ..Wanted::default() };
        let mut changed = self.changed.clone();
        let load = async {
            loop {
                changed.mark_unchanged();
                match self.store.load(&wanted).await {
                    // The end of loading counts as a change.
                    Err(StoreError::Loading) if changed.changed().await.is_ok() => {}
                    answer => return answer,
                }
            }
        };
        let answer = tokio::time::timeout(PATIENCE, load).await.unwrap_or(Err(StoreError::Loading));
        answer.inspect(|_| self.ailing.store(false, Ordering::Relaxed)).map_err(|error| self.unavailable(&error))
    }

    /// What a caller learns of a store that has no answer. The log learns more, once until it is well again.
    fn unavailable(&self, error: &StoreError) -> Unverified {
        if !self.ailing.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "tools that need a token are refused: the store has no answer");
        }
        Unverified::Unavailable(match error {
            StoreError::Absent(_) => Unavailable::Absent,
            StoreError::Loading => Unavailable::Loading,
            _ => Unavailable::Unreadable,
        })
    }

    /// Reads keys and issuers when the store has changed since the last time.
    fn refresh(&self) -> Result<(), Unverified> {
        // Before reading: a change in between is then seen next time.
        let count = *self.changed.borrow();
        if self.known().at == Some(count) {
            return Ok(());
        }
        let mut read = None;
        self.store
            .read(&mut |state| read = Some((state.keys(), state.issuers())))
            .map_err(|error| self.unavailable(&error))?;
        let (keys, issuers) = read.unwrap_or_default();
        let issuers = self.only_issuer.clone().map_or(issuers, |only| vec![only]);
        let mut known = self.known();
        known.at = Some(count);
        if known.keys != keys || known.issuers != issuers {
            known.ring = KeyRing::new(&keys);
            known.keys = keys;
            known.issuers = issuers;
            known.verified.clear();
        }
        Ok(())
    }

    fn verified(&self, hash: TokenHash, token: &Secret, now: Timestamp) -> Result<VerifiedToken, TokenError> {
        let mut known = self.known();
        if let Some(token) = known.verified.get(&hash) {
            return Ok(token.clone());
        }
        let expected = Expected { issuers: known.issuers.clone(), resource: self.resource.clone() };
        let token = known.ring.verify(token.expose(), &expected, now)?;
        if known.verified.len() >= REMEMBERED {
            known.verified.retain(|_, token| token.claims().exp > now);
        }
        if known.verified.len() >= REMEMBERED {
            known.verified.clear();
        }
        known.verified.insert(hash, token.clone());
        Ok(token)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verify for Local {
    fn check<'a>(&'a self, token: &'a Secret, now: Timestamp) -> Answer<'a, Result<Checked, Unverified>> {
        Box::pin(self.check_now(token, now))
    }

    fn issuers(&self) -> Vec<Issuer> {
        // Best effort: without a store there is nobody to name.
        let _ = self.refresh();
        self.known().issuers.clone()
    }
}
