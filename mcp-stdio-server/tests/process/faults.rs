//! Rows F and WAT, and how a server ends.

use std::time::Duration;

use serde_json::json;
use shared::store::conformance::Sample;

use crate::arguments::{check_open, check_refused};
use crate::host::{Host, eventually, modern};
use crate::store::{Fixture, now};

/// Contract C10.
const END: Duration = Duration::from_secs(2);

#[test]
fn std_12_f_22_the_end_of_stdin_ends_the_server_after_its_answers() {
    let fixture = Fixture::new();
    let mut host = Host::legacy(&fixture.path(), &[]);
    let mut owed: Vec<_> = (0..50).map(|_| host.send_request("tools/list", json!({}))).collect();
    drop(host.stdin.take());
    while !owed.is_empty() {
        let id = host.receive()["id"].as_i64().unwrap();
        owed.retain(|open| *open != id);
    }
    assert_eq!(host.wait(END).code(), Some(0));
    assert!(host.output_ended());
}

/// What the host sent fills the pipe, so that its end cannot be read: it is seen all the same.
#[test]
#[cfg(target_os = "linux")]
fn std_12_f_22_a_host_that_leaves_without_reading_its_answers_ends_the_server() {
    use std::process::{Command, Stdio};

    let fixture = Fixture::new();
    let lines = fixture.path().with_extension("lines");
    let line = r#"{"jsonrpc":"2.0","id":ID,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let all: Vec<String> = (0..60_000).map(|id| line.replace("ID", &id.to_string())).collect();
    std::fs::write(&lines, all.join("\n")).unwrap();
    let server = env!("CARGO_BIN_EXE_mcp-stdio-server");
    let script = format!("timeout 1 cat {} | {server} --data {}", lines.display(), fixture.path().display());
    let mut pipeline = Command::new("bash").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(1) + END;
    let status = loop {
        if let Some(status) = pipeline.try_wait().unwrap() {
            break status;
        }
        assert!(std::time::Instant::now() < deadline, "still there");
        std::thread::yield_now();
    };
    assert_eq!(status.code(), Some(0));
    std::fs::remove_file(lines).unwrap();
}

#[test]
fn initialize_cannot_be_cancelled() {
    let fixture = Fixture::new();
    let mut host = Host::start(&fixture.path(), &[]);
    host.send(&json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } }));
    host.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 0 } }));
    assert_eq!(host.receive()["id"], 0);
}

#[test]
fn std_12_an_end_before_the_first_line_is_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(folder.path(), &[]);
    let (stdout, _) = host.finish();
    assert_eq!(stdout, "");
}

#[test]
#[cfg(target_os = "linux")]
fn std_13_f_23_a_closed_stdout_ends_the_server() {
    let fixture = Fixture::new();
    // While it is idle.
    let mut host = Host::start_closed_output(&fixture.path());
    assert_eq!(host.wait(END).code(), Some(0));
    // While it answers; the input stays open.
    let mut host = Host::start_closed_output(&fixture.path());
    for _ in 0..10 {
        host.try_send(&json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }));
    }
    assert_eq!(host.wait(END).code(), Some(0));
    assert!(!host.stderr_text().contains("panick"));
}

