//! Figures for Prometheus, on a listener of their own: what was asked, what was answered, how long it took, what the
//! store holds. No label comes from a caller: paths are those of the table of routes, causes are names of ours.

use std::net::TcpListener;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data};
use actix_web::{App as Actix, Error, HttpResponse, HttpServer};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use shared::oauth::error::ErrorCode;
use shared::state::State;

use super::app::App;
use super::{gate, reply, routes};
use crate::protocol::Refusal;

/// Upper ends of the times that are told apart, in seconds.
const TIMES: [f64; 11] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Answered {
    endpoint: String,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Endpoint {
    endpoint: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Refused {
    endpoint: &'static str,
    error: &'static str,
    cause: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Kind {
    kind: &'static str,
}

/// What is counted.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    times: Family<Endpoint, Histogram>,
    refusals: Family<Refused, Counter>,
    commits: Family<Outcome, Counter>,
    commit_times: Histogram,
    records: Family<Kind, Gauge>,
    in_flight: Gauge,
    signing_keys: Gauge,
    store: Store,
}

/// Read from the store when somebody asks.
#[derive(Default)]
struct Store {
    batches: Gauge,
    commits: Gauge,
    lock_wait: Gauge<f64, AtomicU64>,
    bytes: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(TIMES);
        let mut metrics = Self {
            registry: Registry::with_prefix("authz"),
            requests: Family::default(),
            times: Family::new_with_constructor(histogram),
            refusals: Family::default(),
            commits: Family::default(),
            commit_times: histogram(),
            records: Family::default(),
            in_flight: Gauge::default(),
            signing_keys: Gauge::default(),
            store: Store::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("requests", "Requests that were answered", metrics.requests.clone());
        registry.register_with_unit(
            "request_time",
            "From a request's headers to its answer",
            Unit::Seconds,
            metrics.times.clone(),
        );
        registry.register("refusals", "Requests that were refused, by exact cause", metrics.refusals.clone());
        registry.register("commits", "Decisions that were given to the store", metrics.commits.clone());
        let help = "From a decision to its durability, waiting for lock, batch and disk";
        registry.register_with_unit("commit_time", help, Unit::Seconds, metrics.commit_times.clone());
        registry.register("records", "What the store holds", metrics.records.clone());
        registry.register("requests_in_flight", "Requests that are being answered", metrics.in_flight.clone());
        registry.register("signing_keys", "Keys that sign, or will", metrics.signing_keys.clone());
        let store = &metrics.store;
        registry.register("store_batches", "Batches that were written, one sync each", store.batches.clone());
        registry.register("store_commits", "Commits in those batches", store.commits.clone());
        let help = "How long the writer waited for the store's lock, in all";
        registry.register_with_unit("store_lock_wait", help, Unit::Seconds, store.lock_wait.clone());
        registry.register_with_unit("store_size", "The store on the disk", Unit::Bytes, store.bytes.clone());
        metrics
    }
}

impl Metrics {
    /// Counts an answer. `endpoint` is the pattern of the route, not the path that was asked for.
    pub fn answered(&self, endpoint: Option<String>, method: &str, status: u16, time: Duration) {
        const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("other");
        let endpoint = endpoint.unwrap_or_else(|| "none".to_owned());
        self.times.get_or_create(&Endpoint { endpoint: endpoint.clone() }).observe(time.as_secs_f64());
        self.requests.get_or_create(&Answered { endpoint, method, status }).inc();
    }

    /// Counts a refusal by the name of its cause; what the cause carries stays out.
    pub fn refused(&self, endpoint: &'static str, refusal: &Refusal) {
        let cause = cause(refusal);
        self.refusals.get_or_create(&Refused { endpoint, error: refusal.code().as_str(), cause }).inc();
    }

    /// Counts a commit.
    pub fn committed(&self, outcome: &'static str, time: Duration) {
        self.commits.get_or_create(&Outcome { outcome }).inc();
        self.commit_times.observe(time.as_secs_f64());
    }

    /// Everything as text.
    fn text(&self, app: &App) -> String {
        for (kind, count) in app.frozen().iter().flat_map(State::counts) {
            self.records.get_or_create(&Kind { kind }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let in_flight = app.in_flight.load(std::sync::atomic::Ordering::Relaxed);
        self.in_flight.set(i64::try_from(in_flight).unwrap_or(i64::MAX));
        self.signing_keys.set(i64::try_from(app.keys.signing().len()).unwrap_or(i64::MAX));
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let figures = app.store.figures();
        self.store.batches.set(whole(figures.batches));
        self.store.commits.set(whole(figures.commits));
        self.store.lock_wait.set(figures.lock_wait.as_secs_f64());
        self.store.bytes.set(whole(figures.bytes));
        let mut text = String::new();
        // Writing to memory does not fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

/// A refusal's name: that of its variant.
fn cause(refusal: &Refusal) -> String {
    let text = format!("{refusal:?}");
    text.chars().take_while(char::is_ascii_alphanumeric).collect()
}

/// The figures.
pub(super) async fn get(app: Data<App>) -> HttpResponse {
    match &app.metrics {
        Some(metrics) => HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8"))
            .insert_header(reply::NO_STORE)
            .body(metrics.text(&app)),
        None => HttpResponse::NotFound().finish(),
    }
}

async fn by_our_name(
    allowed: Option<Vec<String>>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut response = match gate::check_host(&request, allowed.as_deref()) {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err((status, text)) => request.into_response(reply::error(status, ErrorCode::InvalidRequest, text)),
    };
    gate::finish(response.headers_mut(), None);
    // One question a connection: nothing of an unread body is taken for the next.
    response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    Ok(response)
}

/// Serves `GET /metrics` on a listener of its own.
///
/// # Errors
/// When the listener cannot be used.
pub fn start(app: Data<App>, listener: TcpListener) -> std::io::Result<Server> {
    // What listens on this machine only is asked by its names only: no page that rebinds a name of its own reads the figures.
    let is_here = listener.local_addr()?.ip().is_loopback();
    let names = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
    let allowed = is_here.then(|| names.into_iter().chain(app.hosts.iter().flatten().cloned()).collect::<Vec<_>>());
    let factory = move || {
        let allowed = allowed.clone();
        Actix::new()
            .app_data(app.clone())
            .wrap(from_fn(move |request, next| by_our_name(allowed.clone(), request, next)))
            .service(routes::figures())
            .default_service(web::route().to(routes::not_found))
    };
    let server = HttpServer::new(factory).workers(1).disable_signals().shutdown_timeout(1);
    Ok(server.listen(listener)?.run())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c15_a_cause_is_a_name_of_ours_and_nothing_from_a_caller() {
        for (refusal, name) in [
            (Refusal::Body("<script> secret".into()), "Body"),
            (Refusal::Repeated("Authorization"), "Repeated"),
            (Refusal::PageExpired, "PageExpired"),
        ] {
            assert_eq!(cause(&refusal), name);
        }
        let metrics = Metrics::default();
        metrics.answered(None, "EVIL\"", 404, Duration::ZERO);
        let mut text = String::new();
        text::encode(&mut text, &metrics.registry).unwrap();
        assert!(text.contains("endpoint=\"none\",method=\"other\",status=\"404\""), "{text}");
    }
}
