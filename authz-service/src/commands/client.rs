//! `authz-service client …`: the apps that are known, and the ones that the operator registers.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use shared::date::rfc3339;
use shared::id::ClientId;
use shared::oauth::json::parse;
use shared::oauth::register::ClientMetadata;
use shared::secret::{Secret, random_uuid};
use shared::state::{Change, Client, ClientOrigin, InitialToken};
use shared::store::journal::JournalStore;
use shared::time::{Clock, Seconds, SystemClock};
use shared::uri::{Issuer, Resource};

use super::lists::{self, Line, ListArgs};
use crate::cli::StoreArgs;
use crate::protocol::operator::{self, Wish};
use crate::protocol::{Policy, register};

/// What to do with clients.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Register an app. Prints its client_id, and its secret if it is to have one: this once and never again.
    Add(AddClient),
    /// List the apps: client_id, how it came, how it authenticates, since, last approval, name.
    List(ListArgs),
    /// Show everything that is known of an app, but for secrets.
    Show(OneClient),
    /// Remove an app. Every token that it has is dead at once.
    Remove(OneClient),
    /// Give an app another secret, and print it. The one before counts for 24 hours more.
    RotateSecret(RotateSecret),
    /// Make a token with which apps may register, for a service with --registration token. Prints it this once.
    Token(MakeToken),
    /// Publish a metadata document for an app of yours at /clients/NAME.json. Its URL is the app's client_id at every
    /// authorization server that takes such documents, and here.
    Publish(Publish),
}

/// A new client.
#[derive(Args, Debug)]
pub struct AddClient {
    /// Its client_id [default: one is made].
    #[arg(value_name = "CLIENT_ID")]
    pub id: Option<ClientId>,
    /// What people see.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Where codes may be sent; may be repeated. On loopback any port fits.
    #[arg(long, value_name = "URI", required_unless_present_any = ["file", "resource_server"])]
    pub redirect_uri: Vec<String>,
    /// What it asks for when it names no scope, separated by spaces.
    #[arg(long, value_name = "SCOPES")]
    pub scope: Option<String>,
    /// Give it a secret. Without, it is a public client, as programs on people's machines are.
    #[arg(long)]
    pub confidential: bool,
    /// It is the server of this resource, and may ask whether tokens for it are alive; may be repeated. It gets a secret.
    #[arg(long, value_name = "URL_OR_URN")]
    pub resource_server: Vec<Resource>,
    /// Read its metadata (RFC 7591) from a JSON file instead; "client_id" and "resource" in it count too.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "redirect_uri", "scope", "resource_server"])]
    pub file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// One client.
#[derive(Args, Debug)]
pub struct OneClient {
    /// Which.
    #[arg(value_name = "CLIENT_ID")]
    pub id: ClientId,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Another secret.
#[derive(Args, Debug)]
pub struct RotateSecret {
    /// End the secret before at once: somebody else knows it.
    #[arg(long)]
    pub now: bool,
    /// For which client.
    #[command(flatten)]
    pub one: OneClient,
}

/// A token for registering.
#[derive(Args, Debug)]
pub struct MakeToken {
    /// How many apps may register with it.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub uses: u32,
    /// How long it is good, in hours.
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8760))]
    pub hours: u32,
    /// Whom it is for, for the audit trail.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// A document to publish.
