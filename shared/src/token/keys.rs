//! The private keys of a store: what signs access tokens, and what derives and seals.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Header};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::arguments::ArgumentsKey;
use crate::id::KeyId;
use crate::oauth::device::UserCode;
use crate::oauth::jwt::{ACCESS_TOKEN_TYPE, AccessClaims};
use crate::secret::{Secret, TokenHash, random_bytes};
use crate::state::PublicKey;
use crate::time::Timestamp;

/// The one algorithm we sign with: P-256 and SHA-256 (RFC 7518 section 3.4).
pub(super) const ALGORITHM: &str = "ES256";

/// Why keys cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyError {
    /// The file's contents are not ours.
    #[error("keys.json is damaged: {0}")]
    Damaged(String),
    /// The cryptographic library refuses.
    #[error("the cryptographic library refuses: {0}")]
    Crypto(&'static str),
}

/// The private keys, parsed once.
///
/// Signing keys come and go ([`KeySet::rotate`]); what derives refresh tokens and seals pages stays for the store's life,
/// because every live refresh token hangs from it.
pub struct KeySet {
    signers: RwLock<Arc<Signers>>,
    derive: hmac::Key,
    seal: hmac::Key,
}

/// The signing keys, oldest first: at least one.
struct Signers {
    file: KeyFile,
    parsed: Vec<Signer>,
}

struct Signer {
    kid: KeyId,
    created: Timestamp,
    signs_from: Timestamp,
    pair: EcdsaKeyPair,
    /// The header of every token, encoded, with the dot behind it.
    header: String,
}

/// What `keys.json` holds. Binary values as base64url.
#[derive(Clone, Deserialize, Serialize)]
struct KeyFile {
    format: String,
    /// The key that signs, until the first of `later` does.
    #[serde(flatten)]
    first: SigningKey,
    derive: Zeroizing<String>,
    seal: Zeroizing<String>,
    /// Keys that sign later, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    later: Vec<SigningKey>,
}

#[derive(Clone, Deserialize, Serialize)]
struct SigningKey {
    created: Timestamp,
    kid: KeyId,
    alg: String,
    pkcs8: Zeroizing<String>,
    /// From when it signs; a key that was alone from the beginning says nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    signs_from: Timestamp,
}

/// A signing key, without what is secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignerInfo {
    /// Its name.
    pub kid: KeyId,
    /// Since when it is there.
    pub created: Timestamp,
    /// From when it signs.
    pub signs_from: Timestamp,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "shape of skip_serializing_if")]
fn is_zero(at: &Timestamp) -> bool {
    at.0 == 0
}

const FORMAT: &str = "mcp-authz-keys 1";

impl KeySet {
    /// Draws new keys.
    ///
    /// # Errors
    /// When the cryptographic library cannot make one.
    pub fn generate(now: Timestamp) -> Result<Self, KeyError> {
        let random = || Zeroizing::new(URL_SAFE_NO_PAD.encode(random_bytes::<32>()));
        Self::new(KeyFile {
            format: FORMAT.to_owned(),
            first: SigningKey::generate(now, Timestamp(0))?,
            derive: random(),
            seal: random(),
            later: Vec::new(),
        })
    }

    /// Draws a key that signs from `signs_from` on, and forgets the private halves of those that have signed for the last
    /// time. One that signs at once does not wait for those that wait: who replaces a key in a hurry fears for all. The new set; this one stays as it is.
    ///
    /// # Errors
    /// When the cryptographic library cannot make one.
    pub fn rotate(&self, now: Timestamp, signs_from: Timestamp) -> Result<Self, KeyError> {
        let mut file = self.signers().file.clone();
        file.forget_spent(now);
        if signs_from <= now {
            file.later.clear();
        }
        file.later.push(SigningKey::generate(now, signs_from)?);
        Self::new(file)
    }

    /// The set without the private halves of keys that have signed for the last time; `None` when there are none.
    ///
    /// # Errors
    /// Never in practice: the keys were read before.
    pub fn pruned(&self, now: Timestamp) -> Result<Option<Self>, KeyError> {
        let mut file = self.signers().file.clone();
        if file.forget_spent(now) { Self::new(file).map(Some) } else { Ok(None) }
    }

