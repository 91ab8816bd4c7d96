//! The file-backed JSON store: an append-only journal that several processes write and follow.
//!
//! A folder (0700) with `store.lock`, `compact.lock`, `journal.<generation>.jsonl` and `keys.json` (0600 each). A commit is one
//! line, durable before it is acknowledged; commits that wait at the same time share one sync. Readers take no lock:
//! they keep their place and read on, at every question, so that no answer is older than the question.

mod append;
mod audit;
mod commit;
mod compact;
mod follow;
mod foreign;
pub mod inspect;
mod keyfile;
pub(super) mod line;
pub(super) mod lock;
mod recover;
pub mod repair;
mod snapshot;
mod tail;
pub mod transfer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub use self::audit::{Audited, History, Verified, audit};
use self::commit::Committer;
use self::lock::StoreLock;
use self::tail::{Progress, Tail};
use super::{Answer, CommitError, Figures, Store, StoreError};
use crate::files;
use crate::id::KeyId;
use crate::state::{Change, ClientCare, Facts, PublicKey, State, Wanted};
use crate::time::{Clock, Seconds, Timestamp};
use crate::token::{ArgumentsKey, KeySet};

/// How often a question makes sure that the journal was not moved away: one more system call.
const LOOK: Duration = Duration::from_secs(1);

/// How long after its last signature a key may still be needed: the longest life that an access token can be given, and
/// five minutes for clocks that differ.
pub const LONGEST_TOKEN: Seconds = Seconds(24 * 3600 + 300);

/// A store in a folder.
pub struct JournalStore {
    core: Arc<Core>,
    committer: Option<Committer>,
    /// Tells a repair that the store is in use.
    _user: Option<lock::Locked>,
}

/// What the threads of one process share.
struct Core {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    state: RwLock<State>,
    /// Where we are; `None` before the first load, and when the journal was lost.
    tail: Mutex<Option<Tail>>,
    /// While our committer waits for the disk: nobody else can commit then, so the state is as new as can be.
    committing: AtomicBool,
    /// Whether a first load is under way, which on a large store takes a while.
    loading: AtomicBool,
    /// The store and the commit that we have seen: an older copy put back in its place is noticed.
    seen: Mutex<Option<(uuid::Uuid, u64)>>,
    /// When it was last looked whether the journal is still in its place.
    looked: Mutex<Instant>,
    /// Whether the log knows on what kind of file system the store is.
    told: AtomicBool,
    /// Whether the log knows that the clock is behind the last commit.
    behind: AtomicBool,
    /// Whether this process compacts at the moment.
    compacting: AtomicBool,
    /// What was done, for graphs.
    done: Done,
    changed: watch::Sender<u64>,
    /// Which clients are forgotten.
    client_care: Mutex<ClientCare>,
    writes: bool,
}

/// What this process's writer has done.
#[derive(Default)]
struct Done {
    batches: AtomicU64,
    commits: AtomicU64,
    /// In microseconds.
    waited: AtomicU64,
}

