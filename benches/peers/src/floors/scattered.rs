//! Replacing pages anywhere in a file: a `pwrite` for each, and one `fdatasync`. Durable, and not atomic.

use std::fs::File;
use std::path::Path;

use crate::outcome::Outcome;
use crate::page::Change;

use super::{Folios, filled_file, offset, write_at};

pub(crate) struct Scattered {
    file: File,
}

impl Scattered {
    pub(crate) fn new(path: &Path, pages: u64) -> Outcome<Self> {
        Ok(Scattered { file: filled_file(path, pages, Folios::Small)? })
    }

    /// In the order of their places in the file, as whoever has them all would write them.
    pub(crate) fn overwrite(&mut self, changes: &[Change]) -> Outcome<()> {
        let mut sorted: Vec<&Change> = changes.iter().collect();
        sorted.sort_unstable_by_key(|change| change.id);
        for change in sorted {
            write_at(&self.file, change.page.as_slice(), offset(change.id))?;
        }
        Ok(self.file.sync_data()?)
    }
}
