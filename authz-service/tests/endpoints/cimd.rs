//! CIM: clients that name themselves by the URL of a metadata document.

use serde_json::{Value, json};
use shared::state::{ClientOrigin, Wanted};

use crate::support::documents::{Documents, document, ok, with};
use crate::support::http::Answer;
use crate::support::person::Form;
use crate::support::{Options, REDIRECT, Service, authorize_url, claims, code_form, eventually};

fn service() -> Service {
    Service::with(&Options { policy: Some(|policy| policy.cimd.local = true), ..Options::default() })
}

/// Asks for a client in a browser in which ada is signed in.
fn ask(service: &Service, client: &str) -> Answer {
    service.signed_in().get(&authorize_url(client, &[]))
}

#[track_caller]
fn refused(service: &Service, client: &str) -> String {
    let page = ask(service, client);
    page.is_page(400);
    assert!(page.text().contains("invalid_client"), "{}", page.text());
    page.text()
}

#[test]
fn cim_01_to_17_a_client_by_its_document_from_the_first_page_to_a_refresh() {
    let (documents, service) = (Documents::serve(), service());
    let client = documents.url("/client.json");
    let login = service.get(&authorize_url(&client, &[]));
    login.is_page(200);
    assert!(login.text().contains("Documented"));
    let page = ask(&service, &client);
    page.is_page(200);
    // CIM-17, UI-11: the host of the document and of the redirect URI.
    assert!(page.text().contains("described at <strong><bdi>127.0.0.1</bdi>"), "{}", page.text());
    assert_eq!(service.count("clients"), 0, "nobody has said yes");
    let tokens = service.tokens(&client);
    assert_eq!(claims(tokens["access_token"].as_str().unwrap())["client_id"], client);
    assert_eq!(service.count("clients"), 1);
    let refreshed = service.refresh(&client, tokens["refresh_token"].as_str().unwrap(), &[]);
    assert_eq!(refreshed.status, 200, "{}", refreshed.text());
    let stored = service.facts(&Wanted { client: client.parse().ok(), ..Wanted::default() }).client.unwrap();
    assert_eq!((stored.origin, stored.approved_at.is_some()), (ClientOrigin::MetadataDocument, true));
    // One fetch served all of that, and nothing of ours went along.
    assert_eq!(documents.requests(), 1);
    let head = &documents.heads()[0];
    assert!(
        head.contains("accept: application/json") && !head.contains("cookie") && !head.contains("referer"),
        "{head}"
    );
}

#[test]
fn cim_01_03_04_05_06_08_09_what_is_no_document_is_a_page_and_never_cached() {
    let (documents, service) = (Documents::serve(), service());
    let client = documents.url("/client.json");
    let good = document(documents.address, "/client.json");
    let changed = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        ok(&body)
    };
    let json = "Content-Type: application/json\r\n";
    let elsewhere = format!("{json}Location: {}\r\n", documents.url("/other.json"));
    // Good but for its length: what is refused is refused for that.
    let long = |length: usize| format!("{good:length$}", good = good.to_string());
    let endless = format!("HTTP/1.1 200 OK\r\n{json}Connection: close\r\n\r\n{}", long(5121));
    let chunked =
        format!("HTTP/1.1 200 OK\r\n{json}Transfer-Encoding: chunked\r\n\r\n1401\r\n{}\r\n0\r\n\r\n", long(5121));
    let cases = [
        changed("client_id", json!(documents.url("/client.json?x"))),
        changed("client_id", json!("https://app.example/client.json")),
        changed("client_secret", json!("s")),
        changed("token_endpoint_auth_method", json!("client_secret_basic")),
        changed("client_name", json!(1)),
        changed("redirect_uris", json!([])),
        changed("redirect_uris", json!("https://app.example/cb")),
        with("302 Found", &elsewhere, &good.to_string()),
        with("307 Temporary Redirect", &elsewhere, ""),
        with("404 Not Found", json, &good.to_string()),
        with("500 Internal Server Error", json, &good.to_string()),
        with("200 OK", "Content-Type: text/html\r\n", &good.to_string()),
        with("200 OK", "Content-Type: image/png\r\n", &good.to_string()),
        with("200 OK", "", &good.to_string()),
        with("200 OK", json, "{"),
        with("200 OK", json, &long(5121)),
        endless.into_bytes(),
        chunked.into_bytes(),
        b"HTTP/1.1 200 OK\r\n".to_vec(),
        Vec::new(),
    ];
    let count = cases.len();
    for (at, answer) in cases.into_iter().enumerate() {
        let text = String::from_utf8_lossy(&answer).into_owned();
        documents.answer(move |_| answer.clone());
        refused(&service, &client);
        assert_eq!(documents.requests(), at + 1, "fetched anew, and once: {text:.200}");
    }
    assert_eq!(service.count("clients"), 0);
    documents.answer(move |_| ok(&good));
    ask(&service, &client).is_page(200);
    assert_eq!(documents.requests(), count + 1);
}

