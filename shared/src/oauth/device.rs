//! The words of the device authorization grant (RFC 8628).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The letters of a user code: no vowels, so that no word comes out, and nothing that looks like a digit (RFC 8628
/// section 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// How many letters: 34 bits, beside a limit on wrong ones (RFC 8628 section 5.1).
const LENGTH: usize = 8;

/// What a person types: eight letters, shown with a hyphen in the middle.
#[derive(Clone, Eq, PartialEq)]
pub struct UserCode(String);

impl UserCode {
    /// Makes one from random bytes, each letter equally likely; `None` when too many of the bytes must be passed over.
    pub fn draw(bytes: &[u8]) -> Option<Self> {
        let count = LETTERS.len();
        let fair = 256 - 256 % count;
        let letter = |byte: &u8| (usize::from(*byte) < fair).then(|| char::from(LETTERS[usize::from(*byte) % count]));
        let letters: String = bytes.iter().filter_map(letter).take(LENGTH).collect();
        (letters.len() == LENGTH).then_some(Self(letters))
    }

    /// Reads what a person typed: in any case, with whatever between the letters is no letter or digit.
    pub fn typed(text: &str) -> Option<Self> {
        let fits = |text: &&str| text.len() <= 64;
        let typed: String = Some(text).filter(fits)?.chars().filter(|c| c.is_alphanumeric()).collect();
        let letters = typed.to_ascii_uppercase();
        let ours = letters.len() == LENGTH && letters.bytes().all(|letter| LETTERS.contains(&letter));
        ours.then_some(Self(letters))
    }

    /// The letters alone: what is hashed.
    pub fn letters(&self) -> &str {
        &self.0
    }

    /// As a person sees it.
    pub fn shown(&self) -> String {
        format!("{}-{}", &self.0[..LENGTH / 2], &self.0[LENGTH / 2..])
    }
}

impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserCode(..)")
    }
}

/// What a device shows, and with what it polls (RFC 8628 section 3.2).
#[derive(Deserialize, Serialize)]
pub struct DeviceAuthorization {
    /// With what the device polls.
    pub device_code: String,
    /// What the person types.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same with the code in it, for a link or a QR code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_uri_complete: Option<String>,
    /// Seconds that both codes live.
    pub expires_in: u64,
    /// Seconds between two polls; 5 when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<u64>,
}

impl fmt::Debug for DeviceAuthorization {
    /// Without the codes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceAuthorization").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_code_has_eight_letters_that_nobody_confuses() {
        let code = UserCode::draw(&[255, 0, 1, 2, 3, 240, 4, 5, 6, 19, 9]).unwrap();
        assert_eq!((code.shown().as_str(), code.letters()), ("BCDF-GHJZ", "BCDFGHJZ"));
        assert_eq!(UserCode::draw(&[0; 7]), None);
        assert_eq!(format!("{code:?}"), "UserCode(..)");
        for typed in ["BCDF-GHJZ", "bcdfghjz", " bcdf ghjz\r\n", "B-C-D-F-G-H-J-Z", "bcdf\u{2013}ghjz"] {
            assert_eq!(UserCode::typed(typed), Some(code.clone()), "{typed}");
        }
        for other in ["", "BCDF-GHJ", "BCDF-GHJZB", "ACDF-GHJZ", "BCDF-GHJ0", "BCDF-GHJ\u{c9}", &"-".repeat(65)] {
            assert_eq!(UserCode::typed(other), None, "{other}");
        }
    }
}
