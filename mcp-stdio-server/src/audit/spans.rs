//! Calls as spans for OpenTelemetry: OTLP over HTTP as JSON, to the collector that the environment names.
//!
//! A call becomes a span of the trace that its caller says it belongs to, or of one of its own. A collector that is slow or
//! gone costs spans and nothing else. Without TLS: a collector stands on this machine, or in front of one that is elsewhere.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::secret::random_bytes;
use shared::state::Kind;
use shared::store::calls::{Bearer, Decision, End, Outcome};
use shared::time::unix_nanos;
use shared::uri::Parts;

use super::queue::Item;

/// Where OpenTelemetry's collector is, and what this server is called there (OpenTelemetry, OTLP exporter configuration).
pub const ENDPOINT_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The same, for traces alone: the whole URL.
pub const TRACES_ENDPOINT_VARIABLE: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
/// What this server is called.
pub const SERVICE_VARIABLE: &str = "OTEL_SERVICE_NAME";

/// So many batches may wait for the collector.
const BATCHES: usize = 8;

/// So many spans go at once.
const MANY: usize = 512;

/// How long the collector may take to take a connection, and to take a batch.
const PATIENCE: Duration = Duration::from_secs(2);

/// A collector.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Collector {
    host: String,
    port: u16,
    path: String,
    service: String,
}

/// Why a URL names no collector that we can reach.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("spans go to a collector at http://HOST:PORT only")]
pub struct NotACollector;

/// The collector that the environment names, by OpenTelemetry's own variables. One that is none is said to be, and left.
/// `program` is what the server is called there if the environment does not say.
pub fn from_environment(program: &str) -> Option<Collector> {
    let variable = |name| std::env::var(name).ok();
    let (endpoint, traces) = (variable(ENDPOINT_VARIABLE), variable(TRACES_ENDPOINT_VARIABLE));
    let service = variable(SERVICE_VARIABLE).filter(|name| !name.is_empty());
    Collector::of(endpoint.as_deref(), traces.as_deref(), service.as_deref().unwrap_or(program))
        .inspect_err(|error| tracing::warn!(%error, "calls are not told to OpenTelemetry"))
        .ok()
        .flatten()
}

impl Collector {
    /// The collector of these variables' values. `None` when they name none.
    ///
    /// # Errors
    /// When the URL is not of a form that we can use.
    pub fn of(endpoint: Option<&str>, traces: Option<&str>, service: &str) -> Result<Option<Self>, NotACollector> {
        let some = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let joined = |base: String| format!("{}/v1/traces", base.trim_end_matches('/'));
        let Some(url) = some(traces).or_else(|| some(endpoint).map(joined)) else { return Ok(None) };
        let parts =
            Parts::of(&url).filter(|parts| parts.scheme == "http" && !url.contains(['@', '#', ' ', '\r', '\n']));
        let parts = parts.ok_or(NotACollector)?;
        let host = parts.host().filter(|host| !host.is_empty()).ok_or(NotACollector)?.to_owned();
        let port = parts.port().map_or(Ok(80), |port| port.parse().map_err(|_| NotACollector))?;
        let query = parts.query.map(|query| format!("?{query}")).unwrap_or_default();
        let path = format!("{}{query}", if parts.path.is_empty() { "/" } else { parts.path });
        Ok(Some(Self { host, port, path, service: service.to_owned() }))
    }

