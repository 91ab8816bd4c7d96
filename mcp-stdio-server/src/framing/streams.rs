//! The process's own standard input and output, without a thread in between where the system allows it.
//!
//! tokio's `stdin` and `stdout` hand every read and write to another thread, which costs more than the rest of a
//! call. Hosts start servers with pipes, or (node) with socket pairs; both can be waited for directly.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Somewhere to write lines to.
pub trait Output: AsyncWrite + Unpin + Send {
    /// Resolves when nobody reads any more, where the system tells before the next write.
    fn hung_up(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

impl Output for tokio::io::DuplexStream {}
impl<W: AsyncWrite + Send> Output for tokio::io::WriteHalf<W> {}

/// Standard input.
pub enum Stdin {
    /// A pipe of our own opening.
    #[cfg(target_os = "linux")]
    Pipe(tokio::net::unix::pipe::Receiver),
    /// One end of a socket pair.
    #[cfg(unix)]
    Socket(tokio::net::UnixStream),
    /// Anything else: a file, a terminal, another system.
    Thread(tokio::io::Stdin),
}

/// Standard output.
pub enum Stdout {
    /// A pipe of our own opening.
    #[cfg(target_os = "linux")]
    Pipe(tokio::net::unix::pipe::Sender),
    /// One end of a socket pair.
    #[cfg(unix)]
    Socket(tokio::net::UnixStream),
    /// Anything else: a file, a terminal, another system.
    Thread(tokio::io::Stdout),
}

/// The process's standard input.
pub fn stdin() -> Stdin {
    // Opening anew through /proc gives a description of our own: the flag that makes it non-blocking does not reach
    // whoever shares the original.
    #[cfg(target_os = "linux")]
    if let Ok(pipe) = tokio::net::unix::pipe::OpenOptions::new().open_receiver("/proc/self/fd/0") {
        return Stdin::Pipe(pipe);
    }
    #[cfg(unix)]
    if let Some(socket) = socket(&io::stdin()) {
        return Stdin::Socket(socket);
    }
    Stdin::Thread(tokio::io::stdin())
}

/// The process's standard output.
pub fn stdout() -> Stdout {
    #[cfg(target_os = "linux")]
    if let Ok(pipe) = tokio::net::unix::pipe::OpenOptions::new().open_sender("/proc/self/fd/1") {
        return Stdout::Pipe(pipe);
    }
    #[cfg(unix)]
    if let Some(socket) = socket(&io::stdout()) {
        return Stdout::Socket(socket);
    }
    Stdout::Thread(tokio::io::stdout())
}

/// How long what the host sent before it left may take: it lies in the pipe, and is answered as far as time allows.
const AFTERWARDS: std::time::Duration = std::time::Duration::from_secs(1);

/// Resolves a second after the host has closed the input, also when unread lines hide its end: a host that leaves
/// without reading its answers would keep us for ever (contract C10).
pub async fn host_left() {
    #[cfg(target_os = "linux")]
    if let Ok(pipe) = tokio::net::unix::pipe::OpenOptions::new().open_receiver("/proc/self/fd/0") {
        // This interest waits for no data, only for the writing end to close.
        if pipe.ready(tokio::io::Interest::PRIORITY).await.is_ok() {
            tokio::time::sleep(AFTERWARDS).await;
            return;
        }
    }
    std::future::pending().await
}

/// A standard stream that is a Unix socket.
#[cfg(unix)]
fn socket(stream: &impl std::os::fd::AsFd) -> Option<tokio::net::UnixStream> {
    let socket = std::os::unix::net::UnixStream::from(stream.as_fd().try_clone_to_owned().ok()?);
    // Fails for everything that is no Unix socket.
    socket.local_addr().ok()?;
    socket.set_nonblocking(true).ok()?;
    tokio::net::UnixStream::from_std(socket).ok()
}

impl AsyncRead for Stdin {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            #[cfg(target_os = "linux")]
            Self::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buffer),
            #[cfg(unix)]
            Self::Socket(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Thread(stdin) => Pin::new(stdin).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stdout {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            #[cfg(target_os = "linux")]
            Self::Pipe(pipe) => Pin::new(pipe).poll_write(cx, bytes),
            #[cfg(unix)]
            Self::Socket(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Thread(stdout) => Pin::new(stdout).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Thread(stdout) => Pin::new(stdout).poll_flush(cx),
            #[cfg(unix)]
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl Output for Stdout {
    async fn hung_up(&self) {
        #[cfg(target_os = "linux")]
        if let Self::Pipe(pipe) = self {
            // The reading end is closed: the one error that an idle pipe reports.
            if pipe.ready(tokio::io::Interest::ERROR).await.is_ok() {
                return;
            }
        }
        std::future::pending().await
    }
}
