//! Access tokens: keys, minting, verifying (RFC 9068).

mod keys;
mod verify;

pub use keys::{KeyError, KeySet, SignerInfo};
pub use verify::{Expected, KeyRing, TokenError, VerifiedToken};
