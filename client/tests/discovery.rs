//! From a URL to tokens, against servers that lie.

mod common;

use common::{Answer, Fake, Home, Ran};
use serde_json::{Value, json};

/// A server whose issuer metadata is changed.
fn with_metadata(change: impl Fn(&Fake) -> Value + Send + Sync + 'static) -> Fake {
    Fake::scripted(move |request, fake| {
        if request.path != "/.well-known/oauth-authorization-server" {
            return None;
        }
        let mut metadata = fake.metadata();
        metadata.as_object_mut().unwrap().extend(change(fake).as_object().unwrap().clone());
        Some(Answer::json(200, &metadata))
    })
}

#[track_caller]
fn refused(home: &Home, url: &str, word: &str) -> Ran {
    let ran = home.run(&["--json", "login", "--no-browser", url]);
    assert_eq!(ran.json()["error"], word, "{ran:?}");
    assert_ne!(ran.code, 0);
    assert!(!ran.err.contains("code_challenge"), "no browser was asked for: {ran:?}");
    ran
}

#[test]
fn a_remote_server_is_logged_in_to_from_its_challenge_and_used() {
    let (fake, home) = (Fake::start(), Home::new());
    let ran = home.run(&["--json", "tools", &fake.mcp()]);
    assert_eq!((ran.code, ran.json()["error"].as_str().unwrap()), (3, "login_required"));
    assert_eq!(ran.json()["next"], format!("run: mcp-client login {}", fake.mcp()));
    home.logged_in(&fake.mcp());
    let ran = home.run(&["--json", "tools", &fake.mcp()]);
    assert_eq!((ran.code, &ran.json()["tools"][0]["name"]), (0, &json!("hello")), "{ran:?}");
    let ran = home.run(&["call", "hello", &fake.mcp()]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "hello from http\n"), "{ran:?}");
    // The scope is the challenge's, the resource the server's, in both requests (DSC-11).
    let asked = &fake.requests("/authorize")[0];
    assert_eq!(asked.parameter("scope").unwrap(), "mcp:tools:read offline_access");
    assert_eq!(asked.parameter("resource").unwrap(), fake.mcp());
    assert_eq!(fake.grants("authorization_code")[0].parameter("resource").unwrap(), fake.mcp());
}

#[test]
fn dsc_01_an_authorization_endpoint_that_is_no_web_page_is_refused_before_a_browser_starts() {
    for endpoint in ["javascript:alert(1)", "file:///etc/passwd", "http://example.com/authorize", "myapp:/x"] {
        let fake = with_metadata(move |_| json!({ "authorization_endpoint": endpoint }));
        refused(&Home::new(), &fake.url(), "untrusted_metadata");
        let ran = Home::new().run(&["--json", "login", "--issuer", &fake.url()]);
        assert_eq!((ran.code, ran.json()["error"].as_str().unwrap()), (4, "untrusted_metadata"), "{ran:?}");
        assert!(fake.requests("/register").is_empty());
    }
}

#[cfg(unix)]
#[test]
fn dsc_02_the_browser_gets_the_url_as_one_argument() {
    use std::os::unix::fs::PermissionsExt;
    let (fake, home) = (Fake::start(), Home::new());
    let (browser, seen) = (home.path().join("my browser"), home.path().join("seen"));
    std::fs::write(
        &browser,
        format!("#!/bin/sh\nfor a; do echo \"$a\" >> {0}.part; done; mv {0}.part {0}\n", seen.display()),
    )
    .unwrap();
    std::fs::set_permissions(&browser, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = home.command(&["login", &fake.url()]);
    command.env("BROWSER", format!("/no/such/browser:'{}' --new %s", browser.display()));
    let login = common::Login::start(&mut command);
    common::until("the browser starts", || seen.exists());
    let arguments = std::fs::read_to_string(&seen).unwrap();
    assert_eq!(arguments.lines().collect::<Vec<_>>(), ["--new", login.url.as_str()]);
    login.follow();
    assert_eq!(login.end().code, 0);
}

#[test]
fn f_31_without_a_browser_the_url_is_printed_and_the_login_still_works() {
    let (fake, home) = (Fake::start(), Home::new());
    let mut command = home.command(&["login", &fake.url()]);
    let login = common::Login::start(command.env("PATH", "").env("BROWSER", "/no/such/browser"));
    login.follow();
    let ran = login.end();
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains("No browser could be started"), "{ran:?}");
}

