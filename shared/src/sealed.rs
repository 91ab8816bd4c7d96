//! Values that lie or travel where others can have them, and that only whoever has the key can read (AES-256-GCM, a random nonce
//! for each).

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::secret::random_bytes;

/// A longer text is none of ours, and is not looked at.
const LONGEST: usize = 8 * 1024;

/// A key, and what it seals and opens.
pub struct Sealer {
    key: RandomizedNonceKey,
    longest: usize,
}

/// The cryptographic library refuses.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the cryptographic library refuses")]
pub struct Refuses;

impl Sealer {
    /// A sealer with a key that nobody else has.
    ///
    /// # Errors
    /// [`Refuses`]; never in practice.
    pub fn new() -> Result<Self, Refuses> {
        Self::of(&Zeroizing::new(random_bytes::<32>()), LONGEST)
    }

    /// A sealer with a key that is kept somewhere. A sealed text of more than `longest` bytes is not looked at.
    ///
    /// # Errors
    /// [`Refuses`]; never in practice.
    pub fn of(key: &[u8; 32], longest: usize) -> Result<Self, Refuses> {
        RandomizedNonceKey::new(&AES_256_GCM, key).map(|key| Self { key, longest }).map_err(|_| Refuses)
    }

    /// Seals `contents`; they open for the same `purpose` only. The text is base64url.
    ///
    /// # Errors
    /// [`Refuses`]; never in practice.
    pub fn seal(&self, purpose: &str, contents: &[u8]) -> Result<String, Refuses> {
        let mut sealed = contents.to_vec();
        let nonce =
            self.key.seal_in_place_append_tag(Aad::from(purpose.as_bytes()), &mut sealed).map_err(|_| Refuses)?;
        let mut text = nonce.as_ref().to_vec();
        text.append(&mut sealed);
        Ok(URL_SAFE_NO_PAD.encode(text))
    }

    /// What was sealed for `purpose`; `None` for everything else, whatever is wrong with it.
    pub fn open(&self, purpose: &str, text: &str) -> Option<Zeroizing<Vec<u8>>> {
        let bytes = URL_SAFE_NO_PAD.decode(Some(text).filter(|text| text.len() <= self.longest)?).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let length = self.key.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_for_its_maker_and_purpose_and_nothing_else_does() {
        let (ours, theirs) = (Sealer::new().unwrap(), Sealer::new().unwrap());
        let text = ours.seal("round", b"state").unwrap();
        assert_eq!(ours.open("round", &text).unwrap().as_slice(), b"state");
        assert_ne!(ours.seal("round", b"state").unwrap(), text, "no two are alike");
        assert_eq!((ours.open("other", &text), theirs.open("round", &text)), (None, None));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(ours.open("round", std::str::from_utf8(&bytes).unwrap()), None, "{at}");
            assert_eq!(ours.open("round", &text[..at]), None, "{at}");
        }
        for other in ["", "x", &format!("{text}="), &"A".repeat(9000), "\u{e4}"] {
            assert_eq!(ours.open("round", other), None);
        }
    }
}
