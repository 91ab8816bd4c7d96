//! What we say about ourselves (RFC 8414, and what a reader of OpenID Connect Discovery needs). Only what works is
//! advertised, and it follows from the enums.

use std::collections::BTreeSet;

use shared::oauth::metadata::{AuthorizationServer, ProtectedResource};
use shared::oauth::pkce::S256;
use shared::oauth::register::{AuthMethod, GrantType};
use shared::scope::{OFFLINE_ACCESS, Scope, Scopes};
use shared::state::PublicKey;
use shared::token::ASSERTION_ALGORITHMS;
use shared::uri::{Parts, Resource};

use super::policy::{Policy, Registration};
use super::token::exchange::MCP_TOOL_CALL;

/// The metadata document. `own` are the scopes that servers have for their own.
pub fn document(policy: &Policy, own: &BTreeSet<Scope>) -> AuthorizationServer {
    let at = |path: &str| policy.issuer.join(path);
    let methods = words(&AuthMethod::ALL.map(AuthMethod::as_str));
    let confidential: Vec<_> = AuthMethod::ALL.into_iter().filter(|method| *method != AuthMethod::None).collect();
    let confidential = confidential.into_iter().map(|method| method.as_str().to_owned()).collect();
    let algorithms = words(&ASSERTION_ALGORITHMS);
    AuthorizationServer {
        issuer: policy.issuer.to_string(),
        authorization_endpoint: at("/oauth/authorize"),
        token_endpoint: at("/oauth/token"),
        registration_endpoint: (policy.registration != Registration::Off).then(|| at("/register")),
        revocation_endpoint: Some(at("/oauth/revoke")),
        introspection_endpoint: Some(at("/oauth/introspect")),
        device_authorization_endpoint: Some(at("/oauth/device_authorization")),
        pushed_authorization_request_endpoint: Some(at("/oauth/par")),
        require_pushed_authorization_requests: policy.require_pushed,
        jwks_uri: Some(at("/oauth/jwks")),
        scopes_supported: supported(policy, own.iter()),
        response_types_supported: words(&["code"]),
        response_modes_supported: words(&["query"]),
        grant_types_supported: words(&GrantType::ALL.map(GrantType::as_str)),
        authorization_details_types_supported: words(&[MCP_TOOL_CALL]),
        token_endpoint_auth_methods_supported: methods.clone(),
        revocation_endpoint_auth_methods_supported: methods,
        introspection_endpoint_auth_methods_supported: confidential,
        token_endpoint_auth_signing_alg_values_supported: algorithms.clone(),
        revocation_endpoint_auth_signing_alg_values_supported: algorithms.clone(),
        introspection_endpoint_auth_signing_alg_values_supported: algorithms,
        code_challenge_methods_supported: words(&[S256]),
        authorization_response_iss_parameter_supported: true,
        client_id_metadata_document_supported: policy.cimd.on,
        ..AuthorizationServer::default()
    }
}

/// The same document for a reader of OpenID Connect Discovery, with the members that it requires. We issue no ID
/// tokens; MCP clients look here too (MCP authorization, discovery).
pub fn openid_document(policy: &Policy, own: &BTreeSet<Scope>) -> AuthorizationServer {
    AuthorizationServer {
        subject_types_supported: words(&["public"]),
        id_token_signing_alg_values_supported: words(&["ES256"]),
        ..document(policy, own)
    }
}

