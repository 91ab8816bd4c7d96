//! URIs that are kept and compared as text: issuers, resources, redirect URIs.
//!
//! No URL type touches them: `http://localhost:3000` must not become `http://localhost:3000/` (RFC 8414
//! section 3.3, RFC 9207 section 2.4), and what a matcher and a browser read differently is how codes leak.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::list::listed;
use crate::text::{Text, text_on_the_wire};

/// The parts of a URI (RFC 3986 section 3), borrowed from its text and not normalised.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Parts<'a> {
    /// Before the first `:`.
    pub scheme: &'a str,
    /// Between `//` and the next `/`, `?`, `#` or the end.
    pub authority: Option<&'a str>,
    /// After the authority, up to `?` or `#`.
    pub path: &'a str,
    /// After `?`.
    pub query: Option<&'a str>,
    /// After `#`.
    pub fragment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// Splits an absolute URI; `None` when there is no valid scheme.
    pub fn of(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        let first = scheme.bytes().next()?;
        let fits =
            first.is_ascii_alphabetic() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !fits {
            return None;
        }
        let (rest, fragment) = split_at(rest, '#');
        let (rest, query) = split_at(rest, '?');
        let (authority, path) = match rest.strip_prefix("//") {
            None => (None, rest),
            Some(rest) => {
                let end = rest.find('/').unwrap_or(rest.len());
                (Some(&rest[..end]), &rest[end..])
            }
        };
        Some(Self { scheme, authority, path, query, fragment })
    }

    /// The authority without user information and port; brackets of an IPv6 address stay.
    pub fn host(&self) -> Option<&'a str> {
        let authority = self.authority?;
        let after_user = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Some(split_port(after_user).0)
    }

    /// The port's digits, if written.
    pub fn port(&self) -> Option<&'a str> {
        split_port(self.authority?).1
    }

    /// Whether the host is this machine, spelt in one of the three ways that OAuth clients use.
    pub fn is_loopback(&self) -> bool {
        matches!(self.host(), Some("127.0.0.1" | "[::1]" | "localhost"))
    }
}

fn split_at(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// Splits `host:port`; a `:` inside brackets belongs to the host.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rfind(':') {
        Some(at) if !authority[at..].contains(']') => (&authority[..at], Some(&authority[at + 1..])),
        _ => (authority, None),
    }
}

/// Whether a text is a port that can be connected to: 1 to 65535, digits only, and no `0` before them, which URL parsers
/// take away.
pub(crate) fn is_port(text: &str) -> bool {
    let plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    plain && text.parse::<u16>().is_ok()
}

/// Characters that RFC 3986 leaves out of URIs, and with which parsers are played against each other.
pub(crate) fn has_forbidden_character(text: &str) -> bool {
    text.bytes().any(|b| !b.is_ascii_graphic() || br#"\<>"{}^`|"#.contains(&b))
}

macro_rules! uri_text {
    ($name:ident, $error:ident) => {
        impl $name {
            /// The text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                Self::check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(uri: $name) -> Self {
                uri.0.into()
            }
        }

        text_on_the_wire!($name, "a URI");

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// An authorization server's name: an `https` URL, or `http` on this machine, without query, fragment and user.
///
/// Compared byte for byte (RFC 8414 section 3.3, RFC 9207 section 2.4).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Issuer(Text);

/// Why a text is no issuer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotAnIssuer {
    /// RFC 8414 section 2.
    #[error("an issuer is an https URL (http only on 127.0.0.1, [::1] or localhost)")]
    Scheme,
    /// RFC 8414 section 2: no query, no fragment; credentials have no place in a name.
    #[error("an issuer has no query, no fragment and no user name")]
    Part,
    /// Anything else that is no URL.
    #[error("an issuer is a URL of at most 2048 visible ASCII characters with a host")]
    Form,
}

impl Issuer {
    fn check(text: &str) -> Result<(), NotAnIssuer> {
        if text.len() > 2048 || has_forbidden_character(text) {
            return Err(NotAnIssuer::Form);
        }
        let parts = Parts::of(text).ok_or(NotAnIssuer::Form)?;
        let authority = parts.authority.ok_or(NotAnIssuer::Form)?;
        if parts.query.is_some() || parts.fragment.is_some() || authority.contains('@') {
            return Err(NotAnIssuer::Part);
        }
        if !parts.host().is_some_and(is_plain_host) || !parts.port().is_none_or(is_port) {
            return Err(NotAnIssuer::Form);
        }
        match parts.scheme {
            "https" => Ok(()),
            "http" if parts.is_loopback() => Ok(()),
            _ => Err(NotAnIssuer::Scheme),
        }
    }

    /// The issuer's parts.
    pub fn parts(&self) -> Parts<'_> {
        Parts::of(&self.0).unwrap_or(Parts { scheme: "https", authority: None, path: "", query: None, fragment: None })
    }

    /// An endpoint below the issuer: `path` begins with `/`.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0.trim_end_matches('/'))
    }
}

uri_text!(Issuer, NotAnIssuer);

/// A protected resource's name (RFC 8707 section 2): `https` URL, `http` on this machine, or `urn:mcp:stdio:NAME`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Resource(Text);

/// Why a text is no resource.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a resource is an https URL (http only on this machine) or urn:mcp:stdio:NAME, without fragment")]
pub struct NotAResource;

/// What the names of stdio servers begin with.
const STDIO_PREFIX: &str = "urn:mcp:stdio:";

