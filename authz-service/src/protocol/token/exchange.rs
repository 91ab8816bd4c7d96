//! A token becomes one that is good for one call (RFC 8693): for hosts that have no better place for a token than the
//! arguments of a call, which models and transcripts see.
//!
//! What comes out is good for less than what went in: one tool, one set of arguments (RFC 9396), once, for a minute. So
//! nobody has to be asked.

use serde_json::Value;
use shared::id::TokenId;
use shared::oauth::form::Parameters;
use shared::oauth::json;
use shared::oauth::jwt::{AccessClaims, Audience};
use shared::oauth::register::GrantType;
use shared::scope::{self, Scopes};
use shared::secret::{Secret, TokenHash};
use shared::state::{Access, Change, Facts, Grant, OneCall};
use shared::time::{Seconds, Timestamp};
use shared::token::VerifiedToken;

use super::{FreshTokens, Granted, is_revoked, registered, same_resource};
use crate::protocol::Verdict;
use crate::protocol::client_auth::AuthenticatedClient;
use crate::protocol::policy::{MAX_TOKEN, Policy};
use crate::protocol::refusal::Refusal;

/// The one type of token that is taken and given (RFC 8693 section 3).
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The one type of `authorization_details`: `tool`, and `arguments_sha256`, the SHA-256 of the arguments in canonical form
/// (RFC 8785) as base64url.
pub const MCP_TOOL_CALL: &str = "mcp_tool_call";

/// How long a token for one call stays good: the call follows at once.
pub const ONE_CALL_LIFETIME: Seconds = Seconds(60);

/// What the body says.
#[derive(Debug)]
pub struct ExchangeRequest {
    subject: Option<Secret>,
    subject_type: Option<String>,
    requested_type: Option<String>,
    has_actor: bool,
    details: Option<String>,
    resource: Option<String>,
    audience: Option<String>,
    scope: Option<String>,
    /// The subject, when its signature and claims are good.
    checked: Option<VerifiedToken>,
}

impl ExchangeRequest {
    /// Takes the parameters out of the body. A token that is too long to be ours is as good as another that is not.
    pub(super) fn read(body: &mut Parameters) -> Self {
        let mut take = |name| body.take(name);
        Self {
            subject: take("subject_token").map(Secret::new),
            subject_type: take("subject_token_type"),
            requested_type: take("requested_token_type"),
            has_actor: take("actor_token").map(Secret::new).is_some() | take("actor_token_type").is_some(),
            details: take("authorization_details"),
            resource: take("resource"),
            audience: take("audience"),
            scope: take("scope"),
            checked: None,
        }
    }

    pub(super) fn check<E>(
        &mut self,
        verify: impl FnOnce(&Secret) -> Result<Option<VerifiedToken>, E>,
    ) -> Result<(), E> {
        let subject = self.subject.as_ref().filter(|subject| subject.expose().len() <= MAX_TOKEN);
        self.checked = subject.map(verify).transpose()?.flatten();
        Ok(())
    }

    /// The name of the token that is to be exchanged.
    pub(super) fn subject_id(&self) -> Option<TokenId> {
        self.checked.as_ref().map(|token| token.claims().jti)
    }
}

/// Decides on an authenticated client's wish.
pub(super) fn decide(
    request: &ExchangeRequest,
    client: AuthenticatedClient,
    facts: &Facts,
    policy: &Policy,
    fresh: &FreshTokens,
    now: Timestamp,
) -> Verdict<Granted> {
    match exchange(request, &client, facts, policy, fresh, now) {
        Ok((change, claims)) => Verdict {
            changes: vec![change],
            reply: Ok(Granted { claims, gives_refresh: false, one_call: true, client }),
        },
        Err(refusal) => Verdict::unchanged(Err(refusal)),
    }
}