impl JournalStore {
    /// Opens a store for reading and writing; makes it when there is none.
    ///
    /// # Errors
    /// When the folder is unsafe, or its contents are damaged.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        files::create_private_folder(folder).map_err(io_error("create", folder))?;
        checked_folder(folder)?;
        let user = lock::user(folder)?;
        let core = Arc::new(Core::new(folder, clock, true));
        let lock = StoreLock::open(folder)?;
        {
            let mut tail = core.tail();
            // A large store takes a while, and nobody need wait for it: only what comes meanwhile is read under the lock,
            // which also judges anew what could not be read without it.
            let _ = core.reload(&mut tail);
            let _held = lock.exclusive()?;
            let is_absent = |error| matches!(error, StoreError::Absent(_));
            if tail.is_none() && core.reload(&mut tail).is_err_and(is_absent) {
                tail::check_nothing_left(folder)?;
                Tail::create(folder)?;
            }
            core.catch_up_locked(&mut tail)?;
            if let Some(_alone) = lock::try_alone(folder)? {
                snapshot::clean(folder, tail.as_ref().map_or(0, Tail::generation));
            }
            make_private(folder);
        }
        let committer = Some(Committer::start(Arc::clone(&core), lock));
        Ok(Self { core, committer, _user: user })
    }

    /// Follows a store that others write. Never creates anything; until there is a store, [`Store::load`] answers
    /// [`StoreError::Absent`], and while a large one is first read [`StoreError::Loading`]. Returns at once.
    pub fn follow(folder: &Path, clock: Arc<dyn Clock>) -> Self {
        let core = Arc::new(Core::new(folder, clock, false));
        core.loading.store(true, Ordering::Release);
        follow::start(&core);
        Self { core, committer: None, _user: None }
    }

    /// The store's private keys, made and published when there are none. For the service only. Blocks: not to be
    /// called on an async worker.
    ///
    /// # Errors
    /// When `keys.json` cannot be read or made, or the public key cannot be published.
    pub fn keys(&self) -> Result<KeySet, StoreError> {
        let keys = keyfile::load_or_create(&self.core.folder, self.core.clock.now())?;
        self.publish(&keys)?;
        Ok(keys)
    }

    /// The private keys as the folder has them now: another process may have rotated them. Changes nothing.
    ///
    /// # Errors
    /// When `keys.json` cannot be read.
    pub fn read_keys(&self) -> Result<Option<KeySet>, StoreError> {
        keyfile::read(&self.core.folder)
    }

    /// Adds a signing key, which is published now and signs after `ahead`; the ones before it are retired when
    /// nothing that they signed can be valid any more. With `age`, only when the newest key is as old as that: of several
    /// services that look at the same time, one does it. Blocks. The keys, and whether there is a new one.
    ///
    /// # Errors
    /// When `keys.json` cannot be written, or the key cannot be published.
    pub fn rotate_keys(&self, ahead: Seconds, age: Option<Seconds>) -> Result<(KeySet, bool), StoreError> {
        let (keys, is_new) = keyfile::rotate(&self.core.folder, self.core.clock.now(), ahead, age)?;
        self.publish(&keys)?;
        Ok((keys, is_new))
    }

    /// Makes the store's public keys what the private ones are: each is there, and those before another one are
    /// retired. What a crash between file and store left undone is done here.
    fn publish(&self, keys: &KeySet) -> Result<(), StoreError> {
        let mut known = Vec::new();
        self.read(&mut |state| known = state.keys())?;
        let signing = keys.signing();
        let missing = |key: &PublicKey| !known.iter().any(|one| one.id == key.id);
        let mut changes: Vec<_> = keys.all_public().into_iter().filter(missing).map(Change::KeyPublished).collect();
        let mut retire = |id: &KeyId, last: Timestamp| {
            if !known.iter().any(|key| key.id == *id && key.retires.is_some()) {
                changes.push(Change::KeyRetired { id: id.clone(), retires: last + LONGEST_TOKEN });
            }
        };
        for pair in signing.windows(2) {
            retire(&pair[0].kid, pair[1].signs_from);
        }
        // Older keys that are in the file no more sign no more. A newer one is a rotation that we have not read yet.
        let newest = signing.last().map_or(Timestamp(0), |key| key.created);
        let is_gone = |key: &&PublicKey| key.published < newest && !signing.iter().any(|one| one.kid == key.id);
        for key in known.iter().filter(is_gone) {
            retire(&key.id, self.core.clock.now());
        }
        if changes.is_empty() {
            return Ok(());
        }
        match self.commit_blocking(changes) {
            // A service beside us has done it.
            Ok(()) | Err(CommitError::Conflict(_)) => Ok(()),
            Err(CommitError::Unavailable(error)) => Err(error),
        }
    }

    /// Says which clients this process forgets. Of several that write one store, the strictest has its way.
    pub fn care_for_clients(&self, care: ClientCare) {
        *self.core.client_care.lock().unwrap_or_else(PoisonError::into_inner) = care;
    }

    /// Commits from a thread that may block, such as a command's.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn commit_blocking(&self, changes: Vec<Change>) -> Result<(), CommitError> {
        self.committer
            .as_ref()
            .ok_or_else(|| self.read_only())?
            .submit(changes)
            .blocking_recv()
            .unwrap_or_else(|_| Err(stopped().into()))
    }

    /// Commits one thing from a process that follows. Blocks: at most 5 seconds for the lock, then for the disk.
    ///
    /// # Errors
    /// As [`Store::commit`]; and while there is no store, or it is still loading.
    pub fn commit_once(&self, changes: Vec<Change>) -> Result<(), CommitError> {
        self.core.refresh()?;
        let lock = StoreLock::open(&self.core.folder)?;
        commit::once(&self.core, &lock, changes)
    }

    /// Writes the live records into a new generation and removes the old one. It happens by itself when the journal
    /// has grown; commits go on meanwhile. `Ok(false)` when another process was at it.
    ///
    /// # Errors
    /// When a file cannot be written; the old generation is then still in force.
    pub fn compact(&self) -> Result<bool, StoreError> {
        self.core.compact()
    }

    /// Leaves the files as short as they can be. For a process that is about to end; dropping the store does it too.
    pub fn tidy(&self) {
        if let Ok(lock) = StoreLock::open(&self.core.folder) {
            self.core.tidy(&lock);
        }
    }

    fn read_only(&self) -> StoreError {
        StoreError::Unsafe { path: self.core.folder.clone(), reason: "it was opened for reading only".to_owned() }
    }
}