#[test]
fn dsc_03_metadata_of_another_issuer_is_not_used() {
    let fake = with_metadata(|_| json!({ "issuer": "https://honest.example" }));
    let ran = Home::new().run(&["--json", "login", "--no-browser", "--issuer", &fake.url()]);
    assert_eq!((ran.code, ran.json()["error"].as_str().unwrap()), (4, "untrusted_metadata"), "{ran:?}");
    // Not even a slash may differ.
    let fake = with_metadata(|fake| json!({ "issuer": format!("{}/", fake.url()) }));
    let ran = Home::new().run(&["--json", "login", "--no-browser", "--issuer", &fake.url()]);
    assert_eq!(ran.json()["error"], "untrusted_metadata");
}

#[test]
fn dsc_04_metadata_of_another_resource_is_not_used() {
    let fake = Fake::scripted(|request, fake| {
        (request.path == "/.well-known/oauth-protected-resource/mcp").then(|| {
            Answer::json(
                200,
                &json!({ "resource": "https://other.example/mcp", "authorization_servers": [fake.url()] }),
            )
        })
    });
    refused(&Home::new(), &fake.mcp(), "untrusted_metadata");
    assert!(fake.requests("/register").is_empty());
}

#[test]
fn dsc_05_a_server_without_s256_is_refused() {
    for methods in [json!([]), json!(["plain"])] {
        let fake = with_metadata(move |_| json!({ "code_challenge_methods_supported": methods }));
        refused(&Home::new(), &fake.mcp(), "untrusted_metadata");
        assert!(fake.requests("/register").is_empty());
    }
}

#[test]
fn dsc_06_metadata_elsewhere_is_not_fetched() {
    let fake = Fake::scripted(|request, _| {
        (request.path == "/mcp").then(|| {
            Answer::status(401).with("WWW-Authenticate", "Bearer resource_metadata=\"http://169.254.169.254/latest\"")
        })
    });
    refused(&Home::new(), &fake.mcp(), "untrusted_metadata");
}

