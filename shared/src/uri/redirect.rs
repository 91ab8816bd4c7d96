//! Redirect URIs: which may be registered, and which of them a request means (OAuth 2.1 sections 2.3 and 4.1.1).

use serde::{Deserialize, Serialize};

use super::{Parts, has_forbidden_character, has_plain_host};
use crate::list::listed;
use crate::text::Text;

/// A redirect URI that a client registered. Contract: absolute, at most 2048 bytes, no character or part that two
/// parsers could read differently; `https`, loopback `http`, or a private-use scheme (RFC 8252 section 7).
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct RedirectUri(Text);

/// Why a redirect URI is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadRedirectUri {
    /// Longer than 2048 bytes.
    #[error("a redirect URI is at most 2048 bytes long")]
    TooLong,
    /// Control characters, space, or one of ``\ < > " { } ^ ` |``, or not ASCII.
    #[error("a redirect URI holds only the ASCII characters of RFC 3986")]
    Character,
    /// No scheme: relative or protocol-relative.
    #[error("a redirect URI is absolute")]
    Relative,
    /// OAuth 2.1 section 2.3.
    #[error("a redirect URI has no fragment")]
    Fragment,
    /// `@` before the host misleads people about where they go.
    #[error("a redirect URI has no user name")]
    User,
    /// OAuth 2.1 section 2.3.1: exact match only.
    #[error("a redirect URI has no wildcard")]
    Wildcard,
    /// No host, or a port that is none.
    #[error("a redirect URI has a host and, if any, a port from 1 to 65535")]
    Host,
    /// Plain `http` to another machine.
    #[error("http is for 127.0.0.1, [::1] and localhost only; use https")]
    PlainHttp,
    /// RFC 8252 section 7.1.
    #[error("a private-use scheme contains a dot, such as com.example.app, or is on the operator's list")]
    Scheme,
}

/// Schemes of well-known hosts without a dot, accepted by default.
pub const HOST_SCHEMES: [&str; 5] = ["cursor", "vscode", "vscode-insiders", "windsurf", "zed"];

impl RedirectUri {
    /// Checks a redirect URI that a client wants to register. `schemes` are the private-use schemes without a dot
    /// that the operator allows.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn register(text: &str, schemes: &[String]) -> Result<Self, BadRedirectUri> {
        if text.len() > 2048 {
            return Err(BadRedirectUri::TooLong);
        }
        if has_forbidden_character(text) {
            return Err(BadRedirectUri::Character);
        }
        let parts = Parts::of(text).ok_or(BadRedirectUri::Relative)?;
        if parts.fragment.is_some() {
            return Err(BadRedirectUri::Fragment);
        }
        if text.contains('*') {
            return Err(BadRedirectUri::Wildcard);
        }
        if parts.authority.is_some_and(|authority| authority.contains('@')) {
            return Err(BadRedirectUri::User);
        }
        Self::check_scheme(&parts, schemes)?;
        Ok(Self(text.into()))
    }

    fn check_scheme(parts: &Parts<'_>, schemes: &[String]) -> Result<(), BadRedirectUri> {
        match parts.scheme {
            "https" | "http" if !has_plain_host(parts) => Err(BadRedirectUri::Host),
            "https" => Ok(()),
            "http" if parts.is_loopback() => Ok(()),
            "http" => Err(BadRedirectUri::PlainHttp),
            _ if parts.authority == Some("") || (parts.authority.is_none() && parts.path.is_empty()) => {
                Err(BadRedirectUri::Host)
            }
            // A dot is what tells a private-use scheme (a reversed domain name) from `javascript` and its kin.
            scheme if scheme.contains('.') && !scheme.ends_with('.') => Ok(()),
            scheme if schemes.iter().any(|allowed| allowed == scheme) => Ok(()),
            _ => Err(BadRedirectUri::Scheme),
        }
    }

    /// The text as it was registered.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a person is shown of where codes go: the host of `http` and `https`, else the scheme with its colon. What
    /// looks like a host behind a private-use scheme decides nothing: `com.evil.app://bank.example/` goes to an app.
    pub fn shown_host(&self) -> String {
        match Parts::of(&self.0) {
            Some(Parts { scheme: "http" | "https", .. }) => {
                Parts::of(&self.0).and_then(|parts| parts.host()).unwrap_or_default().to_owned()
            }
            Some(parts) => format!("{}:", parts.scheme),
            None => self.0.to_string(),
        }
    }

    /// Whether codes go to this very machine, where any program may listen.
    pub fn is_loopback(&self) -> bool {
        Parts::of(&self.0).is_some_and(|parts| parts.scheme == "http" && parts.is_loopback())
    }

    /// Compares a requested redirect URI with this one: the same bytes, or, on loopback `http`, the same bytes but
    /// for the port (RFC 8252 section 7.3).
    fn matches(&self, requested: &str) -> bool {
        if *self.0 == *requested {
            return true;
        }
        let (Some(ours), Some(theirs)) = (Parts::of(&self.0), Parts::of(requested)) else { return false };
        ours.scheme == "http"
            && ours.is_loopback()
            && Self::register(requested, &[]).is_ok()
            && Parts { authority: ours.host(), ..ours } == Parts { authority: theirs.host(), ..theirs }
    }
}

