//! Access tokens: keys, minting, verifying (RFC 9068).

mod arguments;
mod assertion;
mod claims;
mod foreign;
mod id_token;
mod jwks;
mod keys;
mod opaque;
mod verify;

pub use arguments::ArgumentsKey;
pub use assertion::{ASSERTION_ALGORITHMS, ASSERTION_TYPE, AssertionError, ClientKeys, Proven, Unproven};
pub use foreign::{AccessTokenFor, ForeignToken, NoAnswer, TokenType};
pub use id_token::{IdTokenError, IdTokenFor, Identity, ProviderKeys};
pub use keys::{KeyError, KeySet, SignerInfo};
pub use opaque::{opaque_id, opaque_token};
pub use verify::{Expected, KeyRing, TokenError, VerifiedToken};
