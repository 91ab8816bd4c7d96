//! People's passwords: argon2id, on threads of its own, two at a time, behind everything else.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version};
use shared::secret::{Secret, random_bytes};
use subtle::ConstantTimeEq;
use tokio::sync::oneshot;

/// The parameters that OWASP's password storage cheat sheet names first: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// How many passwords are hashed at the same time: each takes a core for 20 to 40 ms and 19 MiB.
const AT_ONCE: usize = 2;

/// How many may be under way or wait for their turn: two seconds' work. Whoever comes then is told to come again.
const MOST_WAITING: usize = 100;

/// How far the hashing threads step back for the others, in steps of nice(2): whoever exchanges a code or refreshes a
/// token has half a millisecond of work and should not stand behind 40 ms of somebody's password. Ten steps leave a login
/// a tenth of a core that everybody wants, and all of one that nobody does.
#[cfg(target_os = "linux")]
const STEPS_BACK: i32 = 10;

/// Hashing, with a bound on how much of it goes on.
pub struct Passwords {
    queue: mpsc::Sender<Work>,
    waiting: Arc<AtomicUsize>,
}

/// What is done with a thread's working memory. Argon2 needs 19 MiB: allocated anew each time they would stay with the
/// allocator.
type Work = Box<dyn FnOnce(&mut Vec<Block>) + Send>;

impl Passwords {
    /// Starts the threads; they end with this.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start() -> io::Result<Self> {
        let (queue, work) = mpsc::channel();
        let work = Arc::new(Mutex::new(work));
        for _ in 0..AT_ONCE {
            let work = Arc::clone(&work);
            thread::Builder::new().name("passwords".to_owned()).spawn(move || hash_in_turn(&work))?;
        }
        Ok(Self { queue, waiting: Arc::default() })
    }

    /// Compares a password with the stored hash; `None` when too many wait. Without a stored hash the same work is
    /// done, so that an unknown name takes as long as a wrong password (UI-08).
    pub async fn verify(&self, password: Secret, stored: Option<String>) -> Option<bool> {
        let compare = move |memory: &mut Vec<Block>| match stored {
            Some(stored) => matches(&password, &stored, memory),
            None => hash_with(&password, memory).is_err(),
        };
        self.in_turn(compare).await
    }

    /// Hashes a new password; `None` when too many wait, an error when the machine has no memory for it.
    pub async fn hash(&self, password: Secret) -> Option<Result<String, String>> {
        self.in_turn(move |memory: &mut Vec<Block>| hash_with(&password, memory)).await
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce(&mut Vec<Block>) -> T + Send + 'static) -> Option<T> {
        let waiting = Waiting::begin(&self.waiting)?;
        let (tell, told) = oneshot::channel();
        // What has begun goes on when the person hangs up, and counts until its end.
        let work = move |memory: &mut Vec<Block>| {
            let place = waiting;
            if tell.is_closed() {
                return;
            }
            let done = work(memory);
            drop(place);
            let _hung_up = tell.send(done);
        };
        self.queue.send(Box::new(work)).ok()?;
        told.await.ok()
    }
}

/// Does what waits, one after the other, until nobody can ask any more.
fn hash_in_turn(work: &Mutex<mpsc::Receiver<Work>>) {
    step_back();
    let mut memory = Vec::new();
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(next) = next else { return };
        // Whoever waited for it learns that there is no answer; the next one gets his.
        let _lost: Result<(), Box<dyn Any + Send>> = catch_unwind(AssertUnwindSafe(|| next(&mut memory)));
    }
}

/// Lets all other threads go first. It is a favour: a system that does not grant it has slower answers while people sign
/// in, and nothing else.
fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), STEPS_BACK) {
        tracing::debug!(%error, "the password threads have the priority of the others");
    }
}

/// A place in the queue, also given back when the person's connection breaks.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn begin(count: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(Arc::clone(count));
        (count.fetch_add(1, Ordering::SeqCst) < MOST_WAITING).then_some(place)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Hashes a password with a new salt, into PHC form. Blocks for tens of milliseconds.
///
/// # Errors
/// When the machine has no memory for it.
pub fn hash(password: &Secret) -> Result<String, String> {
    hash_with(password, &mut Vec::new())
}

fn hash_with(password: &Secret, memory: &mut Vec<Block>) -> Result<String, String> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| error.to_string())?;
    let salt = random_bytes::<16>();
    let output = argon2id(&params, password, &salt, memory)?;
    let phc = PasswordHash {
        algorithm: ARGON2ID_IDENT,
        version: Some(Version::V0x13.into()),
        params: (&params).try_into().map_err(|_| "the parameters cannot be written".to_owned())?,
        salt: Some(Salt::new(&salt).map_err(|error| error.to_string())?),
        hash: Some(Output::new(&output).map_err(|error| error.to_string())?),
    };
    Ok(phc.to_string())
}

fn matches(password: &Secret, stored: &str, memory: &mut Vec<Block>) -> bool {
    let Ok(stored) = PasswordHash::new(stored) else { return false };
    let (Some(salt), Some(expected), Ok(params)) = (&stored.salt, &stored.hash, Params::try_from(&stored)) else {
        return false;
    };
    let ours = stored.algorithm == ARGON2ID_IDENT && stored.version == Some(Version::V0x13.into());
    ours && argon2id(&params, password, salt.as_ref(), memory)
        .is_ok_and(|output| output.ct_eq(expected.as_bytes()).into())
}

/// The hash itself, 32 bytes, in memory that is lent.
fn argon2id(params: &Params, password: &Secret, salt: &[u8], memory: &mut Vec<Block>) -> Result<[u8; 32], String> {
    let mut output = [0; 32];
    memory.resize(params.block_count(), Block::default());
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_into_with_memory(password.expose().as_bytes(), salt, &mut output, memory.as_mut_slice())
        .map_err(|error| error.to_string())?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bounded_and_places_are_given_back() {
        let count = Arc::new(AtomicUsize::new(0));
        let places: Vec<_> = (0..MOST_WAITING).map(|_| Waiting::begin(&count).unwrap()).collect();
        assert!(Waiting::begin(&count).is_none());
        drop(places);
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }

    #[actix_web::test]
    async fn memory_is_used_again_and_nothing_of_a_hash_is_left_for_the_next() {
        let passwords = Passwords::start().unwrap();
        let secret = |text: &str| Secret::new(text.to_owned());
        let first = passwords.hash(secret("one")).await.unwrap().unwrap();
        for (typed, right) in [("one", true), ("two", false), ("one", true)] {
            assert_eq!(passwords.verify(secret(typed), Some(first.clone())).await, Some(right));
        }
        assert_eq!(passwords.waiting.load(Ordering::SeqCst), 0);
    }

    #[actix_web::test]
    async fn work_that_dies_takes_nobody_along() {
        let passwords = Passwords::start().unwrap();
        for _ in 0..=AT_ONCE {
            let died = passwords.in_turn(|_: &mut Vec<Block>| std::panic::resume_unwind(Box::new(()))).await;
            assert_eq!(died, None::<()>);
        }
        assert_eq!(passwords.in_turn(|_: &mut Vec<Block>| 7).await, Some(7));
        assert_eq!(passwords.waiting.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_password_matches_its_own_hash_only() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let stored = hash(&secret("correct horse")).unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        let matches = |password: &Secret, stored: &str| matches(password, stored, &mut Vec::new());
        assert!(matches(&secret("correct horse"), &stored));
        assert!(!matches(&secret("correct horsf"), &stored));
        assert!(!matches(&secret("correct horse"), "junk"));
        assert_ne!(stored, hash(&secret("correct horse")).unwrap());
    }
}
