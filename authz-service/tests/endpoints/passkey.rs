//! Passkeys, with an authenticator in software: added on the account page, used on the login page.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared::state::{Change, Passkey, UserStage, Wanted};

use crate::support::authenticator::{Authenticator, Fields, PRESENT_AND_VERIFIED, Page};
use crate::support::http::Answer;
use crate::support::person::{Form, Person};
use crate::support::{Options, PASSWORD, Service, authorize_url, user};

/// The form for passkeys of a page, and what its script reads.
#[track_caller]
fn asked(page: &str) -> (Form, Page, Vec<u8>) {
    let at = page.split("<form").skip(1).position(|form| form.contains("id=\"passkey\""));
    let form = Form::nth(page, at.unwrap_or_else(|| panic!("no form for passkeys in {page}")));
    let tag = page.split("id=\"passkey\"").nth(1).unwrap().split('>').next().unwrap();
    let data = |name: &str| {
        let value = tag.split_once(&format!("data-{name}=\"")).map(|(_, rest)| rest.split('"').next().unwrap());
        value.unwrap_or_default().replace("&#x2f;", "/")
    };
    let handle = URL_SAFE_NO_PAD.decode(data("handle")).unwrap();
    let (challenge, origin, rp_id) = (data("challenge"), data("origin"), data("rp-id"));
    (form, Page { challenge, origin, rp_id, kind: None, cross_origin: false }, handle)
}

fn filled(form: Form, fields: Fields) -> Form {
    fields.iter().fold(form, |form, (name, value)| form.with(name, value))
}

/// A new passkey of whoever is signed in there.
#[track_caller]
fn added(person: &mut Person<'_>, id: &[u8], name: &str) -> Authenticator {
    let (form, page, handle) = asked(&person.get("/account").text());
    let authenticator = Authenticator::new(id, &handle);
    let answer = person.submit(&filled(form, authenticator.create(&page)).with("name", name));
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("/account?done=passkey-added")),
        "{}",
        answer.text()
    );
    authenticator
}

/// Opens a login page and answers it with a passkey.
fn signs_in(person: &mut Person<'_>, url: &str, authenticator: &Authenticator) -> Answer {
    let (form, page, _) = asked(&person.get(url).text());
    person.submit(&filled(form, authenticator.get(&page)))
}

fn passkeys(service: &Service, name: &str) -> Vec<Passkey> {
    service.facts(&Wanted { user: Some(name.parse().unwrap()), ..Wanted::default() }).user.unwrap().passkeys
}

#[test]
fn a_passkey_is_added_lists_itself_signs_in_without_a_name_and_is_removed() {
    let service = Service::start();
    let mut ada = service.signed_in();
    let first = ada.get("/account");
    first.is_page(200);
    let mut authenticator = added(&mut ada, b"laptop", "My <b>laptop</b>\u{202e}");
    let text = ada.get("/account?done=passkey-added").text();
    assert!(text.contains("The passkey was added.") && text.contains("Never used."), "{text}");
    assert!(text.contains("<bdi>My &lt;b&gt;laptop&lt;&#x2f;b&gt;</bdi>"), "{text}");
    assert!(text.contains(&format!("data-exclude=\"{}\"", passkeys(&service, "ada")[0].id.as_str())));
    let second = added(&mut ada, b"key", "");
    let [one, two] = passkeys(&service, "ada").try_into().unwrap();
    assert_eq!((one.handle, two.name.as_str()), (two.handle, "Passkey"), "one person, one handle");
    // Another browser, without a name: to where it was going.
    let url = authorize_url(&service.public_client(), &[]);
    for counter in [3, 4] {
        authenticator.counter = counter;
        let mut elsewhere = Person::new(&service);
        let answer = signs_in(&mut elsewhere, &url, &authenticator);
        assert_eq!((answer.status, answer.header("location")), (303, Some(url.as_str())), "{}", answer.text());
        let cookie = answer.all("set-cookie").find(|cookie| cookie.starts_with("authz_session=")).unwrap();
        assert!(cookie.contains("HttpOnly; SameSite=Lax"), "{cookie}");
        assert!(elsewhere.get(&url).text().contains("<strong><bdi>ada</bdi></strong>"));
    }
    assert!(ada.get("/account").text().contains("Last used 2027-01-15 08:00 UTC."));
    assert_eq!(passkeys(&service, "ada")[0].counter, 4);
    let text = ada.get("/account").text();
    let at = text.split("<form").skip(1).position(|form| form.contains(&one.short_id())).unwrap();
    let remove = Form::nth(&text, at).with("action", "remove-passkey");
    Person::new(&service).submit(&remove).is_page(403);
    ada.submit(&remove.clone().without("csrf")).is_page(403);
    for _ in 0..2 {
        let answer = ada.submit(&remove);
        assert_eq!(answer.header("location"), Some("/account?done=passkey-removed"), "twice is no harm");
    }
    authenticator.counter = 5;
    signs_in(&mut Person::new(&service), "/account", &authenticator).is_page(403);
    assert_eq!(signs_in(&mut Person::new(&service), "/account", &second).status, 303);
}

