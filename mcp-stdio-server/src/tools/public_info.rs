//! `public_info`: what anybody may know about this server. Open.

use serde_json::{Map, Value, json};
use shared::uri::Resource;

use super::{Answer, Call, Definition, Tool, arguments, output, ready};
use crate::guard::Access;

/// The tool.
pub struct PublicInfo {
    resource: Resource,
}

impl PublicInfo {
    /// The tool of the server that is `resource`.
    pub fn new(resource: Resource) -> Self {
        Self { resource }
    }
}

impl Tool for PublicInfo {
    fn definition(&self) -> Definition {
        Definition {
            name: "public_info".into(),
            title: "Public information".into(),
            description: "Tells what this server is and offers. Needs no authorization.".into(),
            input: arguments::schema(&[]),
            output: output(json!({
                "server": { "type": "string" },
                "version": { "type": "string" },
                "features": { "type": "array", "items": { "type": "string" } },
                "resource": { "type": "string", "description": "The resource to name when asking for a token." },
            })),
            access: Access::Open,
            read_only: true,
        }
    }

    fn call<'a>(&'a self, given: Map<String, Value>, _call: &'a Call) -> Answer<'a> {
        ready(super::Arguments::read(given, &[]).map(|_| {
            json!({
                "server": env!("CARGO_PKG_NAME"),
                "version": env!("CARGO_PKG_VERSION"),
                "features": [
                    "Dynamic Client Registration", "OAuth 2.1", "Protected Tools", "Scopes per Tool",
                    "Immediate Revocation",
                ],
                "resource": self.resource.as_str(),
            })
        }))
    }
}
