//! Every endpoint in one table.

use actix_web::http::Method;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::web::{self, Data, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource, Route, guard};
use shared::oauth::error::ErrorCode;

use super::app::App;
use super::{
    account, admin, assets, authorize, body, consent, device, device_authorization, health, index, introspect, login,
    logout, manage, metadata, metrics, openapi, par, passkey, published, register, reply, revoke, setup, token,
    upstream,
};

/// One endpoint.
struct Row {
    paths: &'static [&'static str],
    routes: fn() -> Vec<(Method, Route)>,
    /// Whether pages of other origins may call it (contract C2).
    cors: bool,
}

/// A document: GET, and HEAD with it.
macro_rules! get {
    ($handler:path) => {
        || vec![(Method::GET, web::route().guard(guard::Any(guard::Get()).or(guard::Head())).to($handler))]
    };
}

macro_rules! post {
    ($handler:path) => {
        || vec![(Method::POST, web::post().to($handler))]
    };
}

macro_rules! get_and_post {
    ($get:path, $post:path) => {
        || vec![(Method::GET, web::get().to($get)), (Method::POST, web::post().to($post))]
    };
}

/// A thing that is read, replaced and removed.
macro_rules! get_put_and_delete {
    ($get:path, $put:path, $delete:path) => {
        || {
            vec![
                (Method::GET, web::get().to($get)),
                (Method::PUT, web::put().to($put)),
                (Method::DELETE, web::delete().to($delete)),
            ]
        }
    };
}

static TABLE: &[Row] = &[
    Row { paths: &["/register", "/oauth/register"], routes: post!(register::post), cors: true },
    Row {
        paths: &["/register/{client}", "/oauth/register/{client}"],
        routes: get_put_and_delete!(manage::get, manage::put, manage::delete),
        cors: true,
    },
    Row {
        paths: &["/oauth/authorize", "/authorize"],
        routes: get_and_post!(authorize::get, authorize::post),
        cors: false,
    },
    Row { paths: &["/login"], routes: post!(login::post), cors: false },
    Row { paths: &["/login/passkey"], routes: post!(passkey::post), cors: false },
    Row { paths: &["/login/upstream/{name}"], routes: get_and_post!(upstream::get, upstream::post), cors: false },
    Row { paths: &["/oauth/consent"], routes: post!(consent::post), cors: false },
    Row { paths: &["/logout"], routes: post!(logout::post), cors: false },
    Row { paths: &["/account"], routes: get_and_post!(account::get, account::post), cors: false },
    Row { paths: &["/admin"], routes: get_and_post!(admin::get, admin::post), cors: false },
    Row {
        paths: &["/admin/clients", "/admin/users", "/admin/grants", "/admin/audit", "/admin/calls"],
        routes: get!(admin::get),
        cors: false,
    },
    Row { paths: &["/setup"], routes: get_and_post!(setup::get, setup::post), cors: false },
    Row { paths: &["/oauth/token", "/token"], routes: post!(token::post), cors: true },
    Row { paths: &["/oauth/par"], routes: post!(par::post), cors: false },
    Row { paths: &["/oauth/device_authorization"], routes: post!(device_authorization::post), cors: false },
    Row { paths: &["/device"], routes: get_and_post!(device::get, device::post), cors: false },
    Row { paths: &["/device/consent"], routes: post!(device::decide), cors: false },
    Row { paths: &["/oauth/revoke", "/revoke"], routes: post!(revoke::post), cors: true },
    Row { paths: &["/oauth/introspect", "/introspect"], routes: post!(introspect::post), cors: false },
    Row { paths: &["/clients/{name}.json"], routes: get!(published::get), cors: true },
    Row { paths: &["/oauth/jwks"], routes: get!(metadata::jwks), cors: true },
    Row { paths: &["/.well-known/openid-configuration"], routes: get!(metadata::openid), cors: true },
    Row { paths: &["/assets/style.css"], routes: get!(assets::style), cors: false },
    Row { paths: &["/assets/passkey.js"], routes: get!(assets::script), cors: false },
    Row { paths: &["/openapi.json"], routes: get!(openapi::json), cors: true },
    Row { paths: &["/docs"], routes: get!(openapi::docs), cors: false },
    Row { paths: &["/"], routes: get!(index::get), cors: false },
];

/// Reached without the issuer's path too, by load balancers.
static HEALTH: [Row; 2] = [
    Row { paths: &["/health"], routes: get!(health::get), cors: false },
    Row { paths: &["/ready"], routes: get!(health::ready), cors: false },
];

/// The documents whose name goes between host and path (RFC 8414 section 3.1).
static INSERTED: [(&str, Row); 2] = [
    ("/.well-known/oauth-authorization-server", Row { paths: &[], routes: get!(metadata::oauth), cors: true }),
    ("/.well-known/openid-configuration", Row { paths: &[], routes: get!(metadata::openid), cors: true }),
];

