//! Passkeys (Web Authentication Level 3, sections 7.1 and 7.2): added by a person who has just signed in, and good for
//! signing in without a name. No attestation: whose make an authenticator is decides nothing here.

mod data;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared::id::UserName;
use shared::oauth::form::Parameters;
use shared::secret::{Secret, TokenHash};
use shared::state::{
    AnsweredChallenge, Change, CredentialId, Facts, Passkey, PasskeyAlgorithm, User, UserStage, Wanted,
};
use shared::time::Timestamp;

use self::data::{AuthenticatorData, Ceremony, check_client_data, decoded};
use super::Verdict;
use super::authorize::live_session;
use super::interact::{self, Transaction};
use super::policy::Policy;
use super::refusal::Refusal;

pub use self::data::Party;

/// What is wrong with an authenticator's answer: for the log. The person is told that it was not accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PasskeyFault {
    /// A field is missing or cannot be read.
    #[error("{0} is missing or malformed")]
    Malformed(&'static str),
    /// It answers another kind of question.
    #[error("it was made for another ceremony")]
    Ceremony,
    /// It answers another page's challenge.
    #[error("it answers another challenge")]
    Challenge,
    /// It was made on a page that is not ours, or in a frame.
    #[error("it was made on a page of another origin")]
    Origin,
    /// It was made for another host.
    #[error("it was made for another relying party")]
    Party,
    /// Nobody was there, or nobody proved to be the owner.
    #[error("the authenticator did not verify its owner")]
    NotVerified,
    /// It says that it is copied and cannot be copied, or something else than when it was made.
    #[error("its backup flags contradict each other")]
    Backup,
    /// We asked for other signatures, or the key is none of that kind.
    #[error("its key is none of the algorithms that were asked for")]
    Key,
    /// Not signed with the passkey.
    #[error("the signature is wrong")]
    Signature,
    /// No passkey of anybody's.
    #[error("the passkey is unknown")]
    Unknown,
    /// It is another person's than its authenticator says.
    #[error("the passkey is another account's")]
    Foreign,
    /// Its count went back: there are two of it (section 6.1.1).
    #[error("its signature counter went back: it may have been cloned")]
    Cloned,
    /// The issuer's host is an address.
    #[error("passkeys need a service whose issuer has a host name")]
    NoParty,
}

impl From<PasskeyFault> for Refusal {
    fn from(fault: PasskeyFault) -> Self {
        Self::Passkey(fault)
    }
}

/// A new passkey, as the browser hands it over (section 5.2.1).
#[derive(Debug)]
pub struct Created {
    client_data: Vec<u8>,
    authenticator_data: Vec<u8>,
    key: Vec<u8>,
    alg: PasskeyAlgorithm,
    name: String,
}

/// The longest public key that is looked at, in bytes: RSA with 8192 bits.
const MAX_KEY: usize = 1100;

/// The longest name of a passkey, in characters.
pub const MAX_NAME: usize = 64;

impl Created {
    /// Reads the form's fields.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn parse(form: &Parameters) -> Result<Self, Refusal> {
        let number = form.get("algorithm").and_then(|text| text.parse::<i32>().ok());
        let alg =
            PasskeyAlgorithm::ALL.into_iter().find(|alg| Some(alg.number()) == number).ok_or(PasskeyFault::Key)?;
        let name = form.get("name").unwrap_or_default().trim();
        if name.chars().count() > MAX_NAME {
            return Err(Refusal::Account("choose a name of at most 64 characters for the passkey"));
        }
        let name = if name.is_empty() { "Passkey" } else { name };
        Ok(Self {
            client_data: decoded(form.get("client_data"), "client_data")?,
            authenticator_data: decoded(form.get("authenticator_data"), "authenticator_data")?,
            key: decoded(form.get("public_key"), "public_key")?,
            alg,
            name: name.to_owned(),
        })
    }

    /// The records to decide on: the session, whether there is the passkey already, and whether the challenge was answered.
    pub fn wants(&self, session: Option<TokenHash>, transaction: &Transaction, party: &Party) -> Wanted {
        let made = AuthenticatorData::read(&self.authenticator_data, party).ok().and_then(|data| data.created);
        let passkey = made.map(|id| id.hash());
        Wanted { session, passkey, assertion: answered(transaction), ..Wanted::default() }
    }
}

