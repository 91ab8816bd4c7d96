//! Claims as other people's programs write them (RFC 7519 section 4.1).

use serde::{Deserialize, Deserializer};

use crate::time::Timestamp;

/// `aud`: one audience or several.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(untagged)]
pub(super) enum Audiences {
    One(String),
    Many(Vec<String>),
}

impl Audiences {
    /// The audience, if it is one alone.
    pub(super) fn only(&self) -> Option<&str> {
        match self {
            Self::One(one) => Some(one),
            Self::Many(many) => many.first().filter(|_| many.len() == 1).map(String::as_str),
        }
    }

    /// Whether `wanted` is among them, byte for byte.
    pub(super) fn includes(&self, wanted: &str) -> bool {
        match self {
            Self::One(one) => one == wanted,
            Self::Many(many) => many.iter().any(|one| one == wanted),
        }
    }
}

/// Words that are written as a text with spaces between them (RFC 6749 section 3.3), or as a list.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(untagged)]
pub(super) enum Words {
    Text(String),
    List(Vec<String>),
}

impl Words {
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let (text, list) = match self {
            Self::Text(text) => (text.as_str(), &[][..]),
            Self::List(list) => ("", &list[..]),
        };
        text.split(' ').chain(list.iter().map(String::as_str)).filter(|word| !word.is_empty())
    }
}

/// Seconds since 1970; a fraction is cut off (RFC 7519 section 2 allows one).
pub(super) fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let number = f64::deserialize(deserializer)?;
    let fits = (0.0..=u32::MAX as f64).contains(&number);
    fits.then_some(Timestamp(number as u64)).ok_or_else(|| serde::de::Error::custom("no time"))
}

pub(super) fn perhaps_numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    numeric_date(deserializer).map(Some)
}
