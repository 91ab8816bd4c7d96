//! The HTML pages: plain, everything from ourselves (UI-05, UI-06), and whole without the one script, which only passkeys
//! need.

pub mod account;
pub mod admin;
mod consent;
mod device;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, RETRY_AFTER, SET_COOKIE};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use minijinja::{Environment, Value, context};
use shared::secret::TokenHash;
use shared::state::{Client, ClientOrigin};
use shared::time::Seconds;
use shared::uri::{ExactRedirect, Parts};

use super::app::{App, Failure};
use super::reply::{self, NO_STORE};
use super::seal::Hidden;
use crate::protocol::authorize::Asked;
use crate::protocol::interact::{Destination, Transaction};
use crate::protocol::passkey::Party;
use crate::protocol::policy::Policy;
use crate::protocol::upstream::UpstreamFault;
use crate::protocol::{Refusal, authorize::Refused};

/// The one stylesheet.
pub const STYLE: &str = include_str!("style.css");

/// The one script: passkeys cannot do without.
pub const SCRIPT: &str = include_str!("passkey.js");

/// A page: its parts between head and foot. `choice.html` ends both pages that ask, with the boxes and the buttons.
macro_rules! template {
    ($($name:literal),+) => {
        concat!(
            include_str!("templates/head.html"),
            $(include_str!(concat!("templates/", $name)),)+
            include_str!("templates/foot.html")
        )
    };
}

const TEMPLATES: [(&str, &str); 11] = [
    ("login.html", template!("login.html")),
    ("onward.html", template!("onward.html")),
    ("consent.html", template!("consent.html", "choice.html")),
    ("device.html", template!("device.html")),
    ("device_consent.html", template!("device_consent.html", "choice.html")),
    ("setup.html", template!("setup.html")),
    ("message.html", template!("message.html")),
    ("index.html", template!("index.html")),
    ("account.html", template!("account.html")),
    ("docs.html", template!("docs.html")),
    ("admin.html", template!("admin.html")),
];

/// The templates, compiled once.
pub struct Pages {
    environment: Environment<'static>,
}

impl Pages {
    /// Compiles the templates. `prefix` is what our paths begin with, `party` whom passkeys are for, if for anybody.
    ///
    /// # Errors
    /// When a template is wrong: a defect of the build.
    pub fn new(prefix: &str, party: Option<&Party>) -> Result<Self, minijinja::Error> {
        let mut environment = Environment::new();
        environment.add_global("prefix", prefix);
        environment.add_global("party", party.map(|party| context! { id => &party.id, origin => &party.origin }));
        environment.add_global("script", URL_SAFE_NO_PAD.encode(&TokenHash::of(SCRIPT.as_bytes()).as_bytes()[..9]));
        for (name, source) in TEMPLATES {
            environment.add_template(name, source)?;
        }
        Ok(Self { environment })
    }

    fn render(&self, status: StatusCode, name: &str, values: Value, targets: &str) -> HttpResponse {
        self.render_with(status, name, values, targets, false)
    }

    /// The same; `script` says whether the page may run ours.
    fn render_with(&self, status: StatusCode, name: &str, values: Value, targets: &str, script: bool) -> HttpResponse {
        let page = self.environment.get_template(name).and_then(|template| template.render(values));
        match page {
            Ok(page) => HttpResponse::build(status)
                .insert_header(NO_STORE)
                .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
                .insert_header(("Content-Security-Policy", policy(targets, script)))
                .insert_header(("X-Frame-Options", "DENY"))
                .insert_header(("Referrer-Policy", "no-referrer"))
                .body(page),
            Err(error) => {
                tracing::error!(%error, "a page cannot be made");
                HttpResponse::InternalServerError().finish()
            }
        }
    }

    /// The login page, or the same again with what went wrong.
    pub fn login(
        &self,
        asked: Option<&Asked>,
        transaction: &Transaction,
        hidden: &Hidden,
        policy: &Policy,
        again: Option<(&str, &str)>,
    ) -> HttpResponse {
        let (username, error) = again.unwrap_or_default();
        let challenge = transaction.challenge.as_deref();
        let values = context! {
            title => "Sign in",
            device => transaction.to == Destination::Device,
            challenge,
            password => policy.password_login,
            upstreams => upstreams(policy),
            client => asked.map(|asked| shown_name(asked.client.name.as_deref())),
            transaction => &hidden.transaction,
            csrf => &hidden.csrf,
            username,
            error => Some(error).filter(|error| !error.is_empty()),
        };
        let status = if again.is_some() { StatusCode::FORBIDDEN } else { StatusCode::OK };
        let target = asked.map(|asked| form_target(asked.reply_to.redirect())).unwrap_or_default();
        self.render_with(status, "login.html", values, &target, challenge.is_some())
    }

