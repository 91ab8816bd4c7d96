//! What happens to a device that waits for a person (RFC 8628).

use super::apply::{Conflict, Replaced, State, Undo, known, set, vacant};
use super::entries::UserCodeEntry;
use super::record::{Access, Device, DeviceStage, Family, Grant};
use crate::secret::TokenHash;

impl State {
    pub(super) fn ask_for_device(&mut self, device: Device, undo: &mut Undo) -> Result<(), Conflict> {
        vacant(&self.devices, &device.hash, "the device code")?;
        vacant(&self.user_codes, &device.user_code, "the user code")?;
        known(&self.clients, &device.client, "the client")?;
        let entry = UserCodeEntry { code: device.user_code, device: device.hash };
        set(&mut self.user_codes, device.user_code, Some(entry), undo, Replaced::UserCode);
        set(&mut self.devices, device.hash, Some(device), undo, Replaced::Device);
        Ok(())
    }

    pub(super) fn approve_device(
        &mut self,
        hash: TokenHash,
        grant: Grant,
        session: Option<TokenHash>,
        undo: &mut Undo,
    ) -> Result<(), Conflict> {
        let device = known(&self.devices, &hash, "the device code")?;
        if device.client != grant.client {
            return Err(Conflict::Missing("the device code"));
        }
        let id = grant.id;
        self.decide_device(hash, DeviceStage::Approved(id), undo)?;
        self.consent(grant, session, undo)?;
        self.hold_grant(id, 1, undo);
        Ok(())
    }

    /// A person decides once.
    pub(super) fn decide_device(
        &mut self,
        hash: TokenHash,
        stage: DeviceStage,
        undo: &mut Undo,
    ) -> Result<(), Conflict> {
        let mut device = known(&self.devices, &hash, "the device code")?.clone();
        if device.stage != DeviceStage::Waiting {
            return Err(Conflict::Stage("the device code"));
        }
        device.stage = stage;
        set(&mut self.devices, hash, Some(device), undo, Replaced::Device);
        Ok(())
    }

    pub(super) fn redeem_device(
        &mut self,
        hash: TokenHash,
        access: Access,
        family: Option<Family>,
        undo: &mut Undo,
    ) -> Result<(), Conflict> {
        let mut device = known(&self.devices, &hash, "the device code")?.clone();
        let DeviceStage::Approved(grant) = device.stage else { return Err(Conflict::Stage("the device code")) };
        device.stage = DeviceStage::Redeemed;
        set(&mut self.devices, hash, Some(device), undo, Replaced::Device);
        self.first_tokens(grant, access, family, undo)?;
        self.hold_grant(grant, -1, undo);
        Ok(())
    }

    pub(super) fn forget_device(&mut self, device: &Device, undo: &mut Undo) {
        if let DeviceStage::Approved(grant) = device.stage {
            self.hold_grant(grant, -1, undo);
        }
        set(&mut self.user_codes, device.user_code, None, undo, Replaced::UserCode);
        set(&mut self.devices, device.hash, None, undo, Replaced::Device);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Change, Wanted};
    use crate::store::conformance::Sample;
    use crate::time::{Seconds, Timestamp};

    const NOW: Timestamp = Timestamp(1_000_000);

    #[test]
    fn a_device_goes_one_way_and_each_step_happens_once() {
        let sample = Sample::new(NOW);
        let device = sample.device();
        let asked = vec![Change::DeviceAsked(device.clone())];
        let approved = vec![Change::DeviceApproved { device: device.hash, grant: sample.grant.clone(), session: None }];
        let denied = vec![Change::DeviceDenied { device: device.hash, user: sample.user.name.clone() }];
        let family = Some(sample.family.clone());
        let redeemed = vec![Change::DeviceRedeemed { device: device.hash, access: sample.access.clone(), family }];
        let mut state = State::default();
        let mut step = |changes: &[Change]| state.apply_all(changes.to_vec(), NOW).map(|_| ());
        assert_eq!(step(&asked), Err(Conflict::Missing("the client")));
        step(&sample.known()).unwrap();
        assert_eq!(step(&approved), Err(Conflict::Missing("the device code")));
        step(&asked).unwrap();
        assert_eq!(step(&asked), Err(Conflict::Exists("the device code")));
        assert_eq!(step(&redeemed), Err(Conflict::Stage("the device code")));
        step(&approved).unwrap();
        for again in [&approved, &denied] {
            assert_eq!(step(again), Err(Conflict::Stage("the device code")));
        }
        step(&redeemed).unwrap();
        assert_eq!(step(&redeemed), Err(Conflict::Stage("the device code")));
        let facts = state.facts(&Wanted { user_code: Some(device.user_code), ..Wanted::default() });
        assert_eq!(facts.device.map(|device| device.stage), Some(DeviceStage::Redeemed));
        assert_eq!(facts.client.map(|client| client.id), Some(sample.client.id.clone()));
    }

    #[test]
    fn another_clients_grant_is_no_answer_to_a_device() {
        let (sample, other) = (Sample::new(NOW), Sample::new(NOW));
        let mut state = State::default();
        let device = sample.device();
        let changes = [sample.known(), other.known(), vec![Change::DeviceAsked(device.clone())]].concat();
        state.apply_all(changes, NOW).unwrap();
        let approved = vec![Change::DeviceApproved { device: device.hash, grant: other.grant, session: None }];
        assert!(state.apply_all(approved, NOW).is_err());
    }

    #[test]
    fn sto_09_a_device_is_remembered_for_a_while_and_its_consent_as_long() {
        let sample = Sample::new(NOW);
        let device = sample.device();
        let approved = Change::DeviceApproved { device: device.hash, grant: sample.grant.clone(), session: None };
        let mut state = State::default();
        state.apply_all(sample.known(), NOW).unwrap();
        state.apply_all(vec![Change::DeviceAsked(device.clone()), approved], NOW).unwrap();
        for (after, is_there) in [(600, true), (1200, true), (1201, false)] {
            let before = NOW + Seconds(after);
            assert_eq!(state.is_sweepable(before, Timestamp(0)), !is_there, "{after}");
            let mut swept = state.clone();
            swept.apply_all(vec![Change::Swept { before, unused_clients: Timestamp(0) }], before).unwrap();
            assert_eq!(swept.devices.len() == 1, is_there);
            assert_eq!((swept.user_codes.len(), swept.grants.len()), (swept.devices.len(), swept.devices.len()));
        }
    }
}
