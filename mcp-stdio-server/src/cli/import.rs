//! `import`: shows what it would do, asks, does it, and takes it back.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};
use shared::store::place::platform_folder;
use shared::time::{Clock, SystemClock};

use super::folder;
use super::vault::{place, print};
use crate::import::hosts::{Folders, Place, named, names, places};
use crate::import::rewrite::Us;
use crate::import::{Back, Change, Failed, File, What, carry_out, diff, look, undo};
use crate::vault::{Held, Import, Vault};

/// The command came to nothing because of how it was called.
const USAGE: u8 = 2;

/// Which files, and what is done with them.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only the files of this host; may be repeated
    #[arg(long, value_name = "HOST", value_parser = clap::builder::PossibleValuesParser::new(names()))]
    host: Vec<String>,

    /// Only this file; may be repeated
    #[arg(long, value_name = "PATH")]
    file: Vec<PathBuf>,

    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Do it without asking
    #[arg(long)]
    yes: bool,

    /// Print JSON in place of the difference; does nothing without --yes
    #[arg(long)]
    json: bool,

    /// Put the files back as they were, and their secrets back into them
    #[arg(long, conflicts_with = "host")]
    undo: bool,
}

/// Does it.
pub(super) fn run(arguments: &super::Arguments, wanted: &Arguments) -> ExitCode {
    let done = if wanted.undo { take_back(arguments, wanted) } else { import(arguments, wanted) };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn import(arguments: &super::Arguments, wanted: &Arguments) -> Result<u8, Failed> {
    let places = if wanted.file.is_empty() {
        places(&folders()?, &wanted.host)
    } else {
        wanted.file.iter().map(|file| named(file, &wanted.host)).collect()
    };
    let vault_place = place(arguments);
    let vault = Vault::open(&vault_place)?;
    let files = look(&places, &us(arguments)?, vault.as_ref())?;
    if wanted.json {
        print(&format!("{}\n", pretty(&plan(&files))?));
    } else {
        files.iter().for_each(show);
    }
    let missing: Vec<_> = wanted.file.iter().filter(|file| !file.exists()).collect();
    missing.iter().for_each(|file| say(&format!("{}: there is no such file", file.display())));
    let failed = !missing.is_empty() || files.iter().any(|file| matches!(file.what, What::Failed(_)));
    let changes: Vec<(&Place, &Change)> = files.iter().filter_map(change).collect();
    if changes.is_empty() {
        if !wanted.json && !failed {
            print("There is nothing to do.\n");
        }
        return Ok(u8::from(failed));
    }
    if wanted.dry_run || (wanted.json && !wanted.yes) {
        return Ok(u8::from(failed));
    }
    if !wanted.yes {
        match asked(&format!("Rewrite {}?", counted(changes.len(), "file")))? {
            Some(true) => {}
            Some(false) => {
                print("Nothing was changed.\n");
                return Ok(u8::from(failed));
            }
            None => {
                say("Nothing was changed: there is no terminal to ask at; say --yes, or --dry-run");
                return Ok(USAGE);
            }
        }
    }
    let mut held = Held::lock(&vault_place)?;
    let mut all_done = true;
    for (place, change) in changes {
        match carry_out(&mut held, place, change, SystemClock.now()) {
            Ok(()) if wanted.json => {}
            Ok(()) => print(&format!("{}: done\n", place.path.display())),
            Err(error) => {
                all_done = false;
                say(&format!("{}: {error}", place.path.display()));
            }
        }
    }
    if all_done && !wanted.json {
        print(
            "Restart the hosts. Each server gets its secrets when somebody signs in, at the first call of one of its tools; \
             authz-service must run for that. `import --undo` puts back what nobody changed since.\n",
        );
    }
    Ok(u8::from(failed || !all_done))
}

fn change(file: &File) -> Option<(&Place, &Change)> {
    match &file.what {
        What::Change(change) => Some((&file.place, change)),
        _ => None,
    }
}

/// Where hosts keep their files on this system, for whoever runs this.
fn folders() -> io::Result<Folders> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = variable("HOME").or_else(|| variable("USERPROFILE"));
    let home = home
        .ok_or_else(|| io::Error::other("there is no home folder to look in: set HOME, or name files with --file"))?;
    let dot_config = variable("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
    let settings = if cfg!(windows) {
        variable("APPDATA").unwrap_or_else(|| home.join("AppData").join("Roaming"))
    } else if cfg!(target_os = "macos") {
        home.join("Library").join("Application Support")
    } else {
        dot_config.clone()
    };
    let project = std::env::current_dir().unwrap_or_default();
    Ok(Folders { home, settings, dot_config, project })
}

/// This program as hosts are to start it: they have another folder and another environment.
fn us(arguments: &super::Arguments) -> io::Result<Us> {
    let path = std::env::current_exe()?;
    let text = |path: &Path| {
        let path = std::path::absolute(path)?;
        path.to_str().map(str::to_owned).ok_or_else(|| io::Error::other(format!("{}: not UTF-8", path.display())))
    };
    let mut flags = Vec::new();
    let data = folder(arguments);
    if data != platform_folder() {
        flags.extend(["--data".to_owned(), text(&data)?]);
    }
    if let Some(key) = &arguments.vault_key_file {
        flags.extend(["--vault-key-file".to_owned(), text(key)?]);
    }
    Ok(Us { program: text(&path)?, flags })
}

/// Tells a person what is to become of a file.
fn show(file: &File) {
    let path = file.place.path.display().to_string();
    let notes = match &file.what {
        What::Unsupported => return print(&format!("{path} ({}): YAML is not changed here\n", file.place.title)),
        What::Failed(error) => return say(&format!("{path} ({}): {error}", file.place.title)),
        What::Nothing(notes) => notes,
        What::Change(change) => {
            print(&format!("{path} ({})\n", file.place.title));
            for rewrite in &change.planned.rewrites {
                for one in &rewrite.leaving {
                    print(&format!("  {}: {} \u{2192} vault {}\n", rewrite.name(), one.variable, one.secret));
                }
            }
            if file.place.is_shared {
                print("  This file is a project's: whoever shares it needs this program in the same place.\n");
            }
            print(&diff::unified(&path, &change.before, &change.planned.text, change.syntax));
            &change.planned.notes
        }
    };
    notes.iter().for_each(|note| print(&format!("{path}: {}: {}\n", note.entry, note.words)));
}

/// The same for programs.
fn plan(files: &[File]) -> Value {
    let file = |file: &File| {
        let (status, error, servers, notes) = match &file.what {
            What::Unsupported => ("unsupported", None, Vec::new(), &[][..]),
            What::Failed(error) => ("failed", Some(error.to_string()), Vec::new(), &[][..]),
            What::Nothing(notes) => ("nothing", None, Vec::new(), notes.as_slice()),
            What::Change(change) => ("change", None, servers(change), change.planned.notes.as_slice()),
        };
        let notes: Vec<_> = notes.iter().map(|note| json!({ "server": note.entry, "note": note.words })).collect();
        let mut value = json!({
            "host": file.place.title,
            "file": file.place.path,
            "status": status,
            "servers": servers,
            "notes": notes,
        });
        if let Some(error) = error {
            value["error"] = error.into();
        }
        value
    };
    json!({ "files": files.iter().map(file).collect::<Vec<_>>() })
}

fn servers(change: &Change) -> Vec<Value> {
    let server = |rewrite: &crate::import::rewrite::Rewrite| {
        let secrets = rewrite.leaving.iter().map(|one| json!({ "variable": one.variable, "secret": one.secret }));
        json!({
            "server": rewrite.name(),
            "wrapped_before": rewrite.was_wrapped,
            "secrets": secrets.collect::<Vec<_>>(),
        })
    };
    change.planned.rewrites.iter().map(server).collect()
}

fn take_back(arguments: &super::Arguments, wanted: &Arguments) -> Result<u8, Failed> {
    let place = place(arguments);
    let Some(vault) = Vault::open(&place)? else { return Ok(nothing_to_undo(wanted)) };
    let only: Vec<_> = wanted.file.iter().filter_map(|path| std::path::absolute(path).ok()).collect();
    let imports = vault.imports();
    let meant: Vec<_> = imports.iter().filter(|import| only.is_empty() || only.contains(&import.file)).collect();
    if meant.is_empty() {
        return Ok(nothing_to_undo(wanted));
    }
    if !wanted.json {
        for import in meant.iter().rev() {
            let moved = counted(import.moved.len(), "secret");
            print(&format!("{} ({}): {moved} of {}\n", import.file.display(), import.host, import.at.rfc3339()));
        }
    }
    if wanted.json && (wanted.dry_run || !wanted.yes) {
        print(&format!(
            "{}\n",
            pretty(&json!({ "files": meant.iter().rev().map(|import| kept(import)).collect::<Vec<_>>() }))?
        ));
        return Ok(0);
    }
    if wanted.dry_run {
        return Ok(0);
    }
    if !wanted.yes {
        match asked("Put these secrets back into the files?")? {
            Some(true) => {}
            Some(false) => {
                print("Nothing was changed.\n");
                return Ok(0);
            }
            None => {
                say("Nothing was changed: there is no terminal to ask at; say --yes, or --dry-run");
                return Ok(USAGE);
            }
        }
    }
    let mut held = Held::lock(&place)?;
    let backs = undo(&mut held, &wanted.file);
    if wanted.json {
        print(&format!("{}\n", pretty(&json!({ "files": backs.iter().map(told).collect::<Vec<_>>() }))?));
    } else {
        backs.iter().for_each(tell);
    }
    Ok(u8::from(!backs.iter().all(Back::is_whole)))
}

/// What would be undone, for programs.
fn kept(import: &Import) -> Value {
    let secrets: Vec<_> = import
        .moved
        .iter()
        .map(|one| json!({ "server": one.entry, "variable": one.variable, "secret": one.secret }))
        .collect();
    json!({ "host": import.host, "file": import.file, "at": import.at.rfc3339(), "secrets": secrets })
}

fn nothing_to_undo(wanted: &Arguments) -> u8 {
    print(if wanted.json { "{\n  \"files\": []\n}\n" } else { "There is nothing to undo.\n" });
    0
}

fn tell(back: &Back) {
    let file = back.file.display();
    match &back.what {
        Ok(what) if what.left.is_empty() => print(&format!("{file}: as it was\n")),
        Ok(what) => say(&format!(
            "{file}: {} changed since, and left as {}: {}. The vault keeps what {} had",
            if what.left.len() == 1 { "an entry was" } else { "entries were" },
            if what.left.len() == 1 { "it is" } else { "they are" },
            what.left.join(", "),
            if what.left.len() == 1 { "it" } else { "they" },
        )),
        Err(error) => say(&format!("{file}: {error}")),
    }
}

fn told(back: &Back) -> Value {
    match &back.what {
        Ok(what) => json!({ "host": back.host, "file": back.file, "restored": what.restored, "left": what.left }),
        Err(error) => json!({ "host": back.host, "file": back.file, "error": error.to_string() }),
    }
}

/// Asks at the terminal. `None` when there is none.
fn asked(question: &str) -> io::Result<Option<bool>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    io::stderr().write_all(format!("{question} [y/N] ").as_bytes())?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(Some(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn pretty(value: &Value) -> io::Result<String> {
    serde_json::to_string_pretty(value).map_err(io::Error::from)
}

/// What went wrong goes to standard error.
fn say(words: &str) {
    let _ = io::stderr().write_all(format!("{words}\n").as_bytes());
}
