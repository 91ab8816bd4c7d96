//! `docs/STANDARDS.md` tells which test holds each row of the catalogue (`docs/catalogue.txt`): every test that it names is
//! one, and each row has a test that carries the row's name. `--nocapture` prints how many rows of each table are held.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;

/// The tests of the repository.
#[derive(Default)]
struct Tests {
    /// Functions with a `#[test]` of some runtime.
    functions: HashSet<String>,
    /// Of each `.test.mjs` file, the rows that its titles and messages begin with.
    suites: HashMap<String, HashSet<String>>,
}

/// A row of the page.
struct Row {
    id: String,
    /// What stands in the last column.
    held_by: String,
}

impl Tests {
    fn of(root: &Path) -> Self {
        let mut tests = Self::default();
        tests.below(root);
        tests
    }

    fn below(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            if path.is_dir() {
                if !["target", "node_modules", ".git"].contains(&name.as_str()) {
                    self.below(&path);
                }
            } else if name.ends_with(".rs") {
                self.functions.extend(test_functions(&fs::read_to_string(&path).unwrap()));
            } else if name.ends_with(".test.mjs") {
                self.suites.entry(name).or_default().extend(titled_rows(&fs::read_to_string(&path).unwrap()));
            }
        }
    }

    fn exists(&self, name: &str) -> bool {
        self.functions.contains(name) || self.suites.contains_key(name)
    }

    /// Whether a test is named after a row.
    fn carries(&self, name: &str, id: &str) -> bool {
        match self.suites.get(name) {
            Some(rows) => rows.contains(id),
            None => self.functions.contains(name) && rows_of_function(name).contains(id),
        }
    }
}

