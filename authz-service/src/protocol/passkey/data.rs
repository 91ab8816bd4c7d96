//! What an authenticator signs: the client data and the authenticator data (WebAuthn sections 5.8.1 and 6.1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use shared::secret::TokenHash;
use shared::state::CredentialId;
use shared::uri::Issuer;

use super::PasskeyFault;

/// Whom passkeys are for: this service, as browsers know it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Party {
    /// The host ("RP ID"): a passkey works for it and for nothing else.
    pub id: String,
    /// Scheme, host and port, as browsers write them.
    pub origin: String,
}

impl Party {
    /// What an issuer is called; `None` when its host is an address, for which browsers make no passkeys.
    pub fn of(issuer: &Issuer) -> Option<Self> {
        let parts = issuer.parts();
        let (scheme, host) = (parts.scheme.to_ascii_lowercase(), parts.host()?.to_ascii_lowercase());
        let is_address = host.starts_with('[') || host.split('.').all(|part| part.parse::<u8>().is_ok());
        let port = parts
            .port()
            .filter(|port| !matches!((scheme.as_str(), *port), (_, "") | ("https", "443") | ("http", "80")));
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        (!is_address).then(|| Self { origin: format!("{scheme}://{host}{port}"), id: host })
    }
}

/// What the browser adds: for what, to which challenge, on which page.
#[derive(Debug, Deserialize)]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(default, rename = "crossOrigin")]
    cross_origin: bool,
}

/// Which of the two ceremonies.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ceremony {
    Create,
    Get,
}

impl Ceremony {
    const fn word(self) -> &'static str {
        match self {
            Self::Create => "webauthn.create",
            Self::Get => "webauthn.get",
        }
    }
}

/// Checks the client data (sections 7.1 and 7.2, "verify that the value of C.…").
pub(super) fn check_client_data(
    json: &[u8],
    ceremony: Ceremony,
    challenge: &str,
    party: &Party,
) -> Result<(), PasskeyFault> {
    let data: ClientData = serde_json::from_slice(json).map_err(|_| PasskeyFault::Malformed("clientDataJSON"))?;
    if data.kind != ceremony.word() {
        return Err(PasskeyFault::Ceremony);
    }
    if data.challenge != challenge {
        return Err(PasskeyFault::Challenge);
    }
    if data.origin != party.origin || data.cross_origin {
        return Err(PasskeyFault::Origin);
    }
    Ok(())
}

/// What the authenticator says about the ceremony.
#[derive(Debug)]
pub(super) struct AuthenticatorData {
    pub(super) counter: u32,
    pub(super) syncs: bool,
    /// The passkey that was made, in a ceremony that makes one.
    pub(super) created: Option<CredentialId>,
}

// The bits of section 6.1.
const USER_PRESENT: u8 = 1;
const USER_VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const CREDENTIAL_INCLUDED: u8 = 1 << 6;

impl AuthenticatorData {
    /// Reads it, and checks what holds for both ceremonies: made for us, with a person there who proved to be its owner.
    pub(super) fn read(bytes: &[u8], party: &Party) -> Result<Self, PasskeyFault> {
        const MALFORMED: PasskeyFault = PasskeyFault::Malformed("authenticatorData");
        let (party_hash, rest) = bytes.split_first_chunk::<32>().ok_or(MALFORMED)?;
        let ([flags], rest) = rest.split_first_chunk::<1>().ok_or(MALFORMED)?;
        let (counter, rest) = rest.split_first_chunk::<4>().ok_or(MALFORMED)?;
        if TokenHash::of(party.id.as_bytes()).as_bytes() != party_hash {
            return Err(PasskeyFault::Party);
        }
        let has = |flag: u8| flags & flag != 0;
        if !has(USER_PRESENT) || !has(USER_VERIFIED) {
            return Err(PasskeyFault::NotVerified);
        }
        let syncs = has(BACKUP_ELIGIBLE);
        if has(BACKED_UP) && !syncs {
            return Err(PasskeyFault::Backup);
        }
        let created = if has(CREDENTIAL_INCLUDED) { Some(credential(rest).ok_or(MALFORMED)?) } else { None };
        Ok(Self { counter: u32::from_be_bytes(*counter), syncs, created })
    }
}

/// The id in the attested credential data (section 6.5.1): after the model of the authenticator and a length. The key
/// that follows it is not read: without an attestation nothing vouches for either copy of it, and the browser hands it
/// over in a form that needs no second parser (section 5.2.1.1).
fn credential(bytes: &[u8]) -> Option<CredentialId> {
    let (_model, rest) = bytes.split_first_chunk::<16>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    CredentialId::of(rest.get(..usize::from(u16::from_be_bytes(*length)))?).ok()
}

/// Bytes from a field of a form.
pub(super) fn decoded(text: Option<&str>, name: &'static str) -> Result<Vec<u8>, PasskeyFault> {
    let bytes = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    bytes.filter(|bytes| !bytes.is_empty()).ok_or(PasskeyFault::Malformed(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_is_named_as_browsers_name_it() {
        for (issuer, expected) in [
            ("http://localhost:3000", Some(("localhost", "http://localhost:3000"))),
            ("https://Auth.Example/tenant", Some(("auth.example", "https://auth.example"))),
            ("https://auth.example:443", Some(("auth.example", "https://auth.example"))),
            ("https://auth.example:8443/", Some(("auth.example", "https://auth.example:8443"))),
            ("http://localhost:80", Some(("localhost", "http://localhost"))),
            ("http://127.0.0.1:3000", None),
            ("http://[::1]:3000", None),
            ("https://192.0.2.1", None),
        ] {
            let party = Party::of(&issuer.parse().unwrap());
            let told = party.as_ref().map(|party| (party.id.as_str(), party.origin.as_str()));
            assert_eq!(told, expected, "{issuer}");
        }
    }

    #[test]
    fn whatever_is_cut_off_is_malformed_and_never_a_panic() {
        let party = Party::of(&"https://auth.example".parse().unwrap()).unwrap();
        let mut whole = TokenHash::of(party.id.as_bytes()).as_bytes().to_vec();
        whole.extend([0x45, 0, 0, 0, 9]);
        whole.extend([0; 16]);
        whole.extend([0, 3, 1, 2, 3]);
        let read = AuthenticatorData::read(&whole, &party).unwrap();
        assert_eq!((read.counter, read.syncs, read.created), (9, false, CredentialId::of(&[1, 2, 3]).ok()));
        for length in 0..whole.len() {
            let cut = AuthenticatorData::read(&whole[..length], &party).map(|_| ());
            assert_eq!(cut, Err(PasskeyFault::Malformed("authenticatorData")), "{length}");
        }
    }
}
