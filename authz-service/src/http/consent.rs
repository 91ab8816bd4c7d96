//! `POST /oauth/consent`: a person's yes or no.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use shared::secret::Secret;
use shared::state::Facts;

use super::app::App;
use super::seal::{self, Purpose};
use super::{body, cimd, limit, pages, reply};
use crate::protocol::Refusal;
use crate::protocol::authorize::FreshCode;
use crate::protocol::choice::Choice;
use crate::protocol::cimd::with_document;
use crate::protocol::interact::{self, ConsentAnswer, Decision};

const ENDPOINT: &str = "consent";

/// The consent page's answer.
pub async fn post(app: Data<App>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    let form = match body::page_form(&app, ENDPOINT, &http, &mut payload).await {
        Ok(form) => form,
        Err(page) => return page,
    };
    let jar = app.cookies.read(&http);
    let answer = seal::open(&app.keys, Purpose::Consent, jar.session.as_ref(), &form).and_then(|transaction| {
        ConsentAnswer::new(transaction, Decision::parse(form.get("decision"))?, Choice::read(&form)?)
    });
    let (answer, session) = match (answer, jar.session_hash()) {
        (Ok(answer), Some(session)) => (answer, session),
        (Err(refusal), _) => return pages::refused(&app, ENDPOINT, &refusal),
        (_, None) => return pages::refused(&app, ENDPOINT, &Refusal::Forged),
    };
    let document = match cimd::described(&app, answer.client_id(), limit::source(&http)).await {
        Ok(document) => document,
        Err(failure) => return pages::failed_alone(&app, ENDPOINT, &failure),
    };
    let fresh = FreshCode { grant: answer.grant(), code: Secret::random() };
    let decide = |facts: &Facts, now| {
        interact::decide(&answer, &with_document(facts, document.as_deref()), &app.policy, &fresh, now)
    };
    match app.settle(&answer.wants(session, &app.policy), decide).await {
        Ok(consented) => {
            tracing::info!(endpoint = ENDPOINT, user = %consented.user, grant = %fresh.grant, "consented");
            reply::redirect(true, &consented.reply_to.with_code(&fresh.code, &app.policy.issuer))
        }
        Err(failure) => pages::failed(&app, ENDPOINT, true, &failure),
    }
}
