//! A code becomes tokens (RFC 6749 section 4.1.3, RFC 7636 section 4.6, contract C6).

use shared::oauth::form::Parameters;
use shared::oauth::pkce::{PkceVerified, Verifier};
use shared::oauth::register::GrantType;
use shared::secret::{Secret, TokenHash};
use shared::state::{Change, CodeStage, Facts, Grant, RevocationCause};
use shared::time::Timestamp;

use super::{FreshTokens, Granted, access, first_family, is_revoked, registered, same_resource, secret, time_left};
use crate::protocol::Verdict;
use crate::protocol::client_auth::AuthenticatedClient;
use crate::protocol::policy::Policy;
use crate::protocol::refusal::Refusal;

/// What the body says about a code.
#[derive(Debug)]
pub struct CodeRequest {
    code: Result<Option<Secret>, Refusal>,
    redirect_uri: Option<String>,
    verifier: Option<String>,
    resource: Option<String>,
}

impl CodeRequest {
    /// Takes the parameters out of the body.
    pub(super) fn read(body: &mut Parameters) -> Self {
        Self {
            code: secret(body, "code"),
            redirect_uri: body.take("redirect_uri"),
            verifier: body.take("code_verifier"),
            resource: body.take("resource"),
        }
    }

    /// What the store knows the code by.
    pub(super) fn code_hash(&self) -> Option<TokenHash> {
        self.code.as_ref().ok()?.as_ref().map(Secret::hash)
    }
}

/// What every check passed leaves behind: the grant, and the proof that the verifier matched.
struct Valid<'a> {
    grant: &'a Grant,
    code: TokenHash,
    _pkce: PkceVerified,
}

/// Decides on a code of an authenticated client, in the order of contract C6.
pub(super) fn decide(
    request: &CodeRequest,
    client: AuthenticatedClient,
    facts: &Facts,
    policy: &Policy,
    fresh: &FreshTokens,
    now: Timestamp,
) -> Verdict<Granted> {
    match redeem(request, &client, facts, policy, now) {
        Ok(valid) => tokens(&valid, client, policy, fresh, now),
        // RFC 6749 section 4.1.2: a code used twice revokes what it gave.
        Err(refusal @ Refusal::ReplayedCode(grant)) => Verdict {
            changes: vec![Change::GrantRevoked { grant, cause: RevocationCause::CodeReplayed }],
            reply: Err(refusal),
        },
        Err(refusal) => Verdict::unchanged(Err(refusal)),
    }
}

fn redeem<'a>(
    request: &CodeRequest,
    client: &AuthenticatedClient,
    facts: &'a Facts,
    policy: &Policy,
    now: Timestamp,
) -> Result<Valid<'a>, Refusal> {
    registered(client, GrantType::AuthorizationCode)?;
    if request.code.as_ref().map_err(Clone::clone)?.is_none() {
        return Err(Refusal::Missing("code"));
    }
    let (Some(code), Some(grant)) = (&facts.code, &facts.grant) else { return Err(Refusal::UnknownCode) };
    // Before everything else, so that a stranger who holds the code learns and changes nothing.
    if grant.client != client.record().id {
        return Err(Refusal::ForeignCode);
    }
    if code.expires < now {
        return Err(Refusal::ExpiredCode);
    }
    if request.redirect_uri.as_ref().is_some_and(|uri| uri != code.redirect_uri.as_str()) {
        return Err(Refusal::RedirectDiffers);
    }
    let verifier = request.verifier.clone().ok_or(Refusal::Missing("code_verifier"))?;
    let verifier = Verifier::parse(verifier).map_err(Refusal::Verifier)?;
    let pkce = code.challenge.verify(&verifier).map_err(Refusal::Verifier)?;
    same_resource(request.resource.as_deref(), grant, policy)?;
    if is_revoked(grant) || !facts.person_may_be_acted_for() {
        return Err(Refusal::DeadGrant);
    }
    if code.stage == CodeStage::Redeemed {
        return Err(Refusal::ReplayedCode(grant.id));
    }
    if grant.until().is_some_and(|until| until <= now) {
        return Err(Refusal::ExpiredCode);
    }
    Ok(Valid { grant, code: code.hash, _pkce: pkce })
}

fn tokens(
    valid: &Valid<'_>,
    client: AuthenticatedClient,
    policy: &Policy,
    fresh: &FreshTokens,
    now: Timestamp,
) -> Verdict<Granted> {
    let grant = valid.grant;
    let left = time_left(grant, policy, now);
    let (access, claims) = access(grant, grant.scopes.clone(), fresh.token, policy, left, now);
    let family = first_family(grant, &client, left, fresh, now);
    let gives_refresh = family.is_some();
    Verdict {
        changes: vec![Change::CodeRedeemed { code: valid.code, access, family }],
        reply: Ok(Granted { claims, gives_refresh, one_call: false, client }),
    }
}

