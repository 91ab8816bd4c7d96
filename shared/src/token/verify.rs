//! Checking an access token: the signature by the key's own algorithm, the type, and every claim (contract C11).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use super::keys::ALGORITHM;
use crate::oauth::jwt::{ACCESS_TOKEN_TYPE, AccessClaims, Audience};
use crate::secret::{Secret, TokenHash};
use crate::state::{Facts, PublicKey};
use crate::time::{Seconds, Timestamp};
use crate::uri::{Issuer, Resource};

/// A longer token is refused unread (contract C9).
pub(super) const MAX_TOKEN: usize = 8 * 1024;

/// How far ahead of ours an issuer's clock may be.
pub(super) const SKEW: Seconds = Seconds(60);

/// What a token must say to be for us.
#[derive(Clone, Debug)]
pub struct Expected {
    /// One of these issued it.
    pub issuers: Vec<Issuer>,
    /// It is for this resource.
    pub resource: Resource,
}

/// Why a token is no good. For the log; a caller learns `invalid_token` and nothing else.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts, too long, not JSON, a claim missing.
    #[error("not an access token of ours in form")]
    Form,
    /// `typ` is not `at+jwt`: an ID token, an assertion.
    #[error("of another type")]
    Type,
    /// `kid` names no key of ours.
    #[error("signed by an unknown key")]
    Key,
    /// `alg` is not the key's, or the signature is wrong.
    #[error("the signature is wrong")]
    Signature,
    /// Another issuer.
    #[error("of another issuer")]
    Issuer,
    /// For another resource.
    #[error("for another resource")]
    Audience,
    /// `exp` has come.
    #[error("expired")]
    Expired,
    /// `nbf` or `iat` lie ahead.
    #[error("not valid yet")]
    Early,
    /// The store, or whoever issued it, does not know it, or knows that it was revoked.
    #[error("revoked, or unknown")]
    Dead,
    /// It is good only beside a proof (RFC 9449, RFC 8705), and nobody here asks for one.
    #[error("bound to a key of its client's, for which no proof is taken here")]
    Bound,
}

impl TokenError {
    /// In one word with dashes, for programs to match on.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Form => "token-malformed",
            Self::Type => "token-of-another-type",
            Self::Key => "token-of-unknown-key",
            Self::Signature => "token-signature-wrong",
            Self::Issuer => "token-of-another-issuer",
            Self::Audience => "token-for-another-server",
            Self::Expired => "token-expired",
            Self::Early => "token-not-valid-yet",
            Self::Dead => "token-revoked-or-unknown",
            Self::Bound => "token-bound-to-a-key",
        }
    }
}

/// Evidence that a token's signature and claims were checked, all of them. Only [`KeyRing::verify`] makes one, and for a
/// token without a signature [`VerifiedToken::of_record`], from the record that holds its hash.
///
/// Whether the grant behind it still lives is another question, asked at every use: [`VerifiedToken::alive`].
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    claims: AccessClaims,
    opaque: bool,
}

