//! Every test that `docs/STANDARDS.md` names exists.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

fn tests_below(folder: &Path, found: &mut HashSet<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() {
            if !["target", "node_modules", ".git"].contains(&name.as_str()) {
                tests_below(&path, found);
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.extend(text.split("fn ").skip(1).filter_map(|rest| rest.split('(').next()).map(str::to_owned));
        } else if name.ends_with(".mjs") {
            found.insert(name);
        }
    }
}

#[test]
fn every_test_that_the_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = HashSet::new();
    tests_below(root, &mut found);
    let page = fs::read_to_string(root.join("docs/STANDARDS.md")).unwrap();
    let mut named = 0;
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let held = line.rsplit('|').nth(1).unwrap_or_default();
        for name in held.split('`').skip(1).step_by(2) {
            assert!(found.contains(name), "{name}: {line}");
            named += 1;
        }
    }
    assert!(named > 100, "the page names {named} tests");
}

#[test]
fn the_page_counts_its_rows_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("docs/STANDARDS.md")).unwrap();
    let is_row = |line: &&str| {
        let id = line.strip_prefix("| ").and_then(|rest| rest.split_once(" |")).map(|(id, _)| id.split_once('-'));
        id.flatten().is_some_and(|(table, number)| {
            table.bytes().all(|b| b.is_ascii_uppercase()) && number.bytes().all(|b| b.is_ascii_digit())
        })
    };
    let rows: Vec<_> = page.lines().filter(is_row).collect();
    let held = rows.iter().filter(|row| !row.contains("*not yet*")).count();
    assert!(page.contains(&format!("{held} of {} rows are held", rows.len())), "{held} of {}", rows.len());
}
