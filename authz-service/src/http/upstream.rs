//! `/login/upstream/{name}`: the button that leads to a provider, and the address to which it sends people back.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use shared::id::UserName;
use shared::oauth::form::Parameters;
use shared::oauth::pkce::Verifier;
use shared::secret::Secret;

use super::app::{App, Failure};
use super::seal::{self, Purpose};
use super::{body, limit, pages, provider, reply};
use crate::protocol::interact::Transaction;
use crate::protocol::policy::MAX_TOKEN;
use crate::protocol::upstream::{self, Arrival, Attempt, Upstream, UpstreamFault};
use crate::protocol::{Policy, Refusal};

const ENDPOINT: &str = "upstream";

/// What goes to the provider as `state`: the page that the person came from, under a seal that holds for this browser
/// alone. So nothing is stored, and an answer that somebody else began is none (login CSRF).
#[derive(Debug, Deserialize, Serialize)]
struct State {
    upstream: String,
    page: Transaction,
    /// So that no two are the same.
    fresh: String,
}

/// The button: a page that leads on. It is no redirect, because browsers hold the redirects after a form to the page's
/// `form-action`, and nobody can list where a provider sends people in the end.
pub async fn post(app: Data<App>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    let form = match body::page_form(&app, ENDPOINT, &http, &mut payload).await {
        Ok(form) => form,
        Err(page) => return page,
    };
    match begin(&app, &http, &form).await {
        Ok((title, location)) => app.pages.onward(&title, &location),
        Err(failure) => failed(&app, &http, &failure),
    }
}

async fn begin(app: &Data<App>, http: &HttpRequest, form: &Parameters) -> Result<(String, String), Failure> {
    let jar = app.cookies.read(http);
    let transaction = seal::open(&app.keys, Purpose::Login, jar.browser.as_ref(), form)?;
    transaction.in_time(&app.policy, app.now())?;
    let browser = jar.browser.ok_or(Refusal::Forged)?;
    let policy: &Policy = &app.policy;
    let upstream = policy.upstream(name(http)).map_err(Refusal::from)?;
    let page = Transaction { issued: app.now(), challenge: None, ..transaction };
    let state = State { upstream: upstream.name.clone(), page, fresh: Secret::random().expose().to_owned() };
    let sealed = seal::close(&app.keys, Purpose::Upstream, &browser, &state).transaction;
    if sealed.len() > MAX_TOKEN {
        return Err(Refusal::from(UpstreamFault::TooLong).into());
    }
    let provider = provider::of(app, upstream).await.map_err(Refusal::from)?;
    let location = upstream::request(upstream, &provider, &attempt(app, &browser, sealed)?, &policy.issuer);
    Ok((upstream.title.clone(), location))
}

/// What belongs to this sign-in, made from what the browser holds and brings back, and from nothing that a provider or
/// anybody on the way sees.
fn attempt(app: &App, browser: &Secret, state: String) -> Result<Attempt, Refusal> {
    let made = |word: &str| {
        let hash = app.keys.seal(word, &[browser.expose().as_bytes(), state.as_bytes()]);
        URL_SAFE_NO_PAD.encode(hash.as_bytes())
    };
    let verifier = Verifier::parse(made("upstream verifier")).map_err(Refusal::Verifier)?;
    Ok(Attempt { nonce: Secret::new(made("upstream nonce")), verifier, state })
}

/// The way back.
pub async fn get(app: Data<App>, http: HttpRequest) -> HttpResponse {
    let source = limit::source(&http);
    // Throttled like a password, by provider in place of a name: no name can begin with a space.
    let tried = format!(" {}", name(&http));
    if let Err(wait) = app.limits.log_in(source, &tried, app.now()) {
        tracing::warn!(endpoint = ENDPOINT, %source, "too many failed logins");
        return pages::too_many(&app, wait);
    }
    match finish(&app, &http).await {
        Ok((user, session, target)) => {
            app.limits.logged_in(source, &tried);
            tracing::info!(endpoint = ENDPOINT, %user, upstream = name(&http), "logged in");
            let location = format!("{}{target}", app.prefix);
            pages::with_cookies(reply::redirect(false, &location), [app.cookies.set_session(&session)])
        }
        Err(failure) => {
            // Neither our own faults nor the provider's are theirs.
            let theirs = matches!(&failure, Failure::Refused(refusal) if !is_down(refusal));
            if !theirs {
                app.limits.logged_in(source, &tried);
            }
            failed(&app, &http, &failure)
        }
    }
}

async fn finish(app: &Data<App>, http: &HttpRequest) -> Result<(UserName, Secret, String), Failure> {
    let mut answer = Parameters::parse(http.query_string()).map_err(Refusal::from)?;
    let browser = app.cookies.read(http).browser.ok_or(Refusal::Forged)?;
    let sealed = answer.take("state").ok_or(Refusal::Forged)?;
    let state: State = seal::open_sealed(&app.keys, Purpose::Upstream, &browser, &sealed)?;
    // What one provider was sent does not come back from another.
    if state.upstream != name(http) {
        return Err(Refusal::Forged.into());
    }
    state.page.in_time(&app.policy, app.now())?;
    let policy: &Policy = &app.policy;
    let upstream = policy.upstream(&state.upstream).map_err(Refusal::from)?;
    let arrival = arrive(app, upstream, &mut answer, &attempt(app, &browser, sealed)?).await.map_err(Refusal::from)?;
    let fresh = Secret::random();
    let decide = |facts: &_, now| upstream::sign_in(&arrival, facts, policy, &fresh, now);
    let done = app.settle(&arrival.wants(), decide).await;
    if let Err(Failure::Refused(Refusal::Upstream(_))) = &done {
        let (issuer, subject) = (upstream.issuer.as_str(), arrival.subject().as_str());
        tracing::warn!(endpoint = ENDPOINT, issuer, subject = %reply::escaped(subject, 255), "known there, not let in");
    }
    Ok((done?, fresh, state.page.target()))
}

/// Who comes back.
async fn arrive<'a>(
    app: &Data<App>,
    upstream: &'a Upstream,
    answer: &mut Parameters,
    attempt: &Attempt,
) -> Result<Arrival<'a>, UpstreamFault> {
    let provider = provider::of(app, upstream).await?;
    let code = upstream::accept(upstream, &provider, answer)?;
    let request = upstream::exchange(upstream, &provider, &code, attempt, &app.policy.issuer);
    let identity = provider::identify(app, upstream, &provider, request, attempt).await?;
    Arrival::new(upstream, identity, app.now())
}

fn name(http: &HttpRequest) -> &str {
    http.match_info().get("name").unwrap_or_default()
}

fn is_down(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Upstream(fault) if fault.is_down())
}

fn failed(app: &App, http: &HttpRequest, failure: &Failure) -> HttpResponse {
    if let Failure::Refused(Refusal::Upstream(fault)) = failure
        && fault.is_down()
    {
        let (upstream, cause) = (reply::escaped(name(http), 32), reply::escaped(&fault.cause(), 200));
        tracing::error!(endpoint = ENDPOINT, upstream, cause, "the provider is of no use");
    }
    pages::failed_alone(app, ENDPOINT, failure)
}
