//! The commands, one file each.

pub mod audit;
mod calls;
pub mod client;
pub mod completions;
pub mod config;
pub mod configured;
pub mod grant;
pub mod key;
pub mod lists;
pub mod reload;
pub mod serve;
pub mod store;
pub mod user;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

use crate::cli::Command;
use crate::settings::{self, Loaded, Problem};

/// Exit code for settings that are wrong, as the command line's own.
const USAGE: u8 = 2;

/// Reads command line, environment and file, and does what they say.
pub fn main() -> ExitCode {
    shared::files::limit::survive();
    let argv: Vec<_> = std::env::args_os().collect();
    let variables: Vec<_> = std::env::vars_os().collect();
    match settings::load(&argv, &variables) {
        Ok(loaded) => run(loaded),
        Err(Problem::Usage(error)) => error.exit(),
        Err(Problem::Settings(reason)) => {
            complain(&reason);
            ExitCode::from(USAGE)
        }
    }
}

/// Runs what the command line says. What went wrong is one line on stderr, and exit code 1.
fn run(mut loaded: Loaded) -> ExitCode {
    let command = loaded.cli.command.take();
    let serves = matches!(command, None | Some(Command::Serve(_)));
    let done = match command {
        None => serve::run(&loaded.cli.serve.clone(), loaded),
        Some(Command::Serve(args)) => serve::run(&args, loaded),
        Some(Command::Key(command)) => key::run(&command),
        Some(Command::Config(command)) => config::run(&command, &loaded),
        Some(Command::User(command)) => user::run(command),
        Some(Command::Client(command)) => client::run(command),
        Some(Command::Grant(command)) => grant::run(command),
        Some(Command::Audit(command)) => audit::run(command),
        Some(Command::Store(command)) => store::run(&command),
        Some(Command::Completions { shell }) => completions::run(shell),
    };
    shared::stderr::finish();
    let unwritten = UNWRITTEN.get().filter(|_| !serves);
    let done = done.and_then(|()| match unwritten {
        Some(reason) => Err(format!("the command was carried out, but its answer could not be written: {reason}")),
        None => Ok(()),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            complain(&reason);
            ExitCode::FAILURE
        }
    }
}

/// One line on stderr; nobody is left to tell when that is closed.
fn complain(reason: &str) {
    let _ = writeln!(io::stderr(), "authz-service: {reason}");
}

/// Why something could not be printed: what was to be shown once, such as a secret, is lost then.
static UNWRITTEN: OnceLock<String> = OnceLock::new();

/// Prints a text; a closed stdout is no reason to stop.
fn print(text: &str) {
    put(text);
}

/// Prints a text. False when there is no use in printing more. Whoever has read enough and left is no fault.
fn put(text: &str) -> bool {
    let mut stdout = io::stdout().lock();
    let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) else { return true };
    if error.kind() != io::ErrorKind::BrokenPipe {
        let _ = UNWRITTEN.set(error.to_string());
    }
    false
}
