//! The authorization service under load: register → authorize (consent page posted) → token, every step durable.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use shared::oauth::form;
use shared::oauth::pkce::Verifier;

use crate::http::{self, Connection};
use crate::process::{Guarded, command, cpu_seconds, resident_mb};
use crate::stats::{Samples, figure, heading};
use crate::store;

const REDIRECT: &str = "http://127.0.0.1:9/cb";
const PASSWORD: &str = "correct horse battery staple";

/// Prints the service's figures.
pub fn run(seconds: f64) -> io::Result<()> {
    heading("authz-service");
    let folder = tempfile::tempdir()?;
    add_user(folder.path())?;
    let mut starts = Samples::default();
    for _ in 0..10 {
        let begun = Instant::now();
        let _service = start(folder.path())?;
        starts.add(begun.elapsed());
    }
    figure("start-up to the first 200, median of 10", starts.quantile(0.5) / 1000.0, "ms", "");
    let (service, address) = start(folder.path())?;
    let pid = service.0.id();
    figure("resident memory at rest", resident_mb(pid), "MB", "");
    let disk = store::raw_syncs_per_second(seconds.min(1.0))?;
    figure("baseline: append and fdatasync, one writer", disk, "/s", "");
    for connections in [1_u32, 8, 64] {
        let ready = (0..connections).map(|_| log_in(address)).collect::<io::Result<_>>()?;
        // After the logins: password hashes are not what is measured here.
        let before = cpu_seconds(pid);
        let (mut flows, elapsed) = load(ready, Duration::from_secs_f64(seconds))?;
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let count = flows.len() as f64;
        let rate = count / elapsed.as_secs_f64();
        figure(
            &format!("flows per second, {connections} connections"),
            rate,
            "/s",
            &format!("{:.2} × the baseline; 3 durable commits a flow", rate / disk),
        );
        figure("  one flow, p50", flows.quantile(0.5) / 1000.0, "ms", "");
        figure("  one flow, p99", flows.quantile(0.99) / 1000.0, "ms", "");
        figure("  CPU per 1,000 flows", (cpu_seconds(pid) - before) / count * 1000.0, "s", "");
    }
    figure("resident memory after the load", resident_mb(pid), "MB", "");
    Ok(())
}

pub fn add_user(folder: &Path) -> io::Result<()> {
    let data = folder.to_string_lossy().into_owned();
    let mut child = command("authz-service", ["user", "add", "ada", "--password-stdin", "--data", &data])?
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        writeln!(input, "{PASSWORD}")?;
    }
    if child.wait()?.success() { Ok(()) } else { Err(io::Error::other("user add failed")) }
}

/// Starts the service and waits for its first 200.
pub fn start(folder: &Path) -> io::Result<(Guarded, SocketAddr)> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let (data, port) = (folder.to_string_lossy().into_owned(), address.port().to_string());
    let arguments = ["serve", "--port", &port, "--data", &data, "--rate-limits", "off"];
    let service = Guarded(command("authz-service", arguments)?.stdout(Stdio::null()).spawn()?);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match Connection::open(address).and_then(|mut connection| connection.get("/health")) {
            Ok(answer) if answer.status == 200 => return Ok((service, address)),
            _ if Instant::now() > deadline => return Err(io::Error::other("the service does not answer")),
            _ => thread::sleep(Duration::from_micros(200)),
        }
    }
}

pub fn load(ready: Vec<Connection>, window: Duration) -> io::Result<(Samples, Duration)> {
    let begun = Instant::now();
    let threads: Vec<_> = ready
        .into_iter()
        .map(|mut connection| {
            thread::spawn(move || -> io::Result<Samples> {
                let mut samples = Samples::default();
                while begun.elapsed() < window {
                    let start = Instant::now();
                    flow(&mut connection)?;
                    samples.add(start.elapsed());
                }
                Ok(samples)
            })
        })
        .collect();
    let mut all = Samples::default();
    for thread in threads {
        all.append(thread.join().map_err(|_| io::Error::other("a loading thread died"))??);
    }
    Ok((all, begun.elapsed()))
}

