//! Checking tokens against the store that this process follows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::id::{GrantId, TokenId};
use shared::secret::{Secret, TokenHash};
use shared::state::{Change, Facts, PublicKey, Wanted};
use shared::store::{Answer, CommitError, Store, StoreError};
use shared::time::Timestamp;
use shared::token::{Expected, KeyRing, TokenError, VerifiedToken, opaque_id};
use shared::uri::{Issuer, Resource};
use tokio::sync::watch;
use tokio::time::Instant;

use super::remembered::Remembered;
use super::{Checked, Unavailable, Unverified, Verify};
use crate::token::Token;

/// How long a call waits for a store that is still being read. A host shows a spinner for that long; then it learns
/// that the store is loading.
const PATIENCE: Duration = Duration::from_secs(2);

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
    /// Tokens whose signature and claims were right. Whether they live is asked at every call.
    tokens: Remembered<VerifiedToken>,
}

impl Local {
    /// A verifier of tokens for `resource`, from any issuer of the store, or from `only_issuer`.
    pub fn new(store: Arc<dyn Store>, resource: Resource, only_issuer: Option<Issuer>) -> Self {
        let changed = store.changed();
        Self { store, resource, only_issuer, changed, known: Mutex::default(), ailing: AtomicBool::new(false) }
    }

    /// What a caller learns of an answer, and what the log does.
    fn told<T>(&self, answer: Result<T, Refused>) -> Result<T, Unverified> {
        if let Err(Refused::Store(error)) = &answer {
            return Err(Unverified::Unavailable(self.unavailable(error)));
        }
        self.ailing.store(false, Ordering::Relaxed);
        answer.map_err(|refused| match refused {
            Refused::Token(cause) => Unverified::Token(cause),
            Refused::Store(error) => Unverified::Unavailable(self.unavailable(&error)),
        })
    }

    async fn check_now(&self, token: &Secret, now: Timestamp) -> Result<Checked, Refused> {
        if let Some(id) = opaque_id(token.expose()) {
            return self.check_opaque(id, token, now).await;
        }
        let hash = token.hash();
        let remembered = self.known().tokens.verified(&hash).map(|token| token.claims().jti);
        // The first look brings the follower up to date, so that a key published a moment ago is known below.
        let mut looked_up = (remembered, self.load(remembered).await?);
        self.refresh()?;
        let token = self.verified(hash, token, now)?;
        let jti = Some(token.claims().jti);
        if looked_up.0 != jti {
            looked_up = (jti, self.load(jti).await?);
        }
        Ok(Checked { token: token.into(), facts: looked_up.1 })
    }

    /// An opaque token is what the store says of it.
    async fn check_opaque(&self, id: TokenId, token: &Secret, now: Timestamp) -> Result<Checked, Refused> {
        let facts = self.load(Some(id)).await?;
        self.refresh()?;
        let mut known = self.known();
        if known.tokens.is_expired(|| token.hash()) {
            return Err(TokenError::Expired.into());
        }
        let expected = Expected { issuers: known.issuers.clone(), resource: self.resource.clone() };
        let verified = VerifiedToken::of_record(token, &facts, &expected, now);
        if matches!(verified, Err(TokenError::Expired)) {
            known.tokens.note(token.hash(), &verified, now);
        }
        Ok(Checked { token: verified?.into(), facts })
    }

    async fn load(&self, access: Option<TokenId>) -> Result<Facts, StoreError> {
        self.store.load(&Wanted { access, ..Wanted::default() }).await
    }

