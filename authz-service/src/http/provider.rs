//! What providers say of themselves and what they are asked, over the network: to where the operator sends us and nowhere
//! else, without redirects, bounded in size and time. Metadata and keys are remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::web::Data;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder};
use shared::net::{Manner, NoReply, Remote, Reply};
use shared::oauth::json::parse;
use shared::time::{Seconds, Timestamp};
use shared::token::{IdTokenError, Identity, ProviderKeys};
use shared::uri::Issuer;
use tokio::sync::{Mutex as Turn, Semaphore};

use super::app::App;
use crate::protocol::upstream::{self, Attempt, Provider, TokenRequest, Tokens, Upstream, UpstreamFault};

/// How long everything that one request needs of a provider may take.
const TIME: Duration = Duration::from_secs(10);

/// How requests are made. Each thread makes its own connections.
const MANNER: Manner = Manner { agent: concat!("authz-service/", env!("CARGO_PKG_VERSION")), time: TIME, kept: 0 };

/// How long metadata and keys are believed.
const LIFETIME: Seconds = Seconds(3600);

/// How long it is remembered that a provider does not answer.
const DOWN_FOR: Seconds = Seconds(2);

/// How long at least until keys are fetched again because a token names one that is not among them.
const KEYS_FOR: Seconds = Seconds(30);

/// Requests at one time, to whatever providers.
const AT_A_TIME: usize = 32;

/// Metadata, or why there are none.
type Outcome = Result<Arc<Provider>, UpstreamFault>;

/// Everything that is known of providers.
pub struct Providers {
    remote: Remote,
    turns: Semaphore,
    known: Mutex<HashMap<Issuer, Arc<Known>>>,
}

/// What is known of one. Who needs what is not known fetches it, and who comes meanwhile waits for that.
#[derive(Default)]
struct Known {
    provider: Turn<Option<(Outcome, Timestamp)>>,
    keys: Turn<Option<(Arc<ProviderKeys>, Timestamp)>>,
}

impl Default for Providers {
    fn default() -> Self {
        Self { remote: Remote::new(MANNER), turns: Semaphore::new(AT_A_TIME), known: Mutex::default() }
    }
}

/// Metadata of a provider.
///
/// # Errors
/// When it does not answer in time, or with something else.
pub async fn of(app: &Data<App>, upstream: &Upstream) -> Result<Arc<Provider>, UpstreamFault> {
    in_time(app.providers.metadata(upstream, app.now())).await
}

/// Turns a code into the person whom it stands for.
///
/// # Errors
/// When the provider does not answer in time, does not take the code, or gives no good ID token.
pub async fn identify(
    app: &Data<App>,
    upstream: &Upstream,
    provider: &Provider,
    request: TokenRequest,
    attempt: &Attempt,
) -> Result<Identity, UpstreamFault> {
    let providers = &app.providers;
    in_time(async {
        let Reply { status, body, .. } = providers.send(providers.exchange(request)?).await?;
        let tokens = upstream::tokens(status, &body)?;
        providers.identity(upstream, provider, &tokens, attempt, app.now()).await
    })
    .await
}

async fn in_time<T>(work: impl Future<Output = Result<T, UpstreamFault>>) -> Result<T, UpstreamFault> {
    tokio::time::timeout(TIME, work).await.unwrap_or_else(|_| Err(down("it takes too long")))
}

fn down(why: impl Into<String>) -> UpstreamFault {
    UpstreamFault::Down(why.into())
}

fn unreached(why: NoReply) -> UpstreamFault {
    UpstreamFault::Down(why.to_string())
}

impl Providers {
    fn known(&self, issuer: &Issuer) -> Arc<Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(issuer.clone()).or_default())
    }

    async fn metadata(&self, upstream: &Upstream, now: Timestamp) -> Outcome {
        let known = self.known(&upstream.issuer);
        let mut provider = known.provider.lock().await;
        if let Some((found, _)) = provider.as_ref().filter(|(_, until)| *until > now) {
            return found.clone();
        }
        let read = self.get(&upstream.discovery()).await;
        let read = read.and_then(|body| Provider::read(upstream, &body)).map(Arc::new);
        let lifetime = if read.is_ok() { LIFETIME } else { DOWN_FOR };
        *provider = Some((read.clone(), now + lifetime));
        read
    }

    async fn identity(
        &self,
        upstream: &Upstream,
        provider: &Provider,
        tokens: &Tokens,
        attempt: &Attempt,
        now: Timestamp,
    ) -> Result<Identity, UpstreamFault> {
        let keys = self.keys(upstream, provider, LIFETIME, now).await?;
        match upstream::identify(upstream, tokens, &keys, attempt, now) {
            // The provider may have changed its keys since we looked.
            Err(IdTokenError::Key) => {
                let keys = self.keys(upstream, provider, KEYS_FOR, now).await?;
                upstream::identify(upstream, tokens, &keys, attempt, now)
            }
            found => found,
        }
        .map_err(UpstreamFault::IdToken)
    }

    /// The provider's keys, none older than `age`.
    async fn keys(
        &self,
        upstream: &Upstream,
        provider: &Provider,
        age: Seconds,
        now: Timestamp,
    ) -> Result<Arc<ProviderKeys>, UpstreamFault> {
        let known = self.known(&upstream.issuer);
        let mut keys = known.keys.lock().await;
        if let Some((found, _)) = keys.as_ref().filter(|(_, since)| *since + age > now && *since <= now) {
            return Ok(Arc::clone(found));
        }
        let body = self.get(provider.jwks()).await?;
        let read = parse(&body).map_err(|error| down(format!("its keys cannot be read: {error}")))?;
        let read = Arc::new(ProviderKeys::read(&read));
        if read.is_empty() {
            return Err(down("it publishes no key that can be used here"));
        }
        *keys = Some((Arc::clone(&read), now));
        Ok(read)
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>, UpstreamFault> {
        match self.send(self.client()?.get(url)).await? {
            Reply { status: 200, body, .. } => Ok(body),
            Reply { status, .. } => Err(down(format!("{url} answers with status {status}"))),
        }
    }

    fn exchange(&self, request: TokenRequest) -> Result<RequestBuilder, UpstreamFault> {
        let TokenRequest { url, authorization, body } = request;
        let form = "application/x-www-form-urlencoded";
        let built = self.client()?.post(url).header(CONTENT_TYPE, form).body(body.expose().to_owned());
        let Some(authorization) = authorization else { return Ok(built) };
        let value = HeaderValue::from_str(authorization.expose());
        let mut value = value.map_err(|_| down("our secret there cannot be sent"))?;
        value.set_sensitive(true);
        Ok(built.header(AUTHORIZATION, value))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Reply, UpstreamFault> {
        let _turn = self.turns.acquire().await.map_err(|_| down("nobody can be asked"))?;
        self.remote.send(request).await.map_err(unreached)
    }

    fn client(&self) -> Result<&Client, UpstreamFault> {
        self.remote.client().map_err(unreached)
    }
}
