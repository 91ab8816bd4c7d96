//! The hash under which the arguments of a call are written down.

use aws_lc_rs::hmac;

use crate::secret::TokenHash;

/// What arguments are hashed with: a key that is known only where the store's keys are, so that whoever reads an export of
/// the trail cannot try short arguments out.
pub struct ArgumentsKey(pub(super) hmac::Key);

impl ArgumentsKey {
    /// The hash that is written down, of the SHA-256 of arguments in canonical form ([`crate::jcs::hash`]).
    pub fn keyed(&self, arguments: &TokenHash) -> TokenHash {
        let mut keyed = [0; 32];
        keyed.copy_from_slice(hmac::sign(&self.0, arguments.as_bytes()).as_ref());
        TokenHash::from_digest(keyed)
    }
}
