//! What every endpoint takes and answers: the OpenAPI 3.1 document, and the same as a page. Paths and methods come from
//! the table of routes; a test fails when one of them is not described here.

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::Data;
use serde_json::{Map, Value, json};

use super::app::App;
use super::routes;
use crate::protocol::Policy;

/// A line of the page.
pub struct Shown {
    /// `GET`, `POST`.
    pub method: String,
    /// Below the service.
    pub path: String,
    /// In a sentence.
    pub summary: String,
    /// Status, and what it means.
    pub answers: Vec<(String, String)>,
}

/// `GET /openapi.json`.
pub async fn json(app: Data<App>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((CACHE_CONTROL, "public, max-age=300"))
        .body(document(&app.policy).to_string())
}

/// `GET /docs`.
pub async fn docs(app: Data<App>) -> HttpResponse {
    let document = document(&app.policy);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut shown = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for method in ["get", "post", "put", "delete"] {
            let Some(operation) = item.get(method) else { continue };
            if operation["deprecated"] == true {
                continue;
            }
            let answers = operation["responses"].as_object().into_iter().flatten();
            let answers = answers.map(|(status, answer)| (status.clone(), text(&answer["description"]))).collect();
            let (method, path) = (method.to_uppercase(), path.clone());
            shown.push(Shown { method, path, summary: text(&operation["summary"]), answers });
        }
    }
    app.pages.docs(&shown)
}

/// The document.
pub fn document(policy: &Policy) -> Value {
    let issuer = policy.issuer.as_str().trim_end_matches('/');
    let prefix = policy.issuer.parts().path.trim_end_matches('/');
    let origin = issuer.strip_suffix(prefix).unwrap_or(issuer);
    let mut paths = Map::new();
    for row in routes::listed() {
        let main = row.paths[0];
        for (at, path) in row.paths.iter().enumerate() {
            let mut item = Map::new();
            for method in &row.methods {
                let Some(mut operation) = operation(method.as_str(), main) else { continue };
                if at > 0 {
                    operation["deprecated"] = true.into();
                }
                let named = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
                let named = named.map(
                    |name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }),
                );
                if let Some(all) = operation["parameters"].as_array_mut() {
                    all.extend(named);
                }
                operation["operationId"] = format!("{} {path}", method.as_str()).into();
                item.insert(method.as_str().to_ascii_lowercase(), operation);
            }
            if !row.below_issuer && !prefix.is_empty() {
                item.insert("servers".to_owned(), json!([{ "url": origin }]));
            }
            paths.insert((*path).to_owned(), item.into());
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Authorization service",
            "description": "OAuth 2.1 for MCP servers: registration, authorization, tokens.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": issuer }],
        "paths": paths,
        "components": { "schemas": schemas(), "securitySchemes": {
            "client": { "type": "http", "scheme": "basic" },
            "registration": { "type": "http", "scheme": "bearer" },
        } },
    })
}

const FORM: &str = "application/x-www-form-urlencoded";
const HTML: &str = "text/html";
const JSON: &str = "application/json";

