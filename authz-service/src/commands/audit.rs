//! `authz-service audit …`: who did what and when, from the journal's chain, and who called which tool, from that of the
//! calls. Takes no lock; works beside a running service.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use shared::date::rfc3339;
use shared::store::StoreError;
use shared::store::calls::{Head, Reader, Recorded, Standing, Whole, whole};
use shared::store::journal::{Audited, History, Verified, audit};

use super::{calls, lists};
use crate::cli::StoreArgs;

/// How often a command that follows looks.
const LOOK: Duration = Duration::from_millis(250);

/// What to do with the audit trail.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Print the last events: commit, time, event, person, client, grant, detail; "-" where there is none. With --calls,
    /// the last tool calls: line, time, decision, server, tool, person, client, grant, cause, outcome.
    Tail(TailArgs),
    /// Check both chains, from the last compaction and from the oldest file of calls to the end: that no line was changed,
    /// lost, doubled or moved. The head of the calls, kept elsewhere, shows with --expect later that none was cut off.
    Verify(VerifyArgs),
    /// Print every event since the last compaction, or every call that is kept, as JSON, one line each, oldest first.
    Export(ExportArgs),
}

/// How much of it.
#[derive(Args, Debug)]
pub struct TailArgs {
    /// Print at most this many.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub limit: u16,
    /// Print tool calls instead: of each server that runs with this store.
    #[arg(long)]
    pub calls: bool,
    /// Go on printing what comes, until interrupted.
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// Print JSON: an object with the events, oldest first; with --follow, one line each.
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// How much, and for whom.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Check the calls alone.
    #[arg(long)]
    pub calls: bool,
    /// Compare the calls with a head that was printed before and kept elsewhere: their end may have been cut off.
    #[arg(long, value_name = "HEAD")]
    pub expect: Option<Head>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Of which trail.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Print tool calls instead.
    #[arg(long)]
    pub calls: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Runs the command.
///
/// # Errors
/// In words for the person at the terminal; a broken chain with its file and line.
pub fn run(command: AuditCommand) -> Result<(), String> {
    let done = match command {
        AuditCommand::Tail(args) if args.calls => tail_of_calls(&args),
        AuditCommand::Tail(args) => tail(&args),
        AuditCommand::Verify(args) => verify(&args),
        AuditCommand::Export(args) => export(&args),
    };
    match done {
        // Whoever reads what we print has enough.
        Err(Stopped::Reader) | Ok(()) => Ok(()),
        Err(Stopped::Store(error)) => Err(error.to_string()),
        Err(Stopped::Words(words)) => Err(words),
    }
}

/// Why a command ended early.
enum Stopped {
    Reader,
    Store(StoreError),
    Words(String),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// One line of either trail: for a person, and for a program.
pub struct Shown {
    /// For a person.
    pub line: String,
    /// For a program.
    pub object: Value,
}

fn put(text: &str) -> Result<(), Stopped> {
    if super::put(text) { Ok(()) } else { Err(Stopped::Reader) }
}

fn put_json(object: &Value) -> Result<(), Stopped> {
    put(&format!("{}\n", lists::escaped_json(&object.to_string())))
}

/// The last lines of what `walk` hands out.
fn last_of(
    most: u16,
    walk: impl FnOnce(&mut dyn FnMut(Shown)) -> Result<(), StoreError>,
) -> Result<Vec<Shown>, StoreError> {
    let most = usize::from(most);
    let mut last = VecDeque::with_capacity(most);
    walk(&mut |shown| {
        if last.len() == most {
            last.pop_front();
        }
        last.push_back(shown);
    })?;
    Ok(last.into())
}

fn show(args: &TailArgs, shown: &[Shown]) -> Result<(), Stopped> {
    if args.json && !args.follow {
        let objects: Vec<_> = shown.iter().map(|shown| &shown.object).collect();
        return lists::print_json(&json!({ "events": objects })).map_err(Stopped::Words);
    }
    shown.iter().try_for_each(|shown| if args.json { put_json(&shown.object) } else { put(&shown.line) })
}

/// Prints what comes, for as long as somebody reads it.
fn follow(
    args: &TailArgs,
    mut advance: impl FnMut(&mut dyn FnMut(Shown)) -> Result<(), StoreError>,
) -> Result<(), Stopped> {
    if !args.follow {
        return Ok(());
    }
    loop {
        thread::sleep(LOOK);
        let mut come = Vec::new();
        advance(&mut |shown| come.push(shown))?;
        show(args, &come)?;
        // Nobody tells us that nobody reads any more, unless we write.
        put("")?;
    }
}

fn tail(args: &TailArgs) -> Result<(), Stopped> {
    let mut history = History::open(&args.store.folder())?;
    let mut advance = |visit: &mut dyn FnMut(Shown)| history.advance(&mut |audited| visit(event(&audited))).map(drop);
    show(args, &last_of(args.limit, &mut advance)?)?;
    follow(args, advance)
}

fn tail_of_calls(args: &TailArgs) -> Result<(), Stopped> {
    let folder = args.store.folder();
    // There may be none yet, and there may be one soon.
    History::open(&folder)?;
    let near = u64::from(args.limit) * calls::LONG;
    let mut reader = Reader::near_the_end(&folder, near)?;
    let mut advance = |visit: &mut dyn FnMut(Shown)| {
        if reader.is_none() {
            reader = Reader::oldest(&folder)?;
        }
        let mut visit = |recorded: Recorded| visit(calls::shown(&recorded));
        reader.as_mut().map_or(Ok(false), |reader| reader.advance(&mut visit)).map(drop)
    };
    show(args, &last_of(args.limit, &mut advance)?)?;
    follow(args, advance)
}

fn export(args: &ExportArgs) -> Result<(), Stopped> {
    let folder = args.store.folder();
    let mut stopped = Ok(());
    let mut put = |object: &Value| {
        if stopped.is_ok() {
            stopped = put_json(object);
        }
    };
    if args.calls {
        History::open(&folder)?;
        whole(&folder, None, &mut |recorded| put(&calls::shown(&recorded).object))?;
    } else {
        audit(&folder, &mut |audited| put(&object(&audited)))?;
    }
    stopped
}

fn verify(args: &VerifyArgs) -> Result<(), Stopped> {
    let (folder, mut events, mut lines) = (args.store.folder(), 0_u64, 0_u64);
    let found = if args.calls { None } else { Some(audit(&folder, &mut |_| events += 1)?) };
    let calls = whole(&folder, args.expect, &mut |_| lines += 1)?;
    if let Some(kept) = args.expect {
        compared(kept, calls.as_ref())?;
    }
    if args.json {
        let calls = calls.map(|calls| of_calls(&calls, lines));
        let mut object = json!({ "whole": true, "calls": calls });
        if let (Some(found), Value::Object(object)) = (&found, &mut object) {
            object.extend(of_events(found, events));
        }
        return lists::print_json(&object).map_err(Stopped::Words);
    }
    if let Some(found) = &found {
        let commits = (found.last + 1).saturating_sub(found.first);
        let (first, last, at) = (found.first, found.last, rfc3339(found.latest));
        put(&format!(
            "The chain is whole: {events} events in {commits} commits, {first} to {last}, the last at {at}.\n"
        ))?;
    }
    match &calls {
        Some(calls) => {
            let files = if calls.files == 1 { "1 file".to_owned() } else { format!("{} files", calls.files) };
            put(&format!("The calls' chain is whole: {lines} lines in {files}, {} to {}.\n", calls.first, calls.last))?;
        }
        None if args.calls => put("No calls are written down.\n")?,
        None => {}
    }
    if let Some(head) = calls.and_then(|calls| calls.head) {
        let held = if args.expect.is_some() { "It goes on from the head that was kept. " } else { "" };
        put(&format!("{held}Its head, to be kept elsewhere: {head}\n"))?;
    }
    if found.is_some_and(|found| found.unfinished) || calls.is_some_and(|calls| calls.unfinished) {
        put("A batch that is not whole follows: a commit under way, or what a crash left of one.\n")?;
    }
    Ok(())
}

fn of_calls(calls: &Whole, lines: u64) -> Value {
    json!({
        "first_line": calls.first,
        "last_line": calls.last,
        "lines": lines,
        "files": calls.files,
        "unfinished": calls.unfinished,
        "head": calls.head.map(|head| head.to_string()),
    })
}

fn of_events(found: &Verified, events: u64) -> Map<String, Value> {
    let Value::Object(object) = json!({
        "store": found.store,
        "generation": found.generation,
        "first_commit": found.first,
        "last_commit": found.last,
        "last_at": rfc3339(found.latest),
        "events": events,
        "unfinished": found.unfinished,
    }) else {
        return Map::new();
    };
    object
}

/// Says what is wrong when the trail does not go on from a head that was kept.
fn compared(kept: Head, calls: Option<&Whole>) -> Result<(), Stopped> {
    let line = kept.line;
    let Some(calls) = calls else {
        return Err(Stopped::Words(format!(
            "no calls are written down, and there was a line {line}: they were removed"
        )));
    };
    let words = match calls.kept {
        Some(Standing::Holds) | None => return Ok(()),
        Some(Standing::Differs) => {
            format!("line {line} of the calls is another one than was kept: it, or one before it, was written anew")
        }
        Some(Standing::Ends) => format!(
            "the calls end with line {}, and there was a line {line}: the end was cut off, or an older copy put back",
            calls.last
        ),
        Some(Standing::Gone) => format!(
            "line {line} of the calls is gone with its file, as old ones go; the oldest is {}: compare with a later head",
            calls.first
        ),
    };
    Err(Stopped::Words(words))
}

fn event(audited: &Audited) -> Shown {
    Shown { line: line(audited), object: object(audited) }
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
