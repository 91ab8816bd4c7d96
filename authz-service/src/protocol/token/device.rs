//! A device code becomes tokens, once a person has said yes (RFC 8628 sections 3.4 and 3.5).

use shared::oauth::form::Parameters;
use shared::oauth::register::GrantType;
use shared::secret::{Secret, TokenHash};
use shared::state::{Change, Device, DeviceStage, Facts, Grant};
use shared::time::{Seconds, Timestamp};

use super::{FreshTokens, Granted, access, first_family, is_revoked, registered, same_resource, secret, time_left};
use crate::protocol::Verdict;
use crate::protocol::client_auth::AuthenticatedClient;
use crate::protocol::policy::{POLL_INTERVAL, POLL_STEP, Policy};
use crate::protocol::refusal::Refusal;

/// What the body says about a device code.
#[derive(Debug)]
pub struct DeviceCodeRequest {
    code: Result<Option<Secret>, Refusal>,
    resource: Option<String>,
}

impl DeviceCodeRequest {
    /// Takes the parameters out of the body.
    pub(super) fn read(body: &mut Parameters) -> Self {
        Self { code: secret(body, "device_code"), resource: body.take("resource") }
    }

    /// What the store knows the code by.
    pub(super) fn code_hash(&self) -> Option<TokenHash> {
        self.code.as_ref().ok()?.as_ref().map(Secret::hash)
    }
}

/// Decides on a device code of an authenticated client. A second use gives nothing, and revokes nothing: of many polls
/// at once, one gets the tokens, and the others must not take them away.
pub(super) fn decide(
    request: &DeviceCodeRequest,
    client: AuthenticatedClient,
    facts: &Facts,
    policy: &Policy,
    fresh: &FreshTokens,
    now: Timestamp,
) -> Verdict<Granted> {
    let (device, grant) = match redeem(request, &client, facts, policy, now) {
        Ok(found) => found,
        Err(refusal) => return Verdict::unchanged(Err(refusal)),
    };
    let life = time_left(grant, policy, now);
    let (access, claims) = access(grant, grant.scopes.clone(), fresh.token, policy, life, now);
    let family = first_family(grant, &client, life, fresh, now);
    let gives_refresh = family.is_some();
    Verdict {
        changes: vec![Change::DeviceRedeemed { device: device.hash, access, family }],
        reply: Ok(Granted { claims, gives_refresh, one_call: false, client }),
    }
}

fn redeem<'a>(
    request: &DeviceCodeRequest,
    client: &AuthenticatedClient,
    facts: &'a Facts,
    policy: &Policy,
    now: Timestamp,
) -> Result<(&'a Device, &'a Grant), Refusal> {
    registered(client, GrantType::DeviceCode)?;
    if request.code.as_ref().map_err(Clone::clone)?.is_none() {
        return Err(Refusal::Missing("device_code"));
    }
    let device = facts.device.as_ref().ok_or(Refusal::UnknownCode)?;
    // Before everything else, so that a stranger who holds the code learns nothing.
    if device.client != client.record().id {
        return Err(Refusal::ForeignCode);
    }
    match device.stage {
        DeviceStage::Redeemed => return Err(Refusal::UsedDeviceCode),
        DeviceStage::Denied => return Err(Refusal::Denied),
        DeviceStage::Waiting | DeviceStage::Approved(_) if device.expires <= now => {
            return Err(Refusal::ExpiredDeviceCode);
        }
        DeviceStage::Waiting => return Err(Refusal::Undecided),
        DeviceStage::Approved(_) => {}
    }
    let grant = facts.grant.as_ref().ok_or(Refusal::DeadGrant)?;
    same_resource(request.resource.as_deref(), grant, policy)?;
    if is_revoked(grant) || !facts.person_may_be_acted_for() {
        return Err(Refusal::DeadGrant);
    }
    if grant.until().is_some_and(|until| until <= now) {
        return Err(Refusal::ExpiredDeviceCode);
    }
    Ok((device, grant))
}

