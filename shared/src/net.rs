//! Requests to servers that the operator named: nowhere else, without redirects, bounded in size and time.
//!
//! Their addresses may be private ones, unlike those that strangers name: an authorization server often has one.

use std::error::Error;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{ACCEPT, AGE, CACHE_CONTROL, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, redirect};

use crate::oauth::freshness::freshness;
use crate::time::Seconds;

/// The longest answer, in bytes.
pub const MAX_ANSWER: usize = 256 * 1024;

/// How requests are made.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// How we call ourselves.
    pub agent: &'static str,
    /// How long one request may take, from its first byte to the last of the answer.
    pub time: Duration,
    /// How many connections to one host are kept for the next request. More than none only where all requests are made on
    /// one runtime: a connection belongs to the thread that made it.
    pub kept: usize,
}

/// What makes requests.
#[derive(Debug)]
pub struct Remote {
    manner: Manner,
    client: OnceLock<Client>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body. May hold secrets.
    pub body: Vec<u8>,
    cache_control: Vec<String>,
    age: Option<u64>,
}

impl Reply {
    /// How long it is believed by its headers; `usual` when they say nothing.
    pub fn freshness(&self, usual: Seconds) -> Seconds {
        freshness(self.cache_control.iter().map(String::as_str), self.age, usual)
    }
}

/// Why there is no answer. Never names the URL, which may hold what is not for a log.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct NoReply(String);

impl NoReply {
    /// There is none, for this reason.
    pub fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl Remote {
    /// Nothing is made before the first request.
    pub const fn new(manner: Manner) -> Self {
        Self { manner, client: OnceLock::new() }
    }

    /// What requests are built with.
    ///
    /// # Errors
    /// When the system has no certificates to trust, or no memory.
    pub fn client(&self) -> Result<&Client, NoReply> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let builder = Client::builder()
            .user_agent(self.manner.agent)
            .redirect(redirect::Policy::none())
            .referer(false)
            .pool_max_idle_per_host(self.manner.kept)
            .timeout(self.manner.time);
        let client = builder.build().map_err(|error| NoReply(innermost(&error)))?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Fetches a JSON document, whatever its status.
    ///
    /// # Errors
    /// When there is no answer, or a longer one than [`MAX_ANSWER`].
    pub async fn get(&self, url: &str) -> Result<Reply, NoReply> {
        self.send(self.client()?.get(url)).await
    }

    /// Sends what was built with [`Remote::client`].
    ///
    /// # Errors
    /// As [`Remote::get`].
    pub async fn send(&self, request: RequestBuilder) -> Result<Reply, NoReply> {
        let failed = |error: reqwest::Error| match error.is_timeout() {
            true => NoReply("it takes too long".to_owned()),
            false => NoReply(innermost(&error)),
        };
        let mut response = request.header(ACCEPT, "application/json").send().await.map_err(failed)?;
        let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
        let all = |name: HeaderName| response.headers().get_all(name).iter().filter_map(text).collect::<Vec<_>>();
        let (cache_control, age) = (all(CACHE_CONTROL), all(AGE).first().and_then(|age| age.parse().ok()));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(NoReply("its answer is longer than 256 KiB".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status: response.status().as_u16(), body, cache_control, age })
    }
}

/// The innermost cause: reqwest's own words repeat the URL.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if innermost.is::<reqwest::Error>() { "the request failed".to_owned() } else { innermost.to_string() }
}