/// Decides on a new passkey. That its person signed in lately is what the page's challenge stands for: a page for anybody
/// else has none. `handle` is how authenticators call this person if they do not call them anything yet.
pub fn add(
    created: &Created,
    transaction: &Transaction,
    party: &Party,
    handle: TokenHash,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> Verdict<()> {
    match added(created, transaction, party, handle, facts, policy, now) {
        Ok(change) => Verdict { changes: vec![change], reply: Ok(()) },
        Err(refusal) => Verdict::unchanged(Err(refusal)),
    }
}

fn added(
    created: &Created,
    transaction: &Transaction,
    party: &Party,
    handle: TokenHash,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> Result<Change, Refusal> {
    let user = live_session(facts, now).and(facts.user.as_ref()).ok_or(Refusal::NotLoggedIn)?;
    let (text, challenge) = open_challenge(transaction, facts, policy, now)?;
    check_client_data(&created.client_data, Ceremony::Create, text, party)?;
    let data = AuthenticatorData::read(&created.authenticator_data, party)?;
    let id = data.created.ok_or(PasskeyFault::Malformed("authenticator_data"))?;
    if created.key.len() > MAX_KEY || parsed(created.alg, &created.key).is_none() {
        return Err(PasskeyFault::Key.into());
    }
    if facts.passkey_user.is_some() {
        return Err(Refusal::Account("this passkey is known already"));
    }
    if user.passkeys.len() >= Passkey::MOST {
        return Err(Refusal::Account("you have ten passkeys; remove one before you add another"));
    }
    let passkey = Passkey {
        id,
        handle: user.passkeys.first().map_or(handle, |known| known.handle),
        alg: created.alg,
        key: URL_SAFE_NO_PAD.encode(&created.key),
        name: created.name.clone(),
        counter: data.counter,
        syncs: data.syncs,
        created: now,
        used: None,
    };
    Ok(Change::PasskeyAdded { user: user.name.clone(), passkey, challenge })
}

/// A passkey's answer to a login page's challenge (section 5.2.2).
#[derive(Debug)]
pub struct Asserted {
    id: CredentialId,
    client_data: Vec<u8>,
    authenticator_data: Vec<u8>,
    signature: Vec<u8>,
    handle: Vec<u8>,
}

impl Asserted {
    /// Reads the form's fields.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn parse(form: &Parameters) -> Result<Self, Refusal> {
        let id = form.get("credential").and_then(|text| text.to_owned().try_into().ok());
        Ok(Self {
            id: id.ok_or(PasskeyFault::Malformed("credential"))?,
            client_data: decoded(form.get("client_data"), "client_data")?,
            authenticator_data: decoded(form.get("authenticator_data"), "authenticator_data")?,
            signature: decoded(form.get("signature"), "signature")?,
            handle: decoded(form.get("user_handle"), "user_handle")?,
        })
    }

    /// Which passkey it says it is.
    pub fn id(&self) -> &CredentialId {
        &self.id
    }

    /// The records to decide on.
    pub fn wants(&self, transaction: &Transaction) -> Wanted {
        Wanted { passkey: Some(self.id.hash()), assertion: answered(transaction), ..Wanted::default() }
    }
}

/// Decides on signing in with a passkey; whose it was.
pub fn log_in(
    asserted: &Asserted,
    transaction: &Transaction,
    party: &Party,
    facts: &Facts,
    policy: &Policy,
    fresh: &Secret,
    now: Timestamp,
) -> Verdict<UserName> {
    match logged_in(asserted, transaction, party, facts, policy, now) {
        Ok((user, used)) => {
            let opened = Change::SessionOpened(interact::session(&user.name, fresh, policy, now));
            Verdict { changes: vec![used, opened], reply: Ok(user.name.clone()) }
        }
        Err(refusal) => Verdict::unchanged(Err(refusal)),
    }
}

fn logged_in<'a>(
    asserted: &Asserted,
    transaction: &Transaction,
    party: &Party,
    facts: &'a Facts,
    policy: &Policy,
    now: Timestamp,
) -> Result<(&'a User, Change), Refusal> {
    let (text, challenge) = open_challenge(transaction, facts, policy, now)?;
    let user = facts.passkey_user.as_ref().ok_or(PasskeyFault::Unknown)?;
    let passkey = user.passkeys.iter().find(|known| known.id == asserted.id).ok_or(PasskeyFault::Unknown)?;
    if passkey.handle.as_bytes() != asserted.handle.as_slice() {
        return Err(PasskeyFault::Foreign.into());
    }
    check_client_data(&asserted.client_data, Ceremony::Get, text, party)?;
    let data = AuthenticatorData::read(&asserted.authenticator_data, party)?;
    if data.syncs != passkey.syncs {
        return Err(PasskeyFault::Backup.into());
    }
    let key = URL_SAFE_NO_PAD.decode(&passkey.key).ok().and_then(|key| parsed(passkey.alg, &key));
    let client_data_hash = *TokenHash::of(&asserted.client_data).as_bytes();
    let signed = [asserted.authenticator_data.as_slice(), &client_data_hash].concat();
    let is_right = key.is_some_and(|key| key.verify_sig(&signed, &asserted.signature).is_ok());
    if !is_right {
        return Err(PasskeyFault::Signature.into());
    }
    // Only now, so that nobody but the passkey's holder learns that the account rests, or that the count is behind.
    if passkey.counter != 0 && data.counter <= passkey.counter {
        return Err(PasskeyFault::Cloned.into());
    }
    if user.stage != UserStage::Enabled {
        return Err(Refusal::WrongLogin);
    }
    Ok((user, Change::PasskeyUsed { passkey: passkey.id.hash(), counter: data.counter, challenge }))
}

