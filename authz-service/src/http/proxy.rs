//! Who really asks, when a proxy stands in front. Only proxies that the operator named are believed.

use std::net::IpAddr;
use std::str::FromStr;

use actix_web::http::header::HeaderMap;

/// An address, or a network: `10.0.0.5`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Not an address or network.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it takes an address such as 10.0.0.5, or a network such as 10.0.0.0/8")]
pub struct NotANetwork;

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| NotANetwork))?;
        // The whole world is no proxy: anybody could then say to be anybody.
        if bits == 0 || bits > most { Err(NotANetwork) } else { Ok(Self { address, bits }) }
    }
}

impl Network {
    fn holds(self, other: IpAddr) -> bool {
        match (self.address, other.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => (ours.to_bits() ^ other.to_bits()) >> (32 - self.bits) == 0,
            (IpAddr::V6(ours), IpAddr::V6(other)) => (ours.to_bits() ^ other.to_bits()) >> (128 - self.bits) == 0,
            _ => false,
        }
    }
}

/// In which header the proxy says whom it speaks for. It must be the one that the proxy writes: it passes others on
/// as the client sent them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`, which most proxies write.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The proxies that are believed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Proxies {
    /// Where they are.
    pub networks: Vec<Network>,
    /// What they write.
    pub header: ProxyHeader,
}

impl Proxies {
    /// Whether an address is one of them.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.holds(address))
    }

    /// Whether a peer may ask at all where only proxies are meant to: this machine may, and health is for those who watch.
    pub fn lets_in(&self, peer: Option<IpAddr>, path: &str) -> bool {
        let known = |peer: IpAddr| peer.to_canonical().is_loopback() || self.trusts(peer);
        peer.is_some_and(known) || ["/health", "/ready"].contains(&path)
    }

    /// Who asks: the peer itself, or, when that is a proxy of ours, whom it names. Each proxy adds to the right; what
    /// is left of the first address that is none of ours was written by strangers.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.trusts(peer) {
            return peer;
        }
        let mut client = peer;
        for named in self.named(headers).into_iter().rev() {
            match named {
                Some(address) => client = address.to_canonical(),
                // `unknown`, a pseudonym, or nonsense: nobody to be known further left.
                None => return client,
            }
            if !self.trusts(client) {
                return client;
            }
        }
        client
    }

    fn named(&self, headers: &HeaderMap) -> Vec<Option<IpAddr>> {
        let name = match self.header {
            ProxyHeader::XForwardedFor => "x-forwarded-for",
            ProxyHeader::Forwarded => "forwarded",
        };
        let lines = headers.get_all(name).map(|line| line.to_str().unwrap_or("unreadable"));
        let elements = lines.flat_map(|line| line.split(','));
        match self.header {
            ProxyHeader::XForwardedFor => elements.map(|element| address(element.trim())).collect(),
            ProxyHeader::Forwarded => elements.map(forwarded_for).collect(),
        }
    }
}

/// The `for` of one element (RFC 7239 section 4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let mut named = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let (_, value) = named.next()?;
    address(value.trim().trim_matches('"'))
}

/// An address, perhaps with a port: `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`.
fn address(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']')?.0.parse().ok();
    }
    text.parse().ok().or_else(|| text.rsplit_once(':')?.0.parse::<std::net::Ipv4Addr>().ok().map(IpAddr::from))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    #[track_caller]
    fn check(header: ProxyHeader, peer: &str, lines: &[(&'static str, &'static str)], client: &str) {
        let networks = ["10.0.0.0/8", "fd00::1"].map(|text| text.parse().unwrap()).to_vec();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let found = Proxies { networks, header }.client(peer.parse().unwrap(), &headers);
        assert_eq!(found.to_string(), client, "{lines:?}");
    }

    #[test]
    fn only_named_proxies_are_believed_and_only_what_they_added() {
        use ProxyHeader::{Forwarded, XForwardedFor};
        const XFF: &str = "x-forwarded-for";
        check(XForwardedFor, "192.0.2.9", &[(XFF, "198.51.100.1")], "192.0.2.9");
        check(XForwardedFor, "10.0.0.1", &[], "10.0.0.1");
        check(XForwardedFor, "10.0.0.1", &[(XFF, "198.51.100.1")], "198.51.100.1");
        check(XForwardedFor, "::ffff:10.0.0.1", &[(XFF, "198.51.100.1")], "198.51.100.1");
        check(XForwardedFor, "10.0.0.1", &[(XFF, "1.1.1.1, 198.51.100.1, 10.9.9.9")], "198.51.100.1");
        check(XForwardedFor, "10.0.0.1", &[(XFF, "1.1.1.1"), (XFF, "198.51.100.1")], "198.51.100.1");
        check(XForwardedFor, "10.0.0.1", &[(XFF, "198.51.100.1, nonsense")], "10.0.0.1");
        check(XForwardedFor, "10.0.0.1", &[(XFF, "198.51.100.1, 10.2.2.2, unknown, 10.3.3.3")], "10.3.3.3");
        check(XForwardedFor, "10.0.0.1", &[(XFF, "198.51.100.1:4711")], "198.51.100.1");
        check(XForwardedFor, "fd00::1", &[(XFF, "[2001:db8::1]:4711")], "2001:db8::1");
        check(XForwardedFor, "fd00::2", &[(XFF, "2001:db8::1")], "fd00::2");
        // The header that the proxy does not write comes from the client.
        check(XForwardedFor, "10.0.0.1", &[("forwarded", "for=1.1.1.1")], "10.0.0.1");
        check(Forwarded, "10.0.0.1", &[(XFF, "1.1.1.1")], "10.0.0.1");
        check(Forwarded, "10.0.0.1", &[("forwarded", "for=198.51.100.1;proto=https")], "198.51.100.1");
        check(Forwarded, "10.0.0.1", &[("forwarded", "for=1.1.1.1, By=x; For=\"[2001:db8::1]:1\"")], "2001:db8::1");
        check(Forwarded, "10.0.0.1", &[("forwarded", "for=1.1.1.1, for=_hidden")], "10.0.0.1");
    }

    #[test]
    fn behind_a_proxy_others_reach_health_only() {
        let proxies = Proxies { networks: vec!["10.0.0.5".parse().unwrap()], ..Proxies::default() };
        for (peer, path, answer) in [
            ("10.0.0.5", "/oauth/token", true),
            ("127.0.0.1", "/oauth/token", true),
            ("::1", "/oauth/token", true),
            ("10.0.0.6", "/oauth/token", false),
            ("192.0.2.1", "/login", false),
            ("192.0.2.1", "/health", true),
            ("192.0.2.1", "/ready", true),
            ("192.0.2.1", "/health/", false),
        ] {
            assert_eq!(proxies.lets_in(Some(peer.parse().unwrap()), path), answer, "{peer} {path}");
        }
        assert!(!proxies.lets_in(None, "/oauth/token"));
    }

    #[test]
    fn a_network_is_an_address_with_a_length_and_never_the_whole_world() {
        for (text, fits) in [
            ("10.0.0.5", true),
            ("10.0.0.0/8", true),
            ("::1", true),
            ("fd00::/8", true),
            ("0.0.0.0/0", false),
            ("::/0", false),
            ("10.0.0.0/33", false),
            ("10.0.0.0/", false),
            ("proxy", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<Network>().is_ok(), fits, "{text}");
        }
    }
}
