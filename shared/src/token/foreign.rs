//! Access tokens of other people's authorization servers: by a signature (RFC 9068), or by what their issuer says of them
//! when it is asked (RFC 7662).

use serde::Deserialize;
use serde_json::Value;

use super::claims::{Audiences, Words, numeric_date, perhaps_numeric_date};
use super::id_token::ProviderKeys;
use super::jwks::{self, Unsigned};
use super::verify::{MAX_TOKEN, SKEW, TokenError};
use crate::oauth::json::parse_as;
use crate::oauth::jwt::ACCESS_TOKEN_TYPE;
use crate::scope::Scopes;
use crate::text::Text;
use crate::time::Timestamp;
use crate::uri::Issuer;

/// The longest name that is taken from a token, in bytes.
const MAX_NAME: usize = 1024;

/// What a token must say to be for us.
#[derive(Clone, Debug)]
pub struct AccessTokenFor {
    /// Who must have issued it.
    pub issuer: Issuer,
    /// What must be among its audiences, byte for byte.
    pub audience: String,
    /// Which `typ` a signed one may have.
    pub token_type: TokenType,
}

/// Which `typ` the header of a signed token may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenType {
    /// `at+jwt` alone (RFC 9068 section 2.1), which no other kind of token carries.
    AccessToken,
    /// `JWT` or none too. What a token then is can only be told by what it says: an access token has a scope, and no hash
    /// of another token or of a code.
    Jwt,
}

/// Evidence that another issuer's token is for us and good at this time. Only [`ProviderKeys::verify_access`] and
/// [`ForeignToken::introspected`] make one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ForeignToken {
    issuer: Issuer,
    audience: Text,
    subject: Text,
    client: Text,
    scopes: Scopes,
    expires: Option<Timestamp>,
    id: Option<Text>,
}

/// Why an answer to an introspection says nothing about the token: it is none of that kind.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the answer is no introspection response: {0}")]
pub struct NoAnswer(String);

impl ForeignToken {
    /// Reads what the issuer answers about a token (RFC 7662 section 2.2).
    ///
    /// # Errors
    /// When the answer is none; within, the first thing that is wrong with the token.
    pub fn introspected(
        body: &[u8],
        wanted: &AccessTokenFor,
        now: Timestamp,
    ) -> Result<Result<Self, TokenError>, NoAnswer> {
        // Of a token that is not active nothing else counts, and whatever stands there need not have a form.
        let Active { active } = parse_as(body).map_err(|error| NoAnswer(error.to_string()))?;
        if !active {
            return Ok(Err(TokenError::Dead));
        }
        let told: Told = parse_as(body).map_err(|error| NoAnswer(error.to_string()))?;
        Ok(told.token(wanted, now))
    }

    /// Who issued it.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Whom it is for: us.
    pub fn audience(&self) -> &Text {
        &self.audience
    }

    /// Whom it acts for, by the issuer's name for them.
    pub fn subject(&self) -> &Text {
        &self.subject
    }

    /// To whom it was given, by the issuer's name for it.
    pub fn client(&self) -> &Text {
        &self.client
    }

    /// What it opens.
    pub fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// From when it opens nothing, if its issuer says so.
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// Its name (`jti`), if it has one.
    pub fn id(&self) -> Option<&Text> {
        self.id.as_ref()
    }

    /// Asks the clock whether its time has come.
    ///
    /// # Errors
    /// [`TokenError::Expired`].
    pub fn alive(&self, now: Timestamp) -> Result<(), TokenError> {
        if self.expires.is_some_and(|expires| expires <= now) { Err(TokenError::Expired) } else { Ok(()) }
    }
}

/// What a signed token says. RFC 9068 section 2.2, and what others write in its place.
#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audiences,
    #[serde(deserialize_with = "numeric_date")]
    exp: Timestamp,
    #[serde(flatten)]
    rest: Rest,
}

/// Members that signed tokens and introspection responses share.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rest {
    #[serde(deserialize_with = "perhaps_numeric_date")]
    nbf: Option<Timestamp>,
    #[serde(deserialize_with = "perhaps_numeric_date")]
    iat: Option<Timestamp>,
    client_id: Option<String>,
    azp: Option<String>,
    scope: Option<Words>,
    scp: Option<Words>,
    jti: Option<String>,
    /// Keycloak's word for what a token is: `Bearer`, `ID`, `Refresh`, `DPoP`.
    typ: Option<String>,
    cnf: Option<Value>,
    at_hash: Option<Value>,
    c_hash: Option<Value>,
}

impl ProviderKeys {
    /// Checks another issuer's access token: signature, type and every claim (RFC 9068 section 4).
    ///
    /// # Errors
    /// The first thing that is wrong. [`TokenError::Key`], and [`TokenError::Signature`] where keys have no names, may mean
    /// that the issuer has new keys.
    pub fn verify_access(
        &self,
        token: &str,
        wanted: &AccessTokenFor,
        now: Timestamp,
    ) -> Result<ForeignToken, TokenError> {
        let header = jwks::header(token, MAX_TOKEN).ok_or(TokenError::Form)?;
        let is_typed = is_typed(header.typ.as_deref(), wanted.token_type)?;
        let claims: Claims = self.0.signed(token, &header).map_err(|why| match why {
            Unsigned::Form => TokenError::Form,
            Unsigned::Key => TokenError::Key,
            Unsigned::Signature => TokenError::Signature,
        })?;
        if !is_typed && !claims.rest.is_of_access_token() {
            return Err(TokenError::Type);
        }
        claims.token(wanted, now)
    }
}