fn exchange(
    request: &ExchangeRequest,
    client: &AuthenticatedClient,
    facts: &Facts,
    policy: &Policy,
    fresh: &FreshTokens,
    now: Timestamp,
) -> Result<(Change, AccessClaims), Refusal> {
    registered(client, GrantType::TokenExchange)?;
    let call = request.call()?;
    let (subject, grant) = subject(request, client, facts, now)?;
    // RFC 8693 section 2.1: the target by its place, by its name, or both.
    for named in [&request.resource, &request.audience] {
        same_resource(named.as_deref(), grant, policy)?;
    }
    let scopes = narrowed(request.scope.as_deref(), &subject.claims().scope)?;
    let expires = (now + ONE_CALL_LIFETIME).min(subject.claims().exp);
    let (hash, id) = (Some(Box::new(fresh.one_call.hash())), fresh.token);
    let once = Some(Box::new(call));
    let access = Access { id, grant: grant.id, scopes: scopes.clone(), issued: now, expires, opaque: hash, once };
    let claims = AccessClaims {
        aud: Audience::One(grant.resource.clone()),
        scope: scopes,
        jti: id,
        nbf: None,
        iat: now,
        exp: expires,
        ..subject.claims().clone()
    };
    Ok((Change::TokenExchanged { subject: subject.claims().jti, access }, claims))
}

impl ExchangeRequest {
    /// The call, once the request is one that we can do something with.
    fn call(&self) -> Result<OneCall, Refusal> {
        if self.subject.is_none() {
            return Err(Refusal::Missing("subject_token"));
        }
        match self.subject_type.as_deref() {
            None => return Err(Refusal::Missing("subject_token_type")),
            Some(ACCESS_TOKEN) => {}
            Some(_) => return Err(Refusal::Malformed("subject_token_type")),
        }
        if self.requested_type.as_deref().is_some_and(|word| word != ACCESS_TOKEN) {
            return Err(Refusal::Malformed("requested_token_type"));
        }
        if self.has_actor {
            return Err(Refusal::Malformed("actor_token"));
        }
        one_call(self.details.as_deref().ok_or(Refusal::Missing("authorization_details"))?)
    }
}

/// The one call that `authorization_details` name (RFC 9396 section 2).
fn one_call(details: &str) -> Result<OneCall, Refusal> {
    let bad = Refusal::AuthorizationDetails;
    let Ok(Value::Array(details)) = json::parse(details.as_bytes()) else {
        return Err(bad("authorization_details must be a JSON array"));
    };
    let [Value::Object(detail)] = &details[..] else {
        return Err(bad("authorization_details must hold one object: a token is for one call"));
    };
    if detail.keys().any(|name| !["type", "tool", "arguments_sha256"].contains(&name.as_str())) {
        // RFC 9396 section 5: unknown fields are refused, for they may be meant as limits.
        return Err(bad("authorization_details may hold type, tool and arguments_sha256 here"));
    }
    let text = |name: &str| detail.get(name).and_then(Value::as_str);
    if text("type") != Some(MCP_TOOL_CALL) {
        return Err(bad("the type must be mcp_tool_call"));
    }
    let tool = text("tool").and_then(|tool| tool.parse().ok()).ok_or(bad("tool must be a tool's name"))?;
    let hash = detail.get("arguments_sha256").and_then(|hash| serde_json::from_value::<TokenHash>(hash.clone()).ok());
    let arguments = hash.ok_or(bad("arguments_sha256 must be a SHA-256 as 43 characters of base64url"))?;
    Ok(OneCall { tool, arguments })
}

/// The token that is presented, if it lives, is this client's, and is none for one call itself.
fn subject<'a>(
    request: &'a ExchangeRequest,
    client: &AuthenticatedClient,
    facts: &'a Facts,
    now: Timestamp,
) -> Result<(&'a VerifiedToken, &'a Grant), Refusal> {
    let token = request.checked.as_ref().ok_or(Refusal::SubjectToken)?;
    let grant = facts.grant.as_ref().filter(|grant| !is_revoked(grant)).ok_or(Refusal::SubjectToken)?;
    let is_own = token.claims().client_id == client.record().id && grant.client == client.record().id;
    if is_own && token.alive(facts, now).is_ok() { Ok((token, grant)) } else { Err(Refusal::SubjectToken) }
}

