//! Standard error that nobody waits for: whoever should read it may have stopped, and a pipe holds 64 KiB.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many bytes may wait to be written. What comes beyond that is lost, and counted.
const MOST: usize = 1024 * 1024;

/// How long the end of the program may wait for the last lines.
const LAST_LINES: Duration = Duration::from_millis(300);

static STDERR: LazyLock<Queue> = LazyLock::new(Queue::default);

/// Takes whole lines, to be written by a thread of their own (fault F-36).
#[derive(Clone, Copy, Debug, Default)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !STDERR.put(line) {
            return Ok(line.len());
        }
        let writer = || STDERR.drain(&mut io::stderr());
        if std::thread::Builder::new().name("stderr".to_owned()).spawn(writer).is_err() {
            // Better late than never.
            STDERR.state().has_writer = false;
            STDERR.write_once(&mut io::stderr());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits a moment for what is still to be written. For the end of a program.
pub fn finish() {
    STDERR.finish(LAST_LINES);
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    /// Of the lines that wait, and of those that are being written.
    bytes: usize,
    lost: u64,
    has_writer: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a line. True when somebody has to begin to write.
    fn put(&self, line: &[u8]) -> bool {
        let mut state = self.state();
        if state.bytes + line.len() > MOST {
            state.lost += 1;
            return false;
        }
        state.bytes += line.len();
        state.lines.push_back(line.to_vec());
        self.changed.notify_all();
        !std::mem::replace(&mut state.has_writer, true)
    }

    fn drain(&self, out: &mut impl Write) {
        loop {
            drop(self.changed.wait_while(self.state(), |state| state.lines.is_empty()));
            self.write_once(out);
        }
    }

    /// Writes what waits. A line that cannot be written is no reason to stop.
    fn write_once(&self, out: &mut impl Write) {
        let batch: Vec<u8> = self.state().lines.drain(..).flatten().collect();
        let _ = out.write_all(&batch).and_then(|()| out.flush());
        let lost = {
            let mut state = self.state();
            state.bytes -= batch.len();
            std::mem::take(&mut state.lost)
        };
        self.changed.notify_all();
        if lost > 0 {
            tracing::warn!(lost, "lines of the log were lost: nobody read it");
        }
    }

    fn finish(&self, patience: Duration) {
        drop(self.changed.wait_timeout_while(self.state(), patience, |state| state.bytes > 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f_36_a_log_that_nobody_reads_is_bounded_and_what_is_read_again_comes_in_order() {
        let queue = Queue::default();
        let line = vec![b'x'; 1023].into_iter().chain([b'\n']).collect::<Vec<_>>();
        assert!(queue.put(b"first\n"), "the first line needs a writer");
        for _ in 0..4096 {
            assert!(!queue.put(&line));
        }
        assert_eq!(queue.state().lost, 4096 - 1023);
        queue.finish(Duration::ZERO);
        let mut out = Vec::new();
        queue.write_once(&mut out);
        assert!(out.starts_with(b"first\nxxx") && out.len() == 6 + 1023 * 1024, "{}", out.len());
        assert_eq!(queue.state().bytes, 0);
        assert_eq!(queue.state().lost, 0);
        assert!(!queue.put(b"second\n"));
        out.clear();
        queue.write_once(&mut out);
        assert_eq!(out, b"second\n");
        queue.finish(Duration::from_secs(60));
    }
}
