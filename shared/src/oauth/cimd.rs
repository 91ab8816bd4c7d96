//! Clients whose name is a URL: Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;
use std::str::FromStr;

use crate::address::is_public;
use crate::uri::{Parts, has_forbidden_character, is_plain_host, is_port};

/// The URL of a client's metadata document, which is the client's id: `https`, a host that every parser reads the same,
/// a path of more than `/`, no dot segments, no fragment, no user (section 3 of the draft). Compared byte for byte.
///
/// An address in place of a name must be a public one, so that it can be refused before anything is connected.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct DocumentUrl(String);

/// Why a text is no URL of a metadata document.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotADocumentUrl {
    /// Section 3: `https` only.
    #[error("the client_id is not an https URL")]
    Scheme,
    /// Not a URL, too long, or with characters that parsers disagree about.
    #[error("the client_id is no URL of at most 2048 plain characters with a host")]
    Form,
    /// Section 3: no fragment, no user.
    #[error("a client_id that is a URL has no fragment and no user name")]
    Part,
    /// Section 3: a path, without `.` and `..`.
    #[error("a client_id that is a URL has a path, and no dot segments in it")]
    Path,
    /// Section 8.6: an address that is not on the public internet.
    #[error("the client_id does not lead to the public internet")]
    Address,
}

