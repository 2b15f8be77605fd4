//! Writing pages one behind the other, as a log does, and one `fdatasync`. The space is there before, and was written.

use std::fs::File;
use std::path::Path;

use crate::outcome::Outcome;
use crate::page::{Change, PAGE_LEN};

use super::{Folios, filled_file, offset, write_at};

pub(crate) struct Appended {
    file: File,
    pages: u64,
    end: u64,
    buffer: Vec<u8>,
}

impl Appended {
    pub(crate) fn new(path: &Path, pages: u64) -> Outcome<Self> {
        Ok(Appended { file: filled_file(path, pages, Folios::Small)?, pages, end: 0, buffer: Vec::new() })
    }

    /// In one `pwrite`; from the beginning again where the file ends.
    pub(crate) fn append(&mut self, changes: &[Change]) -> Outcome<()> {
        let count = changes.len() as u64;
        if self.end + count > self.pages {
            self.end = 0;
        }
        self.buffer.clear();
        self.buffer.reserve(changes.len() * PAGE_LEN);
        changes.iter().for_each(|change| self.buffer.extend_from_slice(change.page.as_slice()));
        write_at(&self.file, &self.buffer, offset(self.end))?;
        self.end += count;
        Ok(self.file.sync_data()?)
    }
}
