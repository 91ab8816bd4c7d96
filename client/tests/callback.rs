//! The callback listener through real sockets, in the real program.

mod common;

use std::net::{TcpListener, TcpStream};

use common::{Fake, Home, raw};

#[test]
fn a_login_waits_for_its_answer_and_says_so_only_when_the_tokens_are_there() {
    let (fake, home) = (Fake::start(), Home::new());
    let login = home.login(&["--json", &fake.url()]);
    let (status, page) = login.follow();
    assert_eq!(status, 200);
    assert!(page.contains("You are logged in"), "{page}");
    let ran = login.end();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["login"]["resource"], "urn:mcp:stdio:default");
    assert_eq!(fake.grants("authorization_code").len(), 1);
}

#[test]
fn cbl_01_a_wrong_or_missing_state_gets_400_and_the_login_waits() {
    let (fake, home) = (Fake::start(), Home::new());
    let login = home.login(&[&fake.url()]);
    for parameters in
        [&[("code", "x")][..], &[("code", "x"), ("state", "wrong"), ("iss", &fake.url())], &[("error", "x")]]
    {
        assert_eq!(login.answer(parameters).0, 400);
    }
    assert!(fake.grants("authorization_code").is_empty());
    assert_eq!(login.follow().0, 200);
    assert_eq!(login.end().code, 0);
}

#[test]
fn cbl_02_a_refusal_with_the_right_state_ends_the_login_with_its_reason() {
    let (fake, home) = (Fake::start(), Home::new());
    let login = home.login(&["--json", &fake.url()]);
    let state = login.parameter("state");
    let answer = [
        ("error", "access_denied"),
        ("error_description", "not\u{1b}[31m you"),
        ("state", &state),
        ("iss", &fake.url()),
    ];
    let (_, page) = login.answer(&answer);
    assert!(page.contains("You are not logged in") && !page.contains("not you"), "{page}");
    let ran = login.end();
    assert_eq!((ran.code, ran.json()["error"].as_str().unwrap()), (4, "access_denied"));
    assert!(ran.json()["message"].as_str().unwrap().contains("not you"), "{ran:?}");
    assert!(fake.grants("authorization_code").is_empty());
}

#[test]
fn cbl_03_an_answer_without_iss_or_from_another_issuer_ends_the_login_as_mix_up() {
    for iss in [&[][..], &[("iss", "https://evil.example")]] {
        let (fake, home) = (Fake::start(), Home::new());
        let login = home.login(&["--json", &fake.url()]);
        let state = login.parameter("state");
        let mut answer = vec![("code", "stolen"), ("error", "shown?"), ("state", state.as_str())];
        answer.extend(iss);
        assert_eq!(login.answer(&answer).0, 400);
        let ran = login.end();
        assert_eq!((ran.code, ran.json()["error"].as_str().unwrap()), (4, "mix_up"));
        assert!(!format!("{ran:?}").contains("shown?") && !format!("{ran:?}").contains("stolen"));
        assert!(fake.grants("authorization_code").is_empty());
    }
}

