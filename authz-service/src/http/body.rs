//! Reading a request's body: bounded in size and time. A body is read also when the request is refused, because a
//! connection with an unread body cannot be used again.

use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, UPGRADE};
use actix_web::http::{Method, StatusCode};
use actix_web::rt::time::timeout;
use actix_web::web::{Bytes, BytesMut, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::StreamExt;
use shared::oauth::error::ErrorCode;
use shared::oauth::form::Parameters;
use shared::uri::Parts;

use super::app::App;
use super::{pages, reply};
use crate::protocol::Refusal;
use crate::protocol::token::{self, BodyForm};

/// Why there is no body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NoBody {
    /// More than so many bytes.
    TooLarge(usize),
    /// Not in time.
    Late,
    /// It ends too early, or its chunks are none (RFC 9112 sections 7.1 and 8).
    Broken,
    /// It holds more than it may.
    Bounds(Refusal),
}

/// Reads a form whole.
///
/// # Errors
/// When it is too large, which an honest `Content-Length` tells before a byte is read, or does not arrive.
pub async fn read(request: &HttpRequest, payload: &mut Payload) -> Result<Bytes, NoBody> {
    let most = request.app_data::<Data<App>>().map_or(0, |app| app.policy.bounds.form_body);
    read_at_most(request, payload, most).await
}

/// Reads a body of at most `most` bytes whole.
///
/// # Errors
/// As [`read`].
pub async fn read_at_most(request: &HttpRequest, payload: &mut Payload, most: usize) -> Result<Bytes, NoBody> {
    let Some(app) = request.app_data::<Data<App>>() else { return Err(NoBody::Late) };
    if announced(request).is_some_and(|length| length > most as u64) {
        return Err(NoBody::TooLarge(most));
    }
    let body = collect(payload, most, tunnelled(request));
    let body = timeout(app.times.body, body).await.unwrap_or(Err(NoBody::Late))?;
    app.policy.bounds.check(form(request), &body).map_err(NoBody::Bounds)?;
    Ok(body)
}

fn announced(request: &HttpRequest) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// How long the body of a request is that asks for a tunnel or another protocol; `None` for any other request. We open
/// neither, but what comes on such a connection has no end, so that we would wait for one.
fn tunnelled(request: &HttpRequest) -> Option<usize> {
    let asks = request.method() == Method::CONNECT || request.headers().contains_key(UPGRADE);
    let ends_itself = request.headers().contains_key(TRANSFER_ENCODING);
    let length = || announced(request).map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    (asks && !ends_itself).then(length)
}

async fn collect(payload: &mut Payload, most: usize, length: Option<usize>) -> Result<Bytes, NoBody> {
    let mut body = BytesMut::new();
    while length.is_none_or(|length| body.len() < length)
        && let Some(chunk) = payload.next().await
    {
        let chunk = chunk.map_err(|_| NoBody::Broken)?;
        if body.len() + chunk.len() > most {
            return Err(NoBody::TooLarge(most));
        }
        body.extend_from_slice(&chunk);
    }
    if let Some(length) = length {
        body.truncate(length);
    }
    Ok(body.freeze())
}

/// The form in which the request says that its body is written.
pub fn form(request: &HttpRequest) -> Option<BodyForm> {
    BodyForm::of(request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()))
}

impl NoBody {
    fn status_and_text(&self) -> (StatusCode, String) {
        match self {
            Self::TooLarge(most) => {
                (StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {} KiB", most.div_ceil(1024)))
            }
            Self::Late => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive".to_owned()),
            Self::Broken => (StatusCode::BAD_REQUEST, "the body is cut off, or not in well-formed chunks".to_owned()),
            Self::Bounds(refusal) => (StatusCode::BAD_REQUEST, refusal.description()),
        }
    }
}

/// No body, at an endpoint for programs.
pub fn refused(word: ErrorCode, why: NoBody) -> HttpResponse {
    let (status, text) = why.status_and_text();
    reply::error(status, word, &text)
}

/// No body, at a page.
pub fn refused_page(app: &App, endpoint: &'static str, why: NoBody) -> HttpResponse {
    let (status, text) = why.status_and_text();
    let id = app.next_request_id();
    tracing::info!(endpoint, id, text, "refused");
    app.pages.error(status, "The app's request cannot be followed", "invalid_request", &text, pages::ASK_THE_APP, &id)
}

/// Whether a browser says that the form was sent from a page of ours: a second line behind the sealed fields. A
/// program says nothing, and our own pages say `null`, because they send no referrer.
fn is_from_here(app: &App, request: &HttpRequest) -> bool {
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let here = |origin: &str| {
        let authority = Parts::of(origin).and_then(|parts| parts.authority);
        let ours = [text("host"), app.policy.issuer.parts().authority];
        authority.is_some_and(|one| ours.iter().flatten().any(|name| name.eq_ignore_ascii_case(one)))
    };
    let origin = text("origin").is_none_or(|origin| origin == "null" || here(origin));
    origin && text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"))
}

/// Whether the browser says that no page of any site led here (Fetch Metadata, `Sec-Fetch-Site: none`): the person typed
/// the address, or a program of theirs opened it.
pub fn is_opened_by_the_person(request: &HttpRequest) -> bool {
    request.headers().get("sec-fetch-site").is_some_and(|site| site == "none")
}

/// Reads a page's form.
///
/// # Errors
/// The page to show instead.
pub async fn page_form(
    app: &App,
    endpoint: &'static str,
    request: &HttpRequest,
    payload: &mut Payload,
) -> Result<Parameters, HttpResponse> {
    let body = read(request, payload).await.map_err(|why| refused_page(app, endpoint, why))?;
    if !is_from_here(app, request) {
        return Err(pages::refused(app, endpoint, &Refusal::Forged));
    }
    let read = match form(request) {
        Some(BodyForm::Form) => token::form_parameters(&body),
        _ => Err(Refusal::Body("the body must be application/x-www-form-urlencoded".into())),
    };
    read.map_err(|refusal| pages::refused(app, endpoint, &refusal))
}
