//! A login from inside an assistant: a call without a credential asks a person, by the best way that the host offers.
//!
//! The rungs, best first: the browser is opened; the host shows the URL (elicitation, in either protocol era); the link
//! stands in the call's result; the code stands there alone. The person decides on the service's page for devices, the
//! store gains the grant, the follower wakes, and the call goes through. [`asker`] asks the store, [`book`] remembers,
//! [`standing`] says where a login stands, [`round`] carries a call that comes back, [`words`] has the words.

pub mod asker;
pub mod book;
pub mod host;
pub mod program;
pub mod round;
pub mod standing;
pub mod words;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::model::{CallToolResult, ElicitRequest, ElicitRequestParams, InputRequest, InputRequiredResult};
use shared::browser;
use shared::scope::Scopes;
use shared::sealed::Sealer;
use shared::secret::{TokenHash, random_uuid};
use shared::store::{Store, StoreError};
use shared::time::Seconds;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use self::asker::{Asker, Begun, Trouble};
use self::book::Login;
use self::host::{Action, Elicits, Host, Question};
use self::round::{Asking, Round};
use self::standing::Standing;
use self::words::Turned;

/// The key of our one question in `inputRequests` and `inputResponses`.
pub const QUESTION: &str = "login";

/// How often a host that wants to know is told that a call still waits.
const PROGRESS: Duration = Duration::from_secs(5);

/// The first time.
const FIRST_PROGRESS: Duration = Duration::from_millis(200);

/// How long a call waits for a store that is still being read.
const LOADING: Duration = Duration::from_secs(2);

/// How long after a browser was opened the next one may be, unless a person has signed in since: an assistant that calls
/// again and again opens one page, not a storm of them.
const BROWSER_PAUSE: Seconds = Seconds(3600);

/// How often a call may come back by itself before it gets the link.
const ROUNDS: u8 = 8;

/// The highest rung that is climbed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Top {
    /// The code, to be typed.
    Code,
    /// A link in the result.
    Link,
    /// The host shows the URL.
    Elicit,
    /// The browser is opened.
    Browser,
}

/// What is chosen about logins.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The highest rung.
    pub top: Top,
    /// How long a call waits for a person.
    pub wait: Duration,
    /// What `$BROWSER` says.
    pub browser: Option<String>,
}

/// What calls without a credential climb.
pub struct Ladder {
    asker: Arc<Asker>,
    choice: Choice,
    sealer: Sealer,
    held: Mutex<Option<Arc<Login>>>,
    /// The login whose denial was said.
    told: Mutex<Option<TokenHash>>,
    /// The login that the host is showing its person.
    eliciting: Mutex<Option<TokenHash>>,
    /// One call at a time looks whether somebody must be asked.
    turn: tokio::sync::Mutex<()>,
}

/// Where a call got to.
pub enum Climbed {
    /// A login is open: judge again.
    In,
    /// The host is to ask, and to call again.
    Ask(Box<InputRequiredResult>),
    /// Not let in.
    Result(Box<CallToolResult>),
    /// What came back was not given out for this call and this login.
    BadState,
    /// Nobody can be asked; the usual refusal says what to do.
    Nobody,
}

