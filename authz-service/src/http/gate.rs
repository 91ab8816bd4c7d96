//! What every request passes before it reaches an endpoint, and every answer on its way out.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use actix_web::http::{ConnectionType, StatusCode, Version};
use actix_web::middleware::Next;
use actix_web::web::{Data, Payload};
use actix_web::{Error, HttpResponse, ResponseError};
use futures_util::FutureExt;
use shared::oauth::error::ErrorCode;
use shared::uri::Parts;
use tracing::Instrument;

use super::app::{App, REQUEST_ID};
use super::routes::OpenToAll;
use super::{body, reply};

/// The gate.
///
/// # Errors
/// `Broken`, which is an answer too.
pub async fn gate(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(app) = request.app_data::<Data<App>>().cloned() else {
        return Ok(request.into_response(HttpResponse::InternalServerError()));
    };
    let _counted = InFlight::count(&app.in_flight);
    let id = request_id(&app, &request);
    let begun = Instant::now();
    let method = request.method().clone();
    let count = |endpoint, status: StatusCode| {
        if let Some(metrics) = &app.metrics {
            metrics.answered(endpoint, method.as_str(), status.as_u16(), begun.elapsed());
        }
    };
    if let Err((status, text)) = check(&app, &request) {
        // Read the body all the same: the next request on this connection begins behind it.
        if let Ok(mut payload) = request.extract::<Payload>().await {
            drop(body::read(request.request(), &mut payload).await);
        }
        let mut response = reply::error(status, ErrorCode::InvalidRequest, text);
        finish(response.headers_mut(), None);
        name(response.headers_mut(), &id);
        count(None, status);
        return Ok(request.into_response(response));
    }
    // The request may not be kept: the router needs it for itself. So a failure is an error that knows its answer.
    let path = reply::escaped(request.path(), 100);
    let span = tracing::info_span!("request", id);
    let answer = REQUEST_ID.scope(id.clone(), next.call(request)).instrument(span);
    let mut response = match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(Ok(response)) => response.map_into_boxed_body(),
        Ok(Err(error)) => {
            let broken = Broken::unreadable(&error, id);
            count(None, broken.status);
            return Err(broken.into());
        }
        Err(_) => {
            count(None, StatusCode::INTERNAL_SERVER_ERROR);
            return Err(Broken::panicked(id, &path).into());
        }
    };
    if app.stopping.load(Ordering::Relaxed) {
        // A busy connection would keep us until it is cut in the middle of an answer (F-20).
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    count(response.request().match_pattern(), response.status());
    let open = response.request().app_data::<OpenToAll>().is_some();
    let origin = response.request().headers().get(ORIGIN).cloned();
    finish(response.headers_mut(), open.then(|| Open { allowed: app.cors.as_deref(), origin }));
    if app.is_public_https {
        let forever = HeaderValue::from_static("max-age=31536000");
        response.headers_mut().insert(HeaderName::from_static("strict-transport-security"), forever);
    }
    name(response.headers_mut(), &id);
    Ok(response)
}

/// A request that no endpoint has answered, and what is answered instead.
#[derive(Debug)]
struct Broken {
    status: StatusCode,
    word: ErrorCode,
    text: String,
    id: String,
}

impl Broken {
    fn unreadable(error: &Error, id: String) -> Self {
        let status = error.as_response_error().status_code();
        let word = if status.is_server_error() { ErrorCode::ServerError } else { ErrorCode::InvalidRequest };
        Self { status, word, text: "the request cannot be read".to_owned(), id }
    }

    /// HTP-07: the process lives, and the log knows which request it was.
    fn panicked(id: String, path: &str) -> Self {
        tracing::error!(id, path, "an endpoint panicked");
        let text = format!("the service failed; its log says more (request {id})");
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, word: ErrorCode::ServerError, text, id }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl ResponseError for Broken {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = reply::error(self.status, self.word, &self.text);
        finish(response.headers_mut(), None);
        name(response.headers_mut(), &self.id);
        response
    }
}

