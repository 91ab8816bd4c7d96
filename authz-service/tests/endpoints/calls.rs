//! The trail of tool calls, as the service tells it (N12).

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use shared::state::{Kind, Program};
use shared::store::calls::{Call, Calls, Decision, End, Entry, Keep, Outcome};
use shared::time::Timestamp;
use shared::uri::Resource;

use super::process::{APPROVE, Running, command};

/// A call of `tool` that was refused, or one that was let in and has ended.
fn call(tool: &str, cause: Option<&'static str>) -> Entry {
    Entry::Call(Box::new(Call {
        server: Resource::stdio("a").unwrap(),
        kind: Kind::Tool,
        method: None,
        tool: tool.into(),
        decision: if cause.is_some() { Decision::Refused } else { Decision::Open },
        cause: cause.map(Into::into),
        bearer: None,
        arguments: None,
        host: Some(Program { name: "node\u{1b}[2J".into(), path: None, script: None }),
        transport: "stdio".into(),
        era: "stateless".into(),
        trace: None,
        end: cause.is_none().then_some(End { outcome: Outcome::Ok, us: 12 }),
    }))
}

/// Another method, of a resource.
fn subscribed(uri: &str) -> Entry {
    let Entry::Call(call) = call(uri, None) else { panic!() };
    Entry::Call(Box::new(Call { kind: Kind::Resource, method: Some("resources/subscribe".into()), ..*call }))
}

fn write(data: &Path, entries: Vec<Entry>) {
    let mut entries = entries.into_iter();
    let mut next = |_| Some((Timestamp(1_790_000_000), entries.next()?));
    assert!(Calls::new(data, Keep::default()).append(&mut next).unwrap());
}

fn audit(data: &Path, args: &[&str]) -> String {
    let output = command(data).arg("audit").args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn n12_the_calls_are_told_followed_verified_and_exported() {
    let data = tempfile::tempdir().unwrap();
    let _service = Running::start(data.path(), &APPROVE);
    assert_eq!(audit(data.path(), &["tail", "--calls"]), "");
    let verified = |data: &Path| serde_json::from_str::<Value>(&audit(data, &["verify", "--json"])).unwrap();
    assert_eq!(verified(data.path())["calls"], Value::Null);

    write(data.path(), vec![call("open", None), call("look\u{202e}\n", Some("no-token")), Entry::Lost(3)]);
    let human = audit(data.path(), &["tail", "--calls"]);
    let lines: Vec<Vec<_>> = human.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines[0][2..5], ["open", "urn:mcp:stdio:a", "open"]);
    assert_eq!((lines[1][2], lines[1][8], lines[1].len()), ("refused", "no-token", 10));
    assert_eq!(lines.len(), 3, "{human}");
    assert!(!human.contains('\u{202e}') && !human.contains('\u{1b}'), "{human}");

    let exported = audit(data.path(), &["export", "--calls"]);
    let objects: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&objects[0]["what"], &objects[0]["outcome"]), (&json!("call"), &json!("ok")));
    assert_eq!((&objects[1]["cause"], &objects[2]["count"]), (&json!("no-token"), &json!(3)));
    let tail: Value = serde_json::from_str(&audit(data.path(), &["tail", "--calls", "--json"])).unwrap();
    assert_eq!(tail["events"].as_array(), Some(&objects));
    assert_eq!(verified(data.path())["calls"]["last_line"], 3);
    let head = verified(data.path())["calls"]["head"].as_str().unwrap().to_owned();
    let written = std::fs::read_to_string(data.path().join("calls/calls.1.jsonl")).unwrap();

    let mut follows = command(data.path())
        .args(["audit", "tail", "--calls", "--follow", "--json", "-n", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follows.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap()).unwrap();
    assert_eq!(next()["what"], "calls-lost");
    write(data.path(), vec![call("later", None)]);
    assert_eq!(next()["tool"], "later");
    write(data.path(), vec![subscribed("x://1")]);
    let told = next();
    let of = [&told["tool"], &told["kind"], &told["method"]];
    assert_eq!(of, [&json!("x://1"), &json!("resource"), &json!("resources/subscribe")]);
    let human = audit(data.path(), &["tail", "--calls", "-n", "1"]);
    assert_eq!(human.split('\t').nth(4), Some("resource x://1"), "{human}");
    follows.kill().unwrap();
    follows.wait().unwrap();

    let told = audit(data.path(), &["verify", "--calls", "--expect", &head]);
    assert!(
        told.starts_with("The calls' chain is whole: 5 lines in 1 file, 1 to 5.\nIt goes on from the head"),
        "{told}"
    );
    let later = told.trim_end().rsplit(' ').next().unwrap();
    assert_eq!(verified(data.path())["calls"]["head"], later);
    let file = data.path().join("calls/calls.1.jsonl");
    let fails = |expected: &str, words: &str| {
        let output = command(data.path()).args(["audit", "verify", "--calls", "--expect", expected]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && stderr.contains(words), "{words}: {stderr}");
    };
    let whole = std::fs::read_to_string(&file).unwrap();
    // The end is cut off, cleanly: the chain is whole, and shorter than was known.
    std::fs::write(&file, &written).unwrap();
    audit(data.path(), &["verify"]);
    fails(later, "the end was cut off");
    write(data.path(), vec![call("other", None), call("another", None)]);
    fails(later, "was written anew");
    std::fs::write(&file, whole).unwrap();
    let output = command(data.path()).args(["audit", "verify", "--expect", "4:x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "no head is a wrong command line");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("no-token", "no-taken", 1)).unwrap();
    let output = command(data.path()).args(["audit", "verify"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && stderr.contains("calls.1.jsonl line 3"), "{stderr}");
}
