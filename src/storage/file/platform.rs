//! Where operating systems differ: opening, positioned transfers, allocation, syncs. No policy.
//!
//! Linux is what runs and is tested here. The branches for macOS, other unix systems and Windows are written from their
//! documentation and **were never run**; they are kept simple for that reason.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use crate::storage::{Access, Barrier, Region};

/// Opens what `path` names, without blocking on a pipe that nobody reads. What was opened may be
/// anything: the caller looks.
pub(super) fn open_existing(path: &Path, access: Access) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(access == Access::Write);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
    }
    options.open(path)
}

/// Whether `path` still names the open `file`. Where that cannot be told (Windows), it is taken to.
pub(super) fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let named = match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            named => named?,
        };
        let opened = file.metadata()?;
        Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = (file, path);
        Ok(true)
    }
}

/// Fills `buffer` from `offset`, in as many transfers as it takes.
pub(super) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
    }
    // Windows locks bytes for one handle: every transfer goes through the locked one.
    #[cfg(windows)]
    {
        use std::os::windows::fs::FileExt;
        let (mut rest, mut offset) = (buffer, offset);
        while !rest.is_empty() {
            match file.seek_read(rest, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    rest = &mut rest[count..];
                    offset += u64::try_from(count).expect("a transfer fits a file");
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Writes `parts` one behind the other from `offset`, in as many transfers as it takes.
pub(super) fn write_parts_at(file: &File, parts: &[&[u8]], offset: u64) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_vendor = "apple"))]
    if parts.len() > 1 {
        return write_vectored_at(file, parts, offset);
    }
    let mut offset = offset;
    for part in parts {
        write_all_at(file, part, offset)?;
        offset += u64::try_from(part.len()).expect("a slice fits a file");
    }
    Ok(())
}

/// The parts that one `pwritev` takes: `IOV_MAX` of Linux, FreeBSD and macOS.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_vendor = "apple"))]
const PARTS_PER_CALL: usize = 1024;

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_vendor = "apple"))]
fn write_vectored_at(file: &File, parts: &[&[u8]], offset: u64) -> io::Result<()> {
    let mut slices: Vec<_> = parts.iter().filter(|part| !part.is_empty()).map(|part| io::IoSlice::new(part)).collect();
    let (mut rest, mut offset) = (&mut slices[..], offset);
    while !rest.is_empty() {
        let batch = rest.len().min(PARTS_PER_CALL);
        match rustix::io::pwritev(file, &rest[..batch], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                io::IoSlice::advance_slices(&mut rest, count);
                offset += u64::try_from(count).expect("a transfer fits a file");
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    let (mut rest, mut offset) = (bytes, offset);
    while !rest.is_empty() {
        match file.seek_write(rest, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                rest = &rest[count..];
                offset += u64::try_from(count).expect("a transfer fits a file");
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Has the filesystem allocate `len` bytes from `offset`; the file becomes that long if it is shorter, and what it reads as
/// does not change. `false` where there is no such call: the caller writes bytes instead. That includes macOS, whose call
/// allocates past the end alone.
pub(super) fn allocate(file: &File, offset: u64, len: u64) -> io::Result<bool> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    loop {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        return match fallocate(file, FallocateFlags::empty(), offset, len) {
            Ok(()) => Ok(true),
            Err(Errno::INTR) => continue,
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(false),
            Err(error) => Err(error.into()),
        };
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = (file, offset, len);
        Ok(false)
    }
}

/// Has the filesystem take back the space of `len` bytes from `offset`; they read as zeros then, and the file is as long as
/// before. `false` where there is no such call or the filesystem cannot: nothing has changed.
pub(super) fn punch(file: &File, offset: u64, len: u64) -> io::Result<bool> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    loop {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        return match fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len) {
            Ok(()) => Ok(true),
            Err(Errno::INTR) => continue,
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        };
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = (file, offset, len);
        Ok(false)
    }
}

/// Makes `copy`, an empty file, share the space of `file` and hold what it holds, dirty pages of its map included. `false`
/// where there is no such call, the filesystem cannot, or the files are not on the same one.
pub(super) fn share_space(file: &File, copy: &File) -> bool {
    #[cfg(all(
        any(target_os = "linux", target_os = "android"),
        not(any(target_arch = "sparc", target_arch = "sparc64"))
    ))]
    {
        rustix::fs::ioctl_ficlone(copy, file).is_ok()
    }
    #[cfg(not(all(
        any(target_os = "linux", target_os = "android"),
        not(any(target_arch = "sparc", target_arch = "sparc64"))
    )))]
    {
        let _ = (file, copy);
        false
    }
}

