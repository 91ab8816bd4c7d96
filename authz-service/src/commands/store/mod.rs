//! `authz-service store …`: looking after the store, one file per command.

mod check;
mod compact;
mod export;
mod import;
mod poc;
mod progress;
mod repair;
mod stats;

use std::io::Write;

use clap::CommandFactory;
use clap::error::ErrorKind;
use serde::Serialize;
use serde_json::{Map, Value};
use shared::time::Timestamp;

use crate::cli::Cli;
use crate::cli::store::StoreCommand;
use crate::commands::lists::{escaped_json, json_text};

/// What a command has to say.
struct Answer {
    /// To a person, with the line's end.
    text: String,
    /// To a program.
    json: Map<String, Value>,
    /// Why the exit code is 1 although there is an answer.
    failure: Option<String>,
    /// Whether it goes to standard error, because something else goes to standard output.
    aside: bool,
}

impl Answer {
    fn new(text: String, json: &impl Serialize) -> Self {
        let json = match serde_json::to_value(json) {
            Ok(Value::Object(members)) => members,
            _ => Map::new(),
        };
        Self { text, json, failure: None, aside: false }
    }
}

/// Runs the command. With `--json`, standard output is one object in every case: `ok`, and what there is to say.
///
/// # Errors
/// In words for the person at the terminal.
pub fn run(command: &StoreCommand) -> Result<(), String> {
    let answer = match command {
        StoreCommand::Check(args) => check::run(args),
        StoreCommand::Stats(args) => stats::run(args),
        StoreCommand::Export(args) => export::run(args),
        StoreCommand::Import(args) => import::run(args),
        StoreCommand::Repair(args) => repair::run(args),
        StoreCommand::Compact(args) => compact::run(args),
    };
    match answer {
        Ok(answer) => {
            // What is in a store was written by strangers: text too must not move a terminal.
            let text = match command.json() {
                true => as_json(answer.failure.is_none(), answer.json)?,
                false => escaped_json(&answer.text),
            };
            if answer.aside {
                // Nobody is left to tell when it is closed.
                let _ = std::io::stderr().write_all(text.as_bytes());
            } else {
                super::print(&text);
            }
            answer.failure.map_or(Ok(()), Err)
        }
        Err(reason) => {
            if command.json() {
                let error = Value::String(reason.clone());
                super::print(&as_json(false, Map::from_iter([("error".to_owned(), error)]))?);
            }
            Err(escaped_json(&reason))
        }
    }
}

fn as_json(ok: bool, mut members: Map<String, Value>) -> Result<String, String> {
    members.insert("ok".to_owned(), ok.into());
    json_text(&members)
}

/// Ends the program as clap does when the command line is wrong.
fn wrong_usage(reason: &str) -> ! {
    Cli::command().error(ErrorKind::ArgumentConflict, reason).exit()
}

/// How long ago something was, for a person.
fn ago(then: Timestamp, now: Timestamp) -> String {
    match (now - then).0 {
        _ if then.0 == 0 => "never".to_owned(),
        seconds @ 0..120 => format!("{seconds} seconds ago"),
        seconds @ 120..7200 => format!("{} minutes ago", seconds / 60),
        seconds @ 7200..172_800 => format!("{} hours ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}

/// A size for a person.
fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_in_one_unit() {
        let then = Timestamp(1_000_000);
        for (seconds, text) in
            [(5, "5 seconds ago"), (600, "10 minutes ago"), (7200, "2 hours ago"), (172_800, "2 days ago")]
        {
            assert_eq!(ago(then, Timestamp(then.0 + seconds)), text);
        }
        assert_eq!(ago(Timestamp(0), then), "never");
    }
}
