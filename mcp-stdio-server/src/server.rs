//! One server from its first line to its end.

use std::future::Future;
use std::time::Duration;

use rmcp::service::serve_directly;
use tokio::io::AsyncRead;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::framing::Framing;
use crate::framing::outbox::outbox;
use crate::framing::streams::Output;
use crate::handler::{Front, Handler};

/// How long calls under way may take to finish after the host has closed the input. With [`LAST_LINES`] within the
/// 2 seconds of contract C10.
const LAST_CALLS: Duration = Duration::from_millis(1000);

/// How long the host may take to read what is already answered.
const LAST_LINES: Duration = Duration::from_millis(500);

/// What a server's program is called, by whoever wrote it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Program {
    /// Its name, such as `env!("CARGO_PKG_NAME")`.
    pub name: &'static str,
    /// Its version, such as `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    /// What it is, in a sentence: the beginning of its help.
    pub about: &'static str,
}

impl Program {
    /// This package's own.
    pub const OURS: Self =
        Self { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION"), about: env!("CARGO_PKG_DESCRIPTION") };
}

/// Why a server ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// The host closed the input.
    InputClosed,
    /// The host closed the output.
    OutputClosed,
    /// `stop` said so.
    Stopped,
    /// The wrapped server cannot be started, or ends before it says anything.
    ServerEnded,
}

/// Serves one host until it leaves or `stop` resolves. Every answer that is begun is written whole, unless the host
/// does not read it.
pub async fn serve<R, W>(handler: Handler, input: R, output: W, stop: impl Future<Output = ()>) -> Ending
where
    R: AsyncRead + Unpin + Send + 'static,
    W: Output + 'static,
{
    let (outbox, writer) = outbox();
    let (ended, mut has_ended) = watch::channel(false);
    let mut writing = tokio::spawn(writer.run(output));
    // Without rmcp's handshake: which era a request belongs to is decided request by request.
    let running = serve_directly(Front(handler.until(has_ended.clone())), Framing::new(input, outbox, ended), None);
    let cancel = running.cancellation_token();
    let mut serving = tokio::spawn(running.waiting());
    let ending = tokio::select! {
        // In this order, so that an output that closes together with the input counts as closed.
        biased;
        _ = &mut writing => Ending::OutputClosed,
        () = stop => Ending::Stopped,
        _ = has_ended.wait_for(|ended| *ended) => Ending::InputClosed,
    };
    if ending == Ending::InputClosed && timeout(LAST_CALLS, &mut serving).await.is_ok() {
        let _ = timeout(LAST_LINES, &mut writing).await;
        return ending;
    }
    cancel.cancel();
    if ending != Ending::OutputClosed {
        // The way to the writer is dropped when rmcp has ended; the writer ends behind its last line.
        let _ = timeout(LAST_LINES, async {
            let _ = serving.await;
            let _ = writing.await;
        })
        .await;
    }
    ending
}
