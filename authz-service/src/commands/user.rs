//! `authz-service user …`: the accounts of people who can sign in.

use std::io::BufRead;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;
use shared::date::rfc3339;
use shared::id::UserName;
use shared::secret::Secret;
use shared::state::{Change, Link, Passkey, Session, State, Subject, User, UserStage};
use shared::store::CommitError;
use shared::store::journal::JournalStore;
use shared::time::{Clock, SystemClock};
use shared::uri::Issuer;

use super::lists::{self, Line, ListArgs};
use crate::cli::StoreArgs;
use crate::http::password;
use crate::protocol::setup;

/// What to do with accounts.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add an account.
    Add(AddUser),
    /// List the accounts: name, role, whether it works, how it signs in.
    List(ListArgs),
    /// Disable an account: its sessions and every token that it gave are dead at once.
    Disable(NamedUser),
    /// Let a disabled account work again. Its apps have to ask anew.
    Enable(NamedUser),
    /// Remove an account for good. Its name is never given to somebody else.
    Remove(NamedUser),
    /// Set a password. Every session and token from before is dead at once.
    Password(NewPassword),
    /// List a person's passkeys, or remove one: it signs nobody in any more.
    Passkeys(Passkeys),
    /// Let a person of an OpenID provider sign in to an account.
    Link(LinkUser),
    /// Take that back. Sessions that it opened go on; `user sessions --end` ends them.
    Unlink(UnlinkUser),
    /// List where a person is signed in: since and until. No session can be used by what is shown.
    Sessions(Sessions),
}

