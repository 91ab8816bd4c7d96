//! `echo`: gives a message back to whoever may run tools. Needs `mcp:tools:execute`.

use serde_json::{Map, Value, json};
use shared::scope::TOOLS_EXECUTE;

use super::{Answer, Arguments, Call, Definition, Field, Kind, Tool, arguments, needs, output, ready};

const FIELDS: &[Field] = &[Field {
    name: "message",
    kind: Kind::Text { max: 1024 * 1024 },
    required: true,
    description: "The text to give back.",
}];

/// The tool.
pub struct Echo;

impl Tool for Echo {
    fn definition(&self) -> Definition {
        Definition {
            name: "echo".into(),
            title: "Echo".into(),
            description: "Gives the message back, to prove that the call was authorized. Needs the scope \
                          mcp:tools:execute."
                .into(),
            input: arguments::schema(FIELDS),
            output: output(json!({
                "echo": { "type": "string", "description": "The message." },
                "authorized": { "type": "boolean", "description": "Always true: others are refused." },
                "length": { "type": "integer", "description": "Characters in the message." },
            })),
            access: needs(TOOLS_EXECUTE),
            read_only: true,
        }
    }

    fn call<'a>(&'a self, given: Map<String, Value>, _call: &'a Call) -> Answer<'a> {
        ready(Arguments::read(given, FIELDS).map(|mut arguments| {
            let message = arguments.take("message").unwrap_or_default();
            let length = message.chars().count();
            json!({ "echo": message, "authorized": true, "length": length })
        }))
    }
}
