//! `GET|POST /account`: what a person gave to which app, and how to take it back.

use std::collections::HashMap;

use actix_web::web::{Data, Payload, block};
use actix_web::{HttpRequest, HttpResponse};
use shared::id::{ClientId, GrantId, UserName};
use shared::oauth::form::{self, Parameters};
use shared::secret::Secret;
use shared::state::{Facts, Passkey, Session, User, Wanted};
use shared::time::Timestamp;

use super::app::{App, Failure};
use super::calls::Lately;
use super::pages::account::View;
use super::seal::{self, Purpose};
use super::session::Jar;
use super::{body, calls, limit, login, pages, passkey, reply};
use crate::protocol::Refusal;
use crate::protocol::account::{self, Action};
use crate::protocol::authorize::live_session;
use crate::protocol::interact::{Destination, Transaction};
use crate::protocol::policy::{MAX_PASSWORD, RECENT_LOGIN};
use crate::protocol::setup;

const ENDPOINT: &str = "account";

/// The page, or the login before it.
pub async fn get(app: Data<App>, http: HttpRequest) -> HttpResponse {
    let jar = app.cookies.read(&http);
    let value = |name| form::all_values(http.query_string(), name).next();
    match who(&app, &jar).await {
        Ok(Some((session, _))) if value("again").is_some() && !is_recent(&session, app.now()) => {
            login::page(&app, jar, None, Transaction::to(Destination::Account, app.now()))
        }
        Ok(Some(here)) => {
            let page = value("page").and_then(|text| text.parse().ok()).unwrap_or(1);
            show(&app, &jar, &here, page, value("done").as_deref(), None).await
        }
        Ok(None) => login::page(&app, jar, None, Transaction::to(Destination::Account, app.now())),
        Err(failure) => pages::failed_alone(&app, ENDPOINT, &failure),
    }
}

/// Who is logged in, and since when.
async fn who(app: &App, jar: &Jar) -> Result<Option<(Session, User)>, Failure> {
    let wanted = Wanted { session: jar.session_hash(), ..Wanted::default() };
    let facts = app.store.load(&wanted).await?;
    Ok(live_session(&facts, app.now()).cloned().zip(facts.user))
}

fn is_recent(session: &Session, now: Timestamp) -> bool {
    session.created + RECENT_LOGIN >= now
}

/// What each grant was lately used for. The page is there without it, too.
async fn lately(app: &App) -> HashMap<GrantId, Lately> {
    let Some(folder) = app.journal.clone() else { return HashMap::new() };
    match block(move || calls::lately(&folder)).await {
        Ok(Ok(lately)) => lately,
        Ok(Err(error)) => {
            tracing::warn!(endpoint = ENDPOINT, %error, "the trail of calls cannot be read");
            HashMap::new()
        }
        Err(_) => HashMap::new(),
    }
}

async fn show(
    app: &App,
    jar: &Jar,
    (since, user): &(Session, User),
    page: usize,
    done: Option<&str>,
    problem: Option<&str>,
) -> HttpResponse {
    let Some(session) = &jar.session else { return pages::refused(app, ENDPOINT, &Refusal::NotLoggedIn) };
    let (now, mut apps, mut sessions) = (app.now(), Vec::new(), 0);
    let read = app.store.read(&mut |state| {
        apps = account::connected_apps(state, &user.name, &app.policy.catalogue, now);
        sessions = state.sessions_of(&user.name, now).len();
    });
    if let Err(error) = read {
        return pages::failed_alone(app, ENDPOINT, &error.into());
    }
    let lately = lately(app).await;
    let mut here = Transaction::to(Destination::Account, now);
    if app.party.is_some() && is_recent(since, now) && user.passkeys.len() < Passkey::MOST {
        here = here.asking(&Secret::random());
    }
    let handle = user.passkeys.first().map_or_else(|| passkey::handle(app, &user.name), |known| known.handle);
    let new_passkey = here.challenge.as_deref().map(|challenge| (challenge, handle));
    let hidden = seal::close(&app.keys, Purpose::Account, session, &here);
    let logout = seal::close(&app.keys, Purpose::Logout, session, &Transaction::login(String::new(), now));
    app.pages.account(&View {
        user,
        apps: &apps,
        lately: &lately,
        sessions,
        page,
        done,
        problem,
        new_passkey,
        hidden: &hidden,
        logout: &logout,
    })
}

/// A button of the page.
pub async fn post(app: Data<App>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    let mut form = match body::page_form(&app, ENDPOINT, &http, &mut payload).await {
        Ok(form) => form,
        Err(page) => return page,
    };
    let jar = app.cookies.read(&http);
    let transaction = match seal::open(&app.keys, Purpose::Account, jar.session.as_ref(), &form) {
        Ok(transaction) => transaction,
        Err(refusal) => return pages::refused(&app, ENDPOINT, &refusal),
    };
    match form.get("action") {
        Some("password") => new_password(&app, &http, &jar, &mut form).await,
        Some("add-passkey") => settled(&app, passkey::add(&app, &jar, &transaction, &form).await, "passkey-added"),
        Some("remove-passkey") => settled(&app, passkey::remove(&app, &jar, &form).await, "passkey-removed"),
        word => match action(word, &form) {
            Ok(action) => carry_out(&app, &jar, &action).await,
            Err(refusal) => pages::refused(&app, ENDPOINT, &refusal),
        },
    }
}

