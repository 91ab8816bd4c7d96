//! What happens between a host and a wrapped server: one task, which owns all there is.

mod child;
mod denied;
mod greeting;
mod host;
mod input;
mod judging;
mod listens;
mod person;
mod secrets;
mod target;
mod tasks;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::AbortHandle;
use futures_util::stream::FuturesUnordered;
use serde_json::{Map, Value};
use shared::secret::random_bytes;
use tokio::io::AsyncRead;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use self::greeting::{Greeting, Own};
use self::input::{Gathering, Question};
use self::judging::{Asked, Judged};
use self::listens::{Listen, Watching};
use self::person::Waiting;
use self::secrets::Keeping;
use self::tasks::Tasks;
use super::Wrapped;
use super::child::Child;
use super::eras::{Host, Server};
use super::listing::Listing;
use super::message::{self, Id};
use super::queue::{Queue, queue};
use crate::audit::Underway;
use crate::framing::lines::{Found, Lines, MAX_LINE};
use crate::framing::streams::Output;
use crate::server::Ending;

/// How long what is under way may take to finish after the host has closed the input. With the child's own time within
/// the 2 seconds of contract C10.
const LAST_CALLS: Duration = Duration::from_millis(700);

/// How long the host may take to read what is already answered.
const LAST_LINES: Duration = Duration::from_millis(400);

/// How many requests may be under way. Further ones are refused: the host does not read, or the server does not answer.
const MOST: usize = 1024;

/// The pauses before a server that has ended is started again grow from this…
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// …to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A server that lived so long is not one that ends again and again.
const HEALTHY: Duration = Duration::from_secs(60);

/// Work that ends later: a judgement, a filtered list, a time that is up.
type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// A request that waits: its name, its method, the whole of it, and its line.
type Parked = (Id, String, Map<String, Value>, Vec<u8>);

/// What has ended.
enum Done {
    /// A request was judged.
    Judged(Box<Judged>),
    /// A message is ready for the host.
    Ready(Vec<u8>),
    /// A probe has taken too long.
    Late(Id),
    /// What waits for the server's tools waits no longer.
    GoOn,
    /// Something has waited long for the server that has its secrets.
    HeldLong,
    /// Nothing came of it.
    Nothing,
}

/// What comes next.
enum Event {
    Host(Found),
    Child(Found),
    Done(Done),
    Restart,
    LastCall,
    Covered(bool),
    OutputClosed,
    Stopped,
}

/// A host's request that the server is working on.
#[derive(Clone)]
struct Pending {
    /// Its name at the host; at the server it may have another.
    host_id: Id,
    method: String,
    /// Whether the host is of the modern era.
    is_modern: bool,
    /// Whoever asks, and what for.
    asked: Arc<Asked>,
    /// When the server got it.
    since: Instant,
    /// The request as the server got it, where it may have to be sent again.
    message: Option<Map<String, Value>>,
    /// The request as the host sent it, where another server may be asked the same.
    again: Option<Map<String, Value>>,
    /// To be told how it ended, when it is a call.
    underway: Option<Arc<Underway>>,
}

/// Everything between one host and one server.
struct Relay {
    wrapped: Arc<Wrapped>,
    host: Queue,
    child: Option<Child>,
    greeting: Greeting,
    /// What the host says of itself: in `initialize`, or in its latest request.
    host_is: Option<Host>,
    /// Whether it began with `initialize`.
    host_initializes: bool,
    /// Whether it has said that it is done with that.
    host_is_initialized: bool,
    /// By the name at the server.
    pending: HashMap<Id, Pending>,
    judging: HashMap<Id, AbortHandle>,
    tasks: Tasks,
    /// Requests that wait for the server to be greeted.
    parked: Vec<Parked>,
    /// What we ask the server for ourselves.
    own: HashMap<Id, Own>,
    listing: watch::Sender<Option<Arc<Listing>>>,
    /// Subscriptions of a modern host to a server of the other era, and the other way round.
    listens: HashMap<Id, Listen>,
    subscribed: Vec<String>,
    listening: Option<Id>,
    /// Questions of an old server that a modern host's person answers.
    questions: HashMap<String, Question>,
    /// Questions of a modern server that an old host's person answers.
    gatherings: HashMap<Id, Gathering>,
    work: FuturesUnordered<Work>,
    names: Names,
    /// Questions of a login.
    waiting: Waiting,
    /// True when the host has left: then nobody waits for a person.
    left: watch::Sender<bool>,
    /// Who watches for changes of what a list shows.
    watching: HashMap<Option<Id>, Watching>,
    restart_at: Option<Instant>,
    /// How often in a row it has ended soon after its start.
    failures: u32,
    started: Instant,
    /// Whether the server has ever answered.
    has_spoken: bool,
    /// Who has its secrets, and while which grants.
    keeping: Keeping,
}

