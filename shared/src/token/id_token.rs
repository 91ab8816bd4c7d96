//! ID tokens of other people's OpenID providers: who signed in there (OpenID Connect Core section 3.1.3.7).

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::claims::{Audiences, numeric_date, perhaps_numeric_date};
use super::jwks::{self, Jwks, Unsigned};
use super::verify::SKEW;
use crate::time::{Seconds, Timestamp};
use crate::uri::Issuer;

/// A longer one is refused unread. Those with hundreds of groups in them have some 20 KiB.
const MAX_ID_TOKEN: usize = 64 * 1024;

/// How old a fresh one may be: it comes straight from the provider, who made it for this answer.
const OLDEST: Seconds = Seconds(600);

/// The algorithms that a provider's key may be for, each key for one of them.
const PROVIDER_ALGORITHMS: [&str; 9] =
    ["ES256", "ES384", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];

/// Why an ID token says nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdTokenError {
    /// Not three parts, too long, not JSON, unsigned, a claim missing or of the wrong type.
    #[error("the provider's ID token is not one in form, or not signed")]
    Form,
    /// No published key of the provider's fits `kid` and `alg`.
    #[error("the provider's ID token is signed with a key that the provider does not publish")]
    Key,
    /// The signature is wrong.
    #[error("the signature of the provider's ID token is wrong")]
    Signature,
    /// `iss` is another.
    #[error("the provider's ID token is from another issuer")]
    Issuer,
    /// `aud` or `azp` is not us alone.
    #[error("the provider's ID token is for somebody else")]
    Audience,
    /// `exp` has come.
    #[error("the provider's ID token has expired; compare the clocks of both machines")]
    Expired,
    /// `nbf` or `iat` lie ahead, or `iat` long ago.
    #[error("the provider's ID token is not from now; compare the clocks of both machines")]
    Time,
    /// `nonce` is not the one that this sign-in sent.
    #[error("the provider's ID token belongs to another sign-in")]
    Nonce,
    /// `at_hash` is not that of the access token beside it.
    #[error("the provider's ID token belongs to another access token")]
    AccessToken,
}

/// What an ID token must be for.
#[derive(Clone, Copy, Debug)]
pub struct IdTokenFor<'a> {
    /// Who must have made it.
    pub issuer: &'a Issuer,
    /// Our name there.
    pub client: &'a str,
    /// What the sign-in sent along.
    pub nonce: &'a str,
    /// The access token that came with it, if one did.
    pub access_token: Option<&'a str>,
}

#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audiences,
    #[serde(default)]
    azp: Option<String>,
    #[serde(deserialize_with = "numeric_date")]
    exp: Timestamp,
    #[serde(deserialize_with = "numeric_date")]
    iat: Timestamp,
    #[serde(default, deserialize_with = "perhaps_numeric_date")]
    nbf: Option<Timestamp>,
    #[serde(default)]
    nonce: Option<String>,
    #[serde(default)]
    at_hash: Option<String>,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    email_verified: Option<Value>,
}

/// Who signed in, by a checked ID token. Only [`ProviderKeys::verify`] makes one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    subject: String,
    email: Option<String>,
}

impl Identity {
    /// How the provider calls the person, for ever.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The person's address, if the provider says that it verified it.
    pub fn verified_email(&self) -> Option<&str> {
        self.email.as_deref()
    }
}

/// A provider's public keys, each for one algorithm.
#[derive(Debug)]
pub struct ProviderKeys(pub(super) Jwks);

impl ProviderKeys {
    /// Reads a JWK Set (RFC 7517 section 5). Keys that can verify nothing here are left out.
    pub fn read(jwks: &Value) -> Self {
        Self(Jwks::read(jwks, &PROVIDER_ALGORITHMS))
    }

    /// Whether no key of the set can verify anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks an ID token that came straight from the provider: signature and every claim.
    ///
    /// # Errors
    /// The first thing that is wrong. [`IdTokenError::Key`] may mean that the provider has new keys.
    pub fn verify(&self, token: &str, wanted: &IdTokenFor<'_>, now: Timestamp) -> Result<Identity, IdTokenError> {
        let header = jwks::header(token, MAX_ID_TOKEN).ok_or(IdTokenError::Form)?;
        // RFC 8725 section 3.11: an access token is no ID token.
        if header.typ.as_ref().is_some_and(|typ| !typ.eq_ignore_ascii_case("jwt")) {
            return Err(IdTokenError::Form);
        }
        let claims: Claims = self.0.signed(token, &header).map_err(|why| match why {
            Unsigned::Key => IdTokenError::Key,
            Unsigned::Form => IdTokenError::Form,
            Unsigned::Signature => IdTokenError::Signature,
        })?;
        check(claims, wanted, now)
    }
}