    /// Takes over the signing keys of a set that was read anew. False when they are the same, or when the other set is
    /// another store's: its refresh tokens would follow from another key.
    pub fn adopt(&self, other: &Self) -> bool {
        let theirs = other.signers();
        let ours = self.signers();
        let same_store = *ours.file.derive == *theirs.file.derive && *ours.file.seal == *theirs.file.seal;
        let names = |signers: &Signers| signers.parsed.iter().map(Signer::info).collect::<Vec<_>>();
        if !same_store || names(&ours) == names(&theirs) {
            return false;
        }
        *self.signers.write().unwrap_or_else(PoisonError::into_inner) = theirs;
        true
    }

    /// The signing keys, oldest first: the one that signs, and those that will.
    pub fn signing(&self) -> Vec<SignerInfo> {
        self.signers().parsed.iter().map(Signer::info).collect()
    }

    fn signers(&self) -> Arc<Signers> {
        Arc::clone(&self.signers.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads what [`KeySet::to_json`] wrote.
    ///
    /// # Errors
    /// When it is something else.
    pub fn from_json(text: &[u8]) -> Result<Self, KeyError> {
        let file: KeyFile = serde_json::from_slice(text)
            .map_err(|error| KeyError::Damaged(format!("line {} column {}", error.line(), error.column())))?;
        let is_ours = |key: &SigningKey| key.alg == ALGORITHM;
        if file.format != FORMAT || !is_ours(&file.first) || !file.later.iter().all(is_ours) {
            return Err(KeyError::Damaged(format!("it is not of the form {FORMAT}")));
        }
        Self::new(file)
    }

    fn new(file: KeyFile) -> Result<Self, KeyError> {
        let mac = |text: &str| match decode(text)? {
            // RFC 7518 section 3.2: a key as long as the hash, at least.
            short if short.len() < 32 => Err(KeyError::Damaged("an HMAC key is shorter than 32 bytes".into())),
            bytes => Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes)),
        };
        let (derive, seal) = (mac(&file.derive)?, mac(&file.seal)?);
        let parsed = [&file.first].into_iter().chain(&file.later).map(Signer::new).collect::<Result<Vec<_>, _>>()?;
        if !parsed.is_sorted_by_key(|signer| signer.signs_from) {
            return Err(KeyError::Damaged("the keys do not follow each other in time".into()));
        }
        Ok(Self { signers: RwLock::new(Arc::new(Signers { file, parsed })), derive, seal })
    }

    /// The text for `keys.json`. Private: owner-only files, nothing else.
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(&self.signers().file).unwrap_or_default();
        text.push(b'\n');
        Zeroizing::new(text)
    }

    /// The public half of the oldest: the one that signs, unless its successor's time has come.
    pub fn public(&self) -> PublicKey {
        self.signers().parsed[0].public()
    }

    /// The public halves, to be published in the store, oldest first.
    pub fn all_public(&self) -> Vec<PublicKey> {
        self.signers().parsed.iter().map(Signer::public).collect()
    }

    /// Signs an access token (RFC 9068 section 2).
    ///
    /// # Errors
    /// When the cryptographic library refuses.
    pub fn mint(&self, claims: &AccessClaims) -> Result<Secret, KeyError> {
        // The library would parse and check the private key at every signature, which costs more than the signature.
        let signers = self.signers();
        let signer = signers.at(claims.iat);
        let mut token = signer.header.clone();
        let claims = serde_json::to_vec(claims).map_err(|_| KeyError::Crypto("cannot write the claims"))?;
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = signer.pair.sign(&SystemRandom::new(), token.as_bytes());
        let signature = signature.map_err(|_| KeyError::Crypto("cannot sign"))?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(Secret::new(token))
    }

    /// The refresh token that follows `presented`: always the same one, and to be known only with both the
    /// presented token and this key. So a lost answer can be given again although the store keeps hashes only.
    pub fn successor(&self, presented: &Secret) -> Secret {
        let mut context = hmac::Context::with_key(&self.derive);
        context.update(b"refresh token\0");
        context.update(presented.expose().as_bytes());
        Secret::from_bytes(context.sign().as_ref())
    }

    /// What the store knows a user code by. Under a key of ours: 34 bits alone could be tried out.
    pub fn user_code(&self, code: &UserCode) -> TokenHash {
        self.seal("user code", &[code.letters().as_bytes()])
    }

    /// The key for hashes of arguments. It comes from the one that seals pages, and stays for the store's life as that does.
    pub fn arguments_key(&self) -> ArgumentsKey {
        ArgumentsKey(self.seal("call arguments", &[]))
    }

    /// A seal over `parts` for `purpose`: what proves later that a page's hidden fields are ours and whole.
    pub fn seal(&self, purpose: &str, parts: &[&[u8]]) -> TokenHash {
        let mut context = hmac::Context::with_key(&self.seal);
        for part in [purpose.as_bytes()].iter().chain(parts) {
            // Lengths first, so that no two lists of parts read the same.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        TokenHash::of(context.sign().as_ref())
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("signing", &self.signing()).finish_non_exhaustive()
    }
}