#[test]
fn cbl_04_other_paths_and_methods_do_not_end_the_login() {
    let (fake, home) = (Fake::start(), Home::new());
    let login = home.login(&[&fake.url()]);
    let host = login.callback();
    let request = |line: &str| raw(&host, &format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n")).0;
    assert_eq!(request("GET /"), 404);
    assert_eq!(request("GET /callback/../x"), 404);
    assert_eq!(request("POST /callback?code=x"), 405);
    assert_eq!(raw(&host, "GET /callback HTTP/1.1\r\nHost: evil.example\r\n\r\n").0, 400);
    assert_eq!(raw(&host, "junk\r\n\r\n").0, 400);
    // Connections that say nothing keep nobody else out.
    let _idle: Vec<_> = (0..8).map(|_| TcpStream::connect(&host).unwrap()).collect();
    assert_eq!(login.follow().0, 200);
    assert_eq!(login.end().code, 0);
}

#[test]
fn cbl_05_08_the_port_is_open_on_loopback_during_the_login_and_never_after() {
    let (fake, home) = (Fake::start(), Home::new());
    let login = home.login(&[&fake.url()]);
    let host = login.callback();
    assert!(host.starts_with("127.0.0.1:"), "{host}");
    let port = host.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    if TcpListener::bind("[::1]:0").is_ok() {
        assert!(TcpListener::bind(("::1", port)).is_err(), "nobody else listens on ::1 meanwhile");
    }
    login.follow();
    assert_eq!(login.end().code, 0);
    assert!(TcpStream::connect(&host).is_err());
    // The second login listens where the registration says.
    let again = home.login(&[&fake.url()]);
    assert_eq!(again.callback(), host);
    again.follow();
    assert_eq!(again.end().code, 0);
}

#[test]
fn cbl_06_a_port_in_use_is_avoided_unless_the_person_fixed_it() {
    let (fake, home) = (Fake::start(), Home::new());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ran = home.run(&["--json", "login", "--no-browser", "--callback-port", &port, &fake.url()]);
    assert_eq!((ran.code, ran.json()["error"].as_str().unwrap()), (1, "port_in_use"));
    assert!(ran.json()["message"].as_str().unwrap().contains(&port));
    // A port that a kept registration names, and that is taken now, is only a wish.
    drop(taken);
    let login = home.login(&["--callback-port", &port, &fake.url()]);
    login.follow();
    assert_eq!(login.end().code, 0);
    let _taken = TcpListener::bind(("127.0.0.1", port.parse::<u16>().unwrap())).unwrap();
    let login = home.login(&[&fake.url()]);
    assert!(!login.callback().ends_with(&format!(":{port}")));
    login.follow();
    assert_eq!(login.end().code, 0);
    assert_eq!(fake.requests("/register").len(), 1);
}

#[test]
fn cbl_07_the_page_is_static_and_has_no_code_in_it() {
    let (fake, home) = (Fake::start(), Home::new());
    let login = home.login(&[&fake.url()]);
    let (_, page) = login.follow();
    assert!(page.contains("Content-Security-Policy: default-src 'none'"), "{page}");
    assert!(page.contains("Cache-Control: no-store") && page.contains("Referrer-Policy: no-referrer"));
    let body = page.split_once("\r\n\r\n").unwrap().1;
    for absent in ["the-code", "<script", "http:", "https:", "src="] {
        assert!(!body.contains(absent), "{absent} in {body}");
    }
    login.end();
}

#[test]
fn cbl_09_f_30_a_login_that_nobody_finishes_ends_by_itself_and_frees_its_port() {
    let (fake, home) = (Fake::start(), Home::new());
    let login = home.login(&["--json", "--timeout", "1", &fake.url()]);
    let host = login.callback();
    let ran = login.end();
    assert_eq!((ran.code, ran.json()["error"].as_str().unwrap()), (3, "login_timeout"));
    assert!(TcpListener::bind(&host).is_ok());
}

#[cfg(unix)]
#[test]
fn cbl_09_f_30_ctrl_c_ends_a_login_at_once_and_frees_its_port() {
    let (fake, home) = (Fake::start(), Home::new());
    let login = home.login(&[&fake.url()]);
    let host = login.callback();
    let pid = login.child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(login.end().code, 130);
    assert!(TcpListener::bind(&host).is_ok());
}

#[test]
fn dsc_10_state_and_challenge_are_fresh_for_every_login() {
    let (fake, home) = (Fake::start(), Home::new());
    let mut seen = Vec::new();
    for _ in 0..2 {
        let login = home.login(&[&fake.url()]);
        seen.push((login.parameter("state"), login.parameter("code_challenge")));
        login.follow();
        assert_eq!(login.end().code, 0);
    }
    // 43 characters of base64url are 256 bits.
    assert!(seen.iter().all(|(state, challenge)| state.len() == 43 && challenge.len() == 43));
    assert_ne!(seen[0].0, seen[1].0);
    assert_ne!(seen[0].1, seen[1].1);
    let verifiers: Vec<_> =
        fake.grants("authorization_code").iter().map(|r| r.parameter("code_verifier").unwrap()).collect();
    assert_eq!(verifiers.len(), 2);
    assert_ne!(verifiers[0], verifiers[1]);
    assert!(verifiers.iter().all(|verifier| verifier.len() == 43));
}
