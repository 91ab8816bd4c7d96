//! The server at a URL, in front of a wrapped one: streams that break off and are read on, tools that come later.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use shared::oauth::jwt::Audience;
use shared::store::Store;

use crate::host::{DEADLINE, eventually, modern};
use crate::store::{Fixture, Issued};

/// By what name clients know the server; where it listens is another matter.
const RESOURCE: &str = "http://localhost:1/mcp";

/// A server whose `slow` tells something, waits for somebody to open `$1`, and answers; `grow` gives it another tool.
const SERVER: &str = r#"
late=
while IFS= read -r line; do
  [[ $line =~ \"id\":([0-9]+|\"[^\"]*\") ]] || continue
  id=${BASH_REMATCH[1]}
  answer() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$1"; }
  case $line in
    *'"method":"initialize"'*) answer '{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"logging":{}},"serverInfo":{"name":"s","version":"1"}}' ;;
    *'"method":"tools/list"'*) answer '{"tools":[{"name":"slow","inputSchema":{"type":"object"}}'"$late]}" ;;
    *'"name":"grow"'*)
      late=',{"name":"late","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}'
      printf '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n'
      answer '{"content":[]}' ;;
    *'"name":"late"'*) answer '{"content":[]}' ;;
    *'"method":"tools/call"'*)
      printf '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"begun"}}\n'
      cat "$1" > /dev/null
      answer '{"content":[{"type":"text","text":"done"}]}'
      printf '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n' ;;
    *'"method":"server/discover"'*) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}\n' "$id" ;;
    *) answer '{}' ;;
  esac
done
"#;

struct Front {
    child: Child,
    port: u16,
    gate: PathBuf,
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Answer {
    status: u16,
    session: Option<String>,
    rest: BufReader<TcpStream>,
}

#[derive(Debug, Eq, PartialEq)]
struct Event {
    id: Option<String>,
    retry: bool,
    data: String,
}

impl Front {
    fn start(data: &Path, around: &Path) -> Self {
        Self::of(Path::new(env!("CARGO_BIN_EXE_mcp-stdio-server")), data, around)
    }

    fn of(program: &Path, data: &Path, around: &Path) -> Self {
        let gate = around.join("gate");
        assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
        let mut command = Command::new(program);
        command.arg("--data").arg(data).args(["http", "--listen", "127.0.0.1:0"]);
        command.args(["--resource", RESOURCE, "--", "bash", "-c", SERVER, "server"]).arg(&gate);
        command.env("RUST_LOG", "info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it serves");
            let port = line.split("127.0.0.1:").nth(1).map(|rest| rest.chars().take_while(char::is_ascii_digit));
            if let Some(port) = port.and_then(|digits| digits.collect::<String>().parse().ok()) {
                break port;
            }
        };
        // Whoever writes there must not wait for us.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, port, gate }
    }

    /// One request. HTTP/1.0, so that the body comes as it is.
    fn ask(&self, method: &str, token: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut head =
            format!("{method} /mcp HTTP/1.0\r\nHost: localhost\r\nAccept: application/json, text/event-stream\r\n");
        if !token.is_empty() {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        if method == "POST" {
            head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
        let mut rest = BufReader::new(stream);
        let mut answer = (0, None);
        for line in rest.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()) {
            match line.split_once(": ") {
                None => answer.0 = line.split(' ').nth(1).unwrap().parse().unwrap(),
                Some((name, value)) if name.eq_ignore_ascii_case("mcp-session-id") => answer.1 = Some(value.to_owned()),
                Some(_) => {}
            }
        }
        Answer { status: answer.0, session: answer.1, rest }
    }

    /// A session: its name.
    fn session(&self, token: &str, version: &str) -> String {
        let params =
            json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
        let answer = self.ask("POST", token, &[], &request(1, "initialize", params));
        let name = answer.session.expect("a session");
        let told = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string();
        assert_eq!(self.ask("POST", token, &[("Mcp-Session-Id", &name)], &told).status, 202);
        name
    }

    /// Reads a session's stream on.
    fn resume(&self, token: &str, session: &str, event: &str) -> Answer {
        let headers = [("Mcp-Session-Id", session), ("MCP-Protocol-Version", "2025-11-25"), ("Last-Event-ID", event)];
        self.ask("GET", token, &headers, "")
    }

    /// Begins a call in a session of this version, and reads what comes before its answer.
    fn call(&self, token: &str, session: &str, version: &str, id: i64) -> (Answer, Vec<Event>) {
        let headers = [("Mcp-Session-Id", session), ("MCP-Protocol-Version", version)];
        let mut answer = self.ask("POST", token, &headers, &request(id, "tools/call", json!({ "name": "slow" })));
        assert_eq!(answer.status, 200);
        let mut events = Vec::new();
        while events.last().is_none_or(|event: &Event| !event.data.contains("begun")) {
            events.push(answer.event().expect("an event"));
        }
        (answer, events)
    }

    /// Lets the call that waits go on.
    fn open(&self) {
        std::fs::write(&self.gate, "go").unwrap();
    }
}

impl Answer {
    /// The next event that is no comment; `None` at the end.
    fn event(&mut self) -> Option<Event> {
        let mut event = Event { id: None, retry: false, data: String::new() };
        let mut is_empty = true;
        loop {
            let mut line = String::new();
            if self.rest.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            match line.trim_end().split_once(':') {
                None if !is_empty => return Some(event),
                None | Some(("", _)) => continue,
                Some(("id", value)) => event.id = Some(value.trim().to_owned()),
                Some(("retry", _)) => event.retry = true,
                Some(("data", value)) => event.data = value.trim().to_owned(),
                Some(_) => {}
            }
            is_empty = false;
        }
    }

