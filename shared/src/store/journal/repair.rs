//! Keeping the readable part of a damaged journal. Only on an operator's word: what is given up was acknowledged.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::inspect::{self, Watch};
use super::lock::{self, StoreLock};
use super::tail::{MAX_LINE, Tail, journal_path};
use super::{checked_folder, io_error, line};
use crate::files::disk;
use crate::state::{Change, RevocationCause, State, UserStage};
use crate::store::StoreError;
use crate::time::{Clock, Timestamp};

/// What the names of files begin with that a repair has set aside. Nothing ever removes them.
pub(super) const ASIDE: &str = "damaged.";

/// How many changes share a commit: its line stays far below what a line may have.
const CHANGES: usize = 5000;

/// Why a store was not repaired. It is then as it was.
#[derive(Debug, thiserror::Error)]
pub enum NotRepaired {
    /// There is nothing to do.
    #[error("nothing is damaged; there is nothing to repair")]
    Well,
    /// Nothing is left to go on from.
    #[error(
        "{0}. What comes before it is not enough to go on from: restore a backup with `authz-service store import`"
    )]
    Hopeless(StoreError),
    /// Something is in the way.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a repair has done, or would do.
#[derive(Debug, Serialize)]
pub struct Repaired {
    /// The damaged journal.
    pub path: PathBuf,
    /// The line from which it could not be read.
    pub line: u64,
    /// What is wrong with that line.
    pub reason: String,
    /// The number of the last commit that is kept.
    pub kept_commits: u64,
    /// How many bytes are given up.
    pub lost_bytes: u64,
    /// How many lines, the damaged one among them.
    pub lost_lines: u64,
    /// How many of those say nothing that could be understood.
    pub unreadable_lines: u64,
    /// How many rights were ended because a lost line had ended or used them.
    pub ended: u64,
    /// How many lost lines had set a password: the one from before works again.
    pub lost_passwords: u64,
    /// Where the whole damaged journal is now.
    pub set_aside: PathBuf,
}

/// What is understood of the lines that are given up.
#[derive(Default)]
struct Lost {
    lines: u64,
    bytes: u64,
    unreadable: u64,
    passwords: u64,
    ends: Vec<Change>,
}

/// Repairs the store in `folder`: goes on from the last line that can be read, with the damaged journal set aside whole,
/// a line that says so, and everything ended that the lost lines had ended. Nobody may have the store open.
///
/// # Errors
/// When nothing is damaged, nothing is left to go on from, somebody uses the store, or a file cannot be written.
pub fn repair(folder: &Path, clock: &dyn Clock, dry_run: bool, watch: Watch<'_>) -> Result<Repaired, NotRepaired> {
    if !folder.is_dir() {
        return Err(StoreError::Absent(folder.to_owned()).into());
    }
    checked_folder(folder)?;
    let _alone = lock::sole_user(folder)?;
    let lock = StoreLock::open(folder)?;
    let _held = lock.exclusive()?;
    let reading = Tail::of_newest(folder, |generation| inspect::read_generation(folder, generation, watch));
    let reading = match reading {
        Ok(reading) => reading.ok_or_else(|| StoreError::Absent(folder.to_owned()))?,
        Err(error @ StoreError::Damaged { .. }) => return Err(NotRepaired::Hopeless(error)),
        Err(error) => return Err(error.into()),
    };
    let (path, line, reason) = match reading.end {
        Ok(_) => return Err(NotRepaired::Well),
        Err(StoreError::Damaged { path, line, reason }) => (path, line, reason),
        Err(error) => return Err(error.into()),
    };
    let (state, tail) = (reading.state, reading.tail);
    let lost = read_lost(&path, tail.size())?;
    let at = tail.second(clock.now());
    let set_aside = aside(folder, tail.generation(), at);
    let commits = commits(&state, &set_aside, line, lost.ends, at);
    let ended = commits.iter().map(Vec::len).sum::<usize>() as u64 - 1;
    let repaired = Repaired {
        line,
        reason,
        kept_commits: tail.position().1,
        lost_bytes: lost.bytes,
        lost_lines: lost.lines,
        unreadable_lines: lost.unreadable,
        ended,
        lost_passwords: lost.passwords,
        set_aside,
        path,
    };
    if !dry_run {
        replace(&repaired, &tail, &commits, at)?;
    }
    Ok(repaired)
}

/// Reads what follows the last readable line, as far as it says anything.
fn read_lost(path: &Path, from: u64) -> Result<Lost, StoreError> {
    use std::io::{Seek, SeekFrom};

    let mut file = File::open(path).map_err(io_error("open", path))?;
    file.seek(SeekFrom::Start(from)).map_err(io_error("read", path))?;
    let (mut reader, mut text, mut lost) = (BufReader::new(file), Vec::new(), Lost::default());
    loop {
        text.clear();
        let limit = MAX_LINE as u64;
        if reader.by_ref().take(limit).read_until(b'\n', &mut text).map_err(io_error("read", path))? == 0 {
            return Ok(lost);
        }
        if text.iter().all(|byte| byte.is_ascii_whitespace()) {
            continue;
        }
        lost.lines += 1;
        lost.bytes += text.len() as u64;
        match serde_json::from_slice::<line::Commit>(&text) {
            Ok(commit) => commit.c.iter().for_each(|change| lost.take(change)),
            Err(_) => lost.unreadable += 1,
        }
    }
}

impl Lost {
    fn take(&mut self, change: &Change) {
        self.passwords += u64::from(matches!(change, Change::PasswordChanged { .. }));
        self.ends.extend(ends_of(change));
    }
}