/// The key for hashes of arguments; `None` when the store in `folder` has no keys that we can read. The private keys are
/// not kept.
pub fn read_arguments_key(folder: &Path) -> Option<ArgumentsKey> {
    Some(keyfile::read(folder).ok()??.arguments_key())
}

impl Store for JournalStore {
    fn load<'a>(&'a self, wanted: &'a Wanted) -> Answer<'a, Result<Facts, StoreError>> {
        let facts = self.core.refresh().map(|()| self.core.state().facts(wanted));
        Box::pin(std::future::ready(facts))
    }

    fn commit(&self, changes: Vec<Change>) -> Answer<'_, Result<(), CommitError>> {
        let Some(committer) = &self.committer else {
            return Box::pin(std::future::ready(Err(self.read_only().into())));
        };
        let answer = committer.submit(changes);
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(stopped().into())) })
    }

    fn commit_once(&self, changes: Vec<Change>) -> Result<(), CommitError> {
        if self.committer.is_some() { self.commit_blocking(changes) } else { Self::commit_once(self, changes) }
    }

    fn read(&self, reader: &mut dyn FnMut(&State)) -> Result<(), StoreError> {
        self.core.refresh()?;
        reader(&self.core.state());
        Ok(())
    }

    fn figures(&self) -> Figures {
        let done = &self.core.done;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let files = std::fs::read_dir(&self.core.folder).into_iter().flatten().flatten();
        Figures {
            batches: count(&done.batches),
            commits: count(&done.commits),
            lock_wait: Duration::from_micros(count(&done.waited)),
            bytes: files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum(),
        }
    }

    fn writable(&self) -> Result<(), StoreError> {
        let folder = &self.core.folder;
        files::check_writable(folder).map_err(io_error("write to", folder))
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.core.changed.subscribe()
    }
}

impl Core {
    fn new(folder: &Path, clock: Arc<dyn Clock>, writes: bool) -> Self {
        Self {
            folder: folder.to_owned(),
            clock,
            state: RwLock::default(),
            tail: Mutex::default(),
            committing: AtomicBool::new(false),
            loading: AtomicBool::new(false),
            seen: Mutex::default(),
            looked: Mutex::new(Instant::now()),
            told: AtomicBool::new(false),
            behind: AtomicBool::new(false),
            compacting: AtomicBool::new(false),
            done: Done::default(),
            changed: watch::Sender::new(0),
            client_care: Mutex::default(),
            writes,
        }
    }

    fn state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn tail(&self) -> MutexGuard<'_, Option<Tail>> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the state up to every commit that was acknowledged before the call: two system calls when nothing came.
    fn refresh(&self) -> Result<(), StoreError> {
        self.refresh_from(match self.tail.try_lock() {
            // Our thread is about to read it for the first time: whoever asks is not to do that in its place.
            Ok(tail) if tail.is_none() && self.loading.load(Ordering::Acquire) => return Err(StoreError::Loading),
            Ok(tail) => tail,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Our committer holds the store's lock and has read what others committed; its own batch is not
            // acknowledged yet.
            Err(TryLockError::WouldBlock) if self.committing.load(Ordering::Acquire) => return Ok(()),
            Err(TryLockError::WouldBlock) if self.loading.load(Ordering::Acquire) => return Err(StoreError::Loading),
            Err(TryLockError::WouldBlock) => self.tail(),
        })
    }

