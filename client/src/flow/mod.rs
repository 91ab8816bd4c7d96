//! What is said to an authorization server, and what its answers mean. Pure: text in, text out; time and randomness
//! are arguments. Each exchange is a `request` that writes and an `accept` that reads and judges.

pub mod authorize;
pub mod client;
pub mod device;
pub mod discover;
pub mod exchange;
pub mod register;
pub mod revoke;
pub mod scopes;
pub mod token;

use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::oauth::json;
use shared::secret::Secret;

/// A form to be posted. It may hold secrets: it has no `Debug` that shows them, and is posted without redirects.
#[derive(Debug)]
pub struct FormRequest {
    /// Where to.
    pub url: String,
    /// The `Authorization` header, when the client authenticates by Basic.
    pub authorization: Option<Secret>,
    /// The encoded form.
    pub body: Secret,
}

/// An error that an authorization server named (RFC 6749 section 5.2), as far as it can be read.
///
/// Both texts are foreign: they are for people, after control characters were removed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Named {
    /// The `error` word.
    pub error: String,
    /// The `error_description`.
    pub description: Option<String>,
}

impl Named {
    /// Reads an error body; `None` when it is none.
    fn read(body: &[u8]) -> Option<Self> {
        let read: shared::oauth::error::ErrorBody = object(body).ok()?;
        (!read.error.is_empty()).then_some(Self { error: read.error, description: read.error_description })
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.description {
            Some(description) => write!(f, "{}: {description}", self.error),
            None => f.write_str(&self.error),
        }
    }
}

/// Reads a JSON object, strictly, as a `T`. An array is no object, whatever serde makes of it.
fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    match json::parse(body).map_err(|error| error.to_string())? {
        value @ Value::Object(_) => T::deserialize(value).map_err(|_| "a member has a wrong type".to_owned()),
        _ => Err("it is not a JSON object".to_owned()),
    }
}
