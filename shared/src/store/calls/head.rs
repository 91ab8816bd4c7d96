//! The head of the trail: a line's number and hash, which vouch for every line up to it. The chain alone does not tell that
//! its end was cut off; whoever kept a head elsewhere can tell.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::TokenHash;

/// A line of the trail, as far as it vouches for those before it. As a text: `601:` and 43 base64url characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// The line's number.
    pub line: u64,
    /// Its hash.
    pub hash: TokenHash,
}

/// Why a text is no head.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a head is a line's number, a colon and a hash of 43 base64url characters, as `audit verify` prints it")]
pub struct NotAHead;

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, URL_SAFE_NO_PAD.encode(self.hash.as_bytes()))
    }
}

impl FromStr for Head {
    type Err = NotAHead;

    fn from_str(text: &str) -> Result<Self, NotAHead> {
        let (line, hash) = text.split_once(':').ok_or(NotAHead)?;
        let hash: [u8; 32] = URL_SAFE_NO_PAD.decode(hash).ok().and_then(|hash| hash.try_into().ok()).ok_or(NotAHead)?;
        let digits = line.bytes().all(|b| b.is_ascii_digit());
        let line = digits.then(|| line.parse().ok()).flatten().ok_or(NotAHead)?;
        Ok(Self { line, hash: TokenHash::from_digest(hash) })
    }
}

/// How the trail stands to a head that somebody kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It goes on from there.
    Holds,
    /// The line has another hash: it, or one before it, is another line.
    Differs,
    /// It ends before the line.
    Ends,
    /// The line is gone with its file, as old ones go.
    Gone,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n12_a_head_is_written_as_it_is_read() {
        let head = Head { line: 601, hash: TokenHash::of(b"abc") };
        let text = head.to_string();
        assert_eq!(text, "601:ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
        assert_eq!(text.parse(), Ok(head));
        let hash = &text[4..];
        for bad in
            ["", "601", "601:", hash, &format!("x:{hash}"), &format!("+1:{hash}"), &text[..46], &format!("{text}A")]
        {
            assert_eq!(bad.parse::<Head>(), Err(NotAHead), "{bad}");
        }
    }
}
