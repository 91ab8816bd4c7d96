//! Files that a command line names.

use std::fs::File;
use std::io::{self, Read};

/// Reads a text of at most `limit` bytes. On another thread: a pipe that nobody writes to can be given up at any time.
///
/// # Errors
/// When it cannot be read, is longer, or is no UTF-8.
pub async fn read_text(path: &str, limit: u64) -> io::Result<String> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || read(&path, limit)).await.map_err(io::Error::other)?
}

fn read(path: &str, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {limit} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_text_is_bounded() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "12345").unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(read_text(path, 5).await.unwrap(), "12345");
        assert!(read_text(path, 4).await.unwrap_err().to_string().contains("longer than 4"));
        assert!(read_text("/no/such/file", 4).await.is_err());
    }
}