#[derive(Args, Debug)]
pub struct Publish {
    /// The document's name: 1 to 64 letters, digits, '.', '_' and '-'.
    #[arg(value_name = "NAME")]
    pub document: String,
    /// What people see [default: the document's name].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Where codes may be sent; may be repeated [default: /callback of 127.0.0.1 and localhost, any port].
    #[arg(long, value_name = "URI")]
    pub redirect_uri: Vec<String>,
    /// The service's name [default: the one that serves this store].
    #[arg(long, value_name = "URL", env = "MCP_AUTHZ_ISSUER")]
    pub issuer: Option<Issuer>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// The redirect URIs of a program on a person's machine that says nothing else.
pub const LOOPBACK_CALLBACKS: [&str; 2] = ["http://127.0.0.1/callback", "http://localhost/callback"];

/// Runs the command.
///
/// # Errors
/// In words for the person at the terminal.
pub fn run(command: ClientCommand) -> Result<(), String> {
    match command {
        ClientCommand::Add(args) => add(args),
        ClientCommand::List(args) => list(&args),
        ClientCommand::Show(args) => show(&args),
        ClientCommand::Remove(args) => remove(&args),
        ClientCommand::RotateSecret(args) => rotate_secret(&args),
        ClientCommand::Token(args) => token(args),
        ClientCommand::Publish(args) => publish(args),
    }
}

fn add(args: AddClient) -> Result<(), String> {
    let mut wish = match &args.file {
        Some(file) => from_file(file, args.id.as_ref())?,
        None => Wish {
            id: args.id.clone().unwrap_or_else(|| ClientId::generated(random_uuid())),
            secret: None,
            resources: args.resource_server.clone(),
            metadata: ClientMetadata {
                redirect_uris: args.redirect_uri,
                client_name: args.name,
                scope: args.scope,
                ..ClientMetadata::default()
            },
        },
    };
    if (args.confidential || !args.resource_server.is_empty()) && wish.secret.is_none() {
        wish.secret = Some(Secret::random());
    }
    let store = lists::open(&args.store.folder())?;
    let client = operator::client(&wish, &policy(&store)?, SystemClock.now()).map_err(|why| why.to_string())?;
    lists::commit(&store, vec![Change::ClientRegistered(client.clone())])?;
    told(&client, wish.secret.as_ref(), "Added", args.json)
}

fn from_file(file: &PathBuf, id: Option<&ClientId>) -> Result<Wish, String> {
    let named = |why: String| format!("{}: {why}", file.display());
    let bytes = std::fs::read(file).map_err(|error| named(error.to_string()))?;
    let mut value = parse(&bytes).map_err(|error| named(error.to_string()))?;
    if let Some(members) = value.as_object_mut() {
        if let Some(id) = id {
            members.insert("client_id".to_owned(), json!(id));
        }
        members.entry("client_id").or_insert_with(|| json!(ClientId::generated(random_uuid())));
    }
    operator::read(value).map_err(|why| named(why.to_string()))
}

/// What a client is called, and its secret when it was drawn just now.
fn told(client: &Client, secret: Option<&Secret>, done: &str, as_json: bool) -> Result<(), String> {
    if as_json {
        let mut object = json!({ "client_id": client.id });
        if let Some(secret) = secret {
            object["client_secret"] = json!(secret.expose());
        }
        return lists::print_json(&object);
    }
    let mut text = format!("{done} {}.\n", client.id);
    if let Some(secret) = secret {
        text.push_str(&format!("Its secret, which is not shown again:\n{}\n", secret.expose()));
    }
    super::print(&text);
    Ok(())
}

fn list(args: &ListArgs) -> Result<(), String> {
    let store = lists::open(&args.store.folder())?;
    let lines = lists::read(&store, |state| state.clients().into_iter().map(line).collect())?;
    args.print("clients", lines)
}

fn line(client: &Client) -> Line {
    let (since, approved) = (rfc3339(client.issued_at), client.approved_at.map(rfc3339));
    let columns = vec![
        client.id.to_string(),
        origin(client).to_owned(),
        method(client).to_owned(),
        since,
        approved.unwrap_or_else(|| "never".to_owned()),
        client.name.as_ref().map(ToString::to_string).unwrap_or_default(),
    ];
    Line { name: client.id.to_string(), columns, object: object(client) }
}

fn origin(client: &Client) -> &'static str {
    match client.origin {
        ClientOrigin::Dynamic => "self-registered",
        ClientOrigin::Operator => "operator",
        ClientOrigin::MetadataDocument => "document",
        ClientOrigin::Local => "local",
    }
}

fn method(client: &Client) -> &'static str {
    client.auth_method.map_or("client_secret_basic or client_secret_post", |method| method.as_str())
}

/// What is known of a client; never a secret, nor the hash of one.
fn object(client: &Client) -> Value {
    json!({
        "client_id": client.id,
        "origin": origin(client),
        "since": rfc3339(client.issued_at),
        "last_approved": client.approved_at.map(rfc3339),
        "last_used": client.used_at.map(rfc3339),
        "has_secret": client.secret.is_some(),
        "previous_secret_until": client.previous_secret.as_ref().and_then(|secret| secret.expires).map(rfc3339),
        "resource_server": client.resources.iter().collect::<Vec<_>>(),
        "metadata": register::stored(client),
    })
}

fn show(args: &OneClient) -> Result<(), String> {
    let store = lists::open(&args.store.folder())?;
    let object = object(&known(&store, &args.id)?);
    if args.json {
        return lists::print_json(&object);
    }
    let metadata = object["metadata"].as_object().into_iter().flatten();
    let own = object.as_object().into_iter().flatten().filter(|(name, value)| {
        *name != "metadata" && !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty())
    });
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let text: String = own.chain(metadata).map(|(name, value)| lists::columns(&[name.clone(), word(value)])).collect();
    super::print(&text);
    Ok(())
}