    fn events(mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.event()).collect()
    }
}

fn request(id: i64, method: &str, params: Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

fn issue(fixture: &Fixture, scope: &str) -> Issued {
    let claims = fixture.claims(scope);
    fixture.issue_claims(shared::oauth::jwt::AccessClaims { aud: Audience::One(RESOURCE.parse().unwrap()), ..claims })
}

#[track_caller]
fn check(events: &[Event], words: &[&str]) {
    assert_eq!(events.len(), words.len(), "{events:?}");
    for (event, word) in events.iter().zip(words) {
        assert!(if word.is_empty() { event.data.is_empty() } else { event.data.contains(word) }, "{word}: {event:?}");
        assert_eq!(event.retry, word.is_empty(), "the first event says when to come back");
    }
}

#[test]
fn a_call_whose_connection_breaks_off_is_read_on_from_any_of_its_events_by_whoever_may_make_it() {
    let fixture = Fixture::new();
    let front = Front::start(&fixture.path(), fixture.around());
    let full = issue(&fixture, "mcp:tools").token;
    let session = front.session(&full, "2025-11-25");
    let (answer, begun) = front.call(&full, &session, "2025-11-25", 2);
    check(&begun, &["", "begun"]);
    let ids: Vec<_> = begun.into_iter().map(|event| event.id.expect("a name")).collect();
    // The connection goes, and the call goes on.
    drop(answer);
    front.open();
    check(&front.resume(&full, &session, &ids[1]).events(), &["", "done"]);
    check(&front.resume(&full, &session, &ids[0]).events(), &["", "begun", "done"]);

    // Nobody else reads it, and nobody from elsewhere.
    let other = front.session(&full, "2025-11-25");
    let weak = issue(&fixture, "mcp:resources").token;
    let foreign = ids[0].replace(|c: char| c.is_ascii_hexdigit() && c != '0', "0");
    for (token, session, event, status) in [
        ("", session.as_str(), ids[0].as_str(), 401),
        (&weak, &session, &ids[0], 403),
        (&full, &other, &ids[0], 400),
        (&full, "no-such-session", &ids[0], 404),
        (&full, &session, &foreign, 400),
        (&full, &session, &format!("{}0", ids[0]), 400),
        (&full, &session, &ids[0].replace("-0", "-99"), 200),
        (&full, &session, "1", 400),
        (&full, &session, "", 400),
        (&full, &session, &"9".repeat(5000), 400),
    ] {
        assert_eq!(front.resume(token, session, event).status, status, "{event}");
    }
}

#[test]
fn a_client_that_comes_back_takes_over_from_its_old_connection() {
    let fixture = Fixture::new();
    let front = Front::start(&fixture.path(), fixture.around());
    let token = issue(&fixture, "mcp:tools").token;
    let session = front.session(&token, "2025-11-25");
    let (old, begun) = front.call(&token, &session, "2025-11-25", 2);
    let last = begun.last().and_then(|event| event.id.clone()).expect("a name");
    let mut new = front.resume(&token, &session, &last);
    assert_eq!(new.event().expect("an event").data, "");
    assert_eq!(old.events(), [], "the old connection ends");
    front.open();
    check(&new.events(), &["done"]);
}

#[test]
fn a_stream_that_ended_with_its_token_is_read_on_with_another_one() {
    let fixture = Fixture::new();
    let front = Front::start(&fixture.path(), fixture.around());
    let [before, after] = [(); 2].map(|()| issue(&fixture, "mcp:tools"));
    let session = front.session(&before.token, "2025-11-25");
    let (answer, begun) = front.call(&before.token, &session, "2025-11-25", 2);
    let first = begun[0].id.as_ref().expect("a name");
    fixture.revoke(before.grant);
    assert_eq!(answer.events(), [], "it ends with its token");
    assert_eq!(front.resume(&before.token, &session, first).status, 401);
    let resumed = front.resume(&after.token, &session, first);
    front.open();
    check(&resumed.events(), &["", "begun", "done"]);
}

#[test]
fn a_cancelled_call_ends_without_an_answer_and_is_kept_for_nobody() {
    let fixture = Fixture::new();
    let front = Front::start(&fixture.path(), fixture.around());
    let token = issue(&fixture, "mcp:tools").token;
    let session = front.session(&token, "2025-11-25");
    let (answer, begun) = front.call(&token, &session, "2025-11-25", 2);
    let cancel = |id: i64| {
        let told = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } });
        assert_eq!(front.ask("POST", &token, &[("Mcp-Session-Id", &session)], &told.to_string()).status, 202);
    };
    let body = request(3, "tools/call", json!({ "name": "slow" }));
    std::thread::scope(|scope| {
        // One that waits behind it, and whose stream has not begun.
        let behind = scope.spawn(|| front.ask("POST", &token, &[("Mcp-Session-Id", &session)], &body));
        cancel(2);
        assert_eq!(answer.events(), []);
        eventually("it has come, and is cancelled", DEADLINE, || {
            cancel(3);
            behind.is_finished()
        });
        let behind = behind.join().unwrap();
        assert_eq!((behind.status, behind.events()), (200, vec![]));
    });
    assert_eq!(front.resume(&token, &session, begun[0].id.as_ref().expect("a name")).status, 400);
}

