//! What a person or a model reads of a login.

use rmcp::model::CallToolResult;
use serde_json::{Map, Value};
use shared::oauth::form;
use shared::scope::Scopes;
use shared::state::Kind;
use shared::store::StoreError;
use shared::time::Timestamp;
use shared::uri::{Issuer, Resource};

use super::asker::Trouble;
use super::book::Login;
use super::host::Mode;
use crate::results::failure;

/// Why a call that waited for a login was not let in.
#[derive(Debug)]
pub enum Turned {
    /// Nobody has decided yet: here is where.
    Link {
        /// Whether the call has waited.
        waited: bool,
        /// Whether a browser shows the page.
        browser: bool,
    },
    /// The person said no on the page.
    Denied,
    /// The person said no in the host.
    Declined,
    /// The person closed the host's dialog.
    Cancelled,
    /// What was given is taken back.
    Revoked,
    /// Nobody came in time.
    Expired,
}

/// Why a call is not let in that brings no token, and for which nobody has decided anything.
pub const NO_TOKEN: &str = "no-token";

impl Turned {
    /// Exactly why, in one word with dashes: for the trail. That the login's own token opens nothing yet is none.
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::Link { .. } => NO_TOKEN,
            Self::Denied => "login-denied",
            Self::Declined => "login-declined",
            Self::Cancelled => "login-closed",
            Self::Revoked => "login-revoked",
            Self::Expired => "login-expired",
        }
    }
}

/// What a call was for.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Of what.
    pub kind: Kind,
    /// What it needs.
    pub needed: &'a Scopes,
    /// At which server.
    pub resource: &'a Resource,
}

impl About<'_> {
    /// What is missing.
    fn missing(&self) -> String {
        format!("Authorization is needed to use this {}.", self.kind.word())
    }

    /// What to do when a person has signed in.
    fn again(&self) -> &'static str {
        match self.kind {
            Kind::Tool => "call the tool again",
            Kind::Resource => "read the resource again",
            Kind::Prompt => "get the prompt again",
            Kind::Task => "ask for the task again",
        }
    }

    /// What every refusal says to programs.
    fn details(&self) -> Map<String, Value> {
        let mut details = Map::new();
        details.insert("scope".to_owned(), self.needed.to_string().into());
        details.insert("resource".to_owned(), self.resource.as_str().into());
        details
    }
}

/// The page on which people type codes.
pub fn page(issuer: &Issuer) -> String {
    issuer.join("/device")
}

/// The same with the code in it.
pub fn link(login: &Login) -> String {
    format!("{}?{}", page(&login.issuer), form::encode(&[("user_code", &login.user_code.shown())]))
}

/// Why a host shows its person a page; one that shows words only says where the page is, too.
pub fn message(login: &Login, resource: &Resource, mode: Mode) -> String {
    let code = login.user_code.shown();
    match mode {
        Mode::Page => format!(
            "Sign in at {} to let this program use the server {resource}. The page shows the code {code}.",
            login.issuer
        ),
        Mode::Words => format!(
            "To let this program use the server {resource}, open {} in a browser and sign in. The page shows the code \
             {code}. Say yes here when you have; nothing that you type here is wanted.",
            link(login)
        ),
    }
}

/// What a host is told while a call waits.
pub fn waiting(login: &Login) -> String {
    format!("Waiting for a person to sign in at {} (code {})", page(&login.issuer), login.user_code.shown())
}

