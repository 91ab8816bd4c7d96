//! Token revocation (RFC 7009, contract C8): a client gives back its own tokens, and touches no other's.

use shared::oauth::form::Parameters;
use shared::oauth::jwt::AccessClaims;
use shared::secret::Secret;
use shared::state::{Change, Facts, GrantStage, RevocationCause, Wanted};
use shared::time::Timestamp;
use shared::uri::Issuer;

use super::Verdict;
use super::client_auth::Presented;
use super::policy::MAX_TOKEN;
use super::refusal::Refusal;

/// What is presented, at this endpoint and at introspection.
#[derive(Debug)]
pub struct TokenQuestion {
    /// Who says to be asking.
    pub client: Presented,
    token: Secret,
}

impl TokenQuestion {
    /// Reads the parameters. `token_type_hint` is not needed (RFC 7009 section 2.1 lets us ignore it).
    ///
    /// # Errors
    /// When no client can be made out, or there is no token.
    pub fn parse(authorization: Option<&[u8]>, mut body: Parameters) -> Result<Self, Refusal> {
        let client = Presented::read(authorization, &mut body)?;
        let token = body.take("token").map(Secret::new).ok_or(Refusal::Missing("token"))?;
        Ok(Self { client, token })
    }

    /// The token, to be verified by whoever holds the keys.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// The records to decide on: `claims` when the token is an access token whose signature and claims are good.
    pub fn wants(&self, claims: Option<&AccessClaims>) -> Wanted {
        let refresh = (claims.is_none() && self.token.expose().len() <= MAX_TOKEN).then(|| self.token.hash());
        Wanted { access: claims.map(|claims| claims.jti), refresh, ..self.client.wants() }
    }
}

/// Decides what a revocation changes. The answer is the same whether the token was known or not (RFC 7009 2.2).
pub fn decide(question: &TokenQuestion, facts: &Facts, issuer: &Issuer, now: Timestamp) -> Verdict<()> {
    let client = match question.client.authenticate(facts, issuer, now) {
        Ok(client) => client,
        Err(refusal) => return Verdict::unchanged(Err(refusal)),
    };
    let own = facts.grant.as_ref().filter(|grant| grant.client == client.record().id);
    let changes = match (own, &facts.access, &facts.family) {
        (Some(_), Some(access), _) => vec![Change::AccessRevoked(access.id)],
        (Some(grant), None, Some(_)) if grant.stage != GrantStage::Revoked => {
            vec![Change::GrantRevoked { grant: grant.id, cause: RevocationCause::Client }]
        }
        _ => Vec::new(),
    };
    Verdict { changes, reply: Ok(()) }.after(client.spent())
}

#[cfg(test)]
mod tests {
    use shared::state::Access;

    use super::*;
    use crate::protocol::sample::{NOW, client, fresh_tokens, grant, policy, with_family};

    fn question(id: &str) -> TokenQuestion {
        let pairs = [("client_id", id), ("token", "t")];
        let body = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        TokenQuestion::parse(None, Parameters::from_pairs(body)).unwrap()
    }

    fn with_access() -> Facts {
        let access = Access {
            id: fresh_tokens().token,
            grant: grant().id,
            scopes: grant().scopes,
            issued: NOW,
            expires: NOW,
            opaque: None,
            once: None,
        };
        Facts { access: Some(access), ..with_family("t") }
    }

    #[test]
    fn rev_01_02_an_access_token_goes_alone_and_a_refresh_token_takes_the_grant() {
        let own = question(client().id.as_str());
        let verdict = decide(&own, &with_access(), &policy().issuer, NOW);
        assert!(matches!(verdict.changes[..], [Change::AccessRevoked(_)]));
        let verdict = decide(&own, &with_family("t"), &policy().issuer, NOW);
        assert!(matches!(verdict.changes[..], [Change::GrantRevoked { cause: RevocationCause::Client, .. }]));
    }

    #[test]
    fn rev_03_05_06_unknown_foreign_and_dead_tokens_change_nothing_and_say_nothing() {
        let own = question(client().id.as_str());
        let mut unknown = with_family("t");
        (unknown.grant, unknown.family) = (None, None);
        let mut foreign = with_access();
        foreign.grant.as_mut().unwrap().client = "c_other".parse().unwrap();
        let mut dead = with_family("t");
        dead.grant.as_mut().unwrap().stage = GrantStage::Revoked;
        for facts in [unknown, foreign, dead] {
            let verdict = decide(&own, &facts, &policy().issuer, NOW);
            assert!(verdict.reply.is_ok() && verdict.changes.is_empty());
        }
    }

    #[test]
    fn rev_04_a_token_must_be_named_by_a_client_that_exists() {
        let body = Parameters::from_pairs(vec![("client_id".into(), "c_1".into())]);
        assert_eq!(TokenQuestion::parse(None, body).unwrap_err(), Refusal::Missing("token"));
        let mut facts = with_family("t");
        facts.client = None;
        assert!(decide(&question("c_1"), &facts, &policy().issuer, NOW).reply.is_err());
    }
}
