//! The commands, one file each.

pub mod audit;
pub mod client;
pub mod completions;
pub mod configured;
pub mod grant;
pub mod lists;
pub mod serve;
pub mod user;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::cli::{Cli, Command};

/// Runs what the command line says. What went wrong is one line on stderr, and exit code 1.
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::User(command)) => user::run(command),
        Some(Command::Client(command)) => client::run(command),
        Some(Command::Grant(command)) => grant::run(command),
        Some(Command::Audit(command)) => audit::run(command),
        Some(Command::Completions { shell }) => completions::run(shell),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // Nobody is left to tell when stderr is closed.
            let _ = writeln!(io::stderr(), "authz-service: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a text; a closed stdout is no reason to stop.
fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
