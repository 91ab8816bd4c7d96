//! The program that started this server, as the operating system names it (N6).

use shared::state::Program;
#[cfg(unix)]
use shared::text::Text;

/// Shells and launchers that start servers for somebody else: whoever started them counts.
const LAUNCHERS: [&str; 12] =
    ["sh", "bash", "dash", "zsh", "fish", "ksh", "busybox", "env", "timeout", "nice", "setsid", "stdbuf"];

/// Interpreters: what they run says more than what they are.
#[cfg(target_os = "linux")]
const INTERPRETERS: [&str; 8] = ["node", "bun", "deno", "python", "python3", "ruby", "java", "electron"];

/// At most so many launchers are looked behind.
const DEPTH: usize = 8;

/// The longest text that is kept, in characters.
#[cfg(unix)]
const LONGEST: usize = 512;

/// The program that started this server. Unknown where the system does not say.
pub fn parent() -> Program {
    let mut found = unknown();
    let mut pid = parent_id();
    for _ in 0..DEPTH {
        let Some((program, above)) = pid.and_then(look) else { break };
        let is_launcher = LAUNCHERS.contains(&program.name.as_str());
        found = program;
        if !is_launcher {
            break;
        }
        pid = above;
    }
    found
}

fn unknown() -> Program {
    Program { name: "unknown program".into(), path: None, script: None }
}

/// A text as it is kept: bounded, and without what steers a terminal.
#[cfg(unix)]
fn kept(text: &str) -> Text {
    let kept: String = text.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    kept.as_str().into()
}

#[cfg(target_os = "linux")]
fn is_interpreter(name: &str) -> bool {
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    INTERPRETERS.contains(&name) || INTERPRETERS.contains(&bare)
}

#[cfg(unix)]
fn parent_id() -> Option<u32> {
    Some(std::os::unix::process::parent_id())
}

#[cfg(not(unix))]
fn parent_id() -> Option<u32> {
    None
}

/// A process, and its parent.
#[cfg(target_os = "linux")]
fn look(pid: u32) -> Option<(Program, Option<u32>)> {
    use std::path::Path;

    let folder = Path::new("/proc").join(pid.to_string());
    // Another account's is not shown; its name is, and is a program's own word.
    let path = std::fs::read_link(folder.join("exe")).ok();
    let path = path.map(|path| path.to_string_lossy().trim_end_matches(" (deleted)").to_owned());
    let name = match path.as_deref().and_then(|path| Path::new(path).file_name()) {
        Some(name) => name.to_string_lossy().into_owned(),
        None => std::fs::read_to_string(folder.join("comm")).ok()?.trim_end().to_owned(),
    };
    let script = is_interpreter(&name).then(|| script(&folder)).flatten();
    // The name in parentheses may hold anything; behind the last one come the state and the parent.
    let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
    let above = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
    let program = Program { name: kept(&name), path: path.as_deref().map(kept), script: script.as_deref().map(kept) };
    Some((program, above.filter(|above| *above > 1)))
}

/// The file that an interpreter runs: its first argument that is one. Other arguments may hold secrets.
#[cfg(target_os = "linux")]
fn script(folder: &std::path::Path) -> Option<String> {
    use std::io::Read;

    let mut line = Vec::new();
    std::fs::File::open(folder.join("cmdline")).ok()?.take(64 * 1024).read_to_end(&mut line).ok()?;
    let here = std::fs::read_link(folder.join("cwd")).ok()?;
    let arguments = line.split(|byte| *byte == 0).skip(1).filter_map(|word| std::str::from_utf8(word).ok());
    let first =
        arguments.filter(|word| !word.is_empty() && !word.starts_with('-')).map(|word| here.join(word)).next()?;
    first.is_file().then(|| first.to_string_lossy().into_owned())
}

/// A process, and its parent: asked of `ps`, for there is no file that says it.
#[cfg(all(unix, not(target_os = "linux")))]
fn look(pid: u32) -> Option<(Program, Option<u32>)> {
    let ps = std::process::Command::new("ps").args(["-o", "ppid=,comm=", "-p", &pid.to_string()]).output().ok()?;
    let line = String::from_utf8_lossy(&ps.stdout).trim().to_owned();
    let (above, path) = line.split_once(char::is_whitespace)?;
    let path = path.trim();
    let name = path.rsplit('/').next().unwrap_or(path);
    let path_known = path.starts_with('/').then(|| kept(path));
    let program = Program { name: kept(name), path: path_known, script: None };
    Some((program, above.parse().ok().filter(|above| *above > 1)))
}

#[cfg(not(unix))]
fn look(_pid: u32) -> Option<(Program, Option<u32>)> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn n6_interpreters_are_known_by_name_and_version() {
        for (name, is_one) in [
            ("node", true),
            ("python3.12", true),
            ("python3", true),
            ("node20", true),
            ("claude", false),
            ("nodemon", false),
            ("", false),
        ] {
            assert_eq!(is_interpreter(name), is_one, "{name}");
        }
    }

    #[test]
    fn a_name_is_bounded_and_steers_nothing() {
        assert_eq!(kept("a\u{1b}[31mb\n").as_str(), "a[31mb");
        assert_eq!(kept(&"x".repeat(10_000)).len(), LONGEST);
    }

    /// The tests' parent is cargo, or a shell behind which something is.
    #[test]
    fn n6_the_parent_is_found_and_no_shell() {
        let program = parent();
        assert!(!LAUNCHERS.contains(&program.name.as_str()), "{program:?}");
        assert!(program.path.is_some_and(|path| path.starts_with('/')));
    }
}