#[test]
fn cim_06_5_kib_is_the_longest_document() {
    let (documents, service) = (Documents::serve(), service());
    let address = documents.address;
    documents.answer(move |path| {
        let wanted = path.trim_start_matches("/").parse::<usize>().unwrap();
        let headers = "Content-Type: application/json\r\n";
        with("200 OK", headers, &format!("{:wanted$}", document(address, path).to_string()))
    });
    ask(&service, &documents.url("/5120")).is_page(200);
    refused(&service, &documents.url("/5121"));
}

#[test]
fn cim_02_11_12_urls_that_are_not_fetched() {
    let documents = Documents::serve();
    let service = Service::start();
    let port = documents.address.port();
    for url in [
        format!("https://127.0.0.1:{port}/c"),
        format!("https://localhost:{port}/c"),
        format!("https://[::1]:{port}/c"),
        format!("https://[::ffff:127.0.0.1]:{port}/c"),
        format!("https://2130706433:{port}/c"),
        "https://10.0.0.1/c".into(),
        "https://169.254.169.254/latest/meta-data".into(),
        "https://a.example".into(),
        "https://a.example/".into(),
        "https://a.example/../c".into(),
        "https://a.example/c#f".into(),
        "https://u:p@a.example/c".into(),
        "HTTPS://a.example/c".into(),
        documents.url("/c"),
    ] {
        refused(&service, &url);
    }
    assert_eq!(documents.requests(), 0);
    // A name that leads inside says no more than one that leads nowhere.
    let inside = refused(&service, &format!("https://localhost:{port}/c"));
    assert!(inside.contains("its metadata document cannot be fetched"), "{inside}");
    let service = Service::with(&Options {
        issuer: Some("https://as.example"),
        policy: Some(|policy| policy.cimd.local = true),
        ..Options::default()
    });
    refused(&service, "https://as.example/c");
    refused(&service, "https://AS.example:443/c");
}

#[test]
fn cim_07_a_server_that_answers_nothing_is_waited_for_5_seconds() {
    let (documents, service) = (Documents::serve(), service());
    documents.gate(false);
    let (client, started) = (documents.url("/c"), std::time::Instant::now());
    let page = refused(&service, &client);
    assert!(page.contains("did not arrive in time"), "{page}");
    assert!((4..8).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    documents.gate(true);
}

#[test]
fn cim_07_a_byte_a_second_in_head_or_body_is_waited_for_5_seconds_in_all() {
    for head_at_once in [false, true] {
        let (documents, service) = (Documents::serve(), service());
        documents.trickle(std::time::Duration::from_secs(1), head_at_once);
        let started = std::time::Instant::now();
        let page = refused(&service, &documents.url("/c"));
        assert!(page.contains("did not arrive in time"), "{page}");
        assert!((4..8).contains(&started.elapsed().as_secs()), "{head_at_once}: {:?}", started.elapsed());
    }
}

#[test]
fn cim_10_a_redirect_uri_that_is_not_in_the_document_is_a_page() {
    let (documents, service) = (Documents::serve(), service());
    let client = documents.url("/c");
    let page = service.signed_in().get(&authorize_url(&client, &[("redirect_uri", "https://evil.example/cb")]));
    page.is_page(400);
    assert!(page.text().contains("invalid_request"));
    // Nobody vouches for the client, so no error is sent to it before a login (C4).
    service.get(&authorize_url(&client, &[("scope", "nonsense")])).is_page(400);
}

#[test]
fn cim_13_100_clients_of_one_host_are_fetched_4_at_a_time_and_others_are_served() {
    let (documents, service) = (Documents::serve(), service());
    documents.gate(false);
    let known = service.public_client();
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..100)
            .map(|n| {
                let (service, client) = (&service, documents.url(&format!("/{n}")));
                scope.spawn(move || service.get(&authorize_url(&client, &[])).status)
            })
            .collect();
        eventually("four are fetched", || documents.requests() == 4);
        service.get(&authorize_url(&known, &[])).is_page(200);
        documents.gate(true);
        for one in asked {
            assert!(matches!(one.join().unwrap(), 200 | 400));
        }
    });
    assert_eq!(documents.most(), 4);
}

