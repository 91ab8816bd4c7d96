//! People's passwords: argon2id, away from the workers, two at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version};
use shared::secret::{Secret, random_bytes};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

/// The parameters that OWASP's password storage cheat sheet names first: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// How many passwords are hashed at the same time: each takes a core for 20 to 40 ms and 19 MiB.
const AT_ONCE: usize = 2;

/// How many may wait for their turn: two seconds' work. Whoever comes then is told to come again.
const MOST_WAITING: usize = 100;

/// Hashing, with a bound on how much of it goes on.
pub struct Passwords {
    permits: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    memory: Arc<Memory>,
}

/// Argon2's working memory, lent to one hash after the other. Allocated anew each time it would stay with whichever
/// thread made it: 180 MB after seventy logins.
#[derive(Default)]
struct Memory(Mutex<Vec<Vec<Block>>>);

impl Memory {
    fn lend<T>(&self, work: impl FnOnce(&mut Vec<Block>) -> T) -> T {
        let free = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut blocks = free().pop().unwrap_or_default();
        let done = work(&mut blocks);
        let mut free = free();
        if free.len() < AT_ONCE {
            free.push(blocks);
        }
        done
    }
}

impl Default for Passwords {
    fn default() -> Self {
        Self::new()
    }
}

impl Passwords {
    /// Nothing is hashed yet.
    pub fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(AT_ONCE)), waiting: Arc::default(), memory: Arc::default() }
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
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        let memory = Arc::clone(&self.memory);
        // The work holds its place and its turn: it goes on when the person hangs up, and must count until its end.
        let work = move || {
            let _held = (waiting, permit);
            memory.lend(work)
        };
        actix_web::web::block(work).await.ok()
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

    #[test]
    fn memory_is_lent_again_and_nothing_of_a_hash_is_left_for_the_next() {
        let memory = Memory::default();
        let secret = |text: &str| Secret::new(text.to_owned());
        let first = memory.lend(|blocks| hash_with(&secret("one"), blocks)).unwrap();
        assert!(memory.lend(|blocks| matches(&secret("one"), &first, blocks)));
        assert!(!memory.lend(|blocks| matches(&secret("two"), &first, blocks)));
        assert_eq!(memory.0.lock().unwrap().len(), 1);
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
