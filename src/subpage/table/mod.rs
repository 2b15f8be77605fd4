//! Which sub-pages are live, in the file: a table that a transaction opens by its id.
//!
//! ```text
//!   handle, view, iter     types around them
//!     ▼
//!   change  check          slots taken and given back; all of it compared
//!     ▼       ▼
//!   tree ──▶ pages         where the record of a parent stands; where pages come from
//! ```
//!
//! Everything that a table knows stands in pages that it owns, twins that the commit turns over as it does protected pages. So a
//! table is as atomic as the transaction is, with savepoints and rollback, and nothing of it is in memory.

mod change;
mod check;
mod handle;
mod iter;
mod pages;
mod tree;
mod view;

use crate::error::Result;
use crate::format::SlotShape;
use crate::ids::{SubPageId, SubPageTableId};
use crate::pager::{PageReader, Transaction};

pub use handle::SubPageTable;
pub use iter::SubPageTableIter;
pub use view::SubPageTableView;

use pages::whole;
use tree::Table;

/// A table with its sizes as values.
fn table<const P: usize, const S: usize>(id: SubPageTableId<P, S>) -> Table {
    Table { shape: shape::<P, S>(), id: id.to_u64() }
}

fn shape<const P: usize, const S: usize>() -> SlotShape {
    let shape = SlotShape::new(P, S);
    // Sizes that cannot be are an error of the build.
    assert_eq!(shape.slots(), SubPageId::<P, S>::SLOTS, "both cut a page the same way");
    shape
}

fn id_of_table<const P: usize, const S: usize>(table: Table) -> SubPageTableId<P, S> {
    SubPageTableId::from_u64(table.id).expect("one more than an index is not zero")
}

impl<const P: usize> PageReader<P> {
    /// A table of sub-pages of `S` bytes, to be read.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTable`](crate::Error::NoSuchTable) when the id names none; [`Error::SubPageSize`](crate::Error::SubPageSize)
    /// when its sub-pages have another size; [`Error::Corrupt`](crate::Error::Corrupt) when its first page is not what was
    /// committed, or not what it must be; [`Error::Io`](crate::Error::Io) when it cannot be read.
    pub fn sub_pages<const S: usize>(&self, id: SubPageTableId<P, S>) -> Result<SubPageTableView<'_, P, S>> {
        SubPageTableView::new(self, id)
    }
}

impl<'p, const P: usize> Transaction<'p, P> {
    /// Makes a table of sub-pages of `S` bytes. It is there with the commit, and has a page of its own.
    ///
    /// `S` is a power of two, from 8 to half of `P`; anything else is an error of the build.
    ///
    /// # Errors
    ///
    /// [`Error::Full`](crate::Error::Full) when the file may not grow so far, [`Error::Io`](crate::Error::Io) when it cannot;
    /// [`Error::StageFull`](crate::Error::StageFull). Nothing has changed then.
    pub fn create_sub_page_table<const S: usize>(&mut self) -> Result<SubPageTableId<P, S>> {
        whole(self, |pages| Table::create(shape::<P, S>(), pages)).map(id_of_table)
    }

    /// Frees a table, with all its sub-pages and pages. It takes time in proportion to the pages.
    ///
    /// # Errors
    ///
    /// Those of [`sub_pages`](Self::sub_pages). Nothing has changed then.
    pub fn free_sub_page_table<const S: usize>(&mut self, id: SubPageTableId<P, S>) -> Result<()> {
        table(id).destroy(self)
    }

    /// Opens a table of sub-pages of `S` bytes, to be changed in this transaction.
    ///
    /// # Errors
    ///
    /// Those of [`PageReader::sub_pages`].
    pub fn sub_pages<const S: usize>(&mut self, id: SubPageTableId<P, S>) -> Result<SubPageTable<'_, 'p, P, S>> {
        SubPageTable::new(self, id)
    }
}