#[test]
fn what_is_said_while_nobody_listens_waits_and_the_stream_of_it_is_read_on_too() {
    let fixture = Fixture::new();
    let front = Front::start(&fixture.path(), fixture.around());
    let token = issue(&fixture, "mcp:tools").token;
    let session = front.session(&token, "2025-11-25");
    let (answer, _) = front.call(&token, &session, "2025-11-25", 2);
    front.open();
    check(&answer.events(), &["done"]);
    let listen = |event: Option<&str>| {
        let mut headers = vec![("Mcp-Session-Id", session.as_str()), ("MCP-Protocol-Version", "2025-11-25")];
        headers.extend(event.map(|event| ("Last-Event-ID", event)));
        let mut stream = front.ask("GET", &token, &headers, "");
        [stream.event(), stream.event()].map(|event| event.expect("an event"))
    };
    let first = listen(None);
    check(&first, &["", "list_changed"]);
    assert_eq!(listen(first[0].id.as_deref()), first, "from behind an event");
}

#[test]
fn clients_of_other_versions_get_events_as_they_know_them() {
    let fixture = Fixture::new();
    let front = Front::start(&fixture.path(), fixture.around());
    let token = issue(&fixture, "mcp:tools").token;
    for version in ["2025-03-26", "2025-06-18"] {
        let session = front.session(&token, version);
        let (answer, begun) = front.call(&token, &session, version, 2);
        check(&begun, &["begun"]);
        assert!(begun[0].id.is_some(), "{version}");
        front.open();
        check(&answer.events(), &["done"]);
    }
    // The modern era has no streams that are read again.
    let mut meta = modern();
    meta["io.modelcontextprotocol/logLevel"] = json!("info");
    let headers = [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "tools/call"), ("Mcp-Name", "slow")];
    let body = request(1, "tools/call", json!({ "name": "slow", "_meta": meta }));
    let mut answer = front.ask("POST", &token, &headers, &body);
    let begun = answer.event().expect("an event");
    assert_eq!((begun.id, begun.retry), (None, false));
    front.open();
    assert!(answer.events().iter().all(|event| event.id.is_none()));
}

#[test]
fn a_tool_that_comes_later_is_known_at_the_front_and_announced() {
    let fixture = Fixture::new();
    let front = Front::start(&fixture.path(), fixture.around());
    let [full, reads] = ["mcp:tools", "mcp:tools:read"].map(|scope| issue(&fixture, scope).token);
    let sessions = [&full, &reads].map(|token| front.session(token, "2025-11-25"));
    let call = |token: &str, session: &str, tool: &str| {
        let body = request(7, "tools/call", json!({ "name": tool }));
        front.ask("POST", token, &[("Mcp-Session-Id", session)], &body).status
    };
    // Nobody knows yet that it only reads.
    assert_eq!(call(&reads, &sessions[1], "late"), 403);
    assert_eq!(call(&full, &sessions[0], "grow"), 200);
    eventually("the front knows it", DEADLINE, || call(&reads, &sessions[1], "late") == 200);
    assert_eq!(call(&reads, &sessions[1], "slow"), 403);
    eventually("the store knows it", DEADLINE, || {
        let mut names = Vec::new();
        let resource = RESOURCE.parse().unwrap();
        let mut look = |state: &shared::state::State| {
            names = state
                .announcement(&resource)
                .map_or(Vec::new(), |told| told.tools.iter().map(|(tool, _)| tool.name.as_str().to_owned()).collect());
        };
        fixture.store.read(&mut look).unwrap();
        names == ["late", "slow"]
    });
}

#[cfg(target_os = "linux")]
#[test]
fn sessions_begin_after_another_version_was_installed_over_the_program() {
    let fixture = Fixture::new();
    let [program, other] = ["program", "other"].map(|name| fixture.around().join(name));
    std::fs::copy(env!("CARGO_BIN_EXE_mcp-stdio-server"), &program).unwrap();
    let front = Front::of(&program, &fixture.path(), fixture.around());
    let token = issue(&fixture, "mcp:tools").token;
    front.session(&token, "2025-11-25");
    std::fs::write(&other, "#!/bin/false\n").unwrap();
    std::fs::rename(&other, &program).unwrap();
    front.session(&token, "2025-11-25");
    std::fs::remove_file(&program).unwrap();
    front.session(&token, "2025-11-25");
}
