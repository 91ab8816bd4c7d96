//! The account page: connected apps, the password, the way out.

use std::collections::HashMap;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use minijinja::{Value, context};
use shared::id::GrantId;
use shared::secret::TokenHash;
use shared::state::{Passkey, PasskeyAlgorithm, User};

use super::consent::in_effect;
use super::{Pages, plain, shown_name};
use crate::http::calls::Lately;
use crate::http::seal::Hidden;
use crate::protocol::account::{AppAccess, AppTool, ConnectedApp, moment};

/// How many apps stand on one page.
const APPS_A_PAGE: usize = 25;

/// What the page shows.
#[derive(Debug)]
pub struct View<'a> {
    /// Whose page it is.
    pub user: &'a User,
    /// Every app with access.
    pub apps: &'a [ConnectedApp],
    /// What each grant was lately used for.
    pub lately: &'a HashMap<GrantId, Lately>,
    /// In how many browsers the person is logged in.
    pub sessions: usize,
    /// Which page of the apps, from 1.
    pub page: usize,
    /// What was just done.
    pub done: Option<&'a str>,
    /// Why a new password was not taken.
    pub problem: Option<&'a str>,
    /// What a new passkey answers and how its authenticator calls the person, when one may be added.
    pub new_passkey: Option<(&'a str, TokenHash)>,
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
        let passkeys = &view.user.passkeys;
        let (challenge, handle) = view.new_passkey.unzip();
        let values = context! {
            title => "Your account",
            user => view.user.name.as_str(),
            apps => apps.map(|known| app(known, view.lately)).collect::<Vec<Value>>(),
            page, pages,
            sessions => view.sessions,
            done => view.done.and_then(in_words),
            problem => view.problem,
            passkeys => passkeys.iter().map(passkey).collect::<Vec<Value>>(),
            passkeys_full => passkeys.len() >= Passkey::MOST,
            exclude => words(passkeys.iter().map(|passkey| passkey.id.as_str().to_owned())),
            algorithms => words(PasskeyAlgorithm::ALL.iter().map(|alg| alg.number().to_string())),
            challenge,
            handle => handle.map(|handle| URL_SAFE_NO_PAD.encode(handle.as_bytes())),
            transaction => &view.hidden.transaction,
            csrf => &view.hidden.csrf,
            logout_transaction => &view.logout.transaction,
            logout_csrf => &view.logout.csrf,
        };
        let status = if view.problem.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        self.render_with(status, "account.html", values, "", challenge.is_some())
    }
}

/// What the person is told after a button. Only words of ours become text.
fn in_words(done: &str) -> Option<&'static str> {
    match done {
        "revoked" => Some("Access was taken back. It ended at once, also in programs that are running."),
        "password" => Some("Your password was changed. Every app and every other browser has to sign in again."),
        "passkey-added" => Some("The passkey was added. Next time you can sign in with it."),
        "passkey-removed" => {
            Some("The passkey was removed: it signs nobody in any more. Remove it from your device too.")
        }
        _ => None,
    }
}

/// Words in a row, for an attribute.
fn words(each: impl Iterator<Item = String>) -> String {
    each.collect::<Vec<_>>().join(" ")
}

fn passkey(passkey: &Passkey) -> Value {
    context! {
        id => passkey.short_id(),
        name => plain(&passkey.name),
        created => moment(passkey.created),
        used => passkey.used.map(moment),
        syncs => passkey.syncs,
    }
}

fn app(app: &ConnectedApp, lately: &HashMap<GrantId, Lately>) -> Value {
    context! {
        id => app.id.as_str(),
        name => shown_name(app.name.as_deref()),
        self_declared => app.self_declared,
        place => app.place.as_deref().map(plain),
        hosts => &app.hosts,
        first_used => app.first_used().map(moment),
        last_used => app.last_used().map(moment),
        accesses => app.accesses.iter().map(|one| access(one, lately.get(&one.grant))).collect::<Vec<Value>>(),
    }
}

fn access(access: &AppAccess, lately: Option<&Lately>) -> Value {
    let scopes = access.scopes.iter();
    context! {
        resource => &access.resource,
        scopes => scopes.map(|(scope, meaning)| context! { scope => scope.as_str(), meaning }).collect::<Vec<Value>>(),
        tools => access.tools.iter().map(tool).collect::<Vec<Value>>(),
        narrowed => access.narrowed,
        changed => access.tools.iter().any(|tool| tool.changed),
        lately => lately.map(|used| context! { calls => used.calls, last => plain(&used.last), at => moment(used.at) }),
        since => moment(access.since),
        used => moment(access.used),
        expires => access.expires.map(moment),
    }
}

fn tool(tool: &AppTool) -> Value {
    let (kind, effect) = tool.effect.map(in_effect).unzip();
    context! { name => plain(&tool.name), title => plain(&tool.title), kind, effect, changed => tool.changed }
}