impl VerifiedToken {
    /// Checks an opaque token against `facts`, what the store holds under its name ([`opaque_id`](super::opaque_id)). What
    /// it says is what its records say; its issuer is the first of the store's.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn of_record(token: &Secret, facts: &Facts, expected: &Expected, now: Timestamp) -> Result<Self, TokenError> {
        let access = facts.access.as_ref().ok_or(TokenError::Dead)?;
        let grant = facts.grant.as_ref().filter(|grant| grant.id == access.grant).ok_or(TokenError::Dead)?;
        // In constant time, as every comparison of hashes.
        if access.opaque.as_deref() != Some(&token.hash()) {
            return Err(TokenError::Signature);
        }
        let claims = AccessClaims {
            iss: expected.issuers.first().cloned().ok_or(TokenError::Issuer)?,
            sub: grant.subject().to_owned(),
            aud: Audience::One(grant.resource.clone()),
            client_id: grant.client.clone(),
            scope: access.scopes.clone(),
            jti: access.id,
            grant: grant.id,
            nbf: None,
            iat: access.issued,
            exp: access.expires,
        };
        check(&claims, expected, now)?;
        Ok(Self { claims, opaque: true })
    }

    /// What the token says.
    pub fn claims(&self) -> &AccessClaims {
        &self.claims
    }

    /// Asks whether the store still knows the token (`facts` for its `jti`), and the clock whether its time has come.
    ///
    /// # Errors
    /// [`TokenError::Dead`] or [`TokenError::Expired`].
    pub fn alive(&self, facts: &Facts, now: Timestamp) -> Result<(), TokenError> {
        if !self.is_recorded(facts) || !facts.grant_lives() {
            return Err(TokenError::Dead);
        }
        if self.claims.exp <= now { Err(TokenError::Expired) } else { Ok(()) }
    }

    /// Whether the store holds this very token: what it says of its end, scope, grant, client, person and resource is
    /// what the records say.
    fn is_recorded(&self, facts: &Facts) -> bool {
        let claims = &self.claims;
        let access = facts.access.as_ref();
        let grant = facts.grant.as_ref();
        access.is_some_and(|access| {
            access.id == claims.jti
                && access.grant == claims.grant
                && access.scopes == claims.scope
                && access.expires == claims.exp
                && access.opaque.is_some() == self.opaque
        }) && grant.is_some_and(|grant| {
            grant.id == claims.grant
                && grant.client == claims.client_id
                && grant.subject() == claims.sub
                && claims.aud.includes(&grant.resource)
        })
    }
}

/// At most this many signatures are remembered: those of the tokens that are in use.
const REMEMBERED: usize = 1024;

/// The public keys, parsed once, each for one algorithm.
#[derive(Default)]
pub struct KeyRing {
    keys: HashMap<String, DecodingKey>,
    /// What tokens say whose signature was right, by the hash of the whole token. A signature takes fifty times as long
    /// to check as all else, and stays right as long as its key is here; the claims are checked at every use.
    signed: Mutex<HashMap<TokenHash, AccessClaims>>,
}

impl KeyRing {
    /// Parses the store's public keys. A key that is not ES256 on P-256 is left out: it can verify nothing.
    pub fn new(keys: &[PublicKey]) -> Self {
        let parse = |key: &PublicKey| {
            let part = |name: &str| key.jwk.get(name)?.as_str();
            let fits = key.alg == ALGORITHM && part("kty") == Some("EC") && part("crv") == Some("P-256");
            let parsed = DecodingKey::from_ec_components(part("x")?, part("y")?).ok()?;
            fits.then(|| (key.id.0.clone(), parsed))
        };
        Self { keys: keys.iter().filter_map(parse).collect(), signed: Mutex::default() }
    }

    /// Checks signature and claims.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(&self, token: &str, expected: &Expected, now: Timestamp) -> Result<VerifiedToken, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Form);
        }
        let hash = TokenHash::of(token.as_bytes());
        let known = self.signed().get(&hash).cloned();
        if let Some(claims) = known {
            check(&claims, expected, now)?;
            return Ok(VerifiedToken { claims, opaque: false });
        }
        let claims = self.read(token)?;
        check(&claims, expected, now)?;
        let mut signed = self.signed();
        if signed.len() >= REMEMBERED {
            signed.clear();
        }
        signed.insert(hash, claims.clone());
        Ok(VerifiedToken { claims, opaque: false })
    }

    /// Checks type and signature.
    fn read(&self, token: &str) -> Result<AccessClaims, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Form)?;
        // RFC 7515 section 4.1.11: what must be understood and is not must be refused. We understand no extension.
        if header.crit.is_some() {
            return Err(TokenError::Form);
        }
        if !header.typ.is_some_and(|typ| {
            typ.eq_ignore_ascii_case(ACCESS_TOKEN_TYPE) || typ.eq_ignore_ascii_case("application/at+jwt")
        }) {
            return Err(TokenError::Type);
        }
        let key = header.kid.and_then(|kid| self.keys.get(&kid)).ok_or(TokenError::Key)?;
        let read = jsonwebtoken::decode::<AccessClaims>(token, key, &signature_only());
        read.map(|read| read.claims).map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::Json(_) | jsonwebtoken::errors::ErrorKind::Base64(_) => TokenError::Form,
            _ => TokenError::Signature,
        })
    }

    fn signed(&self) -> MutexGuard<'_, HashMap<TokenHash, AccessClaims>> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The library checks the signature with the key's algorithm; the claims are ours to check, with our clock.
