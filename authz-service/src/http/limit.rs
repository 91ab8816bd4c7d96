//! Who may ask how often, per source address. What is remembered is bounded, whatever strangers send.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use actix_web::HttpRequest;
use actix_web::web::Data;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use shared::secret::TokenHash;
use shared::time::Timestamp;

use super::app::App;
use super::live::Live;
use crate::protocol::Refusal;
use crate::protocol::token::device::Pace;

/// How often one address may do what, in a minute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rates {
    /// Registrations (RFC 7591 section 5, REG-17).
    pub registrations: NonZeroU32,
    /// Failed logins to one account (OAuth 2.1 section 7.7; NIST SP 800-63B section 3.2.2).
    pub failed_logins: NonZeroU32,
    /// Failed logins to whatever accounts: each costs us tens of milliseconds.
    pub failed_logins_in_all: NonZeroU32,
    /// Failed client authentications for one client (TOK-19).
    pub failed_clients: NonZeroU32,
    /// Codes and tokens presented that are not good, by whatever clients: a public client has no secret to fail with. Many
    /// people may stand behind one address, each with an old token or two.
    pub failed_grants: NonZeroU32,
    /// Device codes asked for (RFC 8628 section 5.2): each waits in the store.
    pub devices: NonZeroU32,
    /// Authorization requests pushed (RFC 9126 section 2.3): each waits in the store.
    pub pushed: NonZeroU32,
    /// Wrong user codes by one person (RFC 8628 section 5.1): with 34 bits, guessing one of a thousand waiting devices takes
    /// ten years.
    pub wrong_codes: NonZeroU32,
    /// Wrong user codes by whatever people.
    pub wrong_codes_in_all: NonZeroU32,
}

impl Default for Rates {
    fn default() -> Self {
        const fn per_minute(n: u32) -> NonZeroU32 {
            NonZeroU32::new(n).unwrap()
        }
        Self {
            registrations: per_minute(120),
            failed_logins: per_minute(10),
            failed_logins_in_all: per_minute(60),
            failed_clients: per_minute(60),
            failed_grants: per_minute(240),
            devices: per_minute(60),
            pushed: per_minute(240),
            wrong_codes: per_minute(5),
            wrong_codes_in_all: per_minute(30),
        }
    }
}

/// Keys that are remembered before the old ones are swept out.
const MOST_KEYS: usize = 50_000;

/// The limiters.
pub struct Limits {
    registrations: Live<Option<DefaultKeyedRateLimiter<IpAddr>>>,
    devices: Live<Option<DefaultKeyedRateLimiter<IpAddr>>>,
    pushed: Live<Option<DefaultKeyedRateLimiter<IpAddr>>>,
    clock: DefaultClock,
    /// By account.
    logins: Failures,
    /// Whatever the account.
    all_logins: Failures,
    /// Failed client authentications.
    pub clients: Failures,
    /// Codes and tokens that are not good.
    grants: Failures,
    /// Wrong user codes, by person.
    codes: Failures,
    /// Whoever typed them.
    all_codes: Failures,
    /// How fast devices poll.
    pub polls: Polls,
}

impl Limits {
    /// The limits; none without `rates`, for tests and measurements on loopback.
    pub fn new(rates: Option<&Rates>) -> Self {
        let limits = Self {
            registrations: Live::new(None),
            devices: Live::new(None),
            pushed: Live::new(None),
            clock: DefaultClock::default(),
            logins: Failures::new(None),
            all_logins: Failures::new(None),
            clients: Failures::new(None),
            grants: Failures::new(None),
            codes: Failures::new(None),
            all_codes: Failures::new(None),
            polls: Polls::default(),
        };
        limits.set(rates);
        limits
    }

