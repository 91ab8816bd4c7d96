//! Where a token may come from, in order: `_meta`, the tool's argument, the environment.

use std::fmt;

use serde_json::{Map, Value};
use shared::secret::Secret;

/// The member of a request's `_meta` that carries an access token: no tool, model or transcript sees it.
pub const META_MEMBER: &str = "authz/access_token";

/// The tool argument that carries an access token, for hosts that have nothing better.
pub const ARGUMENT: &str = "access_token";

/// The environment variable that carries one access token for the life of the process.
pub const VARIABLE: &str = "MCP_ACCESS_TOKEN";

/// What one place held.
#[derive(Debug, Default)]
pub enum Place {
    /// Nothing, `null` or an empty text: models fill optional arguments with those.
    #[default]
    Empty,
    /// A token.
    Token(Secret),
    /// Something that is no text.
    Malformed,
}

impl Place {
    fn of(value: Option<Value>) -> Self {
        match value {
            None | Some(Value::Null) => Self::Empty,
            Some(Value::String(text)) if text.is_empty() => Self::Empty,
            Some(Value::String(text)) => Self::Token(Secret::new(text)),
            Some(_) => Self::Malformed,
        }
    }
}

/// The tokens that came with one request, taken out of it so that neither a tool nor a log meets them.
#[derive(Debug, Default)]
pub struct Presented {
    /// From `_meta`.
    pub meta: Place,
    /// From the tool's arguments.
    pub argument: Place,
}

/// Takes the tokens out of a request.
pub fn take(meta: Option<&mut Map<String, Value>>, arguments: Option<&mut Map<String, Value>>) -> Presented {
    Presented {
        meta: Place::of(meta.and_then(|meta| meta.remove(META_MEMBER))),
        argument: Place::of(arguments.and_then(|arguments| arguments.remove(ARGUMENT))),
    }
}

/// Why no token could be chosen. Names the place, never what it held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BadPlace {
    /// `_meta` holds something that is no text.
    Meta,
    /// The argument holds something that is no text.
    Argument,
    /// The argument was used although this server does not take it.
    ArgumentOff,
}

impl fmt::Display for BadPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meta => write!(f, "_meta member \"{META_MEMBER}\" must be a string"),
            Self::Argument => write!(f, "argument \"{ARGUMENT}\" must be a string"),
            Self::ArgumentOff => {
                write!(f, "argument \"{ARGUMENT}\" is not accepted here; use _meta or {VARIABLE} instead")
            }
        }
    }
}

/// Chooses the token that a call is judged by: the first of `_meta`, the argument and the environment that has one.
/// A bad token is not passed over for the next.
///
/// # Errors
/// When a place that comes first holds something that is no token.
pub fn choose<'a>(
    presented: &'a Presented,
    environment: Option<&'a Secret>,
    argument_allowed: bool,
) -> Result<Option<&'a Secret>, BadPlace> {
    match (&presented.meta, &presented.argument) {
        (Place::Malformed, _) => Err(BadPlace::Meta),
        (Place::Token(token), _) => Ok(Some(token)),
        (Place::Empty, Place::Empty) => Ok(environment),
        (Place::Empty, _) if !argument_allowed => Err(BadPlace::ArgumentOff),
        (Place::Empty, Place::Malformed) => Err(BadPlace::Argument),
        (Place::Empty, Place::Token(token)) => Ok(Some(token)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(
        meta: &Value,
        arguments: &Value,
        environment: Option<&str>,
        allowed: bool,
        chosen: Result<Option<&str>, BadPlace>,
    ) {
        let (mut meta, mut arguments) = (meta.as_object().cloned(), arguments.as_object().cloned());
        let presented = take(meta.as_mut(), arguments.as_mut());
        let environment = environment.map(|text| Secret::new(text.to_owned()));
        let found = choose(&presented, environment.as_ref(), allowed);
        assert_eq!(found.map(|token| token.map(Secret::expose)), chosen);
        for map in [&meta, &arguments].into_iter().flatten() {
            assert!(!map.contains_key(META_MEMBER) && !map.contains_key(ARGUMENT), "left behind: {map:?}");
        }
    }

    #[test]
    fn the_first_place_that_has_a_token_decides() {
        let (meta, argument) = (json!({ META_MEMBER: "m" }), json!({ ARGUMENT: "a", "x": 1 }));
        check(&meta, &argument, Some("e"), true, Ok(Some("m")));
        check(&Value::Null, &argument, Some("e"), true, Ok(Some("a")));
        check(&Value::Null, &Value::Null, Some("e"), true, Ok(Some("e")));
        check(&Value::Null, &json!({ ARGUMENT: "" }), Some("e"), true, Ok(Some("e")));
        check(&Value::Null, &json!({ ARGUMENT: null }), None, true, Ok(None));
    }

    #[test]
    fn what_is_no_text_is_refused_and_not_passed_over() {
        check(&json!({ META_MEMBER: 1 }), &json!({ ARGUMENT: "a" }), Some("e"), true, Err(BadPlace::Meta));
        check(&Value::Null, &json!({ ARGUMENT: ["a"] }), Some("e"), true, Err(BadPlace::Argument));
    }

    #[test]
    fn the_argument_can_be_switched_off() {
        check(&Value::Null, &json!({ ARGUMENT: "a" }), Some("e"), false, Err(BadPlace::ArgumentOff));
        check(&Value::Null, &json!({}), Some("e"), false, Ok(Some("e")));
    }

    #[test]
    fn arg_08_nothing_here_prints_a_token() {
        let presented = take(None, json!({ ARGUMENT: "hunter2" }).as_object().cloned().as_mut());
        assert!(!format!("{presented:?}").contains("hunter2"));
        assert!(!BadPlace::ArgumentOff.to_string().contains("hunter2"));
    }
}
