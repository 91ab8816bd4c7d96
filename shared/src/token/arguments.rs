//! The hash under which the arguments of a call are written down.

use crate::secret::TokenHash;

/// What arguments are hashed with: a key that is known only where the store's keys are, so that whoever reads an export of
/// the trail cannot try short arguments out.
pub struct ArgumentsKey(pub(super) TokenHash);

impl ArgumentsKey {
    /// The hash that is written down, of the SHA-256 of arguments in canonical form ([`crate::jcs::hash`]): SHA-256 of key
    /// and hash. Both have 32 bytes, so that no other text can be meant, and HMAC's second round is not needed.
    pub fn keyed(&self, arguments: &TokenHash) -> TokenHash {
        let mut both = [0; 64];
        both[..32].copy_from_slice(self.0.as_bytes());
        both[32..].copy_from_slice(arguments.as_bytes());
        TokenHash::of(&both)
    }
}
