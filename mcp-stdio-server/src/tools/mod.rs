//! The tools: what each is called, takes, gives back and needs.

mod arguments;
mod echo;
mod get_time;
mod get_user_profile;
mod get_weather;
pub(crate) mod glob;
mod list_files;
mod public_info;
mod whoami;

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use shared::scope::Scopes;
use shared::secret::TokenHash;
use shared::state::{ToolName, print_of};
use shared::time::Timestamp;
use shared::uri::Resource;

pub use arguments::{Arguments, Field, Kind, schema};

use crate::guard::{Access, Caller};

/// A tool's answer, which may have to wait for a disk.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Map<String, Value>, ToolError>> + Send + 'a>>;

/// Something that a model can call.
pub trait Tool: Send + Sync {
    /// What it is called, takes, gives back and needs. Asked once, at the start.
    fn definition(&self) -> Definition;

    /// Runs it. The token is gone from `arguments`, and the guard has admitted the caller.
    ///
    /// # Errors
    /// In words for the model and the person, which name arguments and never repeat their values.
    fn call<'a>(&'a self, arguments: Map<String, Value>, call: &'a Call) -> Answer<'a>;
}

/// What a tool tells about itself.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its name in `tools/call`.
    pub name: Cow<'static, str>,
    /// Its name for people.
    pub title: Cow<'static, str>,
    /// What it does, for the model.
    pub description: Cow<'static, str>,
    /// JSON Schema of its arguments, without the token.
    pub input: Map<String, Value>,
    /// JSON Schema of what it gives back when it succeeds; an object.
    pub output: Map<String, Value>,
    /// Who may call it.
    pub access: Access,
    /// Whether it changes nothing.
    pub read_only: bool,
}

impl Definition {
    /// What it tells about itself, as one hash.
    fn print(&self) -> TokenHash {
        print_of(&object(json!({
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": self.input,
            "outputSchema": self.output,
            "annotations": { "readOnlyHint": self.read_only },
        })))
    }
}

/// The circumstances of a call.
#[derive(Debug)]
pub struct Call {
    /// Who calls; `None` for an open tool.
    pub caller: Option<Caller>,
    /// The present second.
    pub now: Timestamp,
}

/// Why a tool gives nothing back. For the model and the person.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ToolError {
    /// An argument is missing, unknown or of the wrong form.
    #[error("{0}")]
    Argument(String),
    /// It could not be done.
    #[error("{0}")]
    Failed(Cow<'static, str>),
}

/// The tools of one server, by name, in the order of the list.
pub struct Catalog {
    tools: Vec<Entry>,
    index: HashMap<String, usize>,
    /// A name that two tools have.
    twice: Option<String>,
}

/// A tool and what it told about itself.
pub struct Entry {
    /// What it told.
    pub definition: Definition,
    /// The same as one hash: a person agrees to that, and not to a name.
    pub print: TokenHash,
    /// The tool.
    pub tool: Arc<dyn Tool>,
}

impl Catalog {
    /// All the scopes that its tools need: what a person is asked for when nothing is known of what follows.
    pub fn scopes(&self) -> Scopes {
        let needed = |entry: &Entry| match &entry.definition.access {
            Access::Scopes(scopes) => scopes.iter().cloned().collect(),
            Access::Open => Vec::new(),
        };
        self.iter().flat_map(needed).collect()
    }

    /// A catalog of these tools. Of two with one name the first stays.
    pub fn new(tools: Vec<Arc<dyn Tool>>) -> Self {
        let mut catalog = Self { tools: Vec::new(), index: HashMap::new(), twice: None };
        for tool in tools {
            let definition = tool.definition();
            let name = definition.name.clone().into_owned();
            if catalog.index.contains_key(&name) {
                catalog.twice = Some(name);
            } else {
                catalog.index.insert(name, catalog.tools.len());
                let print = definition.print();
                catalog.tools.push(Entry { definition, print, tool });
            }
        }
        catalog
    }

    /// Whether its tools can be served.
    ///
    /// # Errors
    /// The first that cannot, and why: for whoever wrote it.
    pub fn check(&self) -> Result<(), String> {
        if let Some(name) = &self.twice {
            return Err(format!("two tools are called {name:?}"));
        }
        for Entry { definition, .. } in &self.tools {
            let name = definition.name.as_ref();
            name.parse::<ToolName>().map_err(|error| format!("the tool {name:?}: {error}"))?;
            // Any token would open it.
            if matches!(&definition.access, Access::Scopes(scopes) if scopes.is_empty()) {
                return Err(format!("the tool {name:?} needs a scope that is none; Access::Open is for everybody"));
            }
            if definition.input.get("type") != Some(&"object".into()) {
                return Err(format!("the tool {name:?}: the schema of its arguments is that of no object"));
            }
        }
        Ok(())
    }

