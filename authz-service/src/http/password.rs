//! People's passwords: argon2id, away from the workers, two at a time.

use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use shared::secret::{Secret, random_bytes};
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
    permits: Semaphore,
    waiting: AtomicUsize,
}

impl Default for Passwords {
    fn default() -> Self {
        Self::new()
    }
}

impl Passwords {
    /// Nothing is hashed yet.
    pub fn new() -> Self {
        Self { permits: Semaphore::new(AT_ONCE), waiting: AtomicUsize::new(0) }
    }

    /// Compares a password with the stored hash; `None` when too many wait. Without a stored hash the same work is
    /// done, so that an unknown name takes as long as a wrong password (UI-08).
    pub async fn verify(&self, password: Secret, stored: Option<String>) -> Option<bool> {
        let compare = move || match stored {
            Some(stored) => matches(&password, &stored),
            None => hash(&password).is_err(),
        };
        self.in_turn(compare).await
    }

    /// Hashes a new password; `None` when too many wait, an error when the machine has no memory for it.
    pub async fn hash(&self, password: Secret) -> Option<Result<String, String>> {
        self.in_turn(move || hash(&password)).await
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let _waiting = Waiting::begin(&self.waiting)?;
        let _permit = self.permits.acquire().await.ok()?;
        actix_web::web::block(work).await.ok()
    }
}

/// A place in the queue, also given back when the person's connection breaks.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Option<Self> {
        let place = Self(count);
        (count.fetch_add(1, Ordering::SeqCst) < MOST_WAITING).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn argon2id() -> Result<Argon2<'static>, String> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| error.to_string())?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Hashes a password with a new salt, into PHC form. Blocks for tens of milliseconds.
///
/// # Errors
/// When the machine has no memory for it.
pub fn hash(password: &Secret) -> Result<String, String> {
    let salt = random_bytes::<16>();
    let hashed = argon2id()?.hash_password_with_salt(password.expose().as_bytes(), &salt);
    hashed.map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

fn matches(password: &Secret, stored: &str) -> bool {
    let Ok(stored) = PasswordHash::new(stored) else { return false };
    argon2id().is_ok_and(|argon2| argon2.verify_password(password.expose().as_bytes(), &stored).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bounded_and_places_are_given_back() {
        let count = AtomicUsize::new(0);
        let places: Vec<_> = (0..MOST_WAITING).map(|_| Waiting::begin(&count).unwrap()).collect();
        assert!(Waiting::begin(&count).is_none());
        drop(places);
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_password_matches_its_own_hash_only() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let stored = hash(&secret("correct horse")).unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(matches(&secret("correct horse"), &stored));
        assert!(!matches(&secret("correct horsf"), &stored));
        assert!(!matches(&secret("correct horse"), "junk"));
        assert_ne!(stored, hash(&secret("correct horse")).unwrap());
    }
}
