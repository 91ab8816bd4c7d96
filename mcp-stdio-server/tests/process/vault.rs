//! Secrets that leave hosts' files: the vault, `wrap --secret` and `import`, through real processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::host::{Host, eventually};
use crate::store::Fixture;

/// Nobody's key, and nothing that could come by chance.
pub const SECRET: &str = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";

/// A server that says whether it has its key; started with "needs", it ends at once without.
const SERVER: &str = r#"
[ "$1" = needs ] && [ -z "$GITHUB_TOKEN" ] && { echo "no GITHUB_TOKEN" >&2; exit 1; }
say() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$1"; }
while IFS= read -r line; do
  [[ $line =~ \"id\":([0-9]+|\"[^\"]*\") ]] || continue
  id=${BASH_REMATCH[1]}
  case $line in
    *'"initialize"'*) say '{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}' ;;
    *'"tools/list"'*) say '{"tools":[{"name":"look","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}]}' ;;
    *'"tools/call"'*) say "{\"content\":[{\"type\":\"text\",\"text\":\"has ${#GITHUB_TOKEN}\"}]}" ;;
    *) say '{}' ;;
  esac
done
"#;

/// Runs the program to its end.
pub fn run(data: &Path, words: &[&str], input: &str, change: impl FnOnce(&mut Command)) -> Output {
    use std::io::Write;

    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-stdio-server"));
    command.arg("--data").arg(data).args(words);
    for variable in ["MCP_AUTHZ_DATA", "MCP_VAULT_KEY_FILE", "RUST_LOG", "XDG_CONFIG_HOME"] {
        command.env_remove(variable);
    }
    change(&mut command);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
pub fn run_well(data: &Path, words: &[&str], input: &str) -> String {
    let output = run(data, words, input, |_| {});
    assert!(output.status.success(), "{words:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The processes below one that have `value` in their environment.
#[cfg(target_os = "linux")]
fn holders(root: u32, value: &str) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    let is_below = |pid: u32| {
        std::iter::successors(Some(pid), |pid| parent(*pid).filter(|parent| *parent > 1)).any(|pid| pid == root)
    };
    let has = |pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(value.len()).any(|part| part == value.as_bytes())
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_below(*pid) && has(*pid)).collect()
}

struct World {
    fixture: Fixture,
    server: PathBuf,
}

impl World {
    fn new() -> Self {
        let fixture = Fixture::new();
        let server = fixture.around().join("server.sh");
        fs::write(&server, SERVER).unwrap();
        run_well(&fixture.path(), &["vault", "set", "github/GITHUB_TOKEN"], &format!("{SECRET}\n"));
        Self { fixture, server }
    }

    fn wrap(&self, how: &str, token: &str) -> Host {
        let server = self.server.to_str().unwrap();
        let flags = ["wrap", "--secret", "GITHUB_TOKEN=github/GITHUB_TOKEN", "--", "bash", server, how];
        Host::start_with(&self.fixture.path(), &flags, |command| {
            command.env("MCP_ACCESS_TOKEN", token);
        })
    }
}

/// Calls `look`, past notifications.
#[track_caller]
fn look(host: &mut Host) -> Value {
    let id = host.send_request("tools/call", json!({ "name": "look", "arguments": {} }));
    answer(host, id)
}

#[track_caller]
fn answer(host: &mut Host, id: i64) -> Value {
    loop {
        let message = host.receive_any();
        if message["id"] == id {
            return message;
        }
    }
}

#[track_caller]
fn tools(host: &mut Host) -> Vec<String> {
    let id = host.send_request("tools/list", json!({}));
    let answer = answer(host, id);
    let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn check_has(answer: &Value, length: usize) {
    assert_eq!(answer["result"]["content"][0]["text"], format!("has {length}"), "{answer}");
}

/// Nothing that anybody reads or keeps has the secret in it.
#[track_caller]
fn check_told_nobody(world: &World, host: Host) {
    let (stdout, stderr) = host.finish();
    assert!(!stdout.contains(SECRET) && !stderr.contains(SECRET), "{stdout}\n{stderr}");
    for entry in fs::read_dir(world.fixture.path()).unwrap().flatten() {
        let bytes = fs::read(entry.path()).unwrap_or_default();
        assert!(!text(&bytes).contains(SECRET), "{}", entry.path().display());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn n2_a_server_has_its_secret_while_a_grant_lives_and_is_gone_with_it() {
    for how in ["needs", "does-not"] {
        let world = World::new();
        let issued = world.fixture.issue("mcp:tools:read");
        let mut host = world.wrap(how, &issued.token);
        host.initialize("2025-11-25");
        assert_eq!(tools(&mut host), ["look"]);
        check_has(&look(&mut host), SECRET.len());
        assert!(!holders(host.child.id(), SECRET).is_empty());
        world.fixture.revoke(issued.grant);
        eventually("no process has the secret", Duration::from_secs(5), || holders(host.child.id(), SECRET).is_empty());
        let refused = look(&mut host);
        assert_eq!(refused["result"]["structuredContent"]["error"], "invalid_token", "{refused}");
        assert!(holders(host.child.id(), SECRET).is_empty());
        check_told_nobody(&world, host);
    }
}

/// A person's folder with one host's file in it.
struct Home {
    folder: tempfile::TempDir,
    file: PathBuf,
}

impl Home {
    fn with(file: &str, contents: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, contents).unwrap();
        Self { folder, file }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap()
    }

    fn import(&self, words: &[&str]) -> Output {
        let words = [&["import"], words].concat();
        run(&self.data(), &words, "", |command| {
            command.current_dir(self.folder.path()).env("HOME", self.folder.path());
        })
    }

    #[track_caller]
    fn import_well(&self, words: &[&str]) -> String {
        let output = self.import(words);
        assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
        assert!(!text(&output.stdout).contains(SECRET) && !text(&output.stderr).contains(SECRET));
        text(&output.stdout)
    }
}

fn cursor(server: &Path) -> String {
    let server = server.display();
    format!(
        "{{\n  // mine\n  \"mcpServers\": {{\n    \"github\": {{\n      \"command\": \"bash\",\n      \"args\": [\"{server}\", \"needs\"],\n      \
         \"env\": {{\n        \"GITHUB_TOKEN\": \"{SECRET}\",\n        \"LEVEL\": \"debug\",\n      }},\n    }},\n  }},\n}}\n"
    )
}

#[cfg(target_os = "linux")]
#[test]
fn n2_what_import_writes_is_what_a_host_starts_and_undo_puts_it_back() {
    let world = World::new();
    let home = Home::with(".cursor/mcp.json", &cursor(&world.server));
    let before = home.text();
    let shown = home.import_well(&["--dry-run"]);
    assert!(shown.contains("-        \"GITHUB_TOKEN\": \"\u{2022}\u{2022}\u{2022}\u{2022}\""), "{shown}");
    assert_eq!((home.text(), home.data().exists()), (before.clone(), false));
    assert_eq!(home.import(&[]).status.code(), Some(2), "nobody can be asked");
    home.import_well(&["--yes"]);
    let after = home.text();
    assert!(!after.contains(SECRET) && after.contains("// mine") && after.contains("\"LEVEL\": \"debug\""), "{after}");
    assert!(home.import_well(&["--yes"]).contains("nothing to do"));
    assert_eq!(home.text(), after);
    // As the host would start it, but for the store with the grant in it.
    let entry: Value = serde_json::from_str(
        &after.replace("// mine", "").replace(",\n    },\n  },\n}", "}}}").replace(",\n      }", "}"),
    )
    .unwrap();
    let entry = &entry["mcpServers"]["github"];
    let words: Vec<&str> = entry["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(entry["command"], env!("CARGO_BIN_EXE_mcp-stdio-server"));
    assert_eq!(words[..3], ["wrap", "--data", home.data().to_str().unwrap()]);
    assert_eq!(words[3..8], ["--name", "github", "--secret", "GITHUB_TOKEN=github/GITHUB_TOKEN", "--"]);
    assert_eq!(words[8..], ["bash", world.server.to_str().unwrap(), "needs"]);
    let listed = run_well(&home.data(), &["vault", "list", "--json"], "");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["secrets"][0]["name"], "github/GITHUB_TOKEN");
    assert_eq!(listed["secrets"][0]["used_by"][0]["host"], "Cursor");
    home.import_well(&["--undo", "--yes"]);
    assert_eq!(home.text(), before);
    assert!(run_well(&home.data(), &["vault", "list"], "").contains("empty"));
}
