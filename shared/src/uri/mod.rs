//! URIs that are kept and compared as text: issuers, resources, redirect URIs.
//!
//! No URL type touches them: `http://localhost:3000` must not become `http://localhost:3000/` (RFC 8414
//! section 3.3, RFC 9207 section 2.4), and what a matcher and a browser read differently is how codes leak.

mod redirect;

use std::fmt;
use std::str::FromStr;

pub use self::redirect::{BadRedirectUri, ExactRedirect, HOST_SCHEMES, NoRedirect, RedirectUri};
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
}