    /// Sends one batch.
    fn send(&self, spans: &[Value]) -> io::Result<()> {
        let body = self.body(spans).to_string();
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        let mut found = Err(io::Error::from(io::ErrorKind::NotFound));
        for address in (bare, self.port).to_socket_addrs()? {
            found = TcpStream::connect_timeout(&address, PATIENCE);
            if found.is_ok() {
                break;
            }
        }
        let mut stream = found?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let (host, port, path, length) = (&self.host, self.port, &self.path, body.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut status = String::new();
        BufReader::new(io::Read::take(stream, 1024)).read_line(&mut status)?;
        match status.split(' ').nth(1) {
            Some(code) if code.starts_with('2') => Ok(()),
            _ => Err(io::Error::other("the collector refused them")),
        }
    }

    fn body(&self, spans: &[Value]) -> Value {
        json!({ "resourceSpans": [{
            "resource": { "attributes": [attribute("service.name", &self.service)] },
            "scopeSpans": [{
                "scope": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
                "spans": spans,
            }],
        }] })
    }
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// The attribute that names what was used (OpenTelemetry, semantic conventions for MCP).
const fn subject(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Tool => Some("gen_ai.tool.name"),
        Kind::Resource => Some("mcp.resource.uri"),
        Kind::Prompt => Some("gen_ai.prompt.name"),
        Kind::Task => None,
    }
}

/// The way to a collector.
pub(super) struct Spans {
    batches: Option<SyncSender<Vec<Value>>>,
    sending: Option<JoinHandle<()>>,
    pending: Vec<Value>,
    /// A moment on both clocks.
    zero: (Instant, u64),
}

impl Spans {
    pub(super) fn start(collector: Collector) -> io::Result<Self> {
        let (batches, waiting) = sync_channel(BATCHES);
        let send = move || send_all(&collector, &waiting);
        let sending = thread::Builder::new().name("spans".to_owned()).stack_size(256 * 1024).spawn(send)?;
        let zero = (Instant::now(), unix_nanos());
        Ok(Self { batches: Some(batches), sending: Some(sending), pending: Vec::new(), zero })
    }

