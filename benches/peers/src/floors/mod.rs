//! What the disk and the memory charge for the same work, without any store: the least that it can cost.

pub(crate) mod appended;
pub(crate) mod copied;
pub(crate) mod mapped;
pub(crate) mod scattered;

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::outcome::Outcome;
use crate::page::{Change, PAGE_LEN};

/// Pages that are written at once while a file is filled. The kernel caches in pieces (folios) of about that size, and keeps
/// them: a scattered write costs less where the pieces are small, a read through a map where they are large.
#[derive(Clone, Copy)]
pub(crate) enum Folios {
    Small,
    Large,
}

impl Folios {
    fn pages(self) -> usize {
        match self {
            Folios::Small => 1,
            Folios::Large => 256,
        }
    }
}

/// A file of pages `0..count` as [`Change::new`] makes them, on the disk and in the page cache.
fn filled_file(path: &Path, count: u64, folios: Folios) -> Outcome<File> {
    let mut file = File::options().read(true).write(true).create_new(true).open(path)?;
    let all: Vec<u64> = (0..count).collect();
    for part in all.chunks(folios.pages()) {
        let bytes: Vec<u8> = part.iter().flat_map(|id| *Change::new(*id, 0).page).collect();
        file.write_all(&bytes)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// Where a page lies in such a file.
fn offset(id: u64) -> u64 {
    id * PAGE_LEN as u64
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> Outcome<()> {
    Ok(std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)?)
}

#[cfg(windows)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> Outcome<()> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
    Ok(())
}
