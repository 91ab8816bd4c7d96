//! `application/x-www-form-urlencoded`, read strictly: a parameter stands once or the request is refused.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The most parameters that are read of one request, whatever an operator chooses.
pub const MAX_PARAMETERS: usize = 1000;

/// What `application/x-www-form-urlencoded` leaves as it is, besides letters and digits.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why a form or query cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadForm {
    /// OAuth 2.1 section 3.1: parameters are not included more than once.
    #[error("the parameter {0} stands more than once")]
    Repeated(String),
    /// Contract C9.
    #[error("more than {MAX_PARAMETERS} parameters")]
    TooMany,
    /// Percent-encoding of something that is not UTF-8.
    #[error("a parameter is not valid UTF-8")]
    NotUtf8,
}

/// Parameters by name, each at most once. An empty value counts as absent (OAuth 2.1 section 3.1).
#[derive(Clone, Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a query or a form body.
    ///
    /// # Errors
    /// When a parameter is repeated, there are too many, or one is not UTF-8. A name that we do not know may be
    /// repeated too and is refused all the same: which of two values another party reads cannot be known.
    pub fn parse(text: &str) -> Result<Self, BadForm> {
        let mut read: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if read.iter().any(|(known, _)| *known == name) {
                return Err(BadForm::Repeated(name));
            }
            if read.len() == MAX_PARAMETERS {
                return Err(BadForm::TooMany);
            }
            read.push((name, value));
        }
        Ok(Self(read))
    }

    /// Takes pairs that were read elsewhere, such as from a JSON object.
    pub fn from_pairs(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// The value of a parameter, if it has one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// Takes a value out, to be owned by whoever reads it.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, value)| known == name && !value.is_empty())?;
        Some(self.0.swap_remove(at).1)
    }

    /// All names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl std::fmt::Debug for Parameters {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Every value that a query gives to one name, in order: for a caller that must look before it may refuse.
pub fn all_values<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
    text.split('&').filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key).ok()? == name).then(|| decode(value).map(Cow::Owned).ok()).flatten()
    })
}

/// Decodes one name or value: `+` is a space.
///
/// # Errors
/// When it is not UTF-8.
pub fn decode(text: &str) -> Result<String, BadForm> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().map(Cow::into_owned).map_err(|_| BadForm::NotUtf8)
}

/// Encodes one name or value: a space becomes `+`.
pub fn encode_value(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string().replace("%20", "+")
}

/// Encodes parameters.
pub fn encode(parameters: &[(&str, &str)]) -> String {
    let pairs: Vec<_> =
        parameters.iter().map(|(name, value)| format!("{}={}", encode_value(name), encode_value(value))).collect();
    pairs.join("&")
}

/// The `Authorization` header of a client that has a secret (RFC 6749 section 2.3.1): both halves are form-encoded before
/// they are joined, so that `:` cannot move the seam.
pub fn basic(id: &str, secret: &str) -> Secret {
    let pair = Zeroizing::new(format!("{}:{}", encode_value(id), encode_value(secret)));
    Secret::new(format!("Basic {}", STANDARD.encode(&*pair)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were_sent() {
        for value in ["", "a b", "a+b", "%", "&=?#", "ä€😀", "\r\n\0"] {
            let text = encode(&[("k", value), ("l", "1")]);
            let read = Parameters::parse(&text).unwrap();
            assert_eq!(read.get("k").unwrap_or_default(), value);
            assert_eq!(read.get("l"), Some("1"));
        }
    }

    #[test]
    fn a_repeated_parameter_is_refused_and_an_empty_one_is_absent() {
        assert_eq!(Parameters::parse("a=1&a=2").unwrap_err(), BadForm::Repeated("a".into()));
        assert_eq!(Parameters::parse("a=1&%61=2").unwrap_err(), BadForm::Repeated("a".into()));
        assert_eq!(Parameters::parse("a=&b").unwrap().get("a"), None);
        assert_eq!(Parameters::parse("a=%ff").unwrap_err(), BadForm::NotUtf8);
        let many: Vec<_> = (0..=MAX_PARAMETERS).map(|n| format!("p{n}=1")).collect();
        assert_eq!(Parameters::parse(&many.join("&")).unwrap_err(), BadForm::TooMany);
        assert!(Parameters::parse(&many[1..].join("&")).is_ok());
    }

    #[test]
    fn debug_output_shows_no_values() {
        assert_eq!(format!("{:?}", Parameters::parse("code=secret").unwrap()), "[\"code\"]");
    }
}
