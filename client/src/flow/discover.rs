//! From a server's URL to the endpoints of its authorization server (RFC 9728, RFC 8414; MCP "Authorization Server
//! Discovery"). Nothing that a server says about itself is believed without the check that its RFC asks for.

use shared::oauth::metadata::{AuthorizationServer, ProtectedResource, is_endpoint, is_plain, well_known};
pub use shared::oauth::metadata::{is_local, issuer_places};
use shared::oauth::register::GrantType;
use shared::oauth::{challenge, pkce};
use shared::scope::Scopes;
use shared::uri::{Issuer, Parts, Resource};

/// What a `401` or `403` says about how to come in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hints {
    /// Where the resource's metadata lies (RFC 9728 section 5.1).
    pub resource_metadata: Option<String>,
    /// What is needed (RFC 6750 section 3).
    pub scope: Option<Scopes>,
    /// The error word, such as `insufficient_scope`.
    pub error: Option<String>,
}

impl Hints {
    /// Reads the first Bearer challenge in `WWW-Authenticate` headers.
    pub fn read<'a>(headers: impl IntoIterator<Item = &'a str>) -> Self {
        let bearer = headers.into_iter().flat_map(challenge::parse).find(|found| found.is("Bearer"));
        let Some(bearer) = bearer else { return Self::default() };
        let text = |name: &str| bearer.get(name).map(str::to_owned);
        let scope = bearer.get("scope").and_then(|scope| scope.parse::<Scopes>().ok());
        Self {
            resource_metadata: text("resource_metadata"),
            scope: scope.filter(|scope| !scope.is_empty()),
            error: text("error"),
        }
    }
}

/// Why discovery ends. The texts hold foreign words: clean them before they are shown.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DiscoverError {
    /// Not a URL that we talk to.
    #[error("{0} is not a server's URL: https://HOST/PATH is, and http:// on this machine")]
    NotAServer(String),
    /// The metadata of the resource lies where another party could have put it.
    #[error("the server points to metadata at {0}, which is neither on the server's own origin nor on this machine")]
    ForeignMetadata(String),
    /// RFC 9728 section 3.3.
    #[error("the metadata at {place} is for {found}, not for {server}")]
    OtherResource {
        /// Where it was found.
        place: String,
        /// What it says it is for.
        found: String,
        /// What was asked for.
        server: String,
    },
    /// No authorization server, or none with a usable name.
    #[error("the server names no usable authorization server")]
    NoIssuer,
    /// RFC 8414 section 3.3.
    #[error("the metadata says that its issuer is {found}, but {asked} was asked")]
    OtherIssuer {
        /// What was asked.
        asked: Issuer,
        /// What the document says.
        found: String,
    },
    /// An endpoint where neither a browser nor a secret may be sent.
    #[error("the {name} {url:?} is neither an https URL nor one on this machine")]
    BadEndpoint {
        /// Which member.
        name: &'static str,
        /// What it says.
        url: String,
    },
    /// MCP security considerations, "Authorization Code Protection".
    #[error("the authorization server does not say that it supports PKCE with S256, so a stolen code could be used")]
    NoPkce,
    /// Not a metadata document.
    #[error("the metadata cannot be read: {0}")]
    Unreadable(String),
}

/// Checks the URL of an MCP server: https, or http on this machine; no fragment, no user name.
///
/// # Errors
/// When it is something else.
pub fn server_url(url: &str) -> Result<Resource, DiscoverError> {
    let refuse = || DiscoverError::NotAServer(url.to_owned());
    let resource: Resource = url.parse().map_err(|_| refuse())?;
    if resource.stdio_name().is_some() { Err(refuse()) } else { Ok(resource) }
}

/// Where the resource's metadata may lie, in the order to try: the challenge's place alone if it names one, else the
/// path-inserted and the root well-known place.
///
/// # Errors
/// When the challenge names a place that is not the server's own.
pub fn resource_places(server: &Resource, hint: Option<&str>) -> Result<Vec<String>, DiscoverError> {
    if let Some(hint) = hint {
        let ours = same_origin(server.as_str(), hint) || (is_local(server.as_str()) && is_local(hint));
        return if ours && is_plain(hint) {
            Ok(vec![hint.to_owned()])
        } else {
            Err(DiscoverError::ForeignMetadata(hint.to_owned()))
        };
    }
    let name = "oauth-protected-resource";
    let mut places: Vec<_> =
        [well_known(server.as_str(), name), origin(server.as_str()).and_then(|o| well_known(&o, name))]
            .into_iter()
            .flatten()
            .collect();
    places.dedup();
    Ok(places)
}

