//! The limits that the system sets a process on files: on how large they are, and how many.

/// A limit on their size is a full disk, and not the end of the process: a write beyond `RLIMIT_FSIZE` fails with
/// `EFBIG`. Without this the system ends the process by SIGXFSZ, in the middle of whatever it answers (fault F-06). For
/// the beginning of a program.
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

/// Lets the process have as many files as the system allows: idle connections must not keep new ones out (HTP-03). For
/// the beginning of a service.
#[cfg(unix)]
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, the limit stays what it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// There is no such limit elsewhere.
#[cfg(not(unix))]
pub fn raise_open_files() {}
