//! UI: login, consent, set-up and error pages.

use serde_json::json;
use shared::secret::Secret;
use shared::state::{Change, Wanted};
use shared::time::Seconds;

use crate::support::person::{Form, Person};
use crate::support::{Options, PASSWORD, REDIRECT, Service, authorize_url};

#[test]
fn ui_01_05_06_without_a_session_there_is_a_login_page_and_no_code() {
    let service = Service::start();
    let client = service.public_client();
    let page = service.get(&authorize_url(&client, &[]));
    page.is_page(200);
    let text = page.text();
    assert!(text.contains("name=\"username\"") && text.contains("autocomplete=\"current-password\""));
    assert_eq!(text.matches("src=").count(), 1, "the script for passkeys");
    for source in ["http://fonts", "https://", "url("] {
        assert!(!text.contains(source), "{source}");
    }
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("form-action 'self' https: http://127.0.0.1:49152;"), "{policy}");
    assert_eq!(service.count("codes"), 0);
}

#[test]
fn ui_03_a_login_without_its_own_proof_is_refused() {
    let service = Service::start();
    let client = service.public_client();
    let (mut ada, mut eve) = (Person::new(&service), Person::new(&service));
    let url = authorize_url(&client, &[]);
    let form = Form::first(&ada.get(&url)).with("username", "ada").with("password", PASSWORD);
    let foreign = Form::first(&eve.get(&url));
    for forged in [
        form.clone().without("csrf"),
        form.clone().without("transaction"),
        form.clone().with("csrf", foreign.field("csrf")),
        foreign.clone().with("username", "ada").with("password", PASSWORD),
    ] {
        ada.submit(&forged).is_page(403);
    }
    Person::new(&service).submit(&form).is_page(403);
    let (here, other) = (format!("http://{}", service.address), "https://evil.example");
    for elsewhere in [
        &[("Origin", other)][..],
        &[("Origin", other), ("Sec-Fetch-Site", "cross-site")],
        &[("Origin", "null"), ("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site")],
    ] {
        ada.submit_with(&form, elsewhere).is_page(403);
    }
    assert_eq!(service.count("sessions"), 0);
    for from_here in [
        &[("Origin", here.as_str()), ("Sec-Fetch-Site", "same-origin")][..],
        &[("Origin", service.issuer.as_str())],
        &[("Origin", "null"), ("Sec-Fetch-Site", "same-origin")],
        &[],
    ] {
        assert_eq!(ada.submit_with(&form, from_here).status, 303);
    }
}

#[test]
fn ui_04_15_each_consent_page_has_its_own_transaction() {
    let service = Service::start();
    let (one, other) = (service.public_client(), service.public_client());
    let mut ada = service.signed_in();
    let first = Form::first(&ada.get(&authorize_url(&one, &[]))).with("decision", "allow");
    let second = Form::first(&ada.get(&authorize_url(&other, &[]))).with("decision", "allow");
    for forged in [
        first.clone().without("csrf"),
        first.clone().with("csrf", second.field("csrf")),
        first.clone().with("transaction", second.field("transaction")),
    ] {
        ada.submit(&forged).is_page(403);
    }
    service.signed_in().submit(&first).is_page(403);
    ada.submit(&first.clone().without("decision")).is_page(400);
    ada.submit(&first.clone().with("decision", "perhaps")).is_page(400);
    assert_eq!(service.count("codes"), 0);
    let code = ada.submit(&first).redirected("code").unwrap();
    assert_eq!(service.count("codes"), 1, "the other page is not approved by this one");
    service.exchange(&other, &code).fails(400, "invalid_grant");
    assert_eq!(service.exchange(&one, &code).status, 200);
}

#[test]
fn ui_07_the_session_cookie_is_closed_and_new_after_login() {
    let service = Service::start();
    let client = service.public_client();
    let mut ada = Person::new(&service);
    ada.cookies.push(("authz_session".into(), "x".repeat(43)));
    let answer = ada.sign_in(&authorize_url(&client, &[]), "ada", PASSWORD);
    let cookie = answer.all("set-cookie").find(|cookie| cookie.starts_with("authz_session=")).unwrap();
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let value = ada.cookie("authz_session").unwrap();
    assert!(value.len() == 43 && value != "x".repeat(43), "a planted value does not become a session");
    let hash = Secret::new(value.to_owned()).hash();
    assert!(service.facts(&Wanted { session: Some(hash), ..Wanted::default() }).session.is_some());
}

