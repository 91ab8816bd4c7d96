//! The stdio server beside a bare line echo over the same kind of pipes.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::oauth::jwt::{AccessClaims, Audience};
use shared::state::Change;
use shared::store::conformance::Sample;
use shared::store::journal::JournalStore;
use shared::time::{Clock, SystemClock};

use crate::population::{self, Contents, Layout};
use crate::process::{Guarded, command, resident_mb};
use crate::stats::{Samples, figure, heading};

/// The first line of a host of the earlier era.
pub const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const MODERN: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"}"#;

/// The grants of a large store.
const LARGE: u64 = 100_000;

/// Prints the stdio server's figures.
pub fn run(seconds: f64) -> io::Result<()> {
    heading("mcp-stdio-server");
    let folder = tempfile::tempdir()?;
    let token = token(folder.path())?;
    let data = folder.path().to_string_lossy().into_owned();
    let server = ["--data", data.as_str()];
    let legacy = call(&format!(r#""authz/access_token":"{token}""#));
    let modern = call(&format!(r#"{MODERN},"authz/access_token":"{token}""#));
    let mut base = Peer::start("bench", &["line-echo"])?;
    let bare = sequential(&mut base, &legacy, seconds)?.quantile(0.5);
    let bare_rate = deep(&mut base, &legacy, seconds)?;
    figure("baseline: bare line echo, round trip p50", bare, "µs", "");
    figure("baseline: bare line echo, 64 in flight", bare_rate, "/s", "");
    for (era, line, handshake) in [("2025-11-25", &legacy, true), ("2026-07-28", &modern, false)] {
        let mut peer = Peer::start("mcp-stdio-server", &server)?;
        if handshake {
            peer.shake_hands()?;
        }
        check(&mut peer, line)?;
        let mut trips = sequential(&mut peer, line, seconds)?;
        let p50 = trips.quantile(0.5);
        figure(
            &format!("echo with a token checked, {era}, p50"),
            p50,
            "µs",
            &format!("{:.2} × the baseline", p50 / bare),
        );
        figure("  p99", trips.quantile(0.99), "µs", "");
        figure("  64 in flight", deep(&mut peer, line, seconds)?, "/s", "");
        figure("  resident memory", resident_mb(peer.child.0.id()), "MB", "");
    }
    let mut bare = starts("bench", &["line-echo"], &legacy)?;
    figure("baseline: spawn → first line back, median of 20", bare.quantile(0.5) / 1000.0, "ms", "");
    figure(
        "spawn → initialize, median of 20",
        starts("mcp-stdio-server", &server, INITIALIZE)?.quantile(0.5) / 1000.0,
        "ms",
        "",
    );
    let discover =
        format!(r#"{{"jsonrpc":"2.0","id":0,"method":"server/discover","params":{{"_meta":{{{MODERN}}}}}}}"#);
    figure(
        "spawn → server/discover, median of 20",
        starts("mcp-stdio-server", &server, &discover)?.quantile(0.5) / 1000.0,
        "ms",
        "",
    );
    let large = folder.path().join("large");
    population::write(&large, Contents::Grants, Layout::Snapshot, LARGE)?;
    let large = large.to_string_lossy().into_owned();
    figure(
        &format!("spawn → server/discover, {LARGE} live grants"),
        starts("mcp-stdio-server", &["--data", &large, "--announce", "off"], &discover)?.quantile(0.5) / 1000.0,
        "ms",
        "the store is read meanwhile",
    );
    Ok(())
}

/// A call of `echo` with this in its `_meta`.
pub fn call(meta: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":ID,"method":"tools/call","params":{{"name":"echo","arguments":{{"message":"hello"}},"_meta":{{{meta}}}}}}}"#
    )
}

/// A store with one live grant, and its access token.
pub fn token(folder: &Path) -> io::Result<String> {
    let now = SystemClock.now();
    let store = JournalStore::open(folder, Arc::new(SystemClock)).map_err(io::Error::other)?;
    let keys = store.keys().map_err(io::Error::other)?;
    let issuer: shared::uri::Issuer = "http://localhost:3000".parse().map_err(io::Error::other)?;
    let sample = Sample::new(now);
    for changes in [vec![Change::IssuerDeclared(issuer.clone())], sample.known(), sample.approved(), sample.redeemed()]
    {
        store.commit_blocking(changes).map_err(io::Error::other)?;
    }
    let claims = AccessClaims {
        iss: issuer,
        sub: sample.user.name.to_string(),
        aud: Audience::One(sample.grant.resource.clone()),
        client_id: sample.client.id.clone(),
        scope: sample.access.scopes.clone(),
        jti: sample.access.id,
        grant: sample.grant.id,
        nbf: None,
        iat: now,
        exp: sample.access.expires,
    };
    Ok(keys.mint(&claims).map_err(io::Error::other)?.expose().to_owned())
}

/// A server process and its pipes.
pub struct Peer {
    child: Guarded,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    line: String,
    id: u64,
}

impl Peer {
    /// Starts one.
    pub fn start(name: &str, arguments: &[&str]) -> io::Result<Self> {
        Self::start_with(name, arguments, |_| {})
    }

    /// Starts one, the command changed by `change`.
    pub fn start_with(name: &str, arguments: &[&str], change: impl FnOnce(&mut Command)) -> io::Result<Self> {
        let mut command = command(name, arguments)?;
        change(&mut command);
        let mut child = Guarded(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
        let (Some(input), Some(output)) = (child.0.stdin.take(), child.0.stdout.take()) else {
            return Err(io::Error::other("no pipes"));
        };
        Ok(Self { child, input, output: BufReader::new(output), line: String::new(), id: 0 })
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.child.0.id()
    }

    /// Sends a line; `ID` in it becomes a number that no request in flight has.
    pub fn send(&mut self, line: &str) -> io::Result<()> {
        self.id += 1;
        self.input.write_all(format!("{}\n", line.replacen("ID", &self.id.to_string(), 1)).as_bytes())
    }

    /// The next line.
    pub fn receive(&mut self) -> io::Result<&str> {
        self.line.clear();
        if self.output.read_line(&mut self.line)? == 0 {
            return Err(io::Error::other("the server ended"));
        }
        Ok(&self.line)
    }

    /// Receives a line that is no refusal: a figure for refusals would be worth nothing.
    pub fn answered(&mut self) -> io::Result<()> {
        let line = self.receive()?;
        if line.contains("\"error\"") || line.contains("\"isError\":true") {
            return Err(io::Error::other(format!("a call was refused: {line:.300}")));
        }
        Ok(())
    }

    /// The handshake of the earlier era.
    pub fn shake_hands(&mut self) -> io::Result<()> {
        self.send(INITIALIZE)?;
        self.receive()?;
        self.send(INITIALIZED)
    }
}

/// Makes sure that the token is checked and good.
fn check(peer: &mut Peer, line: &str) -> io::Result<()> {
    peer.send(line)?;
    let answer = peer.receive()?;
    if answer.contains("\"authorized\":true") {
        Ok(())
    } else {
        Err(io::Error::other(format!("echo was refused: {answer:.300}")))
    }
}

/// Round trips, one after the other.
pub fn sequential(peer: &mut Peer, line: &str, seconds: f64) -> io::Result<Samples> {
    let mut samples = Samples::default();
    let begun = Instant::now();
    while begun.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        peer.send(line)?;
        peer.answered()?;
        samples.add(start.elapsed());
    }
    Ok(samples)
}

/// Calls per second with 64 in flight.
pub fn deep(peer: &mut Peer, line: &str, seconds: f64) -> io::Result<f64> {
    let window = Duration::from_secs_f64(seconds);
    let begun = Instant::now();
    let mut count = 0.0;
    for _ in 0..64 {
        peer.send(line)?;
    }
    while begun.elapsed() < window {
        peer.answered()?;
        peer.send(line)?;
        count += 1.0;
    }
    for _ in 0..64 {
        peer.answered()?;
    }
    Ok(count / begun.elapsed().as_secs_f64())
}

/// From the start of a process to its first answer, twenty times.
pub fn starts(name: &str, arguments: &[&str], first: &str) -> io::Result<Samples> {
    let mut samples = Samples::default();
    for _ in 0..20 {
        let begun = Instant::now();
        let mut peer = Peer::start(name, arguments)?;
        peer.send(first)?;
        peer.receive()?;
        samples.add(begun.elapsed());
    }
    Ok(samples)
}
