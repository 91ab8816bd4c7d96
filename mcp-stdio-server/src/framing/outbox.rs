//! The one writer: whole lines, in order, nothing else (contract C10).

use std::io;

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::Held;
use super::streams::Output;

/// How many lines may wait for the writer.
const WAITING: usize = 64;

/// Lines that wait together are written together, up to so many bytes.
const TOGETHER: usize = 64 * 1024;

/// The way to the writer.
#[derive(Clone)]
pub struct Outbox(mpsc::Sender<(Vec<u8>, Held)>);

/// The writer's end.
pub struct Writer(mpsc::Receiver<(Vec<u8>, Held)>);

/// An outbox and its writer.
pub fn outbox() -> (Outbox, Writer) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Outbox(sender), Writer(receiver))
}

impl Outbox {
    /// Posts a line if there is a place for it, else gives it back.
    pub fn try_post(&self, line: Vec<u8>, held: Held) -> Option<(Vec<u8>, Held)> {
        self.0.try_send((line, held)).err().map(mpsc::error::TrySendError::into_inner)
    }

    /// Posts a line; waits while too many do.
    ///
    /// # Errors
    /// When nobody writes any more.
    pub async fn post(&self, line: Vec<u8>, held: Held) -> io::Result<()> {
        self.0.send((line, held)).await.map_err(|_| closed())
    }

    /// Posts what is in `line` and leaves it empty. May be dropped while it waits; the line is then still there.
    ///
    /// # Errors
    /// When nobody writes any more.
    pub async fn send(&self, line: &mut Option<Vec<u8>>) -> io::Result<()> {
        let place = self.0.reserve().await.map_err(|_| closed())?;
        if let Some(line) = line.take() {
            place.send((line, None));
        }
        Ok(())
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the output is closed")
}

impl Writer {
    /// Writes lines until every [`Outbox`] is gone.
    ///
    /// # Errors
    /// When the output takes no more: the host has closed it.
    pub async fn run<W: Output>(mut self, mut output: W) -> io::Result<()> {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                taken = self.0.recv_many(&mut batch, WAITING) => {
                    if taken == 0 {
                        return Ok(());
                    }
                }
                () = output.hung_up() => return Err(closed()),
            }
            for lines in groups(&mut batch) {
                output.write_all(&lines).await?;
                output.flush().await?;
            }
            // Only now: what a written line held is given back.
            batch.clear();
        }
    }
}

/// Joins lines that can be written with one call. What they hold stays behind.
fn groups(batch: &mut [(Vec<u8>, Held)]) -> Vec<Vec<u8>> {
    let mut groups: Vec<Vec<u8>> = Vec::with_capacity(1);
    for (line, _) in batch {
        match groups.last_mut() {
            Some(last) if last.len() + line.len() <= TOGETHER => last.append(line),
            _ => groups.push(std::mem::take(line)),
        }
    }
    groups
}
