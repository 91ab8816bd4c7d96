//! How secrets are compared, as the source says it: a clock must not tell how much of a guess was right.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
            found.push((path, code));
        }
    }
}

/// What stands in the source before an item: its attributes and documentation.
fn above<'a>(text: &'a str, item: &str) -> &'a str {
    let at = text.find(item).unwrap_or_else(|| panic!("no {item}"));
    let begin = text[..at].rfind("\n\n").unwrap_or_default();
    &text[begin..at]
}

#[test]
fn tok_22_secrets_are_found_by_their_hash_and_hashes_compared_in_constant_time() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for program in ["shared", "authz-service", "mcp-stdio-server", "client"] {
        sources(&root.join(program).join("src"), &mut found);
    }
    assert!(found.len() > 150, "{}", found.len());
    // A secret cannot be compared at all, and a hash only by `subtle`.
    let (_, secret) = found.iter().find(|(path, _)| path.ends_with("shared/src/secret.rs")).unwrap();
    for item in ["pub struct Secret(", "pub struct TokenHash("] {
        assert!(!above(secret, item).contains("PartialEq"), "{item} derives a comparison");
    }
    assert!(!secret.contains("PartialEq for Secret"));
    let equality = secret.split("impl PartialEq for TokenHash").nth(1).unwrap().split("\n}").next().unwrap();
    assert!(equality.contains("self.0.ct_eq(&other.0)"), "{equality}");
    // Nor is what was taken out of one, or the bytes of a hash.
    for (path, code) in &found {
        for line in code.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
            let sides = ["==", "!="].iter().filter_map(|sign| line.split_once(sign));
            for (left, right) in sides {
                let (left, right) = (left.trim_end(), right.trim_start());
                let first = right.split([' ', ';', ',', '{']).next().unwrap_or_default();
                let bare = |text: &str| text.ends_with(".expose()") || text.ends_with(".expose().as_bytes()");
                assert!(!bare(left) && !bare(first), "{}: {line}", path.display());
            }
        }
    }
}