/// A protected resource whose metadata was checked. Only [`accept_resource`] makes one.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::manual_non_exhaustive, reason = "nobody in this crate may make one either")]
pub struct CheckedResource {
    /// What tokens are asked for, byte for byte as the document says.
    pub resource: Resource,
    /// The authorization server to use: the first that has a usable name.
    pub issuer: Issuer,
    /// What can be asked for; `None` when the document says nothing.
    pub scopes: Option<Vec<String>>,
    _checked: (),
}

/// Judges the document that was found at `place` for `server`.
///
/// Its `resource` is the server itself, or an ancestor of it for which `place` is the well-known place: whoever holds
/// that place speaks for the ancestor (RFC 9728 section 3.3), a tenant below it cannot.
///
/// # Errors
/// When it is not for this server, or names no authorization server.
pub fn accept_resource(server: &Resource, place: &str, body: &[u8]) -> Result<CheckedResource, DiscoverError> {
    let read: ProtectedResource = super::object(body).map_err(DiscoverError::Unreadable)?;
    let other = || DiscoverError::OtherResource {
        place: place.to_owned(),
        found: read.resource.clone(),
        server: server.as_str().to_owned(),
    };
    let resource: Resource = read.resource.parse().map_err(|_| other())?;
    let ours = same_resource(&resource, server) || (is_ancestor(&resource, server) && speaks_for(place, &resource));
    if !ours {
        return Err(other());
    }
    let mut issuers = read.authorization_servers.iter().filter_map(|name| name.parse::<Issuer>().ok());
    let issuer = issuers.find(|issuer| is_allowed(server.as_str(), issuer.as_str())).ok_or(DiscoverError::NoIssuer)?;
    let scopes = (!read.scopes_supported.is_empty()).then_some(read.scopes_supported);
    Ok(CheckedResource { resource, issuer, scopes, _checked: () })
}

/// The same resource; `https://h` and `https://h/` are one URL (RFC 3986 section 6.2.3).
fn same_resource(one: &Resource, other: &Resource) -> bool {
    let (one, other) = (one.case_folded(), other.case_folded());
    let root = |uri: &Resource| {
        let is_root = Parts::of(uri.as_str()).is_some_and(|parts| parts.path == "/" && parts.query.is_none());
        if is_root { uri.as_str().trim_end_matches('/').to_owned() } else { uri.as_str().to_owned() }
    };
    root(&one) == root(&other)
}

