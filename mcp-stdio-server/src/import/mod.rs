//! Secrets leave the files of hosts for the vault, and the servers there are started by `wrap`: `import`.
//!
//! [`hosts`] knows the files, [`jsonc`] and [`tables`] read them with the place of every value, [`suspect`] tells secrets,
//! [`rewrite`] plans, [`diff`] shows, [`mod@undo`] is the way back; all of that is pure. Here is what touches the disk. The order
//! can be broken off anywhere: first the vault has secrets and the way back, in one step and durably; then the file is replaced.

pub mod diff;
pub mod document;
pub mod edit;
pub mod hosts;
pub mod jsonc;
pub mod node;
pub mod rewrite;
pub mod servers;
pub mod suspect;
pub mod tables;
pub mod undo;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use shared::files;
use shared::secret::{Secret, TokenHash};
use shared::time::Timestamp;

use self::document::{Document, Syntax};
use self::hosts::{Format, Place};
use self::node::Bad;
use self::rewrite::{Names, Note, Planned, Us, plan};
use self::undo::{Standing, Undo};
use crate::vault::{Held, Import, Moved, Origin, SecretName, Vault, VaultError};

/// A longer file is none that a host keeps its servers in.
const LONGEST: u64 = 64 << 20;

/// Why nothing becomes of a file. It was not changed.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The operating system says no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not what it should be.
    #[error("it cannot be read: {0}")]
    Bad(#[from] Bad),
    /// It is not UTF-8.
    #[error("it is not UTF-8 from byte {0} on")]
    NotUtf8(usize),
    /// It is very long.
    #[error("it is longer than 64 MiB")]
    TooLong,
    /// Its host wrote to it meanwhile.
    #[error("it was changed while it was being read; run the command again, with the host closed")]
    ChangedMeanwhile,
    /// It is not there, so that nothing can be put back.
    #[error("it is not there; the vault keeps its secrets")]
    Gone,
    /// The vault cannot be used.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// What undoes the import is not what we wrote.
    #[error("what the vault keeps of this import cannot be read")]
    NoWayBack,
}

/// What is to become of one file.
#[derive(Debug)]
pub struct File {
    /// Which.
    pub place: Place,
    /// What.
    pub what: What,
}

/// What is to become of a file.
#[derive(Debug)]
pub enum What {
    /// It is in a format that is not changed here.
    Unsupported,
    /// It cannot be read.
    Failed(Failed),
    /// Nothing.
    Nothing(Vec<Note>),
    /// It is rewritten.
    Change(Box<Change>),
}

/// A file that is to be rewritten.
#[derive(Debug)]
pub struct Change {
    /// Its text.
    pub before: String,
    /// How it is written.
    pub syntax: Syntax,
    /// What becomes of it.
    pub planned: Planned,
}

/// Looks at files, and says what is to become of each that is there.
///
/// # Errors
/// When the vault cannot be used.
pub fn look(places: &[Place], us: &Us, vault: Option<&Vault>) -> Result<Vec<File>, VaultError> {
    let mut naming = Naming { vault, given: BTreeMap::new(), failed: None };
    let mut names = Names::default();
    let there: Vec<Place> = places.iter().flat_map(spread).filter(|place| place.path.exists()).collect();
    there.iter().for_each(|place| learn(place, us, &mut names));
    let mut files = Vec::new();
    for place in there {
        let what = match place.format {
            Format::Yaml => What::Unsupported,
            Format::Written(syntax) => match look_at(&place, syntax, us, &mut names, &mut naming) {
                Ok(what) => what,
                Err(failed) => What::Failed(failed),
            },
        };
        files.push(File { place, what });
    }
    match naming.failed {
        Some(error) => Err(error),
        None => Ok(files),
    }
}

