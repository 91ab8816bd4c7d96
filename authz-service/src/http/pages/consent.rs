//! The consent page: who asks, what for, which tools that opens, and the boxes to make it less.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use minijinja::{Value, context};
use shared::oauth::register::GrantType;
use shared::scope::{Catalogue, OFFLINE_ACCESS, Scope};
use shared::state::{Effect, Tool};
use shared::uri::{Parts, RedirectUri};

use super::{Pages, document_host, form_target, how_long, plain, shown_name};
use crate::http::seal::Hidden;
use crate::protocol::Policy;
use crate::protocol::authorize::Asked;
use crate::protocol::choice::{Offer, SCOPE_FIELD, TOOL_FIELD};
use crate::protocol::grantable;

/// Up to this many tools of a scope stand open on the page; more are folded.
const SHOWN_OPEN: usize = 6;

impl Pages {
    /// The consent page (UI-11).
    pub fn consent(
        &self,
        asked: &Asked,
        policy: &Policy,
        user: &str,
        hidden: &Hidden,
        logout: &Hidden,
    ) -> HttpResponse {
        let redirect = asked.reply_to.redirect().to_uri();
        let values = context! {
            title => "Allow access?",
            client => shown_name(asked.client.name.as_deref()),
            self_declared => !asked.client.origin.is_vouched_for(),
            document_host => document_host(&asked.client),
            loopback_only => asked.client.redirect_uris.iter().all(RedirectUri::is_loopback),
            redirect_host => redirect.shown_host(),
            loopback => redirect.is_loopback(),
            resource => asked.resource.as_str(),
            home => asked.client.client_uri.as_deref().and_then(|uri| Parts::of(uri)?.host()),
            scopes => offered(asked.offer(), &policy.catalogue),
            changed => asked.offer().changed().count(),
            kept => how_long(policy.lifetimes.refresh_absolute),
            access_time => how_long(policy.lifetimes.access),
            lasting => asked.client.grant_types.contains(&GrantType::RefreshToken),
            user,
            transaction => &hidden.transaction,
            csrf => &hidden.csrf,
            logout_transaction => &logout.transaction,
            logout_csrf => &logout.csrf,
        };
        self.render(StatusCode::OK, "consent.html", values, &form_target(asked.reply_to.redirect()))
    }
}

/// Each scope with its tools, for `choice.html`: first those that the service explains. A tool that needs several stands
/// once, under the first that is its server's own, else under the first.
pub(super) fn offered(asked: Offer<'_>, catalogue: &Catalogue) -> Vec<Value> {
    let explained =
        catalogue.entries().iter().map(|entry| &entry.scope).filter(|scope| asked.scopes.contains(scope.as_str()));
    let mut scopes: Vec<&Scope> = explained.collect();
    let ours = scopes.len();
    scopes.extend(asked.scopes.iter().filter(|scope| catalogue.meaning(scope).is_none()));
    let needs = |tool: &Tool, scope: &&Scope| tool.scopes.contains(scope.as_str());
    // What a server's own scope stands for is told by its tools alone.
    let place = |tool: &Tool| {
        let own = scopes[ours..].iter().position(|scope| needs(tool, scope)).map(|at| ours + at);
        own.or_else(|| scopes[..ours].iter().position(|scope| needs(tool, scope)))
    };
    let shown = |(at, scope): (usize, &&Scope)| {
        let placed: Vec<&Tool> = asked.tools.iter().filter(|tool| place(tool) == Some(at)).collect();
        let hides_changes = placed.iter().any(|tool| asked.has_changed(tool));
        let tools: Vec<Value> = placed.iter().map(|tool| shown_tool(tool, asked.has_changed(tool))).collect();
        context! {
            scope => scope.as_str(),
            meaning => grantable::meaning(catalogue, scope, !tools.is_empty()),
            field => format!("{SCOPE_FIELD}{scope}"),
            fixed => scope.as_str() == OFFLINE_ACCESS,
            open => tools.len() <= SHOWN_OPEN || hides_changes,
            tools,
        }
    };
    scopes.iter().enumerate().map(shown).collect()
}

fn shown_tool(tool: &Tool, changed: bool) -> Value {
    let (name, title) = (plain(tool.name.as_str()), plain(&tool.title));
    let (kind, effect) = in_effect(tool.effect);
    context! { field => format!("{TOOL_FIELD}{}", tool.name.as_str()), name, title, kind, effect, changed }
}

/// What a tool does, as the kind of its badge and in words.
pub(super) fn in_effect(effect: Effect) -> (&'static str, &'static str) {
    match effect {
        Effect::Read => ("read", "only reads"),
        Effect::Write => ("write", "changes things"),
        Effect::Destructive => ("destructive", "can destroy things"),
    }
}
