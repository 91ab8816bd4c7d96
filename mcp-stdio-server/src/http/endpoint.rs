//! `/mcp`: what comes by POST, GET and DELETE, and the statuses that go back.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::receive::{LAST_EVENT, SESSION, VERSION, accepts, admitted, body, for_us, heads, read, session_name, text};
use super::reply::{Refused, busy, failure, json_answer, no_session, readable, refuse, rejected};
use super::request::{self, Way, sort};
use super::routes::What;
use super::session::{Principal, Reading, Session, Unsent};
use super::stream::stream;
use super::track::EventId;
use super::{Asker, Denied, Front, Holder};
use crate::audit::Origin;
use crate::credential;
use crate::era::Era;
use crate::wrap::eras::MODERN;
use crate::wrap::message::{Id, Message, arguments, meta_mut, param, params_mut};

/// An answer that takes longer becomes a stream, so that nothing on the way takes the connection for dead.
const AT_ONCE: Duration = Duration::from_secs(2);

/// How long a server may take to greet: package runners download it first.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// What the metadata document takes.
const METADATA_METHODS: &str = "GET, OPTIONS";

/// What the endpoint takes.
const METHODS: &str = "POST, GET, DELETE, OPTIONS";

/// Request headers that pages may send.
const HEADERS: &str = "Authorization, Content-Type, Accept, MCP-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name, \
                       Last-Event-ID";

/// `POST`: one message.
pub async fn post(front: Data<Front>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    let front = front.into_inner();
    let origin = match admitted(&front, &http) {
        Ok(origin) => origin,
        Err(response) => return *response,
    };
    let body = body(&http, &mut payload).await;
    let answer = match posted(&front, &http, body).await {
        Ok(response) => response,
        Err(response) => *response,
    };
    readable(answer, origin)
}

/// `GET`: what a session says of itself, or the rest of a stream whose connection broke off.
pub async fn get(front: Data<Front>, http: HttpRequest) -> HttpResponse {
    let front = front.into_inner();
    let origin = match admitted(&front, &http) {
        Ok(origin) => origin,
        Err(response) => return *response,
    };
    let answer = match listened(&front, &http).await {
        Ok(response) => response,
        Err(response) => *response,
    };
    readable(answer, origin)
}

/// `DELETE`: the end of a session.
pub async fn delete(front: Data<Front>, http: HttpRequest) -> HttpResponse {
    let front = front.into_inner();
    let origin = match admitted(&front, &http) {
        Ok(origin) => origin,
        Err(response) => return *response,
    };
    let answer = match addressed(&front, &http).await {
        Ok((name, ..)) => {
            front.sessions.end(&name);
            HttpResponse::NoContent().finish()
        }
        Err(response) => *response,
    };
    readable(answer, origin)
}

/// `OPTIONS`: what pages of known origins may send.
pub async fn preflight(front: Data<Front>, http: HttpRequest) -> HttpResponse {
    let front = front.into_inner();
    match admitted(&front, &http) {
        Ok(origin) => {
            let mut response = HttpResponse::NoContent();
            response.insert_header((ALLOW, METHODS));
            response.insert_header(("Access-Control-Allow-Methods", METHODS));
            response.insert_header(("Access-Control-Allow-Headers", HEADERS));
            readable(response.finish(), origin)
        }
        Err(response) => *response,
    }
}