impl KeyFile {
    /// Forgets the keys whose successor signs; true when there were any.
    fn forget_spent(&mut self, now: Timestamp) -> bool {
        let mut any = false;
        while self.later.first().is_some_and(|next| next.signs_from <= now) {
            self.first = self.later.remove(0);
            any = true;
        }
        any
    }
}

impl SigningKey {
    fn generate(now: Timestamp, signs_from: Timestamp) -> Result<Self, KeyError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| KeyError::Crypto("no P-256 key"))?;
        Ok(Self {
            created: now,
            kid: thumbprint(&parse_pkcs8(pkcs8.as_ref())?),
            alg: ALGORITHM.to_owned(),
            pkcs8: Zeroizing::new(URL_SAFE_NO_PAD.encode(pkcs8.as_ref())),
            signs_from,
        })
    }
}

impl Signers {
    /// The key that signs at `now`: the newest whose time has come.
    fn at(&self, now: Timestamp) -> &Signer {
        self.parsed.iter().rfind(|signer| signer.signs_from <= now).unwrap_or(&self.parsed[0])
    }
}

impl Signer {
    fn new(key: &SigningKey) -> Result<Self, KeyError> {
        let pair = parse_pkcs8(&decode(&key.pkcs8)?)?;
        if thumbprint(&pair) != key.kid {
            return Err(KeyError::Damaged("the kid is not the key's thumbprint".into()));
        }
        let header = Header {
            typ: Some(ACCESS_TOKEN_TYPE.to_owned()),
            kid: Some(key.kid.0.clone()),
            ..Header::new(Algorithm::ES256)
        };
        let header = serde_json::to_vec(&header).map_err(|_| KeyError::Crypto("cannot write a header"))?;
        let header = format!("{}.", URL_SAFE_NO_PAD.encode(header));
        Ok(Self { kid: key.kid.clone(), created: key.created, signs_from: key.signs_from, pair, header })
    }

    fn info(&self) -> SignerInfo {
        SignerInfo { kid: self.kid.clone(), created: self.created, signs_from: self.signs_from }
    }

    fn public(&self) -> PublicKey {
        let (x, y) = point(&self.pair);
        let jwk = [("kty", "EC".to_owned()), ("crv", "P-256".to_owned()), ("x", x), ("y", y)];
        PublicKey {
            id: self.kid.clone(),
            alg: ALGORITHM.to_owned(),
            jwk: jwk.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect(),
            published: self.created,
            retires: None,
        }
    }
}

fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    URL_SAFE_NO_PAD.decode(text).map(Zeroizing::new).map_err(|_| KeyError::Damaged("a value is not base64url".into()))
}

fn parse_pkcs8(pkcs8: &[u8]) -> Result<EcdsaKeyPair, KeyError> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
        .map_err(|_| KeyError::Damaged("the P-256 key cannot be read".into()))
}

/// The coordinates of the public point (RFC 7518 section 6.2.1), from its uncompressed form.
fn point(pair: &EcdsaKeyPair) -> (String, String) {
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
}

