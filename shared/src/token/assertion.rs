//! Client assertions: a client proves who it is by a signature (RFC 7523 sections 2.2 and 3, RFC 8725).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::claims::{Audiences, numeric_date, perhaps_numeric_date};
use super::jwks::{self, Jwks, Unsigned};
use super::verify::SKEW;
use crate::id::ClientId;
use crate::secret::TokenHash;
use crate::time::{Seconds, Timestamp};
use crate::uri::Issuer;

/// The one `client_assertion_type` (RFC 7523 section 2.2).
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The algorithms that a client's key may be for, each key for one of them. No symmetric one: a secret would have to be
/// kept in the clear.
pub const ASSERTION_ALGORITHMS: [&str; 4] = ["ES256", "EdDSA", "RS256", "PS256"];

/// A longer assertion is refused unread (contract C9).
const MAX_ASSERTION: usize = 8 * 1024;

/// How far ahead an assertion may end: the time in which a stolen one could be used, and in which its name is kept.
const LONGEST_LIFE: Seconds = Seconds(300);

/// The longest `jti`, in bytes.
const MAX_NAME: usize = 256;

/// Why an assertion proves nothing. For the log; a caller learns `invalid_client` and nothing else.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AssertionError {
    /// Not three parts, too long, not JSON, a claim missing or of the wrong type.
    #[error("the client assertion is not one in form")]
    Form,
    /// `typ` is that of another kind of token.
    #[error("the client assertion is a token of another type")]
    Type,
    /// No key of the client's fits `kid` and `alg`.
    #[error("the client assertion is signed with no registered key")]
    Key,
    /// The signature is wrong.
    #[error("the client assertion's signature is wrong")]
    Signature,
    /// `iss` or `sub` is not the client.
    #[error("the client assertion speaks for somebody else")]
    Client,
    /// `aud` is not us alone.
    #[error("the client assertion is not for this server alone")]
    Audience,
    /// `exp` has come.
    #[error("the client assertion has expired")]
    Expired,
    /// `exp` lies too far ahead.
    #[error("the client assertion lives for more than five minutes")]
    TooLong,
    /// `nbf` or `iat` lie ahead.
    #[error("the client assertion is not valid yet")]
    Early,
}

/// What an assertion says (RFC 7523 section 3). `jti` is optional there; without it nobody could notice a replay.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audiences,
    jti: String,
    #[serde(deserialize_with = "numeric_date")]
    exp: Timestamp,
    #[serde(default, deserialize_with = "perhaps_numeric_date")]
    nbf: Option<Timestamp>,
    #[serde(default, deserialize_with = "perhaps_numeric_date")]
    iat: Option<Timestamp>,
}

/// An assertion's claims before anything is believed: what to look up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unproven {
    /// Who says to be speaking.
    pub client: String,
    /// The name under which a use is remembered.
    pub name: TokenHash,
}

impl Unproven {
    /// Reads an assertion without checking it.
    pub fn read(assertion: &str) -> Option<Self> {
        let mut parts = assertion.split('.');
        let (_, claims, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
        let claims = Some(claims).filter(|_| assertion.len() <= MAX_ASSERTION)?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        Some(Self { name: name(&claims), client: claims.sub })
    }
}

/// The name under which the store remembers that an assertion was used: only its client chooses `jti`.
fn name(claims: &Claims) -> TokenHash {
    TokenHash::of(format!("client assertion\0{}\0{}", claims.sub, claims.jti).as_bytes())
}

/// What a checked assertion leaves: how its use is remembered. Only [`ClientKeys::verify`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Proven {
    name: TokenHash,
    expires: Timestamp,
}

impl Proven {
    /// The name under which its use is remembered.
    pub fn name(&self) -> TokenHash {
        self.name
    }

    /// From when it proves nothing, so that it may be forgotten.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }
}

/// A client's public keys, each for one algorithm.
#[derive(Debug)]
pub struct ClientKeys(Jwks);

impl ClientKeys {
    /// Reads a JWK Set (RFC 7517 section 5). Keys that can verify no assertion are left out.
    pub fn read(jwks: &Value) -> Self {
        Self(Jwks::read(jwks, &ASSERTION_ALGORITHMS))
    }

    /// Whether no key of the set can verify anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a key of the set is the one that an assertion names, as far as it names one.
    pub fn may_verify(&self, assertion: &str) -> bool {
        jwks::header(assertion, MAX_ASSERTION).is_some_and(|header| self.0.may_verify(&header))
    }

    /// Checks an assertion of `client` for the server called `issuer`: signature, type and every claim. Whether it
    /// was used before is a question to the store.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(
        &self,
        assertion: &str,
        client: &ClientId,
        issuer: &Issuer,
        now: Timestamp,
    ) -> Result<Proven, AssertionError> {
        let header = jwks::header(assertion, MAX_ASSERTION).ok_or(AssertionError::Form)?;
        // RFC 8725 section 3.11: an access token of ours, or an ID token of anybody's, is no assertion.
        let types = ["jwt", "client-authentication+jwt", "application/client-authentication+jwt"];
        if header.typ.as_ref().is_some_and(|typ| !types.iter().any(|one| typ.eq_ignore_ascii_case(one))) {
            return Err(AssertionError::Type);
        }
        check(&self.0.signed(assertion, &header)?, client, issuer, now)
    }
}

