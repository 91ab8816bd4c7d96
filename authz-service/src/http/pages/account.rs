//! The account page: connected apps, the password, the way out.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use minijinja::{Value, context};
use shared::id::UserName;

use super::consent::in_effect;
use super::{Pages, plain, shown_name};
use crate::http::seal::Hidden;
use crate::protocol::account::{AppAccess, AppTool, ConnectedApp, moment};

/// How many apps stand on one page.
const APPS_A_PAGE: usize = 25;

/// What the page shows.
#[derive(Debug)]
pub struct View<'a> {
    /// Whose page it is.
    pub user: &'a UserName,
    /// Every app with access.
    pub apps: &'a [ConnectedApp],
    /// In how many browsers the person is logged in.
    pub sessions: usize,
    /// Which page of the apps, from 1.
    pub page: usize,
    /// What was just done.
    pub done: Option<&'a str>,
    /// Why a new password was not taken.
    pub problem: Option<&'a str>,
    /// The fields of every form but the next.
    pub hidden: &'a Hidden,
    /// The fields of the logout form.
    pub logout: &'a Hidden,
}

impl Pages {
    /// The account page.
    pub fn account(&self, view: &View<'_>) -> HttpResponse {
        let pages = view.apps.len().div_ceil(APPS_A_PAGE).max(1);
        let page = view.page.clamp(1, pages);
        let apps = view.apps.iter().skip((page - 1) * APPS_A_PAGE).take(APPS_A_PAGE);
        let values = context! {
            title => "Your account",
            user => view.user.as_str(),
            apps => apps.map(app).collect::<Vec<Value>>(),
            page, pages,
            sessions => view.sessions,
            done => view.done.and_then(in_words),
            problem => view.problem,
            transaction => &view.hidden.transaction,
            csrf => &view.hidden.csrf,
            logout_transaction => &view.logout.transaction,
            logout_csrf => &view.logout.csrf,
        };
        let status = if view.problem.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        self.render(status, "account.html", values, "")
    }
}

/// What the person is told after a button. Only words of ours become text.
fn in_words(done: &str) -> Option<&'static str> {
    match done {
        "revoked" => Some("Access was taken back. It ended at once, also in programs that are running."),
        "password" => Some("Your password was changed. Every app and every other browser has to sign in again."),
        _ => None,
    }
}

fn app(app: &ConnectedApp) -> Value {
    context! {
        id => app.id.as_str(),
        name => shown_name(app.name.as_deref()),
        self_declared => app.self_declared,
        place => app.place.as_deref().map(plain),
        hosts => &app.hosts,
        first_used => app.first_used().map(moment),
        last_used => app.last_used().map(moment),
        accesses => app.accesses.iter().map(access).collect::<Vec<Value>>(),
    }
}

fn access(access: &AppAccess) -> Value {
    let scopes = access.scopes.iter();
    context! {
        resource => &access.resource,
        scopes => scopes.map(|(scope, meaning)| context! { scope => scope.as_str(), meaning }).collect::<Vec<Value>>(),
        tools => access.tools.iter().map(tool).collect::<Vec<Value>>(),
        narrowed => access.narrowed,
        since => moment(access.since),
        used => moment(access.used),
        expires => access.expires.map(moment),
    }
}

fn tool(tool: &AppTool) -> Value {
    let (kind, effect) = tool.effect.map(in_effect).unzip();
    context! { name => plain(&tool.name), title => plain(&tool.title), kind, effect }
}
