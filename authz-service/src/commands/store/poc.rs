//! `authz-service store import --from mcp-auth-poc DIR`: the clients of an `.mcp-auth-storage` folder.
//!
//! Its files hold lists of `[key, record]`. Its clients are registered here as they were there: same name, same secret
//! (kept as SHA-256 from now on). Its codes and tokens are not taken: they were given out without asking anybody, for no
//! resource in particular, and lay in files that others could read; they live for an hour, and whoever had one logs in.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::id::{ClientId, ClientKind};
use shared::oauth::register::ClientMetadata;
use shared::secret::Secret;
use shared::state::{Change, Client, ClientOrigin, ClientSecret, State};
use shared::store::journal::JournalStore;
use shared::store::journal::inspect;
use shared::store::{CommitError, Store, StoreError};
use shared::time::{Clock, SystemClock, Timestamp};

use super::Answer;
use crate::cli::store::Import;
use crate::protocol::Policy;
use crate::protocol::register;

/// How many clients share a commit: its line stays below what a line may have, however long their addresses are.
const CLIENTS: usize = 250;

/// The largest file that is read: that program keeps all of it in memory too.
const LARGEST: u64 = 256 << 20;

/// A secret that is shorter could be guessed from its SHA-256. That program's have 43 characters.
const SHORTEST_SECRET: usize = 32;

/// What of the folder comes over.
#[derive(Debug, Default, Serialize)]
struct Plan {
    #[serde(serialize_with = "count")]
    clients: Vec<Client>,
    /// Those that are here already, as after an import that was interrupted.
    known: usize,
    skipped: Vec<Skipped>,
    /// How many codes and tokens are left behind.
    tokens_not_taken: usize,
}

/// A client that does not come over.
#[derive(Debug, Serialize)]
struct Skipped {
    client_id: String,
    why: String,
}

/// A client as that program keeps it: what it answered to the registration.
#[derive(Deserialize)]
struct Kept {
    client_secret: Option<Secret>,
    #[serde(flatten)]
    metadata: ClientMetadata,
}

fn count<S: serde::Serializer>(clients: &[Client], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(clients.len() as u64)
}

pub(super) fn run(args: &Import) -> Result<Answer, String> {
    let read = |name: &str| read_list(&args.source.join(name));
    let clients = read("clients.json")?.ok_or_else(|| format!("no clients.json in {}", args.source.display()))?;
    let mut tokens_not_taken = 0;
    for name in ["codes.json", "tokens.json"] {
        tokens_not_taken += read(name)?.map_or(0, |list| list.len());
    }
    let mut plan = Plan { tokens_not_taken, ..plan(clients, SystemClock.now()) };
    let folder = args.store.folder();
    if args.dry_run {
        // Without making a store, or a file in one.
        match inspect::read(&folder, &mut |_, _| {}) {
            Ok(inspected) => plan.leave_out_known(&inspected.state),
            Err(StoreError::Absent(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
    } else {
        let store = JournalStore::open(&folder, Arc::new(SystemClock)).map_err(|error| error.to_string())?;
        store.read(&mut |state| plan.leave_out_known(state)).map_err(|error| error.to_string())?;
        commit(&store, &plan.clients)?;
    }
    Ok(Answer::new(text(&plan, args.dry_run), &plan))
}

fn read_list(path: &Path) -> Result<Option<Vec<(String, Value)>>, String> {
    let failed = |reason: &dyn std::fmt::Display| format!("cannot read {}: {reason}", path.display());
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error)),
        Ok(metadata) if !metadata.is_file() => return Err(failed(&"it is not a file")),
        Ok(metadata) if metadata.len() > LARGEST => return Err(failed(&"it is larger than 256 MiB")),
        Ok(_) => {}
    }
    let text = fs::read(path).map_err(|error| failed(&error))?;
    // The text holds secrets: where it is wrong is said, and not what stands there.
    let place =
        |error: serde_json::Error| format!("not a list of pairs at line {} column {}", error.line(), error.column());
    serde_json::from_slice(&text).map(Some).map_err(|error| failed(&place(error)))
}

/// Decides on each client. Those that come over count as registered now: they are forgotten like others when nobody says
/// yes to them within thirty days.
fn plan(clients: Vec<(String, Value)>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    for (client_id, kept) in clients {
        match client(&client_id, kept, now) {
            Ok(client) if plan.clients.iter().any(|other| other.id == client.id) => {
                plan.skipped.push(Skipped { client_id, why: "it stands there twice".to_owned() });
            }
            Ok(client) => plan.clients.push(client),
            Err(why) => plan.skipped.push(Skipped { client_id, why }),
        }
    }
    plan
}

