//! `completions`: for shells.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use crate::print::Report;

/// Print a completion script for a shell
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Writes the script.
    pub fn run(self) -> Report {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::cli::Cli::command(), "mcp-client", &mut script);
        let script = String::from_utf8_lossy(&script).trim_end().to_owned();
        Report::done(script.clone(), json!({ "shell": self.shell.to_string(), "script": script }))
    }
}
