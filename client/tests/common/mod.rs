//! A scripted authorization and MCP server, and the real program.
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A request that the server got.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of the query or the form.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let text = if self.method == "POST" { &self.body } else { &self.query };
        shared::oauth::form::Parameters::parse(text).unwrap().take(name)
    }
}

/// An answer to give.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn json(status: u16, body: &Value) -> Self {
        Self { status, headers: vec![("Content-Type".into(), "application/json".into())], body: body.to_string() }
    }

    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }

    pub fn redirect(status: u16, to: &str) -> Self {
        Self::status(status).with("Location", to)
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

type Script = dyn Fn(&Request, &Fake) -> Option<Answer> + Send + Sync;

/// An authorization server and MCP server (at `/mcp`) that does what it must, unless a script says otherwise.
#[derive(Clone)]
pub struct Fake {
    pub port: u16,
    log: Arc<Mutex<Vec<Request>>>,
    script: Arc<Script>,
    /// Access tokens to give out, in turn; the last one for ever.
    pub tokens: Arc<Mutex<VecDeque<String>>>,
}

impl Fake {
    pub fn start() -> Self {
        Self::scripted(|_, _| None)
    }

    /// A server whose `script` is asked first.
    pub fn scripted(script: impl Fn(&Request, &Self) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tokens = Arc::new(Mutex::new(VecDeque::from(["good".to_owned()])));
        let port = listener.local_addr().unwrap().port();
        let fake = Self { port, log: Arc::default(), script: Arc::new(script), tokens };
        let server = fake.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let server = server.clone();
                std::thread::spawn(move || server.serve(&mut stream.unwrap()));
            }
        });
        fake
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn mcp(&self) -> String {
        format!("{}/mcp", self.url())
    }

    /// The requests to a path so far.
    pub fn requests(&self, path: &str) -> Vec<Request> {
        self.log.lock().unwrap().iter().filter(|request| request.path == path).cloned().collect()
    }

    /// The form posts with a grant type so far.
    pub fn grants(&self, kind: &str) -> Vec<Request> {
        let is = |request: &Request| request.parameter("grant_type").as_deref() == Some(kind);
        self.requests("/token").into_iter().filter(is).collect()
    }

    /// The metadata that it publishes when nobody scripts it.
    pub fn metadata(&self) -> Value {
        let url = self.url();
        json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "registration_endpoint": format!("{url}/register"),
            "revocation_endpoint": format!("{url}/revoke"),
            "scopes_supported": ["mcp:tools:read", "mcp:tools:execute", "offline_access"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
        })
    }

    fn serve(&self, stream: &mut TcpStream) {
        let Some(request) = read(stream) else { return };
        self.log.lock().unwrap().push(request.clone());
        let answer = (self.script)(&request, self).unwrap_or_else(|| self.answer(&request));
        let mut head =
            format!("HTTP/1.1 {} x\r\nContent-Length: {}\r\nConnection: close\r\n", answer.status, answer.body.len());
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let _ = stream.write_all(format!("{head}\r\n{}", answer.body).as_bytes());
    }

    fn answer(&self, request: &Request) -> Answer {
        match request.path.as_str() {
            "/.well-known/oauth-authorization-server" => Answer::json(200, &self.metadata()),
            "/.well-known/oauth-protected-resource/mcp" => {
                Answer::json(200, &json!({ "resource": self.mcp(), "authorization_servers": [self.url()] }))
            }
            "/register" => {
                let sent: Value = serde_json::from_str(&request.body).unwrap();
                let id = format!("c_{}", self.requests("/register").len());
                Answer::json(201, &json!({ "client_id": id, "redirect_uris": sent["redirect_uris"] }))
            }
            "/authorize" if request.parameter("prompt").is_some() => {
                Answer::redirect(302, &format!("{}?error=login_required", request.parameter("redirect_uri").unwrap()))
            }
            "/authorize" => {
                let redirect = request.parameter("redirect_uri").unwrap();
                let state = request.parameter("state").unwrap();
                let query =
                    shared::oauth::form::encode(&[("code", "the-code"), ("state", &state), ("iss", &self.url())]);
                Answer::redirect(302, &format!("{redirect}?{query}"))
            }
            "/token" => Answer::json(200, &self.token(3600)),
            "/revoke" => Answer::status(200),
            "/mcp" if request.method == "POST" => self.mcp_answer(request),
            _ => Answer::status(404),
        }
    }

    /// A token answer with a rotated refresh token.
    pub fn token(&self, life: u64) -> Value {
        let mut tokens = self.tokens.lock().unwrap();
        let access = if tokens.len() > 1 { tokens.pop_front().unwrap() } else { tokens[0].clone() };
        let refresh = format!("refresh-{}", self.log.lock().unwrap().iter().filter(|r| r.path == "/token").count());
        json!({ "access_token": access, "token_type": "Bearer", "expires_in": life, "refresh_token": refresh })
    }

    /// Speaks the newer era; takes the token `good` and no other.
    pub fn mcp_answer(&self, request: &Request) -> Answer {
        if request.header("authorization") != Some("Bearer good") {
            return Answer::status(401).with("WWW-Authenticate", "Bearer scope=\"mcp:tools:read\"");
        }
        let message: Value = serde_json::from_str(&request.body).unwrap();
        let result = match message["method"].as_str().unwrap() {
            "server/discover" => json!({
                "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} }, "resultType": "complete",
                "serverInfo": { "name": "fake", "version": "1" }, "ttlMs": 0, "cacheScope": "private",
            }),
            "tools/list" => json!({
                "tools": [{ "name": "hello", "inputSchema": { "type": "object" } }],
                "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
            }),
            "tools/call" => json!({
                "content": [{ "type": "text", "text": "hello from http" }], "resultType": "complete",
            }),
            other => panic!("{other}"),
        };
        Answer::json(200, &json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }))
    }
}

fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length =
        headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Request { method, path: path.into(), query: query.into(), headers, body: String::from_utf8(body).unwrap() })
}

/// What a plain browser gets: status and text, redirects not followed.
pub fn browse(url: &str) -> (u16, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    raw(host, &format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
}

/// Sends bytes and reads the answer.
pub fn raw(host: &str, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split_whitespace().nth(1).unwrap_or_else(|| panic!("no answer: {text:?}")).parse().unwrap();
    (status, text)
}

/// The value of a header in a raw answer.
pub fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    let is = |line: &&str| line.to_ascii_lowercase().starts_with(&format!("{name}: "));
    answer.lines().find(is).map(|line| &line[name.len() + 2..]).unwrap_or_default()
}

/// Waits until something is so.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The program with a vault of its own.
pub struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn vault(&self) -> PathBuf {
        self.folder.path().join("vault")
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-client"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MCP_") || name == "BROWSER" || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command.arg("--store").arg(self.vault()).args(arguments).stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::from(self.command(arguments).output().unwrap())
    }

    /// Starts a login that waits for the browser.
    pub fn login(&self, arguments: &[&str]) -> Login {
        let mut command = self.command(&["login", "--no-browser"]);
        Login::start(command.args(arguments))
    }

    /// Logs in to `url` and asserts that it worked.
    #[track_caller]
    pub fn logged_in(&self, url: &str) -> Ran {
        let login = self.login(&[url]);
        login.follow();
        let ran = login.end();
        assert_eq!(ran.code, 0, "{ran:?}");
        ran
    }

    /// The vault's file.
    pub fn book(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.vault().join("credentials.json")).unwrap()).unwrap()
    }

    /// Puts a login into the vault.
    pub fn keep(&self, fake: &Fake, entry: Value) {
        let mut whole = json!({
            "issuer": fake.url(), "resource": "urn:mcp:stdio:default", "profile": "default", "client_id": "c_1",
            "access_token": "good", "scope": "mcp:tools:read", "obtained": 1, "generation": 1,
        });
        whole.as_object_mut().unwrap().extend(entry.as_object().unwrap().clone());
        shared::files::create_private_folder(&self.vault()).unwrap();
        let text = json!({ "version": 1, "tokens": [whole] }).to_string();
        shared::files::replace(&self.vault().join("credentials.json"), text.as_bytes()).unwrap();
    }
}

