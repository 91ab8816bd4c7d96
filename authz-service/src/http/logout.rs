//! `POST /logout`: the session ends, here and in the store.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use shared::state::Change;

use super::app::{App, Failure};
use super::seal::{self, Purpose};
use super::{body, pages, reply};
use crate::protocol::{Refusal, Verdict};

const ENDPOINT: &str = "logout";

/// Logs out, and goes back to the request that the page was about.
pub async fn post(app: Data<App>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    let form = match body::page_form(&app, ENDPOINT, &http, &mut payload).await {
        Ok(form) => form,
        Err(page) => return page,
    };
    let jar = app.cookies.read(&http);
    let opened = seal::open(&app.keys, Purpose::Logout, jar.session.as_ref(), &form);
    let (transaction, session) = match (opened, jar.session_hash()) {
        (Ok(transaction), Some(session)) => (transaction, session),
        (Err(refusal), _) => return pages::refused(&app, ENDPOINT, &refusal),
        (_, None) => return pages::refused(&app, ENDPOINT, &Refusal::Forged),
    };
    let wanted = shared::state::Wanted { session: Some(session), ..Default::default() };
    let closed: Result<(), Failure> = app
        .settle(&wanted, |facts, _| Verdict {
            changes: facts.session.iter().map(|session| Change::SessionClosed(session.hash)).collect(),
            reply: Ok(()),
        })
        .await;
    if let Err(failure) = closed {
        return pages::failed_alone(&app, ENDPOINT, &failure);
    }
    tracing::info!(endpoint = ENDPOINT, "logged out");
    let answer = if transaction.query.is_empty() || transaction.in_time(&app.policy, app.now()).is_err() {
        app.pages.message("Signed out", "You are signed out. You can close this page.")
    } else {
        reply::redirect(true, &format!("{}{}", app.prefix, transaction.target()))
    };
    pages::with_cookies(answer, [app.cookies.clear_session()])
}
