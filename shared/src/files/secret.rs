//! Files that hold secrets of the operator's.

use std::path::Path;

use crate::secret::Secret;

/// A secret that is alone in a file, with or without a newline after it.
///
/// # Errors
/// When it cannot be read, or others may read it too. Names the file, never what is in it.
pub fn secret_in(file: &Path) -> Result<Secret, String> {
    let named = |why: String| format!("{}: {why}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| named(error.to_string()))?;
    if is_open_to_others(file) {
        return Err(named("it holds a secret, and others may read it: chmod 600".to_owned()));
    }
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Whether others than its owner may read a file.
#[cfg(unix)]
pub fn is_open_to_others(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

/// Whether others than its owner may read a file: not told here.
#[cfg(not(unix))]
pub fn is_open_to_others(_file: &Path) -> bool {
    false
}
