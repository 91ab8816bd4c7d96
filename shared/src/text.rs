//! Texts that repeat from record to record, kept once.
//!
//! A million grants name a few resources, scopes and redirect URIs. Each thread remembers the last texts that it read;
//! the same text again is the same memory. Nothing is locked, and what is remembered is bounded.

use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;
use std::sync::Arc;
use std::thread::LocalKey;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many texts of one kind a thread remembers.
const REMEMBERED: usize = 256;

/// A text that does not change and is cheap to clone.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Text(Arc<str>);

/// What one thread has read last, of one kind: a value for each text, each at the place that its text's hash gives it.
pub struct Recent<T> {
    places: Vec<Option<(Arc<str>, T)>>,
    hasher: RandomState,
}

impl<T: Clone> Recent<T> {
    fn value<E>(&mut self, text: &str, make: impl FnOnce(&Arc<str>) -> Result<T, E>) -> Result<T, E> {
        if self.places.is_empty() {
            self.places.resize_with(REMEMBERED, || None);
        }
        #[expect(clippy::cast_possible_truncation, reason = "an index")]
        let at = self.hasher.hash_one(text) as usize % REMEMBERED;
        match &self.places[at] {
            Some((known, value)) if **known == *text => Ok(value.clone()),
            _ => {
                let text: Arc<str> = text.into();
                let value = make(&text)?;
                self.places[at] = Some((text, value.clone()));
                Ok(value)
            }
        }
    }
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { places: Vec::new(), hasher: RandomState::new() }
    }
}

/// Where a thread remembers values of one kind: `thread_local! { static RECENT: Place<T> = … }`.
pub type Place<T> = RefCell<Recent<T>>;

/// The value of `text`: the one from the last time, or what `make` makes of it.
///
/// # Errors
/// Whatever `make` says; nothing is remembered then.
pub fn recent<T: Clone, E>(
    place: &'static LocalKey<Place<T>>,
    text: &str,
    make: impl FnOnce(&Arc<str>) -> Result<T, E>,
) -> Result<T, E> {
    place.with_borrow_mut(|recent| recent.value(text, make))
}

thread_local! {
    static TEXTS: Place<Text> = RefCell::default();
}

impl Text {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both are the same memory, not only the same text.
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let made: Result<_, std::convert::Infallible> = recent(&TEXTS, text, |text| Ok(Self(Arc::clone(text))));
        match made {
            Ok(text) => text,
        }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&Text> for String {
    fn from(text: &Text) -> Self {
        text.as_str().to_owned()
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.as_str().to_owned()
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Reader("a text", |text| Ok(text.into())))
    }
}

/// Reads a value from a text without copying the text first.
pub(crate) struct Reader<T>(pub(crate) &'static str, pub(crate) fn(&str) -> Result<T, String>);

impl<T> serde::de::Visitor<'_> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).map_err(E::custom)
    }
}

/// Serde for a type that is a text on the wire: written as `as_str()` gives it, read with `from_str`.
macro_rules! text_on_the_wire {
    ($name:ident, $what:literal) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let read = |text: &str| text.parse::<Self>().map_err(|error| error.to_string());
                deserializer.deserialize_str(crate::text::Reader($what, read))
            }
        }
    };
}
pub(crate) use text_on_the_wire;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_again_is_the_same_memory() {
        let (one, two) = (Text::from("a"), Text::from("a".to_owned()));
        assert!(one.is_shared_with(&two));
        let read: Text = serde_json::from_str("\"a\"").unwrap();
        assert!(read.is_shared_with(&one));
        assert_eq!(serde_json::to_string(&one).unwrap(), "\"a\"");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_forgotten_is_still_equal() {
        let first = Text::from("0");
        for number in 1..10_000 {
            assert_eq!(&*Text::from(number.to_string()), number.to_string());
        }
        assert_eq!(Text::from("0"), first);
        TEXTS.with_borrow(|recent| assert_eq!(recent.places.len(), REMEMBERED));
    }

    #[test]
    fn what_is_refused_is_not_remembered() {
        thread_local! { static NUMBERS: Place<u8> = RefCell::default(); }
        let number = |text: &str| recent(&NUMBERS, text, |text| text.parse::<u8>());
        assert!(number("x").is_err() && number("x").is_err());
        assert_eq!((number("7"), number("7")), (Ok(7), Ok(7)));
    }
}
