//! The well-known documents and the public keys (RFC 8414, RFC 7517).

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::app::{App, Failure};
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

/// `GET /.well-known/oauth-protected-resource` and the same with a resource's path behind it (RFC 9728 section 3.1).
pub async fn resource(app: Data<App>, http: HttpRequest) -> HttpResponse {
    let path = http.path().strip_prefix(RESOURCE).unwrap_or_default();
    match metadata::resource_document(&app.policy, path) {
        Some(found) => match serde_json::to_vec(&found) {
            Ok(bytes) => document(Bytes::from(bytes)),
            Err(error) => reply::failed(&app, "resource metadata", &Failure::Internal(error.to_string())),
        },
        None => {
            let body = json!({ "error": "not_found", "error_description": "no resource of this server has that path" });
            reply::json(StatusCode::NOT_FOUND, &body)
        }
    }
}

/// Where resources are described.
pub const RESOURCE: &str = "/.well-known/oauth-protected-resource";

/// `GET /oauth/jwks`.
pub async fn jwks(app: Data<App>) -> HttpResponse {
    match app.public_keys() {
        Ok(keys) => document(Bytes::from(metadata::jwks(&keys).to_string())),
        Err(error) => reply::failed(&app, "jwks", &error.into()),
    }
}
