//! Owner-only files, atomic replacement, directory sync.

pub(crate) mod disk;
#[cfg(feature = "failpoints")]
pub mod faults;
#[cfg(not(feature = "failpoints"))]
mod faults;
pub mod limit;
mod lock;
mod secret;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

pub use self::lock::lock;
pub use self::secret::{is_open_to_others, secret_in};

/// Makes a folder for the owner only (0700), and its parents, durably. One that is there keeps its mode.
///
/// # Errors
/// Those of the operating system.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    let absent = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let made: Vec<_> = path.ancestors().take_while(absent).collect();
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    for folder in made {
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A folder above may be closed to us; then its names become durable when its file system thinks so.
        let _ = disk::sync_folder(parent);
    }
    Ok(())
}

/// Options that create files for the owner only (0600), whatever the umask allows.
pub fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// A file of at most `most` bytes; `None` when it is longer. By reading, for a device has no length and never ends.
///
/// # Errors
/// Those of the operating system.
pub fn read_at_most(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}

/// Replaces a file's contents: readers see the old or the new ones, also after a power cut.
///
/// # Errors
/// Those of the operating system; the old contents are then still there.
pub fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    replace_with(path, |out| out.write_all(contents))
}

/// Replaces a file's contents by what `write` writes, as [`replace`] does.
///
/// # Errors
/// Those of the operating system and of `write`; the old contents are then still there.
pub fn replace_with<T, E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = write_synced(temporary.clone(), write).and_then(|value| {
        disk::rename(&temporary, path)?;
        Ok(value)
    });
    if written.is_err() {
        let _ = disk::remove(&temporary);
    }
    let value = written?;
    // The parent of a bare name is the current folder.
    let parent = path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    parent.map_or(Ok(()), disk::sync_folder)?;
    Ok(value)
}

/// Replaces somebody else's file, a link's target in the place of the link, and keeps its mode and owner. `is_as_read` looks at the file
/// last of all, so that what was written meanwhile is not lost; then nothing is done, and the answer is false.
///
/// # Errors
/// Those of the operating system; the old contents are then still there.
pub fn replace_theirs(path: &Path, contents: &[u8], is_as_read: impl FnOnce(&[u8]) -> bool) -> io::Result<bool> {
    let path = fs::canonicalize(path)?;
    let temporary = temporary_of(&path);
    let written = write_synced(temporary.clone(), |out| out.write_all(contents)).and_then(|()| {
        let there = fs::metadata(&path)?;
        keep_owner(&temporary, &there)?;
        fs::set_permissions(&temporary, there.permissions())?;
        if !is_as_read(&fs::read(&path)?) {
            return Ok(false);
        }
        rename(&temporary, &path).map(|()| true)
    });
    if !matches!(written, Ok(true)) {
        let _ = disk::remove(&temporary);
    }
    written
}

/// Gives a file the owner and group of another one, where they differ.
#[cfg(unix)]
fn keep_owner(path: &Path, of: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, chown};

    let ours = fs::metadata(path)?;
    let other = |ours: u32, theirs: u32| (ours != theirs).then_some(theirs);
    match (other(ours.uid(), of.uid()), other(ours.gid(), of.gid())) {
        (None, None) => Ok(()),
        (owner, group) => chown(path, owner, group),
    }
}

#[cfg(not(unix))]
fn keep_owner(_path: &Path, _of: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

/// Removes what a killed [`replace_theirs`] of this file may have left beside it.
pub fn remove_leftover(path: &Path) {
    if let Ok(path) = fs::canonicalize(path) {
        let temporary = temporary_of(&path);
        if temporary.exists() {
            let _ = disk::remove(&temporary);
        }
    }
}

/// One name, so that whoever comes next finds it.
fn temporary_of(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".mcp-authz.tmp");
    PathBuf::from(temporary)
}

/// Gives a file another name, durably, in the place of whatever has it. Both lie in one folder.
///
/// # Errors
/// Those of the operating system.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    disk::rename(from, to)?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    disk::sync_folder(parent)
}

/// Removes a file.
///
/// # Errors
/// Those of the operating system.
pub fn remove(path: &Path) -> io::Result<()> {
    disk::remove(path)
}

fn write_synced<T, E: From<io::Error>>(
    path: PathBuf,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let mut file = disk::Writer::create(path)?;
    let value = write(&mut file)?;
    file.sync()?;
    Ok(value)
}

/// Asks the system whether a folder may be written to: not on a file system that is read-only, also as root.
///
/// # Errors
/// Why not.
#[cfg(unix)]
pub fn check_writable(folder: &Path) -> io::Result<()> {
    use rustix::fs::{Access, access};

    access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)
}