fn check(claims: Claims, wanted: &IdTokenFor<'_>, now: Timestamp) -> Result<Identity, IdTokenError> {
    if claims.iss != wanted.issuer.as_str() {
        return Err(IdTokenError::Issuer);
    }
    // Steps 3 to 5: we trust no other audience, so that a token for several is for somebody else too.
    if claims.aud.only() != Some(wanted.client) || claims.azp.as_ref().is_some_and(|azp| azp != wanted.client) {
        return Err(IdTokenError::Audience);
    }
    if claims.exp + SKEW <= now {
        return Err(IdTokenError::Expired);
    }
    let is_early = [claims.nbf, Some(claims.iat)].into_iter().flatten().any(|at| at > now + SKEW);
    if is_early || claims.iat + OLDEST + SKEW < now {
        return Err(IdTokenError::Time);
    }
    let nonce = claims.nonce.as_deref().unwrap_or_default();
    if !bool::from(nonce.as_bytes().ct_eq(wanted.nonce.as_bytes())) {
        return Err(IdTokenError::Nonce);
    }
    // Section 3.1.3.6: the left half of the hash that goes with the algorithm. For EdDSA nothing is said; providers take
    // SHA-512 for it.
    if let (Some(at_hash), Some(access_token)) = (&claims.at_hash, wanted.access_token)
        && !is_hash_of(at_hash, access_token)
    {
        return Err(IdTokenError::AccessToken);
    }
    // Some providers write the claim as a text.
    let is_verified = claims.email_verified.is_some_and(|value| value == true || value == "true");
    Ok(Identity { subject: claims.sub, email: claims.email.filter(|_| is_verified) })
}

