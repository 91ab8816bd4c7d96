//! The command line: flags and environment become one server.

mod foreign;
mod http;
mod import;
mod vault;
mod wrap;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use shared::browser::LOGIN_VARIABLE;
use shared::scope::Scopes;
use shared::secret::Secret;
use shared::store::Store;
use shared::store::calls::Keep;
use shared::store::journal::JournalStore;
use shared::store::place::{DATA_VARIABLE, default_folder};
use shared::time::{Clock, SystemClock};
use shared::uri::{Issuer, NotAResource, Resource};

use crate::announce::{Announced, Announcer};
use crate::audit::Trail;
use crate::audit::spans;
use crate::credential::VARIABLE;
use crate::framing::streams;
use crate::gate::Gate;
use crate::handler::{Handler, Parts};
use crate::login::asker::Asker;
use crate::login::{Choice, Ladder, Top};
use crate::server::{Ending, Program};
use crate::tools::{Catalog, Tool};
use crate::vault::KEY_VARIABLE;
use crate::verify::local::Local;
use crate::wrap::child::KEEPER;
#[cfg(unix)]
use crate::wrap::child::keeper;
use crate::{announce, logging, server};

/// An MCP server on stdio whose tools need a grant that a person gave.
///
/// Start it from an MCP host, with pipes. It follows the store that authz-service writes: a grant opens its tools at
/// once, a revocation closes them at once.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Arguments {
    /// The store's folder, the one that authz-service uses [default: data/ in a checkout, else the data folder of
    /// this system]
    #[arg(long, value_name = "DIR", env = DATA_VARIABLE, global = true)]
    data: Option<PathBuf>,

    /// This server's name: tokens must be for the resource urn:mcp:stdio:NAME
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = resource, global = true)]
    name: Resource,

    /// Accept tokens of this issuer only [default: every issuer that the store names]; the issuer itself need not be this
    /// project's (`http --verify`)
    #[arg(long, value_name = "URL", env = "MCP_AUTHZ_ISSUER", global = true)]
    issuer: Option<Issuer>,

    /// Whether tools take a token as the argument access_token, for hosts that have nothing better [default: on, of
    /// wrapped servers off]
    #[arg(long, value_name = "WHETHER", global = true)]
    token_argument: Option<Switch>,

    /// Whether to tell the store which tools there are, so that people see them when they consent
    #[arg(long, value_name = "WHETHER", default_value = "on", global = true)]
    announce: Switch,

    /// How a call without a token asks a person for a login: by opening a browser, through the host (elicitation), by a
    /// link in the answer, by a code alone; each falls back on the next
    #[arg(long, value_name = "WAY", default_value = "browser", env = LOGIN_VARIABLE, global = true)]
    login: Way,

    /// How many seconds a call waits for a person to sign in
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 50,
        value_parser = clap::value_parser!(u64).range(0..=600),
        global = true
    )]
    login_wait: u64,

    /// Whether calls are written down: who called what, and what was decided (`authz-service audit tail --calls`); and told to
    /// OpenTelemetry's collector, if OTEL_EXPORTER_OTLP_ENDPOINT names one
    #[arg(long, value_name = "WHETHER", default_value = "on", global = true)]
    audit: Switch,

    /// How many files of calls are kept, of 16 MiB each; of several servers of one store, the smallest number counts
    #[arg(
        long,
        value_name = "FILES",
        default_value_t = Keep::default().files,
        value_parser = clap::value_parser!(u64).range(1..=10_000),
        global = true
    )]
    audit_files: u64,

    /// The file with the vault's key, on a disk of its own maybe [default: vault.key in the store's folder]
    #[arg(long, value_name = "FILE", env = KEY_VARIABLE, global = true)]
    vault_key_file: Option<PathBuf>,

    /// The access token of calls that bring none. Only from the environment: a command line is no place for it
    #[arg(skip = std::env::var(VARIABLE).ok().filter(|token| !token.is_empty()).map(Secret::new))]
    token: Option<Secret>,

    #[command(subcommand)]
    command: Option<Command>,
}

// What there is besides, when the tools are our own. No doc comment: it would be the program's help.
#[derive(Debug, clap::Args)]
struct Samples {
    /// Offer the sample tools too: get_weather, list_files, get_user_profile
    #[arg(long, display_order = 0)]
    samples: bool,

    /// The folder below which list_files lists
    #[arg(long, value_name = "DIR", display_order = 0)]
    files_root: Option<PathBuf>,
}

/// What is served: under which name, and which tools a server of a name has.
#[derive(Clone)]
struct Offered {
    program: Program,
    tools: Arc<Tools>,
}

/// Gives the tools of the server that goes by a name.
type Tools = dyn Fn(&Resource) -> Vec<Arc<dyn Tool>> + Send + Sync;

