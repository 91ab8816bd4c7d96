//! Every command that the README shows is run, and what it prints is compared with what the README says.
//!
//! The commands are taken as they stand, but for what would get in the way of other programs on the machine: the
//! built binaries are those of this test's profile, the port is a free one, and the store is in a folder of its own.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A fenced block: its language, its label, its lines.
struct Block {
    language: String,
    label: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The folder with the binaries: this test lies in its `deps`.
fn binaries() -> PathBuf {
    let folder = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
    for name in ["authz-service", "mcp-stdio-server", "mcp-client"] {
        assert!(folder.join(name).exists(), "{name} is not built: run cargo test --workspace");
    }
    folder
}

fn blocks() -> Vec<Block> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut blocks = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let (language, label) = info.split_once(' ').unwrap_or((info, ""));
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push(Block { language: language.into(), label: label.into(), text: body.join("\n") });
    }
    blocks
}

fn labelled(blocks: &[Block], language: &str, label: &str) -> String {
    let wanted = |block: &&Block| block.language == language && block.label == label;
    let texts: Vec<&str> = blocks.iter().filter(wanted).map(|block| block.text.as_str()).collect();
    assert!(!texts.is_empty(), "the README has no {language} {label}");
    texts.join("\n")
}

/// Compares line by line; `…` stands for anything.
#[track_caller]
fn compare(expected: &str, found: &str) {
    let (expected, found): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    for (at, line) in expected.iter().enumerate() {
        let got = found.get(at).copied().unwrap_or("(nothing)");
        assert!(fits(line, got), "line {}\nREADME: {line}\n   now: {got}\n\nall of it:\n{}", at + 1, found.join("\n"));
    }
    assert_eq!(expected.len(), found.len(), "more than the README says:\n{}", found.join("\n"));
}

fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// A child that does not outlive the test.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn bash(script: &str, folder: &Path) -> Command {
    let mut command = Command::new("bash");
    command.arg("-euc").arg(script).current_dir(folder).stdin(Stdio::null());
    for name in
        ["MCP_AUTHZ_ISSUER", "MCP_ACCESS_TOKEN", "MCP_VAULT_KEY_FILE", "XDG_CONFIG_HOME", "RUST_LOG", "CLICOLOR_FORCE"]
    {
        command.env_remove(name);
    }
    command.env("MCP_AUTHZ_DATA", folder.join("data")).env("HOME", folder).env("NO_COLOR", "1");
    command
}

fn run(script: &str, folder: &Path) -> String {
    let output = bash(script, folder).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}\n{out}\n{err}");
    out.into_owned()
}

fn here(text: &str) -> String {
    text.replace("./target/release/", &format!("{}/", binaries().display())).replace("cargo build --release && ", "")
}

#[test]
fn the_demo_prints_what_the_readme_says() {
    let blocks = blocks();
    let folder = tempfile::tempdir().unwrap();
    let printed = run(&here(&labelled(&blocks, "sh", "demo")), folder.path());
    compare(&labelled(&blocks, "text", "demo"), &printed);
}

#[test]
fn the_walk_by_hand_works_word_for_word() {
    let blocks = blocks();
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let moved = |text: &str| {
        here(text).replace("localhost:3000", &format!("localhost:{port}")).replace("%3A3000", &format!("%3A{port}"))
    };
    let service = format!("exec {} --port {port}", moved(&labelled(&blocks, "sh", "service")));
    let _service = Guarded(bash(&service, folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "the service does not start");
        std::thread::yield_now();
    }
    let printed = run(&moved(&labelled(&blocks, "sh", "walk")), folder.path());
    compare(&moved(&labelled(&blocks, "text", "walk")), &printed);
}

#[test]
fn the_host_configurations_are_json_and_name_our_server() {
    let blocks = blocks();
    for (label, name, words) in [("", "guarded", &["--data"][..]), ("wrap", "files", &["wrap", "--name", "--"])] {
        let value: serde_json::Value = serde_json::from_str(&labelled(&blocks, "json", label)).unwrap();
        let entry = &value["mcpServers"][name];
        assert!(entry["command"].as_str().unwrap().ends_with("/mcp-stdio-server"));
        let arguments: Vec<_> = entry["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        assert!(words.iter().all(|word| arguments.contains(word)), "{arguments:?}");
    }
}

#[test]
fn the_rules_that_the_readme_writes_are_good() {
    let blocks = blocks();
    let folder = tempfile::tempdir().unwrap();
    let printed = run(&here(&labelled(&blocks, "sh", "rules")), folder.path());
    compare(&labelled(&blocks, "text", "rules"), &printed);
}

#[test]
fn the_import_that_the_readme_shows_is_what_is_shown() {
    let blocks = blocks();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(".cursor")).unwrap();
    let before = "{\n  \"mcpServers\": {\n    \"github\": {\n      \"command\": \"npx\",\n      \"args\": [\"-y\", \
                  \"@modelcontextprotocol/server-github\"],\n      \"env\": {\n        \"GITHUB_TOKEN\": \"hunter2\",\n        \
                  \"LOG_LEVEL\": \"info\"\n      }\n    }\n  }\n}\n";
    fs::write(folder.path().join(".cursor/mcp.json"), before).unwrap();
    // The project's folder is another one.
    let script = format!("mkdir project && cd project && {}", here(&labelled(&blocks, "sh", "import")));
    let printed = run(&script, folder.path());
    compare(&labelled(&blocks, "text", "import"), &printed);
}

#[test]
fn every_page_that_the_readme_names_is_there() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for link in
        readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|link| !link.contains("://"))
    {
        assert!(root().join(link).exists(), "{link}");
    }
}