fn narrowed(named: Option<&str>, held: &Scopes) -> Result<Scopes, Refusal> {
    let Some(text) = named else { return Ok(held.clone()) };
    let asked: Scopes = text.parse().map_err(|_| Refusal::UnknownScope)?;
    // The store compares what is written down: no name that stands for several.
    if !asked.is_empty() && asked.within(held) {
        Ok(asked)
    } else if asked.within(&scope::expand(held)) && !asked.is_empty() {
        Ok(held.clone())
    } else {
        Err(Refusal::ScopeExceeds)
    }
}

#[cfg(test)]
mod tests {
    use shared::oauth::form;
    use shared::state::GrantStage;
    use shared::token::{Expected, KeyRing, KeySet};

    use super::*;
    use crate::protocol::sample::{NOW, facts, fresh_tokens, grant, may, policy, user};
    use crate::protocol::token::{TokenRequest, access, decide};

    const HASH: &str = "RBNvo1WzZ4oRRq0W9-hknpT7T8If536DEMBg9hyq_4o";

    fn details(tool: &str) -> String {
        format!(r#"[{{"type":"mcp_tool_call","tool":"{tool}","arguments_sha256":"{HASH}"}}]"#)
    }

    /// The facts behind a live token of the sample's client, and the token.
    fn known() -> (Facts, VerifiedToken) {
        let mut facts = facts();
        may(&mut facts, &[GrantType::TokenExchange]);
        let grant = Grant { stage: GrantStage::Live, ..grant() };
        let scopes = grant.scopes.clone();
        let token = TokenId(uuid::Uuid::from_u128(77));
        let (record, claims) = access(&grant, scopes, token, &policy(), Seconds(3600), NOW);
        let keys = KeySet::generate(NOW).unwrap();
        let secret = keys.mint(&claims).unwrap();
        let expected = Expected { issuers: vec![policy().issuer], resource: grant.resource.clone() };
        let token = KeyRing::new(&[keys.public()]).verify(secret.expose(), &expected, NOW).unwrap();
        facts.grant_user = Some(user());
        facts.grant_client_exists = true;
        (facts.access, facts.grant) = (Some(record), Some(grant));
        (facts, token)
    }

    type Body = Vec<(&'static str, String)>;

    fn ask(change: impl FnOnce(&mut Body, &mut Facts), now: Timestamp) -> Verdict<Granted> {
        let (mut facts, token) = known();
        let mut body: Body = vec![
            ("grant_type", GrantType::TokenExchange.as_str().to_owned()),
            ("client_id", facts.client.as_ref().unwrap().id.to_string()),
            ("subject_token", "a.b.c".to_owned()),
            ("subject_token_type", ACCESS_TOKEN.to_owned()),
            ("authorization_details", details("look")),
        ];
        change(&mut body, &mut facts);
        let pairs: Vec<_> = body.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let parameters = Parameters::parse(&form::encode(&pairs)).unwrap();
        let mut request = TokenRequest::parse(None, parameters).unwrap();
        request.check_subject(|_| Ok::<_, ()>(Some(token))).unwrap();
        decide(&request, &facts, &policy(), &fresh_tokens(), now)
    }

    #[track_caller]
    fn refuses(change: impl FnOnce(&mut Body, &mut Facts), now: Timestamp, refusal: &Refusal) {
        let verdict = ask(change, now);
        assert_eq!(verdict.changes, []);
        assert_eq!(verdict.reply.map(|_| ()).unwrap_err(), *refusal);
    }

    fn set(name: &'static str, value: &str) -> impl FnOnce(&mut Body, &mut Facts) {
        let value = value.to_owned();
        move |body, _| {
            body.retain(|(known, _)| *known != name);
            if !value.is_empty() {
                body.push((name, value));
            }
        }
    }

    #[test]
    fn n8_a_token_becomes_one_for_one_call_that_is_good_for_less() {
        let verdict = ask(|_, _| {}, NOW);
        let granted = verdict.reply.unwrap();
        let [Change::TokenExchanged { subject, access }] = &verdict.changes[..] else {
            panic!("{:?}", verdict.changes)
        };
        assert_ne!(*subject, access.id);
        assert_eq!((access.expires, granted.claims.exp), (NOW + ONE_CALL_LIFETIME, NOW + ONE_CALL_LIFETIME));
        assert_eq!(access.opaque.as_deref(), Some(&fresh_tokens().one_call.hash()));
        assert_eq!(access.once.as_ref().unwrap().tool.as_str(), "look");
        assert!(granted.one_call && !granted.gives_refresh);
        // It outlives neither its own minute nor the token that it came from.
        let (facts, _) = known();
        let end = facts.access.unwrap().expires;
        let last = Timestamp(end.0 - 5);
        assert_eq!(ask(|_, _| {}, last).reply.unwrap().claims.exp, end);
    }

    #[test]
    fn n8_only_a_live_token_of_the_same_client_is_exchanged() {
        let dead = &Refusal::SubjectToken;
        refuses(|_, facts| facts.access = None, NOW, dead);
        refuses(|_, facts| facts.grant.as_mut().unwrap().stage = GrantStage::Revoked, NOW, dead);
        refuses(|_, facts| facts.grant.as_mut().unwrap().client = "c_other".parse().unwrap(), NOW, dead);
        refuses(|_, facts| facts.grant_client_exists = false, NOW, dead);
        refuses(|_, _| {}, NOW + Seconds(7 * 24 * 3600), dead);
        let unregistered = |_: &mut Body, facts: &mut Facts| may(facts, &[GrantType::RefreshToken]);
        refuses(unregistered, NOW, &Refusal::GrantNotRegistered(GrantType::TokenExchange.as_str()));
    }

    #[test]
    fn n8_what_is_asked_for_is_one_call_and_nothing_else() {
        refuses(set("subject_token", ""), NOW, &Refusal::Missing("subject_token"));
        refuses(set("subject_token_type", ""), NOW, &Refusal::Missing("subject_token_type"));
        refuses(set("subject_token_type", "urn:x"), NOW, &Refusal::Malformed("subject_token_type"));
        refuses(set("requested_token_type", "urn:x"), NOW, &Refusal::Malformed("requested_token_type"));
        refuses(set("actor_token", "a.b.c"), NOW, &Refusal::Malformed("actor_token"));
        refuses(set("authorization_details", ""), NOW, &Refusal::Missing("authorization_details"));
        refuses(set("scope", "mcp:tools:execute other"), NOW, &Refusal::ScopeExceeds);
        for target in ["resource", "audience"] {
            let refusal = ask(set(target, "https://other.example/mcp"), NOW).reply.map(|_| ()).unwrap_err();
            assert!(matches!(refusal, Refusal::Target(_)), "{target}: {refusal:?}");
        }
        for text in [
            "[]",
            "{}",
            "[1]",
            "not JSON",
            &details("look").replace("mcp_tool_call", "payment"),
            &details("look").replace("43", "42").replace(HASH, "short"),
            &details("look").replace("\"tool\"", "\"Tool\""),
            &details("look").replace("}]", ",\"times\":2}]"),
            &details("look").replace("}]", ",\"tool\":\"other\"}]"),
            &details(""),
            &format!("[{0},{0}]", &details("look")[1..details("look").len() - 1]),
        ] {
            let refusal = ask(set("authorization_details", text), NOW).reply.map(|_| ()).unwrap_err();
            assert!(matches!(refusal, Refusal::AuthorizationDetails(_)), "{text}: {refusal:?}");
        }
    }
}
