//! `vault`: the secrets, by name. Their values come in here and never out.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;
use shared::secret::Secret;
use shared::time::{Clock, SystemClock};
use zeroize::Zeroizing;

use super::folder;
use crate::vault::{Held, Import, LONGEST_VALUE, Listed, Origin, Place, SecretName, Vault, VaultError};

/// What is done with the vault.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the secrets: their names, when each was written, and which servers get it. Never a value
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a secret: its value is read from standard input, or asked for at a terminal. Servers get it at their next start
    Set {
        /// What it is called
        #[arg(value_name = "NAME")]
        secret: SecretName,
    },
    /// Remove a secret
    Remove {
        /// What it is called
        #[arg(value_name = "NAME")]
        secret: SecretName,
        /// Also one that an import took out of a host's file
        #[arg(long)]
        force: bool,
    },
    /// Seal everything anew, under a new key
    RotateKey,
}

/// Where the vault is.
pub(super) fn place(arguments: &super::Arguments) -> Place {
    Place::new(folder(arguments), arguments.vault_key_file.clone())
}

/// Why a command came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("the value cannot be read: {0}")]
    Value(#[from] io::Error),
    #[error("{0}")]
    Refused(String),
}

/// Does it.
pub(super) fn run(arguments: &super::Arguments, command: Command) -> ExitCode {
    let place = place(arguments);
    let done = match command {
        Command::List { json } => list(&place, json),
        Command::Set { secret } => set(&place, &secret),
        Command::Remove { secret, force } => remove(&place, &secret, force),
        Command::RotateKey => rotate(&place),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn list(place: &Place, as_json: bool) -> Result<(), Failed> {
    let vault = Vault::open(place)?;
    let (secrets, imports) = vault.as_ref().map(|vault| (vault.list(), vault.imports())).unwrap_or_default();
    if as_json {
        let secrets: Vec<_> = secrets.iter().map(|secret| as_value(secret, &imports)).collect();
        let text = serde_json::to_string_pretty(&json!({ "secrets": secrets })).map_err(io::Error::from)?;
        print(&format!("{text}\n"));
        return Ok(());
    }
    if secrets.is_empty() {
        print("The vault is empty.\n");
    }
    let width = secrets.iter().map(|secret| secret.name.as_str().len()).max().unwrap_or_default();
    for secret in &secrets {
        let users: Vec<_> = users(secret.name, &imports).map(|(host, entry, _)| format!("{entry} ({host})")).collect();
        let line = format!("{:width$}  {}  {}", secret.name.as_str(), secret.written.rfc3339(), users.join(", "));
        print(&format!("{}\n", line.trim_end()));
    }
    Ok(())
}

fn as_value(secret: &Listed<'_>, imports: &[&Import]) -> serde_json::Value {
    let users = users(secret.name, imports);
    let users: Vec<_> =
        users.map(|(host, entry, file)| json!({ "host": host, "server": entry, "file": file })).collect();
    json!({
        "name": secret.name,
        "written": secret.written.rfc3339(),
        "version": secret.version,
        "origin": secret.origin,
        "used_by": users,
    })
}

/// Host, entry and file of the servers that get a secret, as far as imports know.
fn users<'a>(name: &'a SecretName, imports: &'a [&Import]) -> impl Iterator<Item = (&'a str, &'a str, String)> {
    imports.iter().flat_map(move |import| {
        let moved = import.moved.iter().filter(move |moved| moved.secret == *name);
        moved.map(|moved| (import.host.as_str(), moved.entry.as_str(), import.file.display().to_string()))
    })
}

fn set(place: &Place, name: &SecretName) -> Result<(), Failed> {
    let value = value()?;
    if value.expose().is_empty() || value.expose().contains('\0') {
        return Err(Failed::Refused("the value is empty, or has a NUL in it; nothing was written".to_owned()));
    }
    let mut vault = Held::lock(place)?;
    vault.set(name, &value, Origin::Set, SystemClock.now())?;
    vault.save()?;
    print(&format!("{name} is in the vault. Servers get it at their next start.\n"));
    Ok(())
}

fn remove(place: &Place, name: &SecretName, force: bool) -> Result<(), Failed> {
    let mut vault = Held::lock(place)?;
    let imports = vault.imports();
    if let Some((host, entry, file)) = users(name, &imports).next()
        && !force
    {
        return Err(Failed::Refused(format!(
            "{entry} of {host} gets it ({file}): put it back there with `import --undo`, or remove it with --force, after \
             which that server starts without it; the vault keeps what undoes the import"
        )));
    }
    if !vault.remove(name) {
        return Err(Failed::Refused(format!("the vault has no secret {name}")));
    }
    vault.save()?;
    print(&format!("{name} was removed. A running server has it until it ends.\n"));
    Ok(())
}

fn rotate(place: &Place) -> Result<(), Failed> {
    let mut vault = Held::lock(place)?;
    vault.rotate()?;
    print("Everything is sealed under a new key. Copies of the vault from before open with the old key only.\n");
    Ok(())
}

/// The value, from standard input. A line feed at its end does not count.
fn value() -> Result<Secret, Failed> {
    let input = io::stdin();
    let mut text = Zeroizing::new(String::new());
    if input.is_terminal() {
        let quiet = Quiet::new()?;
        let _ = io::stderr().write_all(b"Value (it is not shown): ");
        input.lock().read_line(&mut text)?;
        drop(quiet);
        let _ = io::stderr().write_all(b"\n");
    } else {
        input.lock().take(LONGEST_VALUE as u64 + 3).read_to_string(&mut text)?;
    }
    let end = text.strip_suffix('\n').map_or(text.as_str(), |rest| rest.strip_suffix('\r').unwrap_or(rest)).len();
    text.truncate(end);
    if text.len() > LONGEST_VALUE {
        return Err(Failed::Refused(format!("a value is at most {LONGEST_VALUE} bytes long; nothing was written")));
    }
    Ok(Secret::new(std::mem::take(&mut *text)))
}

/// A terminal that does not show what is typed, until this is dropped.
struct Quiet {
    #[cfg(unix)]
    before: rustix::termios::Termios,
}

#[cfg(unix)]
impl Quiet {
    fn new() -> io::Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self { before })
    }
}

#[cfg(unix)]
impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Flush, &self.before);
    }
}

#[cfg(not(unix))]
impl Quiet {
    fn new() -> io::Result<Self> {
        Err(io::Error::other("this terminal shows what is typed; pipe the value in"))
    }
}

/// What a person asked for goes to standard output: no host reads it here.
pub(super) fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
