//! `authz-service user …`: the accounts of people who can sign in.

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use shared::secret::Secret;
use shared::state::{Change, User, UserStage};
use shared::store::journal::JournalStore;
use shared::store::{CommitError, Store};
use shared::time::{Clock, SystemClock};

use crate::cli::{AddUser, UserCommand};
use crate::http::password;
use crate::protocol::setup;

/// Runs the command.
///
/// # Errors
/// In words for the person at the terminal.
pub fn run(command: UserCommand) -> Result<(), String> {
    match command {
        UserCommand::Add(add) => add_user(add),
        UserCommand::List(store) => list(&store.folder()),
    }
}

fn add_user(add: AddUser) -> Result<(), String> {
    let password = read_password()?;
    setup::chosen(Some(add.name.as_str()), password.expose()).map_err(|refusal| refusal.to_string())?;
    let hash = password::hash(&password)?;
    let store = open(&add.store.folder())?;
    let user = User {
        name: add.name.clone(),
        password: Some(hash),
        admin: add.admin,
        created: SystemClock.now(),
        stage: UserStage::Enabled,
    };
    match store.commit_blocking(vec![Change::UserCreated(user)]) {
        Ok(()) => {
            super::print(&format!("Added {}.\n", add.name));
            Ok(())
        }
        Err(CommitError::Conflict(_)) => Err(format!("there is an account called {} already", add.name)),
        Err(CommitError::Unavailable(error)) => Err(error.to_string()),
    }
}

fn read_password() -> Result<Secret, String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|error| format!("cannot read the password: {error}"))?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(Secret::new(line))
}

fn list(folder: &Path) -> Result<(), String> {
    let mut text = String::new();
    open(folder)?
        .read(&mut |state| {
            for user in state.users() {
                let role = if user.admin { "admin" } else { "user" };
                let login = if user.password.is_some() { "password" } else { "no password" };
                let stage = match user.stage {
                    UserStage::Enabled => "enabled",
                    UserStage::Disabled => "disabled",
                    UserStage::Removed => "removed",
                };
                text.push_str(&format!("{}\t{role}\t{stage}\t{login}\n", user.name));
            }
        })
        .map_err(|error| error.to_string())?;
    super::print(&text);
    Ok(())
}

fn open(folder: &Path) -> Result<JournalStore, String> {
    JournalStore::open(folder, Arc::new(SystemClock)).map_err(|error| error.to_string())
}
