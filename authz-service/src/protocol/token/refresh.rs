//! A refresh token becomes its successor (RFC 6749 section 6, OAuth 2.1 section 4.3, contract C7).

use shared::oauth::form::Parameters;
use shared::oauth::register::GrantType;
use shared::scope::{self, Scopes};
use shared::secret::Secret;
use shared::state::{Change, Expired, Facts, Family, FamilyStage, Grant, GrantStage, RevocationCause};
use shared::time::Timestamp;

use super::{FreshTokens, Granted, access, registered, same_resource, secret};
use crate::protocol::Verdict;
use crate::protocol::client_auth::AuthenticatedClient;
use crate::protocol::policy::Policy;
use crate::protocol::refusal::Refusal;

/// What the body says about a refresh token.
#[derive(Debug)]
pub struct RefreshRequest {
    token: Result<Option<Secret>, Refusal>,
    scope: Option<String>,
    resource: Option<String>,
}

impl RefreshRequest {
    /// Takes the parameters out of the body.
    pub(super) fn read(body: &mut Parameters) -> Self {
        Self { token: secret(body, "refresh_token"), scope: body.take("scope"), resource: body.take("resource") }
    }

    /// The refresh token that was presented.
    pub(super) fn presented(&self) -> Option<&Secret> {
        self.token.as_ref().ok()?.as_ref()
    }
}

/// How a good refresh token is used.
#[derive(Debug)]
enum Use {
    /// It is the current one: it is exchanged.
    Rotation,
    /// It was exchanged a moment ago, and the answer seems to be lost: the same successor goes out again.
    Repeat,
}

/// Decides on a refresh token of an authenticated client.
pub(super) fn decide(
    request: &RefreshRequest,
    client: AuthenticatedClient,
    facts: &Facts,
    policy: &Policy,
    fresh: &FreshTokens,
    now: Timestamp,
) -> Verdict<Granted> {
    let found = match find(request, &client, facts, policy, now) {
        Ok(found) => found,
        // RFC 9700 section 4.14.2: whoever comes second, thief or owner, ends it for both.
        Err(refusal @ Refusal::ReplayedRefresh(grant)) => {
            return Verdict {
                changes: vec![Change::GrantRevoked { grant, cause: RevocationCause::RefreshReplayed }],
                reply: Err(refusal),
            };
        }
        // It stays so when the clock is set back (fault F-16).
        Err(Refusal::ExpiredRefresh) => {
            let expired = |grant: &Grant| Change::Expired(Expired::Refresh(grant.id));
            let changes = facts.grant.as_ref().map(expired).into_iter().collect();
            return Verdict { changes, reply: Err(Refusal::ExpiredRefresh) };
        }
        Err(refusal) => return Verdict::unchanged(Err(refusal)),
    };
    match scopes(request, found.grant, policy) {
        Ok(scopes) => tokens(&found, scopes, client, policy, fresh, now),
        Err(refusal) => Verdict::unchanged(Err(refusal)),
    }
}

struct Found<'a> {
    presented: &'a Secret,
    grant: &'a Grant,
    family: &'a Family,
    usage: Use,
}

fn find<'a>(
    request: &'a RefreshRequest,
    client: &AuthenticatedClient,
    facts: &'a Facts,
    policy: &Policy,
    now: Timestamp,
) -> Result<Found<'a>, Refusal> {
    registered(client, GrantType::RefreshToken)?;
    let presented = match &request.token {
        Ok(Some(presented)) => presented,
        Ok(None) => return Err(Refusal::Missing("refresh_token")),
        Err(_) => return Err(Refusal::UnknownRefresh),
    };
    let (Some(grant), Some(family)) = (&facts.grant, &facts.family) else { return Err(Refusal::UnknownRefresh) };
    if grant.client != client.record().id {
        return Err(Refusal::ForeignRefresh);
    }
    if grant.stage != GrantStage::Live || family.stage != FamilyStage::Live || !facts.person_may_be_acted_for() {
        return Err(Refusal::DeadGrant);
    }
    if family.expires < now || family.used + policy.lifetimes.refresh_idle < now {
        return Err(Refusal::ExpiredRefresh);
    }
    Ok(Found { presented, grant, family, usage: usage(presented, family, policy, now)? })
}