    /// The page that leads to a provider.
    pub fn onward(&self, provider: &str, location: &str) -> HttpResponse {
        let values = context! { title => format!("On to {provider}"), provider, onward => location };
        self.render(StatusCode::OK, "onward.html", values, "")
    }

    /// The page behind the one-time link.
    pub fn setup(&self, token: &str, again: Option<(&str, &str)>) -> HttpResponse {
        let (username, error) = again.unwrap_or_default();
        let values = context! {
            title => "Create the first account",
            token,
            username,
            error => Some(error).filter(|error| !error.is_empty()),
        };
        let status = if again.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        self.render(status, "setup.html", values, "")
    }

    /// The index for people.
    pub fn index(&self, endpoints: &[super::index::Endpoint], auto_approve: bool) -> HttpResponse {
        let line = |endpoint: &super::index::Endpoint| context! { name => endpoint.name, url => &endpoint.url };
        let lines: Vec<Value> = endpoints.iter().map(line).collect();
        let values = context! { title => "Authorization service", endpoints => Value::from(lines), auto_approve };
        self.render(StatusCode::OK, "index.html", values, "")
    }

    /// The endpoints for developers, from the OpenAPI document.
    pub fn docs(&self, operations: &[super::openapi::Shown]) -> HttpResponse {
        let line = |one: &super::openapi::Shown| {
            context! { method => &one.method, path => &one.path, summary => &one.summary, answers => &one.answers }
        };
        let operations: Vec<Value> = operations.iter().map(line).collect();
        self.render(StatusCode::OK, "docs.html", context! { title => "Endpoints", operations }, "")
    }

    /// A page that says one thing.
    pub fn message(&self, title: &str, text: &str) -> HttpResponse {
        self.render(StatusCode::OK, "message.html", context! { title, text }, "")
    }

    /// A page that says one thing, and where to go on: a path of ours, and words.
    pub fn message_and_link(&self, title: &str, text: &str, path: &str, words: &str) -> HttpResponse {
        let values = context! { title, text, link => context! { path, text => words } };
        self.render(StatusCode::OK, "message.html", values, "")
    }

    /// A page that says what went wrong, and what to do. `id` joins it with a line of the log; it may be empty.
    pub fn error(
        &self,
        status: StatusCode,
        title: &str,
        word: &str,
        text: &str,
        advice: &str,
        id: &str,
    ) -> HttpResponse {
        let values = context! { title, text => sentence(text), error => word, advice, request_id => id };
        self.render(status, "message.html", values, "")
    }
}

/// The buttons of providers.
fn upstreams(policy: &Policy) -> Vec<Value> {
    policy.upstreams.iter().map(|one| context! { name => &one.name, title => &one.title }).collect()
}

/// What a page may load and where its forms may lead. `form-action` holds for the redirects after a form too
/// (Chromium, CSP3 section 6.4.2), so a page whose answer goes to a client names that client's origin, and `https:` for
/// where the client's callback sends the person next.
fn policy(targets: &str, script: bool) -> String {
    let script = if script { " script-src 'self';" } else { "" };
    let targets = if targets.is_empty() { String::new() } else { format!(" https: {targets}") };
    format!(
        "default-src 'none';{script} style-src 'self'; form-action 'self'{targets}; frame-ancestors 'none'; base-uri 'none'"
    )
}

/// The source expression for where the client's answer goes. A host that CSP cannot write (an IPv6 address, or a
/// character that would start another directive) is widened to its scheme.
fn form_target(redirect: &ExactRedirect) -> String {
    let Some(parts) = Parts::of(redirect.as_str()) else { return String::new() };
    let plain = |authority: &&str| {
        !authority.is_empty() && authority.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:".contains(&b))
    };
    match parts.authority.filter(plain) {
        Some(authority) if matches!(parts.scheme, "http" | "https") => format!("{}://{authority}", parts.scheme),
        _ => format!("{}:", parts.scheme),
    }
}

