//! REG: dynamic registration.

use authz_service::protocol::Policy;
use authz_service::protocol::policy::Registration;
use serde_json::{Value, json};
use shared::secret::Secret;
use shared::state::{Change, ClientCare, InitialToken};
use shared::time::{Clock, Seconds, Timestamp};

use crate::support::http::Answer;
use crate::support::{Options, Service, authorize_url};

const GOOD: &str = r#"{"redirect_uris":["https://a.example/cb"]}"#;

#[test]
fn reg_01_02_only_a_json_object_with_its_own_content_type_registers() {
    let service = Service::start();
    for body in ["", "{", "redirect_uris=x", "<html></html>", "[]"] {
        let headers = [("Content-Type", "application/json")];
        service.connect().send("POST", "/register", &headers, body.as_bytes()).fails(400, "invalid_client_metadata");
    }
    for content_type in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", ""] {
        let headers = [("Content-Type", content_type)];
        let answer = service.connect().send("POST", "/register", &headers, GOOD.as_bytes());
        answer.fails(400, "invalid_client_metadata");
    }
    service.connect().send("POST", "/register", &[], GOOD.as_bytes()).fails(400, "invalid_client_metadata");
    let twice = br#"{"redirect_uris":["https://a.example/cb"],"redirect_uris":["https://b.example/cb"]}"#;
    let headers = [("Content-Type", "application/json")];
    service.connect().send("POST", "/register", &headers, twice).fails(400, "invalid_client_metadata");
    service
        .connect()
        .send("POST", "/register", &headers, b"{\"client_name\":\"\xff\"}")
        .fails(400, "invalid_client_metadata");
    assert_eq!(service.count("clients"), 0);
}