/// Other systems tell when one tries.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn check_writable(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// What makes a file or folder unsafe to keep secrets in, in words for a person; `None` when nothing does.
///
/// # Errors
/// Those of the operating system.
#[cfg(unix)]
pub fn unsafe_because(path: &Path) -> io::Result<Option<String>> {
    use std::os::unix::fs::MetadataExt;

    let metadata = fs::metadata(path)?;
    let us = rustix::process::geteuid().as_raw();
    Ok(if metadata.uid() != us {
        Some(format!(
            "it belongs to user {}, and we are user {us}; change its owner, or use another folder",
            metadata.uid()
        ))
    } else if metadata.mode() & 0o022 != 0 {
        Some(format!("others may write to it (mode {:03o}); run chmod go-rwx on it", metadata.mode() & 0o777))
    } else {
        None
    })
}

/// Takes away what others may do with a file or folder of ours; true when there was something to take away.
///
/// # Errors
/// Those of the operating system.
#[cfg(unix)]
pub fn make_private(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;

    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(false);
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o700))?;
    Ok(true)
}

/// Whether the file at `path` is the one that `file` has open: not removed, not replaced, not moved away.
///
/// # Errors
/// Those of the operating system, other than that nothing is there.
#[cfg(unix)]
pub fn is_in_place(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;

    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match fs::metadata(path) {
        Ok(there) => Ok(identity(there) == identity(file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The network file system that a folder is on; `None` for a local one.
///
/// # Errors
/// Those of the operating system.
#[cfg(target_os = "linux")]
pub fn network_file_system(path: &Path) -> io::Result<Option<&'static str>> {
    Ok(network_by_number(rustix::fs::statfs(path)?.f_type as u64))
}

/// By the magic numbers of statfs(2).
#[cfg(target_os = "linux")]
fn network_by_number(number: u64) -> Option<&'static str> {
    // The type of the number differs between machines: what counts are its lower 32 bits.
    Some(match number & 0xffff_ffff {
        0x6969 => "NFS",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x0102_1997 => "9P",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x00c3_6400 => "Ceph",
        0x7375_7245 => "Coda",
        0x0bd0_0bd0 => "Lustre",
        0x6573_5546 => "FUSE",
        _ => return None,
    })
}

/// Other systems have other means; nothing is known there.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn network_file_system(_path: &Path) -> io::Result<Option<&'static str>> {
    Ok(None)
}

/// Other systems have other means; nothing is done there.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn make_private(_path: &Path) -> io::Result<bool> {
    Ok(false)
}

/// Whether anything is at `path`: an open file cannot be removed or moved there.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn is_in_place(_file: &File, path: &Path) -> io::Result<bool> {
    Ok(path.exists())
}

/// Other systems have other means; nothing is checked there.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn unsafe_because(_path: &Path) -> io::Result<Option<String>> {
    Ok(None)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    use super::{network_by_number, network_file_system, read_at_most, replace_theirs, temporary_of};

    #[test]
    fn somebody_elses_file_is_replaced_as_it_is_and_not_when_they_wrote_to_it_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        symlink(&file, &link).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        // Only root can give files away.
        let is_root = chown(&file, Some(1234), Some(1234)).is_ok();
        assert!(!replace_theirs(&link, b"new", |there| there != b"old").unwrap());
        assert_eq!(fs::read(&file).unwrap(), b"old");
        assert!(replace_theirs(&link, b"new", |there| there == b"old").unwrap());
        let there = fs::metadata(&file).unwrap();
        assert_eq!((fs::read(&link).unwrap(), there.mode() & 0o777), (b"new".to_vec(), 0o640));
        assert!(!is_root || (there.uid(), there.gid()) == (1234, 1234));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && !temporary_of(&file).exists());
    }

    #[test]
    fn what_is_longer_than_it_may_be_or_never_ends_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "12345").unwrap();
        assert_eq!(read_at_most(&file, 5).unwrap().as_deref(), Some(&b"12345"[..]));
        assert_eq!(read_at_most(&file, 4).unwrap(), None);
        assert_eq!(read_at_most("/dev/zero".as_ref(), 4).unwrap(), None);
        assert!(read_at_most(&folder.path().join("none"), 4).is_err());
    }

    #[test]
    fn network_file_systems_are_known_by_their_numbers_and_local_ones_are_none() {
        for (number, name) in [(0x6969, Some("NFS")), (0xffff_ffff_ff53_4d42, Some("SMB")), (0x6573_5546, Some("FUSE"))]
        {
            assert_eq!(network_by_number(number), name);
        }
        for local in [0xef53, 0x9123_683e, 0x5846_5342, 0x0102_1994, 0x794c_7630] {
            assert_eq!(network_by_number(local), None, "{local:x}");
        }
        assert_eq!(network_file_system(&std::env::temp_dir()).unwrap(), None);
        assert!(network_file_system(std::path::Path::new("/nowhere")).is_err());
    }
}
