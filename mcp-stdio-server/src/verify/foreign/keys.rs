//! The keys of an issuer: fetched once for all who wait, believed as long as its server says, and a while longer when it
//! does not answer.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use shared::oauth::json::parse;
use shared::store::Answer;
use shared::time::Seconds;
use shared::token::ProviderKeys;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::site::{Fault, Health, Site};

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
                self.moved(reply.status).await;
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
    until: Instant,
}

/// Whoever is asked has nothing to say.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Silent;

/// The keys of an issuer.
pub(super) struct Keys<P> {
    publisher: Arc<P>,
    held: RwLock<Option<Arc<Held>>>,
    turn: Mutex<Turn>,
    health: Health,
}

/// Whose turn it is to fetch.
#[derive(Default)]
struct Turn {
    /// When that failed, if it did the last time.
    failed: Option<Instant>,
    /// When it was last done because keys that were there did not do.
    forced: Option<Instant>,
}

impl<P: Publisher> Keys<P> {
    pub(super) fn of(publisher: Arc<P>) -> Self {
        Self { publisher, held: RwLock::default(), turn: Mutex::default(), health: Health::default() }
    }

    fn held(&self) -> Option<Arc<Held>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those that are believed, and are not the ones that do not do.
    pub(super) fn fit(&self, unfit: Option<u64>) -> Option<Arc<Held>> {
        self.held().filter(|held| Some(held.number) != unfit && Instant::now() < held.until)
    }

    /// The keys of now. With `unfit`, others than those with that number, if there may be others.
    pub(super) async fn get(&self, unfit: Option<u64>) -> Result<Arc<Held>, Silent> {
        if let Some(held) = self.fit(unfit) {
            return Ok(held);
        }
        let mut turn = self.turn.lock().await;
        // Whoever waited may find what another fetched.
        if let Some(held) = self.fit(unfit) {
            return Ok(held);
        }
        let is_within = |at: Option<Instant>, time| at.is_some_and(|at| at.elapsed() < time);
        // What is there is what there is: it was looked at a moment ago.
        if let Some(held) = self.fit(None).filter(|_| turn.failed.is_none() && is_within(turn.forced, NOT_SOONER)) {
            return Ok(held);
        }
        if is_within(turn.failed, LEFT_ALONE) {
            return self.stale(unfit);
        }
        let is_forced = self.fit(None).is_some();
        match self.fetch().await {
            Ok(held) => {
                *turn = Turn { failed: None, forced: if is_forced { Some(Instant::now()) } else { turn.forced } };
                Ok(held)
            }
            Err(fault) => {
                turn.failed = Some(Instant::now());
                self.health.ill(&fault);
                self.stale(unfit)
            }
        }
    }

    /// Keys whose time is over, a while longer. Those that a token is not signed by are no help.
    fn stale(&self, unfit: Option<u64>) -> Result<Arc<Held>, Silent> {
        let held = self.held().filter(|held| Some(held.number) != unfit && Instant::now() < held.until + STALE);
        held.ok_or(Silent)
    }

    async fn fetch(&self) -> Result<Arc<Held>, Fault> {
        let late = |_| Fault::Content("it takes too long".to_owned());
        let (keys, lifetime) = timeout(TIME, self.publisher.keys()).await.map_err(late)??;
        self.health.well();
        let until = Instant::now() + Duration::from_secs(lifetime.clamp(LIFETIMES.0, LIFETIMES.1).0);
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let number = held.as_ref().map_or(1, |held| held.number + 1);
        let fresh = Arc::new(Held { keys, number, until });
        *held = Some(Arc::clone(&fresh));
        Ok(fresh)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use serde_json::json;

    use super::*;

    /// Publishes keys for a lifetime, or fails, and counts how often it is asked.
    struct Scripted {
        asked: AtomicU64,
        lifetime: Mutex<Option<Seconds>>,
    }

    impl Publisher for Scripted {
        fn keys(&self) -> Answer<'_, Result<(ProviderKeys, Seconds), Fault>> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let lifetime = *self.lifetime.lock().unwrap();
            Box::pin(async move {
                // So that others come meanwhile.
                tokio::task::yield_now().await;
                let lifetime = lifetime.ok_or(Fault::Status("jwks_uri", 500))?;
                Ok((ProviderKeys::read(&json!({ "keys": [] })), lifetime))
            })
        }
    }

    fn keys(lifetime: u64) -> Keys<Scripted> {
        let lifetime = Mutex::new(Some(Seconds(lifetime)));
        Keys::of(Arc::new(Scripted { asked: AtomicU64::new(0), lifetime }))
    }

    impl Keys<Scripted> {
        fn asked(&self) -> u64 {
            self.publisher.asked.load(Ordering::SeqCst)
        }

        fn says(&self, lifetime: Option<u64>) {
            *self.publisher.lifetime.lock().unwrap() = lifetime.map(Seconds);
        }

        async fn number(&self, unfit: Option<u64>) -> Option<u64> {
            self.get(unfit).await.ok().map(|held| held.number)
        }
    }

    async fn later(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_fetched_once_for_all_and_believed_as_long_as_their_server_says_within_bounds() {
        for (said, believed) in [(0, 60), (60, 60), (600, 600), (86_400, 86_400), (10_000_000, 86_400)] {
            let keys = keys(said);
            let all = futures_util::future::join_all((0..50).map(|_| keys.number(None))).await;
            assert!(all.iter().all(|number| *number == Some(1)), "{all:?}");
            later(believed - 1).await;
            assert_eq!((keys.number(None).await, keys.asked()), (Some(1), 1), "{said}");
            later(1).await;
            assert_eq!((keys.number(None).await, keys.asked()), (Some(2), 2), "{said}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_is_looked_for_at_once_and_then_every_half_minute() {
        let keys = keys(3600);
        assert_eq!(keys.number(None).await, Some(1));
        let all = futures_util::future::join_all((0..50).map(|_| keys.number(Some(1)))).await;
        assert!(all.iter().all(|number| *number == Some(2)), "{all:?}");
        later(29).await;
        assert_eq!((keys.number(Some(2)).await, keys.asked()), (Some(2), 2));
        later(1).await;
        assert_eq!((keys.number(Some(2)).await, keys.asked()), (Some(3), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn keys_serve_for_an_hour_while_their_issuer_is_down_and_it_is_left_alone_between_tries() {
        let keys = keys(600);
        assert_eq!(keys.number(None).await, Some(1));
        keys.says(None);
        // A token that they did not sign may be signed by others that nobody can see.
        assert_eq!((keys.number(Some(1)).await, keys.asked()), (None, 2));
        assert_eq!((keys.number(Some(1)).await, keys.number(None).await, keys.asked()), (None, Some(1), 2));
        later(600).await;
        for _ in 0..9 {
            assert_eq!((keys.number(None).await, keys.asked()), (Some(1), 3));
        }
        later(5).await;
        assert_eq!((keys.number(None).await, keys.asked()), (Some(1), 4));
        later(3594).await;
        assert_eq!(keys.number(None).await, Some(1));
        later(1).await;
        assert_eq!(keys.number(None).await, None);
        keys.says(Some(600));
        later(5).await;
        assert_eq!(keys.number(None).await, Some(2));
    }
}
