//! `POST /oauth/par`: an authorization request that no browser carries (RFC 9126).

use std::net::IpAddr;

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use shared::id::ClientId;
use shared::oauth::error::ErrorCode;
use shared::secret::Secret;
use shared::state::Facts;

use super::app::{App, Failure};
use super::token::{authorization, may_try, note_failure};
use super::{body, cimd, limit, reply};
use crate::protocol::Refusal;
use crate::protocol::cimd::with_document;
use crate::protocol::policy::PUSHED_LIFETIME;
use crate::protocol::pushed::{self, PushRequest};

const ENDPOINT: &str = "par";

/// The endpoint.
pub async fn post(app: Data<App>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    let body = match body::read(&http, &mut payload).await {
        Ok(body) => body,
        Err(why) => return body::refused(ErrorCode::InvalidRequest, why),
    };
    let source = limit::source(&http);
    if let Err(wait) = app.limits.push(source) {
        tracing::warn!(endpoint = ENDPOINT, %source, "too many pushed requests");
        return reply::too_many(wait);
    }
    let mut request = match read(&app, &http, &body) {
        Ok(request) => request,
        Err(refusal) => return reply::failed(&app, ENDPOINT, &refusal.into()),
    };
    if let Err(wait) = may_try(&app, &http, &request.client) {
        return reply::too_many(wait);
    }
    let handle = Secret::random();
    match keep(&app, &mut request, &handle, source).await {
        Ok(client) => {
            tracing::info!(endpoint = ENDPOINT, %client, "pushed");
            let answer = json!({ "request_uri": pushed::request_uri(&handle), "expires_in": PUSHED_LIFETIME.0 });
            reply::json(StatusCode::CREATED, &answer)
        }
        Err(failure) => {
            if let Err(wait) = note_failure(&app, &http, &request.client, &failure) {
                return reply::too_many(wait);
            }
            reply::failed(&app, ENDPOINT, &failure)
        }
    }
}

async fn keep(
    app: &Data<App>,
    request: &mut PushRequest,
    handle: &Secret,
    source: IpAddr,
) -> Result<ClientId, Failure> {
    let document = cimd::described(app, request.client.name(), source).await?;
    cimd::fetch_keys(app, &mut request.client, document.as_deref(), source).await?;
    let request = &*request;
    let decide = |facts: &Facts, now| {
        pushed::decide(request, &with_document(facts, document.as_deref()), &app.policy, handle, now)
    };
    app.settle(&request.wants(&app.policy), decide).await
}

fn read(app: &App, http: &HttpRequest, body: &Bytes) -> Result<PushRequest, Refusal> {
    PushRequest::parse(authorization(http)?, body::form(http), body, &app.policy.bounds)
}
