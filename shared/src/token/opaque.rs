//! Access tokens that say nothing: a name by which the store finds their record, and a secret whose hash is in it.
//!
//! For tokens that never leave the machine of the store: it has the last word at every use anyway, and nothing need be
//! signed, renewed or parsed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::id::TokenId;
use crate::secret::Secret;

/// What every one begins with, so that scanners for leaked secrets know them.
const PREFIX: &str = "mcpat_";

/// The bytes of the name, and of the secret behind it: 256 random bits.
const NAME: usize = 16;
const SECRET: usize = 32;

/// Makes the token of this name from `random` bytes.
pub fn opaque_token(id: TokenId, random: &[u8; SECRET]) -> Secret {
    let mut bytes = [0; NAME + SECRET];
    bytes[..NAME].copy_from_slice(id.0.as_bytes());
    bytes[NAME..].copy_from_slice(random);
    Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// The name of an opaque token; `None` for what has not the form of one.
pub fn opaque_id(token: &str) -> Option<TokenId> {
    let mut bytes = [0; NAME + SECRET];
    let length = URL_SAFE_NO_PAD.decode_slice(token.strip_prefix(PREFIX)?, &mut bytes).ok()?;
    let name = bytes.first_chunk::<NAME>().filter(|_| length == NAME + SECRET)?;
    Some(TokenId(Uuid::from_bytes(*name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_carries_its_name_and_nothing_else_has_one() {
        let id = TokenId(Uuid::from_u128(7));
        let token = opaque_token(id, &[9; 32]);
        assert_eq!(opaque_id(token.expose()), Some(id));
        assert_eq!(token.expose().len(), 70);
        let text = token.expose();
        for other in [
            "",
            "mcpat_",
            &text[6..],
            &text[..69],
            &format!("{text}A"),
            &format!("{text}="),
            &text.replace("mcpat_", "MCPAT_"),
            &format!("mcpat_{}", "A".repeat(60)),
            &format!("mcpat_{}", "\u{e4}".repeat(32)),
            "a.b.c",
        ] {
            assert_eq!(opaque_id(other), None, "{other}");
        }
    }
}