/// Removes one of a person's own passkeys, by its short name.
pub fn remove(short_id: &str, facts: &Facts, now: Timestamp) -> Verdict<()> {
    let user = live_session(facts, now).and(facts.user.as_ref());
    match user.map(|user| find(user, short_id)) {
        Some(Some(passkey)) => Verdict { changes: vec![Change::PasskeyRemoved(passkey.id.hash())], reply: Ok(()) },
        // Pressed twice, or removed by the operator meanwhile: it is gone.
        Some(None) => Verdict::unchanged(Ok(())),
        None => Verdict::unchanged(Err(Refusal::NotLoggedIn)),
    }
}

/// The passkey of a person with this short name.
pub fn find<'a>(user: &'a User, short_id: &str) -> Option<&'a Passkey> {
    user.passkeys.iter().find(|passkey| passkey.short_id() == short_id)
}

/// The page's challenge, if it is still to be answered, and what remembers that it was.
fn open_challenge<'a>(
    transaction: &'a Transaction,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> Result<(&'a str, AnsweredChallenge), Refusal> {
    transaction.in_time(policy, now)?;
    let text = transaction.challenge.as_deref().ok_or(Refusal::LoginTooOld)?;
    if facts.assertion_used {
        return Err(Refusal::PageAnswered);
    }
    let expires = transaction.issued + policy.lifetimes.page;
    Ok((text, AnsweredChallenge { hash: TokenHash::of(text.as_bytes()), expires: Timestamp(expires.0 + 1) }))
}

fn answered(transaction: &Transaction) -> Option<TokenHash> {
    transaction.challenge.as_ref().map(|challenge| TokenHash::of(challenge.as_bytes()))
}

/// The key, if it is one of that kind: which algorithm verifies is decided here, once, and not by what is presented.
fn parsed(alg: PasskeyAlgorithm, key: &[u8]) -> Option<ParsedPublicKey> {
    let algorithm: &'static dyn VerificationAlgorithm = match alg {
        PasskeyAlgorithm::EdDsa => &ED25519,
        PasskeyAlgorithm::Es256 => &ECDSA_P256_SHA256_ASN1,
        PasskeyAlgorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
    };
    ParsedPublicKey::new(algorithm, key).ok()
}

#[cfg(test)]
mod tests;
