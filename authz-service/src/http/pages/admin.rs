//! The administrator's page: everything as cards, so that it fits a narrow window.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, REFRESH};
use minijinja::{Value, context};
use shared::state::{ClientOrigin, State, UserStage};
use shared::store::StoreError;
use shared::store::calls::{Bearer, End, Entry, Recorded};
use shared::store::journal::{Audited, Verified};
use shared::time::Timestamp;

use super::{Pages, plain, shown_name};
use crate::http::seal::Hidden;
use crate::protocol::account::{moment, only_tools, redirect_hosts};
use crate::protocol::admin::Section;

/// How often a page that is watched renews itself, in seconds.
const LIVE_EVERY: u64 = 10;

/// How many cards stand on one page.
const CARDS_A_PAGE: usize = 50;

/// What is around the cards.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Who looks.
    pub user: &'a str,
    /// At what.
    pub section: Section,
    /// Whether a button was just pressed.
    pub done: bool,
    /// Whether the page renews itself: the person wants to watch.
    pub live: bool,
    /// The fields of the buttons' forms.
    pub hidden: &'a Hidden,
    /// The fields of the logout form.
    pub logout: &'a Hidden,
}

/// The cards of one page.
#[derive(Debug, Default)]
pub struct Items {
    cards: Vec<Value>,
    page: usize,
    pages: usize,
    note: Option<String>,
    problem: Option<String>,
}

/// Something to press: the button's word, what it is about, what stands on it.
type Button<'a> = (&'a str, &'a str, &'a str);

