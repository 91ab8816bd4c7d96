//! One server behind the front, and who waits for what it says.
//!
//! The server reads and writes lines, as on stdio. Requests get names of our own on the way there, so that those of two
//! connections are never taken for each other; answers, progress and subscriptions get theirs back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use crate::framing::lines::{Found, Lines};
use crate::wrap::message::{self, Id, meta, meta_mut, params_mut};

/// How much of a line goes into the server at once.
pub const PIPE: usize = 64 * 1024;

/// How long a server may leave a message unread.
const TAKEN: Duration = Duration::from_secs(10);

/// How many bytes may wait for one reader. Whoever reads slower is cut off.
const UNREAD: usize = 16 * 1024 * 1024;

/// How many messages wait for somebody who listens, the newest.
const BACKLOG: usize = 64;

/// How many requests of one session may be under way.
const UNDER_WAY: usize = 256;

/// Whose a session is: a person, through a program. Tokens come and go.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Principal {
    /// Who says so.
    pub issuer: String,
    /// The person.
    pub subject: String,
    /// The program.
    pub client: String,
}

/// Something for a connection.
#[derive(Debug)]
pub struct Said {
    /// One message.
    pub json: Vec<u8>,
    /// Whether it is the answer, behind which nothing comes.
    pub is_answer: bool,
    /// The code of an answer that is an error.
    pub code: Option<i64>,
}

/// The way to one connection.
#[derive(Clone)]
struct Way {
    sender: mpsc::UnboundedSender<Said>,
    unread: Arc<AtomicUsize>,
}

impl Way {
    /// False when nobody reads, or too slowly.
    fn put(&self, said: Said) -> bool {
        let length = said.json.len();
        self.unread.fetch_add(length, Ordering::Relaxed) + length <= UNREAD && self.sender.send(said).is_ok()
    }
}

/// What a connection reads.
pub struct Inbox {
    receiver: mpsc::UnboundedReceiver<Said>,
    unread: Arc<AtomicUsize>,
}

impl Inbox {
    fn new() -> (Way, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let unread = Arc::new(AtomicUsize::new(0));
        (Way { sender, unread: Arc::clone(&unread) }, Self { receiver, unread })
    }

    /// The next message; `None` when there will be none.
    pub async fn next(&mut self) -> Option<Said> {
        let said = self.receiver.recv().await?;
        self.unread.fetch_sub(said.json.len(), Ordering::Relaxed);
        Some(said)
    }
}

/// A request that waits for its answer.
struct Waiting {
    id: Id,
    progress: Option<Value>,
    wants_logs: bool,
    way: Way,
}

#[derive(Default)]
struct Routes {
    next: i64,
    waiting: BTreeMap<i64, Waiting>,
    listener: Option<Way>,
    backlog: VecDeque<Vec<u8>>,
}

/// A server behind the front.
pub struct Session {
    /// Whose it is; nobody's where no token is needed.
    pub principal: Option<Principal>,
    /// Whether its requests stand alone, and may be many people's programs' at once.
    is_modern: bool,
    input: Arc<tokio::sync::Mutex<WriteHalf<DuplexStream>>>,
    routes: Mutex<Routes>,
    used: Mutex<Instant>,
    ended: watch::Sender<bool>,
}

/// The server has ended.
#[derive(Debug)]
pub struct Gone;

/// Why a request is not sent.
#[derive(Debug)]
pub enum Unsent {
    /// The server has ended, or takes nothing in.
    Gone,
    /// Too many are under way.
    TooMany,
    /// One of this name is under way.
    Twice,
}

impl Session {
    /// A session over one end of a pipe; the server has the other. It ends when it was not used for `idle`.
    pub fn start(principal: Option<Principal>, is_modern: bool, ours: DuplexStream, idle: Duration) -> Arc<Self> {
        let (output, input) = tokio::io::split(ours);
        let session = Arc::new(Self {
            principal,
            is_modern,
            input: Arc::new(tokio::sync::Mutex::new(input)),
            routes: Mutex::default(),
            used: Mutex::new(Instant::now()),
            ended: watch::Sender::new(false),
        });
        tokio::spawn(hear(Arc::clone(&session), output, idle));
        session
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        *self.ended.borrow()
    }

