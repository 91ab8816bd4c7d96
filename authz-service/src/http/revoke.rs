//! `POST /oauth/revoke`: a client gives a token back (RFC 7009).

use std::net::IpAddr;

use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use shared::id::TokenId;
use shared::oauth::error::ErrorCode;
use shared::secret::Secret;
use shared::state::Wanted;
use shared::store::StoreError;
use shared::token::{Expected, VerifiedToken, opaque_id};
use shared::uri::Resource;

use super::app::{App, Failure};
use super::reply::NO_STORE;
use super::token::{authorization, may_try, note_failure};
use super::{body, cimd, limit, reply};
use crate::protocol::Refusal;
use crate::protocol::revoke::{self, TokenQuestion};
use crate::protocol::token::parameters;

const ENDPOINT: &str = "revoke";

/// The endpoint.
pub async fn post(app: Data<App>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    let body = match body::read(&http, &mut payload).await {
        Ok(body) => body,
        Err(why) => return body::refused(ErrorCode::InvalidRequest, why),
    };
    let mut question = match read(&app, &http, &body) {
        Ok(question) => question,
        Err(refusal) => return reply::failed(&app, ENDPOINT, &refusal.into()),
    };
    if let Err(wait) = may_try(&app, &http, &question.client) {
        return reply::too_many(wait);
    }
    match give_back(&app, &mut question, limit::source(&http)).await {
        Ok(()) => {
            tracing::info!(endpoint = ENDPOINT, client = %reply::escaped(question.client.name(), 64), "revoked");
            HttpResponse::Ok().insert_header(NO_STORE).finish()
        }
        Err(failure) => {
            if let Err(wait) = note_failure(&app, &http, &question.client, &failure) {
                return reply::too_many(wait);
            }
            reply::failed(&app, ENDPOINT, &failure)
        }
    }
}

async fn give_back(app: &Data<App>, question: &mut TokenQuestion, source: IpAddr) -> Result<(), Failure> {
    cimd::fetch_keys(app, &mut question.client, None, source).await?;
    let question = &*question;
    let token = match opaque_id(question.token().expose()) {
        Some(id) => opaque(app, id, question.token()).await?,
        None => verified(app, question.token())?,
    };
    let wanted = question.wants(token.as_ref().map(VerifiedToken::claims));
    app.settle(&wanted, |facts, now| revoke::decide(question, facts, &app.policy.issuer, now)).await
}

/// An opaque token, such as one for one call: what the store says of it. Introspection knows none, for it could not say that
/// the token is good once.
async fn opaque(app: &App, id: TokenId, token: &Secret) -> Result<Option<VerifiedToken>, StoreError> {
    let facts = app.store.load(&Wanted { access: Some(id), ..Wanted::default() }).await?;
    let Some(grant) = &facts.grant else { return Ok(None) };
    let expected = Expected { issuers: vec![app.policy.issuer.clone()], resource: grant.resource.clone() };
    Ok(VerifiedToken::of_record(token, &facts, &expected, app.now()).ok())
}

/// Reads what is asked, here and at introspection.
///
/// # Errors
/// When the body cannot be read, names no client or no token.
pub fn read(app: &App, http: &HttpRequest, body: &Bytes) -> Result<TokenQuestion, Refusal> {
    TokenQuestion::parse(authorization(http)?, parameters(body::form(http), body, &app.policy.bounds)?)
}

/// What a token claims, before anything is believed.
#[derive(Deserialize)]
struct Claimed {
    aud: Resource,
    jti: TokenId,
}

fn claimed(token: &Secret) -> Option<Claimed> {
    let payload = token.expose().split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok())?;
    serde_json::from_slice(&payload).ok()
}

/// The name of an access token, before anything is believed.
pub fn claimed_id(token: &Secret) -> Option<TokenId> {
    claimed(token).map(|claimed| claimed.jti)
}

/// The token, if it is an access token of ours with good signature and claims, for whatever resource.
///
/// # Errors
/// When the store's keys cannot be read.
pub fn verified(app: &App, token: &Secret) -> Result<Option<VerifiedToken>, StoreError> {
    let Some(claimed) = claimed(token) else { return Ok(None) };
    let expected = Expected { issuers: vec![app.policy.issuer.clone()], resource: claimed.aud };
    Ok(app.key_ring()?.verify(token.expose(), &expected, app.now()).ok())
}