#[cfg(test)]
mod tests {
    use shared::oauth::form;
    use shared::oauth::register::AuthMethod;
    use shared::state::{ClientSecret, Code, GrantStage, UserStage};

    use super::*;
    use crate::protocol::policy::{ACCESS_LIFETIME, CODE_LIFETIME};
    use crate::protocol::sample::{NOW, VERIFIER, client, fresh_tokens, grant, policy, with_code};
    use crate::protocol::token::{TokenRequest, decide};

    type Body = Vec<(&'static str, String)>;

    fn body() -> Body {
        vec![
            ("grant_type", "authorization_code".into()),
            ("client_id", client().id.to_string()),
            ("code", "the-code".into()),
            ("redirect_uri", "http://127.0.0.1:49152/cb".into()),
            ("code_verifier", VERIFIER.into()),
        ]
    }

    fn put(body: &mut Body, name: &'static str, value: Option<&str>) {
        body.retain(|(known, _)| *known != name);
        body.extend(value.map(|value| (name, value.to_owned())));
    }

    fn ask(change: impl FnOnce(&mut Body, &mut Facts), at: Timestamp) -> Verdict<Granted> {
        let (mut body, mut facts) = (body(), with_code());
        change(&mut body, &mut facts);
        let text = form::encode(&body.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>());
        let request = TokenRequest::parse(None, Parameters::parse(&text).unwrap()).unwrap();
        decide(&request, &facts, &policy(), &fresh_tokens(), at)
    }

    /// A refusal spends nothing, unless it is a replay.
    #[track_caller]
    fn refuses(change: impl FnOnce(&mut Body, &mut Facts), at: Timestamp, why: &Refusal) {
        let verdict = ask(change, at);
        assert_eq!(verdict.reply.unwrap_err(), *why);
        assert_eq!(verdict.changes.is_empty(), !matches!(why, Refusal::ReplayedCode(_)));
    }

    fn redeemed(facts: &mut Facts) {
        facts.code.as_mut().unwrap().stage = CodeStage::Redeemed;
        facts.grant.as_mut().unwrap().stage = GrantStage::Live;
    }

    #[test]
    fn tok_20_24_a_good_code_gives_exactly_what_was_granted() {
        let verdict = ask(|_, _| {}, NOW);
        let granted = verdict.reply.unwrap();
        let claims = &granted.claims;
        assert!(granted.gives_refresh);
        assert_eq!((claims.sub.as_str(), &claims.client_id), ("ada", &client().id));
        assert_eq!(
            (claims.iss.as_str(), claims.iat, claims.exp),
            ("http://localhost:3000", NOW, NOW + ACCESS_LIFETIME)
        );
        assert!(claims.aud.includes(&grant().resource) && claims.scope == grant().scopes);
        assert_eq!((claims.jti, claims.grant), (fresh_tokens().token, grant().id));
        let [Change::CodeRedeemed { access, family: Some(family), .. }] = &verdict.changes[..] else { panic!() };
        assert_eq!((access.id, &access.scopes), (claims.jti, &claims.scope));
        assert_eq!(family.current, fresh_tokens().refresh.hash());
    }

    #[test]
    fn tok_02_to_08_every_check_refuses_and_spends_nothing() {
        let last = NOW + CODE_LIFETIME;
        let late = Timestamp(last.0 + 1);
        assert!(ask(|_, _| {}, last).reply.is_ok());
        refuses(|_, _| {}, late, &Refusal::ExpiredCode);
        let mismatch = Refusal::Verifier(shared::oauth::pkce::PkceError::Mismatch);
        let malformed = Refusal::Verifier(shared::oauth::pkce::PkceError::Verifier);
        refuses(|body, _| put(body, "code_verifier", Some(&"x".repeat(43))), NOW, &mismatch);
        refuses(|body, _| put(body, "code_verifier", Some("short")), NOW, &malformed);
        refuses(|body, _| put(body, "code_verifier", None), NOW, &Refusal::Missing("code_verifier"));
        refuses(|body, _| put(body, "redirect_uri", Some("http://127.0.0.1:1/cb")), NOW, &Refusal::RedirectDiffers);
        assert!(ask(|body, _| put(body, "redirect_uri", None), NOW).reply.is_ok());
        refuses(|body, _| put(body, "code", None), NOW, &Refusal::Missing("code"));
        refuses(|_, facts| facts.code = None, NOW, &Refusal::UnknownCode);
        refuses(|body, _| put(body, "code", Some(&"x".repeat(9000))), NOW, &Refusal::UnknownCode);
        refuses(
            |_, facts| facts.grant.as_mut().unwrap().client = "c_other".parse().unwrap(),
            NOW,
            &Refusal::ForeignCode,
        );
    }

    #[test]
    fn tok_04_a_record_without_a_challenge_is_no_code_and_cannot_be_redeemed() {
        let good = serde_json::to_value(with_code().code.unwrap()).unwrap();
        assert!(serde_json::from_value::<Code>(good.clone()).is_ok());
        for forged in [None, Some(serde_json::Value::Null), Some("".into()), Some("plain".into())] {
            let mut record = good.clone();
            let members = record.as_object_mut().unwrap();
            match &forged {
                None => members.remove("challenge"),
                Some(value) => members.insert("challenge".to_owned(), value.clone()),
            };
            assert!(serde_json::from_value::<Code>(record).is_err(), "{forged:?}");
        }
        // Whatever is not there to be read is an unknown code to whoever presents it with a verifier.
        refuses(|_, facts| facts.code = None, NOW, &Refusal::UnknownCode);
    }

    #[test]
    fn tok_09_a_code_that_is_too_long_is_not_looked_at() {
        let (mut body, mut facts) = (body(), with_code());
        put(&mut body, "code", Some(&"x".repeat(1 << 20)));
        facts.code = None;
        let text = form::encode(&body.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>());
        let request = TokenRequest::parse(None, Parameters::parse(&text).unwrap()).unwrap();
        assert!(request.wants(&policy()).code.is_none());
        let reply = decide(&request, &facts, &policy(), &fresh_tokens(), NOW).reply;
        assert_eq!(reply.unwrap_err(), Refusal::UnknownCode);
    }

    #[test]
    fn tok_18_the_resource_must_be_the_grants() {
        let target = Refusal::Target("the resource is not the one that the person consented to");
        let foreign = Refusal::Target("this server gives out no tokens for that resource");
        refuses(|body, _| put(body, "resource", Some("urn:mcp:stdio:other")), NOW, &target);
        refuses(|body, _| put(body, "resource", Some("https://other.example")), NOW, &foreign);
        assert!(ask(|body, _| put(body, "resource", Some("URN:MCP:stdio:default")), NOW).reply.is_ok());
    }

    #[test]
    fn tok_01_a_second_valid_use_revokes_and_an_invalid_one_does_not() {
        refuses(|_, facts| redeemed(facts), NOW, &Refusal::ReplayedCode(grant().id));
        let stranger = |body: &mut Body, facts: &mut Facts| {
            redeemed(facts);
            put(body, "code_verifier", Some(&"x".repeat(43)));
        };
        refuses(stranger, NOW, &Refusal::Verifier(shared::oauth::pkce::PkceError::Mismatch));
        let again = |_: &mut Body, facts: &mut Facts| {
            redeemed(facts);
            facts.grant.as_mut().unwrap().stage = GrantStage::Revoked;
        };
        refuses(again, NOW, &Refusal::DeadGrant);
    }

    #[test]
    fn tok_05_13_14_15_23_a_client_that_does_not_prove_itself_spends_nothing() {
        use crate::protocol::client_auth::ClientFault::{Secret as Wrong, Unknown};
        let fails = |fault| Refusal::Client { fault, header: false };
        refuses(|_, facts| facts.client = None, NOW, &fails(Unknown));
        let confidential = |body: &mut Body, facts: &mut Facts| {
            let known = facts.client.as_mut().unwrap();
            known.auth_method = Some(AuthMethod::ClientSecretPost);
            known.secret = Some(Box::new(ClientSecret { hash: Secret::new("right".into()).hash(), expires: None }));
            put(body, "client_secret", Some("wrong"));
        };
        refuses(confidential, NOW, &fails(Wrong));
    }

    #[test]
    fn ref_09_no_refresh_token_without_the_grant_type() {
        let verdict =
            ask(|_, facts| facts.client.as_mut().unwrap().grant_types = vec![GrantType::AuthorizationCode].into(), NOW);
        assert!(!verdict.reply.unwrap().gives_refresh);
        assert!(matches!(&verdict.changes[..], [Change::CodeRedeemed { family: None, .. }]));
        let none = |_: &mut Body, facts: &mut Facts| facts.client.as_mut().unwrap().grant_types = vec![].into();
        refuses(none, NOW, &Refusal::GrantNotRegistered("authorization_code"));
    }

    #[test]
    fn a_disabled_person_gets_no_tokens() {
        let disabled = |_: &mut Body, facts: &mut Facts| facts.grant_user.as_mut().unwrap().stage = UserStage::Disabled;
        refuses(disabled, NOW, &Refusal::DeadGrant);
    }
}
