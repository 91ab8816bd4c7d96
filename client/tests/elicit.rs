//! A server that wants a page opened (row DSC-15), in each protocol era.

mod common;

use std::io::Write;
use std::process::Stdio;

use common::{Home, Ran, scripted_server};

/// Calls a tool that has a page opened, with `answer` on standard input; what came of it, and what the browser got.
fn ask(era: &str, url: &str, elicit: &str, answer: &str) -> (Ran, String) {
    let (home, server) = (Home::new(), scripted_server());
    let (script, opened) = (home.path().join("browser"), home.path().join("opened"));
    std::fs::write(
        &script,
        format!("#!/bin/sh\nprintf %s \"$1\" > '{0}.part' && mv '{0}.part' '{0}'\n", opened.display()),
    )
    .unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let mut command = home.command(&["call", "ask", "--elicit", elicit, "--", &server]);
    command.env("SCRIPT", era).env("SCRIPT_URL", url).env("BROWSER", &script);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    if ran.out.contains("accept") {
        common::until("the browser has the page", || opened.exists());
    }
    (ran, std::fs::read_to_string(&opened).unwrap_or_default())
}

#[cfg(unix)]
#[test]
fn dsc_15_a_page_is_opened_only_when_the_person_says_yes_to_its_whole_url() {
    let url = "https://xn--pple-43d.example/device?user_code=ABCD";
    for era in ["modern", "legacy"] {
        for (answer, did) in
            [("y\n", "accept"), ("yes\n", "accept"), ("n\n", "decline"), ("\n", "decline"), ("", "cancel")]
        {
            let (ran, opened) = ask(era, url, "ask", answer);
            assert!(ran.out.contains(&format!("the person: {did}")), "{era} {answer:?}: {ran:?}");
            assert_eq!(opened, if did == "accept" { url } else { "" }, "{era} {answer:?}");
            for part in [url, "Host:    xn--pple-43d.example", "punycode", "[y/N]"] {
                assert!(ran.err.contains(part), "{part}: {ran:?}");
            }
            assert!(!ran.err.contains('\u{1b}'), "{ran:?}");
        }
    }
}

#[cfg(unix)]
#[test]
fn dsc_15_what_is_no_page_is_declined_and_nobody_is_asked_where_nobody_is() {
    let (ran, opened) = ask("legacy", "javascript:alert(1)", "ask", "y\n");
    assert!(ran.out.contains("the person: decline") && opened.is_empty(), "{ran:?}");
    assert!(!ran.err.contains("[y/N]"), "{ran:?}");
    // Standard input is no terminal here: by itself the client says that it can show nothing.
    for elicit in ["auto", "off"] {
        let (ran, opened) = ask("legacy", "https://a.example/", elicit, "y\n");
        assert!(!ran.out.contains("accept") && opened.is_empty() && !ran.err.contains("[y/N]"), "{ran:?}");
    }
}
