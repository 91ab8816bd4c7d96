//! ADM: the administrator's page.

use shared::state::{Change, User, UserStage, Wanted};

use crate::support::http::Answer;
use crate::support::person::{Form, Person};
use crate::support::{Options, PASSWORD, Service, user};

const PAGES: [&str; 6] = ["/admin", "/admin/clients", "/admin/users", "/admin/grants", "/admin/audit", "/admin/calls"];

fn service() -> Service {
    let service = Service::with(&Options { policy: Some(|policy| policy.admin_page = true), ..Options::default() });
    service.commit(Change::UserCreated(User { admin: true, ..user("root", None) }));
    service
}

/// The form of the card whose target is `target`, with a button pressed.
#[track_caller]
fn form(page: &Answer, target: &str, action: &str) -> Form {
    let text = page.text();
    let forms = text.matches("<form").count();
    let found = (0..forms)
        .map(|nth| Form::nth(&text, nth))
        .find(|form| form.fields.iter().any(|(name, value)| name == "target" && value == target));
    found.unwrap_or_else(|| panic!("no card for {target} in {text}")).with("action", action)
}

#[test]
fn adm_01_without_authority_there_is_nothing_to_see_and_nothing_to_press() {
    let service = service();
    let client = service.public_client();
    let token = service.tokens(&client)["access_token"].as_str().unwrap().to_owned();
    let mut root = service.signed_in_as("root");
    let good = form(&root.get("/admin/clients"), &client, "remove-client");
    for page in PAGES {
        let stranger = service.get(page);
        stranger.is_page(403);
        assert!(stranger.text().contains("name=\"password\""));
        let ada = service.signed_in().get(page);
        ada.is_page(403);
        assert!(ada.text().contains("for administrators") && !ada.text().contains(&client));
    }
    // The administrator's own fields are no good in another browser, nor those of another page here.
    service.signed_in().submit(&good).is_page(403);
    Person::new(&service).submit(&good).is_page(403);
    root.submit(&good.clone().without("csrf")).is_page(403);
    root.submit_with(&good, &[("Sec-Fetch-Site", "cross-site")]).is_page(403);
    let account = Form::first(&root.get("/account")).with("action", "remove-client").with("target", &client);
    root.submit(&Form { action: "/admin".into(), ..account }).is_page(403);
    assert!(service.is_alive(&token));
    // By default there is no such page, also for administrators.
    let closed = Service::start();
    closed.commit(Change::UserCreated(User { admin: true, ..user("root", None) }));
    for page in PAGES {
        closed.signed_in_as("root").get(page).is_page(404);
    }
    assert_eq!(closed.signed_in_as("root").submit(&good).status, 404);
}

#[test]
fn adm_01_an_administrator_logs_in_and_comes_back() {
    let service = service();
    service.commit(Change::UserStageSet { user: "root".parse().unwrap(), stage: UserStage::Disabled });
    let hash =
        service.facts(&Wanted { user: Some("ada".parse().unwrap()), ..Wanted::default() }).user.unwrap().password;
    service.commit(Change::UserCreated(User { admin: true, ..user("chief", hash) }));
    let mut chief = Person::new(&service);
    let login = chief.get("/admin/users");
    let answer = chief.submit(&Form::first(&login).with("username", "chief").with("password", PASSWORD));
    assert_eq!((answer.status, answer.header("location")), (303, Some("/admin")));
    chief.get("/admin").is_page(200);
}

