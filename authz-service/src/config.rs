//! Flags and environment become one checked configuration, or a reason why not.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

use shared::uri::Issuer;

use crate::cli::{RegistrationMode, ServeArgs, Switch};
use crate::commands::configured;
use crate::http::app::Times;
use crate::http::limit::Rates;
use crate::http::proxy::Proxies;
use crate::http::tls::Tls;
use crate::protocol::Policy;
use crate::protocol::bounds::Bounds;
use crate::protocol::policy::{Cimd, Lifetimes, Registration};

/// Where it listens when nobody says.
const DEFAULT_PORT: u16 = 3000;

/// Why the service does not start. In words for the person who started it: what, and what to do.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A `--listen` that is no address.
    #[error("--listen {0}: not an address of this machine; write HOST:PORT, such as 127.0.0.1:3000")]
    Address(String),
    /// The port is taken, or may not be used.
    #[error("cannot listen on {address}: {reason}. Stop what uses port {port}, or choose another with --port")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Its port.
        port: u16,
        /// What the system says.
        reason: String,
    },
    /// Plain HTTP to other machines.
    #[error(
        "{0} can be reached from other machines, and without TLS they read every password and token on the way. \
         Set --tls-cert and --tls-key, name the proxy that ends TLS with --behind-proxy, or accept the risk with \
         --insecure-plain-http"
    )]
    PlainHttp(SocketAddr),
    /// No name to be known by.
    #[error("{0} is not on loopback, so clients need a name for it: set --issuer https://...")]
    IssuerMissing(SocketAddr),
    /// A development switch where others can reach it.
    #[error("{flag} is for development on this machine; it is refused because {place} can be reached from others")]
    DevelopmentOnly {
        /// Which.
        flag: &'static str,
        /// What others can reach.
        place: String,
    },
    /// Figures for everybody.
    #[error(
        "--metrics {0} can be reached from other machines; listen on loopback, or accept it with --insecure-plain-http"
    )]
    Metrics(SocketAddr),
    /// TLS that cannot be.
    #[error("{0}")]
    Tls(String),
    /// A name that clients would not reach.
    #[error("--issuer {0} is http, and the service speaks TLS: write https://")]
    IssuerScheme(Issuer),
    /// A path that clients would write otherwise.
    #[error(
        "--issuer {0}: clients and proxies rewrite such a path before they ask; let it hold letters, digits, - . _ ~ and /, \
         and no segment . or .."
    )]
    IssuerPath(Issuer),
    /// Providers that cannot be used.
    #[error("--upstreams {0}")]
    Upstreams(String),
    /// No way in.
    #[error("--password-login off leaves no way to sign in; name a provider with --upstreams")]
    NoWayIn,
    /// The name that follows from the listener is none.
    #[error("{0}")]
    Issuer(String),
}

/// Everything that is to know before the service starts, and the sockets that it got.
#[derive(Debug)]
pub struct Config {
    /// Sockets that listen already.
    pub listeners: Vec<TcpListener>,
    /// What decisions follow.
    pub policy: Policy,
    /// How often one address may do what; `None` for as often as it likes.
    pub rates: Option<Rates>,
    /// How long others may take.
    pub times: Times,
    /// Which hosts a request may name; `None` for any.
    pub hosts: Option<Vec<String>>,
    /// Where figures are served.
    pub metrics: Option<TcpListener>,
    /// Whose pages may call; `None` for all.
    pub cors: Option<Vec<String>>,
    /// TLS, when the service ends it.
    pub tls: Option<Tls>,
    /// The proxies in front.
    pub proxies: Proxies,
    /// Whether only they, and this machine, may ask.
    pub proxies_only: bool,
    /// How many threads answer.
    pub workers: usize,
}

