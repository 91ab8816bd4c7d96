//! Dynamic client registration (RFC 7591).

use shared::id::ClientId;
use shared::oauth::register::{AuthMethod, ClientMetadata, GrantType, Registered};
use shared::secret::Secret;
use shared::uri::{ExactRedirect, RedirectUri};

use super::Named;
use super::client::Client;
use super::discover::CheckedIssuer;

/// Our name on consent pages.
pub const CLIENT_NAME: &str = "mcp-client";

/// Why a registration did not come about. The texts hold foreign words.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RegisterError {
    /// The server takes no registrations.
    #[error("{0} does not register clients by itself")]
    NotOffered(String),
    /// The server named a reason.
    #[error("the server refused to register this client ({0})")]
    Refused(Named),
    /// The server refused without a reason that can be read.
    #[error("the server answered a registration with HTTP {0}")]
    Status(u16),
    /// RFC 7591 section 3.2.1.
    #[error("the server's answer to a registration is not usable: {0}")]
    Unusable(&'static str),
}

/// The body of a registration for a native client (OpenID Connect Registration section 2, RFC 8252) that is sent back
/// to `redirect_uri`. Public when the server allows that: a secret on a person's disk proves nothing.
pub fn request(issuer: &CheckedIssuer, redirect_uri: &str) -> ClientMetadata {
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    ClientMetadata {
        redirect_uris: vec![redirect_uri.to_owned()],
        token_endpoint_auth_method: Some(method(&issuer.auth_methods).as_str().to_owned()),
        grant_types: words(&grant_types(issuer)),
        response_types: words(&["code"]),
        client_name: Some(CLIENT_NAME.to_owned()),
        application_type: Some("native".to_owned()),
        software_id: Some("mcp-client".to_owned()),
        software_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        ..ClientMetadata::default()
    }
}

/// What we may do there: log in by a code too, where the server lets devices, and get tokens for one call, where it has
/// them.
fn grant_types(issuer: &CheckedIssuer) -> Vec<&'static str> {
    let device = issuer.device_authorization_endpoint.is_some().then_some(GrantType::DeviceCode);
    let exchange = issuer.exchanges_tokens.then_some(GrantType::TokenExchange);
    let all = [GrantType::AuthorizationCode, GrantType::RefreshToken].into_iter().chain(device).chain(exchange);
    all.map(GrantType::as_str).collect()
}

fn method(listed: &[String]) -> AuthMethod {
    let listed = |method: &AuthMethod| listed.iter().any(|word| word == method.as_str());
    AuthMethod::ALL
        .into_iter()
        .filter(|method| *method != AuthMethod::PrivateKeyJwt)
        .find(listed)
        .unwrap_or(AuthMethod::None)
}

/// Judges the answer. Any 2xx will do: servers disagree about 200 and 201.
///
/// # Errors
/// When the server refused, or the answer has no client id, other redirect URIs than asked for, or an authentication
/// method that we cannot use.
pub fn accept(status: u16, body: &[u8], redirect_uri: &str) -> Result<Client, RegisterError> {
    if !(200..300).contains(&status) {
        return Err(Named::read(body).map_or(RegisterError::Status(status), RegisterError::Refused));
    }
    let read: Registered = super::object(body).map_err(|_| RegisterError::Unusable("it is not a client's metadata"))?;
    let id: ClientId = read.client_id.parse().map_err(|_| RegisterError::Unusable("it has no usable client_id"))?;
    let registered = &read.metadata.redirect_uris;
    if !registered.is_empty() && !keeps(registered, redirect_uri) {
        return Err(RegisterError::Unusable("it has other redirect URIs than were asked for"));
    }
    let secret = read.client_secret.filter(|secret| !secret.is_empty()).map(Secret::new);
    let method = match read.metadata.token_endpoint_auth_method.as_deref() {
        Some(word) => AuthMethod::from_word(word)
            .filter(|method| *method != AuthMethod::PrivateKeyJwt)
            .ok_or(RegisterError::Unusable("it asks for an authentication we do not have"))?,
        // RFC 7591 section 2: Basic is the default; without a secret it can only mean a public client.
        None if secret.is_some() => AuthMethod::ClientSecretBasic,
        None => AuthMethod::None,
    };
    if method != AuthMethod::None && secret.is_none() {
        return Err(RegisterError::Unusable("it asks for a secret and gives none"));
    }
    let secret = secret.filter(|_| method != AuthMethod::None);
    Ok(Client { id, secret, method })
}

