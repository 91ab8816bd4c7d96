//! `authz-service grant …`: which app may act for whom, and how to end it.

use clap::{Args, Subcommand};
use serde_json::json;
use shared::date::rfc3339;
use shared::id::{ClientId, GrantId, UserName};
use shared::state::{Change, LiveGrant, RevocationCause, State};
use shared::time::{Clock, SystemClock};

use super::lists::{self, Line, ListArgs};
use crate::cli::StoreArgs;
use crate::protocol::account::only_tools;

/// What to do with grants.
#[derive(Debug, Subcommand)]
pub enum GrantCommand {
    /// List the grants that open something: grant, person, client, resource, scopes, since, last use, tools.
    List(ListGrants),
    /// Revoke grants. Every token of theirs is dead at once, also in servers that are running.
    Revoke(RevokeGrants),
}

/// Which grants.
#[derive(Args, Debug)]
pub struct ListGrants {
    /// Of this person only.
    #[arg(long, value_name = "NAME")]
    pub user: Option<UserName>,
    /// Of this client only.
    #[arg(long, value_name = "CLIENT_ID")]
    pub client: Option<ClientId>,
    /// Which part of the list.
    #[command(flatten)]
    pub list: ListArgs,
}

/// Which grants end.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
pub struct RevokeGrants {
    /// This grant, as `grant list` names it.
    #[arg(value_name = "GRANT", group = "which", conflicts_with_all = ["user", "client", "all"])]
    pub grant: Option<GrantId>,
    /// Everything that this person gave; with --client, to that client.
    #[arg(long, value_name = "NAME", group = "which")]
    pub user: Option<UserName>,
    /// Everything that was given to this client; with --user, by that person.
    #[arg(long, value_name = "CLIENT_ID", group = "which")]
    pub client: Option<ClientId>,
    /// Everything that anybody gave to anything.
    #[arg(long, group = "which", conflicts_with_all = ["user", "client"])]
    pub all: bool,
    /// Print JSON: the grants that were revoked.
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
pub fn run(command: GrantCommand) -> Result<(), String> {
    match command {
        GrantCommand::List(args) => list(&args),
        GrantCommand::Revoke(args) => revoke(&args),
    }
}

fn list(args: &ListGrants) -> Result<(), String> {
    let store = lists::open(&args.list.store.folder())?;
    let wanted = |live: &LiveGrant<'_>| args.client.as_ref().is_none_or(|client| live.grant.client == *client);
    let now = SystemClock.now();
    let lines = lists::read(&store, |state| {
        let live = state.live_grants(args.user.as_ref(), now);
        live.iter().filter(|live| wanted(live)).map(|live| line(state, live)).collect()
    })?;
    args.list.print("grants", lines)
}

fn line(state: &State, live: &LiveGrant<'_>) -> Line {
    let grant = live.grant;
    let opened: Vec<&str> = state.tools_opened_by(grant).map(|tool| tool.name.as_str()).collect();
    let (since, used) = (rfc3339(grant.created), rfc3339(live.used));
    let object = json!({
        "grant": grant.id,
        "user": grant.user,
        "client_id": grant.client,
        "client_name": live.client.name,
        "resource": grant.resource,
        "scopes": grant.scopes,
        "tools": only_tools(grant),
        "opens": opened,
        "since": since,
        "last_used": used,
        "ends": live.expires.map(rfc3339),
    });
    let user = grant.user.as_ref().map(ToString::to_string).unwrap_or_default();
    let (client, scopes) = (grant.client.to_string(), grant.scopes.to_string());
    let columns =
        vec![grant.id.to_string(), user, client, grant.resource.to_string(), scopes, since, used, opened.join(" ")];
    Line { name: grant.id.to_string(), columns, object }
}

fn revoke(args: &RevokeGrants) -> Result<(), String> {
    let store = lists::open(&args.store.folder())?;
    let now = SystemClock.now();
    let wanted = |live: &LiveGrant<'_>| {
        args.grant.is_none_or(|grant| live.grant.id == grant)
            && args.client.as_ref().is_none_or(|client| live.grant.client == *client)
    };
    let grants: Vec<GrantId> = lists::read(&store, |state| {
        let live = state.live_grants(args.user.as_ref(), now);
        live.iter().filter(|live| wanted(live)).map(|live| live.grant.id).collect()
    })?;
    if let (Some(grant), true) = (args.grant, grants.is_empty()) {
        return Err(format!("there is no grant {grant} that opens anything"));
    }
    let cause = RevocationCause::Operator;
    // A line of the journal has a limit; each of these is whole by itself.
    for some in grants.chunks(1000) {
        lists::commit(&store, some.iter().map(|grant| Change::GrantRevoked { grant: *grant, cause }).collect())?;
    }
    if args.json {
        return lists::print_json(&json!({ "revoked": grants }));
    }
    super::print(&format!("Revoked {} grant{}.\n", grants.len(), if grants.len() == 1 { "" } else { "s" }));
    Ok(())
}