/// How fast one device polls. Kept in memory and not in the store: a poll that changes nothing costs no commit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    last: Timestamp,
    interval: Seconds,
}

impl Pace {
    /// The pace of a device that polls for the first time.
    pub fn first(now: Timestamp) -> Self {
        Self { last: now, interval: POLL_INTERVAL }
    }

    /// A device polls again while nobody has decided.
    ///
    /// # Errors
    /// [`Refusal::SlowDown`] when it came too early: from now on it has to wait five seconds longer.
    pub fn again(&mut self, now: Timestamp) -> Result<(), Refusal> {
        let before = std::mem::replace(&mut self.last, now);
        // Seconds are whole here: who waits as long as was asked must never be early by rounding.
        let waited = Seconds(now.0.saturating_sub(before.0) + 1);
        if waited >= self.interval || now < before {
            return Ok(());
        }
        self.interval = Seconds((self.interval.0 + POLL_STEP.0).min(SLOWEST.0));
        Err(Refusal::SlowDown)
    }

    /// Whether the device was not heard of for so long that its code is dead.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.last + crate::protocol::policy::DEVICE_LIFETIME < now
    }
}

/// However often a device was told to slow down, it may come once a minute.
const SLOWEST: Seconds = Seconds(60);

#[cfg(test)]
mod tests {
    use shared::oauth::form;
    use shared::state::{GrantStage, Terms, UserStage};

    use super::*;
    use crate::protocol::policy::DEVICE_LIFETIME;
    use crate::protocol::sample::{NOW, client, device, fresh_tokens, grant, may, policy, with_grant};
    use crate::protocol::token::{TokenRequest, decide};

