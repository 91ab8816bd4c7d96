//! `POST /login`: a name and a password become a session.

use std::net::IpAddr;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use shared::id::UserName;
use shared::oauth::form::Parameters;
use shared::secret::Secret;
use shared::state::Wanted;

use super::app::{App, Failure};
use super::seal::{self, Purpose};
use super::session::Jar;
use super::{body, cimd, limit, pages, reply};
use crate::protocol::Refusal;
use crate::protocol::authorize::{self, Asked, AuthorizeRequest};
use crate::protocol::cimd::with_document;
use crate::protocol::interact::{self, Destination, Transaction};
use crate::protocol::policy::MAX_PASSWORD;

const ENDPOINT: &str = "login";

/// The login page, for a browser that gets a name if it has none. `asked` is what an app wants, if one does.
pub(super) fn page(app: &App, jar: Jar, asked: Option<&Asked>, transaction: Transaction) -> HttpResponse {
    // Where there are no passkeys, nothing asks for one.
    let transaction = if app.party.is_some() { transaction.asking(&Secret::random()) } else { transaction };
    let is_new = jar.browser.is_none();
    let browser = jar.browser.unwrap_or_else(Secret::random);
    let hidden = seal::close(&app.keys, Purpose::Login, &browser, &transaction);
    let cookie = is_new.then(|| app.cookies.set_browser(&browser));
    pages::with_cookies(app.pages.login(asked, &transaction, &hidden, &app.policy, None), cookie)
}

/// The login page's answer.
pub async fn post(app: Data<App>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    let mut form = match body::page_form(&app, ENDPOINT, &http, &mut payload).await {
        Ok(form) => form,
        Err(page) => return page,
    };
    let jar = app.cookies.read(&http);
    let transaction = match seal::open(&app.keys, Purpose::Login, jar.browser.as_ref(), &form) {
        Ok(transaction) => transaction,
        Err(refusal) => return pages::refused(&app, ENDPOINT, &refusal),
    };
    if let Err(refusal) = transaction.in_time(&app.policy, app.now()) {
        return pages::refused(&app, ENDPOINT, &refusal);
    }
    if !app.policy.password_login {
        return pages::refused(&app, ENDPOINT, &Refusal::PasswordOff);
    }
    let typed = form.take("username").unwrap_or_default().trim().to_owned();
    let source = limit::source(&http);
    if let Err(wait) = app.limits.log_in(source, &typed, app.now()) {
        tracing::warn!(endpoint = ENDPOINT, %source, user = loggable(&app, &typed).await, "too many failed logins");
        return pages::too_many(&app, wait);
    }
    match log_in(&app, &typed, &mut form).await {
        Ok(session) => {
            app.limits.logged_in(source, &typed);
            tracing::info!(endpoint = ENDPOINT, user = %reply::escaped(&typed, 64), "logged in");
            let location = format!("{}{}", app.prefix, transaction.target());
            pages::with_cookies(reply::redirect(true, &location), [app.cookies.set_session(&session)])
        }
        Err(Failure::Refused(Refusal::WrongLogin)) => {
            tracing::warn!(endpoint = ENDPOINT, %source, user = loggable(&app, &typed).await, "login failed");
            again(&app, source, &jar, &transaction, &typed, "The name or the password is wrong.").await
        }
        Err(failure) => {
            // Our own fault is not theirs.
            if !matches!(failure, Failure::Refused(_)) {
                app.limits.logged_in(source, &typed);
            }
            pages::failed_alone(&app, ENDPOINT, &failure)
        }
    }
}

/// What was typed as a name, for the log: the name of an account, and nothing else. People type their password into
/// the wrong field (C15).
async fn loggable<'a>(app: &App, typed: &'a str) -> &'a str {
    let user = typed.parse::<UserName>().ok();
    let is_known = user.is_some()
        && app.store.load(&Wanted { user, ..Wanted::default() }).await.is_ok_and(|facts| facts.user.is_some());
    if is_known { typed } else { "(no account)" }
}

/// Compares the password and opens a session; the new cookie's value.
async fn log_in(app: &App, typed: &str, form: &mut Parameters) -> Result<Secret, Failure> {
    let password = form.take("password").filter(|password| password.len() <= MAX_PASSWORD).unwrap_or_default();
    let name = typed.parse::<UserName>().ok();
    let wanted = Wanted { user: name.clone(), ..Wanted::default() };
    let stored = app.store.load(&wanted).await?.user.and_then(|user| user.password);
    let right = app.passwords.verify(Secret::new(password), stored.clone()).await.ok_or(Failure::Busy)?;
    let name = name.ok_or(Refusal::WrongLogin)?;
    let fresh = Secret::random();
    let decide = |facts: &shared::state::Facts, now| {
        // The password may have been changed while we compared.
        let unchanged = facts.user.as_ref().is_some_and(|user| user.password == stored);
        interact::log_in(&name, right && unchanged, facts, &app.policy, &fresh, now)
    };
    app.settle(&wanted, decide).await?;
    Ok(fresh)
}

/// The same page again, which says that it went wrong and not why (UI-08).
pub(super) async fn again(
    app: &Data<App>,
    source: IpAddr,
    jar: &Jar,
    transaction: &Transaction,
    typed: &str,
    problem: &str,
) -> HttpResponse {
    let Some(browser) = &jar.browser else { return pages::refused(app, ENDPOINT, &Refusal::Forged) };
    let asked = match transaction.to {
        Destination::Authorize => match asked(app, source, &transaction.query).await {
            Ok(asked) => Some(asked),
            Err(page) => return page,
        },
        Destination::Account | Destination::Admin | Destination::Device => None,
    };
    let hidden = seal::close(&app.keys, Purpose::Login, browser, transaction);
    app.pages.login(asked.as_ref(), transaction, &hidden, &app.policy, Some((typed, problem)))
}

/// What the app asks for, or the page that says why it cannot be followed.
async fn asked(app: &Data<App>, source: IpAddr, query: &str) -> Result<Asked, HttpResponse> {
    let request = AuthorizeRequest::parse(query).map_err(|refusal| pages::refused(app, ENDPOINT, &refusal))?;
    let facts = app.store.load(&request.wants(None, &app.policy)).await;
    let facts = facts.map_err(|error| pages::failed_alone(app, ENDPOINT, &error.into()))?;
    let document = cimd::described(app, request.client_id(), source).await;
    let document = document.map_err(|failure| pages::failed_alone(app, ENDPOINT, &failure))?;
    authorize::check(&request, &with_document(&facts, document.as_deref()), &app.policy, app.now())
        .map_err(|refused| pages::refused(app, ENDPOINT, refused.cause()))
}
