//! What every endpoint has in hand, and the one way from facts to a committed decision.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use shared::secret::random_bytes;
use shared::state::{Change, Client, Facts, PublicKey, State, Wanted};
use shared::store::{CommitError, Store, StoreError};
use shared::time::{Clock, Timestamp};
use shared::token::{ClientKeys, KeyError, KeyRing, KeySet};
use shared::uri::Parts;

use super::library::Library;
use tokio::sync::Semaphore;

use super::limit::Limits;
use super::live::Live;
use super::metrics::Metrics;
use super::pages::Pages;
use super::password::Passwords;
use super::provider::Providers;
use super::proxy::Proxies;
use super::session::Cookies;
use crate::protocol::passkey::Party;
use crate::protocol::{Policy, Refusal, Verdict, metadata};

/// How often a decision is made anew because somebody else was first. Stages move one way, so the second round
/// refuses; the third is for a store that several services write.
const ROUNDS: usize = 3;

tokio::task_local! {
    /// The name of the request that is being answered: in the log, on error pages, in the answer.
    pub static REQUEST_ID: String;
}

/// Why a request failed.
#[derive(Debug)]
pub enum Failure<E = Refusal> {
    /// The decision was no.
    Refused(E),
    /// The store does not take reads or writes.
    Store(StoreError),
    /// Somebody else was first, each time.
    Busy,
    /// Our own fault.
    Internal(String),
}

impl<E> From<StoreError> for Failure<E> {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl<E> From<KeyError> for Failure<E> {
    fn from(error: KeyError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What the service consists of.
pub struct App {
    /// Where state lives.
    pub store: Arc<dyn Store>,
    /// The private keys.
    pub keys: KeySet,
    /// Where "now" comes from.
    pub clock: Arc<dyn Clock>,
    /// What the operator chose.
    pub policy: Live<Policy>,
    /// Who may ask how often.
    pub limits: Limits,
    /// The HTML pages.
    pub pages: Pages,
    /// Whom passkeys are for; `None` when the issuer's host is an address.
    pub party: Option<Party>,
    /// Metadata documents of clients.
    pub(super) cimd: Library<Client>,
    /// Keys that clients keep behind their `jwks_uri`.
    pub(super) key_sets: Library<ClientKeys>,
    /// Providers that people sign in with.
    pub providers: Providers,
    /// Hashing of passwords.
    pub passwords: Passwords,
    /// How our cookies are called.
    pub cookies: Cookies,
    /// Documents that are the same in every answer, as bytes.
    pub documents: Live<Documents>,
    /// How long others may take.
    pub times: Times,
    /// Which hosts a request may name; `None` for any.
    pub hosts: Option<Vec<String>>,
    /// The proxies that are believed.
    pub proxies: Live<Proxies>,
    /// Whether only they, and this machine, may ask: the service speaks plain HTTP, and others would too.
    pub proxies_only: bool,
    /// Whether everybody reaches us over TLS and nobody otherwise.
    pub is_public_https: bool,
    /// What is counted, when somebody wants to know.
    pub metrics: Option<Metrics>,
    /// Other origins whose pages may call what is open to pages; `None` for all.
    pub cors: Live<Option<Vec<String>>>,
    /// The tools at `/mcp`, when they are served here.
    pub mcp: Option<Arc<mcp_stdio_server::http::Front>>,
    /// What the issuer's paths begin with: empty, or `/tenant`.
    pub prefix: String,
    /// The folder of the journal that is the audit trail; `None` for a store that keeps none.
    pub journal: Option<PathBuf>,
    /// Reading the audit trail takes memory for a second copy of the store: one at a time.
    pub audits: Semaphore,
    /// The public keys, and the same parsed.
    ring: Mutex<Option<(Vec<PublicKey>, Arc<KeyRing>)>>,
    /// The store refused the last commit that was tried.
    pub store_failed: AtomicBool,
    /// Requests that are being answered.
    pub in_flight: AtomicUsize,
    /// Set when the service ends: every answer then closes its connection.
    pub stopping: AtomicBool,
    /// Numbers that join an error page with a line of the log: random start, then counting.
    requests: AtomicUsize,
}

/// How long others may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Times {
    /// For the headers of a request (contract C9).
    pub headers: Duration,
    /// For its body (contract C9).
    pub body: Duration,
    /// Until the next request on a connection.
    pub idle: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { headers: Duration::from_secs(10), body: Duration::from_secs(30), idle: Duration::from_secs(30) }
    }
}

/// Bytes that are the same in every answer, until the policy changes; as long as no server has scopes of its own.
pub struct Documents {
    /// RFC 8414.
    pub metadata: Bytes,
    /// OpenID Connect Discovery.
    pub openid: Bytes,
}

impl Documents {
    fn new(policy: &Policy) -> Result<Self, String> {
        let json = |document| serde_json::to_vec(&document).map(Bytes::from).map_err(|error| error.to_string());
        let own = BTreeSet::new();
        let (metadata, openid) = (metadata::document(policy, &own), metadata::openid_document(policy, &own));
        Ok(Self { metadata: json(metadata)?, openid: json(openid)? })
    }
}

impl App {
    /// Puts a service together. `hosts` are the names by which requests may reach it; `None` for any.
    ///
    /// # Errors
    /// When a template or document cannot be made, a defect of the build; or when the system gives no threads.
    pub fn new(
        store: Arc<dyn Store>,
        keys: KeySet,
        clock: Arc<dyn Clock>,
        policy: Policy,
        limits: Limits,
        hosts: Option<Vec<String>>,
    ) -> Result<Self, String> {
        let documents = Live::new(Documents::new(&policy)?);
        let parts: Parts<'_> = policy.issuer.parts();
        let is_public_https = parts.scheme == "https" && !parts.is_loopback();
        let prefix = parts.path.trim_end_matches('/').to_owned();
        let party = Party::of(&policy.issuer);
        let cookies = Cookies::new(parts.scheme == "https", policy.lifetimes.session);
        let pages = Pages::new(&prefix, party.as_ref()).map_err(|error| error.to_string())?;
        Ok(Self {
            store,
            keys,
            clock,
            limits,
            pages,
            party,
            cimd: Library::default(),
            key_sets: Library::default(),
            providers: Providers::default(),
            passwords: Passwords::start().map_err(|error| error.to_string())?,
            cookies,
            documents,
            hosts,
            proxies: Live::new(Proxies::default()),
            proxies_only: false,
            is_public_https,
            metrics: None,
            cors: Live::new(None),
            mcp: None,
            store_failed: AtomicBool::new(false),
            prefix,
            policy: Live::new(policy),
            times: Times::default(),
            journal: None,
            audits: Semaphore::new(1),
            ring: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            requests: AtomicUsize::new(u32::from_le_bytes(random_bytes()) as usize),
        })
    }

