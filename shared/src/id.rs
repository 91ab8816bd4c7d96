//! Names of things: clients, people, grants, access tokens, keys.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::text::{Text, text_on_the_wire};

/// A client's name: ours (`c_` and a UUID) or the URL of its metadata document.
///
/// 1 to 2048 bytes of visible ASCII (within RFC 6749 appendix A.1), compared byte for byte.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct ClientId(Name);

/// A name of ours lies in the record itself: a million of them are a million allocations less.
#[derive(Clone, Eq, Hash, PartialEq)]
enum Name {
    /// At most [`SHORT`] bytes, padded with zeros.
    Short(u8, [u8; SHORT]),
    Long(Arc<str>),
}

/// The length of a name of ours: `c_` and a UUID.
const SHORT: usize = 38;

/// Why a text is no client id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a client_id is 1 to 2048 characters of visible ASCII")]
pub struct NotAClientId;

/// Where a client's metadata is to be found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientKind {
    /// Registered here, dynamically or by the operator.
    Registered,
    /// The id is the `https` URL of a Client ID Metadata Document.
    MetadataDocument,
}

impl ClientId {
    /// The id of a newly registered client. Never starts with `https://` (CIMD section 8.10).
    pub fn generated(uuid: Uuid) -> Self {
        Self::of(&format!("c_{uuid}"))
    }

    fn of(text: &str) -> Self {
        let mut bytes = [0; SHORT];
        Self(match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(text.as_bytes());
                Name::Short(length, bytes)
            }
            _ => Name::Long(text.into()),
        })
    }

    /// The id as it travels.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // Only `of` makes one, of a text that is ASCII.
            Name::Short(length, bytes) => std::str::from_utf8(&bytes[..usize::from(*length)]).unwrap_or_default(),
            Name::Long(text) => text,
        }
    }

    /// Whether the id names a metadata document.
    pub fn kind(&self) -> ClientKind {
        if self.as_str().starts_with("https://") { ClientKind::MetadataDocument } else { ClientKind::Registered }
    }
}

impl FromStr for ClientId {
    type Err = NotAClientId;

    fn from_str(text: &str) -> Result<Self, NotAClientId> {
        let fits = (1..=2048).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(Self::of(text)) } else { Err(NotAClientId) }
    }
}

impl TryFrom<String> for ClientId {
    type Error = NotAClientId;

    fn try_from(text: String) -> Result<Self, NotAClientId> {
        text.parse()
    }
}

impl From<ClientId> for String {
    fn from(id: ClientId) -> Self {
        id.as_str().to_owned()
    }
}

impl Ord for ClientId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for ClientId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientId").field(&self.as_str()).finish()
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

text_on_the_wire!(ClientId, "a client_id");

/// A person's login name, which is also the `sub` of their tokens.
///
/// 1 to 64 ASCII letters, digits and `. _ @ + -`. A name is never given to a second person: a removed account
/// leaves its name behind (RFC 9068 section 5: `sub` is never reassigned).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UserName(Text);

/// Why a text is no login name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a user name is 1 to 64 ASCII letters, digits or . _ @ + -")]
pub struct NotAUserName;

impl UserName {
    /// The name as it is shown and stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = NotAUserName;

    fn from_str(text: &str) -> Result<Self, NotAUserName> {
        let fits =
            (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+-".contains(&b));
        if fits { Ok(Self(text.into())) } else { Err(NotAUserName) }
    }
}

impl TryFrom<String> for UserName {
    type Error = NotAUserName;

    fn try_from(text: String) -> Result<Self, NotAUserName> {
        text.parse()
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> Self {
        name.0.into()
    }
}

text_on_the_wire!(UserName, "a user name");

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! uuid_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_name! {
    /// One consent of one person to one client: what tokens hang from, and what is revoked.
    GrantId
}
uuid_name! {
    /// An access token's `jti` (RFC 7519 section 4.1.7): the name by which the store knows it.
    TokenId
}

/// A signing key's `kid` (RFC 7517 section 4.5): its RFC 7638 thumbprint.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct KeyId(pub String);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_visible_ascii_of_bounded_length() {
        for (text, fits) in [
            ("c_1", true),
            ("https://app.example/client.json", true),
            ("", false),
            ("a b", false),
            ("ä", false),
            ("a\n", false),
            (&"x".repeat(2048), true),
            (&"x".repeat(2049), false),
        ] {
            assert_eq!(text.parse::<ClientId>().is_ok(), fits, "{text:.20}");
        }
    }

    #[test]
    fn a_client_id_reads_the_same_whether_it_lies_in_the_record_or_not() {
        for length in [1, 37, 38, 39, 255, 256, 257, 2048] {
            let text = "x".repeat(length);
            let id: ClientId = text.parse().unwrap();
            assert_eq!((id.as_str(), &id), (text.as_str(), &id.clone()));
        }
        let mut ids: Vec<ClientId> = ["c", "b".repeat(50).as_str(), "a"].map(|text| text.parse().unwrap()).to_vec();
        ids.sort();
        assert!(ids.is_sorted_by_key(ToString::to_string), "{ids:?}");
        assert!(size_of::<ClientId>() <= 40);
    }

    #[test]
    fn a_generated_client_id_never_looks_like_a_document() {
        assert_eq!(ClientId::generated(Uuid::nil()).kind(), ClientKind::Registered);
    }

    #[test]
    fn a_user_name_cannot_hold_markup_paths_or_space() {
        for (text, fits) in
            [("ada", true), ("a.b_c@d+e-f", true), ("", false), ("a/b", false), ("<b>", false), ("a b", false)]
        {
            assert_eq!(text.parse::<UserName>().is_ok(), fits, "{text}");
        }
    }
}
