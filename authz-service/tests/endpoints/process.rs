//! The real program on a real store: start, stop, kill, share.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::http::{Answer, Connection};
use crate::support::{authorize_query, code_form, eventually};

const BINARY: &str = env!("CARGO_BIN_EXE_authz-service");

/// A running service; killed when the test ends.
pub struct Running {
    child: Child,
    address: SocketAddr,
    banner: String,
}

impl Running {
    pub fn start(data: &Path, more: &[&str]) -> Self {
        Self::start_as(command(data), more)
    }

    /// Starts a command that has got its environment.
    pub fn start_as(mut command: Command, more: &[&str]) -> Self {
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut banner = String::new();
        let mut address = None;
        // The banner ends with an empty line after at least one paragraph of addresses.
        while let Some(Ok(line)) = lines.next() {
            if let Some(found) = line.trim().strip_prefix("Listening on") {
                address = Some(found.trim().parse().unwrap());
            }
            banner.push_str(&line);
            banner.push('\n');
            if line.contains("oauth-authorization-server") {
                break;
            }
        }
        let rest = std::thread::spawn(move || lines.map_while(Result::ok).take(4).collect::<Vec<_>>());
        let running = Self { child, address: address.expect(&banner), banner };
        eventually("the service answers", || running.connect().send("GET", "/health", &[], b"").status == 200);
        if running.banner.is_empty() {
            drop(rest);
        }
        running
    }

    pub fn connect(&self) -> Connection {
        Connection::new(self.address)
    }

    pub fn post(&self, target: &str, parameters: &[(&str, &str)]) -> Answer {
        self.connect().post(target, parameters)
    }

    pub fn register(&self) -> String {
        let body = json!({ "redirect_uris": ["http://127.0.0.1/cb"], "token_endpoint_auth_method": "none" });
        let headers = [("Content-Type", "application/json")];
        let answer = self.connect().send("POST", "/register", &headers, body.to_string().as_bytes());
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["client_id"].as_str().unwrap().to_owned()
    }

    /// A code, at once: these services approve everything.
    pub fn code(&self, client: &str) -> String {
        let target = format!("/oauth/authorize?{}", authorize_query(client, &[]));
        self.connect().send("GET", &target, &[], b"").redirected("code").unwrap()
    }

