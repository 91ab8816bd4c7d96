//! The claims of an access token (RFC 9068 section 2.2).

use serde::{Deserialize, Serialize};

use crate::id::{ClientId, GrantId, TokenId};
use crate::scope::Scopes;
use crate::time::Timestamp;
use crate::uri::{Issuer, Resource};

/// The `typ` of an access token (RFC 9068 section 2.1): what an ID token or an assertion never carries.
pub const ACCESS_TOKEN_TYPE: &str = "at+jwt";

/// The claims that we put into an access token, all of them required when we read one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AccessClaims {
    /// Who issued it.
    pub iss: Issuer,
    /// Whom it acts for: a user's name, or the client's own id.
    pub sub: String,
    /// Whom it is for.
    pub aud: Audience,
    /// To whom it was given.
    pub client_id: ClientId,
    /// What it opens.
    #[serde(default)]
    pub scope: Scopes,
    /// Its name in the store.
    pub jti: TokenId,
    /// The consent that it hangs from.
    pub grant: GrantId,
    /// Not before this second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<Timestamp>,
    /// Issued in this second.
    pub iat: Timestamp,
    /// Dead from this second.
    pub exp: Timestamp,
}

/// One audience or several (RFC 7519 section 4.1.3).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Audience {
    /// The usual case.
    One(Resource),
    /// A list.
    Many(Vec<String>),
}

impl Audience {
    /// Whether `resource` is among them, byte for byte.
    pub fn includes(&self, resource: &Resource) -> bool {
        match self {
            Self::One(one) => one == resource,
            Self::Many(many) => many.iter().any(|one| one == resource.as_str()),
        }
    }
}
