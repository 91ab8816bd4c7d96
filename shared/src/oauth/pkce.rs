//! Proof Key for Code Exchange (RFC 7636), method S256 and no other.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::secret::{Secret, TokenHash};

/// The one `code_challenge_method` there is here.
pub const S256: &str = "S256";

/// A `code_challenge`: the base64url of a SHA-256 (RFC 7636 section 4.2), 43 characters.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Challenge(TokenHash);

/// A `code_verifier`: 43 to 128 characters of `[A-Za-z0-9-._~]` (RFC 7636 section 4.1).
#[derive(Debug)]
pub struct Verifier(Secret);

/// Evidence that a verifier matched the challenge. Only [`Challenge::verify`] makes one.
#[derive(Debug)]
pub struct PkceVerified(());

/// Why a challenge or verifier is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PkceError {
    /// No `code_challenge`: it is required of every client.
    #[error("code_challenge is required")]
    Missing,
    /// `plain`, or the default which RFC 7636 makes `plain`.
    #[error("code_challenge_method must be S256")]
    Method,
    /// Not 43 base64url characters.
    #[error("code_challenge must be the base64url of a SHA-256, 43 characters")]
    Challenge,
    /// Not 43 to 128 unreserved characters.
    #[error("code_verifier must be 43 to 128 characters of A-Z a-z 0-9 - . _ ~")]
    Verifier,
    /// The verifier belongs to another challenge.
    #[error("code_verifier does not match the code_challenge")]
    Mismatch,
}

impl Challenge {
    /// Reads what the authorization request says.
    ///
    /// # Errors
    /// When there is no S256 challenge.
    pub fn from_request(challenge: Option<&str>, method: Option<&str>) -> Result<Self, PkceError> {
        let challenge = challenge.ok_or(PkceError::Missing)?;
        if method != Some(S256) {
            return Err(PkceError::Method);
        }
        serde_json::from_value(challenge.into()).map(Self).map_err(|_| PkceError::Challenge)
    }

    /// Checks a verifier.
    ///
    /// # Errors
    /// When it is not the one that the challenge was made from.
    pub fn verify(&self, verifier: &Verifier) -> Result<PkceVerified, PkceError> {
        if verifier.challenge().0 == self.0 { Ok(PkceVerified(())) } else { Err(PkceError::Mismatch) }
    }

    /// The challenge as it travels.
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.as_bytes())
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenge(..)")
    }
}

impl Verifier {
    /// A new verifier of 256 random bits (RFC 7636 section 7.1).
    pub fn random() -> Self {
        Self(Secret::random())
    }

    /// Checks the form of a verifier that a peer sent.
    ///
    /// # Errors
    /// When the form is wrong.
    pub fn parse(text: String) -> Result<Self, PkceError> {
        let fits =
            (43..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
        if fits { Ok(Self(Secret::new(text))) } else { Err(PkceError::Verifier) }
    }

    /// The challenge that goes with it.
    pub fn challenge(&self) -> Challenge {
        Challenge(TokenHash::from_digest(Sha256::digest(self.0.expose()).into()))
    }

    /// The verifier as it travels, once, to the token endpoint.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"; // RFC 7636 appendix B
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_vector_of_rfc_7636_verifies_and_a_flipped_byte_does_not() {
        let challenge = Challenge::from_request(Some(CHALLENGE), Some(S256)).unwrap();
        let verifier = |text: &str| Verifier::parse(text.to_owned()).unwrap();
        assert!(challenge.verify(&verifier(VERIFIER)).is_ok());
        assert_eq!(challenge.verify(&verifier(&VERIFIER.replace('d', "e"))).unwrap_err(), PkceError::Mismatch);
        assert_eq!(verifier(VERIFIER).challenge().text(), CHALLENGE);
    }

    #[test]
    fn auz_09_10_there_is_no_way_around_s256() {
        let read = |challenge, method| Challenge::from_request(challenge, method).unwrap_err();
        assert_eq!(read(None, None), PkceError::Missing);
        assert_eq!(read(None, Some(S256)), PkceError::Missing);
        assert_eq!(read(Some(CHALLENGE), None), PkceError::Method);
        assert_eq!(read(Some(CHALLENGE), Some("plain")), PkceError::Method);
        assert_eq!(read(Some(CHALLENGE), Some("s256")), PkceError::Method);
        assert_eq!(read(Some("short"), Some(S256)), PkceError::Challenge);
        assert_eq!(read(Some(&format!("{CHALLENGE}=")), Some(S256)), PkceError::Challenge);
    }

    #[test]
    fn a_verifier_has_43_to_128_unreserved_characters() {
        for (text, fits) in [
            ("a".repeat(42), false),
            ("a".repeat(43), true),
            ("a".repeat(128), true),
            ("a".repeat(129), false),
            (format!("{}+", "a".repeat(43)), false),
        ] {
            assert_eq!(Verifier::parse(text).is_ok(), fits);
        }
    }
}
