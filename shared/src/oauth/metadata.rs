//! Discovery documents: authorization server metadata (RFC 8414) and protected resource metadata (RFC 9728).

use serde::{Deserialize, Serialize};

use crate::uri::{Issuer, Parts, Resource};

/// Authorization server metadata (RFC 8414 section 2), as we write it and as a client reads it.
///
/// Endpoints are kept as text. Absent lists are empty.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct AuthorizationServer {
    /// Must equal, byte for byte, the issuer that was asked (RFC 8414 section 3.3).
    pub issuer: String,
    /// Where people are sent.
    pub authorization_endpoint: String,
    /// Where codes and refresh tokens are exchanged.
    pub token_endpoint: String,
    /// RFC 7591.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_endpoint: Option<String>,
    /// RFC 7009.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation_endpoint: Option<String>,
    /// RFC 7662.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub introspection_endpoint: Option<String>,
    /// RFC 8628.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_authorization_endpoint: Option<String>,
    /// RFC 9126.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pushed_authorization_request_endpoint: Option<String>,
    /// RFC 9126 section 5: whether an authorization request must be pushed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub require_pushed_authorization_requests: bool,
    /// RFC 7517.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// What can be asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes_supported: Vec<String>,
    /// `code`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response_types_supported: Vec<String>,
    /// `query`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response_modes_supported: Vec<String>,
    /// What the token endpoint takes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grant_types_supported: Vec<String>,
    /// What `authorization_details` may be about (RFC 9396 section 10).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authorization_details_types_supported: Vec<String>,
    /// How clients prove who they are at the token endpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// With which algorithms, where they sign (RFC 8414 section 2).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub token_endpoint_auth_signing_alg_values_supported: Vec<String>,
    /// And at the revocation endpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revocation_endpoint_auth_methods_supported: Vec<String>,
    /// With which algorithms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revocation_endpoint_auth_signing_alg_values_supported: Vec<String>,
    /// And at the introspection endpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub introspection_endpoint_auth_methods_supported: Vec<String>,
    /// With which algorithms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub introspection_endpoint_auth_signing_alg_values_supported: Vec<String>,
    /// Exactly `S256`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub code_challenge_methods_supported: Vec<String>,
    /// RFC 9207 section 2.3.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub authorization_response_iss_parameter_supported: bool,
    /// Client ID Metadata Documents section 6.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub client_id_metadata_document_supported: bool,
    /// For a reader of OpenID Connect Discovery, which requires the member: `public`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_types_supported: Vec<String>,
    /// For a reader of OpenID Connect Discovery, which requires the member. We issue no ID tokens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub id_token_signing_alg_values_supported: Vec<String>,
    /// Where a developer reads on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_documentation: Option<String>,
}

/// Protected resource metadata (RFC 9728 section 2).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ProtectedResource {
    /// Must equal the resource that was asked (RFC 9728 section 3.3).
    pub resource: String,
    /// The issuers that give out tokens for it.
    pub authorization_servers: Vec<String>,
    /// The minimum that is useful; never `offline_access`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes_supported: Vec<String>,
    /// `header`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bearer_methods_supported: Vec<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_name: Option<String>,
}

/// Where a server's metadata may lie: the well-known name inserted between host and path (RFC 8414 section 3.1,
/// RFC 9728 section 3.1). `None` when the URL has no authority.
///
/// `name` is `oauth-authorization-server`, `oauth-protected-resource` or `openid-configuration`.
pub fn well_known(url: &str, name: &str) -> Option<String> {
    let parts = Parts::of(url)?;
    let path = parts.path.trim_end_matches('/');
    Some(format!("{}://{}/.well-known/{name}{path}", parts.scheme, parts.authority?))
}

/// Where an issuer's metadata may lie, in the order to try (RFC 8414 sections 3.1 and 5, OpenID Connect Discovery section 4).
pub fn issuer_places(issuer: &Issuer) -> Vec<String> {
    let mut places: Vec<_> = ["oauth-authorization-server", "openid-configuration"]
        .into_iter()
        .filter_map(|name| well_known(issuer.as_str(), name))
        .collect();
    if !issuer.parts().path.trim_end_matches('/').is_empty() {
        places.push(issuer.join("/.well-known/openid-configuration"));
    }
    places
}

/// Whether an issuer may send us, or a browser, to `url`: a plain one, and on this machine only when the issuer is there
/// too. A remote server has no business in having us or our secrets sent to a port of this machine (MCP security best
/// practices, server-side request forgery).
pub fn is_endpoint(issuer: &Issuer, url: &str) -> bool {
    is_plain(url) && (!is_local(url) || is_local(issuer.as_str()))
}

/// A URL that every parser reads alike: http(s), a host, no user, no fragment, only the characters of RFC 3986;
/// plain http on this machine only.
pub fn is_plain(url: &str) -> bool {
    url.parse::<Resource>().is_ok_and(|resource| resource.stdio_name().is_none())
        && (url.starts_with("https://") || url.starts_with("http://"))
}

/// Whether a URL is on this machine.
pub fn is_local(url: &str) -> bool {
    Parts::of(url).is_some_and(|parts| parts.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_name_goes_between_host_and_path() {
        let at = |url: &str| well_known(url, "oauth-authorization-server").unwrap();
        assert_eq!(at("https://as.example"), "https://as.example/.well-known/oauth-authorization-server");
        assert_eq!(at("https://as.example/"), "https://as.example/.well-known/oauth-authorization-server");
        assert_eq!(at("https://as.example/tenant"), "https://as.example/.well-known/oauth-authorization-server/tenant");
        assert_eq!(well_known("urn:mcp:stdio:a", "x"), None);
    }

    #[test]
    fn a_foreign_document_with_members_we_do_not_know_can_be_read() {
        let read: AuthorizationServer = serde_json::from_str(r#"{"issuer":"https://a","x":1}"#).unwrap();
        assert_eq!(read.issuer, "https://a");
        assert!(read.code_challenge_methods_supported.is_empty());
    }
}
