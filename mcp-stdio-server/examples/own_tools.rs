//! A server with a tool of its own, and everything that comes with it: `docs/ADD_A_TOOL.md` tells how.

use std::process::ExitCode;
use std::sync::Arc;

use mcp_stdio_server::cli::main_with;
use mcp_stdio_server::server::Program;
use mcp_stdio_server::tools::{Answer, Arguments, Call, Definition, Field, Kind, Tool, needs, output, ready, schema};
use serde_json::{Map, Value, json};

const FIELDS: &[Field] =
    &[Field { name: "text", kind: Kind::Text { max: 100_000 }, required: true, description: "The text to count." }];

struct CountWords;

impl Tool for CountWords {
    fn definition(&self) -> Definition {
        Definition {
            name: "count_words".into(),
            title: "Count words".into(),
            description: "Counts the words of a text.".into(),
            input: schema(FIELDS),
            output: output(json!({ "words": { "type": "integer" } })),
            access: needs("texts:read"),
            read_only: true,
        }
    }

    fn call<'a>(&'a self, given: Map<String, Value>, _call: &'a Call) -> Answer<'a> {
        ready(Arguments::read(given, FIELDS).map(|mut arguments| {
            let text = arguments.take("text").unwrap_or_default();
            json!({ "words": text.split_whitespace().count() })
        }))
    }
}

fn main() -> ExitCode {
    let program = Program { name: "own-tools", version: "1.0.0", about: "Counts words, for whoever may." };
    main_with(program, |_| vec![Arc::new(CountWords)])
}
