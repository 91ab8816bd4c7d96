//! Sign-in through an OpenID provider, with one that does what the test says.

use serde_json::{Value, json};
use shared::oauth::form::Parameters;
use shared::state::{Change, User, UserStage, Wanted};

use authz_service::protocol::upstream::Upstream;

use crate::support::http::Answer;
use crate::support::person::{Form, Person};
use crate::support::provider::Provider;
use crate::support::{Options, PASSWORD, Service, authorize_url, user};

fn described(provider: &Provider, name: &str, more: Value) -> Upstream {
    let mut value = json!({
        "name": name, "title": "Corp <SSO>", "issuer": provider.issuer, "client_id": "us", "client_secret": "the-secret",
        "allow": { "domains": ["corp.example"], "subjects": ["s-other"] }, "create": true,
    });
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Upstream::read(&value, |_| Err("none".into())).unwrap()
}

/// A service with one provider, or several.
fn service(upstreams: Vec<Upstream>, options: &Options) -> Service {
    let service = Service::with(options);
    let mut policy = (*service.app.policy).clone();
    policy.upstreams = upstreams.into();
    service.app.set_policy(policy).unwrap();
    service
}

/// Presses the button of a login page; where it leads, as parameters.
#[track_caller]
fn presses(person: &mut Person<'_>, page: &str, name: &str) -> Parameters {
    let page = person.get(page);
    page.is_page(200);
    let text = page.text();
    let at = text.split("<form").skip(1).position(|form| {
        form.contains(&format!("upstream&#x2f;{name}\"")) || form.contains(&format!("upstream/{name}\""))
    });
    let answer = person.submit(&Form::nth(&text, at.unwrap_or_else(|| panic!("no button in {text}"))));
    answer.is_page(200);
    leads(&answer)
}

fn leads(answer: &Answer) -> Parameters {
    let text = answer.text();
    let url = text.split("<a href=\"").nth(1).unwrap().split('"').next().unwrap();
    let url = url.replace("&#x2f;", "/").replace("&amp;", "&");
    assert!(text.contains("<meta http-equiv=\"refresh\" content=\"0; url="), "{text}");
    Parameters::parse(url.split_once('?').unwrap().1).unwrap()
}

fn claims(service: &Service, provider: &Provider, sent: &Parameters) -> Value {
    let now = service.clock_now().0;
    json!({
        "iss": provider.issuer, "sub": "s-ada", "aud": "us", "iat": now, "exp": now + 300,
        "nonce": sent.get("nonce").unwrap(), "email": "Ada@Corp.example", "email_verified": true,
    })
}

fn comes_back(person: &mut Person<'_>, provider: &Provider, name: &str, sent: &Parameters) -> Answer {
    let query =
        shared::oauth::form::encode(&[("code", "c"), ("state", sent.get("state").unwrap()), ("iss", &provider.issuer)]);
    person.get(&format!("/login/upstream/{name}?{query}"))
}

/// A whole sign-in; `change` is what the ID token says otherwise.
fn signs_in(service: &Service, provider: &Provider, page: &str, change: impl FnOnce(&mut Value, &mut Value)) -> Answer {
    let mut person = Person::new(service);
    let sent = presses(&mut person, page, "corp");
    let mut claims = claims(service, provider, &sent);
    let mut header = json!({ "alg": "ES256", "kid": "k1" });
    change(&mut header, &mut claims);
    provider.says(header, claims);
    comes_back(&mut person, provider, "corp", &sent)
}

fn account(service: &Service, name: &str) -> Option<User> {
    service.facts(&Wanted { user: Some(name.parse().unwrap()), ..Wanted::default() }).user
}

