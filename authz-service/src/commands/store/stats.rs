//! `authz-service store stats`.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::state::{CodeStage, DeviceStage, FamilyStage, GrantStage, Record, State, UserStage};
use shared::store::journal::inspect::{self, Place};
use shared::time::{Clock, SystemClock, Timestamp};

use super::progress::Progress;
use super::{Answer, ago, size};
use crate::cli::store::Look;

#[derive(Serialize)]
struct Stats {
    #[serde(flatten)]
    place: Place,
    /// How many times its snapshot the journal is; compaction comes at three.
    #[serde(skip_serializing_if = "Option::is_none")]
    growth: Option<f64>,
    records: BTreeMap<&'static str, Count>,
}

/// How many records of a kind there are.
#[derive(Default, Serialize)]
struct Count {
    live: u64,
    /// Over, and forgotten when nothing needs them any more.
    ended: u64,
}

pub(super) fn run(args: &Look) -> Result<Answer, String> {
    let mut progress = Progress::new("Reading");
    let inspected = inspect::read(&args.store.folder(), &mut |done, all| progress.at(done, all));
    let inspected = inspected.map_err(|error| error.to_string())?;
    let now = SystemClock.now();
    let place = inspected.place;
    let growth = (place.snapshot_bytes > 0).then(|| place.journal_bytes as f64 / place.snapshot_bytes as f64);
    let stats = Stats { growth, records: counts(&inspected.state, now), place };
    Ok(Answer::new(text(&stats, now), &stats))
}

fn counts(state: &State, now: Timestamp) -> BTreeMap<&'static str, Count> {
    let mut counts: BTreeMap<_, Count> = BTreeMap::new();
    for record in state.records() {
        let (kind, ended) = kind_and_end(&record, now);
        let count = counts.entry(kind).or_default();
        if ended { count.ended += 1 } else { count.live += 1 }
    }
    counts
}

/// What a record is one of, and whether it is over.
fn kind_and_end(record: &Record<'_>, now: Timestamp) -> (&'static str, bool) {
    match record {
        Record::Client(_) => ("clients", false),
        Record::User(user) => ("users", user.stage != UserStage::Enabled),
        Record::Session(session) => ("sessions", session.expires < now),
        Record::Code(code) => ("codes", code.stage == CodeStage::Redeemed || code.expires < now),
        Record::Grant(grant) => ("grants", grant.stage == GrantStage::Revoked),
        Record::Family(family) => ("refresh_families", family.stage == FamilyStage::Dead || family.expires < now),
        Record::Access(access) => ("access_tokens", access.expires <= now),
        Record::Key(key) => ("keys", key.retires.is_some_and(|at| at <= now)),
        Record::Setup(link) => ("setup_links", link.expires < now),
        Record::Initial(token) => ("registration_tokens", token.expires <= now),
        Record::Assertion(_, expires) => ("client_assertions", *expires <= now),
        Record::Device(device) => (
            "devices",
            device.expires <= now || !matches!(device.stage, DeviceStage::Waiting | DeviceStage::Approved(_)),
        ),
        Record::Pushed(pushed) => ("pushed_requests", pushed.expires < now),
        Record::Tools(_) => ("servers_with_tools", false),
        Record::Issuer(..) => ("issuers", false),
    }
}

fn text(stats: &Stats, now: Timestamp) -> String {
    let place = &stats.place;
    let mut text = format!("{:<18} {:>10} {:>10}\n", "", "live", "ended");
    for (kind, count) in &stats.records {
        text.push_str(&format!("{:<18} {:>10} {:>10}\n", kind.replace('_', " "), count.live, count.ended));
    }
    let growth = stats.growth.map_or(String::new(), |growth| format!(", {growth:.1} times the snapshot"));
    for (name, value) in [
        ("journal", format!("{}{growth}", size(place.journal_bytes))),
        ("snapshot", size(place.snapshot_bytes)),
        ("generation", place.generation.to_string()),
        ("commits", place.commits.to_string()),
        ("last commit", ago(place.last_commit, now)),
        ("format", place.version.clone()),
        ("store", place.store.to_string()),
    ] {
        text.push_str(&format!("{name:<18} {value}\n"));
    }
    text
}