#[test]
fn adm_02_03_the_page_lists_without_secrets_and_ends_access_at_once() {
    let service = service();
    let (one, other) = (service.public_client(), service.public_client());
    let tokens = [&one, &other].map(|client| service.tokens(client));
    let alive = || [0, 1].map(|n| service.is_alive(tokens[n]["access_token"].as_str().unwrap()));
    let mut root = service.signed_in_as("root");
    for page in PAGES {
        let page = root.get(page);
        page.is_page(200);
        for secret in ["$argon2", tokens[0]["access_token"].as_str().unwrap()] {
            assert!(!page.text().contains(secret));
        }
    }
    assert!(root.get("/admin").text().contains("<bdi>2</bdi>"), "counts");
    let grants = root.get("/admin/grants");
    let grant =
        crate::support::claims(tokens[0]["access_token"].as_str().unwrap())["grant"].as_str().unwrap().to_owned();
    let answer = root.submit(&form(&grants, &grant, "revoke"));
    assert_eq!((answer.status, answer.header("location")), (303, Some("/admin/grants?done=1")));
    assert_eq!(alive(), [false, true]);
    assert!(root.get("/admin/grants?done=1").text().contains("It holds at once"));
    let clients = root.get("/admin/clients");
    assert_eq!(root.submit(&form(&clients, &other, "remove-client")).status, 303);
    assert_eq!(alive(), [false, false]);
    // Pressed twice, or about nothing: told, and nothing breaks.
    for again in
        [form(&clients, &other, "remove-client"), form(&clients, &other, "disable"), form(&clients, &other, "x")]
    {
        root.submit(&again).is_page(400);
    }
}

#[test]
fn adm_02_accounts_rest_and_work_again_but_never_ones_own() {
    let service = service();
    let mut ada = service.signed_in();
    let mut root = service.signed_in_as("root");
    let users = root.get("/admin/users");
    assert_eq!(root.submit(&form(&users, "ada", "sign-out")).status, 303);
    assert!(ada.get("/account").text().contains("name=\"password\""));
    assert_eq!(root.submit(&form(&users, "ada", "disable")).status, 303);
    let disabled = root.get("/admin/users");
    assert!(disabled.text().contains("value=\"enable\""));
    Person::new(&service).sign_in("/account", "ada", PASSWORD).is_page(403);
    assert_eq!(root.submit(&form(&disabled, "ada", "enable")).status, 303);
    assert_eq!(Person::new(&service).sign_in("/account", "ada", PASSWORD).status, 303);
    let own = root.submit(&form(&users, "root", "disable"));
    own.is_page(400);
    assert!(own.text().contains("your own account"));
    root.get("/admin/users").is_page(200);
}

#[test]
fn adm_05_paths_and_pages_that_are_none_lead_nowhere() {
    let service = service();
    let mut root = service.signed_in_as("root");
    for path in
        ["/admin/", "/admin/keys", "/admin/..%2f..%2fkeys.json", "/admin/%2e%2e/keys.json", "/admin/users/../../x"]
    {
        root.get(path).is_page(404);
    }
    for page in ["/admin/users?page=0", "/admin/users?page=9999999999999999999999", "/admin/clients?page=..%2f"] {
        root.get(page).is_page(200);
    }
    assert!(root.get("/admin/audit").text().contains("no audit trail"), "a store in memory has none");
}

#[test]
fn adm_03_long_lists_come_in_pages() {
    let service = service();
    for _ in 0..51 {
        service.public_client();
    }
    let mut root = service.signed_in_as("root");
    let first = root.get("/admin/clients").text();
    assert!(first.contains("51 in all.") && first.contains("clients?page=2\""), "{first}");
    assert_eq!(root.get("/admin/clients?page=2").text().matches("value=\"remove-client\"").count(), 1);
}

#[test]
fn r20_trails_renew_themselves_when_an_administrator_says_so_and_stop_when_paused() {
    let service = service();
    let mut root = service.signed_in_as("root");
    for (page, live) in [("/admin/audit", true), ("/admin/calls", true), ("/admin/users", false), ("/admin", false)] {
        let still = root.get(page);
        assert_eq!(still.header("refresh"), None, "{page}");
        assert_eq!(still.text().contains("Show new ones as they come"), live, "{page}");
        let watched = root.get(&format!("{page}?live=on"));
        watched.is_page(200);
        assert_eq!(watched.header("refresh"), live.then_some("10"), "{page}");
        assert_eq!(watched.text().contains(">Pause</a>"), live, "{page}");
    }
}

#[test]
fn r20_a_grants_card_says_where_its_app_sends_people_and_when_it_last_got_a_token() {
    let service = service();
    let client = service.public_client();
    service.tokens(&client);
    let page = service.signed_in_as("root").get("/admin/grants").text();
    for told in ["<dt>Sends people back to</dt><dd><bdi>127.0.0.1", "<dt>Last got a token</dt>"] {
        assert!(page.contains(told), "{told}: {page}");
    }
}
