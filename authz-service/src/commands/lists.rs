//! What the commands that list, end or tell have in common: one page, as lines for people or JSON for programs.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use shared::state::{Change, State};
use shared::store::journal::JournalStore;
use shared::store::{CommitError, Store, StoreError};
use shared::time::SystemClock;

use crate::cli::StoreArgs;
use crate::http::pages::is_unseen;

/// Which part of a list, and for whom.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Print JSON: an object with the list, and in "next" what to give --after for the rest.
    #[arg(long)]
    pub json: bool,
    /// Print at most this many.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub limit: u16,
    /// Go on after this one, the last of the page before.
    #[arg(long, value_name = "NAME")]
    pub after: Option<String>,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// One line of a list: a name to go on from, columns for people, an object for programs.
#[derive(Debug)]
pub struct Line {
    /// What `--after` takes.
    pub name: String,
    /// What a person reads.
    pub columns: Vec<String>,
    /// What a program reads.
    pub object: Value,
}

impl ListArgs {
    /// Prints the page of `lines` that was asked for. `what` names the list in JSON.
    ///
    /// # Errors
    /// When `--after` names nothing in the list.
    pub fn print(&self, what: &str, lines: Vec<Line>) -> Result<(), String> {
        let start = match &self.after {
            None => 0,
            Some(name) => match lines.iter().position(|line| line.name == *name) {
                Some(at) => at + 1,
                None => return Err(format!("--after: there is no {} here", visible(name, 64))),
            },
        };
        let rest = lines.get(start..).unwrap_or_default();
        let page = rest.get(..usize::from(self.limit)).unwrap_or(rest);
        let next = page.last().filter(|_| page.len() < rest.len()).map(|line| &line.name);
        if self.json {
            let objects: Vec<_> = page.iter().map(|line| &line.object).collect();
            return print_json(&json!({ what: objects, "next": next }));
        }
        let mut text: String = page.iter().map(|line| columns(&line.columns)).collect();
        if let Some(next) = next {
            text.push_str(&format!("… {} more: --after {}\n", rest.len() - page.len(), visible(next, 2048)));
        }
        super::print(&text);
        Ok(())
    }
}

/// Columns as a line: a tab between them, nothing in them that could move a terminal or fake another line (ADM-04).
pub fn columns(columns: &[String]) -> String {
    let visible: Vec<_> = columns.iter().map(|column| visible(column, 200)).collect();
    format!("{}\n", visible.join("\t"))
}

/// A text with what cannot be seen written out, and cut.
pub fn visible(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for c in text.chars().take(most) {
        if is_unseen(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    if text.chars().nth(most).is_some() {
        shown.push('…');
    }
    shown
}

/// Prints one JSON value, and nothing else.
///
/// # Errors
/// Never for what the commands print.
pub fn print_json(value: &impl Serialize) -> Result<(), String> {
    super::print(&json_text(value)?);
    Ok(())
}

/// How every command writes JSON: indented, and nothing in it that moves a terminal.
///
/// # Errors
/// Never for what the commands print.
pub fn json_text(value: &impl Serialize) -> Result<String, String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    Ok(format!("{}\n", escaped_json(&text)))
}

/// JSON with what cannot be seen escaped too, which JSON leaves to the writer: such characters stand in strings only.
pub fn escaped_json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_unseen(c) {
            let mut units = [0; 2];
            shown.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Opens a store that is there; a command that lists or ends makes none.
///
/// # Errors
/// In words for the person at the terminal.
pub fn open(folder: &Path) -> Result<JournalStore, String> {
    let is_there = std::fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("journal.")))
    });
    if !is_there {
        return Err(StoreError::Absent(folder.to_owned()).to_string());
    }
    JournalStore::open(folder, Arc::new(SystemClock)).map_err(|error| error.to_string())
}

/// Reads something out of the state.
///
/// # Errors
/// When the store cannot be read.
pub fn read<T>(store: &JournalStore, reader: impl Fn(&State) -> T) -> Result<T, String> {
    let mut found = None;
    store.read(&mut |state| found = Some(reader(state))).map_err(|error| error.to_string())?;
    found.ok_or_else(|| "the store cannot be read".to_owned())
}

/// Commits what a command decided.
///
/// # Errors
/// When the store says no, or does not take writes.
pub fn commit(store: &JournalStore, changes: Vec<Change>) -> Result<(), String> {
    store.commit_blocking(changes).map_err(|error| match error {
        CommitError::Conflict(conflict) => conflict.to_string(),
        CommitError::Unavailable(error) => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adm_04_nothing_in_a_column_moves_a_terminal_or_fakes_a_line() {
        let line = columns(&["a\tb\nc".into(), "\u{1b}[2J\u{202e}x".into(), "Zoë".into()]);
        assert_eq!(line, "a\\u{9}b\\u{a}c\t\\u{1b}[2J\\u{202e}x\tZoë\n");
        assert_eq!(visible("abc", 2), "ab…");
        let value = json!({ "name": "a\u{9b}\u{202e}\nä" });
        let text = escaped_json(&value.to_string());
        assert_eq!(text, r#"{"name":"a\u009b\u202e\nä"}"#);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
