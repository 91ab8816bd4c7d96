//! The authorization request (RFC 6749 section 4.1.1, RFC 8707, RFC 7636), as a client writes it.

use super::form;
use super::pkce::{Challenge, S256};

/// What goes into the URL that a person opens.
#[derive(Clone, Debug)]
pub struct AuthorizationRequest<'a> {
    /// The client.
    pub client_id: &'a str,
    /// Where the answer goes.
    pub redirect_uri: &'a str,
    /// What ties the answer to this request.
    pub state: &'a str,
    /// The S256 challenge.
    pub challenge: &'a Challenge,
    /// What is asked for; left out when empty.
    pub scope: &'a str,
    /// For which resource.
    pub resource: Option<&'a str>,
}

impl AuthorizationRequest<'_> {
    /// The URL to open: the endpoint with the request appended to whatever query it has.
    pub fn url(&self, authorization_endpoint: &str) -> String {
        let challenge = self.challenge.text();
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", self.client_id),
            ("redirect_uri", self.redirect_uri),
            ("state", self.state),
            ("code_challenge", &challenge),
            ("code_challenge_method", S256),
        ];
        if !self.scope.is_empty() {
            parameters.push(("scope", self.scope));
        }
        if let Some(resource) = self.resource {
            parameters.push(("resource", resource));
        }
        let mark = if authorization_endpoint.contains('?') { '&' } else { '?' };
        format!("{authorization_endpoint}{mark}{}", form::encode(&parameters))
    }
}
