//! `POST /oauth/introspect`: whether a token is alive (RFC 7662).

use std::net::IpAddr;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use shared::oauth::error::ErrorCode;
use shared::state::Wanted;
use shared::token::VerifiedToken;

use super::app::{App, Failure};
use super::revoke::{claimed_id, read, verified};
use super::token::{may_try, note_failure};
use super::{body, cimd, limit, reply};
use crate::protocol::introspect::{self, Introspected};
use crate::protocol::revoke::TokenQuestion;

const ENDPOINT: &str = "introspect";

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
    match answer(&app, &mut question, limit::source(&http)).await {
        Ok(introspected) => reply::json(StatusCode::OK, &introspected),
        Err(failure) => {
            if let Err(wait) = note_failure(&app, &http, &question.client, &failure) {
                return reply::too_many(wait);
            }
            reply::failed(&app, ENDPOINT, &failure)
        }
    }
}

async fn answer(app: &Data<App>, question: &mut TokenQuestion, source: IpAddr) -> Result<Introspected, Failure> {
    cimd::fetch_keys(app, &mut question.client, None, source).await?;
    let question = &*question;
    let token = verified(app, question.token())?;
    if let (None, Some(id)) = (&token, claimed_id(question.token())) {
        // Its claims say that it has ended, or it is none. Only a record that has ended is noted.
        let claimed = app.store.load(&Wanted { access: Some(id), ..Wanted::default() }).await?;
        app.note_expired(&claimed, app.now()).await;
    }
    let wanted = question.wants(token.as_ref().map(VerifiedToken::claims));
    let decide = |facts: &_, now| introspect::decide(question, token.as_ref(), facts, &app.policy.issuer, now);
    app.settle(&wanted, decide).await
}