/// RFC 7638 section 3: the hash of the required members in lexical order.
fn thumbprint(pair: &EcdsaKeyPair) -> KeyId {
    let (x, y) = point(pair);
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    KeyId(URL_SAFE_NO_PAD.encode(TokenHash::of(canonical.as_bytes()).as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_their_file_and_are_not_printed() {
        let keys = KeySet::generate(Timestamp(1)).unwrap();
        let read = KeySet::from_json(&keys.to_json()).unwrap();
        assert_eq!(read.public(), keys.public());
        let presented = Secret::new("token".into());
        assert_eq!(read.successor(&presented).expose(), keys.successor(&presented).expose());
        assert!(!format!("{keys:?}").contains(keys.signers().file.first.pkcs8.as_str()));
    }

    #[test]
    fn jwt_09_a_new_key_is_there_before_it_signs_and_the_old_one_goes_when_it_is_not_needed() {
        let first = KeySet::generate(Timestamp(1)).unwrap();
        let kid = |keys: &KeySet, at| keys.signers().at(Timestamp(at)).kid.clone();
        let second = first.rotate(Timestamp(100), Timestamp(160)).unwrap();
        assert_eq!((second.all_public().len(), kid(&second, 159)), (2, kid(&first, 159)));
        assert_ne!(kid(&second, 160), kid(&first, 160));
        let third = second.rotate(Timestamp(200), Timestamp(260)).unwrap();
        assert_eq!(third.signing().iter().map(|key| key.created.0).collect::<Vec<_>>(), [100, 200]);
        assert!(!String::from_utf8(third.to_json().to_vec()).unwrap().contains(&kid(&first, 1).0));
        assert!(second.pruned(Timestamp(159)).unwrap().is_none());
        assert_eq!(second.pruned(Timestamp(160)).unwrap().unwrap().signing(), second.signing()[1..]);
        // Two rotations in a row: both wait, and what signs still signs.
        let hasty = second.rotate(Timestamp(110), Timestamp(170)).unwrap();
        assert_eq!((hasty.signing().len(), kid(&hasty, 110)), (3, kid(&first, 1)));
        let hurried = hasty.rotate(Timestamp(120), Timestamp(120)).unwrap();
        assert_eq!((hurried.signing().len(), hurried.signing()[1].signs_from), (2, Timestamp(120)));
        let read = KeySet::from_json(&hasty.to_json()).unwrap();
        assert_eq!(read.signing(), hasty.signing());
        assert!(first.adopt(&second) && !first.adopt(&second));
        assert_eq!(kid(&first, 160), kid(&second, 160));
        let token = Secret::new("a".into());
        assert_eq!(first.successor(&token).expose(), third.successor(&token).expose());
        assert!(!first.adopt(&KeySet::generate(Timestamp(1)).unwrap()), "another store's keys are not taken");
    }

    #[test]
    fn jwt_11_an_hmac_key_that_is_too_short_is_refused() {
        let keys = KeySet::generate(Timestamp(1)).unwrap();
        for (bytes, fits) in [(32, true), (31, false), (0, false)] {
            let mut file: serde_json::Value = serde_json::from_slice(&keys.to_json()).unwrap();
            file["derive"] = URL_SAFE_NO_PAD.encode(vec![7; bytes]).into();
            assert_eq!(KeySet::from_json(file.to_string().as_bytes()).is_ok(), fits, "{bytes}");
        }
    }

    #[test]
    fn a_key_file_from_before_rotation_is_read() {
        let keys = KeySet::generate(Timestamp(7)).unwrap();
        let text = String::from_utf8(keys.to_json().to_vec()).unwrap();
        assert!(!text.contains("later") && !text.contains("signs_from"), "{text}");
        assert_eq!(KeySet::from_json(text.as_bytes()).unwrap().signing(), keys.signing());
    }

    #[test]
    fn a_damaged_key_file_is_named_and_its_contents_are_not() {
        for text in ["", "{}", "{\"format\":\"other\"}"] {
            assert!(KeySet::from_json(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_successor_is_the_same_each_time_and_different_for_each_key_and_token() {
        let (ours, theirs) = (KeySet::generate(Timestamp(1)).unwrap(), KeySet::generate(Timestamp(1)).unwrap());
        let (a, b) = (Secret::new("a".into()), Secret::new("b".into()));
        assert_eq!(ours.successor(&a).expose(), ours.successor(&a).expose());
        assert_ne!(ours.successor(&a).expose(), ours.successor(&b).expose());
        assert_ne!(ours.successor(&a).expose(), theirs.successor(&a).expose());
    }

    #[test]
    fn a_seal_covers_purpose_and_every_boundary() {
        let keys = KeySet::generate(Timestamp(1)).unwrap();
        assert_eq!(keys.seal("a", &[b"b", b"c"]), keys.seal("a", &[b"b", b"c"]));
        for other in [keys.seal("b", &[b"b", b"c"]), keys.seal("a", &[b"bc"]), keys.seal("a", &[b"", b"bc"])] {
            assert_ne!(other, keys.seal("a", &[b"b", b"c"]));
        }
    }
}
