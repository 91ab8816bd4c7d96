//! `POST /oauth/token`: a code, refresh token, device code or client in, tokens out (RFC 6749 section 3.2).

use std::net::IpAddr;

use actix_web::http::StatusCode;
use actix_web::http::header::AUTHORIZATION;
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use shared::id::{GrantId, TokenId};
use shared::oauth::error::ErrorCode;
use shared::oauth::token::TokenResponse;
use shared::secret::{Secret, random_bytes, random_uuid};
use shared::token::opaque_token;

use super::app::{App, Failure};
use super::revoke::verified;
use super::{body, cimd, limit, reply};
use crate::protocol::Refusal;
use crate::protocol::client_auth::Presented;
use crate::protocol::token::exchange::ACCESS_TOKEN;
use crate::protocol::token::{self, FreshTokens, Granted, TokenRequest};

const ENDPOINT: &str = "token";

/// The endpoint.
pub async fn post(app: Data<App>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    let body = match body::read(&http, &mut payload).await {
        Ok(body) => body,
        Err(why) => return body::refused(ErrorCode::InvalidRequest, why),
    };
    let mut request = match read(&app, &http, &body) {
        Ok(request) => request,
        Err(refusal) => return reply::failed(&app, ENDPOINT, &refusal.into()),
    };
    if let Err(error) = request.check_subject(|token| verified(&app, token)) {
        return reply::failed(&app, ENDPOINT, &error.into());
    }
    let source = limit::source(&http);
    let allowed = may_try(&app, &http, &request.client).and_then(|()| match request.presents() {
        true => app.limits.may_present(source, app.now()),
        false => Ok(()),
    });
    if let Err(wait) = allowed {
        return reply::too_many(wait);
    }
    match exchange(&app, &mut request, source).await {
        Ok(tokens) => reply::json(StatusCode::OK, &tokens),
        Err(failure) => {
            let noted = note_failure(&app, &http, &request.client, &failure).and_then(|()| match &failure {
                Failure::Refused(refusal) if refusal.code() == ErrorCode::InvalidGrant => {
                    app.limits.presented_in_vain(source, app.now())
                }
                _ => Ok(()),
            });
            if let Err(wait) = noted {
                return reply::too_many(wait);
            }
            let failure = pace(&app, &request, failure);
            reply::failed(&app, ENDPOINT, &failure)
        }
    }
}

fn read(app: &App, http: &HttpRequest, body: &Bytes) -> Result<TokenRequest, Refusal> {
    TokenRequest::parse(authorization(http)?, token::parameters(body::form(http), body, &app.policy.bounds)?)
}

/// The one Authorization header.
///
/// # Errors
/// When there are two: which one another party reads cannot be known.
pub fn authorization(http: &HttpRequest) -> Result<Option<&[u8]>, Refusal> {
    let mut headers = http.headers().get_all(AUTHORIZATION);
    let first = headers.next().map(|value| value.as_bytes());
    match headers.next() {
        Some(_) => Err(Refusal::Repeated("Authorization")),
        None => Ok(first),
    }
}

/// Whether this address has failed too often with this client (TOK-19).
///
/// # Errors
/// The seconds to wait.
pub fn may_try(app: &App, http: &HttpRequest, client: &Presented) -> Result<(), u64> {
    app.limits.clients.check(limit::source(http), client.name(), app.now())
}

/// Counts a failed client authentication. Requests of one client come many at a time and are good: so a failure is counted
/// when it has happened, and one that came beside too many others is not told that it was one.
///
/// # Errors
/// The seconds to wait.
pub fn note_failure(app: &App, http: &HttpRequest, client: &Presented, failure: &Failure) -> Result<(), u64> {
    match failure {
        Failure::Refused(Refusal::Client { .. }) => {
            app.limits.clients.count(limit::source(http), client.name(), app.now())
        }
        _ => Ok(()),
    }
}

/// A device that nobody has decided about may ask so often, and is told when it asks more often.
fn pace(app: &App, request: &TokenRequest, failure: Failure) -> Failure {
    match (&failure, request.presented_device()) {
        (Failure::Refused(Refusal::Undecided), Some(device)) => {
            app.limits.polls.again(device, app.now()).map_or_else(Failure::Refused, |()| failure)
        }
        _ => failure,
    }
}

async fn exchange(app: &Data<App>, request: &mut TokenRequest, source: IpAddr) -> Result<TokenResponse, Failure> {
    cimd::fetch_keys(app, &mut request.client, None, source).await?;
    let request = &*request;
    let refresh = request.presented_refresh().map_or_else(Secret::random, |presented| app.keys.successor(presented));
    let token = TokenId(random_uuid());
    let one_call = opaque_token(token, &random_bytes());
    let fresh = FreshTokens { token, grant: GrantId(random_uuid()), refresh, one_call };
    let decide = |facts: &_, now| token::decide(request, facts, &app.policy, &fresh, now);
    let granted = app.settle(&request.wants(&app.policy), decide).await?;
    answer(app, &granted, &fresh)
}

/// Signs the access token: after the commit, so that no token is out that the store does not know.
fn answer(app: &App, granted: &Granted, fresh: &FreshTokens) -> Result<TokenResponse, Failure> {
    let claims = &granted.claims;
    let signed = if granted.one_call { None } else { Some(app.keys.mint(claims)?) };
    let access = signed.as_ref().unwrap_or(&fresh.one_call);
    tracing::info!(endpoint = ENDPOINT, client = %claims.client_id, subject = %claims.sub, grant = %claims.grant, "issued");
    Ok(TokenResponse {
        access_token: access.expose().to_owned(),
        token_type: "Bearer".to_owned(),
        expires_in: Some((claims.exp - claims.iat).0),
        issued_token_type: granted.one_call.then(|| ACCESS_TOKEN.to_owned()),
        refresh_token: granted.gives_refresh.then(|| fresh.refresh.expose().to_owned()),
        scope: Some(claims.scope.to_string()),
    })
}
