//! Every lifetime and limit, each a named constant with its source, and what the operator chose.

use std::sync::Arc;

use shared::id::UserName;
use shared::scope::Catalogue;
use shared::time::Seconds;
use shared::uri::{HOST_SCHEMES, Issuer, Resource};

use super::bounds::Bounds;
use super::refusal::Refusal;
use super::upstream::{Upstream, UpstreamFault};

/// How long an authorization code stays good.
///
/// RFC 6749 section 4.1.2 recommends at most ten minutes; the redirect that carries a code takes seconds, and a
/// shorter life leaves less to steal.
pub const CODE_LIFETIME: Seconds = Seconds(60);

/// How long an access token lives: what the systems that this one replaces promise (`expires_in: 3600`), and the
/// most that contract TOK-20 allows. The store has the last word at every call, so a revocation need not wait.
pub const ACCESS_LIFETIME: Seconds = Seconds(3600);

/// How long a refresh token may lie unused (OAuth 2.1 section 4.3.3 wants idle ones to end).
pub const REFRESH_IDLE: Seconds = Seconds(30 * DAY);

/// How long a person's consent yields new tokens without asking again, however often it is used.
pub const REFRESH_ABSOLUTE: Seconds = Seconds(90 * DAY);

/// How long after its exchange a refresh token may come again because the answer was lost (contract C7).
pub const REFRESH_GRACE: Seconds = Seconds(10);

/// How long a device code and its user code live. RFC 8628 section 3.2 leaves it open; its example says 30 minutes, and
/// a person who started it is there at once.
pub const DEVICE_LIFETIME: Seconds = shared::state::Device::LIFETIME;

/// How long a device waits between two polls (RFC 8628 section 3.2).
pub const POLL_INTERVAL: Seconds = Seconds(5);

/// How much longer a device has to wait after each poll that came too early (RFC 8628 section 3.5).
pub const POLL_STEP: Seconds = Seconds(5);

/// How long a pushed authorization request waits for the browser (RFC 9126 section 2.2: 5 to 600 seconds).
pub const PUSHED_LIFETIME: Seconds = Seconds(90);

/// The longest pushed request that is kept, in bytes: what a browser could carry, and it stays in memory.
pub const MAX_PUSHED: usize = 8 * 1024;

/// How long a browser stays logged in: a working day.
pub const SESSION_LIFETIME: Seconds = Seconds(12 * 3600);

/// How long a login or consent page can be answered (MCP security best practices, "state"; UI-13).
pub const PAGE_LIFETIME: Seconds = Seconds(600);

/// How old a login may be that satisfies `prompt=login` (OpenID Connect Core section 3.1.2.1).
pub const FRESH_LOGIN: Seconds = Seconds(60);

/// How old a login may be that adds another way of signing in (ASVS 5.0, 7.5.1: whoever finds an open browser must not).
pub const RECENT_LOGIN: Seconds = Seconds(600);

/// How long the link for making the first account works.
pub const SETUP_LIFETIME: Seconds = Seconds(DAY);

/// How old a signing key gets before the next one is made: what it signed in that time is what a thief of it could
/// have signed (NIST SP 800-57 part 1, section 5.3.6, allows far more).
pub const KEY_LIFETIME: Seconds = Seconds(90 * DAY);

/// How long a new key is published before it signs: whoever keeps our key set for as long as we say, and a while longer,
/// knows it by then (MET-08).
pub const KEY_AHEAD: Seconds = Seconds(3600);

/// The longest token, code or secret that may be ours, in bytes (contract C9).
pub const MAX_TOKEN: usize = 8 * 1024;

/// How many contacts one client may register.
pub const MAX_CONTACTS: usize = 10;

/// How many clients are known at most: what registers beyond that waits (RFC 7591 section 5, REG-18). Clients that nobody
/// uses are forgotten, so it takes a flood.
pub const MAX_CLIENTS: usize = 2_000_000;

/// How long a client's secret still counts after it got another: whoever shares it needs time to hear of the new one.
pub const SECRET_GRACE: Seconds = Seconds(DAY);

/// The longest client metadata document, in bytes, where the operator says nothing else
/// (draft-ietf-oauth-client-id-metadata-document section 8.7).
pub const MAX_DOCUMENT: usize = 5 * 1024;

/// How long fetching a metadata document may take, from waiting for a turn to its last byte, where the operator says
/// nothing else (contract C9).
pub const FETCH_TIME: Seconds = Seconds(5);

/// How long a metadata document is believed whose server does not say (RFC 9111 section 4.2.2 leaves it to us).
pub const DOCUMENT_LIFETIME: Seconds = Seconds(300);

