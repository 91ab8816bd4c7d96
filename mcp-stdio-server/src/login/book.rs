//! `logins.json`: the logins of this machine's programs, beside the store and for its owner only.
//!
//! An entry is written once, before a person is asked; what became of it stands in the store. So whoever finds it can
//! finish it: a server that is started next, one beside this one, or the one that comes after a kill. The tokens in it
//! are good only where the store is, which is why they lie with it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use shared::files;
use shared::id::{ClientId, TokenId};
use shared::oauth::device::UserCode;
use shared::secret::{Secret, TokenHash, random_bytes, random_uuid};
use shared::state::Device;
use shared::time::Timestamp;
use shared::token::{opaque_id, opaque_token};
use shared::uri::{Issuer, Resource};
use zeroize::Zeroizing;

/// What the file calls itself.
const FORMAT: &str = "mcp-authz-logins 1";

/// The file's name, and that of the file on which the lock is.
const FILE: &str = "logins.json";
const LOCK: &str = "logins.lock";

/// A longer file is none of ours.
const LONGEST: u64 = 1 << 20;

/// The most entries that are kept; the oldest make room.
const MOST: usize = 256;

/// Whose login it is: a program's, for a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Key {
    /// The server.
    pub resource: Resource,
    /// The program, as the client that it is to the store.
    pub program: ClientId,
}

/// A login, under way or done.
pub struct Login {
    token: Secret,
    id: TokenId,
    /// What a person compares or types.
    pub user_code: UserCode,
    /// Where they do.
    pub issuer: Issuer,
    /// Since when it waits.
    pub asked: Timestamp,
    /// When a browser was last opened for this program and server.
    pub opened: Option<Timestamp>,
    /// Whether it was opened for this login.
    pub in_browser: bool,
    /// A person said no to the one before, or took it back: no browser comes up by itself.
    pub quiet: bool,
    was_open: AtomicBool,
    was_shown: AtomicBool,
}

impl Login {
    /// Draws a new one; `None` when the random bytes do not suffice for a code.
    pub fn draw(issuer: Issuer, now: Timestamp, opened: Option<Timestamp>, quiet: bool) -> Option<Self> {
        let id = TokenId(random_uuid());
        let user_code = UserCode::draw(&random_bytes::<64>())?;
        let token = opaque_token(id, &random_bytes());
        Some(Self { opened, quiet, ..Self::new(token, id, user_code, issuer, now) })
    }

    fn new(token: Secret, id: TokenId, user_code: UserCode, issuer: Issuer, asked: Timestamp) -> Self {
        let (was_open, was_shown) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { token, id, user_code, issuer, asked, opened: None, in_browser: false, quiet: false, was_open, was_shown }
    }

    /// What calls are judged by when they bring nothing.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// What the store knows token and device by.
    pub fn hash(&self) -> TokenHash {
        self.token.hash()
    }

    /// The token's name.
    pub fn id(&self) -> TokenId {
        self.id
    }

    /// When its code is over.
    pub fn ends(&self) -> Timestamp {
        self.asked + Device::LIFETIME
    }

    /// Whether it opened anything while this process was there.
    pub fn was_open(&self) -> bool {
        self.was_open.load(Ordering::Relaxed)
    }

    /// Notes whether it opens something.
    pub fn note_open(&self, is_open: bool) {
        self.was_open.store(is_open, Ordering::Relaxed);
    }

    /// Whether this process has given its link to somebody.
    pub fn was_shown(&self) -> bool {
        self.was_shown.load(Ordering::Relaxed)
    }

    /// Notes that its link was given to somebody.
    pub fn note_shown(&self) {
        self.was_shown.store(true, Ordering::Relaxed);
    }

    /// Takes over what this process knew of the same login.
    #[must_use]
    pub fn known_as(self, before: &Self) -> Self {
        self.note_open(before.was_open());
        self.was_shown.store(before.was_shown(), Ordering::Relaxed);
        self
    }
}

#[derive(Deserialize, Serialize)]
struct Written {
    format: String,
    logins: Vec<Entry>,
}

#[derive(Deserialize, Serialize)]
struct Entry {
    resource: Resource,
    program: ClientId,
    token: Zeroizing<String>,
    user_code: String,
    issuer: Issuer,
    asked: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    opened: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    in_browser: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    quiet: bool,
}

impl Entry {
    fn new(key: &Key, login: &Login) -> Self {
        Self {
            resource: key.resource.clone(),
            program: key.program.clone(),
            token: Zeroizing::new(login.token.expose().to_owned()),
            user_code: login.user_code.shown(),
            issuer: login.issuer.clone(),
            asked: login.asked,
            opened: login.opened,
            in_browser: login.in_browser,
            quiet: login.quiet,
        }
    }

    fn is_of(&self, key: &Key) -> bool {
        self.resource == key.resource && self.program == key.program
    }

    fn login(&self) -> Option<Login> {
        let (id, user_code) = (opaque_id(&self.token)?, UserCode::typed(&self.user_code)?);
        let login = Login::new(Secret::new(self.token.to_string()), id, user_code, self.issuer.clone(), self.asked);
        Some(Login { opened: self.opened, in_browser: self.in_browser, quiet: self.quiet, ..login })
    }
}

