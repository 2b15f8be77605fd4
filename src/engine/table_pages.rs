//! Pages of tables: twins that no id of a user names.
//!
//! A table keeps its pages by their indexes in the directory, and a page is read, changed and freed as a protected page is. So
//! what a table does in a transaction is atomic without anything of its own.

use crate::error::Result;

use super::entries::EntryKind;
use super::page_buffer::PageBuffer;
use super::stage::{Owned, Stage};
use super::{Engine, Holder};

impl dyn Holder + '_ {
    /// Takes pages for a table, all of them or none. They hold zeros.
    pub(crate) fn alloc_table_pages(&mut self, stage: &mut Stage, count: u64) -> Result<Vec<u64>> {
        self.alloc_twins(stage, EntryKind::Table, count)
    }
}

impl Engine {
    /// Frees a page of a table.
    pub(crate) fn free_table_page(&self, stage: &mut Stage, index: u64) -> Result<()> {
        self.free_twins(stage, EntryKind::Table, &[index])
    }

    /// The live content, verified as the options say.
    pub(crate) fn table_page(&self, index: u64) -> Result<&[u8]> {
        self.twin_content(EntryKind::Table, index)
    }

    /// The content as the transaction sees it.
    pub(crate) fn staged_table_page<'a>(&'a self, stage: &'a Stage, index: u64) -> Result<&'a [u8]> {
        self.staged_twin(stage, EntryKind::Table, index)
    }

    /// The staged content, to be changed.
    pub(crate) fn staged_table_page_mut<'a>(&self, stage: &'a mut Stage, index: u64) -> Result<&'a mut [u8]> {
        self.check_usable()?;
        self.check_staged_twin(stage, EntryKind::Table, index)?;
        let start = |_| self.table_page(index).map(PageBuffer::copy_of);
        let [content] = stage.contents_mut([Owned::Protected(index)], start)?;
        Ok(content)
    }
}
