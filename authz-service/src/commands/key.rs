//! `authz-service key …`, and the same by the clock: signing keys come, sign, and go.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Data;
use serde_json::json;
use shared::state::PublicKey;
use shared::store::journal::JournalStore;
use shared::store::{Store, StoreError};
use shared::time::{Clock, Seconds, SystemClock, Timestamp};
use shared::token::SignerInfo;

use super::lists;
use crate::cli::KeyCommand;
use crate::http::app::App;
use crate::protocol::policy::KEY_AHEAD;

/// How often a running service looks whether its keys are still those of the store.
const LOOK: Duration = Duration::from_secs(1);

/// Runs the command.
///
/// # Errors
/// In words for the person at the terminal.
pub fn run(command: &KeyCommand) -> Result<(), String> {
    let list = match command {
        KeyCommand::List(list) => list,
        KeyCommand::Rotate(rotate) => &rotate.list,
    };
    let store = lists::open(&list.store.folder())?;
    let keys = match command {
        KeyCommand::List(_) => store.read_keys(),
        KeyCommand::Rotate(rotate) => {
            let ahead = if rotate.now { Seconds(0) } else { KEY_AHEAD };
            store.keys().and_then(|_| store.rotate_keys(ahead, None)).map(|(keys, _)| Some(keys))
        }
    };
    let signing = keys.map_err(|error| error.to_string())?.map(|keys| keys.signing()).unwrap_or_default();
    let mut public = Vec::new();
    store.read(&mut |state| public = state.keys()).map_err(|error| error.to_string())?;
    let now = SystemClock.now();
    let from = |key: &PublicKey| {
        let known = signing.iter().find(|one| one.kid == key.id);
        known.map(|one| one.signs_from.max(one.created))
    };
    public.sort_by_key(|key| (key.published, from(key)));
    if list.json {
        let row = |key: &PublicKey| {
            json!({
                "kid": key.id.0, "alg": key.alg, "stage": stage(key, &signing, now),
                "published": key.published.rfc3339(), "signs_from": from(key).map(Timestamp::rfc3339),
                "retires": key.retires.map(Timestamp::rfc3339),
            })
        };
        return lists::print_json(&json!({ "keys": public.iter().map(row).collect::<Vec<_>>() }));
    }
    let row = |key: &PublicKey| {
        let until = key.retires.map_or(String::new(), |at| format!(", forgotten {}", at.rfc3339()));
        let from =
            from(key).filter(|at| *at > now).map_or(String::new(), |at| format!(", signs from {}", at.rfc3339()));
        let published = key.published.rfc3339();
        format!("{}\t{}\t{}\tpublished {published}{from}{until}\n", key.id.0, key.alg, stage(key, &signing, now))
    };
    super::print(&public.iter().map(row).collect::<String>());
    Ok(())
}

/// Where a key stands.
fn stage(key: &PublicKey, signing: &[SignerInfo], now: Timestamp) -> &'static str {
    let current = signing.iter().rfind(|one| one.signs_from <= now).or(signing.first());
    match signing.iter().find(|one| one.kid == key.id) {
        Some(one) if Some(one) == current => "signs",
        Some(one) if one.signs_from > now => "waits",
        _ => "verifies",
    }
}

/// Keeps a running service's keys those of the store, and makes a new one when the newest is old enough.
///
/// # Errors
/// When the system gives no thread.
pub fn keep(app: Data<App>, store: Arc<JournalStore>) -> Result<(), String> {
    let changed = store.changed();
    let mut seen = None;
    let mut ailing = false;
    let watch = move || {
        loop {
            std::thread::sleep(LOOK);
            let count = *changed.borrow();
            // Whoever rotates commits the public key; and once in a while the clock alone makes it time.
            if seen == Some(count) && !app.now().0.is_multiple_of(60) {
                continue;
            }
            seen = Some(count);
            match look(&app, &store) {
                Ok(()) => ailing = false,
                Err(error) if !ailing => {
                    ailing = true;
                    tracing::warn!(%error, "the signing keys cannot be looked after; those in memory stay in use");
                }
                Err(_) => {}
            }
        }
    };
    std::thread::Builder::new().name("keys".into()).spawn(watch).map(drop).map_err(|error| error.to_string())
}

fn look(app: &App, store: &JournalStore) -> Result<(), StoreError> {
    let Some(mut keys) = store.read_keys()? else { return Ok(()) };
    let (now, lifetime, signing) = (app.now(), app.policy.lifetimes.key, keys.signing());
    let is_due = signing.last().is_none_or(|newest| newest.created + lifetime <= now);
    if is_due || signing.get(1).is_some_and(|next| next.signs_from <= now) {
        let (rotated, is_new) = store.rotate_keys(KEY_AHEAD, Some(lifetime))?;
        keys = rotated;
        if is_new {
            tracing::info!("a new signing key was made and published; it signs in an hour");
        }
    }
    if app.keys.adopt(&keys) {
        let names: Vec<_> = keys.signing().into_iter().map(|key| key.kid.0).collect();
        tracing::info!(keys = names.join(" "), "the signing keys are new");
    }
    Ok(())
}
