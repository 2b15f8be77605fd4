//! What a table of sub-pages asks of the place that it is in: pages that it owns, by their indexes in the directory.

use crate::engine::SavepointToken;
use crate::error::Result;

use super::{PageReader, Transaction};

impl<const P: usize> PageReader<P> {
    /// The content of a page of a table, verified.
    pub(crate) fn table_page(&self, index: u64) -> Result<&[u8]> {
        self.engine.table_page(index)
    }

    /// Where it lies.
    pub(crate) fn place_of_table_page(&self, index: u64) -> Option<u64> {
        self.engine.live().live_page_of(index)
    }
}

impl<const P: usize> Transaction<'_, P> {
    /// The content of a page of a table as it will be after the commit.
    pub(crate) fn table_page(&self, index: u64) -> Result<&[u8]> {
        self.engine.get().staged_table_page(&self.stage, index)
    }

    /// The same, to be changed.
    pub(crate) fn table_page_mut(&mut self, index: u64) -> Result<&mut [u8]> {
        self.engine.get().staged_table_page_mut(&mut self.stage, index)
    }

    /// Where its live copy lies, or will lie first.
    pub(crate) fn place_of_table_page(&self, index: u64) -> Option<u64> {
        self.stage.state().live_page_of(index)
    }

    /// A page of zeros.
    pub(crate) fn alloc_table_page(&mut self) -> Result<u64> {
        let indexes = self.engine.holder().alloc_table_pages(&mut self.stage, 1)?;
        Ok(indexes.into_iter().next().expect("one page was asked for"))
    }

    pub(crate) fn free_table_page(&mut self, index: u64) -> Result<()> {
        self.engine.get().free_table_page(&mut self.stage, index)
    }

    /// An empty list with memory for `count` names, in `pages` more pages of tables at the least: what cannot be is an error
    /// before anything is done.
    pub(crate) fn room_in_table<T>(&self, count: usize, pages: u64) -> Result<Vec<T>> {
        self.engine.get().room_for(&self.stage, count, pages.saturating_mul(2))
    }

    /// Begins something that is done as a whole or taken back.
    pub(crate) fn begin_whole(&mut self) -> SavepointToken {
        self.stage.savepoint()
    }

    /// Ends the newest of these: what was done stays, or is taken back.
    pub(crate) fn end_whole(&mut self, begun: SavepointToken, stays: bool) {
        if !stays {
            self.stage.rollback_to(begun).expect("it was begun in this transaction and has not ended");
        }
        self.stage.release(begun);
    }
}