/// How long a metadata document is believed at most, whatever its server says (CIM-14).
pub const MAX_DOCUMENT_LIFETIME: Seconds = Seconds(DAY);

/// The shortest password that is accepted, in characters (NIST SP 800-63B section 3.1.1.2, beside a rate limit).
pub const MIN_PASSWORD: usize = 8;

/// The longest password that is hashed, in bytes: hashing a megabyte is work that a stranger may not order.
pub const MAX_PASSWORD: usize = 1024;

const DAY: u64 = 24 * 3600;

/// What is meant when a request names no resource.
pub const DEFAULT_RESOURCE: &str = "urn:mcp:stdio:default";

/// How long things live.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lifetimes {
    /// An authorization code: [`CODE_LIFETIME`].
    pub code: Seconds,
    /// An access token: [`ACCESS_LIFETIME`].
    pub access: Seconds,
    /// A refresh token that is not used: [`REFRESH_IDLE`].
    pub refresh_idle: Seconds,
    /// A consent, however often it is used: [`REFRESH_ABSOLUTE`].
    pub refresh_absolute: Seconds,
    /// An exchanged refresh token whose answer may be lost: [`REFRESH_GRACE`].
    pub refresh_grace: Seconds,
    /// A login: [`SESSION_LIFETIME`].
    pub session: Seconds,
    /// A login or consent page: [`PAGE_LIFETIME`].
    pub page: Seconds,
    /// The link for the first account: [`SETUP_LIFETIME`].
    pub setup: Seconds,
    /// A signing key, before the next one is made: [`KEY_LIFETIME`].
    pub key: Seconds,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            code: CODE_LIFETIME,
            access: ACCESS_LIFETIME,
            refresh_idle: REFRESH_IDLE,
            refresh_absolute: REFRESH_ABSOLUTE,
            refresh_grace: REFRESH_GRACE,
            session: SESSION_LIFETIME,
            page: PAGE_LIFETIME,
            setup: SETUP_LIFETIME,
            key: KEY_LIFETIME,
        }
    }
}

/// What the operator chose, checked once at the start.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Our name, byte for byte in metadata, `iss` and tokens.
    pub issuer: Issuer,
    /// The scopes that we give out.
    pub catalogue: Catalogue,
    /// Resources besides the stdio servers, in the spelling that goes into tokens.
    pub resources: Vec<Resource>,
    /// Whether the service serves tools itself, at [`Policy::mcp_resource`].
    pub mcp: bool,
    /// What is meant when a request names none.
    pub default_resource: Resource,
    /// Private-use schemes without a dot that redirect URIs may have.
    pub redirect_schemes: Vec<String>,
    /// Who may register a client.
    pub registration: Registration,
    /// How many clients are known at most, however they came.
    pub max_clients: usize,
    /// Clients that name themselves by the URL of a metadata document.
    pub cimd: Cimd,
    /// Whether authorization requests must be pushed (RFC 9126 section 5).
    pub require_pushed: bool,
    /// Development only: nobody is asked, and this person consents to everything.
    pub auto_approve: Option<UserName>,
    /// How long things live.
    pub lifetimes: Lifetimes,
    /// How large things from outside may be.
    pub bounds: Bounds,
    /// Whether administrators find their page here (ADM-01).
    pub admin_page: bool,
    /// Whether a person is not asked again for what is not new (UI-16).
    pub remember_consent: bool,
    /// OpenID providers that people may sign in with.
    pub upstreams: Arc<[Upstream]>,
    /// Whether a name and a password are taken on the login page.
    pub password_login: bool,
}

/// Who may register a client at the registration endpoint (RFC 7591 section 3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Registration {
    /// Anybody.
    Open,
    /// Whoever has an initial access token of the operator's.
    Token,
    /// Nobody.
    Off,
}

/// Which Client ID Metadata Documents are fetched.
#[derive(Clone, Debug)]
pub struct Cimd {
    /// Whether any are. Without, a URL is an unknown client, and nothing is fetched.
    pub on: bool,
    /// The domains they may lie at, and below; empty for any.
    pub trusted: Vec<String>,
    /// Development only: documents on this machine and on private networks too, and over `http` from this machine.
    pub local: bool,
}

impl Default for Cimd {
    fn default() -> Self {
        Self { on: true, trusted: Vec::new(), local: false }
    }
}

