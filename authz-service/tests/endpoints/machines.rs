//! Clients that act for themselves (RFC 6749 section 4.4), and how they prove who they are.

use serde_json::json;
use shared::oauth::register::{AuthMethod, GrantType};
use shared::secret::Secret;
use shared::state::{Change, Client, ClientOrigin, ClientSecret, RevocationCause};

use crate::support::{Options, Service, claims, user};

/// A client that the operator registered, with the secret `s`.
pub fn machine(service: &Service, id: &str) {
    service.commit(Change::ClientRegistered(registered(service, id)));
}

/// The registration of one that is the server of these resources, and gets no tokens itself.
pub fn resource_server(service: &Service, id: &str, resources: &[&str]) -> Change {
    let resources = resources.iter().map(|resource| resource.parse().unwrap()).collect();
    Change::ClientRegistered(Client { resources, grant_types: Vec::new().into(), ..registered(service, id) })
}

fn registered(service: &Service, id: &str) -> Client {
    Client {
        id: id.parse().unwrap(),
        name: Some("Nightly report".into()),
        redirect_uris: Vec::new().into(),
        auth_method: Some(AuthMethod::ClientSecretPost),
        grant_types: vec![GrantType::ClientCredentials].into(),
        secret: Some(Box::new(ClientSecret { hash: Secret::new("s".into()).hash(), expires: None })),
        previous_secret: None,
        registration: None,
        scope: "mcp:tools:read".parse().unwrap(),
        client_uri: None,
        other: serde_json::Map::new(),
        resources: Vec::new().into(),
        origin: ClientOrigin::Operator,
        program: None,
        issued_at: service.clock_now(),
        approved_at: None,
        used_at: None,
    }
}

fn form<'a>(id: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("grant_type", "client_credentials"), ("client_id", id), ("client_secret", "s")], more].concat()
}

#[test]
fn a_machine_does_not_wait_for_those_who_guess_codes_and_tokens() {
    let service = Service::with(&Options { limits: true, ..Options::default() });
    machine(&service, "report");
    let client = service.public_client();
    let guess = [("grant_type", "refresh_token"), ("client_id", client.as_str()), ("refresh_token", "x")];
    assert!((0..300).any(|_| service.post("/oauth/token", &guess).status == 429));
    assert_eq!(service.post("/oauth/token", &form("report", &[])).status, 200);
}

#[test]
fn a_machine_gets_a_token_for_itself_that_can_be_asked_about_and_taken_back() {
    let service = Service::start();
    machine(&service, "report");
    let answer = service.post("/oauth/token", &form("report", &[]));
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{}", answer.text());
    let body = answer.json();
    assert_eq!((body["scope"].as_str(), body.get("refresh_token")), (Some("mcp:tools:read"), None));
    let token = body["access_token"].as_str().unwrap();
    let said = claims(token);
    assert_eq!((&said["sub"], &said["client_id"]), (&json!("report"), &json!("report")));
    let asked = [("client_id", "report"), ("client_secret", "s"), ("token", token)];
    assert_eq!(service.post("/oauth/introspect", &asked).json()["sub"], "report");
    assert!(service.is_alive(token));
    assert_eq!(service.post("/oauth/revoke", &asked).status, 200);
    assert!(!service.is_alive(token));
    assert_eq!(service.post("/oauth/introspect", &asked).json(), json!({ "active": false }));
}

#[test]
fn what_a_machine_got_ends_with_its_grant_and_with_the_client() {
    let service = Service::start();
    machine(&service, "report");
    let token =
        || service.post("/oauth/token", &form("report", &[])).json()["access_token"].as_str().unwrap().to_owned();
    let (first, second) = (token(), token());
    let grant = claims(&first)["grant"].as_str().unwrap().parse().unwrap();
    service.commit(Change::GrantRevoked { grant, cause: RevocationCause::Operator });
    assert_eq!((service.is_alive(&first), service.is_alive(&second)), (false, true));
    service.commit(Change::ClientRemoved("report".parse().unwrap()));
    assert!(!service.is_alive(&second));
    service.post("/oauth/token", &form("report", &[])).fails(401, "invalid_client");
}

#[test]
fn tok_10_who_may_not_act_for_itself_gets_nothing() {
    let service = Service::start();
    machine(&service, "report");
    machine(&service, "grace");
    service.commit(Change::UserCreated(user("grace", None)));
    let told = service.register(&json!({
        "token_endpoint_auth_method": "client_secret_post",
        "grant_types": ["authorization_code", "client_credentials"],
        "scope": "mcp:tools:read",
    }));
    assert_eq!(told["grant_types"], json!(["authorization_code"]));
    let (id, secret) = (told["client_id"].as_str().unwrap(), told["client_secret"].as_str().unwrap());
    let dynamic = [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)];
    for (form, status, word) in [
        (dynamic.to_vec(), 400, "unauthorized_client"),
        (form("grace", &[]), 400, "unauthorized_client"),
        (form("report", &[("scope", "mcp:tools:execute")]), 400, "invalid_scope"),
        (form("report", &[("scope", "mcp:tools:read admin")]), 400, "invalid_scope"),
        (form("report", &[("resource", "https://other.example")]), 400, "invalid_target"),
        (form("report", &[])[..2].to_vec(), 401, "invalid_client"),
        (form("nobody", &[]), 401, "invalid_client"),
    ] {
        service.post("/oauth/token", &form).fails(status, word);
    }
    assert_eq!(service.count("access_tokens"), 0);
    let alone = json!({ "redirect_uris": ["http://127.0.0.1/cb"], "grant_types": ["client_credentials"] });
    service.post_json("/register", &alone).fails(400, "invalid_client_metadata");
}
