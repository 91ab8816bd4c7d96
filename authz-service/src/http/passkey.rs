//! `POST /login/passkey`: a passkey's answer becomes a session. And the account page's buttons for passkeys.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use shared::id::UserName;
use shared::oauth::form::Parameters;
use shared::secret::{Secret, TokenHash};
use shared::state::Wanted;

use super::app::{App, Failure};
use super::seal::{self, Purpose};
use super::session::Jar;
use super::{body, limit, login, pages, reply};
use crate::protocol::Refusal;
use crate::protocol::interact::Transaction;
use crate::protocol::passkey::{self, Asserted, Created, PasskeyFault};

const ENDPOINT: &str = "passkey";

/// The answer of the login page's other form.
pub async fn post(app: Data<App>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    let form = match body::page_form(&app, ENDPOINT, &http, &mut payload).await {
        Ok(form) => form,
        Err(page) => return page,
    };
    let jar = app.cookies.read(&http);
    let transaction = match seal::open(&app.keys, Purpose::Login, jar.browser.as_ref(), &form) {
        Ok(transaction) => transaction,
        Err(refusal) => return pages::refused(&app, ENDPOINT, &refusal),
    };
    let asserted = Asserted::parse(&form);
    // Throttled like a password, by passkey in place of a name: no name can begin with a space.
    let tried = format!(" {}", asserted.as_ref().map(|asserted| asserted.id().as_str()).unwrap_or_default());
    let source = limit::source(&http);
    if let Err(wait) = app.limits.log_in(source, &tried, app.now()) {
        tracing::warn!(endpoint = ENDPOINT, %source, "too many failed logins");
        return pages::too_many(&app, wait);
    }
    let fresh = Secret::random();
    let done = match &asserted {
        Ok(asserted) => log_in(&app, asserted, &transaction, &fresh).await,
        Err(refusal) => Err(refusal.clone().into()),
    };
    match done {
        Ok(user) => {
            app.limits.logged_in(source, &tried);
            tracing::info!(endpoint = ENDPOINT, %user, "logged in");
            let location = format!("{}{}", app.prefix, transaction.target());
            pages::with_cookies(reply::redirect(true, &location), [app.cookies.set_session(&fresh)])
        }
        Err(Failure::Refused(refusal @ (Refusal::Passkey(_) | Refusal::WrongLogin))) => {
            let user = owner(&app, asserted.ok().as_ref()).await;
            tracing::warn!(endpoint = ENDPOINT, %source, user, cause = %refusal, "login failed");
            let words = "This passkey was not accepted. Try another one, or use your password.";
            login::again(&app, source, &jar, &transaction, "", words).await
        }
        Err(failure) => {
            app.limits.logged_in(source, &tried);
            pages::failed_alone(&app, ENDPOINT, &failure)
        }
    }
}

async fn log_in(
    app: &App,
    asserted: &Asserted,
    transaction: &Transaction,
    fresh: &Secret,
) -> Result<UserName, Failure> {
    let party = app.party.as_ref().ok_or(Refusal::Passkey(PasskeyFault::NoParty))?;
    let decide = |facts: &_, now| passkey::log_in(asserted, transaction, party, facts, &app.policy, fresh, now);
    app.settle(&asserted.wants(transaction), decide).await
}

/// Whose passkey it says it is, for the log.
async fn owner(app: &App, asserted: Option<&Asserted>) -> String {
    let passkey = asserted.map(|asserted| asserted.id().hash());
    let facts = app.store.load(&Wanted { passkey, ..Wanted::default() }).await;
    let user = facts.ok().and_then(|facts| facts.passkey_user).map(|user| user.name.to_string());
    user.unwrap_or_else(|| "(nobody)".to_owned())
}

/// "Add a passkey" on the account page.
pub(super) async fn add(app: &App, jar: &Jar, transaction: &Transaction, form: &Parameters) -> Result<(), Failure> {
    let party = app.party.as_ref().ok_or(Refusal::Passkey(PasskeyFault::NoParty))?;
    let created = Created::parse(form)?;
    let wanted = created.wants(jar.session_hash(), transaction, party);
    let name = app.store.load(&wanted).await?.session.map(|session| session.user).ok_or(Refusal::NotLoggedIn)?;
    let handle = handle(app, &name);
    let decide = |facts: &_, now| passkey::add(&created, transaction, party, handle, facts, &app.policy, now);
    app.settle(&wanted, decide).await?;
    tracing::info!(endpoint = ENDPOINT, user = %name, "a passkey was added");
    Ok(())
}

/// "Remove" beside a passkey on the account page.
pub(super) async fn remove(app: &App, jar: &Jar, form: &Parameters) -> Result<(), Failure> {
    let short_id = form.get("passkey").ok_or(Refusal::Malformed("passkey"))?;
    let wanted = Wanted { session: jar.session_hash(), ..Wanted::default() };
    app.settle(&wanted, |facts, now| passkey::remove(short_id, facts, now)).await?;
    tracing::info!(endpoint = ENDPOINT, "a passkey was removed");
    Ok(())
}

/// How authenticators call a person who has no passkey yet: nothing that says who it is, and the same each time.
pub(super) fn handle(app: &App, user: &UserName) -> TokenHash {
    app.keys.seal("passkey user", &[user.as_str().as_bytes()])
}
