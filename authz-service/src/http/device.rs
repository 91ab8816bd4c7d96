//! `/device`: a person types the code that a device shows, sees what it asks for, and decides (RFC 8628 section 3.3).

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use shared::id::GrantId;
use shared::oauth::form::{self, Parameters};
use shared::secret::{Secret, random_uuid};
use shared::state::{Facts, Wanted};

use super::app::App;
use super::seal::{self, Hidden, Purpose};
use super::{body, limit, login, pages};
use crate::protocol::Refusal;
use crate::protocol::authorize::live_session;
use crate::protocol::choice::Choice;
use crate::protocol::device::{self, Asked, Shown, UserCode};
use crate::protocol::interact::{Decision, Destination, Transaction};

const ENDPOINT: &str = "device";

/// The longest query that is carried through a login.
const MAX_QUERY: usize = 256;

/// The page on which the code is typed. The link with the code in it fills it in and does no more: the person compares
/// it with what the device shows (RFC 8628 section 5.4).
pub async fn get(app: Data<App>, http: HttpRequest) -> HttpResponse {
    let jar = app.cookies.read(&http);
    let query = http.query_string();
    let typed = form::all_values(query, "user_code").next().and_then(|text| UserCode::typed(&text));
    if let (Some(code), true) = (&typed, app.policy.auto_approve.is_some()) {
        return unasked(&app, code).await;
    }
    let wanted = Wanted { session: jar.session_hash(), ..Wanted::default() };
    let facts = match app.store.load(&wanted).await {
        Ok(facts) => facts,
        Err(error) => return pages::failed_alone(&app, ENDPOINT, &error.into()),
    };
    match (live_session(&facts, app.now()), &jar.session) {
        (Some(session), Some(cookie)) => {
            let shown = typed.map(|code| code.shown()).unwrap_or_default();
            app.pages.device(&shown, session.user.as_str(), &entry(&app, cookie), &logout(&app, cookie), None)
        }
        _ => {
            let query = Some(query).filter(|query| query.len() <= MAX_QUERY).unwrap_or_default();
            let transaction =
                Transaction { query: query.to_owned(), ..Transaction::to(Destination::Device, app.now()) };
            login::page(&app, jar, None, transaction)
        }
    }
}

/// Development only: whoever opens the link is everybody's person.
async fn unasked(app: &App, code: &UserCode) -> HttpResponse {
    let wanted = Wanted { user_code: Some(app.keys.user_code(code)), ..Wanted::default() };
    let grant = GrantId(random_uuid());
    match app.settle(&wanted, |facts: &Facts, now| device::unasked(facts, &app.policy, grant, now)).await {
        Ok(user) => {
            tracing::info!(endpoint = ENDPOINT, %user, %grant, "allowed without asking");
            answered(app, Decision::Allow)
        }
        Err(failure) => pages::failed_alone(app, ENDPOINT, &failure),
    }
}

fn entry(app: &App, cookie: &Secret) -> Hidden {
    seal::close(&app.keys, Purpose::Device, cookie, &Transaction::to(Destination::Device, app.now()))
}

fn logout(app: &App, cookie: &Secret) -> Hidden {
    seal::close(&app.keys, Purpose::Logout, cookie, &Transaction::to(Destination::Device, app.now()))
}

/// The typed code: the page that asks, or the same page again.
pub async fn post(app: Data<App>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    let form = match body::page_form(&app, ENDPOINT, &http, &mut payload).await {
        Ok(form) => form,
        Err(page) => return page,
    };
    let jar = app.cookies.read(&http);
    let opened = seal::open(&app.keys, Purpose::Device, jar.session.as_ref(), &form);
    let (transaction, cookie) = match (opened, &jar.session) {
        (Ok(transaction), Some(cookie)) => (transaction, cookie),
        (Err(refusal), _) => return pages::refused(&app, ENDPOINT, &refusal),
        (_, None) => return pages::refused(&app, ENDPOINT, &Refusal::Forged),
    };
    if let Err(refusal) = transaction.in_time(&app.policy, app.now()) {
        return pages::refused(&app, ENDPOINT, &refusal);
    }
    look_up(&app, &http, cookie, &form).await
}