impl Policy {
    /// The policy of a service with this name and nothing else chosen.
    ///
    /// # Errors
    /// Never in practice: the default resource is well-formed.
    pub fn new(issuer: Issuer) -> Result<Self, shared::uri::NotAResource> {
        Ok(Self {
            issuer,
            catalogue: Catalogue::standard(),
            resources: Vec::new(),
            mcp: false,
            default_resource: DEFAULT_RESOURCE.parse()?,
            redirect_schemes: HOST_SCHEMES.map(str::to_owned).to_vec(),
            registration: Registration::Open,
            max_clients: MAX_CLIENTS,
            cimd: Cimd::default(),
            require_pushed: false,
            auto_approve: None,
            lifetimes: Lifetimes::default(),
            bounds: Bounds::default(),
            admin_page: false,
            remember_consent: false,
            upstreams: Arc::default(),
            password_login: true,
        })
    }

    /// The provider of that name.
    ///
    /// # Errors
    /// [`UpstreamFault::Unknown`].
    pub fn upstream(&self, name: &str) -> Result<&Upstream, UpstreamFault> {
        self.upstreams.iter().find(|upstream| upstream.name == name).ok_or(UpstreamFault::Unknown)
    }

    /// The endpoint at which the service serves tools itself; `None` when it serves none.
    pub fn mcp_resource(&self) -> Option<Resource> {
        self.mcp.then(|| self.issuer.join("/mcp").parse().ok()).flatten()
    }

    /// The resource that a request means, in our own spelling (RFC 8707 section 2): the default when it names none,
    /// and one only, however often it is named.
    ///
    /// # Errors
    /// [`Refusal::Target`] when it is not ours, or when there are two.
    pub fn resource<'a>(&self, named: impl IntoIterator<Item = &'a str>) -> Result<Resource, Refusal> {
        let mut found = None;
        for text in named.into_iter().filter(|text| !text.is_empty()) {
            let ours = self.our_spelling(text)?;
            if found.as_ref().is_some_and(|before| *before != ours) {
                return Err(Refusal::Target("one token is for one resource; ask for each on its own"));
            }
            found = Some(ours);
        }
        Ok(found.unwrap_or_else(|| self.default_resource.clone()))
    }

    fn our_spelling(&self, text: &str) -> Result<Resource, Refusal> {
        let unknown = Refusal::Target("this server gives out no tokens for that resource");
        let named: Resource = text.parse().map_err(|_| unknown.clone())?;
        if named.stdio_name().is_some() {
            return Ok(named.case_folded());
        }
        let own = self.mcp_resource();
        self.resources.iter().chain(&own).find(|ours| same(ours, &named)).cloned().ok_or(unknown)
    }
}

/// Whether both texts name one resource. Clients that send a URL through a URL type write a bare host with a slash
/// (MCP authorization, "Canonical Server URI": both forms are to be taken).
pub(super) fn same(ours: &Resource, named: &Resource) -> bool {
    let bare = |resource: &Resource| {
        let folded = resource.case_folded();
        let text = folded.as_str();
        let root = text.strip_suffix('/').filter(|rest| rest.matches('/').count() == 2);
        root.unwrap_or(text).to_owned()
    };
    ours.names_the_same(named) || bare(ours) == bare(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let mut policy = Policy::new("http://localhost:3000".parse().unwrap()).unwrap();
        policy.resources = vec!["https://mcp.example/mcp".parse().unwrap(), "https://root.example".parse().unwrap()];
        policy
    }

    #[track_caller]
    fn check(named: &[&str], answer: Option<&str>) {
        let found = policy().resource(named.iter().copied()).ok();
        assert_eq!(found.as_ref().map(Resource::as_str), answer, "{named:?}");
    }

    #[test]
    fn auz_13_14_15_16_a_resource_is_ours_in_our_spelling_or_refused() {
        check(&[], Some("urn:mcp:stdio:default"));
        check(&[""], Some("urn:mcp:stdio:default"));
        check(&["urn:mcp:stdio:notes"], Some("urn:mcp:stdio:notes"));
        check(&["URN:MCP:STDIO:notes"], Some("urn:mcp:stdio:notes"));
        check(&["HTTPS://MCP.example/mcp"], Some("https://mcp.example/mcp"));
        check(&["https://mcp.example/MCP"], None);
        check(&["https://mcp.example/mcp/"], None);
        check(&["https://root.example/"], Some("https://root.example"));
        check(&["https://other.example"], None);
        check(&["urn:mcp:stdio:a#f"], None);
        check(&["not a uri"], None);
        check(&["urn:mcp:stdio:a", "urn:mcp:stdio:b"], None);
        check(&["urn:mcp:stdio:a", "URN:mcp:stdio:a"], Some("urn:mcp:stdio:a"));
        check(&["urn:mcp:stdio:a", "https://mcp.example/mcp"], None);
    }
}
