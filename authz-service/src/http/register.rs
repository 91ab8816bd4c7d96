//! `POST /register`: a client tells about itself and gets a name (RFC 7591).

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use shared::oauth::error::ErrorCode;
use shared::secret::{Secret, random_uuid};

use super::app::App;
use super::{body, limit, manage, reply};
use crate::protocol::register::{self, FreshClient, Registering};
use crate::protocol::token::BodyForm;

const ENDPOINT: &str = "register";

/// The endpoint.
pub async fn post(app: Data<App>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    let body = match body::read_at_most(&http, &mut payload, app.policy.bounds.registration_body).await {
        Ok(body) => body,
        Err(why) => return body::refused(ErrorCode::InvalidClientMetadata, why),
    };
    let source = limit::source(&http);
    if let Err(wait) = app.limits.register(source) {
        tracing::warn!(endpoint = ENDPOINT, %source, "too many registrations");
        return reply::too_many(wait);
    }
    let initial = match manage::bearer(&http) {
        Ok(initial) => initial,
        Err(refusal) => return reply::failed(&app, ENDPOINT, &refusal.into()),
    };
    let is_json = body::form(&http) == Some(BodyForm::Json);
    let request = Registering { sent: register::parse(is_json, &body, &app.policy.bounds), initial };
    let fresh = FreshClient { id: random_uuid(), secret: Secret::random(), token: Secret::random() };
    let decide = |facts: &_, now| register::decide(&request, facts, &app.policy, &fresh, now);
    match app.settle(&request.wants(), decide).await {
        Ok(client) => {
            let name = reply::escaped(client.name.as_deref().unwrap_or_default(), 64);
            tracing::info!(endpoint = ENDPOINT, client = %client.id, name, %source, "registered");
            let told = register::answer(&client, Some(&fresh.secret), &fresh.token, &app.policy.issuer);
            reply::json(StatusCode::CREATED, &told)
        }
        Err(failure) => reply::failed(&app, ENDPOINT, &failure),
    }
}