fn is_hash_of(at_hash: &str, access_token: &str) -> bool {
    use aws_lc_rs::digest::{SHA384, SHA512};
    [(&SHA256, 16), (&SHA384, 24), (&SHA512, 32)].into_iter().any(|(algorithm, half)| {
        let hash = digest(algorithm, access_token.as_bytes());
        URL_SAFE_NO_PAD.encode(&hash.as_ref()[..half]) == at_hash
    })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    struct Pair {
        private: EncodingKey,
        public: Value,
    }

    fn pair(kid: &str) -> Pair {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let der = pair.to_pkcs8v1().unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        let public = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y }] });
        Pair { private: EncodingKey::from_ec_der(der.as_ref()), public }
    }

    fn claims() -> Value {
        json!({
            "iss": "https://id.example", "sub": "s1", "aud": "us", "exp": NOW.0 + 300, "iat": NOW.0, "nonce": "n",
            "email": "ada@example.com", "email_verified": true,
        })
    }

    fn header() -> Header {
        Header { kid: Some("k1".into()), ..Header::new(Algorithm::ES256) }
    }

    fn verified(
        keys: &Pair,
        header: &Header,
        claims: &Value,
        access_token: Option<&str>,
    ) -> Result<Identity, IdTokenError> {
        let token = jsonwebtoken::encode(header, claims, &keys.private).unwrap();
        let issuer = "https://id.example".parse().unwrap();
        let wanted = IdTokenFor { issuer: &issuer, client: "us", nonce: "n", access_token };
        ProviderKeys::read(&keys.public).verify(&token, &wanted, NOW)
    }

    #[test]
    fn every_claim_of_an_id_token_must_be_for_this_sign_in() {
        use IdTokenError::*;
        let keys = pair("k1");
        let good = verified(&keys, &header(), &claims(), None).unwrap();
        assert_eq!((good.subject(), good.verified_email()), ("s1", Some("ada@example.com")));
        let at = |seconds: i64| json!(NOW.0 as i64 + seconds);
        for (name, value, outcome) in [
            ("iss", json!("https://id.example/"), Err(Issuer)),
            ("iss", json!("https://evil.example"), Err(Issuer)),
            ("iss", Value::Null, Err(Form)),
            ("sub", Value::Null, Err(Form)),
            ("sub", json!(7), Err(Form)),
            ("aud", json!("them"), Err(Audience)),
            ("aud", json!(["us"]), Ok(())),
            ("aud", json!(["us", "them"]), Err(Audience)),
            ("aud", json!([]), Err(Audience)),
            ("azp", json!("us"), Ok(())),
            ("azp", json!("them"), Err(Audience)),
            ("exp", at(-59), Ok(())),
            ("exp", at(-60), Err(Expired)),
            ("exp", json!("soon"), Err(Form)),
            ("exp", Value::Null, Err(Form)),
            ("iat", at(60), Ok(())),
            ("iat", at(61), Err(Time)),
            ("iat", at(-660), Ok(())),
            ("iat", at(-661), Err(Time)),
            ("iat", Value::Null, Err(Form)),
            ("nbf", at(61), Err(Time)),
            ("nonce", json!("m"), Err(Nonce)),
            ("nonce", json!(""), Err(Nonce)),
            ("nonce", Value::Null, Err(Nonce)),
        ] {
            let mut claims = claims();
            claims[name] = value.clone();
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            }
            let found = verified(&keys, &header(), &claims, None).map(|_| ());
            assert_eq!(found, outcome, "{name} {value}");
        }
    }

    #[test]
    fn an_address_counts_only_when_the_provider_verified_it() {
        let keys = pair("k1");
        for (verified_claim, counts) in [
            (json!(true), true),
            (json!("true"), true),
            (json!(false), false),
            (json!("yes"), false),
            (json!(1), false),
        ] {
            let mut claims = claims();
            claims["email_verified"] = verified_claim.clone();
            let found = verified(&keys, &header(), &claims, None).unwrap();
            assert_eq!(found.verified_email().is_some(), counts, "{verified_claim}");
        }
    }

    #[test]
    fn the_access_token_beside_it_is_the_one_that_it_names() {
        let keys = pair("k1");
        let mut claims = claims();
        // Of the token "at", with SHA-256 and with SHA-512.
        for (algorithm, half) in [(&SHA256, 16), (&aws_lc_rs::digest::SHA512, 32)] {
            claims["at_hash"] = json!(URL_SAFE_NO_PAD.encode(&digest(algorithm, b"at").as_ref()[..half]));
            assert!(verified(&keys, &header(), &claims, Some("at")).is_ok());
            assert!(verified(&keys, &header(), &claims, None).is_ok());
            assert_eq!(verified(&keys, &header(), &claims, Some("other")), Err(IdTokenError::AccessToken));
        }
    }

    #[test]
    fn a_key_is_the_providers_and_for_one_algorithm() {
        use IdTokenError::*;
        let (keys, others) = (pair("k1"), pair("k1"));
        let with = |kid: Option<&str>| Header { kid: kid.map(str::to_owned), ..header() };
        assert!(verified(&keys, &with(None), &claims(), None).is_ok());
        assert_eq!(verified(&keys, &with(Some("k2")), &claims(), None), Err(Key));
        let stranger = Pair { private: others.private, public: keys.public.clone() };
        assert_eq!(verified(&stranger, &header(), &claims(), None), Err(Signature));
        // The public key as a shared secret, which every verifier knows (RFC 8725 section 2.1).
        let secret = EncodingKey::from_secret(keys.public.to_string().as_bytes());
        let symmetric = Pair { private: secret, public: keys.public.clone() };
        let hs256 = Header { kid: Some("k1".into()), ..Header::new(Algorithm::HS256) };
        assert_eq!(verified(&symmetric, &hs256, &claims(), None), Err(Key));
        let of_access_token = Header { typ: Some("at+jwt".into()), ..header() };
        assert_eq!(verified(&keys, &of_access_token, &claims(), None), Err(Form));
    }

    #[test]
    fn an_unsigned_or_mangled_token_is_none() {
        let keys = pair("k1");
        let issuer = "https://id.example".parse().unwrap();
        let wanted = IdTokenFor { issuer: &issuer, client: "us", nonce: "n", access_token: None };
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let none = format!("{}.{}.", part(&json!({ "alg": "none" })), part(&claims()));
        let critical = format!("{}.{}.AA", part(&json!({ "alg": "ES256", "crit": ["x"] })), part(&claims()));
        for token in ["", "a", "a.b.c", &none, &critical, &"A".repeat(MAX_ID_TOKEN + 1)] {
            let found = ProviderKeys::read(&keys.public).verify(token, &wanted, NOW);
            assert_eq!(found, Err(IdTokenError::Form), "{}", &token[..token.len().min(60)]);
        }
    }
}
