//! How a client proves who it is at the token endpoint and its kin (RFC 6749 section 2.3, RFC 7523, contract C5).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;
use shared::id::ClientId;
use shared::oauth::form::{self, Parameters};
use shared::oauth::register::AuthMethod;
use shared::secret::Secret;
use shared::state::{Change, Client, Facts, Wanted};
use shared::time::Timestamp;
use shared::token::{ASSERTION_TYPE, AssertionError, ClientKeys, Proven, Unproven};
use shared::uri::Issuer;

use super::client_keys::FetchedKeys;
use super::policy::MAX_TOKEN;
use super::refusal::Refusal;

/// Padding is forgiven: RFC 7617 wants it, and some clients leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a client is not believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClientFault {
    /// Neither `client_id` nor an Authorization header.
    #[error("the request names no client")]
    Nameless,
    /// The Authorization header cannot be read, or has another scheme than Basic.
    #[error("the Authorization header is no Basic credential")]
    Header,
    /// A header and a body that both authenticate, or disagree.
    #[error("the client authenticates in two ways at once")]
    TwoMethods,
    /// No such client.
    #[error("the client is unknown")]
    Unknown,
    /// Not the method that it registered.
    #[error("the client uses another authentication method than it registered")]
    Method,
    /// The secret is wrong.
    #[error("the client secret is wrong")]
    Secret,
    /// The secret's time is over.
    #[error("the client secret has expired")]
    Expired,
    /// A client assertion of another type, or a type without an assertion.
    #[error("client_assertion and client_assertion_type are needed both, the latter with the value of RFC 7523")]
    AssertionType,
    /// The client assertion proves nothing.
    #[error("{0}")]
    Assertion(AssertionError),
    /// The client's keys could not be fetched; the log has said why.
    #[error("the client's keys cannot be fetched")]
    Keys,
    /// The client assertion was used before.
    #[error("the client assertion was used before")]
    Replayed,
}

/// What a request presents.
#[derive(Debug)]
pub struct Presented {
    id: String,
    proof: Proof,
    /// Keys that a shell has fetched for it.
    keys: Option<FetchedKeys>,
}

#[derive(Debug)]
enum Proof {
    Nothing,
    Header(Secret),
    Body(Secret),
    Assertion(Secret, Unproven),
}

impl Presented {
    /// Reads the Authorization header and takes `client_id` and `client_secret` out of the body. The query is never
    /// read (RFC 6749 section 2.3.1).
    ///
    /// # Errors
    /// When nothing, or more than one thing, is presented.
    pub fn read(authorization: Option<&[u8]>, body: &mut Parameters) -> Result<Self, Refusal> {
        let id = body.take("client_id");
        let secret = body.take("client_secret").map(Secret::new);
        let assertion = (body.take("client_assertion").map(Secret::new), body.take("client_assertion_type"));
        let header = authorization.is_some();
        let fail = |fault| Refusal::Client { fault, header };
        match (assertion, authorization.is_some() || secret.is_some()) {
            ((None, None), _) => {}
            (_, true) => return Err(fail(ClientFault::TwoMethods)),
            ((Some(assertion), Some(kind)), false) if kind == ASSERTION_TYPE => return Self::asserted(assertion, id),
            _ => return Err(fail(ClientFault::AssertionType)),
        }
        match (authorization, secret) {
            (Some(_), Some(_)) => Err(fail(ClientFault::TwoMethods)),
            (Some(header), None) => {
                let (name, secret) = basic(header).ok_or(fail(ClientFault::Header))?;
                match id {
                    Some(id) if id != name => Err(fail(ClientFault::TwoMethods)),
                    _ => Ok(Self { id: name, proof: Proof::Header(secret), keys: None }),
                }
            }
            (None, secret) => {
                let id = id.ok_or(fail(ClientFault::Nameless))?;
                Ok(Self { id, proof: secret.map_or(Proof::Nothing, Proof::Body), keys: None })
            }
        }
    }