#[test]
fn ui_08_a_wrong_password_and_an_unknown_name_look_the_same() {
    let service = Service::start();
    let client = service.public_client();
    let url = authorize_url(&client, &[]);
    let page = |name: &str, password: &str| {
        let answer = Person::new(&service).sign_in(&url, name, password);
        answer.is_page(403);
        let text = answer.text();
        let alert = text.split("role=\"alert\"").nth(1).unwrap().split("</p>").next().unwrap().to_owned();
        (alert, answer.headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>())
    };
    let wrong = page("ada", "wrong");
    for (name, password) in
        [("nobody", "wrong"), ("no body", "wrong"), ("ada", ""), ("<b>", "x"), ("ada", &"x".repeat(2000))]
    {
        assert_eq!(page(name, password), wrong, "{name}");
    }
    assert_eq!(service.count("sessions"), 0);
}

#[test]
fn ui_08_too_many_failed_logins_wait_and_others_do_not() {
    let service = Service::with(&Options { limits: true, ..Options::default() });
    let client = service.public_client();
    let url = authorize_url(&client, &[]);
    let mut eve = Person::new(&service);
    let limited = (0..20).map(|_| eve.sign_in(&url, "ada", "wrong")).find(|answer| answer.status == 429);
    assert!(limited.unwrap().header("retry-after").is_some());
    assert_eq!(eve.sign_in(&url, "ada", PASSWORD).status, 429, "also with the right password");
    assert_eq!(eve.sign_in(&url, "bob", "wrong").status, 403);
    service.advance(60);
    assert_eq!(eve.sign_in(&url, "ada", PASSWORD).status, 303);
}

#[test]
fn ui_09_credentials_in_a_query_are_not_processed() {
    let service = Service::start();
    let client = service.public_client();
    let answer = service.get("/login?username=ada&password=correct+horse");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    service.get(&authorize_url(&client, &[("username", "ada"), ("password", PASSWORD)])).is_page(200);
    assert_eq!(service.count("sessions"), 0);
}

#[test]
fn ui_10_deny_goes_back_with_an_error_and_is_not_remembered() {
    let service = Service::start();
    let client = service.public_client();
    let mut ada = service.signed_in();
    let answer = ada.consent(&authorize_url(&client, &[]), "deny");
    assert_eq!(answer.status, 303);
    assert!(answer.header("location").unwrap().starts_with(REDIRECT));
    assert_eq!(answer.redirected("error").as_deref(), Some("access_denied"));
    assert_eq!(answer.redirected("state").as_deref(), Some("the-state"));
    assert_eq!(answer.redirected("iss").as_ref(), Some(&service.issuer));
    assert_eq!((answer.redirected("code"), service.count("codes"), service.count("grants")), (None, 0, 0));
    ada.get(&authorize_url(&client, &[])).is_page(200);
}

#[test]
fn ui_11_reg_12_the_consent_page_tells_everything_and_escapes_it() {
    let service = Service::start();
    let name = "<img src=x onerror=alert(1)>\"'\u{202e}";
    let registered = service.register(&json!({ "client_name": name, "redirect_uris": ["https://app.example/cb"] }));
    let client = registered["client_id"].as_str().unwrap();
    let more = [("redirect_uri", "https://app.example/cb"), ("scope", "mcp:tools:read offline_access")];
    let page = service.signed_in().get(&authorize_url(client, &more));
    page.is_page(200);
    let text = page.text();
    for part in [
        "&lt;img src=x onerror=alert(1)&gt;",
        "Nobody has checked this app",
        "app.example",
        "urn:mcp:stdio:default",
        "Read with the server&#x27;s tools",
        "Keep this access while you are away",
        "<strong><bdi>ada</bdi></strong>",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("<img") && !text.contains('\u{202e}'));
    assert!(!text.contains("Run the server"), "only what is asked for");
    let error = service.signed_in().get(&authorize_url("<script>", &[]));
    error.is_page(400);
}

#[test]
fn ui_10_a_page_that_was_answered_with_no_takes_no_yes() {
    let service = Service::start();
    let client = service.public_client();
    let mut ada = service.signed_in();
    let page = ada.get(&authorize_url(&client, &[]));
    let press = |ada: &mut Person<'_>, word: &str| ada.submit(&Form::first(&page).with("decision", word));
    assert_eq!(press(&mut ada, "deny").redirected("error").as_deref(), Some("access_denied"));
    for word in ["allow", "deny"] {
        let answer = press(&mut ada, word);
        answer.is_page(400);
        assert!(answer.text().contains("answered"), "{}", answer.text());
    }
    assert_eq!((service.count("codes"), service.count("grants")), (0, 0));
    // Another page is another question.
    assert!(ada.consent(&authorize_url(&client, &[]), "allow").redirected("code").is_some());
}