/// How the program ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// The one JSON object on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        let value: Value = serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        assert!(value.is_object(), "{self:?}");
        value
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// A login that waits.
pub struct Login {
    pub child: Child,
    pub url: String,
    err: Arc<Mutex<String>>,
    reader: std::thread::JoinHandle<()>,
}

impl Login {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let err: Arc<Mutex<String>> = Arc::default();
        let (sink, stream) = (err.clone(), child.stderr.take().unwrap());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                sink.lock().unwrap().push_str(&(line.unwrap() + "\n"));
            }
        });
        let mut url = None;
        let end = Instant::now() + Duration::from_secs(20);
        while url.is_none() {
            let text = err.lock().unwrap().clone();
            url = text
                .lines()
                .map(str::trim)
                .find(|line| line.starts_with("http") && line.contains("code_challenge"))
                .map(str::to_owned);
            assert!(url.is_some() || (Instant::now() < end && child.try_wait().unwrap().is_none()), "no URL: {text}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, url: url.unwrap(), err, reader }
    }

    /// A parameter of the URL.
    pub fn parameter(&self, name: &str) -> String {
        let query = self.url.split_once('?').unwrap().1;
        shared::oauth::form::Parameters::parse(query).unwrap().take(name).unwrap_or_default()
    }

    /// The callback's host and port.
    pub fn callback(&self) -> String {
        self.parameter("redirect_uri").replace("http://", "").replace("/callback", "")
    }

    /// Sends a query to the callback.
    pub fn answer(&self, parameters: &[(&str, &str)]) -> (u16, String) {
        browse(&format!("http://{}/callback?{}", self.callback(), shared::oauth::form::encode(parameters)))
    }

    /// Plays the browser: the server, then the callback.
    pub fn follow(&self) -> (u16, String) {
        let (_, answer) = browse(&self.url);
        browse(header(&answer, "location"))
    }

    pub fn end(self) -> Ran {
        let mut output = self.child.wait_with_output().unwrap();
        self.reader.join().unwrap();
        output.stderr = self.err.lock().unwrap().clone().into_bytes();
        Ran::from(output)
    }
}

/// The scripted stdio server.
pub fn scripted_server() -> String {
    let folder = Path::new(env!("CARGO_BIN_EXE_mcp-client")).parent().unwrap().join("examples");
    folder.join(format!("scripted_server{}", std::env::consts::EXE_SUFFIX)).to_str().unwrap().to_owned()
}

/// A program of the workspace, beside this one; built when it is not there yet.
pub fn sibling(name: &str) -> PathBuf {
    static BUILD: Mutex<()> = Mutex::new(());
    let ours = Path::new(env!("CARGO_BIN_EXE_mcp-client"));
    let program = ours.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let _one = BUILD.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !program.exists() {
        let (folder, profile) = (ours.parent().unwrap(), if cfg!(debug_assertions) { "dev" } else { "release" });
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            name,
            "--bin",
            name,
            "--profile",
            profile,
            "--target-dir",
        ]);
        let built = cargo.arg(folder.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
        assert!(built.success(), "cannot build {name}");
    }
    program
}

/// A real authz-service.
pub struct Service {
    child: Child,
    pub port: u16,
    _folder: tempfile::TempDir,
    pub data: PathBuf,
}

impl Service {
    pub fn start(more: &[&str]) -> Self {
        sibling("mcp-stdio-server");
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(sibling("authz-service"));
        command.args(["serve", "--port", &port.to_string(), "--data"]).arg(&data).args(more).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let service = Self { child, port, _folder: folder, data };
        let ready =
            || TcpStream::connect(("127.0.0.1", port)).is_ok() && browse(&format!("{}/health", service.url())).0 == 200;
        until("the service is ready", ready);
        service
    }

    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
