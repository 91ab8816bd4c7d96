//! "Connected apps": what a person sees, and what the buttons do.

use serde_json::json;
use shared::state::{Change, UserStage, Wanted};

use crate::support::person::{Form, Person};
use crate::support::{Options, PASSWORD, Service, authorize_url, user};

/// The form whose text holds `words`.
#[track_caller]
fn form(page: &str, words: &str) -> Form {
    let at = page.split("<form").skip(1).position(|form| form.split("</form>").next().unwrap().contains(words));
    Form::nth(page, at.unwrap_or_else(|| panic!("no form with {words:?} in {page}")))
}

/// Presses a button of the account page.
fn press(person: &mut Person<'_>, value: &str) -> crate::support::http::Answer {
    let page = person.get("/account").text();
    let form = form(&page, &format!("value=\"{value}\"")).with("action", value);
    person.submit(&form)
}

#[test]
fn the_account_page_asks_who_is_there_and_comes_back() {
    let service = Service::start();
    let mut ada = Person::new(&service);
    let page = ada.get("/account");
    page.is_page(200);
    assert!(page.text().contains("Sign in to go on to your page."));
    let wrong = ada.sign_in("/account", "ada", "wrong");
    wrong.is_page(403);
    let answer = ada.submit(&Form::first(&wrong).with("username", "ada").with("password", PASSWORD));
    assert_eq!((answer.status, answer.header("location")), (303, Some("/account")));
    let page = ada.get("/account");
    page.is_page(200);
    assert!(page.text().contains("No app has access"), "{}", page.text());
    assert!(page.text().contains("In 1 browser, counting this one."));
}

#[test]
fn a_person_sees_each_app_in_words_and_takes_back_one_or_all() {
    let service = Service::start();
    let name = "<b>Evil\u{202e}";
    let body =
        json!({ "client_name": name, "token_endpoint_auth_method": "none", "redirect_uris": ["http://127.0.0.1/cb"] });
    let evil = service.register(&body)["client_id"].as_str().unwrap().to_owned();
    let (one, other) = (service.public_client(), service.public_client());
    let tokens =
        [&evil, &one, &other].map(|client| service.tokens(client)["access_token"].as_str().unwrap().to_owned());
    let mut ada = service.signed_in();
    let page = ada.get("/account");
    page.is_page(200);
    let text = page.text();
    for part in [
        "&lt;b&gt;Evil</bdi>",
        "It chose this name itself",
        "<bdi>127.0.0.1</bdi>",
        "urn:mcp:stdio:default",
        "Run the server&#x27;s tools",
        "Allowed 2027-01-15 08:00 UTC; it last got a token 2027-01-15 08:00 UTC; ends 2027-04-15 08:00 UTC at the latest.",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("<b>") && !text.contains('\u{202e}'));
    // One.
    let answer = ada.submit(&form(&text, &format!("value=\"{one}\"")).with("action", "revoke"));
    assert_eq!((answer.status, answer.header("location")), (303, Some("/account?done=revoked")));
    assert_eq!(tokens.clone().map(|token| service.is_alive(&token)), [true, false, true]);
    let text = ada.get("/account?done=revoked").text();
    assert!(text.contains("Access was taken back") && !text.contains(&one), "{text}");
    assert!(!ada.get("/account?done=%3Cb%3E").text().contains("role=\"status\""), "only words of ours");
    // All.
    assert_eq!(press(&mut ada, "revoke-all").status, 303);
    assert_eq!(tokens.map(|token| service.is_alive(&token)), [false; 3]);
    assert!(ada.get("/account").text().contains("No app has access"));
}

#[test]
fn a_person_reaches_only_what_is_theirs() {
    let service = Service::start();
    let client = service.public_client();
    let token = service.tokens(&client)["access_token"].as_str().unwrap().to_owned();
    service.commit(Change::UserCreated(user("bob", None)));
    let mut bob = service.signed_in_as("bob");
    let page = bob.get("/account").text();
    assert!(page.contains("No app has access") && !page.contains(&client));
    let forged = form(&page, "sign-out-everywhere").with("action", "revoke").with("client", &client);
    assert_eq!(bob.submit(&forged).status, 303);
    assert!(service.is_alive(&token), "ada gave it");
}

#[test]
fn ui_03_a_button_without_its_own_proof_does_nothing() {
    let service = Service::start();
    let token = service.tokens(&service.public_client())["access_token"].as_str().unwrap().to_owned();
    let (mut ada, mut elsewhere) = (service.signed_in(), service.signed_in());
    let good = form(&ada.get("/account").text(), "revoke-all").with("action", "revoke-all");
    let foreign = form(&elsewhere.get("/account").text(), "revoke-all");
    for forged in [
        good.clone().without("csrf"),
        good.clone().without("transaction"),
        good.clone().with("csrf", foreign.field("csrf")),
        foreign.clone().with("action", "revoke-all"),
    ] {
        ada.submit(&forged).is_page(403);
    }
    Person::new(&service).submit(&good).is_page(403);
    ada.submit_with(&good, &[("Sec-Fetch-Site", "cross-site")]).is_page(403);
    // The fields of one kind of page are no good on another.
    let consent = Form::first(&ada.get(&authorize_url(&service.public_client(), &[])));
    let mut mixed = good.clone().with("csrf", consent.field("csrf"));
    mixed = mixed.with("transaction", consent.field("transaction"));
    ada.submit(&mixed).is_page(403);
    for word in ["", "nonsense", "Revoke"] {
        ada.submit(&good.clone().with("action", word)).is_page(400);
    }
    ada.submit(&good.clone().with("action", "revoke").with("client", "\u{1}")).is_page(400);
    assert!(service.is_alive(&token));
    assert_eq!(ada.submit(&good).status, 303);
    assert!(!service.is_alive(&token));
}