fn keeps(registered: &[String], redirect_uri: &str) -> bool {
    let registered: Vec<_> = registered.iter().filter_map(|uri| RedirectUri::register(uri, &[]).ok()).collect();
    ExactRedirect::find(&registered, Some(redirect_uri)).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const REDIRECT: &str = "http://127.0.0.1:49152/callback";

    fn accept_json(body: serde_json::Value) -> Result<Client, RegisterError> {
        accept(201, body.to_string().as_bytes(), REDIRECT)
    }

    #[test]
    fn dsc_09_a_registration_without_id_or_with_other_redirects_is_refused() {
        for (body, reason) in [
            (json!({}), "it is not a client's metadata"),
            (json!({ "client_id": "" }), "it has no usable client_id"),
            (json!({ "client_id": "a b" }), "it has no usable client_id"),
            (
                json!({ "client_id": "c", "redirect_uris": ["https://evil.example/cb"] }),
                "it has other redirect URIs than were asked for",
            ),
            (
                json!({ "client_id": "c", "token_endpoint_auth_method": "private_key_jwt" }),
                "it asks for an authentication we do not have",
            ),
            (
                json!({ "client_id": "c", "token_endpoint_auth_method": "client_secret_post" }),
                "it asks for a secret and gives none",
            ),
        ] {
            assert_eq!(accept_json(body.clone()).unwrap_err(), RegisterError::Unusable(reason), "{body}");
        }
        assert!(accept(201, b"<html>", REDIRECT).is_err());
    }

    #[test]
    fn any_2xx_registers_and_the_answer_decides_how_we_authenticate() {
        for status in [200, 201, 202] {
            assert!(accept(status, br#"{"client_id":"c"}"#, REDIRECT).is_ok());
        }
        let method = |body| accept_json(body).unwrap().method;
        assert_eq!(method(json!({ "client_id": "c" })), AuthMethod::None);
        assert_eq!(method(json!({ "client_id": "c", "client_secret": "s" })), AuthMethod::ClientSecretBasic);
        let post =
            json!({ "client_id": "c", "client_secret": "s", "token_endpoint_auth_method": "client_secret_post" });
        assert_eq!(method(post), AuthMethod::ClientSecretPost);
        let other_port = json!({ "client_id": "c", "redirect_uris": ["http://127.0.0.1/callback"] });
        assert_eq!(method(other_port), AuthMethod::None);
    }

    #[test]
    fn a_refusal_keeps_the_servers_words() {
        let refused =
            accept(400, br#"{"error":"invalid_redirect_uri","error_description":"no"}"#, REDIRECT).unwrap_err();
        assert_eq!(refused.to_string(), "the server refused to register this client (invalid_redirect_uri: no)");
        assert_eq!(accept(500, b"<html>", REDIRECT).unwrap_err(), RegisterError::Status(500));
        assert_eq!(accept(302, b"", REDIRECT).unwrap_err(), RegisterError::Status(302));
    }

    #[test]
    fn we_are_public_where_the_server_allows_it() {
        let listed = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(method(&[]), AuthMethod::None);
        assert_eq!(method(&listed(&["client_secret_basic", "none"])), AuthMethod::None);
        assert_eq!(method(&listed(&["private_key_jwt", "client_secret_post"])), AuthMethod::ClientSecretPost);
    }
}
