//! `POST /register`: a client tells about itself and gets a name (RFC 7591).

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use shared::oauth::error::ErrorCode;
use shared::secret::{Secret, random_uuid};
use shared::state::Wanted;

use super::app::App;
use super::{body, limit, reply};
use crate::protocol::register::{self, FreshClient};
use crate::protocol::token::BodyForm;

const ENDPOINT: &str = "register";

/// The endpoint.
pub async fn post(app: Data<App>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    let body = match body::read(&http, &mut payload).await {
        Ok(body) => body,
        Err(why) => return body::refused(ErrorCode::InvalidClientMetadata, why),
    };
    let source = limit::source(&http);
    if let Err(wait) = app.limits.register(source) {
        tracing::warn!(endpoint = ENDPOINT, %source, "too many registrations");
        return reply::too_many(wait);
    }
    let sent = match register::parse(body::form(&http) == Some(BodyForm::Json), &body) {
        Ok(sent) => sent,
        Err(refusal) => return reply::failed(&app, ENDPOINT, &refusal.into()),
    };
    let fresh = FreshClient { id: random_uuid(), secret: Secret::random() };
    match app.settle(&Wanted::default(), |_, now| register::decide(&sent, &app.policy, &fresh, now)).await {
        Ok(client) => {
            let name = reply::escaped(client.name.as_deref().unwrap_or_default(), 64);
            tracing::info!(endpoint = ENDPOINT, client = %client.id, name, %source, "registered");
            reply::json(StatusCode::CREATED, &register::answer(&client, &fresh.secret))
        }
        Err(failure) => reply::failed(&app, ENDPOINT, &failure),
    }
}
