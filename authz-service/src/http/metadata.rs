//! The well-known documents and the public keys (RFC 8414, RFC 7517).

use std::collections::BTreeSet;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use shared::oauth::metadata::AuthorizationServer;
use shared::scope::{Scope, Scopes};
use shared::state::{Announcement, State};

use super::app::{App, Failure};
use super::reply;
use crate::protocol::{Policy, metadata};

/// A document that may be kept for five minutes.
fn document(bytes: Bytes) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((CACHE_CONTROL, "public, max-age=300"))
        .body(bytes)
}

/// `GET /.well-known/oauth-authorization-server`.
pub async fn oauth(app: Data<App>) -> HttpResponse {
    described(&app, &app.documents.metadata, metadata::document)
}

/// `GET /.well-known/openid-configuration`.
pub async fn openid(app: Data<App>) -> HttpResponse {
    described(&app, &app.documents.openid, metadata::openid_document)
}

/// What this service says of itself, with the scopes that servers have for their own now. While the store cannot be read it
/// is what is always true.
fn described(app: &App, always: &Bytes, make: fn(&Policy, &BTreeSet<Scope>) -> AuthorizationServer) -> HttpResponse {
    let mut own = BTreeSet::new();
    if let Err(error) = app.store.read(&mut |state| own = state.own_scopes()) {
        tracing::debug!(%error, "the metadata name no scopes of servers' own");
    }
    if own.is_empty() {
        return document(always.clone());
    }
    written(app, "metadata", &make(&app.policy, &own))
}

fn written(app: &App, what: &'static str, found: &impl serde::Serialize) -> HttpResponse {
    match serde_json::to_vec(found) {
        Ok(bytes) => document(Bytes::from(bytes)),
        Err(error) => reply::failed(app, what, &Failure::Internal(error.to_string())),
    }
}

/// `GET /.well-known/oauth-protected-resource` and the same with a resource's path behind it (RFC 9728 section 3.1).
pub async fn resource(app: Data<App>, http: HttpRequest) -> HttpResponse {
    let path = http.path().strip_prefix(RESOURCE).unwrap_or_default();
    match metadata::described(&app.policy, path) {
        Some(resource) => {
            let mut own = Scopes::default();
            let mut look =
                |state: &State| own = state.announcement(&resource).map(Announcement::own_scopes).unwrap_or_default();
            if let Err(error) = app.store.read(&mut look) {
                tracing::debug!(%error, "the resource's metadata name no scopes of its own");
            }
            written(&app, "resource metadata", &metadata::resource_document(&app.policy, &resource, &own))
        }
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