    /// The tools that every server has.
    pub fn standard(resource: &Resource) -> Vec<Arc<dyn Tool>> {
        vec![
            Arc::new(public_info::PublicInfo::new(resource.clone())),
            Arc::new(echo::Echo),
            Arc::new(whoami::Whoami),
            Arc::new(get_time::GetTime),
        ]
    }

    /// The sample tools. `root` is the folder below which files may be listed.
    pub fn samples(root: Option<PathBuf>) -> Vec<Arc<dyn Tool>> {
        vec![
            Arc::new(get_weather::GetWeather),
            Arc::new(list_files::ListFiles::new(root)),
            Arc::new(get_user_profile::GetUserProfile),
        ]
    }

    /// A tool by its exact name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.index.get(name).map(|at| &self.tools[*at])
    }

    /// Every tool, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.tools.iter()
    }
}

/// A guarded tool's access: scopes, separated by spaces.
pub fn needs(scope: &str) -> Access {
    // What is no scope is noticed at the start ([`Catalog::check`]).
    Access::Scopes(scope.parse::<Scopes>().unwrap_or_default())
}

/// An object schema for results: every property is required.
pub fn output(properties: Value) -> Map<String, Value> {
    let required: Vec<_> = properties.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    object(json!({ "type": "object", "properties": properties, "required": required }))
}

/// The members of a JSON object that was written as one.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// An answer that is there at once: the members of the object that a tool gives back.
pub fn ready<'a>(answer: Result<Value, ToolError>) -> Answer<'a> {
    Box::pin(std::future::ready(answer.map(object)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(&'static str, Access, Value);

    impl Tool for Named {
        fn definition(&self) -> Definition {
            let Self(name, access, input) = self;
            let (name, access, input) = ((*name).into(), access.clone(), object(input.clone()));
            let (title, description, output) = ("".into(), "".into(), output(json!({})));
            Definition { name, title, description, input, output, access, read_only: true }
        }

        fn call<'a>(&'a self, _: Map<String, Value>, _: &'a Call) -> Answer<'a> {
            ready(Ok(json!({})))
        }
    }

    #[test]
    fn tools_that_cannot_be_served_are_named_at_the_start() {
        let object = json!({ "type": "object" });
        let tool = |name, access: &Access, input: &Value| -> Arc<dyn Tool> {
            Arc::new(Named(name, access.clone(), input.clone()))
        };
        let (guarded, open) = (needs("a b"), Access::Open);
        assert_eq!(Catalog::new(vec![tool("x", &guarded, &object), tool("y", &open, &object)]).check(), Ok(()));
        for (tools, words) in [
            (vec![tool("x", &guarded, &object), tool("x", &open, &object)], "two tools are called \"x\""),
            (vec![tool("", &guarded, &object)], "1 to 128"),
            (vec![tool("a\nb", &guarded, &object)], "1 to 128"),
            (vec![tool("x", &needs(""), &object)], "needs a scope that is none"),
            (vec![tool("x", &needs("a\"b"), &object)], "needs a scope that is none"),
            (vec![tool("x", &guarded, &json!({}))], "no object"),
        ] {
            let error = Catalog::new(tools).check().unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn every_guarded_tool_needs_a_scope_and_says_what_it_gives() {
        let resource = Resource::stdio("t").unwrap();
        let mut tools = Catalog::standard(&resource);
        tools.extend(Catalog::samples(None));
        let catalog = Catalog::new(tools);
        let names: Vec<_> = catalog.iter().map(|entry| entry.definition.name.as_ref()).collect();
        assert_eq!(
            names,
            ["public_info", "echo", "whoami", "get_time", "get_weather", "list_files", "get_user_profile"]
        );
        for entry in catalog.iter() {
            let definition = &entry.definition;
            assert_eq!(definition.input["type"], "object", "{}", definition.name);
            assert_eq!(definition.input["additionalProperties"], false, "{}", definition.name);
            assert!(!definition.output["properties"].as_object().unwrap().is_empty(), "{}", definition.name);
            match &definition.access {
                Access::Open => assert_eq!(definition.name, "public_info"),
                Access::Scopes(scopes) => assert!(!scopes.is_empty(), "{}", definition.name),
            }
        }
    }
}