fn client(client_id: &str, kept: Value, now: Timestamp) -> Result<Client, String> {
    let id: ClientId = client_id.parse().map_err(|error| format!("{error}"))?;
    if id.kind() != ClientKind::Registered {
        return Err("its client_id is a URL: that is a metadata document here".to_owned());
    }
    if kept.get("client_id").and_then(Value::as_str) != Some(client_id) {
        return Err("its record is of another client_id".to_owned());
    }
    let kept: Kept = serde_json::from_value(kept).map_err(|_| "its record cannot be read".to_owned())?;
    let secret = kept.client_secret.filter(|secret| secret.expose().len() >= SHORTEST_SECRET);
    let secret = secret.ok_or("it has no secret of at least 32 characters; it has to register anew")?;
    let issuer = "http://localhost".parse().map_err(|error| format!("{error}"))?;
    let policy = Policy::new(issuer).map_err(|error| error.to_string())?;
    let client = register::client(&kept.metadata, id, ClientOrigin::Dynamic, &policy, now);
    let secret = Some(Box::new(ClientSecret { hash: secret.hash(), expires: None }));
    Ok(Client { secret, ..client.map_err(|refusal| refusal.to_string())? })
}

impl Plan {
    fn leave_out_known(&mut self, state: &State) {
        let here: std::collections::HashSet<_> = state.clients().iter().map(|client| client.id.clone()).collect();
        let before = self.clients.len();
        self.clients.retain(|client| !here.contains(&client.id));
        self.known = before - self.clients.len();
    }
}

fn commit(store: &JournalStore, clients: &[Client]) -> Result<(), String> {
    for (at, some) in clients.chunks(CLIENTS).enumerate() {
        let changes = some.iter().cloned().map(Change::ClientRegistered).collect();
        store.commit_blocking(changes).map_err(|error| {
            let reason = match error {
                CommitError::Unavailable(error) => error.to_string(),
                CommitError::Conflict(conflict) => conflict.to_string(),
            };
            format!("{} clients were imported, then: {reason}. Run it again for the others", at * CLIENTS)
        })?;
    }
    Ok(())
}

fn text(plan: &Plan, dry_run: bool) -> String {
    let done = if dry_run { "Would import" } else { "Imported" };
    let mut text = format!("{done} {} clients; {} were here already.\n", plan.clients.len(), plan.known);
    for skipped in &plan.skipped {
        text.push_str(&format!("Not {}: {}.\n", skipped.client_id, skipped.why));
    }
    text.push_str(&format!(
        "{} codes and tokens were left behind: nobody was asked before they were given out. Whoever had one logs in.\n\
         The old files hold secrets in clear: delete them when you no longer need them.\n",
        plan.tokens_not_taken
    ));
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SECRET: &str = "secret_6b0de4a5-6f43-4d06-8f62-0a3c1f3a7a11";

    fn kept(id: &str) -> Value {
        json!({
            "client_id": id, "client_secret": SECRET, "client_id_issued_at": 1_763_500_000,
            "client_secret_expires_at": 0, "client_name": "MCP Demo Client",
            "redirect_uris": ["http://localhost:3001/callback"], "grant_types": ["authorization_code"]
        })
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Value), why: &str) {
        let mut record = kept("client_1");
        change(&mut record);
        let plan = plan(vec![("client_1".to_owned(), record)], Timestamp(7));
        let said = plan.skipped.first().map_or("", |skipped| skipped.why.as_str());
        assert!(plan.clients.len() + plan.skipped.len() == 1 && said.contains(why), "{said}");
        assert!(!said.contains(SECRET));
        assert_eq!(plan.clients.len(), usize::from(why.is_empty()), "{said}");
    }

    #[test]
    fn a_client_comes_over_with_its_name_its_secret_as_a_hash_and_by_our_rules() {
        check(|_| {}, "");
        check(|kept| kept["client_secret"] = json!("short"), "register anew");
        check(|kept| kept["client_secret"] = json!(null), "register anew");
        check(|kept| kept["client_id"] = json!("client_2"), "another client_id");
        check(|kept| kept["redirect_uris"] = json!(["http://evil.example/cb"]), "use https");
        check(|kept| kept["redirect_uris"] = json!([]), "redirect_uris");
        check(|kept| kept["grant_types"] = json!(["password"]), "grant_types");
        check(|kept| kept["client_name"] = json!(5), "cannot be read");
        check(|kept| *kept = json!("junk"), "another client_id");
        let record = vec![("client_1".to_owned(), kept("client_1"))];
        let client = plan(record, Timestamp(7)).clients.remove(0);
        let secret = client.secret.as_ref().unwrap();
        assert_eq!((client.id.as_str(), secret.hash), ("client_1", Secret::new(SECRET.to_owned()).hash()));
        assert_eq!((client.issued_at, client.auth_method), (Timestamp(7), None));
    }

    #[test]
    fn a_client_id_that_is_none_or_stands_twice_is_left_out() {
        let list = ["client_1", "client_1", "https://app.example/c.json", "a b", ""];
        let plan = plan(list.map(|id| (id.to_owned(), kept(id))).to_vec(), Timestamp(7));
        assert_eq!((plan.clients.len(), plan.skipped.len()), (1, 4));
    }
}