    /// What a caller learns of a store that has no answer. The log learns more, once until it is well again.
    fn unavailable(&self, error: &StoreError) -> Unavailable {
        if !self.ailing.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "tools that need a token are refused: the store has no answer");
        }
        match error {
            StoreError::Absent(_) => Unavailable::Absent,
            StoreError::Loading => Unavailable::Loading,
            _ => Unavailable::Unreadable,
        }
    }

    /// Reads keys and issuers when the store has changed since the last time.
    fn refresh(&self) -> Result<(), StoreError> {
        // Before reading: a change in between is then seen next time.
        let count = *self.changed.borrow();
        if self.known().at == Some(count) {
            return Ok(());
        }
        let mut read = None;
        self.store.read(&mut |state| read = Some((state.keys(), state.issuers())))?;
        let (keys, issuers) = read.unwrap_or_default();
        let issuers = self.only_issuer.clone().map_or(issuers, |only| vec![only]);
        let mut known = self.known();
        known.at = Some(count);
        if known.keys != keys || known.issuers != issuers {
            known.ring = KeyRing::new(&keys);
            known.keys = keys;
            known.issuers = issuers;
            known.tokens.forget_verified();
        }
        Ok(())
    }

    fn verified(&self, hash: TokenHash, token: &Secret, now: Timestamp) -> Result<VerifiedToken, TokenError> {
        let mut known = self.known();
        if let Some(known) = known.tokens.recall(&hash, now) {
            return known;
        }
        let expected = Expected { issuers: known.issuers.clone(), resource: self.resource.clone() };
        let verified = known.ring.verify(token.expose(), &expected, now);
        known.tokens.note(hash, &verified, now);
        verified
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verify for Local {
    fn check<'a>(&'a self, token: &'a Secret, now: Timestamp) -> Answer<'a, Result<Checked, Unverified>> {
        Box::pin(async move {
            let mut patience = Patience::new(&self.changed);
            loop {
                patience.look();
                match self.check_now(token, now).await {
                    Err(Refused::Store(StoreError::Loading)) if patience.lasts().await => {}
                    answer => return self.told(answer),
                }
            }
        })
    }

    fn again<'a>(&'a self, token: &'a Token) -> Answer<'a, Option<Facts>> {
        Box::pin(async move {
            let Token::Ours(token) = token else { return None };
            let claims = token.claims();
            // The grant by its name: a token for one call is gone when the call begins.
            let wanted = Wanted { access: Some(claims.jti), grant: Some(claims.grant), ..Wanted::default() };
            self.store.load(&wanted).await.ok()
        })
    }

    fn grant(&self, grant: GrantId) -> Answer<'_, Option<Facts>> {
        let wanted = Wanted { grant: Some(grant), ..Wanted::default() };
        Box::pin(async move { self.store.load(&wanted).await.ok() })
    }

    fn spend(&self, token: TokenId) -> Answer<'_, Result<(), Unverified>> {
        let store = Arc::clone(&self.store);
        Box::pin(async move {
            // It waits for the store's lock, and for the disk.
            let spend = move || store.commit_once(vec![Change::CallSpent(token)]);
            match tokio::task::spawn_blocking(spend).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(CommitError::Conflict(_))) => Err(Unverified::Token(TokenError::Dead)),
                Ok(Err(CommitError::Unavailable(error))) => Err(Unverified::Unavailable(self.unavailable(&error))),
                Err(_) => Err(Unverified::Unavailable(Unavailable::Unreadable)),
            }
        })
    }

    fn changed(&self) -> Option<watch::Receiver<u64>> {
        Some(self.changed.clone())
    }

    fn issuers(&self) -> Answer<'_, Vec<Issuer>> {
        Box::pin(async move {
            let mut patience = Patience::new(&self.changed);
            loop {
                patience.look();
                match self.refresh() {
                    Err(StoreError::Loading) if patience.lasts().await => {}
                    // Without a store there is nobody to name, or who was known the last time.
                    _ => return self.known().issuers.clone(),
                }
            }
        })
    }
}

/// Waiting for a store that is still loading.
struct Patience {
    changed: watch::Receiver<u64>,
    deadline: Option<Instant>,
}

impl Patience {
    fn new(changed: &watch::Receiver<u64>) -> Self {
        Self { changed: changed.clone(), deadline: None }
    }

    /// Notes the state before a question, so that a change during it is not missed.
    fn look(&mut self) {
        self.changed.mark_unchanged();
    }

    /// Waits for a change since the last look; the end of loading is one. False when the time is up.
    async fn lasts(&mut self) -> bool {
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
        tokio::time::timeout_at(deadline, self.changed.changed()).await.is_ok_and(|changed| changed.is_ok())
    }
}

