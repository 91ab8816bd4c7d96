//! Secrets that leave hosts' files: the vault, `wrap --secret` and `import`, through real processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::host::{Host, eventually, modern};
use crate::ladder::{self, check_link, next};

/// Nobody's key, and nothing that could come by chance.
pub const SECRET: &str = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";

/// A server that says whether it has its key. Without it "needs" and "modern" end at once, and "refuses" refuses its host;
/// "empty" has no tools; "modern" is of the modern era alone. "talks" tells its key, in its log and to its host.
const SERVER: &str = r#"
case $1 in needs|modern) [ -z "$GITHUB_TOKEN" ] && { echo "no GITHUB_TOKEN" >&2; exit 1; } ;; esac
fail() { printf '{"jsonrpc":"2.0","id":%s,"error":{"code":%s,"message":"no"}}\n' "$id" "$1"; }
say() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$1"; }
[ "$1" = talks ] && echo "my token is $GITHUB_TOKEN." >&2
while IFS= read -r line; do
  [[ $line =~ \"id\":([0-9]+|\"[^\"]*\") ]] || continue
  id=${BASH_REMATCH[1]}
  case $1,$line in
    modern,*'"initialize"'*) fail -32601 ;;
    modern,*'"server/discover"'*) say '{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}}}' ;;
    refuses,*'"initialize"'*) [ -z "$GITHUB_TOKEN" ] && { fail -32603; continue; } ;;&
    *'"initialize"'*) say '{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}' ;;
    empty,*'"tools/list"'*) [ -z "$GITHUB_TOKEN" ] && { say '{"tools":[]}'; continue; } ;;&
    talks,*'"tools/list"'*) say "{\"tools\":[{\"name\":\"look\",\"description\":\"With $GITHUB_TOKEN.\",\"inputSchema\":{\"type\":\"object\"},\"annotations\":{\"readOnlyHint\":true}}]}" ;;
    *'"tools/list"'*) say '{"tools":[{"name":"look","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}]}' ;;
    *'"tools/call"'*) say "{\"content\":[{\"type\":\"text\",\"text\":\"has ${#GITHUB_TOKEN}\"}]}" ;;
    *'"server/discover"'*) fail -32601 ;;
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
    world: ladder::World,
    server: PathBuf,
}

impl World {
    fn new() -> Self {
        let world = ladder::World::new();
        let server = world.fixture.around().join("server.sh");
        fs::write(&server, SERVER).unwrap();
        run_well(&world.fixture.path(), &["vault", "set", "github/GITHUB_TOKEN"], &format!("{SECRET}\n"));
        Self { world, server }
    }

    fn data(&self) -> PathBuf {
        self.world.fixture.path()
    }

    fn start(&self, how: &str, flags: &[&str], change: impl FnOnce(&mut Command)) -> Host {
        let server = self.server.to_str().unwrap();
        let wrap = ["wrap", "--secret", "GITHUB_TOKEN=github/GITHUB_TOKEN"];
        let words = [&wrap, flags, &["--", "bash", server, how]].concat();
        Host::start_with(&self.data(), &words, change)
    }

    /// With a token from the environment.
    fn wrap(&self, how: &str, token: &str) -> Host {
        self.start(how, &[], |command| {
            command.env("MCP_ACCESS_TOKEN", token);
        })
    }

    /// Whose calls ask for a login.
    fn asking(&self, how: &str) -> Host {
        self.start(how, &["--login", "link"], |_| {})
    }