/// The host of a client's metadata document, the one thing about it that cannot be made up (CIM-17).
fn document_host(client: &Client) -> Option<&str> {
    let described = client.origin == ClientOrigin::MetadataDocument;
    described.then(|| Parts::of(client.id.as_str()).and_then(|parts| parts.host())).flatten()
}

/// What a client calls itself, without the characters that make text run backwards or vanish.
fn shown_name(name: Option<&str>) -> String {
    let shown = plain(name.unwrap_or_default());
    if shown.trim().is_empty() { "an app without a name".to_owned() } else { shown }
}

/// A text without what cannot be seen.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !is_unseen(*c)).collect()
}

/// Characters that steer a terminal or the direction of text, or that show nothing.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        // Letters that show nothing.
        || matches!(c, '\u{ad}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}')
}

/// A refusal that only the person may know: a page.
pub fn refused(app: &App, endpoint: &'static str, refusal: &Refusal) -> HttpResponse {
    let id = app.next_request_id();
    reply::counted(app, endpoint, refusal);
    let word = refusal.code().as_str();
    tracing::info!(endpoint, id, error = word, cause = %reply::logged(refusal), "refused");
    let (title, advice) = in_words(refusal);
    let status = reply::status(refusal);
    let mut page = app.pages.error(status, title, word, &refusal.description(), advice, &id);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        page.headers_mut().insert(RETRY_AFTER, reply::TRY_AGAIN.into());
    }
    page
}

/// A failure at a page: a redirect where the client may know, else a page.
pub fn failed(app: &App, endpoint: &'static str, after_post: bool, failure: &Failure<Refused>) -> HttpResponse {
    match failure {
        Failure::Refused(Refused::Page(refusal)) => refused(app, endpoint, refusal),
        Failure::Refused(Refused::Client(to, refusal)) => {
            reply::counted(app, endpoint, refusal);
            tracing::info!(endpoint, error = refusal.code().as_str(), cause = %reply::logged(refusal), "refused");
            reply::redirect(after_post, &to.with_error(refusal, &app.policy.issuer))
        }
        other => broken(app, endpoint, other),
    }
}

/// A failure at a page whose refusals only the person may know.
pub fn failed_alone(app: &App, endpoint: &'static str, failure: &Failure) -> HttpResponse {
    match failure {
        Failure::Refused(refusal) => refused(app, endpoint, refusal),
        other => broken(app, endpoint, other),
    }
}

fn broken<E>(app: &App, endpoint: &'static str, failure: &Failure<E>) -> HttpResponse {
    let (status, code, text) = reply::fault(app, endpoint, failure);
    let mut page = app.pages.error(status, "Something went wrong here", code.as_str(), &text, "", "");
    if status == StatusCode::SERVICE_UNAVAILABLE {
        page.headers_mut().insert(RETRY_AFTER, reply::TRY_AGAIN.into());
    }
    page
}

/// Sets cookies on an answer.
pub fn with_cookies(mut response: HttpResponse, cookies: impl IntoIterator<Item = String>) -> HttpResponse {
    for cookie in cookies {
        if let Ok(value) = cookie.parse() {
            response.headers_mut().append(SET_COOKIE, value);
        }
    }
    response
}

/// Too many attempts: the seconds to wait.
pub fn too_many(app: &App, wait: u64) -> HttpResponse {
    let text = format!("there were too many failed attempts; try again in {wait} seconds");
    let word = "temporarily_unavailable";
    let mut page = app.pages.error(StatusCode::TOO_MANY_REQUESTS, "Please wait", word, &text, "", "");
    page.headers_mut().insert(RETRY_AFTER, wait.into());
    page
}

/// What to do when an app's request cannot be followed.
pub const ASK_THE_APP: &str =
    "Go back to the app and start again. If it happens again, tell the people who make the app.";

