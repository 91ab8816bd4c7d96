//! Short lists that repeat from record to record, kept once.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::thread::LocalKey;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text::{Place, recent};

/// A list that does not change and is cheap to clone; in JSON an array.
#[derive(Eq, PartialEq)]
pub struct List<T>(Arc<[T]>);

/// What lists are made of.
pub trait Listed: Sized + 'static {
    /// What tells two of them apart, without a newline.
    fn word(&self) -> &str;

    /// Where a thread remembers lists of these.
    fn place() -> &'static LocalKey<Place<List<Self>>>;
}

/// Makes a type [`Listed`] that has `as_str`.
macro_rules! listed {
    ($name:ident) => {
        impl crate::list::Listed for $name {
            fn word(&self) -> &str {
                self.as_str()
            }

            fn place() -> &'static std::thread::LocalKey<crate::text::Place<crate::list::List<Self>>> {
                thread_local! {
                    static PLACE: crate::text::Place<crate::list::List<$name>> = std::cell::RefCell::default();
                }
                &PLACE
            }
        }
    };
}
pub(crate) use listed;

impl<T: Listed> From<Vec<T>> for List<T> {
    fn from(items: Vec<T>) -> Self {
        let key = items.iter().map(Listed::word).collect::<Vec<_>>().join("\n");
        let made: Result<_, std::convert::Infallible> = recent(T::place(), &key, |_| Ok(Self(items.into())));
        match made {
            Ok(list) => list,
        }
    }
}

impl<T: Listed> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        items.into_iter().collect::<Vec<_>>().into()
    }
}

impl<T: Listed> Default for List<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: PartialEq, const N: usize> PartialEq<[T; N]> for List<T> {
    fn eq(&self, other: &[T; N]) -> bool {
        *self.0 == *other
    }
}

impl<T: PartialEq> PartialEq<Vec<T>> for List<T> {
    fn eq(&self, other: &Vec<T>) -> bool {
        *self.0 == **other
    }
}

impl<T: fmt::Debug> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Serialize> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de> + Listed> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::register::GrantType;

    const LIST: [GrantType; 2] = [GrantType::AuthorizationCode, GrantType::RefreshToken];

    #[test]
    fn the_same_list_again_is_the_same_memory_and_order_tells_lists_apart() {
        let text = r#"["authorization_code","refresh_token"]"#;
        let (read, made): (List<GrantType>, List<_>) = (serde_json::from_str(text).unwrap(), LIST.to_vec().into());
        assert!(Arc::ptr_eq(&read.0, &made.0));
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        let turned: List<_> = LIST.into_iter().rev().collect();
        assert_ne!(turned, made);
        assert_eq!(List::<GrantType>::default(), []);
    }
}