    /// `client_id` may be left out, and must be the assertion's subject otherwise (RFC 7521 section 4.2).
    fn asserted(assertion: Secret, id: Option<String>) -> Result<Self, Refusal> {
        let fail = |fault| Err(Refusal::Client { fault, header: false });
        let Some(said) = Unproven::read(assertion.expose()) else {
            return fail(ClientFault::Assertion(AssertionError::Form));
        };
        match id {
            Some(id) if id != said.client => fail(ClientFault::Assertion(AssertionError::Client)),
            _ => Ok(Self { id: said.client.clone(), proof: Proof::Assertion(assertion, said), keys: None }),
        }
    }

    /// The records with which to authenticate.
    pub fn wants(&self) -> Wanted {
        let assertion = match &self.proof {
            Proof::Assertion(_, said) => Some(said.name),
            _ => None,
        };
        Wanted { client: self.id.parse::<ClientId>().ok(), assertion, ..Wanted::default() }
    }

    /// The name as it was sent: a key for counting failures.
    pub fn name(&self) -> &str {
        &self.id
    }

    /// The assertion, if one is presented.
    pub fn assertion(&self) -> Option<&str> {
        match &self.proof {
            Proof::Assertion(assertion, _) => Some(assertion.expose()),
            _ => None,
        }
    }

    /// Hands over the keys that lie behind the client's `jwks_uri`.
    pub fn set_keys(&mut self, keys: FetchedKeys) {
        self.keys = Some(keys);
    }

    /// Whether nothing is presented that could prove anything.
    pub fn is_bare(&self) -> bool {
        matches!(self.proof, Proof::Nothing)
    }

    fn fault(&self, fault: ClientFault) -> Refusal {
        Refusal::Client { fault, header: matches!(self.proof, Proof::Header(_)) }
    }

    /// Checks what is presented against the client's record.
    ///
    /// # Errors
    /// [`Refusal::Client`], with the exact cause for the log.
    pub fn authenticate(&self, facts: &Facts, issuer: &Issuer, now: Timestamp) -> Result<AuthenticatedClient, Refusal> {
        // A name that cannot be one is looked up as nothing, and facts may then hold the grant's own client.
        let named = facts.client.as_ref().filter(|client| client.id.as_str() == self.id);
        let client = named.ok_or_else(|| self.fault(ClientFault::Unknown))?;
        if let (Some(AuthMethod::PrivateKeyJwt), Proof::Assertion(assertion, _)) = (client.auth_method, &self.proof) {
            let proven = self.prove(client, assertion, facts, issuer, now).map_err(|fault| self.fault(fault))?;
            return Ok(AuthenticatedClient { client: client.clone(), assertion: Some(proven) });
        }
        let secret = match (client.auth_method, &self.proof) {
            (Some(AuthMethod::None), Proof::Nothing) => None,
            (Some(AuthMethod::ClientSecretBasic) | None, Proof::Header(secret)) => Some(secret),
            (Some(AuthMethod::ClientSecretPost) | None, Proof::Body(secret)) => Some(secret),
            _ => return Err(self.fault(ClientFault::Method)),
        };
        if let Some(secret) = secret {
            let current = client.secret.as_ref().ok_or_else(|| self.fault(ClientFault::Method))?;
            let hash = secret.hash();
            // Comparing hashes takes the same time wherever they differ.
            let known = [Some(current), client.previous_secret.as_ref()];
            let kept = known.into_iter().flatten().find(|kept| kept.hash == hash);
            let kept = kept.ok_or_else(|| self.fault(ClientFault::Secret))?;
            if kept.expires.is_some_and(|expires| expires <= now) {
                return Err(self.fault(ClientFault::Expired));
            }
        }
        Ok(AuthenticatedClient { client: client.clone(), assertion: None })
    }

    /// Checks an assertion, whose first use it must be: with the keys that the client registered, else with those that
    /// were fetched from the very place that it registered.
    fn prove(
        &self,
        client: &Client,
        assertion: &Secret,
        facts: &Facts,
        issuer: &Issuer,
        now: Timestamp,
    ) -> Result<Proven, ClientFault> {
        let check = |keys: &ClientKeys| keys.verify(assertion.expose(), &client.id, issuer, now);
        let proven = match (client.other.get("jwks"), client.other.get("jwks_uri").and_then(Value::as_str)) {
            (None, Some(uri)) => {
                let fetched = self.keys.as_ref().filter(|fetched| fetched.url.as_str() == uri);
                check(&fetched.ok_or(ClientFault::Keys)?.keys)
            }
            (jwks, _) => check(&ClientKeys::read(jwks.unwrap_or(&Value::Null))),
        };
        let proven = proven.map_err(ClientFault::Assertion)?;
        if facts.assertion_used { Err(ClientFault::Replayed) } else { Ok(proven) }
    }
}