    /// Other rates from now on. Failures of this minute stay counted; registrations are counted anew.
    pub fn set(&self, rates: Option<&Rates>) {
        self.registrations.set(rates.map(|rates| RateLimiter::dashmap(Quota::per_minute(rates.registrations))));
        self.logins.set(rates.map(|rates| rates.failed_logins));
        self.all_logins.set(rates.map(|rates| rates.failed_logins_in_all));
        self.clients.set(rates.map(|rates| rates.failed_clients));
        self.grants.set(rates.map(|rates| rates.failed_grants));
        self.devices.set(rates.map(|rates| RateLimiter::dashmap(Quota::per_minute(rates.devices))));
        self.pushed.set(rates.map(|rates| RateLimiter::dashmap(Quota::per_minute(rates.pushed))));
        self.codes.set(rates.map(|rates| rates.wrong_codes));
        self.all_codes.set(rates.map(|rates| rates.wrong_codes_in_all));
    }

    /// Counts a registration; the seconds to wait when it is one too many.
    ///
    /// # Errors
    /// The seconds.
    pub fn register(&self, source: IpAddr) -> Result<(), u64> {
        self.permit(&self.registrations, source)
    }

    /// Counts a device authorization request; the seconds to wait when it is one too many.
    ///
    /// # Errors
    /// The seconds.
    pub fn ask_for_device(&self, source: IpAddr) -> Result<(), u64> {
        self.permit(&self.devices, source)
    }

    /// Counts a pushed request; the seconds to wait when it is one too many.
    ///
    /// # Errors
    /// The seconds.
    pub fn push(&self, source: IpAddr) -> Result<(), u64> {
        self.permit(&self.pushed, source)
    }

    fn permit(&self, limiter: &Option<DefaultKeyedRateLimiter<IpAddr>>, source: IpAddr) -> Result<(), u64> {
        let Some(limiter) = limiter else { return Ok(()) };
        if limiter.len() > MOST_KEYS {
            limiter.retain_recent();
        }
        limiter.check_key(&source).map_err(|until| until.wait_time_from(self.clock.now()).as_secs() + 1)
    }

    /// Whether a user code may be tried. It counts as wrong until
    /// [`user_code_was_right`](Self::user_code_was_right) says otherwise.
    ///
    /// # Errors
    /// The seconds to wait.
    pub fn try_user_code(&self, source: IpAddr, user: &str, now: Timestamp) -> Result<(), u64> {
        self.codes.count(source, user, now)?;
        self.all_codes.count(source, "", now).inspect_err(|_| self.codes.take_back(source, user))
    }

    /// Takes back what [`try_user_code`](Self::try_user_code) counted.
    pub fn user_code_was_right(&self, source: IpAddr, user: &str) {
        self.codes.take_back(source, user);
        self.all_codes.take_back(source, "");
    }

    /// Whether a login may be tried. It counts as failed until [`logged_in`](Self::logged_in) says otherwise: of many
    /// at the same time, or of one that hangs up, none slips through.
    ///
    /// # Errors
    /// The seconds to wait.
    pub fn log_in(&self, source: IpAddr, account: &str, now: Timestamp) -> Result<(), u64> {
        self.logins.count(source, account, now)?;
        self.all_logins.count(source, "", now).inspect_err(|_| self.logins.take_back(source, account))
    }

    /// Takes back what [`log_in`](Self::log_in) counted.
    pub fn logged_in(&self, source: IpAddr, account: &str) {
        self.logins.take_back(source, account);
        self.all_logins.take_back(source, "");
    }

    /// Whether an address may present a code or token: it has not failed too often in this minute, whoever asked.
    ///
    /// # Errors
    /// The seconds to wait.
    pub fn may_present(&self, source: IpAddr, now: Timestamp) -> Result<(), u64> {
        self.grants.check(source, "", now)
    }

    /// Counts a code or token that is not good.
    ///
    /// # Errors
    /// The seconds to wait, when it is one too many.
    pub fn presented_in_vain(&self, source: IpAddr, now: Timestamp) -> Result<(), u64> {
        self.grants.count(source, "", now)
    }

    /// Forgets addresses that have been quiet.
    pub fn sweep(&self, now: Timestamp) {
        if let Some(limiter) = &*self.registrations {
            limiter.retain_recent();
        }
        self.logins.sweep(now);
        self.all_logins.sweep(now);
        self.clients.sweep(now);
        self.grants.sweep(now);
        for limiter in [&*self.devices, &*self.pushed].into_iter().flatten() {
            limiter.retain_recent();
        }
        self.codes.sweep(now);
        self.all_codes.sweep(now);
        self.polls.sweep(now);
    }
}

