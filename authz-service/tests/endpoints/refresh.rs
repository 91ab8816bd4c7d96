//! REF: refresh tokens.

use serde_json::{Value, json};
use shared::state::{Change, RevocationCause, UserStage};

use crate::support::{Service, claims};

fn text<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap_or_else(|| panic!("no {name} in {tokens}"))
}

#[test]
fn ref_01_02_rotation_and_a_replay_that_ends_the_family() {
    let service = Service::start();
    let client = service.public_client();
    let first = service.tokens(&client);
    let second = service.refresh(&client, text(&first, "refresh_token"), &[]).json();
    assert_ne!(text(&second, "refresh_token"), text(&first, "refresh_token"));
    assert_ne!(text(&second, "access_token"), text(&first, "access_token"));
    let third = service.refresh(&client, text(&second, "refresh_token"), &[]).json();
    assert!(service.is_alive(text(&third, "access_token")));
    service.refresh(&client, text(&first, "refresh_token"), &[]).fails(400, "invalid_grant");
    for tokens in [&first, &second, &third] {
        assert!(!service.is_alive(text(tokens, "access_token")));
        service.refresh(&client, text(tokens, "refresh_token"), &[]).fails(400, "invalid_grant");
    }
}

#[test]
fn ref_03_11_a_lost_answer_can_be_had_again_for_ten_seconds() {
    let service = Service::start();
    let client = service.public_client();
    let first = service.tokens(&client);
    let lost = service.refresh(&client, text(&first, "refresh_token"), &[]).json();
    service.advance(10);
    let again = service.refresh(&client, text(&first, "refresh_token"), &[]).json();
    assert_eq!(text(&again, "refresh_token"), text(&lost, "refresh_token"), "one lineage");
    assert!(service.is_alive(text(&again, "access_token")));
    service.advance(1);
    service.refresh(&client, text(&first, "refresh_token"), &[]).fails(400, "invalid_grant");
    service.refresh(&client, text(&again, "refresh_token"), &[]).fails(400, "invalid_grant");
}

#[test]
fn ref_04_05_10_13_a_refused_request_spends_nothing() {
    let service = Service::start();
    let (client, other) = (service.public_client(), service.public_client());
    let tokens = service.tokens(&client);
    let token = text(&tokens, "refresh_token");
    service.refresh(&other, token, &[]).fails(400, "invalid_grant");
    service.refresh("c_unknown", token, &[]).fails(401, "invalid_client");
    service.refresh(&client, token, &[("client_secret", "x")]).fails(401, "invalid_client");
    service.refresh(&client, token, &[("scope", "mcp:tools admin")]).fails(400, "invalid_scope");
    service.refresh(&client, token, &[("resource", "urn:mcp:stdio:other")]).fails(400, "invalid_target");
    service.refresh(&client, "unknown", &[]).fails(400, "invalid_grant");
    service.refresh(&client, "", &[]).fails(400, "invalid_request");
    assert!(service.is_alive(text(&tokens, "access_token")));
    assert_eq!(service.refresh(&client, token, &[]).status, 200);
}

#[test]
fn ref_06_a_smaller_scope_now_and_the_whole_again_later() {
    let service = Service::start();
    let client = service.public_client();
    let whole = service.tokens(&client);
    let less = service.refresh(&client, text(&whole, "refresh_token"), &[("scope", "mcp:tools:read")]).json();
    assert_eq!(text(&less, "scope"), "mcp:tools:read");
    assert_eq!(claims(text(&less, "access_token"))["scope"], "mcp:tools:read");
    let again = service.refresh(&client, text(&less, "refresh_token"), &[]).json();
    assert_eq!(text(&again, "scope"), text(&whole, "scope"));
}

#[test]
fn ref_07_idle_for_thirty_days_is_the_end() {
    let service = Service::start();
    let client = service.public_client();
    let tokens = service.tokens(&client);
    service.advance(30 * 24 * 3600 + 1);
    service.refresh(&client, text(&tokens, "refresh_token"), &[]).fails(400, "invalid_grant");
}

#[test]
fn ref_08_revoked_changed_or_removed_is_dead_from_the_next_request_on() {
    let service = Service::start();
    type Ends = fn(&str, &Value) -> Change;
    let ends: [(Ends, u16, &str); 4] = [
        (
            |_, claims| Change::GrantRevoked {
                grant: claims["grant"].as_str().unwrap().parse().unwrap(),
                cause: RevocationCause::User,
            },
            400,
            "invalid_grant",
        ),
        (|_, _| Change::PasswordChanged { user: "ada".parse().unwrap(), password: "x".into() }, 400, "invalid_grant"),
        // A client that is gone cannot authenticate, before its token is looked at (TOK-23, REG-18).
        (|client, _| Change::ClientRemoved(client.parse().unwrap()), 401, "invalid_client"),
        (
            |_, _| Change::UserStageSet { user: "ada".parse().unwrap(), stage: UserStage::Disabled },
            400,
            "invalid_grant",
        ),
    ];
    for (end, status, word) in ends {
        let client = service.public_client();
        let tokens = service.tokens(&client);
        service.commit(end(&client, &claims(text(&tokens, "access_token"))));
        assert!(!service.is_alive(text(&tokens, "access_token")));
        service.refresh(&client, text(&tokens, "refresh_token"), &[]).fails(status, word);
    }
}

#[test]
fn ref_09_none_without_the_grant_type() {
    let service = Service::start();
    let told =
        service.register(&json!({ "grant_types": ["authorization_code"], "token_endpoint_auth_method": "none" }));
    let tokens = service.tokens(told["client_id"].as_str().unwrap());
    assert!(tokens.get("refresh_token").is_none());
}

#[test]
fn ref_03_of_8_parallel_refreshes_all_end_in_one_lineage() {
    let service = Service::start();
    let client = service.public_client();
    let tokens = service.tokens(&client);
    let start = std::sync::Barrier::new(8);
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    service.refresh(&client, text(&tokens, "refresh_token"), &[]).json()
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let successor = text(&answers[0], "refresh_token");
    for answer in &answers {
        assert_eq!(text(answer, "refresh_token"), successor);
        assert!(service.is_alive(text(answer, "access_token")));
    }
    assert_eq!(service.refresh(&client, successor, &[]).status, 200);
}
