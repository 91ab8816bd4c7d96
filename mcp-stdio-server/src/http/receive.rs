//! What is read of a request before anything is decided: its headers and its body, within bounds.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use actix_web::web::{Bytes, BytesMut, Payload};
use futures_util::StreamExt;
use shared::uri::Parts;
use tokio::time::timeout;

use super::reply::{Refused, failure, json_answer, rejected};
use super::request::{Heads, Rejection};
use super::{Front, MAX_BODY};
use crate::wrap::message::{self, Message};

/// The header that names a session (MCP 2025-11-25, "Session Management").
pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

pub(super) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The event behind which a stream is read on (MCP 2025-11-25, "Resumability and Redelivery").
pub(super) const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

const METHOD: HeaderName = HeaderName::from_static("mcp-method");

const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// How long a body may take (contract C9).
const BODY_TIME: Duration = Duration::from_secs(30);

/// The largest headers, together (contract C9).
const MAX_HEADERS: usize = 32 * 1024;

/// Reads a message, in whichever layout it was written.
pub(super) fn read(http: &HttpRequest, body: &[u8]) -> Result<Message, Refused> {
    let kind = http.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(failure(415, "invalid_request", "Content-Type must be application/json"));
    }
    if !accepts(http, "application/json") || !accepts(http, "text/event-stream") {
        return Err(failure(406, "invalid_request", "Accept must list application/json and text/event-stream"));
    }
    match message::read(body) {
        Ok(Message::Empty) => Err(failure(400, "invalid_request", "the body is empty")),
        Ok(message) => Ok(message),
        Err(answer) => Err(Box::new(json_answer(StatusCode::BAD_REQUEST).body(answer.to_string()))),
    }
}

/// Whether `Accept` lists a type; a request without one takes anything (RFC 9110 section 12.5.1).
pub(super) fn accepts(http: &HttpRequest, kind: &str) -> bool {
    let mut listed = http.headers().get_all(ACCEPT).filter_map(|value| value.to_str().ok()).peekable();
    let family = kind.split('/').next().unwrap_or_default();
    let fits = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().unwrap_or_default();
        let is_refused =
            parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0)));
        let is_family =
            named.strip_suffix("/*").is_some_and(|found| found == "*" || found.eq_ignore_ascii_case(family));
        !is_refused && (is_family || named.eq_ignore_ascii_case(kind))
    };
    listed.peek().is_none() || listed.any(|value| value.split(',').any(fits))
}

/// One header as text.
pub(super) fn text<'a>(http: &'a HttpRequest, name: &HeaderName) -> Result<Option<&'a str>, Rejection> {
    let mut found = http.headers().get_all(name);
    let (Some(value), second) = (found.next(), found.next()) else { return Ok(None) };
    match value.to_str() {
        Ok(text) if second.is_none() => Ok(Some(text.trim())),
        _ => Err(Rejection::mismatch(format!("the header {name} is repeated, or no text"))),
    }
}

pub(super) fn heads(http: &HttpRequest) -> Result<Heads<'_>, Rejection> {
    Ok(Heads { version: text(http, &VERSION)?, method: text(http, &METHOD)?, name: text(http, &NAME)? })
}

pub(super) fn session_name(http: &HttpRequest) -> Result<String, Refused> {
    match text(http, &SESSION) {
        Ok(Some(name)) if !name.is_empty() => Ok(name.to_owned()),
        Ok(_) => Err(failure(400, "invalid_request", "the header Mcp-Session-Id is missing; send initialize first")),
        Err(rejection) => Err(rejected(&rejection, None)),
    }
}

/// Reads a body whole, within its bounds.
pub(super) async fn body(http: &HttpRequest, payload: &mut Payload) -> Result<Bytes, Refused> {
    let too_large = || failure(413, "invalid_request", &format!("a message is at most {MAX_BODY} bytes long"));
    let length = http.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > MAX_BODY as u64) {
        return Err(too_large());
    }
    let reading = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| failure(400, "invalid_request", "the body did not arrive"))?;
            if body.len() + chunk.len() > MAX_BODY {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    let late = |_| failure(408, "invalid_request", "the body did not arrive in time");
    timeout(BODY_TIME, reading).await.map_err(late)?
}

/// Checks that a request is meant for us, and comes from no page of strangers. Its origin, when it names one.
pub(super) fn admitted(front: &Front, http: &HttpRequest) -> Result<Option<String>, Refused> {
    for_us(front, http)?;
    let mut origins = http.headers().get_all(ORIGIN);
    let (origin, second) = (origins.next(), origins.next());
    let Some(origin) = origin else { return Ok(None) };
    let origin = origin.to_str().ok().filter(|origin| second.is_none() && is_known(front, origin));
    match origin {
        Some(origin) => Ok(Some(origin.to_owned())),
        None => Err(failure(403, "invalid_request", "pages of this origin may not use this server")),
    }
}

pub(super) fn is_known(front: &Front, origin: &str) -> bool {
    let (Some(found), Some(ours)) = (Parts::of(origin), Parts::of(front.gate.resource.as_str())) else { return false };
    let is_ours = found.scheme == ours.scheme && found.authority == ours.authority;
    is_ours || (ours.is_loopback() && found.is_loopback()) || front.origins.iter().any(|known| known == origin)
}

/// Whether a request names us, against pages that have their own name lead here (MET-10).
pub(super) fn for_us(front: &Front, http: &HttpRequest) -> Result<(), Refused> {
    let size: usize = http.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if size > MAX_HEADERS {
        return Err(failure(431, "invalid_request", "the headers are too large"));
    }
    let Some(hosts) = &front.hosts else { return Ok(()) };
    let mut found = http.headers().get_all(HOST);
    let (host, second) = (found.next().and_then(|host| host.to_str().ok()), found.next());
    let url = format!("http://{}", host.unwrap_or_default());
    let name = Parts::of(&url).and_then(|parts| parts.host().map(str::to_owned)).unwrap_or_default();
    let is_ours = second.is_none() && hosts.iter().any(|known| known.eq_ignore_ascii_case(&name));
    is_ours.then_some(()).ok_or_else(|| failure(421, "invalid_request", "this server is not known by that host name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_accepts_what_it_lists() {
        for (accept, json, events) in [
            (None, true, true),
            (Some("*/*"), true, true),
            (Some("application/json, text/event-stream"), true, true),
            (Some("application/json"), true, false),
            (Some("Text/Event-Stream;q=0.5"), false, true),
            (Some("application/*"), true, false),
            (Some("application/json;q=0, */*;q=0"), false, false),
            (Some("text/html"), false, false),
        ] {
            let request = accept.map_or_else(actix_web::test::TestRequest::get, |accept| {
                actix_web::test::TestRequest::get().insert_header((ACCEPT, accept))
            });
            let http = request.to_http_request();
            let found = (accepts(&http, "application/json"), accepts(&http, "text/event-stream"));
            assert_eq!(found, (json, events), "{accept:?}");
        }
    }
}
