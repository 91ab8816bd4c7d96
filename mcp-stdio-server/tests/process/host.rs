//! A host: starts the server, sends lines, reads lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longer than anything here takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The `_meta` of a request of the modern era.
pub fn modern() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

/// A server process and its pipes.
pub struct Host {
    pub child: Child,
    pub stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
    /// The other end of stdout, for a host that does not read it.
    unread: Mutex<Option<ChildStdout>>,
    /// Everything that came on stdout and was read here.
    pub seen: String,
    next_id: i64,
}

impl Host {
    /// Starts a server on the store in `data`.
    pub fn start(data: &Path, flags: &[&str]) -> Self {
        Self::start_with(data, flags, |_| {})
    }

    /// Starts a server, the command changed by `change`.
    pub fn start_with(data: &Path, flags: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Self::command(data, flags);
        change(&mut command);
        Self::of(command.spawn().unwrap())
    }

    /// Starts a server where no file can be watched: in a user namespace whose limit of inotify instances is 0.
    /// `None` where the system does not allow such namespaces.
    #[cfg(target_os = "linux")]
    pub fn start_without_watches(data: &Path) -> Option<Self> {
        let limit = "echo 0 > /proc/sys/user/max_inotify_instances";
        let namespace = || {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user", "bash", "-c"]);
            command
        };
        namespace().arg(limit).status().is_ok_and(|status| status.success()).then_some(())?;
        let server = env!("CARGO_BIN_EXE_mcp-stdio-server");
        let mut command = namespace();
        command.arg(format!("{limit}; exec '{server}' --data '{}'", data.display()));
        Some(Self::of(Self::prepare(&mut command).spawn().unwrap()))
    }

    /// Starts another program that is a server of ours.
    pub fn of_program(program: &Path, data: &Path, flags: &[&str]) -> Self {
        Self::of(Self::command_of(program, data, flags).spawn().unwrap())
    }

    fn command(data: &Path, flags: &[&str]) -> Command {
        Self::command_of(Path::new(env!("CARGO_BIN_EXE_mcp-stdio-server")), data, flags)
    }

    fn command_of(program: &Path, data: &Path, flags: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.arg("--data").arg(data);
        if !flags.contains(&"--announce") {
            // Tests that look at the store's files want them still.
            command.args(["--announce", "off"]);
        }
        if !flags.contains(&"--login") {
            // A call without a token is refused, and asks nobody.
            command.args(["--login", "off"]);
        }
        Self::prepare(command.args(flags));
        command
    }

    fn prepare(command: &mut Command) -> &mut Command {
        for variable in [
            "MCP_AUTHZ_DATA",
            "MCP_AUTHZ_ISSUER",
            "MCP_ACCESS_TOKEN",
            "RUST_LOG",
            "MCP_AUTHZ_LOGIN",
            "BROWSER",
            "DISPLAY",
            "WAYLAND_DISPLAY",
        ] {
            command.env_remove(variable);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped())
    }

