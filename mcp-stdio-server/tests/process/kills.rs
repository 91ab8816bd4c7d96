//! Whatever the moment at which `import`, `import --undo` or `vault rotate-key` is killed: every secret is in the host's file or
//! in a vault that opens, the file is as it was or as it should become, and the same command goes on.
//!
//! Only where the program was built with the feature `shared/failpoints`: without it no order to end is heard, and nothing is
//! tried.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::vault::{SECRET, run, run_well, text};

/// More operations than any of the commands has.
const MANY: usize = 200;

const BEFORE: &str = "{\r\n\t\"mcpServers\": {\r\n\t\t\"github\": {\r\n\t\t\t\"command\": \"npx\", // runs it\r\n\t\t\t\"env\": { \"GITHUB_TOKEN\": \"ghp_16C7e42F292c6912E7710c838347Ae178B4a\" },\r\n\t\t},\r\n\t},\r\n}\r\n";

struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(home.folder.path().join("real")).unwrap();
        fs::write(home.real(), BEFORE).unwrap();
        fs::set_permissions(home.real(), fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(home.real(), home.file()).unwrap();
        home
    }

    /// What the host reads: a link, as people have who keep such files elsewhere.
    fn file(&self) -> PathBuf {
        self.folder.path().join("mcp.json")
    }

    fn real(&self) -> PathBuf {
        self.folder.path().join("real").join("mcp.json")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn text(&self) -> String {
        assert!(fs::symlink_metadata(self.file()).unwrap().is_symlink());
        assert_eq!(fs::metadata(self.real()).unwrap().permissions().mode() & 0o777, 0o640);
        fs::read_to_string(self.file()).unwrap()
    }

    fn import(&self, words: &[&str], fault: Option<&str>) -> Output {
        let file = self.file();
        let words = [&["import", "--yes", "--file", file.to_str().unwrap()], words].concat();
        ordered(&self.data(), &words, fault)
    }

    fn names(&self) -> String {
        run_well(&self.data(), &["vault", "list"], "")
    }
}

fn ordered(data: &Path, words: &[&str], fault: Option<&str>) -> Output {
    run(data, words, "", |command| {
        if let Some(fault) = fault {
            command.env("MCP_FAULT_AT", fault);
        }
    })
}

/// Kills a command at each of its operations, before it and in the middle, and looks at what is left. How often.
fn at_every_step(command: impl Fn(&str) -> bool) -> usize {
    let mut kills = 0;
    for number in 0..MANY {
        let whole = command(&format!("{number}"));
        let half = command(&format!("{number}:7"));
        if whole && half {
            return kills;
        }
        kills += usize::from(!whole) + usize::from(!half);
    }
    panic!("it never comes to its end");
}

#[track_caller]
fn check_done(output: &Output) -> bool {
    // The abort of a fault is a signal; everything else is an answer.
    let Some(code) = output.status.code() else { return false };
    assert_eq!(code, 0, "{}{}", text(&output.stdout), text(&output.stderr));
    true
}

#[test]
fn n2_import_is_killed_at_each_step_and_loses_neither_file_nor_secret() {
    let kills = at_every_step(|fault| {
        let home = Home::new();
        let done = check_done(&home.import(&[], Some(fault)));
        let rewritten = home.text() != BEFORE;
        assert!(!done || rewritten);
        if rewritten {
            assert!(!home.text().contains(SECRET) && home.names().contains("github/GITHUB_TOKEN"), "{fault}");
        }
        // It goes on where it was, and is undone whole.
        assert!(check_done(&home.import(&[], None)), "{fault}");
        assert!(!home.text().contains(SECRET) && home.names().contains("github/GITHUB_TOKEN"), "{fault}");
        assert!(check_done(&home.import(&["--undo"], None)), "{fault}");
        assert_eq!(home.text(), BEFORE, "{fault}");
        assert!(home.names().contains("empty"), "{fault}: {}", home.names());
        assert_eq!(fs::read_dir(home.folder.path().join("real")).unwrap().count(), 1, "nothing is left beside it");
        done
    });
    tried(kills);
}

#[test]
fn n2_undo_is_killed_at_each_step_and_loses_neither_file_nor_secret() {
    let kills = at_every_step(|fault| {
        let home = Home::new();
        assert!(check_done(&home.import(&[], None)));
        let after = home.text();
        let done = check_done(&home.import(&["--undo"], Some(fault)));
        assert!([BEFORE, &after].contains(&home.text().as_str()), "{fault}");
        assert!(!done || home.text() == BEFORE);
        if home.text() == after {
            assert!(home.names().contains("github/GITHUB_TOKEN"), "{fault}");
        }
        assert!(check_done(&home.import(&["--undo"], None)), "{fault}");
        assert_eq!(home.text(), BEFORE, "{fault}");
        assert!(home.names().contains("empty"), "{fault}");
        done
    });
    tried(kills);
}

#[test]
fn n2_the_key_is_changed_or_not_whenever_the_change_is_killed() {
    let kills = at_every_step(|fault| {
        let home = Home::new();
        assert!(check_done(&home.import(&[], None)));
        let done = check_done(&ordered(&home.data(), &["vault", "rotate-key"], Some(fault)));
        assert!(home.names().contains("github/GITHUB_TOKEN"), "{fault}");
        assert!(check_done(&ordered(&home.data(), &["vault", "rotate-key"], None)), "{fault}");
        assert!(!home.data().join("vault.key.next").exists(), "{fault}");
        assert!(check_done(&home.import(&["--undo"], None)), "{fault}");
        assert_eq!(home.text(), BEFORE, "{fault}");
        done
    });
    tried(kills);
}

/// Each of the commands changes the disk more than ten times, if orders to end are heard at all.
#[track_caller]
fn tried(kills: usize) {
    assert!(kills == 0 || kills > 10, "{kills}");
}
