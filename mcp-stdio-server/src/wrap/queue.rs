//! Lines on their way out: to the host, and to the child.
//!
//! Putting one in never waits: a relay that waits for one side to read, while that side waits for it, waits for ever.
//! What bounds the queue is that nothing more is read while it is full.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, mpsc};

use crate::framing::lines::MAX_LINE;
use crate::framing::streams::Output;

/// With so many bytes waiting, a queue is full: two of the longest lines.
const FULL: usize = 2 * MAX_LINE;

/// Lines that wait together are written together, up to so many.
const TOGETHER: usize = 64;

/// The way in.
#[derive(Clone)]
pub struct Queue {
    lines: mpsc::UnboundedSender<Vec<u8>>,
    load: Arc<Load>,
}

/// What waits.
#[derive(Default)]
struct Load {
    bytes: AtomicUsize,
    drained: Notify,
}

/// The way out.
pub struct Drain {
    lines: mpsc::UnboundedReceiver<Vec<u8>>,
    load: Arc<Load>,
}

/// A queue and its other end.
pub fn queue() -> (Queue, Drain) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let load = Arc::<Load>::default();
    (Queue { lines: sender, load: Arc::clone(&load) }, Drain { lines: receiver, load })
}

impl Queue {
    /// Puts a line in. It is lost when nobody writes any more: then the end of it all is on its way.
    pub fn put(&self, line: Vec<u8>) {
        self.load.bytes.fetch_add(line.len(), Ordering::AcqRel);
        let _ = self.lines.send(line);
    }

    /// Waits until the queue is not full.
    pub async fn has_room(&self) {
        loop {
            let drained = self.load.drained.notified();
            if self.load.bytes.load(Ordering::Acquire) < FULL {
                return;
            }
            drained.await;
        }
    }
}

impl Drain {
    /// Writes lines until every [`Queue`] is gone.
    ///
    /// # Errors
    /// When the output takes no more.
    pub async fn run<W: Output>(mut self, mut output: W) -> io::Result<()> {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                taken = self.lines.recv_many(&mut batch, TOGETHER) => {
                    if taken == 0 {
                        return Ok(());
                    }
                }
                () = output.hung_up() => return Err(io::ErrorKind::BrokenPipe.into()),
            }
            let bytes = match batch.as_slice() {
                [line] => {
                    output.write_all(line).await?;
                    line.len()
                }
                lines => {
                    let lines = lines.concat();
                    output.write_all(&lines).await?;
                    lines.len()
                }
            };
            output.flush().await?;
            batch.clear();
            self.load.bytes.fetch_sub(bytes, Ordering::AcqRel);
            self.load.drained.notify_waiters();
        }
    }
}
