//! MCP over HTTP: our own client below rmcp's transport, so that tokens, limits and challenges are handled here.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, ErrorData, ServerJsonRpcMessage};
use rmcp::transport::common::http_header::{
    EVENT_STREAM_MIME_TYPE, HEADER_LAST_EVENT_ID, HEADER_SESSION_ID, JSON_MIME_TYPE,
};
use rmcp::transport::streamable_http_client::{
    AuthRequiredError, HttpStatusError, InsufficientScopeError, SseError, StreamableHttpClient, StreamableHttpError,
    StreamableHttpPostResponse,
};
use shared::secret::Secret;
use sse_stream::{Sse, SseStream};

use super::http::cause;
use crate::flow::discover::{Hints, same_origin};

/// The longest JSON answer.
const JSON_LIMIT: usize = 8 * 1024 * 1024;
/// The longest error answer that is looked at.
const ERROR_LIMIT: usize = 64 * 1024;
/// The longest event when nobody says.
const EVENT_LIMIT: usize = 8 * 1024 * 1024;

/// What can go wrong below MCP. Never holds the token, a query or a body.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HttpFault {
    /// Not reached, or cut off.
    #[error("{0}")]
    Connection(String),
    /// A status that MCP gives no meaning to.
    #[error("HTTP {0}")]
    Status(u16),
    /// Asked to send the token somewhere else.
    #[error("the request leads to another origin")]
    ForeignOrigin,
}

type Fault = StreamableHttpError<HttpFault>;

/// HTTP to one MCP server, with the token for it.
#[derive(Clone, Debug)]
pub struct ServerClient {
    client: Client,
    server: Arc<str>,
    token: Option<Arc<Secret>>,
}

impl ServerClient {
    /// A client for `server`. `client` follows no redirects.
    pub fn new(client: Client, server: &str, token: Option<Secret>) -> Self {
        Self { client, server: server.into(), token: token.map(Arc::new) }
    }

