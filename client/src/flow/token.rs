//! Codes and refresh tokens in, tokens out (RFC 6749 sections 4.1.3, 5 and 6, RFC 8707).

use serde_json::Value;
use shared::oauth::error::ErrorCode;
use shared::oauth::json;
use shared::oauth::register::GrantType;
use shared::scope::Scopes;
use shared::secret::Secret;
use shared::time::{Seconds, Timestamp};
use shared::uri::Resource;

use super::authorize::Pending;
use super::client::Client;
use super::{FormRequest, Named};

/// No access token is believed to live longer: an `expires_in` beyond it is a mistake.
pub const LONGEST_LIFE: Seconds = Seconds(365 * 24 * 3600);

/// An access token is renewed this long before it dies, so that it does not die on the way.
pub const REFRESH_EARLY: Seconds = Seconds(60);

/// The longest token that we keep.
const LONGEST_TOKEN: usize = 64 * 1024;

/// Tokens, as good as the server says.
#[derive(Debug)]
pub struct Tokens {
    /// What opens the resource.
    pub access: Secret,
    /// What gets the next ones.
    pub refresh: Option<Secret>,
    /// When the access token dies; `None` when the server does not say.
    pub expires: Option<Timestamp>,
    /// What was granted: what was asked for, unless the server says otherwise (RFC 6749 section 5.1).
    pub scope: Scopes,
}

/// Why there are no tokens. The texts hold foreign words.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// The code or refresh token is no longer good: only a new login helps.
    #[error("the server no longer accepts this login ({0})")]
    InvalidGrant(Named),
    /// The server does not know this client any more.
    #[error("the server does not know this client ({0})")]
    InvalidClient(Named),
    /// Another reason.
    #[error("the server refused to give tokens ({0})")]
    Refused(Named),
    /// No reason that can be read; 5xx may pass.
    #[error("the token endpoint answered HTTP {0}")]
    Status(u16),
    /// A success that is none.
    #[error("the token endpoint's answer is not usable: {0}")]
    Unusable(&'static str),
}

/// Exchanges a code.
pub fn code_request(endpoint: &str, client: &Client, pending: &Pending, code: &Secret) -> FormRequest {
    client.form(
        endpoint,
        &[
            ("grant_type", GrantType::AuthorizationCode.as_str()),
            ("code", code.expose()),
            ("redirect_uri", &pending.redirect_uri),
            ("code_verifier", pending.verifier.expose()),
            ("resource", pending.resource.as_str()),
        ],
    )
}

/// Exchanges a refresh token.
pub fn refresh_request(endpoint: &str, client: &Client, refresh: &Secret, resource: &Resource) -> FormRequest {
    client.form(
        endpoint,
        &[
            ("grant_type", GrantType::RefreshToken.as_str()),
            ("refresh_token", refresh.expose()),
            ("resource", resource.as_str()),
        ],
    )
}

/// Judges the token endpoint's answer.
///
/// # Errors
/// When it refuses, or gives something that cannot be used as a Bearer token.
pub fn accept(status: u16, body: &[u8], asked: &Scopes, now: Timestamp) -> Result<Tokens, TokenError> {
    if status != 200 {
        return Err(refusal(status, body));
    }
    let Ok(Value::Object(read)) = json::parse(body) else {
        return Err(TokenError::Unusable("it is not a JSON object"));
    };
    let text = |name: &str| read.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let (None, Some(error)) = (text("access_token"), text("error")) {
        // Some servers say 200 and mean no.
        return Err(by_word(Named { error: error.to_owned(), description: text("error_description").map(Into::into) }));
    }
    let access = text("access_token").ok_or(TokenError::Unusable("it has no access_token"))?;
    if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err(TokenError::Unusable("its token_type is not Bearer"));
    }
    let expires = life(read.get("expires_in"))?.map(|life| now + life);
    let scope = text("scope").and_then(|scope| scope.parse().ok()).unwrap_or_else(|| asked.clone());
    Ok(Tokens { access: token(access)?, refresh: text("refresh_token").map(token).transpose()?, expires, scope })
}

/// A token travels in headers and forms: visible ASCII and nothing else (RFC 6749 appendices A.12, A.17).
fn token(text: &str) -> Result<Secret, TokenError> {
    if text.len() <= LONGEST_TOKEN && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(Secret::new(text.to_owned()))
    } else {
        Err(TokenError::Unusable("a token in it is not visible ASCII of at most 64 KiB"))
    }
}

/// `expires_in` in seconds. A number in quotes is forgiven, since known servers send it; more than a year is cut.
fn life(member: Option<&Value>) -> Result<Option<Seconds>, TokenError> {
    let bad = TokenError::Unusable("its expires_in is not a number of seconds");
    let seconds = match member {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) if number.is_u64() => number.as_u64(),
        Some(Value::Number(number)) => number.as_f64().filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    };
    Ok(Some(Seconds(seconds.ok_or(bad)?.min(LONGEST_LIFE.0))))
}

pub(super) fn refusal(status: u16, body: &[u8]) -> TokenError {
    match Named::read(body) {
        // A server in trouble says nothing about the grant, whatever words it uses.
        Some(_) if status >= 500 => TokenError::Status(status),
        Some(named) => by_word(named),
        None => TokenError::Status(status),
    }
}

