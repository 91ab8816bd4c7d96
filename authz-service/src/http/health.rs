//! `GET /health`: whether the service can do its work.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use serde_json::json;
use shared::state::Wanted;

use super::app::App;
use super::reply;

/// 200 while the store answers, else 503.
pub async fn get(app: Data<App>) -> HttpResponse {
    let (status, word) = match app.store.load(&Wanted::default()).await {
        Ok(_) => (StatusCode::OK, "ok"),
        Err(cause) => {
            tracing::error!(endpoint = "health", %cause, "the store does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "degraded")
        }
    };
    let body = json!({
        "status": word,
        "service": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "issuer": app.policy.issuer.as_str(),
        "auto_approve": app.policy.auto_approve.is_some(),
    });
    reply::json(status, &body)
}