    fn of(mut child: Child) -> Self {
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines() {
                    let Ok(line) = line else { return };
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let stderr = child.stderr.take().map(|mut stderr| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                let _ = stderr.read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            })
        });
        let stdin = child.stdin.take();
        Self { child, stdin, lines, stderr, unread: Mutex::default(), seen: String::new(), next_id: 1 }
    }

    /// Starts a server and goes through the handshake of the legacy era.
    pub fn legacy(data: &Path, flags: &[&str]) -> Self {
        let mut host = Self::start(data, flags);
        host.initialize("2025-11-25");
        host
    }

    /// The handshake of the legacy era.
    pub fn initialize(&mut self, version: &str) -> Value {
        self.initialize_with(version, &json!({}))
    }

    /// The handshake of a host that can do something.
    pub fn initialize_with(&mut self, version: &str, capabilities: &Value) -> Value {
        let info = json!({ "name": "test", "version": "1" });
        let params = json!({ "protocolVersion": version, "capabilities": capabilities, "clientInfo": info });
        let answer = self.request("initialize", params);
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        answer
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    pub fn send(&mut self, message: &Value) {
        self.send_bytes(format!("{message}\n").as_bytes());
    }

    /// The next message on stdout, which must be an answer.
    #[track_caller]
    pub fn receive(&mut self) -> Value {
        let message = self.receive_any();
        assert!(message.get("method").is_none(), "a server asks nothing: {message}");
        message
    }

    /// The next message on stdout, which must be one.
    #[track_caller]
    pub fn receive_any(&mut self) -> Value {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => {
                self.seen.push_str(&line);
                self.seen.push('\n');
                let message: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
                assert_eq!(message["jsonrpc"], "2.0", "{line}");
                message
            }
            Err(RecvTimeoutError::Timeout) => panic!("no answer in time"),
            Err(RecvTimeoutError::Disconnected) => panic!("the server closed its output"),
        }
    }

    /// Whether stdout has ended without another line.
    pub fn output_ended(&mut self) -> bool {
        matches!(self.lines.recv_timeout(DEADLINE), Err(RecvTimeoutError::Disconnected))
    }

    /// Sends a request with a new id.
    pub fn send_request(&mut self, method: &str, params: Value) -> i64 {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// Sends a request and takes the next message, which must be its answer.
    #[track_caller]
    pub fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.send_request(method, params);
        let answer = self.receive();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// Calls a tool in the legacy era and gives its result.
    #[track_caller]
    pub fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.request("tools/call", json!({ "name": tool, "arguments": arguments }));
        assert!(answer.get("error").is_none(), "{answer}");
        answer["result"].clone()
    }

    /// Calls `echo` with a token as its argument.
    #[track_caller]
    pub fn echo(&mut self, token: &str) -> Value {
        self.call("echo", json!({ "message": "hello", "access_token": token }))
    }

    /// Shows that the server still serves.
    #[track_caller]
    pub fn assert_alive(&mut self) {
        let answer = self.request("ping", json!({}));
        assert_eq!(answer["result"], json!({}));
    }

    /// Shows that the server still serves, whatever it tells meanwhile.
    #[track_caller]
    pub fn assert_alive_among_notifications(&mut self) {
        let id = self.send_request("ping", json!({}));
        let answer = self.answer_among_notifications(id);
        assert_eq!(answer["result"], json!({}));
    }

    /// Calls `echo` with a token, whatever is told meanwhile.
    #[track_caller]
    pub fn echo_among_notifications(&mut self, token: &str) -> Value {
        let arguments = json!({ "message": "hello", "access_token": token });
        let id = self.send_request("tools/call", json!({ "name": "echo", "arguments": arguments }));
        self.answer_among_notifications(id)["result"].clone()
    }

    #[track_caller]
    fn answer_among_notifications(&mut self, id: i64) -> Value {
        loop {
            let message = self.receive_any();
            if message["id"] == id {
                return message;
            }
            assert!(message.get("id").is_none(), "{message}");
        }
    }

    /// Waits for the process to end by itself.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < limit, "still running after {limit:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Closes stdin, waits, and gives everything that was written to stdout and stderr.
    #[track_caller]
    pub fn finish(mut self) -> (String, String) {
        drop(self.stdin.take());
        let status = self.wait(Duration::from_secs(2));
        assert_eq!(status.code(), Some(0));
        while let Ok(line) = self.lines.recv_timeout(DEADLINE) {
            self.seen.push_str(&line);
            self.seen.push('\n');
        }
        (std::mem::take(&mut self.seen), self.stderr.take().unwrap().join().unwrap())
    }

    /// Resident memory in KiB.
    #[cfg(target_os = "linux")]
    pub fn memory(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(what)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Repeats until it holds.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Hosts that treat one of their pipes badly.
impl Host {
    /// The host closes stdout at once and keeps stdin open.
    pub fn start_closed_output(data: &Path) -> Self {
        let host = Self::start_unread(data);
        drop(host.unread.lock().unwrap().take());
        host
    }

    /// The host never reads stdout.
    pub fn start_unread(data: &Path) -> Self {
        let mut command = Self::command(data, &[]);
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take();
        let host = Self::of(child);
        *host.unread.lock().unwrap() = stdout;
        host
    }

    /// The handshake of a host that does not read the answer.
    pub fn initialize_unread(&mut self) {
        let info = json!({ "name": "test", "version": "1" });
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info });
        self.send_request("initialize", params);
    }

    /// A host that keeps stderr open and never reads it.
    pub fn start_unread_stderr(data: &Path, args: &[&str]) -> (Self, std::process::ChildStderr) {
        let mut child = Self::command(data, args).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        (Self::of(child), stderr)
    }

    /// The host closes stderr at once.
    pub fn start_closed_stderr(data: &Path) -> Self {
        let mut host = Self::of({
            let mut child = Self::command(data, &[]).spawn().unwrap();
            drop(child.stderr.take());
            child
        });
        host.initialize("2025-11-25");
        host
    }

    /// Sends what the server may be too dead to take.
    pub fn try_send(&mut self, message: &Value) {
        if let Some(stdin) = self.stdin.as_mut() {
            let _ = stdin.write_all(format!("{message}\n").as_bytes());
        }
    }

    /// Whether stdout has ended; a line that comes instead must be whole.
    pub fn output_ended_or_line(&mut self) -> bool {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => {
                serde_json::from_str::<Value>(&line).unwrap_or_else(|_| panic!("half a line: {line}"));
                false
            }
            Err(_) => true,
        }
    }

    /// What was written to stderr; the process must have ended.
    pub fn stderr_text(&mut self) -> String {
        self.stderr.take().map(|reader| reader.join().unwrap()).unwrap_or_default()
    }
}
