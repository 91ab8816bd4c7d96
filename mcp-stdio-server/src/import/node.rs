//! What a host's file says, with the place of everything in the text. Pure.

use std::ops::Range;

/// A value and where it stands, in bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// From its first byte to behind its last.
    pub span: Range<usize>,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Members by name, in the order of the text.
    Object(Layout, Vec<Member>),
    /// Values in order.
    Array(Vec<Node>),
    /// A text; `None` when it is none that could be passed on exactly (half a surrogate pair).
    Text(Option<String>),
    /// A number, a truth value, a date, nothing.
    Other,
}

/// How the members of an object stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layout {
    /// Between braces, with commas.
    Braces,
    /// Each on lines of its own (a table of TOML).
    Lines,
}

/// A member of an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub key: Range<usize>,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// The members, of an object.
    pub fn members(&self) -> &[Member] {
        match &self.kind {
            Kind::Object(_, members) => members,
            _ => &[],
        }
    }

    /// A member of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.members().iter().find(|member| member.name == name).map(|member| &member.value)
    }

    /// The values, of an array.
    pub fn items(&self) -> Option<&[Self]> {
        match &self.kind {
            Kind::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The text, of a text.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => text.as_deref(),
            _ => None,
        }
    }

    /// The texts, of an array of texts alone.
    pub fn texts(&self) -> Option<Vec<String>> {
        self.items()?.iter().map(|item| item.text().map(str::to_owned)).collect()
    }
}

/// Why a text cannot be read. Says where, never what: the text may hold secrets.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct Bad {
    /// From 1 on.
    pub line: usize,
    /// From 1 on, in characters.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

impl Bad {
    /// At a byte of the text.
    pub fn at(text: &str, at: usize, what: impl Into<String>) -> Self {
        let before = text.get(..at.min(text.len())).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column, what: what.into() }
    }
}