#[test]
#[cfg(unix)]
fn std_20_signals_end_the_server() {
    for signal in ["-TERM", "-INT"] {
        let fixture = Fixture::new();
        let mut host = Host::legacy(&fixture.path(), &[]);
        for _ in 0..20 {
            host.send_request("tools/list", json!({}));
        }
        let sent = std::process::Command::new("kill").args([signal, &host.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(host.wait(END).code(), Some(0), "{signal}");
        // Whatever came is whole: `receive` holds every line to that.
        while !host.output_ended_or_line() {}
    }
}

#[test]
#[cfg(target_os = "linux")]
fn f_24_a_host_that_does_not_read_holds_back_its_own_requests() {
    let fixture = Fixture::new();
    let mut host = Host::start_unread(&fixture.path());
    let request = format!("{}\n", json!({ "jsonrpc": "2.0", "id": "ID", "method": "tools/list", "params": {} }));
    host.initialize_unread();
    let mut stdin = host.stdin.take().unwrap();
    let (sender, sent) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        use std::io::Write;
        for id in 0..200_000 {
            if stdin.write_all(request.replace("ID", &id.to_string()).as_bytes()).is_err() {
                return;
            }
            let _ = sender.send(id);
        }
    });
    // The writer comes to a stop long before it is done.
    let mut last = 0;
    while let Ok(id) = sent.recv_timeout(Duration::from_millis(1500)) {
        last = id;
    }
    assert!(last < 199_999, "everything was taken in");
    let memory = host.memory("VmHWM");
    assert!(memory < 100 * 1024, "{memory} KiB");
    assert!(host.child.try_wait().unwrap().is_none());
    // And even so it ends in time.
    let sent = std::process::Command::new("kill").args(["-TERM", &host.child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(host.wait(END).code(), Some(0));
}

#[test]
fn f_21_a_killed_server_leaves_the_store_alone() {
    let fixture = Fixture::new();
    let token = fixture.issue("mcp:tools:execute").token;
    for _ in 0..3 {
        let mut host = Host::legacy(&fixture.path(), &[]);
        check_open(&host.echo(&token));
        host.child.kill().unwrap();
        host.child.wait().unwrap();
    }
    fixture.issue("mcp:tools:execute");
}

#[test]
fn f_36_a_closed_stderr_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::start_closed_stderr(folder.path());
    for _ in 0..3 {
        let result = host.echo("x");
        check_refused(&result, "temporarily_unavailable");
    }
    drop(host.stdin.take());
    assert_eq!(host.wait(END).code(), Some(0));
}

/// A server that writes a megabyte into its log at each request.
const TALKATIVE: &str = r#"
long=$(printf 'x%.0s' {1..1000})
while IFS= read -r line; do
  [[ $line =~ \"id\":([0-9]+) ]] || continue
  for _ in {1..1000}; do echo "$long" >&2; done
  case $line in
    *'"initialize"'*) result='{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}' ;;
    *'"tools/list"'*) result='{"tools":[]}' ;;
    *) result='{}' ;;
  esac
  printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "${BASH_REMATCH[1]}" "$result"
done
"#;

#[cfg(unix)]
#[test]
fn f_36_a_wrapped_server_whose_log_nobody_reads_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (mut host, _unread) = Host::start_unread_stderr(folder.path(), &["wrap", "--", "bash", "-c", TALKATIVE]);
    host.initialize("2025-11-25");
    for _ in 0..3 {
        assert!(host.request("ping", json!({}))["result"].is_object());
    }
    drop(host.stdin.take());
    assert_eq!(host.wait(END).code(), Some(0));
}

#[test]
fn wat_03_a_store_that_comes_goes_and_comes_back_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    // Nothing of ours in the folder while it is copied and removed.
    let mut host = Host::legacy(&path, &["--audit", "off"]);
    let refused = host.echo("x");
    check_refused(&refused, "temporarily_unavailable");
    assert!(refused.to_string().contains("authz-service"), "{refused}");
    assert_eq!(host.call("public_info", json!({}))["isError"], false);
    let fixture = Fixture::at(folder, "store");
    let issued = fixture.issue("mcp:tools:execute");
    check_open(&host.echo(&issued.token));
    let (moved, aside) = (fixture.around().join("moved"), fixture.around().join("aside"));
    std::fs::rename(&path, &moved).unwrap();
    eventually("refused when it was moved", Duration::from_secs(5), || host.echo(&issued.token)["isError"] == true);
    std::fs::rename(&moved, &path).unwrap();
    eventually("open again", Duration::from_secs(5), || host.echo(&issued.token)["isError"] == false);
    copy(&path, &aside);
    std::fs::remove_dir_all(&path).unwrap();
    eventually("refused without a store", Duration::from_secs(5), || host.echo(&issued.token)["isError"] == true);
    check_refused(&host.echo(&issued.token), "temporarily_unavailable");
    copy(&aside, &path);
    eventually("open again", Duration::from_secs(5), || host.echo(&issued.token)["isError"] == false);
}

/// Copies a store's files, owner-only as they were.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    shared::files::create_private_folder(to).unwrap();
    for file in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[test]
