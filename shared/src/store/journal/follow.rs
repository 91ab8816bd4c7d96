//! The thread that makes waiting unnecessary: it reads on when the folder changes, and every second anyway.
//!
//! Correctness never depends on it: every question reads on by itself. It wakes those who wait for a change.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::Core;

/// How often to look without being told (WAT-04: no watch to be had, or a file system that sends no events).
const TICK: Duration = Duration::from_secs(1);

/// Starts following. The thread ends when the store is dropped.
pub(super) fn start(core: &Arc<Core>) {
    let weak = Arc::downgrade(core);
    let started = std::thread::Builder::new().name("store-follow".to_owned()).spawn(move || run(&weak));
    if let Err(error) = started {
        core.loading.store(false, Ordering::Release);
        tracing::warn!(%error, "cannot follow the store in the background; it is read at each question");
    }
}

fn run(core: &Weak<Core>) {
    let (events, woken) = mpsc::channel();
    let mut watch = Watch { watcher: None, warned: false };
    loop {
        let Some(core) = core.upgrade() else { return };
        let present = core.refresh_in_background();
        watch.keep(&core, present, &events);
        drop(core);
        match woken.recv_timeout(TICK) {
            // An event is a hint and many are one: read on once.
            Ok(()) => while woken.try_recv().is_ok() {},
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

struct Watch {
    watcher: Option<RecommendedWatcher>,
    warned: bool,
}

impl Watch {
    /// Watches the folder (a watch on the file would end with the first rename) as long as there is one.
    fn keep(&mut self, core: &Core, present: bool, events: &mpsc::Sender<()>) {
        if !present {
            self.watcher = None;
        } else if self.watcher.is_none() {
            let watcher = notify::recommended_watcher(hint(events.clone()))
                .and_then(|mut watcher| watcher.watch(&core.folder, RecursiveMode::NonRecursive).map(|()| watcher));
            match watcher {
                Ok(watcher) => {
                    self.watcher = Some(watcher);
                    // What happened between the last look and the watch.
                    core.refresh_in_background();
                }
                Err(error) if !self.warned => {
                    self.warned = true;
                    tracing::warn!(%error, "cannot watch the store; looking every second instead");
                }
                Err(_) => {}
            }
        }
    }
}

/// What an event says does not matter, not even an overflow (WAT-05) or an error: reading on finds out.
fn hint(events: mpsc::Sender<()>) -> impl Fn(notify::Result<notify::Event>) {
    move |_| {
        let _ = events.send(());
    }
}

impl Core {
    /// Reads on, waiting for whoever does so already; whether there is a store.
    fn refresh_in_background(&self) -> bool {
        let done = self.refresh_from(self.tail());
        self.loaded();
        done.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use notify::event::{CreateKind, Event, EventKind, Flag};

    use super::hint;

    #[test]
    fn wat_05_any_event_an_overflow_and_an_error_of_the_watch_make_us_look() {
        let (events, woken) = mpsc::channel();
        let hint = hint(events);
        for event in [
            Ok(Event::new(EventKind::Create(CreateKind::File))),
            Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)),
            Err(notify::Error::generic("the watch is lost")),
        ] {
            hint(event);
            assert!(woken.try_recv().is_ok());
        }
    }
}
