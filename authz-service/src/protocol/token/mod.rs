//! The token endpoint (RFC 6749 section 3.2): one file per grant type.

pub mod client;
pub mod code;
pub mod device;
pub mod exchange;
pub mod refresh;

use shared::id::{GrantId, TokenId};
use shared::oauth::form::Parameters;
use shared::oauth::json;
use shared::oauth::jwt::{AccessClaims, Audience};
use shared::oauth::register::GrantType;
use shared::scope::Scopes;
use shared::secret::{Secret, TokenHash};
use shared::state::{Access, Facts, Family, FamilyStage, Grant, GrantStage, Wanted};
use shared::time::{Seconds, Timestamp};
use shared::token::VerifiedToken;

use super::Verdict;
use super::authorize::no_details;
use super::bounds::Bounds;
use super::client_auth::{AuthenticatedClient, Presented};
use super::policy::{MAX_TOKEN, Policy};
use super::refusal::Refusal;

/// How a body is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyForm {
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `application/json`: a documented divergence, for clients of the systems that this one replaces.
    Json,
}

impl BodyForm {
    /// The form that a `Content-Type` names; parameters such as `charset` are ignored.
    pub fn of(content_type: Option<&str>) -> Option<Self> {
        let media = content_type?.split(';').next()?.trim();
        match media {
            _ if media.eq_ignore_ascii_case("application/x-www-form-urlencoded") => Some(Self::Form),
            _ if media.eq_ignore_ascii_case("application/json") => Some(Self::Json),
            _ => None,
        }
    }
}

/// Reads a body in either form into parameters, each at most once.
///
/// # Errors
/// When it is in neither form, or one is longer than it may be.
pub fn parameters(form: Option<BodyForm>, body: &[u8], bounds: &Bounds) -> Result<Parameters, Refusal> {
    let read = match form {
        Some(BodyForm::Form) => form_parameters(body)?,
        Some(BodyForm::Json) => flat_object(body)?,
        None => {
            let wanted = "Content-Type must be application/x-www-form-urlencoded or application/json";
            return Err(Refusal::Body(wanted.into()));
        }
    };
    bounds.check_parameters(&read, 0)?;
    Ok(read)
}

/// Reads a form into parameters, each at most once.
///
/// # Errors
/// When it is none.
pub fn form_parameters(body: &[u8]) -> Result<Parameters, Refusal> {
    let text = std::str::from_utf8(body).map_err(|_| Refusal::Body("the body is not UTF-8".into()))?;
    Ok(Parameters::parse(text.trim_end_matches(['\r', '\n']))?)
}

fn flat_object(body: &[u8]) -> Result<Parameters, Refusal> {
    let value = json::parse(body).map_err(|error| Refusal::Body(error.to_string()))?;
    let serde_json::Value::Object(members) = value else {
        return Err(Refusal::Body("the body must be a JSON object".into()));
    };
    let text = |(name, value)| match value {
        serde_json::Value::String(text) => Ok((name, text)),
        _ => Err(Refusal::Body("every member of the body must be a string".into())),
    };
    members.into_iter().map(text).collect::<Result<Vec<_>, _>>().map(Parameters::from_pairs)
}

/// A token request, read but not believed.
#[derive(Debug)]
pub struct TokenRequest {
    /// Who says to be asking.
    pub client: Presented,
    grant: GrantRequest,
    /// `authorization_details` of a grant type that has none.
    details: Option<String>,
}

#[derive(Debug)]
enum GrantRequest {
    Code(code::CodeRequest),
    Client(client::ClientRequest),
    Device(device::DeviceCodeRequest),
    Exchange(Box<exchange::ExchangeRequest>),
    Refresh(refresh::RefreshRequest),
}

/// What the shell draws for a token request.
#[derive(Debug)]
pub struct FreshTokens {
    /// The access token's name.
    pub token: TokenId,
    /// The name of a grant that no page has drawn.
    pub grant: GrantId,
    /// The refresh token that is given out: a new one for a code, the presented one's successor for a refresh.
    pub refresh: Secret,
    /// The access token of that name for one call.
    pub one_call: Secret,
}

/// A decision to give out tokens. It names the evidence: without an authenticated client there is no way to write
/// one down.
#[derive(Debug)]
pub struct Granted {
    /// What the access token says.
    pub claims: AccessClaims,
    /// Whether the drawn refresh token goes out too.
    pub gives_refresh: bool,
    /// Whether it is the drawn token for one call that goes out, in place of a signed one.
    pub one_call: bool,
    /// Who gets it.
    pub client: AuthenticatedClient,
}

