//! Scratch.
#![allow(clippy::all, missing_docs, clippy::print_stdout)]
#[path = "../tests/process/store.rs"]
#[allow(dead_code, missing_docs)]
mod store;
fn main() {
    let dir = std::env::args().nth(1).unwrap();
    std::fs::create_dir_all(&dir).unwrap();
    let folder = tempfile::TempDir::with_prefix_in("s", &dir).unwrap();
    let fixture = store::Fixture::at(folder, "store");
    let n: usize = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut token = String::new();
    for _ in 0..n {
        let mut claims = fixture.claims("mcp:tools:execute mcp:tools:read");
        claims.exp = claims.exp + shared::time::Seconds(86400);
        token = fixture.issue_claims(claims).token;
    }
    println!("{}\n{}", fixture.path().display(), token);
    std::mem::forget(fixture);
}
