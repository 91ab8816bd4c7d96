//! Where settings come from: a flag wins over the environment, that over the file, and that over the default.
//!
//! The one list of settings is [`ServeArgs`]: the command line's own description of a field gives its flag, its
//! variable (`MCP_AUTHZ_` and the name in capitals), its key in the file, its bounds, its default and its line in
//! `docs/CONFIG.md`. A new field is all of that at once.

pub mod args;
pub mod doc;
pub mod file;
pub mod value;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches};

use self::file::Words;
use crate::cli::{Cli, ServeArgs};

/// What every variable's name begins with.
const PREFIX: &str = "MCP_AUTHZ_";

/// The setting that names the file. It cannot stand in the file.
const FILE: &str = "config";

/// What the command line, the environment and the file say together.
#[derive(Debug)]
pub struct Loaded {
    /// What to do.
    pub cli: Cli,
    /// Every setting, in the order of the help; empty for a command that has none.
    pub settings: Vec<Setting>,
    /// What is odd and no error, in words.
    pub warnings: Vec<String>,
}

/// A setting's value, and who says so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Setting {
    /// Its name: the flag without dashes.
    pub name: String,
    /// Its values; none when it is not set and has no default.
    pub values: Vec<String>,
    /// Whether the value must not be shown.
    pub secret: bool,
    /// Where it comes from.
    pub source: Source,
}

/// Where a value comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// The command line.
    Flag,
    /// This variable.
    Environment(String),
    /// This line of the file.
    File(PathBuf, usize),
    /// Nobody says anything.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("command line"),
            Self::Environment(name) => write!(f, "environment, {name}"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Why there are no settings.
#[derive(Debug)]
pub enum Problem {
    /// The command line is wrong, or asks for help.
    Usage(clap::Error),
    /// The environment or the file is wrong, in words.
    Settings(String),
}

impl fmt::Display for Problem {
    /// In one line, for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) => f.write_str(&first_line(error)),
            Self::Settings(reason) => f.write_str(reason),
        }
    }
}

impl From<clap::Error> for Problem {
    fn from(error: clap::Error) -> Self {
        Self::Usage(error)
    }
}

/// A value that was found outside of the command line.
struct Found {
    id: String,
    /// How it would be said on the command line.
    arguments: Vec<OsString>,
    source: Source,
}

/// Reads everything. `variables` is the environment.
///
/// # Errors
/// The first thing that is wrong.
pub fn load(argv: &[OsString], variables: &[(OsString, OsString)]) -> Result<Loaded, Problem> {
    let command = command();
    let first = command.clone().try_get_matches_from(argv)?;
    let leaf = leaf(&first);
    if leaf.try_get_raw(FILE).is_err() {
        return Ok(Loaded { cli: Cli::from_arg_matches(&first)?, settings: Vec::new(), warnings: Vec::new() });
    }
    let table = table();
    let given: BTreeSet<String> = table
        .get_arguments()
        .map(|arg| arg.get_id().to_string())
        .filter(|id| leaf.value_source(id) == Some(ValueSource::CommandLine))
        .collect();
    let mut found = environment(&table, variables)?;
    let path = leaf
        .try_get_one::<PathBuf>(FILE)
        .ok()
        .flatten()
        .cloned()
        .or_else(|| variable(variables, &variable_name(FILE)).map(PathBuf::from));
    if let Some(path) = path {
        found.extend(from_file(&table, &path)?);
    }
    let found = strongest(&table, &given, found);
    let whole: Vec<_> = argv.iter().cloned().chain(found.iter().flat_map(|one| one.arguments.clone())).collect();
    let matches = command.try_get_matches_from(whole)?;
    let settings = settings(&table, self::leaf(&matches), &given, &found);
    Ok(Loaded { cli: Cli::from_arg_matches(&matches)?, settings, warnings: strangers(&table, variables) })
}

/// The settings, as the command line describes them.
pub fn table() -> Command {
    let mut table = with_variables(ServeArgs::augment_args(Command::new("settings").no_binary_name(true)));
    table.build();
    table
}

/// The whole command line. Variables of settings are read here and not by the parser, which knows no order between
/// them and a file; its help tells of them all the same.
fn command() -> Command {
    fn below(command: Command) -> Command {
        let has_settings = command.get_arguments().any(|arg| arg.get_id() == FILE);
        let command = if has_settings { with_variables(command) } else { command.mut_args(without_empty) };
        command.mut_subcommands(below)
    }
    below(Cli::command())
}

/// An environment variable that is empty counts as not set.
fn without_empty(arg: Arg) -> Arg {
    let is_empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    if is_empty { arg.env(clap::builder::Resettable::Reset) } else { arg }
}