impl TokenRequest {
    /// Whether it presents a code or a token, which somebody could guess at.
    pub fn presents(&self) -> bool {
        !matches!(self.grant, GrantRequest::Client(_))
    }

    /// Reads the parameters. What is wrong with the grant's own parameters is said only to an authenticated client,
    /// so it is found later.
    ///
    /// # Errors
    /// When `grant_type` names nothing that we do, or no client can be made out.
    pub fn parse(authorization: Option<&[u8]>, mut body: Parameters) -> Result<Self, Refusal> {
        let word = body.take("grant_type").ok_or(Refusal::Missing("grant_type"))?;
        let grant_type = GrantType::from_word(&word).ok_or(Refusal::UnsupportedGrant)?;
        let client = Presented::read(authorization, &mut body)?;
        let grant = match grant_type {
            GrantType::AuthorizationCode => GrantRequest::Code(code::CodeRequest::read(&mut body)),
            GrantType::RefreshToken => GrantRequest::Refresh(refresh::RefreshRequest::read(&mut body)),
            GrantType::DeviceCode => GrantRequest::Device(device::DeviceCodeRequest::read(&mut body)),
            GrantType::ClientCredentials => GrantRequest::Client(client::ClientRequest::read(&mut body)),
            GrantType::TokenExchange => GrantRequest::Exchange(Box::new(exchange::ExchangeRequest::read(&mut body))),
        };
        Ok(Self { client, grant, details: body.take("authorization_details") })
    }

    /// The refresh token that was presented, from which its successor follows.
    pub fn presented_refresh(&self) -> Option<&Secret> {
        match &self.grant {
            GrantRequest::Refresh(request) => request.presented(),
            _ => None,
        }
    }

    /// Has the token checked that is to be exchanged, by whoever holds the keys.
    ///
    /// # Errors
    /// Those of `verify`.
    pub fn check_subject<E>(
        &mut self,
        verify: impl FnOnce(&Secret) -> Result<Option<VerifiedToken>, E>,
    ) -> Result<(), E> {
        if let GrantRequest::Exchange(request) = &mut self.grant {
            request.check(verify)?;
        }
        Ok(())
    }

    /// The device code that was presented: what a device is known by that polls.
    pub fn presented_device(&self) -> Option<TokenHash> {
        match &self.grant {
            GrantRequest::Device(request) => request.code_hash(),
            _ => None,
        }
    }

    /// The records to decide on.
    pub fn wants(&self, policy: &Policy) -> Wanted {
        let wanted = self.client.wants();
        match &self.grant {
            GrantRequest::Code(request) => Wanted { code: request.code_hash(), ..wanted },
            GrantRequest::Device(request) => Wanted { device: request.code_hash(), ..wanted },
            GrantRequest::Client(request) => {
                let tools_of = policy.resource(request.resource.as_deref()).ok();
                Wanted { user: client::namesake(&self.client), tools_of, ..wanted }
            }
            GrantRequest::Exchange(request) => Wanted { access: request.subject_id(), ..wanted },
            GrantRequest::Refresh(request) => Wanted { refresh: request.presented().map(Secret::hash), ..wanted },
        }
    }
}

/// Decides on a token request, and says what follows from the answer.
pub fn decide(
    request: &TokenRequest,
    facts: &Facts,
    policy: &Policy,
    fresh: &FreshTokens,
    now: Timestamp,
) -> Verdict<Granted> {
    let client = match request.client.authenticate(facts, &policy.issuer, now) {
        Ok(client) => client,
        Err(refusal) => return Verdict::unchanged(Err(refusal)),
    };
    if let Err(refusal) = no_details(request.details.as_deref()) {
        return Verdict::unchanged(Err(refusal)).after(client.spent());
    }
    let spent = client.spent();
    let verdict = match &request.grant {
        GrantRequest::Code(request) => code::decide(request, client, facts, policy, fresh, now),
        GrantRequest::Device(request) => device::decide(request, client, facts, policy, fresh, now),
        GrantRequest::Client(request) => client::decide(request, client, facts, policy, fresh, now),
        GrantRequest::Exchange(request) => exchange::decide(request, client, facts, policy, fresh, now),
        GrantRequest::Refresh(request) => refresh::decide(request, client, facts, policy, fresh, now),
    };
    verdict.after(spent)
}

/// A client may use the grant types that it registered.
pub(super) fn registered(client: &AuthenticatedClient, grant_type: GrantType) -> Result<(), Refusal> {
    let known = client.record().grant_types.contains(&grant_type);
    if known { Ok(()) } else { Err(Refusal::GrantNotRegistered(grant_type.as_str())) }
}