impl Config {
    /// Checks what was asked for, and touches nothing.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(args: &ServeArgs) -> Result<Policy, ConfigError> {
        let (wanted, _) = Self::addresses(args)?;
        // A free port is drawn when it is bound; until then the usual one stands for it.
        let port = wanted.all().map(|address| address.port()).find(|port| *port != 0).unwrap_or(DEFAULT_PORT);
        let issuer = args.issuer.clone().map_or_else(|| issuer_at(port, args.tls_cert.is_some()), Ok)?;
        tls(args)?;
        refuse_public_name(args, &issuer)?;
        policy(args, issuer)
    }

    fn addresses(args: &ServeArgs) -> Result<(Wanted, Option<SocketAddr>), ConfigError> {
        let wanted = Wanted::addresses(args)?;
        let exposed = wanted.all().find(|address| !address.ip().is_loopback());
        if let Some(address) = exposed {
            refuse_exposed(args, address)?;
        }
        match args.metrics.filter(|address| !address.ip().is_loopback() && !args.insecure_plain_http) {
            Some(address) => Err(ConfigError::Metrics(address)),
            None => Ok((wanted, exposed)),
        }
    }

    /// Checks what was asked for and binds the sockets.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(args: &ServeArgs) -> Result<Self, ConfigError> {
        let (wanted, exposed) = Self::addresses(args)?;
        let tls = tls(args)?;
        let listeners = wanted.bind()?;
        let metrics = args.metrics.map(bind).transpose()?;
        let issuer = match &args.issuer {
            Some(issuer) => issuer.clone(),
            None => local_issuer(&listeners, tls.is_some())?,
        };
        refuse_public_name(args, &issuer)?;
        let proxies_only = exposed.is_some() && tls.is_none() && !args.insecure_plain_http;
        let hosts = exposed.is_none().then(|| hosts(&issuer));
        let policy = policy(args, issuer)?;
        Ok(Self {
            listeners,
            policy,
            rates: rates(args),
            times: Times::from(&args.bounds),
            hosts,
            metrics,
            cors: cors(args),
            proxies: proxies(args),
            proxies_only,
            tls,
            workers: args.workers.map_or_else(cores, usize::from),
        })
    }
}

/// Which addresses are wanted: all of them, or as many of the usual ones as the machine has.
enum Wanted {
    Exactly(Vec<SocketAddr>),
    Loopback(u16),
}

impl Wanted {
    fn addresses(args: &ServeArgs) -> Result<Self, ConfigError> {
        if args.listen.is_empty() {
            return Ok(Self::Loopback(args.port.unwrap_or(DEFAULT_PORT)));
        }
        let resolve = |text: &String| {
            text.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or(ConfigError::Address(text.clone()))
        };
        args.listen.iter().map(resolve).collect::<Result<_, _>>().map(Self::Exactly)
    }

    fn all(&self) -> impl Iterator<Item = SocketAddr> {
        match self {
            Self::Exactly(addresses) => addresses.clone(),
            Self::Loopback(port) => vec![(Ipv4Addr::LOCALHOST, *port).into(), (Ipv6Addr::LOCALHOST, *port).into()],
        }
        .into_iter()
    }

    fn bind(&self) -> Result<Vec<TcpListener>, ConfigError> {
        match self {
            Self::Exactly(addresses) => addresses.iter().map(|address| bind(*address)).collect(),
            Self::Loopback(port) => {
                let v4 = bind((Ipv4Addr::LOCALHOST, *port).into())?;
                let port = v4.local_addr().map_or(*port, |address| address.port());
                let v6 = (Ipv6Addr::LOCALHOST, port).into();
                match TcpListener::bind(v6) {
                    Ok(v6) => Ok(vec![v4, v6]),
                    // Somebody else's service would answer half of the clients that say "localhost".
                    Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(bind_error(v6, &error)),
                    Err(error) => {
                        tracing::info!(%error, "no IPv6 on this machine; listening on 127.0.0.1 only");
                        Ok(vec![v4])
                    }
                }
            }
        }
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, ConfigError> {
    TcpListener::bind(address).map_err(|error| bind_error(address, &error))
}

fn bind_error(address: SocketAddr, error: &std::io::Error) -> ConfigError {
    ConfigError::Bind { address, port: address.port(), reason: error.to_string() }
}

fn refuse_exposed(args: &ServeArgs, address: SocketAddr) -> Result<(), ConfigError> {
    let development = |flag| ConfigError::DevelopmentOnly { flag, place: address.to_string() };
    if args.auto_approve.is_some() {
        return Err(development("--auto-approve"));
    }
    if args.cimd_allow_private {
        return Err(development("--cimd-allow-private"));
    }
    if args.rate_limits == Switch::Off {
        return Err(development("--rate-limits off"));
    }
    if !args.insecure_plain_http && args.tls_cert.is_none() && args.behind_proxy.is_empty() {
        return Err(ConfigError::PlainHttp(address));
    }
    if args.issuer.is_none() {
        return Err(ConfigError::IssuerMissing(address));
    }
    Ok(())
}

/// A name that nothing on the way rewrites is the only one that clients find (RFC 3986 section 6.2.2).
fn refuse_odd_path(issuer: &Issuer) -> Result<(), ConfigError> {
    let plain = |segment: &str| {
        segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)) && !matches!(segment, "." | "..")
    };
    if issuer.parts().path.split('/').all(plain) { Ok(()) } else { Err(ConfigError::IssuerPath(issuer.clone())) }
}