#[test]
fn dsc_07_redirects_of_documents_stay_home_and_are_few() {
    // One hop on the same origin is followed.
    let fake = Fake::scripted(|request, fake| match request.path.as_str() {
        "/.well-known/oauth-authorization-server" => Some(Answer::redirect(302, "/moved")),
        "/moved" => Some(Answer::json(200, &fake.metadata())),
        _ => None,
    });
    Home::new().logged_in(&fake.url());
    // Another port is another origin, and this machine is not public.
    let other = Fake::start();
    let place = format!("{}/.well-known/oauth-authorization-server", other.url());
    let fake = Fake::scripted(move |request, _| {
        (request.path == "/.well-known/oauth-authorization-server").then(|| Answer::redirect(302, &place))
    });
    let ran = Home::new().run(&["--json", "login", "--no-browser", "--issuer", &fake.url()]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(other.requests("/.well-known/oauth-authorization-server").is_empty());
    // A loop ends.
    let fake = Fake::scripted(|request, _| {
        (request.path == "/.well-known/oauth-authorization-server").then(|| Answer::redirect(302, &request.path))
    });
    let ran = Home::new().run(&["--json", "login", "--no-browser", "--issuer", &fake.url()]);
    assert_eq!(ran.code, 5);
    assert_eq!(fake.requests("/.well-known/oauth-authorization-server").len(), 4);
}

#[test]
fn dsc_07_posts_are_never_redirected() {
    for (path, word) in [("/register", "registration_failed"), ("/token", "bad_token_answer")] {
        let other = Fake::start();
        let target = format!("{}{path}", other.url());
        let fake = Fake::scripted(move |request, _| (request.path == path).then(|| Answer::redirect(307, &target)));
        let home = Home::new();
        let ran = if path == "/register" {
            home.run(&["--json", "login", "--no-browser", &fake.url()])
        } else {
            let login = home.login(&["--json", &fake.url()]);
            let (_, page) = login.follow();
            assert!(page.contains("You are not logged in"));
            login.end()
        };
        assert_eq!((ran.code, ran.json()["error"].as_str().unwrap()), (4, word), "{ran:?}");
        assert!(other.requests(path).is_empty());
    }
}

#[test]
fn dsc_07_c13_a_document_that_is_too_long_is_not_read_to_its_end() {
    let fake = with_metadata(|_| json!({ "service_documentation": "x".repeat(257 * 1024) }));
    let ran = Home::new().run(&["--json", "login", "--no-browser", "--issuer", &fake.url()]);
    assert_eq!((ran.code, ran.json()["error"].as_str().unwrap()), (5, "network"), "{ran:?}");
}

#[test]
fn dsc_08_a_token_answer_that_cannot_be_used_is_a_clear_error() {
    for body in [
        json!({}),
        json!({ "access_token": "t" }),
        json!({ "access_token": "t", "token_type": "mac" }),
        json!({ "access_token": "t", "token_type": "Bearer", "expires_in": -1 }),
        json!("t"),
    ] {
        let fake = Fake::scripted(move |request, _| (request.path == "/token").then(|| Answer::json(200, &body)));
        let home = Home::new();
        let login = home.login(&["--json", &fake.url()]);
        login.follow();
        let ran = login.end();
        assert_eq!((ran.code, ran.json()["error"].as_str().unwrap()), (4, "bad_token_answer"), "{ran:?}");
    }
}

#[test]
fn dsc_09_a_registration_with_other_redirects_is_a_clear_error() {
    for body in [json!({}), json!({ "client_id": "c", "redirect_uris": ["https://evil.example/cb"] })] {
        let fake = Fake::scripted(move |request, _| (request.path == "/register").then(|| Answer::json(201, &body)));
        let ran = refused(&Home::new(), &fake.url(), "registration_failed");
        assert_eq!(ran.code, 4);
    }
}

#[test]
fn dsc_12_the_token_does_not_follow_a_redirect() {
    let (other, home) = (Fake::start(), Home::new());
    let target = other.mcp();
    let fake = Fake::scripted(move |request, _| {
        let with_token = request.path == "/mcp" && request.header("authorization").is_some();
        with_token.then(|| Answer::redirect(307, &target))
    });
    home.logged_in(&fake.mcp());
    let ran = home.run(&["--json", "tools", &fake.mcp()]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(other.requests("/mcp").is_empty());
    for request in fake.requests("/mcp") {
        assert!(request.query.is_empty() && !request.body.contains("good"), "{request:?}");
    }
}

#[test]
fn dsc_12_a_token_is_not_sent_to_the_issuer_that_gave_it() {
    let (issuer, home) = (Fake::start(), Home::new());
    let named = issuer.url();
    let server = Fake::scripted(move |request, fake| {
        (request.path == "/.well-known/oauth-protected-resource/mcp")
            .then(|| Answer::json(200, &json!({ "resource": fake.mcp(), "authorization_servers": [named] })))
    });
    home.logged_in(&server.mcp());
    assert_eq!(home.run(&["status", &issuer.url()]).code, 0, "the issuer's name finds the login");
    home.run(&["tools", &issuer.url()]);
    assert!(!issuer.requests("/").is_empty());
    assert!(issuer.requests("/").iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn dsc_14_a_fresh_token_that_is_refused_ends_in_an_error_after_one_login() {
    // Takes no token at all.
    let fake = Fake::scripted(|request, _| {
        (request.path == "/mcp").then(|| Answer::status(401).with("WWW-Authenticate", "Bearer error=\"invalid_token\""))
    });
    let home = Home::new();
    home.logged_in(&fake.mcp());
    let mut command = home.command(&["--json", "tools", "--login", "--no-browser", &fake.mcp()]);
    let login = common::Login::start(&mut command);
    login.follow();
    let ran = login.end();
    assert_eq!((ran.code, ran.json()["error"].as_str().unwrap()), (3, "login_required"), "{ran:?}");
    assert_eq!(fake.grants("authorization_code").len(), 2);
    assert_eq!(fake.grants("refresh_token").len(), 1);
}

#[test]
fn a_token_that_the_server_no_longer_takes_is_refreshed_once_without_asking_anybody() {
    let (fake, home) = (Fake::start(), Home::new());
    fake.tokens.lock().unwrap().push_front("revoked".into());
    home.logged_in(&fake.mcp());
    let ran = home.run(&["--json", "tools", &fake.mcp()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(fake.grants("refresh_token").len(), 1);
}

#[test]
fn a_token_that_does_not_reach_far_enough_asks_for_the_union_of_scopes() {
    let fake = Fake::scripted(|request, fake| {
        let narrow = request.path == "/mcp" && request.header("authorization") == Some("Bearer narrow");
        if narrow {
            let challenge = "Bearer error=\"insufficient_scope\", scope=\"extra\", error_description=\"scope=admin\"";
            return Some(Answer::status(403).with("WWW-Authenticate", challenge));
        }
        (request.path == "/token").then(|| {
            let mut token = fake.token(3600);
            token["scope"] = "mcp:tools:read".into();
            Answer::json(200, &token)
        })
    });
    fake.tokens.lock().unwrap().push_front("narrow".into());
    let home = Home::new();
    home.logged_in(&fake.mcp());
    let ran = home.run(&["--json", "tools", &fake.mcp()]);
    assert_eq!((ran.code, ran.json()["error"].as_str().unwrap()), (4, "insufficient_scope"), "{ran:?}");
    assert!(ran.json()["message"].as_str().unwrap().ends_with("extra"), "{ran:?}");
    let mut command = home.command(&["--json", "tools", "--login", "--no-browser", &fake.mcp()]);
    let login = common::Login::start(&mut command);
    assert_eq!(login.parameter("scope"), "extra mcp:tools:read");
    login.follow();
    assert_eq!(login.end().code, 0);
}

#[test]
fn a_registration_that_the_server_has_forgotten_is_made_again_once() {
    let fake = Fake::scripted(|request, fake| {
        let forgotten = request.path == "/authorize"
            && request.parameter("client_id").as_deref() == Some("c_1")
            && !fake.grants("authorization_code").is_empty();
        forgotten.then(|| Answer::status(400))
    });
    let home = Home::new();
    home.logged_in(&fake.url());
    let ran = home.logged_in(&fake.url());
    assert!(ran.err.contains("registering again"), "{ran:?}");
    assert_eq!(fake.requests("/register").len(), 2);
    assert_eq!(home.book()["registrations"][0]["client_id"], "c_2");
}

#[test]
fn a_client_is_given_by_hand_then_by_document_then_by_registration() {
    let fake = with_metadata(|_| json!({ "client_id_metadata_document_supported": true }));
    let home = Home::new();
    let login = home.login(&["--client-metadata-url", "https://app.example/client.json", &fake.url()]);
    assert_eq!(login.parameter("client_id"), "https://app.example/client.json");
    login.follow();
    assert_eq!(login.end().code, 0);
    let secret = home.path().join("secret");
    std::fs::write(&secret, "a:b\n").unwrap();
    let secret = format!("@{}", secret.display());
    let login = home.login(&["--client-id", "given", "--client-secret", &secret, &fake.url()]);
    assert_eq!(login.parameter("client_id"), "given");
    login.follow();
    assert_eq!(login.end().code, 0);
    let last = fake.grants("authorization_code").pop().unwrap();
    assert_eq!(last.header("authorization"), Some("Basic Z2l2ZW46YSUzQWI="));
    assert!(fake.requests("/register").is_empty());
    // What was given is kept, for this issuer.
    let login = home.login(&[&fake.url()]);
    assert_eq!(login.parameter("client_id"), "given");
    login.follow();
    assert_eq!(login.end().code, 0);
    // A server that takes no documents gets a registration.
    let plain = Fake::start();
    let login = home.login(&["--client-metadata-url", "https://app.example/client.json", &plain.url()]);
    assert_eq!(login.parameter("client_id"), "c_1");
    login.follow();
    assert_eq!(login.end().code, 0);
}

#[test]
fn a_server_of_2025_03_without_resource_metadata_is_its_own_authorization_server() {
    let fake = Fake::scripted(|request, _| {
        request.path.starts_with("/.well-known/oauth-protected-resource").then(|| Answer::status(404))
    });
    let home = Home::new();
    home.logged_in(&fake.mcp());
    assert_eq!(fake.grants("authorization_code")[0].parameter("resource").unwrap(), fake.mcp());
    assert_eq!(home.run(&["tools", &fake.mcp()]).code, 0);
}
