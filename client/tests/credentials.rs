//! What is kept on disk, and how it is refreshed, shared, revoked and hidden.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Answer, Fake, Home, Login, Ran, scripted_server, until};
use serde_json::json;

const DEAD: u64 = 1000;

fn call(home: &Home, tool: &str, more: &[&str]) -> Ran {
    let server = scripted_server();
    let mut arguments = vec!["--json", "call", tool];
    arguments.extend(more);
    arguments.extend(["--stdio", "--", &server]);
    home.run(&arguments)
}

#[test]
fn crd_01_a_login_leaves_private_files_whatever_the_umask() {
    let (fake, home) = (Fake::start(), Home::new());
    let script = format!("umask 000; exec \"$0\" --store {} login --no-browser {}", home.vault().display(), fake.url());
    let login =
        Login::start(std::process::Command::new("sh").arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_mcp-client")));
    login.follow();
    assert_eq!(login.end().code, 0);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&home.vault()), 0o700);
        for file in std::fs::read_dir(home.vault()).unwrap() {
            assert_eq!(mode(&file.unwrap().path()), 0o600);
        }
    }
}

#[test]
fn crd_03_a_damaged_file_is_kept_aside_and_a_login_is_offered() {
    let (fake, home) = (Fake::start(), Home::new());
    home.logged_in(&fake.url());
    std::fs::write(home.vault().join("credentials.json"), "{\"version\":1,").unwrap();
    let ran = home.run(&["--json", "list"]);
    assert_eq!((ran.code, ran.json()["error"].as_str().unwrap()), (3, "login_required"));
    assert!(ran.json()["message"].as_str().unwrap().contains("credentials.json.damaged-"));
    assert!(ran.json()["next"].as_str().unwrap().contains("mcp-client login"));
    home.logged_in(&fake.url());
    // A login that meets the damage itself goes on without being asked twice.
    std::fs::write(home.vault().join("credentials.json"), "").unwrap();
    home.logged_in(&fake.url());
    assert_eq!(home.run(&["list"]).code, 0);
}

#[test]
fn crd_04_a_server_with_another_issuer_than_before_gets_nothing_of_the_old_one() {
    let issuers = Arc::new(std::sync::Mutex::new(None::<String>));
    let named = issuers.clone();
    let server = Fake::scripted(move |request, fake| match (request.path.as_str(), named.lock().unwrap().clone()) {
        ("/.well-known/oauth-protected-resource/mcp", Some(issuer)) => {
            Some(Answer::json(200, &json!({ "resource": fake.mcp(), "authorization_servers": [issuer] })))
        }
        _ => None,
    });
    let (new, home) = (Fake::start(), Home::new());
    home.logged_in(&server.mcp());
    *issuers.lock().unwrap() = Some(new.url());
    home.logged_in(&server.mcp());
    assert_eq!(new.requests("/register").len(), 1, "a new registration with the new issuer");
    let book = home.book();
    assert_eq!(book["tokens"].as_array().unwrap().len(), 2);
    assert_eq!(book["registrations"].as_array().unwrap().len(), 2);
    for request in new.requests("/token").iter().chain(&new.requests("/authorize")) {
        assert!(!format!("{request:?}").contains("refresh-"), "{request:?}");
    }
}