/// A service with a public name is reached through a proxy, wherever it listens.
fn refuse_public_name(args: &ServeArgs, issuer: &Issuer) -> Result<(), ConfigError> {
    let flags = [("--auto-approve", args.auto_approve.is_some()), ("--cimd-allow-private", args.cimd_allow_private)];
    if let Some((flag, _)) = flags.into_iter().find(|(_, set)| *set && !issuer.parts().is_loopback()) {
        return Err(ConfigError::DevelopmentOnly { flag, place: issuer.to_string() });
    }
    if args.tls_cert.is_some() && issuer.parts().scheme == "http" {
        return Err(ConfigError::IssuerScheme(issuer.clone()));
    }
    Ok(())
}

fn tls(args: &ServeArgs) -> Result<Option<Tls>, ConfigError> {
    let files = args.tls_cert.as_ref().zip(args.tls_key.as_ref());
    files.map(|(certificate, key)| Tls::load(certificate, key).map_err(ConfigError::Tls)).transpose()
}

/// The origins that were named; `None` for all.
pub fn cors(args: &ServeArgs) -> Option<Vec<String>> {
    (!args.cors_origin.is_empty()).then(|| args.cors_origin.clone())
}

/// The proxies that were named.
pub fn proxies(args: &ServeArgs) -> Proxies {
    Proxies { networks: args.behind_proxy.clone(), header: args.proxy_header }
}

fn local_issuer(listeners: &[TcpListener], tls: bool) -> Result<Issuer, ConfigError> {
    let port = listeners.first().and_then(|listener| listener.local_addr().ok()).map_or(DEFAULT_PORT, |a| a.port());
    issuer_at(port, tls)
}

fn issuer_at(port: u16, tls: bool) -> Result<Issuer, ConfigError> {
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://localhost:{port}").parse().map_err(|error| ConfigError::Issuer(format!("{error}")))
}

/// The names by which a service on loopback may be asked (MET-10): this machine's, and its own.
fn hosts(issuer: &Issuer) -> Vec<String> {
    let own = issuer.parts().host().map(str::to_owned);
    ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).into_iter().chain(own).collect()
}

fn policy(args: &ServeArgs, issuer: Issuer) -> Result<Policy, ConfigError> {
    refuse_odd_path(&issuer)?;
    let mut policy = Policy::new(issuer).map_err(|error| ConfigError::Issuer(error.to_string()))?;
    policy.resources.clone_from(&args.resource);
    policy.mcp = args.mcp;
    policy.redirect_schemes.extend(args.redirect_scheme.iter().cloned());
    policy.require_pushed = args.require_par;
    policy.auto_approve.clone_from(&args.auto_approve);
    policy.max_clients = args.max_clients;
    policy.registration = match args.registration {
        RegistrationMode::Open => Registration::Open,
        RegistrationMode::Token => Registration::Token,
        RegistrationMode::Off => Registration::Off,
    };
    policy.cimd =
        Cimd { on: args.cimd == Switch::On, trusted: args.cimd_trust.clone(), local: args.cimd_allow_private };
    policy.lifetimes = Lifetimes::from(&args.lifetimes);
    policy.bounds = Bounds::from(&args.bounds);
    policy.admin_page = args.admin_page == Switch::On;
    policy.remember_consent = args.remember_consent == Switch::On;
    policy.upstreams = configured::upstreams(args).map_err(ConfigError::Upstreams)?.into();
    policy.password_login = args.password_login == Switch::On;
    if !policy.password_login && policy.upstreams.is_empty() {
        return Err(ConfigError::NoWayIn);
    }
    Ok(policy)
}

