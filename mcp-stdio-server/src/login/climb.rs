//! The climb: which rung a call takes, how it waits, and what it is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmcp::model::{ElicitRequest, InputRequest, InputRequiredResult};
use shared::browser;
use shared::scope::Scopes;
use shared::secret::{TokenHash, random_uuid};
use shared::store::{Store, StoreError};
use shared::time::Seconds;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::asker::{Begun, Trouble};
use super::book::Login;
use super::host::{Action, Elicits, Mode, Question};
use super::round::Round;
use super::standing::Standing;
use super::words::{self, About, NO_TOKEN, Turned};
use super::{Attempt, Back, Climbed, Ladder, QUESTION, Top, lock};

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

impl Ladder {
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
                Elicits::Asks(mode) => return self.elicit(attempt, login, mode).await,
                Elicits::Returns(mode) => return self.return_question(attempt, login, mode),
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
    async fn elicit(&self, attempt: &Attempt<'_>, login: &Arc<Login>, mode: Mode) -> Climbed {
        let deadline = Instant::now() + self.choice.wait;
        let Some(_alone) = Eliciting::begin(&self.eliciting, login.hash()) else {
            return self.wait_and_say(attempt, login, self.choice.wait, false).await;
        };
        let question = self.question(login, mode);
        let answer = tokio::select! {
            answer = attempt.host.elicit(&question) => answer,
            waited = self.wait(attempt, login, self.choice.wait) => {
                if !matches!(waited, Ok(Standing::Waiting)) {
                    attempt.host.settled(&question).await;
                }
                return self.said(waited, attempt, login, false);
            }
        };
        match answer {
            Some(Action::Accept) => {
                let waited = self.wait(attempt, login, deadline.saturating_duration_since(Instant::now())).await;
                if !matches!(waited, Ok(Standing::Waiting)) {
                    attempt.host.settled(&question).await;
                }
                self.said(waited, attempt, login, false)
            }
            Some(Action::Decline) => self.turned(Turned::Declined, attempt, login),
            Some(Action::Cancel) => self.turned(Turned::Cancelled, attempt, login),
            None => self.turned(Turned::Link { waited: false, browser: false }, attempt, login),
        }
    }

    fn question(&self, login: &Login, mode: Mode) -> Question {
        let message = words::message(login, &self.asker.resource, mode);
        Question { mode, id: random_uuid().to_string(), url: words::link(login), message }
    }

    /// Gives a host of the later era the question back as the call's result.
    fn return_question(&self, attempt: &Attempt<'_>, login: &Login, mode: Mode) -> Climbed {
        let round = attempt
            .round
            .cloned()
            .unwrap_or_else(|| Round::first(login.hash(), attempt.asking, self.asker.clock.now()));
        let request = InputRequest::Elicitation(ElicitRequest::new(self.question(login, mode).into()));
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
        let result = words::trouble(trouble, &self.about(attempt));
        let back = |result| Back { result: Box::new(result), page: None, cause: NO_TOKEN };
        result.map_or(Climbed::Nobody, |result| Climbed::Back(back(result)))
    }

    fn turned(&self, turned: Turned, attempt: &Attempt<'_>, login: &Login) -> Climbed {
        let (now, complete) = (self.asker.clock.now(), self.choice.top >= Top::Link);
        let result = words::result(&turned, login, &self.about(attempt), complete, now);
        // Whoever closed the dialog is not shown it again.
        let shows = self.choice.top >= Top::Elicit && matches!(turned, Turned::Link { .. });
        let page = shows.then(|| Box::new(self.question(login, Mode::Page)));
        Climbed::Back(Back { result: Box::new(result), page, cause: turned.cause() })
    }

    fn about<'a>(&'a self, attempt: &Attempt<'a>) -> About<'a> {
        About { kind: attempt.asking.kind, needed: attempt.needed, resource: &self.asker.resource }
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::OnceLock;

    use serde_json::{Map, Value};
    use shared::state::{Change, Kind, Program};
    use shared::store::journal::JournalStore;
    use shared::time::{Clock, ManualClock, Timestamp};
    use shared::uri::Resource;

    use super::*;
    use crate::login::Choice;
    use crate::login::asker::Asker;
    use crate::login::host::Host;
    use crate::login::round::Asking;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    struct Patient;

    impl Host for Patient {
        fn is_patient(&self) -> bool {
            true
        }
    }

    struct Bench {
        ladder: Ladder,
        clock: Arc<ManualClock>,
        _folder: tempfile::TempDir,
        _service: TcpListener,
    }

    /// A ladder over a store, and a service that takes connections.
    fn bench(top: Top, browser: Option<&str>) -> Bench {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::at(NOW)));
        let service = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://127.0.0.1:{}", service.local_addr().unwrap().port());
        let path = folder.path().join("s");
        let store = JournalStore::open(&path, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        store.keys().unwrap();
        store.commit_blocking(vec![Change::IssuerDeclared(issuer.parse().unwrap())]).unwrap();
        let program = OnceLock::from(Program { name: "host".into(), path: None, script: None });
        let asker = Asker {
            store: Arc::new(JournalStore::follow(&path, Arc::clone(&clock) as Arc<dyn Clock>)),
            folder: path,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            resource: Resource::stdio("a").unwrap(),
            scopes: Scopes::default(),
            issuer: None,
            program,
        };
        let choice = Choice { top, wait: Duration::from_secs(20), browser: browser.map(str::to_owned) };
        Bench { ladder: Ladder::new(asker, choice).unwrap(), clock, _folder: folder, _service: service }
    }

    impl Bench {
        /// A call; its error, and the code that it shows.
        async fn call(&self) -> (String, String) {
            let (arguments, needed) = (Map::new(), "x".parse().unwrap());
            let asking = Asking { kind: Kind::Tool, name: "t", arguments: &arguments };
            let attempt = Attempt { asking, needed: &needed, host: &Patient, round: None, answer: None };
            let Climbed::Back(Back { result, .. }) = self.ladder.climb(&attempt).await else { panic!() };
            let told = result.structured_content.unwrap();
            let text = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            (text("error"), text("user_code"))
        }
    }

    #[tokio::test]
    async fn r27_a_code_that_runs_out_while_a_call_waits_is_said_to_and_the_next_call_has_another() {
        let bench = tokio::task::spawn_blocking(|| bench(Top::Link, None)).await.unwrap();
        let (error, code) = bench.call().await;
        assert_eq!(error, "unauthorized");
        let (waited, ()) = tokio::join!(bench.call(), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            bench.clock.set(NOW + Seconds(600));
        });
        assert_eq!(waited, ("expired_token".to_owned(), String::new()));
        let (error, next) = bench.call().await;
        assert_eq!((error.as_str(), next == code), ("unauthorized", false));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn r27_nobody_comes_and_the_browser_is_opened_again_an_hour_later_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let opened = folder.path().join("opened");
        let browser = format!("sh -c 'echo >> {}'", opened.display());
        let mut bench = tokio::task::spawn_blocking(move || bench(Top::Browser, Some(&browser))).await.unwrap();
        bench.ladder.choice.wait = Duration::ZERO;
        let mut times = Vec::new();
        for (at, is_new) in [(0, true), (60, false), (700, false), (3599, false), (3600, true)] {
            bench.clock.set(NOW + Seconds(at));
            bench.call().await;
            if is_new {
                times.push(at);
            }
            let count = || std::fs::read_to_string(&opened).unwrap_or_default().len();
            for _ in 0..400 {
                if count() == times.len() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(count(), times.len(), "{at}");
        }
    }
}