/// How fast devices poll that wait for a person. Kept here and not in the store: a poll that changes nothing costs no
/// commit.
#[derive(Default)]
pub struct Polls(Mutex<HashMap<TokenHash, Pace>>);

impl Polls {
    /// A waiting device polls.
    ///
    /// # Errors
    /// [`Refusal::SlowDown`] when it came too early.
    pub fn again(&self, device: TokenHash, now: Timestamp) -> Result<(), Refusal> {
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if paces.len() >= MOST_KEYS {
            paces.retain(|_, pace| !pace.is_over(now));
        }
        if paces.len() >= MOST_KEYS {
            paces.clear();
        }
        match paces.entry(device) {
            Entry::Occupied(mut known) => known.get_mut().again(now),
            Entry::Vacant(new) => {
                new.insert(Pace::first(now));
                Ok(())
            }
        }
    }

    fn sweep(&self, now: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, pace| !pace.is_over(now));
    }
}

/// Counts failures per minute. Whoever may have failed counts first and takes it back when it went well; or looks first and
/// counts afterwards, where many at the same time are usual and go well: then the one too many is refused for that.
pub struct Failures {
    /// 0 for as many as one likes.
    most: AtomicU32,
    counts: Mutex<HashMap<(IpAddr, TokenHash), Count>>,
}

#[derive(Clone, Copy)]
struct Count {
    minute: u64,
    failures: u32,
}

impl Failures {
    fn new(most: Option<NonZeroU32>) -> Self {
        Self { most: AtomicU32::new(most.map_or(0, NonZeroU32::get)), counts: Mutex::default() }
    }

    fn set(&self, most: Option<NonZeroU32>) {
        self.most.store(most.map_or(0, NonZeroU32::get), Ordering::Relaxed);
    }

    fn most(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.most.load(Ordering::Relaxed))
    }

    /// Whether `source` has failed too often with `name` in this minute: the seconds to wait.
    ///
    /// # Errors
    /// The seconds.
    pub fn check(&self, source: IpAddr, name: &str, now: Timestamp) -> Result<(), u64> {
        let Some(most) = self.most() else { return Ok(()) };
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let found = counts.get(&(source, key(name)));
        match found {
            Some(count) if count.minute == now.0 / 60 && count.failures >= most.get() => Err(60 - now.0 % 60),
            _ => Ok(()),
        }
    }

    /// Counts a failure, unless it is one too many in this minute: of many at the same time, no more than the limit are told
    /// anything else.
    ///
    /// # Errors
    /// The seconds to wait.
    pub fn count(&self, source: IpAddr, name: &str, now: Timestamp) -> Result<(), u64> {
        let Some(most) = self.most() else { return Ok(()) };
        let minute = now.0 / 60;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MOST_KEYS {
            counts.retain(|_, count| count.minute == minute);
        }
        if counts.len() >= MOST_KEYS {
            counts.clear();
        }
        let count = counts.entry((source, key(name))).or_insert(Count { minute, failures: 0 });
        if count.minute != minute {
            *count = Count { minute, failures: 0 };
        }
        if count.failures >= most.get() {
            return Err(60 - now.0 % 60);
        }
        count.failures += 1;
        Ok(())
    }

    /// Takes a failure back that was none.
    pub fn take_back(&self, source: IpAddr, name: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&(source, key(name))) {
            count.failures = count.failures.saturating_sub(1);
        }
    }

    fn sweep(&self, now: Timestamp) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.retain(|_, count| count.minute == now.0 / 60);
        counts.shrink_to_fit();
    }
}

/// Names come from strangers and may be long: their hash is kept.
fn key(name: &str) -> TokenHash {
    TokenHash::of(name.as_bytes())
}