fn is_ancestor(ancestor: &Resource, server: &Resource) -> bool {
    let (ancestor, server) = (ancestor.case_folded(), server.case_folded());
    let (Some(above), Some(below)) = (Parts::of(ancestor.as_str()), Parts::of(server.as_str())) else { return false };
    let path = above.path.trim_end_matches('/');
    above.query.is_none()
        && same_origin(ancestor.as_str(), server.as_str())
        && below.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn speaks_for(place: &str, resource: &Resource) -> bool {
    well_known(resource.as_str(), "oauth-protected-resource").is_some_and(|expected| expected == place)
}

/// An authorization server whose metadata was checked. Only [`accept_issuer`] makes one.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::manual_non_exhaustive, reason = "nobody in this crate may make one either")]
pub struct CheckedIssuer {
    /// Its name, which every answer of it is compared with.
    pub issuer: Issuer,
    /// Whether it exchanges tokens (RFC 8693).
    pub exchanges_tokens: bool,
    /// Where people are sent.
    pub authorization_endpoint: String,
    /// Where codes and refresh tokens go.
    pub token_endpoint: String,
    /// Where devices ask for a code, if they may (RFC 8628).
    pub device_authorization_endpoint: Option<String>,
    /// Where clients register, if they may.
    pub registration_endpoint: Option<String>,
    /// Where tokens are taken back, if they can be.
    pub revocation_endpoint: Option<String>,
    /// What can be asked for.
    pub scopes: Vec<String>,
    /// Whether every authorization response carries `iss` (RFC 9207 section 2.3).
    pub sends_iss: bool,
    /// Whether a metadata document's URL can be a client's name.
    pub takes_documents: bool,
    /// How clients may authenticate; empty when it does not say.
    pub auth_methods: Vec<String>,
    _checked: (),
}

/// Judges an issuer's metadata document.
///
/// # Errors
/// When its issuer is another one, it has no S256, or an endpoint is not one to send anything to.
pub fn accept_issuer(asked: &Issuer, body: &[u8]) -> Result<CheckedIssuer, DiscoverError> {
    let read: AuthorizationServer = super::object(body).map_err(DiscoverError::Unreadable)?;
    if read.issuer != asked.as_str() {
        return Err(DiscoverError::OtherIssuer { asked: asked.clone(), found: read.issuer });
    }
    if !read.code_challenge_methods_supported.iter().any(|method| method == pkce::S256) {
        return Err(DiscoverError::NoPkce);
    }
    let endpoint = |name, url: String| {
        if is_endpoint(asked, &url) { Ok(url) } else { Err(DiscoverError::BadEndpoint { name, url }) }
    };
    let optional = |name, url: Option<String>| url.map(|url| endpoint(name, url)).transpose();
    Ok(CheckedIssuer {
        issuer: asked.clone(),
        exchanges_tokens: read.grant_types_supported.iter().any(|word| word == GrantType::TokenExchange.as_str()),
        authorization_endpoint: endpoint("authorization_endpoint", read.authorization_endpoint)?,
        token_endpoint: endpoint("token_endpoint", read.token_endpoint)?,
        device_authorization_endpoint: optional("device_authorization_endpoint", read.device_authorization_endpoint)?,
        registration_endpoint: optional("registration_endpoint", read.registration_endpoint)?,
        revocation_endpoint: optional("revocation_endpoint", read.revocation_endpoint)?,
        scopes: read.scopes_supported,
        sends_iss: read.authorization_response_iss_parameter_supported,
        takes_documents: read.client_id_metadata_document_supported,
        auth_methods: read.token_endpoint_auth_methods_supported,
        _checked: (),
    })
}

/// Whether a page that an issuer names may be shown to a person, and opened.
pub(super) fn may_be_shown(issuer: &Issuer, url: &str) -> bool {
    is_endpoint(issuer, url)
}

/// Whether `who` may name `url` to us: a remote server has no business in having us, our browser or our secrets sent
/// to a port of this machine, by http or https (MCP security best practices, server-side request forgery).
fn is_allowed(who: &str, url: &str) -> bool {
    !is_local(url) || is_local(who)
}

/// Scheme and authority in lower case, without a default port.
pub fn origin(url: &str) -> Option<String> {
    let parts = Parts::of(url)?;
    let (scheme, host) = (parts.scheme.to_ascii_lowercase(), parts.host()?.to_ascii_lowercase());
    let default = match scheme.as_str() {
        "https" => "443",
        "http" => "80",
        _ => return None,
    };
    match parts.port() {
        Some(port) if port != default => Some(format!("{scheme}://{host}:{port}")),
        _ => Some(format!("{scheme}://{host}")),
    }
}

/// Whether two URLs have one origin.
pub fn same_origin(one: &str, other: &str) -> bool {
    origin(one).is_some_and(|origin_of_one| origin(other) == Some(origin_of_one))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resource(text: &str) -> Resource {
        text.parse().unwrap()
    }

    fn metadata(changes: serde_json::Value) -> Vec<u8> {
        let mut document = json!({
            "issuer": "https://as.example",
            "authorization_endpoint": "https://as.example/authorize",
            "token_endpoint": "https://as.example/token",
            "registration_endpoint": "https://as.example/register",
            "code_challenge_methods_supported": ["S256"],
        });
        document.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        document.to_string().into_bytes()
    }

    fn accept(changes: serde_json::Value) -> Result<CheckedIssuer, DiscoverError> {
        accept_issuer(&"https://as.example".parse().unwrap(), &metadata(changes))
    }

    #[test]
    fn dsc_01_no_browser_is_sent_to_a_strange_endpoint() {
        for url in [
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "com.example.app:/x",
            "http://as.example/authorize",
            "http://127.0.0.1:9/authorize",
            "https://user@as.example/authorize",
            "https://as.example/authorize#x",
            "https://as.example/a b",
            "--new-window",
            "urn:mcp:stdio:x",
            "",
        ] {
            for name in ["authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint"] {
                let refused = accept(json!({ name: url })).unwrap_err();
                assert_eq!(refused, DiscoverError::BadEndpoint { name, url: url.into() });
            }
        }
        assert!(accept(json!({})).is_ok());
    }

    #[test]
    fn a_local_issuer_may_have_local_endpoints() {
        let issuer = "http://localhost:3000".parse().unwrap();
        let body = metadata(json!({
            "issuer": "http://localhost:3000",
            "authorization_endpoint": "http://localhost:3000/oauth/authorize",
            "token_endpoint": "http://127.0.0.1:3000/oauth/token",
        }));
        assert!(accept_issuer(&issuer, &body).is_ok());
    }

    #[test]
    fn dsc_03_an_issuer_is_the_one_that_was_asked_byte_for_byte() {
        for other in ["https://as.example/", "https://AS.example", "https://honest.example", ""] {
            let refused = accept(json!({ "issuer": other })).unwrap_err();
            assert!(matches!(refused, DiscoverError::OtherIssuer { .. }), "{other}");
        }
    }

    #[test]
    fn dsc_05_without_s256_nothing_goes_on() {
        for methods in [json!([]), json!(["plain"]), json!(["s256"])] {
            let refused = accept(json!({ "code_challenge_methods_supported": methods })).unwrap_err();
            assert_eq!(refused, DiscoverError::NoPkce);
        }
        let without = br#"{"issuer":"https://as.example","authorization_endpoint":"https://as.example/a","token_endpoint":"https://as.example/t"}"#;
        assert_eq!(accept_issuer(&"https://as.example".parse().unwrap(), without), Err(DiscoverError::NoPkce));
    }

    #[test]
    fn metadata_is_read_strictly() {
        let twice = br#"{"issuer":"https://as.example","issuer":"https://as.example"}"#;
        for body in [&b"<html>"[..], b"", b"[]", b"{", twice] {
            let refused = accept_issuer(&"https://as.example".parse().unwrap(), body).unwrap_err();
            assert!(matches!(refused, DiscoverError::Unreadable(_)));
        }
    }

    #[track_caller]
    fn prm(server: &str, place: &str, named: &str, fits: bool) {
        let body = json!({ "resource": named, "authorization_servers": ["https://as.example"] }).to_string();
        let accepted = accept_resource(&resource(server), place, body.as_bytes());
        assert_eq!(accepted.is_ok(), fits, "{server} {place} {named}: {accepted:?}");
        if let Ok(checked) = accepted {
            assert_eq!(checked.resource.as_str(), named);
        }
    }

    #[test]
    fn dsc_04_metadata_is_for_this_server_or_it_is_not_used() {
        let at = "https://mcp.example/.well-known/oauth-protected-resource";
        prm("https://mcp.example/mcp", &format!("{at}/mcp"), "https://mcp.example/mcp", true);
        prm("https://mcp.example/mcp", "https://mcp.example/elsewhere", "https://mcp.example/mcp", true);
        prm("https://mcp.example/mcp", at, "https://mcp.example", true);
        prm("https://mcp.example", at, "https://mcp.example/", true);
        prm("HTTPS://MCP.example/mcp", &format!("{at}/mcp"), "https://mcp.example/mcp", true);
        prm("https://mcp.example/mcp", &format!("{at}/mcp"), "https://mcp.example/mcp/", true);
        // A tenant does not speak for the whole host, nor for its neighbour.
        prm("https://mcp.example/a/mcp", &format!("{at}/a/mcp"), "https://mcp.example", false);
        prm("https://mcp.example/a/mcp", "https://mcp.example/a/meta", "https://mcp.example/", false);
        prm("https://mcp.example/ab", &format!("{at}/a"), "https://mcp.example/a", false);
        prm("https://mcp.example/mcp", &format!("{at}/mcp"), "https://other.example/mcp", false);
        prm("https://mcp.example/mcp", &format!("{at}/mcp"), "https://mcp.example:8443/mcp", false);
        prm("https://mcp.example/mcp", &format!("{at}/mcp"), "https://mcp.example/mcp/x", false);
        prm("https://mcp.example/mcp", &format!("{at}/mcp"), "", false);
    }

    #[test]
    fn a_resource_names_an_authorization_server_that_we_can_use() {
        let body = |servers: serde_json::Value| {
            json!({ "resource": "https://mcp.example/mcp", "authorization_servers": servers }).to_string()
        };
        let accept = |servers| accept_resource(&resource("https://mcp.example/mcp"), "x", body(servers).as_bytes());
        assert_eq!(accept(json!([])), Err(DiscoverError::NoIssuer));
        assert_eq!(accept(json!(["javascript:x", "http://as.example"])), Err(DiscoverError::NoIssuer));
        assert_eq!(
            accept(json!(["ftp://x", "https://as.example/t/"])).unwrap().issuer.as_str(),
            "https://as.example/t/"
        );
        // A remote server does not have us knock at ports of this machine.
        for local in ["http://localhost:3000", "http://127.0.0.1:9", "https://[::1]:9/x"] {
            assert_eq!(accept(json!([local])), Err(DiscoverError::NoIssuer), "{local}");
            assert_eq!(accept(json!([local, "https://as.example"])).unwrap().issuer.as_str(), "https://as.example");
        }
    }

    #[test]
    fn dsc_06_metadata_lies_on_the_servers_own_origin() {
        let places = |server: &str, hint: &str| resource_places(&resource(server), Some(hint));
        for foreign in [
            "https://evil.example/prm",
            "https://mcp.example:8443/prm",
            "http://mcp.example/prm",
            "http://169.254.169.254/latest",
            "http://127.0.0.1:9/prm",
            "https://10.0.0.1/prm",
            "file:///etc/passwd",
            "https://mcp.example/p\\rm",
        ] {
            assert!(places("https://mcp.example/mcp", foreign).is_err(), "{foreign}");
        }
        assert!(places("https://mcp.example/mcp", "https://mcp.example:443/prm").is_ok());
        assert!(places("http://localhost:1/mcp", "http://127.0.0.1:2/prm").is_ok());
        assert!(places("http://localhost:1/mcp", "http://10.0.0.1/prm").is_err());
    }

    #[test]
    fn documents_are_looked_for_in_the_order_of_the_specification() {
        assert_eq!(
            resource_places(&resource("https://mcp.example/a/mcp"), None).unwrap(),
            [
                "https://mcp.example/.well-known/oauth-protected-resource/a/mcp",
                "https://mcp.example/.well-known/oauth-protected-resource",
            ]
        );
        assert_eq!(resource_places(&resource("https://mcp.example"), None).unwrap().len(), 1);
        assert_eq!(
            issuer_places(&"https://as.example/t".parse().unwrap()),
            [
                "https://as.example/.well-known/oauth-authorization-server/t",
                "https://as.example/.well-known/openid-configuration/t",
                "https://as.example/t/.well-known/openid-configuration",
            ]
        );
        assert_eq!(issuer_places(&"http://localhost:3000".parse().unwrap()).len(), 2);
    }

    #[test]
    fn hints_come_from_the_bearer_challenge_and_from_nothing_that_looks_like_it() {
        let read = Hints::read([
            "DPoP scope=\"x\"",
            "Bearer error=\"insufficient_scope\", error_description=\"needs scope=admin\", scope=\"a b\", resource_metadata=\"https://m/x\"",
        ]);
        assert_eq!(read.scope.unwrap().to_string(), "a b");
        assert_eq!(read.error.as_deref(), Some("insufficient_scope"));
        assert_eq!(read.resource_metadata.as_deref(), Some("https://m/x"));
        assert_eq!(Hints::read(["Basic realm=\"x\""]), Hints::default());
        assert_eq!(Hints::read(["Bearer scope=\"\""]).scope, None);
    }

    #[test]
    fn a_server_is_an_http_url() {
        for bad in ["urn:mcp:stdio:x", "ftp://x", "http://mcp.example", "mcp.example", "https://u@x", "https://x#f"] {
            assert!(server_url(bad).is_err(), "{bad}");
        }
        assert!(server_url("https://mcp.example/mcp?x=1").is_ok());
    }
}
