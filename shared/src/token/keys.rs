//! The private keys of a store: what signs access tokens, and what derives and seals.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Header};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::id::KeyId;
use crate::oauth::jwt::{ACCESS_TOKEN_TYPE, AccessClaims};
use crate::secret::{Secret, TokenHash, random_bytes};
use crate::state::PublicKey;
use crate::time::Timestamp;

/// The one algorithm we sign with: P-256 and SHA-256 (RFC 7518 section 3.4).
pub(super) const ALGORITHM: &str = "ES256";

/// Why keys cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyError {
    /// The file's contents are not ours.
    #[error("keys.json is damaged: {0}")]
    Damaged(String),
    /// The cryptographic library refuses.
    #[error("the cryptographic library refuses: {0}")]
    Crypto(&'static str),
}

/// The private keys, parsed once.
pub struct KeySet {
    file: KeyFile,
    signing: EcdsaKeyPair,
    /// The header of every token, encoded, with the dot behind it.
    header: String,
    derive: hmac::Key,
    seal: hmac::Key,
}

/// What `keys.json` holds. Binary values as base64url.
#[derive(Deserialize, Serialize)]
struct KeyFile {
    format: String,
    created: Timestamp,
    kid: KeyId,
    alg: String,
    pkcs8: Zeroizing<String>,
    derive: Zeroizing<String>,
    seal: Zeroizing<String>,
}

const FORMAT: &str = "mcp-authz-keys 1";

impl KeySet {
    /// Draws new keys.
    ///
    /// # Errors
    /// When the cryptographic library cannot make one.
    pub fn generate(now: Timestamp) -> Result<Self, KeyError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| KeyError::Crypto("no P-256 key"))?;
        let random = || Zeroizing::new(URL_SAFE_NO_PAD.encode(random_bytes::<32>()));
        let signing = parse_pkcs8(pkcs8.as_ref())?;
        Self::new(KeyFile {
            format: FORMAT.to_owned(),
            created: now,
            kid: thumbprint(&signing),
            alg: ALGORITHM.to_owned(),
            pkcs8: Zeroizing::new(URL_SAFE_NO_PAD.encode(pkcs8.as_ref())),
            derive: random(),
            seal: random(),
        })
    }

    /// Reads what [`KeySet::to_json`] wrote.
    ///
    /// # Errors
    /// When it is something else.
    pub fn from_json(text: &[u8]) -> Result<Self, KeyError> {
        let file: KeyFile = serde_json::from_slice(text)
            .map_err(|error| KeyError::Damaged(format!("line {} column {}", error.line(), error.column())))?;
        if file.format != FORMAT || file.alg != ALGORITHM {
            return Err(KeyError::Damaged(format!("it is not of the form {FORMAT}")));
        }
        Self::new(file)
    }

    fn new(file: KeyFile) -> Result<Self, KeyError> {
        let pkcs8 = decode(&file.pkcs8)?;
        let signing = parse_pkcs8(&pkcs8)?;
        if thumbprint(&signing) != file.kid {
            return Err(KeyError::Damaged("the kid is not the key's thumbprint".into()));
        }
        let mac = |text: &str| decode(text).map(|bytes| hmac::Key::new(hmac::HMAC_SHA256, &bytes));
        let header = Header {
            typ: Some(ACCESS_TOKEN_TYPE.to_owned()),
            kid: Some(file.kid.0.clone()),
            ..Header::new(Algorithm::ES256)
        };
        let header = serde_json::to_vec(&header).map_err(|_| KeyError::Crypto("cannot write a header"))?;
        let header = format!("{}.", URL_SAFE_NO_PAD.encode(header));
        Ok(Self { derive: mac(&file.derive)?, seal: mac(&file.seal)?, header, signing, file })
    }

    /// The text for `keys.json`. Private: owner-only files, nothing else.
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(&self.file).unwrap_or_default();
        text.push(b'\n');
        Zeroizing::new(text)
    }

    /// The public half, to be published in the store.
    pub fn public(&self) -> PublicKey {
        let (x, y) = point(&self.signing);
        let jwk = [("kty", "EC".to_owned()), ("crv", "P-256".to_owned()), ("x", x), ("y", y)];
        PublicKey {
            id: self.file.kid.clone(),
            alg: ALGORITHM.to_owned(),
            jwk: jwk.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect(),
            published: self.file.created,
            retires: None,
        }
    }

    /// Signs an access token (RFC 9068 section 2).
    ///
    /// # Errors
    /// When the cryptographic library refuses.
    pub fn mint(&self, claims: &AccessClaims) -> Result<Secret, KeyError> {
        // The library would parse and check the private key at every signature, which costs more than the signature.
        let mut token = self.header.clone();
        let claims = serde_json::to_vec(claims).map_err(|_| KeyError::Crypto("cannot write the claims"))?;
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self.signing.sign(&SystemRandom::new(), token.as_bytes());
        let signature = signature.map_err(|_| KeyError::Crypto("cannot sign"))?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(Secret::new(token))
    }

    /// The refresh token that follows `presented`: always the same one, and to be known only with both the
    /// presented token and this key. So a lost answer can be given again although the store keeps hashes only.
    pub fn successor(&self, presented: &Secret) -> Secret {
        let mut context = hmac::Context::with_key(&self.derive);
        context.update(b"refresh token\0");
        context.update(presented.expose().as_bytes());
        Secret::from_bytes(context.sign().as_ref())
    }

    /// A seal over `parts` for `purpose`: what proves later that a page's hidden fields are ours and whole.
    pub fn seal(&self, purpose: &str, parts: &[&[u8]]) -> TokenHash {
        let mut context = hmac::Context::with_key(&self.seal);
        for part in [purpose.as_bytes()].iter().chain(parts) {
            // Lengths first, so that no two lists of parts read the same.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        TokenHash::of(context.sign().as_ref())
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("kid", &self.file.kid).finish_non_exhaustive()
    }
}

fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    URL_SAFE_NO_PAD.decode(text).map(Zeroizing::new).map_err(|_| KeyError::Damaged("a value is not base64url".into()))
}

fn parse_pkcs8(pkcs8: &[u8]) -> Result<EcdsaKeyPair, KeyError> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
        .map_err(|_| KeyError::Damaged("the P-256 key cannot be read".into()))
}

/// The coordinates of the public point (RFC 7518 section 6.2.1), from its uncompressed form.
fn point(pair: &EcdsaKeyPair) -> (String, String) {
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
}

/// RFC 7638 section 3: the hash of the required members in lexical order.
fn thumbprint(pair: &EcdsaKeyPair) -> KeyId {
    let (x, y) = point(pair);
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    KeyId(URL_SAFE_NO_PAD.encode(TokenHash::of(canonical.as_bytes()).as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_their_file_and_are_not_printed() {
        let keys = KeySet::generate(Timestamp(1)).unwrap();
        let read = KeySet::from_json(&keys.to_json()).unwrap();
        assert_eq!(read.public(), keys.public());
        let presented = Secret::new("token".into());
        assert_eq!(read.successor(&presented).expose(), keys.successor(&presented).expose());
        assert!(!format!("{keys:?}").contains(keys.file.pkcs8.as_str()));
    }

    #[test]
    fn a_damaged_key_file_is_named_and_its_contents_are_not() {
        for text in ["", "{}", "{\"format\":\"other\"}"] {
            assert!(KeySet::from_json(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_successor_is_the_same_each_time_and_different_for_each_key_and_token() {
        let (ours, theirs) = (KeySet::generate(Timestamp(1)).unwrap(), KeySet::generate(Timestamp(1)).unwrap());
        let (a, b) = (Secret::new("a".into()), Secret::new("b".into()));
        assert_eq!(ours.successor(&a).expose(), ours.successor(&a).expose());
        assert_ne!(ours.successor(&a).expose(), ours.successor(&b).expose());
        assert_ne!(ours.successor(&a).expose(), theirs.successor(&a).expose());
    }

    #[test]
    fn a_seal_covers_purpose_and_every_boundary() {
        let keys = KeySet::generate(Timestamp(1)).unwrap();
        assert_eq!(keys.seal("a", &[b"b", b"c"]), keys.seal("a", &[b"b", b"c"]));
        for other in [keys.seal("b", &[b"b", b"c"]), keys.seal("a", &[b"bc"]), keys.seal("a", &[b"", b"bc"])] {
            assert_ne!(other, keys.seal("a", &[b"b", b"c"]));
        }
    }
}
