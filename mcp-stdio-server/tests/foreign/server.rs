//! The server at its URL, and requests to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::issuer::{AUDIENCE, Issuer};

/// Longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

pub struct Server {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
    /// What it was given for a store.
    pub folder: tempfile::TempDir,
}

/// Waits for something that is bound to happen.
#[track_caller]
pub fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn challenge(&self) -> &str {
        self.header("www-authenticate").unwrap_or_default()
    }

    /// What the tool answered.
    pub fn structured(&self) -> &Value {
        &self.body["result"]["structuredContent"]
    }
}

impl Server {
    /// One that takes tokens of `issuer`.
    pub fn start(issuer: &Issuer, flags: &[&str]) -> Self {
        Self::start_with(flags, |command| {
            command.args(["--issuer", &issuer.url]);
        })
    }

    pub fn start_with(flags: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = command(folder.path());
        command.args(["http", "--listen", "127.0.0.1:0", "--resource", AUDIENCE]).args(flags);
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (mut line, mut address) = (String::new(), None);
        let log = Arc::new(Mutex::new(String::new()));
        while address.is_none() {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it does not serve: {}", log.lock().unwrap());
            log.lock().unwrap().push_str(&line);
            let rest = line.split_once("127.0.0.1:").map(|(_, rest)| rest);
            let port = rest.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
            address = port.and_then(|port| Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?))));
        }
        let more = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                more.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        Self { child, address: address.unwrap(), log, folder }
    }

    /// Starts one that does not come up; what it says.
    pub fn refused(flags: &[&str]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let output = command(folder.path()).args(["http", "--listen", "127.0.0.1:0"]).args(flags).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    /// Waits until the log says so: it is read beside the answers.
    #[track_caller]
    pub fn logs(&self, words: &str) {
        let until = Instant::now() + DEADLINE;
        while !self.log().contains(words) {
            assert!(Instant::now() < until, "{words:?} is not in {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Begins a session of the earlier era, and listens to it: what is heard until the server has had enough.
    pub fn listen(&self, token: &str) -> impl FnOnce() -> String + use<> {
        let bearer = format!("Authorization: Bearer {token}\r\nAccept: application/json, text/event-stream\r\n");
        let info = json!({ "name": "test", "version": "1" });
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params }).to_string();
        let length = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        let begun = self.send(&format!("POST /mcp HTTP/1.1\r\n{bearer}{length}"), &body);
        let name = begun.header("mcp-session-id").unwrap_or_else(|| panic!("no session: {begun:?}")).to_owned();
        let head = format!("GET /mcp HTTP/1.1\r\n{bearer}Mcp-Session-Id: {name}\r\nHost: localhost\r\n\r\n");
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut stream = BufReader::new(stream);
        let mut first = String::new();
        stream.read_line(&mut first).unwrap();
        assert!(first.contains(" 200 "), "{first}");
        move || {
            let mut heard = String::new();
            // The end of the stream is an empty chunk.
            let until = Instant::now() + 2 * DEADLINE;
            while !heard.ends_with("\r\n0\r\n") {
                assert!(Instant::now() < until, "it does not end: {heard}");
                assert!(stream.read_line(&mut heard).unwrap() > 0, "{heard}");
            }
            heard
        }
    }

    /// A call of a tool, in a request of its own.
    pub fn call(&self, token: Option<&str>, tool: &str, arguments: Value) -> Answer {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string();
        let mut head =
            "POST /mcp HTTP/1.1\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
                        MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n"
                .to_owned();
        head.push_str(&format!("Mcp-Name: {tool}\r\nContent-Length: {}\r\n", body.len()));
        if let Some(token) = token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        self.send(&head, &body)
    }

    pub fn whoami(&self, token: &str) -> Answer {
        self.call(Some(token), "whoami", json!({}))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\n"), "")
    }

    fn send(&self, head: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(format!("{head}Host: localhost\r\nConnection: close\r\n\r\n{body}").as_bytes()).unwrap();
        let mut whole = String::new();
        stream.read_to_string(&mut whole).unwrap();
        let (head, body) = whole.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {whole}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
        Answer { status, head: head.to_owned(), body }
    }
}

fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-stdio-server"));
    command.arg("--data").arg(data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("MCP_") || name == "RUST_LOG" || name.to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(&name);
        }
    }
    command.env("RUST_LOG", "mcp_stdio_server=info");
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
