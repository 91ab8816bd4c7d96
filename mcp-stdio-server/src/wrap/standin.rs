//! What stands in for a server that does not start without its secrets, until somebody has signed in.
//!
//! It speaks the earlier era over the same pipes as a process would, so that nothing else has to know of it. It shows what the
//! server had when it last ran with its secrets; of a server that never did, one tool, with which a person signs in.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::files;
use shared::uri::Resource;
use tokio::io::{AsyncWriteExt, DuplexStream};

use super::child::Child;
use super::eras::{Server, ourselves};
use super::listing::List;
use super::message::{self, Id, Message, param};
use crate::framing::lines::{Found, Lines};

/// The tool of a stand-in that knows no others.
pub const SIGN_IN: &str = "sign_in";

/// A longer file is none of ours.
const LONGEST: u64 = 16 << 20;

/// How many bytes may be on their way to or from it.
const PIPE: usize = 64 * 1024;

/// What is remembered of a server from one run to the next, in the store's folder.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Known {
    /// What it said to `initialize` when it had its secrets.
    pub server: Option<Value>,
    /// Its tools then.
    pub tools: Vec<Value>,
    /// It ends by itself when it has no secrets.
    pub needs_secrets: bool,
}

/// Where that is remembered.
#[derive(Clone, Debug)]
pub struct Memory(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// What is to be written: the latest counts.
    latest: Mutex<Option<Known>>,
    /// Held by the one who writes.
    writing: Mutex<()>,
}

impl Memory {
    /// Of the server that is called `resource`, in the store's folder.
    pub fn new(folder: &Path, resource: &Resource) -> Self {
        let file = |name| folder.join(format!("wrapped-{name}.json"));
        let inner = |name| Inner { path: file(name), latest: Mutex::default(), writing: Mutex::default() };
        Self(resource.stdio_name().map(|name| Arc::new(inner(name))))
    }

    /// Nowhere.
    pub fn none() -> Self {
        Self(None)
    }

    /// What was remembered; nothing when the file is not there, or no good.
    pub fn recall(&self) -> Known {
        let read = |path: &PathBuf| {
            files::unsafe_because(path).ok()?.is_none().then_some(())?;
            serde_json::from_slice(&files::read_at_most(path, LONGEST).ok()??).ok()
        };
        self.0.as_ref().and_then(|inner| read(&inner.path)).unwrap_or_default()
    }

    /// Remembers, beside everything else.
    pub fn remember(&self, known: Known) {
        let Some(inner) = self.0.clone() else { return };
        *inner.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        tokio::task::spawn_blocking(move || {
            let _writing = inner.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let latest = inner.latest.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(text) = latest.map(|known| serde_json::to_vec(&known).unwrap_or_default()) else { return };
            if let Err(error) = files::replace(&inner.path, &text) {
                tracing::warn!(path = %inner.path.display(), %error, "what the server offers cannot be remembered");
            }
        });
    }
}

/// Starts a stand-in.
pub fn start(known: &Known) -> Child {
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let standing = StandIn::new(known);
    let task = tokio::spawn(async move { standing.serve(theirs).await });
    Child::inner(ours, task)
}

struct StandIn {
    server: Server,
    tools: Vec<Value>,
}

impl StandIn {
    fn new(known: &Known) -> Self {
        let unknown = || json!({ "capabilities": { "tools": {} }, "serverInfo": ourselves() });
        let mut server = Server::of_initialize(&known.server.clone().unwrap_or_else(unknown));
        for kind in ["tools", "prompts", "resources"] {
            // They change when somebody signs in.
            if let Some(Value::Object(parts)) = server.capabilities.get_mut(kind) {
                parts.insert("listChanged".to_owned(), true.into());
            }
        }
        let tools = if known.server.is_some() { known.tools.clone() } else { vec![sign_in()] };
        Self { server, tools }
    }

    async fn serve(self, io: DuplexStream) {
        let (input, mut output) = tokio::io::split(io);
        let mut lines = Lines::new(input);
        while let Ok(Found::Line(length)) = lines.find().await {
            let read = message::read(lines.line(length));
            lines.consume(length);
            let Ok(Message::Request(id, method, message)) = read else { continue };
            let line = message::line(&self.answer(&id, &method, &message));
            if output.write_all(&line).await.is_err() {
                return;
            }
        }
    }