#[test]
fn a_person_of_the_provider_gets_an_account_once_and_signs_in_to_it_again() {
    let provider = Provider::start();
    let service = service(vec![described(&provider, "corp", json!({}))], &Options::default());
    let url = authorize_url(&service.public_client(), &[]);
    let mut person = Person::new(&service);
    let text = person.get(&url).text();
    assert!(text.contains("Sign in with Corp &lt;SSO&gt;") && text.contains("name=\"password\""), "{text}");
    let sent = presses(&mut person, &url, "corp");
    for (name, value) in [("response_type", "code"), ("client_id", "us"), ("scope", "openid email")] {
        assert_eq!(sent.get(name), Some(value));
    }
    assert_eq!(sent.get("redirect_uri"), Some(format!("{}/login/upstream/corp", service.issuer).as_str()));
    provider.says(json!({ "alg": "ES256", "kid": "k1" }), claims(&service, &provider, &sent));
    let before = person.cookie("authz_browser").map(str::to_owned);
    let answer = comes_back(&mut person, &provider, "corp", &sent);
    assert_eq!((answer.status, answer.header("location")), (302, Some(url.as_str())), "{}", answer.text());
    assert!(answer.header("set-cookie").unwrap().contains("HttpOnly; SameSite=Lax"));
    assert_eq!(person.cookie("authz_browser").map(str::to_owned), before);
    assert!(person.get(&url).text().contains("<strong><bdi>ada@corp.example</bdi></strong>"));
    let ada = account(&service, "ada@corp.example").unwrap();
    assert_eq!((ada.admin, ada.password, ada.links.len()), (false, None, 1));
    // What the code was exchanged with: the secret in its header, the verifier of the challenge.
    let (head, body) = provider.requests("/token").pop().unwrap();
    assert!(head.to_ascii_lowercase().contains("authorization: basic dxm6dghllxnly3jlda=="), "{head}");
    let verifier = Parameters::parse(&body).unwrap().get("code_verifier").unwrap().to_owned();
    let challenge = shared::oauth::pkce::Verifier::parse(verifier).unwrap().challenge().text();
    assert_eq!(sent.get("code_challenge"), Some(challenge.as_str()));
    // With another address it is the same person, and with the same address another is another.
    let again = signs_in(&service, &provider, "/account", |_, claims| claims["email"] = json!("a.l@corp.example"));
    assert_eq!((again.status, again.header("location")), (302, Some("/account")));
    assert!(account(&service, "a.l@corp.example").is_none());
    let other = signs_in(&service, &provider, "/account", |_, claims| claims["sub"] = json!("s-eve"));
    other.is_page(403);
    assert!(other.text().contains("there is or was an account") || other.text().contains("There is or was an account"));
    // Metadata and keys were fetched once for all of this.
    assert_eq!(provider.requests("/.well-known/openid-configuration").len(), 1);
    assert_eq!(provider.requests("/jwks").len(), 1);
    assert!(!service.dump_all().contains("the-secret"));
}

#[test]
fn what_an_id_token_says_wrongly_lets_nobody_in() {
    let provider = Provider::start();
    let service = service(vec![described(&provider, "corp", json!({}))], &Options::default());
    let sessions = service.count("sessions");
    let now = service.clock_now().0;
    let fails = |why: &str, status: u16, change: &dyn Fn(&mut Value, &mut Value)| {
        let answer = signs_in(&service, &provider, "/account", change);
        answer.is_page(status);
        assert!(answer.text().contains("Request <code>"), "{why}: {}", answer.text());
    };
    fails("unsigned", 403, &|header, _| header["alg"] = json!("none"));
    fails("another algorithm", 403, &|header, _| header["alg"] = json!("RS256"));
    fails("no algorithm", 403, &|header, _| header["alg"] = json!("ES999"));
    fails("unknown key", 403, &|header, _| header["kid"] = json!("k9"));
    fails("an access token", 403, &|header, _| header["typ"] = json!("at+jwt"));
    for (claim, value) in [
        ("iss", json!("http://127.0.0.1:1")),
        ("aud", json!("them")),
        ("aud", json!(["us", "them"])),
        ("azp", json!("them")),
        ("exp", json!(now - 61)),
        ("iat", json!(now + 61)),
        ("nonce", json!("other")),
        ("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA")),
        ("sub", json!("")),
        ("sub", json!("x".repeat(256))),
        ("sub", Value::Null),
    ] {
        fails(claim, 403, &|_, claims| claims[claim] = value.clone());
    }
    // Known there, and not let in here.
    fails("another domain", 403, &|_, claims| claims["email"] = json!("ada@sub.corp.example"));
    fails("a domain by its look", 403, &|_, claims| claims["email"] = json!("ada@evilcorp.example"));
    fails("an address that nobody verified", 403, &|_, claims| claims["email_verified"] = json!(false));
    fails("no address", 403, &|_, claims| claims["email"] = Value::Null);
    assert_eq!((service.count("sessions"), service.count("users")), (sessions, 1));
    // Named by the operator; without an address that could be a name.
    let named = signs_in(&service, &provider, "/account", |_, claims| {
        (claims["sub"], claims["email_verified"]) = (json!("s-other"), json!(false));
    });
    assert_eq!(named.status, 302, "{}", named.text());
    let made = service.dump();
    assert!(made.contains("corp-"), "{made}");
}

