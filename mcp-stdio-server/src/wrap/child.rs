//! The wrapped server's process, and whoever sees to it that nothing is left of it.
//!
//! Between us and the server stands a second process of this program, the keeper. It leads the process group, so that all that
//! the server starts belongs to it; it learns when we are gone, also when we were killed; and it ends the group then.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io;
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use shared::browser::SECRET_VARIABLES;
use shared::secret::Secret;
use shared::stderr::Stderr;
use shared::store::place::DATA_VARIABLE;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{ChildStderr, ChildStdin, Command};
use tokio::task::JoinHandle;

use super::queue::{Drain, Queue, queue};
use crate::framing::lines::{Found, Lines};
use crate::framing::streams::Output;

/// The hidden command by which this program is its own keeper.
pub const KEEPER: &str = "keep-child";

/// How long a server may take to end when its input was closed.
const PARTING: Duration = Duration::from_millis(700);

/// How long the last words of a server that has ended may take.
const REST: Duration = Duration::from_millis(200);

/// How long the end of the server's log may take.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// A shorter secret is not looked for in the server's log.
const SHORTEST_HIDDEN: usize = 6;

/// A longer line of the server's log is cut.
const LONGEST_LOG: usize = 1024;

impl Output for ChildStdin {}

/// What to start.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The program.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// Variables that a server's environment has and ours has not.
pub type Secrets = Vec<(OsString, Secret)>;

/// What a server says.
pub type Speech = Box<dyn AsyncRead + Send + Unpin>;

/// A running server.
pub struct Child {
    /// None of a stand-in, which is a task of ours.
    process: Option<tokio::process::Child>,
    /// What it says.
    pub lines: Lines<Speech>,
    /// What it is told.
    pub queue: Queue,
    writing: JoinHandle<()>,
    logging: JoinHandle<()>,
    /// Its process has ended; what it said last may still be on its way.
    is_gone: bool,
}

impl Child {
    /// Starts it.
    ///
    /// # Errors
    /// When this program cannot be started a second time. That the server cannot be started shows as its end.
    pub fn start(spec: &Spec, secrets: &Secrets) -> io::Result<Self> {
        let mut command = command(spec)?;
        for variable in SECRET_VARIABLES.into_iter().chain([DATA_VARIABLE, crate::vault::KEY_VARIABLE]) {
            // Ours, and nobody else's business.
            command.env_remove(variable);
        }
        command.envs(secrets.iter().map(|(name, value)| (name, value.expose())));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let taken = || io::Error::other("the server's pipes are not there");
        let (input, output) = (process.stdin.take().ok_or_else(taken)?, process.stdout.take().ok_or_else(taken)?);
        let (queue, drain) = queue();
        let writing = tokio::spawn(write(drain, input));
        let hidden = secrets.iter().map(|(_, value)| Secret::new(value.expose().to_owned())).collect();
        let logging = tokio::spawn(log(process.stderr.take().ok_or_else(taken)?, hidden));
        let process = Some(process);
        Ok(Self { process, lines: Lines::new(Box::new(output)), queue, writing, logging, is_gone: false })
    }

    /// A server that is a task of this process: it reads and writes the other end of `io`.
    pub fn inner(io: tokio::io::DuplexStream, task: JoinHandle<()>) -> Self {
        let (output, input) = tokio::io::split(io);
        let (queue, drain) = queue();
        let writing = tokio::spawn(write(drain, input));
        Self { process: None, lines: Lines::new(Box::new(output)), queue, writing, logging: task, is_gone: false }
    }

    /// Finds its next line. May be dropped at any time without loss.
    pub async fn find(&mut self) -> Found {
        let Some(process) = &mut self.process else { return self.lines.find().await.unwrap_or(Found::End) };
        if !self.is_gone {
            tokio::select! {
                biased;
                found = self.lines.find() => return found.unwrap_or(Found::End),
                _ = process.wait() => self.is_gone = true,
            }
        }
        // Something that it started may hold its output open for ever.
        let rest = tokio::time::timeout(REST, self.lines.find()).await;
        rest.ok().and_then(Result::ok).unwrap_or(Found::End)
    }

    /// Closes its input and waits for its end; ends it when that takes too long. Nothing of it is left afterwards.
    pub async fn end(mut self) {
        // The writer drops the pipe when it has written all.
        drop(self.queue);
        let Some(mut process) = self.process else { return self.logging.abort() };
        let parted = tokio::time::timeout(PARTING, async {
            let _ = (&mut self.writing).await;
            process.wait().await
        });
        if !parted.await.is_ok_and(|ended| ended.is_ok()) {
            self.writing.abort();
            stop(&process);
            let _ = tokio::time::timeout(PARTING, process.wait()).await;
            let _ = process.start_kill();
        }
        // Its last words, why it ended among them.
        let _ = tokio::time::timeout(LAST_WORDS, &mut self.logging).await;
        self.logging.abort();
    }

    /// Ends it now, whatever it is doing: it has in its memory what it must have no longer. The keeper asks first, for a fraction
    /// of a second: a client of containers that is killed leaves its container behind.
    pub async fn kill(self) {
        self.writing.abort();
        self.logging.abort();
        let Some(mut process) = self.process else { return };
        stop(&process);
        if tokio::time::timeout(PARTING, process.wait()).await.is_err() {
            kill_group(&process);
            let _ = process.start_kill();
            let _ = tokio::time::timeout(PARTING, process.wait()).await;
        }
    }
}

async fn write(drain: Drain, input: impl Output) {
    // A server that reads no more is about to end; its end is seen at its output.
    let _ = drain.run(input).await;
}

