//! Medians and tails, and the lines that show them.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

/// Durations of one kind of operation.
#[derive(Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Notes one.
    pub fn add(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    /// Takes over those of another thread.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The duration below which `share` of them lie, in microseconds.
    pub fn quantile(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index within the list"
        )]
        let at = (last as f64 * share).round() as usize;
        self.0.get(at).map_or(f64::NAN, |duration| duration.as_secs_f64() * 1e6)
    }
}

/// Whether figures are printed as JSON, one object a line.
static JSON: AtomicBool = AtomicBool::new(false);

/// Under which heading the figures are.
static SECTION: Mutex<String> = Mutex::new(String::new());

/// From now on figures are JSON.
pub fn print_json() {
    JSON.store(true, Ordering::Relaxed);
}

/// Says on a terminal what takes so long.
#[expect(clippy::print_stderr, reason = "progress")]
pub fn progress(what: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[2K{what}\r");
    }
}

/// Prints a heading.
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
pub fn heading(text: &str) {
    text.clone_into(&mut SECTION.lock().unwrap_or_else(PoisonError::into_inner));
    progress(text);
    if !JSON.load(Ordering::Relaxed) {
        println!("\n## {text}\n");
    }
}

/// Prints one figure.
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
pub fn figure(name: &str, value: f64, unit: &str, note: &str) {
    let (name, section) = (name.trim(), SECTION.lock().unwrap_or_else(PoisonError::into_inner));
    progress("");
    if JSON.load(Ordering::Relaxed) {
        let figure = json!({ "section": *section, "name": name, "value": value, "unit": unit, "note": note });
        println!("{figure}");
        return;
    }
    let digits = if value >= 100.0 {
        0
    } else if value >= 1.0 {
        1
    } else {
        3
    };
    println!("{name:<60} {value:>10.digits$} {unit:<10} {note}");
}
