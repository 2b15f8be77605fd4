//! Pages of tables: twins that no id of a user names.
//!
//! A table keeps its pages by their indexes in the directory, and a page is read, changed and freed as a protected page is. So
//! what a table does in a transaction is atomic without anything of its own.

use crate::error::Result;

use super::entries::EntryKind;
use super::page_buffer::PageBuffer;
use super::stage::{Owned, Stage};
use super::{Engine, check_distinct};

// The tables that are made of these pages come next.
#[cfg_attr(not(test), expect(dead_code, reason = "nothing keeps tables yet"))]
impl Engine {
    /// Takes pages for a table, all of them or none. They hold zeros.
    pub(crate) fn alloc_table_pages(&mut self, stage: &mut Stage, count: u64) -> Result<Vec<u64>> {
        self.alloc_twins(stage, EntryKind::Table, count)
    }

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

    /// The staged contents of several pages, no two of them equal, all of them or none.
    pub(crate) fn staged_table_pages_mut<'a, const K: usize>(
        &self,
        stage: &'a mut Stage,
        indexes: [u64; K],
    ) -> Result<[&'a mut [u8]; K]> {
        self.check_usable()?;
        let all = indexes.map(Owned::Protected);
        check_distinct(all)?;
        indexes.into_iter().try_for_each(|index| self.check_staged_twin(stage, EntryKind::Table, index))?;
        stage.contents_mut(all, |owned| match owned {
            Owned::Protected(index) => self.table_page(index).map(PageBuffer::copy_of),
            _ => unreachable!("only twins were asked for"),
        })
    }
}