fn known(store: &JournalStore, id: &ClientId) -> Result<Client, String> {
    let found = lists::read(store, |state| state.clients().into_iter().find(|client| client.id == *id).cloned())?;
    found.ok_or_else(|| format!("there is no client {}", lists::visible(id.as_str(), 200)))
}

fn remove(args: &OneClient) -> Result<(), String> {
    let store = lists::open(&args.store.folder())?;
    let client = known(&store, &args.id)?;
    lists::commit(&store, vec![Change::ClientRemoved(client.id.clone())])?;
    told(&client, None, "Removed", args.json)
}

fn rotate_secret(args: &RotateSecret) -> Result<(), String> {
    let store = lists::open(&args.one.store.folder())?;
    let client = known(&store, &args.one.id)?;
    let fresh = Secret::random();
    let changed =
        operator::with_secret(&client, &fresh, !args.now, SystemClock.now()).map_err(|why| why.to_string())?;
    lists::commit(&store, vec![Change::ClientUpdated(changed.clone())])?;
    told(&changed, Some(&fresh), "Changed", args.one.json)
}

fn token(args: MakeToken) -> Result<(), String> {
    let store = lists::open(&args.store.folder())?;
    let secret = Secret::random();
    let created = SystemClock.now();
    let expires = created + Seconds(u64::from(args.hours) * 3600);
    let token = InitialToken { hash: secret.hash(), note: args.note, created, expires, uses: args.uses };
    lists::commit(&store, vec![Change::InitialTokenIssued(token)])?;
    if args.json {
        let object = json!({ "token": secret.expose(), "uses": args.uses, "expires": rfc3339(expires) });
        return lists::print_json(&object);
    }
    let times = if args.uses == 1 { "once".to_owned() } else { format!("{} times", args.uses) };
    super::print(&format!("Good {times}, until {}; it is not shown again:\n{}\n", rfc3339(expires), secret.expose()));
    Ok(())
}

fn publish(args: Publish) -> Result<(), String> {
    let store = lists::open(&args.store.folder())?;
    let issuer = match args.issuer {
        Some(issuer) => issuer,
        None => only_issuer(&store)?,
    };
    let id = operator::published_id(&args.document, &issuer).map_err(|why| why.to_string())?;
    let loopback = || LOOPBACK_CALLBACKS.map(str::to_owned).to_vec();
    let redirect_uris = if args.redirect_uri.is_empty() { loopback() } else { args.redirect_uri };
    let client_name = Some(args.name.unwrap_or(args.document));
    let metadata = ClientMetadata { redirect_uris, client_name, ..ClientMetadata::default() };
    let wish = Wish { id, secret: None, resources: Vec::new(), metadata };
    let wanted = operator::client(&wish, &policy(&store)?, SystemClock.now()).map_err(|why| why.to_string())?;
    let before = lists::read(&store, |state| state.clients().into_iter().find(|known| known.id == wish.id).cloned())?;
    let change = operator::configured(before.as_ref(), wanted.clone()).map_err(|why| why.to_string())?;
    lists::commit(&store, change.into_iter().collect())?;
    told(&wanted, None, "Published", args.json)?;
    if !args.json && !wanted.id.as_str().starts_with("https://") {
        super::print("Other servers take https URLs only: this one is for trying out on this machine.\n");
    }
    Ok(())
}

fn only_issuer(store: &JournalStore) -> Result<Issuer, String> {
    match &lists::read(store, shared::state::State::issuers)?[..] {
        [only] => Ok(only.clone()),
        [] => Err("no service has served this store yet; name it with --issuer".to_owned()),
        several => {
            let names: Vec<_> = several.iter().map(Issuer::as_str).collect();
            Err(format!("several services serve this store; choose with --issuer: {}", names.join(", ")))
        }
    }
}

/// The rules that clients are held to. The issuer plays no part in them.
fn policy(store: &JournalStore) -> Result<Policy, String> {
    let issuer = lists::read(store, shared::state::State::issuers)?.into_iter().next();
    let issuer = issuer.map_or_else(|| "http://localhost".parse(), Ok).map_err(|error| error.to_string())?;
    Policy::new(issuer).map_err(|error| error.to_string())
}
