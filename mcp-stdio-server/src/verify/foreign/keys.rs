//! The keys of an issuer: fetched once for all who wait, believed as long as its server says, and a while longer when it
//! does not answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use shared::oauth::json::parse;
use shared::store::Answer;
use shared::time::Seconds;
use shared::token::ProviderKeys;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::site::{Fault, Site};

/// How long keys are believed whose server does not say.
const USUAL: Seconds = Seconds(3600);

/// The shortest and the longest time that a server may say.
const LIFETIMES: (Seconds, Seconds) = (Seconds(60), Seconds(86_400));

/// How long keys are used after their time when no others can be had. Tokens seldom live longer, and without their issuer
/// there are no new ones.
const STALE: Duration = Duration::from_secs(3600);

/// How long at least until keys are fetched again because a token is not signed by one of them: a stranger can name any.
const NOT_SOONER: Duration = Duration::from_secs(30);

/// How long an issuer that does not answer is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(5);

/// How long all that a fetch needs may take.
const TIME: Duration = Duration::from_secs(10);

/// Who publishes keys.
pub(super) trait Publisher: Send + Sync + 'static {
    /// The keys, and how long they are believed.
    fn keys(&self) -> Answer<'_, Result<(ProviderKeys, Seconds), Fault>>;
}

impl Publisher for Site {
    fn keys(&self) -> Answer<'_, Result<(ProviderKeys, Seconds), Fault>> {
        Box::pin(async move {
            let place = self.endpoints().await?.jwks.ok_or(Fault::Without("jwks_uri"))?;
            let reply = self.remote().get(&place).await?;
            if reply.status != 200 {
                return Err(Fault::Status("jwks_uri", reply.status));
            }
            let jwks =
                parse(&reply.body).map_err(|error| Fault::Content(format!("its keys cannot be read: {error}")))?;
            let keys = ProviderKeys::read(&jwks);
            if keys.is_empty() {
                return Err(Fault::Content("it publishes no key that can be used here".to_owned()));
            }
            Ok((keys, reply.freshness(USUAL)))
        })
    }
}

/// Keys that were fetched.
pub(super) struct Held {
    pub keys: ProviderKeys,
    /// Counts up from fetch to fetch.
    pub number: u64,
    since: Instant,
    until: Instant,
}

impl Held {
    /// Whether they may be used at `now`, when those with the number `unfit` do not do.
    fn will_do(&self, unfit: Option<u64>, now: Instant) -> bool {
        match unfit {
            Some(number) if number == self.number => now < self.since + NOT_SOONER,
            _ => now < self.until,
        }
    }
}

/// Whoever is asked has nothing to say.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Silent;

/// The keys of an issuer.
pub(super) struct Keys<P> {
    publisher: Arc<P>,
    held: RwLock<Option<Arc<Held>>>,
    /// Whose turn it is to fetch, and when that failed the last time.
    turn: Mutex<Option<Instant>>,
    ailing: AtomicBool,
}

impl<P: Publisher> Keys<P> {
    pub(super) fn of(publisher: Arc<P>) -> Self {
        Self { publisher, held: RwLock::default(), turn: Mutex::default(), ailing: AtomicBool::new(false) }
    }

    fn held(&self) -> Option<Arc<Held>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The keys of now. With `unfit`, others than those with that number, if there may be others.
    pub(super) async fn get(&self, unfit: Option<u64>) -> Result<Arc<Held>, Silent> {
        let fit = |held: Option<Arc<Held>>| held.filter(|held| held.will_do(unfit, Instant::now()));
        if let Some(held) = fit(self.held()) {
            return Ok(held);
        }
        let mut failed = self.turn.lock().await;
        // Whoever waited may find what another fetched.
        if let Some(held) = fit(self.held()) {
            return Ok(held);
        }
        let is_left_alone = failed.is_some_and(|at| at.elapsed() < LEFT_ALONE);
        let fetched = if is_left_alone { Err(None) } else { self.fetch().await.map_err(Some) };
        match fetched {
            Ok(held) => {
                *failed = None;
                Ok(held)
            }
            Err(fault) => {
                if let Some(fault) = fault {
                    *failed = Some(Instant::now());
                    self.ailing(&fault);
                }
                // Keys that a token is not signed by are no help.
                let stale = self.held().filter(|held| unfit != Some(held.number));
                stale.filter(|held| Instant::now() < held.until + STALE).ok_or(Silent)
            }
        }
    }

    async fn fetch(&self) -> Result<Arc<Held>, Fault> {
        let late = |_| Fault::Content("it takes too long".to_owned());
        let (keys, lifetime) = timeout(TIME, self.publisher.keys()).await.map_err(late)??;
        let lifetime = Duration::from_secs(lifetime.clamp(LIFETIMES.0, LIFETIMES.1).0);
        if self.ailing.swap(false, Ordering::Relaxed) {
            tracing::info!("the authorization server has keys again");
        }
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let (number, since) = (held.as_ref().map_or(1, |held| held.number + 1), Instant::now());
        let fresh = Arc::new(Held { keys, number, since, until: since + lifetime });
        *held = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// The log says it once until it is well again.
    fn ailing(&self, fault: &Fault) {
        if !self.ailing.swap(true, Ordering::Relaxed) {
            tracing::warn!(%fault, "the keys of the authorization server cannot be had");
        }
    }
}