fn signature_only() -> Validation {
    let mut validation = Validation::new(Algorithm::ES256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn check(claims: &AccessClaims, expected: &Expected, now: Timestamp) -> Result<(), TokenError> {
    if !expected.issuers.contains(&claims.iss) {
        return Err(TokenError::Issuer);
    }
    if !claims.aud.includes(&expected.resource) {
        return Err(TokenError::Audience);
    }
    if claims.exp <= now {
        return Err(TokenError::Expired);
    }
    if claims.iat > now + SKEW || claims.nbf.is_some_and(|nbf| nbf > now + SKEW) {
        return Err(TokenError::Early);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use uuid::Uuid;

    use super::*;
    use crate::id::{GrantId, TokenId};
    use crate::oauth::jwt::Audience;
    use crate::token::KeySet;

    const NOW: Timestamp = Timestamp(1_000_000);

    #[test]
    fn jwt_12_a_key_is_for_one_algorithm_and_one_that_we_do_not_know_verifies_nothing() {
        let keys = KeySet::generate(NOW).unwrap();
        let token = keys.mint(&claims()).unwrap();
        let expected = Expected { issuers: vec![claims().iss], resource: resource() };
        let verify = |key: PublicKey| KeyRing::new(&[key]).verify(token.expose(), &expected, NOW).map(drop);
        assert_eq!(verify(keys.public()), Ok(()));
        for alg in ["ES384", "EdDSA", "RS256", "HS256", "none", "es256", ""] {
            assert_eq!(verify(PublicKey { alg: alg.into(), ..keys.public() }), Err(TokenError::Key), "{alg}");
        }
        let mut other = keys.public();
        other.jwk.insert("kty".into(), "oct".into());
        assert_eq!(verify(other), Err(TokenError::Key));
    }

    fn resource() -> Resource {
        Resource::stdio("a").unwrap()
    }

    fn claims() -> AccessClaims {
        AccessClaims {
            iss: "http://localhost:3000".parse().unwrap(),
            sub: "ada".into(),
            aud: Audience::One(resource()),
            client_id: "c_1".parse().unwrap(),
            scope: "a b".parse().unwrap(),
            jti: TokenId(Uuid::from_u128(1)),
            grant: GrantId(Uuid::from_u128(2)),
            nbf: None,
            iat: NOW,
            exp: NOW + Seconds(300),
        }
    }

    fn expected() -> Expected {
        Expected { issuers: vec![claims().iss], resource: resource() }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut AccessClaims), answer: Result<(), TokenError>) {
        let keys = KeySet::generate(NOW).unwrap();
        let mut claims = claims();
        change(&mut claims);
        let token = keys.mint(&claims).unwrap();
        let ring = KeyRing::new(&[keys.public()]);
        assert_eq!(ring.verify(token.expose(), &expected(), NOW).map(|_| ()), answer);
    }

    #[test]
    fn jwt_04_05_06_every_claim_counts() {
        check(|_| {}, Ok(()));
        check(|c| c.exp = NOW + Seconds(1), Ok(()));
        check(|c| c.exp = NOW, Err(TokenError::Expired));
        check(|c| c.iat = NOW + Seconds(60), Ok(()));
        check(|c| c.iat = NOW + Seconds(61), Err(TokenError::Early));
        check(|c| c.nbf = Some(NOW + Seconds(61)), Err(TokenError::Early));
        check(|c| c.iss = "http://localhost:3000/".parse().unwrap(), Err(TokenError::Issuer));
        check(|c| c.iss = "http://localhost:3001".parse().unwrap(), Err(TokenError::Issuer));
        check(|c| c.aud = Audience::One(Resource::stdio("b").unwrap()), Err(TokenError::Audience));
        check(|c| c.aud = Audience::Many(vec!["x".into()]), Err(TokenError::Audience));
        check(|c| c.aud = Audience::Many(vec!["x".into(), resource().to_string()]), Ok(()));
    }

    #[test]
    fn jwt_07_a_flipped_byte_anywhere_is_refused() {
        let keys = KeySet::generate(NOW).unwrap();
        let token = keys.mint(&claims()).unwrap();
        let ring = KeyRing::new(&[keys.public()]);
        for at in 0..token.expose().len() {
            let mut bytes = token.expose().as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(bytes).unwrap();
            assert!(ring.verify(&text, &expected(), NOW).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_remembered_signature_excuses_no_claim_and_no_flipped_byte() {
        let keys = KeySet::generate(NOW).unwrap();
        let token = keys.mint(&claims()).unwrap();
        let ring = KeyRing::new(&[keys.public()]);
        let verify = |text: &str, expected: &Expected, now| ring.verify(text, expected, now).map(drop);
        for _ in 0..2 {
            assert_eq!(verify(token.expose(), &expected(), NOW), Ok(()));
        }
        assert_eq!(ring.signed().len(), 1);
        let other = Expected { resource: Resource::stdio("b").unwrap(), ..expected() };
        assert_eq!(verify(token.expose(), &other, NOW), Err(TokenError::Audience));
        assert_eq!(verify(token.expose(), &expected(), NOW + Seconds(300)), Err(TokenError::Expired));
        assert!(verify(&token.expose()[..token.expose().len() - 1], &expected(), NOW).is_err());
        // A token that is not for us fills nothing.
        let foreign = keys.mint(&AccessClaims { iss: "http://localhost:9".parse().unwrap(), ..claims() }).unwrap();
        assert_eq!(verify(foreign.expose(), &expected(), NOW), Err(TokenError::Issuer));
        assert_eq!(ring.signed().len(), 1);
        for id in 0..REMEMBERED as u128 {
            let one = AccessClaims { jti: TokenId(Uuid::from_u128(id)), ..claims() };
            ring.signed().insert(TokenHash::of(&id.to_be_bytes()), one);
        }
        let another = keys.mint(&AccessClaims { sub: "bob".into(), ..claims() }).unwrap();
        assert_eq!(verify(another.expose(), &expected(), NOW), Ok(()));
        assert_eq!(ring.signed().len(), 1);
    }

    /// Builds a token from a header, claims, and whatever signature is wanted.
    fn forge(header: &str, signature: impl FnOnce(&str) -> Vec<u8>) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let signed = format!("{}.{}", encode(header.as_bytes()), encode(&serde_json::to_vec(&claims()).unwrap()));
        format!("{signed}.{}", encode(&signature(&signed)))
    }

    #[test]
    fn jwt_01_02_03_10_forgeries_are_refused() {
        let keys = KeySet::generate(NOW).unwrap();
        let public = keys.public();
        let ring = KeyRing::new(std::slice::from_ref(&public));
        let kid = &public.id.0;
        let hmac = |secret: Vec<u8>| {
            move |signed: &str| {
                aws_lc_rs::hmac::sign(
                    &aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret),
                    signed.as_bytes(),
                )
                .as_ref()
                .to_vec()
            }
        };
        let x = URL_SAFE_NO_PAD.decode(public.jwk["x"].as_str().unwrap()).unwrap();
        let header = |alg: &str, kid: &str| format!(r#"{{"alg":"{alg}","typ":"at+jwt","kid":"{kid}"}}"#);
        let mut forged = vec![
            forge(&header("HS256", kid), hmac(x)),
            forge(&header("HS256", kid), hmac(serde_json::to_vec(&public.jwk).unwrap())),
            forge(&header("ES256", kid), |_| vec![0; 64]),
            forge(&header("ES256", kid), |_| vec![]),
            forge(&header("ES256", kid), |_| vec![0x30, 6, 2, 1, 1, 2, 1, 1]),
            forge(r#"{"alg":"ES256","typ":"at+jwt"}"#, |_| vec![0; 64]),
        ];
        for none in ["none", "None", "NONE", "nOnE"] {
            forged.push(forge(&header(none, kid), |_| vec![]));
        }
        for kid in ["other", "../../keys.json", "http://evil.example/jwks", "' OR 1=1 --", &"x".repeat(100_000)] {
            forged.push(forge(&header("ES256", kid), |_| vec![0; 64]));
        }
        for token in forged {
            assert!(ring.verify(&token, &expected(), NOW).is_err(), "{token:.60}");
        }
    }

    #[test]
    fn a_token_with_a_critical_header_is_refused_although_we_signed_it() {
        let keys = KeySet::generate(NOW).unwrap();
        let ring = KeyRing::new(&[keys.public()]);
        let json = serde_json::from_slice::<serde_json::Value>(&keys.to_json()).unwrap();
        let pkcs8 = URL_SAFE_NO_PAD.decode(json["pkcs8"].as_str().unwrap()).unwrap();
        for (crit, answer) in [
            (None, Ok(())),
            (Some(vec![]), Err(TokenError::Form)),
            (Some(vec!["exp".to_owned()]), Err(TokenError::Form)),
        ] {
            let header = jsonwebtoken::Header {
                typ: Some(ACCESS_TOKEN_TYPE.to_owned()),
                kid: Some(keys.public().id.0),
                crit,
                ..jsonwebtoken::Header::new(Algorithm::ES256)
            };
            let token =
                jsonwebtoken::encode(&header, &claims(), &jsonwebtoken::EncodingKey::from_ec_der(&pkcs8)).unwrap();
            assert_eq!(ring.verify(&token, &expected(), NOW).map(|_| ()), answer);
        }
    }

    #[test]
    fn jwt_08_a_token_that_says_something_else_than_its_record_is_dead() {
        let keys = KeySet::generate(NOW).unwrap();
        let ring = KeyRing::new(&[keys.public()]);
        let sample = crate::store::conformance::Sample::new(NOW);
        let mut state = crate::state::State::default();
        for changes in [sample.known(), sample.approved(), sample.redeemed()] {
            state.apply_all(changes, NOW).unwrap();
        }
        let good = AccessClaims {
            sub: sample.user.name.to_string(),
            aud: Audience::One(sample.grant.resource.clone()),
            client_id: sample.client.id.clone(),
            scope: sample.access.scopes.clone(),
            jti: sample.access.id,
            grant: sample.grant.id,
            exp: sample.access.expires,
            ..claims()
        };
        let expected = Expected { issuers: vec![good.iss.clone()], resource: sample.grant.resource.clone() };
        let facts = state.facts(&sample.wants_access());
        let check = |change: fn(&mut AccessClaims), answer: Result<(), TokenError>| {
            let mut claims = good.clone();
            change(&mut claims);
            let token = ring.verify(keys.mint(&claims).unwrap().expose(), &expected, NOW).unwrap();
            assert_eq!(token.alive(&facts, NOW), answer);
        };
        check(|_| {}, Ok(()));
        check(|claims| claims.sub = "eve".into(), Err(TokenError::Dead));
        check(|claims| claims.client_id = "c_other".parse().unwrap(), Err(TokenError::Dead));
        check(|claims| claims.scope = "mcp:tools:read".parse().unwrap(), Err(TokenError::Dead));
        check(|claims| claims.exp = claims.exp + Seconds(30 * 86_400), Err(TokenError::Dead));
        check(|claims| claims.jti = TokenId(Uuid::nil()), Err(TokenError::Dead));
        check(|claims| claims.grant = GrantId(Uuid::nil()), Err(TokenError::Dead));
    }

    #[test]
    fn jwt_13_another_type_signed_by_the_same_key_is_refused() {
        let keys = KeySet::generate(NOW).unwrap();
        let ring = KeyRing::new(&[keys.public()]);
        let json = serde_json::from_slice::<serde_json::Value>(&keys.to_json()).unwrap();
        let pkcs8 = URL_SAFE_NO_PAD.decode(json["pkcs8"].as_str().unwrap()).unwrap();
        for typ in [Some("JWT"), Some("logout+jwt"), None] {
            let header = jsonwebtoken::Header {
                typ: typ.map(str::to_owned),
                kid: Some(keys.public().id.0),
                ..jsonwebtoken::Header::new(Algorithm::ES256)
            };
            let token =
                jsonwebtoken::encode(&header, &claims(), &jsonwebtoken::EncodingKey::from_ec_der(&pkcs8)).unwrap();
            assert_eq!(ring.verify(&token, &expected(), NOW).map(|_| ()), Err(TokenError::Type), "{typ:?}");
        }
    }
}
