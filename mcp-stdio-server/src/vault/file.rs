//! `vault.json` as it is written: what each secret is called, when it was written, and its value under seal.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shared::oauth::json;
use shared::time::Timestamp;

use super::name::SecretName;

/// What the file calls itself, up to the number of its form.
const FORMAT: &str = "mcp-authz-vault";

/// The form that this program reads and writes.
const VERSION: u32 = 1;

/// The whole file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contents {
    format: String,
    /// Which key it is sealed with ([`super::key::Key::id`]).
    pub key: String,
    pub secrets: Vec<Entry>,
    pub imports: Vec<Import>,
}

/// A secret.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub name: SecretName,
    /// How often it was written. Bound into the seal, as the name is.
    pub version: u64,
    pub written: Timestamp,
    pub origin: Origin,
    pub sealed: String,
}

/// Where a secret came from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A person wrote it.
    Set,
    /// It was taken out of a host's file, and goes when it is put back.
    Import,
}

/// A host's file that was rewritten. What it takes to undo that is sealed: it has secrets in it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// Its number; the highest is the latest.
    pub number: u64,
    /// The host, as a person knows it.
    pub host: String,
    /// The host's file.
    pub file: PathBuf,
    /// When.
    pub at: Timestamp,
    /// What was moved.
    pub moved: Vec<Moved>,
    pub(super) sealed: String,
}

/// A value that was moved out of a host's file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Moved {
    /// The entry of the server.
    pub entry: String,
    /// The variable.
    pub variable: String,
    /// What the vault calls its value.
    pub secret: SecretName,
}

/// Why a file is not read.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Unreadable {
    /// A newer program wrote it.
    Newer,
    /// It is damaged, or not ours.
    Damaged(String),
}

impl Contents {
    pub fn new(key: String) -> Self {
        Self { format: format!("{FORMAT} {VERSION}"), key, secrets: Vec::new(), imports: Vec::new() }
    }

    /// Reads a file strictly: nothing twice, nothing unknown.
    pub fn parse(text: &[u8]) -> Result<Self, Unreadable> {
        let damaged = |error: &dyn std::fmt::Display| Unreadable::Damaged(error.to_string());
        let value = json::parse(text).map_err(|error| damaged(&error))?;
        let format = value.get("format").and_then(serde_json::Value::as_str).unwrap_or_default();
        match format.strip_prefix(FORMAT).and_then(|rest| rest.strip_prefix(' ')?.parse::<u32>().ok()) {
            Some(VERSION) => {}
            Some(version) if version > VERSION => return Err(Unreadable::Newer),
            _ => return Err(Unreadable::Damaged("it does not say that it is a vault".to_owned())),
        }
        let contents: Self = json::parse_as(text).map_err(|error| damaged(&error))?;
        let names: BTreeSet<_> = contents.secrets.iter().map(|entry| &entry.name).collect();
        if names.len() < contents.secrets.len() {
            return Err(Unreadable::Damaged("a secret stands in it twice".to_owned()));
        }
        let numbers: BTreeSet<_> = contents.imports.iter().map(|import| import.number).collect();
        if numbers.len() < contents.imports.len() {
            return Err(Unreadable::Damaged("an import stands in it twice".to_owned()));
        }
        Ok(contents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_strictly_and_one_of_a_newer_program_is_told_apart() {
        let entry = r#"{"name":"a","version":1,"written":1,"origin":"set","sealed":"x"}"#;
        let file = |format: &str, secrets: &str, more: &str| {
            format!(r#"{{"format":"{format}","key":"k","secrets":[{secrets}],"imports":[]{more}}}"#)
        };
        let check = |text: &str, expected: Option<&str>| match (Contents::parse(text.as_bytes()), expected) {
            (Ok(_), None) | (Err(Unreadable::Newer), Some("newer")) => {}
            (Err(Unreadable::Damaged(words)), Some(expected)) => assert!(words.contains(expected), "{words}"),
            (found, expected) => panic!("{text}: {found:?}, not {expected:?}"),
        };
        check(&file("mcp-authz-vault 1", entry, ""), None);
        check(&file("mcp-authz-vault 2", "", ",\"news\":1"), Some("newer"));
        check(&file("mcp-authz-vault 1", &format!("{entry},{entry}"), ""), Some("twice"));
        check(&file("mcp-authz-vault 1", entry, ",\"key\":\"k\""), Some("twice"));
        check(&file("mcp-authz-vault 1", entry, ",\"more\":1"), Some("more"));
        check(&file("mcp-authz-logins 1", "", ""), Some("does not say"));
        for text in ["", "{", "[]", "{}"] {
            assert!(matches!(Contents::parse(text.as_bytes()), Err(Unreadable::Damaged(_))), "{text}");
        }
    }
}
