//! Where a table has its pages: a reader, or a transaction, with the size of the pages as a value.

use crate::block::Block;
use crate::engine::SavepointToken;
use crate::error::{Error, Result};
use crate::format::Defect;
use crate::pager::{PageReader, Transaction};

/// A place to read pages of tables from, by their indexes in the directory.
pub(super) trait ReadPages: Sync {
    fn page(&self, index: u64) -> Result<&[u8]>;

    /// The page of the file in which it lies.
    fn place(&self, index: u64) -> Option<u64>;
}

/// A place to change them in.
pub(super) trait ChangePages: ReadPages {
    fn page_mut(&mut self, index: u64) -> Result<&mut [u8]>;

    /// A page of zeros.
    fn alloc(&mut self) -> Result<u64>;

    fn free(&mut self, index: u64) -> Result<()>;

    fn begin(&mut self) -> SavepointToken;

    fn end(&mut self, begun: SavepointToken, stays: bool);

    fn as_read(&self) -> &dyn ReadPages;
}

impl<const P: usize> ReadPages for PageReader<P> {
    fn page(&self, index: u64) -> Result<&[u8]> {
        self.table_page(index)
    }

    fn place(&self, index: u64) -> Option<u64> {
        self.place_of_table_page(index)
    }
}

impl<const P: usize> ReadPages for Transaction<'_, P> {
    fn page(&self, index: u64) -> Result<&[u8]> {
        self.table_page(index)
    }

    fn place(&self, index: u64) -> Option<u64> {
        self.place_of_table_page(index)
    }
}

impl<const P: usize> ChangePages for Transaction<'_, P> {
    fn page_mut(&mut self, index: u64) -> Result<&mut [u8]> {
        self.table_page_mut(index)
    }

    fn alloc(&mut self) -> Result<u64> {
        self.alloc_table_page()
    }

    fn free(&mut self, index: u64) -> Result<()> {
        self.free_table_page(index)
    }

    fn begin(&mut self) -> SavepointToken {
        self.begin_whole()
    }

    fn end(&mut self, begun: SavepointToken, stays: bool) {
        self.end_whole(begun, stays);
    }

    fn as_read(&self) -> &dyn ReadPages {
        self
    }
}

/// What is wrong in a page of a table.
#[cold]
pub(super) fn corrupt(pages: &dyn ReadPages, index: u64, defect: Defect) -> Error {
    defect.at(Block::TablePage { id: index.saturating_add(1) }, pages.place(index).unwrap_or(0))
}

/// A page that another page of the table names.
pub(super) fn named_page(pages: &dyn ReadPages, by: u64, index: u64) -> Result<&[u8]> {
    pages.page(index).map_err(|error| not_there(pages, by, error))
}

/// What names a page that is not there is wrong; other errors are what they are.
#[cold]
pub(super) fn not_there(pages: &dyn ReadPages, by: u64, error: Error) -> Error {
    match error {
        Error::NoSuchTable { id } => corrupt(pages, by, Defect { field: "named page", expected: 0, found: id }),
        other => other,
    }
}

/// Does something as a whole: after an error nothing has changed.
pub(super) fn whole<T>(
    pages: &mut dyn ChangePages,
    change: impl FnOnce(&mut dyn ChangePages) -> Result<T>,
) -> Result<T> {
    let begun = pages.begin();
    let done = change(pages);
    pages.end(begun, done.is_ok());
    done
}