fn expect(answer: http::Answer, status: u16, step: &str) -> io::Result<http::Answer> {
    if answer.status == status {
        return Ok(answer);
    }
    Err(io::Error::other(format!("{step} answered {}: {:.200}", answer.status, answer.body)))
}

fn member(body: &str, name: &str) -> String {
    serde_json::from_str::<serde_json::Value>(body)
        .ok()
        .and_then(|body| Some(body.get(name)?.as_str()?.to_owned()))
        .unwrap_or_default()
}

fn register(connection: &mut Connection) -> io::Result<String> {
    let body =
        format!(r#"{{"client_name":"bench","redirect_uris":["{REDIRECT}"],"token_endpoint_auth_method":"none"}}"#);
    let answer = expect(connection.post("/register", "application/json", &body)?, 201, "registration")?;
    Ok(member(&answer.body, "client_id"))
}

fn authorize_path(client: &str, verifier: &Verifier) -> String {
    let challenge = verifier.challenge().text();
    let query = form::encode(&[
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", REDIRECT),
        ("state", "s"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    format!("/oauth/authorize?{query}")
}

/// Fills in the first form of a page.
fn submit(connection: &mut Connection, page: &str, fields: &[(&str, &str)]) -> io::Result<http::Answer> {
    let (action, hidden) = http::form(page).ok_or_else(|| io::Error::other("the page has no form"))?;
    let all: Vec<(&str, &str)> =
        hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(fields.iter().copied()).collect();
    connection.post(&action, "application/x-www-form-urlencoded", &form::encode(&all))
}

/// A connection whose browser is logged in: a password hash a flow is not what is measured here.
pub fn log_in(address: SocketAddr) -> io::Result<Connection> {
    let mut connection = Connection::open(address)?;
    let client = register(&mut connection)?;
    let page = expect(connection.get(&authorize_path(&client, &Verifier::random()))?, 200, "login page")?;
    let answer = submit(&mut connection, &page.body, &[("username", "ada"), ("password", PASSWORD)])?;
    expect(answer, 303, "login").map(|_| connection)
}

/// One new client from registration to its token.
fn flow(connection: &mut Connection) -> io::Result<()> {
    tokens(connection).map(|_| ())
}

/// An app that goes on with its refresh token.
pub struct Refreshing {
    connection: Connection,
    client: String,
    token: String,
}

impl Refreshing {
    /// One more app, with its first tokens.
    pub fn begin(address: SocketAddr) -> io::Result<Self> {
        let mut connection = log_in(address)?;
        let (client, body) = tokens(&mut connection)?;
        Ok(Self { connection, client, token: member(&body, "refresh_token") })
    }

    /// The refresh token for the next one.
    pub fn refresh(&mut self) -> io::Result<()> {
        let body = form::encode(&[
            ("grant_type", "refresh_token"),
            ("client_id", &self.client),
            ("refresh_token", &self.token),
        ]);
        let answer = self.connection.post("/oauth/token", "application/x-www-form-urlencoded", &body)?;
        self.token = member(&expect(answer, 200, "refresh")?.body, "refresh_token");
        Ok(())
    }
}

/// A new client and the answer with its tokens.
fn tokens(connection: &mut Connection) -> io::Result<(String, String)> {
    let client = register(connection)?;
    let verifier = Verifier::random();
    let page = expect(connection.get(&authorize_path(&client, &verifier))?, 200, "consent page")?;
    let answer = expect(submit(connection, &page.body, &[("decision", "allow")])?, 303, "consent")?;
    let code = form::all_values(answer.location.split_once('?').map_or("", |(_, query)| query), "code")
        .next()
        .unwrap_or_default()
        .into_owned();
    let body = form::encode(&[
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", REDIRECT),
        ("client_id", &client),
        ("code_verifier", verifier.expose()),
    ]);
    let answer = expect(connection.post("/oauth/token", "application/x-www-form-urlencoded", &body)?, 200, "token")?;
    Ok((client, answer.body))
}