    fn answer(&self, id: &Id, method: &str, request: &Map<String, Value>) -> Value {
        let result = match (method, List::of(method)) {
            ("initialize", _) => self.server.initialized(param(request, "protocolVersion").and_then(Value::as_str)),
            ("ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe", _) => json!({}),
            (_, Some(List::Tools)) => json!({ "tools": self.tools }),
            (_, Some(list)) => json!({ list.member(): [] }),
            ("server/discover", _) => return message::failure(Some(id), -32601, "Method not found", None),
            _ => {
                let words = "Internal error: the server behind this one gets its secrets when somebody has signed in; call a \
                             tool that needs a login";
                return message::failure(Some(id), -32603, words, None);
            }
        };
        message::success(id, result)
    }
}

/// The one tool of a server that nobody knows yet.
fn sign_in() -> Value {
    json!({
        "name": SIGN_IN,
        "title": "Sign in",
        "description": "Asks the person to sign in. The server behind this one gets its secrets then, and its tools take the \
                        place of this one.",
        "inputSchema": { "type": "object", "properties": {} },
        "annotations": { "readOnlyHint": true, "openWorldHint": false },
    })
}

/// What that tool answers when somebody has signed in.
pub fn signed_in() -> Value {
    let words = "Signed in. The server starts now; list the tools again to see what it has.";
    json!({ "content": [{ "type": "text", "text": words }], "isError": false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_in_shows_what_the_server_had_or_the_way_in() {
        let request = |params: Value| json!({ "params": params }).as_object().cloned().unwrap();
        let unknown = StandIn::new(&Known::default());
        let said = json!({
            "protocolVersion": "2025-06-18", "serverInfo": { "name": "s", "version": "1" },
            "capabilities": { "tools": {}, "prompts": {}, "logging": {} }, "instructions": "Look."
        });
        let tools = vec![json!({ "name": "look" })];
        let known = StandIn::new(&Known { server: Some(said), tools, needs_secrets: true });
        let ask =
            |standing: &StandIn, method: &str, params: Value| standing.answer(&Id::Number(1), method, &request(params));
        let hello = ask(&known, "initialize", json!({ "protocolVersion": "2025-06-18" }));
        assert_eq!(hello["result"]["protocolVersion"], "2025-06-18");
        assert_eq!(hello["result"]["serverInfo"]["name"], "s");
        assert_eq!(hello["result"]["instructions"], "Look.");
        let can = json!({ "tools": { "listChanged": true }, "prompts": { "listChanged": true }, "logging": {} });
        assert_eq!(hello["result"]["capabilities"], can);
        assert_eq!(ask(&known, "tools/list", json!({}))["result"]["tools"][0]["name"], "look");
        assert_eq!(ask(&known, "prompts/list", json!({}))["result"], json!({ "prompts": [] }));
        assert_eq!(ask(&known, "ping", json!({}))["result"], json!({}));
        assert_eq!(ask(&unknown, "tools/list", json!({}))["result"]["tools"][0]["name"], SIGN_IN);
        assert_eq!(ask(&unknown, "server/discover", json!({}))["error"]["code"], -32601);
        assert_eq!(ask(&unknown, "tools/call", json!({ "name": "x" }))["error"]["code"], -32603);
    }

    #[test]
    fn what_is_remembered_is_recalled_and_a_file_that_is_no_good_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(folder.path(), &Resource::stdio("a").unwrap());
        assert_eq!(memory.recall(), Known::default());
        let known = Known { server: Some(json!({})), tools: vec![json!({ "name": "x" })], needs_secrets: true };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { memory.remember(known.clone()) });
        drop(runtime);
        assert_eq!(memory.recall(), known);
        std::fs::write(folder.path().join("wrapped-a.json"), "{").unwrap();
        assert_eq!(memory.recall(), Known::default());
        assert_eq!(Memory::none().recall(), Known::default());
    }
}
