//! Who may import whom: reads the `use` lines of the workspace and fails on a breach.

use std::fs;
use std::path::{Path, PathBuf};

/// A part of the source and the words that no line of code in it may contain.
struct Layer {
    /// Files and folders, from the workspace's root.
    places: &'static [&'static str],
    never: &'static [&'static str],
}

const IO: [&str; 8] =
    ["std::fs", "std::net", "std::env", "std::process", "SystemTime", "tokio::", "crate::files", "crate::store"];
const PURE_SHELLS: [&str; 18] = [
    "actix",
    "rmcp",
    "tokio",
    "reqwest",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "SystemClock",
    "SystemTime",
    "Instant::now",
    "Secret::random",
    "random_uuid",
    "random_bytes",
    "Verifier::random",
    "shared::files",
    "shared::store",
    "crate::http",
];

const LAYERS: [Layer; 5] = [
    Layer {
        places: &[
            "shared/src/id.rs",
            "shared/src/time.rs",
            "shared/src/date.rs",
            "shared/src/uri",
            "shared/src/scope.rs",
        ],
        never: &[
            "crate::state",
            "crate::store",
            "crate::token",
            "crate::files",
            "std::fs",
            "std::net",
            "std::env",
            "tokio",
        ],
    },
    Layer {
        places: &["shared/src/secret.rs", "shared/src/address.rs"],
        never: &["crate::", "std::fs", "std::net", "std::env", "tokio"],
    },
    Layer {
        places: &["shared/src/oauth"],
        never: &[
            "crate::state",
            "crate::store",
            "crate::token",
            "crate::files",
            "std::fs",
            "std::net",
            "std::env",
            "tokio",
        ],
    },
    Layer { places: &["shared/src/state", "shared/src/token"], never: &IO },
    Layer {
        places: &[
            "authz-service/src/protocol",
            "client/src/flow",
            "mcp-stdio-server/src/http/request.rs",
            "mcp-stdio-server/src/http/track.rs",
            "mcp-stdio-server/src/guard.rs",
            "mcp-stdio-server/src/import/diff.rs",
            "mcp-stdio-server/src/import/document.rs",
            "mcp-stdio-server/src/import/edit.rs",
            "mcp-stdio-server/src/import/hosts.rs",
            "mcp-stdio-server/src/import/jsonc.rs",
            "mcp-stdio-server/src/import/node.rs",
            "mcp-stdio-server/src/import/rewrite.rs",
            "mcp-stdio-server/src/import/servers.rs",
            "mcp-stdio-server/src/import/suspect.rs",
            "mcp-stdio-server/src/import/tables.rs",
            "mcp-stdio-server/src/import/undo.rs",
            "mcp-stdio-server/src/login/standing.rs",
            "mcp-stdio-server/src/token.rs",
            "mcp-stdio-server/src/verify/foreign/endpoints.rs",
            "mcp-stdio-server/src/verify/remembered.rs",
            "mcp-stdio-server/src/wrap/eras.rs",
            "mcp-stdio-server/src/wrap/exact.rs",
            "mcp-stdio-server/src/wrap/lint.rs",
            "mcp-stdio-server/src/wrap/listing.rs",
            "mcp-stdio-server/src/wrap/message.rs",
            "mcp-stdio-server/src/wrap/rules.rs",
        ],
        never: &PURE_SHELLS,
    },
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn rust_files(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(place).unwrap_or_else(|error| panic!("{}: {error}", place.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() || path.extension().is_some_and(|extension| extension == "rs") {
            files.extend(rust_files(&path));
        }
    }
    files
}

/// The lines of code before the tests, without comments.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines().enumerate().map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default()))
}

#[test]
fn no_layer_reaches_up() {
    let mut breaches = Vec::new();
    for layer in &LAYERS {
        for place in layer.places {
            for file in rust_files(&root().join(place)) {
                let text = fs::read_to_string(&file).unwrap();
                for (number, line) in code_lines(&text) {
                    for word in layer.never.iter().filter(|word| line.contains(**word)) {
                        breaches.push(format!("{}:{number}: {word}: {}", file.display(), line.trim()));
                    }
                }
            }
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn the_stdio_server_never_prints() {
    for file in rust_files(&root().join("mcp-stdio-server/src")) {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in code_lines(&text) {
            assert!(!line.contains("println!") || line.contains("eprintln!"), "{}:{number}", file.display());
        }
    }
}
