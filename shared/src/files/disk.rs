//! What changes a disk, each kind of operation in one place: tests break every single one of them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::faults::{Operation, around};

/// Opens a file that may be made by it.
pub(crate) fn create(options: &OpenOptions, path: &Path) -> io::Result<File> {
    around(Operation::Create { path }, |_| options.open(path))
}

/// Opens a new file for the owner only, in the place of whatever is there.
pub(crate) fn create_anew(path: &Path) -> io::Result<File> {
    create(super::private_options().write(true).create(true).truncate(true), path)
}

/// Writes all of `bytes` at a place of the file.
pub(crate) fn write_at(file: &File, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
    around(Operation::Write { path, at, bytes }, |bytes| write_all_at(file, bytes, at))
}

/// Makes the contents durable (fdatasync).
pub(crate) fn sync_data(file: &File, path: &Path) -> io::Result<()> {
    around(Operation::Sync { path }, |_| file.sync_data())
}

/// Makes the contents and everything about the file durable.
pub(crate) fn sync_all(file: &File, path: &Path) -> io::Result<()> {
    around(Operation::Sync { path }, |_| file.sync_all())
}

/// Cuts a file off, or lengthens it with zeros.
pub(crate) fn set_length(file: &File, path: &Path, length: u64) -> io::Result<()> {
    around(Operation::SetLength { path, length }, |_| file.set_len(length))
}

/// Gives a file another name, in the place of whatever has it.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    around(Operation::Rename { path: from, to }, |_| fs::rename(from, to))
}

/// Removes a file.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    around(Operation::Remove { path }, |_| fs::remove_file(path))
}

/// Makes creations, renames and removals in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    // Windows has no handle for a folder that could be synced; NTFS journals its metadata.
    around(Operation::SyncFolder { path }, |_| if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) })
}

/// Tells a test that `commits` are about to be acknowledged.
pub(crate) fn answering(folder: &Path, commits: usize) {
    let _ = around(Operation::Answer { path: folder, commits }, |_| Ok(()));
}

/// Reads at a place of the file, until the buffer is full or the file ends; returns how many bytes.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read_some_at(file, &mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(unix)]
fn read_some_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, at)
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(windows)]
fn read_some_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, at)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, at)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        (bytes, at) = (&bytes[written..], at + written as u64);
    }
    Ok(())
}

/// Writes a new file from its beginning.
pub(crate) struct Writer {
    file: File,
    path: PathBuf,
    at: u64,
}

impl Writer {
    /// Makes the file, for the owner only, in the place of whatever is there.
    pub(crate) fn create(path: PathBuf) -> io::Result<Self> {
        Ok(Self { file: create_anew(&path)?, path, at: 0 })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes were written.
    pub(crate) fn length(&self) -> u64 {
        self.at
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        sync_all(&self.file, &self.path)
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_at(&self.file, &self.path, self.at, bytes)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
