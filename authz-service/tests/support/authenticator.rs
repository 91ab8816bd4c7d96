//! An authenticator in software: makes passkeys and signs with them, as a browser would hand it to our pages' forms.

#![allow(dead_code, reason = "each test uses its part")]

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Somebody is there, and proved to be the owner.
pub const PRESENT_AND_VERIFIED: u8 = 0b101;
/// A passkey is in the data.
const INCLUDED: u8 = 1 << 6;

pub enum Key {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(Box<RsaKeyPair>),
}

/// One passkey, and what its holder does with it.
pub struct Authenticator {
    pub key: Key,
    pub id: Vec<u8>,
    pub handle: Vec<u8>,
    pub flags: u8,
    pub counter: u32,
}

/// The page on which it is used.
#[derive(Clone, Debug)]
pub struct Page {
    pub challenge: String,
    pub origin: String,
    pub rp_id: String,
    pub kind: Option<&'static str>,
    pub cross_origin: bool,
}

/// The fields of a form.
pub type Fields = Vec<(&'static str, String)>;

impl Authenticator {
    pub fn new(id: &[u8], handle: &[u8]) -> Self {
        let key = Key::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap());
        Self { key, id: id.to_vec(), handle: handle.to_vec(), flags: PRESENT_AND_VERIFIED, counter: 0 }
    }

    fn algorithm(&self) -> i32 {
        match self.key {
            Key::Es256(_) => -7,
            Key::EdDsa(_) => -8,
            Key::Rs256(_) => -257,
        }
    }

    pub fn public_key(&self) -> Vec<u8> {
        match &self.key {
            Key::Es256(key) => key.public_key().as_der().unwrap().as_ref().to_vec(),
            Key::EdDsa(key) => key.public_key().as_der().unwrap().as_ref().to_vec(),
            Key::Rs256(key) => key.public_key().as_der().unwrap().as_ref().to_vec(),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.key {
            Key::Es256(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Key::EdDsa(key) => key.sign(message).as_ref().to_vec(),
            Key::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        }
    }

    fn data(&self, page: &Page, more: u8) -> Vec<u8> {
        let mut data = digest(&SHA256, page.rp_id.as_bytes()).as_ref().to_vec();
        data.push(self.flags | more);
        data.extend(self.counter.to_be_bytes());
        data
    }

    /// `navigator.credentials.create`.
    pub fn create(&self, page: &Page) -> Fields {
        let mut data = self.data(page, INCLUDED);
        data.extend([0; 16]);
        data.extend(u16::try_from(self.id.len()).unwrap().to_be_bytes());
        data.extend(&self.id);
        vec![
            ("client_data", encoded(&client_data(page, "webauthn.create"))),
            ("authenticator_data", encoded(&data)),
            ("public_key", encoded(&self.public_key())),
            ("algorithm", self.algorithm().to_string()),
        ]
    }

    /// `navigator.credentials.get`.
    pub fn get(&self, page: &Page) -> Fields {
        let (client_data, data) = (client_data(page, "webauthn.get"), self.data(page, 0));
        let signed = [data.as_slice(), digest(&SHA256, &client_data).as_ref()].concat();
        vec![
            ("credential", encoded(&self.id)),
            ("client_data", encoded(&client_data)),
            ("authenticator_data", encoded(&data)),
            ("signature", encoded(&self.sign(&signed))),
            ("user_handle", encoded(&self.handle)),
        ]
    }
}

fn client_data(page: &Page, kind: &str) -> Vec<u8> {
    let (kind, cross_origin) = (page.kind.unwrap_or(kind), page.cross_origin);
    let (challenge, origin) = (&page.challenge, &page.origin);
    serde_json::json!({ "type": kind, "challenge": challenge, "origin": origin, "crossOrigin": cross_origin })
        .to_string()
        .into_bytes()
}

pub fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