fn with_variables(command: Command) -> Command {
    let ids: Vec<_> = ServeArgs::augment_args(Command::new("")).get_arguments().map(|a| a.get_id().clone()).collect();
    command.mut_args(|arg| {
        if !ids.contains(arg.get_id()) {
            return arg;
        }
        let name = variable_name(arg.get_id().as_str());
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let many = if is_list(&arg) { ", separated by spaces" } else { "" };
        let arg = arg.env(clap::builder::Resettable::Reset).help(format!("{help} [env: {name}{many}]"));
        if arg.get_action().takes_values() { arg.allow_negative_numbers(true) } else { arg }
    })
}

/// The variable of a setting: the one that its field names, as scripts of older systems know it, or one of ours.
fn variable_name(id: &str) -> String {
    static NAMED: OnceLock<Vec<(String, String)>> = OnceLock::new();
    let named = NAMED.get_or_init(|| {
        let raw = ServeArgs::augment_args(Command::new(""));
        let name = |arg: &Arg| Some((arg.get_id().to_string(), arg.get_env()?.to_str()?.to_owned()));
        raw.get_arguments().filter_map(name).collect()
    });
    let ours = || format!("{PREFIX}{}", id.to_uppercase().replace('-', "_"));
    named.iter().find(|(known, _)| known == id).map_or_else(ours, |(_, name)| name.clone())
}

fn variable(variables: &[(OsString, OsString)], name: &str) -> Option<OsString> {
    variables.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.clone())
}

/// The matches of the command that was named.
fn leaf(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, below)| leaf(below))
}

fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

fn environment(table: &Command, variables: &[(OsString, OsString)]) -> Result<Vec<Found>, Problem> {
    let mut found = Vec::new();
    for arg in table.get_arguments().filter(|arg| arg.get_id() != FILE && arg.get_long().is_some()) {
        let name = variable_name(arg.get_id().as_str());
        let Some(value) = variable(variables, &name) else { continue };
        let text = value.into_string().map_err(|_| Problem::Settings(format!("{name} is not UTF-8")))?;
        let words = match arg.get_action() {
            ArgAction::SetTrue => {
                Words::Switch(yes_or_no(&text).ok_or_else(|| Problem::Settings(format!("{name} takes true or false")))?)
            }
            ArgAction::Append => Words::Many(text.split_whitespace().map(str::to_owned).collect()),
            _ => Words::One(text),
        };
        let source = Source::Environment(name.clone());
        found.push(value_of(table, arg, &words, source).map_err(|why| Problem::Settings(format!("{name}: {why}")))?);
    }
    Ok(found)
}

fn yes_or_no(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn from_file(table: &Command, path: &Path) -> Result<Vec<Found>, Problem> {
    let mut found = Vec::new();
    for entry in file::read(path).map_err(Problem::Settings)? {
        let at = |why: String| Problem::Settings(format!("{}:{}: {why}", path.display(), entry.line));
        let arg = named(table, &entry.key).ok_or_else(|| at(unknown(table, &entry.key)))?;
        if arg.is_hide_env_values_set()
            && let Some(why) = file::readable_by_others(path).map_err(Problem::Settings)?
        {
            return Err(Problem::Settings(format!("{why}: it holds {}, which is secret", entry.key)));
        }
        let source = Source::File(path.to_owned(), entry.line);
        found.push(value_of(table, arg, &entry.words, source).map_err(at)?);
    }
    Ok(found)
}

fn named<'a>(table: &'a Command, key: &str) -> Option<&'a Arg> {
    table.get_arguments().find(|arg| arg.get_long() == Some(key) && arg.get_id() != FILE)
}