    /// Since when nobody has used it; `None` while somebody does.
    pub fn unused_since(&self) -> Option<Instant> {
        let routes = self.routes();
        let is_used = !routes.waiting.is_empty() || routes.listener.as_ref().is_some_and(|way| !way.sender.is_closed());
        (!is_used).then(|| *self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends it: the server's input is closed.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Sends a request; what comes of it is in the answer.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub async fn ask(self: &Arc<Self>, id: Id, mut message: Map<String, Value>) -> Result<Asked, Unsent> {
        let (way, inbox) = Inbox::new();
        let number = self.board(id, &mut message, way)?;
        let asked = Asked { session: Arc::clone(self), number, inbox, is_answered: false };
        self.say(message::line(&Value::Object(message))).await.map_err(|Gone| Unsent::Gone)?;
        Ok(asked)
    }

    /// Gives a request a name of ours.
    fn board(&self, id: Id, message: &mut Map<String, Value>, way: Way) -> Result<i64, Unsent> {
        let mut routes = self.routes();
        if routes.waiting.len() >= UNDER_WAY {
            return Err(Unsent::TooMany);
        }
        if !self.is_modern && routes.waiting.values().any(|waiting| waiting.id == id) {
            return Err(Unsent::Twice);
        }
        routes.next += 1;
        let number = routes.next;
        message.insert("id".to_owned(), number.into());
        let meta = message.get_mut("params").and_then(|params| params.get_mut("_meta")).and_then(Value::as_object_mut);
        let progress = meta.and_then(|meta| {
            let token = meta.get_mut("progressToken")?;
            Some(std::mem::replace(token, number.into()))
        });
        let wants_logs = !self.is_modern || message::meta_of(message, meta::LOG_LEVEL).is_some();
        routes.waiting.insert(number, Waiting { id, progress, wants_logs, way });
        Ok(number)
    }

    /// Sends something that is no request.
    ///
    /// # Errors
    /// When the server has ended, or takes nothing in.
    pub async fn tell(self: &Arc<Self>, mut message: Map<String, Value>) -> Result<(), Gone> {
        if message.get("method").and_then(Value::as_str) == Some("notifications/cancelled") {
            let named = message::param(&message, "requestId").and_then(Id::of);
            let routes = self.routes();
            let mut waiting = routes.waiting.iter();
            let Some(number) = named.and_then(|id| waiting.find(|(_, one)| one.id == id)).map(|(number, _)| *number)
            else {
                return Ok(());
            };
            params_mut(&mut message).insert("requestId".to_owned(), number.into());
        }
        self.say(message::line(&Value::Object(message))).await
    }

    /// Writes a line. Once begun it is written to its end, also when whoever sent it hangs up on the way: half a line
    /// would swallow the next one, which may be somebody else's.
    async fn say(self: &Arc<Self>, line: Vec<u8>) -> Result<(), Gone> {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        if self.is_over() {
            return Err(Gone);
        }
        let Ok(mut input) = timeout(TAKEN, Arc::clone(&self.input).lock_owned()).await else {
            self.end();
            return Err(Gone);
        };
        let session = Arc::clone(self);
        let writing = async move {
            if matches!(timeout(TAKEN, input.write_all(&line)).await, Ok(Ok(()))) {
                return Ok(());
            }
            // Half a line may be in the pipe: nothing can follow it.
            session.end();
            Err(Gone)
        };
        tokio::spawn(writing).await.unwrap_or(Err(Gone))
    }

    /// Listens to what belongs to no request. Whoever listened before hears no more.
    pub fn listen(&self) -> Inbox {
        let (way, inbox) = Inbox::new();
        let mut routes = self.routes();
        for json in std::mem::take(&mut routes.backlog) {
            way.put(Said { json, is_answer: false, code: None });
        }
        routes.listener = Some(way);
        inbox
    }

    /// Brings a line of the server's to whoever it is for.
    fn route(&self, line: &[u8]) {
        let Ok(Value::Object(mut message)) = serde_json::from_slice(line) else { return };
        let mut routes = self.routes();
        match (message.get("method").and_then(Value::as_str).map(str::to_owned), message.get("id")) {
            (None, Some(id)) => {
                let Some(waiting) = id.as_i64().and_then(|number| routes.waiting.remove(&number)) else { return };
                message.insert("id".to_owned(), waiting.id.value());
                if let Some(result) = message.get_mut("result").and_then(Value::as_object_mut)
                    && result.get("_meta").is_some_and(|meta| meta.get(meta::SUBSCRIPTION).is_some())
                {
                    meta_mut(result).insert(meta::SUBSCRIPTION.to_owned(), waiting.id.value());
                }
                let code = message.get("error").and_then(|error| error.get("code")).and_then(Value::as_i64);
                waiting.way.put(Said { json: Value::Object(message).to_string().into_bytes(), is_answer: true, code });
            }
            (Some(method), _) => routes.spread(&method, message, self.is_modern),
            (None, None) => {}
        }
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server has ended: whoever waits learns it.
    fn close(&self) {
        self.end();
        let mut routes = self.routes();
        let words =
            "Internal error: the server behind this address has ended; whether it did what it was asked is not known";
        for (_, waiting) in std::mem::take(&mut routes.waiting) {
            let json = message::failure(Some(&waiting.id), -32603, words, None).to_string().into_bytes();
            waiting.way.put(Said { json, is_answer: true, code: Some(-32603) });
        }
        routes.listener = None;
    }
}

impl Routes {
    /// Brings a message of the server's own to the connection that it belongs to, as far as it tells.
    fn spread(&mut self, method: &str, mut message: Map<String, Value>, is_modern: bool) {
        let to = self.addressee(method, &mut message, is_modern);
        let json = Value::Object(message).to_string().into_bytes();
        let said = |json| Said { json, is_answer: false, code: None };
        let way = match to {
            To::Request(number) => match self.waiting.get(&number) {
                Some(waiting) => {
                    if !waiting.way.put(said(json)) {
                        self.waiting.remove(&number);
                    }
                    return;
                }
                None => return,
            },
            To::Nobody => return,
            To::Listener => self.listener.as_ref().filter(|way| !way.sender.is_closed()),
        };
        match way {
            Some(way) => {
                let is_heard = way.put(said(json));
                if !is_heard {
                    self.listener = None;
                }
            }
            None if json.len() <= PIPE => {
                if self.backlog.len() >= BACKLOG {
                    self.backlog.pop_front();
                }
                self.backlog.push_back(json);
            }
            None => {}
        }
    }

    fn addressee(&self, method: &str, message: &mut Map<String, Value>, is_modern: bool) -> To {
        if method == "notifications/progress" {
            let token = params_mut(message).get_mut("progressToken");
            let number = token.as_ref().and_then(|token| token.as_i64());
            return match (number.and_then(|number| Some((number, self.waiting.get(&number)?))), token) {
                (Some((number, waiting)), Some(token)) => {
                    *token = waiting.progress.clone().unwrap_or_default();
                    To::Request(number)
                }
                _ => To::Nobody,
            };
        }
        let subscription = message::meta_of(message, meta::SUBSCRIPTION).and_then(number_of);
        if let Some((number, waiting)) = subscription.and_then(|number| Some((number, self.waiting.get(&number)?))) {
            meta_mut(params_mut(message)).insert(meta::SUBSCRIPTION.to_owned(), waiting.id.value());
            return To::Request(number);
        }
        let is_of_a_call = !method.ends_with("/list_changed") && method != "notifications/resources/updated";
        // On stdio nothing says which call a log line or a question belongs to: the latest, most likely.
        let latest = self.waiting.iter().rev().find(|(_, waiting)| waiting.wants_logs).map(|(number, _)| *number);
        match latest.filter(|_| is_of_a_call) {
            Some(number) => To::Request(number),
            None if is_modern => To::Nobody,
            None => To::Listener,
        }
    }
}

/// Whom a message of the server's is for.
enum To {
    Request(i64),
    Listener,
    Nobody,
}

fn number_of(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// Reads what the server says until it has ended.
async fn hear(session: Arc<Session>, output: ReadHalf<DuplexStream>, idle: Duration) {
    let mut lines = Lines::new(output);
    let mut ended = session.ended.subscribe();
    loop {
        let until = Instant::now() + idle;
        tokio::select! {
            found = lines.find() => match found {
                Ok(Found::Line(length)) => {
                    session.route(lines.line(length));
                    lines.consume(length);
                }
                Ok(Found::TooLong) => lines.consume(0),
                Ok(Found::End) | Err(_) => break,
            },
            _ = ended.wait_for(|ended| *ended) => break,
            () = tokio::time::sleep_until(until) => {
                if session.unused_since().is_some_and(|since| since.elapsed() >= idle) {
                    break;
                }
            }
        }
    }
    session.close();
    // The server sees the end of its input, and goes.
    let _ = session.input.lock().await.shutdown().await;
}

/// A request under way. Dropped without its answer, it is taken back where that is what a closed connection means.
pub struct Asked {
    session: Arc<Session>,
    number: i64,
    inbox: Inbox,
    is_answered: bool,
}

impl Asked {
    /// The next message; `None` when there will be none.
    pub async fn next(&mut self) -> Option<Said> {
        let said = self.inbox.next().await;
        self.is_answered |= said.as_ref().is_none_or(|said| said.is_answer);
        said
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.is_answered || self.session.routes().waiting.remove(&self.number).is_none() || !self.session.is_modern {
            return;
        }
        // MCP 2026-07-28, Streamable HTTP, "Cancellation". Earlier versions: a lost connection cancels nothing.
        let cancelled = message::notification("notifications/cancelled", json!({ "requestId": self.number }));
        let session = Arc::clone(&self.session);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { session.say(message::line(&cancelled)).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;

    fn request(padding: usize) -> Map<String, Value> {
        let Value::Object(message) = message::request(&Id::Number(7), "x", json!({ "padding": "x".repeat(padding) }))
        else {
            unreachable!("a request is an object")
        };
        message
    }

    #[tokio::test]
    async fn c14_whoever_hangs_up_in_the_middle_of_a_message_swallows_nobody_elses() {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let session = Session::start(None, true, ours, Duration::from_secs(60));
        let (reading, _writing) = tokio::io::split(theirs);
        // Four times what the pipe holds: the sender is gone before the server has read anything.
        let hung_up = timeout(Duration::from_millis(1), session.ask(Id::Number(1), request(4 * PIPE))).await;
        assert!(hung_up.is_err(), "it was still being written");
        let mut lines = BufReader::new(reading).lines();
        let next = async {
            let _asked = session.ask(Id::Number(2), request(1)).await.unwrap();
            std::future::pending::<()>().await;
        };
        let read = async {
            let mut ids = Vec::new();
            while ids.len() < 3 {
                let line = lines.next_line().await.unwrap().unwrap();
                let message: Value = serde_json::from_str(&line).expect("whole lines only");
                ids.push(message["id"].as_i64());
            }
            ids
        };
        let ids = tokio::select! {
            ids = read => ids,
            () = next => unreachable!("it waits"),
            () = tokio::time::sleep(TAKEN) => panic!("the second request never came"),
        };
        assert!(ids.contains(&Some(1)) && ids.contains(&Some(2)), "{ids:?}");
    }
}
