//! A login from inside an assistant: a call without a credential asks a person, by the best way that the host offers.
//!
//! The rungs, best first: the browser is opened; the host shows the page (elicitation, in either protocol era); the host shows
//! where it is, in a form without fields; the link stands in the call's result; the code stands there alone. The person decides
//! on the service's page for devices, the store gains the grant, the follower wakes, and the call goes through. `climb` takes the rungs, [`asker`] asks the store,
//! [`book`] remembers, [`standing`] says where a login stands, [`round`] carries a call that comes back, [`words`] has the
//! words.

pub mod asker;
pub mod book;
mod climb;
pub mod host;
pub mod program;
pub mod round;
pub mod standing;
pub mod words;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::model::{CallToolResult, InputRequiredResult};
use shared::scope::Scopes;
use shared::sealed::Sealer;
use shared::secret::TokenHash;

use self::asker::Asker;
use self::book::Login;
use self::host::{Action, Host, Question};
use self::round::{Asking, Round};

/// The key of our one question in `inputRequests` and `inputResponses`.
pub const QUESTION: &str = "login";

/// The highest rung that is climbed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Top {
    /// The code, to be typed.
    Code,
    /// A link in the result.
    Link,
    /// The host shows the page, or where it is.
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
    Back(Back),
    /// What came back was not given out for this call and this login.
    BadState,
    /// Nobody can be asked; the usual refusal says what to do.
    Nobody,
}

/// What a call gets that was not let in.
pub struct Back {
    /// A result that says why, and what to do.
    pub result: Box<CallToolResult>,
    /// The page that a person has to go to, when that is what is missing.
    pub page: Option<Box<Question>>,
    /// Exactly why, in one word with dashes: for the trail.
    pub cause: &'static str,
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
}