/// The rates that were chosen; `None` when they are off.
pub fn rates(args: &ServeArgs) -> Option<Rates> {
    (args.rate_limits == Switch::On).then(|| Rates::from(&args.rates))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn config(args: &[&str]) -> Result<Config, ConfigError> {
        let cli = Cli::try_parse_from([&["authz-service"], args].concat()).unwrap();
        Config::new(&cli.serve)
    }

    #[test]
    fn ui_02_cfg_02_development_switches_and_plain_http_stay_on_this_machine() {
        let on = ["--listen", "0.0.0.0:0"];
        let fails = |more: &[&str]| config(&[&on, more].concat()).unwrap_err();
        assert!(matches!(fails(&[]), ConfigError::PlainHttp(_)));
        assert!(matches!(fails(&["--issuer", "https://as.example"]), ConfigError::PlainHttp(_)));
        assert!(matches!(fails(&["--insecure-plain-http"]), ConfigError::IssuerMissing(_)));
        for development in [&["--auto-approve"][..], &["--rate-limits", "off"], &["--cimd-allow-private"]] {
            let all = [development, &["--insecure-plain-http", "--issuer", "https://as.example"]].concat();
            assert!(matches!(fails(&all), ConfigError::DevelopmentOnly { .. }));
        }
        let metrics = ["--listen", "127.0.0.1:0", "--metrics", "0.0.0.0:0"];
        assert!(matches!(config(&metrics).unwrap_err(), ConfigError::Metrics(_)));
        let behind = ["--behind-proxy", "10.0.0.1", "--issuer", "https://as.example"];
        assert!(config(&[&on[..], &behind].concat()).unwrap().proxies_only);
        assert!(!config(&[&["--listen", "127.0.0.1:0"][..], &behind].concat()).unwrap().proxies_only);
        assert!(matches!(fails(&["--behind-proxy", "10.0.0.1"]), ConfigError::IssuerMissing(_)));
        let public = config(&["--listen", "127.0.0.1:0", "--auto-approve", "--issuer", "https://as.example"]);
        assert!(matches!(public.unwrap_err(), ConfigError::DevelopmentOnly { .. }));
        assert!(config(&["--port", "0", "--auto-approve", "--rate-limits", "off"]).is_ok());
    }

    #[test]
    fn what_the_readme_shows_for_a_service_that_others_reach_is_understood() {
        let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
        let readme = std::fs::read_to_string(readme).unwrap();
        let lines = readme.lines().filter_map(|line| line.strip_prefix("./target/release/authz-service "));
        let shown: Vec<_> = lines.filter(|line| line.contains("https://")).collect();
        assert_eq!(shown.len(), 2);
        for flags in shown {
            let words = std::iter::once("authz-service").chain(flags.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{flags}");
        }
    }

    #[test]
    fn adm_01_the_administrators_page_is_served_only_where_the_operator_says_so() {
        let page = |args: &[&str]| config(&[&["--listen", "127.0.0.1:0"], args].concat()).unwrap().policy.admin_page;
        assert!(!page(&[]));
        assert!(page(&["--admin-page", "on"]));
        assert!(!page(&["--admin-page", "off"]));
    }

    #[test]
    fn cfg_03_an_issuer_that_cannot_be_one_is_refused() {
        for bad in ["http://as.example", "https://a?x", "https://a#x", "https://u@a", "ftp://a", "x"] {
            assert!(Cli::try_parse_from(["authz-service", "--issuer", bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn met_02_an_issuer_has_a_path_that_nothing_on_the_way_rewrites() {
        for (path, fits) in [
            ("", true),
            ("/", true),
            ("/tenant", true),
            ("/Tenant-1/a.b_c~d/", true),
            ("/a/../b", false),
            ("/./a", false),
            ("/a%20b", false),
            ("/%7Ea", false),
            ("/a*", false),
            ("/a;b", false),
        ] {
            let issuer = format!("http://localhost:3000{path}");
            let found = config(&["--listen", "127.0.0.1:0", "--issuer", &issuer]);
            assert_eq!(!matches!(found, Err(ConfigError::IssuerPath(_))), fits, "{issuer}");
        }
    }

    #[test]
    fn reg_04_no_flag_lets_a_scheme_of_the_browser_in() {
        for (scheme, fits) in [
            ("myapp", true),
            ("x-app.y", true),
            ("javascript", false),
            ("data", false),
            ("http", false),
            ("a b", false),
            ("", false),
            ("JavaScript", false),
        ] {
            assert_eq!(Cli::try_parse_from(["authz-service", "--redirect-scheme", scheme]).is_ok(), fits, "{scheme}");
        }
    }

    #[test]
    fn cfg_05_a_port_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = config(&["--port", &port.to_string()]).unwrap_err().to_string();
        assert!(error.contains(&port.to_string()) && !error.contains('\n'), "{error}");
    }

    #[test]
    fn the_issuer_follows_from_the_port() {
        let config = config(&["--port", "0"]).unwrap();
        let port = config.listeners[0].local_addr().unwrap().port();
        assert_eq!(config.policy.issuer.as_str(), format!("http://localhost:{port}"));
    }
}
