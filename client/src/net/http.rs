//! HTTP to servers that we do not trust: bounded bodies, bounded time, few redirects, no proxies for this machine.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Client, RequestBuilder, Response, redirect};
use shared::address::is_public;
use shared::uri::Parts;

use crate::failure::Failure;
use crate::flow::FormRequest;
use crate::flow::discover::{is_local, same_origin};

/// The longest metadata document (contract C13).
pub const METADATA_LIMIT: usize = 256 * 1024;
/// The longest answer of a token or registration endpoint (contract C13).
pub const TOKEN_LIMIT: usize = 1024 * 1024;
/// How long an exchange may take, from the first byte sent to the last received.
pub const EXCHANGE_TIME: Duration = Duration::from_secs(10);
/// How many redirects a GET follows.
const REDIRECTS: usize = 3;

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    /// The URL that gave it, after redirects.
    pub url: String,
    /// The status.
    pub status: u16,
    /// Every `WWW-Authenticate` header that is text.
    pub challenges: Vec<String>,
    /// `Location`, if it is text.
    pub location: Option<String>,
    /// The body. May hold secrets.
    pub body: Vec<u8>,
}

/// Why there is no answer. Names the host and path, never a query.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{url}: {reason}")]
pub struct NoReply {
    /// Which URL, without its query.
    pub url: String,
    /// What happened.
    pub reason: String,
}

impl From<NoReply> for Failure {
    fn from(error: NoReply) -> Self {
        Self::network(error.to_string())
    }
}

/// HTTP clients, made when first needed: one for this machine, which no proxy sees, and one for the rest.
#[derive(Debug, Default)]
pub struct Http {
    local: OnceLock<Client>,
    remote: OnceLock<Client>,
}

impl Http {
    /// A GET for a document. Follows at most three redirects: on the same origin, or over https to a public address.
    ///
    /// # Errors
    /// When the server is not reached, redirects elsewhere, or sends too much.
    pub async fn get(&self, url: &str, limit: usize) -> Result<Reply, NoReply> {
        within(url, self.follow(url, limit)).await
    }

    async fn follow(&self, url: &str, limit: usize) -> Result<Reply, NoReply> {
        let mut reply = self.exchange(url, limit, |client| client.get(url).header(ACCEPT, "application/json")).await?;
        for _ in 0..REDIRECTS {
            let Some(next) = redirected(&reply)? else { return Ok(reply) };
            let pinned = match same_origin(&reply.url, &next) {
                true => None,
                false => Some(self.pinned_to_public(&next).await?),
            };
            let client = pinned.as_ref().map_or_else(|| self.client(&next), Ok)?;
            let request = client.get(&next).header(ACCEPT, "application/json");
            reply = send(&next, request, limit).await?;
        }
        match redirected(&reply)? {
            None => Ok(reply),
            Some(_) => Err(no_reply(url, "it redirects more than 3 times")),
        }
    }

    /// A GET that follows nothing and sends nothing of ours along.
    ///
    /// # Errors
    /// When the server is not reached or sends too much.
    pub async fn get_once(&self, url: &str, limit: usize) -> Result<Reply, NoReply> {
        within(url, self.exchange(url, limit, |client| client.get(url))).await
    }

    /// Posts a form. Never follows a redirect: what it carries is for this endpoint alone.
    ///
    /// # Errors
    /// When the server is not reached or sends too much.
    pub async fn post_form(&self, form: &FormRequest) -> Result<Reply, NoReply> {
        let exchange = self.exchange(&form.url, TOKEN_LIMIT, |client| {
            let request = client
                .post(&form.url)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header(ACCEPT, "application/json")
                .body(form.body.expose().to_owned());
            match form.authorization.as_ref().and_then(|text| HeaderValue::from_str(text.expose()).ok()) {
                Some(mut header) => {
                    header.set_sensitive(true);
                    request.header(AUTHORIZATION, header)
                }
                None => request,
            }
        });
        within(&form.url, exchange).await
    }

    /// Posts JSON. Never follows a redirect.
    ///
    /// # Errors
    /// When the server is not reached or sends too much.
    pub async fn post_json(&self, url: &str, accept: &str, body: &serde_json::Value) -> Result<Reply, NoReply> {
        let exchange = self.exchange(url, TOKEN_LIMIT, |client| client.post(url).header(ACCEPT, accept).json(body));
        within(url, exchange).await
    }

