//! The thread that writes decisions down.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use shared::state::Program;
use shared::store::calls::{Call, Calls, Decision, End, Entry, Keep};
use shared::store::journal::read_arguments_key;
use shared::time::Clock;
use shared::token::ArgumentsKey;

use super::queue::{Item, Queue, Waiting};
use super::spans::{Collector, Spans};
use super::{Audit, Inner, LAST_LINES, Transport};
use crate::era::Era;
use crate::login::program;

/// How long after a failure the next batch is tried.
const PAUSE: Duration = Duration::from_millis(200);

/// The trail of one process. Dropped, it waits for the last lines.
pub struct Trail {
    queue: Arc<Queue>,
    runs: bool,
}

impl Trail {
    /// A trail in the store's folder, written by a thread of its own, which tells the collector too if there is one.
    pub fn start(store: PathBuf, keep: Keep, clock: Arc<dyn Clock>, collector: Option<Collector>) -> Self {
        let queue = Arc::new(Queue::default());
        let writes = Arc::clone(&queue);
        let run = move || {
            let calls = Calls::new(&store, keep);
            let spans = collector.and_then(spans);
            Writer { store, calls, queue: Arc::clone(&writes), clock, key: None, host: None, ailing: false, spans }
                .run();
            writes.done();
        };
        let started = thread::Builder::new().name("audit".to_owned()).stack_size(256 * 1024).spawn(run);
        if let Err(error) = &started {
            tracing::warn!(%error, "calls are not written down: there is no thread for it");
        }
        Self { queue, runs: started.is_ok() }
    }

    /// Where decisions are noted.
    pub fn audit(&self) -> Audit {
        let inner = Inner { queue: Arc::clone(&self.queue), transport: Transport::Stdio };
        Audit(self.runs.then_some(inner))
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        if self.runs {
            self.queue.close(LAST_LINES);
        }
    }
}

struct Writer {
    store: PathBuf,
    calls: Calls,
    queue: Arc<Queue>,
    clock: Arc<dyn Clock>,
    key: Option<ArgumentsKey>,
    /// Looked at once, when there is something to write.
    host: Option<Program>,
    /// The last batch was not written, and the log says so.
    ailing: bool,
    spans: Option<Spans>,
}

fn spans(collector: Collector) -> Option<Spans> {
    Spans::start(collector).inspect_err(|error| tracing::warn!(%error, "no spans: there is no thread for them")).ok()
}

impl Writer {
    fn run(&mut self) {
        while let Some((waiting, lost)) = self.queue.take() {
            self.host.get_or_insert_with(program::parent);
            self.key = self.key.take().or_else(|| read_arguments_key(&self.store));
            let count = waiting.len() as u64;
            let mut waiting = VecDeque::from(waiting);
            let mut said = lost;
            let spans = &mut self.spans;
            let mut span = |item: &Item, end: Option<End>| {
                if let Some(spans) = spans.as_mut().filter(|_| end.is_some() || item.decision == Decision::Refused) {
                    spans.add(item, end);
                }
            };
            let (host, key, now) = (self.host.as_ref(), self.key.as_ref(), self.clock.now());
            let written = self.calls.append(&mut |number| {
                if said > 0 {
                    return Some((now, Entry::Lost(std::mem::take(&mut said))));
                }
                Some(match waiting.pop_front()? {
                    Waiting::Call(item) => {
                        let call = call(&item, number, host, key);
                        span(&item, call.end);
                        (item.at, Entry::Call(Box::new(call)))
                    }
                    Waiting::End(item, call, end, at) => {
                        span(&item, Some(end));
                        (at, Entry::Ended { call, end })
                    }
                })
            });
            if let Some(spans) = &mut self.spans {
                spans.flush();
            }
            match written {
                Ok(_) => self.ailing = false,
                Err(error) => {
                    if !std::mem::replace(&mut self.ailing, true) {
                        tracing::warn!(%error, "calls are not written down");
                    }
                    self.queue.lost(count + lost);
                    // A disk that is full stays so for a while.
                    thread::sleep(PAUSE);
                }
            }
        }
    }
}

fn call(item: &Item, number: u64, host: Option<&Program>, key: Option<&ArgumentsKey>) -> Call {
    Call {
        server: item.server.clone(),
        tool: item.name.clone(),
        kind: item.kind,
        method: (item.method.as_str() != item.kind.method()).then(|| item.method.to_string().into()),
        decision: item.decision,
        cause: item.cause.map(Into::into),
        bearer: item.bearer.clone(),
        arguments: key.map(|key| key.keyed(&item.arguments)),
        host: host.filter(|_| item.transport == Transport::Stdio).cloned(),
        transport: item.transport.word().into(),
        era: match item.era {
            Era::Legacy => "initialize",
            Era::Modern => "stateless",
        }
        .into(),
        trace: item.trace.clone(),
        end: item.progress.write(number),
    }
}
