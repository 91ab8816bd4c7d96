//! `GET /health`: whether the service can do its work, and `GET /ready`: whether to send it requests.

use std::sync::atomic::Ordering;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use serde_json::json;
use shared::state::{Change, Wanted};
use shared::time::Timestamp;

use super::app::App;
use super::reply;

/// 200 while the store answers and takes writes, else 503.
pub async fn get(app: Data<App>) -> HttpResponse {
    let well = readable(&app).await && writable(&app).await;
    let (status, word) = if well { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "degraded") };
    let body = json!({
        "status": word,
        "service": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "issuer": app.policy.issuer.as_str(),
        "auto_approve": app.policy.auto_approve.is_some(),
    });
    reply::json(status, &body)
}

/// 200 when a request that comes now would be served: for load balancers. Says which part is not ready.
pub async fn ready(app: Data<App>) -> HttpResponse {
    let stopping = app.stopping.load(Ordering::Relaxed);
    let readable = readable(&app).await;
    let writable = readable && writable(&app).await;
    let published = app.public_keys().is_ok_and(|keys| {
        let signing = app.keys.signing();
        signing.iter().all(|key| keys.iter().any(|public| public.id == key.kid))
    });
    let ready = !stopping && readable && writable && published;
    let body = json!({
        "ready": ready,
        "checks": { "store_readable": readable, "store_writable": writable, "keys": published, "stopping": stopping },
    });
    reply::json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
}

async fn readable(app: &App) -> bool {
    match app.store.load(&Wanted::default()).await {
        Ok(_) => true,
        Err(cause) => {
            tracing::error!(endpoint = "health", %cause, "the store does not answer");
            false
        }
    }
}

/// Whether the store takes writes. After a commit that failed one is tried that changes nothing, so that a service to
/// which nobody sends requests any more notices that the disk is well again.
async fn writable(app: &App) -> bool {
    if let Err(cause) = app.store.writable() {
        tracing::error!(endpoint = "health", %cause, "the store does not take writes");
        return false;
    }
    if !app.store_failed.load(Ordering::Relaxed) {
        return true;
    }
    let nothing = Change::Swept { before: Timestamp(0), unused_clients: Timestamp(0) };
    app.commit(vec![nothing]).await.is_ok()
}
