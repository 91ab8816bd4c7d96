//! What servers offer: tools, resources, prompts.

use serde::{Deserialize, Serialize};

/// What of a server is used.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A tool, by its name.
    #[default]
    Tool,
    /// A resource, by its URI.
    Resource,
    /// A prompt, by its name.
    Prompt,
    /// A call that goes on in the background (MCP tasks), by its tool, or by the method where nobody knows that: its own name opens
    /// it, and is written nowhere.
    Task,
}

impl Kind {
    /// In a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Resource => "resource",
            Self::Prompt => "prompt",
            Self::Task => "task",
        }
    }

    /// The method by which one is used. Resources and prompts have others besides.
    pub const fn method(self) -> &'static str {
        match self {
            Self::Tool => "tools/call",
            Self::Resource => "resources/read",
            Self::Prompt => "prompts/get",
            Self::Task => "tasks/get",
        }
    }

    /// Whether it is a tool.
    pub const fn is_tool(&self) -> bool {
        matches!(self, Self::Tool)
    }
}