fn card(title: &str, rows: &[(&str, String)], buttons: &[Button<'_>]) -> Value {
    let rows = rows.iter().filter(|(_, value)| !value.is_empty());
    let rows: Vec<Value> = rows.map(|(name, value)| context! { name => *name, value => plain(value) }).collect();
    let buttons: Vec<Value> =
        buttons.iter().map(|&(action, target, label)| context! { action, target, label }).collect();
    context! { title => plain(title), rows, buttons }
}

impl Items {
    /// The page of a list that was asked for; the nearest when there is no such page.
    fn paged<T>(all: &[T], page: usize, card: impl Fn(&T) -> Value) -> Self {
        let pages = all.len().div_ceil(CARDS_A_PAGE).max(1);
        let page = page.clamp(1, pages);
        let cards = all.iter().skip((page - 1) * CARDS_A_PAGE).take(CARDS_A_PAGE).map(card).collect();
        Self { cards, page, pages, note: Some(format!("{} in all.", all.len())), problem: None }
    }

    /// How much there is of everything.
    pub fn counts(state: &State) -> Self {
        let row = |(name, count): &(&str, usize)| (name.replace('_', " "), count.to_string());
        let rows: Vec<_> = state.counts().iter().map(row).collect();
        let rows: Vec<_> = rows.iter().map(|(name, count)| (name.as_str(), count.clone())).collect();
        Self { cards: vec![card("In the store", &rows, &[])], page: 1, pages: 1, ..Self::default() }
    }

    /// The registered clients.
    pub fn clients(state: &State, page: usize) -> Self {
        Self::paged(&state.clients(), page, |client| {
            let origin = match client.origin {
                ClientOrigin::Dynamic => "registered itself",
                ClientOrigin::Operator => "by the operator",
                ClientOrigin::MetadataDocument => "its metadata document",
                ClientOrigin::Local => "a server on this machine",
            };
            let rows = [
                ("Name for us", client.id.to_string()),
                ("Came by", origin.to_owned()),
                ("Sends people back to", redirect_hosts(client).join(", ")),
                ("Since", moment(client.issued_at)),
                ("Last allowed", client.approved_at.map(moment).unwrap_or_default()),
            ];
            card(&shown_name(client.name.as_deref()), &rows, &[("remove-client", client.id.as_str(), "Remove")])
        })
    }

    /// The accounts.
    pub fn users(state: &State, page: usize, now: Timestamp) -> Self {
        Self::paged(&state.users(), page, |user| {
            let (stage, button) = match user.stage {
                UserStage::Enabled => ("works", Some(("disable", "Disable"))),
                UserStage::Disabled => ("disabled", Some(("enable", "Enable"))),
                UserStage::Removed => ("removed; its name stays taken", None),
            };
            let sessions = state.sessions_of(&user.name, now).len();
            let rows = [
                ("Role", if user.admin { "administrator" } else { "user" }.to_owned()),
                ("Account", stage.to_owned()),
                ("Signed in", format!("in {sessions} browsers")),
                ("Since", moment(user.created)),
            ];
            let mut buttons = Vec::new();
            buttons.extend(button.map(|(word, label)| (word, user.name.as_str(), label)));
            if sessions > 0 {
                buttons.push(("sign-out", user.name.as_str(), "Sign out everywhere"));
            }
            card(user.name.as_str(), &rows, &buttons)
        })
    }

    /// The grants that open something.
    pub fn grants(state: &State, page: usize, now: Timestamp) -> Self {
        Self::paged(&state.live_grants(None, now), page, |live| {
            let (grant, id) = (live.grant, live.grant.id.to_string());
            let opened: Vec<&str> = state.tools_opened_by(grant).map(|tool| tool.name.as_str()).collect();
            let rows = [
                ("By", grant.subject().to_owned()),
                ("Client", grant.client.to_string()),
                ("Sends people back to", redirect_hosts(live.client).join(", ")),
                ("Access to", grant.resource.to_string()),
                ("Scopes", grant.scopes.to_string()),
                ("Only these tools", only_tools(grant).map(|tools| tools.join(", ")).unwrap_or_default()),
                ("Tools that it opens", opened.join(", ")),
                ("Since", moment(grant.created)),
                ("Last got a token", moment(live.used)),
                ("Ends", live.expires.map(moment).unwrap_or_default()),
                ("Grant", id.clone()),
            ];
            card(&shown_name(live.client.name.as_deref()), &rows, &[("revoke", &id, "Revoke")])
        })
    }

    /// The last events, newest first, and whether the chain is whole.
    pub fn events(events: &[Audited], verified: &Result<Verified, StoreError>) -> Self {
        let cards = events.iter().map(|audited| {
            let event = &audited.event;
            let text = |value: Option<String>| value.unwrap_or_default();
            let rows = [
                ("When", moment(audited.at)),
                ("Who", text(event.user.as_ref().map(ToString::to_string))),
                ("Client", text(event.client.as_ref().map(ToString::to_string))),
                ("Grant", text(event.grant.as_ref().map(ToString::to_string))),
                ("Detail", text(event.detail.clone())),
                ("Commit", audited.commit.to_string()),
            ];
            card(event.what, &rows, &[])
        });
        let (note, problem) = match verified {
            Ok(found) => (Some(format!("The chain is whole, commit {} to {}.", found.first, found.last)), None),
            // The path is the operator's; it stands in the log.
            Err(StoreError::Damaged { line, reason, .. }) => {
                (None, Some(format!("The chain is broken at line {line}: {reason}.")))
            }
            Err(_) => (None, Some("The audit trail cannot be read; the service's log says why.".to_owned())),
        };
        Self { cards: cards.collect(), page: 1, pages: 1, note, problem }
    }

    /// The last tool calls, newest first.
    pub fn calls(read: &Result<Vec<Recorded>, StoreError>) -> Self {
        let (cards, note, problem) = match read {
            Ok(lines) => {
                let cards = lines.iter().map(call_card).collect();
                let note =
                    "The last ones, newest first. `authz-service audit` tells all that are kept, and checks them.";
                (cards, Some(note.to_owned()), None)
            }
            // The path is the operator's; it stands in the log.
            Err(_) => (vec![], None, Some("The calls cannot be read; the service's log says why.".to_owned())),
        };
        Self { cards, page: 1, pages: 1, note, problem }
    }

    /// A store without a journal.
    pub fn no_trail() -> Self {
        let note = Some("This store keeps no audit trail.".to_owned());
        Self { page: 1, pages: 1, note, ..Self::default() }
    }
}

/// A line of the trail of calls.
fn call_card(recorded: &Recorded) -> Value {
    let when = ("When", moment(recorded.at));
    let call = match &recorded.entry {
        Some(Entry::Call(call)) => call,
        Some(Entry::Ended { call, end }) => {
            return card("a call has ended", &[when, ("Line", call.to_string()), ("Outcome", ended(end))], &[]);
        }
        Some(Entry::Lost(count)) => {
            return card("calls that were not written down", &[when, ("Count", count.to_string())], &[]);
        }
        Some(Entry::Cut(_)) | None => return card("something else", &[when], &[]),
    };
    let text = |value: Option<String>| value.unwrap_or_default();
    let bearer = call.bearer.as_ref();
    let cause = call.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
    let rows = [
        when,
        ("Decision", format!("{}{cause}", call.decision.word())),
        ("Who", text(bearer.and_then(Bearer::user).map(str::to_owned))),
        ("Client", text(bearer.map(|bearer| bearer.client().to_owned()))),
        ("Program", text(call.host.as_ref().map(|host| host.name.as_str().to_owned()))),
        ("Server", call.server.to_string()),
        ("Grant", text(bearer.and_then(Bearer::grant).map(|grant| grant.to_string()))),
        ("Issuer", text(bearer.and_then(Bearer::issuer).map(ToString::to_string))),
        ("Outcome", text(call.end.as_ref().map(ended))),
    ];
    card(&call.subject(), &rows, &[])
}

fn ended(end: &End) -> String {
    format!("{} after {} µs", end.outcome.word(), end.us)
}

impl Pages {
    /// The administrator's page.
    pub fn admin(&self, frame: &Frame<'_>, items: Items) -> HttpResponse {
        let menu: Vec<Value> = Section::ALL
            .iter()
            .map(|one| context! { path => one.path(), title => one.title(), here => *one == frame.section })
            .collect();
        let values = context! {
            title => frame.section.title(),
            user => frame.user,
            here => frame.section.path(),
            menu,
            done => frame.done,
            live => frame.live,
            every => LIVE_EVERY,
            may_live => frame.section.may_live(),
            cards => items.cards,
            page => items.page,
            pages => items.pages,
            note => items.note,
            problem => items.problem,
            transaction => &frame.hidden.transaction,
            csrf => &frame.hidden.csrf,
            logout_transaction => &frame.logout.transaction,
            logout_csrf => &frame.logout.csrf,
        };
        let mut page = self.render(StatusCode::OK, "admin.html", values, "");
        if frame.live {
            // As <meta http-equiv="refresh"> would (HTML Standard, 7.5.1): no script, and a link stops it (WCAG 2.2.2).
            page.headers_mut().insert(REFRESH, HeaderValue::from(LIVE_EVERY));
        }
        page
    }
}
