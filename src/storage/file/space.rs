//! Space: bytes of a file that are zeros, or already there, with room on the disk behind them.
//!
//! A store through the map into a part without room is a fatal signal when the disk is full, so room is taken before a page
//! is handed out. Filesystems that copy on write (btrfs, ZFS) may still run out when a page is written again: there a
//! full disk shows up as a failed barrier at best. Quotas behave as the filesystem makes them.

use std::fs::File;
use std::io;

use super::platform;

/// What is written at once where there is no call that allocates.
const CHUNK: usize = 64 * 1024;

/// Makes the file `to` bytes long. It ends at `from`; the new part reads as zeros and, unless `sparse`, has room behind it.
/// After an error the file ends anywhere between.
pub(super) fn extend(file: &File, from: u64, to: u64, sparse: bool) -> io::Result<()> {
    if i64::try_from(to).is_err() {
        // `fallocate` calls this EINVAL, as other things that zeros are the answer to.
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    if sparse || from == to {
        return file.set_len(to);
    }
    if platform::allocate(file, from, to - from)? {
        return Ok(());
    }
    write_zeros(file, from, to)
}

/// Gives room to `len` bytes from `offset`, all of them in the file, and keeps what they hold.
///
/// Without a call that allocates, the bytes are written again as they are; a crash in between leaves them as they are, too
/// (`docs/design.md`, what is assumed of the disk). Nothing else may write to them meanwhile.
pub(super) fn fill_holes(file: &File, offset: u64, len: u64) -> io::Result<()> {
    if len == 0 || platform::allocate(file, offset, len)? {
        return Ok(());
    }
    write_again(file, offset, len)
}

fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = [0; CHUNK];
    for (offset, count) in chunks(from, to - from) {
        platform::write_parts_at(file, &[&zeros[..count]], offset)?;
    }
    Ok(())
}

fn write_again(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let mut bytes = [0; CHUNK];
    for (offset, count) in chunks(offset, len) {
        platform::read_exact_at(file, &mut bytes[..count], offset)?;
        platform::write_parts_at(file, &[&bytes[..count]], offset)?;
    }
    Ok(())
}

/// Offsets and lengths of the chunks of `len` bytes from `offset`.
fn chunks(offset: u64, len: u64) -> impl Iterator<Item = (u64, usize)> {
    let end = offset + len;
    (offset..end).step_by(CHUNK).map(move |at| (at, usize::try_from(end - at).map_or(CHUNK, |rest| rest.min(CHUNK))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        platform::read_exact_at(file, &mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn space_is_taken_unless_sparse() {
        let file = tempfile::tempfile().unwrap();
        extend(&file, 0, 1 << 20, false).unwrap();
        assert!(platform::allocated_bytes(&file).unwrap().unwrap() >= 1 << 20);
        extend(&file, 1 << 20, 1 << 30, true).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 1 << 30);
        assert!(platform::allocated_bytes(&file).unwrap().unwrap() < 1 << 30);
        fill_holes(&file, 1 << 20, 1 << 20).unwrap();
        assert!(platform::allocated_bytes(&file).unwrap().unwrap() >= 2 << 20);
        assert_eq!(file.metadata().unwrap().len(), 1 << 30);
    }

    #[test]
    fn zeros_written_without_an_allocating_call_end_where_they_should() {
        let file = tempfile::tempfile().unwrap();
        platform::write_parts_at(&file, &[&[1; 100]], 0).unwrap();
        let to = 100 + 2 * u64::try_from(CHUNK).unwrap() + 5;
        write_zeros(&file, 100, to).unwrap();
        let bytes = content(&file);
        assert_eq!(file.metadata().unwrap().len(), to);
        assert!(bytes[..100] == [1; 100] && bytes[100..].iter().all(|&byte| byte == 0));
    }

    #[test]
    #[cfg(unix)]
    fn bytes_written_again_stay_as_they_are_and_have_room() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        platform::write_parts_at(&file, &[b"kept"], 70_000).unwrap();
        let before = content(&file);
        write_again(&file, 0, 1 << 20).unwrap();
        assert!(content(&file) == before);
        assert!(platform::allocated_bytes(&file).unwrap().unwrap() >= 1 << 20);
    }

    #[test]
    fn a_length_that_no_file_has_is_an_error_at_once() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(extend(&file, 0, 1 << 63, false).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(file.metadata().unwrap().len(), 0);
    }
}
