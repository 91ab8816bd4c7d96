//! The token endpoint while people sign in: does hashing their passwords make apps wait?

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::http::Connection;
use crate::service::{Refreshing, add_user, log_in, start};
use crate::stats::{Samples, figure, heading};

/// How many apps refresh their tokens, each on a connection of its own.
const APPS: u32 = 4;

/// How often each of them does: a rate that leaves the machine idle most of the time, so that what is measured is the
/// wait for the hashing and not for one another.
const EVERY: Duration = Duration::from_millis(20);

/// How many people sign in at once, each again as soon as it worked.
const PEOPLE: u32 = 4;

/// Prints how long a refresh takes, without and with people who sign in.
pub fn run(seconds: f64) -> io::Result<()> {
    heading("the token endpoint beside logins");
    let folder = tempfile::tempdir()?;
    add_user(folder.path())?;
    let (_service, address) = start(folder.path())?;
    let apps = || (0..APPS).map(|_| Refreshing::begin(address)).collect::<io::Result<Vec<_>>>();
    let window = Duration::from_secs_f64(seconds);
    let mut alone = refresh(apps()?, window)?;
    let apps = apps()?;
    let (over, logins) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let people: Vec<_> = (0..PEOPLE)
        .map(|_| {
            let (over, logins) = (Arc::clone(&over), Arc::clone(&logins));
            thread::spawn(move || -> io::Result<()> {
                while !over.load(Ordering::Relaxed) {
                    let _signed_in: Connection = log_in(address)?;
                    logins.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        })
        .collect();
    let beside = refresh(apps, window);
    over.store(true, Ordering::Relaxed);
    for person in people {
        person.join().map_err(|_| io::Error::other("a person's thread died"))??;
    }
    let mut beside = beside?;
    figure("baseline: a refresh, nobody signs in, p50", alone.quantile(0.5) / 1000.0, "ms", "");
    figure("baseline: a refresh, nobody signs in, p99", alone.quantile(0.99) / 1000.0, "ms", "");
    let rate = f64::from(logins.load(Ordering::Relaxed)) / seconds;
    figure(&format!("logins per second, {PEOPLE} people"), rate, "/s", "argon2id, 19 MiB, two passes");
    figure("a refresh beside them, p50", beside.quantile(0.5) / 1000.0, "ms", "");
    let (with, without) = (beside.quantile(0.99), alone.quantile(0.99));
    figure("a refresh beside them, p99", with / 1000.0, "ms", &format!("{:.1} × the baseline", with / without));
    Ok(())
}

fn refresh(apps: Vec<Refreshing>, window: Duration) -> io::Result<Samples> {
    let begun = Instant::now();
    let threads: Vec<_> = apps
        .into_iter()
        .map(|mut app| {
            thread::spawn(move || -> io::Result<Samples> {
                let mut samples = Samples::default();
                let mut due = begun;
                while begun.elapsed() < window {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    // From when it was due: a refresh that waits for the one before waits, too.
                    app.refresh()?;
                    samples.add(due.elapsed());
                    due += EVERY;
                }
                Ok(samples)
            })
        })
        .collect();
    let mut all = Samples::default();
    for thread in threads {
        all.append(thread.join().map_err(|_| io::Error::other("a loading thread died"))??);
    }
    Ok(all)
}