/// Whether `typ` alone says that it is an access token.
fn is_typed(typ: Option<&str>, wanted: TokenType) -> Result<bool, TokenError> {
    let typ = typ.unwrap_or("JWT").to_ascii_lowercase();
    let typ = typ.strip_prefix("application/").unwrap_or(&typ);
    match (typ, wanted) {
        (ACCESS_TOKEN_TYPE, _) => Ok(true),
        ("jwt", TokenType::Jwt) => Ok(false),
        _ => Err(TokenError::Type),
    }
}

impl Rest {
    /// Whether what it says is what access tokens say, and ID tokens and refresh tokens do not.
    fn is_of_access_token(&self) -> bool {
        let has_scope = self.scope.is_some() || self.scp.is_some();
        let is_hashing = self.at_hash.is_some() || self.c_hash.is_some();
        has_scope && !is_hashing && self.is_bearer()
    }

    fn is_bearer(&self) -> bool {
        self.typ.as_ref().is_none_or(|typ| typ.eq_ignore_ascii_case("bearer"))
    }

    fn client(&self) -> Option<&str> {
        self.client_id.as_deref().or(self.azp.as_deref())
    }

    /// What it opens. Words that are no scopes open nothing.
    fn scopes(&self) -> Scopes {
        let words = self.scope.as_ref().or(self.scp.as_ref());
        words.into_iter().flat_map(Words::iter).filter_map(|word| word.parse().ok()).collect()
    }
}

impl Claims {
    fn token(self, wanted: &AccessTokenFor, now: Timestamp) -> Result<ForeignToken, TokenError> {
        let Self { iss, sub, aud, exp, rest } = self;
        let client = rest.client().ok_or(TokenError::Form)?.to_owned();
        let said = Said { iss: Some(&iss), aud: Some(&aud), sub: &sub, client: &client, exp: Some(exp), rest: &rest };
        checked(said, wanted, now)
    }
}

/// Whether a token is active: exactly `true` or `false` (RFC 7662 section 2.2).
#[derive(Debug, Deserialize)]
struct Active {
    active: bool,
}

/// What an issuer tells of an active token.
#[derive(Debug, Deserialize)]
struct Told {
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    aud: Option<Audiences>,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default, deserialize_with = "perhaps_numeric_date")]
    exp: Option<Timestamp>,
    #[serde(flatten)]
    rest: Rest,
}

impl Told {
    fn token(self, wanted: &AccessTokenFor, now: Timestamp) -> Result<ForeignToken, TokenError> {
        let Self { iss, sub, aud, token_type, exp, rest } = self;
        // Who answers may know refresh tokens too, and those that need a proof.
        let is_bearer = token_type.as_ref().is_none_or(|word| word.eq_ignore_ascii_case("bearer"));
        if !is_bearer || !rest.is_bearer() {
            return Err(TokenError::Type);
        }
        let client = rest.client().ok_or(TokenError::Form)?.to_owned();
        // A client that acts for itself may have no other name.
        let sub = sub.unwrap_or_else(|| client.clone());
        let (iss, aud) = (iss.as_deref(), aud.as_ref());
        checked(Said { iss, aud, sub: &sub, client: &client, exp, rest: &rest }, wanted, now)
    }
}

/// What is said of a token, wherever.
struct Said<'a> {
    /// The issuer's name; nothing where the issuer itself says all this, and does not name itself.
    iss: Option<&'a str>,
    aud: Option<&'a Audiences>,
    sub: &'a str,
    client: &'a str,
    exp: Option<Timestamp>,
    rest: &'a Rest,
}

fn checked(said: Said<'_>, wanted: &AccessTokenFor, now: Timestamp) -> Result<ForeignToken, TokenError> {
    let Said { iss, aud, sub, client, exp, rest } = said;
    if iss.is_some_and(|iss| iss != wanted.issuer.as_str()) {
        return Err(TokenError::Issuer);
    }
    // A token that does not say whom it is for may be for anybody (MCP "Token Handling", RFC 9068 section 4).
    if !aud.is_some_and(|aud| aud.includes(&wanted.audience)) {
        return Err(TokenError::Audience);
    }
    if rest.cnf.is_some() {
        return Err(TokenError::Bound);
    }
    if exp.is_some_and(|exp| exp <= now) {
        return Err(TokenError::Expired);
    }
    if [rest.nbf, rest.iat].into_iter().flatten().any(|at| at > now + SKEW) {
        return Err(TokenError::Early);
    }
    if ![sub, client].into_iter().chain(rest.jti.as_deref()).all(is_name) {
        return Err(TokenError::Form);
    }
    Ok(ForeignToken {
        issuer: wanted.issuer.clone(),
        audience: wanted.audience.as_str().into(),
        subject: sub.into(),
        client: client.into(),
        scopes: rest.scopes(),
        expires: exp,
        id: rest.jti.as_deref().map(Text::from),
    })
}

/// What can be written into a log and a page without harm.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