    type Body = Vec<(&'static str, String)>;

    fn ask(change: impl FnOnce(&mut Body, &mut Facts), at: Timestamp) -> Verdict<Granted> {
        let mut body = vec![
            ("grant_type", GrantType::DeviceCode.as_str().to_owned()),
            ("client_id", client().id.to_string()),
            ("device_code", "the-device-code".into()),
        ];
        let approved = Device { stage: DeviceStage::Approved(grant().id), ..device() };
        let mut facts = Facts { device: Some(approved), ..with_grant(GrantStage::Consented) };
        may(&mut facts, &[GrantType::RefreshToken, GrantType::DeviceCode]);
        change(&mut body, &mut facts);
        let text = form::encode(&body.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>());
        let request = TokenRequest::parse(None, Parameters::parse(&text).unwrap()).unwrap();
        assert_eq!(request.wants(&policy()).device.is_some(), text.contains("device_code=the"));
        decide(&request, &facts, &policy(), &fresh_tokens(), at)
    }

    #[track_caller]
    fn refuses(change: impl FnOnce(&mut Body, &mut Facts), at: Timestamp, why: &Refusal) {
        let verdict = ask(change, at);
        assert_eq!(verdict.reply.unwrap_err(), *why);
        assert!(verdict.changes.is_empty());
    }

    fn stage(stage: DeviceStage) -> impl FnOnce(&mut Body, &mut Facts) {
        move |_, facts| facts.device.as_mut().unwrap().stage = stage
    }

    #[test]
    fn an_approved_code_gives_what_the_person_allowed() {
        let last = Timestamp(NOW.0 + DEVICE_LIFETIME.0 - 1);
        let verdict = ask(|_, _| {}, last);
        let granted = verdict.reply.unwrap();
        assert_eq!((granted.claims.sub.as_str(), granted.claims.grant), ("ada", grant().id));
        assert!(granted.gives_refresh && granted.claims.scope == grant().scopes);
        let [Change::DeviceRedeemed { device: hash, access, family: Some(family) }] = &verdict.changes[..] else {
            panic!()
        };
        assert_eq!((*hash, access.id), (device().hash, granted.claims.jti));
        assert_eq!(family.current, fresh_tokens().refresh.hash());
        // A person who said "one hour" gets that, and not the 90 days.
        let until = NOW + Seconds(30);
        let ends = |_: &mut Body, facts: &mut Facts| {
            facts.grant.as_mut().unwrap().terms = Some(Box::new(Terms { until: Some(until), ..Terms::default() }));
        };
        let changes = ask(ends, NOW).changes;
        let [Change::DeviceRedeemed { access, family: Some(family), .. }] = &changes[..] else { panic!() };
        assert_eq!((access.expires, family.expires), (until, until));
        refuses(ends, until, &Refusal::ExpiredDeviceCode);
        let without = |_: &mut Body, facts: &mut Facts| may(facts, &[GrantType::DeviceCode]);
        assert!(!ask(without, NOW).reply.unwrap().gives_refresh);
    }

    #[test]
    fn every_stage_has_its_word() {
        use crate::protocol::refusal::Refusal::*;
        let late = NOW + DEVICE_LIFETIME;
        refuses(stage(DeviceStage::Waiting), NOW, &Undecided);
        refuses(stage(DeviceStage::Waiting), late, &ExpiredDeviceCode);
        refuses(|_, _| {}, late, &ExpiredDeviceCode);
        refuses(stage(DeviceStage::Denied), NOW, &Denied);
        refuses(stage(DeviceStage::Denied), late, &Denied);
        refuses(stage(DeviceStage::Redeemed), NOW, &UsedDeviceCode);
        refuses(stage(DeviceStage::Redeemed), late, &UsedDeviceCode);
        for (refusal, word) in [
            (Undecided, "authorization_pending"),
            (SlowDown, "slow_down"),
            (ExpiredDeviceCode, "expired_token"),
            (Denied, "access_denied"),
            (UsedDeviceCode, "invalid_grant"),
        ] {
            assert_eq!(refusal.code().as_str(), word);
        }
    }

    #[test]
    fn a_code_is_its_clients_and_its_grants() {
        use crate::protocol::refusal::Refusal::{DeadGrant, ForeignCode, GrantNotRegistered, Missing, UnknownCode};
        refuses(|_, facts| facts.device = None, NOW, &UnknownCode);
        refuses(|_, facts| facts.device.as_mut().unwrap().client = "c_2".parse().unwrap(), NOW, &ForeignCode);
        refuses(|body, _| body.truncate(2), NOW, &Missing("device_code"));
        refuses(|body, _| body[2].1 = "x".repeat(9000), NOW, &UnknownCode);
        refuses(|_, facts| facts.grant.as_mut().unwrap().stage = GrantStage::Revoked, NOW, &DeadGrant);
        refuses(|_, facts| facts.grant_user.as_mut().unwrap().stage = UserStage::Disabled, NOW, &DeadGrant);
        let unregistered = |_: &mut Body, facts: &mut Facts| may(facts, &[GrantType::RefreshToken]);
        refuses(unregistered, NOW, &GrantNotRegistered(GrantType::DeviceCode.as_str()));
        let foreign = Refusal::Target("this server gives out no tokens for that resource");
        refuses(|body, _| body.push(("resource", "https://other.example".into())), NOW, &foreign);
    }

    #[test]
    fn who_polls_too_fast_waits_longer_and_who_keeps_the_interval_does_not() {
        let mut pace = Pace::first(NOW);
        let mut poll = |after: u64| pace.again(NOW + Seconds(after)).is_ok();
        assert!(poll(4), "a rounded five seconds");
        assert!(poll(9));
        assert!(!poll(10));
        assert!(!poll(17), "ten seconds now: seven are too few");
        assert!(poll(32));
        assert!(poll(20), "a clock that went back is nobody's fault");
        pace.again(NOW).unwrap();
        for _ in 0..100 {
            pace.again(NOW).unwrap_err();
        }
        assert_eq!(pace.interval, SLOWEST);
        assert!(pace.is_over(NOW + Seconds(601)) && !pace.is_over(NOW + Seconds(600)));
    }
}
