//! Where a login stands: what follows from the store's records and the time. Pure.

use shared::secret::TokenHash;
use shared::state::{Access, Change, DeviceStage, Facts, Grant};
use shared::time::{Seconds, Timestamp};

use super::book::Login;

/// How long a grant lasts when nobody said: what the service gives a refresh token at most, unless told otherwise.
const LIFETIME: Seconds = Seconds(90 * 86_400);

/// Where a login stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Nobody has decided.
    Waiting,
    /// A person said yes, and the token is not in the store yet.
    Approved,
    /// Its token opens what the grant says.
    Open,
    /// A person said no.
    Denied,
    /// A person or the operator took the grant back.
    Revoked,
    /// Its time is over, or the store knows nothing of it.
    Over,
}

impl Standing {
    /// Reads it off the records that the store has under the login's names.
    pub fn of(facts: &Facts, now: Timestamp) -> Self {
        if let Some(access) = &facts.access {
            return match facts.grant_lives() {
                _ if access.expires <= now => Self::Over,
                true => Self::Open,
                false => Self::Revoked,
            };
        }
        let Some(device) = &facts.device else { return Self::Over };
        match device.stage {
            DeviceStage::Denied => Self::Denied,
            // Redeemed, and the token is gone: revoked by itself, or swept.
            DeviceStage::Redeemed => Self::Revoked,
            DeviceStage::Waiting | DeviceStage::Approved(_) if device.expires <= now => Self::Over,
            DeviceStage::Waiting => Self::Waiting,
            DeviceStage::Approved(_) if approved(facts, now).is_some() => Self::Approved,
            DeviceStage::Approved(_) => Self::Revoked,
        }
    }
}

/// The grant behind a yes, while it can still give a token.
fn approved(facts: &Facts, now: Timestamp) -> Option<&Grant> {
    let fresh = |grant: &&Grant| grant.stage == shared::state::GrantStage::Consented;
    let grant = facts.grant.as_ref().filter(fresh)?;
    (facts.person_may_be_acted_for() && grant.until().is_none_or(|until| until > now)).then_some(grant)
}

/// What makes a yes a token; `None` without one.
pub fn redemption(login: &Login, facts: &Facts, now: Timestamp) -> Option<Change> {
    let grant = approved(facts, now)?;
    let hash: TokenHash = login.hash();
    let access = Access {
        id: login.id(),
        grant: grant.id,
        scopes: grant.scopes.clone(),
        issued: now,
        expires: grant.until().unwrap_or(now + LIFETIME),
        opaque: Some(Box::new(hash)),
        once: None,
    };
    Some(Change::DeviceRedeemed { device: hash, access, family: None })
}

#[cfg(test)]
mod tests {
    use shared::state::{GrantStage, Terms, UserStage};
    use shared::store::conformance::Sample;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    #[track_caller]
    fn check(change: impl FnOnce(&mut Facts), later: u64, expected: &Standing) {
        let sample = Sample::new(NOW);
        let mut facts = Facts {
            device: Some(sample.device()),
            grant_user: Some(sample.user),
            grant_client_exists: true,
            ..Facts::default()
        };
        facts.grant = Some(sample.grant.clone());
        change(&mut facts);
        assert_eq!(Standing::of(&facts, NOW + Seconds(later)), *expected);
    }

    fn stage(stage: DeviceStage) -> impl FnOnce(&mut Facts) {
        move |facts| facts.device.as_mut().unwrap().stage = stage
    }

    fn approve(change: impl FnOnce(&mut Facts)) -> impl FnOnce(&mut Facts) {
        |facts| {
            let grant = facts.grant.as_ref().unwrap().id;
            facts.device.as_mut().unwrap().stage = DeviceStage::Approved(grant);
            change(facts);
        }
    }

    fn open(change: impl FnOnce(&mut Facts)) -> impl FnOnce(&mut Facts) {
        |facts| {
            facts.grant.as_mut().unwrap().stage = GrantStage::Live;
            facts.access = Some(Sample::new(NOW).access);
            change(facts);
        }
    }

    #[test]
    fn every_stage_of_the_records_has_its_standing() {
        use Standing::*;
        check(|_| {}, 0, &Waiting);
        check(|_| {}, 599, &Waiting);
        check(|_| {}, 600, &Over);
        check(|facts| facts.device = None, 0, &Over);
        check(stage(DeviceStage::Denied), 700, &Denied);
        check(stage(DeviceStage::Redeemed), 0, &Revoked);
        check(approve(|_| {}), 0, &Approved);
        check(approve(|_| {}), 600, &Over);
        check(approve(|facts| facts.grant.as_mut().unwrap().stage = GrantStage::Revoked), 0, &Revoked);
        check(approve(|facts| facts.grant_user.as_mut().unwrap().stage = UserStage::Disabled), 0, &Revoked);
        let ended = Some(Box::new(Terms { until: Some(NOW), ..Terms::default() }));
        check(approve(|facts| facts.grant.as_mut().unwrap().terms = ended), 0, &Revoked);
        check(open(|_| {}), 700, &Open);
        check(open(|_| {}), 3600, &Over);
        check(open(|facts| facts.grant.as_mut().unwrap().stage = GrantStage::Revoked), 0, &Revoked);
        check(open(|facts| facts.grant_client_exists = false), 0, &Revoked);
    }
}