#[test]
fn ui_13_an_old_page_is_refused() {
    let service = Service::start();
    let client = service.public_client();
    let mut ada = service.signed_in();
    let form = Form::first(&ada.get(&authorize_url(&client, &[]))).with("decision", "allow");
    let mut bob = Person::new(&service);
    let login = Form::first(&bob.get(&authorize_url(&client, &[]))).with("username", "ada").with("password", PASSWORD);
    service.advance(601);
    let page = ada.submit(&form);
    page.is_page(400);
    assert!(page.text().contains("expired"), "{}", page.text());
    bob.submit(&login).is_page(400);
    assert_eq!((service.count("codes"), service.count("sessions")), (0, 1));
}

#[test]
fn ui_14_logout_ends_the_session_for_good_and_asks_who_is_next() {
    let service = Service::start();
    let client = service.public_client();
    let mut ada = service.signed_in();
    let before = ada.cookies.clone();
    let page = ada.get(&authorize_url(&client, &[])).text();
    let (consent, logout) = (Form::nth(&page, 0).with("decision", "allow"), Form::nth(&page, 1));
    assert_eq!(logout.action, "/logout");
    ada.submit(&logout.clone().without("csrf")).is_page(403);
    let answer = ada.submit(&logout);
    assert_eq!((answer.status, service.count("sessions")), (303, 0));
    assert_eq!(ada.cookie("authz_session"), None);
    assert!(ada.get(answer.header("location").unwrap()).text().contains("name=\"password\""));
    ada.cookies = before;
    ada.submit(&consent).is_page(403);
    assert_eq!(service.count("codes"), 0);
}

#[test]
fn ui_17_a_changed_password_ends_the_session_before_the_consent() {
    let service = Service::start();
    let client = service.public_client();
    let mut ada = service.signed_in();
    let form = Form::first(&ada.get(&authorize_url(&client, &[]))).with("decision", "allow");
    service.commit(Change::PasswordChanged { user: "ada".parse().unwrap(), password: "x".into() });
    ada.submit(&form).is_page(403);
    assert_eq!(service.count("codes"), 0);
}

#[test]
fn ui_18_an_error_page_has_plain_words_and_a_request_id() {
    let service = Service::start();
    let page = service.get("/oauth/authorize?client_id=%3Cscript%3E");
    page.is_page(400);
    assert!(page.text().contains("Request <code>") && !page.text().contains("actix"));
}

#[test]
fn a_page_is_answered_once() {
    let service = Service::start();
    let client = service.public_client();
    let mut ada = service.signed_in();
    let form = Form::first(&ada.get(&authorize_url(&client, &[]))).with("decision", "allow");
    assert_eq!(ada.submit(&form).status, 303);
    let again = ada.submit(&form);
    again.is_page(400);
    assert!(again.text().contains("answered already"));
    assert_eq!((service.count("codes"), service.count("grants")), (1, 1));
}

#[test]
fn the_one_time_link_makes_the_owner_and_nobody_else() {
    let service = Service::with(&Options { empty: true, ..Options::default() });
    let link = Secret::random();
    let now = shared::time::Clock::now(service.clock.as_ref());
    service.commit(authz_service::protocol::setup::offer(&link, &service.app.policy, now));
    let url = format!("/setup?token={}", link.expose());
    let mut ada = Person::new(&service);
    ada.get("/setup?token=wrong").is_page(400);
    ada.get("/setup").is_page(400);
    let page = ada.get(&url);
    page.is_page(200);
    let form = Form::first(&page).with("username", "ada");
    let short = ada.submit(&form.clone().with("password", "short"));
    short.is_page(400);
    assert!(short.text().contains("Choose a password of at least 8 characters."), "{}", short.text());
    let form = form.with("password", PASSWORD);
    ada.submit(&form).is_page(200);
    let user = service.facts(&Wanted { user: Some("ada".parse().unwrap()), ..Wanted::default() }).user.unwrap();
    assert!(user.admin);
    assert!(!user.password.unwrap().contains(PASSWORD));
    let client = service.public_client();
    assert!(ada.get(&authorize_url(&client, &[])).text().contains("Allow access?"), "signed in at once");
    Person::new(&service).submit(&form.with("username", "eve")).is_page(400);
    ada.get(&url).is_page(400);
    assert_eq!(service.count("users"), 1);
}

#[test]
fn a_session_ends_after_twelve_hours() {
    let service = Service::start();
    let client = service.public_client();
    let mut ada = service.signed_in();
    service.clock.set(crate::support::START + Seconds(12 * 3600));
    assert!(ada.get(&authorize_url(&client, &[])).text().contains("name=\"password\""));
}
