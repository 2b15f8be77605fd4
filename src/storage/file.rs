//! A file as the place where bytes live.
//!
//! [`FileStorage`] owns an open file and its lock, which is shared where the file is opened for reading. The lock is taken
//! before anything is read and let go when the storage is dropped; it keeps out other pagers, not code that opens the path
//! by itself. It rests on `flock` on unix: the descriptor that a **forked child** inherits carries the same lock, so a child
//! must use no pager of its parent, and a lock whose holder died is free only when such a child has exited, too. Rust's own
//! `Command` closes the descriptor in the child.
//!
//! ```text
//!  create.rs     making a file: nameless, locked, synced, linked
//!  snapshot.rs   a copy as a new file
//!  space.rs      zeros with room on the disk behind them
//!  platform.rs   what each operating system is asked for
//! ```
//!
//! It guarantees: bytes written are shown by the region at once; the region never shows more than the file has; a new part
//! reads as zeros. It does not: keep zeros allocated on filesystems that copy on write, or retry a failed sync.

mod create;
mod platform;
mod snapshot;
mod space;

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process;

use super::{Access, Barrier, Readable, Region, Storage};
use crate::error::{Error, Result};
use create::Content;

/// How often a file that is replaced while it is being opened is opened again.
const OPEN_ATTEMPTS: usize = 64;

/// A locked file. Whoever holds its [`Region`] drops that first: the lock protects the views.
#[derive(Debug)]
pub(crate) struct FileStorage {
    file: File,
    access: Access,
    /// As the caller gave it, for messages.
    path: PathBuf,
    /// What holds the file, links resolved.
    directory: PathBuf,
    /// The process that took the lock.
    locked_by: u32,
    /// Bytes of addresses that the caller wants the region to have at least.
    reserve: u64,
}

impl FileStorage {
    /// Creates a file of `len` bytes that begins with `reserved` and goes on with zeros, their space allocated unless
    /// `sparse`. It is locked, durable, and appears under its name whole or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with `op: "create"`; of the kind `AlreadyExists` when the path names anything, be it a link that leads
    /// nowhere. What is there stays as it is.
    pub(crate) fn create(path: &Path, reserved: &[u8], len: u64, sparse: bool) -> Result<FileStorage> {
        assert!(
            u64::try_from(reserved.len()).is_ok_and(|reserved| reserved <= len),
            "a file holds what it begins with"
        );
        let failed = |source| Error::io("create", path, source);
        let (directory, name) = resolve_new(path).map_err(failed)?;
        let file = create::create(&directory, name, Content { reserved, len, sparse }).map_err(failed)?;
        Ok(FileStorage::new(file, Access::Write, path, directory))
    }

    /// Opens and locks the file that `path` names, and changes no byte of it.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when another pager has it; [`Error::Io`] with `op: "open"` when there is no such file, it may not be
    /// read and written, or the path names a directory, a pipe, a device; with `op: "lock"` when the filesystem has no locks.
    pub(crate) fn open(path: &Path) -> Result<FileStorage> {
        FileStorage::open_for(path, Access::Write)
    }

    /// Opens the file for reading, with a lock that others who do so share. It needs no right to write, neither to the file nor
    /// to its directory.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), except that the right to read is enough, and so is a lock that only readers hold.
    pub(crate) fn open_read_only(path: &Path) -> Result<FileStorage> {
        FileStorage::open_for(path, Access::Read)
    }

    fn open_for(path: &Path, access: Access) -> Result<FileStorage> {
        let failed = |source| Error::io("open", path, source);
        for _ in 0..OPEN_ATTEMPTS {
            let resolved = fs::canonicalize(path).map_err(failed)?;
            let file = platform::open_existing(&resolved, access).map_err(failed)?;
            if !file.metadata().map_err(failed)?.is_file() {
                return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
            }
            let locked = match access {
                Access::Write => file.try_lock(),
                Access::Read => file.try_lock_shared(),
            };
            match locked {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(Error::Locked { path: path.to_path_buf() }),
                Err(TryLockError::Error(source)) => return Err(Error::io("lock", path, source)),
            }
            // Between opening and locking the last holder may have put another file in its place: then what is locked is a
            // file that nobody finds any more, and the one that is found is not locked.
            if platform::is_named(&file, &resolved).map_err(failed)? {
                let directory = resolved.parent().expect("a file is in a directory").to_path_buf();
                return Ok(FileStorage::new(file, access, path, directory));
            }
        }
        Err(failed(io::Error::other("another file takes its place again and again")))
    }

    fn new(file: File, access: Access, path: &Path, directory: PathBuf) -> FileStorage {
        FileStorage { file, access, path: path.to_path_buf(), directory, locked_by: process::id(), reserve: 0 }
    }