/// Advises the system to let go of pages of the file that are in its cache, clean, and mapped by nobody; it begins to write
/// those that are dirty, and does not wait.
pub(super) fn forget_cached(file: &File, offset: u64, len: u64) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(len) = std::num::NonZeroU64::new(len) {
        // It is advice: where it is not taken nothing is lost.
        let _ = rustix::fs::fadvise(file, offset, Some(len), rustix::fs::Advice::DontNeed);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = (file, offset, len);
    }
}

/// Bytes that the filesystem has allocated for the file, where it tells.
pub(super) fn allocated_bytes(file: &File) -> io::Result<Option<u64>> {
    #[cfg(unix)]
    {
        // `st_blocks` counts 512-byte units, whatever the block size.
        Ok(Some(std::os::unix::fs::MetadataExt::blocks(&file.metadata()?).saturating_mul(512)))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        Ok(None)
    }
}

/// Bytes that the filesystem of the file has room for; as many as there are where it does not tell.
pub(super) fn available_bytes(file: &File) -> io::Result<u64> {
    #[cfg(unix)]
    {
        let filesystem = rustix::fs::fstatvfs(file)?;
        Ok(filesystem.f_bavail.saturating_mul(filesystem.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        Ok(u64::MAX)
    }
}

/// A sync that writes to the file and stores through its region pass.
///
/// * Linux: one page cache holds both; `fdatasync` writes it and flushes the disk's cache. After growth it is `fsync`: the
///   length and the extents that `fallocate` made have to be there, whatever a filesystem thinks that data needs.
/// * macOS: `msync` brings stores to the file; `sync_all` is `F_FULLFSYNC` there, which alone flushes the disk's cache.
/// * Windows: `FlushViewOfFile`, then `FlushFileBuffers`.
/// * Other unix: `msync`, then `fsync`.
pub(super) fn sync_stores(file: &File, region: &Region, barrier: Barrier) -> io::Result<()> {
    if cfg!(any(target_os = "linux", target_os = "android")) {
        return match barrier {
            Barrier::Bytes => file.sync_data(),
            Barrier::Length => file.sync_all(),
        };
    }
    region.flush()?;
    file.sync_all()
}

/// Makes the names in `directory` durable. Windows offers no such call: NTFS journals names by itself, and nothing is done.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        File::open(directory)?.sync_all()
    }
    #[cfg(not(unix))]
    {
        let _ = directory;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vectored_write_of_3000_parts_lands_whole_and_in_order() {
        let file = tempfile::tempfile().unwrap();
        let parts: Vec<Vec<u8>> = (0..3000_usize).map(|i| vec![u8::try_from(i % 251).unwrap(); i % 37]).collect();
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        write_parts_at(&file, &slices, 5000).unwrap();
        let expected = parts.concat();
        let mut found = vec![0; expected.len()];
        read_exact_at(&file, &mut found, 5000).unwrap();
        assert!(found == expected);
        assert_eq!(file.metadata().unwrap().len(), 5000 + u64::try_from(expected.len()).unwrap());
    }

    #[test]
    fn no_parts_and_empty_parts_write_nothing() {
        let file = tempfile::tempfile().unwrap();
        write_parts_at(&file, &[], 7).unwrap();
        write_parts_at(&file, &[b""], 7).unwrap();
        write_parts_at(&file, &[b"", b"", b""], 7).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0);
    }

    #[test]
    fn reading_past_the_end_is_unexpected_eof() {
        let file = tempfile::tempfile().unwrap();
        write_parts_at(&file, &[b"0123"], 0).unwrap();
        let error = read_exact_at(&file, &mut [0; 3], 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_write_that_the_system_refuses_is_an_error_and_not_a_loop() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("f"), b"").unwrap();
        let readable = File::open(directory.path().join("f")).unwrap();
        assert!(write_parts_at(&readable, &[b"a", b"b"], 0).is_err());
        assert!(write_parts_at(&readable, &[b"a"], 0).is_err());
    }

    #[test]
    #[cfg(unix)]
    fn a_replaced_or_removed_name_does_not_name_the_open_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        std::fs::write(&path, b"").unwrap();
        let file = open_existing(&path, Access::Write).unwrap();
        assert!(is_named(&file, &path).unwrap());
        std::fs::write(directory.path().join("new"), b"").unwrap();
        std::fs::rename(directory.path().join("new"), &path).unwrap();
        assert!(!is_named(&file, &path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(!is_named(&file, &path).unwrap());
    }
}