    async fn exchange(
        &self,
        url: &str,
        limit: usize,
        request: impl FnOnce(&Client) -> RequestBuilder,
    ) -> Result<Reply, NoReply> {
        send(url, request(self.client(url)?), limit).await
    }

    /// The client for a URL.
    ///
    /// # Errors
    /// When there is no TLS to be had.
    pub fn client(&self, url: &str) -> Result<&Client, NoReply> {
        let (cell, local) = if is_local(url) { (&self.local, true) } else { (&self.remote, false) };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let builder = if local { builder().no_proxy() } else { builder() };
        let client = builder.build().map_err(|error| no_reply(url, &cause(&error)))?;
        Ok(cell.get_or_init(|| client))
    }

    /// A client that reaches `url`'s host at the public addresses that were looked at, and nowhere else: a name that
    /// changes its address between the look and the connection gains nothing.
    async fn pinned_to_public(&self, url: &str) -> Result<Client, NoReply> {
        let refuse = || no_reply(url, "a redirect leads away from the server, and not to a public https address");
        let parts = Parts::of(url).filter(|parts| parts.scheme == "https").ok_or_else(refuse)?;
        let host = parts.host().ok_or_else(refuse)?;
        let port = parts.port().map_or(Ok(443), str::parse::<u16>).map_err(|_| refuse())?;
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let found = tokio::net::lookup_host((name, port)).await.map_err(|error| no_reply(url, &error.to_string()))?;
        let addresses: Vec<SocketAddr> = found.collect();
        if addresses.is_empty() || !addresses.iter().all(|address| is_public(address.ip())) {
            return Err(refuse());
        }
        builder().no_proxy().resolve_to_addrs(name, &addresses).build().map_err(|error| no_reply(url, &cause(&error)))
    }
}

fn builder() -> reqwest::ClientBuilder {
    Client::builder()
        .user_agent(concat!("mcp-client/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .connect_timeout(EXCHANGE_TIME)
        .referer(false)
}

async fn within(url: &str, exchange: impl Future<Output = Result<Reply, NoReply>>) -> Result<Reply, NoReply> {
    match tokio::time::timeout(EXCHANGE_TIME, exchange).await {
        Ok(result) => result,
        Err(_) => Err(no_reply(url, "no complete answer within 10 seconds")),
    }
}

async fn send(url: &str, request: RequestBuilder, limit: usize) -> Result<Reply, NoReply> {
    let response = request.send().await.map_err(|error| no_reply(url, &cause(&error)))?;
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
    let reply = Reply {
        url: url.to_owned(),
        status: response.status().as_u16(),
        challenges: response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(text).collect(),
        location: response.headers().get(LOCATION).and_then(text),
        body: Vec::new(),
    };
    let body = read(response, limit).await.map_err(|reason| no_reply(url, &reason))?;
    Ok(Reply { body, ..reply })
}

/// Reads a body up to `limit` bytes; a longer one is an error, whatever its `Content-Length` says.
async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| cause(&error))? {
        if body.len() + chunk.len() > limit {
            return Err(format!("it sends more than {} KiB", limit / 1024));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Where a reply redirects to, as an absolute URL.
fn redirected(reply: &Reply) -> Result<Option<String>, NoReply> {
    let (301 | 302 | 303 | 307 | 308, Some(location)) = (reply.status, &reply.location) else { return Ok(None) };
    let base = reqwest::Url::parse(&reply.url).map_err(|_| no_reply(&reply.url, "it is not a URL"))?;
    let next = base.join(location).map_err(|_| no_reply(&reply.url, "it redirects to something that is no URL"))?;
    Ok(Some(next.into()))
}

fn no_reply(url: &str, reason: &str) -> NoReply {
    NoReply { url: shown(url), reason: reason.to_owned() }
}

/// A URL without its query and user, which may hold secrets.
pub fn shown(url: &str) -> String {
    let parts = Parts::of(url).and_then(|parts| Some((parts.scheme, parts.authority?, parts.path)));
    match parts {
        Some((scheme, authority, path)) => {
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => "the server".to_owned(),
    }
}

/// The innermost cause: reqwest's own words repeat the URL with its query.
pub fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match innermost.downcast_ref::<reqwest::Error>() {
        Some(error) if error.is_timeout() => "no answer in time".to_owned(),
        Some(_) => "the request failed".to_owned(),
        None => innermost.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        assert_eq!(shown("https://u:p@as.example/token?code=hunter2#x"), "https://as.example/token");
        assert_eq!(shown("nonsense"), "the server");
    }
}