impl Offered {
    fn catalog(&self, resource: &Resource) -> Catalog {
        Catalog::new((self.tools)(resource))
    }
}

/// What else the program does.
#[derive(Debug, Subcommand)]
enum Command {
    /// Serve another stdio MCP server, with a guard in front of its tools, resources and prompts
    Wrap(wrap::Arguments),
    /// Serve over Streamable HTTP, at /mcp: our own tools, or a stdio server behind its guard
    Http(http::Arguments),
    /// Write and check the rules of a wrapped server: what each tool needs
    #[command(subcommand)]
    Rules(wrap::RulesCommand),
    /// Look after the vault: the secrets that wrapped servers get while somebody lets them
    #[command(subcommand)]
    Vault(vault::Command),
    /// Keep a wrapped server for the process PARENT, and leave nothing of it behind
    #[cfg(unix)]
    #[command(name = KEEPER, hide = true)]
    Keep {
        /// Who wants it.
        parent: u32,
        /// The server.
        #[arg(last = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Move secrets from hosts' configuration files into the vault, and let `wrap` start the servers they were for
    Import(import::Arguments),
    /// Print the completions of a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// On or off.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Switch {
    /// It does.
    On,
    /// It does not.
    Off,
}

/// The first way to a login that is tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Way {
    /// A browser is opened.
    Browser,
    /// The host shows the URL, if it can.
    Elicit,
    /// The answer holds a link.
    Link,
    /// The answer holds a code to type.
    Code,
    /// None: such a call is refused.
    Off,
}

impl Way {
    fn top(self) -> Option<Top> {
        match self {
            Self::Browser => Some(Top::Browser),
            Self::Elicit => Some(Top::Elicit),
            Self::Link => Some(Top::Link),
            Self::Code => Some(Top::Code),
            Self::Off => None,
        }
    }
}

fn resource(name: &str) -> Result<Resource, NotAName> {
    Resource::stdio(name).map_err(NotAName)
}

/// Why a text is no server name.
#[derive(Debug, thiserror::Error)]
#[error("a name is 1 to 64 ASCII letters, digits or . _ -")]
struct NotAName(#[source] NotAResource);

/// The program, with our own tools.
pub fn main() -> ExitCode {
    shared::files::limit::survive();
    let command = Samples::augment_args(Arguments::command());
    let matches = without_empty(command.clone()).get_matches();
    let Samples { samples, files_root } = Samples::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let tools = move |resource: &Resource| {
        let mut tools = Catalog::standard(resource);
        if samples {
            tools.extend(Catalog::samples(files_root.clone()));
        }
        tools
    };
    start(command, &matches, &Offered { program: Program::OURS, tools: Arc::new(tools) })
}

/// A program with tools of your own and everything else that this one has: stdio and HTTP, logins, the trail of calls, rules and
/// wrapped servers, completions. `tools` gives the tools of the server that goes by a name.
///
/// `docs/ADD_A_TOOL.md` has a whole one.
pub fn main_with(
    program: Program,
    tools: impl Fn(&Resource) -> Vec<Arc<dyn Tool>> + Send + Sync + 'static,
) -> ExitCode {
    shared::files::limit::survive();
    let command =
        Arguments::command().name(program.name).version(program.version).about(program.about).long_about(None);
    let matches = without_empty(command.clone()).get_matches();
    start(command, &matches, &Offered { program, tools: Arc::new(tools) })
}

fn start(mut command: clap::Command, matches: &ArgMatches, offered: &Offered) -> ExitCode {
    let arguments = Arguments::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
    if let Some(Command::Completions { shell }) = arguments.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, offered.program.name, &mut script);
        let written = io::stdout().write_all(&script).and_then(|()| io::stdout().flush());
        return if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    logging::start();
    let code = run(arguments, offered).unwrap_or_else(|error| {
        tracing::error!(%error, "cannot start");
        ExitCode::FAILURE
    });
    shared::stderr::finish();
    code
}

/// An environment variable that is empty counts as not set.
fn without_empty(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &clap::Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| if is_empty(&arg) { arg.env(clap::builder::Resettable::Reset) } else { arg })
        .mut_subcommands(without_empty)
}

