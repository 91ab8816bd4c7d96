//! GET requests to where strangers send us: to public addresses only, looked at when the connection is made; nothing of
//! ours is sent along, no redirect is followed, and size and time are bounded (MCP security best practices, "SSRF").

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, AGE, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, Response, redirect};
use shared::address::is_public;
use shared::net::innermost;
use shared::oauth::cimd::DocumentUrl;

use crate::protocol::cimd::{DocumentFault, Fetched};

/// What fetches: one client that reaches public addresses only, and one for development, which reaches all. Which is
/// used is asked anew for each fetch, since the operator may change it while the service runs.
#[derive(Default)]
pub struct Fetcher {
    guarded: OnceLock<Client>,
    unguarded: OnceLock<Client>,
}

/// What a fetch must stay within.
#[derive(Clone, Copy, Debug)]
pub struct Within {
    /// The longest document, in bytes.
    pub longest: usize,
    /// How long it may take in all.
    pub time: Duration,
    /// Development only: whether from other addresses than public ones too.
    pub local: bool,
}

impl Fetcher {
    /// Fetches a JSON document, whatever its status; one that is longer than it may be is none.
    ///
    /// What waits before it is the caller's to bound.
    ///
    /// # Errors
    /// When there is no such answer.
    pub async fn get(&self, url: &DocumentUrl, within: Within) -> Result<Fetched, DocumentFault> {
        let request =
            self.client(within.local)?.get(url.as_str()).header(ACCEPT, "application/json").timeout(within.time);
        let mut response = request.send().await.map_err(|error| fault(&error))?;
        let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
        let one = |name: HeaderName| response.headers().get(name).and_then(text);
        let mut fetched = Fetched {
            status: response.status().as_u16(),
            content_type: one(CONTENT_TYPE),
            cache_control: response.headers().get_all(CACHE_CONTROL).iter().filter_map(text).collect(),
            age: one(AGE).and_then(|seconds| seconds.parse().ok()),
            body: Vec::new(),
        };
        // What is not taken anyway is not read.
        if fetched.status == 200 {
            fetched.body = body(&mut response, within.longest).await?;
        }
        Ok(fetched)
    }

    fn client(&self, local: bool) -> Result<&Client, DocumentFault> {
        let cell = if local { &self.unguarded } else { &self.guarded };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let builder = Client::builder()
            .user_agent(concat!("authz-service/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .https_only(!local)
            // A connection belongs to the thread that made it, and is not worth keeping for one document.
            .pool_max_idle_per_host(0)
            .dns_resolver(Guarded { local });
        let client = builder.build().map_err(|error| DocumentFault::Unreachable(innermost(&error)))?;
        Ok(cell.get_or_init(|| client))
    }
}

/// Reads up to `longest` bytes; more are an error, whatever `Content-Length` says.
async fn body(response: &mut Response, longest: usize) -> Result<Vec<u8>, DocumentFault> {
    if response.content_length().is_some_and(|length| length > longest as u64) {
        return Err(DocumentFault::TooLong(longest));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| fault(&error))? {
        if body.len() + chunk.len() > longest {
            return Err(DocumentFault::TooLong(longest));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Resolves names, and hands public addresses on only: one other among them refuses the name, since which one is used is
/// not ours to choose. Addresses in a URL never come here; [`DocumentUrl`] has refused those.
struct Guarded {
    local: bool,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let local = self.local;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if !local && !found.iter().all(|address| is_public(address.ip())) {
                return Err(Box::from(NotPublic));
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// An address that is not on the public internet.
#[derive(Debug, thiserror::Error)]
#[error("not a public address")]
struct NotPublic;

fn fault(error: &reqwest::Error) -> DocumentFault {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<NotPublic>() {
            return DocumentFault::Address;
        }
        cause = error.source();
    }
    if error.is_timeout() { DocumentFault::Slow } else { DocumentFault::Unreachable(innermost(error)) }
}
