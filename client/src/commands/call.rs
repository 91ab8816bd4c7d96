//! `call`: one tool, once.

use clap::Args;
use rmcp::model::{CallToolResult, ContentBlock, JsonObject};
use serde_json::Value;
use shared::oauth::json;
use shared::scope::Scopes;

use crate::connection::{ConnectArgs, Connection};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::flow::exchange::OneCall;
use crate::input::read_text;
use crate::print::Report;

/// The longest file of arguments, in bytes: the longest message that stdio servers of ours take.
const LONGEST: u64 = 8 * 1024 * 1024;

/// Call a tool of a server
#[derive(Args, Debug)]
pub struct Call {
    /// Name of the tool
    #[arg(value_name = "NAME")]
    tool: String,
    /// Its arguments: a JSON object, or @FILE
    #[arg(long, value_name = "JSON", default_value = "{}")]
    args: String,
    /// Send a token that is good for this call alone, as the argument access_token: what a transcript keeps of it is worthless
    #[arg(long)]
    one_shot: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What a guarded tool said instead of doing its work.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Guarded {
    /// It wants a token.
    Unauthorized,
    /// It does not take the token.
    InvalidToken,
    /// The token does not reach far enough; these scopes would.
    InsufficientScope(Scopes),
}

impl Call {
    /// Calls the tool, once for each token that the server had reason to refuse.
    ///
    /// # Errors
    /// When the arguments are no object, or the server refuses or is not there. A tool's own error is a report.
    pub async fn run(self, ctx: &Context) -> Outcome<Report> {
        let arguments = arguments(&self.args).await?;
        let mut connection = Connection::new(ctx, &self.connect).await?;
        if self.one_shot {
            connection.for_one_call(OneCall { tool: self.tool.clone(), arguments: arguments.clone() })?;
        }
        let as_argument = connection.token_argument();
        loop {
            let call = async |session: &crate::session::Session, token: Option<&shared::secret::Secret>| {
                session.call(&self.tool, arguments.clone(), token, as_argument).await
            };
            let result = connection.run(call).await?;
            // The guard refused before the tool did anything: to call again repeats nothing.
            let recovered = match guarded(&result) {
                None => return Ok(report(&result, exit(&result))),
                Some(Guarded::InsufficientScope(needed)) => connection.step_up(&needed, None).await,
                Some(_) => connection.recover(None).await,
            };
            if let Err(failure) = recovered {
                ctx.out.note(&format!("Next:  {}", failure.next));
                return Ok(report(&result, failure.exit));
            }
        }
    }
}

pub(super) async fn arguments(text: &str) -> Outcome<JsonObject> {
    let read = match text.strip_prefix('@') {
        Some(path) => read_text(path, LONGEST)
            .await
            .map_err(|error| Failure::usage(format!("--args: {path}: {error}"), "name a readable file"))?,
        None => text.to_owned(),
    };
    match json::parse(read.as_bytes()) {
        Ok(Value::Object(arguments)) => Ok(arguments),
        Ok(_) => Err(Failure::usage("--args is not a JSON object", "write it as in --args '{\"message\":\"hi\"}'")),
        Err(error) => Err(Failure::usage(format!("--args: {error}"), "write it as in --args '{\"message\":\"hi\"}'")),
    }
}

/// Reads a guard's refusal from a tool's result.
pub fn guarded(result: &CallToolResult) -> Option<Guarded> {
    if result.is_error != Some(true) {
        return None;
    }
    let structured = result.structured_content.as_ref()?;
    let scopes = || ["scope", "required_scope", "scopes"].iter().find_map(|name| structured.get(name)).map(read_scopes);
    match structured.get("error")?.as_str()? {
        "unauthorized" | "authorization_required" | "login_required" => Some(Guarded::Unauthorized),
        "invalid_token" => Some(Guarded::InvalidToken),
        "insufficient_scope" => Some(Guarded::InsufficientScope(scopes().unwrap_or_default())),
        _ => None,
    }
}

/// A text with spaces, or a list of texts.
fn read_scopes(value: &Value) -> Scopes {
    match value {
        Value::String(text) => text.parse().unwrap_or_default(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).filter_map(|word| word.parse().ok()).collect(),
        _ => Scopes::default(),
    }
}

fn exit(result: &CallToolResult) -> Exit {
    if result.is_error == Some(true) { Exit::Failed } else { Exit::Done }
}

fn report(result: &CallToolResult, exit: Exit) -> Report {
    Report { text: text(result), json: serde_json::to_value(result).unwrap_or_default(), exit }
}

/// A result for people: its texts; a word for what is no text; the structured content when there is nothing else.
pub fn text(result: &CallToolResult) -> String {
    let blocks: Vec<_> = result.content.iter().map(block).collect();
    match (&result.structured_content, blocks.is_empty()) {
        (Some(structured), true) => serde_json::to_string_pretty(structured).unwrap_or_default(),
        _ => blocks.join("\n"),
    }
}

fn block(block: &ContentBlock) -> String {
    match block.as_text() {
        Some(text) => text.text.clone(),
        None => {
            let value = serde_json::to_value(block).unwrap_or_default();
            let kind = value.get("type").and_then(Value::as_str).unwrap_or("content").to_owned();
            format!("[{kind}; use --json to see it]")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn result(value: Value) -> CallToolResult {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_guards_refusal_is_told_from_a_tools_own_error() {
        let refusal =
            |error: Value| guarded(&result(json!({ "content": [], "structuredContent": error, "isError": true })));
        assert_eq!(refusal(json!({ "error": "unauthorized" })), Some(Guarded::Unauthorized));
        assert_eq!(refusal(json!({ "error": "invalid_token" })), Some(Guarded::InvalidToken));
        let needed = Some(Guarded::InsufficientScope("a b".parse().unwrap()));
        assert_eq!(refusal(json!({ "error": "insufficient_scope", "scope": "b a" })), needed);
        assert_eq!(refusal(json!({ "error": "insufficient_scope", "scopes": ["a", "b"] })), needed);
        assert_eq!(refusal(json!({ "error": "no such file" })), None);
        assert_eq!(refusal(json!("unauthorized")), None);
        let fine = json!({ "content": [], "structuredContent": { "error": "invalid_token" }, "isError": false });
        assert_eq!(guarded(&result(fine)), None);
    }

    #[tokio::test]
    async fn arguments_are_an_object_with_unique_names() {
        assert!(arguments("{\"a\":1}").await.is_ok());
        for bad in ["", "[]", "1", "{\"a\":1,\"a\":2}", "{a:1}", "@/no/such/file"] {
            assert_eq!(arguments(bad).await.unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }
}