/// Reads `Basic base64(form(id):form(secret))`, the scheme in any case (RFC 6749 section 2.3.1, RFC 9110 11.1).
fn basic(header: &[u8]) -> Option<(String, Secret)> {
    let text = std::str::from_utf8(header).ok().filter(|text| text.len() <= 2 * MAX_TOKEN)?;
    let (scheme, credential) = text.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(credential.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((form::decode(id).ok()?, Secret::new(form::decode(secret).ok()?)))
}

/// Evidence that a client proved who it is, by the one method that it registered. Only
/// [`Presented::authenticate`] makes one.
#[derive(Clone, Debug)]
pub struct AuthenticatedClient {
    client: Client,
    assertion: Option<Proven>,
}

impl AuthenticatedClient {
    /// The client.
    pub fn record(&self) -> &Client {
        &self.client
    }

    /// What its proof changes, whatever becomes of the request: an assertion is spent.
    pub fn spent(&self) -> Option<Change> {
        self.assertion.map(|proven| Change::AssertionUsed { name: proven.name(), expires: proven.expires() })
    }
}

#[cfg(test)]
mod tests {
    use shared::state::ClientSecret;

    use super::*;
    use crate::protocol::sample::{NOW, client, policy};

    const SECRET: &str = "a:b%c+d e\u{e4}";

    fn header(id: &str, secret: &str) -> String {
        format!("Basic {}", BASE64.encode(format!("{}:{}", form::encode_value(id), form::encode_value(secret))))
    }

    fn read(authorization: Option<&str>, body: &[(&str, &str)]) -> Result<Presented, Refusal> {
        let mut body = Parameters::parse(&form::encode(body)).unwrap();
        Presented::read(authorization.map(str::as_bytes), &mut body)
    }

    fn knowing(client: Option<Client>) -> Facts {
        Facts { client, ..Facts::default() }
    }

    #[track_caller]
    fn check(
        method: Option<AuthMethod>,
        authorization: Option<&str>,
        body: &[(&str, &str)],
        fault: Option<ClientFault>,
    ) {
        let mut client = client();
        client.auth_method = method;
        client.secret = (method != Some(AuthMethod::None))
            .then(|| Box::new(ClientSecret { hash: Secret::new(SECRET.into()).hash(), expires: None }));
        let found = read(authorization, body).and_then(|presented| {
            let known = Some(client).filter(|client| presented.wants().client.as_ref() == Some(&client.id));
            presented.authenticate(&knowing(known), &policy().issuer, NOW)
        });
        let want = fault.map(|fault| Refusal::Client { fault, header: authorization.is_some() });
        assert_eq!(found.err(), want);
    }

    #[test]
    fn c5_an_assertion_is_one_method_too() {
        use AuthMethod::{ClientSecretPost, PrivateKeyJwt};
        use ClientFault::{Assertion, AssertionType, Method, TwoMethods};
        let id = client().id.to_string();
        let claims = format!(r#"{{"iss":"{id}","sub":"{id}","aud":"x","jti":"1","exp":1}}"#);
        let unsigned = format!("e30.{}.AA", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims));
        let (kind, known) = (("client_assertion_type", ASSERTION_TYPE), ("client_assertion", unsigned.as_str()));
        let good = header(&id, SECRET);
        check(Some(PrivateKeyJwt), None, &[known, kind], Some(Assertion(AssertionError::Form)));
        check(Some(PrivateKeyJwt), None, &[("client_id", &id), ("client_secret", SECRET)], Some(Method));
        check(Some(PrivateKeyJwt), None, &[("client_id", &id)], Some(Method));
        check(Some(ClientSecretPost), None, &[known, kind], Some(Method));
        check(None, None, &[known, kind], Some(Method));
        check(Some(AuthMethod::None), None, &[known, kind], Some(Method));
        check(Some(PrivateKeyJwt), None, &[known, kind, ("client_secret", SECRET)], Some(TwoMethods));
        check(Some(PrivateKeyJwt), Some(&good), &[known, kind], Some(TwoMethods));
        check(Some(PrivateKeyJwt), None, &[known], Some(AssertionType));
        check(Some(PrivateKeyJwt), None, &[kind, ("client_id", &id)], Some(AssertionType));
        check(Some(PrivateKeyJwt), None, &[known, ("client_assertion_type", "x")], Some(AssertionType));
        check(Some(PrivateKeyJwt), None, &[known, kind, ("client_id", "c_2")], Some(Assertion(AssertionError::Client)));
        check(Some(PrivateKeyJwt), None, &[("client_assertion", "x"), kind], Some(Assertion(AssertionError::Form)));
    }

    #[test]
    fn c5_exactly_one_method_the_registered_one() {
        use AuthMethod::{ClientSecretBasic, ClientSecretPost, None as Public};
        use ClientFault::{Header, Method, Nameless, Secret, TwoMethods, Unknown};
        let id = client().id.to_string();
        let good = header(&id, SECRET);
        let body = [("client_id", id.as_str()), ("client_secret", SECRET)];
        let bare = [("client_id", id.as_str())];
        check(Some(Public), None, &bare, None);
        check(Some(Public), None, &body, Some(Method));
        check(Some(Public), Some(&good), &[], Some(Method));
        check(Some(ClientSecretBasic), Some(&good), &[], None);
        check(Some(ClientSecretBasic), Some(&good), &bare, None);
        check(Some(ClientSecretBasic), None, &body, Some(Method));
        check(Some(ClientSecretBasic), None, &bare, Some(Method));
        check(Some(ClientSecretPost), None, &body, None);
        check(Some(ClientSecretPost), Some(&good), &[], Some(Method));
        check(None, None, &body, None);
        check(None, Some(&good), &[], None);
        check(None, None, &bare, Some(Method));
        check(None, Some(&good), &body, Some(TwoMethods));
        check(None, Some(&good), &[("client_id", "c_other")], Some(TwoMethods));
        check(None, Some(&header(&id, "wrong")), &[], Some(Secret));
        check(None, Some(&header("c_other", SECRET)), &[], Some(Unknown));
        check(None, None, &[], Some(Nameless));
        for junk in ["", "Basic", "Basic !", "Basic YWI=", "Bearer x", "Digest a:b"] {
            check(None, Some(junk), &bare, Some(Header));
        }
    }

    #[test]
    fn tok_16_17_any_character_in_a_secret_and_any_case_of_basic() {
        let id = client().id.to_string();
        for scheme in ["basic", "BASIC", "bAsIc"] {
            check(None, Some(&header(&id, SECRET).replace("Basic", scheme)), &[], None);
        }
        check(None, Some(header(&id, SECRET).trim_end_matches('=')), &[], None);
    }

    #[test]
    fn the_secret_before_the_last_change_counts_for_its_grace() {
        let mut client = client();
        let kept =
            |text: &str, expires| Some(Box::new(ClientSecret { hash: Secret::new(text.into()).hash(), expires }));
        (client.auth_method, client.secret) = (None, kept("new", None));
        client.previous_secret = kept("old", Some(Timestamp(NOW.0 + 1)));
        for (secret, at, good) in
            [("new", NOW, true), ("old", NOW, true), ("old", Timestamp(NOW.0 + 1), false), ("older", NOW, false)]
        {
            let presented = read(None, &[("client_id", client.id.as_str()), ("client_secret", secret)]).unwrap();
            let facts = knowing(Some(client.clone()));
            assert_eq!(presented.authenticate(&facts, &policy().issuer, at).is_ok(), good, "{secret} {at:?}");
        }
    }

    #[test]
    fn an_expired_secret_is_refused() {
        let mut client = client();
        client.auth_method = None;
        client.secret = Some(Box::new(ClientSecret { hash: Secret::new("s".into()).hash(), expires: Some(NOW) }));
        let presented = read(None, &[("client_id", client.id.as_str()), ("client_secret", "s")]).unwrap();
        let facts = knowing(Some(client));
        assert!(presented.authenticate(&facts, &policy().issuer, NOW).is_err());
        assert!(presented.authenticate(&facts, &policy().issuer, Timestamp(NOW.0 - 1)).is_ok());
    }
}
