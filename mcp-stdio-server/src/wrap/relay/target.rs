//! What a request of the host's is about. Pure.

use serde_json::{Map, Value};
use shared::state::Kind;

use crate::guard::Access;
use crate::wrap::listing::{List, Listing};
use crate::wrap::message::param;
use crate::wrap::rules::{Rules, Verdict};

/// What a request is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Target {
    /// A tool.
    Tool(String),
    /// A resource that is read.
    Read(String),
    /// A resource in another way.
    Resource(String),
    /// A prompt.
    Prompt(String),
    /// A task, by its id.
    Task(String),
    /// A task of this tool.
    TaskOf(String),
    /// News, also of resources.
    News,
    /// Nothing that is guarded.
    Nothing,
    /// Something that we do not know.
    Unknown,
    /// Its parameters make no sense.
    Malformed(&'static str),
}

impl Target {
    /// That of a request.
    pub(super) fn of(method: &str, message: &Map<String, Value>) -> Self {
        let text = |name: &'static str| match param(message, name) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err("a name must be a string"),
            None => Err("a name is missing"),
        };
        let named = |name: &'static str, target: fn(String) -> Self| text(name).map_or_else(Self::Malformed, target);
        match method {
            "tools/call" => named("name", Self::Tool),
            "resources/read" => named("uri", Self::Read),
            "resources/subscribe" | "resources/unsubscribe" => named("uri", Self::Resource),
            "prompts/get" => named("name", Self::Prompt),
            "tasks/get" | "tasks/result" | "tasks/update" | "tasks/cancel" => named("taskId", Self::Task),
            "completion/complete" => {
                let member = |name: &str| param(message, "ref")?.get(name)?.as_str().map(str::to_owned);
                match (member("name"), member("uri")) {
                    (Some(name), None) => Self::Prompt(name),
                    (None, Some(uri)) => Self::Resource(uri),
                    _ => Self::Malformed("\"ref\" must name a prompt or a resource"),
                }
            }
            "subscriptions/listen" => Self::News,
            "ping" | "logging/setLevel" | "server/discover" => Self::Nothing,
            _ if List::of(method).is_some() => Self::Nothing,
            _ => Self::Unknown,
        }
    }

    /// Who may have it.
    pub(super) fn verdict(&self, rules: &Rules, listing: &Listing) -> Verdict {
        match self {
            Self::Tool(name) | Self::TaskOf(name) => listing.verdict(rules, name),
            Self::Read(uri) | Self::Resource(uri) => rules.resource(uri),
            Self::Prompt(name) => rules.prompt(name),
            Self::News | Self::Nothing => Verdict::Needs(Access::Open),
            // Which tool such a task is of, nobody knows; and what we do not know may do anything.
            Self::Task(_) | Self::Unknown | Self::Malformed(_) => Listing::default().verdict(&Rules::default(), ""),
        }
    }

    /// What it is. What we do not know may do anything, as a tool may.
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Read(_) | Self::Resource(_) | Self::News => Kind::Resource,
            Self::Prompt(_) => Kind::Prompt,
            Self::Task(_) | Self::TaskOf(_) => Kind::Task,
            Self::Tool(_) | Self::Nothing | Self::Unknown | Self::Malformed(_) => Kind::Tool,
        }
    }

    /// Its name; of what has none, the method's.
    pub(super) fn name<'a>(&'a self, method: &'a str) -> &'a str {
        match self {
            Self::Tool(name) | Self::TaskOf(name) | Self::Read(name) | Self::Resource(name) | Self::Prompt(name) => {
                name
            }
            // A task's own id opens it, and is written nowhere.
            Self::Task(_) | Self::News | Self::Nothing | Self::Unknown | Self::Malformed(_) => method,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_about_what_it_names_and_about_nothing_that_it_does_not() {
        let prompt = json!({ "ref": { "type": "ref/prompt", "name": "p" } });
        let template = json!({ "ref": { "type": "ref/resource", "uri": "x://{a}" } });
        for (method, params, kind, name) in [
            ("tools/call", json!({ "name": "t" }), Kind::Tool, "t"),
            ("resources/read", json!({ "uri": "x://1" }), Kind::Resource, "x://1"),
            ("resources/subscribe", json!({ "uri": "x://1" }), Kind::Resource, "x://1"),
            ("resources/unsubscribe", json!({ "uri": "x://1" }), Kind::Resource, "x://1"),
            ("prompts/get", json!({ "name": "p" }), Kind::Prompt, "p"),
            ("completion/complete", prompt, Kind::Prompt, "p"),
            ("completion/complete", template, Kind::Resource, "x://{a}"),
            ("tasks/get", json!({ "taskId": "t" }), Kind::Task, "tasks/get"),
            ("tasks/new", json!({ "name": "t" }), Kind::Tool, "tasks/new"),
        ] {
            let message = json!({ "params": params });
            let target = Target::of(method, message.as_object().unwrap());
            assert_eq!((target.kind(), target.name(method)), (kind, name), "{method}");
        }
        for (method, params) in [
            ("tools/call", json!({ "uri": "x" })),
            ("resources/read", json!({ "uri": 7 })),
            ("completion/complete", json!({ "ref": { "name": "p", "uri": "x" } })),
            ("completion/complete", json!({})),
        ] {
            let message = json!({ "params": params });
            let target = Target::of(method, message.as_object().unwrap());
            assert!(matches!(target, Target::Malformed(_)), "{method}: {target:?}");
        }
    }
}
