//! The command line. Doc comments are the help.

pub mod store;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use shared::id::{ClientId, UserName};
use shared::uri::{Issuer, Resource};

use crate::commands::audit::AuditCommand;
use crate::commands::client::ClientCommand;
use crate::commands::grant::GrantCommand;
use crate::commands::user::UserCommand;
use crate::http::proxy::{Network, ProxyHeader};
use crate::logging::LogFormat;
use crate::settings::args::{BoundArgs, LifetimeArgs, RateArgs};

/// Who gets a token: registers apps, signs people in, asks for consent, issues tokens.
///
/// Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "authz-service", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve, when no command is named.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// A scheme that an app can own: none that browsers and systems give a meaning of their own.
fn private_scheme(text: &str) -> Result<String, &'static str> {
    const TAKEN: [&str; 15] = [
        "about",
        "blob",
        "chrome",
        "data",
        "file",
        "filesystem",
        "ftp",
        "http",
        "https",
        "intent",
        "javascript",
        "mailto",
        "vbscript",
        "ws",
        "wss",
    ];
    let fits = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    if fits && !TAKEN.contains(&text) {
        Ok(text.to_owned())
    } else {
        Err(
            "a private-use scheme is lower-case letters, digits, + - and ., and none that browsers know, such as javascript",
        )
    }
}

/// A domain name, as it stands in a URL.
fn domain(text: &str) -> Result<String, &'static str> {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let fits = plain && text.bytes().any(|b| b.is_ascii_alphanumeric()) && !text.starts_with('.');
    if fits { Ok(text.to_owned()) } else { Err("a domain is a name such as example.com, without https:// and *") }
}

/// An origin as browsers write it (RFC 6454 section 6.2): scheme, host, and a port that is not the scheme's own.
fn origin(text: &str) -> Result<String, &'static str> {
    let fits = shared::uri::Parts::of(text).is_some_and(|parts| {
        let plain = |authority: &str| !authority.is_empty() && !authority.contains('@');
        let usual = matches!((parts.scheme, parts.port()), ("https", Some("443")) | ("http", Some("80")));
        let bare = parts.path.is_empty() && parts.query.is_none() && parts.fragment.is_none();
        bare && !usual && parts.authority.is_some_and(plain) && text == text.to_ascii_lowercase()
    });
    if fits { Ok(text.to_owned()) } else { Err("an origin is written as browsers do, such as https://app.example") }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve (the default).
    Serve(ServeArgs),
    /// Manage the accounts of people who can sign in. Works beside a running service.
    #[command(subcommand)]
    User(UserCommand),
    /// Manage the apps that are known. Works beside a running service.
    #[command(subcommand)]
    Client(ClientCommand),
    /// List and revoke what people gave to apps. Works beside a running service.
    #[command(subcommand)]
    Grant(GrantCommand),
    /// Read and check the audit trail. Works beside a running service.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Look after the store: check it, count, back up, repair.
    ///
    /// Exit codes: 0 all is well, 1 the store is damaged or the command failed, 2 the command line is wrong. `check`,
    /// `stats`, `export` and `compact` work beside a running service.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Look at the keys that sign tokens, or make a new one. Works beside a running service.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Tell which settings are in force, and where each comes from.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Where the store is.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    /// The store folder that service, stdio server and client share [default: data/ in a checkout, else the
    /// platform's data folder].
    #[arg(long, value_name = "DIR", env = shared::store::place::DATA_VARIABLE)]
    pub data: Option<PathBuf>,
}

impl StoreArgs {
    /// The folder, chosen or default.
    pub fn folder(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(shared::store::place::default_folder)
    }
}