/// Takes a secret out of the body; one that is too long to be ours is not even hashed, whatever may be sent.
fn secret(body: &mut Parameters, name: &str) -> Result<Option<Secret>, Refusal> {
    match body.take(name) {
        Some(text) if text.len() > MAX_TOKEN => Err(Refusal::UnknownCode),
        found => Ok(found.map(Secret::new)),
    }
}

/// A new access token of a grant: its record, and what it says (RFC 9068 section 2.2).
fn access(
    grant: &Grant,
    scopes: Scopes,
    token: TokenId,
    policy: &Policy,
    lifetime_left: Seconds,
    now: Timestamp,
) -> (Access, AccessClaims) {
    let expires = now + policy.lifetimes.access.min(lifetime_left);
    let (scopes_too, id) = (scopes.clone(), token);
    let record = Access { id, grant: grant.id, scopes: scopes_too, issued: now, expires, opaque: None, once: None };
    let claims = AccessClaims {
        iss: policy.issuer.clone(),
        sub: grant.subject().to_owned(),
        aud: Audience::One(grant.resource.clone()),
        client_id: grant.client.clone(),
        scope: scopes,
        jti: token,
        grant: grant.id,
        nbf: None,
        iat: now,
        exp: expires,
    };
    (record, claims)
}

/// How long what a grant gives may live, in seconds from now: to the end that the person set, if they did.
fn time_left(grant: &Grant, policy: &Policy, now: Timestamp) -> Seconds {
    let longest = policy.lifetimes.refresh_absolute;
    grant.until().map_or(longest, |until| longest.min(until - now))
}

/// The refresh tokens that begin with a grant's first access token, if the client gets any.
fn first_family(
    grant: &Grant,
    client: &AuthenticatedClient,
    life: Seconds,
    fresh: &FreshTokens,
    now: Timestamp,
) -> Option<Family> {
    client.record().grant_types.contains(&GrantType::RefreshToken).then(|| Family {
        grant: grant.id,
        current: fresh.refresh.hash(),
        previous: None,
        spent: Vec::new(),
        used: now,
        expires: now + life,
        stage: FamilyStage::Live,
    })
}

/// A resource may be named again here, and must be the one that the person consented to (RFC 8707 section 2.2).
fn same_resource(named: Option<&str>, grant: &Grant, policy: &Policy) -> Result<(), Refusal> {
    let Some(named) = named else { return Ok(()) };
    if policy.resource([named])? == grant.resource {
        Ok(())
    } else {
        Err(Refusal::Target("the resource is not the one that the person consented to"))
    }
}

/// Whether a grant can no longer give anything.
fn is_revoked(grant: &Grant) -> bool {
    grant.stage == GrantStage::Revoked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tok_10_no_other_grant_types() {
        for word in [
            "password",
            "implicit",
            "Client_Credentials",
            "Authorization_Code",
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
        ] {
            let body = Parameters::from_pairs(vec![("grant_type".into(), word.into())]);
            assert_eq!(TokenRequest::parse(None, body).unwrap_err(), Refusal::UnsupportedGrant, "{word}");
        }
        let empty = TokenRequest::parse(None, Parameters::default());
        assert_eq!(empty.unwrap_err(), Refusal::Missing("grant_type"));
    }

    #[test]
    fn tok_11_a_json_body_is_flat_strict_and_named_as_json() {
        let json = BodyForm::of(Some("application/json; charset=utf-8"));
        assert_eq!(json, Some(BodyForm::Json));
        assert_eq!(parameters(json, br#"{"a":"1","b":"x y"}"#, &Bounds::default()).unwrap().get("b"), Some("x y"));
        for bad in [
            r#"{"a":"1","a":"2"}"#,
            r#"{"a":{"b":"1"}}"#,
            r#"{"a":["1"]}"#,
            r#"{"a":1}"#,
            r#"{"a":true}"#,
            r#"{"a":null}"#,
            r#"["a"]"#,
            r#""a""#,
            "",
            "{",
            "a=1",
        ] {
            assert!(parameters(json, bad.as_bytes(), &Bounds::default()).is_err(), "{bad}");
        }
        for other in [None, Some("text/plain"), Some("application/jsonp"), Some("multipart/form-data"), Some("")] {
            assert!(parameters(BodyForm::of(other), br#"{"a":"1"}"#, &Bounds::default()).is_err(), "{other:?}");
        }
        assert!(parameters(Some(BodyForm::Form), b"a=1&a=2", &Bounds::default()).is_err());
        assert!(parameters(Some(BodyForm::Form), b"a=\xff", &Bounds::default()).is_err());
    }
}