fn wat_06_a_damaged_store_closes_the_tools_and_the_server_lives() {
    let fixture = Fixture::new();
    let issued = fixture.issue("mcp:tools:execute");
    let mut host = Host::legacy(&fixture.path(), &[]);
    check_open(&host.echo(&issued.token));
    let journal = std::fs::read_dir(fixture.path())
        .unwrap()
        .flatten()
        .map(|file| file.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .unwrap();
    let whole = std::fs::read(&journal).unwrap();
    let mut damaged = whole.clone();
    damaged.extend_from_slice(b"{\"nonsense\":true}\n{\"more\":1}\n");
    std::fs::write(&journal, &damaged).unwrap();
    eventually("refused", Duration::from_secs(5), || host.echo(&issued.token)["isError"] == true);
    let refused = host.echo(&issued.token);
    check_refused(&refused, "temporarily_unavailable");
    assert!(refused.to_string().contains("store unavailable"), "{refused}");
    assert_eq!(host.call("public_info", json!({}))["isError"], false);
    std::fs::write(&journal, &whole).unwrap();
    eventually("open again", Duration::from_secs(5), || host.echo(&issued.token)["isError"] == false);
}

/// A large store is read beside the conversation: what needs no token is answered meanwhile.
#[test]
fn a_store_that_takes_long_to_read_keeps_no_host_waiting() {
    let fixture = Fixture::new();
    let issued = fixture.issue("mcp:tools:execute");
    for _ in 0..6 {
        fixture.commit((0..10_000).flat_map(|_| Sample::new(now()).known()).collect());
    }
    let mut host = Host::start(&fixture.path(), &["--announce", "off"]);
    let mut meta = modern();
    meta["authz/access_token"] = issued.token.clone().into();
    let guarded =
        host.send_request("tools/call", json!({"name": "echo", "arguments": {"message": "x"}, "_meta": meta}));
    let discover = host.send_request("server/discover", json!({"_meta": modern()}));
    assert_eq!(host.receive()["id"], discover, "before the store is loaded");
    let first = host.receive();
    assert_eq!(first["id"], guarded);
    let result = &first["result"];
    assert!(result["isError"] == false || result["structuredContent"]["error"] == "temporarily_unavailable", "{first}");
    eventually("the tool is open", Duration::from_secs(10), || {
        let params = json!({"name": "echo", "arguments": {"message": "x"}, "_meta": meta});
        host.request("tools/call", params)["result"]["isError"] == false
    });
}

#[test]
fn a_wrong_flag_is_explained_and_nothing_starts() {
    for flags in [&["--name", "a b"][..], &["--token-argument", "maybe"], &["--nonsense"], &["extra"]] {
        let folder = tempfile::tempdir().unwrap();
        let mut host = Host::start(folder.path(), flags);
        assert_eq!(host.wait(END).code(), Some(2), "{flags:?}");
        assert!(host.output_ended());
    }
}

#[test]
fn completions_are_printed() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_mcp-stdio-server"))
        .args(["completions", "bash"])
        .output()
        .unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("--token-argument"));
}

/// node starts its children with socket pairs and not with pipes.
#[test]
#[cfg(unix)]
fn sockets_serve_as_well_as_pipes() {
    use std::io::{BufRead, BufReader, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    let folder = tempfile::tempdir().unwrap();
    let ((mut ours, theirs), (our_output, their_output)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    let mut host = Host::start_with(folder.path(), &[], |command| {
        command.stdin(OwnedFd::from(theirs)).stdout(OwnedFd::from(their_output));
    });
    let mut lines = BufReader::new(our_output).lines();
    for id in 0..3 {
        ours.write_all(format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, "method": "ping" })).as_bytes()).unwrap();
        let line = lines.next().unwrap().unwrap();
        let answer: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer, json!({ "jsonrpc": "2.0", "id": id, "result": {} }));
    }
    drop(ours);
    assert_eq!(host.wait(END).code(), Some(0));
    assert!(lines.next().is_none());
}

/// A session played back from a file, its answers kept in one.
#[test]
fn files_serve_as_well_as_pipes() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("input"), folder.path().join("output"));
    let lines: String =
        (0..200).map(|id| format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, "method": "ping" }))).collect();
    std::fs::write(&input, &lines).unwrap();
    let mut host = Host::start_with(folder.path(), &[], |command| {
        command.stdin(std::fs::File::open(&input).unwrap()).stdout(std::fs::File::create(&output).unwrap());
    });
    assert_eq!(host.wait(END).code(), Some(0));
    assert_eq!(std::fs::read_to_string(&output).unwrap().lines().count(), 200);
}

#[test]
#[cfg(target_os = "linux")]
fn wat_04_f_29_without_a_watch_the_store_is_looked_at_every_second_and_the_log_says_so_once() {
    let fixture = Fixture::new();
    let Some(mut host) = Host::start_without_watches(&fixture.path()) else { return };
    host.initialize("2025-11-25");
    for _ in 0..3 {
        let issued = fixture.issue("mcp:tools");
        check_open(&host.echo(&issued.token));
        fixture.revoke(issued.grant);
        check_refused(&host.echo(&issued.token), "invalid_token");
        // Long enough for another try to watch.
        std::thread::sleep(Duration::from_millis(700));
    }
    let (_, log) = host.finish();
    assert_eq!(log.matches("cannot watch the store").count(), 1, "{log}");
}