/// What one endpoint does; `None` where this file does not know it.
fn operation(method: &str, path: &str) -> Option<Value> {
    Some(match (method, path) {
        ("POST", "/register") => with_body(
            described("Register a client (RFC 7591).", &[(201, "The client", Some("Client"))]),
            json!({ JSON: { "schema": reference("ClientMetadata") } }),
        ),
        ("GET", "/register/{client}") => {
            managed(described("Read a registration (RFC 7592).", &[(200, "The client", Some("Client"))]))
        }
        ("PUT", "/register/{client}") => managed(with_body(
            described("Replace a registration (RFC 7592).", &[(200, "The client", Some("Client"))]),
            json!({ JSON: { "schema": reference("ClientMetadata") } }),
        )),
        ("DELETE", "/register/{client}") => {
            managed(described("Remove a client and its tokens (RFC 7592).", &[(204, "It is gone", None)]))
        }
        ("GET", "/clients/{name}.json") => described(
            "A client's metadata, which its own URL names (Client ID Metadata Documents).",
            &[(200, "The metadata", Some("ClientMetadata"))],
        ),
        ("GET", "/account") => page("What a person gave to which app."),
        ("POST", "/account") => with_form(page("Its buttons."), &PAGE_FORM, Alternative::None),
        ("GET", "/admin") => {
            page("The administrator's page, where the operator serves it: how much there is of everything.")
        }
        ("GET", "/admin/clients") => page("Its list of clients."),
        ("GET", "/admin/users") => page("Its list of accounts."),
        ("GET", "/admin/grants") => page("Its list of grants."),
        ("GET", "/admin/audit") => page("The last events of the audit trail, and whether its chain is whole."),
        ("POST", "/admin") => with_form(page("Its buttons."), &PAGE_FORM, Alternative::None),
        ("GET", "/oauth/authorize") => with_parameters(
            page("Ask a person for access (RFC 6749 section 4.1.1). Answers with a page, or sends the browser on."),
            &AUTHORIZE,
        ),
        ("POST", "/oauth/authorize") => {
            with_form(page("The same, as a form (RFC 6749 section 3.1)."), &AUTHORIZE, Alternative::None)
        }
        ("POST", "/login") => with_form(page("The login page's form."), &PAGE_FORM, Alternative::None),
        ("POST", "/login/passkey") => {
            with_form(page("The login page's form for passkeys."), &PASSKEY_FORM, Alternative::None)
        }
        ("POST", "/login/upstream/{name}") => {
            with_form(page("The login page's button for an OpenID provider."), &PAGE_FORM, Alternative::None)
        }
        ("GET", "/login/upstream/{name}") => with_parameters(
            page("Where an OpenID provider sends people back to (OpenID Connect Core section 3.1.2.5)."),
            &["code", "state", "iss", "error"],
        ),
        ("POST", "/oauth/consent") => with_form(page("The consent page's form."), &PAGE_FORM, Alternative::None),
        ("POST", "/logout") => with_form(page("The sign-out button's form."), &PAGE_FORM, Alternative::None),
        ("GET", "/setup") => with_parameters(page("The page behind the one-time link."), &["token"]),
        ("POST", "/setup") => with_form(page("Its form."), &["token", "username", "password"], Alternative::None),
        ("POST", "/oauth/token") => with_form(
            described(
                "Exchange a code, refresh token or device code, or ask for oneself (RFC 6749 section 3.2).",
                &[(200, "Tokens", Some("Tokens"))],
            ),
            &TOKEN,
            Alternative::Json,
        ),
        ("POST", "/oauth/par") => with_form(
            described("Push an authorization request (RFC 9126).", &[(201, "Its name", Some("Pushed"))]),
            &AUTHORIZE,
            Alternative::None,
        ),
        ("POST", "/oauth/device_authorization") => with_form(
            described("Ask for a code that a person types elsewhere (RFC 8628).", &[(200, "It", Some("DeviceCodes"))]),
            &["client_id", "client_secret", "scope", "resource"],
            Alternative::Json,
        ),
        ("GET", "/device") => with_parameters(page("Where a person types a device's code."), &["user_code"]),
        ("POST", "/device") => with_form(page("Its form."), &["transaction", "csrf", "user_code"], Alternative::None),
        ("POST", "/device/consent") => with_form(page("The answer about a device."), &PAGE_FORM, Alternative::None),
        ("POST", "/oauth/revoke") => with_form(
            described("Give a token back (RFC 7009).", &[(200, "It is of no use any more, or never was", None)]),
            &QUESTION,
            Alternative::Json,
        ),
        ("POST", "/oauth/introspect") => with_form(
            described("Ask whether a token is alive (RFC 7662).", &[(200, "Whether it is", Some("Introspection"))]),
            &QUESTION,
            Alternative::Json,
        ),
        ("GET", "/oauth/jwks") => described("The public keys (RFC 7517).", &[(200, "A JWK set", Some("Keys"))]),
        ("GET", "/.well-known/oauth-authorization-server" | "/.well-known/openid-configuration") => {
            described("What this service can do (RFC 8414).", &[(200, "The metadata", Some("Metadata"))])
        }
        ("GET", "/.well-known/oauth-protected-resource") => described(
            "What is known of a resource on this origin; its path follows (RFC 9728).",
            &[(200, "The metadata", Some("Resource"))],
        ),
        ("GET", "/health") => described(
            "Whether the service can do its work.",
            &[(200, "It can", Some("Health")), (503, "It cannot", Some("Health"))],
        ),
        ("GET", "/ready") => {
            described("Whether to send it requests.", &[(200, "Yes", Some("Ready")), (503, "No", Some("Ready"))])
        }
        ("GET", "/openapi.json") => described("This document.", &[(200, "The document", Some("Any"))]),
        ("GET", "/docs") => page("This document, for people."),
        ("GET", "/assets/style.css") => asset("What pages look like.", "The stylesheet", "text/css"),
        ("GET", "/assets/passkey.js") => {
            asset("What asks browsers for a passkey, on the pages that take one.", "The script", "text/javascript")
        }
        ("GET", "/") => {
            let mut operation = described("What is here.", &[(200, "A list, or a page", Some("Any"))]);
            operation["responses"]["200"]["content"][HTML] = json!({ "schema": { "type": "string" } });
            operation
        }
        _ => return None,
    })
}