/// The service's scopes, and those of servers' own, each once.
fn supported<'a>(policy: &Policy, own: impl Iterator<Item = &'a Scope>) -> Vec<String> {
    let mut all: BTreeSet<Scope> = policy.catalogue.all().iter().cloned().collect();
    all.extend(own.cloned());
    all.iter().map(ToString::to_string).collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The resource on our own origin that is described under a path (RFC 9728), for a server that is reached through the same
/// name and says nothing itself. `path` is what follows the well-known name: the resource's own path, or nothing.
pub fn described(policy: &Policy, path: &str) -> Option<Resource> {
    let ours = policy.issuer.parts();
    let own = policy.mcp_resource();
    let exact = policy.resources.iter().chain(&own).find(|resource| {
        let Some(parts) = Parts::of(resource.as_str()) else { return false };
        let root = |path: &str| path.is_empty() || path == "/";
        let same_path = parts.path == path || (root(parts.path) && root(path));
        (parts.scheme, parts.authority) == (ours.scheme, ours.authority) && same_path && parts.query.is_none()
    });
    // Clients that find nothing under the endpoint's path look at the root (MCP authorization, discovery).
    exact.or(own.as_ref().filter(|_| path.is_empty())).cloned()
}

/// What we say about a resource. `own` are the scopes that its server has for its own.
pub fn resource_document(policy: &Policy, resource: &Resource, own: &Scopes) -> ProtectedResource {
    let scopes = supported(policy, own.iter()).into_iter();
    ProtectedResource {
        resource: resource.to_string(),
        authorization_servers: vec![policy.issuer.to_string()],
        // A resource asks for what its tools need; whether a client may refresh is between it and us.
        scopes_supported: scopes.filter(|scope| scope != OFFLINE_ACCESS).collect(),
        bearer_methods_supported: words(&["header"]),
        ..ProtectedResource::default()
    }
}

/// The public keys as a JWK Set (RFC 7517 section 5), current and retiring ones.
pub fn jwks(keys: &[PublicKey]) -> serde_json::Value {
    let one = |key: &PublicKey| {
        let mut jwk = key.jwk.clone();
        for (name, value) in [("kid", key.id.0.as_str()), ("alg", key.alg.as_str()), ("use", "sig")] {
            jwk.insert(name.to_owned(), value.into());
        }
        serde_json::Value::Object(jwk)
    };
    serde_json::json!({ "keys": keys.iter().map(one).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::sample::policy;

    #[test]
    fn met_03_a_resource_on_our_origin_is_described_under_its_own_path_and_no_other() {
        let mut policy = policy();
        let resources = ["http://localhost:3000/mcp", "https://other.example/mcp2", "http://localhost:3000/a?b"];
        policy.resources = resources.map(|text| text.parse().unwrap()).to_vec();
        let found = |policy: &Policy, path: &str| described(policy, path).map(|resource| resource.to_string());
        assert_eq!(found(&policy, "/mcp").as_deref(), Some("http://localhost:3000/mcp"));
        for path in ["", "/", "/mcp/", "/mcp2", "/a", "/MCP", "mcp"] {
            assert_eq!(found(&policy, path), None, "{path}");
        }
        let own = "files:write".parse().unwrap();
        let document = resource_document(&policy, &described(&policy, "/mcp").unwrap(), &own);
        assert!(document.scopes_supported.iter().any(|scope| scope == "files:write"));
        assert_eq!(document.authorization_servers, ["http://localhost:3000"]);
        assert!(!document.scopes_supported.iter().any(|scope| scope == "offline_access"));
        policy.mcp = true;
        policy.resources.clear();
        for (path, described) in [("", true), ("/mcp", true), ("/mcp/", false), ("/x", false)] {
            let own = described.then_some("http://localhost:3000/mcp");
            assert_eq!(found(&policy, path).as_deref(), own, "{path}");
        }
        policy.resources = vec!["http://localhost:3000".parse().unwrap()];
        assert_eq!(found(&policy, "").as_deref(), Some("http://localhost:3000"));
    }

    #[test]
    fn met_01_06_the_issuer_is_exact_and_s256_the_only_method() {
        let own = BTreeSet::from(["files:write".parse().unwrap(), "mcp:resources".parse().unwrap()]);
        for document in [document(&policy(), &own), openid_document(&policy(), &own)] {
            assert_eq!(document.issuer, "http://localhost:3000");
            assert_eq!(document.code_challenge_methods_supported, ["S256"]);
            assert_eq!(document.token_endpoint, "http://localhost:3000/oauth/token");
            assert!(document.authorization_response_iss_parameter_supported);
            let scopes = "files:write mcp:resources mcp:tools:execute mcp:tools:read offline_access";
            assert_eq!(document.scopes_supported.join(" "), scopes);
        }
    }
}
