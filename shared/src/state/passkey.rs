//! Passkeys (WebAuthn): how they are kept, and what happens to them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::apply::{Conflict, Replaced, State, Undo, known, set, vacant};
use super::entries::{CredentialEntry, UsedAssertion};
use super::record::{User, UserStage};
use crate::id::UserName;
use crate::secret::TokenHash;
use crate::time::Timestamp;

/// A key pair of a person's authenticator, of which we keep the public half. It belongs to the person's record.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Passkey {
    /// How the authenticator calls it.
    pub id: CredentialId,
    /// How authenticators call the person: nothing that says who it is (WebAuthn section 14.6.1). All passkeys of a person
    /// have the same, so that an authenticator shows the person once.
    pub handle: TokenHash,
    /// What its signatures are made with.
    pub alg: PasskeyAlgorithm,
    /// The public key: a `SubjectPublicKeyInfo` in DER, in base64url.
    pub key: String,
    /// What the person calls it.
    pub name: String,
    /// How many signatures its authenticator had made; 0 when it does not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub counter: u32,
    /// Whether it may be copied to other devices of the person (the flag BE); fixed for its life.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub syncs: bool,
    /// Since when.
    pub created: Timestamp,
    /// When it last signed somebody in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Passkey {
    /// How many one person may have.
    pub const MOST: usize = 10;

    /// A short name for pages and commands: 16 hexadecimal digits, the same for its life.
    pub fn short_id(&self) -> String {
        self.id.hash().as_bytes()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What a passkey's signatures are made with: those of the COSE registry that every authenticator has one of.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum PasskeyAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSA PKCS #1 v1.5 with SHA-256: older TPMs have nothing else.
    #[serde(rename = "RS256")]
    Rs256,
}

impl PasskeyAlgorithm {
    /// Each of them, the one that we like best first.
    pub const ALL: [Self; 3] = [Self::EdDsa, Self::Es256, Self::Rs256];

    /// Its number in the registry of COSE algorithms (RFC 9053).
    pub const fn number(self) -> i32 {
        match self {
            Self::EdDsa => -8,
            Self::Es256 => -7,
            Self::Rs256 => -257,
        }
    }
}

/// How an authenticator calls a passkey: 1 to 1023 bytes (WebAuthn section 4, "credential ID"), kept in base64url.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct CredentialId(String);

/// It is no credential id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a credential id is 1 to 1023 bytes in base64url")]
pub struct NotACredentialId;

impl CredentialId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes over bytes.
    ///
    /// # Errors
    /// When there are none, or too many.
    pub fn of(bytes: &[u8]) -> Result<Self, NotACredentialId> {
        URL_SAFE_NO_PAD.encode(bytes).try_into()
    }

    /// What a passkey is looked up by.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.as_bytes())
    }
}

impl TryFrom<String> for CredentialId {
    type Error = NotACredentialId;

    fn try_from(text: String) -> Result<Self, NotACredentialId> {
        let bytes = URL_SAFE_NO_PAD.decode(&text).map_err(|_| NotACredentialId)?;
        if (1..=1023).contains(&bytes.len()) { Ok(Self(text)) } else { Err(NotACredentialId) }
    }
}

impl From<CredentialId> for String {
    fn from(id: CredentialId) -> Self {
        id.0
    }
}

/// A challenge that was answered: it is good once, for every service of the store.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AnsweredChallenge {
    /// SHA-256 of the challenge.
    pub hash: TokenHash,
    /// When its page ends anyway, and it need not be remembered any longer.
    pub expires: Timestamp,
}

/// What stands in the way of two changes that cannot both be.
const WHAT: &str = "the passkey";

impl State {
    pub(super) fn add_passkey(
        &mut self,
        name: UserName,
        passkey: Passkey,
        challenge: AnsweredChallenge,
        undo: &mut Undo,
    ) -> Result<(), Conflict> {
        let mut user = known(&self.users, &name, "the account")?.clone();
        if user.stage != UserStage::Enabled {
            return Err(Conflict::Stage("the account"));
        }
        if user.passkeys.len() >= Passkey::MOST {
            return Err(Conflict::Stage("the number of passkeys"));
        }
        let credential = passkey.id.hash();
        vacant(&self.credentials, &credential, WHAT)?;
        self.spend_challenge(challenge, undo)?;
        user.passkeys.push(passkey);
        let entry = CredentialEntry { credential, user: name.clone() };
        set(&mut self.credentials, credential, Some(entry), undo, Replaced::Credential);
        set(&mut self.users, name, Some(user), undo, Replaced::User);
        Ok(())
    }

    pub(super) fn use_passkey(
        &mut self,
        credential: &TokenHash,
        counter: u32,
        challenge: AnsweredChallenge,
        at: Timestamp,
        undo: &mut Undo,
    ) -> Result<(), Conflict> {
        let mut user = self.passkey_owner(credential).ok_or(Conflict::Missing(WHAT))?.clone();
        let passkey = user.passkeys.iter_mut().find(|one| one.id.hash() == *credential);
        let passkey = passkey.ok_or(Conflict::Missing(WHAT))?;
        // Of two sign-ins that were decided at the same time, the later one may hold the older count.
        if passkey.counter != 0 && counter <= passkey.counter {
            return Err(Conflict::Stage(WHAT));
        }
        (passkey.counter, passkey.used) = (counter, Some(at));
        self.spend_challenge(challenge, undo)?;
        set(&mut self.users, user.name.clone(), Some(user), undo, Replaced::User);
        Ok(())
    }