/// Notes the names of servers that were wrapped before, in all files: nobody else gets one of them, for one name is one grant.
/// What cannot be read is said when the file is looked at.
fn learn(place: &Place, us: &Us, names: &mut Names) {
    let Format::Written(syntax) = place.format else { return };
    let Ok(text) = read(&place.path) else { return };
    if let Ok(document) = Document::parse(&text, syntax) {
        rewrite::learn(&document, place.shape, us, names);
    }
}

/// The files that a name with a `*` stands for.
fn spread(place: &Place) -> Vec<Place> {
    let name = place.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(end) = name.strip_prefix('*') else { return vec![place.clone()] };
    let folder = place.path.parent().map(std::fs::read_dir).and_then(Result::ok);
    let entries = folder.into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    paths.sort();
    paths.into_iter().map(|path| Place { path, ..place.clone() }).collect()
}

fn look_at(place: &Place, syntax: Syntax, us: &Us, names: &mut Names, naming: &mut Naming<'_>) -> Result<What, Failed> {
    let before = read(&place.path)?;
    let document = Document::parse(&before, syntax)?;
    let planned =
        plan(&document, place.shape, us, names, &mut |server, variable, value| naming.name(server, variable, value));
    if planned.rewrites.is_empty() {
        return Ok(What::Nothing(planned.notes));
    }
    Ok(What::Change(Box::new(Change { before, syntax, planned })))
}

fn read(path: &Path) -> Result<String, Failed> {
    let bytes = files::read_at_most(path, LONGEST)?.ok_or(Failed::TooLong)?;
    String::from_utf8(bytes).map_err(|error| Failed::NotUtf8(error.utf8_error().valid_up_to()))
}

/// Gives secrets their names: one value of one variable of one server is one secret, in however many files it stands.
struct Naming<'a> {
    vault: Option<&'a Vault>,
    given: BTreeMap<SecretName, Secret>,
    failed: Option<VaultError>,
}

impl Naming<'_> {
    fn name(&mut self, server: &str, variable: &str, value: &str) -> SecretName {
        let wanted = TokenHash::of(value.as_bytes());
        for twin in 1.. {
            let name = SecretName::of_variable(server, variable, twin);
            let there = match self.given.get(&name) {
                Some(given) => Some(given.hash() == wanted),
                None => self.in_vault(&name).map(|there| there.hash() == wanted),
            };
            if there == Some(false) {
                continue;
            }
            self.given.insert(name.clone(), Secret::new(value.to_owned()));
            return name;
        }
        SecretName::of_variable(server, variable, 0)
    }

    fn in_vault(&mut self, name: &SecretName) -> Option<Secret> {
        match self.vault?.get(name) {
            Ok(found) => found,
            Err(error) => {
                self.failed.get_or_insert(error);
                None
            }
        }
    }
}

/// Carries a change out: the vault first, then the file.
///
/// # Errors
/// Why not; the file is then as it was, and the vault knows more than it needs to.
pub fn carry_out(vault: &mut Held, place: &Place, change: &Change, now: Timestamp) -> Result<(), Failed> {
    let path = std::path::absolute(&place.path)?;
    forget_unused(vault, &path, change.before.as_bytes())?;
    let mut moved = Vec::new();
    for rewrite in &change.planned.rewrites {
        for one in &rewrite.leaving {
            match vault.get(&one.secret)? {
                None => vault.set(&one.secret, &one.value, Origin::Import, now)?,
                Some(there) if there.hash() == one.value.hash() => {}
                // Somebody took the name since it was given.
                Some(_) => return Err(Failed::ChangedMeanwhile),
            }
            let (entry, variable) = (rewrite.name().to_owned(), one.variable.clone());
            moved.push(Moved { entry, variable, secret: one.secret.clone() });
        }
    }
    let version = |name: &SecretName| version(vault, name);
    let undo = Undo::of(&change.before, change.syntax, &change.planned, &version);
    let undoing = undo.written().map_err(|_| Failed::NoWayBack)?;
    vault.note_import(place.title, &path, moved, &undoing, now)?;
    vault.save()?;
    replace(&path, &change.before, &change.planned.text)
}

