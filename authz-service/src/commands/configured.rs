//! Clients that flags, environment and a file name: they are registered when the service starts.

use std::path::Path;

use serde_json::Value;
use shared::files::{is_open_to_others, secret_in};
use shared::oauth::json::parse;
use shared::oauth::register::ClientMetadata;
use shared::secret::Secret;
use shared::store::Store;
use shared::store::journal::JournalStore;
use shared::time::Clock;

use super::client::LOOPBACK_CALLBACKS;
use super::lists;
use crate::cli::ServeArgs;
use crate::protocol::Policy;
use crate::protocol::operator::{self, Wish};
use crate::protocol::upstream::Upstream;

/// A secret that is shorter than this can be guessed by whoever has the store.
const LONG_SECRET: usize = 32;

/// Reads what the command line, the environment and the file describe.
///
/// # Errors
/// In words for the person who started the service.
pub fn read(args: &ServeArgs) -> Result<Vec<Wish>, String> {
    let mut wishes = Vec::new();
    if let Some(id) = &args.client_id {
        let default = || LOOPBACK_CALLBACKS.map(str::to_owned).to_vec();
        let redirect_uris = if args.redirect_uris.is_empty() { default() } else { args.redirect_uris.clone() };
        let metadata = ClientMetadata { redirect_uris, ..ClientMetadata::default() };
        let secret = args.client_secret.clone().map(Secret::new);
        wishes.push(Wish { id: id.clone(), secret, resources: Vec::new(), metadata });
    }
    if let Some(file) = &args.clients {
        wishes.extend(read_file(file).map_err(|why| format!("{}: {why}", file.display()))?);
    }
    Ok(wishes)
}

fn read_file(file: &Path) -> Result<Vec<Wish>, String> {
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    let Value::Array(list) = parse(&bytes).map_err(|error| error.to_string())? else {
        return Err("it is no JSON list of clients".to_owned());
    };
    let read = |(at, value): (usize, Value)| operator::read(value).map_err(|why| format!("client {}: {why}", at + 1));
    let wishes = list.into_iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    if wishes.iter().any(|wish| wish.secret.is_some()) && is_open_to_others(file) {
        return Err("it holds a client_secret, and others may read it: chmod 600".to_owned());
    }
    Ok(wishes)
}

/// Reads the providers that people may sign in with.
///
/// # Errors
/// In words for the person who started the service; never with a secret in them.
pub fn upstreams(args: &ServeArgs) -> Result<Vec<Upstream>, String> {
    let Some(file) = &args.upstreams else { return Ok(Vec::new()) };
    let named = |why: String| format!("{}: {why}", file.display());
    let bytes = std::fs::read(file).map_err(|error| named(error.to_string()))?;
    let Value::Array(list) = parse(&bytes).map_err(|error| named(error.to_string()))? else {
        return Err(named("it is no JSON list of providers".to_owned()));
    };
    let mut upstreams: Vec<Upstream> = Vec::new();
    for (at, value) in list.iter().enumerate() {
        let folder = file.parent().unwrap_or(Path::new(""));
        let read = Upstream::read(value, |name| secret_in(&folder.join(name)));
        let upstream = read.map_err(|why| named(format!("provider {}: {why}", at + 1)))?;
        if upstreams.iter().any(|other| other.name == upstream.name) {
            return Err(named(format!("two providers are called {}", upstream.name)));
        }
        if value.get("client_secret").is_some() && is_open_to_others(file) {
            return Err(named("it holds a client_secret, and others may read it: chmod 600".to_owned()));
        }
        upstreams.push(upstream);
    }
    Ok(upstreams)
}

/// Registers them, or brings what is registered up to date.
///
/// # Errors
/// The first client that cannot be one, or why the store does not take it.
pub fn settle(store: &JournalStore, wishes: &[Wish], policy: &Policy, clock: &dyn Clock) -> Result<(), String> {
    for wish in wishes {
        let named = |why: String| format!("client {}: {why}", lists::visible(wish.id.as_str(), 200));
        let wanted = operator::client(wish, policy, clock.now()).map_err(|why| named(why.to_string()))?;
        if wish.secret.as_ref().is_some_and(|secret| secret.expose().len() < LONG_SECRET) {
            tracing::warn!(client = %wish.id, "the client's secret is short; take 32 random characters or more");
        }
        let mut known = None;
        let mut find = |state: &shared::state::State| {
            known = state.clients().into_iter().find(|known| known.id == wish.id).cloned();
        };
        store.read(&mut find).map_err(|error| error.to_string())?;
        let change = operator::configured(known.as_ref(), wanted).map_err(|why| named(why.to_string()))?;
        if let Some(change) = change {
            lists::commit(store, vec![change]).map_err(named)?;
        }
    }
    Ok(())
}
