//! A limit on the size of files is a full disk, and not the end of the process.

/// Has a write beyond `RLIMIT_FSIZE` fail with `EFBIG`, as on a full disk with `ENOSPC`; without this the system ends the
/// process by SIGXFSZ, in the middle of whatever it answers (fault F-06). For the beginning of a program.
#[cfg(unix)]
pub fn survive() {
    use tokio::signal::unix::{SignalKind, signal};

    // Whoever listens for a signal takes its effect away, and for good: the listener may go, and the runtime with it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    if let Ok(runtime) = runtime {
        let _entered = runtime.enter();
        let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    }
}

/// There is no such signal elsewhere.
#[cfg(not(unix))]
pub fn survive() {}