    /// Adds what every request carries. The token goes to the origin that it is for and nowhere else, in a header that
    /// is never printed.
    fn prepare(
        &self,
        request: RequestBuilder,
        uri: &str,
        session: Option<&str>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<RequestBuilder, Fault> {
        if !same_origin(uri, &self.server) {
            return Err(Fault::Client(HttpFault::ForeignOrigin));
        }
        let mut request = request;
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(session) = session {
            request = request.header(HEADER_SESSION_ID, session);
        }
        let token = self.token.as_ref().map(|token| HeaderValue::from_str(&format!("Bearer {}", token.expose())));
        if let Some(Ok(mut header)) = token {
            header.set_sensitive(true);
            request = request.header(AUTHORIZATION, header);
        }
        Ok(request)
    }

    async fn post(
        &self,
        uri: &str,
        message: &ClientJsonRpcMessage,
        session: Option<&str>,
        headers: HashMap<HeaderName, HeaderValue>,
        event_limit: usize,
    ) -> Result<StreamableHttpPostResponse, Fault> {
        let request = self.client.post(uri).header(ACCEPT, accepts()).json(message);
        let response = send(self.prepare(request, uri, session, headers)?).await?;
        let status = response.status();
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        if status == StatusCode::NOT_FOUND && session.is_some() {
            return Err(Fault::SessionExpired);
        }
        if !status.is_success() {
            return refused(response, message, session.is_some()).await;
        }
        let session = text(&response, HEADER_SESSION_ID);
        match content_type(&response) {
            Some(kind) if kind.starts_with(EVENT_STREAM_MIME_TYPE) => {
                Ok(StreamableHttpPostResponse::Sse(events(response, event_limit), session))
            }
            Some(kind) if kind.starts_with(JSON_MIME_TYPE) => {
                let body = read(response, JSON_LIMIT).await?;
                match serde_json::from_slice(&body) {
                    Ok(answer) => Ok(StreamableHttpPostResponse::Json(answer, session)),
                    Err(_) if !awaits_answer(message) => Ok(StreamableHttpPostResponse::Accepted),
                    Err(_) => Err(Fault::UnexpectedServerResponse("the answer is not JSON-RPC".into())),
                }
            }
            // Some servers say 200 and nothing where 202 is meant.
            _ if !awaits_answer(message) => Ok(StreamableHttpPostResponse::Accepted),
            kind => Err(Fault::UnexpectedContentType(kind)),
        }
    }

    async fn listen(
        &self,
        uri: &str,
        session: Option<&str>,
        last_event: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
        event_limit: usize,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Fault> {
        let mut request = self.client.get(uri).header(ACCEPT, accepts());
        if let Some(last_event) = last_event {
            request = request.header(HEADER_LAST_EVENT_ID, last_event);
        }
        let response = send(self.prepare(request, uri, session, headers)?).await?;
        match response.status() {
            StatusCode::METHOD_NOT_ALLOWED => Err(Fault::ServerDoesNotSupportSse),
            status if !status.is_success() => Err(Fault::Client(HttpFault::Status(status.as_u16()))),
            _ => match content_type(&response) {
                Some(kind) if kind.starts_with(EVENT_STREAM_MIME_TYPE) => Ok(events(response, event_limit)),
                kind => Err(Fault::UnexpectedContentType(kind)),
            },
        }
    }
}

impl StreamableHttpClient for ServerClient {
    type Error = HttpFault;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _auth_header: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Fault> {
        self.post(&uri, &message, session.as_deref(), headers, EVENT_LIMIT).await
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _auth_header: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
        event_limit: usize,
    ) -> Result<StreamableHttpPostResponse, Fault> {
        self.post(&uri, &message, session.as_deref(), headers, event_limit).await
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        _auth_header: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Fault> {
        let response = send(self.prepare(self.client.delete(&*uri), &uri, Some(&session), headers)?).await?;
        match response.status() {
            status if status.is_success() => Ok(()),
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND => Ok(()),
            status => Err(Fault::Client(HttpFault::Status(status.as_u16()))),
        }
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        _auth_header: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Fault> {
        self.listen(&uri, session.as_deref(), last_event, headers, EVENT_LIMIT).await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        _auth_header: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
        event_limit: usize,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Fault> {
        self.listen(&uri, session.as_deref(), last_event, headers, event_limit).await
    }
}

fn accepts() -> String {
    format!("{JSON_MIME_TYPE}, {EVENT_STREAM_MIME_TYPE}")
}

fn text(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

fn content_type(response: &Response) -> Option<String> {
    text(response, CONTENT_TYPE.as_str()).map(|kind| kind.to_ascii_lowercase())
}

fn awaits_answer(message: &ClientJsonRpcMessage) -> bool {
    matches!(message, ClientJsonRpcMessage::Request(_))
}

/// Sends a request; `401` and a `403` that asks for scopes come back as their own errors.
async fn send(request: RequestBuilder) -> Result<Response, Fault> {
    let response = request.send().await.map_err(connection)?;
    let challenges: Vec<_> =
        response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).collect();
    let all = challenges.join(", ");
    match response.status() {
        StatusCode::UNAUTHORIZED => Err(Fault::AuthRequired(AuthRequiredError::new(all))),
        StatusCode::FORBIDDEN if Hints::read(challenges).error.as_deref() == Some("insufficient_scope") => {
            Err(Fault::InsufficientScope(InsufficientScopeError::new(all, None)))
        }
        _ => Ok(response),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "shape of map_err")]
fn connection(error: reqwest::Error) -> Fault {
    Fault::Client(HttpFault::Connection(cause(&error)))
}

/// What a refusal means. A server of the older era answers the newer era's first question with an error of its own
/// making, whose id may not be ours: it is given ours, so that the older handshake is tried next.
async fn refused(
    response: Response,
    message: &ClientJsonRpcMessage,
    has_session: bool,
) -> Result<StreamableHttpPostResponse, Fault> {
    let status = response.status();
    let is_json = content_type(&response).is_some_and(|kind| kind.starts_with(JSON_MIME_TYPE));
    let body = if is_json { read(response, ERROR_LIMIT).await.unwrap_or_default() } else { Vec::new() };
    let answer = serde_json::from_slice::<ServerJsonRpcMessage>(&body).ok();
    let error = match &answer {
        Some(ServerJsonRpcMessage::Error(error)) => Some(error.error.clone()),
        _ => None,
    };
    if let ClientJsonRpcMessage::Request(request) = message {
        let asks_for_era = matches!(request.request, ClientRequest::DiscoverRequest(_)) && !has_session;
        if asks_for_era && status.is_client_error() && status != StatusCode::FORBIDDEN {
            let error = error.unwrap_or_else(|| ErrorData::invalid_request(format!("HTTP {}", status.as_u16()), None));
            let answer = ServerJsonRpcMessage::error(error, Some(request.id.clone()));
            return Ok(StreamableHttpPostResponse::Json(answer, None));
        }
    }
    match answer {
        Some(answer @ ServerJsonRpcMessage::Error(_)) if status != StatusCode::FORBIDDEN => {
            Ok(StreamableHttpPostResponse::Json(answer, None))
        }
        _ if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
            Err(HttpStatusError::new(status.as_u16(), None).into())
        }
        _ => Err(Fault::Client(HttpFault::Status(status.as_u16()))),
    }
}

async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(connection)? {
        if body.len() + chunk.len() > limit {
            return Err(Fault::ResponseBodyTooLarge { max_size: limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Events of a stream, each at most `limit` bytes long before it is parsed.
fn events(response: Response, limit: usize) -> BoxStream<'static, Result<Sse, SseError>> {
    let mut size = EventSize { limit, length: 0, after_newline: false };
    let bounded = response.bytes_stream().map(move |chunk| {
        let chunk = chunk.map_err(|error| std::io::Error::other(cause(&error)))?;
        if size.fits(&chunk) { Ok(chunk) } else { Err(std::io::Error::other("an event is too long")) }
    });
    SseStream::from_bytes_stream(bounded).boxed()
}

/// Counts the bytes of the event that is being received.
struct EventSize {
    limit: usize,
    length: usize,
    after_newline: bool,
}

impl EventSize {
    fn fits(&mut self, chunk: &[u8]) -> bool {
        chunk.iter().all(|byte| {
            match byte {
                // A blank line ends an event.
                b'\n' if self.after_newline => self.length = 0,
                b'\n' => self.after_newline = true,
                b'\r' => {}
                _ => self.after_newline = false,
            }
            self.length += 1;
            self.length <= self.limit
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dsc_12_the_token_is_for_one_origin() {
        let client = ServerClient::new(Client::new(), "https://mcp.example/mcp", Some(Secret::new("hunter2".into())));
        let prepare = |uri: &str| client.prepare(client.client.get(uri), uri, None, HashMap::new());
        let request = prepare("https://mcp.example/other").unwrap().build().unwrap();
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer hunter2");
        assert!(!format!("{request:?} {client:?}").contains("hunter2"));
        for other in ["https://evil.example/mcp", "http://mcp.example/mcp", "https://mcp.example:8443/mcp"] {
            assert!(prepare(other).is_err(), "{other}");
        }
    }

    #[test]
    fn an_event_is_bounded_and_a_stream_is_not() {
        let mut size = EventSize { limit: 11, length: 0, after_newline: false };
        for _ in 0..100 {
            assert!(size.fits(b"data: 1\n\n"));
        }
        assert!(size.fits(b"data: 1\r\n\r\n"));
        assert!(!size.fits(b"data: 123456"));
    }
}
