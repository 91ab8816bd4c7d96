//! A client acts for itself (RFC 6749 section 4.4).
//!
//! Nobody consents here, so somebody else must have decided: the operator, who registered the client with this grant
//! type and with the scopes that it may have. A client that registered itself never gets a token for itself.

use shared::id::UserName;
use shared::oauth::form::Parameters;
use shared::oauth::register::{AuthMethod, GrantType};
use shared::scope::{self, Scopes};
use shared::state::{Change, Client, ClientOrigin, Facts, Grant, GrantStage};
use shared::time::Timestamp;

use super::{FreshTokens, Granted, access, registered};
use crate::protocol::Verdict;
use crate::protocol::client_auth::{AuthenticatedClient, Presented};
use crate::protocol::grantable::Grantable;
use crate::protocol::policy::Policy;
use crate::protocol::refusal::Refusal;

/// What the body asks for.
#[derive(Debug)]
pub struct ClientRequest {
    scope: Option<String>,
    pub(super) resource: Option<String>,
}

impl ClientRequest {
    /// Takes the parameters out of the body.
    pub(super) fn read(body: &mut Parameters) -> Self {
        Self { scope: body.take("scope"), resource: body.take("resource") }
    }
}

/// The person whose name the client bears, if there is one: to be looked up.
pub(super) fn namesake(client: &Presented) -> Option<UserName> {
    client.name().parse().ok()
}

/// Decides on an authenticated client's wish. No refresh token (RFC 6749 section 4.4.3): the client can ask again.
pub(super) fn decide(
    request: &ClientRequest,
    client: AuthenticatedClient,
    facts: &Facts,
    policy: &Policy,
    fresh: &FreshTokens,
    now: Timestamp,
) -> Verdict<Granted> {
    let grant = match grant(request, &client, facts, policy, fresh, now) {
        Ok(grant) => grant,
        Err(refusal) => return Verdict::unchanged(Err(refusal)),
    };
    let (access, claims) = access(&grant, grant.scopes.clone(), fresh.token, policy, policy.lifetimes.access, now);
    Verdict {
        changes: vec![Change::ClientGranted { grant, access }],
        reply: Ok(Granted { claims, gives_refresh: false, one_call: false, client }),
    }
}

fn grant(
    request: &ClientRequest,
    client: &AuthenticatedClient,
    facts: &Facts,
    policy: &Policy,
    fresh: &FreshTokens,
    now: Timestamp,
) -> Result<Grant, Refusal> {
    registered(client, GrantType::ClientCredentials)?;
    let client = client.record();
    if client.origin != ClientOrigin::Operator {
        return Err(Refusal::NotForItself("only a client that the operator registered gets tokens for itself"));
    }
    // RFC 6749 section 4.4: only confidential clients. Whoever knows a name would be the client.
    if client.auth_method == Some(AuthMethod::None) {
        return Err(Refusal::NotForItself("a public client gets no tokens for itself"));
    }
    // RFC 9068 section 5: a resource server that looks at `sub` alone must not take the client for a person.
    if facts.user.is_some() {
        return Err(Refusal::NotForItself("a person has this client's name"));
    }
    let resource = policy.resource(request.resource.as_deref())?;
    let scopes = scopes(request.scope.as_deref(), client, &Grantable::of(policy, facts, &resource))?;
    let (id, client) = (fresh.grant, client.id.clone());
    Ok(Grant { id, user: None, client, resource, scopes, created: now, stage: GrantStage::Live, terms: None })
}

/// The registered scopes are the ceiling here: nobody is asked who could say how far the client may go. What lies
/// beyond it is refused as a whole (RFC 6749 section 5.2).
fn scopes(named: Option<&str>, client: &Client, grantable: &Grantable<'_>) -> Result<Scopes, Refusal> {
    let away = scope::OFFLINE_ACCESS.parse().map_err(|_| Refusal::UnknownScope)?;
    let ceiling = grantable.known(&client.scope).minus(&away);
    let asked = match named {
        None => ceiling.clone(),
        Some(text) => scope::expand(&text.parse().map_err(|_| Refusal::UnknownScope)?).minus(&away),
    };
    match (asked.is_empty(), asked.within(&ceiling)) {
        (false, true) => Ok(asked),
        (true, _) => Err(Refusal::UnknownScope),
        (false, false) => Err(Refusal::ScopeExceeds),
    }
}

#[cfg(test)]
mod tests {
    use shared::oauth::form;
    use shared::secret::Secret;
    use shared::state::{Announcement, ClientSecret};
    use shared::uri::Resource;

    use super::*;
    use crate::protocol::policy::ACCESS_LIFETIME;
    use crate::protocol::sample::{NOW, client, facts, fresh_tokens, may, policy, user};
    use crate::protocol::token::{TokenRequest, decide};