/// The server's log goes where ours goes, whole lines without what steers a terminal and without the secrets that it was given.
async fn log(errors: ChildStderr, hidden: Vec<Secret>) {
    let mut lines = BufReader::new(errors);
    let mut line = Vec::new();
    let mut is_rest = false;
    loop {
        line.clear();
        // A line without an end must not fill the memory.
        let read = tokio::io::AsyncReadExt::take(&mut lines, LONGEST_LOG as u64 * 8).read_until(b'\n', &mut line).await;
        if !read.is_ok_and(|count| count > 0) {
            return;
        }
        // The rest of a line that was cut is not shown: it may begin in the middle of a secret.
        if std::mem::replace(&mut is_rest, !line.ends_with(b"\n")) {
            continue;
        }
        let text = without(String::from_utf8_lossy(&line), &hidden);
        let mut shown: String = text.trim_end().chars().filter(|c| !c.is_control()).take(LONGEST_LOG).collect();
        shown.push('\n');
        // Whoever does not read our log misses this, too (fault F-36).
        let _ = io::Write::write_all(&mut Stderr, shown.as_bytes());
    }
}

/// A line without what is hidden; of a secret of several lines, such as a key, each line. Very short ones are left: every other word
/// has them in it.
fn without<'a>(text: Cow<'a, str>, hidden: &[Secret]) -> Cow<'a, str> {
    let mut text = text;
    let lines = hidden.iter().flat_map(|secret| secret.expose().lines());
    for secret in lines.filter(|line| line.len() >= SHORTEST_HIDDEN) {
        if text.contains(secret) {
            text = text.replace(secret, "[secret]").into();
        }
    }
    text
}

#[cfg(unix)]
fn command(spec: &Spec) -> io::Result<Command> {
    let mut command = Command::new(ourselves()?);
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    command.arg(KEEPER).arg(std::process::id().to_string()).arg("--").arg(&spec.program).args(&spec.arguments);
    command.process_group(0);
    Ok(command)
}

/// This program as it runs. Under its path there may be another version by now, or nothing; Linux knows it without one.
#[cfg(unix)]
fn ourselves() -> io::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if cfg!(target_os = "linux") && running.exists() { Ok(running.to_owned()) } else { std::env::current_exe() }
}

#[cfg(not(unix))]
fn command(spec: &Spec) -> io::Result<Command> {
    let mut command = Command::new(&spec.program);
    command.args(&spec.arguments);
    Ok(command)
}

/// Asks the keeper to end the group.
#[cfg(unix)]
fn stop(process: &tokio::process::Child) {
    use rustix::process::{Pid, Signal, kill_process};

    if let Some(pid) = process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

#[cfg(not(unix))]
fn stop(_process: &tokio::process::Child) {}

/// Ends the keeper, the server, and all that the server started.
#[cfg(unix)]
fn kill_group(process: &tokio::process::Child) {
    use rustix::process::{Pid, Signal, kill_process_group};

    if let Some(pid) = process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

#[cfg(not(unix))]
fn kill_group(_process: &tokio::process::Child) {}

/// The keeper: starts the server with its own pipes, waits, and leaves nothing of it behind.
#[cfg(unix)]
pub mod keeper {
    use std::ffi::OsString;
    use std::io;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitCode;
    use std::time::Duration;

    use rustix::process::{Pid, Signal, getpgrp, getppid, kill_process_group};
    use tokio::process::Command;
    use tokio::signal::unix::{SignalKind, signal};

    /// How long the group may take to end by itself.
    const GRACE: Duration = Duration::from_millis(300);

    /// How often to look whether whoever started us is still there, where no signal tells.
    const LOOK: Duration = Duration::from_millis(500);

    /// Runs `command` for the process `parent`.
    pub fn run(parent: u32, command: &[OsString]) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let code = match runtime.and_then(|runtime| runtime.block_on(keep(parent, command))) {
            Ok(code) => code,
            Err(error) => {
                let program = command.first().map(|program| program.to_string_lossy().into_owned());
                tracing::error!(program = program.unwrap_or_default(), %error, "the server cannot be started");
                127
            }
        };
        // What the server left running goes too, and we with it: what we have to say comes before.
        shared::stderr::finish();
        let _ = kill_process_group(getpgrp(), Signal::KILL);
        ExitCode::from(code)
    }

    async fn keep(parent: u32, command: &[OsString]) -> io::Result<u8> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        #[cfg(target_os = "linux")]
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        let Some((program, arguments)) = command.split_first() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if is_orphan(parent) {
            return Ok(0);
        }
        let mut child = Command::new(program).args(arguments).spawn()?;
        let orphaned = async {
            while !is_orphan(parent) {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            status = child.wait() => {
                let status = status?;
                tracing::info!(%status, "the server ended");
                let code = status.code().unwrap_or_else(|| 128 | status.signal().unwrap_or(0));
                return Ok(u8::try_from(code).unwrap_or(1));
            }
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
            () = orphaned => {}
        }
        let _ = kill_process_group(getpgrp(), Signal::TERM);
        let _ = tokio::time::timeout(GRACE, child.wait()).await;
        Ok(0)
    }

    fn is_orphan(parent: u32) -> bool {
        getppid().map(Pid::as_raw_nonzero).is_none_or(|found| u32::try_from(found.get()) != Ok(parent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n2_each_line_of_a_secret_is_hidden_in_a_log_that_comes_line_by_line() {
        let hidden =
            ["ghp_16C7e42F", "-----BEGIN KEY-----\nMIIBVgIBADAN\nabc\n"].map(|text| Secret::new(text.to_owned()));
        for (line, shown) in [
            ("my token is ghp_16C7e42F.", "my token is [secret]."),
            ("MIIBVgIBADAN", "[secret]"),
            ("key: -----BEGIN KEY-----", "key: [secret]"),
            ("abc", "abc"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(without(line.into(), &hidden), shown);
        }
    }
}
