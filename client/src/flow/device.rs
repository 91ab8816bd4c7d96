//! The device grant (RFC 8628): a code that the person types in a browser elsewhere, and polls until they have decided.

use shared::oauth::device::DeviceAuthorization;
use shared::oauth::error::ErrorCode;
use shared::oauth::register::GrantType;
use shared::scope::Scopes;
use shared::secret::Secret;
use shared::time::{Seconds, Timestamp};
use shared::uri::Resource;

use super::client::Client;
use super::discover::{CheckedIssuer, may_be_shown};
use super::token::{self, TokenError, Tokens};
use super::{FormRequest, Named};

/// How long to wait between two polls when the server does not say (RFC 8628 section 3.2).
const USUAL_INTERVAL: Seconds = Seconds(5);

/// How much longer to wait after each `slow_down` (RFC 8628 section 3.5).
const STEP: Seconds = Seconds(5);

/// The longest interval that is believed: a server that asks for more wants us to hang.
const LONGEST_INTERVAL: Seconds = Seconds(300);

/// The longest code that is shown.
const LONGEST_CODE: usize = 64;

/// A login that waits for a person.
#[derive(Debug)]
pub struct Waiting {
    /// What the person types.
    pub user_code: String,
    /// Where: a URL that may be shown and opened.
    pub page: String,
    /// The same with the code in it.
    pub complete: Option<String>,
    /// When the codes die.
    pub expires: Timestamp,
    /// How long to wait before the next poll.
    pub interval: Seconds,
    code: Secret,
}

/// What a poll came to.
#[derive(Debug)]
pub enum Polled {
    /// Nobody has decided yet.
    Waiting,
    /// The person said yes.
    Done(Tokens),
    /// The person said no.
    Denied,
    /// The code died.
    Expired,
}

/// Why there is no code to type.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DeviceError {
    /// The server has no such endpoint.
    #[error("{0} does not let devices log in by a code")]
    NotOffered(String),
    /// It refused.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// Its answer cannot be used.
    #[error("the server's answer is not usable: {0}")]
    Unusable(&'static str),
}

/// Asks for a code (RFC 8628 section 3.1).
///
/// # Errors
/// When the server has no such endpoint.
pub fn request(
    issuer: &CheckedIssuer,
    client: &Client,
    scope: &Scopes,
    resource: &Resource,
) -> Result<FormRequest, DeviceError> {
    let endpoint = issuer.device_authorization_endpoint.as_ref();
    let endpoint = endpoint.ok_or_else(|| DeviceError::NotOffered(issuer.issuer.to_string()))?;
    let scope = scope.to_string();
    let mut parameters = vec![("resource", resource.as_str())];
    if !scope.is_empty() {
        parameters.push(("scope", &scope));
    }
    Ok(client.form(endpoint, &parameters))
}

/// Judges the answer. What is shown to the person must be text, and the page a URL that the issuer may name.
///
/// # Errors
/// When the server refused, or its answer cannot be used.
pub fn accept(issuer: &CheckedIssuer, status: u16, body: &[u8], now: Timestamp) -> Result<Waiting, DeviceError> {
    if status != 200 {
        return Err(token::refusal(status, body).into());
    }
    let read: DeviceAuthorization =
        super::object(body).map_err(|_| DeviceError::Unusable("it is no device authorization"))?;
    let is_text =
        |text: &str, longest| (1..=longest).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if !is_text(&read.device_code, 8 * 1024) {
        return Err(DeviceError::Unusable("its device_code is not visible ASCII"));
    }
    if !is_text(&read.user_code, LONGEST_CODE) {
        return Err(DeviceError::Unusable("its user_code is not a short text"));
    }
    if !may_be_shown(&issuer.issuer, &read.verification_uri) {
        return Err(DeviceError::Unusable("its verification_uri is no page to send a person to"));
    }
    Ok(Waiting {
        complete: read.verification_uri_complete.filter(|url| may_be_shown(&issuer.issuer, url)),
        page: read.verification_uri,
        user_code: read.user_code,
        expires: now + Seconds(read.expires_in).min(token::LONGEST_LIFE),
        interval: read.interval.map_or(USUAL_INTERVAL, Seconds).min(LONGEST_INTERVAL).max(Seconds(1)),
        code: Secret::new(read.device_code),
    })
}

impl Waiting {
    /// Asks whether the person has decided (RFC 8628 section 3.4).
    pub fn poll(&self, endpoint: &str, client: &Client, resource: &Resource) -> FormRequest {
        let grant = GrantType::DeviceCode.as_str();
        let code = self.code.expose();
        client.form(endpoint, &[("grant_type", grant), ("device_code", code), ("resource", resource.as_str())])
    }