/// Why a question to the store was not answered.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use shared::id::GrantId;
    use shared::oauth::jwt::{AccessClaims, Audience};
    use shared::state::{Access, Change, Grant, State};
    use shared::store::CommitError;
    use shared::store::conformance::Sample;
    use shared::store::memory::MemoryStore;
    use shared::time::{ManualClock, Seconds};
    use shared::token::{KeySet, opaque_token};
    use uuid::Uuid;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    /// A memory store that fails as often as it is told, and counts what it is asked.
    struct Moody {
        inner: MemoryStore,
        errors: Mutex<Vec<StoreError>>,
        read_errors: Mutex<Vec<StoreError>>,
        loads: AtomicUsize,
        reads: AtomicUsize,
        changed: watch::Sender<u64>,
    }

    impl Store for Moody {
        fn load<'a>(&'a self, wanted: &'a Wanted) -> Answer<'a, Result<Facts, StoreError>> {
            self.loads.fetch_add(1, Ordering::SeqCst);
            match self.errors.lock().unwrap().pop() {
                Some(error) => Box::pin(std::future::ready(Err(error))),
                None => self.inner.load(wanted),
            }
        }

        fn commit(&self, changes: Vec<Change>) -> Answer<'_, Result<(), CommitError>> {
            self.changed.send_modify(|count| *count += 1);
            self.inner.commit(changes)
        }

        fn commit_once(&self, changes: Vec<Change>) -> Result<(), CommitError> {
            self.inner.commit_once(changes)
        }

        fn read(&self, reader: &mut dyn FnMut(&State)) -> Result<(), StoreError> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            match self.read_errors.lock().unwrap().pop() {
                Some(error) => Err(error),
                None => self.inner.read(reader),
            }
        }

        fn changed(&self) -> watch::Receiver<u64> {
            self.changed.subscribe()
        }
    }

    struct Bench {
        store: Arc<Moody>,
        local: Local,
        keys: KeySet,
        token: Secret,
    }

    async fn bench() -> Bench {
        let store = Arc::new(Moody {
            inner: MemoryStore::new(Arc::new(ManualClock::at(NOW))),
            errors: Mutex::default(),
            read_errors: Mutex::default(),
            loads: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            changed: watch::Sender::new(0),
        });
        let keys = KeySet::generate(NOW).unwrap();
        let issuer: Issuer = "http://localhost:3000".parse().unwrap();
        store.commit(vec![Change::IssuerDeclared(issuer.clone()), Change::KeyPublished(keys.public())]).await.unwrap();
        let resource = Resource::stdio("a").unwrap();
        let claims = AccessClaims {
            iss: issuer,
            sub: "ada".into(),
            aud: Audience::One(resource.clone()),
            client_id: "c_1".parse().unwrap(),
            scope: "x".parse().unwrap(),
            jti: TokenId(Uuid::from_u128(1)),
            grant: GrantId(Uuid::from_u128(2)),
            nbf: None,
            iat: NOW,
            exp: NOW + Seconds(300),
        };
        let token = keys.mint(&claims).unwrap();
        let local = Local::new(store.clone(), resource, None);
        Bench { store, local, keys, token }
    }

    #[tokio::test]
    async fn the_signature_is_checked_once_and_the_store_asked_every_time() {
        let bench = bench().await;
        for call in 1..=5 {
            assert!(bench.local.check(&bench.token, NOW).await.is_ok());
            // The first call looks twice: before it knows the token's name, and after.
            assert_eq!(bench.store.loads.load(Ordering::SeqCst), call + 1);
        }
        assert_eq!(bench.store.reads.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn jwt_09_a_removed_key_takes_what_was_remembered_with_it() {
        let bench = bench().await;
        assert!(bench.local.check(&bench.token, NOW).await.is_ok());
        let retired = Change::KeyRetired { id: bench.keys.public().id, retires: Timestamp(1) };
        let swept = Change::Swept { before: NOW, unused_clients: Timestamp(0) };
        bench.store.commit(vec![retired, swept]).await.unwrap();
        let refused = bench.local.check(&bench.token, NOW).await.unwrap_err();
        assert_eq!(refused, Unverified::Token(TokenError::Key));
    }

    #[tokio::test]
    async fn f_16_a_token_seen_expired_stays_so_when_the_clock_is_set_back() {
        for seen_before in [false, true] {
            let bench = bench().await;
            if seen_before {
                assert!(bench.local.check(&bench.token, NOW).await.is_ok());
            }
            for now in [NOW + Seconds(300), NOW] {
                let refused = bench.local.check(&bench.token, now).await.unwrap_err();
                assert_eq!(refused, Unverified::Token(TokenError::Expired));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_loading_store_is_waited_for_but_not_for_ever() {
        let bench = bench().await;
        bench.store.errors.lock().unwrap().push(StoreError::Loading);
        let (answer, ()) = tokio::join!(bench.local.check(&bench.token, NOW), async {
            bench.store.changed.send_modify(|count| *count += 1);
        });
        assert!(answer.is_ok());
        // It may be found loading at any question: a follower's thread takes the lock when it will.
        let bench = self::bench().await;
        bench.store.read_errors.lock().unwrap().push(StoreError::Loading);
        let (answer, ()) = tokio::join!(bench.local.check(&bench.token, NOW), async {
            bench.store.changed.send_modify(|count| *count += 1);
        });
        assert!(answer.is_ok());
        bench.store.errors.lock().unwrap().push(StoreError::Loading);
        let refused = bench.local.check(&bench.token, NOW).await.unwrap_err();
        assert_eq!(refused, Unverified::Unavailable(Unavailable::Loading));
    }

    #[tokio::test]
    async fn wat_06_a_store_without_an_answer_is_told_apart_from_a_bad_token() {
        let bench = bench().await;
        let path = std::path::PathBuf::new;
        for (error, why) in [
            (StoreError::Absent(path()), Unavailable::Absent),
            (StoreError::Damaged { path: path(), line: 1, reason: "x".into() }, Unavailable::Unreadable),
        ] {
            bench.store.errors.lock().unwrap().push(error);
            let refused = bench.local.check(&bench.token, NOW).await.unwrap_err();
            assert_eq!(refused, Unverified::Unavailable(why));
        }
        assert!(bench.local.check(&bench.token, NOW).await.is_ok());
    }

    #[tokio::test]
    async fn an_opaque_token_is_what_its_record_says_and_no_other_has_its_hash() {
        let bench = bench().await;
        let sample = Sample::new(NOW);
        let id = sample.access.id;
        let token = opaque_token(id, &[1; 32]);
        let mut device = sample.device();
        device.resource = Resource::stdio("a").unwrap();
        let grant = Grant { resource: device.resource.clone(), ..sample.grant.clone() };
        let access = Access { opaque: Some(Box::new(token.hash())), ..sample.access.clone() };
        let hash = device.hash;
        let changes = vec![
            Change::DeviceAsked(device),
            Change::DeviceApproved { device: hash, grant, session: None },
            Change::DeviceRedeemed { device: hash, access, family: None },
        ];
        bench.store.commit([sample.known(), changes].concat()).await.unwrap();
        let checked = bench.local.check(&token, NOW).await.unwrap();
        let (access, subject) = (checked.facts.access.as_ref().unwrap().id, checked.token.subject());
        assert_eq!((access, subject), (id, sample.user.name.as_str()));
        assert!(checked.token.alive(&checked.facts, NOW).is_ok());
        // The same name with another secret, an unknown name, and the name of a token that is signed.
        let signed = opaque_token(TokenId(Uuid::from_u128(1)), &[1; 32]);
        for (other, why) in [
            (opaque_token(id, &[2; 32]), TokenError::Signature),
            (opaque_token(TokenId(Uuid::from_u128(9)), &[1; 32]), TokenError::Dead),
            (signed, TokenError::Dead),
        ] {
            assert_eq!(bench.local.check(&other, NOW).await.unwrap_err(), Unverified::Token(why));
        }
        let elsewhere = Local::new(bench.store.clone(), Resource::stdio("b").unwrap(), None);
        let refused = elsewhere.check(&token, NOW).await.unwrap_err();
        assert_eq!(refused, Unverified::Token(TokenError::Audience));
        // Seen expired it stays so (F-16).
        for now in [sample.access.expires, NOW] {
            let refused = bench.local.check(&token, now).await.unwrap_err();
            assert_eq!(refused, Unverified::Token(TokenError::Expired));
        }
    }
}
