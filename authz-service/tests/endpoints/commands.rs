//! ADM: the commands that list, end and audit, beside a running service.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use authz_service::cli::Cli;
use clap::CommandFactory;
use serde_json::{Value, json};
use shared::scope::Scopes;
use shared::state::{AnsweredChallenge, Change, Effect, Passkey, Tool};
use shared::store::conformance::Sample;
use shared::store::journal::JournalStore;
use shared::time::{Clock, SystemClock};
use shared::uri::Resource;

use super::process::{APPROVE, Running, add_user, command};

/// Runs a command that must succeed; what it printed.
#[track_caller]
fn run(data: &Path, args: &[&str]) -> String {
    let output = command(data).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn run_json(data: &Path, args: &[&str]) -> Value {
    let text = run(data, args);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{args:?} printed no JSON: {text}"))
}

/// Runs a command that must fail; its exit code, and the one line that it said.
#[track_caller]
fn fails(data: &Path, args: &[&str]) -> (i32, String) {
    let output = command(data).args(args).output().unwrap();
    assert!(output.stdout.is_empty(), "{args:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Whether an access token is live, by the service's introspection for its own client.
fn refreshes(service: &Running, client: &str, tokens: &Value) -> bool {
    service.refresh(client, tokens["refresh_token"].as_str().unwrap()).status == 200
}

#[test]
fn adm_02_03_grants_are_listed_in_pages_and_revoked_beside_a_running_service() {
    let data = tempfile::tempdir().unwrap();
    let service = Running::start(data.path(), &APPROVE);
    let clients = [service.register(), service.register(), service.register()];
    let tokens: Vec<_> = clients.iter().map(|client| service.tokens(client)).collect();
    let all = run_json(data.path(), &["grant", "list", "--json"]);
    let grants = all["grants"].as_array().unwrap();
    assert_eq!((grants.len(), all["next"].is_null()), (3, true));
    for grant in grants {
        assert_eq!(grant["user"], "demo");
        assert!(grant["since"].as_str().unwrap().ends_with('Z') && grant["scopes"].is_string(), "{grant}");
    }
    // Pages that join to the whole.
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut args = vec!["grant", "list", "--json", "--limit", "1"];
        args.extend(after.iter().flat_map(|after| ["--after", after.as_str()]));
        let page = run_json(data.path(), &args);
        seen.extend(page["grants"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(&seen, grants);
    let by_client = run_json(data.path(), &["grant", "list", "--json", "--client", &clients[0]]);
    assert_eq!(by_client["grants"][0]["client_id"], json!(clients[0]));
    let text = run(data.path(), &["grant", "list", "--user", "demo", "--limit", "2"]);
    assert!(text.lines().count() == 3 && text.contains("… 1 more: --after "), "{text}");
    for secret in ["refresh_token", "access_token"] {
        assert!(!run(data.path(), &["grant", "list", "--json"]).contains(tokens[0][secret].as_str().unwrap()));
    }
    // One, one client's, everybody's.
    let grant = by_client["grants"][0]["grant"].as_str().unwrap();
    assert_eq!(run(data.path(), &["grant", "revoke", grant]), "Revoked 1 grant.\n");
    assert_eq!(fails(data.path(), &["grant", "revoke", grant]).0, 1);
    assert!(!refreshes(&service, &clients[0], &tokens[0]) && refreshes(&service, &clients[1], &tokens[1]));
    assert_eq!(run(data.path(), &["grant", "revoke", "--client", &clients[1], "--user", "demo"]), "Revoked 1 grant.\n");
    assert!(!refreshes(&service, &clients[1], &tokens[1]));
    let revoked = run_json(data.path(), &["grant", "revoke", "--all", "--json"]);
    assert_eq!(revoked["revoked"].as_array().unwrap().len(), 1);
    assert!(!refreshes(&service, &clients[2], &tokens[2]));
    assert_eq!(run(data.path(), &["grant", "list"]), "");
}

#[test]
fn adm_02_accounts_rest_work_again_and_go_beside_a_running_service() {
    let data = tempfile::tempdir().unwrap();
    let service = Running::start(data.path(), &APPROVE);
    let client = service.register();
    let tokens = service.tokens(&client);
    assert_eq!(run(data.path(), &["user", "disable", "demo"]), "demo is disabled.\n");
    assert!(!refreshes(&service, &client, &tokens), "what it gave is dead");
    let target = format!("/oauth/authorize?{}", crate::support::authorize_query(&client, &[]));
    let refused = service.connect().send("GET", &target, &[], b"");
    assert!(refused.redirected("code").is_none(), "{} {:?}", refused.status, refused.header("location"));
    assert_eq!(run(data.path(), &["user", "enable", "demo"]), "demo is enabled.\n");
    assert!(!refreshes(&service, &client, &tokens), "and stays dead");
    assert!(refreshes(&service, &client, &service.tokens(&client)));
    assert!(add_user(data.path(), "ada", "correct horse").status.success());
    let users = run_json(data.path(), &["user", "list", "--json"]);
    let names: Vec<_> = users["users"].as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["ada", "demo"]);
    assert!(!users.to_string().contains("argon2"), "{users}");
    assert_eq!(run(data.path(), &["user", "remove", "ada"]), "ada is removed.\n");
    for args in [&["user", "enable", "ada"][..], &["user", "sessions", "ada"], &["user", "disable", "nobody"]] {
        let (code, stderr) = fails(data.path(), args);
        assert!(code == 1 && stderr.contains("there is no account called"), "{stderr}");
    }
    let taken = add_user(data.path(), "ada", "correct horse");
    assert_eq!(taken.status.code(), Some(1), "the name stays taken");
    assert!(String::from_utf8_lossy(&taken.stderr).contains("there is or was an account called ada"));
    let sessions = run_json(data.path(), &["user", "sessions", "demo", "--end", "--json"]);
    assert_eq!(sessions, json!({ "sessions": [], "ended": true }));
}

#[test]
fn people_of_a_provider_are_linked_listed_and_unlinked_beside_a_running_service() {
    let data = tempfile::tempdir().unwrap();
    let _service = Running::start(data.path(), &[]);
    assert!(add_user(data.path(), "ada", "correct horse").status.success());
    let who = |verb: &'static str, name: &'static str, subject: &'static str| {
        ["user", verb, name, "--issuer", "https://id.example", "--subject", subject]
    };
    assert_eq!(run(data.path(), &who("link", "ada", "s1")), "s1 of https://id.example signs in as ada.\n");
    let (_, stderr) = fails(data.path(), &who("link", "bob", "s2"));
    assert!(stderr.contains("there is no account called bob; --create makes it"), "{stderr}");
    run(data.path(), &[&who("link", "bob", "s2")[..], &["--create"]].concat());
    let (_, stderr) = fails(data.path(), &who("link", "bob", "s1"));
    assert!(stderr.contains("signs in to an account already"), "{stderr}");
    let (_, stderr) = fails(data.path(), &[&who("link", "ada", "s3")[..], &["--create"]].concat());
    assert!(!stderr.is_empty());
    let users = run_json(data.path(), &["user", "list", "--json"]);
    assert_eq!(users["users"][0]["links"][0]["issuer"], "https://id.example");
    assert_eq!(users["users"][1]["links"][0]["subject"], "s2");
    let listed = run(data.path(), &["user", "list"]);
    assert!(listed.contains("password, provider"), "{listed}");
    let gone = run(data.path(), &who("unlink", "ada", "s1"));
    assert_eq!(gone, "s1 of https://id.example signs in as ada no more.\n");
    let (code, stderr) = fails(data.path(), &who("unlink", "bob", "s1"));
    assert!(code == 1 && stderr.contains("does not sign in as bob"), "{stderr}");
    let told = run(data.path(), &["audit", "tail"]);
    assert!(told.contains("upstream-linked") && told.contains("upstream-unlinked"), "{told}");
}

#[test]
fn cfg_04_06_providers_are_read_whole_or_the_service_does_not_start() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("upstreams.json");
    let check = |text: &str, more: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let args = ["config", "check", "--upstreams", file.to_str().unwrap()];
        fails(data.path(), &[&args, more].concat()).1
    };
    let one = r#"{"name":"corp","issuer":"https://id.example","client_id":"us"}"#;
    for (text, why) in [
        ("{", "upstreams.json"),
        ("{}", "no JSON list"),
        (&format!("[{one},{one}]"), "two providers are called corp"),
        (r#"[{"name":"corp","issuer":"https://id.example"}]"#, "client_id"),
        (r#"[{"name":"corp","issuer":"https://id.example","client_id":"us","client_secret_file":"absent"}]"#, "absent"),
    ] {
        let stderr = check(text, &[]);
        assert!(stderr.contains(why), "{text}: {stderr}");
    }
    let stderr = check("[]", &["--password-login", "off"]);
    assert!(stderr.contains("leaves no way to sign in"), "{stderr}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let open = one.replace("\"us\"", "\"us\",\"client_secret\":\"hush-hush\"");
        let stderr = check(&format!("[{open}]"), &[]);
        assert!(stderr.contains("chmod 600") && !stderr.contains("hush"), "{stderr}");
    }
}

#[test]
fn adm_02_passkeys_are_listed_and_removed_beside_a_running_service() {
    let data = tempfile::tempdir().unwrap();
    let _service = Running::start(data.path(), &[]);
    assert!(add_user(data.path(), "ada", "correct horse").status.success());
    let sample = Sample::new(SystemClock.now());
    let passkey = Passkey { name: "Bad\u{1b}[2J\u{202e}".into(), ..sample.passkey() };
    let short = passkey.short_id();
    let challenge = AnsweredChallenge { hash: passkey.handle, expires: passkey.created };
    let added = Change::PasskeyAdded { user: "ada".parse().unwrap(), passkey, challenge };
    let store = JournalStore::open(data.path(), Arc::new(SystemClock)).unwrap();
    store.commit_blocking(vec![added]).unwrap();
    let listed = run(data.path(), &["user", "passkeys", "ada"]);
    assert!(listed.starts_with(&short) && listed.contains("never used") && !listed.contains('\u{1b}'), "{listed}");
    let json = run_json(data.path(), &["user", "passkeys", "ada", "--json"]);
    assert_eq!((&json["passkeys"][0]["id"], &json["passkeys"][0]["algorithm"]), (&json!(short), &json!("ES256")));
    assert_eq!(run_json(data.path(), &["user", "list", "--json"])["users"][0]["passkeys"], 1);
    let (code, stderr) = fails(data.path(), &["user", "passkeys", "ada", "--remove", "nonsense"]);
    assert!(code == 1 && stderr.contains("ada has no passkey nonsense"), "{stderr}");
    let removed = run(data.path(), &["user", "passkeys", "ada", "--remove", &short]);
    assert_eq!(removed, format!("The passkey {short} of ada signs nobody in any more.\n"));
    assert_eq!(run(data.path(), &["user", "passkeys", "ada"]), "");
    assert!(run(data.path(), &["audit", "tail"]).contains("passkey-removed"));
}

#[test]
fn adm_04_the_audit_trail_tells_who_did_what_and_holds_nothing_to_use() {
    let data = tempfile::tempdir().unwrap();
    let service = Running::start(data.path(), &APPROVE);
    let name = "Bad\u{1b}[2J\nname\u{202e}";
    let body =
        json!({ "client_name": name, "redirect_uris": ["http://127.0.0.1/cb"], "token_endpoint_auth_method": "none" });
    let headers = [("Content-Type", "application/json")];
    let registered = service.connect().send("POST", "/register", &headers, body.to_string().as_bytes());
    let named = registered.status == 201;
    let client = if named { registered.json()["client_id"].as_str().unwrap().to_owned() } else { service.register() };
    let code = service.code(&client);
    let tokens = service.tokens(&client);
    assert!(refreshes(&service, &client, &tokens));
    run(data.path(), &["grant", "revoke", "--client", &client]);
    let trail = run_json(data.path(), &["audit", "tail", "--json", "--limit", "100"]);
    let events = trail["events"].as_array().unwrap();
    let what: Vec<_> = events.iter().map(|event| event["what"].as_str().unwrap()).collect();
    for word in ["client-registered", "approved", "code-redeemed", "token-refreshed", "grant-revoked"] {
        assert!(what.contains(&word), "{word} in {what:?}");
    }
    let revoked = events.iter().rfind(|event| event["what"] == "grant-revoked").unwrap();
    assert_eq!((&revoked["user"], &revoked["client"]), (&json!("demo"), &json!(client)));
    assert_eq!(revoked["detail"], "the operator took it back");
    let exported = run(data.path(), &["audit", "export"]);
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(&lines, events, "one line an event");
    let human = run(data.path(), &["audit", "tail", "-n", "100"]);
    assert_eq!(human.lines().count(), events.len(), "one line an event");
    for text in [&exported, &human, &trail.to_string()] {
        assert!(!text.contains('\u{1b}') && !text.contains("$argon2"), "{text}");
        for secret in
            [code.as_str(), tokens["refresh_token"].as_str().unwrap(), tokens["access_token"].as_str().unwrap()]
        {
            let hash = serde_json::to_string(&shared::secret::Secret::new(secret.to_owned()).hash()).unwrap();
            assert!(!text.contains(secret) && !text.contains(hash.trim_matches('"')));
        }
    }
    assert!(!human.contains('\u{202e}'));
    assert_eq!(run(data.path(), &["audit", "tail", "-n", "2"]).lines().count(), 2);
    assert!(run(data.path(), &["audit", "verify"]).starts_with("The chain is whole: "));
}

#[test]
fn adm_04_a_changed_line_is_named_by_verify() {
    let data = tempfile::tempdir().unwrap();
    let service = Running::start(data.path(), &APPROVE);
    service.register();
    assert_eq!(run_json(data.path(), &["audit", "verify", "--json"])["whole"], true);
    drop(service);
    let journal = data.path().join("journal.1.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, text.replacen("client_registered", "client_registereD", 1)).unwrap();
    let (code, stderr) = fails(data.path(), &["audit", "verify"]);
    assert!(code == 1 && stderr.contains("journal.1.jsonl line"), "{stderr}");
}

#[test]
fn adm_05_odd_names_and_a_folder_without_a_store_are_refused_and_nothing_is_made() {
    let data = tempfile::tempdir().unwrap();
    let nowhere = data.path().join("nowhere");
    for args in [
        &["grant", "list"][..],
        &["grant", "revoke", "--all"],
        &["user", "list"],
        &["user", "disable", "ada"],
        &["audit", "tail"],
        &["audit", "verify"],
        &["audit", "export"],
    ] {
        let (code, stderr) = fails(&nowhere, args);
        assert!(code == 1 && stderr.contains("there is no store"), "{args:?}: {stderr}");
    }
    assert!(!nowhere.exists(), "a command that reads makes nothing");
    for args in [
        &["grant", "revoke"][..],
        &["grant", "revoke", "../../keys.json"],
        &["grant", "revoke", "--all", "--user", "ada"],
        &["grant", "list", "--limit", "0"],
        &["grant", "list", "--user", "../x"],
        &["user", "remove", "a/../b"],
        &["user", "password", "ada"],
        &["audit", "tail", "-n", "0"],
    ] {
        assert_eq!(fails(&nowhere, args).0, 2, "{args:?}");
    }
}

#[test]
fn a_grant_is_listed_with_the_tools_that_it_opens() {
    let data = tempfile::tempdir().unwrap();
    let service = Running::start(data.path(), &APPROVE);
    let tool = |name: &str, scopes: &str| Tool {
        name: name.parse().unwrap(),
        title: String::new(),
        effect: Effect::Read,
        scopes: scopes.parse().unwrap(),
        print: None,
    };
    let tools = vec![tool("look", "mcp:tools:read"), tool("public", ""), tool("admin", "mcp:admin")];
    let announced =
        Change::ToolsAnnounced { resource: Resource::stdio("default").unwrap(), tools, scopes: Scopes::default() };
    let store = JournalStore::open(data.path(), Arc::new(SystemClock)).unwrap();
    store.commit_blocking(vec![announced]).unwrap();
    service.tokens(&service.register());
    let listed = run_json(data.path(), &["grant", "list", "--json"]);
    let grant = &listed["grants"][0];
    assert_eq!((&grant["opens"], &grant["tools"]), (&json!(["look"]), &json!(null)), "{grant}");
    assert!(run(data.path(), &["grant", "list"]).ends_with("\tlook\n"));
}

#[test]
fn an_answer_that_cannot_be_written_is_told_and_a_reader_who_left_is_not() {
    let data = tempfile::tempdir().unwrap();
    add_user(data.path(), "ada", "correct horse battery staple");
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for args in [&["user", "list"][..], &["client", "token"], &["audit", "export"]] {
        let output = command(data.path()).args(args).stdout(full()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(said.contains("could not be written") && said.lines().count() == 1, "{args:?}: {said}");
        let mut child = command(data.path()).args(args).stdout(std::process::Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        assert!(child.wait().unwrap().success(), "{args:?}");
    }
}

/// The commands that take `--json`, by their words.
fn with_json(command: &clap::Command, words: &str, found: &mut BTreeSet<String>) {
    for one in command.get_subcommands() {
        let words = format!("{words} {}", one.get_name()).trim_start().to_owned();
        if one.get_arguments().any(|argument| argument.get_long() == Some("json")) {
            found.insert(words.clone());
        }
        with_json(one, &words, found);
    }
}

#[test]
fn every_command_writes_json_in_one_way() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("store");
    let added = {
        let mut child = command(&folder)
            .args(["user", "add", "ada", "--password-stdin", "--json"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"correct horse\n").unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    assert_eq!(serde_json::from_str::<Value>(&added).unwrap(), json!({ "name": "ada", "stage": "enabled" }));
    let secret = run_json(
        &folder,
        &["client", "add", "secretive", "--redirect-uri", "http://127.0.0.1/cb", "--confidential", "--json"],
    );
    assert!(secret["client_secret"].is_string(), "{secret}");
    let backup = data.path().join("backup");
    let (backup, elsewhere) = (backup.to_str().unwrap(), data.path().join("elsewhere"));
    let mut left = BTreeSet::new();
    with_json(&Cli::command(), "", &mut left);
    // Needs a password on its input, a damaged store; looked at above, and by the tests of the store's commands.
    for known in ["user add", "user password", "store repair"] {
        assert!(left.remove(known), "{known}");
    }
    for (command, rest) in [
        ("client add", "plain --redirect-uri http://127.0.0.1/cb"),
        ("client show", "plain"),
        ("client list", ""),
        ("client token", ""),
        ("client publish", "ours --redirect-uri http://127.0.0.1/cb --issuer https://as.example"),
        ("client rotate-secret", "secretive"),
        ("client remove", "plain"),
        ("user disable", "ada"),
        ("user enable", "ada"),
        ("user list", ""),
        ("user sessions", "ada"),
        ("user passkeys", "ada"),
        ("user link", "ada --issuer https://idp.example --subject 7"),
        ("user unlink", "ada --issuer https://idp.example --subject 7"),
        ("grant list", ""),
        ("grant revoke", "--all"),
        ("key list", ""),
        ("key rotate", ""),
        ("audit tail", ""),
        ("audit verify", ""),
        ("store check", ""),
        ("store stats", ""),
        ("store compact", ""),
        ("store export", backup),
        ("store import", backup),
        ("config check", ""),
        ("config show", ""),
        ("user remove", "ada"),
    ] {
        let args: Vec<&str> = command.split(' ').chain(rest.split_whitespace()).chain(["--json"]).collect();
        let place = if command == "store import" { &elsewhere } else { &folder };
        let text = run(place, &args);
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{args:?}: {text}"));
        assert_eq!(text, format!("{}\n", serde_json::to_string_pretty(&value).unwrap()), "{args:?}");
        left.remove(command);
    }
    assert!(left.is_empty(), "--json of these is looked at by no test: {left:?}");
    let nowhere = folder.join("nowhere");
    for args in [&["key", "list"][..], &["key", "rotate"], &["client", "list"], &["store", "stats"]] {
        let output = command(&nowhere).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(!nowhere.exists(), "F-10 {args:?} makes no store");
    }
    let keys = run_json(&folder, &["key", "list", "--json"]);
    assert!(keys["keys"][0]["published"].as_str().unwrap().ends_with('Z'), "{keys}");
}
