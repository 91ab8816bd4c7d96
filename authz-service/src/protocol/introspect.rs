//! Token introspection (RFC 7662, contract C8): whoever owns a token may ask whether it is alive.

use serde::Serialize;
use shared::oauth::jwt::AccessClaims;
use shared::state::Facts;
use shared::time::Timestamp;
use shared::token::VerifiedToken;
use shared::uri::Issuer;

use super::Verdict;
use super::client_auth::ClientFault;
use super::refusal::Refusal;
use super::revoke::TokenQuestion;

/// The answer (RFC 7662 section 2.2). Of a token that is not alive, or not the asker's, nothing is told.
#[derive(Debug, Serialize)]
pub struct Introspected {
    active: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    claims: Option<AccessClaims>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
}

/// Decides what the asker may know, once it has proved who it is: a public client cannot (RFC 7662 section 2.1).
pub fn decide(
    question: &TokenQuestion,
    token: Option<&VerifiedToken>,
    facts: &Facts,
    issuer: &Issuer,
    now: Timestamp,
) -> Verdict<Introspected> {
    if question.client.is_bare() {
        return Verdict::unchanged(Err(Refusal::Client { fault: ClientFault::Method, header: false }));
    }
    let client = match question.client.authenticate(facts, issuer, now) {
        Ok(client) => client,
        Err(refusal) => return Verdict::unchanged(Err(refusal)),
    };
    let alive = token.filter(|token| token.alive(facts, now).is_ok());
    let own = alive.filter(|token| token.claims().client_id == client.record().id);
    let answer = Introspected {
        active: own.is_some(),
        claims: own.map(|token| token.claims().clone()),
        token_type: own.map(|_| "Bearer"),
    };
    Verdict::unchanged(Ok(answer)).after(client.spent())
}
