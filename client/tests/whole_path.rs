//! The client with the real service and the real stdio server.

mod common;

use std::process::{Command, Stdio};

use common::{Home, Login, Ran, Service, sibling, until};
use serde_json::json;

fn demo(home: &Home, arguments: &[&str]) -> Command {
    sibling("authz-service");
    sibling("mcp-stdio-server");
    let mut command = home.command(&["demo"]);
    command.args(arguments).env("TMPDIR", home.path());
    command
}

fn is_empty(home: &Home) -> bool {
    std::fs::read_dir(home.path()).unwrap().next().is_none()
}

#[test]
fn the_demo_walks_the_whole_path_and_leaves_nothing() {
    let home = Home::new();
    let ran = Ran::from(demo(&home, &[]).output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    let mut rest = ran.out.as_str();
    for line in [
        "Step 1: Dynamic Client Registration\n",
        "✅ Client registration successful!\n   Client ID: c_",
        "Step 2: OAuth Authorization Flow\n",
        "✅ Authorization code received\n",
        "Step 3: Token Exchange\n",
        "✅ Access token received!\n   Token type: Bearer\n   Expires in: 3600 seconds\n",
        "Step 4: MCP Tool Access\n",
        "✅ Refused: authorization is needed\n",
        "Response: {\"authorized\":true,\"echo\":\"Hello from authenticated client!\",\"length\":32}\n",
        "Step 5: Revocation\n",
        "✅ Refused: the token is no longer good\n",
        "✅ Authorization flow complete!\n",
    ] {
        let at = rest.find(line).unwrap_or_else(|| panic!("{line} in {}", ran.out));
        rest = &rest[at + line.len()..];
    }
    assert!(!ran.out.contains("eyJ"), "no token is shown");
    assert!(is_empty(&home));
    let ran = Ran::from(demo(&home, &["--json"]).output().unwrap());
    assert_eq!((ran.code, &ran.json()["complete"]), (0, &json!(true)), "{ran:?}");
    assert_eq!(ran.json()["tools"], json!(["echo", "get_time", "public_info", "whoami"]));
}

#[cfg(unix)]
#[test]
fn an_interrupted_demo_leaves_no_process_and_no_file() {
    let home = Home::new();
    let login = Login::start(&mut demo(&home, &["--interactive", "--no-browser"]));
    let port = login.url.split("localhost:").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let service = format!("127.0.0.1:{port}");
    assert!(std::net::TcpStream::connect(&service).is_ok());
    assert!(Command::new("kill").args(["-INT", &login.child.id().to_string()]).status().unwrap().success());
    let ran = login.end();
    assert_eq!(ran.code, 130, "{ran:?}");
    until("the service is gone", || std::net::TcpStream::connect(&service).is_err());
    until("the folder is gone", || is_empty(&home));
}

#[test]
fn the_demo_says_what_to_do_when_the_service_wants_a_person() {
    let (service, home) = (Service::start(&[]), Home::new());
    let data = service.data.to_str().unwrap();
    let ran = Ran::from(demo(&home, &["--json", "--server", &service.url(), "--data", data]).output().unwrap());
    assert_eq!((ran.code, ran.json()["error"].as_str().unwrap()), (1, "needs_a_person"), "{ran:?}");
    assert!(ran.json()["next"].as_str().unwrap().contains("--interactive"));
}

#[test]
fn the_demo_runs_against_a_service_that_was_started_by_hand() {
    let (service, home) = (Service::start(&["--auto-approve=ada"]), Home::new());
    let data = service.data.to_str().unwrap();
    let ran = Ran::from(demo(&home, &["--json", "--server", &service.url(), "--data", data]).output().unwrap());
    assert_eq!((ran.code, &ran.json()["complete"]), (0, &json!(true)), "{ran:?}");
}

#[test]
fn a_person_logs_in_calls_refreshes_and_logs_out() {
    let (service, home) = (Service::start(&["--auto-approve=ada"]), Home::new());
    let data = service.data.to_str().unwrap();
    let echo = ["--json", "call", "echo", "--args", "{\"message\":\"hi\"}", "--data", data];
    assert_eq!(home.run(&echo).code, 3);
    home.logged_in(&service.url());
    let ran = home.run(&echo);
    assert_eq!((ran.code, &ran.json()["structuredContent"]["authorized"]), (0, &json!(true)), "{ran:?}");
    let name = sibling("mcp-stdio-server");
    let by_hand = ["call", "whoami", "--stdio", "--", name.to_str().unwrap(), "--data", data];
    assert!(home.run(&by_hand).out.contains("\"subject\":\"ada\""));
    assert_eq!(home.run(&["--json", "refresh"]).json()["refreshed"], true);
    assert_eq!(home.run(&echo).code, 0);
    // A second login uses the registration that is kept.
    let client = home.book()["registrations"][0]["client_id"].clone();
    home.logged_in(&service.url());
    assert_eq!(home.book()["tokens"][0]["client_id"], client);
    assert_eq!(home.run(&["--json", "logout", &service.url()]).json()["revocation"], "revoked");
    assert_eq!(home.run(&echo).code, 3);
}

#[test]
fn n8_a_call_can_be_made_with_a_token_that_is_worth_nothing_afterwards() {
    let (service, home) = (Service::start(&["--auto-approve=ada"]), Home::new());
    let data = service.data.to_str().unwrap();
    home.logged_in(&service.url());
    let ran = home.run(&["--json", "call", "echo", "--one-shot", "--args", "{\"message\":\"hi\"}", "--data", data]);
    assert_eq!((ran.code, &ran.json()["structuredContent"]["authorized"]), (0, &json!(true)), "{ran:?}");
    let ran = home.run(&["--json", "one-shot", "echo", "--args", "{\"message\":\"hi\"}"]);
    let token = ran.json()["access_token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("mcpat_") && ran.json()["expires_in"].as_u64().is_some_and(|left| left <= 60), "{ran:?}");
    let call = |message: &str| {
        let arguments = json!({ "message": message, "access_token": token }).to_string();
        let ran = home.run(&["--json", "call", "echo", "--anonymous", "--args", &arguments, "--data", data]);
        ran.json()["structuredContent"]["authorized"] == json!(true)
    };
    assert_eq!([call("ho"), call("hi"), call("hi")], [false, true, false]);
}

#[test]
fn crd_05_programs_that_refresh_together_keep_one_login_alive() {
    let (service, home) = (Service::start(&["--auto-approve=ada"]), Home::new());
    let data = service.data.to_str().unwrap();
    home.logged_in(&service.url());
    for _ in 0..3 {
        let start =
            || home.command(&["--json", "refresh"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let children: Vec<_> = (0..4).map(|_| start()).collect();
        for child in children {
            let ran = Ran::from(child.wait_with_output().unwrap());
            assert_eq!(ran.code, 0, "{ran:?}");
        }
    }
    assert_eq!(home.run(&["call", "echo", "--args", "{\"message\":\"hi\"}", "--data", data]).code, 0);
}

#[test]
fn a_store_that_was_wiped_costs_one_more_registration_and_no_lost_login() {
    let home = Home::new();
    let first = Service::start(&["--auto-approve=ada"]);
    let issuer = format!("--issuer=http://localhost:{}", first.port);
    home.logged_in(&first.url());
    let port = first.port.to_string();
    drop(first);
    let folder = tempfile::tempdir().unwrap();
    let mut again = Command::new(sibling("authz-service"));
    again.args(["serve", "--port", &port, &issuer, "--auto-approve=ada", "--data"]).arg(folder.path().join("data"));
    let mut again = again.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the service is ready", || std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok());
    let login = home.login(&[&format!("http://localhost:{port}")]);
    login.follow();
    let ran = login.end();
    again.kill().unwrap();
    again.wait().unwrap();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("registering again"), "{ran:?}");
}