    /// What a machine asks for and gets: its scopes, or the refusal.
    fn ask(more: &[(&str, &str)], change: impl FnOnce(&mut Facts)) -> Result<String, Refusal> {
        let mut facts = facts();
        let machine = facts.client.as_mut().unwrap();
        machine.origin = ClientOrigin::Operator;
        machine.auth_method = Some(AuthMethod::ClientSecretPost);
        machine.secret = Some(Box::new(ClientSecret { hash: Secret::new("s".into()).hash(), expires: None }));
        machine.grant_types = vec![GrantType::ClientCredentials].into();
        machine.scope = "mcp:tools mcp:resources offline_access".parse().unwrap();
        change(&mut facts);
        let id = client().id.to_string();
        let body = [("grant_type", "client_credentials"), ("client_id", &id), ("client_secret", "s")];
        let body = Parameters::parse(&form::encode(&[&body, more].concat())).unwrap();
        let request = TokenRequest::parse(None, body).unwrap();
        let verdict = decide(&request, &facts, &policy(), &fresh_tokens(), NOW);
        let Ok(granted) = verdict.reply else {
            assert!(verdict.changes.is_empty());
            return Err(verdict.reply.unwrap_err());
        };
        let [Change::ClientGranted { grant, access }] = &verdict.changes[..] else { panic!() };
        assert!(!granted.gives_refresh);
        assert_eq!((granted.claims.sub.as_str(), &granted.claims.client_id), (id.as_str(), &client().id));
        assert_eq!((grant.id, grant.user.as_ref(), grant.stage), (fresh_tokens().grant, None, GrantStage::Live));
        assert_eq!((access.grant, access.expires), (grant.id, NOW + ACCESS_LIFETIME));
        Ok(format!("{} {}", grant.resource, granted.claims.scope))
    }

    #[test]
    fn a_machine_gets_what_the_operator_gave_it_and_nothing_more() {
        let all = "urn:mcp:stdio:default mcp:resources mcp:tools:execute mcp:tools:read";
        assert_eq!(ask(&[], |_| {}).unwrap(), all);
        assert_eq!(ask(&[("scope", "mcp:tools:read")], |_| {}).unwrap(), "urn:mcp:stdio:default mcp:tools:read");
        assert_eq!(ask(&[("resource", "urn:mcp:stdio:a")], |_| {}).unwrap(), all.replace("default", "a"));
        for (scope, why) in [
            ("admin", Refusal::ScopeExceeds),
            ("mcp:tools:read admin", Refusal::ScopeExceeds),
            ("offline_access", Refusal::UnknownScope),
            ("a\"b", Refusal::UnknownScope),
        ] {
            assert_eq!(ask(&[("scope", scope)], |_| {}).unwrap_err(), why, "{scope}");
        }
        let narrow = |facts: &mut Facts| facts.client.as_mut().unwrap().scope = "mcp:tools:read".parse().unwrap();
        assert_eq!(ask(&[("scope", "mcp:tools:execute")], narrow).unwrap_err(), Refusal::ScopeExceeds);
        let none = |facts: &mut Facts| facts.client.as_mut().unwrap().scope = Scopes::default();
        assert_eq!(ask(&[], none).unwrap_err(), Refusal::UnknownScope);
        // A server's own scopes are for that server, and within what the operator gave.
        let own = |facts: &mut Facts| {
            facts.client.as_mut().unwrap().scope = "files:read mcp:admin".parse().unwrap();
            let scopes = ["files:read", "files:write", "mcp:admin"].map(|scope| (scope.parse().unwrap(), NOW)).to_vec();
            facts.tools = Some(Announcement { resource: Resource::stdio("a").unwrap(), tools: vec![], scopes });
        };
        assert_eq!(ask(&[("resource", "urn:mcp:stdio:a")], own).unwrap(), "urn:mcp:stdio:a files:read");
        let more = [("resource", "urn:mcp:stdio:a"), ("scope", "files:write")];
        assert_eq!(ask(&more, own).unwrap_err(), Refusal::ScopeExceeds);
        assert_eq!(ask(&[], own).unwrap_err(), Refusal::UnknownScope);
        let target = ask(&[("resource", "https://other.example")], |_| {}).unwrap_err();
        assert!(matches!(target, Refusal::Target(_)));
    }

    #[test]
    fn tok_10_nobody_gets_a_token_for_itself_without_the_operator() {
        let dynamic = |facts: &mut Facts| facts.client.as_mut().unwrap().origin = ClientOrigin::Dynamic;
        assert!(matches!(ask(&[], dynamic).unwrap_err(), Refusal::NotForItself(_)));
        let document = |facts: &mut Facts| facts.client.as_mut().unwrap().origin = ClientOrigin::MetadataDocument;
        assert!(matches!(ask(&[], document).unwrap_err(), Refusal::NotForItself(_)));
        let unregistered = |facts: &mut Facts| may(facts, &[]);
        assert_eq!(ask(&[], unregistered).unwrap_err(), Refusal::GrantNotRegistered("client_credentials"));
        let person = |facts: &mut Facts| facts.user = Some(user());
        assert!(matches!(ask(&[], person).unwrap_err(), Refusal::NotForItself(_)));
    }
}
