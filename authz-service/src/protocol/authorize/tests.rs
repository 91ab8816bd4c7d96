//! Which answer each authorization request gets.

use shared::oauth::form;

use super::*;
use crate::protocol::sample::{CHALLENGE, NOW, client, facts, fresh_code, policy, with_session};

/// What a decision came to, in words.
fn outcome(query: &str, facts: &Facts, policy: &Policy) -> String {
    let request = match AuthorizeRequest::parse(query) {
        Ok(request) => request,
        Err(cause) => return format!("page {}", cause.code().as_str()),
    };
    let verdict = decide(&request, facts, policy, &fresh_code(), NOW);
    match verdict.reply {
        Ok(Step::Login(_)) => "login".into(),
        Ok(Step::Consent(asked, user)) => format!("consent {user} {} {}", asked.resource, asked.scopes),
        Ok(Step::Answer(to)) => to.with_code(&fresh_code().code, &policy.issuer),
        Err(Refused::Page(cause)) => format!("page {}", cause.code().as_str()),
        Err(Refused::Client(to, cause)) => to.with_error(&cause, &policy.issuer),
    }
}

fn query(change: &[(&str, Option<&str>)]) -> String {
    let id = client().id.to_string();
    let mut parameters = vec![
        ("response_type", "code"),
        ("client_id", id.as_str()),
        ("redirect_uri", "http://127.0.0.1:49152/cb"),
        ("state", "s"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    for (name, value) in change {
        parameters.retain(|(known, _)| known != name);
        if let Some(value) = value {
            parameters.push((name, value));
        }
    }
    form::encode(&parameters)
}

#[track_caller]
fn check(change: &[(&str, Option<&str>)], anonymous: &str, logged_in: &str) {
    assert_eq!(outcome(&query(change), &facts(), &policy()), anonymous, "anonymous");
    let found = outcome(&query(change), &with_session(), &policy());
    assert!(found.starts_with(logged_in), "{found} does not start with {logged_in}");
}

const ERROR: &str = "http://127.0.0.1:49152/cb?error=";
const ALL: &str = "consent ada urn:mcp:stdio:default mcp:resources mcp:tools:execute mcp:tools:read";

#[track_caller]
fn fails(change: &[(&str, Option<&str>)], word: &str) {
    check(change, &format!("page {word}"), &format!("{ERROR}{word}&error_description="));
}

#[test]
fn auz_01_to_05_without_a_client_and_its_redirect_nothing_is_sent_anywhere() {
    check(&[("client_id", Some("c_unknown"))], "page invalid_client", "page invalid_client");
    check(&[("client_id", Some("\u{e4}"))], "page invalid_client", "page invalid_client");
    check(&[("client_id", None)], "page invalid_request", "page invalid_request");
    check(&[("client_id", Some(""))], "page invalid_request", "page invalid_request");
    for other in ["https://evil.example/cb", "http://127.0.0.1:1/cb2", "http://localhost:1/cb", "//evil.example"] {
        check(&[("redirect_uri", Some(other))], "page invalid_request", "page invalid_request");
    }
    check(&[("redirect_uri", None)], "login", ALL);
    let mut two = with_session();
    two.client.as_mut().unwrap().redirect_uris = ["http://127.0.0.1/cb", "https://a.example/cb"]
        .map(|uri| shared::uri::RedirectUri::register(uri, &[]).unwrap())
        .into_iter()
        .collect();
    assert_eq!(outcome(&query(&[("redirect_uri", None)]), &two, &policy()), "page invalid_request");
}

#[test]
fn auz_07_to_10_only_code_with_s256() {
    fails(&[("response_type", None)], "invalid_request");
    for other in ["token", "id_token", "code token", "CODE"] {
        fails(&[("response_type", Some(other))], "unsupported_response_type");
    }
    fails(&[("code_challenge", None)], "invalid_request");
    fails(&[("code_challenge_method", None)], "invalid_request");
    fails(&[("code_challenge_method", Some("plain"))], "invalid_request");
    fails(&[("code_challenge", Some("short"))], "invalid_request");
    fails(&[("response_mode", Some("fragment"))], "invalid_request");
}

#[test]
fn auz_07_18_20_an_error_and_a_code_carry_the_exact_state_and_iss() {
    let state = "a%20b+c&d=\u{20ac}";
    let found = outcome(&query(&[("state", Some(state)), ("response_type", None)]), &with_session(), &policy());
    assert!(found.ends_with("&state=a%2520b%2Bc%26d%3D%E2%82%AC&iss=http%3A%2F%2Flocalhost%3A3000"), "{found}");
    let mut auto = policy();
    auto.auto_approve = Some("demo".parse().unwrap());
    let found = outcome(&query(&[("state", Some(state))]), &facts(), &auto);
    let code = fresh_code().code;
    assert_eq!(
        found,
        format!(
            "http://127.0.0.1:49152/cb?code={}&state=a%2520b%2Bc%26d%3D%E2%82%AC&iss=http%3A%2F%2Flocalhost%3A3000",
            code.expose()
        )
    );
    fails(&[("state", Some(&"x".repeat(4097)))], "invalid_request");
    check(&[("state", Some(&"x".repeat(4096)))], "login", ALL);
}

#[test]
fn auz_11_a_repeated_parameter_is_refused_and_never_followed() {
    for name in ["client_id=c_x", "redirect_uri=https%3A%2F%2Fevil.example", "client%5fid=c_x"] {
        for query in [format!("{}&{name}", query(&[])), format!("{name}&{}", query(&[]))] {
            assert_eq!(outcome(&query, &with_session(), &policy()), "page invalid_request", "{query}");
        }
    }
    for name in ["state=x", "scope=a", "code_challenge=x", "anything=1&anything=2"] {
        let found = outcome(&format!("{}&scope=b&{name}", query(&[])), &with_session(), &policy());
        assert!(found.starts_with(&format!("{ERROR}invalid_request")), "{found}");
    }
    let found = outcome(&format!("{}&state=x", query(&[])), &with_session(), &policy());
    assert!(!found.contains("state="), "of two states neither is the exact one: {found}");
    for unreadable in ["%FF", "%C0%80", "a%ED%A0%80"] {
        let found = outcome(&query(&[]).replace("state=s", &format!("state={unreadable}")), &with_session(), &policy());
        assert!(found.starts_with(&format!("{ERROR}invalid_request")), "{found}");
        assert!(!found.contains("state="), "a state that is no text cannot come back exactly: {found}");
    }
}

#[test]
fn c4_details_that_nobody_would_heed_are_refused() {
    for details in ["{}", "x", r#"[{"type":"mcp_tool_call","tool":"look"}]"#] {
        fails(&[("authorization_details", Some(details))], "invalid_authorization_details");
    }
    for nothing in ["", "[]"] {
        check(&[("authorization_details", Some(nothing))], "login", ALL);
    }
}

#[test]
fn auz_12_unknown_scopes_are_never_granted() {
    check(&[("scope", Some("mcp:tools:read admin"))], "login", "consent ada urn:mcp:stdio:default mcp:tools:read");
    check(
        &[("scope", Some("mcp:tools"))],
        "login",
        "consent ada urn:mcp:stdio:default mcp:tools:execute mcp:tools:read",
    );
    let offline = "consent ada urn:mcp:stdio:default mcp:tools:read offline_access";
    check(&[("scope", Some("offline_access mcp:tools:read"))], "login", offline);
    fails(&[("scope", Some("admin"))], "invalid_scope");
    fails(&[("scope", Some("a\"b"))], "invalid_scope");
    check(&[("scope", Some(""))], "login", ALL);
}

#[test]
fn a_registered_scope_is_a_default_and_not_a_ceiling() {
    let mut facts = with_session();
    facts.client.as_mut().unwrap().scope = "mcp:resources openid".parse().unwrap();
    let asks = |change: &[(&str, Option<&str>)]| outcome(&query(change), &facts, &policy());
    assert_eq!(asks(&[]), "consent ada urn:mcp:stdio:default mcp:resources");
    assert_eq!(asks(&[("scope", Some("mcp:tools:read"))]), "consent ada urn:mcp:stdio:default mcp:tools:read");
}

#[test]
fn auz_13_15_16_17_24_resources_and_strangers_among_the_parameters() {
    fails(&[("resource", Some("https://other.example"))], "invalid_target");
    check(&[("resource", Some(""))], "login", ALL);
    check(&[("resource", Some("URN:mcp:stdio:notes"))], "login", "consent ada urn:mcp:stdio:notes ");
    check(&[("nonsense", Some("1")), ("error", Some("x")), ("code", Some("y"))], "login", ALL);
    let two = format!("{}&resource=urn:mcp:stdio:a&resource=urn:mcp:stdio:b", query(&[]));
    assert!(outcome(&two, &with_session(), &policy()).starts_with(&format!("{ERROR}invalid_target")));
    let twice = format!("{}&resource=urn:mcp:stdio:a&resource=urn:mcp:stdio:a", query(&[]));
    assert!(outcome(&twice, &with_session(), &policy()).starts_with("consent ada urn:mcp:stdio:a "));
}

#[test]
fn c9_200_parameters_and_no_more() {
    let many = |n: usize| {
        let more: Vec<_> = (0..n).map(|n| format!("&p{n}=x")).collect();
        outcome(&format!("{}&resource=urn:mcp:stdio:a{}", query(&[]), more.concat()), &with_session(), &policy())
    };
    let ours = query(&[]).split('&').count() + 1;
    assert!(many(200 - ours).starts_with("consent"));
    assert!(many(201 - ours).starts_with(&format!("{ERROR}invalid_request")));
}

#[test]
fn prompts_are_met() {
    check(&[("prompt", Some("consent"))], "login", ALL);
    check(&[("prompt", Some("select_account"))], "login", ALL);
    check(&[("prompt", Some("none"))], "page login_required", &format!("{ERROR}consent_required"));
    for words in ["none login", "consent none", "none none", "none unknown"] {
        check(&[("prompt", Some(words))], "page invalid_request", &format!("{ERROR}invalid_request"));
    }
    let mut operator = facts();
    operator.client.as_mut().unwrap().origin = ClientOrigin::Operator;
    let found = outcome(&query(&[("prompt", Some("none"))]), &operator, &policy());
    assert!(found.starts_with(&format!("{ERROR}login_required")), "{found}");
    let mut old = with_session();
    old.session.as_mut().unwrap().created = Timestamp(NOW.0 - 61);
    assert_eq!(outcome(&query(&[("prompt", Some("login"))]), &old, &policy()), "login");
    check(&[("prompt", Some("login"))], "login", ALL);
}

#[test]
fn ui_01_17_a_session_counts_while_it_and_its_person_are_good() {
    let mut expired = with_session();
    expired.session.as_mut().unwrap().expires = NOW;
    assert_eq!(outcome(&query(&[]), &expired, &policy()), "login");
    let mut disabled = with_session();
    disabled.user.as_mut().unwrap().stage = UserStage::Disabled;
    assert_eq!(outcome(&query(&[]), &disabled, &policy()), "login");
}

#[test]
fn auz_25_26_only_an_approval_is_stored_and_a_code_is_bound_to_everything() {
    let request = AuthorizeRequest::parse(&query(&[])).unwrap();
    assert!(decide(&request, &with_session(), &policy(), &fresh_code(), NOW).changes.is_empty());
    let mut auto = policy();
    auto.auto_approve = Some("demo".parse().unwrap());
    let verdict = decide(&request, &facts(), &auto, &fresh_code(), NOW);
    let [Change::Approved { grant, code, .. }] = &verdict.changes[..] else { panic!("{:?}", verdict.changes) };
    assert_eq!((grant.client.clone(), grant.subject()), (client().id, "demo"));
    assert_eq!(code.redirect_uri.as_str(), "http://127.0.0.1:49152/cb");
    assert_eq!(
        (code.challenge.text().as_str(), code.expires),
        (CHALLENGE, NOW + crate::protocol::policy::CODE_LIFETIME)
    );
    assert_eq!(code.hash, fresh_code().code.hash());
}