fn action(word: Option<&str>, form: &Parameters) -> Result<Action, Refusal> {
    match word {
        Some("revoke") => {
            let client = form.get("client").and_then(|text| text.parse::<ClientId>().ok());
            client.map(Action::Revoke).ok_or(Refusal::Malformed("client"))
        }
        Some("revoke-all") => Ok(Action::RevokeAll),
        Some("sign-out-everywhere") => Ok(Action::SignOutEverywhere),
        _ => Err(Refusal::Malformed("action")),
    }
}

async fn carry_out(app: &App, jar: &Jar, action: &Action) -> HttpResponse {
    let wanted = Wanted { session: jar.session_hash(), ..Wanted::default() };
    match app.settle(&wanted, |facts, now| account::decide(action, facts, &app.policy, now)).await {
        Ok(account::Done::SignedOut) => {
            tracing::info!(endpoint = ENDPOINT, "logged out everywhere");
            let page = app.pages.message("Signed out everywhere", "You are signed out in every browser.");
            pages::with_cookies(page, [app.cookies.clear_session()])
        }
        Ok(done) => {
            tracing::info!(endpoint = ENDPOINT, done = done.word(), "changed");
            back(app, done.word())
        }
        Err(failure) => pages::failed_alone(app, ENDPOINT, &failure),
    }
}

fn settled(app: &App, done: Result<(), Failure>, word: &str) -> HttpResponse {
    match done {
        Ok(()) => back(app, word),
        Err(failure) => pages::failed_alone(app, ENDPOINT, &failure),
    }
}

/// Back to the page by GET, so that to load it again repeats nothing.
fn back(app: &App, done: &str) -> HttpResponse {
    reply::redirect(true, &format!("{}/account?done={done}", app.prefix))
}

/// Compares the old password and sets the new one; this browser stays logged in, with a new cookie.
async fn new_password(app: &App, http: &HttpRequest, jar: &Jar, form: &mut Parameters) -> HttpResponse {
    let here = match who(app, jar).await {
        Ok(Some(here)) => here,
        Ok(None) => return pages::refused(app, ENDPOINT, &Refusal::NotLoggedIn),
        Err(failure) => return pages::failed_alone(app, ENDPOINT, &failure),
    };
    let user = here.1.name.clone();
    let source = limit::source(http);
    if let Err(wait) = app.limits.log_in(source, user.as_str(), app.now()) {
        tracing::warn!(endpoint = ENDPOINT, %source, %user, "too many failed logins");
        return pages::too_many(app, wait);
    }
    let fresh = Secret::random();
    match change_password(app, jar, &user, form, &fresh).await {
        Ok(done) => {
            app.limits.logged_in(source, user.as_str());
            tracing::info!(endpoint = ENDPOINT, %user, "the password was changed");
            pages::with_cookies(back(app, done.word()), [app.cookies.set_session(&fresh)])
        }
        Err(Failure::Refused(Refusal::WrongLogin)) => {
            tracing::warn!(endpoint = ENDPOINT, %source, %user, "the old password was wrong");
            show(app, jar, &here, 1, None, Some("The current password is wrong.")).await
        }
        Err(Failure::Refused(Refusal::Account(advice))) => {
            app.limits.logged_in(source, user.as_str());
            show(app, jar, &here, 1, None, Some(&pages::sentence(advice))).await
        }
        Err(failure) => {
            app.limits.logged_in(source, user.as_str());
            pages::failed_alone(app, ENDPOINT, &failure)
        }
    }
}

async fn change_password(
    app: &App,
    jar: &Jar,
    user: &UserName,
    form: &mut Parameters,
    fresh: &Secret,
) -> Result<account::Done, Failure> {
    let new = Secret::new(form.take("password").unwrap_or_default());
    setup::chosen(Some(user.as_str()), new.expose())?;
    let old = form.take("current").filter(|old| old.len() <= MAX_PASSWORD).unwrap_or_default();
    let wanted = Wanted { session: jar.session_hash(), ..Wanted::default() };
    let stored = app.store.load(&wanted).await?.user.and_then(|user| user.password);
    let right = app.passwords.verify(Secret::new(old), stored.clone()).await.ok_or(Failure::Busy)?;
    if !right {
        return Err(Refusal::WrongLogin.into());
    }
    let hash = app.passwords.hash(new).await.ok_or(Failure::Busy)?.map_err(Failure::Internal)?;
    let decide = |facts: &Facts, now| {
        // It may have been changed while we compared.
        let right = facts.user.as_ref().is_some_and(|user| user.password == stored);
        let session = Secret::new(fresh.expose().to_owned());
        account::decide(&Action::NewPassword { right, hash: hash.clone(), session }, facts, &app.policy, now)
    };
    app.settle(&wanted, decide).await
}
