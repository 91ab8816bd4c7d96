//! F-15 and F-16: the clock jumps, forward and back.

use serde_json::{Value, json};
use shared::time::Timestamp;

use crate::support::{START, Service, authorize_url, claims, code_form};

const DAY: u64 = 86_400;

fn text<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap()
}

/// Sets the clock some seconds behind the start.
fn at(service: &Service, seconds: u64) {
    service.clock.set(Timestamp(START.0 + seconds));
}

#[test]
fn f_16_a_code_seen_expired_stays_so_when_the_clock_is_set_back() {
    let service = Service::start();
    let client = service.public_client();
    let (seen, unseen) = (service.code(&client, &[]), service.code(&client, &[]));
    at(&service, DAY);
    service.exchange(&client, &seen).fails(400, "invalid_grant");
    at(&service, 0);
    service.exchange(&client, &seen).fails(400, "invalid_grant");
    assert_eq!(service.exchange(&client, &unseen).status, 200, "what nobody saw expired has not");
}

/// A client that may ask about its own tokens.
struct Asking<'a> {
    service: &'a Service,
    client: Value,
}

impl<'a> Asking<'a> {
    fn new(service: &'a Service) -> Self {
        Self { service, client: service.register(&json!({ "token_endpoint_auth_method": "client_secret_post" })) }
    }

    fn post(&self, target: &str, form: &[(&str, &str)]) -> crate::support::http::Answer {
        let own =
            [("client_id", text(&self.client, "client_id")), ("client_secret", text(&self.client, "client_secret"))];
        let form: Vec<_> = form.iter().filter(|(name, _)| *name != "client_id").copied().chain(own).collect();
        self.service.post(target, &form)
    }

    fn tokens(&self) -> Value {
        let client = text(&self.client, "client_id");
        self.post("/oauth/token", &code_form(client, &self.service.code(client, &[]))).json()
    }

    fn refresh(&self, tokens: &Value) -> crate::support::http::Answer {
        let token = text(tokens, "refresh_token");
        self.post("/oauth/token", &[("grant_type", "refresh_token"), ("refresh_token", token)])
    }

    fn is_active(&self, tokens: &Value) -> bool {
        self.post("/oauth/introspect", &[("token", text(tokens, "access_token"))]).json()["active"] == true
    }
}

#[test]
fn f_16_tokens_seen_expired_stay_so_when_the_clock_is_set_back() {
    let service = Service::start();
    let client = Asking::new(&service);
    let (seen, unseen) = (client.tokens(), client.tokens());
    at(&service, DAY);
    assert!(!client.is_active(&seen));
    at(&service, 0);
    assert!(!client.is_active(&seen));
    assert!(client.is_active(&unseen));
    at(&service, 400 * DAY);
    client.refresh(&seen).fails(400, "invalid_grant");
    at(&service, 0);
    client.refresh(&seen).fails(400, "invalid_grant");
    assert_eq!(client.refresh(&unseen).status, 200);
}

#[test]
fn f_16_a_session_seen_expired_stays_so_when_the_clock_is_set_back() {
    let service = Service::start();
    let client = service.public_client();
    let mut person = service.signed_in();
    let asks_for_a_password = |page: String| page.contains("type=\"password\"");
    assert!(!asks_for_a_password(person.get(&authorize_url(&client, &[])).text()));
    at(&service, 400 * DAY);
    assert!(asks_for_a_password(person.get(&authorize_url(&client, &[])).text()));
    at(&service, 0);
    assert!(asks_for_a_password(person.get(&authorize_url(&client, &[])).text()));
}

#[test]
fn f_15_a_clock_that_was_a_day_ahead_for_a_moment_freezes_nothing() {
    let service = Service::start();
    let client = Asking::new(&service);
    at(&service, DAY);
    let ahead = client.tokens();
    at(&service, 0);
    let now = client.tokens();
    assert_eq!(claims(text(&now, "access_token"))["iat"], START.0, "tokens carry the time of the clock as it is");
    assert!(client.is_active(&now));
    assert!(!client.is_active(&ahead), "and nothing of tomorrow is trusted today");
    at(&service, 4000);
    assert!(!client.is_active(&now), "tokens expire in time");
    assert_eq!(client.refresh(&now).status, 200);
}
