//! A wrapped server beside the same server bare.

use std::io::{self, BufRead, Write};

use serde_json::{Value, json};

use crate::process::resident_mb;
use crate::stats::{figure, heading};
use crate::stdio::{INITIALIZE, Peer, call, deep, sequential, starts, token};

/// Prints what the wrapper adds.
pub fn run(seconds: f64) -> io::Result<()> {
    heading("mcp-stdio-server wrap");
    let folder = tempfile::tempdir()?;
    let token = token(folder.path())?;
    let data = folder.path().to_string_lossy().into_owned();
    let bench = std::env::current_exe()?.to_string_lossy().into_owned();
    let wrapped = ["wrap", "--data", &data, "--announce", "off", "--login", "off", "--", &bench, "mcp-echo"];
    let line = call(&format!(r#""authz/access_token":"{token}""#));
    let mut bare = Peer::start("bench", &["mcp-echo"])?;
    bare.shake_hands()?;
    let p50 = sequential(&mut bare, &line, seconds)?.quantile(0.5);
    figure("baseline: the bare server, a call, p50", p50, "µs", "");
    figure("baseline: the bare server, 64 in flight", deep(&mut bare, &line, seconds)?, "/s", "");
    let mut peer = Peer::start("mcp-stdio-server", &wrapped)?;
    peer.shake_hands()?;
    let mut trips = sequential(&mut peer, &line, seconds)?;
    let added = trips.quantile(0.5) - p50;
    figure("wrapped, a call with a token checked, p50", trips.quantile(0.5), "µs", &format!("{added:.0} µs added"));
    figure("  p99", trips.quantile(0.99), "µs", "");
    figure("  64 in flight", deep(&mut peer, &line, seconds)?, "/s", "");
    figure("  resident memory", resident_mb(peer.process()), "MB", "the keeper has as much again, most of it shared");
    let mut bare = starts("bench", &["mcp-echo"], INITIALIZE)?;
    figure("baseline: spawn → initialize of the bare server, median of 20", bare.quantile(0.5) / 1000.0, "ms", "");
    let mut started = starts("mcp-stdio-server", &wrapped, INITIALIZE)?;
    let added = (started.quantile(0.5) - bare.quantile(0.5)) / 1000.0;
    figure("spawn → initialize, wrapped", started.quantile(0.5) / 1000.0, "ms", &format!("{added:.1} ms added"));
    Ok(())
}

/// The bare server: one tool, as quickly as JSON can be read and written.
pub fn serve() -> io::Result<()> {
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line?)?;
        let result = match message["method"].as_str() {
            Some("initialize") => json!({
                "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
                "serverInfo": { "name": "mcp-echo", "version": "1" },
            }),
            Some("tools/list") => json!({ "tools": [{ "name": "echo", "inputSchema": { "type": "object" } }] }),
            Some("tools/call") => {
                json!({ "content": [{ "type": "text", "text": message["params"]["arguments"].to_string() }] })
            }
            _ => continue,
        };
        let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
        output.write_all(format!("{answer}\n").as_bytes())?;
        output.flush()?;
    }
    Ok(())
}