    pub(super) fn remove_passkey(&mut self, credential: &TokenHash, undo: &mut Undo) -> Result<(), Conflict> {
        let mut user = self.passkey_owner(credential).ok_or(Conflict::Missing(WHAT))?.clone();
        user.passkeys.retain(|one| one.id.hash() != *credential);
        set(&mut self.credentials, *credential, None, undo, Replaced::Credential);
        set(&mut self.users, user.name.clone(), Some(user), undo, Replaced::User);
        Ok(())
    }

    /// Forgets that these passkeys are a person's.
    pub(super) fn forget_credentials(&mut self, passkeys: &[Passkey], undo: &mut Undo) {
        for passkey in passkeys {
            set(&mut self.credentials, passkey.id.hash(), None, undo, Replaced::Credential);
        }
    }

    /// Whose passkey it is, by the hash of its credential id.
    pub(super) fn passkey_owner(&self, credential: &TokenHash) -> Option<&User> {
        self.users.get(&self.credentials.get(credential)?.user)
    }

    fn spend_challenge(&mut self, challenge: AnsweredChallenge, undo: &mut Undo) -> Result<(), Conflict> {
        let AnsweredChallenge { hash: name, expires } = challenge;
        vacant(&self.assertions, &name, "the answer to the challenge")?;
        set(&mut self.assertions, name, Some(UsedAssertion { name, expires }), undo, Replaced::Assertion);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Change, Wanted};
    use crate::store::conformance::Sample;
    use crate::time::Seconds;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn passkey(id: &[u8]) -> Passkey {
        Passkey { id: CredentialId::of(id).unwrap(), ..Sample::new(NOW).passkey() }
    }

    fn challenge(text: &[u8]) -> AnsweredChallenge {
        AnsweredChallenge { hash: TokenHash::of(text), expires: NOW + Seconds(600) }
    }

    fn added(sample: &Sample, id: &[u8]) -> Change {
        Change::PasskeyAdded { user: sample.user.name.clone(), passkey: passkey(id), challenge: challenge(id) }
    }

    fn used(id: &[u8], counter: u32, text: &[u8]) -> Change {
        Change::PasskeyUsed { passkey: passkey(id).id.hash(), counter, challenge: challenge(text) }
    }

    /// Applies a change that fits, forth and back and forth.
    #[track_caller]
    fn fits(state: &mut State, change: Change) {
        let before = state.clone();
        let mut undo = state.apply_all(vec![change], NOW).unwrap();
        let after = state.clone();
        state.revert(&mut undo);
        assert_eq!(*state, before);
        state.redo(&mut undo);
        assert_eq!(*state, after);
    }

    #[track_caller]
    fn conflicts(state: &mut State, change: Change) {
        let before = state.clone();
        state.apply_all(vec![change], NOW).unwrap_err();
        assert_eq!(*state, before);
    }

    fn owner(state: &State, id: &[u8]) -> Option<UserName> {
        let wanted = Wanted { passkey: Some(passkey(id).id.hash()), ..Wanted::default() };
        state.facts(&wanted).passkey_user.map(|user| user.name)
    }

    #[test]
    fn a_passkey_is_one_persons_and_a_challenge_is_answered_once() {
        let sample = Sample::new(NOW);
        let mut state = State::default();
        conflicts(&mut state, added(&sample, b"1"));
        state.apply_all(sample.known(), NOW).unwrap();
        fits(&mut state, added(&sample, b"1"));
        assert_eq!(owner(&state, b"1"), Some(sample.user.name.clone()));
        conflicts(&mut state, added(&sample, b"1"));
        let same_challenge =
            Change::PasskeyAdded { user: sample.user.name.clone(), passkey: passkey(b"2"), challenge: challenge(b"1") };
        conflicts(&mut state, same_challenge);
        fits(&mut state, used(b"1", 7, b"a"));
        conflicts(&mut state, used(b"1", 8, b"a"));
        conflicts(&mut state, used(b"1", 7, b"b"));
        conflicts(&mut state, used(b"2", 7, b"b"));
        fits(&mut state, used(b"1", 8, b"b"));
        assert_eq!(state.users()[0].passkeys[0].used, Some(NOW));
        fits(&mut state, Change::PasskeyRemoved(passkey(b"1").id.hash()));
        assert_eq!(owner(&state, b"1"), None);
        conflicts(&mut state, Change::PasskeyRemoved(passkey(b"1").id.hash()));
        conflicts(&mut state, added(&sample, b"1"));
    }

    #[test]
    fn ten_are_enough_and_a_password_changes_none_of_them() {
        let sample = Sample::new(NOW);
        let mut state = State::default();
        state.apply_all(sample.known(), NOW).unwrap();
        for n in 0..Passkey::MOST {
            fits(&mut state, added(&sample, &[u8::try_from(n).unwrap()]));
        }
        conflicts(&mut state, added(&sample, b"x"));
        let user = sample.user.name.clone();
        fits(&mut state, Change::PasswordChanged { user: user.clone(), password: "x".into() });
        let stage = |stage| Change::UserStageSet { user: user.clone(), stage };
        fits(&mut state, stage(UserStage::Disabled));
        assert_eq!(state.users()[0].passkeys.len(), Passkey::MOST, "kept, and good for nothing meanwhile");
        fits(&mut state, stage(UserStage::Removed));
        assert!(state.users()[0].passkeys.is_empty());
        assert_eq!(owner(&state, &[0]), None);
    }

    #[test]
    fn a_credential_id_has_bounds_and_a_short_name() {
        for (bytes, good) in [(0, false), (1, true), (1023, true), (1024, false)] {
            assert_eq!(CredentialId::of(&vec![7; bytes]).is_ok(), good, "{bytes}");
        }
        assert!(CredentialId::try_from("not base64url!".to_owned()).is_err());
        assert_eq!(passkey(b"1").short_id().len(), 16);
    }
}