#[test]
fn cim_14_one_fetch_for_all_who_wait_and_a_new_one_when_the_time_is_over() {
    let (documents, service) = (Documents::serve(), service());
    let address = documents.address;
    documents.answer(move |path| {
        let headers = "Content-Type: application/json\r\nCache-Control: max-age=60\r\n";
        with("200 OK", headers, &document(address, path).to_string())
    });
    documents.gate(false);
    let client = documents.url("/c");
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..20)
            .map(|_| {
                let (service, client) = (&service, &client);
                scope.spawn(move || service.get(&authorize_url(client, &[])).status)
            })
            .collect();
        eventually("one is fetched", || documents.requests() == 1);
        documents.gate(true);
        assert!(asked.into_iter().all(|one| one.join().unwrap() == 200));
    });
    assert_eq!(documents.requests(), 1);
    service.advance(59);
    assert_eq!(service.get(&authorize_url(&client, &[])).status, 200);
    assert_eq!(documents.requests(), 1);
    assert_eq!(service.get(&authorize_url(&documents.url("/c?"), &[])).status, 200);
    assert_eq!(documents.requests(), 2, "the key is the exact URL");
    service.advance(1);
    assert_eq!(service.get(&authorize_url(&client, &[])).status, 200);
    assert_eq!(documents.requests(), 3);
}

#[test]
fn cim_15_off_urls_are_unknown_clients_and_trusted_domains_are_the_only_ones() {
    let documents = Documents::serve();
    let choose: [fn(&mut authz_service::protocol::Policy); 2] = [
        |policy| (policy.cimd.local, policy.cimd.on) = (true, false),
        |policy| (policy.cimd.local, policy.cimd.trusted) = (true, vec!["app.example".into()]),
    ];
    for (policy, flag) in choose.into_iter().zip([None, Some(true)]) {
        let service = Service::with(&Options { policy: Some(policy), ..Options::default() });
        refused(&service, &documents.url("/c"));
        let metadata = service.get("/.well-known/oauth-authorization-server").json();
        assert_eq!(metadata.get("client_id_metadata_document_supported").and_then(Value::as_bool), flag);
    }
    assert_eq!(documents.requests(), 0);
}

#[test]
fn ui_12_an_app_that_only_a_program_on_this_computer_answers_for_is_marked() {
    let (documents, service) = (Documents::serve(), service());
    let warning = "any program can say that it is this app";
    assert!(!ask(&service, &documents.url("/c")).text().contains(warning));
    let address = documents.address;
    documents.answer(move |path| {
        let mut body = document(address, path);
        body["redirect_uris"] = json!(["http://127.0.0.1/cb", "http://localhost/cb"]);
        ok(&body)
    });
    assert!(ask(&service, &documents.url("/d")).text().contains(warning));
}

#[test]
fn n15_a_document_that_changes_behind_the_page_asks_again() {
    let (documents, service) = (Documents::serve(), service());
    let address = documents.address;
    let client = documents.url("/c");
    let named = move |name: &'static str| {
        move |path: &str| {
            let mut body = document(address, path);
            body["client_name"] = json!(name);
            with("200 OK", "Content-Type: application/json\r\nCache-Control: no-store\r\n", &body.to_string())
        }
    };
    documents.answer(named("One"));
    let mut ada = service.signed_in();
    let page = ada.get(&authorize_url(&client, &[]));
    documents.answer(named("Another"));
    let answer = ada.submit(&Form::first(&page).with("decision", "allow"));
    answer.is_page(400);
    assert!(answer.text().contains("expired"), "{}", answer.text());
    assert_eq!(service.count("grants"), 0);
    // A new page shows the new name; a yes to it is kept with it.
    let answer = ada.consent(&authorize_url(&client, &[]), "allow");
    let code = answer.redirected("code").unwrap();
    assert_eq!(service.post("/oauth/token", &code_form(&client, &code)).status, 200);
    let stored = service.facts(&Wanted { client: client.parse().ok(), ..Wanted::default() }).client.unwrap();
    assert_eq!(stored.name.as_deref(), Some("Another"));
    assert!(answer.header("location").unwrap().starts_with(REDIRECT));
}
