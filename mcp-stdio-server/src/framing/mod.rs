//! Lines in, lines out: what stands between the host's pipes and rmcp (contract C10).
//!
//! rmcp alone buffers a line without limit, leaves at a malformed first message, and waits for `initialize`. Here
//! [`lines`] bounds, [`mod@screen`] decides what is a message, [`flights`] counts what is under way, and [`outbox`]
//! writes whole lines. rmcp gets typed messages and nothing else.

pub mod flights;
pub mod lines;
pub mod outbox;
pub mod screen;
pub mod streams;

use std::future::Future;
use std::io;
use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, ErrorData, GetExtensions, JsonRpcError, JsonRpcMessage,
    JsonRpcRequest, RequestId, ServerJsonRpcMessage,
};
use rmcp::transport::Transport;
use tokio::io::AsyncRead;
use tokio::sync::watch;

use self::flights::{Flights, Landed, Room};
use self::lines::{Found, Lines, MAX_LINE};
use self::outbox::Outbox;
use self::screen::{Screened, screen};

/// rmcp's transport over bounded lines.
pub struct Framing<R> {
    lines: Lines<R>,
    outbox: Outbox,
    flights: Arc<Flights>,
    /// A refusal that has not found its way into the outbox yet. [`Transport::receive`] may be dropped at any
    /// `await`, so that what it has begun is kept here.
    owed: Option<Vec<u8>>,
    /// The `initialize` under way: the one request that cannot be cancelled.
    initialize: Option<RequestId>,
    ended: watch::Sender<bool>,
}

impl<R: AsyncRead + Unpin + Send> Framing<R> {
    /// Reads lines from `input`, answers through `outbox`, and sets `ended` when the input has ended.
    pub fn new(input: R, outbox: Outbox, ended: watch::Sender<bool>) -> Self {
        Self { lines: Lines::new(input), outbox, flights: Arc::default(), owed: None, initialize: None, ended }
    }

    /// The next message; refusals are answered on the way. `None` at the end of the input.
    async fn next(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            if self.owed.is_some() {
                self.outbox.send(&mut self.owed).await.ok()?;
            }
            match self.lines.find().await {
                Ok(Found::Line(length)) => {
                    let room = self.flights.room(length).await;
                    let screened = screen(self.lines.line(length));
                    self.lines.consume(length);
                    if let Some(message) = self.sort(screened, room) {
                        return Some(message);
                    }
                }
                Ok(Found::TooLong) => {
                    self.lines.consume(0);
                    let words = format!("Invalid Request: a message is at most {MAX_LINE} bytes long");
                    self.owed = Some(refusal(None, ErrorData::invalid_request(words, None)));
                }
                // An input that fails is as good as ended: nothing more will come.
                Ok(Found::End) | Err(_) => return None,
            }
        }
    }

    fn sort(&mut self, screened: Screened, room: Room) -> Option<ClientJsonRpcMessage> {
        match screened {
            Screened::Request(id, request) => self.take_off(id, *request, room),
            Screened::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) = &*notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    if self.initialize.as_ref() == Some(id) {
                        return None;
                    }
                    self.flights.cancel(id);
                }
                Some(JsonRpcMessage::notification(*notification))
            }
            Screened::Answer(id, Ok(result)) => Some(JsonRpcMessage::response(*result, id)),
            Screened::Answer(id, Err(error)) => Some(JsonRpcMessage::error(error, Some(id))),
            Screened::Refused(id, error) => {
                self.owed = Some(refusal(id, error));
                None
            }
            Screened::Ignored => None,
        }
    }

    /// Lets a request through unless its id is under way: with two of one name, an answer could go to the wrong one.
    fn take_off(&mut self, id: RequestId, mut request: ClientRequest, room: Room) -> Option<ClientJsonRpcMessage> {
        match Flights::take_off(&self.flights, &id, room) {
            Some(flight) => {
                if matches!(request, ClientRequest::InitializeRequest(_)) {
                    self.initialize = Some(id.clone());
                }
                request.extensions_mut().insert(flight);
                Some(JsonRpcMessage::Request(JsonRpcRequest::new(id, request)))
            }
            None => {
                // Without the id: the answer under that name belongs to the first request.
                let words = "Invalid Request: a request with this id is still under way";
                self.owed = Some(refusal(None, ErrorData::invalid_request(words, None)));
                None
            }
        }
    }
}

impl<R: AsyncRead + Unpin + Send + 'static> Transport<RoleServer> for Framing<R> {
    type Error = io::Error;

    fn send(&mut self, item: ServerJsonRpcMessage) -> impl Future<Output = io::Result<()>> + Send + 'static {
        if let JsonRpcMessage::Response(response) = &item
            && self.initialize.as_ref() == Some(&response.id)
        {
            self.initialize = None;
        }
        let landed = match &item {
            JsonRpcMessage::Response(response) => self.flights.land(&response.id),
            JsonRpcMessage::Error(error) => error.id.as_ref().and_then(|id| self.flights.land(id)),
            _ => None,
        };
        // At once where there is a place: a line that waits for nothing needs no task to carry it.
        let posted = line_of(&item).map(|line| self.outbox.try_post(line, landed));
        let outbox = self.outbox.clone();
        async move {
            match posted? {
                None => Ok(()),
                Some((line, landed)) => outbox.post(line, landed).await,
            }
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        let message = self.next().await;
        if message.is_none() {
            self.ended.send_replace(true);
        }
        message
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a line in the outbox holds on to until it is written.
pub type Held = Option<Landed>;

/// One message as one line.
fn line_of(message: &ServerJsonRpcMessage) -> io::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(512);
    serde_json::to_writer(&mut line, message)?;
    line.push(b'\n');
    Ok(line)
}

fn refusal(id: Option<RequestId>, error: ErrorData) -> Vec<u8> {
    let message: ServerJsonRpcMessage = JsonRpcMessage::Error(JsonRpcError::new(id, error));
    // Our own words always serialise; an empty line would be harmless.
    line_of(&message).unwrap_or_else(|_| vec![b'\n'])
}
