//! `whoami`: what the caller's token says. Needs `mcp:tools:read`.

use serde_json::{Map, Value, json};
use shared::date;
use shared::scope::TOOLS_READ;

use super::{Answer, Arguments, Call, Definition, Tool, ToolError, arguments, needs, output, ready};
use crate::guard::Caller;

/// The tool.
pub struct Whoami;

impl Tool for Whoami {
    fn definition(&self) -> Definition {
        Definition {
            name: "whoami".into(),
            title: "Who am I".into(),
            description: "Tells for whom and by which client the call is made, and until when it may be. Needs the \
                          scope mcp:tools:read."
                .into(),
            input: arguments::schema(&[]),
            output: output(json!({
                "subject": { "type": "string", "description": "The person who consented, or the client that acts for itself." },
                "client_id": { "type": "string" },
                "client_name": {
                    "type": ["string", "null"],
                    "description": "What the client calls itself; self-declared, not verified.",
                },
                "scopes": { "type": "array", "items": { "type": "string" } },
                "resource": { "type": "string" },
                "issuer": { "type": "string", "description": "Who issued the token." },
                "expires_at": { "type": ["string", "null"], "description": "RFC 3339, UTC." },
                "grant": {
                    "type": ["string", "null"],
                    "description": "The consent; revoking it ends the access. Another issuer keeps its own.",
                },
            })),
            access: needs(TOOLS_READ),
            read_only: true,
        }
    }

    fn call<'a>(&'a self, given: Map<String, Value>, call: &'a Call) -> Answer<'a> {
        ready(Arguments::read(given, &[]).and_then(|_| caller(call).map(describe)))
    }
}

/// The caller of a guarded tool.
pub(super) fn caller(call: &Call) -> Result<&Caller, ToolError> {
    call.caller.as_ref().ok_or(ToolError::Failed("this tool needs a caller".into()))
}

fn describe(caller: &Caller) -> Value {
    let token = caller.token();
    json!({
        "subject": token.subject(),
        "client_id": token.client(),
        "client_name": caller.client_name(),
        "scopes": token.scopes().iter().collect::<Vec<_>>(),
        "resource": token.audience(),
        "issuer": token.issuer(),
        "expires_at": token.expires().map(date::rfc3339),
        "grant": token.grant(),
    })
}
