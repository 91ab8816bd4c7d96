//! What goes to a provider and what comes back: metadata, the browser's way there and back, code for ID token.

use serde::Deserialize;
use shared::oauth::form::{self, Parameters};
use shared::oauth::json::parse_as;
use shared::oauth::metadata::is_endpoint;
use shared::oauth::pkce::Verifier;
use shared::secret::Secret;
use shared::time::Timestamp;
use shared::token::{IdTokenError, IdTokenFor, Identity, ProviderKeys};
use shared::uri::Issuer;

use super::{Upstream, UpstreamFault};

/// What a provider says of itself (OpenID Connect Discovery section 3).
#[derive(Debug)]
pub struct Provider {
    authorization: String,
    token: String,
    jwks: String,
    names_itself: bool,
    takes_basic: bool,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    code_challenge_methods_supported: Option<Vec<String>>,
}

impl Provider {
    /// Reads the metadata of `upstream`.
    ///
    /// # Errors
    /// When they are another provider's, or lead where no secret may go.
    pub fn read(upstream: &Upstream, body: &[u8]) -> Result<Self, UpstreamFault> {
        let down = |why: String| UpstreamFault::Down(why);
        let read: Metadata = parse_as(body).map_err(|error| down(format!("its metadata cannot be read: {error}")))?;
        if read.issuer != upstream.issuer.as_str() {
            return Err(down("its metadata name another issuer; `issuer` must be the same, byte for byte".to_owned()));
        }
        if read.code_challenge_methods_supported.is_some_and(|all| !all.iter().any(|one| one == "S256")) {
            return Err(down("it does not do PKCE with S256".to_owned()));
        }
        for endpoint in [&read.authorization_endpoint, &read.token_endpoint, &read.jwks_uri] {
            if !is_endpoint(&upstream.issuer, endpoint) {
                return Err(down("its metadata lead to an address that is no https URL".to_owned()));
            }
        }
        // Core section 9: Basic where nothing is said.
        let takes_basic = read
            .token_endpoint_auth_methods_supported
            .is_none_or(|all| all.iter().any(|one| one == "client_secret_basic"));
        Ok(Self {
            authorization: read.authorization_endpoint,
            token: read.token_endpoint,
            jwks: read.jwks_uri,
            names_itself: read.authorization_response_iss_parameter_supported,
            takes_basic,
        })
    }

    /// Where the keys are.
    pub fn jwks(&self) -> &str {
        &self.jwks
    }
}

/// What belongs to one sign-in: it is made again from what the browser brings back, and stored nowhere.
#[derive(Debug)]
pub struct Attempt {
    /// What the provider sends back, whole.
    pub state: String,
    /// What the ID token must hold.
    pub nonce: Secret,
    /// What only we can answer for the code with.
    pub verifier: Verifier,
}

/// The address that the browser goes to.
pub fn request(upstream: &Upstream, provider: &Provider, attempt: &Attempt, ours: &Issuer) -> String {
    let challenge = attempt.verifier.challenge().text();
    let query = form::encode(&[
        ("response_type", "code"),
        ("client_id", &upstream.client_id),
        ("redirect_uri", &upstream.redirect_uri(ours)),
        ("scope", &upstream.scope),
        ("state", &attempt.state),
        ("nonce", attempt.nonce.expose()),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    let joint = if provider.authorization.contains('?') { '&' } else { '?' };
    format!("{}{joint}{query}", provider.authorization)
}

/// The code in what came back.
///
/// # Errors
/// The provider's own error, or what is wrong with its answer.
pub fn accept(upstream: &Upstream, provider: &Provider, answer: &mut Parameters) -> Result<Secret, UpstreamFault> {
    match answer.get("iss") {
        Some(issuer) if issuer != upstream.issuer.as_str() => return Err(UpstreamFault::Issuer),
        None if provider.names_itself => return Err(UpstreamFault::Issuer),
        _ => {}
    }
    if let Some(error) = answer.get("error") {
        return Err(match error {
            "access_denied" | "consent_required" | "interaction_required" => UpstreamFault::Denied,
            "server_error" | "temporarily_unavailable" => UpstreamFault::Down(format!("it answered with {error}")),
            other => UpstreamFault::Error(other.chars().filter(char::is_ascii_graphic).take(64).collect()),
        });
    }
    answer.take("code").filter(|code| !code.is_empty()).map(Secret::new).ok_or(UpstreamFault::Answer)
}

/// A request to a provider's token endpoint.
#[derive(Debug)]
pub struct TokenRequest {
    /// Where to.
    pub url: String,
    /// The `Authorization` header, if one is needed.
    pub authorization: Option<Secret>,
    /// The form.
    pub body: Secret,
}

/// The request that turns the code into an ID token.
pub fn exchange(
    upstream: &Upstream,
    provider: &Provider,
    code: &Secret,
    attempt: &Attempt,
    ours: &Issuer,
) -> TokenRequest {
    let redirect_uri = upstream.redirect_uri(ours);
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", code.expose()),
        ("redirect_uri", &redirect_uri),
        ("code_verifier", attempt.verifier.expose()),
    ];
    let authorization = match &upstream.secret {
        Some(secret) if provider.takes_basic => Some(form::basic(&upstream.client_id, secret.expose())),
        Some(secret) => {
            form.extend([("client_id", upstream.client_id.as_str()), ("client_secret", secret.expose())]);
            None
        }
        None => {
            form.push(("client_id", &upstream.client_id));
            None
        }
    };
    TokenRequest { url: provider.token.clone(), authorization, body: Secret::new(form::encode(&form)) }
}

/// What a token endpoint gave, unchecked.
pub struct Tokens {
    id_token: Secret,
    access_token: Option<Secret>,
}

/// Reads the token endpoint's answer.
///
/// # Errors
/// When it has no ID token: the code was not good, or the provider does not do its work.
pub fn tokens(status: u16, body: &[u8]) -> Result<Tokens, UpstreamFault> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        id_token: Option<String>,
        #[serde(default)]
        access_token: Option<String>,
        #[serde(default)]
        error: Option<String>,
    }
    let down = |why: &str| UpstreamFault::Down(format!("its token endpoint {why} (status {status})"));
    let read: Body = parse_as(body).map_err(|_| down("answers with something that is no JSON"))?;
    match (status, read.error.as_deref(), read.id_token) {
        (200, None, Some(id_token)) => {
            Ok(Tokens { id_token: Secret::new(id_token), access_token: read.access_token.map(Secret::new) })
        }
        (200, None, None) => Err(down("gives no ID token")),
        (_, Some("invalid_grant"), _) => Err(UpstreamFault::Code),
        (_, Some("invalid_client" | "unauthorized_client"), _) => Err(down("does not take our client_id and secret")),
        _ => Err(down("refuses")),
    }
}

/// Who signed in, by the tokens of this attempt.
///
/// # Errors
/// [`IdTokenError`]; when it is the key that is unknown, newer keys may know it.
pub fn identify(
    upstream: &Upstream,
    tokens: &Tokens,
    keys: &ProviderKeys,
    attempt: &Attempt,
    now: Timestamp,
) -> Result<Identity, IdTokenError> {
    let wanted = IdTokenFor {
        issuer: &upstream.issuer,
        client: &upstream.client_id,
        nonce: attempt.nonce.expose(),
        access_token: tokens.access_token.as_ref().map(Secret::expose),
    };
    keys.verify(tokens.id_token.expose(), &wanted, now)
}
