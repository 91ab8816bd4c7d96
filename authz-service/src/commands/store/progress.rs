//! A bar for those who wait at a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Below this nobody waits.
const LARGE: u64 = 64 << 20;

/// How a long reading goes, on standard error; nothing where that is no terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    what: &'static str,
    reported: u64,
}

impl Progress {
    /// One that shows itself when there turns out to be much to read.
    pub(super) fn new(what: &'static str) -> Self {
        Self { bar: ProgressBar::hidden(), what, reported: 0 }
    }

    /// Tells it where the reading is.
    pub(super) fn at(&mut self, done: u64, all: u64) {
        // A bar is drawn a few times a second: there is no need to tell it of every line.
        if done < self.reported + (1 << 20) && done >= self.reported {
            return;
        }
        self.reported = done;
        if self.bar.is_hidden() && all > LARGE {
            // On anything but a terminal this draws nothing.
            self.bar = ProgressBar::with_draw_target(Some(all), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{msg} {bar:40} {binary_bytes}/{binary_total_bytes} {eta}");
            self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.bar.set_message(self.what);
        }
        self.bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
