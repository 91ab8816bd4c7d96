//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{call, completions, demo, list, login, logout, one_shot, refresh, register, status, tools};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::net::http::Http;
use crate::print::{Printer, Report};
use crate::vault::Vault;

/// The profile when nobody says.
pub const DEFAULT_PROFILE: &str = "default";

/// Exit code of a program that was interrupted from the keyboard.
const INTERRUPTED: u8 = 130;

const AFTER_HELP: &str = "\
Naming a server:
  URL                         an MCP server; or an authorization server (issuer), for stdio servers that take its tokens
  --stdio -- COMMAND ARGS…    a stdio server that is started for the call
  (neither)                   the mcp-stdio-server beside this program, with tokens of http://localhost:3000

Examples:
  mcp-client demo
  mcp-client login
  mcp-client call echo --args '{\"message\":\"hi\"}'
  mcp-client call echo --args '{\"message\":\"hi\"}' --stdio -- mcp-stdio-server --data ./data
  mcp-client login https://mcp.example/mcp && mcp-client tools https://mcp.example/mcp

Exit codes: 0 done, 1 failed, 2 usage, 3 login needed, 4 refused by the server, 5 network";

/// Gets tokens for MCP servers and uses them
#[derive(Debug, Parser)]
#[command(name = "mcp-client", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct Cli {
    /// Answer with one JSON object on stdout
    #[arg(long, global = true)]
    json: bool,
    /// Folder with the credentials [default: the platform's configuration folder]
    #[arg(long, global = true, value_name = "PATH")]
    store: Option<PathBuf>,
    /// Name of the set of logins to use
    #[arg(long, global = true, value_name = "NAME", default_value = DEFAULT_PROFILE, value_parser = profile)]
    profile: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Register(register::Register),
    Login(login::Login),
    Logout(logout::Logout),
    Refresh(refresh::Refresh),
    Tools(tools::Tools),
    Call(call::Call),
    OneShot(one_shot::OneShot),
    Status(status::Status),
    List(list::List),
    Completions(completions::Completions),
}

fn profile(text: &str) -> Result<String, &'static str> {
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if fits { Ok(text.to_owned()) } else { Err("a profile's name is 1 to 64 letters, digits, '.', '_' and '-'") }
}

/// Runs the program.
pub fn main() -> ExitCode {
    shared::files::limit::survive();
    let matches = without_empty(Cli::command()).try_get_matches();
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error),
    };
    log();
    let out = Printer::new(cli.json);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            out.failure(&Failure::failed(
                "start",
                format!("cannot start: {error}"),
                "free some memory or file handles",
            ));
            return ExitCode::from(Exit::Failed as u8);
        }
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = cli.run(out) => Some(outcome),
            () = interrupted() => None,
        }
    });
    // Children that were left behind by an interruption are killed when the runtime drops them.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    match outcome {
        Some(Ok(report)) => match out.report(&report) {
            Ok(()) => ExitCode::from(report.exit as u8),
            Err(error) => unsaid(&error, report.exit),
        },
        Some(Err(failure)) => {
            out.failure(&failure);
            ExitCode::from(failure.exit as u8)
        }
        None => {
            out.note("Interrupted. Nothing was changed since the last step that was reported.");
            ExitCode::from(INTERRUPTED)
        }
    }
}

/// An environment variable that is empty counts as not set.
fn without_empty(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &clap::Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| if is_empty(&arg) { arg.env(clap::builder::Resettable::Reset) } else { arg })
        .mut_subcommands(without_empty)
}

/// The answer did not reach its reader: no success, unless the reader left because it had seen enough.
fn unsaid(error: &std::io::Error, exit: Exit) -> ExitCode {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return ExitCode::from(exit as u8);
    }
    let what = format!("the command was carried out, but its answer could not be written: {error}");
    Printer::new(false).failure(&Failure::failed("output", what, "check where the output goes; mcp-client status"));
    ExitCode::from(if exit == Exit::Done { Exit::Failed } else { exit } as u8)
}

/// Help goes to stdout and is a success; a command line that makes no sense is told in the way that it asks for.
fn unparsed(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().take_while(|argument| argument != "--").any(|argument| argument == "--json");
    if wants_json && error.use_stderr() {
        let what = error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Printer::new(true).failure(&Failure::usage(what, "run: mcp-client help"));
    } else {
        let _ = error.print();
    }
    ExitCode::from(if error.use_stderr() { Exit::Usage } else { Exit::Done } as u8)
}

impl Cli {
    async fn run(self, out: Printer) -> Outcome<Report> {
        let ctx = Context { http: Http::default(), vault: Vault::new(self.store), out, profile: self.profile };
        match self.command {
            Command::Demo(command) => command.run(&ctx).await,
            Command::Register(command) => command.run(&ctx).await,
            Command::Login(command) => command.run(&ctx).await,
            Command::Logout(command) => command.run(&ctx).await,
            Command::Refresh(command) => command.run(&ctx).await,
            Command::Tools(command) => command.run(&ctx).await,
            Command::Call(command) => command.run(&ctx).await,
            Command::OneShot(command) => command.run(&ctx).await,
            Command::Status(command) => command.run(&ctx).await,
            Command::List(command) => command.run(&ctx).await,
            Command::Completions(command) => Ok(command.run()),
        }
    }
}

/// Waits for Ctrl-C, or for a polite request to end.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

/// Logs to stderr as `RUST_LOG` says, from our own code only: libraries print messages, and messages hold tokens.
fn log() {
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    use tracing_subscriber::{EnvFilter, Layer, filter};

    if std::env::var_os("RUST_LOG").is_none() {
        return;
    }
    let ours = filter::filter_fn(|event| event.target().starts_with("client"));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(ours);
    let _ = tracing_subscriber::registry().with(EnvFilter::from_default_env()).with(layer).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_profile_is_a_plain_name() {
        for (name, fits) in [("work", true), ("a.b_c-1", true), ("", false), ("../x", false), ("a b", false)] {
            assert_eq!(profile(name).is_ok(), fits, "{name}");
        }
    }
}
