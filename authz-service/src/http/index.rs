//! `GET /`: what is here, as JSON for programs and as a page for people.

use actix_web::http::StatusCode;
use actix_web::http::header::ACCEPT;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::app::App;
use super::reply;
use crate::protocol::policy::Registration;

/// A line of the index.
pub struct Endpoint {
    /// What it is for.
    pub name: &'static str,
    /// Where it is.
    pub url: String,
}

const ENDPOINTS: [(&str, &str); 13] = [
    ("metadata", "/.well-known/oauth-authorization-server"),
    ("registration", "/register"),
    ("authorization", "/oauth/authorize"),
    ("token", "/oauth/token"),
    ("pushed_authorization", "/oauth/par"),
    ("device_authorization", "/oauth/device_authorization"),
    ("revocation", "/oauth/revoke"),
    ("introspection", "/oauth/introspect"),
    ("keys", "/oauth/jwks"),
    ("openid_configuration", "/.well-known/openid-configuration"),
    ("health", "/health"),
    ("documentation", "/docs"),
    ("openapi", "/openapi.json"),
];

/// The index.
pub async fn get(app: Data<App>, http: HttpRequest) -> HttpResponse {
    let offered = |name: &str| name != "registration" || app.policy.registration != Registration::Off;
    let endpoints: Vec<_> = ENDPOINTS
        .into_iter()
        .filter(|(name, _)| offered(name))
        .map(|(name, path)| Endpoint { name, url: app.policy.issuer.join(path) })
        .collect();
    if wants_html(&http) {
        return app.pages.index(&endpoints, app.policy.auto_approve.is_some());
    }
    let by_name: serde_json::Map<_, _> =
        endpoints.into_iter().map(|endpoint| (endpoint.name.to_owned(), endpoint.url.into())).collect();
    let body = json!({
        "service": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "issuer": app.policy.issuer.as_str(),
        "endpoints": by_name,
    });
    reply::json(StatusCode::OK, &body)
}

/// Whether a person asks, with a browser.
pub fn wants_html(http: &HttpRequest) -> bool {
    http.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}