/// A refusal's title and advice.
fn in_words(refusal: &Refusal) -> (&'static str, &'static str) {
    let start_again = "Go back to the app and start again.";
    match refusal {
        Refusal::PageExpired => ("This page has expired", start_again),
        Refusal::PageAnswered => ("This page was answered already", start_again),
        Refusal::NotLoggedIn => ("You are not signed in any more", "Sign in, or go back to the app and start again."),
        Refusal::NotAdmin => ("This is for administrators", "Sign out, and sign in with an administrator's account."),
        Refusal::Passkey(_) => ("This passkey was not accepted", "Go back and try again."),
        Refusal::Upstream(fault) => upstream_in_words(fault),
        Refusal::PasswordOff => ("Passwords are not taken here", "Go back, and sign in with one of the buttons there."),
        Refusal::LoginTooOld => ("Sign in once more", "Open your account page again, and sign in there."),
        Refusal::Account(_) => ("This cannot be done", "Go back and try again."),
        Refusal::NothingChosen => ("Nothing was ticked", "Go back, and tick what the app may do, or deny."),
        Refusal::Forged => ("This form cannot be accepted", start_again),
        Refusal::SetupLink => (
            "This link does not work",
            "Somebody with a terminal can add an account: authz-service user add NAME --password-stdin",
        ),
        _ => ("The app's request cannot be followed", ASK_THE_APP),
    }
}

/// The same, where it is about a provider.
fn upstream_in_words(fault: &UpstreamFault) -> (&'static str, &'static str) {
    let again = "Go back to the app and start again.";
    let operator = "Ask the operator of this service to let you in, and tell what is written above.";
    match fault {
        UpstreamFault::Unknown => ("There is nothing here", ""),
        UpstreamFault::Down(_) => ("The provider cannot be used", "Try again in a moment, or sign in another way."),
        UpstreamFault::TooLong => ("You cannot sign in this way for this app", "Sign in another way."),
        UpstreamFault::Denied => {
            ("You are not signed in", "Start again from the app to try another time, or sign in another way.")
        }
        UpstreamFault::NotAllowed(_) | UpstreamFault::NoAccount(_) | UpstreamFault::NameTaken(_) => {
            ("You are not let in here", operator)
        }
        UpstreamFault::Resting => ("You are not let in here", "Ask the operator of this service."),
        UpstreamFault::Error(_)
        | UpstreamFault::Answer
        | UpstreamFault::Issuer
        | UpstreamFault::Code
        | UpstreamFault::IdToken(_)
        | UpstreamFault::Subject => ("You are not signed in", again),
    }
}

/// A text as a sentence: the first letter large, a full stop at the end.
pub fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_ascii_uppercase());
    let stop = (!text.ends_with('.')).then_some('.');
    first.into_iter().chain(characters).chain(stop).collect()
}

/// A time in the largest unit in which it is whole: `90 days`.
fn how_long(time: Seconds) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "day"), (3600, "hour"), (60, "minute")];
    let fits = |(unit, _): &&(u64, &str)| time.0 >= *unit && time.0.is_multiple_of(*unit);
    let (unit, name) = UNITS.iter().find(fits).copied().unwrap_or((1, "second"));
    let count = time.0 / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use shared::uri::RedirectUri;

    use super::*;

    #[test]
    fn the_form_target_is_the_clients_origin_and_cannot_break_out_of_the_policy() {
        for (uri, target) in [
            ("http://127.0.0.1:8080/cb?x=1", "http://127.0.0.1:8080"),
            ("https://a.example/cb", "https://a.example"),
            ("http://[::1]:8080/cb", "http:"),
            ("com.example.app:/cb", "com.example.app:"),
            ("com.example.app://a.example;script-src/cb", "com.example.app:"),
        ] {
            let uri = RedirectUri::register(uri, &[]).unwrap();
            assert_eq!(form_target(&ExactRedirect::find(&[uri], None).unwrap()), target);
        }
    }

    #[test]
    fn a_time_is_told_in_its_largest_whole_unit() {
        for (seconds, words) in
            [(7_776_000, "90 days"), (86_400, "1 day"), (3600, "1 hour"), (5400, "90 minutes"), (61, "61 seconds")]
        {
            assert_eq!(how_long(Seconds(seconds)), words);
        }
    }

    #[test]
    fn reg_12_a_hostile_name_is_escaped_and_cannot_turn_the_text_around() {
        let pages = Pages::new("", None).unwrap();
        let name = shown_name(Some("<script>\"'&\u{202e}evil\u{0}"));
        let template = pages.environment.get_template("login.html").unwrap();
        let page = template.render(context! { client => name, title => "x" }).unwrap();
        assert!(page.contains("<bdi>&lt;script&gt;&quot;&#x27;&amp;evil</bdi>"), "{page}");
        assert_eq!(shown_name(Some("\u{200b} ")), "an app without a name");
        assert_eq!(shown_name(None), "an app without a name");
    }
}