fn by_word(named: Named) -> TokenError {
    match named.error.as_str() {
        word if word == ErrorCode::InvalidGrant.as_str() => TokenError::InvalidGrant(named),
        word if word == ErrorCode::InvalidClient.as_str() => TokenError::InvalidClient(named),
        _ => TokenError::Refused(named),
    }
}

/// Whether a token that dies at `expires` is due to be renewed.
pub fn is_due(expires: Option<Timestamp>, now: Timestamp) -> bool {
    expires.is_some_and(|expires| now + REFRESH_EARLY >= expires)
}

/// Whether a token that dies at `expires` is dead.
pub fn is_dead(expires: Option<Timestamp>, now: Timestamp) -> bool {
    expires.is_some_and(|expires| now >= expires)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn read(body: &Value) -> Result<Tokens, TokenError> {
        accept(200, body.to_string().as_bytes(), &"asked".parse().unwrap(), NOW)
    }

    #[test]
    fn dsc_08_an_answer_that_is_no_bearer_token_is_refused() {
        for (body, reason) in [
            (json!({}), "it has no access_token"),
            (json!([]), "it is not a JSON object"),
            (json!({ "access_token": "", "token_type": "Bearer" }), "it has no access_token"),
            (json!({ "access_token": 7, "token_type": "Bearer" }), "it has no access_token"),
            (json!({ "access_token": "t" }), "its token_type is not Bearer"),
            (json!({ "access_token": "t", "token_type": "mac" }), "its token_type is not Bearer"),
            (
                json!({ "access_token": "a\r\nX: y", "token_type": "Bearer" }),
                "a token in it is not visible ASCII of at most 64 KiB",
            ),
        ] {
            assert_eq!(read(&body).unwrap_err(), TokenError::Unusable(reason), "{body}");
        }
    }

    #[test]
    fn dsc_08_a_strange_life_is_refused_or_cut() {
        for (expires_in, life) in [
            (json!(3600), Some(Some(3600))),
            (json!(0), Some(Some(0))),
            (json!("3600"), Some(Some(3600))),
            (json!(3599.9), Some(Some(3599))),
            (json!(u64::MAX), Some(Some(LONGEST_LIFE.0))),
            (json!(1e300), Some(Some(LONGEST_LIFE.0))),
            (Value::Null, Some(None)),
            (json!(-1), None),
            (json!("soon"), None),
            (json!("-1"), None),
            (json!({}), None),
            (json!(true), None),
        ] {
            let body = json!({ "access_token": "t", "token_type": "bearer", "expires_in": expires_in });
            let read = read(&body).ok().map(|tokens| tokens.expires.map(|expires| (expires - NOW).0));
            assert_eq!(read, life, "{expires_in}");
        }
    }

    #[test]
    fn what_was_granted_is_what_was_asked_unless_the_server_says_otherwise() {
        let granted = |body: Value| read(&body).unwrap().scope.to_string();
        assert_eq!(granted(json!({ "access_token": "t", "token_type": "Bearer" })), "asked");
        assert_eq!(granted(json!({ "access_token": "t", "token_type": "Bearer", "scope": "b a" })), "a b");
    }

    #[test]
    fn only_invalid_grant_means_a_new_login() {
        let error = |status, body: &str| accept(status, body.as_bytes(), &Scopes::default(), NOW).unwrap_err();
        assert!(matches!(error(400, r#"{"error":"invalid_grant"}"#), TokenError::InvalidGrant(_)));
        assert!(matches!(error(200, r#"{"error":"invalid_grant"}"#), TokenError::InvalidGrant(_)));
        assert!(matches!(error(401, r#"{"error":"invalid_client"}"#), TokenError::InvalidClient(_)));
        assert!(matches!(error(400, r#"{"error":"invalid_target"}"#), TokenError::Refused(_)));
        assert_eq!(error(503, r#"{"error":"invalid_grant"}"#), TokenError::Status(503));
        assert_eq!(error(400, "<html>"), TokenError::Status(400));
        assert_eq!(error(302, ""), TokenError::Status(302));
    }

    #[test]
    fn a_token_is_renewed_a_minute_before_it_dies() {
        let at = |seconds| Some(NOW + Seconds(seconds));
        for (expires, due, dead) in [
            (None, false, false),
            (at(61), false, false),
            (at(60), true, false),
            (at(1), true, false),
            (at(0), true, true),
        ] {
            assert_eq!((is_due(expires, NOW), is_dead(expires, NOW)), (due, dead), "{expires:?}");
        }
    }

    #[test]
    fn dsc_11_a_refresh_names_the_resource() {
        let client =
            Client { id: "c".parse().unwrap(), secret: None, method: shared::oauth::register::AuthMethod::None };
        let form =
            refresh_request("https://as/t", &client, &Secret::new("r".into()), &"urn:mcp:stdio:a".parse().unwrap());
        assert_eq!(
            form.body.expose(),
            "grant_type=refresh_token&refresh_token=r&resource=urn%3Amcp%3Astdio%3Aa&client_id=c"
        );
    }
}
