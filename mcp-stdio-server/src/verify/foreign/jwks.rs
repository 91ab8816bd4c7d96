//! Checking tokens by the keys that their issuer publishes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::secret::Secret;
use shared::state::Facts;
use shared::store::Answer;
use shared::time::Timestamp;
use shared::token::{AccessTokenFor, ForeignToken, TokenError};
use shared::uri::Issuer;

use super::keys::{Held, Keys};
use super::site::Site;
use crate::verify::remembered::Remembered;
use crate::verify::{Checked, Unavailable, Unverified, Verify};

/// A verifier by published keys.
pub struct Jwks {
    wanted: AccessTokenFor,
    site: Arc<Site>,
    keys: Arc<Keys<Site>>,
    known: Mutex<Known>,
}

/// Tokens that were checked with the keys of this number.
#[derive(Default)]
struct Known {
    number: u64,
    tokens: Remembered<ForeignToken>,
}

impl Jwks {
    /// A verifier of such tokens, by the keys of `site`.
    pub fn new(wanted: AccessTokenFor, site: Arc<Site>) -> Self {
        let keys = Arc::new(Keys::of(Arc::clone(&site)));
        Self { wanted, site, keys, known: Mutex::default() }
    }

    /// Fetches the keys before anybody needs them.
    pub fn prepare(&self) {
        let keys = Arc::clone(&self.keys);
        self.site.runtime().spawn(async move { drop(keys.get(None).await) });
    }

    async fn check_now(&self, token: &Secret, now: Timestamp) -> Result<ForeignToken, Unverified> {
        let mut unfit = None;
        loop {
            let held = self.held(unfit).await?;
            match self.verified(&held, token, now) {
                // The issuer may have other keys since we looked.
                Err(TokenError::Key | TokenError::Signature) if unfit != Some(held.number) => unfit = Some(held.number),
                verified => return verified.map_err(Unverified::Token),
            }
        }
    }

    async fn held(&self, unfit: Option<u64>) -> Result<Arc<Held>, Unverified> {
        if let Some(held) = self.keys.fit(unfit) {
            return Ok(held);
        }
        let keys = Arc::clone(&self.keys);
        let fetched = self.site.runtime().spawn(async move { keys.get(unfit).await }).await;
        fetched.ok().and_then(Result::ok).ok_or(Unverified::Unavailable(Unavailable::Issuer))
    }

    fn verified(&self, held: &Held, token: &Secret, now: Timestamp) -> Result<ForeignToken, TokenError> {
        let hash = token.hash();
        if let Some(known) = self.known(held.number).tokens.recall(&hash, now) {
            return known;
        }
        let verified = held.keys.verify_access(token.expose(), &self.wanted, now);
        self.known(held.number).tokens.note(hash, &verified, now);
        verified
    }

    fn known(&self, number: u64) -> MutexGuard<'_, Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // What other keys have signed counts no more.
        if known.number != number {
            known.number = number;
            known.tokens.forget_verified();
        }
        known
    }
}

impl Verify for Jwks {
    fn check<'a>(&'a self, token: &'a Secret, now: Timestamp) -> Answer<'a, Result<Checked, Unverified>> {
        Box::pin(async move {
            let token = self.check_now(token, now).await?;
            Ok(Checked { token: token.into(), facts: Facts::default() })
        })
    }

    fn issuers(&self) -> Answer<'_, Vec<Issuer>> {
        Box::pin(std::future::ready(vec![self.wanted.issuer.clone()]))
    }
}