/// Contract C7: a spent token is forgiven while its successor is unused and its answer may still be under way.
fn usage(presented: &Secret, family: &Family, policy: &Policy, now: Timestamp) -> Result<Use, Refusal> {
    let grace = policy.lifetimes.refresh_grace;
    let hash = presented.hash();
    if hash == family.current {
        return Ok(Use::Rotation);
    }
    match family.previous {
        Some(previous) if previous.hash == hash && now.0.abs_diff(previous.at.0) <= grace.0 => Ok(Use::Repeat),
        // The clock went back: nobody can tell a repeat from a replay, so nobody loses anything (F-16).
        Some(previous) if previous.hash == hash && previous.at > now => Err(Refusal::UnknownRefresh),
        _ => Err(Refusal::ReplayedRefresh(family.grant)),
    }
}

/// What the new access token opens: the grant's scopes, or fewer (REF-05, REF-06).
fn scopes(request: &RefreshRequest, grant: &Grant, policy: &Policy) -> Result<Scopes, Refusal> {
    same_resource(request.resource.as_deref(), grant, policy)?;
    let Some(text) = &request.scope else { return Ok(grant.scopes.clone()) };
    let asked = scope::expand(&text.parse().map_err(|_| Refusal::ScopeExceeds)?);
    if asked.is_empty() || !asked.within(&grant.scopes) { Err(Refusal::ScopeExceeds) } else { Ok(asked) }
}

fn tokens(
    found: &Found<'_>,
    scopes: Scopes,
    client: AuthenticatedClient,
    policy: &Policy,
    fresh: &FreshTokens,
    now: Timestamp,
) -> Verdict<Granted> {
    let left = found.family.expires - now;
    let (access, claims) = access(found.grant, scopes, fresh.token, policy, left, now);
    let (grant, presented) = (found.grant.id, found.presented.hash());
    let change = match found.usage {
        Use::Rotation => Change::RefreshRotated { grant, presented, successor: fresh.refresh.hash(), access },
        Use::Repeat if fresh.refresh.hash() == found.family.current => {
            Change::RefreshRepeated { grant, presented, access }
        }
        // The successor was derived with another key: it cannot be given again, and nobody has lost anything.
        Use::Repeat => return Verdict::unchanged(Err(Refusal::UnknownRefresh)),
    };
    Verdict { changes: vec![change], reply: Ok(Granted { claims, gives_refresh: true, one_call: false, client }) }
}

#[cfg(test)]
mod tests {
    use shared::oauth::form;
    use shared::state::{Rotated, UserStage};

    use super::*;
    use crate::protocol::policy::{REFRESH_ABSOLUTE, REFRESH_IDLE};
    use crate::protocol::sample::{NOW, client, fresh_tokens, grant, policy, with_family};
    use crate::protocol::token::{TokenRequest, decide};

    fn ask(extra: &[(&str, &str)], facts: &Facts, at: Timestamp) -> Verdict<Granted> {
        let id = client().id.to_string();
        let mut body =
            vec![("grant_type", "refresh_token"), ("client_id", id.as_str()), ("refresh_token", "the-refresh")];
        body.extend(extra);
        let request = TokenRequest::parse(None, Parameters::parse(&form::encode(&body)).unwrap()).unwrap();
        decide(&request, facts, &policy(), &fresh_tokens(), at)
    }

    fn current() -> Facts {
        with_family("the-refresh")
    }

    /// The state after the exchange of `the-refresh` for `next-refresh` at [`NOW`].
    fn exchanged() -> Facts {
        let mut facts = with_family("next-refresh");
        facts.family.as_mut().unwrap().previous =
            Some(Rotated { hash: Secret::new("the-refresh".into()).hash(), at: NOW });
        facts
    }

    fn spent_long_ago() -> Facts {
        let mut facts = with_family("third");
        let family = facts.family.as_mut().unwrap();
        family.previous = Some(Rotated { hash: Secret::new("next-refresh".into()).hash(), at: NOW });
        family.spent = vec![Secret::new("the-refresh".into()).hash()];
        facts
    }

    #[track_caller]
    fn refuses(extra: &[(&str, &str)], facts: &Facts, at: Timestamp, why: &Refusal) {
        let verdict = ask(extra, facts, at);
        assert_eq!(verdict.reply.unwrap_err(), *why);
        let changes = matches!(why, Refusal::ReplayedRefresh(_) | Refusal::ExpiredRefresh);
        assert_eq!(verdict.changes.is_empty(), !changes, "spends nothing");
    }