/// The functions below an attribute that makes them tests: `#[test]`, `#[tokio::test]`, `#[actix_web::test]`.
fn test_functions(text: &str) -> HashSet<String> {
    let (mut found, mut is_test) = (HashSet::new(), false);
    for line in text.lines().map(str::trim) {
        let attribute = line.strip_prefix("#[").map(|rest| rest.split([']', '(']).next().unwrap_or_default());
        if attribute.is_some_and(|path| path == "test" || path.ends_with("::test")) {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("fn ").or_else(|| line.strip_prefix("async fn ")) {
            if is_test {
                found.extend(rest.split('(').next().map(str::to_owned));
            }
            is_test = false;
        } else if attribute.is_none() && !line.starts_with("//") && !line.is_empty() {
            // A property's cases stand within a macro, each with its own attribute.
            is_test = false;
        }
    }
    found
}

/// The rows that a text in quotes begins with: `test("REG-01 REG-02 no JSON", …)`.
fn titled_rows(text: &str) -> HashSet<String> {
    let begins = |text: &str| -> Vec<String> {
        let words = text.split([' ', ',', '"', '`', ':']).map(str::to_owned);
        words.filter(|word| !word.is_empty()).take_while(|word| is_id(word)).collect()
    };
    text.split(['"', '`']).skip(1).flat_map(begins).collect()
}

/// The rows that a function's name tells: `reg_01_02_…`, `reg_03_to_10_…`, `ui_02_cfg_02_…`.
fn rows_of_function(name: &str) -> HashSet<String> {
    let (mut rows, mut table, mut last, mut range) = (HashSet::new(), String::new(), 0, false);
    for word in name.split('_') {
        match word.parse::<u32>() {
            Ok(number) if word.len() == 2 => {
                let first = if range { last } else { number };
                rows.extend((first..=number).map(|number| format!("{table}-{number:02}")));
                (last, range) = (number, false);
            }
            _ if word == "to" && last > 0 => range = true,
            _ => (table, last, range) = (word.to_ascii_uppercase(), 0, false),
        }
    }
    rows
}

fn is_id(word: &str) -> bool {
    word.split_once('-').is_some_and(|(table, number)| {
        let capitals = !table.is_empty() && table.bytes().all(|b| b.is_ascii_uppercase());
        capitals && number.len() == 2 && number.bytes().all(|b| b.is_ascii_digit())
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn page() -> String {
    fs::read_to_string(root().join("docs/STANDARDS.md")).unwrap()
}

fn rows(page: &str) -> Vec<Row> {
    let row = |line: &str| {
        let id = line.strip_prefix("| ")?.split(" |").next().filter(|id| is_id(id))?;
        Some(Row { id: id.to_owned(), held_by: line.rsplit('|').nth(1)?.trim().to_owned() })
    };
    page.lines().filter_map(row).collect()
}

fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

const NOT_YET: &str = "*not yet*";

#[test]
fn the_page_has_every_row_of_the_catalogue_once_and_no_other() {
    let catalogue = fs::read_to_string(root().join("docs/catalogue.txt")).unwrap();
    let ids: Vec<_> =
        catalogue.lines().filter_map(|line| line.split(' ').next()).filter(|id| is_id(id)).map(str::to_owned).collect();
    assert!(ids.len() > 300, "{}", ids.len());
    assert_eq!(rows(&page()).into_iter().map(|row| row.id).collect::<Vec<_>>(), ids);
}

#[test]
fn every_test_that_the_page_names_exists() {
    let (tests, page) = (Tests::of(root()), page());
    let held = page.lines().filter(|line| line.starts_with("| ")).filter_map(|line| line.rsplit('|').nth(1));
    let missing: Vec<_> = held.flat_map(named).filter(|name| !tests.exists(name)).collect();
    assert!(missing.is_empty(), "no tests: {missing:?}");
}

#[test]
fn every_row_is_held_by_a_test_that_carries_its_name() {
    let (tests, page) = (Tests::of(root()), page());
    let (mut tables, mut without) = (BTreeMap::<String, (usize, usize)>::new(), Vec::new());
    for Row { id, held_by } in rows(&page) {
        let table = tables.entry(id.split('-').next().unwrap_or_default().to_owned()).or_default();
        table.1 += 1;
        if held_by == NOT_YET {
            continue;
        }
        // A suite stands in a row for a test of its own; a function may hold more than its name tells.
        let suites_carry = named(&held_by).all(|name| !tests.suites.contains_key(name) || tests.carries(name, &id));
        if named(&held_by).any(|name| tests.carries(name, &id)) && suites_carry {
            table.0 += 1;
        } else {
            without.push(format!("{id}: {held_by}"));
        }
    }
    for (table, (held, all)) in &tables {
        #[expect(clippy::print_stdout, reason = "what --nocapture shows")]
        {
            println!("{table} {held}/{all}");
        }
    }
    assert!(without.is_empty(), "no test carries the row's name:\n{}", without.join("\n"));
    let held: usize = tables.values().map(|(held, _)| held).sum();
    let all: usize = tables.values().map(|(_, all)| all).sum();
    assert!(page.contains(&format!("{held} of {all} rows are held")), "{held} of {all}");
}

#[test]
fn a_test_is_known_by_its_attribute_and_named_after_rows() {
    let text = "#[test]\nfn a() {}\n#[tokio::test(flavor = \"x\")]\n#[ignore]\nasync fn b() {}\nfn c() {}\n#[cfg(test)]\nfn d() {}";
    assert_eq!(test_functions(text), ["a", "b"].map(str::to_owned).into());
    let rows = |name: &str| {
        let mut rows: Vec<_> = rows_of_function(name).into_iter().collect();
        rows.sort();
        rows.join(" ")
    };
    assert_eq!(rows("reg_01_02_19_what_is_none"), "REG-01 REG-02 REG-19");
    assert_eq!(rows("reg_03_to_05_uris"), "REG-03 REG-04 REG-05");
    assert_eq!(rows("ui_02_cfg_02_to_03_starts"), "CFG-02 CFG-03 UI-02");
    assert_eq!(rows("a_person_of_2_clients"), "");
    let titles = titled_rows("test(\"CIM-01 CIM-17 a client\", 1); check(`CFG-06 ${x}`, \"a P-256 key, REG-01\")");
    assert_eq!(titles, ["CIM-01", "CIM-17", "CFG-06"].map(str::to_owned).into());
}