/// Why the file cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The operating system says no.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// It holds something that we did not write. It is not written over.
    #[error("{0} is damaged, or not ours; move it out of the way to log in anew")]
    Damaged(PathBuf),
    /// Others may write to it.
    #[error("{0}: {1}")]
    Unsafe(PathBuf, String),
    /// Somebody else holds the lock.
    #[error("{0} is locked by another process")]
    Locked(PathBuf),
}

/// The file, held by this process alone.
pub struct Book {
    path: PathBuf,
    entries: Vec<Entry>,
    _lock: File,
}

impl Book {
    /// Whether there is a file.
    pub fn is_there(folder: &Path) -> bool {
        folder.join(FILE).exists()
    }

    /// Reads one login, without the lock: the file is only ever replaced whole.
    ///
    /// # Errors
    /// As [`BookError`] says.
    pub fn peek(folder: &Path, key: &Key) -> Result<Option<Login>, BookError> {
        Ok(find(&read(&folder.join(FILE))?, key))
    }

    /// Takes the lock and reads the file. Blocks.
    ///
    /// # Errors
    /// As [`BookError`] says.
    pub fn lock(folder: &Path) -> Result<Self, BookError> {
        let lock = locked(&folder.join(LOCK))?;
        let path = folder.join(FILE);
        let entries = read(&path)?;
        Ok(Self { path, entries, _lock: lock })
    }

    /// The login that is written for `key`.
    pub fn find(&self, key: &Key) -> Option<Login> {
        find(&self.entries, key)
    }

    /// Writes a login in place of the one before, durably.
    ///
    /// # Errors
    /// Those of the operating system; the file is then as it was.
    pub fn write(&mut self, key: &Key, login: &Login) -> Result<(), BookError> {
        self.entries.retain(|entry| !entry.is_of(key));
        self.entries.push(Entry::new(key, login));
        let excess = self.entries.len().saturating_sub(MOST);
        self.entries.drain(..excess);
        let written = Written { format: FORMAT.to_owned(), logins: std::mem::take(&mut self.entries) };
        let text = serde_json::to_vec_pretty(&written).map(Zeroizing::new).map_err(io::Error::other);
        self.entries = written.logins;
        text.and_then(|text| files::replace(&self.path, &text)).map_err(|error| BookError::Io(self.path.clone(), error))
    }
}

fn find(entries: &[Entry], key: &Key) -> Option<Login> {
    entries.iter().rfind(|entry| entry.is_of(key)).and_then(Entry::login)
}

fn read(path: &Path) -> Result<Vec<Entry>, BookError> {
    let io = |error| BookError::Io(path.to_owned(), error);
    let text = match files::read_at_most(path, LONGEST) {
        Ok(Some(text)) => Zeroizing::new(text),
        Ok(None) => return Err(BookError::Damaged(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(error)),
    };
    if let Some(reason) = files::unsafe_because(path).map_err(io)? {
        return Err(BookError::Unsafe(path.to_owned(), reason));
    }
    match serde_json::from_slice::<Written>(&text) {
        Ok(written) if written.format == FORMAT => Ok(written.logins),
        _ => Err(BookError::Damaged(path.to_owned())),
    }
}

fn locked(path: &Path) -> Result<File, BookError> {
    let file = files::lock(path).map_err(|error| BookError::Io(path.to_owned(), error))?;
    file.ok_or_else(|| BookError::Locked(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn key(name: &str) -> Key {
        Key { resource: Resource::stdio(name).unwrap(), program: ClientId::generated(uuid::Uuid::from_u128(1)) }
    }

    fn login() -> Login {
        Login::draw("http://localhost:3000".parse().unwrap(), NOW, None, false).unwrap()
    }

    #[test]
    fn a_login_is_found_by_server_and_program_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second, other) = (login(), login(), login());
        let mut book = Book::lock(folder.path()).unwrap();
        assert!(book.find(&key("a")).is_none());
        book.write(&key("a"), &first).unwrap();
        book.write(&key("b"), &other).unwrap();
        book.write(&key("a"), &second).unwrap();
        drop(book);
        let found = |name: &str| Book::peek(folder.path(), &key(name)).unwrap().map(|login| login.hash());
        assert_eq!((found("a"), found("b"), found("c")), (Some(second.hash()), Some(other.hash()), None));
        let program = ClientId::generated(uuid::Uuid::from_u128(2));
        assert!(Book::peek(folder.path(), &Key { program, ..key("a") }).unwrap().is_none());
        let mut book = Book::lock(folder.path()).unwrap();
        book.entries.extend((0..MOST).map(|n| Entry::new(&key(&format!("n{n}")), &login())));
        book.write(&key("last"), &login()).unwrap();
        assert_eq!(book.entries.len(), MOST, "the oldest make room");
        assert_eq!((found("a"), found("n0"), found("last").is_some()), (None, None, true));
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_its_owners_alone_and_one_that_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        Book::lock(folder.path()).unwrap().write(&key("a"), &login()).unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o620)).unwrap();
        assert!(matches!(Book::peek(folder.path(), &key("a")), Err(BookError::Unsafe(..))));
    }

    #[test]
    fn a_file_that_is_not_ours_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "{", "{}", r#"{"format":"mcp-authz-logins 2","logins":[]}"#, r#"{"format":"x","logins":7}"#] {
            files::replace(&folder.path().join(FILE), text.as_bytes()).unwrap();
            assert!(matches!(Book::lock(folder.path()), Err(BookError::Damaged(_))), "{text}");
            assert_eq!(std::fs::read_to_string(folder.path().join(FILE)).unwrap(), text);
        }
    }
}
