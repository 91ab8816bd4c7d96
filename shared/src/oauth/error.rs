//! The error words of OAuth, and the body that carries them.

use serde::{Deserialize, Serialize};

/// An `error` value. Each is used where its RFC says so and nowhere else.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// RFC 6749 sections 4.1.2.1, 5.2.
    InvalidRequest,
    /// RFC 6749 section 5.2.
    InvalidClient,
    /// RFC 6749 section 5.2.
    InvalidGrant,
    /// RFC 6749 sections 4.1.2.1, 5.2.
    UnauthorizedClient,
    /// RFC 6749 section 5.2.
    UnsupportedGrantType,
    /// RFC 6749 section 4.1.2.1.
    UnsupportedResponseType,
    /// RFC 6749 sections 4.1.2.1, 5.2.
    InvalidScope,
    /// RFC 6749 section 4.1.2.1.
    AccessDenied,
    /// RFC 8707 section 2.
    InvalidTarget,
    /// RFC 9101 section 7, RFC 9126 section 4: the pushed request is unknown, over, or another client's.
    InvalidRequestUri,
    /// `authorization_details` cannot be read, or asks for what is not given here (RFC 9396 section 5).
    InvalidAuthorizationDetails,
    /// RFC 7591 section 3.2.2.
    InvalidRedirectUri,
    /// RFC 7591 section 3.2.2.
    InvalidClientMetadata,
    /// RFC 7591 section 3.2.2.
    InvalidSoftwareStatement,
    /// RFC 6750 section 3.1.
    InvalidToken,
    /// RFC 6750 section 3.1.
    InsufficientScope,
    /// RFC 8628 section 3.5: nobody has decided yet.
    AuthorizationPending,
    /// RFC 8628 section 3.5: nobody has decided yet, and the device asks too often.
    SlowDown,
    /// RFC 8628 section 3.5: the device code's time is over.
    ExpiredToken,
    /// OpenID Connect Core section 3.1.2.6: `prompt=none`, and nobody is logged in.
    LoginRequired,
    /// OpenID Connect Core section 3.1.2.6: `prompt=none`, and consent is always asked.
    ConsentRequired,
    /// RFC 6749 section 4.1.2.1: our own fault.
    ServerError,
    /// RFC 6749 section 4.1.2.1: try again later.
    TemporarilyUnavailable,
}

impl ErrorCode {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::AccessDenied => "access_denied",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidRequestUri => "invalid_request_uri",
            Self::InvalidAuthorizationDetails => "invalid_authorization_details",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::InvalidSoftwareStatement => "invalid_software_statement",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::ExpiredToken => "expired_token",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }
}

/// The JSON body of a refusal (RFC 6749 section 5.2, RFC 7591 section 3.2.2). As a client reads it: any word.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ErrorBody {
    /// One of [`ErrorCode`]'s words, or one that we do not know.
    pub error: String,
    /// For the developer who reads it; never for a program to decide on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_description: Option<String>,
    /// A page about the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_uri: Option<String>,
}

impl ErrorBody {
    /// A body with a description, cut down to the characters that RFC 6749 section 5.2 allows.
    pub fn new(code: ErrorCode, description: &str) -> Self {
        Self { error: code.as_str().to_owned(), error_description: Some(allowed(description)), error_uri: None }
    }
}

/// Keeps what `error_description` may hold: `%x20-21 / %x23-5B / %x5D-7E`. Anything else becomes `'` or `?`.
pub fn allowed(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '"' => '\'',
            ' '..='~' if c != '\\' => c,
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_the_same_in_both_directions() {
        for code in [
            ErrorCode::InvalidRequest,
            ErrorCode::UnsupportedGrantType,
            ErrorCode::InvalidTarget,
            ErrorCode::LoginRequired,
        ] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn a_description_holds_only_what_rfc_6749_allows() {
        assert_eq!(allowed("a \"b\" \\ ä\n"), "a 'b' ? ??");
    }
}