#[test]
fn an_answer_counts_once_for_its_own_page_in_its_own_browser() {
    let service = Service::start();
    let authenticator = added(&mut service.signed_in(), b"laptop", "");
    let sessions = service.count("sessions");
    let (mut ada, mut eve) = (Person::new(&service), Person::new(&service));
    let (form, page, _) = asked(&ada.get("/account").text());
    let good = filled(form, authenticator.get(&page));
    // On another browser's page, without its proofs, from another site: nothing.
    eve.submit(&good).is_page(403);
    let (other, other_page, _) = asked(&eve.get("/account").text());
    let replayed = filled(other.clone(), authenticator.get(&page));
    let refused = eve.submit(&replayed);
    refused.is_page(403);
    assert!(refused.text().contains("This passkey was not accepted."), "{}", refused.text());
    ada.submit(&good.clone().without("csrf")).is_page(403);
    ada.submit(&good.clone().with("csrf", other.field("csrf"))).is_page(403);
    ada.submit_with(&good, &[("Sec-Fetch-Site", "cross-site")]).is_page(403);
    // The same page takes a password too; what one of the two forms carries is no good for the account page.
    for field in ["credential", "client_data", "authenticator_data", "signature", "user_handle"] {
        ada.submit(&good.clone().without(field)).is_page(403);
        ada.submit(&good.clone().with(field, "%")).is_page(403);
        ada.submit(&good.clone().with(field, &"A".repeat(8000))).is_page(403);
    }
    let elsewhere = Page { origin: "https://evil.example".into(), ..page.clone() };
    ada.submit(&filled(good.clone(), authenticator.get(&elsewhere))).is_page(403);
    assert_eq!(service.count("sessions"), sessions);
    assert_eq!(ada.submit(&good).status, 303, "what was refused spent nothing");
    assert_eq!(service.count("sessions"), sessions + 1);
    let again = ada.submit(&good);
    again.is_page(400);
    assert!(again.text().contains("answered already"), "{}", again.text());
    // And not after its time.
    let late = filled(other, authenticator.get(&other_page));
    service.advance(601);
    eve.submit(&late).is_page(400);
    assert_eq!(service.count("sessions"), sessions + 1);
}

#[test]
fn a_clone_is_refused_and_a_person_who_rests_or_is_gone_stays_out() {
    let service = Service::start();
    let mut authenticator = added(&mut service.signed_in(), b"laptop", "");
    let mut try_with = |counter: u32| {
        authenticator.counter = counter;
        signs_in(&mut Person::new(&service), "/account", &authenticator).status
    };
    assert_eq!([0, 7, 7, 6, 0, 8].map(&mut try_with), [303, 303, 403, 403, 403, 303]);
    let stage = |stage| Change::UserStageSet { user: "ada".parse().unwrap(), stage };
    service.commit(Change::PasswordChanged { user: "ada".parse().unwrap(), password: "x".into() });
    assert_eq!(try_with(9), 303, "a new password changes no passkey");
    service.commit(stage(UserStage::Disabled));
    assert_eq!(try_with(10), 403);
    service.commit(stage(UserStage::Enabled));
    assert_eq!(try_with(11), 303);
    service.commit(stage(UserStage::Removed));
    assert_eq!((try_with(12), passkeys(&service, "ada").len()), (403, 0));
}