/// What has to end when a change is lost. A line that is not whole may have been forged, so it can take away and never
/// give. What a lost line made is gone with it; what it used up must not become usable again: a refresh token that was
/// spent, a code that was redeemed.
fn ends_of(change: &Change) -> Vec<Change> {
    let cause = RevocationCause::Operator;
    let revoked = |grant| vec![Change::GrantRevoked { grant, cause }];
    match change {
        Change::GrantRevoked { grant, .. }
        | Change::RefreshRotated { grant, .. }
        | Change::RefreshRepeated { grant, .. } => revoked(*grant),
        Change::CodeRedeemed { access, .. } | Change::DeviceRedeemed { access, .. } => revoked(access.grant),
        // A token with so many uses left has one less.
        Change::InitialTokenSpent(_)
        | Change::AssertionUsed { .. }
        | Change::PasskeyUsed { .. }
        | Change::PasskeyRemoved(_)
        | Change::UpstreamUnlinked(_)
        | Change::PushedSpent(_)
        | Change::DeviceDenied { .. }
        | Change::Denied { page: Some(_), .. }
        | Change::Expired(_)
        | Change::SessionClosed(_)
        | Change::SessionsClosed(_)
        | Change::GrantsRevoked { .. }
        | Change::ClientRemoved(_)
        | Change::AccessRevoked(_)
        | Change::CallSpent(_)
        | Change::KeyRetired { .. } => vec![change.clone()],
        // The new password is lost; that everything from before it ended is not.
        Change::PasswordChanged { user, .. } => {
            let grants = Change::GrantsRevoked { user: user.clone(), client: None, cause };
            vec![Change::SessionsClosed(user.clone()), grants]
        }
        Change::UserStageSet { stage: UserStage::Enabled, .. } => vec![],
        Change::UserStageSet { .. } => vec![change.clone()],
        Change::IssuerDeclared(_)
        | Change::KeyPublished(_)
        | Change::SetupOffered(_)
        | Change::OwnerCreated { .. }
        | Change::UserCreated(_)
        | Change::PasskeyAdded { .. }
        | Change::UpstreamLinked { .. }
        | Change::SessionOpened(_)
        | Change::ClientRegistered(_)
        | Change::ClientUpdated(_)
        | Change::ClientDescribed(_)
        | Change::InitialTokenIssued(_)
        | Change::ToolsAnnounced { .. }
        | Change::RequestPushed(_)
        | Change::PushedOpened { .. }
        | Change::DeviceAsked(_)
        | Change::DeviceApproved { .. }
        | Change::ClientGranted { .. }
        | Change::TokenExchanged { .. }
        | Change::Approved { .. }
        | Change::Denied { page: None, .. }
        | Change::StoreRepaired { .. }
        | Change::Swept { .. } => vec![],
    }
}

/// The commits that go on from the readable part: that it was repaired, and what of `ends` fits.
fn commits(state: &State, set_aside: &Path, line: u64, ends: Vec<Change>, at: Timestamp) -> Vec<Vec<Change>> {
    let set_aside = set_aside.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (mut state, mut seen) = (state.clone(), HashSet::new());
    let fits = ends.into_iter().filter(|change| {
        // What has ended need not end again; each use of a registration token counts.
        let is_new = matches!(change, Change::InitialTokenSpent(_))
            || seen.insert(serde_json::to_string(change).unwrap_or_default());
        is_new && state.apply_all(vec![change.clone()], at).is_ok()
    });
    let changes: Vec<_> = std::iter::once(Change::StoreRepaired { line, set_aside }).chain(fits).collect();
    changes.chunks(CHANGES).map(<[Change]>::to_vec).collect()
}

/// A name that no file has.
fn aside(folder: &Path, generation: u64, at: Timestamp) -> PathBuf {
    let name = |more: &str| folder.join(format!("{ASIDE}journal.{generation}.{at}{more}.jsonl"));
    let mut path = name("");
    for more in 2..u64::MAX {
        if !path.exists() {
            break;
        }
        path = name(&format!(".{more}"));
    }
    path
}

/// Puts the new journal in the place of the damaged one. A crash at any step leaves the one or the other in force.
fn replace(repaired: &Repaired, tail: &Tail, commits: &[Vec<Change>], at: Timestamp) -> Result<(), StoreError> {
    let (path, set_aside) = (&repaired.path, &repaired.set_aside);
    let folder = path.parent().unwrap_or(path);
    let temporary = journal_path(folder, tail.generation()).with_extension("jsonl.tmp");
    write_repaired(path, &temporary, tail, commits, at).map_err(io_error("write", &temporary))?;
    // A second name for the same file, or a copy where a file has one name only.
    fs::hard_link(path, set_aside).or_else(|_| copy(path, set_aside)).map_err(io_error("create", set_aside))?;
    disk::sync_folder(folder).map_err(io_error("sync", folder))?;
    disk::rename(&temporary, path).map_err(io_error("rename", &temporary))?;
    disk::sync_folder(folder).map_err(io_error("sync", folder))
}

fn write_repaired(
    path: &Path,
    temporary: &Path,
    tail: &Tail,
    commits: &[Vec<Change>],
    at: Timestamp,
) -> std::io::Result<()> {
    let mut out = disk::Writer::create(temporary.to_owned())?;
    std::io::copy(&mut File::open(path)?.take(tail.size()), &mut out)?;
    out.write_all(&tail.lines_for(commits, at).0)?;
    out.sync()
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut out = disk::Writer::create(to.to_owned())?;
    std::io::copy(&mut File::open(from)?, &mut out)?;
    out.sync()
}
