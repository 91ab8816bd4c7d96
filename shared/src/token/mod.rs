//! Access tokens: keys, minting, verifying (RFC 9068).

mod assertion;
mod keys;
mod verify;

pub use assertion::{ASSERTION_ALGORITHMS, ASSERTION_TYPE, AssertionError, ClientKeys, Proven, Unproven};
pub use keys::{KeyError, KeySet, SignerInfo};
pub use verify::{Expected, KeyRing, TokenError, VerifiedToken};