#[test]
fn reg_03_to_16_19_what_is_refused_stores_nothing() {
    let service = Service::start();
    for (body, word) in [
        (json!({}), "invalid_redirect_uri"),
        (json!({ "redirect_uris": [] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["javascript:alert(1)"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["https://a.example/cb#f"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["/cb"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["http://a.example/cb"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["https://*.example.org/cb"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["myapp:/cb"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": vec!["https://a.example/cb"; 11] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": [format!("https://a.example/{}", "x".repeat(2031))] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["https://a.example"], "grant_types": ["implicit"] }), "invalid_client_metadata"),
        (json!({ "redirect_uris": ["https://a.example"], "response_types": ["token"] }), "invalid_client_metadata"),
        (json!({ "redirect_uris": ["https://a.example"], "logo_uri": "javascript:x" }), "invalid_client_metadata"),
        (
            json!({ "redirect_uris": ["https://a.example"], "jwks": { "keys": [{ "kty": "oct", "k": "x" }] } }),
            "invalid_client_metadata",
        ),
        (
            json!({ "redirect_uris": ["https://a.example"], "software_statement": "x.y.z" }),
            "invalid_software_statement",
        ),
        (json!({ "Redirect_URIs": ["https://a.example"] }), "invalid_redirect_uri"),
    ] {
        service.post_json("/register", &body).fails(400, word);
    }
    assert_eq!(service.count("clients"), 0);
}

#[test]
fn reg_10_a_body_over_64_kib_is_refused_and_the_connection_survives_a_smaller_one() {
    let service = Service::start();
    let large = json!({ "redirect_uris": ["https://a.example"], "x": "y".repeat(65 * 1024) });
    service.post_json("/register", &large).fails(413, "invalid_client_metadata");
    let mut connection = service.connect();
    let body = json!({ "x": vec!["y".repeat(1024); 60] }).to_string();
    let headers = [("Content-Type", "application/json")];
    connection.send("POST", "/register", &headers, body.as_bytes()).fails(400, "invalid_redirect_uri");
    assert_eq!(connection.send("POST", "/register", &headers, GOOD.as_bytes()).status, 201);
}

#[test]
fn reg_17_too_many_registrations_from_one_address_wait() {
    let service = Service::with(&Options { limits: true, ..Options::default() });
    let known = service.public_client();
    let limited = (0..200).find_map(|_| {
        let answer = service.post_json("/register", &json!({ "redirect_uris": ["https://a.example/cb"] }));
        (answer.status == 429).then_some(answer)
    });
    let limited = limited.expect("a limit");
    assert!(limited.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    // Whoever is registered already is not affected.
    assert_eq!(service.exchange(&known, "x").json()["error"], "invalid_grant");
}

#[test]
fn reg_18_10_000_registrations_fill_the_room_that_there_is_and_the_unused_make_room_again() {
    let most = Some((|policy| policy.max_clients = 10_000) as fn(&mut Policy));
    let service = Service::with(&Options { policy: most, ..Options::default() });
    let used = service.public_client();
    service.tokens(&used);
    let mut connection = service.connect();
    let mut register =
        || connection.send("POST", "/register", &[("Content-Type", "application/json")], GOOD.as_bytes());
    let mut times = Vec::new();
    for _ in 1..10_000 {
        let started = std::time::Instant::now();
        assert_eq!(register().status, 201);
        times.push(started.elapsed());
    }
    register().fails(429, "temporarily_unavailable");
    assert_eq!(service.count("clients"), 10_000);
    // The middle one of a thousand, so that what else this machine does plays no part.
    let middle = |some: &mut [std::time::Duration]| *some.select_nth_unstable(some.len() / 2).1;
    let (first, last) = (middle(&mut times[..1000]), middle(&mut times[8999..]));
    assert!(last < first * 3, "{first:?} for the first thousand, {last:?} for the last");
    let sweep = |care: ClientCare| {
        let (mut unused_clients, before) = (Timestamp(0), service.clock.now());
        service.store.read(&mut |state| unused_clients = state.unused_before(before, &care)).unwrap();
        service.commit(Change::Swept { before, unused_clients });
    };
    service.advance(31 * 86_400);
    sweep(ClientCare::default());
    assert_eq!(service.count("clients"), 1, "the one that got a token lives as long as its grant");
    assert_eq!(register().status, 201);
}

#[test]
fn reg_20_21_what_a_client_is_told() {
    let service = Service::start();
    for path in ["/register", "/oauth/register"] {
        let body = json!({ "redirect_uris": ["http://127.0.0.1/cb"], "token_endpoint_auth_method": "none" });
        let answer = service.post_json(path, &body);
        assert_eq!((answer.status, answer.header("cache-control")), (201, Some("no-store")));
        let told = answer.json();
        assert!(told.get("client_secret").is_none());
        assert_eq!(told["redirect_uris"], body["redirect_uris"]);
        assert_eq!(told["client_id_issued_at"], 1_800_000_000);
        assert!(!told["client_id"].as_str().unwrap().starts_with("https://"));
    }
    let told = service.register(&json!({}));
    let secret = told["client_secret"].as_str().unwrap();
    assert_eq!((secret.len(), &told["client_secret_expires_at"]), (43, &json!(0)));
    assert!(!service.dump().contains(secret));
}

#[test]
fn reg_22_switched_off_nobody_registers_and_nothing_says_that_they_could() {
    let off = Some((|policy| policy.registration = Registration::Off) as fn(&mut Policy));
    let service = Service::with(&Options { policy: off, ..Options::default() });
    for path in ["/register", "/oauth/register"] {
        service.post_json(path, &json!({ "redirect_uris": ["https://a.example/cb"] })).fails(403, "access_denied");
    }
    let metadata = service.get("/.well-known/oauth-authorization-server").json();
    assert!(metadata.get("registration_endpoint").is_none());
    assert!(service.get("/").json()["endpoints"].get("registration").is_none());
    assert_eq!(service.count("clients"), 0);
}

#[test]
fn reg_23_a_token_registers_as_often_as_the_operator_said() {
    let token = Some((|policy| policy.registration = Registration::Token) as fn(&mut Policy));
    let service = Service::with(&Options { policy: token, ..Options::default() });
    let give = |uses| {
        let secret = Secret::random();
        let expires = service.clock.now() + Seconds(60);
        let token = InitialToken { hash: secret.hash(), note: None, created: service.clock.now(), expires, uses };
        service.commit(Change::InitialTokenIssued(token));
        secret
    };
    let register = |token: Option<&str>, body: &str| {
        let bearer = token.map(|token| format!("Bearer {token}")).unwrap_or_default();
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend(token.map(|_| ("Authorization", bearer.as_str())));
        service.connect().send("POST", "/register", &headers, body.as_bytes())
    };
    let refused = |answer: Answer| {
        answer.fails(401, "invalid_token");
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Bearer ") && challenge.contains("error=\"invalid_token\""), "{challenge}");
    };
    let (once, twice) = (give(1), give(2));
    refused(register(None, GOOD));
    refused(register(Some("wrong"), GOOD));
    refused(register(Some(""), GOOD));
    refused(register(Some("wrong"), "{"));
    // What is refused for another reason spends nothing.
    register(Some(once.expose()), "{}").fails(400, "invalid_redirect_uri");
    assert_eq!(register(Some(once.expose()), GOOD).status, 201);
    refused(register(Some(once.expose()), GOOD));
    assert_eq!(register(Some(twice.expose()), GOOD).status, 201);
    assert_eq!(register(Some(twice.expose()), GOOD).status, 201);
    refused(register(Some(twice.expose()), GOOD));
    let late = give(1);
    service.advance(60);
    refused(register(Some(late.expose()), GOOD));
    assert_eq!(service.count("clients"), 3);
    let metadata = service.get("/.well-known/oauth-authorization-server").json();
    assert!(metadata["registration_endpoint"].as_str().unwrap().ends_with("/register"));
}

#[test]
fn reg_23_of_two_who_use_one_token_at_the_same_time_one_registers() {
    let token = Some((|policy| policy.registration = Registration::Token) as fn(&mut Policy));
    let service = Service::with(&Options { policy: token, ..Options::default() });
    let secret = Secret::random();
    let now = service.clock.now();
    let token = InitialToken { hash: secret.hash(), note: None, created: now, expires: now + Seconds(60), uses: 1 };
    service.commit(Change::InitialTokenIssued(token));
    let bearer = format!("Bearer {}", secret.expose());
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let send = || {
            let headers = [("Content-Type", "application/json"), ("Authorization", bearer.as_str())];
            service.connect().send("POST", "/register", &headers, GOOD.as_bytes()).status
        };
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(send)).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(service.count("clients"), 1);
}

/// Sends a request about a registration; `uri` is the whole URL, as the server told it.
fn manage(service: &Service, method: &str, uri: &str, token: &str, body: &Value) -> Answer {
    let path = uri.strip_prefix(&service.issuer).expect("below the issuer");
    let bearer = format!("Bearer {token}");
    let headers = [("Content-Type", "application/json"), ("Authorization", bearer.as_str())];
    let body = if method == "PUT" { body.to_string() } else { String::new() };
    service.connect().send(method, path, &headers, body.as_bytes())
}

#[test]
fn rfc_7592_a_client_reads_replaces_and_removes_its_registration() {
    let service = Service::start();
    let told = service.register(&json!({ "client_uri": "https://a.example" }));
    let (id, uri) = (told["client_id"].as_str().unwrap(), told["registration_client_uri"].as_str().unwrap());
    let token = told["registration_access_token"].as_str().unwrap();
    assert!(!service.dump().contains(token));
    let read = manage(&service, "GET", uri, token, &json!({}));
    assert_eq!((read.status, read.header("cache-control")), (200, Some("no-store")));
    let read = read.json();
    for name in ["client_id", "client_id_issued_at", "redirect_uris", "client_uri", "registration_access_token"] {
        assert_eq!(read[name], told[name], "{name}");
    }
    assert!(read.get("client_secret").is_none(), "only its hash is kept");
    // A replacement: other metadata, another secret; the old one counts for a day.
    let body = json!({ "client_id": id, "client_name": "New", "redirect_uris": ["https://new.example/cb"] });
    let replaced = manage(&service, "PUT", uri, token, &body).json();
    assert_eq!((&replaced["client_name"], replaced.get("client_uri")), (&json!("New"), None));
    let (old, new) = (told["client_secret"].as_str().unwrap(), replaced["client_secret"].as_str().unwrap());
    assert_ne!(old, new);
    let authenticates = |secret: &str| {
        let form =
            [("grant_type", "refresh_token"), ("refresh_token", "x"), ("client_id", id), ("client_secret", secret)];
        service.post("/oauth/token", &form).json()["error"] == "invalid_grant"
    };
    assert!(authenticates(old) && authenticates(new) && !authenticates("wrong"));
    service.advance(24 * 3600);
    assert!(!authenticates(old) && authenticates(new));
    let page = service.get(&authorize_url(id, &[]));
    page.is_page(400);
    service.get(&authorize_url(id, &[("redirect_uri", "https://new.example/cb")])).is_page(200);
    // Removed, with everything that it was given.
    let removed = manage(&service, "DELETE", uri, token, &json!({}));
    assert_eq!((removed.status, removed.body.len()), (204, 0));
    assert!(!authenticates(new));
    manage(&service, "GET", uri, token, &json!({})).fails(401, "invalid_token");
    assert_eq!(service.count("clients"), 0);
}

#[test]
fn rfc_7592_a_removed_clients_tokens_are_dead() {
    let service = Service::start();
    let told = service.register(&json!({ "token_endpoint_auth_method": "none" }));
    let (uri, token) = (&told["registration_client_uri"], &told["registration_access_token"]);
    let tokens = service.tokens(told["client_id"].as_str().unwrap());
    let access = tokens["access_token"].as_str().unwrap();
    assert!(service.is_alive(access));
    let answer = manage(&service, "DELETE", uri.as_str().unwrap(), token.as_str().unwrap(), &json!({}));
    assert_eq!(answer.status, 204);
    assert!(!service.is_alive(access));
}

#[test]
fn reg_24_foreign_tokens_and_guessed_clients_get_the_same_answer() {
    let service = Service::start();
    let (one, other) = (service.register(&json!({})), service.register(&json!({})));
    let uri = one["registration_client_uri"].as_str().unwrap();
    let foreign = other["registration_access_token"].as_str().unwrap();
    let guess = format!("{}/register/c_00000000-0000-0000-0000-000000000000", service.issuer);
    let body = json!({ "client_id": one["client_id"], "redirect_uris": ["https://evil.example/cb"] });
    for method in ["GET", "PUT", "DELETE"] {
        let answers = [(uri, foreign), (uri, ""), (uri, "x"), (guess.as_str(), foreign)].map(|(uri, token)| {
            let answer = manage(&service, method, uri, token, &body);
            answer.fails(401, "invalid_token");
            (answer.text(), answer.header("www-authenticate").unwrap().to_owned())
        });
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    let answer = service.connect().send("POST", uri.strip_prefix(&service.issuer).unwrap(), &[], b"");
    answer.fails(405, "invalid_request");
    assert_eq!(answer.header("allow"), Some("GET, PUT, DELETE, OPTIONS"));
    assert_eq!(service.count("clients"), 2);
}