/// Names for requests of our own: no host and no server comes by the same.
struct Names {
    prefix: String,
    next: u64,
}

impl Names {
    fn new() -> Self {
        let prefix = format!("authz-{:016x}", u64::from_le_bytes(random_bytes()));
        Self { prefix, next: 0 }
    }

    fn next(&mut self) -> Id {
        self.next += 1;
        Id::Text(format!("{}-{}", self.prefix, self.next))
    }
}

/// Serves one host.
pub async fn run<R, W>(wrapped: Wrapped, input: R, output: W, stop: impl Future<Output = ()>) -> Ending
where
    R: AsyncRead + Unpin + Send + 'static,
    W: Output + 'static,
{
    let (host, drain) = queue();
    let mut writing = tokio::spawn(drain.run(output));
    let mut relay = Relay::new(wrapped, host);
    if let Err(error) = relay.begin().await {
        tracing::error!(%error, "the server cannot be started");
        return Ending::ServerEnded;
    }
    let mut lines = Lines::new(input);
    let mut stop = std::pin::pin!(stop);
    let mut leaving: Option<Instant> = None;
    let ending = loop {
        let event = {
            let Relay { child, host, work, restart_at, keeping, .. } = &mut relay;
            let covered = async {
                if let Some(covered) = &mut keeping.covered
                    && covered.changed().await.is_ok()
                {
                    return *covered.borrow_and_update();
                }
                // Without anybody who watches, all stays as it is.
                std::future::pending().await
            };
            // Nothing more is taken in while what came before it has not gone out on the other side.
            let room = child.as_ref().map(|child| child.queue.clone());
            let from_host = async {
                if let Some(room) = &room {
                    room.has_room().await;
                }
                lines.find().await.unwrap_or(Found::End)
            };
            let from_child = async {
                host.has_room().await;
                match child.as_mut() {
                    Some(child) => child.find().await,
                    None => std::future::pending().await,
                }
            };
            let until = |at: Option<Instant>| async move {
                match at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = &mut writing => Event::OutputClosed,
                () = &mut stop => Event::Stopped,
                covered = covered => Event::Covered(covered),
                Some(done) = work.next(), if !work.is_empty() => Event::Done(done),
                found = from_child => Event::Child(found),
                found = from_host, if leaving.is_none() => Event::Host(found),
                () = until(*restart_at) => Event::Restart,
                () = until(leaving) => Event::LastCall,
            }
        };
        match event {
            Event::OutputClosed => break Ending::OutputClosed,
            Event::Stopped => break Ending::Stopped,
            Event::LastCall => break Ending::InputClosed,
            Event::Done(done) => relay.done(done),
            Event::Restart => relay.restart(),
            Event::Covered(covered) => relay.keeping.wanted = Some(covered),
            Event::Child(Found::Line(length)) => relay.child_line(length),
            Event::Child(found) => {
                relay.child_ended(found).await;
                if !relay.has_spoken && relay.failures > 2 {
                    break Ending::ServerEnded;
                }
            }
            Event::Host(Found::Line(length)) => {
                let line = lines.line(length).to_vec();
                lines.consume(length);
                relay.host_line(line);
            }
            Event::Host(Found::TooLong) => {
                lines.consume(0);
                let words = format!("Invalid Request: a message is at most {MAX_LINE} bytes long");
                relay.tell(&message::failure(None, -32600, &words, None));
            }
            Event::Host(Found::End) => {
                leaving = Some(Instant::now() + LAST_CALLS);
                relay.left.send_replace(true);
            }
        }
        if let Some(covered) = relay.keeping.wanted.take() {
            relay.exchange(covered).await;
        }
        if leaving.is_some() && relay.is_idle() {
            break Ending::InputClosed;
        }
    };
    relay.end().await;
    let _ = timeout(LAST_LINES, &mut writing).await;
    ending
}