    /// Adds a call that has ended, or that was refused. One whose trace nobody records is left out.
    pub(super) fn add(&mut self, item: &Item, end: Option<End>) {
        if item.trace.as_ref().is_some_and(|trace| !trace.is_sampled()) {
            return;
        }
        let span = self.span(item, end);
        self.pending.push(span);
        if self.pending.len() >= MANY {
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        let batch = std::mem::take(&mut self.pending);
        if let Some(batches) = self.batches.as_ref().filter(|_| !batch.is_empty()) {
            // One that does not fit is lost.
            let _ = batches.try_send(batch);
        }
    }

    fn span(&self, item: &Item, end: Option<End>) -> Value {
        let (zero, nanos) = self.zero;
        let since = u64::try_from(item.begun.saturating_duration_since(zero).as_nanos()).unwrap_or_default();
        let start = nanos + since;
        let until = start + end.map_or(0, |end| end.us.saturating_mul(1000));
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let trace = item.trace.as_deref();
        let mut attributes = vec![
            attribute("mcp.method.name", &item.method),
            attribute("authz.server", item.server.as_str()),
            attribute("authz.decision", item.decision.word()),
        ];
        attributes.extend(subject(item.kind).map(|key| attribute(key, &item.name)));
        attributes.extend(item.cause.map(|cause| attribute("authz.cause", cause)));
        let bearer = item.bearer.as_ref();
        attributes.extend(bearer.and_then(Bearer::grant).map(|grant| attribute("authz.grant", &grant.to_string())));
        attributes.extend(bearer.and_then(Bearer::issuer).map(|issuer| attribute("authz.issuer", issuer.as_str())));
        let failed = item.decision == Decision::Refused || end.is_some_and(|end| end.outcome != Outcome::Ok);
        json!({
            "traceId": trace.map_or_else(|| hex(&random_bytes::<16>()), |trace| trace.id().to_owned()),
            "spanId": hex(&random_bytes::<8>()),
            "parentSpanId": trace.map(|trace| trace.span()).unwrap_or_default(),
            "traceState": trace.and_then(|trace| trace.state.as_ref()).map_or("", |state| state.as_str()),
            "name": match item.kind {
                // There may be many of them (OpenTelemetry, semantic conventions for MCP: a name has few values).
                Kind::Resource | Kind::Task => item.method.to_string(),
                Kind::Tool | Kind::Prompt => format!("{} {}", item.method, item.name),
            },
            // SPAN_KIND_SERVER.
            "kind": 2,
            "startTimeUnixNano": start.to_string(),
            "endTimeUnixNano": until.to_string(),
            "attributes": attributes,
            // STATUS_CODE_ERROR, STATUS_CODE_UNSET.
            "status": { "code": if failed { 2 } else { 0 } },
        })
    }
}

impl Drop for Spans {
    fn drop(&mut self) {
        self.flush();
        self.batches = None;
        if let Some(sending) = self.sending.take() {
            let _ = sending.join();
        }
    }
}

fn send_all(collector: &Collector, batches: &Receiver<Vec<Value>>) {
    let mut ailing = false;
    while let Ok(batch) = batches.recv() {
        match collector.send(&batch) {
            Ok(()) => ailing = false,
            Err(error) => {
                if !std::mem::replace(&mut ailing, true) {
                    tracing::warn!(%error, "spans do not reach the collector");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use shared::secret::TokenHash;
    use shared::time::Timestamp;
    use shared::uri::Resource;

    use super::*;
    use crate::audit::{Progress, Transport};
    use crate::era::Era;

    #[test]
    fn n12_a_span_is_named_as_opentelemetry_names_calls_of_its_kind() {
        let collector = Collector::of(Some("http://127.0.0.1:9"), None, "s").unwrap().unwrap();
        let spans = Spans::start(collector).unwrap();
        for (kind, method, name, span, key) in [
            (Kind::Tool, "tools/call", "look", "tools/call look", "gen_ai.tool.name"),
            (Kind::Prompt, "prompts/get", "ask", "prompts/get ask", "gen_ai.prompt.name"),
            (Kind::Prompt, "completion/complete", "ask", "completion/complete ask", "gen_ai.prompt.name"),
            (Kind::Resource, "resources/read", "x://1", "resources/read", "mcp.resource.uri"),
            (Kind::Task, "tasks/get", "tasks/get", "tasks/get", "mcp.method.name"),
        ] {
            let made = spans.span(&item(kind, method, name), None);
            assert_eq!(made["name"], span);
            let value = |key: &str| {
                let found = made["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == key);
                found.unwrap_or_else(|| panic!("{key} in {made}"))["value"]["stringValue"].clone()
            };
            assert_eq!((value(key), value("mcp.method.name")), (name.into(), method.into()));
        }
    }

    fn item(kind: Kind, method: &str, name: &str) -> Item {
        Item {
            server: Resource::stdio("a").unwrap(),
            kind,
            name: name.into(),
            method: method.into(),
            decision: Decision::Open,
            cause: None,
            bearer: None,
            arguments: TokenHash::of(b""),
            transport: Transport::Stdio,
            era: Era::Modern,
            trace: None,
            at: Timestamp(0),
            begun: Instant::now(),
            progress: Progress::default(),
            has_ended: AtomicBool::new(false),
        }
    }

    #[test]
    fn n12_a_collector_is_named_as_opentelemetry_says() {
        let of =
            |endpoint, traces| Collector::of(endpoint, traces, "s").map(|found| found.map(|it| (it.port, it.path)));
        assert_eq!(of(None, Some("")), Ok(None));
        assert_eq!(of(Some("http://localhost:4318"), None), Ok(Some((4318, "/v1/traces".to_owned()))));
        assert_eq!(of(Some("http://localhost:4318/a/"), None), Ok(Some((4318, "/a/v1/traces".to_owned()))));
        assert_eq!(of(Some("http://x:1"), Some("http://[::1]/y?z=1")), Ok(Some((80, "/y?z=1".to_owned()))));
        for bad in ["https://x", "x", "http://", "http://a@b/", "http://x:y", "http://x/\r\nA: b"] {
            assert_eq!(of(Some(bad), None), Err(NotACollector), "{bad}");
        }
    }
}
