//! A line of the trail of calls: for a person, and for a program.

use serde_json::{Value, json};
use shared::date::rfc3339;
use shared::store::calls::{Bearer, Call, End, Entry, Recorded};

use super::audit::Shown;
use super::lists;

/// More bytes than most lines have.
pub const LONG: u64 = 1024;

/// A line of the trail.
pub fn shown(recorded: &Recorded) -> Shown {
    let what = what(recorded.entry.as_ref());
    let mut object = json!({ "line": recorded.number, "at": rfc3339(recorded.at), "what": what });
    let details = match &recorded.entry {
        Some(Entry::Call(call)) => serde_json::to_value(call).unwrap_or_default(),
        Some(Entry::Ended { call, end }) => json!({ "line_of_call": call, "outcome": end.outcome, "us": end.us }),
        Some(Entry::Lost(count)) => json!({ "count": count }),
        Some(Entry::Cut(bytes)) => json!({ "bytes": bytes }),
        None => Value::Null,
    };
    if let (Value::Object(object), Value::Object(details)) = (&mut object, details) {
        object.extend(details);
    }
    let mut columns = vec![recorded.number.to_string(), rfc3339(recorded.at)];
    match &recorded.entry {
        Some(Entry::Call(call)) => columns.extend(of_call(call)),
        Some(Entry::Ended { call, end }) => columns.extend([what.to_owned(), format!("line {call}"), ended(Some(end))]),
        Some(Entry::Lost(count)) => columns.extend([what.to_owned(), format!("{count} calls are not written down")]),
        Some(Entry::Cut(bytes)) => columns.extend([what.to_owned(), format!("{bytes} bytes that a crash had left")]),
        None => columns.push(what.to_owned()),
    }
    Shown { line: lists::columns(&columns), object }
}

fn what(entry: Option<&Entry>) -> &'static str {
    match entry {
        Some(Entry::Call(_)) => "call",
        Some(Entry::Ended { .. }) => "call-ended",
        Some(Entry::Lost(_)) => "calls-lost",
        Some(Entry::Cut(_)) => "calls-cut",
        None => "of-a-newer-program",
    }
}

fn of_call(call: &Call) -> [String; 8] {
    let dash = || "-".to_owned();
    let bearer = call.bearer.as_ref();
    [
        call.decision.word().to_owned(),
        call.server.to_string(),
        call.subject().into_owned(),
        bearer.and_then(Bearer::user).map_or_else(dash, str::to_owned),
        bearer.map_or_else(dash, |bearer| bearer.client().to_owned()),
        bearer.and_then(Bearer::grant).map_or_else(dash, |grant| grant.to_string()),
        call.cause.as_ref().map_or_else(dash, ToString::to_string),
        ended(call.end.as_ref()),
    ]
}

fn ended(end: Option<&End>) -> String {
    end.map_or_else(|| "-".to_owned(), |end| format!("{} after {} µs", end.outcome.word(), end.us))
}
