//! Medians and tails, and the lines that show them.

use std::time::Duration;

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

/// Prints a heading.
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
pub fn heading(text: &str) {
    println!("\n## {text}\n");
}

/// Prints one figure.
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
pub fn figure(name: &str, value: f64, unit: &str, note: &str) {
    let digits = if value >= 100.0 {
        0
    } else if value >= 1.0 {
        1
    } else {
        3
    };
    println!("{name:<52} {value:>10.digits$} {unit:<10} {note}");
}
