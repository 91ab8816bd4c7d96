//! The vault's key, in a file of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared::files;
use shared::sealed::Sealer;
use shared::secret::{TokenHash, random_bytes};
use zeroize::Zeroizing;

use super::VaultError;

/// A longer sealed text is none of ours.
const LONGEST: usize = 64 << 20;

/// 32 random bytes. In the file they stand as 43 base64url characters and a line feed.
pub(super) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// A key that nobody else has.
    pub fn draw() -> Self {
        Self(Zeroizing::new(random_bytes()))
    }

    /// Which key it is: half a hash of it, from which it cannot be told.
    pub fn id(&self) -> String {
        let mut text = Zeroizing::new(b"mcp-authz vault key id\n".to_vec());
        text.extend_from_slice(self.0.as_ref());
        URL_SAFE_NO_PAD.encode(&TokenHash::of(&text).as_bytes()[..16])
    }

    /// What seals and opens with it.
    pub fn sealer(&self) -> Result<Sealer, VaultError> {
        Sealer::of(&self.0, LONGEST).map_err(|_| VaultError::Crypto)
    }

    /// Reads a key's file; `None` when there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, VaultError> {
        let io = |error| VaultError::Io(path.to_owned(), error);
        let text = match fs::read(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        if let Some(reason) = files::unsafe_because(path).map_err(io)? {
            return Err(VaultError::Unsafe(path.to_owned(), reason));
        }
        if files::is_open_to_others(path) {
            let reason = "others than its owner may read it; chmod 600, or mount its disk with umask=077".to_owned();
            return Err(VaultError::Unsafe(path.to_owned(), reason));
        }
        let mut bytes = Zeroizing::new([0; 32]);
        match URL_SAFE_NO_PAD.decode_slice(text.trim_ascii(), bytes.as_mut()) {
            Ok(32) => Ok(Some(Self(bytes))),
            _ => Err(VaultError::NotAKey(path.to_owned())),
        }
    }

    /// Writes it, durably.
    pub fn write(&self, path: &Path) -> Result<(), VaultError> {
        let mut text = Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0.as_ref()));
        text.push('\n');
        files::replace(path, text.as_bytes()).map_err(|error| VaultError::Io(path.to_owned(), error))
    }
}

/// Where the next key lies while everything is sealed anew.
pub(super) fn next(path: &Path) -> PathBuf {
    let mut next = path.as_os_str().to_owned();
    next.push(".next");
    PathBuf::from(next)
}