/// A new account.
#[derive(Args, Debug)]
pub struct AddUser {
    /// The login name: 1 to 64 letters, digits or . _ @ + -
    pub name: UserName,
    /// Read the password from standard input, one line. Required: a password has no place in a command line.
    #[arg(long, required = true)]
    pub password_stdin: bool,
    /// The account may administrate.
    #[arg(long)]
    pub admin: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// One account.
#[derive(Args, Debug)]
pub struct NamedUser {
    /// The login name.
    pub name: UserName,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// An account and its new password.
#[derive(Args, Debug)]
pub struct NewPassword {
    /// The login name.
    pub name: UserName,
    /// Read the password from standard input, one line. Required: a password has no place in a command line.
    #[arg(long, required = true)]
    pub password_stdin: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Whose sessions.
#[derive(Args, Debug)]
pub struct Sessions {
    /// The login name.
    pub name: UserName,
    /// End them all: signed out everywhere.
    #[arg(long)]
    pub end: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Which account, and who of which provider.
#[derive(Args, Debug)]
pub struct LinkUser {
    /// The login name.
    pub name: UserName,
    /// The provider's issuer, byte for byte.
    #[arg(long, value_name = "URL")]
    pub issuer: Issuer,
    /// How the provider calls the person: its `sub`, which is shown to who is not let in, and in the log.
    #[arg(long, value_name = "SUB")]
    pub subject: Subject,
    /// Make the account, which has no password then.
    #[arg(long)]
    pub create: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Which account, and who of which provider.
#[derive(Args, Debug)]
pub struct UnlinkUser {
    /// The login name.
    pub name: UserName,
    /// The provider's issuer, byte for byte.
    #[arg(long, value_name = "URL")]
    pub issuer: Issuer,
    /// How the provider calls the person.
    #[arg(long, value_name = "SUB")]
    pub subject: Subject,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Whose passkeys.
#[derive(Args, Debug)]
pub struct Passkeys {
    /// The login name.
    pub name: UserName,
    /// Remove the one with this id. Sessions that it opened go on; `user sessions --end` ends them.
    #[arg(long, value_name = "ID")]
    pub remove: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Runs the command.
///
/// # Errors
/// In words for the person at the terminal.
pub fn run(command: UserCommand) -> Result<(), String> {
    match command {
        UserCommand::Add(add) => add_user(add),
        UserCommand::List(args) => list(&args),
        UserCommand::Disable(user) => set_stage(&user, UserStage::Disabled),
        UserCommand::Enable(user) => set_stage(&user, UserStage::Enabled),
        UserCommand::Remove(user) => set_stage(&user, UserStage::Removed),
        UserCommand::Password(args) => set_password(&args),
        UserCommand::Passkeys(args) => passkeys(&args),
        UserCommand::Link(args) => link(&args),
        UserCommand::Unlink(args) => unlink(&args),
        UserCommand::Sessions(args) => sessions(&args),
    }
}

fn add_user(add: AddUser) -> Result<(), String> {
    let hash = hashed_password(&add.name)?;
    // The one command that makes a store where there is none: accounts may come before the first start.
    let store = JournalStore::open(&add.store.folder(), Arc::new(SystemClock)).map_err(|error| error.to_string())?;
    let user = User {
        name: add.name.clone(),
        password: Some(hash),
        admin: add.admin,
        created: SystemClock.now(),
        stage: UserStage::Enabled,
        passkeys: Vec::new(),
        links: Vec::new(),
    };
    match store.commit_blocking(vec![Change::UserCreated(user)]) {
        Ok(()) => told(add.json, &add.name, UserStage::Enabled, &format!("Added {}.\n", add.name)),
        Err(CommitError::Conflict(_)) => {
            Err(format!("there is or was an account called {}; a name is never given to somebody else", add.name))
        }
        Err(CommitError::Unavailable(error)) => Err(error.to_string()),
    }
}

/// Reads a password and hashes it.
fn hashed_password(name: &UserName) -> Result<String, String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|error| format!("cannot read the password: {error}"))?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    let password = Secret::new(line);
    setup::chosen(Some(name.as_str()), password.expose()).map_err(|refusal| refusal.to_string())?;
    password::hash(&password)
}

fn list(args: &ListArgs) -> Result<(), String> {
    let store = lists::open(&args.store.folder())?;
    let lines = lists::read(&store, |state| state.users().into_iter().map(line).collect())?;
    args.print("users", lines)
}

fn line(user: &User) -> Line {
    let role = if user.admin { "admin" } else { "user" };
    let login = match (user.password.is_some(), user.links.is_empty()) {
        (true, true) => "password",
        (true, false) => "password, provider",
        (false, true) => "no password",
        (false, false) => "provider",
    };
    let object = json!({
        "name": user.name,
        "admin": user.admin,
        "stage": user.stage,
        "has_password": user.password.is_some(),
        "passkeys": user.passkeys.len(),
        "links": user.links.iter().map(link_object).collect::<Vec<_>>(),
        "created": rfc3339(user.created),
    });
    let columns = [user.name.as_str(), role, stage(user.stage), login].map(str::to_owned).to_vec();
    Line { name: user.name.to_string(), columns, object }
}

fn link_object(link: &Link) -> serde_json::Value {
    json!({ "issuer": link.issuer, "subject": link.subject, "since": rfc3339(link.created) })
}

/// A stage in a word.
pub const fn stage(stage: UserStage) -> &'static str {
    match stage {
        UserStage::Enabled => "enabled",
        UserStage::Disabled => "disabled",
        UserStage::Removed => "removed",
    }
}

fn set_stage(user: &NamedUser, new: UserStage) -> Result<(), String> {
    let store = lists::open(&user.store.folder())?;
    known(&store, &user.name)?;
    lists::commit(&store, vec![Change::UserStageSet { user: user.name.clone(), stage: new }])?;
    told(user.json, &user.name, new, &format!("{} is {}.\n", user.name, stage(new)))
}

/// What became of an account, for a program or for a person.
fn told(as_json: bool, name: &UserName, new: UserStage, text: &str) -> Result<(), String> {
    if as_json {
        return lists::print_json(&json!({ "name": name, "stage": new }));
    }
    super::print(text);
    Ok(())
}

fn set_password(args: &NewPassword) -> Result<(), String> {
    let store = lists::open(&args.store.folder())?;
    let stage = known(&store, &args.name)?;
    let password = hashed_password(&args.name)?;
    lists::commit(&store, vec![Change::PasswordChanged { user: args.name.clone(), password }])?;
    let text = format!("{} has a new password; every session and token from before is dead.\n", args.name);
    told(args.json, &args.name, stage, &text)
}

fn link(args: &LinkUser) -> Result<(), String> {
    let store = lists::open(&args.store.folder())?;
    let link = Link { issuer: args.issuer.clone(), subject: args.subject.clone(), created: SystemClock.now() };
    let taken = |state: &State| state.users().iter().any(|user| user.links.iter().any(|one| one.hash() == link.hash()));
    if lists::read(&store, taken)? {
        return Err(format!(
            "{} of {} signs in to an account already; user list --json shows it",
            args.subject, args.issuer
        ));
    }
    let stage = if args.create {
        let user = User {
            name: args.name.clone(),
            password: None,
            admin: false,
            created: SystemClock.now(),
            stage: UserStage::Enabled,
            passkeys: Vec::new(),
            links: vec![link],
        };
        lists::commit(&store, vec![Change::UserCreated(user)])?;
        UserStage::Enabled
    } else {
        let stage = known(&store, &args.name).map_err(|why| format!("{why}; --create makes it"))?;
        lists::commit(&store, vec![Change::UpstreamLinked { user: args.name.clone(), link }])?;
        stage
    };
    let text = format!("{} of {} signs in as {}.\n", args.subject, args.issuer, args.name);
    told(args.json, &args.name, stage, &text)
}

fn unlink(args: &UnlinkUser) -> Result<(), String> {
    let store = lists::open(&args.store.folder())?;
    let hash = Link::hash_of(&args.issuer, &args.subject);
    let is_linked = |state: &State| {
        let users = state.users();
        users.iter().any(|user| user.name == args.name && user.links.iter().any(|link| link.hash() == hash))
    };
    if !lists::read(&store, is_linked)? {
        return Err(format!("{} of {} does not sign in as {}", args.subject, args.issuer, args.name));
    }
    lists::commit(&store, vec![Change::UpstreamUnlinked(hash)])?;
    let text = format!("{} of {} signs in as {} no more.\n", args.subject, args.issuer, args.name);
    told(args.json, &args.name, known(&store, &args.name)?, &text)
}

/// The stage of an account that is not removed.
fn known(store: &JournalStore, name: &UserName) -> Result<UserStage, String> {
    let is_theirs = |user: &&&User| user.name == *name && user.stage != UserStage::Removed;
    let found = |state: &State| state.users().iter().find(is_theirs).map(|user| user.stage);
    lists::read(store, found)?.ok_or_else(|| format!("there is no account called {name}"))
}

fn sessions(args: &Sessions) -> Result<(), String> {
    let store = lists::open(&args.store.folder())?;
    known(&store, &args.name)?;
    let now = SystemClock.now();
    let told = |session: &&Session| (rfc3339(session.created), rfc3339(session.expires));
    let sessions: Vec<_> = lists::read(&store, |state| state.sessions_of(&args.name, now).iter().map(told).collect())?;
    if args.end {
        lists::commit(&store, vec![Change::SessionsClosed(args.name.clone())])?;
    }
    if args.json {
        let objects: Vec<_> = sessions.iter().map(|(since, until)| json!({ "since": since, "until": until })).collect();
        return lists::print_json(&json!({ "sessions": objects, "ended": args.end }));
    }
    let mut text: String =
        sessions.into_iter().map(|(since, until)| lists::columns(&[args.name.to_string(), since, until])).collect();
    if args.end {
        text.push_str(&format!("{} is signed out everywhere.\n", args.name));
    }
    super::print(&text);
    Ok(())
}

fn passkeys(args: &Passkeys) -> Result<(), String> {
    let store = lists::open(&args.store.folder())?;
    known(&store, &args.name)?;
    let theirs = |state: &State| {
        let users = state.users();
        users.iter().find(|user| user.name == args.name).map(|user| user.passkeys.clone()).unwrap_or_default()
    };
    let mut passkeys = lists::read(&store, theirs)?;
    if let Some(id) = &args.remove {
        let removed = passkeys.iter().position(|passkey| passkey.short_id() == *id);
        let at = removed.ok_or_else(|| format!("{} has no passkey {id}; user passkeys {0} lists them", args.name))?;
        let removed = passkeys.remove(at);
        lists::commit(&store, vec![Change::PasskeyRemoved(removed.id.hash())])?;
    }
    if args.json {
        let objects: Vec<_> = passkeys.iter().map(passkey_object).collect();
        return lists::print_json(&json!({ "passkeys": objects, "removed": args.remove }));
    }
    let mut text: String = passkeys.iter().map(|passkey| lists::columns(&passkey_columns(passkey))).collect();
    if let Some(id) = &args.remove {
        text.push_str(&format!("The passkey {id} of {} signs nobody in any more.\n", args.name));
    }
    super::print(&text);
    Ok(())
}

fn passkey_object(passkey: &Passkey) -> serde_json::Value {
    json!({
        "id": passkey.short_id(),
        "name": passkey.name,
        "algorithm": passkey.alg,
        "syncs": passkey.syncs,
        "created": rfc3339(passkey.created),
        "used": passkey.used.map(rfc3339),
    })
}

fn passkey_columns(passkey: &Passkey) -> [String; 4] {
    let used = passkey.used.map_or_else(|| "never used".to_owned(), rfc3339);
    [passkey.short_id(), rfc3339(passkey.created), used, passkey.name.clone()]
}
