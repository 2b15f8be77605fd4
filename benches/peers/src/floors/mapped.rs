//! Reading from a map of a file, with nothing in between.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::outcome::Outcome;
use crate::page::{PAGE_LEN, first_word};
use crate::stores::Reading;

use super::{Folios, filled_file};

pub(crate) struct Mapped {
    map: Mmap,
}

impl Mapped {
    /// A new file with so many pages.
    pub(crate) fn new(path: &Path, pages: u64, folios: Folios) -> Outcome<Self> {
        Mapped::map(&filled_file(path, pages, folios)?)
    }

    /// The file of a store, which is not written to as long as this is there.
    pub(crate) fn of_store(path: &Path) -> Outcome<Self> {
        Mapped::map(&File::open(path)?)
    }

    #[expect(unsafe_code, reason = "a raw map of a file is what access is compared with")]
    fn map(file: &File) -> Outcome<Self> {
        // SAFETY: the file does not change while it is mapped: it lies in a new folder of this process that is named at
        // random, and this process writes nothing to it from here on.
        let map = unsafe { Mmap::map(file) }?;
        Ok(Mapped { map })
    }

    /// Reads eight bytes of each page.
    pub(crate) fn reading(&self, ids: &[u64]) -> Outcome<Reading<'_>> {
        let starts = starts(ids)?;
        Ok(Box::new(move || {
            Ok(starts.iter().fold(0, |sum: u64, start| sum.wrapping_add(first_word(&self.map[*start..]))))
        }))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.map
    }
}

/// Where the pages begin.
pub(super) fn starts(ids: &[u64]) -> Outcome<Vec<usize>> {
    ids.iter().map(|id| Ok(usize::try_from(*id)? * PAGE_LEN)).collect()
}
