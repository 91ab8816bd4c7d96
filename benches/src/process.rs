//! Child processes and what they cost, as Linux accounts for it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command};

/// A child that does not outlive the bench.
pub struct Guarded(pub Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program of this workspace, built in the same profile as this one.
pub fn sibling(name: &str) -> io::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.exists() {
        return Ok(path);
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!("{} is not built: run cargo build --release --workspace", path.display()),
    ))
}

/// A command for a program of this workspace, without the environment's settings for it.
pub fn command<S: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = S>) -> io::Result<Command> {
    let mut command = Command::new(sibling(name)?);
    command
        .args(arguments)
        .env_remove("MCP_AUTHZ_DATA")
        .env_remove("MCP_AUTHZ_ISSUER")
        .env_remove("MCP_ACCESS_TOKEN")
        .env_remove("MCP_AUTHZ_LOGIN")
        .env("RUST_LOG", "error");
    Ok(command)
}

/// User and system seconds that a process has used; the clock ticks 100 times a second on every Linux.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(f64::NAN);
    (ticks(11) + ticks(12)) / 100.0
}

/// Resident memory in MB.
pub fn resident_mb(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}