impl Resource {
    /// The resource of the stdio server called `name`: 1 to 64 of ASCII letters, digits and `. _ -`.
    ///
    /// # Errors
    /// When the name has another form.
    pub fn stdio(name: &str) -> Result<Self, NotAResource> {
        format!("{STDIO_PREFIX}{name}").parse()
    }

    /// The stdio server's name, if it is one.
    pub fn stdio_name(&self) -> Option<&str> {
        self.0.get(..STDIO_PREFIX.len()).filter(|prefix| prefix.eq_ignore_ascii_case(STDIO_PREFIX))?;
        Some(&self.0[STDIO_PREFIX.len()..])
    }

    /// Whether two texts name one resource: scheme and host compare without case, the rest byte for byte
    /// (MCP authorization, "Canonical Server URI"; for URNs RFC 8141 section 3.1).
    pub fn names_the_same(&self, other: &Self) -> bool {
        self.case_folded() == other.case_folded()
    }

    /// The same resource with scheme and host in lower case.
    pub fn case_folded(&self) -> Self {
        if let Some(name) = self.stdio_name() {
            return Self(format!("{STDIO_PREFIX}{name}").into());
        }
        let authority_end = self.0.find("://").map_or(0, |at| {
            let start = at + 3;
            self.0[start..].find(['/', '?']).map_or(self.0.len(), |end| start + end)
        });
        let (head, tail) = self.0.split_at(authority_end);
        Self(format!("{}{tail}", head.to_ascii_lowercase()).into())
    }

    fn check(text: &str) -> Result<(), NotAResource> {
        if text.len() > 2048 || has_forbidden_character(text) {
            return Err(NotAResource);
        }
        let parts = Parts::of(text).ok_or(NotAResource)?;
        if parts.fragment.is_some() {
            return Err(NotAResource);
        }
        let fits = match parts.scheme.to_ascii_lowercase().as_str() {
            "https" => has_plain_host(&parts),
            "http" => has_plain_host(&parts) && parts.host().is_some_and(is_loopback_name),
            "urn" => {
                text.get(..STDIO_PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(STDIO_PREFIX))
                    && is_server_name(&text[STDIO_PREFIX.len()..])
            }
            _ => false,
        };
        if fits { Ok(()) } else { Err(NotAResource) }
    }
}

fn has_plain_host(parts: &Parts<'_>) -> bool {
    parts.authority.is_some_and(|authority| !authority.contains('@'))
        && parts.host().is_some_and(is_plain_host)
        && parts.port().is_none_or(is_port)
}

/// A name or address that every parser reads the same: letters, digits, `. _ -` with a letter or digit among them, or an
/// IPv6 address in brackets.
pub(crate) fn is_plain_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<core::net::Ipv6Addr>().is_ok(),
        None => {
            host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
                && host.bytes().any(|b| b.is_ascii_alphanumeric())
        }
    }
}

fn is_loopback_name(host: &str) -> bool {
    ["127.0.0.1", "[::1]", "localhost"].iter().any(|name| host.eq_ignore_ascii_case(name))
}

fn is_server_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

uri_text!(Resource, NotAResource);
listed!(Resource);

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

    #[test]
    fn an_issuer_is_https_or_this_machine_and_nothing_else() {
        for (text, answer) in [
            ("https://as.example", Ok(())),
            ("https://as.example/tenant", Ok(())),
            ("http://localhost:3000", Ok(())),
            ("http://127.0.0.1:3000", Ok(())),
            ("http://[::1]:3000", Ok(())),
            ("http://as.example", Err(NotAnIssuer::Scheme)),
            ("ftp://as.example", Err(NotAnIssuer::Scheme)),
            ("https://as.example?x", Err(NotAnIssuer::Part)),
            ("https://as.example#x", Err(NotAnIssuer::Part)),
            ("https://u@as.example", Err(NotAnIssuer::Part)),
            ("https://", Err(NotAnIssuer::Form)),
            ("https://as.example:0", Err(NotAnIssuer::Form)),
            ("https://as.example:0443", Err(NotAnIssuer::Form)),
            ("as.example", Err(NotAnIssuer::Form)),
            ("https://as.example/ x", Err(NotAnIssuer::Form)),
        ] {
            assert_eq!(text.parse::<Issuer>().map(|_| ()), answer, "{text}");
        }
    }

    #[test]
    fn a_resource_keeps_its_text_and_compares_scheme_and_host_without_case() {
        let same = |a: &str, b: &str| a.parse::<Resource>().unwrap().names_the_same(&b.parse().unwrap());
        assert!(same("HTTPS://Mcp.Example/Mcp", "https://mcp.example/Mcp"));
        assert!(!same("https://mcp.example/Mcp", "https://mcp.example/mcp"));
        assert!(!same("https://mcp.example", "https://mcp.example/"));
        assert!(same("URN:MCP:stdio:a", "urn:mcp:stdio:a"));
        assert!(!same("urn:mcp:stdio:a", "urn:mcp:stdio:A"));
        assert_eq!("HTTPS://A/".parse::<Resource>().unwrap().as_str(), "HTTPS://A/");
        for bad in [
            "mcp.example",
            "https://a#f",
            "urn:mcp:stdio:",
            "urn:mcp:stdio:a/b",
            "urn:isbn:1",
            "http://a.example",
            "https://u@a",
        ] {
            assert!(bad.parse::<Resource>().is_err(), "{bad}");
        }
    }

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
