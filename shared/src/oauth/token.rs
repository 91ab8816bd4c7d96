//! The answer of the token endpoint.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Tokens (RFC 6749 section 5.1).
#[derive(Deserialize, Serialize)]
pub struct TokenResponse {
    /// What opens the resource.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// Seconds that the access token lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// What gets the next tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// What kind of token it is, where one was exchanged for another (RFC 8693 section 2.2.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_token_type: Option<String>,
    /// What was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

impl fmt::Debug for TokenResponse {
    /// Without the tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResponse")
            .field("expires_in", &self.expires_in)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}
