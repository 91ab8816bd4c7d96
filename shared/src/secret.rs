//! Bearer secrets in the clear, and the hashes we keep instead.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A code, refresh token, client secret, session or password in the clear.
///
/// No `Clone`, no `Serialize`; `Debug` prints `Secret(..)`; memory is wiped on drop. It can be hashed, or
/// [`expose`](Self::expose)d to its owner.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over a text that a peer sent.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// 256 random bits as 43 base64url characters (RFC 6749 section 10.10 asks for at least 128).
    ///
    /// # Panics
    /// If the operating system has no randomness to give; nothing safe can be done then.
    pub fn random() -> Self {
        Self::from_bytes(&random_bytes::<32>())
    }

    /// Bytes as base64url without padding.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self::new(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The secret itself, for the one who may have it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the store keeps.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Random bytes from the operating system.
///
/// # Panics
/// If the operating system has no randomness to give; nothing safe can be done then.
#[expect(clippy::expect_used, reason = "no randomness, no security: stop")]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// A random version 4 UUID: the one place that makes them.
pub fn random_uuid() -> uuid::Uuid {
    uuid::Builder::from_random_bytes(random_bytes()).into_uuid()
}

/// SHA-256 of a high-entropy secret: the only form that the store knows.
///
/// Serialised as 43 base64url characters. `==` takes the same time wherever two hashes differ.
#[derive(Clone, Copy, Eq, Ord, PartialOrd)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Hashes the text of a secret.
    pub fn of(secret: &[u8]) -> Self {
        // One hash at every tool call: this library's is twice as fast as sha2's on processors without SHA instructions.
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, secret).as_ref());
        Self(bytes)
    }

    /// Takes over a SHA-256 that was computed elsewhere.
    pub(crate) fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::hash::Hash for TokenHash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

impl Serialize for TokenHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 43];
        let _ = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text);
        serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(HashReader)
    }
}

/// Reads a hash without copying its text first: a store is loaded at the speed of its hashes.
struct HashReader;

impl serde::de::Visitor<'_> for HashReader {
    type Value = TokenHash;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a hash of 43 base64url characters")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TokenHash, E> {
        let mut bytes = [0; 32];
        match URL_SAFE_NO_PAD.decode_slice(text.as_bytes(), &mut bytes) {
            Ok(32) => Ok(TokenHash(bytes)),
            _ => Err(E::custom("a hash is 43 base64url characters")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(..)");
        assert_eq!(format!("{:?}", TokenHash::of(b"hunter2")), "TokenHash(..)");
    }

    #[test]
    fn a_random_secret_has_256_bits_and_no_twin() {
        let (a, b) = (Secret::random(), Secret::random());
        assert_eq!(a.expose().len(), 43);
        assert_ne!(a.expose(), b.expose());
    }

    #[test]
    fn a_hash_survives_the_store() {
        let hash = TokenHash::of(b"abc");
        let text = serde_json::to_string(&hash).unwrap();
        assert_eq!(text, "\"ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0\""); // FIPS 180-4, "abc"
        assert_eq!(serde_json::from_str::<TokenHash>(&text).unwrap(), hash);
        assert!(serde_json::from_str::<TokenHash>("\"short\"").is_err());
    }
}
