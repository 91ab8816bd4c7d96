//! JSON from strangers: valid UTF-8, unique member names, bounded depth (contract C1, C9).

use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// At most this many objects and arrays within each other, where nobody says otherwise (contract C9).
pub const MAX_DEPTH: usize = 64;

/// The most that anybody may say. What was read is written to a journal, within a few levels of its own, and read back by
/// a parser that ends at 127.
pub const DEEPEST: usize = 100;

/// Why a JSON text is refused. Says where, never what: the text may hold secrets.
#[derive(Debug, thiserror::Error)]
#[error("not acceptable as JSON: {0}")]
pub struct BadJson(String);

/// Reads a JSON text in which every member name is unique in its object, exactly as written (CVE-2026-27896: a
/// parser that takes the last of two members, or folds their case, can be shown another document than a checker).
///
/// # Errors
/// With line and column.
pub fn parse(bytes: &[u8]) -> Result<Value, BadJson> {
    parse_within(bytes, MAX_DEPTH)
}

/// Reads a JSON text as [`parse`] does, with at most `depth` objects and arrays within each other, and never more than
/// [`DEEPEST`].
///
/// # Errors
/// As [`parse`].
pub fn parse_within(bytes: &[u8], depth: usize) -> Result<Value, BadJson> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0, most: depth.min(DEEPEST) }.deserialize(&mut reader).map_err(describe)?;
    reader.end().map_err(describe)?;
    Ok(value)
}

/// Reads a JSON text strictly and then as a `T`.
///
/// # Errors
/// With line and column, or with the name of the member that does not fit.
pub fn parse_as<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadJson> {
    T::deserialize(parse(bytes)?).map_err(describe)
}

/// What is wrong with a text, without repeating what it holds.
#[expect(clippy::needless_pass_by_value, reason = "shape of map_err")]
pub(crate) fn describe(error: serde_json::Error) -> BadJson {
    BadJson(match error.classify() {
        serde_json::error::Category::Data => describe_data(&error.to_string()),
        serde_json::error::Category::Eof => "it ends too early".into(),
        _ => format!("syntax error at line {} column {}", error.line(), error.column()),
    })
}

/// serde quotes the offending value (`invalid type: string "…"`): keep what was expected, drop what was sent.
fn describe_data(text: &str) -> String {
    match (text.strip_prefix("invalid type: "), text.split_once(", expected ")) {
        (Some(_), Some((_, expected))) => format!("a member has the wrong type, expected {expected}"),
        _ if text.starts_with("invalid value") => "a member has a value that is not allowed".into(),
        _ if text.starts_with("unknown variant") => "a member has a value that is not allowed".into(),
        _ => text.to_owned(),
    }
}

/// Builds a [`Value`] and refuses what [`parse`] refuses.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
    most: usize,
}

impl Strict {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == self.most {
            return Err(E::custom(format_args!("nested more than {} levels deep", self.most)));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut read = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            read.push(item);
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut read = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if read.contains_key(&name) {
                return Err(de::Error::custom("a member name stands twice in one object"));
            }
            let value = members.next_value_seed(inner)?;
            read.insert(name, value);
        }
        Ok(Value::Object(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_is_stays_what_it_is() {
        let text = r#"{"a":[1,-2,3.5,true,null,"ä\n"],"b":{"A":{}}}"#;
        assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn duplicate_members_depth_and_junk_are_refused() {
        for bad in [&br#"{"a":1,"a":2}"#[..], br#"{"x":{"a":1,"\u0061":2}}"#, b"{", b"", b"{} x", b"\"\xff\"", b"1e999"]
        {
            assert!(parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(parse(nested(MAX_DEPTH + 1).as_bytes()).is_err());
        for (most, taken) in [(3, 3), (MAX_DEPTH + 1, MAX_DEPTH + 1), (DEEPEST, DEEPEST), (usize::MAX, DEEPEST)] {
            assert!(parse_within(nested(taken).as_bytes(), most).is_ok(), "{most}");
            assert!(parse_within(nested(taken + 1).as_bytes(), most).is_err(), "{most}");
        }
        assert!(parse(nested(100_000).as_bytes()).is_err());
    }

    #[test]
    fn an_error_does_not_repeat_what_was_sent() {
        #[derive(Debug, serde::Deserialize)]
        struct Number {
            #[expect(dead_code, reason = "only its type matters")]
            n: u8,
        }
        let error = parse_as::<Number>(br#"{"n":"hunter2"}"#).unwrap_err().to_string();
        assert!(error.contains("wrong type") && !error.contains("hunter2"), "{error}");
    }
}
