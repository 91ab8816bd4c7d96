//! A tool's arguments: one table gives the schema that hosts read and the check that calls pass.

use serde_json::{Map, Value, json};

use super::ToolError;

/// One argument.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name, exact.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// Whether a call must have it.
    pub required: bool,
    /// What it is for, to the model.
    pub description: &'static str,
}

/// What an argument may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A text of at most so many characters.
    Text {
        /// The limit, in characters.
        max: usize,
    },
    /// One of these texts; the first is the default.
    Choice(&'static [&'static str]),
}

/// The JSON Schema of an argument list. Unknown arguments are refused, and the schema says so.
pub fn schema(fields: &[Field]) -> Map<String, Value> {
    let property = |field: &Field| match field.kind {
        Kind::Text { max } => json!({ "type": "string", "maxLength": max, "description": field.description }),
        Kind::Choice(choices) => {
            json!({ "type": "string", "enum": choices, "default": choices[0], "description": field.description })
        }
    };
    let properties: Map<_, _> = fields.iter().map(|field| (field.name.to_owned(), property(field))).collect();
    let required: Vec<_> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    super::object(json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    }))
}

/// Arguments that passed their table.
#[derive(Debug)]
pub struct Arguments(Map<String, Value>);

impl Arguments {
    /// Checks arguments against their table. `null` counts as absent.
    ///
    /// # Errors
    /// Names the first argument that is wrong; what it held is not repeated.
    pub fn read(mut given: Map<String, Value>, fields: &[Field]) -> Result<Self, ToolError> {
        given.retain(|_, value| !value.is_null());
        if let Some(name) = given.keys().find(|name| fields.iter().all(|field| field.name != name.as_str())) {
            return Err(bad(&format!("\"{}\" is not an argument of this tool", shown(name))));
        }
        for field in fields {
            match (given.get(field.name), field.kind) {
                (None, _) if field.required => return Err(bad(&format!("\"{}\" is required", field.name))),
                (None, _) => {}
                (Some(Value::String(text)), Kind::Text { max }) if text.chars().count() <= max => {}
                (Some(Value::String(_)), Kind::Text { max }) => {
                    return Err(bad(&format!("\"{}\" is longer than {max} characters", field.name)));
                }
                (Some(Value::String(text)), Kind::Choice(choices)) if choices.contains(&text.as_str()) => {}
                (Some(_), Kind::Choice(choices)) => {
                    return Err(bad(&format!("\"{}\" must be one of: {}", field.name, choices.join(", "))));
                }
                (Some(_), Kind::Text { .. }) => return Err(bad(&format!("\"{}\" must be a string", field.name))),
            }
        }
        Ok(Self(given))
    }

    /// Takes a text out.
    pub fn take(&mut self, name: &str) -> Option<String> {
        match self.0.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }
}

fn bad(what: &str) -> ToolError {
    ToolError::Argument(format!("bad arguments: {what}"))
}

/// A caller's text as far as an error may repeat it: short, and without control characters.
pub(crate) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[Field] = &[
        Field { name: "text", kind: Kind::Text { max: 5 }, required: true, description: "A text." },
        Field { name: "unit", kind: Kind::Choice(&["a", "b"]), required: false, description: "A unit." },
    ];

    #[track_caller]
    fn check(given: Value, expected: Result<(), &str>) {
        let read = Arguments::read(super::super::object(given), FIELDS).map(|_| ());
        let error = read.map_err(|error| error.to_string());
        match expected {
            Ok(()) => assert_eq!(error, Ok(())),
            Err(words) => assert!(error.as_ref().is_err_and(|text| text.contains(words)), "{error:?}"),
        }
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn arg_06_an_error_names_the_argument_and_not_its_value() {
        check(json!({ "text": "x" }), Ok(()));
        check(json!({ "text": "äöüßé", "unit": "b" }), Ok(()));
        check(json!({ "text": "x", "unit": null }), Ok(()));
        check(json!({}), Err("\"text\" is required"));
        check(json!({ "text": null }), Err("\"text\" is required"));
        check(json!({ "text": 1 }), Err("\"text\" must be a string"));
        check(json!({ "text": { "hunter2": "hunter2" } }), Err("\"text\" must be a string"));
        check(json!({ "text": "hunter2" }), Err("\"text\" is longer than 5"));
        check(json!({ "text": "x", "unit": "hunter2" }), Err("\"unit\" must be one of: a, b"));
        check(json!({ "text": "x", "Text": "hunter2" }), Err("\"Text\" is not an argument"));
    }

    #[test]
    fn the_schema_says_what_the_check_does() {
        let schema = schema(FIELDS);
        assert_eq!(schema["required"], json!(["text"]));
        assert_eq!(schema["properties"]["unit"]["enum"], json!(["a", "b"]));
        assert_eq!(schema["additionalProperties"], false);
    }
}
