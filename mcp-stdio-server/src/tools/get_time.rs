//! `get_time`: the present second. Needs `mcp:tools:read`.

use serde_json::{Map, Value, json};
use shared::date;
use shared::scope::TOOLS_READ;

use super::{Answer, Arguments, Call, Definition, Tool, arguments, needs, output, ready};

/// The tool.
pub struct GetTime;

impl Tool for GetTime {
    fn definition(&self) -> Definition {
        Definition {
            name: "get_time".into(),
            title: "Time".into(),
            description: "Tells the present time in UTC. Needs the scope mcp:tools:read.".into(),
            input: arguments::schema(&[]),
            output: output(json!({
                "current_time": { "type": "string", "description": "RFC 3339." },
                "timezone": { "type": "string" },
                "timestamp": { "type": "integer", "description": "Seconds since 1970-01-01T00:00:00Z." },
                "formatted": { "type": "string", "description": "YYYY-MM-DD HH:MM:SS" },
            })),
            access: needs(TOOLS_READ),
            read_only: true,
        }
    }

    fn call<'a>(&'a self, given: Map<String, Value>, call: &'a Call) -> Answer<'a> {
        ready(Arguments::read(given, &[]).map(|_| {
            json!({
                "current_time": date::rfc3339(call.now),
                "timezone": "UTC",
                "timestamp": call.now,
                "formatted": date::spaced(call.now),
            })
        }))
    }
}