impl Relay {
    fn new(wrapped: Wrapped, host: Queue) -> Self {
        Self {
            wrapped: Arc::new(wrapped),
            host,
            child: None,
            greeting: Greeting::default(),
            host_is: None,
            host_initializes: false,
            host_is_initialized: false,
            pending: HashMap::new(),
            judging: HashMap::new(),
            tasks: Tasks::default(),
            parked: Vec::new(),
            own: HashMap::new(),
            listing: watch::Sender::new(None),
            listens: HashMap::new(),
            subscribed: Vec::new(),
            listening: None,
            questions: HashMap::new(),
            gatherings: HashMap::new(),
            work: FuturesUnordered::new(),
            names: Names::new(),
            waiting: Waiting::default(),
            left: watch::Sender::new(false),
            watching: HashMap::new(),
            restart_at: None,
            failures: 0,
            started: Instant::now(),
            has_spoken: false,
            keeping: Keeping::default(),
        }
    }

    /// Whether nothing is under way.
    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.judging.is_empty() && self.parked.is_empty() && self.work.is_empty()
    }

    /// What the server said of itself, once it was greeted.
    fn server(&self) -> Option<&Server> {
        self.greeting.server()
    }

    /// Tells the host something.
    fn tell(&self, message: &Value) {
        self.host.put(message::line(message));
    }

    /// Tells the server something.
    fn say(&self, message: &Value) {
        if let Some(child) = &self.child {
            child.queue.put(message::line(message));
        }
    }

    /// Passes bytes on to the server.
    fn pass_on(&self, mut line: Vec<u8>) {
        if let Some(child) = &self.child {
            line.push(b'\n');
            child.queue.put(line);
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Judged(judged) => self.judged(*judged),
            Done::Ready(line) => self.host.put(line),
            Done::Late(id) => self.probe_failed(&id, None),
            Done::GoOn => self.go_on(),
            Done::HeldLong => self.held_long(),
            Done::Nothing => {}
        }
    }

    /// The server has ended, or broken its stream: what it was working on is answered, and it is started again.
    async fn child_ended(&mut self, found: Found) {
        if found == Found::TooLong {
            tracing::error!("the server wrote a line of more than {MAX_LINE} bytes; it is started again");
        }
        if let Some(child) = self.child.take() {
            child.end().await;
        }
        if self.wants_secrets() {
            self.put_aside(
                "Internal error: the server behind this one ended; it is started again when somebody has signed in, for it needs \
                 what it gets then",
            );
            return self.restart();
        }
        self.failures = if self.started.elapsed() > HEALTHY { 1 } else { self.failures + 1 };
        let words = "Internal error: the server behind this one ended before it answered; whether it did what it was asked \
                     is not known";
        for (_, pending) in self.pending.drain() {
            self.host.put(message::line(&message::failure(Some(&pending.host_id), -32603, words, None)));
        }
        for gathering in self.gatherings.drain().map(|(_, gathering)| gathering).filter(|one| !one.is_done()) {
            self.host.put(message::line(&message::failure(Some(gathering.host_id()), -32603, words, None)));
        }
        self.own.clear();
        self.questions.clear();
        self.listening = None;
        if self.failures > 2 {
            self.refuse_parked();
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.saturating_sub(1).min(8)).min(LONGEST_PAUSE);
        tracing::warn!(in_ms = pause.as_millis(), "the server has ended; it is started again");
        self.restart_at = Some(Instant::now() + pause);
    }

    fn restart(&mut self) {
        self.restart_at = None;
        self.started = Instant::now();
        match self.start_child() {
            Ok(()) => self.greet_again(),
            Err(error) => {
                tracing::error!(%error, "the server cannot be started again");
                self.failures += 1;
                self.restart_at = Some(Instant::now() + LONGEST_PAUSE);
                self.refuse_parked();
            }
        }
    }

    fn refuse_parked(&mut self) {
        let words = "Internal error: the server behind this one cannot be started; the log says why. It is tried again";
        for (id, ..) in self.parked.drain(..) {
            self.host.put(message::line(&message::failure(Some(&id), -32603, words, None)));
        }
        self.refuse_held(words);
    }

    async fn end(mut self) {
        self.judging.values().for_each(AbortHandle::abort);
        self.close_listens();
        if let Some(child) = self.child.take() {
            child.end().await;
        }
    }
}