    /// Judges the answer to a poll; `slow_down` makes every later wait longer.
    ///
    /// # Errors
    /// When the server refused for another reason than that nobody has decided, or its answer cannot be used.
    pub fn judge(&mut self, status: u16, body: &[u8], asked: &Scopes, now: Timestamp) -> Result<Polled, TokenError> {
        match token::accept(status, body, asked, now) {
            Ok(tokens) => Ok(Polled::Done(tokens)),
            Err(TokenError::Refused(Named { error, .. })) if error == ErrorCode::AuthorizationPending.as_str() => {
                Ok(Polled::Waiting)
            }
            Err(TokenError::Refused(Named { error, .. })) if error == ErrorCode::SlowDown.as_str() => {
                self.slow_down();
                Ok(Polled::Waiting)
            }
            Err(TokenError::Refused(Named { error, .. })) if error == ErrorCode::AccessDenied.as_str() => {
                Ok(Polled::Denied)
            }
            Err(TokenError::Refused(Named { error, .. })) if error == ErrorCode::ExpiredToken.as_str() => {
                Ok(Polled::Expired)
            }
            // A server in trouble says nothing about the person.
            Err(TokenError::Status(500..) | TokenError::Status(429)) => {
                self.slow_down();
                Ok(Polled::Waiting)
            }
            Err(error) => Err(error),
        }
    }

    /// Waits longer from now on: also when the server was not reached (RFC 8628 section 3.5).
    pub fn slow_down(&mut self) {
        self.interval = Seconds(self.interval.0 + STEP.0).min(LONGEST_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::oauth::register::AuthMethod;

    use super::super::discover::accept_issuer;
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn issuer(endpoint: Option<&str>) -> CheckedIssuer {
        let body = json!({
            "issuer": "https://as.example", "authorization_endpoint": "https://as.example/authorize",
            "token_endpoint": "https://as.example/token", "code_challenge_methods_supported": ["S256"],
            "device_authorization_endpoint": endpoint,
        });
        accept_issuer(&"https://as.example".parse().unwrap(), body.to_string().as_bytes()).unwrap()
    }

    fn answer(change: &[(&str, Value)]) -> Result<Waiting, DeviceError> {
        let mut body = json!({
            "device_code": "d", "user_code": "BCDF-GHJK", "verification_uri": "https://as.example/device",
            "verification_uri_complete": "https://as.example/device?user_code=BCDF-GHJK", "expires_in": 600, "interval": 5,
        });
        for (name, value) in change {
            body[*name] = value.clone();
        }
        accept(&issuer(None), 200, body.to_string().as_bytes(), NOW)
    }

    #[test]
    fn the_request_names_scope_and_resource_and_needs_an_endpoint() {
        let client = Client { id: "c".parse().unwrap(), secret: None, method: AuthMethod::None };
        let resource = "urn:mcp:stdio:a".parse().unwrap();
        let ask = |endpoint, scope: &str| request(&issuer(endpoint), &client, &scope.parse().unwrap(), &resource);
        let form = ask(Some("https://as.example/device"), "a b").unwrap();
        assert_eq!(form.body.expose(), "resource=urn%3Amcp%3Astdio%3Aa&scope=a+b&client_id=c");
        assert!(matches!(ask(None, ""), Err(DeviceError::NotOffered(_))));
    }

    #[test]
    fn what_a_person_would_be_shown_is_checked() {
        let good = answer(&[]).unwrap();
        assert_eq!(
            (good.user_code.as_str(), good.interval, good.expires),
            ("BCDF-GHJK", Seconds(5), NOW + Seconds(600))
        );
        assert!(good.complete.is_some() && !format!("{good:?}").contains("\"d\""));
        assert_eq!(answer(&[("interval", Value::Null)]).unwrap().interval, Seconds(5));
        assert_eq!(answer(&[("interval", json!(0))]).unwrap().interval, Seconds(1));
        assert_eq!(answer(&[("interval", json!(1_000_000))]).unwrap().interval, LONGEST_INTERVAL);
        for url in
            ["javascript:alert(1)", "http://as.example/device", "http://127.0.0.1/device", "file:///etc/passwd", ""]
        {
            assert!(answer(&[("verification_uri", json!(url))]).is_err(), "{url}");
            assert!(answer(&[("verification_uri_complete", json!(url))]).unwrap().complete.is_none(), "{url}");
        }
        for code in ["", "a b", "\u{1b}[2J", &"x".repeat(65)] {
            assert!(answer(&[("user_code", json!(code))]).is_err(), "{code}");
        }
        assert!(answer(&[("device_code", json!(""))]).is_err());
        assert!(answer(&[("expires_in", json!("soon"))]).is_err());
    }

    #[test]
    fn every_word_of_a_poll_has_its_meaning() {
        let mut waiting = answer(&[]).unwrap();
        let mut says = |status, body: Value| {
            let polled = waiting.judge(status, body.to_string().as_bytes(), &Scopes::default(), NOW);
            (polled.map(|polled| format!("{polled:?}").split('(').next().unwrap().to_owned()).ok(), waiting.interval.0)
        };
        let word = |word: &str| json!({ "error": word });
        assert_eq!(says(400, word("authorization_pending")), (Some("Waiting".into()), 5));
        assert_eq!(says(400, word("slow_down")), (Some("Waiting".into()), 10));
        assert_eq!(says(503, json!({})), (Some("Waiting".into()), 15));
        assert_eq!(says(400, word("authorization_pending")), (Some("Waiting".into()), 15));
        assert_eq!(says(400, word("access_denied")), (Some("Denied".into()), 15));
        assert_eq!(says(400, word("expired_token")), (Some("Expired".into()), 15));
        assert_eq!(says(400, word("invalid_grant")).0, None);
        assert_eq!(says(200, json!({ "access_token": "t", "token_type": "Bearer" })).0, Some("Done".into()));
    }
}
