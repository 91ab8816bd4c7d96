//! Checking tokens by asking their issuer (RFC 7662). What it said a moment ago is believed, so that a revocation is seen
//! within that moment.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use shared::oauth::form::{basic, encode};
use shared::secret::Secret;
use shared::state::Facts;
use shared::store::Answer;
use shared::time::Timestamp;
use shared::token::{AccessTokenFor, ForeignToken, TokenError};
use shared::uri::Issuer;
use tokio::time::Instant;

use super::answers::{Answers, Told};
use super::lane::Lane;
use super::site::{Fault, Health, Site};
use crate::verify::{Checked, Unavailable, Unverified, Verify};

/// Questions at one time about tokens that were good the last time.
const OF_KNOWN: usize = 16;

/// Questions at one time about other tokens, and how many may wait: whoever sends many cannot crowd out those who are at
/// work, nor have us flood the issuer.
const OF_STRANGERS: (usize, usize) = (8, 64);

/// How long an issuer that cannot be reached is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(1);

/// Who we are to the issuer.
#[derive(Debug)]
pub struct Credentials {
    /// Our name there.
    pub id: String,
    /// Our secret there.
    pub secret: Secret,
}

/// Whoever knows about tokens.
pub(super) trait Authority: Send + Sync + 'static {
    /// What it answers about one.
    fn ask<'a>(&'a self, token: &'a Secret) -> Answer<'a, Result<Vec<u8>, Fault>>;
}

/// An issuer that is asked over the network.
struct Remote {
    site: Arc<Site>,
    credentials: Credentials,
}

impl Authority for Remote {
    fn ask<'a>(&'a self, token: &'a Secret) -> Answer<'a, Result<Vec<u8>, Fault>> {
        Box::pin(async move {
            let endpoints = self.site.endpoints().await?;
            let place = endpoints.introspection.ok_or(Fault::Without("introspection_endpoint"))?;
            let Credentials { id, secret } = &self.credentials;
            let mut form = vec![("token", token.expose()), ("token_type_hint", "access_token")];
            if !endpoints.takes_basic {
                form.extend([("client_id", id.as_str()), ("client_secret", secret.expose())]);
            }
            let remote = self.site.remote();
            let mut request = remote.client()?.post(place).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
            if endpoints.takes_basic {
                let header = HeaderValue::from_str(basic(id, secret.expose()).expose());
                let mut header = header.map_err(|_| Fault::Content("our secret there cannot be sent".to_owned()))?;
                header.set_sensitive(true);
                request = request.header(AUTHORIZATION, header);
            }
            let reply = remote.send(request.body(encode(&form))).await?;
            if reply.status == 200 {
                return Ok(reply.body);
            }
            self.site.moved(reply.status).await;
            Err(Fault::Status("introspection_endpoint", reply.status))
        })
    }
}

/// A verifier that asks the issuer.
pub struct Introspection(Arc<Desk>);

/// Where questions are asked, each once for all who wait for its answer.
struct Desk {
    wanted: AccessTokenFor,
    authority: Arc<dyn Authority>,
    runtime: tokio::runtime::Handle,
    /// How long an answer is believed.
    cache: Duration,
    answers: Mutex<Answers>,
    known: Lane,
    strangers: Lane,
    /// When the issuer could not be reached.
    unreached: Mutex<Option<Instant>>,
    health: Health,
}

impl Introspection {
    /// A verifier of such tokens. An answer of `site` is believed for `cache`.
    pub fn new(wanted: AccessTokenFor, site: Arc<Site>, credentials: Credentials, cache: Duration) -> Self {
        let runtime = site.runtime().clone();
        Self(Arc::new(Desk::new(wanted, Arc::new(Remote { site, credentials }), runtime, cache)))
    }

    /// Asks about a token that nobody has, so that the log says at once whether we are answered.
    pub fn prepare(&self) {
        let desk = Arc::clone(&self.0);
        self.0.runtime.spawn(async move { drop(desk.check(&Secret::random(), Timestamp(0)).await) });
    }
}

impl Desk {
    fn new(
        wanted: AccessTokenFor,
        authority: Arc<dyn Authority>,
        runtime: tokio::runtime::Handle,
        cache: Duration,
    ) -> Self {
        Self {
            wanted,
            authority,
            runtime,
            cache,
            answers: Mutex::default(),
            known: Lane::new(OF_KNOWN, usize::MAX >> 4),
            strangers: Lane::new(OF_STRANGERS.0, OF_STRANGERS.1),
            unreached: Mutex::default(),
            health: Health::default(),
        }
    }

    async fn check(&self, token: &Secret, now: Timestamp) -> Result<ForeignToken, Unverified> {
        let (hash, arrived) = (token.hash(), Instant::now());
        let fresh = || self.answers().fresh(&hash, self.cache, arrived).map(|told| told.at(now));
        if let Some(told) = fresh() {
            return told.map_err(Unverified::Token);
        }
        let turn = self.answers().turn(&hash);
        let _turn = turn.lock().await;
        // Whoever waited takes an answer to a question that was asked meanwhile.
        if let Some(told) = fresh() {
            return told.map_err(Unverified::Token);
        }
        let is_known = self.answers().is_active(&hash, now);
        let asked = Instant::now();
        let told = self.ask(token, is_known, now).await.map_err(Unverified::Unavailable)?;
        self.answers().note(hash, Told { token: told.clone(), asked }, now);
        told.map_err(Unverified::Token)
    }

    async fn ask(
        &self,
        token: &Secret,
        is_known: bool,
        now: Timestamp,
    ) -> Result<Result<ForeignToken, TokenError>, Unavailable> {
        if self.unreached().is_some_and(|at| at.elapsed() < LEFT_ALONE) {
            return Err(Unavailable::Issuer);
        }
        let lane = if is_known { &self.known } else { &self.strangers };
        let permit = lane.enter().await.ok_or(Unavailable::Busy)?;
        // The question goes on when whoever asked has left, and so holds its place until it is answered.
        let (authority, token) = (Arc::clone(&self.authority), Secret::new(token.expose().to_owned()));
        let question = self.runtime.spawn(async move {
            let _permit = permit;
            authority.ask(&token).await
        });
        let answer = question.await.unwrap_or_else(|_| Err(Fault::Content("nobody could ask it".to_owned())));
        let read = answer.and_then(|body| {
            let read = ForeignToken::introspected(&body, &self.wanted, now);
            read.map_err(|none| Fault::Content(none.to_string()))
        });
        match &read {
            Ok(_) => self.health.well(),
            Err(fault) => {
                if matches!(fault, Fault::NoReply(_)) {
                    *self.unreached() = Some(Instant::now());
                }
                self.health.ill(fault);
            }
        }
        read.map_err(|_| Unavailable::Issuer)
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreached(&self) -> MutexGuard<'_, Option<Instant>> {
        self.unreached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verify for Introspection {
    fn check<'a>(&'a self, token: &'a Secret, now: Timestamp) -> Answer<'a, Result<Checked, Unverified>> {
        Box::pin(async move {
            let token = self.0.check(token, now).await?;
            Ok(Checked { token: token.into(), facts: Facts::default() })
        })
    }

    fn issuers(&self) -> Answer<'_, Vec<Issuer>> {
        Box::pin(std::future::ready(vec![self.0.wanted.issuer.clone()]))
    }
}

#[cfg(test)]
mod tests;
