//! `GET|PUT|DELETE /register/{client}`: a client reads, replaces or removes its own registration (RFC 7592).

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use shared::oauth::error::ErrorCode;
use shared::secret::Secret;

use super::app::{App, Failure};
use super::reply::NO_STORE;
use super::{body, limit, reply, token};
use crate::protocol::Refusal;
use crate::protocol::manage::{self, ManageRequest, Managed, Replacement, Wish};
use crate::protocol::policy::MAX_TOKEN;
use crate::protocol::register;
use crate::protocol::token::BodyForm;

const ENDPOINT: &str = "register/client";

/// Reads the registration.
pub async fn get(app: Data<App>, http: HttpRequest) -> HttpResponse {
    answer(&app, &http, Wish::Read).await
}

/// Replaces it.
pub async fn put(app: Data<App>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    let body = match body::read_at_most(&http, &mut payload, app.policy.bounds.registration_body).await {
        Ok(body) => body,
        Err(why) => return body::refused(ErrorCode::InvalidClientMetadata, why),
    };
    let replacement = Replacement::parse(body::form(&http) == Some(BodyForm::Json), &body, &app.policy.bounds);
    answer(&app, &http, Wish::Replace(Box::new(replacement))).await
}

/// Removes it, and every token of the client.
pub async fn delete(app: Data<App>, http: HttpRequest) -> HttpResponse {
    answer(&app, &http, Wish::Remove).await
}

async fn answer(app: &App, http: &HttpRequest, wish: Wish) -> HttpResponse {
    let client = http.match_info().get("client").unwrap_or_default().to_owned();
    let source = limit::source(http);
    if let Err(wait) = app.limits.clients.check(source, &client, app.now()) {
        return reply::too_many(wait);
    }
    let request = match bearer(http) {
        Ok(token) => ManageRequest { client, token, wish },
        Err(refusal) => return reply::failed(app, ENDPOINT, &refusal.into()),
    };
    let fresh = Secret::random();
    let decide = |facts: &_, now| manage::decide(&request, facts, &app.policy, &fresh, now);
    match (app.settle(&request.wants(), decide).await, &request.token) {
        (Ok(Managed::Stored(client, rotated)), Some(token)) => {
            tracing::info!(endpoint = ENDPOINT, client = %client.id, replaced = rotated, "managed");
            let secret = Some(&fresh).filter(|_| rotated);
            reply::json(StatusCode::OK, &register::answer(&client, secret, token, &app.policy.issuer))
        }
        (Ok(_), _) => {
            tracing::info!(endpoint = ENDPOINT, client = %reply::escaped(&request.client, 64), "removed");
            HttpResponse::NoContent().insert_header(NO_STORE).finish()
        }
        (Err(failure), _) => {
            if matches!(failure, Failure::Refused(Refusal::RegistrationToken))
                && let Err(wait) = app.limits.clients.count(source, &request.client, app.now())
            {
                return reply::too_many(wait);
            }
            reply::failed(app, ENDPOINT, &failure)
        }
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750 section 2.1). What is no such header is no token.
///
/// # Errors
/// When there are two headers.
pub fn bearer(http: &HttpRequest) -> Result<Option<Secret>, Refusal> {
    let header = token::authorization(http)?.and_then(|header| std::str::from_utf8(header).ok());
    let credential = header.filter(|text| text.len() <= MAX_TOKEN + "Bearer ".len()).and_then(|text| {
        let (scheme, credential) = text.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| Secret::new(credential.trim().to_owned()))
    });
    Ok(credential)
}
