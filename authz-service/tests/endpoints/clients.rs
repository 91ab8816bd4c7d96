//! Clients that the operator registers: by command beside a running service, by environment and by file.

use std::path::Path;
use std::process::Output;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::process::{APPROVE, Running, command};
use crate::support::{authorize_query, code_form};

fn run(data: &Path, args: &[&str]) -> Output {
    command(data).args(args).output().unwrap()
}

#[track_caller]
fn run_json(data: &Path, args: &[&str]) -> Value {
    let output = run(data, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whether a client may refresh, which nobody can with this token, so far as its authentication goes.
fn authenticates(service: &Running, client: &str, secret: &str) -> bool {
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    let header = format!("Basic {}", STANDARD.encode(format!("{client}:{secret}")));
    let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Authorization", header.as_str())];
    let body = shared::oauth::form::encode(&form);
    let answer = service.connect().send("POST", "/oauth/token", &headers, body.as_bytes()).json();
    answer["error"] == "invalid_grant"
}

fn journal(data: &Path) -> String {
    let files = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect()
}

#[test]
fn clients_are_added_shown_rotated_and_removed_beside_a_running_service() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    let service = Running::start(data, &APPROVE);
    let added = run_json(
        data,
        &["client", "add", "--json", "--name", "Mine", "--redirect-uri", "http://127.0.0.1/cb", "--confidential"],
    );
    let (id, secret) = (added["client_id"].as_str().unwrap(), added["client_secret"].as_str().unwrap());
    assert!(id.starts_with("c_") && secret.len() == 43 && authenticates(&service, id, secret));
    assert!(!journal(data).contains(secret));
    // A public client under a name of the operator's choice goes the whole way.
    run_json(data, &["client", "add", "my-app", "--json", "--redirect-uri", "http://127.0.0.1/cb"]);
    assert!(service.tokens("my-app")["access_token"].is_string());
    assert!(!run(data, &["client", "add", "my-app", "--redirect-uri", "http://127.0.0.1/cb"]).status.success());
    // Lists and details hold no secret and no hash of one.
    let listed = run_json(data, &["client", "list", "--json"]);
    let clients = listed["clients"].as_array().unwrap();
    assert_eq!(clients.len(), 2);
    assert!(clients.iter().all(|client| client["origin"] == "operator"));
    let shown = run_json(data, &["client", "show", id, "--json"]);
    assert_eq!((&shown["metadata"]["client_name"], &shown["has_secret"]), (&json!("Mine"), &json!(true)));
    let text = String::from_utf8(run(data, &["client", "show", id]).stdout).unwrap();
    assert!(text.contains("client_name\tMine") && !text.contains(secret) && !text.contains("hash"), "{text}");
    // Another secret: the old one counts on, unless somebody else knows it.
    let rotated = run_json(data, &["client", "rotate-secret", id, "--json"]);
    let second = rotated["client_secret"].as_str().unwrap();
    assert!(authenticates(&service, id, secret) && authenticates(&service, id, second));
    let third = run_json(data, &["client", "rotate-secret", id, "--now", "--json"]);
    assert!(!authenticates(&service, id, secret) && !authenticates(&service, id, second));
    assert!(authenticates(&service, id, third["client_secret"].as_str().unwrap()));
    assert!(!run(data, &["client", "rotate-secret", "my-app"]).status.success());
    let removed = run(data, &["client", "remove", id]);
    assert_eq!(String::from_utf8(removed.stdout).unwrap(), format!("Removed {id}.\n"));
    assert!(!authenticates(&service, id, third["client_secret"].as_str().unwrap()));
    assert!(!run(data, &["client", "show", id]).status.success());
}

#[test]
fn what_an_operator_cannot_register_is_named() {
    let data = tempfile::tempdir().unwrap();
    let service = Running::start(data.path(), &APPROVE);
    for (args, words) in [
        (&["client", "add", "--redirect-uri", "http://app.example/cb"][..], "http is for 127.0.0.1"),
        (&["client", "add", "--redirect-uri", "javascript:alert(1)"], "private-use scheme"),
        (&["client", "add", "--file", "/nowhere.json"], "/nowhere.json"),
        (&["client", "remove", "c_x"], "there is no client c_x"),
        (&["client", "publish", "../x"], "a document's name"),
    ] {
        let output = run(data.path(), args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && output.stdout.is_empty() && said.contains(words), "{args:?}: {said}");
    }
    drop(service);
}

#[test]
fn reg_23_an_initial_access_token_of_the_command_registers_once() {
    let data = tempfile::tempdir().unwrap();
    let service = Running::start(data.path(), &[&APPROVE[..], &["--registration", "token"]].concat());
    let made = run_json(data.path(), &["client", "token", "--json", "--note", "ci"]);
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    let register = |bearer: &str| {
        let headers = [("Content-Type", "application/json"), ("Authorization", bearer)];
        service.connect().send("POST", "/register", &headers, br#"{"redirect_uris":["https://a.example/cb"]}"#).status
    };
    assert_eq!((register("Bearer x"), register(&bearer), register(&bearer)), (401, 201, 401));
    assert!(!journal(data.path()).contains(made["token"].as_str().unwrap()));
}

#[test]
fn c5_a_client_of_the_command_line_gets_tokens_with_its_secret_and_not_without() {
    let data = tempfile::tempdir().unwrap();
    let secret = "s".repeat(40);
    let flags = ["--client-id", "mine", "--client-secret", &secret, "--redirect-uris", "http://127.0.0.1/cb"];
    let service = Running::start(data.path(), &[&APPROVE[..], &["--registration", "off"], &flags].concat());
    let code = service.code("mine");
    service.post("/oauth/token", &code_form("mine", &code)).fails(401, "invalid_client");
    let form = [&code_form("mine", &code)[..], &[("client_secret", &secret)]].concat();
    let tokens = service.post("/oauth/token", &form);
    assert_eq!(tokens.status, 200, "{}", tokens.text());
    let refresh = tokens.json()["refresh_token"].as_str().unwrap().to_owned();
    let form = [("grant_type", "refresh_token"), ("client_id", "mine"), ("refresh_token", &refresh)];
    service.post("/oauth/token", &form).fails(401, "invalid_client");
    let form = [&form[..], &[("client_secret", &secret)]].concat();
    assert_eq!(service.post("/oauth/token", &form).status, 200);
}

#[test]
fn clients_of_the_environment_and_of_a_file_are_there_from_the_start() {
    let data = tempfile::tempdir().unwrap();
    let (store, file) = (data.path().join("store"), data.path().join("clients.json"));
    let list = json!([
        { "client_id": "from-file", "redirect_uris": ["https://app.example/cb"], "client_name": "Filed" },
        { "client_id": "with-secret", "redirect_uris": ["https://app.example/cb"], "client_secret": "a".repeat(40) },
    ]);
    std::fs::write(&file, list.to_string()).unwrap();
    let start = |more: &[&str]| {
        let mut command = command(&store);
        command
            .env("MCP_STATIC_CLIENT_ID", "from-environment")
            .env("MCP_STATIC_CLIENT_SECRET", "b".repeat(40))
            .env("MCP_STATIC_REDIRECT_URIS", "http://127.0.0.1/cb,https://app.example/cb");
        Running::start_as(command, &[&APPROVE[..], &["--registration", "off"], more].concat())
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = run(&store, &["serve", "--port", "0", "--clients", file.to_str().unwrap()]);
        assert!(String::from_utf8(refused.stderr).unwrap().contains("chmod 600") && !refused.status.success());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let service = start(&["--clients", file.to_str().unwrap()]);
    assert!(authenticates(&service, "from-environment", &"b".repeat(40)));
    assert!(authenticates(&service, "with-secret", &"a".repeat(40)));
    let target =
        format!("/oauth/authorize?{}", authorize_query("from-file", &[("redirect_uri", "https://app.example/cb")]));
    let answer = service.connect().send("GET", &target, &[], b"");
    assert!(answer.redirected("code").is_some(), "{}", answer.text());
    assert_eq!(service.connect().send("POST", "/register", &[], b"{}").status, 403);
    drop(service);
    // The same again writes nothing, and another secret ends the one before.
    let before = journal(&store).matches("from-environment").count();
    std::fs::write(&file, json!([{ "client_id": "with-secret", "redirect_uris": ["https://app.example/cb"], "client_secret": "c".repeat(40) }]).to_string()).unwrap();
    let service = start(&["--clients", file.to_str().unwrap()]);
    assert_eq!(journal(&store).matches("from-environment").count(), before);
    assert!(!authenticates(&service, "with-secret", &"a".repeat(40)));
    assert!(authenticates(&service, "with-secret", &"c".repeat(40)));
}

#[test]
fn n14_a_published_document_is_served_and_its_url_is_a_client_here() {
    let data = tempfile::tempdir().unwrap();
    let service = Running::start(data.path(), &APPROVE);
    assert_eq!(service.connect().send("GET", "/clients/bridge.json", &[], b"").status, 404);
    let published =
        run_json(data.path(), &["client", "publish", "bridge", "--json", "--redirect-uri", "http://127.0.0.1/cb"]);
    let id = published["client_id"].as_str().unwrap();
    let answer = service.connect().send("GET", "/clients/bridge.json", &[], b"");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let document = answer.json();
    assert_eq!((&document["client_id"], &document["client_name"]), (&json!(id), &json!("bridge")));
    assert_eq!(document["redirect_uris"], json!(["http://127.0.0.1/cb"]));
    assert!(answer.header("cache-control").unwrap().contains("max-age"));
    assert!(service.tokens(id)["access_token"].is_string());
    // Publishing again changes what it says; nothing else is served there.
    run_json(data.path(), &["client", "publish", "bridge", "--json", "--name", "Bridge 2"]);
    assert_eq!(service.connect().send("GET", "/clients/bridge.json", &[], b"").json()["client_name"], "Bridge 2");
    for path in ["/clients/other.json", "/clients/..%2fbridge.json", "/clients/.json", "/clients/"] {
        assert_eq!(service.connect().send("GET", path, &[], b"").status, 404, "{path}");
    }
}

#[test]
fn a_machine_that_the_operator_describes_gets_tokens_for_itself() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    let service = Running::start(data, &APPROVE);
    let file = data.join("machine.txt");
    let described = json!({
        "client_id": "nightly", "grant_types": ["client_credentials"], "scope": "mcp:tools:read",
        "token_endpoint_auth_method": "client_secret_basic"
    });
    std::fs::write(&file, described.to_string()).unwrap();
    let added = run_json(data, &["client", "add", "--json", "--confidential", "--file", file.to_str().unwrap()]);
    let header = format!("Basic {}", STANDARD.encode(format!("nightly:{}", added["client_secret"].as_str().unwrap())));
    let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Authorization", header.as_str())];
    let answer = service.connect().send("POST", "/oauth/token", &headers, b"grant_type=client_credentials");
    assert_eq!((answer.status, &answer.json()["scope"]), (200, &json!("mcp:tools:read")));
}

#[test]
fn int_03_a_resource_server_of_the_command_and_of_the_file_asks_about_its_tokens() {
    let data = tempfile::tempdir().unwrap();
    let (store, file) = (data.path().join("store"), data.path().join("clients.json"));
    let secret = "s".repeat(40);
    let list = json!([{ "client_id": "filed", "client_secret": secret, "resource": ["urn:mcp:stdio:other"] }]);
    shared::files::replace(&file, list.to_string().as_bytes()).unwrap();
    let service = Running::start(&store, &[&APPROVE[..], &["--clients", file.to_str().unwrap()]].concat());
    let added = run_json(&store, &["client", "add", "files", "--json", "--resource-server", "urn:mcp:stdio:default"]);
    assert_eq!(run_json(&store, &["client", "show", "files", "--json"])["resource_server"][0], "urn:mcp:stdio:default");
    let app = service.register();
    let tokens = service.tokens(&app);
    let ask = |id: &str, secret: &str| {
        let token = tokens["access_token"].as_str().unwrap();
        let form = [("client_id", id), ("client_secret", secret), ("token", token)];
        service.connect().post("/oauth/introspect", &form).json()
    };
    assert_eq!(ask("files", added["client_secret"].as_str().unwrap())["client_id"], json!(app));
    assert_eq!(ask("filed", &secret), json!({ "active": false }));
    let refused = run(&store, &["client", "add", "--resource-server", "files"]);
    assert!(!refused.status.success() && String::from_utf8(refused.stderr).unwrap().contains("resource-server"));
}
