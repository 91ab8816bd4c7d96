//! `POST /oauth/device_authorization`: a device asks for a code that a person types elsewhere (RFC 8628 section 3.1).

use std::net::IpAddr;

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use shared::id::GrantId;
use shared::oauth::device::DeviceAuthorization;
use shared::oauth::error::ErrorCode;
use shared::oauth::form;
use shared::secret::{Secret, random_bytes, random_uuid};
use shared::state::Facts;

use super::app::{App, Failure};
use super::token::{authorization, may_try, note_failure};
use super::{body, cimd, limit, reply};
use crate::protocol::Refusal;
use crate::protocol::cimd::with_document;
use crate::protocol::device::{self, DeviceRequest, FreshDevice, UserCode};
use crate::protocol::policy::{DEVICE_LIFETIME, POLL_INTERVAL};
use crate::protocol::token::parameters;

const ENDPOINT: &str = "device_authorization";

/// The endpoint.
pub async fn post(app: Data<App>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    let body = match body::read(&http, &mut payload).await {
        Ok(body) => body,
        Err(why) => return body::refused(ErrorCode::InvalidRequest, why),
    };
    let source = limit::source(&http);
    if let Err(wait) = app.limits.ask_for_device(source) {
        tracing::warn!(endpoint = ENDPOINT, %source, "too many device requests");
        return reply::too_many(wait);
    }
    let mut request = match read(&app, &http, &body) {
        Ok(request) => request,
        Err(refusal) => return reply::failed(&app, ENDPOINT, &refusal.into()),
    };
    if let Err(wait) = may_try(&app, &http, &request.client) {
        return reply::too_many(wait);
    }
    match start(&app, &mut request, source).await {
        Ok(started) => reply::json(StatusCode::OK, &started),
        Err(failure) => {
            if let Err(wait) = note_failure(&app, &http, &request.client, &failure) {
                return reply::too_many(wait);
            }
            reply::failed(&app, ENDPOINT, &failure)
        }
    }
}

fn read(app: &App, http: &HttpRequest, body: &Bytes) -> Result<DeviceRequest, Refusal> {
    DeviceRequest::parse(authorization(http)?, parameters(body::form(http), body, &app.policy.bounds)?)
}

async fn start(app: &Data<App>, request: &mut DeviceRequest, source: IpAddr) -> Result<DeviceAuthorization, Failure> {
    let document = cimd::described(app, request.client.name(), source).await?;
    cimd::fetch_keys(app, &mut request.client, document.as_deref(), source).await?;
    let request = &*request;
    let user_code = std::iter::repeat_with(|| UserCode::draw(&random_bytes::<32>())).flatten().next();
    let user_code = user_code.ok_or_else(|| Failure::Internal("no user code".to_owned()))?;
    let hash = app.keys.user_code(&user_code);
    let fresh = FreshDevice { code: Secret::random(), user_code: hash, grant: GrantId(random_uuid()) };
    let decide = |facts: &Facts, now| {
        device::decide(request, &with_document(facts, document.as_deref()), &app.policy, &fresh, now)
    };
    let client = app.settle(&request.wants(&app.policy), decide).await?;
    tracing::info!(endpoint = ENDPOINT, %client, "a device waits for a person");
    let page = app.policy.issuer.join("/device");
    Ok(DeviceAuthorization {
        device_code: fresh.code.expose().to_owned(),
        verification_uri_complete: Some(format!("{page}?{}", form::encode(&[("user_code", &user_code.shown())]))),
        verification_uri: page,
        user_code: user_code.shown(),
        expires_in: DEVICE_LIFETIME.0,
        interval: Some(POLL_INTERVAL.0),
    })
}