/// The address that a request comes from, or the one that a proxy of ours says it does; of IPv6 the network, since one household has 2^64 addresses.
pub fn source(request: &HttpRequest) -> IpAddr {
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
    let app = request.app_data::<Data<App>>();
    let client = peer.map(|peer| app.map_or(peer, |app| app.proxies.client(peer, request.headers())));
    match client {
        Some(IpAddr::V6(address)) if !address.is_loopback() => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        Some(address) => address,
        None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tok_19_failures_block_one_source_and_name_until_the_minute_is_over() {
        let failures = Failures::new(NonZeroU32::new(2));
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let now = Timestamp(600);
        assert_eq!(failures.count(here, "a", now), Ok(()));
        assert_eq!(failures.check(here, "a", now), Ok(()));
        assert_eq!(failures.count(here, "a", now), Ok(()));
        assert_eq!(failures.count(here, "a", now), Err(60));
        assert_eq!(failures.check(here, "a", Timestamp(610)), Err(50));
        assert_eq!(failures.check(there, "a", now), Ok(()));
        assert_eq!(failures.check(here, "b", now), Ok(()));
        assert_eq!(failures.check(here, "a", Timestamp(660)), Ok(()));
    }

    #[test]
    fn ui_08_an_address_that_tries_many_accounts_waits_too() {
        let limits = Limits::new(Some(&Rates::default()));
        let (here, now) = (IpAddr::from([127, 0, 0, 1]), Timestamp(600));
        for n in 0..Rates::default().failed_logins_in_all.get() {
            assert_eq!(limits.log_in(here, &n.to_string(), now), Ok(()));
        }
        assert_eq!(limits.log_in(here, "another", now), Err(60));
        limits.logged_in(here, "0");
        assert_eq!(limits.log_in(here, "another", now), Ok(()));
        assert_eq!(limits.log_in(IpAddr::from([127, 0, 0, 2]), "another", now), Ok(()));
    }

    #[test]
    fn a_person_who_types_many_wrong_codes_waits() {
        let limits = Limits::new(Some(&Rates::default()));
        let (here, now) = (IpAddr::from([127, 0, 0, 1]), Timestamp(600));
        limits.try_user_code(here, "ada", now).unwrap();
        limits.user_code_was_right(here, "ada");
        for _ in 0..5 {
            assert_eq!(limits.try_user_code(here, "ada", now), Ok(()));
        }
        assert_eq!(limits.try_user_code(here, "ada", now), Err(60));
        for n in 5..30 {
            assert_eq!(limits.try_user_code(here, &n.to_string(), now), Ok(()));
        }
        assert_eq!(limits.try_user_code(here, "another", now), Err(60));
        assert_eq!(limits.try_user_code(IpAddr::from([127, 0, 0, 2]), "ada", now), Ok(()));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let failures = Failures::new(NonZeroU32::new(2));
        let here = IpAddr::from([127, 0, 0, 1]);
        for n in 0..MOST_KEYS + 10 {
            failures.count(here, &n.to_string(), Timestamp(600)).unwrap();
        }
        assert!(failures.counts.lock().unwrap().len() <= MOST_KEYS);
    }

    #[test]
    fn reg_17_one_address_registers_so_often_in_a_minute() {
        let limits = Limits::new(Some(&Rates::default()));
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        for _ in 0..Rates::default().registrations.get() {
            assert_eq!(limits.register(here), Ok(()));
        }
        assert!((1..=2).contains(&limits.register(here).unwrap_err()));
        assert_eq!(limits.register(there), Ok(()));
        assert_eq!(Limits::new(None).register(here), Ok(()));
    }

    #[test]
    fn rates_change_while_it_runs() {
        let limits = Limits::new(None);
        let (here, now) = (IpAddr::from([127, 0, 0, 1]), Timestamp(600));
        let one = NonZeroU32::MIN;
        limits.set(Some(&Rates { registrations: one, failed_clients: one, ..Rates::default() }));
        assert_eq!(limits.register(here), Ok(()));
        assert!(limits.register(here).is_err());
        limits.clients.count(here, "a", now).unwrap();
        assert!(limits.clients.check(here, "a", now).is_err());
        limits.set(None);
        assert_eq!((limits.register(here), limits.clients.check(here, "a", now)), (Ok(()), Ok(())));
    }
}