/// Any other method.
pub async fn refuse_method(mut payload: Payload, http: HttpRequest) -> HttpResponse {
    drop(body(&http, &mut payload).await);
    let mut response = failure(405, "invalid_request", &format!("this endpoint takes {METHODS}"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
    *response
}

/// The metadata document, which pages of every origin may read.
pub async fn metadata(front: Data<Front>, http: HttpRequest) -> HttpResponse {
    let mut response = match for_us(&front, &http) {
        Ok(()) => HttpResponse::Ok()
            .insert_header((CACHE_CONTROL, "public, max-age=300"))
            .insert_header(("X-Content-Type-Options", "nosniff"))
            .json(front.document().await),
        Err(response) => *response,
    };
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// Whatever else is asked of the document: its preflight, or nothing.
pub async fn metadata_methods(front: Data<Front>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    drop(body(&http, &mut payload).await);
    let mut response = match for_us(&front, &http) {
        Ok(()) if http.method() == Method::OPTIONS => HttpResponse::NoContent()
            .insert_header(("Access-Control-Allow-Methods", METADATA_METHODS))
            .insert_header(("Access-Control-Allow-Headers", "MCP-Protocol-Version"))
            .insert_header(("X-Content-Type-Options", "nosniff"))
            .finish(),
        Ok(()) => {
            let mut response = failure(405, "invalid_request", "this document takes GET");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(METADATA_METHODS));
            *response
        }
        Err(response) => *response,
    };
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// What leads nowhere.
pub async fn not_found(front: Data<Front>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    drop(body(&http, &mut payload).await);
    match for_us(&front, &http) {
        Ok(()) => *failure(404, "not_found", "there is nothing here"),
        Err(response) => *response,
    }
}

type Answer = Result<HttpResponse, Refused>;

async fn posted(front: &Arc<Front>, http: &HttpRequest, body: Result<Bytes, Refused>) -> Answer {
    let asker = front.asker(http).await.map_err(|denied| refuse(front, &denied))?;
    let message = body.and_then(|body| read(http, &body));
    // Without a token nothing is told of what came, unless that is open.
    let message = match (&asker, message) {
        (None, Err(_)) if !front.open => {
            front.admits(None, "", None).map_err(|denied| refuse(front, &denied))?;
            return Err(failure(400, "invalid_request", "the request cannot be read"));
        }
        (_, message) => message?,
    };
    let (method, name) = match &message {
        Message::Request(_, method, members) => (method.as_str(), named(method, members)),
        Message::Notification(method, _) => (method.as_str(), None),
        Message::Response(..) | Message::Empty => ("notifications/", None),
    };
    if let Err(denied) = front.admits(asker.as_ref(), method, name.as_deref()) {
        note(front, http, (asker.as_ref(), &denied), &message);
        return Err(refuse(front, &denied));
    }
    let heads = heads(http).map_err(|rejection| rejected(&rejection, id_of(&message)))?;
    let way = sort(&message, heads).map_err(|rejection| rejected(&rejection, id_of(&message)))?;
    let wanted = name;
    let name = match way {
        Way::Session => Some(session_name(http)?),
        Way::Initialize | Way::Alone => None,
    };
    let principal = asker.as_ref().map(|asker| asker.principal.clone());
    let session = match (way, &name) {
        (_, Some(name)) => front.sessions.find(name, principal.as_ref()).ok_or_else(no_session)?,
        (Way::Alone, None) => match message {
            Message::Request(..) => shared(front, principal)?,
            // The modern era has no messages of clients that are no requests, except ones that nobody need know.
            _ => return Ok(HttpResponse::Accepted().finish()),
        },
        (..) => return begun(front, asker, message).await,
    };
    if way == Way::Alone {
        check_parameters(front, http, &message)?;
    }
    match message {
        Message::Request(id, method, members) => {
            let reading = ask(&session, id, with_token(members, &method, asker.as_ref())).await?;
            let primes = request::primes(heads.version);
            let holder = asker.map(|asker| asker.holder(&method));
            Ok(answered(front, reading, What { method, name: wanted }, holder, primes).await)
        }
        Message::Notification(_, members) | Message::Response(_, members) => {
            session.tell(members).await.map_err(|_| no_session())?;
            Ok(HttpResponse::Accepted().finish())
        }
        Message::Empty => Ok(HttpResponse::Accepted().finish()),
    }
}

/// Writes down a call that is refused here: the server behind never sees it.
fn note(front: &Front, http: &HttpRequest, (asker, denied): (Option<&Asker>, &Denied), message: &Message) {
    let (Some(asker), Denied::Challenge(challenge, _)) = (asker, denied) else { return };
    let Message::Request(_, method, members) = message else { return };
    let Some(name) = named(method, members) else { return };
    let is_modern = text(http, &VERSION).ok().flatten() == Some(MODERN);
    let era = if is_modern { Era::Modern } else { Era::Legacy };
    let origin = Origin::of(era, param(members, "_meta").and_then(Value::as_object));
    front.note(asker, challenge, (method, &name), &arguments(method, members), &origin);
}

/// Begins a session with its `initialize`.
async fn begun(front: &Arc<Front>, asker: Option<Asker>, message: Message) -> Answer {
    let Message::Request(id, method, members) = message else { return Err(no_session()) };
    let principal = asker.as_ref().map(|asker| asker.principal.clone());
    let (name, session) = front.sessions.begin(principal).map_err(|_| busy())?;
    let mut reading = ask(&session, id, with_token(members, &method, asker.as_ref())).await?;
    // A handshake is one message; what else is said before it belongs to nobody.
    let answer = async {
        loop {
            match reading.inbox().next().await {
                Some((_, said)) if !said.is_answer => {}
                said => return said.map(|(_, said)| said),
            }
        }
    };
    let Ok(Some(said)) = timeout(HANDSHAKE, answer).await else {
        front.sessions.end(&name);
        return Err(failure(502, "server_error", "the server behind this address does not answer"));
    };
    let mut response = json_answer(StatusCode::OK);
    if said.code.is_some() {
        front.sessions.end(&name);
    } else {
        response.insert_header((SESSION, name));
    }
    Ok(response.body(said.json.clone()))
}

fn shared(front: &Front, principal: Option<Principal>) -> Result<Arc<Session>, Refused> {
    front.sessions.shared(principal).map_err(|_| busy())
}

async fn ask(session: &Arc<Session>, id: Id, message: Map<String, Value>) -> Result<Reading, Refused> {
    session.ask(id, message).await.map_err(|unsent| match unsent {
        Unsent::Gone => no_session(),
        Unsent::TooMany => busy(),
        Unsent::Twice => failure(400, "invalid_request", "a request with this id is still under way"),
    })
}

/// The answer to a request: JSON when it is one message and comes soon, else a stream.
async fn answered(
    front: &Arc<Front>,
    mut reading: Reading,
    what: What,
    holder: Option<Holder>,
    primes: bool,
) -> HttpResponse {
    let said = match timeout(AT_ONCE, reading.inbox().ready()).await {
        Ok(Some(true)) => reading.inbox().next().await,
        Ok(None) if reading.is_over() => None,
        // Cancelled: no answer is the answer.
        Ok(None) => return stream(front, reading, false, holder),
        Ok(Some(false)) | Err(_) => {
            reading.keep(what);
            return stream(front, reading, primes, holder);
        }
    };
    match said {
        Some((_, said)) => {
            let status = if reading.is_modern() { request::status(said.code) } else { 200 };
            json_answer(StatusCode::from_u16(status).unwrap_or_default()).body(said.json.clone())
        }
        None => *failure(502, "server_error", "the server behind this address has ended"),
    }
}

async fn listened(front: &Arc<Front>, http: &HttpRequest) -> Answer {
    if text(http, &VERSION).ok().flatten() == Some(MODERN) {
        front.asker(http).await.map_err(|denied| refuse(front, &denied))?;
        let mut response = failure(405, "invalid_request", "protocol version 2026-07-28 has no stream by GET");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Err(response);
    }
    let (_, session, asker) = addressed(front, http).await?;
    if !accepts(http, "text/event-stream") {
        return Err(failure(406, "invalid_request", "Accept must list text/event-stream"));
    }
    let primes = request::primes(text(http, &VERSION).ok().flatten());
    let (reading, method) = match text(http, &LAST_EVENT).map_err(|rejection| rejected(&rejection, None))? {
        None => (session.listen(), None),
        Some(event) => {
            let unknown = || failure(400, "invalid_request", "there is no such event in this session, or no longer");
            let event: EventId = event.parse().map_err(|_| unknown())?;
            let found = session.resume(event).ok_or_else(unknown)?;
            // What was asked with a token that opened it is not read with one that does not.
            if let Some(What { method, name }) = &found.what {
                front.admits(asker.as_ref(), method, name.as_deref()).map_err(|denied| refuse(front, &denied))?;
            }
            let method = found.what.as_ref().map(|what| what.method.clone());
            (found.read(), method)
        }
    };
    let holder = asker.map(|asker| match method {
        Some(method) => asker.holder(&method),
        None => Holder::Token(asker.token),
    });
    Ok(stream(front, reading, primes, holder))
}

/// The session that a request names, for whoever may use it.
async fn addressed(front: &Arc<Front>, http: &HttpRequest) -> Result<(String, Arc<Session>, Option<Asker>), Refused> {
    let asker = front.asker(http).await.map_err(|denied| refuse(front, &denied))?;
    front.admits(asker.as_ref(), "ping", None).map_err(|denied| refuse(front, &denied))?;
    let version = text(http, &VERSION).map_err(|rejection| rejected(&rejection, None))?;
    request::known(version).map_err(|rejection| rejected(&rejection, None))?;
    let name = session_name(http)?;
    let session = front.sessions.find(&name, asker.as_ref().map(|asker| &asker.principal)).ok_or_else(no_session)?;
    Ok((name, session, asker))
}

/// A message with the token of the header where the server behind looks for one, and without any other.
fn with_token(mut message: Map<String, Value>, method: &str, asker: Option<&Asker>) -> Map<String, Value> {
    let has_meta = param(&message, "_meta").is_some_and(Value::is_object);
    // The handshake needs none, and the server behind would have to take it out of what it passes on.
    if let Some(asker) = asker.filter(|_| method != "initialize") {
        let meta = meta_mut(params_mut(&mut message));
        meta.insert(credential::META_MEMBER.to_owned(), asker.token.expose().into());
    } else if has_meta {
        meta_mut(params_mut(&mut message)).remove(credential::META_MEMBER);
    }
    message
}

/// What a request is about.
fn named(method: &str, message: &Map<String, Value>) -> Option<String> {
    let member = if method.starts_with("resources/") { "uri" } else { "name" };
    param(message, member).and_then(Value::as_str).map(str::to_owned)
}

fn id_of(message: &Message) -> Option<&Id> {
    match message {
        Message::Request(id, ..) => Some(id),
        _ => None,
    }
}

fn check_parameters(front: &Front, http: &HttpRequest, message: &Message) -> Result<(), Refused> {
    let Message::Request(id, method, members) = message else { return Ok(()) };
    let Some(tool) = named(method, members).filter(|_| method == "tools/call") else { return Ok(()) };
    let Some(schema) = front.sessions.backend().input(&tool) else { return Ok(()) };
    let header = |name: &str| http.headers().get(name).map(|value| value.to_str().map_err(drop));
    request::mirrored(&schema, param(members, "arguments"), &header).map_err(|found| rejected(&found, Some(id)))
}