fn unknown(table: &Command, key: &str) -> String {
    let known = table.get_arguments().filter(|arg| arg.get_id() != FILE).filter_map(Arg::get_long);
    let near = known
        .map(|name| (strsim::jaro_winkler(name, &key.replace('_', "-")), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    match near {
        Some((_, name)) => format!("there is no setting {key:?}; did you mean {name}?"),
        None => format!("there is no setting {key:?}; `authz-service config show` lists them"),
    }
}

/// Turns a value into what would be said on the command line, and tries it.
fn value_of(table: &Command, arg: &Arg, words: &Words, source: Source) -> Result<Found, String> {
    let name = arg.get_long().unwrap_or_default();
    let flag = || vec![OsString::from(format!("--{name}"))];
    let with = |word: &str| OsString::from(format!("--{name}={word}"));
    let takes_value = arg.get_action().takes_values();
    let may_be_bare = takes_value && arg.get_num_args().is_some_and(|range| range.min_values() == 0);
    let on_or_off = arg.get_possible_values().iter().any(|value| value.matches("on", false));
    let arguments = match words {
        Words::Switch(true) if !takes_value || may_be_bare => flag(),
        Words::Switch(false) if !takes_value || may_be_bare => Vec::new(),
        Words::Switch(yes) if on_or_off => vec![with(if *yes { "on" } else { "off" })],
        Words::Switch(yes) => vec![with(&yes.to_string())],
        Words::One(text) if may_be_bare && yes_or_no(text) == Some(true) => flag(),
        Words::One(text) if may_be_bare && yes_or_no(text) == Some(false) => Vec::new(),
        Words::One(_) | Words::Many(_) if !takes_value => return Err(format!("{name} takes true or false")),
        Words::One(text) => vec![with(text)],
        Words::Many(texts) if is_list(arg) => texts.iter().map(|text| with(text)).collect(),
        Words::Many(_) => return Err(format!("{name} takes one value")),
    };
    // What it needs or excludes is looked at when all values are together.
    let alone =
        |error: &clap::Error| !matches!(error.kind(), ErrorKind::MissingRequiredArgument | ErrorKind::ArgumentConflict);
    if let Some(error) = table.clone().try_get_matches_from(&arguments).err().filter(alone) {
        let secret = arg.is_hide_env_values_set();
        return Err(if secret { format!("{name} has a value that it cannot have") } else { first_line(&error) });
    }
    Ok(Found { id: arg.get_id().to_string(), arguments, source })
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ").trim_start_matches("error: ").to_owned()
}

/// Of several who say something about one setting, the first: the environment comes before the file. What excludes a
/// stronger one's value, as a port does an address, does not count either.
fn strongest(table: &Command, given: &BTreeSet<String>, found: Vec<Found>) -> Vec<Found> {
    let mut taken = given.clone();
    let mut kept = Vec::new();
    let rank = |one: &Found| matches!(one.source, Source::File(..));
    for of_file in [false, true] {
        let stronger = taken.clone();
        for one in found.iter().filter(|one| rank(one) == of_file) {
            let excluded = table.get_arguments().any(|arg| {
                let other = arg.get_id().as_str();
                stronger.contains(other) && excludes(table, arg, &one.id)
            });
            if !stronger.contains(&one.id) && !excluded {
                taken.insert(one.id.clone());
                kept.push(one.id.clone());
            }
        }
    }
    let mut once = BTreeSet::new();
    found.into_iter().filter(|one| kept.contains(&one.id) && once.insert(one.id.clone())).collect()
}

fn excludes(table: &Command, arg: &Arg, other: &str) -> bool {
    let names = |one: &Arg, id: &str| table.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == id);
    let other_arg = table.get_arguments().find(|arg| arg.get_id() == other);
    names(arg, other) || other_arg.is_some_and(|one| names(one, arg.get_id().as_str()))
}

fn settings(table: &Command, leaf: &ArgMatches, given: &BTreeSet<String>, found: &[Found]) -> Vec<Setting> {
    let args = table.get_arguments().filter(|arg| arg.get_id() != FILE);
    args.filter_map(|arg| {
        let (id, name) = (arg.get_id().as_str(), arg.get_long()?);
        let values = leaf.try_get_raw(id).ok().flatten().into_iter().flatten();
        let mut values: Vec<_> = values.map(|value| value.to_string_lossy().into_owned()).collect();
        if !arg.get_action().takes_values() {
            values = vec![leaf.try_get_one::<bool>(id).ok().flatten().is_some_and(|yes| *yes).to_string()];
        }
        let source = match found.iter().find(|one| one.id == id) {
            _ if given.contains(id) => Source::Flag,
            Some(one) => one.source.clone(),
            None => Source::Default,
        };
        Some(Setting { name: name.to_owned(), values, secret: arg.is_hide_env_values_set(), source })
    })
    .collect()
}

/// Variables that look like ours and are none: a slip of the pen would go unnoticed.
fn strangers(table: &Command, variables: &[(OsString, OsString)]) -> Vec<String> {
    let ours: Vec<_> = table.get_arguments().map(|arg| variable_name(arg.get_id().as_str())).collect();
    let names = variables.iter().filter_map(|(name, _)| name.to_str());
    names
        .filter(|name| name.starts_with(PREFIX) && !ours.iter().any(|known| known == name))
        .map(|name| format!("{name} is set, and no setting has that name"))
        .collect()
}

#[cfg(test)]
mod tests;