    /// A forked child inherits descriptor, lock and map, and with them the means to cut the file of its parent; dropping a
    /// pager there must not.
    fn check_may_change(&self) -> io::Result<()> {
        self.access.check_write()?;
        if self.locked_by == process::id() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "the pager belongs to the process that opened it"))
    }

    /// Cuts the file and the region to `len` bytes, or neither. Windows cuts no file that is mapped, so there the region is unmapped and
    /// mapped again; after an error it may be empty there.
    fn shorten(&self, region: &mut Region, len: u64) -> io::Result<()> {
        let before = region.len();
        if cfg!(windows) {
            *region = Region::anonymous(0, 0)?;
            let cut = self.file.set_len(len);
            region.remap_file(&self.file, if cut.is_ok() { len } else { before }, before)?;
            return cut;
        }
        // The region first: nothing may be able to touch what is about to go.
        region.set_len(before.min(len));
        let cut = self.file.set_len(len);
        if cut.is_err() {
            // The engine goes on with a file that is as long as it was.
            region.remap_file(&self.file, before, before)?;
        }
        cut
    }

    /// Extends the file from `before` to `len` bytes and the region with it.
    fn lengthen(&self, region: &mut Region, before: u64, len: u64, sparse: bool) -> io::Result<()> {
        space::extend(&self.file, before, len, sparse)?;
        region.remap_file(&self.file, len, self.reserve.max(len.saturating_mul(2)))
    }
}

/// The directory of a file that does not exist yet, links resolved, and its name.
fn resolve_new(path: &Path) -> io::Result<(PathBuf, &OsStr)> {
    let Some(name) = path.file_name() else {
        // "/", "..": always a directory. And the empty path.
        let kind = if path.as_os_str().is_empty() { io::ErrorKind::InvalidInput } else { io::ErrorKind::AlreadyExists };
        return Err(kind.into());
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((fs::canonicalize(parent)?, name))
}

impl Readable for FileStorage {
    fn path(&self) -> &Path {
        &self.path
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        platform::read_exact_at(&self.file, buffer, offset)
    }

    fn read_shown(&self, _region: &Region, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        // One page cache serves maps and reads.
        self.read_at(buffer, offset)
    }

    fn share_with(&self, copy: &File) -> bool {
        platform::share_space(&self.file, copy)
    }
}

impl Storage for FileStorage {
    fn forget_cached(&self, offset: u64, len: u64) {
        platform::forget_cached(&self.file, offset, len);
    }

    fn map(&mut self, len: u64, reserve: u64) -> io::Result<Region> {
        self.reserve = reserve;
        match self.access {
            Access::Write => Region::map_file(&self.file, len, reserve),
            Access::Read => Region::map_file_read_only(&self.file, len),
        }
    }

    fn write_at(&self, _region: &Region, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.check_may_change()?;
        // The region shows it by itself: one page cache serves maps and writes.
        platform::write_parts_at(&self.file, parts, offset)
    }

    fn grow(&mut self, region: &mut Region, len: u64, sparse: bool) -> io::Result<()> {
        self.check_may_change()?;
        let before = region.len();
        assert!(len > before, "growing makes a file longer");
        let found = self.len()?;
        if found < before {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file was cut while it was mapped"));
        }
        if found > before {
            // The tail of an earlier failure: no zeros there.
            self.shorten(region, before)?;
        }
        let grown = self.lengthen(region, before, len, sparse);
        if grown.is_err() {
            // The first error is the one to report. A longer file is harmless: nothing names its tail.
            let _ = self.shorten(region, before);
        }
        grown
    }

    fn cut(&mut self, region: &mut Region, len: u64) -> io::Result<()> {
        self.check_may_change()?;
        assert!(len <= region.len(), "cutting makes a file shorter");
        self.shorten(region, len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_may_change()?;
        space::fill_holes(&self.file, offset, len)
    }

    fn can_punch(&mut self) -> io::Result<bool> {
        self.check_may_change()?;
        // Past the end there is nothing to be punched, and a filesystem that cannot says so all the same.
        platform::punch(&self.file, self.len()?, 1)
    }

    fn punch(&mut self, _region: &mut Region, offset: u64, len: u64) -> io::Result<u64> {
        self.check_may_change()?;
        let occupied = || platform::allocated_bytes(&self.file);
        let before = occupied()?;
        if !platform::punch(&self.file, offset, len)? {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(before.zip(occupied()?).map_or(len, |(before, after)| before.saturating_sub(after)))
    }

    fn available(&self) -> io::Result<u64> {
        platform::available_bytes(&self.file)
    }

    fn remove(&mut self) -> io::Result<()> {
        self.check_may_change()?;
        let name = self.path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        fs::remove_file(self.directory.join(name))?;
        platform::sync_directory(&self.directory)
    }

    /// By the number of blocks that the file occupies. Blocks that a filesystem counts for its own tables, or allocated past
    /// the end, can hide a hole of their size; a filesystem that compresses reports holes always; Windows never does.
    fn has_holes(&self) -> io::Result<bool> {
        let len = self.len()?;
        Ok(platform::allocated_bytes(&self.file)?.is_some_and(|allocated| allocated < len))
    }

    fn barrier(&self, region: &Region, barrier: Barrier) -> io::Result<()> {
        self.access.check_write()?;
        platform::sync_stores(&self.file, region, barrier)
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.access.check_write()?;
        platform::sync_directory(&self.directory)
    }
}

impl Drop for FileStorage {
    fn drop(&mut self) {
        // Closing would not do: the lock goes with the last descriptor or map, and a forked child or a region that is still
        // to be dropped may have one. A child that drops what it inherited must not take the lock from its parent.
        if self.locked_by == process::id() {
            let _ = self.file.unlock();
        }
    }
}

#[cfg(test)]
mod tests;
