//! Names of things: clients, people, grants, access tokens, keys.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A client's name: ours (`c_` and a UUID) or the URL of its metadata document.
///
/// 1 to 2048 bytes of visible ASCII (within RFC 6749 appendix A.1), compared byte for byte.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(String);

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
        Self(format!("c_{uuid}"))
    }

    /// The id as it travels.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the id names a metadata document.
    pub fn kind(&self) -> ClientKind {
        if self.0.starts_with("https://") { ClientKind::MetadataDocument } else { ClientKind::Registered }
    }
}

impl TryFrom<String> for ClientId {
    type Error = NotAClientId;

    fn try_from(text: String) -> Result<Self, NotAClientId> {
        let fits = (1..=2048).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(Self(text)) } else { Err(NotAClientId) }
    }
}

impl FromStr for ClientId {
    type Err = NotAClientId;

    fn from_str(text: &str) -> Result<Self, NotAClientId> {
        Self::try_from(text.to_owned())
    }
}

impl From<ClientId> for String {
    fn from(id: ClientId) -> Self {
        id.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A person's login name, which is also the `sub` of their tokens.
///
/// 1 to 64 ASCII letters, digits and `. _ @ + -`. A name is never given to a second person: a removed account
/// leaves its name behind (RFC 9068 section 5: `sub` is never reassigned).
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

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

impl TryFrom<String> for UserName {
    type Error = NotAUserName;

    fn try_from(text: String) -> Result<Self, NotAUserName> {
        let fits =
            (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+-".contains(&b));
        if fits { Ok(Self(text)) } else { Err(NotAUserName) }
    }
}

impl FromStr for UserName {
    type Err = NotAUserName;

    fn from_str(text: &str) -> Result<Self, NotAUserName> {
        Self::try_from(text.to_owned())
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> Self {
        name.0
    }
}

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