impl From<Unsigned> for AssertionError {
    fn from(why: Unsigned) -> Self {
        match why {
            Unsigned::Form => Self::Form,
            Unsigned::Key => Self::Key,
            Unsigned::Signature => Self::Signature,
        }
    }
}

fn check(claims: &Claims, client: &ClientId, issuer: &Issuer, now: Timestamp) -> Result<Proven, AssertionError> {
    if claims.iss != client.as_str() || claims.sub != client.as_str() {
        return Err(AssertionError::Client);
    }
    // The issuer and nothing beside it: an assertion that names an endpoint, or several servers, could have been
    // asked for by another server (draft-ietf-oauth-rfc7523bis, audience injection).
    if claims.aud.only() != Some(issuer.as_str()) {
        return Err(AssertionError::Audience);
    }
    if claims.jti.is_empty() || claims.jti.len() > MAX_NAME {
        return Err(AssertionError::Form);
    }
    if claims.exp <= now {
        return Err(AssertionError::Expired);
    }
    if claims.exp > now + LONGEST_LIFE + SKEW {
        return Err(AssertionError::TooLong);
    }
    if [claims.nbf, claims.iat].into_iter().flatten().any(|at| at > now + SKEW) {
        return Err(AssertionError::Early);
    }
    Ok(Proven { name: name(claims), expires: claims.exp })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    /// A private key and its public half as a JWK.
    struct Pair {
        algorithm: Algorithm,
        private: EncodingKey,
        public: Value,
    }

    fn p256() -> Pair {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        Pair {
            algorithm: Algorithm::ES256,
            private: EncodingKey::from_ec_der(pkcs8.as_ref()),
            public: json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }),
        }
    }

    fn ed25519() -> Pair {
        let pair = Ed25519KeyPair::generate().unwrap();
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        Pair {
            algorithm: Algorithm::EdDSA,
            private: EncodingKey::from_ed_der(pkcs8.as_ref()),
            public: json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()) }),
        }
    }

    fn claims() -> Value {
        json!({
            "iss": "c_1", "sub": "c_1", "aud": "http://localhost:3000", "jti": "1", "exp": NOW.0 + 60, "iat": NOW.0,
        })
    }

    fn sign(pair: &Pair, header: impl FnOnce(&mut Header), claims: &Value) -> String {
        let mut of = Header::new(pair.algorithm);
        header(&mut of);
        jsonwebtoken::encode(&of, claims, &pair.private).unwrap()
    }

    fn judge(keys: &[&Value], assertion: &str) -> Result<(), AssertionError> {
        let keys = ClientKeys::read(&json!({ "keys": keys }));
        let issuer = "http://localhost:3000".parse().unwrap();
        keys.verify(assertion, &"c_1".parse().unwrap(), &issuer, NOW).map(|_| ())
    }

    #[track_caller]
    fn check_claims(change: &[(&str, Value)], answer: Result<(), AssertionError>) {
        let (pair, mut claims) = (p256(), claims());
        for (name, value) in change {
            claims[*name] = value.clone();
        }
        assert_eq!(judge(&[&pair.public], &sign(&pair, |_| {}, &claims)), answer, "{change:?}");
    }

    #[test]
    fn every_claim_of_an_assertion_counts() {
        use AssertionError::{Audience, Client, Early, Expired, Form, TooLong};
        let at = |seconds: i64| json!(NOW.0 as i64 + seconds);
        check_claims(&[], Ok(()));
        check_claims(&[("iss", json!("c_2"))], Err(Client));
        check_claims(&[("sub", json!("c_2"))], Err(Client));
        check_claims(&[("iss", json!("c_2")), ("sub", json!("c_2"))], Err(Client));
        for aud in [
            json!("http://localhost:3000/"),
            json!("http://localhost:3000/oauth/token"),
            json!("https://other.example"),
            json!(["http://localhost:3000", "https://other.example"]),
            json!([]),
            json!(""),
        ] {
            check_claims(&[("aud", aud)], Err(Audience));
        }
        check_claims(&[("aud", json!(["http://localhost:3000"]))], Ok(()));
        check_claims(&[("aud", json!(7))], Err(Form));
        check_claims(&[("exp", at(1))], Ok(()));
        check_claims(&[("exp", at(0))], Err(Expired));
        check_claims(&[("exp", at(360))], Ok(()));
        check_claims(&[("exp", at(361))], Err(TooLong));
        check_claims(&[("exp", json!(NOW.0 as f64 + 60.5))], Ok(()));
        check_claims(&[("exp", json!("1000060"))], Err(Form));
        check_claims(&[("exp", json!(-1))], Err(Form));
        check_claims(&[("exp", json!(1e300))], Err(Form));
        check_claims(&[("exp", Value::Null)], Err(Form));
        check_claims(&[("nbf", at(60))], Ok(()));
        check_claims(&[("nbf", at(61))], Err(Early));
        check_claims(&[("iat", at(61))], Err(Early));
        check_claims(&[("jti", json!(""))], Err(Form));
        check_claims(&[("jti", json!("x".repeat(256)))], Ok(()));
        check_claims(&[("jti", json!("x".repeat(257)))], Err(Form));
        check_claims(&[("jti", json!(7))], Err(Form));
        check_claims(&[("jti", Value::Null)], Err(Form));
    }

    #[test]
    fn a_key_is_for_one_algorithm_and_found_by_its_name() {
        use AssertionError::{Key, Signature};
        let (mut ec, mut ed, other) = (p256(), ed25519(), p256());
        ec.public["kid"] = json!("a");
        ed.public["kid"] = json!("b");
        let all = [&ed.public, &ec.public];
        let named = |kid: Option<&'static str>| move |header: &mut Header| header.kid = kid.map(str::to_owned);
        let signed = |pair: &Pair, kid: Option<&'static str>| sign(pair, named(kid), &claims());
        for (pair, kid, answer) in [
            (&ec, Some("a"), Ok(())),
            (&ed, Some("b"), Ok(())),
            (&ec, None, Ok(())),
            (&ec, Some("b"), Err(Key)),
            (&ec, Some("../a"), Err(Key)),
            (&other, Some("a"), Err(Signature)),
            (&other, None, Err(Signature)),
        ] {
            assert_eq!(judge(&all, &signed(pair, kid)), answer, "{kid:?}");
        }
        let without = |name: &str, value: Value| {
            let mut key = ec.public.clone();
            key[name] = value;
            judge(&[&key], &signed(&ec, Some("a")))
        };
        assert_eq!(without("alg", json!("ES256")), Ok(()));
        assert_eq!(without("use", json!("sig")), Ok(()));
        assert_eq!(without("key_ops", json!(["verify"])), Ok(()));
        for (name, value) in [
            ("alg", json!("RS256")),
            ("alg", json!("HS256")),
            ("use", json!("enc")),
            ("key_ops", json!(["encrypt"])),
            ("crv", json!("P-384")),
            ("kty", json!("oct")),
        ] {
            assert_eq!(without(name, value.clone()), Err(Key), "{name} {value}");
        }
        assert!(without("x", json!("AAAA")).is_err());
        assert!(ClientKeys::read(&json!({ "keys": [{ "kty": "RSA", "n": "AQAB", "e": "AQAB" }, 7] })).is_empty());
    }

    #[test]
    fn jwt_13_another_kind_of_token_or_a_forged_header_is_no_assertion() {
        use AssertionError::{Form, Key, Type};
        let pair = p256();
        let with = |header: fn(&mut Header)| judge(&[&pair.public], &sign(&pair, header, &claims()));
        assert_eq!(with(|header| header.typ = None), Ok(()));
        assert_eq!(with(|header| header.typ = Some("client-authentication+jwt".into())), Ok(()));
        assert_eq!(with(|header| header.typ = Some("at+jwt".into())), Err(Type));
        assert_eq!(with(|header| header.crit = Some(vec!["exp".into()])), Err(Form));
        let good = sign(&pair, |_| {}, &claims());
        let rest = good.split_once('.').unwrap().1;
        for (header, answer) in [
            (r#"{"alg":"none"}"#, Form),
            (r#"{"alg":"HS256"}"#, Key),
            (r#"{"alg":"EdDSA"}"#, Key),
            (r#"{"alg":"ES384"}"#, Key),
            ("{}", Form),
            ("junk", Form),
        ] {
            let forged = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header));
            assert_eq!(judge(&[&pair.public], &forged), Err(answer), "{header}");
        }
        for junk in ["", ".", "..", "a.b.c", &"x".repeat(9000), &format!("{good}.")] {
            assert!(judge(&[&pair.public], junk).is_err(), "{junk:.20}");
        }
        assert_eq!(judge(&[], &good), Err(Key));
    }

    #[test]
    fn what_is_looked_up_is_what_is_remembered() {
        let pair = p256();
        let read = |claims: &Value| Unproven::read(&sign(&pair, |_| {}, claims));
        let first = read(&claims()).unwrap();
        assert_eq!(first.client, "c_1");
        let keys = ClientKeys::read(&json!({ "keys": [pair.public] }));
        let issuer = "http://localhost:3000".parse().unwrap();
        let proven = keys.verify(&sign(&pair, |_| {}, &claims()), &"c_1".parse().unwrap(), &issuer, NOW).unwrap();
        assert_eq!((proven.name(), proven.expires()), (first.name, NOW + Seconds(60)));
        for (name, value) in [("jti", "2"), ("sub", "c_2")] {
            let mut other = claims();
            other[name] = json!(value);
            assert_ne!(read(&other).unwrap().name, first.name);
        }
        for junk in ["", "a", "a.b.c", "a.e30.c", &"x".repeat(9000)] {
            assert_eq!(Unproven::read(junk), None);
        }
    }
}