listed!(RedirectUri);

/// Evidence that a redirect URI belongs to the client: where answers, and errors, may be sent.
///
/// Only [`ExactRedirect::find`] makes one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExactRedirect(Text);

/// Why no redirect URI could be chosen. Nothing may be sent anywhere then (RFC 6749 section 4.1.2.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoRedirect {
    /// None was named, and the client has none or several.
    Missing,
    /// The one that was named is not registered.
    Unregistered,
}

impl ExactRedirect {
    /// The registered redirect URI that a request means. Without one in the request the client's only one is used
    /// (OAuth 2.1 section 4.1.1).
    ///
    /// # Errors
    /// When none fits.
    pub fn find(registered: &[RedirectUri], requested: Option<&str>) -> Result<Self, NoRedirect> {
        match (requested, registered) {
            (None, [only]) => Ok(Self(only.0.clone())),
            (None, _) => Err(NoRedirect::Missing),
            (Some(text), _) if registered.iter().any(|uri| uri.matches(text)) => Ok(Self(text.into())),
            (Some(_), _) => Err(NoRedirect::Unregistered),
        }
    }

    /// The URI to send the browser to, before parameters are added.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URI as a value, to show and to keep.
    pub fn to_uri(&self) -> RedirectUri {
        RedirectUri(self.0.clone())
    }