    pub fn tokens(&self, client: &str) -> Value {
        let answer = self.post("/oauth/token", &code_form(client, &self.code(client)));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    pub fn refresh(&self, client: &str, token: &str) -> Answer {
        self.post("/oauth/token", &[("grant_type", "refresh_token"), ("client_id", client), ("refresh_token", token)])
    }

    #[cfg(unix)]
    fn terminate(mut self) -> i32 {
        let status = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
        eventually("the service ends", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code().unwrap()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn command(data: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command
        .env_remove("MCP_AUTHZ_DATA")
        .env_remove("MCP_AUTHZ_ISSUER")
        .env_remove("RUST_LOG")
        .env_remove("MCP_STATIC_CLIENT_ID")
        .env_remove("MCP_STATIC_CLIENT_SECRET")
        .env_remove("MCP_STATIC_REDIRECT_URIS")
        .env("MCP_AUTHZ_DATA", data);
    command
}

pub fn add_user(data: &Path, name: &str, password: &str) -> Output {
    let mut child = command(data)
        .args(["user", "add", name, "--password-stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

pub const APPROVE: [&str; 3] = ["--auto-approve", "--rate-limits", "off"];

#[test]
fn f_01_what_was_answered_survives_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let service = Running::start(data.path(), &APPROVE);
    let client = service.register();
    let unspent = service.code(&client);
    let tokens = service.tokens(&client);
    service.kill();
    let service = Running::start(data.path(), &APPROVE);
    assert_eq!(service.post("/oauth/token", &code_form(&client, &unspent)).status, 200, "client and code are there");
    let refreshed = service.refresh(&client, tokens["refresh_token"].as_str().unwrap());
    assert_eq!(refreshed.status, 200, "{}", refreshed.text());
}

#[test]
fn f_13_two_services_share_one_store() {
    let data = tempfile::tempdir().unwrap();
    let issuer = ["--issuer", "http://localhost:3000"];
    let (one, two) = (
        Running::start(data.path(), &[&APPROVE[..], &issuer].concat()),
        Running::start(data.path(), &[&APPROVE[..], &issuer].concat()),
    );
    let client = one.register();
    let code = one.code(&client);
    let tokens = two.post("/oauth/token", &code_form(&client, &code));
    assert_eq!(tokens.status, 200, "{}", tokens.text());
    one.post("/oauth/token", &code_form(&client, &code)).fails(400, "invalid_grant");
    two.refresh(&client, tokens.json()["refresh_token"].as_str().unwrap()).fails(400, "invalid_grant");
    let tokens = one.tokens(&client);
    let first = two.refresh(&client, tokens["refresh_token"].as_str().unwrap()).json();
    let again = one.refresh(&client, tokens["refresh_token"].as_str().unwrap()).json();
    assert_eq!(first["refresh_token"], again["refresh_token"], "both derive the same successor");
}

#[test]
fn tok_01_of_32_parallel_redemptions_at_two_services_one_succeeds() {
    let data = tempfile::tempdir().unwrap();
    let services = [Running::start(data.path(), &APPROVE), Running::start(data.path(), &APPROVE)];
    let client = services[0].register();
    let code = services[0].code(&client);
    let start = std::sync::Barrier::new(32);
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let run = |n: usize| {
            let (services, start, client, code) = (&services, &start, &client, &code);
            scope.spawn(move || {
                let mut connection = services[n % 2].connect();
                start.wait();
                connection.post("/oauth/token", &code_form(client, code)).status
            })
        };
        let runs: Vec<_> = (0..32).map(run).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 400].contains(status)), "{statuses:?}");
}

#[test]
fn ref_12_the_store_and_the_log_hold_no_usable_secret() {
    let data = tempfile::tempdir().unwrap();
    let service = Running::start(data.path(), &APPROVE);
    let client = service.register();
    let code = service.code(&client);
    let tokens = service.post("/oauth/token", &code_form(&client, &code)).json();
    let mut journal = String::new();
    for entry in std::fs::read_dir(data.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name != "keys.json") {
            journal.push_str(&String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()));
        }
    }
    assert!(journal.contains(&client), "we looked at the right files");
    for secret in [&code, tokens["refresh_token"].as_str().unwrap(), tokens["access_token"].as_str().unwrap()] {
        assert!(!journal.contains(secret));
    }
}

#[cfg(unix)]
#[test]
fn f_20_sigterm_ends_it_cleanly_also_with_idle_connections() {
    let data = tempfile::tempdir().unwrap();
    let service = Running::start(data.path(), &[]);
    let mut idle = service.connect();
    assert_eq!(idle.send("GET", "/health", &[], b"").status, 200);
    let begun = std::time::Instant::now();
    assert_eq!(service.terminate(), 0);
    assert!(begun.elapsed().as_secs() < 10);
    assert!(idle.is_closed());
}

#[test]
fn cfg_05_a_port_in_use_ends_it_at_once_with_one_line() {
    let data = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = command(data.path()).args(["--port", &port]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains(&port) && stderr.trim_end().lines().count() == 1, "{stderr}");
}

#[test]
fn ui_02_cfg_02_03_06_dangerous_or_wrong_starts_are_refused() {
    let data = tempfile::tempdir().unwrap();
    for (args, code) in [
        (&["--listen", "0.0.0.0:0"][..], 1),
        (&["--listen", "0.0.0.0:0", "--auto-approve", "--insecure-plain-http", "--issuer", "https://a.example"], 1),
        (&["--issuer", "http://a.example"], 2),
        (&["--issuer", "https://a.example?x"], 2),
        (&["--port", "-1"], 2),
        (&["--port", "70000"], 2),
        (&["--workers", "0"], 2),
        (&["--listen", "nowhere"], 1),
    ] {
        let output = command(data.path()).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn accounts_are_added_beside_a_running_service() {
    let data = tempfile::tempdir().unwrap();
    let service = Running::start(data.path(), &[]);
    let added = add_user(data.path(), "ada", "correct horse");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let again = add_user(data.path(), "ada", "correct horse");
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(add_user(data.path(), "bob", "short").status.code(), Some(1));
    let list = command(data.path()).args(["user", "list"]).output().unwrap();
    assert_eq!(String::from_utf8(list.stdout).unwrap(), "ada\tuser\tenabled\tpassword\n");
    let client = service.register();
    let target = format!("/oauth/authorize?{}", authorize_query(&client, &[]));
    let page = service.connect().send("GET", &target, &[], b"");
    let cookie = page.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let form = crate::support::person::Form::first(&page).with("username", "ada").with("password", "correct horse");
    let fields: Vec<_> = form.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Cookie", cookie.as_str())];
    let body = shared::oauth::form::encode(&fields);
    assert_eq!(service.connect().send("POST", "/login", &headers, body.as_bytes()).status, 303);
}
