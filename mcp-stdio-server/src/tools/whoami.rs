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
                "expires_at": { "type": "string", "description": "RFC 3339, UTC." },
                "grant": { "type": "string", "description": "The consent; revoking it ends the access." },
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
    let claims = caller.claims();
    let resource = match &claims.aud {
        shared::oauth::jwt::Audience::One(resource) => resource.as_str().to_owned(),
        shared::oauth::jwt::Audience::Many(resources) => resources.join(" "),
    };
    json!({
        "subject": claims.sub,
        "client_id": claims.client_id,
        "client_name": caller.client_name(),
        "scopes": claims.scope.iter().collect::<Vec<_>>(),
        "resource": resource,
        "expires_at": date::rfc3339(claims.exp),
        "grant": claims.grant,
    })
}
