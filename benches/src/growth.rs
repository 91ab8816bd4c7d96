//! Flows per second with many stored clients, beside an empty store.

use std::io;
use std::time::Duration;

use crate::population::{self, Contents, Layout};
use crate::process::resident_mb;
use crate::service::{add_user, load, log_in, start};
use crate::stats::{figure, heading};

/// Connections that make flows.
const CONNECTIONS: u32 = 8;

/// Prints flows per second for stores of these sizes, and what share that is of those of an empty store.
pub fn run(sizes: &[u64], seconds: f64) -> io::Result<()> {
    heading("growth");
    let mut empty = f64::NAN;
    for &size in [0].iter().chain(sizes) {
        let folder = tempfile::tempdir()?;
        let store = folder.path().join("store");
        if size > 0 {
            population::write(&store, Contents::Clients, Layout::Snapshot, size)?;
        }
        add_user(&store)?;
        let (service, address) = start(&store)?;
        let ready = (0..CONNECTIONS).map(|_| log_in(address)).collect::<io::Result<_>>()?;
        let (mut flows, elapsed) = load(ready, Duration::from_secs_f64(seconds))?;
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let rate = flows.len() as f64 / elapsed.as_secs_f64();
        if size == 0 {
            empty = rate;
        }
        figure(
            &format!("flows per second, {size} clients stored, {CONNECTIONS} connections"),
            rate,
            "/s",
            &format!("{:.2} of the empty store's", rate / empty),
        );
        figure("  one flow, p99", flows.quantile(0.99) / 1000.0, "ms", "");
        figure("  resident memory", resident_mb(service.0.id()), "MB", "");
    }
    Ok(())
}