    /// Decides by another policy from now on.
    ///
    /// # Errors
    /// When a document cannot be made; the policy is then as it was.
    pub fn set_policy(&self, policy: Policy) -> Result<(), String> {
        self.documents.set(Documents::new(&policy)?);
        self.cookies.set_lifetime(policy.lifetimes.session);
        self.policy.set(policy);
        Ok(())
    }

    /// The present second.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A number by which a person can name a failed request, and the operator find it in the log.
    pub fn next_request_id(&self) -> String {
        REQUEST_ID
            .try_with(Clone::clone)
            .unwrap_or_else(|_| format!("{:08x}", self.requests.fetch_add(1, Ordering::Relaxed) & 0xffff_ffff))
    }

    /// Commits, and remembers whether the store took it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn commit(&self, changes: Vec<Change>) -> Result<(), CommitError> {
        let begun = Instant::now();
        let done = self.store.commit(changes).await;
        let outcome = match &done {
            Ok(()) => "durable",
            Err(CommitError::Conflict(_)) => "conflict",
            Err(CommitError::Unavailable(_)) => "unavailable",
        };
        self.store_failed.store(matches!(done, Err(CommitError::Unavailable(_))), Ordering::Relaxed);
        if let Some(metrics) = &self.metrics {
            metrics.committed(outcome, begun.elapsed());
        }
        done
    }

    /// Loads the facts, decides, commits what follows, and replies; on a conflict decides again on new facts. A
    /// refusal may carry changes: a replayed code revokes its grant.
    ///
    /// # Errors
    /// The refusal, or why the store could not be asked or told.
    pub async fn settle<T, E>(
        &self,
        wanted: &Wanted,
        decide: impl Fn(&Facts, Timestamp) -> Verdict<T, E>,
    ) -> Result<T, Failure<E>> {
        for _ in 0..ROUNDS {
            let facts = self.store.load(wanted).await?;
            let now = self.now();
            let mut verdict = decide(&facts, now);
            if verdict.changes.is_empty() {
                self.note_expired(&facts, now).await;
                return verdict.reply.map_err(Failure::Refused);
            }
            verdict.changes.extend(facts.expired(now));
            match self.commit(verdict.changes).await {
                Ok(()) => return verdict.reply.map_err(Failure::Refused),
                Err(CommitError::Conflict(conflict)) => tracing::debug!(%conflict, "deciding again"),
                Err(CommitError::Unavailable(error)) => return Err(error.into()),
            }
        }
        Err(Failure::Busy)
    }

    /// Makes what was seen past its end stay so, whatever the clock says later. The answer does not depend on it: a
    /// store that takes no writes still answers questions.
    pub async fn note_expired(&self, facts: &Facts, now: Timestamp) {
        let expired = facts.expired(now);
        if !expired.is_empty()
            && let Err(error) = self.commit(expired).await
        {
            tracing::debug!(%error, "what has ended could not be noted");
        }
    }

    /// The records as they are now, to go through at leisure: no commit waits for it meanwhile.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn frozen(&self) -> Result<State, StoreError> {
        let mut copy = State::default();
        self.store.read(&mut |state| copy = state.frozen())?;
        Ok(copy)
    }

    /// The public keys that verify our tokens: those of the store, and our own.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn public_keys(&self) -> Result<Vec<PublicKey>, StoreError> {
        let mut keys = Vec::new();
        self.store.read(&mut |state| keys = state.keys())?;
        for ours in self.keys.all_public() {
            if !keys.iter().any(|key| key.id == ours.id) {
                keys.push(ours);
            }
        }
        Ok(keys)
    }

    /// The public keys, parsed: once, until the store has others.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn key_ring(&self) -> Result<Arc<KeyRing>, StoreError> {
        let keys = self.public_keys()?;
        let mut parsed = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, ring)) = parsed.as_ref().filter(|(known, _)| *known == keys) {
            return Ok(Arc::clone(ring));
        }
        let ring = Arc::new(KeyRing::new(&keys));
        *parsed = Some((keys, Arc::clone(&ring)));
        Ok(ring)
    }
}
