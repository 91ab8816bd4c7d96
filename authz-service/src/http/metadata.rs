//! The well-known documents and the public keys (RFC 8414, RFC 7517).

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Bytes, Data};

use super::app::App;
use super::reply;
use crate::protocol::metadata;

/// A document that may be kept for five minutes.
fn document(bytes: Bytes) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((CACHE_CONTROL, "public, max-age=300"))
        .body(bytes)
}

/// `GET /.well-known/oauth-authorization-server`.
pub async fn oauth(app: Data<App>) -> HttpResponse {
    document(app.documents.metadata.clone())
}

/// `GET /.well-known/openid-configuration`.
pub async fn openid(app: Data<App>) -> HttpResponse {
    document(app.documents.openid.clone())
}

/// `GET /oauth/jwks`.
pub async fn jwks(app: Data<App>) -> HttpResponse {
    match app.public_keys() {
        Ok(keys) => document(Bytes::from(metadata::jwks(&keys).to_string())),
        Err(error) => reply::failed(&app, "jwks", &error.into()),
    }
}
