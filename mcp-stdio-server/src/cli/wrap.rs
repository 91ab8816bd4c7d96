//! `wrap`, and the rules that go with it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use shared::scope::Scopes;

use super::vault::print;
use super::{Switch, folder, followed, gate, trail};
use crate::framing::streams;
use crate::guard::Access;
use crate::server::{Ending, Program};
use crate::vault::{NotAName, SecretName};
use crate::wrap::child::Spec;
use crate::wrap::release::Release;
use crate::wrap::rules::{Rules, Verdict};
use crate::wrap::standin::Memory;
use crate::wrap::{Wrapped, probe, serve as relay};

/// What is wrapped, and how.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The rules: what each tool, resource and prompt needs [default: read-only tools need mcp:tools:read, other tools
    /// mcp:tools:execute, resources and prompts mcp:resources]
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,

    /// Give the server the vault's secret NAME as the variable ENV, while a grant covers it; may be repeated. Until somebody has
    /// signed in, and when the access was taken back, the server runs without it, or not at all
    #[arg(long, value_name = "ENV=NAME", value_parser = assignment)]
    secret: Vec<(OsString, SecretName)>,

    /// Show in lists, marked, what a grant does not open
    #[arg(long)]
    show_locked: bool,

    /// The server's command line
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// A variable, and what the vault calls its value.
fn assignment(text: &str) -> Result<(OsString, SecretName), String> {
    let (variable, name) = text.split_once('=').ok_or("a secret is written as ENV=NAME")?;
    if variable.is_empty() || variable.contains('\0') {
        return Err("the variable's name is missing before the =".to_owned());
    }
    Ok((variable.into(), name.parse().map_err(|error: NotAName| error.to_string())?))
}

/// What is done with rules.
#[derive(Debug, Subcommand)]
pub(super) enum RulesCommand {
    /// Print rules to begin with: the standard ones, and what each tool of the server is now
    Init {
        /// The server's command line
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Check a file of rules; with a server, also against what it has
    Check {
        /// The file
        file: PathBuf,
        /// The server's command line
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
}

pub(super) fn spec(mut command: Vec<OsString>) -> Spec {
    // The parser demands one word at least.
    let program = if command.is_empty() { OsString::new() } else { command.remove(0) };
    Spec { program, arguments: command }
}

pub(super) fn read(file: &Path) -> io::Result<Rules> {
    let named = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| named(&error))?;
    Rules::parse(&text).map_err(|error| named(&error))
}

/// Serves a wrapped server.
pub(super) async fn serve(
    arguments: &super::Arguments,
    wanted: Arguments,
    program: Program,
    stop: impl Future<Output = ()>,
) -> io::Result<Ending> {
    let rules = wanted.rules.as_deref().map(read).transpose()?.unwrap_or_default();
    for scope in rules.ungrantable() {
        tracing::warn!(%scope, "nobody can be given this scope: {}", crate::wrap::lint::UNGRANTABLE);
    }
    let (store, clock) = followed(arguments);
    let trail = trail(arguments, &clock, program);
    let scopes = asked_for(&rules);
    let gate = Arc::new(gate(arguments, &store, &clock, scopes.clone(), Switch::Off, trail.as_ref()));
    let secrets = (!wanted.secret.is_empty())
        .then(|| Arc::new(Release::new(super::vault::place(arguments), wanted.secret, scopes)));
    let memory = Memory::new(&folder(arguments), &arguments.name);
    let (announcer, guarded) = (gate.announcer.clone(), rules.clone());
    let wrapped = Wrapped {
        gate,
        rules,
        spec: spec(wanted.command),
        secrets,
        memory,
        shows_locked: wanted.show_locked,
        told: Box::new(move |listing| {
            if let Some(announcer) = &announcer {
                announcer.tell(listing.told(&guarded));
            }
        }),
    };
    Ok(relay(wrapped, streams::stdin(), streams::stdout(), stop).await)
}

/// What a person is asked for when a call has no token: all that the rules can need.
pub(super) fn asked_for(rules: &Rules) -> Scopes {
    let standard = Rules::default();
    let hints = |read_only| crate::wrap::rules::Hints { read_only, destructive: !read_only, open_world: true };
    let verdicts = rules.verdicts().chain([
        standard.tool("", Some(hints(true))),
        standard.tool("", Some(hints(false))),
        standard.resource(""),
    ]);
    let needed = |verdict| match verdict {
        Verdict::Needs(Access::Scopes(scopes)) => scopes.iter().cloned().collect(),
        Verdict::Needs(Access::Open) | Verdict::Denied => Vec::new(),
    };
    verdicts.flat_map(needed).collect()
}

/// Writes or checks rules.
pub(super) fn rules(command: RulesCommand) -> ExitCode {
    let done = match command {
        RulesCommand::Init { command } => tools_of(command).map(|tools| {
            print(&crate::wrap::lint::starting_rules(&tools));
            true
        }),
        RulesCommand::Check { file, command } => check(&file, command),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!(%error, "the rules cannot be written or checked");
            ExitCode::FAILURE
        }
    }
}

fn check(file: &Path, command: Vec<OsString>) -> io::Result<bool> {
    let rules = read(file)?;
    let tools = if command.is_empty() { None } else { Some(tools_of(command)?) };
    let findings = crate::wrap::lint::findings(&rules, tools.as_deref());
    findings.iter().for_each(|finding| print(&format!("{finding}\n")));
    if findings.is_empty() {
        print("The rules are good.\n");
    }
    Ok(findings.is_empty())
}

fn tools_of(command: Vec<OsString>) -> io::Result<Vec<serde_json::Value>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(probe::tools(&spec(command)))
}
