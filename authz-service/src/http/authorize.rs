//! `GET|POST /oauth/authorize`: what an app asks for, before a person (RFC 6749 section 3.1).

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use shared::id::GrantId;
use shared::secret::{Secret, random_uuid};
use shared::state::Facts;

use super::app::App;
use super::body;
use super::seal::{self, Purpose};
use super::session::Jar;
use super::{cimd, limit, login, pages, reply};
use crate::protocol::Refusal;
use crate::protocol::authorize::{self, Asked, AuthorizeRequest, FreshCode, Step};
use crate::protocol::cimd::with_document;
use crate::protocol::interact::Transaction;
use crate::protocol::token::BodyForm;

const ENDPOINT: &str = "authorize";

/// The request in the query.
pub async fn get(app: Data<App>, http: HttpRequest) -> HttpResponse {
    answer(&app, &http, http.query_string(), false).await
}

/// The request in a form (RFC 6749 section 3.1 lets a server support it).
pub async fn post(app: Data<App>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    let body = match body::read(&http, &mut payload).await {
        Ok(body) => body,
        Err(why) => return body::refused_page(&app, ENDPOINT, why),
    };
    if body::form(&http) != Some(BodyForm::Form) {
        let why = Refusal::Body("the body must be application/x-www-form-urlencoded".into());
        return pages::refused(&app, ENDPOINT, &why);
    }
    match std::str::from_utf8(&body) {
        Ok(query) if query.len() > MAX_FORM_QUERY => {
            pages::refused(&app, ENDPOINT, &Refusal::Body("the request is too long".into()))
        }
        Ok(query) => answer(&app, &http, &as_query(query), true).await,
        Err(_) => pages::refused(&app, ENDPOINT, &Refusal::Body("the body is not UTF-8".into())),
    }
}

/// The longest form that can go on as the query of a redirect, behind the login.
const MAX_FORM_QUERY: usize = 8 * 1024;

/// A form body as a query: what may not stand in a URL is percent-encoded, which changes no parameter.
fn as_query(body: &str) -> String {
    const UNFIT: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');
    utf8_percent_encode(body.trim_end_matches(['\r', '\n']), UNFIT).to_string()
}

async fn answer(app: &Data<App>, http: &HttpRequest, query: &str, after_post: bool) -> HttpResponse {
    let request = match AuthorizeRequest::parse(query) {
        Ok(request) => request.opened_by_the_person(!after_post && body::is_opened_by_the_person(http)),
        Err(refusal) => return pages::refused(app, ENDPOINT, &refusal),
    };
    let document = match cimd::described(app, request.client_id(), limit::source(http)).await {
        Ok(document) => document,
        Err(failure) => return pages::failed_alone(app, ENDPOINT, &failure),
    };
    let jar = app.cookies.read(http);
    let fresh = FreshCode { grant: GrantId(random_uuid()), code: Secret::random() };
    let decide = |facts: &Facts, now| {
        authorize::decide(&request, &with_document(facts, document.as_deref()), &app.policy, &fresh, now)
    };
    match app.settle(&request.wants(jar.session_hash(), &app.policy), decide).await {
        Ok(Step::Answer(to)) => {
            tracing::info!(endpoint = ENDPOINT, grant = %fresh.grant, "approved without asking");
            reply::redirect(after_post, &to.with_code(&fresh.code, &app.policy.issuer))
        }
        Ok(Step::Login(asked)) => login::page(app, jar, Some(&asked), Transaction::login(query.to_owned(), app.now())),
        Ok(Step::Consent(asked, user)) => consent_page(app, jar, &asked, user.as_str(), fresh.grant, query),
        Err(failure) => pages::failed(app, ENDPOINT, after_post, &failure),
    }
}

fn consent_page(app: &App, jar: Jar, asked: &Asked, user: &str, grant: GrantId, query: &str) -> HttpResponse {
    let Some(session) = jar.session else { return pages::refused(app, ENDPOINT, &Refusal::NotLoggedIn) };
    let transaction = Transaction::consent(query.to_owned(), asked, grant, app.now());
    let hidden = seal::close(&app.keys, Purpose::Consent, &session, &transaction);
    let back = Transaction::login(query.to_owned(), app.now());
    let logout = seal::close(&app.keys, Purpose::Logout, &session, &back);
    app.pages.consent(asked, &app.policy, user, &hidden, &logout)
}