    fn refresh_from(&self, mut tail: MutexGuard<'_, Option<Tail>>) -> Result<(), StoreError> {
        match &*tail {
            Some(current) if current.is_current(!self.writes) && !self.was_moved(current, LOOK) => Ok(()),
            Some(current) if current.is_current(!self.writes) => {
                *tail = None;
                self.catch_up(&mut tail)
            }
            _ => self.catch_up(&mut tail),
        }
    }

    /// Whether the journal that we are at the end of is no longer the one in the folder. Looks at most every `pause`.
    fn was_moved(&self, tail: &Tail, pause: Duration) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.elapsed() < pause {
            return false;
        }
        *looked = Instant::now();
        !tail.is_in_place()
    }

    /// Reads on without the store's lock; where that finds damage, a writer may be at work, so it looks again under
    /// the lock before it says so.
    fn catch_up(&self, tail: &mut Option<Tail>) -> Result<(), StoreError> {
        // A process that also writes leaves damage to its committer: to wait here for the lock that the committer
        // holds, with what the committer waits for in hand, would be a deadlock.
        if self.writes {
            return self.read_on(tail).map(drop);
        }
        match self.read_to_blanks(tail) {
            Err(StoreError::Damaged { .. } | StoreError::Io { .. }) => {
                let lock = StoreLock::open(&self.folder)?;
                let _held = lock.shared()?;
                self.read_to_blanks(tail)
            }
            done => done,
        }
    }

    /// Reads on as a follower, and looks that what stands behind the last commit is none of anybody's (WAT-06).
    fn read_to_blanks(&self, tail: &mut Option<Tail>) -> Result<(), StoreError> {
        let end = self.read_on(tail)?;
        match tail.as_mut().filter(|_| end == Progress::Read { torn: false }) {
            Some(place) => place.is_followed_by_blanks().map(drop),
            None => Ok(()),
        }
    }

    /// Reads on as the holder of the store's exclusive lock, and cuts off what a crashed writer left unfinished.
    fn catch_up_locked(&self, tail: &mut Option<Tail>) -> Result<(), StoreError> {
        let mut end = self.read_on(tail)?;
        if tail.as_ref().is_some_and(|tail| self.was_moved(tail, Duration::ZERO)) {
            *tail = None;
            end = self.read_on(tail)?;
        }
        let Some(place) = tail.as_mut() else { return Ok(()) };
        match end {
            Progress::Read { torn: false } if place.is_followed_by_blanks()? => Ok(()),
            // Nobody else is at work now: a seal without a successor is what a crash left.
            _ => place.repair(),
        }
    }

    /// Removes the blanks that nobody needs now. A writer that is at work keeps its own.
    fn tidy(&self, lock: &StoreLock) {
        let Some(_held) = lock.try_exclusive() else { return };
        let mut tail = self.tail();
        if let Some(tail) = tail.as_mut().filter(|tail| tail.is_current(false) && tail.is_in_place()) {
            tail.trim();
        }
    }

    /// Reads on to the end, through every generation. What it could not trust it forgets: the next try loads anew.
    fn read_on(&self, tail: &mut Option<Tail>) -> Result<Progress, StoreError> {
        loop {
            let Some(current) = tail else {
                self.reload(tail)?;
                continue;
            };
            let before = current.position();
            let end = current.catch_up(&mut self.state_mut());
            self.moved(tail.as_ref(), before);
            match end {
                Ok(Progress::Sealed(next)) => match self.go_on_in(next, tail) {
                    Ok(true) => {}
                    // Sealed, and the next one is not there: it is about to come, or it came and went while we slept.
                    Ok(false) if self.is_newest(tail.as_ref())? => return Ok(Progress::Sealed(next)),
                    Ok(false) => *tail = None,
                    Err(_) => *tail = None,
                },
                Ok(Progress::Lost) => *tail = None,
                Ok(end) => return Ok(end),
                Err(error) => {
                    *tail = None;
                    return Err(error);
                }
            }
        }
    }

    fn is_newest(&self, tail: Option<&Tail>) -> Result<bool, StoreError> {
        Ok(tail::newest_generation(&self.folder)? == tail.map(Tail::generation))
    }

    /// Goes on in the next generation's journal; false when it is not there yet.
    fn go_on_in(&self, next: u64, tail: &mut Option<Tail>) -> Result<bool, StoreError> {
        let Some(at) = tail.as_ref() else { return Ok(false) };
        let Some(resumed) = Tail::resume(&self.folder, next, at, self.writes)? else { return Ok(false) };
        *tail = Some(resumed);
        Ok(true)
    }

    /// Reads the whole store anew. On an error the state is as it was, and the next question tries again.
    fn reload(&self, tail: &mut Option<Tail>) -> Result<(), StoreError> {
        *tail = None;
        let absent = || StoreError::Absent(self.folder.clone());
        if !self.folder.is_dir() {
            return Err(absent());
        }
        checked_folder(&self.folder)?;
        let loaded = Tail::load(&self.folder, self.writes);
        // Whoever was told "loading" waits for this.
        self.loaded();
        let (loaded, state) = loaded?.ok_or_else(absent)?;
        self.check_not_older(&loaded)?;
        if !self.told.swap(true, Ordering::AcqRel) {
            warn_of_network(&self.folder);
        }
        *self.state_mut() = state;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(loaded.position());
        *tail = Some(loaded);
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    fn loaded(&self) {
        if self.loading.swap(false, Ordering::AcqRel) {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    /// Contract C12: a step back is noticed. A process that has seen commit 100 refuses a copy that ends at 90.
    fn check_not_older(&self, loaded: &Tail) -> Result<(), StoreError> {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match (seen, loaded.position()) {
            (Some((store, seq)), (found, at)) if store == found && at < seq => Err(StoreError::Unsafe {
                path: self.folder.clone(),
                reason: format!(
                    "an older copy was put back: it ends at commit {at}, and commit {seq} was seen. Start anew to use it"
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Remembers where we are and wakes those who wait, if that is further than `before`.
    fn moved(&self, tail: Option<&Tail>, before: (uuid::Uuid, u64)) {
        let Some(position) = tail.map(Tail::position).filter(|position| *position != before) else { return };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(position);
        self.changed.send_modify(|count| *count += 1);
    }
}

fn stopped() -> StoreError {
    StoreError::Io { what: "write", path: PathBuf::new(), reason: "the store was closed".to_owned() }
}

/// Turns an error of the operating system into ours.
pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |error| StoreError::Io { what, path: path.to_owned(), reason: error.to_string() }
}

/// Locks and syncs mean less on a network file system: it works, but not all of docs/STORE.md is promised there.
fn warn_of_network(folder: &Path) {
    if let Ok(Some(kind)) = files::network_file_system(folder) {
        let path = folder.display();
        tracing::warn!(%path, kind, "the store is on a network file system, where locks and syncs may not hold; use a local disk");
    }
}

/// Refuses a folder that is not ours alone to write.
pub(super) fn checked_folder(folder: &Path) -> Result<(), StoreError> {
    let path = folder.to_owned();
    match files::unsafe_because(folder).map_err(io_error("look at", folder))? {
        Some(reason) => Err(StoreError::Unsafe { path, reason }),
        None => Ok(()),
    }
}

/// Takes away what others may read. What they may write was refused before.
fn make_private(folder: &Path) {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in std::iter::once(folder.to_owned()).chain(files) {
        match if path == folder || is_ours(&path) { files::make_private(&path) } else { Ok(false) } {
            Ok(false) => {}
            Ok(true) => tracing::warn!(path = %path.display(), "others could read it; now only its owner can"),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "others can read it, and that cannot be changed")
            }
        }
    }
}

/// Whether a file in the folder is the store's.
fn is_ours(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["json", "jsonl", "lock"].iter().any(|known| extension == *known))
}

/// Refuses a file that is none (opening a FIFO would hang), or that others may write. One that is not there is fine.
pub(super) fn checked_file(path: &Path) -> Result<(), StoreError> {
    let unsafe_file = |reason: String| StoreError::Unsafe { path: path.to_owned(), reason };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error("look at", path)(error)),
        Ok(metadata) if !metadata.is_file() => Err(unsafe_file("it is not a file; move it out of the way".to_owned())),
        Ok(_) => match files::unsafe_because(path).map_err(io_error("look at", path))? {
            Some(reason) => Err(unsafe_file(reason)),
            None => Ok(()),
        },
    }
}