/// The result of a call that was not let in. `complete` is whether a link may carry the code.
pub fn result(turned: &Turned, login: &Login, about: &About<'_>, complete: bool, now: Timestamp) -> CallToolResult {
    let linked = |waited, browser| linked(login, about, waited, browser, complete);
    let (code, words) = match turned {
        Turned::Link { waited, browser } => ("unauthorized", linked(*waited, *browser)),
        Turned::Denied => (
            "access_denied",
            "A person was asked to allow this, and said no. Do not ask again unless they want you to; a further call \
             asks anew."
                .to_owned(),
        ),
        Turned::Declined => (
            "access_denied",
            "The person did not want to sign in. Do not ask again unless they want you to; a further call asks anew."
                .to_owned(),
        ),
        Turned::Cancelled => {
            ("unauthorized", format!("The person closed the question without an answer. {}", linked(false, false)))
        }
        Turned::Expired => {
            ("expired_token", "Nobody signed in while the code was good. A further call makes a new one.".to_owned())
        }
        Turned::Revoked => {
            ("invalid_token", "The access that a person had given was taken back. A further call asks anew.".to_owned())
        }
    };
    let mut details = about.details();
    details.insert("authorization_servers".to_owned(), vec![login.issuer.to_string()].into());
    if matches!(turned, Turned::Link { .. } | Turned::Cancelled) {
        details.insert("verification_uri".to_owned(), page(&login.issuer).into());
        if complete {
            details.insert("verification_uri_complete".to_owned(), link(login).into());
        }
        details.insert("user_code".to_owned(), login.user_code.shown().into());
        details.insert("expires_in".to_owned(), Value::from((login.ends() - now).0));
    }
    failure(code, &words, details)
}

/// Why a login does not reach as far as a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Narrow {
    /// The person did not allow it.
    LeftOut,
    /// The person allowed what the tool was then.
    Changed,
}

/// The refusal of a login that a person gave less to than this call needs.
pub fn too_narrow(refused: &CallToolResult, kind: Kind, why: Narrow, issuer: &Issuer) -> CallToolResult {
    let (kind, page) = (kind.word(), issuer.join("/account"));
    let words = match why {
        Narrow::LeftOut => format!(
            "The person who signed in did not allow this {kind}. If they change their mind: they take back this program's \
             access at {page}, and the next call asks anew."
        ),
        Narrow::Changed => format!(
            "This {kind} says something else of itself than when the person who signed in agreed to it. To look at it and \
             to allow it again, they take back this program's access at {page}, and the next call asks anew."
        ),
    };
    let mut details = match &refused.structured_content {
        Some(Value::Object(details)) => details.clone(),
        _ => Map::new(),
    };
    let code = details.remove("error").and_then(|code| code.as_str().map(str::to_owned)).unwrap_or_default();
    failure(&code, &words, details)
}

fn linked(login: &Login, about: &About<'_>, waited: bool, browser: bool, complete: bool) -> String {
    let code = login.user_code.shown();
    let still = if waited { "Nobody has signed in yet." } else { "A person must sign in." };
    let shown = if browser { "A browser shows the page. If it does not: " } else { "" };
    let how = match complete {
        true => format!("Ask them to open {} (the page shows the code {code})", link(login)),
        false => format!("Ask them to open {} and to type the code {code}", page(&login.issuer)),
    };
    format!("{} {still} {shown}{how}, and {}.", about.missing(), about.again())
}

/// The result of a call for which nobody could be asked; `None` where the usual refusal says more.
pub fn trouble(trouble: &Trouble, about: &About<'_>) -> Option<CallToolResult> {
    let (mut details, missing) = (about.details(), about.missing());
    let words = match trouble {
        Trouble::NoIssuer | Trouble::NoKeys | Trouble::Store(StoreError::Absent(_)) => return None,
        Trouble::Store(StoreError::Loading) => {
            let words = format!("The {} cannot be used now: store loading; try again in a moment.", about.kind.word());
            return Some(failure("temporarily_unavailable", &words, Map::new()));
        }
        Trouble::NotServing(issuer) => {
            details.insert("authorization_servers".to_owned(), vec![issuer.to_string()].into());
            format!(
                "{missing} A person must sign in, and the service at {issuer} does not answer. Start authz-service, and \
                 {}.",
                about.again()
            )
        }
        // Paths and processes are for the log.
        Trouble::Store(_) | Trouble::Commit(_) | Trouble::Book(_) => {
            format!("{missing} A person must sign in, and no login could be begun; this server's log says why.")
        }
    };
    Some(failure("unauthorized", &words, details))
}