#[test]
fn crd_05_two_programs_refresh_together_and_the_server_sees_one() {
    let fake = Fake::scripted(|request, fake| {
        if request.path != "/token" {
            return None;
        }
        // Long enough for the others to reach the lock; the result does not depend on it.
        std::thread::sleep(Duration::from_millis(300));
        Some(Answer::json(200, &fake.token(3600)))
    });
    let home = Home::new();
    home.keep(&fake, json!({ "access_token": "stale", "refresh_token": "r0", "expires": DEAD }));
    let server = scripted_server();
    let arguments = ["--json", "call", "guarded", "--stdio", "--", &server];
    let children: Vec<_> = (0..4)
        .map(|_| {
            let mut command = home.command(&arguments);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let refreshes = fake.grants("refresh_token");
    assert_eq!(refreshes.len(), 1, "{refreshes:?}");
    assert_eq!(refreshes[0].parameter("refresh_token").unwrap(), "r0");
    assert_eq!(home.book()["tokens"][0]["generation"], 2);
}

#[test]
fn dsc_11_a_refresh_is_for_the_resource_and_its_rotated_token_is_kept() {
    let (fake, home) = (Fake::start(), Home::new());
    home.keep(&fake, json!({ "refresh_token": "r0", "expires": DEAD, "resource": "urn:mcp:stdio:files" }));
    for (sent, name) in [("r0", "files"), ("refresh-1", "files")] {
        let ran = home.run(&["--json", "refresh", "--name", name]);
        assert_eq!((ran.code, &ran.json()["refreshed"]), (0, &json!(true)), "{ran:?}");
        let last = fake.grants("refresh_token").pop().unwrap();
        assert_eq!(last.parameter("refresh_token").unwrap(), sent);
        assert_eq!(last.parameter("resource").unwrap(), "urn:mcp:stdio:files");
    }
}

#[test]
fn a_refresh_that_is_refused_asks_for_a_login_and_one_that_fails_does_not() {
    for (answer, code, word) in [
        (Answer::json(400, &json!({ "error": "invalid_grant" })), 3, "login_required"),
        (Answer::json(401, &json!({ "error": "invalid_client" })), 3, "login_required"),
        (Answer::json(503, &json!({ "error": "invalid_grant" })), 5, "server_error"),
        (Answer::json(200, &json!({ "access_token": "x" })), 4, "bad_token_answer"),
        (Answer::redirect(307, "http://127.0.0.1:9/token"), 4, "bad_token_answer"),
    ] {
        let fake = Fake::scripted(move |request, _| (request.path == "/token").then(|| answer.clone()));
        let home = Home::new();
        home.keep(&fake, json!({ "refresh_token": "r0", "expires": DEAD }));
        let ran = home.run(&["--json", "refresh"]);
        assert_eq!((ran.code, ran.json()["error"].as_str().unwrap()), (code, word), "{ran:?}");
        assert_eq!(home.book()["tokens"][0]["refresh_token"], "r0", "nothing is thrown away");
    }
}

#[test]
fn a_server_that_is_away_does_not_take_a_living_token_away() {
    let home = Home::new();
    let fake = Fake::scripted(|_, _| Some(Answer::status(503)));
    let soon = now() + 30;
    home.keep(&fake, json!({ "refresh_token": "r0", "expires": soon }));
    let ran = call(&home, "guarded", &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("could not be refreshed yet"), "{ran:?}");
}

fn now() -> u64 {
    use shared::time::Clock;
    shared::time::SystemClock.now().0
}

#[test]
fn a_token_is_refreshed_a_minute_early_and_not_before() {
    for (life, refreshes) in [(55, 1), (90, 0)] {
        let (fake, home) = (Fake::start(), Home::new());
        home.keep(&fake, json!({ "refresh_token": "r0", "expires": now() + life }));
        assert_eq!(call(&home, "guarded", &[]).code, 0);
        assert_eq!(fake.grants("refresh_token").len(), refreshes, "{life}");
    }
}

#[test]
fn crd_06_logout_takes_the_tokens_back_and_then_forgets_them() {
    let (fake, home) = (Fake::start(), Home::new());
    home.logged_in(&fake.url());
    let ran = home.run(&["--json", "logout", "--issuer", "https://other.example"]);
    assert_eq!((ran.code, ran.json()["error"].as_str().unwrap()), (1, "not_logged_in"), "{ran:?}");
    let ran = home.run(&["--json", "logout", "--issuer", &fake.url()]);
    assert_eq!((ran.code, &ran.json()["revocation"]), (0, &json!("revoked")), "{ran:?}");
    let revoked: Vec<_> = fake.requests("/revoke").iter().map(|request| request.parameter("token").unwrap()).collect();
    assert_eq!(revoked, ["refresh-1", "good"]);
    assert_eq!(home.book()["tokens"], json!([]));
    assert_eq!(home.run(&["logout", "--issuer", &fake.url()]).code, 1);
}

#[test]
fn crd_06_a_logout_that_the_server_did_not_hear_of_says_so() {
    for (revocation, code, word) in [(Some(503), 1, "failed"), (None, 0, "not_offered")] {
        let fake = Fake::scripted(move |request, fake| match (request.path.as_str(), revocation) {
            ("/revoke", Some(status)) => Some(Answer::status(status)),
            ("/.well-known/oauth-authorization-server", None) => {
                let mut metadata = fake.metadata();
                metadata.as_object_mut().unwrap().remove("revocation_endpoint");
                Some(Answer::json(200, &metadata))
            }
            _ => None,
        });
        let home = Home::new();
        home.logged_in(&fake.url());
        let ran = home.run(&["--json", "logout", &fake.url()]);
        assert_eq!((ran.code, ran.json()["revocation"].as_str().unwrap()), (code, word), "{ran:?}");
        assert_eq!(home.book()["tokens"], json!([]));
    }
}

#[test]
fn crd_07_a_child_sees_the_token_in_the_metadata_and_nowhere_else() {
    let (fake, home) = (Fake::start(), Home::new());
    home.keep(&fake, json!({ "access_token": "s3cret-token" }));
    let server = scripted_server();
    let show = |command: &mut std::process::Command| {
        let ran = Ran::from(command.output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.json()["structuredContent"].clone()
    };
    let arguments = ["--json", "call", "show", "--args", "{\"a\":1}", "--stdio", "--", &server];
    let seen = show(home.command(&arguments).env("MCP_CLIENT_ID", "c").env("MCP_CLIENT_SECRET", "s3cret-client"));
    assert_eq!(seen["meta"]["authz/access_token"], "s3cret-token");
    assert_eq!(seen["arguments"], json!({ "a": 1 }));
    assert!(!format!("{}{}", seen["argv"], seen["environment"]).contains("s3cret"), "{seen}");
    // A token from the environment stays out of the child's.
    let seen = show(home.command(&arguments).env("MCP_ACCESS_TOKEN", "s3cret-given"));
    assert_eq!(seen["meta"]["authz/access_token"], "s3cret-given");
    assert!(!seen["environment"].to_string().contains("s3cret"));
    // On request it is an argument, as older servers want it, and then nothing else.
    let arguments = ["--json", "call", "show", "--token-argument", "--stdio", "--", &server];
    let seen = show(&mut home.command(&arguments));
    assert_eq!(seen["arguments"], json!({ "access_token": "s3cret-token" }));
    assert_eq!(seen["meta"]["authz/access_token"], json!(null));
    let seen = show(&mut home.command(&["--json", "call", "show", "--anonymous", "--", &server]));
    assert!(!seen.to_string().contains("s3cret"));
}

#[test]
fn crd_07_no_output_shows_a_secret() {
    let (fake, home) = (Fake::start(), Home::new());
    home.keep(&fake, json!({ "access_token": "s3cret-a", "refresh_token": "s3cret-r" }));
    for arguments in [&["list"][..], &["status"], &["--json", "list"], &["--json", "status"]] {
        let ran = Ran::from(home.command(arguments).env("RUST_LOG", "trace").output().unwrap());
        assert!(!format!("{ran:?}").contains("s3cret"), "{ran:?}");
    }
    let server = scripted_server();
    let ran = home.command(&["call", "guarded", "--", &server]).env("RUST_LOG", "trace").output().unwrap();
    assert!(!format!("{:?}", Ran::from(ran)).contains("s3cret"));
}

#[cfg(unix)]
#[test]
fn an_interrupted_call_leaves_no_child_behind() {
    let home = Home::new();
    let pid_file = home.path().join("pid");
    let server = scripted_server();
    let mut command = home.command(&["call", "show", "--", &server]);
    command.env("SCRIPT", "mute").env("SCRIPT_PID", &pid_file);
    let mut child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let pid = || std::fs::read_to_string(&pid_file).ok().filter(|text| !text.is_empty());
    until("the server starts", || pid().is_some());
    let server_pid = pid().unwrap();
    let alive = || std::path::Path::new(&format!("/proc/{server_pid}/stat")).exists() && !is_zombie(&server_pid);
    std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    until("the server ends", || !alive());
}

#[cfg(unix)]
fn is_zombie(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}
