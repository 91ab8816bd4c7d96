//! Token introspection (RFC 7662, contract C8): whoever owns a token may ask whether it is alive, and so may the server
//! that it is for.

use serde::Serialize;
use shared::oauth::jwt::AccessClaims;
use shared::state::Facts;
use shared::time::Timestamp;
use shared::token::VerifiedToken;
use shared::uri::Issuer;

use super::Verdict;
use super::client_auth::{AuthenticatedClient, ClientFault};
use super::policy::same;
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
    let told = alive.filter(|token| may_know(&client, token, facts));
    let answer = Introspected {
        active: told.is_some(),
        claims: told.map(|token| token.claims().clone()),
        token_type: told.map(|_| "Bearer"),
    };
    Verdict::unchanged(Ok(answer)).after(client.spent())
}

/// Whether the token was given to the asker, or is for a resource that the operator says the asker serves. The grant is
/// the token's own: a token that is alive was compared with it.
fn may_know(client: &AuthenticatedClient, token: &VerifiedToken, facts: &Facts) -> bool {
    let client = client.record();
    let serves = |resource| client.resources.iter().any(|served| same(served, resource));
    token.claims().client_id == client.id || facts.grant.as_ref().is_some_and(|grant| serves(&grant.resource))
}
