//! Public keys as others publish them (RFC 7517), each for one algorithm, and the tokens that they signed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The shortest RSA modulus, in bytes (RFC 7518 section 3.3: 2048 bits).
const MIN_RSA: usize = 256;

/// Keys of one publisher.
pub(super) struct Jwks(Vec<Key>);

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Why a token is not signed by one of the keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unsigned {
    /// What it says cannot be read.
    Form,
    /// No key fits `kid` and `alg`.
    Key,
    /// The signature is wrong.
    Signature,
}

/// The header of a token of at most `longest` bytes. `None` when it is none, or asks for an extension: we understand none
/// (RFC 7515 section 4.1.11). `none` is no algorithm of the library's.
pub(super) fn header(token: &str, longest: usize) -> Option<Header> {
    let header = (token.len() <= longest).then(|| jsonwebtoken::decode_header(token).ok()).flatten();
    header.filter(|header| header.crit.is_none())
}

impl std::fmt::Debug for Jwks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Jwks({})", self.0.len())
    }
}

impl Jwks {
    /// Reads a JWK Set (RFC 7517 section 5). Keys for algorithms that are not among these are left out, and so are those
    /// whose private half is published with them: anybody can sign with such a key.
    pub(super) fn read(jwks: &Value, algorithms: &[&str]) -> Self {
        let keys = jwks.get("keys").and_then(Value::as_array);
        let keys = keys.into_iter().flatten().filter_map(|key| Key::read(key.as_object()?));
        Self(keys.filter(|key| algorithms.contains(&word(key.algorithm))).collect())
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them is the one that a token names, as far as it names one.
    pub(super) fn may_verify(&self, header: &Header) -> bool {
        self.0.iter().any(|key| key.fits(header))
    }

    /// The claims of a token that one of the keys signed: one for the header's algorithm, with its name if it has one.
    pub(super) fn signed<C: DeserializeOwned>(&self, token: &str, header: &Header) -> Result<C, Unsigned> {
        let mut why = Unsigned::Key;
        for key in self.0.iter().filter(|key| key.fits(header)) {
            match jsonwebtoken::decode::<C>(token, &key.key, &signature_only(key.algorithm)) {
                Ok(read) => return Ok(read.claims),
                Err(error) => why = fault(&error),
            }
        }
        Err(why)
    }
}

fn fault(error: &jsonwebtoken::errors::Error) -> Unsigned {
    match error.kind() {
        jsonwebtoken::errors::ErrorKind::Json(_) | jsonwebtoken::errors::ErrorKind::Base64(_) => Unsigned::Form,
        _ => Unsigned::Signature,
    }
}

impl Key {
    fn fits(&self, header: &Header) -> bool {
        self.algorithm == header.alg && (header.kid.is_none() || self.id == header.kid)
    }

    fn read(jwk: &Map<String, Value>) -> Option<Self> {
        let part = |name: &str| jwk.get(name)?.as_str();
        let (algorithm, key) = match (part("kty")?, part("crv")) {
            ("EC", Some("P-256")) => (Algorithm::ES256, DecodingKey::from_ec_components(part("x")?, part("y")?)),
            ("EC", Some("P-384")) => (Algorithm::ES384, DecodingKey::from_ec_components(part("x")?, part("y")?)),
            ("OKP", Some("Ed25519")) => (Algorithm::EdDSA, DecodingKey::from_ed_components(part("x")?)),
            ("RSA", _) => {
                let modulus = URL_SAFE_NO_PAD.decode(part("n")?).ok()?;
                if modulus.iter().skip_while(|byte| **byte == 0).count() < MIN_RSA {
                    return None;
                }
                (rsa(part("alg")), DecodingKey::from_rsa_components(part("n")?, part("e")?))
            }
            _ => return None,
        };
        let is_named = part("alg").is_none_or(|alg| alg == word(algorithm));
        let may_sign = part("use").is_none_or(|usage| usage == "sig") && may_verify(jwk.get("key_ops"));
        if !is_named || !may_sign || jwk.contains_key("d") {
            return None;
        }
        Some(Self { id: part("kid").map(str::to_owned), algorithm, key: key.ok()? })
    }
}

/// What an RSA key is for: what it says, and RS256 if it says nothing.
fn rsa(named: Option<&str>) -> Algorithm {
    use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};
    let all = [PS256, PS384, PS512, RS256, RS384, RS512];
    all.into_iter().find(|algorithm| named == Some(word(*algorithm))).unwrap_or(RS256)
}

/// RFC 7517 section 4.3.
fn may_verify(operations: Option<&Value>) -> bool {
    operations.is_none_or(|list| list.as_array().is_some_and(|list| list.iter().any(|one| one == "verify")))
}

fn word(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::ES256 => "ES256",
        Algorithm::ES384 => "ES384",
        Algorithm::EdDSA => "EdDSA",
        Algorithm::RS256 => "RS256",
        Algorithm::RS384 => "RS384",
        Algorithm::RS512 => "RS512",
        Algorithm::PS256 => "PS256",
        Algorithm::PS384 => "PS384",
        Algorithm::PS512 => "PS512",
        _ => "",
    }
}

/// The library checks the signature with the key's algorithm; the claims are ours to check, with our clock.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}
