//! The configuration file: TOML, one key for each setting, named as its flag.

use std::io;
use std::path::Path;

use shared::files;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The longest file.
const MOST: u64 = 1024 * 1024;

/// One key of the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The setting.
    pub key: String,
    /// From 1.
    pub line: usize,
    /// Its value, or several.
    pub words: Words,
}

/// A value as it is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Words {
    /// Yes or no.
    Switch(bool),
    /// A text or number.
    One(String),
    /// A list of them.
    Many(Vec<String>),
}

/// Reads a file.
///
/// # Errors
/// Where it is no file that we may trust, or no TOML of ours: with the path, and the line where there is one.
pub fn read(path: &Path) -> Result<Vec<Entry>, String> {
    let text = text(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if let Some(reason) = writable_by_others(path)? {
        return Err(format!("{}: {reason}", path.display()));
    }
    parse(&text).map_err(|(line, reason)| format!("{}:{line}: {reason}", path.display()))
}

/// The text of a file of a sensible size: a device would never end.
fn text(path: &Path) -> io::Result<String> {
    let bytes = files::read_at_most(path, MOST)?.ok_or_else(|| io::Error::other("it is larger than 1 MiB"))?;
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8"))
}

/// Reads the text; line and reason where it cannot be.
fn parse(text: &str) -> Result<Vec<Entry>, (usize, String)> {
    let line_of = |at: usize| text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        (line_of(at), error.message().lines().collect::<Vec<_>>().join(", "))
    })?;
    let mut entries: Vec<_> = table.into_inner().into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
        .into_iter()
        .map(|(key, value)| {
            let line = line_of(key.span().start);
            let key = key.into_inner().into_owned();
            let words = words(&value).ok_or_else(|| {
                (line, format!("{key} takes a text, a number, true, false, or a list of texts; there are no sections"))
            })?;
            Ok(Entry { key, line, words })
        })
        .collect()
}

fn words(value: &Spanned<DeValue<'_>>) -> Option<Words> {
    match value.get_ref() {
        DeValue::Boolean(value) => Some(Words::Switch(*value)),
        DeValue::Array(items) => {
            items.iter().map(|item| word(item.get_ref())).collect::<Option<Vec<_>>>().map(Words::Many)
        }
        value => word(value).map(Words::One),
    }
}

fn word(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().replace('_', "")),
        _ => None,
    }
}

/// Whoever may write it decides who gets tokens (CFG-04).
#[cfg(unix)]
fn writable_by_others(path: &Path) -> Result<Option<String>, String> {
    use std::os::unix::fs::MetadataExt;

    let metadata = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let us = rustix::process::geteuid().as_raw();
    Ok(if ![us, 0].contains(&metadata.uid()) {
        Some(format!("it belongs to user {}; it must be ours (user {us}) or root's", metadata.uid()))
    } else if metadata.mode() & 0o022 != 0 {
        Some(format!("others may write to it (mode {:03o}); run chmod go-w on it", metadata.mode() & 0o777))
    } else {
        None
    })
}

#[cfg(not(unix))]
fn writable_by_others(_path: &Path) -> Result<Option<String>, String> {
    Ok(None)
}

/// Why a file with a secret in it may not be used: others can read it (CFG-04).
///
/// # Errors
/// Those of the operating system.
#[cfg(unix)]
pub fn readable_by_others(path: &Path) -> Result<Option<String>, String> {
    use std::os::unix::fs::MetadataExt;

    let metadata = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let open = metadata.mode() & 0o044 != 0;
    Ok(open.then(|| {
        format!("{}: others can read it (mode {:03o}); run chmod go-rwx on it", path.display(), metadata.mode() & 0o777)
    }))
}

/// Other systems have other means.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn readable_by_others(_path: &Path) -> Result<Option<String>, String> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_flat_and_every_fault_has_a_line() {
        let read =
            parse("# a comment\nport = 4_000\nresource = [\"a\", \"b\"]\n\ninsecure-plain-http = true\n").unwrap();
        let found: Vec<_> = read.iter().map(|entry| (entry.key.as_str(), entry.line, entry.words.clone())).collect();
        assert_eq!(
            found,
            [
                ("port", 2, Words::One("4000".into())),
                ("resource", 3, Words::Many(vec!["a".into(), "b".into()])),
                ("insecure-plain-http", 5, Words::Switch(true)),
            ]
        );
        for (text, line) in [
            ("port = 1\nport = 2", 2),
            ("a = 1\n\nb = ", 3),
            ("a = 1\n[section]\nb = 2", 2),
            ("a = 1.5", 1),
            ("a = 1979-05-27", 1),
            ("a = { b = 1 }", 1),
            ("\na = [[1]]", 2),
            ("a = \"unfinished", 1),
        ] {
            assert_eq!(parse(text).unwrap_err().0, line, "{text}");
        }
    }
}