async fn look_up(app: &App, http: &HttpRequest, cookie: &Secret, form: &Parameters) -> HttpResponse {
    let text = form.get("user_code").unwrap_or_default();
    let typed = UserCode::typed(text);
    let user_code = typed.as_ref().map(|code| app.keys.user_code(code));
    let wanted = Wanted { session: Some(cookie.hash()), user_code, agreed: true, ..Wanted::default() };
    let facts = match app.store.load(&wanted).await {
        Ok(facts) => facts,
        Err(error) => return pages::failed_alone(app, ENDPOINT, &error.into()),
    };
    let Some(session) = live_session(&facts, app.now()) else {
        return pages::refused(app, ENDPOINT, &Refusal::NotLoggedIn);
    };
    let source = limit::source(http);
    if let Err(wait) = app.limits.try_user_code(source, session.user.as_str(), app.now()) {
        tracing::warn!(endpoint = ENDPOINT, %source, user = %session.user, "too many wrong user codes");
        return pages::too_many(app, wait);
    }
    match (device::find(&facts, &app.policy, app.now()), typed) {
        (Ok(asked), Some(code)) => {
            app.limits.user_code_was_right(source, session.user.as_str());
            ask(app, cookie, &asked, &code)
        }
        _ => {
            tracing::info!(endpoint = ENDPOINT, %source, user = %session.user, "no device waits with that code");
            let why = pages::sentence(&Refusal::UserCode.to_string());
            let text: String = text.chars().take(16).collect();
            app.pages.device(&text, session.user.as_str(), &entry(app, cookie), &logout(app, cookie), Some(&why))
        }
    }
}

fn ask(app: &App, cookie: &Secret, asked: &Asked<'_>, code: &UserCode) -> HttpResponse {
    let shown = Shown::of(asked, GrantId(random_uuid()), app.now());
    let hidden = seal::close(&app.keys, Purpose::DeviceConsent, cookie, &shown);
    app.pages.device_consent(asked, &app.policy, &code.shown(), &hidden, &logout(app, cookie))
}

/// The person's yes or no.
pub async fn decide(app: Data<App>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    let form = match body::page_form(&app, ENDPOINT, &http, &mut payload).await {
        Ok(form) => form,
        Err(page) => return page,
    };
    let jar = app.cookies.read(&http);
    let opened = seal::open_as(&app.keys, Purpose::DeviceConsent, jar.session.as_ref(), &form)
        .and_then(|shown: Shown| Ok((shown, Decision::parse(form.get("decision"))?, Choice::read(&form)?)));
    let (shown, decision, choice, session) = match (opened, jar.session_hash()) {
        (Ok((shown, decision, choice)), Some(session)) => (shown, decision, choice, session),
        (Err(refusal), _) => return pages::refused(&app, ENDPOINT, &refusal),
        (_, None) => return pages::refused(&app, ENDPOINT, &Refusal::Forged),
    };
    let answer = |facts: &Facts, now| device::answer(&shown, decision, &choice, facts, &app.policy, now);
    match app.settle(&shown.wants(session), answer).await {
        Ok(user) => {
            tracing::info!(endpoint = ENDPOINT, %user, grant = %shown.grant, yes = decision == Decision::Allow, "decided");
            answered(&app, decision)
        }
        Err(failure) => pages::failed_alone(&app, ENDPOINT, &failure),
    }
}

fn answered(app: &App, decision: Decision) -> HttpResponse {
    match decision {
        Decision::Allow => {
            app.pages.message("Access allowed", "The device goes on by itself. You can close this page.")
        }
        Decision::Deny => app.pages.message("Access denied", "The device gets nothing. You can close this page."),
    }
}