impl DocumentUrl {
    /// Checks a URL. With `local`, for development, `http` to this machine and private addresses are URLs too.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn parse(text: &str, local: bool) -> Result<Self, NotADocumentUrl> {
        if text.len() > 2048 || has_forbidden_character(text) {
            return Err(NotADocumentUrl::Form);
        }
        let parts = Parts::of(text).ok_or(NotADocumentUrl::Scheme)?;
        if parts.scheme != "https" && !(local && parts.scheme == "http" && parts.is_loopback()) {
            return Err(NotADocumentUrl::Scheme);
        }
        let authority = parts.authority.ok_or(NotADocumentUrl::Form)?;
        if authority.contains('@') || parts.fragment.is_some() {
            return Err(NotADocumentUrl::Part);
        }
        let host = parts.host().filter(|host| is_plain_host(host)).ok_or(NotADocumentUrl::Form)?;
        if !parts.port().is_none_or(is_port) {
            return Err(NotADocumentUrl::Form);
        }
        if parts.path.len() < 2 || parts.path.split('/').any(is_dot_segment) {
            return Err(NotADocumentUrl::Path);
        }
        match literal(host) {
            Literal::Name => {}
            Literal::Address(address) if local || is_public(address) => {}
            Literal::Address(_) | Literal::Number => return Err(NotADocumentUrl::Address),
        }
        Ok(Self(text.to_owned()))
    }

    /// The URL as it travels.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host, as it is written; brackets of an IPv6 address stay.
    pub fn host(&self) -> &str {
        Parts::of(&self.0).and_then(|parts| parts.host()).unwrap_or_default()
    }

    /// Whether the host is `domain` or below it.
    pub fn is_within(&self, domain: &str) -> bool {
        let host = self.host().trim_end_matches('.').to_ascii_lowercase();
        let domain = domain.trim_end_matches('.').to_ascii_lowercase();
        host.strip_suffix(&domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// Whether it lies at the same host and port as another URL.
    pub fn is_at(&self, url: &str) -> bool {
        let place = |url: &str| {
            let parts = Parts::of(url)?;
            let usual = if parts.scheme == "https" { "443" } else { "80" };
            let host = parts.host()?.trim_end_matches('.').to_ascii_lowercase();
            Some((host, parts.port().unwrap_or(usual).to_owned()))
        };
        place(&self.0) == place(url)
    }
}

impl FromStr for DocumentUrl {
    type Err = NotADocumentUrl;

    fn from_str(text: &str) -> Result<Self, NotADocumentUrl> {
        Self::parse(text, false)
    }
}

impl fmt::Display for DocumentUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `.` or `..`, also percent-encoded: URL types remove both.
fn is_dot_segment(segment: &str) -> bool {
    matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

enum Literal {
    Name,
    Address(IpAddr),
    /// What URL types read as an IPv4 address, and people do not: `0x7f.1`, `2130706433`, `127.1`.
    Number,
}

fn literal(host: &str) -> Literal {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().map_or(Literal::Number, |address| Literal::Address(address.into()));
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Literal::Address(address.into());
    }
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let hexadecimal = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    if hexadecimal || last.bytes().all(|b| b.is_ascii_digit()) { Literal::Number } else { Literal::Name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, answer: Result<(), NotADocumentUrl>) {
        assert_eq!(text.parse::<DocumentUrl>().map(|_| ()), answer, "{text}");
    }

    #[test]
    fn cim_11_a_client_id_that_is_a_url_has_a_path_and_nothing_that_parsers_read_differently() {
        use NotADocumentUrl::{Form, Part, Path, Scheme};
        for good in [
            "https://app.example/client.json",
            "https://app.example:8443/a/b/client.json?v=1",
            "https://8.8.8.8/client.json",
            "https://[2606:4700::1]/client.json",
            "https://app.example/a..b/.well-known",
        ] {
            check(good, Ok(()));
        }
        for (bad, why) in [
            ("http://app.example/client.json", Scheme),
            ("http://127.0.0.1/client.json", Scheme),
            ("HTTPS://app.example/client.json", Scheme),
            ("ftp://app.example/client.json", Scheme),
            ("client.json", Scheme),
            ("https:client.json", Form),
            ("https:///client.json", Form),
            ("https://app.example", Path),
            ("https://app.example/", Path),
            ("https://app.example?x", Path),
            ("https://app.example/a/../client.json", Path),
            ("https://app.example/./client.json", Path),
            ("https://app.example/a/%2e%2E/client.json", Path),
            ("https://app.example/a/.%2e", Path),
            ("https://app.example/client.json#f", Part),
            ("https://app.example/client.json#", Part),
            ("https://user@app.example/client.json", Part),
            ("https://user:word@app.example/client.json", Part),
            ("https://app.example:0/client.json", Form),
            ("https://app.example:x/client.json", Form),
            ("https://app.example/client json", Form),
            ("https://app.example\\@evil.example/client.json", Form),
            ("https://\u{e4}pp.example/client.json", Form),
            ("https://app%2eexample/client.json", Form),
        ] {
            check(bad, Err(why));
        }
        check(&format!("https://a.example/{}", "x".repeat(2030)), Ok(()));
        check(&format!("https://a.example/{}", "x".repeat(2031)), Err(Form));
    }

    #[test]
    fn cim_02_an_address_that_is_not_public_is_refused_before_anything_is_connected() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "0",
            "127.0.0.1.",
            "10.0.0.1",
            "169.254.169.254",
            "[::1]",
            "[::]",
            "[fe80::1]",
            "[fd00::1]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::7f00:1]",
        ] {
            check(&format!("https://{host}/client.json"), Err(NotADocumentUrl::Address));
        }
    }

    #[test]
    fn development_allows_this_machine_and_nothing_else_over_http() {
        for good in ["http://127.0.0.1:8080/c", "http://localhost/c", "https://10.0.0.1/c", "https://app.example/c"] {
            assert!(DocumentUrl::parse(good, true).is_ok(), "{good}");
        }
        for bad in ["http://app.example/c", "http://10.0.0.1/c", "http://127.0.0.1/", "https://127.1/c"] {
            assert!(DocumentUrl::parse(bad, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_domain_holds_what_is_below_it_and_a_place_is_host_and_port() {
        let url: DocumentUrl = "https://A.app.example/c".parse().unwrap();
        for (domain, within) in [
            ("app.example", true),
            ("APP.example.", true),
            ("a.app.example", true),
            ("pp.example", false),
            ("b", false),
        ] {
            assert_eq!(url.is_within(domain), within, "{domain}");
        }
        assert!(url.is_at("https://a.app.example:443/other"));
        assert!(!url.is_at("https://a.app.example:444/c") && !url.is_at("http://a.app.example/c"));
    }
}