    #[test]
    fn ref_01_the_current_token_is_exchanged() {
        let verdict = ask(&[], &current(), NOW);
        assert!(verdict.reply.unwrap().gives_refresh);
        let [Change::RefreshRotated { successor, access, .. }] = &verdict.changes[..] else { panic!() };
        assert_eq!(*successor, fresh_tokens().refresh.hash());
        assert_eq!(access.scopes, grant().scopes);
    }

    #[test]
    fn ref_02_03_11_a_spent_token_is_forgiven_for_ten_seconds_while_its_successor_is_unused() {
        for later in [0, 10] {
            let verdict = ask(&[], &exchanged(), Timestamp(NOW.0 + later));
            assert!(verdict.reply.is_ok(), "{later} s");
            assert!(matches!(&verdict.changes[..], [Change::RefreshRepeated { .. }]));
        }
        refuses(&[], &exchanged(), Timestamp(NOW.0 + 11), &Refusal::ReplayedRefresh(grant().id));
        refuses(&[], &spent_long_ago(), NOW, &Refusal::ReplayedRefresh(grant().id));
    }

    #[test]
    fn ref_04_a_foreign_token_changes_nothing() {
        for mut facts in [current(), exchanged(), spent_long_ago()] {
            facts.grant.as_mut().unwrap().client = "c_other".parse().unwrap();
            refuses(&[], &facts, Timestamp(NOW.0 + 60), &Refusal::ForeignRefresh);
        }
    }

    #[test]
    fn ref_05_06_scopes_may_shrink_and_never_grow() {
        refuses(&[("scope", "mcp:resources")], &current(), NOW, &Refusal::ScopeExceeds);
        refuses(&[("scope", "mcp:tools admin")], &current(), NOW, &Refusal::ScopeExceeds);
        refuses(&[("scope", "\"")], &current(), NOW, &Refusal::ScopeExceeds);
        let verdict = ask(&[("scope", "mcp:tools:read")], &current(), NOW);
        assert_eq!(verdict.reply.unwrap().claims.scope.to_string(), "mcp:tools:read");
        let whole = ask(&[("scope", "mcp:tools")], &current(), NOW).reply.unwrap();
        assert_eq!(whole.claims.scope, grant().scopes);
    }

    #[test]
    fn ref_07_idle_and_absolute_life_end() {
        let idle = NOW + REFRESH_IDLE;
        assert!(ask(&[], &current(), idle).reply.is_ok());
        refuses(&[], &current(), Timestamp(idle.0 + 1), &Refusal::ExpiredRefresh);
        let mut used = current();
        let end = NOW + REFRESH_ABSOLUTE;
        used.family.as_mut().unwrap().used = end;
        assert_eq!(ask(&[], &used, Timestamp(end.0 - 5)).reply.unwrap().claims.exp, end);
        refuses(&[], &used, Timestamp(end.0 + 1), &Refusal::ExpiredRefresh);
    }

    #[test]
    fn ref_08_revoked_disabled_or_gone_is_dead() {
        let dead = |change: fn(&mut Facts)| {
            let mut facts = current();
            change(&mut facts);
            refuses(&[], &facts, NOW, &Refusal::DeadGrant);
        };
        dead(|facts| facts.grant.as_mut().unwrap().stage = GrantStage::Revoked);
        dead(|facts| facts.family.as_mut().unwrap().stage = FamilyStage::Dead);
        dead(|facts| facts.grant_user.as_mut().unwrap().stage = UserStage::Disabled);
        let mut unknown = current();
        (unknown.grant, unknown.family) = (None, None);
        refuses(&[], &unknown, NOW, &Refusal::UnknownRefresh);
    }

    #[test]
    fn ref_09_10_the_grant_type_and_the_resource_count() {
        let mut facts = current();
        facts.client.as_mut().unwrap().grant_types = vec![GrantType::AuthorizationCode].into();
        refuses(&[], &facts, NOW, &Refusal::GrantNotRegistered("refresh_token"));
        let target = Refusal::Target("the resource is not the one that the person consented to");
        refuses(&[("resource", "urn:mcp:stdio:other")], &current(), NOW, &target);
        assert!(ask(&[("resource", "urn:mcp:stdio:default")], &current(), NOW).reply.is_ok());
    }
}