/// A call that climbs.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// Which call.
    pub asking: Asking<'a>,
    /// What it needs.
    pub needed: &'a Scopes,
    /// Who asks.
    pub host: &'a dyn Host,
    /// The round that it comes back in.
    pub round: Option<&'a Round>,
    /// What the person did with our question.
    pub answer: Option<Action>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ladder {
    /// A ladder; `None` when the cryptographic library has no key to give.
    pub fn new(asker: Asker, choice: Choice) -> Option<Self> {
        Some(Self {
            asker: Arc::new(asker),
            choice,
            sealer: Sealer::new().ok()?,
            held: Mutex::default(),
            told: Mutex::default(),
            eliciting: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// The login by whose token calls are judged that bring none: the last of the credentials.
    pub fn login(&self) -> Option<Arc<Login>> {
        if let Some(held) = lock(&self.held).as_ref().filter(|held| held.was_open()) {
            return Some(Arc::clone(held));
        }
        match self.asker.peek() {
            Ok(login) => {
                let (login, mut held) = (login?, lock(&self.held));
                let same = held.as_ref().filter(|held| held.hash() == login.hash());
                let login = Arc::new(match same {
                    Some(held) => login.known_as(held),
                    None => login,
                });
                *held = Some(Arc::clone(&login));
                Some(login)
            }
            Err(error) => {
                tracing::warn!(%error, "logins cannot be read");
                None
            }
        }
    }

    /// Reads what came back with a call; `None` when it was not given out for it and for the login of now.
    pub fn round(&self, text: &str, asking: Asking<'_>) -> Option<Round> {
        let round = Round::open(text, asking, &self.sealer, self.asker.clock.now())?;
        self.login().filter(|login| login.hash() == round.login)?;
        Some(round)
    }

    /// Climbs until a login is open, or as far as the host goes.
    pub async fn climb(&self, attempt: &Attempt<'_>) -> Climbed {
        let begun = {
            let _turn = self.turn.lock().await;
            self.begin(attempt.needed).await
        };
        let login = match begun {
            Ok(Begun::Open(login)) => return self.settled(attempt, &login),
            Ok(Begun::Waits(login)) => login,
            Ok(Begun::Denied(login)) => {
                *lock(&self.told) = Some(login.hash());
                return self.turned(Turned::Denied, attempt, &login);
            }
            Ok(Begun::Revoked(login)) => {
                // Said once.
                login.note_open(false);
                *lock(&self.held) = Some(Arc::clone(&login));
                return self.turned(Turned::Revoked, attempt, &login);
            }
            Err(trouble) => return self.nobody(&trouble, attempt),
        };
        *lock(&self.held) = Some(Arc::clone(&login));
        if attempt.round.is_some_and(|round| round.login != login.hash()) {
            return Climbed::BadState;
        }
        match (attempt.round, attempt.answer) {
            (Some(_), Some(Action::Decline)) => return self.turned(Turned::Declined, attempt, &login),
            (Some(_), Some(Action::Cancel)) => return self.turned(Turned::Cancelled, attempt, &login),
            _ => {}
        }
        self.ask(attempt, &login).await
    }

    async fn begin(&self, needed: &Scopes) -> Result<Begun, Trouble> {
        let deadline = Instant::now() + LOADING;
        let mut changed = self.asker.store.changed();
        loop {
            changed.mark_unchanged();
            let (asker, needed) = (Arc::clone(&self.asker), needed.clone());
            let (told, held) = (*lock(&self.told), lock(&self.held).clone());
            match blocking(move || asker.begin(&needed, told, held.as_ref())).await {
                Err(Trouble::Store(StoreError::Loading)) if Instant::now() < deadline => {
                    let _ = timeout_at(deadline, changed.changed()).await;
                }
                begun => return begun,
            }
        }
    }

    /// The rungs, best first.
    async fn ask(&self, attempt: &Attempt<'_>, login: &Arc<Login>) -> Climbed {
        let accepted = attempt.round.is_some_and(|round| round.accepted || attempt.answer == Some(Action::Accept));
        let opened = login.in_browser || self.open_browser(login).await;
        if opened || accepted {
            return self.wait_and_say(attempt, login, self.choice.wait, opened).await;
        }
        if self.choice.top >= Top::Elicit {
            match attempt.host.elicits() {
                Elicits::Asks => return self.elicit(attempt, login).await,
                Elicits::Returns => return self.return_question(attempt, login),
                Elicits::Never => {}
            }
        }
        // The link at once. Who has seen it and calls again waits, where the host says that it has the patience.
        let waits = login.was_shown() && attempt.host.is_patient();
        let patience = if waits { self.choice.wait } else { Duration::ZERO };
        login.note_shown();
        self.wait_and_say(attempt, login, patience, false).await
    }

    /// Opens the browser, if that is wanted and nobody has done it: once for a login, and never after a no.
    async fn open_browser(&self, login: &Arc<Login>) -> bool {
        let recently = login.opened.is_some_and(|at| at + BROWSER_PAUSE > self.asker.clock.now());
        if self.choice.top < Top::Browser || login.quiet || recently || !has_screen(self.choice.browser.as_deref()) {
            return false;
        }
        let (asker, noted, now) = (Arc::clone(&self.asker), Arc::clone(login), self.asker.clock.now());
        // Before it is opened: of several servers one opens it.
        match blocking(move || asker.note(&noted, |login| (login.opened, login.in_browser) = (Some(now), true))).await {
            // Somebody beside us has: then one is open.
            Ok(false) => return true,
            Ok(true) => {}
            Err(error) => {
                tracing::warn!(%error, "no browser is opened: it cannot be noted");
                return false;
            }
        }
        let (url, browser) = (words::link(login), self.choice.browser.clone());
        let opened = blocking(move || browser::open(&url, browser.as_deref())).await.is_ok();
        if !opened {
            tracing::info!("no browser could be started");
        }
        opened
    }

    /// Asks a host of the earlier era, while the store is watched.
    async fn elicit(&self, attempt: &Attempt<'_>, login: &Arc<Login>) -> Climbed {
        let deadline = Instant::now() + self.choice.wait;
        let Some(_alone) = Eliciting::begin(&self.eliciting, login.hash()) else {
            return self.wait_and_say(attempt, login, self.choice.wait, false).await;
        };
        let message = words::message(login, &self.asker.resource);
        let question = Question { id: random_uuid().to_string(), url: words::link(login), message };
        let answer = tokio::select! {
            answer = attempt.host.elicit(&question) => answer,
            waited = self.wait(attempt, login, self.choice.wait) => {
                if !matches!(waited, Ok(Standing::Waiting)) {
                    attempt.host.settled(&question.id).await;
                }
                return self.said(waited, attempt, login, false);
            }
        };
        match answer {
            Some(Action::Accept) => {
                let waited = self.wait(attempt, login, deadline.saturating_duration_since(Instant::now())).await;
                if !matches!(waited, Ok(Standing::Waiting)) {
                    attempt.host.settled(&question.id).await;
                }
                self.said(waited, attempt, login, false)
            }
            Some(Action::Decline) => self.turned(Turned::Declined, attempt, login),
            Some(Action::Cancel) => self.turned(Turned::Cancelled, attempt, login),
            None => self.turned(Turned::Link { waited: false, browser: false }, attempt, login),
        }
    }

    /// Gives a host of the later era the question back as the call's result.
    fn return_question(&self, attempt: &Attempt<'_>, login: &Login) -> Climbed {
        let round = attempt
            .round
            .cloned()
            .unwrap_or_else(|| Round::first(login.hash(), attempt.asking, self.asker.clock.now()));
        let params = ElicitRequestParams::UrlElicitationParams {
            meta: None,
            message: words::message(login, &self.asker.resource),
            url: words::link(login),
            // Before 2026-07-28 the member was needed, and some hosts still want it.
            elicitation_id: random_uuid().to_string(),
        };
        let request = InputRequest::Elicitation(ElicitRequest::new(params));
        self.come_back(Some([(QUESTION.to_owned(), request)].into()), &round, attempt, login)
    }

    fn come_back(
        &self,
        questions: Option<rmcp::model::InputRequests>,
        round: &Round,
        attempt: &Attempt<'_>,
        login: &Login,
    ) -> Climbed {
        match round.seal(&self.sealer) {
            Ok(state) => Climbed::Ask(Box::new(InputRequiredResult::new(questions, Some(state)))),
            Err(_) => self.turned(Turned::Link { waited: false, browser: false }, attempt, login),
        }
    }

    async fn wait_and_say(
        &self,
        attempt: &Attempt<'_>,
        login: &Arc<Login>,
        patience: Duration,
        browser: bool,
    ) -> Climbed {
        let waited = self.wait(attempt, login, patience).await;
        match (attempt.round, &waited) {
            // The person said that they go there: the call comes back by itself, and nobody is asked again.
            (Some(round), Ok(Standing::Waiting)) if round.count < ROUNDS => {
                self.come_back(None, &round.next(), attempt, login)
            }
            _ if patience.is_zero() => self.turned_unless_in(&waited, attempt, login, browser),
            _ => self.said(waited, attempt, login, browser),
        }
    }

    fn turned_unless_in(
        &self,
        waited: &Result<Standing, Trouble>,
        attempt: &Attempt<'_>,
        login: &Arc<Login>,
        browser: bool,
    ) -> Climbed {
        match waited {
            Ok(Standing::Open) => self.settled(attempt, login),
            _ => self.turned(Turned::Link { waited: false, browser }, attempt, login),
        }
    }

    /// Waits until the login stands elsewhere than [`Standing::Waiting`], or the time is up.
    async fn wait(&self, attempt: &Attempt<'_>, login: &Arc<Login>, patience: Duration) -> Result<Standing, Trouble> {
        let deadline = Instant::now() + patience;
        let mut changed = self.asker.store.changed();
        let words = words::waiting(login);
        let mut left = attempt.host.left();
        for step in 1.. {
            // The first one soon: it says where to go, and an answer that is there already comes before it.
            let pause = if step == 1 { FIRST_PROGRESS } else { PROGRESS };
            let next = deadline.min(Instant::now() + pause);
            loop {
                // Before the look: a change after it is then not missed.
                changed.mark_unchanged();
                match self.asker.standing(login) {
                    // Gone for a moment, or being read anew.
                    Ok(Standing::Waiting) | Err(StoreError::Absent(_) | StoreError::Loading) => {}
                    Ok(Standing::Approved) => {
                        let (asker, redeemed) = (Arc::clone(&self.asker), Arc::clone(login));
                        blocking(move || asker.redeem(&redeemed)).await?;
                        return Ok(self.asker.standing(login)?);
                    }
                    Ok(standing) => return Ok(standing),
                    Err(error) => return Err(error.into()),
                }
                tokio::select! {
                    changed = changed.changed() => if changed.is_err() { sleep_until(next).await },
                    () = sleep_until(next) => break,
                    () = &mut left => return Ok(Standing::Waiting),
                }
            }
            if Instant::now() >= deadline {
                return Ok(Standing::Waiting);
            }
            // A host that does not read is not waited for.
            let _ = timeout(PROGRESS, attempt.host.progress(step, &words)).await;
        }
        Ok(Standing::Waiting)
    }

    fn said(
        &self,
        waited: Result<Standing, Trouble>,
        attempt: &Attempt<'_>,
        login: &Arc<Login>,
        browser: bool,
    ) -> Climbed {
        match waited {
            Ok(Standing::Open) => self.settled(attempt, login),
            Ok(Standing::Denied) => {
                *lock(&self.told) = Some(login.hash());
                self.turned(Turned::Denied, attempt, login)
            }
            Ok(Standing::Revoked) => self.turned(Turned::Revoked, attempt, login),
            Ok(Standing::Over) => self.turned(Turned::Expired, attempt, login),
            Ok(Standing::Waiting | Standing::Approved) => {
                self.turned(Turned::Link { waited: true, browser }, attempt, login)
            }
            Err(trouble) => self.nobody(&trouble, attempt),
        }
    }

    /// A login is open. One that another call waited for does not help the one that waited.
    fn settled(&self, attempt: &Attempt<'_>, login: &Arc<Login>) -> Climbed {
        *lock(&self.held) = Some(Arc::clone(login));
        match attempt.round {
            Some(round) if round.login != login.hash() => Climbed::BadState,
            _ => Climbed::In,
        }
    }

    fn nobody(&self, trouble: &Trouble, attempt: &Attempt<'_>) -> Climbed {
        tracing::warn!(%trouble, "nobody can be asked for a login");
        let result = words::trouble(trouble, attempt.needed, &self.asker.resource);
        result.map_or(Climbed::Nobody, |result| Climbed::Result(Box::new(result)))
    }

    fn turned(&self, turned: Turned, attempt: &Attempt<'_>, login: &Login) -> Climbed {
        let (now, complete) = (self.asker.clock.now(), self.choice.top >= Top::Link);
        let result = words::result(&turned, login, attempt.needed, &self.asker.resource, complete, now);
        Climbed::Result(Box::new(result))
    }
}

/// Whether a browser would show anything to anybody.
fn has_screen(browser: Option<&str>) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    browser.is_some_and(|browser| !browser.trim().is_empty())
        || !cfg!(all(unix, not(target_os = "macos")))
        || is_set("DISPLAY")
        || is_set("WAYLAND_DISPLAY")
}

/// Runs what waits for locks and disks on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and with it whoever waits here.
            Err(_) => std::future::pending().await,
        },
    }
}

/// One question to the host at a time, for one login.
struct Eliciting<'a> {
    place: &'a Mutex<Option<TokenHash>>,
}

impl<'a> Eliciting<'a> {
    fn begin(place: &'a Mutex<Option<TokenHash>>, login: TokenHash) -> Option<Self> {
        let mut shown = lock(place);
        if *shown == Some(login) {
            return None;
        }
        *shown = Some(login);
        drop(shown);
        Some(Self { place })
    }
}

impl Drop for Eliciting<'_> {
    fn drop(&mut self) {
        *lock(self.place) = None;
    }
}