/// Forgets earlier imports of a file that came to nothing: the file is as it was before them.
fn forget_unused(vault: &mut Held, path: &Path, text: &[u8]) -> Result<(), Failed> {
    let mut unused = Vec::new();
    for import in vault.imports().into_iter().filter(|import| import.file == path) {
        let undo = way_back(vault, import)?;
        if undo.standing(text) == Standing::Before {
            unused.push(import.number);
        }
    }
    // Its secrets stay: they are written again, or were there before.
    unused.into_iter().for_each(|number| vault.drop_import(number));
    Ok(())
}

fn version(vault: &Vault, name: &SecretName) -> u64 {
    vault.list().iter().find(|listed| listed.name == name).map_or(0, |listed| listed.version)
}

fn way_back(vault: &Vault, import: &Import) -> Result<Undo, Failed> {
    Undo::parse(&vault.undoing(import)?).map_err(|_| Failed::NoWayBack)
}

fn replace(path: &Path, before: &str, after: &str) -> Result<(), Failed> {
    let is_as_read = |there: &[u8]| there == before.as_bytes();
    match files::replace_theirs(path, after.as_bytes(), is_as_read)? {
        true => Ok(()),
        false => Err(Failed::ChangedMeanwhile),
    }
}

/// What came of undoing an import.
#[derive(Debug)]
pub struct Back {
    /// The host.
    pub host: String,
    /// The file.
    pub file: PathBuf,
    /// What was restored, and what was left.
    pub what: Result<Restored, Failed>,
}

/// The entries of a file.
#[derive(Debug, Default)]
pub struct Restored {
    /// As before.
    pub restored: Vec<String>,
    /// Changed by somebody since, and left as they are. The vault keeps their secrets.
    pub left: Vec<String>,
}

/// Undoes imports, the latest first: the file first, then the vault. Those of all files, or of these.
pub fn undo(vault: &mut Held, only: &[PathBuf]) -> Vec<Back> {
    let wanted: Vec<_> = only.iter().filter_map(|path| std::path::absolute(path).ok()).collect();
    let is_meant = |import: &&Import| wanted.is_empty() || wanted.contains(&import.file);
    let mut imports: Vec<Import> = vault.imports().into_iter().filter(is_meant).cloned().collect();
    imports.reverse();
    let mut backs: Vec<Back> = Vec::new();
    for import in imports {
        // What came before one that cannot be undone waits for it.
        if backs.iter().any(|back| back.file == import.file && !back.is_whole()) {
            continue;
        }
        let what = undo_one(vault, &import);
        backs.push(Back { host: import.host, file: import.file, what });
    }
    backs
}

impl Back {
    /// Whether everything is as before.
    pub fn is_whole(&self) -> bool {
        self.what.as_ref().is_ok_and(|what| what.left.is_empty())
    }
}

fn undo_one(vault: &mut Held, import: &Import) -> Result<Restored, Failed> {
    let undo = way_back(vault, import)?;
    let mut restored = Restored::default();
    let text = match read(&import.file) {
        // It may be on a disk that is not there now; its secrets are nowhere else.
        Err(Failed::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Err(Failed::Gone),
        read => read?,
    };
    if undo.standing(text.as_bytes()) != Standing::Before {
        let current = |name: &SecretName, was: u64| {
            let is_other = version(vault, name) > was;
            vault.get(name).ok().flatten().filter(|_| is_other)
        };
        let undone = undo.apply(&text, &current)?;
        if undone.text != text {
            replace(&import.file, &text, &undone.text)?;
        }
        restored = Restored { restored: undone.restored, left: undone.left };
    }
    files::remove_leftover(&import.file);
    if restored.left.is_empty() {
        vault.forget_import(import.number);
        vault.save()?;
    }
    Ok(restored)
}

#[cfg(test)]
mod tests;
