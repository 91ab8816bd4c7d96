//! A server of somebody's own, made of tools and one call: `examples/own_tools.rs`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::json;
use shared::scope::Scopes;
use shared::state::{Announcement, State};
use shared::store::Store;
use shared::uri::Resource;

use crate::arguments::check_refused;
use crate::host::{Host, eventually, modern};
use crate::store::Fixture;

/// The example's program. `cargo test` has built it, unless it was told to build one test alone.
fn program() -> PathBuf {
    let ours = Path::new(env!("CARGO_BIN_EXE_mcp-stdio-server"));
    let folder = ours.parent().unwrap();
    let program = folder.join("examples").join(format!("own_tools{}", std::env::consts::EXE_SUFFIX));
    if !program.exists() {
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "--example", "own_tools", "--profile", profile, "--target-dir"]);
        cargo.arg(folder.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(cargo.status().unwrap().success(), "the example builds");
    }
    program
}

fn run(args: &[&str]) -> (Output, String) {
    let output = Command::new(program()).args(args).env_remove("MCP_AUTHZ_DATA").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output, text)
}

#[test]
fn tools_of_somebodys_own_are_guarded_announced_and_written_down_as_ours_are() {
    let fixture = Fixture::new();
    let (good, other) = (fixture.issue("texts:read"), fixture.issue("mcp:tools:read"));
    let mut host = Host::of_program(&program(), &fixture.path(), &["--announce", "on"]);
    let told = host.initialize("2025-11-25");
    assert_eq!(told["result"]["serverInfo"], json!({ "name": "own-tools", "version": "1.0.0" }));
    let words = told["result"]["instructions"].as_str().unwrap();
    assert!(words.starts_with("Tools need an OAuth access token"), "{words}");
    let listed = host.request("tools/list", json!({}))["result"]["tools"].clone();
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["count_words"]);
    let refused = host.call("count_words", json!({ "text": "a b" }));
    check_refused(&refused, "unauthorized");
    assert_eq!(refused["structuredContent"]["scope"], "texts:read");
    let with = |token: &str| json!({ "text": "one  two\nthree", "access_token": token });
    check_refused(&host.call("count_words", with(&other.token)), "insufficient_scope");
    assert_eq!(host.call("count_words", with(&good.token))["structuredContent"]["words"], 3);
    let mut meta = modern();
    meta["authz/access_token"] = json!(good.token);
    let call = json!({ "name": "count_words", "arguments": { "text": "a" }, "_meta": meta });
    let answer = host.request("tools/call", call)["result"].clone();
    assert_eq!(answer["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "own-tools");
    let resource = Resource::stdio("default").unwrap();
    eventually("its scope is announced", Duration::from_secs(10), || {
        let mut own = Scopes::default();
        let mut look =
            |state: &State| own = state.announcement(&resource).map(Announcement::own_scopes).unwrap_or_default();
        fixture.store.read(&mut look).unwrap();
        own.to_string() == "texts:read"
    });
    host.finish();
    let trail = std::fs::read_to_string(fixture.path().join("calls/calls.1.jsonl")).unwrap();
    assert_eq!(trail.matches("\"tool\":\"count_words\"").count(), 4, "{trail}");
}

#[test]
fn a_server_of_somebodys_own_has_the_whole_command_line_under_its_name() {
    assert_eq!(run(&["--version"]).1, "own-tools 1.0.0\n");
    let (_, help) = run(&["--help"]);
    for part in ["Counts words, for whoever may.", "--login", "--audit-files", "wrap", "http", "completions"] {
        assert!(help.contains(part), "{part} in {help}");
    }
    assert!(!help.contains("--samples"), "{help}");
    let ours = Command::new(env!("CARGO_BIN_EXE_mcp-stdio-server")).arg("--help").output().unwrap().stdout;
    let ours = String::from_utf8(ours).unwrap();
    assert!(
        ours.starts_with("An MCP server on stdio whose tools need a grant") && ours.contains("--samples"),
        "{ours}"
    );
    assert!(run(&["completions", "bash"]).1.contains("-o default own-tools"));
    let (output, error) = run(&["--samples"]);
    assert!(output.status.code() == Some(2) && error.contains("--samples"), "{error}");
}
