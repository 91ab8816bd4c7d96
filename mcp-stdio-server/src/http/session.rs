//! One server behind the front, and who waits for what it says.
//!
//! The server reads and writes lines, as on stdio. Requests get names of our own on the way there, so that those of two
//! connections are never taken for each other; answers, progress and subscriptions get theirs back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use shared::secret::random_bytes;
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::channel::{Channel, Inbox};
use super::routes::{Kept, LISTENING, Routes, Waiting, What};
use super::track::{EventId, Said};
use crate::framing::lines::{Found, Lines};
use crate::wrap::message::{self, Id, meta, meta_mut, params_mut};

/// How much of a line goes into the server at once.
pub const PIPE: usize = 64 * 1024;

/// How long a server may leave a message unread.
const TAKEN: Duration = Duration::from_secs(10);

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

/// A server behind the front.
pub struct Session {
    /// Whose it is; nobody's where no token is needed.
    pub principal: Option<Principal>,
    /// Whether its requests stand alone, and may be many people's programs' at once.
    is_modern: bool,
    /// What its events' names begin with.
    tag: u64,
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
            tag: u64::from_le_bytes(random_bytes()),
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
        // A call whose client has gone away is waited for, but does not hold its session for ever.
        let is_used = routes.listening.is_read() || routes.waiting.values().any(|waiting| waiting.channel.is_read());
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
    pub async fn ask(self: &Arc<Self>, id: Id, mut message: Map<String, Value>) -> Result<Reading, Unsent> {
        let channel = Channel::new(!self.is_modern);
        let inbox = channel.read(None);
        let number = self.board(id, &mut message, channel)?;
        let reading = Reading { session: Arc::clone(self), number, inbox };
        self.say(message::line(&Value::Object(message))).await.map_err(|Gone| Unsent::Gone)?;
        Ok(reading)
    }

    /// Gives a request a name of ours.
    fn board(&self, id: Id, message: &mut Map<String, Value>, channel: Arc<Channel>) -> Result<i64, Unsent> {
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
        routes.waiting.insert(number, Waiting { id, progress, wants_logs, channel });
        Ok(number)
    }

    /// Sends something that is no request.
    ///
    /// # Errors
    /// When the server has ended, or takes nothing in.
    pub async fn tell(self: &Arc<Self>, mut message: Map<String, Value>) -> Result<(), Gone> {
        if message.get("method").and_then(Value::as_str) == Some("notifications/cancelled") {
            let named = message::param(&message, "requestId").and_then(Id::of);
            let mut routes = self.routes();
            let mut waiting = routes.waiting.iter();
            let Some(number) = named.and_then(|id| waiting.find(|(_, one)| one.id == id)).map(|(number, _)| *number)
            else {
                return Ok(());
            };
            params_mut(&mut message).insert("requestId".to_owned(), number.into());
            routes.cancelled(number);
        }
        self.say(message::line(&Value::Object(message))).await
    }

    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Writes a line. Once begun it is written to its end, also when whoever sent it hangs up on the way: half a line
    /// would swallow the next one, which may be somebody else's.
    async fn say(self: &Arc<Self>, line: Vec<u8>) -> Result<(), Gone> {
        self.touch();
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
    pub fn listen(self: &Arc<Self>) -> Reading {
        let inbox = self.routes().listening.read(None);
        Reading { session: Arc::clone(self), number: LISTENING, inbox }
    }

    /// The stream that an event is of, from behind that event. `None` when this session has no such event.
    pub fn resume(self: &Arc<Self>, event: EventId) -> Option<Resumable> {
        let number = i64::try_from(event.stream).ok().filter(|_| event.session == self.tag && !self.is_modern)?;
        let routes = self.routes();
        let (channel, what) = match routes.kept.get(&number) {
            Some(kept) => (&kept.channel, Some(kept.what.clone())),
            None if number == LISTENING => (&routes.listening, None),
            None => return None,
        };
        let channel = Arc::clone(channel);
        Some(Resumable { session: Arc::clone(self), number, channel, after: event.number, what })
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
                waiting.channel.put(Said {
                    json: Value::Object(message).to_string().into_bytes(),
                    is_answer: true,
                    code,
                });
                routes.prune();
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
            waiting.channel.put(Said { json, is_answer: true, code: Some(-32603) });
        }
        routes.listening.close();
    }
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

/// A stream that can be read on.
pub struct Resumable {
    /// Which request's it is; `None` when it is no request's.
    pub what: Option<What>,
    session: Arc<Session>,
    number: i64,
    channel: Arc<Channel>,
    after: u64,
}

impl Resumable {
    /// Reads it. Whoever read it before hears no more.
    pub fn read(self) -> Reading {
        let inbox = self.channel.read(Some(self.after));
        Reading { session: self.session, number: self.number, inbox }
    }
}

/// What one connection reads: what comes of a request, or what belongs to none. Dropped without its answer, a request is
/// taken back where that is what a closed connection means.
pub struct Reading {
    session: Arc<Session>,
    number: i64,
    inbox: Inbox,
}

impl Reading {
    /// The messages.
    pub fn inbox(&mut self) -> &mut Inbox {
        &mut self.inbox
    }

    /// Whether it is of the modern era.
    pub fn is_modern(&self) -> bool {
        self.session.is_modern
    }

    /// Whether its session is over.
    pub fn is_over(&self) -> bool {
        self.session.is_over()
    }

    /// The request's answer becomes a stream: one that may be read again, where the era has that.
    pub fn keep(&self, what: What) {
        if self.session.is_modern {
            return;
        }
        let mut routes = self.session.routes();
        routes.kept.insert(self.number, Kept { channel: self.inbox.channel(), what });
        routes.prune();
    }

    /// The name of the event that was read last, or of the beginning.
    pub fn place(&self) -> Option<EventId> {
        self.event(self.inbox.read())
    }

    /// The name of the event with the message of this number; `None` where events have none.
    pub fn event(&self, number: u64) -> Option<EventId> {
        let Session { tag, is_modern, .. } = *self.session;
        (!is_modern).then(|| EventId { session: tag, stream: self.number.unsigned_abs(), number })
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.session.touch();
        let mut routes = self.session.routes();
        // Who lost a connection comes back, perhaps.
        if routes.kept.contains_key(&self.number) {
            return;
        }
        if routes.waiting.remove(&self.number).is_none() || !self.session.is_modern {
            return;
        }
        drop(routes);
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