#[test]
fn an_answer_counts_for_its_own_browser_its_own_provider_and_its_own_time() {
    let (provider, other) = (Provider::start(), Provider::start());
    let both = vec![described(&provider, "corp", json!({})), described(&other, "other", json!({}))];
    let service = service(both, &Options::default());
    let (mut ada, mut eve) = (Person::new(&service), Person::new(&service));
    let sent = presses(&mut ada, "/account", "corp");
    provider.says(json!({ "alg": "ES256", "kid": "k1" }), claims(&service, &provider, &sent));
    // Another browser (login CSRF), with a page of its own or without.
    comes_back(&mut eve, &provider, "corp", &sent).is_page(403);
    eve.get("/account");
    comes_back(&mut eve, &provider, "corp", &sent).is_page(403);
    // At another provider's address, or by another provider's word (mix-up).
    comes_back(&mut ada, &provider, "other", &sent).is_page(403);
    comes_back(&mut ada, &other, "corp", &sent).is_page(403);
    let state = sent.get("state").unwrap();
    let back = |query: &[(&str, &str)]| format!("/login/upstream/corp?{}", shared::oauth::form::encode(query));
    let issuer = provider.issuer.as_str();
    for (query, status) in [
        (back(&[("code", "c"), ("state", state)]), 403),
        (back(&[("code", "c"), ("iss", issuer)]), 403),
        (back(&[("code", "c"), ("state", &state[1..]), ("iss", issuer)]), 403),
        (back(&[("state", state), ("iss", issuer)]), 400),
        (back(&[("error", "access_denied"), ("state", state), ("iss", issuer)]), 403),
        (back(&[("error", "<b>odd</b>"), ("state", state), ("iss", issuer)]), 403),
        (back(&[("error", "server_error"), ("state", state), ("iss", issuer)]), 503),
        (back(&[("code", "c"), ("code", "d"), ("state", state), ("iss", issuer)]), 400),
        ("/login/upstream/nobody".to_owned(), 403),
    ] {
        let page = ada.get(&query);
        page.is_page(status);
        assert!(!page.text().contains("<b>odd"), "{}", page.text());
    }
    assert_eq!(provider.requests("/token").len(), 0, "no code was sent for any of these");
    // The button is of this page and this browser.
    let page = ada.get("/account").text();
    let at = page.split("<form").skip(1).position(|form| form.contains("corp\"")).unwrap();
    let button = Form::nth(&page, at);
    eve.submit(&button).is_page(403);
    ada.submit(&button.clone().without("csrf")).is_page(403);
    ada.submit_with(&button, &[("Sec-Fetch-Site", "cross-site")]).is_page(403);
    let unknown = Form { action: "/login/upstream/nobody".into(), ..button.clone() };
    ada.submit(&unknown).is_page(404);
    assert_eq!(comes_back(&mut ada, &provider, "corp", &sent).status, 302, "what was refused spent nothing");
    let sent = presses(&mut eve, "/account", "corp");
    service.advance(601);
    comes_back(&mut eve, &provider, "corp", &sent).is_page(400);
}

#[test]
fn a_provider_that_fails_is_a_page_that_says_so_and_recovers() {
    let provider = Provider::start();
    let service = service(vec![described(&provider, "corp", json!({}))], &Options::default());
    let url = "/account";
    let down = |what: &str, path: &'static str, bytes: &[u8]| {
        provider.instead(path, bytes);
        let mut person = Person::new(&service);
        let page = person.get(url).text();
        let at = page.split("<form").skip(1).position(|form| form.contains("corp\"")).unwrap();
        let begun = person.submit(&Form::nth(&page, at));
        let answer = if path == "/.well-known/openid-configuration" {
            begun
        } else {
            let sent = leads(&begun);
            provider.says(json!({ "alg": "ES256", "kid": "k1" }), claims(&service, &provider, &sent));
            comes_back(&mut person, &provider, "corp", &sent)
        };
        answer.is_page(503);
        assert_eq!(answer.header("retry-after"), Some("5"), "{what}");
        assert!(answer.text().contains("Request <code>") && !answer.text().contains("127.0.0.1"), "{}", answer.text());
        provider.as_usual();
        service.advance(2);
    };
    let redirect =
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let huge =
        [b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\nConnection: close\r\n\r\n".as_slice(), &[b' '; 1 << 20]]
            .concat();
    let junk = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>";
    let ill = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let metadata = "/.well-known/openid-configuration";
    for path in [metadata, "/token", "/jwks"] {
        for (what, bytes) in [("redirect", &redirect[..]), ("huge", &huge), ("junk", junk), ("ill", ill), ("gone", b"")]
        {
            down(what, path, bytes);
        }
    }
    down("no key", "/jwks", &crate::support::provider::json_answer(&json!({ "keys": [] })));
    let refused = json!({ "error": "invalid_client" }).to_string();
    let refused = format!("HTTP/1.1 401 No\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{refused}", refused.len());
    down("our secret", "/token", refused.as_bytes());
    // A code that it does not know is not its fault.
    let unknown = json!({ "error": "invalid_grant" }).to_string();
    let unknown = format!("HTTP/1.1 400 No\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{unknown}", unknown.len());
    provider.instead("/token", unknown.as_bytes());
    signs_in(&service, &provider, url, |_, _| {}).is_page(403);
    provider.as_usual();
    assert_eq!(signs_in(&service, &provider, url, |_, _| {}).status, 302);
}

