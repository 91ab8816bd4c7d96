//! What surrounds a command: its environment, the files it is given, where its answer goes.

mod common;

use common::{Fake, Home, Ran, scripted_server};
use serde_json::json;

const VARIABLES: [&str; 6] = [
    "MCP_AUTHZ_DATA",
    "MCP_AUTHZ_ISSUER",
    "MCP_ACCESS_TOKEN",
    "MCP_CLIENT_ID",
    "MCP_CLIENT_SECRET",
    "MCP_CLIENT_METADATA_URL",
];

#[test]
fn an_empty_variable_counts_as_not_set() {
    let (fake, home) = (Fake::start(), Home::new());
    let run = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.envs(VARIABLES.map(|name| (name, "")));
        Ran::from(command.output().unwrap())
    };
    assert_eq!(run(&["status"]).code, 3);
    let registered = run(&["--json", "register", &fake.url()]);
    assert_eq!(registered.json()["client_id"], "c_1", "{registered:?}");
    let server = scripted_server();
    assert_eq!(run(&["tools", "--", &server]).code, 0);
    assert_eq!(run(&["demo", "--help"]).code, 0);
}

#[test]
fn a_variable_that_holds_no_token_is_named_and_not_shown() {
    let home = Home::new();
    let server = scripted_server();
    for value in ["Bearer s3cret", "s3cret\n", "s3cret\u{e4}"] {
        let mut command = home.command(&["call", "show", "--", &server]);
        let ran = Ran::from(command.env("MCP_ACCESS_TOKEN", value).output().unwrap());
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains("MCP_ACCESS_TOKEN") && !ran.err.contains("s3cret"), "{ran:?}");
    }
}

#[test]
fn a_token_of_the_environment_that_is_refused_has_to_go_before_a_login_helps() {
    let (fake, home) = (Fake::start(), Home::new());
    let mut command = home.command(&["--json", "tools", &fake.mcp()]);
    let ran = Ran::from(command.env("MCP_ACCESS_TOKEN", "bad").output().unwrap());
    assert_eq!((ran.code, ran.json()["error"].as_str().unwrap()), (3, "login_required"));
    assert!(ran.json()["next"].as_str().unwrap().starts_with("unset MCP_ACCESS_TOKEN"), "{ran:?}");
}

#[test]
fn an_issuer_without_a_login_is_told_from_an_mcp_server() {
    let (fake, home) = (Fake::start(), Home::new());
    let ran = home.run(&["--json", "tools", &fake.url()]);
    assert_eq!(ran.code, 5, "{ran:?}");
    let next = ran.json()["next"].as_str().unwrap().to_owned();
    assert!(next.contains(&format!("mcp-client login {}", fake.url())) && next.contains("--stdio"), "{next}");
}

#[test]
fn a_client_that_is_given_is_kept_for_the_next_login() {
    let (fake, home) = (Fake::start(), Home::new());
    let secret = home.path().join("secret");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let file = format!("@{}", secret.display());
    let ran = home.run(&["register", &fake.url(), "--client-id", "mine", "--client-secret", &file]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(home.book()["registrations"][0]["client_secret"], "s3cret");
    home.logged_in(&fake.url());
    assert_eq!(fake.requests("/register").len(), 0);
    assert_eq!(home.book()["tokens"][0]["client_id"], "mine");
}

#[test]
fn crd_04_after_a_change_of_the_issuer_the_latest_login_counts() {
    let (fake, home) = (Fake::start(), Home::new());
    let entry = |issuer: &str, token: &str, obtained: u64| {
        json!({
            "issuer": issuer, "resource": fake.mcp(), "server": fake.mcp(), "profile": "default", "client_id": "c_1",
            "access_token": token, "scope": "mcp:tools:read", "obtained": obtained, "generation": 1,
        })
    };
    home.keep(&fake, json!({}));
    let tokens = [entry("https://before.example", "stale", 5), entry(&fake.url(), "good", 9)];
    let book = json!({ "version": 1, "tokens": tokens }).to_string();
    shared::files::replace(&home.vault().join("credentials.json"), book.as_bytes()).unwrap();
    let ran = home.run(&["call", "hello", &fake.mcp()]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "hello from http\n"), "{ran:?}");
    let ran = home.run(&["--json", "status", &fake.mcp(), "--issuer", "https://before.example"]);
    assert_eq!(ran.json()["login"]["issuer"], "https://before.example", "the other one can still be named");
}

#[cfg(target_os = "linux")]
#[test]
fn an_answer_that_nobody_got_is_no_success() {
    let home = Home::new();
    for arguments in [&["list"][..], &["--json", "list"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ran = Ran::from(home.command(arguments).stdout(full).output().unwrap());
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains("could not be written"), "{ran:?}");
    }
}

#[cfg(unix)]
mod pipes {
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::common::{Fake, Home, Login, Ran, until};

    fn pipe(path: &Path) {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    #[test]
    fn f_30_a_file_that_never_comes_can_be_given_up() {
        let home = Home::new();
        let path = home.path().join("pipe");
        pipe(&path);
        let file = format!("@{}", path.display());
        let mut command = home.command(&["call", "echo", "--args", &file]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The signal means something once the program waits for it.
        let caught = || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(str::trim).unwrap_or_default();
            u64::from_str_radix(mask, 16).is_ok_and(|mask| mask & (1 << 14) != 0)
        };
        until("the program waits", || !cfg!(target_os = "linux") || caught());
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
                None => {
                    child.kill().unwrap();
                    panic!("the program cannot be interrupted");
                }
            }
        };
        assert_eq!(status.code(), Some(130));
    }

    #[test]
    fn a_vault_that_is_a_pipe_is_refused_at_once() {
        let home = Home::new();
        shared::files::create_private_folder(&home.vault()).unwrap();
        pipe(&home.vault().join("credentials.json"));
        let ran = Ran::from(home.command(&["--json", "list"]).output().unwrap());
        assert_eq!((ran.code, ran.json()["error"].as_str().unwrap()), (1, "unsafe_store"), "{ran:?}");
    }

    #[test]
    fn crd_07_the_browser_inherits_no_secret() {
        let (fake, home) = (Fake::start(), Home::new());
        let seen = home.path().join("seen");
        let mut command = home.command(&["login", &fake.url()]);
        command.env("BROWSER", format!("sh -c 'env > {0}.part; mv {0}.part {0}'", seen.display()));
        command.env("MCP_CLIENT_ID", "mine").env("MCP_CLIENT_SECRET", "s3cret-c").env("MCP_ACCESS_TOKEN", "s3cret-t");
        let login = Login::start(&mut command);
        until("the browser ran", || seen.exists());
        let environment = std::fs::read_to_string(&seen).unwrap();
        assert!(environment.contains("PATH=") && !environment.contains("s3cret"), "{environment}");
        login.follow();
        assert_eq!(login.end().code, 0);
    }
}