    /// The URI with parameters appended to whatever query it has (RFC 6749 section 4.1.2).
    pub fn with(&self, parameters: &[(&str, &str)]) -> String {
        let mark = match self.0.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some(_) => "&",
        };
        format!("{}{mark}{}", self.0, crate::oauth::form::encode(parameters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refuses(text: &str, why: BadRedirectUri) {
        assert_eq!(RedirectUri::register(text, &[]), Err(why), "{text}");
    }

    #[test]
    fn reg_04_dangerous_schemes_are_refused() {
        for scheme in ["javascript", "data", "vbscript", "file", "about", "blob", "mailto", "ftp", "ws", "JavaScript"] {
            refuses(&format!("{scheme}:x"), BadRedirectUri::Scheme);
            refuses(&format!("{scheme}://x/cb"), BadRedirectUri::Scheme);
        }
    }

    #[test]
    fn reg_05_to_09_a_redirect_uri_follows_contract_c3() {
        refuses("https://a.example/cb#f", BadRedirectUri::Fragment);
        refuses("https://a.example/cb#", BadRedirectUri::Fragment);
        for relative in ["/cb", "//x.example/cb", "app.example/cb", ""] {
            refuses(relative, BadRedirectUri::Relative);
        }
        for plain in [
            "http://a.example/cb",
            "http://127.0.0.2/cb",
            "http://localhost.example/cb",
            "http://0.0.0.0/cb",
            "http://LOCALHOST/cb",
        ] {
            refuses(plain, BadRedirectUri::PlainHttp);
        }
        refuses("https://*.example.org/cb", BadRedirectUri::Wildcard);
        refuses("https://example.org/*", BadRedirectUri::Wildcard);
        refuses("myapp:/cb", BadRedirectUri::Scheme);
        refuses("https://u@a.example/cb", BadRedirectUri::User);
        refuses("https://a.example@evil.example/cb", BadRedirectUri::User);
        for host in [
            "com.example.app:",
            "com.example.app:///cb",
            "https://.../cb",
            "https://[zz]/cb",
            "https://a:b:80/cb",
            "https://a%00.b/cb",
            "https://a,b;c/cb",
            "https:///cb",
            "https://:443/cb",
            "https:a.example",
            "http://localhost:0/cb",
            "http://localhost:05/cb",
            "https://a.example:0443/cb",
            "http://localhost:99999/cb",
            "http://localhost:x/cb",
        ] {
            refuses(host, BadRedirectUri::Host);
        }
        for character in [
            "https://a.example/c b",
            "https://a.example\\@b/cb",
            "https://a.example/\u{e4}",
            "https://a.example/cb\n",
            "https://a.example/{x}",
            "https://a.example/a|b",
            "https://a.example/a^b",
            "https://a.example/`",
        ] {
            refuses(character, BadRedirectUri::Character);
        }
        refuses(&format!("https://a.example/{}", "x".repeat(2031)), BadRedirectUri::TooLong);
        for good in [
            "https://a.example/cb?x=1",
            "http://127.0.0.1/cb",
            "http://[::1]:8080/cb",
            "http://localhost",
            "com.example.app:/cb",
            "com.example.app://x/cb",
        ] {
            assert!(RedirectUri::register(good, &[]).is_ok(), "{good}");
        }
        assert!(RedirectUri::register(&format!("https://a.example/{}", "x".repeat(2030)), &[]).is_ok());
        assert!(RedirectUri::register("cursor://anysphere.cursor-mcp/oauth/callback", &["cursor".into()]).is_ok());
    }

    #[test]
    fn ui_11_a_host_is_shown_only_where_it_decides() {
        for (uri, shown) in [
            ("https://a.example:8443/cb", "a.example"),
            ("http://127.0.0.1/cb", "127.0.0.1"),
            ("com.evil.app://bank.example/cb", "com.evil.app:"),
            ("com.example.app:/cb", "com.example.app:"),
        ] {
            assert_eq!(RedirectUri::register(uri, &[]).unwrap().shown_host(), shown);
        }
    }

    #[test]
    fn auz_06_only_the_port_of_a_loopback_uri_may_differ() {
        let find = |registered: &str, requested: &str| {
            ExactRedirect::find(&[RedirectUri::register(registered, &[]).unwrap()], Some(requested)).is_ok()
        };
        for host in ["127.0.0.1", "[::1]", "localhost"] {
            assert!(find(&format!("http://{host}/cb"), &format!("http://{host}:49152/cb")), "{host}");
            assert!(find(&format!("http://{host}:1/cb"), &format!("http://{host}/cb")), "{host}");
            assert!(!find(&format!("http://{host}/cb"), &format!("http://{host}:49152/cb2")), "{host}");
            assert!(!find(&format!("http://{host}/cb"), &format!("http://{host}:49152/cb?x")), "{host}");
            assert!(!find(&format!("http://{host}/cb"), &format!("http://{host}:70000/cb")), "{host}");
            assert!(!find(&format!("http://{host}/cb"), &format!("http://u@{host}:1/cb")), "{host}");
            assert!(!find(&format!("http://{host}/cb"), &format!("https://{host}:1/cb")), "{host}");
        }
        assert!(!find("http://127.0.0.1/cb", "http://localhost/cb"));
        assert!(!find("https://a.example/cb", "https://a.example:8443/cb"));
        assert!(!find("https://a.example/cb", "https://A.example/cb"));
        assert!(!find("https://a.example/cb", "https://a.example/cb/"));
        assert!(!find("https://a.example/cb", "https://a.example/c%62"));
    }

    #[test]
    fn auz_04_05_without_a_redirect_uri_the_only_one_is_used() {
        let uri = |text: &str| RedirectUri::register(text, &[]).unwrap();
        let one = [uri("https://a.example/1")];
        let two = [uri("https://a.example/1"), uri("https://a.example/2")];
        assert_eq!(ExactRedirect::find(&one, None).unwrap().as_str(), "https://a.example/1");
        assert_eq!(ExactRedirect::find(&two, None), Err(NoRedirect::Missing));
        assert_eq!(ExactRedirect::find(&[], None), Err(NoRedirect::Missing));
        assert_eq!(ExactRedirect::find(&two, Some("https://a.example/3")), Err(NoRedirect::Unregistered));
    }

    #[test]
    fn auz_21_parameters_are_added_to_the_query_that_is_there() {
        let with = |text: &str| {
            let uri = RedirectUri::register(text, &[]).unwrap();
            ExactRedirect::find(&[uri], None).unwrap().with(&[("code", "a b"), ("state", "x&y")])
        };
        assert_eq!(with("https://a.example/cb"), "https://a.example/cb?code=a+b&state=x%26y");
        assert_eq!(with("https://a.example/cb?k=v"), "https://a.example/cb?k=v&code=a+b&state=x%26y");
        assert_eq!(with("https://a.example/cb?"), "https://a.example/cb?code=a+b&state=x%26y");
    }
}
