//! `GET /clients/{name}.json`: metadata documents of the operator's own clients, for other authorization servers.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use shared::state::Wanted;

use super::app::App;
use super::reply;
use crate::protocol::operator;

const ENDPOINT: &str = "clients";

/// The document.
pub async fn get(app: Data<App>, http: HttpRequest) -> HttpResponse {
    let name = http.match_info().get("name").unwrap_or_default();
    let Ok(id) = operator::published_id(name, &app.policy.issuer) else { return absent() };
    let facts = match app.store.load(&Wanted { client: Some(id), ..Wanted::default() }).await {
        Ok(facts) => facts,
        Err(error) => return reply::failed(&app, ENDPOINT, &error.into()),
    };
    match facts.client.as_ref().and_then(operator::document) {
        Some(document) => HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, "application/json"))
            .insert_header((CACHE_CONTROL, "public, max-age=300"))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .body(document.to_string()),
        None => absent(),
    }
}

fn absent() -> HttpResponse {
    let body = json!({ "error": "not_found", "error_description": "there is no such document" });
    reply::json(StatusCode::NOT_FOUND, &body)
}
