//! `authz-service audit …`: who did what and when, from the journal's chain. Takes no lock; works beside a running
//! service.

use std::collections::VecDeque;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use shared::date::rfc3339;
use shared::store::journal::{Audited, Verified, audit};

use super::lists;
use crate::cli::StoreArgs;

/// What to do with the audit trail.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Print the last events: commit, time, event, person, client, grant, detail; "-" where there is none.
    Tail(TailArgs),
    /// Check the chain from the last compaction to the end: that no line was changed, lost, doubled or moved.
    Verify(VerifyArgs),
    /// Print every event since the last compaction as JSON, one line each, oldest first.
    Export(StoreArgs),
}

/// How much of it.
#[derive(Args, Debug)]
pub struct TailArgs {
    /// Print at most this many.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub limit: u16,
    /// Print JSON: an object with the events, oldest first.
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// For whom.
#[derive(Args, Debug)]
pub struct VerifyArgs {
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
/// In words for the person at the terminal; a broken chain with its file and line.
pub fn run(command: AuditCommand) -> Result<(), String> {
    match command {
        AuditCommand::Tail(args) => tail(&args),
        AuditCommand::Verify(args) => verify(&args),
        AuditCommand::Export(store) => export(&store),
    }
}

fn walk(store: &StoreArgs, visit: &mut dyn FnMut(Audited)) -> Result<Verified, String> {
    audit(&store.folder(), visit).map_err(|error| error.to_string())
}

fn export(store: &StoreArgs) -> Result<(), String> {
    let print = |audited: &Audited| super::print(&format!("{}\n", lists::escaped_json(&object(audited).to_string())));
    walk(store, &mut |audited| print(&audited)).map(drop)
}

fn tail(args: &TailArgs) -> Result<(), String> {
    let most = usize::from(args.limit);
    let mut last = VecDeque::with_capacity(most);
    walk(&args.store, &mut |audited| {
        if last.len() == most {
            last.pop_front();
        }
        last.push_back(audited);
    })?;
    if args.json {
        return lists::print_json(&json!({ "events": last.iter().map(object).collect::<Vec<_>>() }));
    }
    super::print(&last.iter().map(line).collect::<String>());
    Ok(())
}

fn verify(args: &VerifyArgs) -> Result<(), String> {
    let mut events = 0_u64;
    let found = walk(&args.store, &mut |_| events += 1)?;
    if args.json {
        return lists::print_json(&json!({
            "whole": true,
            "store": found.store,
            "generation": found.generation,
            "first_commit": found.first,
            "last_commit": found.last,
            "last_at": rfc3339(found.latest),
            "events": events,
            "unfinished": found.unfinished,
        }));
    }
    let commits = (found.last + 1).saturating_sub(found.first);
    super::print(&format!(
        "The chain is whole: {events} events in {commits} commits, {} to {}, the last at {}.\n",
        found.first,
        found.last,
        rfc3339(found.latest),
    ));
    if found.unfinished {
        super::print("A batch that is not whole follows: a commit under way, or what a crash left of one.\n");
    }
    Ok(())
}

/// An event for programs. JSON escapes control characters by itself.
pub fn object(audited: &Audited) -> Value {
    let mut object = json!({ "commit": audited.commit, "at": rfc3339(audited.at) });
    if let (Value::Object(object), Ok(Value::Object(event))) = (&mut object, serde_json::to_value(&audited.event)) {
        object.extend(event);
    }
    object
}

fn line(audited: &Audited) -> String {
    let event = &audited.event;
    let or_dash = |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned());
    lists::columns(&[
        audited.commit.to_string(),
        rfc3339(audited.at),
        event.what.to_owned(),
        or_dash(event.user.as_ref().map(ToString::to_string)),
        or_dash(event.client.as_ref().map(ToString::to_string)),
        or_dash(event.grant.as_ref().map(ToString::to_string)),
        or_dash(event.detail.clone()),
    ])
}