/// How to serve.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Read settings from this TOML file; flags and variables win over it. See docs/CONFIG.md.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,

    /// Listen here; may be repeated. Port 0 takes a free one [default: port 3000 of 127.0.0.1 and
    /// of ::1].
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "port")]
    pub listen: Vec<String>,

    /// Listen on this port of 127.0.0.1 and of ::1.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,

    /// The service's name: the URL by which clients know it, byte for byte [default: http://localhost:PORT].
    #[arg(long, value_name = "URL", env = "MCP_AUTHZ_ISSUER")]
    pub issuer: Option<Issuer>,

    /// Give out tokens for this resource too, besides urn:mcp:stdio:NAME; may be repeated.
    #[arg(long, value_name = "URL")]
    pub resource: Vec<Resource>,

    /// Serve tools too, over Streamable HTTP at /mcp, behind this service's own tokens.
    #[arg(long)]
    pub mcp: bool,

    /// Answer at /mcp without a token what needs no scope: the handshake, lists, open tools.
    #[arg(long, requires = "mcp")]
    pub mcp_open: bool,

    /// Accept redirect URIs with this private-use scheme too, although it has no dot; may be repeated.
    #[arg(long, value_name = "SCHEME", value_parser = private_scheme)]
    pub redirect_scheme: Vec<String>,

    /// A client that is registered from the start; with --client-secret it is confidential, else public.
    #[arg(long, value_name = "CLIENT_ID", env = "MCP_STATIC_CLIENT_ID")]
    pub client_id: Option<ClientId>,

    /// Its secret. Better in the environment: others on this machine can read a command line.
    #[arg(
        long,
        value_name = "SECRET",
        env = "MCP_STATIC_CLIENT_SECRET",
        hide_env_values = true,
        requires = "client_id"
    )]
    pub client_secret: Option<String>,

    /// Its redirect URIs, separated by commas [default: /callback of 127.0.0.1 and localhost, any port].
    #[arg(long, value_name = "URIS", env = "MCP_STATIC_REDIRECT_URIS", value_delimiter = ',', requires = "client_id")]
    pub redirect_uris: Vec<String>,

    /// More clients that are registered from the start: a JSON file with a list of them, each with the members of
    /// RFC 7591, client_id, and client_secret if it is confidential.
    #[arg(long, value_name = "FILE", env = "MCP_STATIC_CLIENTS")]
    pub clients: Option<PathBuf>,

    /// Who may register a client: anybody, whoever has a token of `authz-service client token`, or nobody [default: open].
    #[arg(
        long,
        visible_alias = "dcr",
        value_name = "open|token|off",
        default_value = "open",
        hide_default_value = true
    )]
    pub registration: RegistrationMode,

    /// Know this many clients at most; who registers beyond that is told to come later.
    #[arg(long, value_name = "N", default_value_t = crate::protocol::policy::MAX_CLIENTS, value_parser = crate::settings::value::count(1..=100_000_000))]
    pub max_clients: usize,

    /// Forget clients that came by themselves, and that no grant needs, so many days after their last use.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub client_days: u32,

    /// Whether apps may name themselves by the URL of a metadata document, which is then fetched; and whether the keys of
    /// apps that you did not register may lie behind a jwks_uri [default: on].
    #[arg(long, value_name = "on|off", default_value = "on", hide_default_value = true)]
    pub cimd: Switch,

    /// Accept metadata documents of this domain, and below it, only; may be repeated [default: of any].
    #[arg(long, value_name = "DOMAIN", value_parser = domain)]
    pub cimd_trust: Vec<String>,

    /// Development only: fetch metadata documents from this machine and private networks too. On loopback only.
    #[arg(long)]
    pub cimd_allow_private: bool,

    /// Take authorization requests only when their clients push them first (RFC 9126).
    #[arg(long)]
    pub require_par: bool,

    /// Development only: approve everything at once, as USER, without asking anybody. On loopback only.
    #[arg(long, value_name = "USER", num_args = 0..=1, require_equals = true, default_missing_value = "demo")]
    pub auto_approve: Option<UserName>,

    /// Whether to limit registrations, failed logins and failed client authentications per address. Off on loopback
    /// only.
    #[arg(long, value_name = "on|off", default_value = "on", hide_default_value = true)]
    pub rate_limits: Switch,

    /// Whether administrators find their page at /admin.
    #[arg(long, value_name = "on|off", default_value = "off", hide_default_value = true)]
    pub admin_page: Switch,

    /// Whether a person is not asked again when the same app asks for the same or less, for the same server, and neither
    /// the app nor the tools have changed. Never when a web site's page sent the browser here.
    #[arg(long, value_name = "on|off", default_value = "off", hide_default_value = true)]
    pub remember_consent: Switch,

    /// OpenID providers that people may sign in with: a JSON file with a list of them. Each has name, issuer and client_id,
    /// and may have title, client_secret or client_secret_file, scopes, allow (emails, domains, subjects: who gets in), and
    /// create (true makes an account at the first sign-in). See docs/UPSTREAM.md.
    #[arg(long, value_name = "FILE")]
    pub upstreams: Option<PathBuf>,

    /// Whether a name and a password are taken on the login page. Off only where --upstreams names a provider.
    #[arg(long, value_name = "on|off", default_value = "on", hide_default_value = true)]
    pub password_login: Switch,

    /// Serve plain HTTP to other machines: passwords and tokens can be read on the way, unless something else
    /// encrypts them.
    #[arg(long)]
    pub insecure_plain_http: bool,

    /// Serve TLS with the certificate in this PEM file, followed by those that vouch for it.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// The proxy that ends TLS in front of this service: an address or network; may be repeated. Only its word is
    /// taken for whom a request comes from, and from others nothing is taken.
    #[arg(long, value_name = "ADDRESS")]
    pub behind_proxy: Vec<Network>,

    /// The header in which that proxy says whom it speaks for.
    #[arg(long, value_name = "NAME", value_enum, default_value_t)]
    pub proxy_header: ProxyHeader,

    /// Let pages of this origin alone call metadata, registration, token and revocation; may be repeated [default: pages
    /// of all origins, without credentials].
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub cors_origin: Vec<String>,

    /// Serve figures for Prometheus here, under /metrics. On loopback, unless --insecure-plain-http.
    #[arg(long, value_name = "HOST:PORT")]
    pub metrics: Option<std::net::SocketAddr>,

    /// What is logged: error, warn, info, debug or trace, or directives as in RUST_LOG, which counts when this is not
    /// set [default: info].
    #[arg(long, value_name = "LEVEL", value_parser = crate::logging::level)]
    pub log_level: Option<String>,

    /// How a line of the log looks.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// Threads that answer requests [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,

    /// How long things live.
    #[command(flatten)]
    pub lifetimes: LifetimeArgs,

    /// How large things may be.
    #[command(flatten)]
    pub bounds: BoundArgs,

    /// How often.
    #[command(flatten)]
    pub rates: RateArgs,
}

/// What to tell about the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say whether the service would start with these settings. Nothing is started.
    Check(ShowConfig),
    /// Print every setting as a configuration file, with where its value comes from. Secrets are not shown.
    Show(ShowConfig),
}

/// Which configuration, and how to tell it.
#[derive(Args, Debug)]
pub struct ShowConfig {
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// The settings.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Who may register a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum RegistrationMode {
    /// Anybody.
    #[value(alias = "on")]
    Open,
    /// Whoever has an initial access token.
    Token,
    /// Nobody.
    Off,
}

/// On or off.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// What to do with signing keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List the keys: which signs, which will, and which only verify what they signed.
    List(ListKeys),
    /// Make a new key. It is published at once and signs an hour later, when others know it.
    Rotate(RotateKey),
}

/// How to list keys.
#[derive(Args, Debug)]
pub struct ListKeys {
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// How to make a key.
#[derive(Args, Debug)]
pub struct RotateKey {
    /// Sign with it at once: when the old key is in wrong hands. Who keeps the old key set refuses its tokens until he
    /// reads it again.
    #[arg(long)]
    pub now: bool,
    /// How to tell it, and where the store is.
    #[command(flatten)]
    pub list: ListKeys,
}