#[test]
fn a_provider_that_keeps_us_waiting_is_left_after_ten_seconds() {
    // It takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let provider = Provider::start();
    let upstream =
        described(&provider, "corp", json!({ "issuer": format!("http://{}", silent.local_addr().unwrap()) }));
    let service = service(vec![upstream], &Options::default());
    let mut ada = Person::new(&service);
    let text = ada.get("/account").text();
    let at = text.split("<form").skip(1).position(|form| form.contains("corp\"")).unwrap();
    ada.submit(&Form::nth(&text, at)).is_page(503);
}

#[test]
fn new_keys_are_fetched_when_a_token_names_one_and_not_for_every_token_that_does() {
    let provider = Provider::start();
    let service = service(vec![described(&provider, "corp", json!({}))], &Options::default());
    let enters = |kid: &str| signs_in(&service, &provider, "/account", |header, _| header["kid"] = json!(kid)).status;
    assert_eq!(enters("k1"), 302);
    provider.rotate("k2");
    assert_eq!(enters("k2"), 403, "the keys are too fresh to be fetched again");
    assert_eq!(provider.requests("/jwks").len(), 1);
    service.advance(30);
    assert_eq!(enters("k2"), 302);
    for _ in 0..5 {
        assert_eq!(enters("k3"), 403);
    }
    assert_eq!(provider.requests("/jwks").len(), 2);
}

#[test]
fn a_linked_account_needs_no_list_and_one_that_rests_or_is_gone_stays_out() {
    let provider = Provider::start();
    let closed = json!({ "allow": null, "create": false });
    let service = service(vec![described(&provider, "corp", closed)], &Options::default());
    let enters = || signs_in(&service, &provider, "/account", |_, _| {});
    let page = enters();
    page.is_page(403);
    assert!(page.text().contains("s-ada"), "it says what the operator needs: {}", page.text());
    let link = shared::state::Link {
        issuer: provider.issuer.parse().unwrap(),
        subject: "s-ada".parse().unwrap(),
        created: service.clock_now(),
    };
    let name = "ada".parse().unwrap();
    service.commit(Change::UpstreamLinked { user: name, link: link.clone() });
    assert_eq!(enters().status, 302);
    let stage = |stage| Change::UserStageSet { user: "ada".parse().unwrap(), stage };
    service.commit(stage(UserStage::Disabled));
    enters().is_page(403);
    service.commit(stage(UserStage::Enabled));
    assert_eq!(enters().status, 302);
    service.commit(Change::UpstreamUnlinked(link.hash()));
    enters().is_page(403);
    service.commit(Change::UpstreamLinked { user: "ada".parse().unwrap(), link });
    service.commit(stage(UserStage::Removed));
    enters().is_page(403);
}

#[test]
fn without_passwords_the_form_is_gone_and_is_not_taken() {
    let provider = Provider::start();
    let service = service(vec![described(&provider, "corp", json!({}))], &Options::default());
    let mut ada = Person::new(&service);
    let form = Form::first(&ada.get("/account")).with("username", "ada").with("password", PASSWORD);
    let mut policy = (*service.app.policy).clone();
    policy.password_login = false;
    service.app.set_policy(policy).unwrap();
    let page = ada.get("/account").text();
    assert!(!page.contains("type=\"password\"") && page.contains("Sign in with Corp"), "{page}");
    ada.submit(&form).is_page(403);
    assert_eq!(service.count("sessions"), 0);
    assert_eq!(signs_in(&service, &provider, "/account", |_, _| {}).status, 302);
}

#[test]
fn guesses_are_counted_and_a_request_that_is_too_long_is_told_so() {
    let provider = Provider::start();
    let options = Options { limits: true, ..Options::default() };
    let service = service(vec![described(&provider, "corp", json!({}))], &options);
    service.commit(Change::UserCreated(user("bob", None)));
    let state = "x".repeat(4096);
    let long = authorize_url(&service.public_client(), &[("state", &state)]);
    assert_eq!(signs_in(&service, &provider, &long, |_, _| {}).status, 302, "the longest state that we take");
    for _ in 0..10 {
        Person::new(&service).get("/login/upstream/corp?code=c&state=a.b").is_page(403);
    }
    Person::new(&service).get("/login/upstream/corp?code=c&state=a.b").is_page(429);
}