fn run(mut arguments: Arguments, offered: &Offered) -> io::Result<ExitCode> {
    let command = match arguments.command.take() {
        #[cfg(unix)]
        Some(Command::Keep { parent, command }) => return Ok(keeper::run(parent, &command)),
        Some(Command::Rules(command)) => return Ok(wrap::rules(command)),
        Some(Command::Vault(command)) => return Ok(vault::run(&arguments, command)),
        Some(Command::Import(wanted)) => return Ok(import::run(&arguments, &wanted)),
        Some(Command::Http(wanted)) => return http::run(&arguments, wanted, offered),
        command => command,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ending = runtime.block_on(async {
        let (asked, left) = (stop()?, streams::host_left());
        let stop = async {
            tokio::select! {
                () = asked => {}
                () = left => {}
            }
        };
        let ending = match command {
            Some(Command::Wrap(wanted)) => wrap::serve(&arguments, wanted, offered.program, stop).await?,
            _ => serve(&arguments, offered, stop).await?,
        };
        tracing::info!(?ending, "the server ends");
        io::Result::Ok(ending)
    })?;
    // A thread may still wait for a terminal or a slow disk; the process does not.
    runtime.shutdown_background();
    Ok(if ending == Ending::ServerEnded { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Serves the program's own tools.
async fn serve(arguments: &Arguments, offered: &Offered, stop: impl Future<Output = ()>) -> io::Result<Ending> {
    let catalog = offered.catalog(&arguments.name);
    catalog.check().map_err(io::Error::other)?;
    let (store, clock) = followed(arguments);
    let trail = trail(arguments, &clock, offered.program);
    let handler = handler(arguments, catalog, &store, &clock, trail.as_ref()).named(offered.program);
    Ok(server::serve(handler, streams::stdin(), streams::stdout(), stop).await)
}

/// The store, followed, and the clock.
fn followed(arguments: &Arguments) -> (Arc<JournalStore>, Arc<SystemClock>) {
    let clock = Arc::new(SystemClock);
    (Arc::new(JournalStore::follow(&folder(arguments), clock.clone())), clock)
}

/// Where calls are written down. To be kept to the end: it waits for the last lines.
fn trail(arguments: &Arguments, clock: &Arc<SystemClock>, program: Program) -> Option<Trail> {
    let keep = Keep { files: arguments.audit_files, ..Keep::default() };
    let collector = || spans::from_environment(program.name);
    let start = || Trail::start(folder(arguments), keep, Arc::clone(clock) as Arc<dyn Clock>, collector());
    (arguments.audit == Switch::On).then(start)
}

fn folder(arguments: &Arguments) -> PathBuf {
    arguments.data.clone().unwrap_or_else(default_folder)
}

/// How calls without a token ask a person for these scopes; `None` when they do not.
fn ladder(
    arguments: &Arguments,
    store: &Arc<JournalStore>,
    clock: &Arc<SystemClock>,
    scopes: Scopes,
) -> Option<Ladder> {
    let top = arguments.login.top()?;
    let asker = Asker {
        store: Arc::clone(store),
        folder: folder(arguments),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        resource: arguments.name.clone(),
        scopes,
        issuer: arguments.issuer.clone(),
        program: OnceLock::new(),
    };
    let (wait, browser) = (Duration::from_secs(arguments.login_wait), std::env::var("BROWSER").ok());
    Ladder::new(asker, Choice { top, wait, browser })
}

/// What lets callers in who have, or are asked for, these scopes.
fn gate(
    arguments: &Arguments,
    store: &Arc<JournalStore>,
    clock: &Arc<SystemClock>,
    scopes: Scopes,
    token_argument: Switch,
    trail: Option<&Trail>,
) -> Gate {
    let (resource, issuer) = (arguments.name.clone(), arguments.issuer.clone());
    Gate {
        verify: Arc::new(Local::new(Arc::clone(store) as Arc<dyn Store>, resource.clone(), issuer)),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        resource,
        environment: arguments.token.as_ref().map(|token| Secret::new(token.expose().to_owned())),
        token_argument: arguments.token_argument.unwrap_or(token_argument) == Switch::On,
        ladder: ladder(arguments, store, clock, scopes),
        audit: trail.map(Trail::audit).unwrap_or_default(),
        announcer: announcer(arguments, store, arguments.name.clone(), clock.clone()),
    }
}

/// Who tells the store about the tools of a server with this name.
fn announcer(
    arguments: &Arguments,
    store: &Arc<JournalStore>,
    resource: Resource,
    clock: Arc<dyn Clock>,
) -> Option<Arc<Announcer>> {
    (arguments.announce == Switch::On).then(|| Arc::new(Announcer::new(Arc::clone(store), resource, clock)))
}

fn handler(
    arguments: &Arguments,
    catalog: Catalog,
    store: &Arc<JournalStore>,
    clock: &Arc<SystemClock>,
    trail: Option<&Trail>,
) -> Handler {
    let scopes = catalog.scopes();
    let gate = gate(arguments, store, clock, scopes, Switch::On, trail);
    if let Some(announcer) = &gate.announcer {
        announcer.tell(Announced { tools: announce::tools(&catalog), ..Announced::default() });
    }
    Handler::new(Parts { catalog, gate })
}

/// Resolves when the system or a person asks the process to end.
#[cfg(unix)]
fn stop() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Resolves when the system or a person asks the process to end.
#[cfg(not(unix))]
fn stop() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    })
}