/// Checks what no endpoint should have to look at.
fn check(app: &App, request: &ServiceRequest) -> Result<(), (StatusCode, &'static str)> {
    let peer = request.peer_addr().map(|peer| peer.ip());
    if app.proxies_only && !app.proxies.lets_in(peer, request.path()) {
        return Err((StatusCode::FORBIDDEN, "this service is reached through its proxy only"));
    }
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let line = request.method().as_str().len() + target + "  HTTP/1.1".len();
    let bounds = &app.policy.bounds;
    if line > bounds.request_line {
        return Err((StatusCode::URI_TOO_LONG, "the request line is too long"));
    }
    let headers: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers > bounds.headers {
        return Err((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too large"));
    }
    if request.query_string().len() > 1 && bounds.check_count(request.query_string().as_bytes()).is_err() {
        return Err((StatusCode::BAD_REQUEST, "the query has too many parameters"));
    }
    check_host(request, app.hosts.as_deref())
}

/// Checks the one Host header, and that it names us: by one of `allowed`, if not any name will do.
///
/// # Errors
/// What to answer instead.
pub(super) fn check_host(
    request: &ServiceRequest,
    allowed: Option<&[String]>,
) -> Result<(), (StatusCode, &'static str)> {
    let mut hosts = request.headers().get_all(HOST);
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() || (host.is_none() && request.version() > Version::HTTP_10) {
        return Err((StatusCode::BAD_REQUEST, "a request has one Host header"));
    }
    if host.is_some_and(|host| !host.to_str().is_ok_and(is_host)) {
        return Err((StatusCode::BAD_REQUEST, "the Host header is no host and port"));
    }
    let named = [host.and_then(|host| host.to_str().ok()), request.uri().authority().map(|a| a.as_str())];
    match allowed {
        Some(allowed) if !named.into_iter().flatten().all(|name| is_allowed(allowed, name)) => {
            Err((StatusCode::MISDIRECTED_REQUEST, "this service is not known by that host name"))
        }
        _ => Ok(()),
    }
}

/// Whether a text is a host, perhaps with a port (RFC 9110 section 7.2), and nothing that two parsers could read
/// differently.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.rfind(':') {
        Some(at) if !text[at..].contains(']') => (&text[..at], &text[at + 1..]),
        _ => (text, ""),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let bracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_name = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(plain),
    };
    is_name && port.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a Host header names us. Only the name counts: a page that rebinds its own name to this machine brings its
/// own name along (RUSTSEC-2026-0189), whatever the port.
fn is_allowed(allowed: &[String], host: &str) -> bool {
    let url = format!("http://{host}");
    let name = Parts::of(&url).and_then(|parts| parts.host()).unwrap_or_default();
    allowed.iter().any(|one| one.eq_ignore_ascii_case(name))
}

/// The name of a request: a proxy of ours may give it, so that its log and ours agree; else we draw one.
fn request_id(app: &App, request: &ServiceRequest) -> String {
    let peer = request.peer_addr().map(|peer| peer.ip());
    let given = request.headers().get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    match given {
        Some(id) if peer.is_some_and(|peer| app.proxies.trusts(peer)) && is_short(id) && id.bytes().all(plain) => {
            id.to_owned()
        }
        _ => app.next_request_id(),
    }
}

fn is_short(id: &str) -> bool {
    (1..=64).contains(&id.len())
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Tells the caller how the request is called in our log.
fn name(headers: &mut HeaderMap, id: &str) {
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(X_REQUEST_ID, value);
    }
}

/// An answer that pages of other origins may read: of all, or of those that the operator allows.
pub(super) struct Open<'a> {
    allowed: Option<&'a [String]>,
    origin: Option<HeaderValue>,
}

impl Open<'_> {
    fn allow(&self, headers: &mut HeaderMap) {
        let Some(allowed) = self.allowed else {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            return;
        };
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) =
            self.origin.as_ref().filter(|one| allowed.iter().any(|known| known.as_bytes() == one.as_bytes()))
        {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
    }
}

/// Headers that every answer has (contract C2). Whoever wants to be kept says so itself.
pub(super) fn finish(headers: &mut HeaderMap, open: Option<Open<'_>>) {
    let put = |headers: &mut HeaderMap, name: &'static str, value: &'static str| {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    };
    put(headers, "x-content-type-options", "nosniff");
    if !headers.contains_key(CACHE_CONTROL) {
        put(headers, "cache-control", "no-store");
    }
    if let Some(open) = open {
        open.allow(headers);
        put(headers, "access-control-expose-headers", "WWW-Authenticate, Retry-After, X-Request-Id");
    }
}

/// Counts a request while it is being answered.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn count(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::SeqCst);
        Self(counter)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn htp_06_a_host_is_a_name_or_address_and_perhaps_a_port() {
        for (host, answer) in [
            ("localhost", true),
            ("a.example:443", true),
            ("[::1]:3000", true),
            ("[::1]", true),
            ("", false),
            (":80", false),
            ("localhost/x", false),
            ("local host", false),
            ("localhost:x", false),
            ("u@localhost", false),
            ("[localhost]", false),
            ("localhost#", false),
        ] {
            assert_eq!(is_host(host), answer, "{host}");
        }
    }

    #[test]
    fn met_10_only_our_own_names_are_answered() {
        let allowed = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
        for (host, answer) in [
            ("localhost", true),
            ("LOCALHOST:3000", true),
            ("127.0.0.1:1", true),
            ("[::1]:3000", true),
            ("evil.example", false),
            ("evil.example:3000", false),
            ("localhost.evil.example", false),
            ("localhost@evil.example", false),
            ("", false),
        ] {
            assert_eq!(is_allowed(&allowed, host), answer, "{host}");
        }
    }
}