#[test]
fn a_passkey_is_added_only_after_a_recent_login_and_only_to_ones_own_account() {
    let service = Service::start();
    let mut ada = service.signed_in();
    let (form, page, handle) = asked(&ada.get("/account").text());
    let authenticator = Authenticator::new(b"laptop", &handle);
    let good = filled(form, authenticator.create(&page));
    service.signed_in().submit(&good).is_page(403);
    Person::new(&service).submit(&good).is_page(403);
    ada.submit(&good.clone().without("csrf")).is_page(403);
    let unverified = Authenticator { flags: PRESENT_AND_VERIFIED & 1, ..Authenticator::new(b"x", &handle) };
    ada.submit(&filled(good.clone(), unverified.create(&page))).is_page(403);
    ada.submit(&good.clone().with("name", &"x".repeat(65))).is_page(400);
    assert_eq!(passkeys(&service, "ada").len(), 0);
    assert_eq!(ada.submit(&good).status, 303);
    ada.submit(&good).is_page(400);
    // The same passkey is nobody else's.
    service.commit(Change::UserCreated(user("bob", None)));
    let mut bob = service.signed_in_as("bob");
    let (form, page, bobs) = asked(&bob.get("/account").text());
    assert_ne!(bobs, handle);
    bob.submit(&filled(form, authenticator.create(&page))).is_page(400);
    assert_eq!((passkeys(&service, "ada").len(), passkeys(&service, "bob").len()), (1, 0));
    // Ten minutes later the page wants a login first.
    service.advance(601);
    let text = ada.get("/account").text();
    assert!(!text.contains("id=\"passkey\"") && text.contains("/account?again=1"), "{text}");
    let account = Form { action: "/account".into(), ..Form::nth(&text, 1) };
    ada.submit(&filled(account.with("action", "add-passkey"), authenticator.create(&page))).is_page(403);
    let login = ada.get("/account?again=1");
    let answer = ada.submit(&Form::first(&login).with("username", "ada").with("password", PASSWORD));
    assert_eq!(answer.header("location"), Some("/account"));
    assert!(ada.get("/account?again=1").text().contains("Add a passkey"), "signed in just now");
}

#[test]
fn ten_passkeys_are_the_most_and_an_address_has_none() {
    let service = Service::start();
    let mut ada = service.signed_in();
    for n in 0..10 {
        added(&mut ada, &[n], "");
    }
    let text = ada.get("/account").text();
    assert!(!text.contains("id=\"passkey\"") && text.contains("Ten are the most"), "{text}");
    let service = Service::with(&Options { issuer: Some("http://127.0.0.1:3000"), ..Options::default() });
    let login = service.get("/account");
    login.is_page(200);
    assert!(!login.text().contains("passkey"), "{}", login.text());
    assert!(service.signed_in().get("/account").text().contains("browsers make passkeys only for a name"));
}

#[test]
fn ui_08_passkeys_are_throttled_like_passwords() {
    let service = Service::with(&Options { limits: true, ..Options::default() });
    let authenticator = added(&mut service.signed_in(), b"laptop", "");
    let (mut eve, stranger) = (Person::new(&service), Authenticator::new(b"laptop", b"x"));
    let (form, page, _) = asked(&eve.get("/account").text());
    let guess = filled(form, stranger.get(&page));
    let limited = (0..20).map(|_| eve.submit(&guess)).find(|answer| answer.status == 429);
    assert!(limited.unwrap().header("retry-after").is_some());
    assert_eq!(signs_in(&mut eve, "/account", &authenticator).status, 429, "also with the right one");
    assert_eq!(eve.sign_in("/account", "ada", PASSWORD).status, 303, "the password is counted apart");
    service.advance(60);
    assert_eq!(signs_in(&mut Person::new(&service), "/account", &authenticator).status, 303);
}

#[test]
fn the_script_is_ours_and_runs_only_where_passkeys_are() {
    let service = Service::start();
    let login = service.get("/account");
    login.is_page(200);
    let source = login.text().split("<script src=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let script = service.get(&source);
    assert_eq!((script.status, script.header("content-type")), (200, Some("text/javascript; charset=utf-8")));
    assert_eq!(script.header("x-content-type-options"), Some("nosniff"));
    let consent = service.signed_in().get(&authorize_url(&service.public_client(), &[]));
    consent.is_page(200);
    assert!(!consent.header("content-security-policy").unwrap().contains("script-src"));
}

#[test]
fn the_store_holds_no_challenge_and_the_trail_tells_who_used_which() {
    let service = Service::start();
    let mut ada = service.signed_in();
    let (form, page, handle) = asked(&ada.get("/account").text());
    let authenticator = Authenticator::new(b"laptop", &handle);
    ada.submit(&filled(form, authenticator.create(&page)));
    assert!(!service.dump_all().contains(&page.challenge));
    let passkey = passkeys(&service, "ada").remove(0);
    let mut event = None;
    let challenge = shared::state::AnsweredChallenge { hash: passkey.handle, expires: service.clock_now() };
    let used = Change::PasskeyUsed { passkey: passkey.id.hash(), counter: 1, challenge };
    service.store.read(&mut |state| event = Some(state.event(&used))).unwrap();
    let event = event.unwrap();
    assert_eq!(
        (event.what, event.user.unwrap().as_str(), event.detail.unwrap().as_str()),
        ("passkey-used", "ada", "Passkey")
    );
}
