//! `GET|POST /admin…`: clients, accounts, grants and the audit trail, for administrators, where the operator serves it.

use actix_web::web::{Data, Payload, block};
use actix_web::{HttpRequest, HttpResponse};
use shared::oauth::form;
use shared::state::Wanted;
use shared::store::journal::audit;

use super::app::{App, Failure};
use super::pages::admin::{Frame, Items};
use super::seal::{self, Purpose};
use super::session::Jar;
use super::{body, calls, login, pages, reply, routes};
use crate::protocol::Refusal;
use crate::protocol::admin::{self, Action, Section};
use crate::protocol::interact::{Destination, Transaction};

const ENDPOINT: &str = "admin";

/// How many events the page shows.
const EVENTS: usize = 100;

/// One part of the page, or the login before it.
pub async fn get(app: Data<App>, http: HttpRequest, payload: Payload) -> HttpResponse {
    if !app.policy.admin_page {
        return routes::not_found(app, http, payload).await;
    }
    let jar = app.cookies.read(&http);
    match administrator(&app, &jar).await {
        Ok(user) => {
            let path = http.path().strip_prefix(app.prefix.as_str()).unwrap_or(http.path());
            let section = Section::ALL.into_iter().find(|section| section.path() == path).unwrap_or(Section::Overview);
            let value = |name| form::all_values(http.query_string(), name).next();
            let page = value("page").and_then(|text| text.parse().ok()).unwrap_or(1);
            let wish = Wish { section, page, done: value("done").is_some(), live: value("live").is_some() };
            show(&app, &jar, &user, &wish).await
        }
        Err(Failure::Refused(Refusal::NotLoggedIn)) => {
            let mut page = login::page(&app, jar, None, Transaction::to(Destination::Admin, app.now()));
            *page.status_mut() = reply::status(&Refusal::NotLoggedIn);
            page
        }
        Err(failure) => pages::failed_alone(&app, ENDPOINT, &failure),
    }
}

async fn administrator(app: &App, jar: &Jar) -> Result<String, Failure> {
    let facts = app.store.load(&Wanted { session: jar.session_hash(), ..Wanted::default() }).await?;
    Ok(admin::administrator(&facts, app.now())?.user.to_string())
}

/// What an administrator wants to see.
struct Wish {
    section: Section,
    page: usize,
    /// A button was pressed.
    done: bool,
    /// The page is to renew itself.
    live: bool,
}

async fn show(app: &App, jar: &Jar, user: &str, wish: &Wish) -> HttpResponse {
    let &Wish { section, page, done, live } = wish;
    let Some(session) = &jar.session else { return pages::refused(app, ENDPOINT, &Refusal::NotLoggedIn) };
    let items = match items(app, section, page).await {
        Ok(items) => items,
        Err(failure) => return pages::failed_alone(app, ENDPOINT, &failure),
    };
    let now = app.now();
    let hidden = seal::close(&app.keys, Purpose::Admin, session, &Transaction::to(Destination::Admin, now));
    let logout = seal::close(&app.keys, Purpose::Logout, session, &Transaction::login(String::new(), now));
    app.pages.admin(
        &Frame { user, section, done, live: live && section.may_live(), hidden: &hidden, logout: &logout },
        items,
    )
}

async fn items(app: &App, section: Section, page: usize) -> Result<Items, Failure> {
    match section {
        Section::Audit => return trail(app).await,
        Section::Calls => return calls(app).await,
        _ => {}
    }
    // Lists are sorted whole: of a million that takes a second, in which neither a commit nor a worker is to wait.
    let (state, now) = (app.frozen()?, app.now());
    let list = move || match section {
        Section::Clients => Items::clients(&state, page),
        Section::Users => Items::users(&state, page, now),
        Section::Grants => Items::grants(&state, page, now),
        Section::Overview | Section::Audit | Section::Calls => Items::counts(&state),
    };
    block(list).await.map_err(|error| Failure::Internal(error.to_string()))
}

/// Reads the journal from its beginning and checks its chain: one at a time, away from the workers.
async fn trail(app: &App) -> Result<Items, Failure> {
    let Some(folder) = app.journal.clone() else { return Ok(Items::no_trail()) };
    let _turn = app.audits.try_acquire().map_err(|_| Failure::Busy)?;
    let read = move || {
        let mut last = std::collections::VecDeque::with_capacity(EVENTS);
        let verified = audit(&folder, &mut |event| {
            if last.len() == EVENTS {
                last.pop_back();
            }
            last.push_front(event);
        });
        (last, verified)
    };
    let (events, verified) = block(read).await.map_err(|error| Failure::Internal(error.to_string()))?;
    Ok(Items::events(&Vec::from(events), &verified))
}

/// Reads the end of the trail of calls.
async fn calls(app: &App) -> Result<Items, Failure> {
    let Some(folder) = app.journal.clone() else { return Ok(Items::no_trail()) };
    let read = move || calls::last(&folder, EVENTS);
    let read = block(read).await.map_err(|error| Failure::Internal(error.to_string()))?;
    if let Err(error) = &read {
        tracing::warn!(%error, "the trail of calls cannot be read");
    }
    Ok(Items::calls(&read))
}

/// A button.
pub async fn post(app: Data<App>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    if !app.policy.admin_page {
        return routes::not_found(app, http, payload).await;
    }
    let form = match body::page_form(&app, ENDPOINT, &http, &mut payload).await {
        Ok(form) => form,
        Err(page) => return page,
    };
    let jar = app.cookies.read(&http);
    let action = seal::open(&app.keys, Purpose::Admin, jar.session.as_ref(), &form)
        .and_then(|_| Action::parse(form.get("action"), form.get("target")));
    let done = match action {
        Ok(action) => carry_out(&app, &jar, &action).await.map(|()| action),
        Err(refusal) => return pages::refused(&app, ENDPOINT, &refusal),
    };
    match done {
        Ok(action) => {
            tracing::info!(endpoint = ENDPOINT, section = action.section().title(), "changed");
            reply::redirect(true, &format!("{}{}?done=1", app.prefix, action.section().path()))
        }
        Err(failure) => pages::failed_alone(&app, ENDPOINT, &failure),
    }
}

async fn carry_out(app: &App, jar: &Jar, action: &Action) -> Result<(), Failure> {
    // Before anything is said about what there is.
    administrator(app, jar).await?;
    let mut is_there = false;
    app.store.read(&mut |state| is_there = action.is_about_something(state))?;
    if !is_there {
        return Err(Refusal::Malformed("target").into());
    }
    let wanted = Wanted { session: jar.session_hash(), ..Wanted::default() };
    app.settle(&wanted, |facts, now| admin::decide(action, facts, now)).await
}
