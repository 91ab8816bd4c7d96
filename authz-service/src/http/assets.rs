//! The files that pages load: one stylesheet, and one script on the pages where a passkey is made or used.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;

use super::pages;

/// `GET /assets/style.css`.
pub async fn style() -> HttpResponse {
    file("text/css; charset=utf-8", pages::STYLE)
}

/// `GET /assets/passkey.js`. Pages name it with the hash of what it holds, so that none gets the one of an earlier version.
pub async fn script() -> HttpResponse {
    file("text/javascript; charset=utf-8", pages::SCRIPT)
}

fn file(kind: &str, text: &'static str) -> HttpResponse {
    HttpResponse::build(StatusCode::OK)
        .insert_header(("Content-Type", kind))
        .insert_header(("Cache-Control", "public, max-age=3600"))
        .body(text)
}
