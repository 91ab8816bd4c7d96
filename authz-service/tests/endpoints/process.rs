//! The real program on a real store: start, stop, kill, share.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use shared::oauth::form;

use crate::support::http::{Answer, Connection};
use crate::support::person::Form;
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
    pub fn start_as(command: Command, more: &[&str]) -> Self {
        let running = Self::from_command(command, more, Stdio::null());
        eventually("the service answers", || running.connect().send("GET", "/health", &[], b"").status == 200);
        running
    }

    /// Starts one whose log goes elsewhere, and waits for its banner only.
    fn spawn(data: &Path, more: &[&str], log: Stdio) -> Self {
        Self::from_command(command(data), more, log)
    }

    fn from_command(mut command: Command, more: &[&str], log: Stdio) -> Self {
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
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
            if line.is_empty() && address.is_some() {
                break;
            }
        }
        let rest = std::thread::spawn(move || lines.map_while(Result::ok).take(4).collect::<Vec<_>>());
        let running = Self { child, address: address.expect(&banner), banner };
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
    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    #[cfg(unix)]
    fn terminate(mut self) -> i32 {
        self.signal("-TERM");
        eventually("the service ends", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code().unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn kill(mut self) {
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
    let (data, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = logs.path().join("log");
    let more = [&APPROVE[..], &["--log-level", "trace"]].concat();
    let service = Running::spawn(data.path(), &more, std::fs::File::create(&log).unwrap().into());
    let client = service.register();
    let code = service.code(&client);
    let tokens = service.post("/oauth/token", &code_form(&client, &code)).json();
    service.refresh(&client, tokens["refresh_token"].as_str().unwrap());
    // Again, and wrong: what is refused is logged, too.
    service.post("/oauth/token", &code_form(&client, &code)).fails(400, "invalid_grant");
    let mut journal = String::new();
    for entry in std::fs::read_dir(data.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name != "keys.json") {
            journal.push_str(&String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()));
        }
    }
    assert!(journal.contains(&client), "we looked at the right files");
    let mut logged = String::new();
    eventually("it is logged", || {
        logged = std::fs::read_to_string(&log).unwrap();
        logged.contains("issued") && logged.contains("refused") && logged.contains(&client)
    });
    for secret in [&code, tokens["refresh_token"].as_str().unwrap(), tokens["access_token"].as_str().unwrap()] {
        assert!(!journal.contains(secret) && !logged.contains(secret));
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
fn cfg_05_f_27_a_port_in_use_ends_it_at_once_with_one_line() {
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
    let form = Form::first(&page).with("username", "ada").with("password", "correct horse");
    let fields: Vec<_> = form.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Cookie", cookie.as_str())];
    let body = form::encode(&fields);
    assert_eq!(service.connect().send("POST", "/login", &headers, body.as_bytes()).status, 303);
}

#[test]
fn a_file_variables_and_flags_make_one_configuration() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("authz.toml");
    std::fs::write(&file, "access-lifetime = \"5m\"\ncode-lifetime = \"30s\"\nmax-redirect-uris = 2\n").unwrap();
    let file = file.to_str().unwrap();
    let show = |more: &[&str]| {
        let args = [&["config", "show", "--json", "--config", file], more].concat();
        let output = command(data.path()).env("MCP_AUTHZ_CODE_LIFETIME", "20").args(args).output().unwrap();
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        shown["settings"].as_array().unwrap().clone()
    };
    let settings = show(&["--refresh-idle", "1d"]);
    for (name, value, source) in [
        ("access-lifetime", "5m", "file"),
        ("code-lifetime", "20", "environment"),
        ("refresh-idle", "1d", "flag"),
        ("page-lifetime", "10m", "default"),
    ] {
        let setting = settings.iter().find(|setting| setting["name"] == name).unwrap();
        assert_eq!((&setting["values"][0], &setting["source"]), (&json!(value), &json!(source)), "{name}");
    }
    let service = Running::start(data.path(), &[&APPROVE[..], &["--config", file]].concat());
    let tokens = service.tokens(&service.register());
    assert_eq!(tokens["expires_in"], 300);
    let register = |count: usize| {
        let uris: Vec<_> = (0..count).map(|n| format!("http://127.0.0.1/{n}")).collect();
        let body = json!({ "redirect_uris": uris }).to_string();
        service.connect().send("POST", "/register", &[("Content-Type", "application/json")], body.as_bytes()).status
    };
    assert_eq!((register(2), register(3)), (201, 400));
}

#[test]
fn what_config_show_prints_is_a_file_that_config_check_takes() {
    let data = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| command(data.path()).args(args).output().unwrap();
    let shown = run(&["config", "show", "--listen", "127.0.0.1:4000", "--resource", "https://a.example/mcp"]);
    let file = data.path().join("shown.toml");
    std::fs::write(&file, &shown.stdout).unwrap();
    let checked = run(&["config", "check", "--config", file.to_str().unwrap()]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let again = run(&["config", "show", "--config", file.to_str().unwrap()]);
    let values = |text: &[u8]| {
        let text = String::from_utf8(text.to_vec()).unwrap();
        text.lines().map(|line| line.split("  # ").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(values(&shown.stdout), values(&again.stdout));
}

#[test]
fn cfg_06_a_wrong_file_ends_it_with_one_line_that_names_file_line_and_key() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("authz.toml");
    for (text, told) in [("\ncode-lifetime = 0\n", ":2: "), ("\nacces-lifetime = 60\n", "access-lifetime")] {
        std::fs::write(&file, text).unwrap();
        for first in [&["serve"][..], &["config", "check"], &[]] {
            let args = [first, &["--config", file.to_str().unwrap()]].concat();
            let output = command(data.path()).args(args).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{stderr}");
            assert!(stderr.contains(told) && stderr.trim_end().lines().count() == 1, "{stderr}");
        }
    }
}

/// A certificate for `localhost` with its key, in files of the folder.
fn certificate(folder: &Path, name: &str) -> (rustls::pki_types::CertificateDer<'static>, [String; 2]) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let [cert, key] = ["crt", "key"].map(|end| folder.join(format!("{name}.{end}")));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    shared::files::replace(&key, made.signing_key.serialize_pem().as_bytes()).unwrap();
    (made.cert.der().clone(), [cert, key].map(|path| path.to_str().unwrap().to_owned()))
}

/// Asks over TLS, trusting one certificate; the answer as text, or why there is none.
fn ask_tls(
    address: SocketAddr,
    trusted: &rustls::pki_types::CertificateDer<'static>,
) -> Result<String, std::io::Error> {
    use std::io::Read;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let connection = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, std::net::TcpStream::connect(address)?);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    match stream.read_to_string(&mut text) {
        // The other side may close the connection without TLS's own word.
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(text),
    }
}

#[cfg(unix)]
#[test]
fn tls_is_spoken_and_a_new_certificate_is_taken_on_sighup() {
    use std::os::unix::fs::PermissionsExt;
    let data = tempfile::tempdir().unwrap();
    let (first, [cert, key]) = certificate(data.path(), "first");
    let tls = ["--tls-cert", &cert, "--tls-key", &key];
    let service = Running::spawn(data.path(), &tls, Stdio::null());
    let mut answer = String::new();
    eventually("TLS answers", || {
        ask_tls(service.address, &first).is_ok_and(|text| {
            answer = text;
            true
        })
    });
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(&format!("\"issuer\":\"https://localhost:{}\"", service.address.port())), "{answer}");
    assert!(!answer.contains("http://"), "{answer}");
    let (second, [new_cert, new_key]) = certificate(data.path(), "second");
    assert!(ask_tls(service.address, &second).is_err());
    std::fs::rename(new_cert, &cert).unwrap();
    std::fs::rename(new_key, &key).unwrap();
    service.signal("-HUP");
    eventually("the new certificate is there", || ask_tls(service.address, &second).is_ok());
    assert!(ask_tls(service.address, &first).is_err());
    drop(service);
    // CFG-04: a key that every account can read is refused, and so is an issuer that nobody would reach.
    let refused = |more: &[&str]| {
        let output = command(data.path()).args(["--port", "0"]).args(tls).args(more).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["--issuer", "http://localhost:1"]).contains("https"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused(&[]).contains("every account can read"));
}

#[cfg(unix)]
#[test]
fn sighup_takes_what_can_change_tells_what_cannot_and_a_bad_file_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let (file, log) = (data.path().join("authz.toml"), data.path().join("log"));
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let logged = || std::fs::read_to_string(&log).unwrap();
    write("access-lifetime = \"5m\"\n");
    let args = [&APPROVE[..], &["--config", file.to_str().unwrap()]].concat();
    let service = Running::spawn(data.path(), &args, std::fs::File::create(&log).unwrap().into());
    let lifetime = || service.tokens(&service.register())["expires_in"].clone();
    assert_eq!(lifetime(), 300);
    write("access-lifetime = \"2m\"\nworkers = 1\nlog-level = \"warn\"\n");
    service.signal("-HUP");
    eventually("the new lifetime counts", || lifetime() == 120);
    eventually("it says what does not count", || logged().contains("workers"));
    let said = logged().matches("registered").count();
    for bad in ["access-lifetime = \"never\"\n", "acess-lifetime = 1\n", "tls-cert = \"nowhere\"\n"] {
        write(bad);
        let before = logged().matches("stays as it was").count();
        service.signal("-HUP");
        eventually("it says that it changed nothing", || logged().matches("stays as it was").count() > before);
        assert_eq!(lifetime(), 120, "{bad}");
    }
    assert_eq!(logged().matches("registered").count(), said, "the log's level has changed too: {}", logged());
}

#[test]
fn limits_count_whom_the_named_proxy_names_and_nobody_elses_word_is_taken() {
    let data = tempfile::tempdir().unwrap();
    let body = json!({ "redirect_uris": ["http://127.0.0.1/cb"] }).to_string();
    let register = |service: &Running, client: &str| {
        let headers = [("Content-Type", "application/json"), ("X-Forwarded-For", client)];
        service.connect().send("POST", "/register", &headers, body.as_bytes()).status
    };
    let rate = ["--rate-registrations", "1"];
    let service = Running::start(data.path(), &[&rate[..], &["--behind-proxy", "127.0.0.1"]].concat());
    assert_eq!((register(&service, "192.0.2.1"), register(&service, "192.0.2.1")), (201, 429));
    assert_eq!(register(&service, "192.0.2.2"), 201);
    assert_eq!(register(&service, "192.0.2.9, 192.0.2.2"), 429, "what strangers write to the left is not read");
    drop(service);
    let service = Running::start(data.path(), &rate);
    assert_eq!((register(&service, "192.0.2.1"), register(&service, "192.0.2.2")), (201, 429));
}

#[test]
fn jwt_09_keys_change_under_two_running_services_and_nobody_is_logged_out() {
    let data = tempfile::tempdir().unwrap();
    let issuer = [&APPROVE[..], &["--issuer", "http://localhost:3000"]].concat();
    let services = [Running::start(data.path(), &issuer), Running::start(data.path(), &issuer)];
    let client = services[0].register();
    let tokens = services[0].tokens(&client);
    let kid = |tokens: &Value| crate::support::header(tokens["access_token"].as_str().unwrap())["kid"].clone();
    let keys = |args: &[&str]| -> Vec<Value> {
        let output = command(data.path()).args([&["key"], args, &["--json"]].concat()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["keys"].as_array().unwrap().clone()
    };
    let (old, stages) =
        (kid(&tokens), |keys: &[Value]| keys.iter().map(|key| key["stage"].clone()).collect::<Vec<_>>());
    // Published first: the old one signs for another hour.
    let ahead = keys(&["rotate"]);
    assert_eq!(stages(&ahead), ["signs", "waits"]);
    // As RFC 3339 writes them, times sort as texts.
    assert!(ahead[1]["signs_from"].as_str() > ahead[1]["published"].as_str());
    assert!(ahead[0]["retires"].as_str() > ahead[1]["signs_from"].as_str());
    let jwks = |service: &Running| {
        let keys = service.connect().send("GET", "/oauth/jwks", &[], b"").json()["keys"].as_array().unwrap().clone();
        keys.into_iter().map(|key| key["kid"].clone()).collect::<Vec<_>>()
    };
    for service in &services {
        assert!(jwks(service).contains(&ahead[1]["kid"]) && jwks(service).contains(&old));
    }
    assert_eq!(kid(&services[1].tokens(&client)), old);
    // What waits is overtaken by nobody: it comes in the order in which it was made.
    let data_2 = tempfile::tempdir().unwrap();
    let hasty = Running::start(data_2.path(), &APPROVE);
    let client_2 = hasty.register();
    let before = hasty.tokens(&client_2);
    let output = command(data_2.path()).args(["key", "rotate", "--now", "--json"]).output().unwrap();
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let new = listed["keys"].as_array().unwrap().iter().find(|key| key["stage"] == "signs").unwrap()["kid"].clone();
    eventually("the new key signs", || kid(&hasty.tokens(&client_2)) == new);
    assert!(jwks(&hasty).contains(&kid(&before)), "the old one still verifies");
    let refreshed = hasty.refresh(&client_2, before["refresh_token"].as_str().unwrap());
    assert_eq!(refreshed.status, 200, "{}", refreshed.text());
    assert_eq!(kid(&refreshed.json()), new);
    drop(hasty);
    // The private half of the old one is gone from the file, and a restart goes on with the new one.
    let again = Running::start(data_2.path(), &APPROVE);
    let file = std::fs::read_to_string(data_2.path().join("keys.json")).unwrap();
    assert!(!file.contains(kid(&before).as_str().unwrap()), "{file}");
    assert_eq!(kid(&again.tokens(&again.register())), new);
}

#[test]
fn c15_figures_are_served_apart_and_hold_no_word_of_a_caller() {
    let data = tempfile::tempdir().unwrap();
    let service = Running::start(data.path(), &[&APPROVE[..], &["--metrics", "127.0.0.1:0"]].concat());
    service.tokens(&service.register());
    service.connect().send("GET", "/evil<script>?evil=1", &[], b"");
    service.post("/oauth/token", &[("grant_type", "evil")]);
    assert_eq!(service.connect().send("GET", "/metrics", &[], b"").status, 404, "not on the public listener");
    let line = service.banner.lines().find(|line| line.contains("/metrics")).expect("the banner tells where");
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().parse().unwrap();
    let answer = Connection::new(address).send("GET", "/metrics", &[], b"");
    let text = answer.text();
    for line in [
        "authz_requests_total{endpoint=\"/oauth/token\",method=\"POST\",status=\"200\"} 1",
        "authz_requests_total{endpoint=\"none\",method=\"GET\",status=\"404\"}",
        "authz_refusals_total{endpoint=\"token\",error=\"unsupported_grant_type\",cause=\"UnsupportedGrant\"} 1",
        "authz_commits_total{outcome=\"durable\"}",
        "authz_records{kind=\"clients\"} 1",
        "authz_request_time_seconds_bucket{le=\"",
        "authz_store_batches ",
        "authz_store_lock_wait_seconds ",
        "authz_store_size_bytes ",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains("evil"), "{text}");
    // The names of this machine only, one document, and to read.
    let raw = |text: String| Connection::new(address).raw(text.as_bytes(), false);
    let host = |host: &str| raw(format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n")).status;
    assert_eq!(host(&address.to_string()), 200);
    assert_eq!((host("rebound.example"), host("a b"), host("localhost\r\nHost: localhost")), (421, 400, 400));
    let post = Connection::new(address).send("POST", "/metrics", &[], b"x");
    assert_eq!((post.status, post.header("allow")), (405, Some("GET")));
    let nothing = Connection::new(address).send("GET", "/", &[], b"");
    assert_eq!((nothing.status, nothing.header("x-content-type-options")), (404, Some("nosniff")));
    assert!(nothing.json()["error"].is_string());
}

#[test]
fn c15_the_log_can_be_json_and_says_which_request_it_was() {
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("log");
    let more = [&APPROVE[..], &["--log-format", "json"]].concat();
    let service = Running::spawn(data.path(), &more, std::fs::File::create(&log).unwrap().into());
    let answer = service.post("/oauth/token", &[("grant_type", "a\u{1b}[31m\nb"), ("client_secret", "s3cret")]);
    let id = answer.header("x-request-id").unwrap();
    let mut text = String::new();
    eventually("it is logged", || {
        text = std::fs::read_to_string(&log).unwrap();
        text.contains("refused")
    });
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let line = lines.iter().find(|line| line["message"] == "refused").unwrap();
    assert_eq!((&line["span"]["id"], &line["endpoint"]), (&json!(id), &json!("token")));
    assert!(!text.contains("s3cret") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn c15_a_password_typed_as_a_name_is_not_logged() {
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("log");
    let service = Running::spawn(data.path(), &[], std::fs::File::create(&log).unwrap().into());
    add_user(data.path(), "ada", "correct horse battery");
    for name in ["MyS3cretPassw0rd", "ada"] {
        let page = service.connect().send("GET", "/account", &[], b"");
        let cookie = page.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let form = Form::first(&page).with("username", name).with("password", "an0therS3cret");
        let fields: Vec<_> = form.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let headers = [("Cookie", cookie.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
        let answer = service.connect().send("POST", "/login", &headers, form::encode(&fields).as_bytes());
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
    let mut text = String::new();
    eventually("both are logged", || {
        text = std::fs::read_to_string(&log).unwrap();
        text.matches("login failed").count() == 2
    });
    assert!(text.contains("ada") && !text.contains("S3cret"), "{text}");
}

#[cfg(unix)]
#[test]
fn cfg_01_the_keys_are_made_at_the_first_start_for_the_owner_only_and_differ_everywhere() {
    use std::os::unix::fs::PermissionsExt;
    let made = || {
        let data = tempfile::tempdir().unwrap();
        drop(Running::start(data.path(), &APPROVE));
        let path = data.path().join("keys.json");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        serde_json::from_str::<Value>(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let (one, other) = (made(), made());
    for secret in ["pkcs8", "derive", "seal"] {
        assert!(one[secret].as_str().unwrap().len() >= 43, "{secret}");
        assert_ne!(one[secret], other[secret], "{secret}");
    }
}

#[test]
fn f_26_slow_senders_keep_nobody_out_and_are_closed() {
    let data = tempfile::tempdir().unwrap();
    let service = Running::start(data.path(), &["--header-time", "2s"]);
    let mut slow: Vec<_> = (0..300).map(|_| std::net::TcpStream::connect(service.address).unwrap()).collect();
    let begun = std::time::Instant::now();
    let mut open = slow.len();
    while open > 0 && begun.elapsed().as_secs() < 15 {
        let asked = std::time::Instant::now();
        assert_eq!(service.connect().send("GET", "/health", &[], b"").status, 200);
        assert!(asked.elapsed().as_secs() < 1);
        // A byte each, without ever ending the headers. A closed connection says so at the second write.
        slow.retain_mut(|stream| stream.write_all(b"G").is_ok());
        open = slow.len();
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(open, 0, "they are closed when the time for headers is over");
}

#[cfg(unix)]
#[test]
fn f_35_with_little_memory_large_requests_are_refused_and_the_process_lives() {
    let data = tempfile::tempdir().unwrap();
    let script = "ulimit -v 1500000; exec \"$0\" \"$@\"";
    let mut limited = Command::new("sh");
    limited.args(["-c", script, BINARY]).env_remove("RUST_LOG").env("MCP_AUTHZ_DATA", data.path());
    let service = Running::from_command(limited, &[&APPROVE[..], &["--workers", "2"]].concat(), Stdio::null());
    let deep = format!("{}1{}", "[".repeat(32_000), "]".repeat(32_000));
    let wide = format!("[{}]", vec!["{}"; 20_000].join(","));
    for round in 0..20 {
        let mut announced = service.connect();
        let head = "POST /register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n";
        assert_eq!(announced.raw(head.as_bytes(), false).status, 413, "{round}");
        for body in [&deep, &wide] {
            let headers = [("Content-Type", "application/json")];
            let answer = service.connect().send("POST", "/register", &headers, body.as_bytes());
            assert!([400, 413].contains(&answer.status), "{}", answer.status);
        }
    }
    service.tokens(&service.register());
}
