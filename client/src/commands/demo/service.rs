//! An authz-service of the demo's own, in a folder of its own, both gone when the demo is over.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::connection::sibling;
use crate::failure::{Failure, Outcome};
use crate::net::http::{Http, METADATA_LIMIT};
use crate::print::clean_line;

/// How long the service may take to be ready.
const START_TIME: Duration = Duration::from_secs(20);
/// How long between two looks.
const PAUSE: Duration = Duration::from_millis(25);

/// A folder for the owner only, removed when dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new folder with a name that nobody guesses.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Outcome<Self> {
        let path = std::env::temp_dir().join(format!("mcp-demo-{}", shared::secret::random_uuid()));
        shared::files::create_private_folder(&path).map_err(|error| {
            Failure::failed(
                "store",
                format!("cannot make {}: {error}", path.display()),
                "free some space, or set TMPDIR",
            )
        })?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running authz-service; killed when dropped.
#[derive(Debug)]
pub struct Service {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Service {
    /// Starts one on a free port and waits until it is ready. It approves by itself unless a person takes part; then its
    /// words, with the link that makes the owner's account, go to stderr.
    ///
    /// # Errors
    /// When it cannot be started, or is not ready in time.
    pub async fn start(data: &Path, folder: &Path, interactive: bool) -> Outcome<Self> {
        let log = folder.join("authz-service.log");
        let port = free_port().map_err(|error| cannot(&error))?;
        let mut command = Command::new(sibling("authz-service"));
        command.arg("serve").args(["--port", &port.to_string()]).args(["--issuer", &url(port)]).arg("--data").arg(data);
        command.stdin(Stdio::null()).kill_on_drop(true);
        if interactive {
            command.stdout(std::io::stderr()).stderr(Stdio::inherit());
        } else {
            let file =
                File::create(&log).and_then(|file| Ok((file.try_clone()?, file))).map_err(|error| cannot(&error))?;
            command.arg("--auto-approve").stdout(file.0).stderr(file.1);
        }
        // Neither our secrets nor settings that are meant for another service.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MCP_")) {
            command.env_remove(name);
        }
        let child = command.spawn().map_err(|error| cannot(&error))?;
        let mut service = Self { child, port, log };
        service.ready().await?;
        Ok(service)
    }

    /// Its URL, which is its issuer.
    pub fn url(&self) -> String {
        url(self.port)
    }

    /// Ends it.
    pub async fn end(mut self) {
        let _ = self.child.kill().await;
    }

    async fn ready(&mut self) -> Outcome<()> {
        let http = Http::default();
        let health = format!("{}/health", self.url());
        let end = Instant::now() + START_TIME;
        while Instant::now() < end {
            if http.get_once(&health, METADATA_LIMIT).await.is_ok_and(|reply| reply.status == 200) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.failed(&format!("authz-service ended with {status}")));
            }
            sleep(PAUSE).await;
        }
        Err(self.failed("authz-service was not ready in time"))
    }

    /// With the last words of the service.
    fn failed(&self, what: &str) -> Failure {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let what = if last.is_empty() { what.to_owned() } else { format!("{what}: {}", clean_line(last, 300)) };
        Failure::failed("service", what, "run authz-service by hand to see more, then: mcp-client demo --server URL")
    }
}

fn cannot(error: &std::io::Error) -> Failure {
    Failure::failed(
        "service",
        format!("cannot start authz-service: {error}"),
        "build the whole workspace, so that authz-service lies beside mcp-client; or start one and pass --server URL",
    )
}

fn url(port: u16) -> String {
    format!("http://localhost:{port}")
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