/// Resources on our origin, each described under its own path (RFC 9728 section 3.1).
static RESOURCE: Row = Row { paths: &[metadata::RESOURCE], routes: get!(metadata::resource), cors: true };

/// The figures, on a listener of their own.
static FIGURES: Row = Row { paths: &["/metrics"], routes: get!(metrics::get), cors: false };

/// See [`FIGURES`].
pub(super) fn figures() -> Resource {
    resource(FIGURES.paths[0], &FIGURES)
}

/// Every endpoint: its paths, the main one first, below the issuer or below the host, and its methods.
pub fn listed() -> impl Iterator<Item = Listed> {
    let below = TABLE.iter().map(|row| (row, true));
    let fixed = HEALTH.iter().chain([&RESOURCE]).map(|row| (row, false));
    let row = |(row, below_issuer): (&'static Row, bool)| {
        let methods = (row.routes)().into_iter().map(|(method, _)| method).collect();
        Listed { paths: row.paths.to_vec(), below_issuer, methods }
    };
    let inserted = Listed { paths: vec![INSERTED[0].0], below_issuer: false, methods: vec![Method::GET] };
    below.chain(fixed).map(row).chain([inserted])
}

/// One endpoint, to be described.
pub struct Listed {
    /// Its paths, the main one first.
    pub paths: Vec<&'static str>,
    /// Whether they begin with the issuer's path.
    pub below_issuer: bool,
    /// What it takes.
    pub methods: Vec<Method>,
}

/// Mounts every endpoint. `prefix` is the issuer's path: empty, or `/tenant`.
pub fn mount(prefix: &str) -> impl FnOnce(&mut ServiceConfig) {
    let prefix = prefix.to_owned();
    move |config| {
        for row in TABLE {
            for path in row.paths {
                let path = if *path == "/" && !prefix.is_empty() { "" } else { path };
                config.service(resource(&format!("{prefix}{path}"), row));
            }
        }
        for row in &HEALTH {
            config.service(resource(row.paths[0], row));
        }
        config.service(resource(metadata::RESOURCE, &RESOURCE));
        config.service(resource(&format!("{}/{{path:.*}}", metadata::RESOURCE), &RESOURCE));
        for (name, row) in &INSERTED {
            // Without a path the OpenID document is in the table already.
            if !prefix.is_empty() || *name != "/.well-known/openid-configuration" {
                config.service(resource(&format!("{name}{prefix}"), row));
            }
        }
        config.default_service(web::route().to(not_found));
    }
}

fn resource(path: &str, row: &Row) -> Resource {
    let routes = (row.routes)();
    let mut allow: Vec<_> = routes.iter().map(|(method, _)| method.as_str()).collect();
    if row.cors {
        allow.push("OPTIONS");
    }
    let allow = allow.join(", ");
    let mut resource = web::resource(path.to_owned());
    for (_, route) in routes {
        resource = resource.route(route);
    }
    if row.cors {
        let methods = allow.clone();
        let preflight = move || {
            let methods = methods.clone();
            async move { preflight(&methods) }
        };
        resource = resource.route(web::method(Method::OPTIONS).to(preflight));
    }
    let refuse = move |http: HttpRequest, payload: Payload| refuse_method(allow.clone(), http, payload);
    let resource = resource.default_service(web::route().to(refuse));
    if row.cors { resource.app_data(OpenToAll) } else { resource }
}

/// Marks an endpoint that pages of other origins may call; the gate adds the header.
pub struct OpenToAll;

fn preflight(methods: &str) -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header(("Access-Control-Allow-Methods", methods))
        .insert_header(("Access-Control-Allow-Headers", "Authorization, Content-Type, MCP-Protocol-Version"))
        .insert_header(("Access-Control-Max-Age", "3600"))
        .finish()
}

async fn refuse_method(allow: String, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    drop(body::read(&http, &mut payload).await);
    let text = format!("this endpoint takes {allow}");
    let mut response = reply::error(actix_web::http::StatusCode::METHOD_NOT_ALLOWED, ErrorCode::InvalidRequest, &text);
    if let Ok(value) = HeaderValue::from_str(&allow) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}

/// What leads nowhere.
pub async fn not_found(app: Data<App>, http: HttpRequest, mut payload: Payload) -> HttpResponse {
    drop(body::read(&http, &mut payload).await);
    let status = actix_web::http::StatusCode::NOT_FOUND;
    if index::wants_html(&http) {
        return app.pages.error(status, "There is nothing here", "not_found", "This address leads nowhere.", "", "");
    }
    reply::json(status, &serde_json::json!({ "error": "not_found", "error_description": "there is nothing here" }))
}
