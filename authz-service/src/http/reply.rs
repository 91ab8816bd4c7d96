//! A word becomes a status, headers and a body.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;
use shared::oauth::challenge;
use shared::oauth::error::{ErrorBody, ErrorCode};

use super::app::{App, Failure};
use crate::protocol::Refusal;
use crate::protocol::cimd::DocumentFault;
use crate::protocol::upstream::UpstreamFault;

/// How long to wait when the store does not answer, in seconds.
pub const TRY_AGAIN: u64 = 5;

/// `Cache-Control` of everything that is not the same for everybody.
pub const NO_STORE: (actix_web::http::header::HeaderName, &str) = (CACHE_CONTROL, "no-store");

/// A JSON answer that no cache keeps.
pub fn json(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    match serde_json::to_vec(body) {
        Ok(bytes) => HttpResponse::build(status)
            .insert_header(NO_STORE)
            .insert_header((CONTENT_TYPE, "application/json"))
            .body(bytes),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

/// An error as JSON (RFC 6749 section 5.2).
pub fn error(status: StatusCode, code: ErrorCode, description: &str) -> HttpResponse {
    json(status, &ErrorBody::new(code, description))
}

/// What a JSON endpoint answers to a failure; the exact cause goes to the log.
pub fn failed(app: &App, endpoint: &'static str, failure: &Failure) -> HttpResponse {
    match failure {
        Failure::Refused(refusal) => {
            counted(app, endpoint, refusal);
            tracing::info!(endpoint, error = refusal.code().as_str(), cause = %logged(refusal), "refused");
            refused(refusal)
        }
        Failure::Store(_) | Failure::Busy | Failure::Internal(_) => broken(app, endpoint, failure),
    }
}

/// Counts a refusal, when somebody wants to know.
pub fn counted(app: &App, endpoint: &'static str, refusal: &Refusal) {
    if let Some(metrics) = &app.metrics {
        metrics.refused(endpoint, refusal);
    }
}

/// What a JSON endpoint answers to a refusal.
pub fn refused(refusal: &Refusal) -> HttpResponse {
    let mut response = error(status(refusal), refusal.code(), &refusal.description());
    let realm = ("realm", "authz-service");
    let challenge = match refusal {
        Refusal::Client { header: true, .. } => Some(challenge::write("Basic", &[realm, ("charset", "UTF-8")])),
        Refusal::InitialToken | Refusal::RegistrationToken => {
            Some(challenge::write("Bearer", &[realm, ("error", refusal.code().as_str())]))
        }
        _ => None,
    };
    if let Some(value) = challenge.and_then(|challenge| challenge.parse().ok()) {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    response
}

/// Our own fault, as JSON: 503 while the store does not answer, else 500.
fn broken(app: &App, endpoint: &'static str, failure: &Failure) -> HttpResponse {
    let (status, code, description) = fault(app, endpoint, failure);
    let mut response = error(status, code, &description);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, TRY_AGAIN.into());
    }
    response
}

/// What our own fault is called, to the log and to the caller.
pub fn fault<E>(app: &App, endpoint: &'static str, failure: &Failure<E>) -> (StatusCode, ErrorCode, String) {
    let id = app.next_request_id();
    match failure {
        Failure::Store(cause) => {
            tracing::error!(endpoint, id, %cause, "the store does not answer");
            let text = format!("the service cannot reach its store; try again in a moment (request {id})");
            (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::TemporarilyUnavailable, text)
        }
        Failure::Busy => {
            tracing::warn!(endpoint, id, "others were first, three times");
            let text = format!("the service is busy; try again in a moment (request {id})");
            (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::TemporarilyUnavailable, text)
        }
        Failure::Internal(_) | Failure::Refused(_) => {
            if let Failure::Internal(cause) = failure {
                tracing::error!(endpoint, id, cause, "internal error");
            }
            let text = format!("the service failed; its log says more (request {id})");
            (StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::ServerError, text)
        }
    }
}

/// 429 with the seconds to wait.
pub fn too_many(wait: u64) -> HttpResponse {
    let mut response = error(
        StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::TemporarilyUnavailable,
        &format!("too many requests from this address; try again in {wait} seconds"),
    );
    response.headers_mut().insert(RETRY_AFTER, wait.into());
    response
}

/// The status of a refusal.
pub fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Client { .. } | Refusal::InitialToken | Refusal::RegistrationToken => StatusCode::UNAUTHORIZED,
        Refusal::RegistrationOff => StatusCode::FORBIDDEN,
        Refusal::Upstream(fault) => match fault {
            UpstreamFault::Down(_) => StatusCode::SERVICE_UNAVAILABLE,
            UpstreamFault::Unknown => StatusCode::NOT_FOUND,
            UpstreamFault::TooLong | UpstreamFault::Answer => StatusCode::BAD_REQUEST,
            _ => StatusCode::FORBIDDEN,
        },
        Refusal::Document(DocumentFault::Busy) | Refusal::Full => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Forged
        | Refusal::NotLoggedIn
        | Refusal::NotAdmin
        | Refusal::WrongLogin
        | Refusal::Passkey(_)
        | Refusal::PasswordOff
        | Refusal::LoginTooOld => StatusCode::FORBIDDEN,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// The longest Location that we send: the longest redirect URI and state, both percent-encoded, and the code.
const MAX_LOCATION: usize = 3 * (2048 + 16 * 1024) + 8192;

/// Sends a browser on: 302 after a GET, 303 after a POST, so that a form is never posted on (RFC 9700 section 4.12).
pub fn redirect(after_post: bool, location: &str) -> HttpResponse {
    let status = if after_post { StatusCode::SEE_OTHER } else { StatusCode::FOUND };
    let is_url = location.bytes().all(|b| b.is_ascii_graphic());
    if location.len() > MAX_LOCATION || !is_url {
        return error(StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest, "the redirect is too long, or no URL");
    }
    HttpResponse::build(status)
        .insert_header(NO_STORE)
        .insert_header(("Referrer-Policy", "no-referrer"))
        .insert_header((LOCATION, location))
        .finish()
}

/// A refusal for the log: text that came from outside is escaped and cut (contract C15).
pub fn logged(refusal: &Refusal) -> String {
    escaped(&refusal.to_string(), 200)
}

/// Escapes what would break a line or a terminal, and cuts.
pub fn escaped(text: &str, most: usize) -> String {
    text.chars().take(most).flat_map(char::escape_default).collect()
}