    /// Nothing that anybody reads or keeps has the secret in it.
    #[track_caller]
    fn check_told_nobody(&self, host: Host) {
        let (stdout, stderr) = host.finish();
        assert!(!stdout.contains(SECRET) && !stderr.contains(SECRET), "{stdout}\n{stderr}");
        let mut paths = vec![self.data()];
        while let Some(path) = paths.pop() {
            match fs::read_dir(&path) {
                Ok(entries) => paths.extend(entries.flatten().map(|entry| entry.path())),
                Err(_) => assert!(!text(&fs::read(&path).unwrap()).contains(SECRET), "{}", path.display()),
            }
        }
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

#[cfg(target_os = "linux")]
#[test]
fn n2_a_server_has_its_secret_while_a_grant_lives_and_is_gone_with_it() {
    for how in ["needs", "does-not"] {
        let world = World::new();
        let issued = world.world.fixture.issue("mcp:tools:read");
        let mut host = world.wrap(how, &issued.token);
        host.initialize("2025-11-25");
        assert_eq!(tools(&mut host), ["look"]);
        check_has(&look(&mut host), SECRET.len());
        assert!(!holders(host.child.id(), SECRET).is_empty());
        world.world.fixture.revoke(issued.grant);
        eventually("no process has the secret", Duration::from_secs(5), || holders(host.child.id(), SECRET).is_empty());
        let refused = look(&mut host);
        assert_eq!(refused["result"]["structuredContent"]["error"], "invalid_token", "{refused}");
        assert!(holders(host.child.id(), SECRET).is_empty());
        world.check_told_nobody(host);
    }
}

/// A server that does not start without its key is there all the same: with a tool to sign in, and after the first run with what
/// it had then. The call that asked goes through when somebody has signed in.
#[cfg(target_os = "linux")]
#[test]
fn n2_a_server_that_needs_its_secret_is_stood_in_for_until_somebody_signs_in() {
    let world = World::new();
    let mut host = world.asking("needs");
    let hello = host.initialize("2025-11-25");
    assert_eq!(hello["result"]["capabilities"]["tools"]["listChanged"], true);
    assert_eq!(tools(&mut host), ["sign_in"]);
    let sign_in = |host: &mut Host| {
        let id = host.send_request("tools/call", json!({ "name": "sign_in", "arguments": {} }));
        answer(host, id)["result"].clone()
    };
    let code = check_link(&world.world, &sign_in(&mut host));
    assert!(holders(host.child.id(), SECRET).is_empty());
    let unknown = look(&mut host);
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    let grant = world.world.allow(&code);
    let words = sign_in(&mut host)["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    assert!(words.starts_with("Signed in"), "{words}");
    next(&mut host, "notifications/tools/list_changed");
    eventually("the tools are the server's", Duration::from_secs(10), || tools(&mut host) == ["look"]);
    check_has(&look(&mut host), SECRET.len());
    // The next one knows it, and has the login.
    let mut second = world.asking("needs");
    second.initialize("2025-11-25");
    assert_eq!(tools(&mut second), ["look"]);
    check_has(&look(&mut second), SECRET.len());
    world.world.revoke(grant);
    for host in [&host, &second] {
        eventually("no process has the secret", Duration::from_secs(5), || holders(host.child.id(), SECRET).is_empty());
    }
    // One that starts now shows what the server had, and holds the call until somebody has signed in again.
    let mut third = world.asking("needs");
    third.initialize("2025-11-25");
    assert_eq!(tools(&mut third), ["look"]);
    let refused = look(&mut third);
    let code = check_link(&world.world, &refused["result"]);
    world.world.allow(&code);
    check_has(&look(&mut third), SECRET.len());
    assert!(!holders(third.child.id(), SECRET).is_empty());
    for host in [host, second, third] {
        world.check_told_nobody(host);
    }
}

/// A call with what a host of an era sends along, and a token.
#[cfg(target_os = "linux")]
fn call(host: &mut Host, tool: &str, meta: &Value, token: Option<&str>) -> Value {
    let mut meta = meta.clone();
    if let Some(token) = token {
        meta["authz/access_token"] = token.into();
    }
    let id = host.send_request("tools/call", json!({ "name": tool, "arguments": {}, "_meta": meta }));
    answer(host, id)
}

#[cfg(target_os = "linux")]
#[test]
fn n2_a_token_that_comes_with_a_call_covers_the_secret_in_both_eras() {
    let world = World::new();
    for (how, era, once) in [
        ("does-not", json!({}), false),
        ("does-not", json!({}), true),
        ("does-not", modern(), false),
        ("needs", json!({}), false),
        ("needs", modern(), false),
    ] {
        let _ = fs::remove_file(world.data().join("wrapped-default.json"));
        let issued = world.world.fixture.issue("mcp:tools:read");
        let token = match once {
            true => world.world.fixture.one_call(&issued, "look", &json!({})),
            false => issued.token.clone(),
        };
        let mut host = world.start(how, &[], |_| {});
        if era == json!({}) {
            host.initialize("2025-11-25");
        }
        let first = if how == "needs" { "sign_in" } else { "look" };
        let refused = call(&mut host, first, &era, None);
        assert_eq!(refused["result"]["structuredContent"]["error"], "unauthorized", "{refused}");
        assert!(holders(host.child.id(), SECRET).is_empty());
        if how == "needs" {
            let signed_in = call(&mut host, "sign_in", &era, Some(&token));
            assert_eq!(signed_in["result"]["isError"], false, "{signed_in}");
        }
        check_has(&call(&mut host, "look", &era, Some(&token)), SECRET.len());
        world.world.fixture.revoke(issued.grant);
        eventually("no process has the secret", Duration::from_secs(5), || holders(host.child.id(), SECRET).is_empty());
        world.check_told_nobody(host);
    }
}

/// However a server shows that it wants its key, and whichever era it is of, there is something to sign in with until then.
#[cfg(target_os = "linux")]
#[test]
fn n2_a_server_that_refuses_its_host_and_one_of_the_other_era_come_when_somebody_has_signed_in() {
    let world = World::new();
    for how in ["refuses", "modern", "empty"] {
        for era in [json!({}), modern()] {
            let _ = fs::remove_file(world.data().join("wrapped-default.json"));
            let issued = world.world.fixture.issue("mcp:tools:read");
            let mut host = world.start(how, &[], |_| {});
            if era == json!({}) {
                assert!(host.initialize("2025-11-25")["result"].is_object(), "{how}");
            }
            eventually("there is something to sign in with", Duration::from_secs(10), || {
                let id = host.send_request("tools/list", json!({ "_meta": era }));
                answer(&mut host, id)["result"]["tools"][0]["name"] == "sign_in"
            });
            let signed_in = call(&mut host, "sign_in", &era, Some(&issued.token));
            assert_eq!(signed_in["result"]["isError"], false, "{how} {era}: {signed_in}");
            check_has(&call(&mut host, "look", &era, Some(&issued.token)), SECRET.len());
            world.world.fixture.revoke(issued.grant);
            let is_gone = || holders(host.child.id(), SECRET).is_empty();
            eventually("no process has the secret", Duration::from_secs(5), is_gone);
            // What it had is shown on, and the server comes again.
            let issued = world.world.fixture.issue("mcp:tools:read");
            check_has(&call(&mut host, "look", &era, Some(&issued.token)), SECRET.len());
            world.check_told_nobody(host);
        }
    }
}

/// What let a call in is compared with what the server says that gets it: the stand-in only remembers.
#[cfg(target_os = "linux")]
#[test]
fn n2_a_tool_that_became_another_while_its_server_was_not_there_is_not_called() {
    let world = World::new();
    let issued = world.world.fixture.issue("mcp:tools:read mcp:resources");
    let remembered = json!({
        "server": { "capabilities": { "tools": {} }, "serverInfo": { "name": "s", "version": "1" } },
        "tools": [{ "name": "look", "inputSchema": { "type": "object" } }],
        "needs_secrets": true,
    });
    let rules = world.data().join("rules.toml");
    fs::write(&rules, "version = 1\n[[tool]]\nread_only = false\nscopes = \"mcp:resources\"\n").unwrap();
    fs::write(world.data().join("wrapped-default.json"), remembered.to_string()).unwrap();
    let mut host = world.start("needs", &["--rules", rules.to_str().unwrap()], |_| {});
    host.initialize("2025-11-25");
    let refused = call(&mut host, "look", &json!({}), Some(&issued.token));
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    check_has(&call(&mut host, "look", &json!({}), Some(&issued.token)), SECRET.len());
    world.check_told_nobody(host);
}

/// A grant that is taken back while its call is on the way: whatever the call gets, it gets something, and no process keeps the secret.
#[cfg(target_os = "linux")]
#[test]
fn n2_a_revocation_at_any_moment_leaves_no_process_with_the_secret() {
    let world = World::new();
    for how in ["does-not", "needs"] {
        let mut host = world.start(how, &[], |_| {});
        host.initialize("2025-11-25");
        for round in 0..6 {
            let issued = world.world.fixture.issue("mcp:tools");
            let meta = json!({ "authz/access_token": issued.token });
            let tool = if how == "needs" && round == 0 { "sign_in" } else { "look" };
            let id = host.send_request("tools/call", json!({ "name": tool, "arguments": {}, "_meta": meta }));
            // Each time a little later.
            let met = (0..round * 40).any(|_| !holders(host.child.id(), SECRET).is_empty());
            world.world.fixture.revoke(issued.grant);
            let answer = answer(&mut host, id);
            assert!(answer["result"].is_object() || answer["error"].is_object(), "{met} {answer}");
            let is_gone = || holders(host.child.id(), SECRET).is_empty();
            eventually("no process has the secret", Duration::from_secs(10), is_gone);
        }
        let issued = world.world.fixture.issue("mcp:tools");
        let meta = json!({});
        if how == "needs" {
            let _ = call(&mut host, "sign_in", &meta, Some(&issued.token));
        }
        check_has(&call(&mut host, "look", &meta, Some(&issued.token)), SECRET.len());
        world.check_told_nobody(host);
    }
}

/// What a server says to its host is between the two of them; what is kept, and its log, has no secret in it.
#[test]
fn n2_a_server_that_tells_its_secret_tells_no_file_and_no_log() {
    let world = World::new();
    let issued = world.world.fixture.issue("mcp:tools:read");
    let mut host = world.wrap("talks", &issued.token);
    host.initialize("2025-11-25");
    assert_eq!(tools(&mut host), ["look"]);
    check_has(&look(&mut host), SECRET.len());
    let (stdout, stderr) = host.finish();
    assert!(stdout.contains(SECRET));
    assert!(stderr.contains("my token is [secret].") && !stderr.contains(SECRET), "{stderr}");
    assert!(stderr.contains("not remembered") && !world.data().join("wrapped-default.json").exists(), "{stderr}");
}

#[cfg(target_os = "linux")]
#[test]
fn n2_a_grant_that_ends_by_itself_takes_the_secret_with_it_and_another_servers_does_not_give_it() {
    let world = World::new();
    let mut host = world.asking("does-not");
    host.initialize("2025-11-25");
    let code = check_link(&world.world, &look(&mut host)["result"]);
    world.world.allow_for(&code, None, 3);
    check_has(&look(&mut host), SECRET.len());
    eventually("no process has the secret", Duration::from_secs(10), || holders(host.child.id(), SECRET).is_empty());
    world.check_told_nobody(host);
    let foreign = world.world.fixture.issue("mcp:resources:other");
    let mut host = world.wrap("does-not", &foreign.token);
    host.initialize("2025-11-25");
    assert_eq!(look(&mut host)["result"]["structuredContent"]["error"], "insufficient_scope");
    assert!(holders(host.child.id(), SECRET).is_empty());
    world.check_told_nobody(host);
}

/// What is missing is named, to whoever calls, and counts from the moment when it is there.
#[test]
fn n2_a_secret_that_is_not_to_be_had_is_named() {
    let world = World::new();
    run_well(&world.data(), &["vault", "remove", "github/GITHUB_TOKEN"], "");
    let issued = world.world.fixture.issue("mcp:tools:read");
    let mut host = world.wrap("does-not", &issued.token);
    host.initialize("2025-11-25");
    let words = look(&mut host)["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(words.contains("the vault has no secret github/GITHUB_TOKEN"), "{words}");
    run_well(&world.data(), &["vault", "set", "github/GITHUB_TOKEN"], SECRET);
    check_has(&look(&mut host), SECRET.len());
    fs::rename(world.data().join("vault.key"), world.data().join("elsewhere")).unwrap();
    let mut other = world.wrap("does-not", &issued.token);
    other.initialize("2025-11-25");
    let words = look(&mut other)["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(words.contains("key") && words.contains("is not there"), "{words}");
    world.check_told_nobody(host);
    world.check_told_nobody(other);
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

/// Each file by itself: what cannot be read or changed is named, with its place, and the others go on.
#[test]
fn n2_a_file_that_cannot_be_read_is_named_and_the_others_go_on() {
    let good = format!("[mcp_servers.a]\ncommand = \"a\"\nenv = {{ TOKEN = \"{SECRET}\" }}\n");
    let home = Home::with(".codex/config.toml", &good);
    let put = |file: &str, contents: &str| {
        let path = home.folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    };
    let bad = format!(
        "{{\n  \"mcpServers\": {{\n    \"a\": {{ \"env\": {{ \"TOKEN\": \"{SECRET}\" }} }}\n    \"b\": 1\n}}}}"
    );
    put(".gemini/settings.json", &bad);
    put(".config/goose/config.yaml", "extensions: {}\n");
    put(".lmstudio/mcp.json", "{}");
    let output = home.import(&["--json"]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(!stdout.contains(SECRET) && !stderr.contains(SECRET));
    let plan: Value = serde_json::from_str(&stdout).unwrap();
    let mut told: Vec<_> = plan["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| {
            let text = |name: &str| file[name].as_str().unwrap_or_default().to_owned();
            (text("host"), text("status"), text("error"))
        })
        .collect();
    told.sort();
    let row = |host: &str, status: &str, error: &str| (host.to_owned(), status.to_owned(), error.to_owned());
    assert_eq!(
        told,
        [
            row("Codex", "change", ""),
            row("Gemini CLI", "failed", "it cannot be read: line 4, column 5: a comma or the end must stand here"),
            row("Goose", "unsupported", ""),
            row("LM Studio", "nothing", ""),
        ]
    );
    assert_eq!(home.text(), good, "a plan does nothing");
    assert_eq!(home.import(&["--yes"]).status.code(), Some(1));
    assert!(!home.text().contains(SECRET));
    assert_eq!(fs::read_to_string(home.folder.path().join(".gemini/settings.json")).unwrap(), bad);
    // The file that is named, of the host that is named; and one that is not there.
    assert_eq!(home.import(&["--yes", "--host", "lm-studio"]).status.code(), Some(0));
    assert_eq!(home.import(&["--yes", "--file", "nowhere.json"]).status.code(), Some(1));
    assert_eq!(home.import(&["--host", "nobody"]).status.code(), Some(2));
    assert_eq!(home.import(&["--undo"]).status.code(), Some(2));
    home.import_well(&["--undo", "--yes", "--file", home.file.to_str().unwrap()]);
    assert_eq!(home.text(), good);
    home.import_well(&["--undo", "--yes"]);
}

/// What a person changed since stays, and what the vault still has for it stays too.
#[test]
fn n2_undo_leaves_an_entry_that_somebody_changed_and_keeps_its_secret() {
    let home = Home::with(".cursor/mcp.json", &cursor(Path::new("/x")));
    home.import_well(&["--yes"]);
    let changed = home.text().replace("\"needs\"", "\"needs\", \"more\"");
    fs::write(&home.file, &changed).unwrap();
    let output = home.import(&["--undo", "--yes"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("github"), "{}", text(&output.stderr));
    assert_eq!(home.text(), changed);
    let removed = run(&home.data(), &["vault", "remove", "github/GITHUB_TOKEN"], "", |_| {});
    assert_eq!(removed.status.code(), Some(1), "a server needs it");
    // Changed back, it is undone; the token of now goes back with it.
    fs::write(&home.file, changed.replace(", \"more\"", "")).unwrap();
    run_well(&home.data(), &["vault", "set", "github/GITHUB_TOKEN"], "newer\n");
    home.import_well(&["--undo", "--yes"]);
    assert_eq!(home.text(), cursor(Path::new("/x")).replace(SECRET, "newer"));
}

/// A value never comes from the command line, and is refused when it is none.
#[test]
fn n2_the_vault_takes_values_from_standard_input_alone() {
    let home = Home::with("x", "");
    let set = |words: &[&str], input: &str| {
        run(&home.data(), &[&["vault", "set"], words].concat(), input, |_| {}).status.code()
    };
    assert_eq!(set(&["a", "hunter2"], ""), Some(2));
    assert_eq!(set(&["a"], ""), Some(1));
    assert_eq!(set(&["a"], "\n"), Some(1));
    assert_eq!(set(&["a"], "b\0c"), Some(1));
    assert_eq!(set(&["a b"], "c"), Some(2));
    assert_eq!(set(&["a"], &"x".repeat(64 * 1024 + 1)), Some(1));
    assert!(run_well(&home.data(), &["vault", "list"], "").contains("empty"));
    assert_eq!(set(&["a"], &format!("{SECRET}\r\n")), Some(0));
    assert!(run_well(&home.data(), &["vault", "list"], "").starts_with("a  20"));
    run_well(&home.data(), &["vault", "rotate-key"], "");
    run_well(&home.data(), &["vault", "remove", "a"], "");
    let http = run(&home.data(), &["http", "--secret", "A=a", "--", "x"], "", |_| {});
    assert!(!http.status.success() && text(&http.stderr).contains("gets no secrets"), "{}", text(&http.stderr));
}

/// What undo would do is told without doing it; a file that is not there keeps its secrets in the vault.
#[test]
fn n2_undo_tells_its_plan_to_programs_and_keeps_the_secrets_of_a_file_that_is_not_there() {
    let home = Home::with(".cursor/mcp.json", &cursor(Path::new("/x")));
    home.import_well(&["--yes"]);
    let after = home.text();
    for words in [&["--undo", "--json"][..], &["--undo", "--json", "--dry-run"]] {
        let plan: Value = serde_json::from_str(&home.import_well(words)).unwrap();
        assert_eq!(plan["files"][0]["secrets"][0]["secret"], "github/GITHUB_TOKEN", "{words:?}");
        assert_eq!(home.text(), after, "{words:?} does nothing");
    }
    let aside = home.file.with_extension("aside");
    fs::rename(&home.file, &aside).unwrap();
    let output = home.import(&["--undo", "--yes"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("the vault keeps its secrets"), "{}", text(&output.stderr));
    fs::rename(&aside, &home.file).unwrap();
    home.import_well(&["--undo", "--yes"]);
    assert_eq!(home.text(), cursor(Path::new("/x")));
}

/// One name is one grant: a server that comes later does not get the name of one that is wrapped already.
#[test]
fn n2_a_server_gets_no_name_that_another_one_is_wrapped_under() {
    let env = format!("\"env\": {{ \"TOKEN\": \"{SECRET}\" }}");
    let first = format!("{{\"mcpServers\": {{ \"my server\": {{ \"command\": \"a\", {env} }} }}}}");
    let home = Home::with(".cursor/mcp.json", &first);
    home.import_well(&["--yes"]);
    let both = home
        .text()
        .replace("{ \"my server\"", &format!("{{ \"my-server\": {{ \"command\": \"b\", {env} }}, \"my server\""));
    fs::write(&home.file, both).unwrap();
    home.import_well(&["--yes"]);
    let after: Value = serde_json::from_str(&home.text()).unwrap();
    let name = |server: &str| {
        let words: Vec<_> =
            after["mcpServers"][server]["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        words[words.iter().position(|word| *word == "--name").unwrap() + 1].to_owned()
    };
    assert_eq!((name("my server"), name("my-server")), ("my-server".to_owned(), "my-server-2".to_owned()), "{after}");
}

/// A key that others may read is none.
#[cfg(unix)]
#[test]
fn n2_a_key_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let home = Home::with("x", "");
    let key = home.folder.path().join("the.key");
    let set = || run(&home.data(), &["vault", "set", "a", "--vault-key-file", key.to_str().unwrap()], "b\n", |_| {});
    assert!(set().status.success());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = set();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("others than its owner may read it"), "{}", text(&refused.stderr));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(set().status.success());
}
