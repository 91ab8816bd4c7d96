//! `GET|POST /setup`: the first account, for whoever holds the one-time link.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use shared::oauth::form::{self, Parameters};
use shared::secret::Secret;
use shared::state::Wanted;

use super::app::{App, Failure};
use super::{body, pages};
use crate::protocol::{Refusal, setup};

const ENDPOINT: &str = "setup";

/// The form.
pub async fn get(app: Data<App>, http: HttpRequest) -> HttpResponse {
    let token = form::all_values(http.query_string(), "token").next().map(|token| Secret::new(token.into_owned()));
    match check(&app, token.as_ref()).await {
        Ok(token) => app.pages.setup(token.expose(), None),
        Err(failure) => pages::failed_alone(&app, ENDPOINT, &failure),
    }
}

/// The form's answer: an account, and a session for it.
pub async fn post(app: Data<App>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    let mut form = match body::page_form(&app, ENDPOINT, &http, &mut payload).await {
        Ok(form) => form,
        Err(page) => return page,
    };
    let query = form::all_values(http.query_string(), "token").next().map(std::borrow::Cow::into_owned);
    let token = form.take("token").or(query).map(Secret::new);
    let token = match check(&app, token.as_ref()).await {
        Ok(token) => token,
        Err(failure) => return pages::failed_alone(&app, ENDPOINT, &failure),
    };
    let typed = form.get("username").unwrap_or_default().to_owned();
    match create(&app, token, &mut form).await {
        Ok(session) => {
            tracing::info!(endpoint = ENDPOINT, "the owner's account was created");
            let (title, text) = (
                "Your account is ready",
                "You are signed in. Start an app that uses this service; it will send you here to decide.",
            );
            let page = match &app.party {
                Some(_) => app.pages.message_and_link(title, text, "/account#passkeys", "Add a passkey"),
                None => app.pages.message(title, text),
            };
            pages::with_cookies(page, [app.cookies.set_session(&session)])
        }
        Err(Failure::Refused(Refusal::Account(advice))) => {
            app.pages.setup(token.expose(), Some((&typed, &pages::sentence(advice))))
        }
        Err(failure) => pages::failed_alone(&app, ENDPOINT, &failure),
    }
}

async fn check<'a>(app: &App, token: Option<&'a Secret>) -> Result<&'a Secret, Failure> {
    let token = token.ok_or(Refusal::SetupLink)?;
    let facts = app.store.load(&Wanted::default()).await?;
    setup::check(token, &facts, app.now())?;
    Ok(token)
}

async fn create(app: &App, token: &Secret, form: &mut Parameters) -> Result<Secret, Failure> {
    let password = Secret::new(form.take("password").unwrap_or_default());
    let name = setup::chosen(form.get("username"), password.expose())?;
    let hash = app.passwords.hash(password).await.ok_or(Failure::Busy)?.map_err(Failure::Internal)?;
    let session = Secret::random();
    let decide = |facts: &_, now| setup::decide(token, &name, &hash, facts, &app.policy, &session, now);
    app.settle(&Wanted::default(), decide).await?;
    Ok(session)
}
