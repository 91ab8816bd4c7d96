//! What a server asks of the person behind us: a page that it wants opened (MCP elicitation, URL mode).
//!
//! The whole URL is shown with its host, the person is asked, and only then a browser is started; nothing is fetched by
//! us. A URL that no browser should get is declined without asking.

use std::io::{self, BufRead, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use rmcp::ClientHandler;
use rmcp::RoleClient;
use rmcp::model::{
    ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationCapability,
    ErrorData, UrlElicitationCapability,
};
use rmcp::service::RequestContext;
use shared::browser;
use shared::uri::Parts;
use tokio::sync::{Mutex, oneshot};

use crate::print::Printer;

/// The longest URL that a person can be expected to look at, in bytes.
const LONGEST_URL: usize = 2048;

/// The longest reason that is shown, in characters.
const LONGEST_MESSAGE: usize = 500;

/// Whether servers may have a page opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Elicit {
    /// They may ask when somebody is at the terminal
    #[default]
    Auto,
    /// They may ask; the answer is read from standard input
    Ask,
    /// They may not
    Off,
}

impl Elicit {
    fn is_on(self) -> bool {
        match self {
            Self::Auto => io::stdin().is_terminal() && io::stderr().is_terminal(),
            Self::Ask => true,
            Self::Off => false,
        }
    }
}

/// Us, as a server meets us.
#[derive(Debug)]
pub struct Us {
    config: ClientConfig,
    /// Who asks the person; nobody when servers may not.
    asker: Option<Asker>,
}

#[derive(Debug)]
struct Asker {
    out: Printer,
    /// One question at a time.
    turn: Mutex<()>,
    has_asked: AtomicBool,
}

impl Us {
    /// A client of this name and version that says what it can do.
    pub fn new(mut config: ClientConfig, elicit: Elicit, out: Printer) -> Self {
        let asker = elicit.is_on().then(|| Asker { out, turn: Mutex::default(), has_asked: AtomicBool::new(false) });
        if asker.is_some() {
            let urls = ElicitationCapability::new().with_url(UrlElicitationCapability::new());
            let mut capabilities = ClientCapabilities::default();
            capabilities.elicitation = Some(urls);
            config.capabilities = capabilities;
        }
        Self { config, asker }
    }

    /// Whether the person was asked something.
    pub fn has_asked(&self) -> bool {
        self.asker.as_ref().is_some_and(|asker| asker.has_asked.load(Ordering::Relaxed))
    }
}

impl ClientHandler for Us {
    fn get_info(&self) -> ClientConfig {
        self.config.clone()
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let (Some(asker), ElicitRequestParams::UrlElicitationParams { message, url, .. }) = (&self.asker, request)
        else {
            return Err(ErrorData::invalid_params("only URLs can be shown here", None));
        };
        let action = tokio::select! {
            action = asker.ask(&message, &url) => action,
            () = context.ct.cancelled() => ElicitationAction::Cancel,
        };
        Ok(ElicitResult::new(action))
    }
}

impl Asker {
    async fn ask(&self, message: &str, url: &str) -> ElicitationAction {
        let _turn = self.turn.lock().await;
        let Some(words) = question(message, url) else {
            self.out.note("The server wanted a page opened whose address no browser should get. It was declined.");
            return ElicitationAction::Decline;
        };
        self.has_asked.store(true, Ordering::Relaxed);
        self.out.note(&words);
        match answer().await.as_deref().map(str::trim) {
            Some("y" | "Y" | "yes" | "Yes" | "YES") => {}
            Some(_) => return ElicitationAction::Decline,
            None => return ElicitationAction::Cancel,
        }
        let variable = std::env::var("BROWSER").ok();
        if browser::open(url, variable.as_deref()).is_err() {
            self.out.note("No browser could be started. Open the page in one yourself.");
        }
        ElicitationAction::Accept
    }
}

/// A line from standard input; `None` at its end. On a thread of its own, which a command that ends does not wait for.
async fn answer() -> Option<String> {
    let (tell, told) = oneshot::channel();
    let read = move || {
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        let _ = tell.send(read.ok().filter(|length| *length > 0).map(|_| line));
    };
    std::thread::Builder::new().name("answer".to_owned()).spawn(read).ok()?;
    told.await.ok().flatten()
}

/// What the person is asked; `None` for a URL that is not opened whoever says yes.
fn question(message: &str, url: &str) -> Option<String> {
    let parts = Parts::of(url).filter(|_| url.len() <= LONGEST_URL && browser::is_for_browsers(url))?;
    let host = parts.host().filter(|host| !host.is_empty())?;
    let mut warnings = String::new();
    let mut warn = |words: &str| warnings.push_str(&format!("  Careful: {words}\n"));
    if host.split('.').any(|label| label.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--"))) {
        warn("the host's name is written in another script (punycode); it may only look like one that you know.");
    }
    if parts.authority.is_some_and(|authority| authority.contains('@')) {
        warn("what stands before the @ is no host, whatever it looks like.");
    }
    if parts.scheme.eq_ignore_ascii_case("http") && !parts.is_loopback() {
        warn("the page is not encrypted on its way (http).");
    }
    let message: String = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let message: String = message.chars().take(LONGEST_MESSAGE).collect();
    Some(format!(
        "The server wants you to open a page. It says: \"{message}\"\n\n  {url}\n\n  Host:    {host}\n{warnings}\nOpen it in \
         a browser? [y/N]"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dsc_15_the_whole_url_and_its_host_are_shown_and_what_may_deceive_is_named() {
        for (url, host, warned) in [
            ("https://login.example/device?user_code=ABCD", "login.example", None),
            ("http://localhost:3000/device", "localhost", None),
            ("http://127.0.0.1:1/", "127.0.0.1", None),
            ("https://xn--pple-43d.com/x", "xn--pple-43d.com", Some("punycode")),
            ("https://a.XN--pple-43d.com/x", "a.XN--pple-43d.com", Some("punycode")),
            ("https://bank.example@evil.example/", "evil.example", Some("before the @")),
            ("http://login.example/", "login.example", Some("not encrypted")),
        ] {
            let words = question("Sign\n\nin", url).unwrap();
            assert!(words.contains(&format!("\n  {url}\n")) && words.contains("\"Sign in\""), "{words}");
            assert!(words.contains(&format!("Host:    {host}\n")), "{words}");
            assert_eq!(words.contains("Careful"), warned.is_some(), "{words}");
            assert!(warned.is_none_or(|warned| words.contains(warned)), "{words}");
        }
        assert!(question(&"x".repeat(10_000), "https://a.example/").unwrap().len() < 1000);
    }

    #[test]
    fn dsc_15_what_no_browser_should_get_is_not_even_asked_about() {
        let long = format!("https://a.example/{}", "x".repeat(3000));
        for url in [
            "",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "data:text/html,x",
            "https://",
            "https:///x",
            "ssh://a.example",
            "https://a.example/ b",
            "https://a.example/\u{e4}",
            "https://a.example/\"x",
            "-new-window",
            &long,
        ] {
            assert_eq!(question("m", url), None, "{url}");
        }
    }
}
