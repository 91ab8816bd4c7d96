//! `get_user_profile`: a sample that tells what the store knows of the person behind the token. Needs
//! `mcp:tools:read`.

use serde_json::{Map, Value, json};
use shared::date;
use shared::scope::TOOLS_READ;

use super::whoami::caller;
use super::{Answer, Arguments, Call, Definition, Tool, arguments, needs, output, ready};
use crate::guard::Caller;

/// The tool.
pub struct GetUserProfile;

impl Tool for GetUserProfile {
    fn definition(&self) -> Definition {
        Definition {
            name: "get_user_profile".into(),
            title: "User profile (sample)".into(),
            description: "Tells what is known of the person for whom the call is made. Needs the scope \
                          mcp:tools:read."
                .into(),
            input: arguments::schema(&[]),
            output: output(json!({
                "user_id": { "type": "string" },
                "username": { "type": "string" },
                "created_at": { "type": ["string", "null"], "description": "RFC 3339, UTC." },
                "roles": { "type": "array", "items": { "type": "string" } },
                "email": { "type": ["string", "null"], "description": "Not kept: always null." },
                "full_name": { "type": ["string", "null"], "description": "Not kept: always null." },
                "preferences": { "type": "object", "description": "Not kept: always empty." },
            })),
            access: needs(TOOLS_READ),
            read_only: true,
        }
    }

    fn call<'a>(&'a self, given: Map<String, Value>, call: &'a Call) -> Answer<'a> {
        ready(Arguments::read(given, &[]).and_then(|_| caller(call).map(describe)))
    }
}

fn describe(caller: &Caller) -> Value {
    let subject = caller.token().subject();
    let roles: &[&str] = match caller.user() {
        Some(user) if user.admin => &["admin", "user"],
        Some(_) => &["user"],
        None => &["client"],
    };
    json!({
        "user_id": subject,
        "username": subject,
        "created_at": caller.user().map(|user| date::rfc3339(user.created)),
        "roles": roles,
        "email": null,
        "full_name": null,
        "preferences": {},
    })
}