const AUTHORIZE: [&str; 9] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
    "resource",
    "prompt",
];
const TOKEN: [&str; 12] = [
    "grant_type",
    "code",
    "redirect_uri",
    "code_verifier",
    "refresh_token",
    "scope",
    "resource",
    "client_id",
    "client_secret",
    "device_code",
    "client_assertion",
    "client_assertion_type",
];
const QUESTION: [&str; 4] = ["token", "token_type_hint", "client_id", "client_secret"];
const PAGE_FORM: [&str; 5] = ["transaction", "csrf", "username", "password", "decision"];

const PASSKEY_FORM: [&str; 7] =
    ["transaction", "csrf", "credential", "client_data", "authenticator_data", "signature", "user_handle"];

/// Whether an endpoint takes JSON instead of a form (docs/DIVERGENCES.md).
#[derive(Clone, Copy)]
enum Alternative {
    None,
    Json,
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn text() -> Value {
    json!({ "schema": { "type": "string" } })
}

/// A file that pages load.
fn asset(summary: &str, answer: &str, kind: &str) -> Value {
    let mut operation = described(summary, &[(200, answer, None)]);
    operation["responses"]["200"]["content"] = json!({ kind: { "schema": { "type": "string" } } });
    operation
}

/// An endpoint for programs: these answers, and errors of RFC 6749 section 5.2.
fn described(summary: &str, answers: &[(u16, &str, Option<&str>)]) -> Value {
    let mut responses = Map::new();
    for (status, description, schema) in answers {
        let mut answer = json!({ "description": description });
        if let Some(schema) = schema {
            answer["content"] = json!({ JSON: { "schema": reference(schema) } });
        }
        responses.insert(status.to_string(), answer);
    }
    let error = json!({ JSON: { "schema": reference("Error") } });
    responses.insert("4XX".into(), json!({ "description": "Why not", "content": error }));
    json!({ "summary": summary, "parameters": [], "responses": responses })
}

/// An endpoint for browsers: a page, a redirect, or a page that says what is wrong.
fn page(summary: &str) -> Value {
    let error = json!({ HTML: text(), JSON: { "schema": reference("Error") } });
    json!({ "summary": summary, "parameters": [], "responses": {
        "200": { "description": "A page", "content": { HTML: text() } },
        "302": { "description": "The browser is sent on" },
        "303": { "description": "The browser is sent on" },
        "4XX": { "description": "A page that says what is wrong", "content": error },
    } })
}

/// An endpoint for whoever holds a client's registration token.
fn managed(mut operation: Value) -> Value {
    operation["security"] = json!([{ "registration": [] }]);
    operation
}

fn with_parameters(mut operation: Value, names: &[&str]) -> Value {
    let one = |name: &&str| json!({ "name": name, "in": "query", "schema": { "type": "string" } });
    operation["parameters"] = names.iter().map(one).collect();
    operation
}

fn with_form(operation: Value, names: &[&str], alternative: Alternative) -> Value {
    let members: Map<_, _> = names.iter().map(|name| ((*name).to_owned(), json!({ "type": "string" }))).collect();
    let schema = json!({ "type": "object", "properties": members });
    let mut content = json!({ FORM: { "schema": schema } });
    if matches!(alternative, Alternative::Json) {
        content[JSON] = json!({ "schema": schema });
    }
    with_body(operation, content)
}

fn with_body(mut operation: Value, content: Value) -> Value {
    operation["requestBody"] = json!({ "required": true, "content": content });
    operation
}

fn object(required: &[&str], members: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": members })
}

fn schemas() -> Value {
    let text = || json!({ "type": "string" });
    let texts = || json!({ "type": "array", "items": { "type": "string" } });
    let seconds = || json!({ "type": "integer", "minimum": 0 });
    json!({
        "Any": { "type": "object" },
        "Error": object(&["error"], json!({ "error": text(), "error_description": text() })),
        "ClientMetadata": object(&[], json!({
            "redirect_uris": texts(), "client_name": text(), "grant_types": texts(), "response_types": texts(),
            "token_endpoint_auth_method": text(), "scope": text(), "client_uri": text(),
        })),
        "Client": object(&["client_id"], json!({
            "client_id": text(), "client_secret": text(), "client_id_issued_at": seconds(),
            "client_secret_expires_at": seconds(), "redirect_uris": texts(), "grant_types": texts(),
        })),
        "Tokens": object(&["access_token", "token_type"], json!({
            "access_token": text(), "token_type": { "const": "Bearer" }, "expires_in": seconds(),
            "refresh_token": text(), "scope": text(),
        })),
        "Pushed": object(&["request_uri", "expires_in"], json!({ "request_uri": text(), "expires_in": seconds() })),
        "DeviceCodes": object(&["device_code", "user_code", "verification_uri", "expires_in"], json!({
            "device_code": text(), "user_code": text(), "verification_uri": text(),
            "verification_uri_complete": text(), "expires_in": seconds(), "interval": seconds(),
        })),
        "Introspection": object(&["active"], json!({ "active": { "type": "boolean" } })),
        "Keys": object(&["keys"], json!({ "keys": { "type": "array", "items": object(&["kty", "kid"], json!({})) } })),
        "Metadata": object(&["issuer", "authorization_endpoint", "token_endpoint"], json!({ "issuer": text() })),
        "Resource": object(&["resource", "authorization_servers"], json!({
            "resource": text(), "authorization_servers": texts(),
        })),
        "Health": object(&["status", "service", "version"], json!({ "status": { "enum": ["ok", "degraded"] } })),
        "Ready": object(&["ready", "checks"], json!({ "ready": { "type": "boolean" } })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(issuer: &str) -> Policy {
        Policy::new(issuer.parse().unwrap()).unwrap()
    }

    #[test]
    fn every_endpoint_and_method_of_the_table_is_described() {
        let document = document(&policy("https://as.example"));
        let mut described = 0;
        for row in routes::listed() {
            for (path, method) in row.paths.iter().flat_map(|path| row.methods.iter().map(move |one| (path, one))) {
                let operation = &document["paths"][path][method.as_str().to_ascii_lowercase()];
                assert!(operation["summary"].is_string(), "{method} {path}: describe it in openapi.rs");
                assert!(operation["responses"].as_object().is_some_and(|all| all.len() > 1), "{method} {path}");
                described += 1;
            }
        }
        assert!(described > 20, "{described}");
        assert_eq!(document["paths"]["/token"]["post"]["deprecated"], true);
        assert_eq!(document["servers"][0]["url"], "https://as.example");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document(&policy("https://as.example/tenant"));
        let text = document.to_string();
        for name in text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
        assert_eq!(document["paths"]["/health"]["servers"][0]["url"], "https://as.example");
        assert_eq!(document["paths"]["/oauth/token"].get("servers"), None);
    }
}