#[test]
fn ui_14_signing_out_here_and_everywhere_ends_sessions_in_the_store() {
    let service = Service::start();
    let (mut here, mut there) = (service.signed_in(), service.signed_in());
    let token = service.tokens(&service.public_client())["access_token"].as_str().unwrap().to_owned();
    let out = form(&here.get("/account").text(), "Sign out</button>");
    assert_eq!(out.action, "/logout");
    here.submit(&out).is_page(200);
    assert_eq!(here.cookie("authz_session"), None);
    assert!(there.get("/account").text().contains("Connected apps"));
    let mut third = service.signed_in();
    press(&mut third, "sign-out-everywhere").is_page(200);
    assert_eq!(service.count("sessions"), 0);
    assert!(there.get("/account").text().contains("name=\"password\""), "the other browser too");
    assert!(service.is_alive(&token), "apps keep what they were given");
}

#[test]
fn a_new_password_needs_the_old_one_and_ends_everything_else() {
    let service = Service::start();
    let token = service.tokens(&service.public_client())["access_token"].as_str().unwrap().to_owned();
    let (mut ada, mut other) = (service.signed_in(), service.signed_in());
    let empty = form(&ada.get("/account").text(), "name=\"current\"");
    let ask = |current: &str, new: &str| empty.clone().with("current", current).with("password", new);
    for (form, words) in [
        (ask("wrong", "a new password"), "The current password is wrong."),
        (ask(PASSWORD, "short"), "Choose a password of at least 8 characters."),
        (ask("", "a new password"), "The current password is wrong."),
    ] {
        let page = ada.submit(&form);
        page.is_page(400);
        assert!(page.text().contains(words), "{}", page.text());
    }
    assert!(service.is_alive(&token));
    let answer = ada.submit(&ask(PASSWORD, "a new password"));
    assert_eq!((answer.status, answer.header("location")), (303, Some("/account?done=password")));
    assert!(ada.get("/account").text().contains("In 1 browser"), "this browser goes on, with a new cookie");
    assert!(other.get("/account").text().contains("name=\"password\"") && !service.is_alive(&token));
    Person::new(&service).sign_in("/account", "ada", PASSWORD).is_page(403);
    assert_eq!(Person::new(&service).sign_in("/account", "ada", "a new password").status, 303);
}

#[test]
fn ui_08_guessing_the_current_password_is_slowed_down_like_a_login() {
    let service = Service::with(&Options { limits: true, ..Options::default() });
    let mut eve = service.signed_in();
    let form = form(&eve.get("/account").text(), "name=\"current\"");
    let guess = form.with("current", "wrong").with("password", "a new password");
    let limited = (0..20).map(|_| eve.submit(&guess)).find(|answer| answer.status == 429);
    assert!(limited.unwrap().header("retry-after").is_some());
}

#[test]
fn ui_17_a_disabled_account_is_out_everywhere_before_the_consent_too() {
    let service = Service::start();
    let client = service.public_client();
    let token = service.tokens(&client)["access_token"].as_str().unwrap().to_owned();
    let mut ada = service.signed_in();
    let consent = Form::first(&ada.get(&authorize_url(&client, &[]))).with("decision", "allow");
    let button = form(&ada.get("/account").text(), "revoke-all").with("action", "revoke-all");
    service.commit(Change::UserStageSet { user: "ada".parse().unwrap(), stage: UserStage::Disabled });
    let codes = service.count("codes");
    ada.submit(&consent).is_page(403);
    ada.submit(&button).is_page(403);
    assert_eq!(service.count("codes"), codes);
    assert!(!service.is_alive(&token));
    Person::new(&service).sign_in("/account", "ada", PASSWORD).is_page(403);
    let facts = service.facts(&Wanted { user: Some("ada".parse().unwrap()), ..Wanted::default() });
    assert_eq!(facts.user.unwrap().stage, UserStage::Disabled);
}

#[test]
fn many_apps_come_in_pages() {
    let service = Service::start();
    for _ in 0..26 {
        let client = service.public_client();
        assert_eq!(service.exchange(&client, &service.code(&client, &[])).status, 200);
    }
    let mut ada = service.signed_in();
    let cards = |text: &str| text.matches("Revoke the access of Test").count();
    let first = ada.get("/account").text();
    assert_eq!(cards(&first), 25);
    assert!(first.contains("Page 1 of 2") && first.contains("href=\"/account?page=2\""), "{first}");
    assert_eq!(cards(&ada.get("/account?page=2").text()), 1);
    for odd in ["0", "3", "99999999999999999999999", "x", "-1", "%00"] {
        ada.get(&format!("/account?page={odd}")).is_page(200);
    }
}
