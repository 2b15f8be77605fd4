//! A table to be read.

use std::fmt;

use crate::error::{Error, Result};
use crate::format::TableRoot;
use crate::ids::{SubPageId, SubPageTableId};
use crate::page::MappedPage;

use super::iter::SubPageTableIter;
use super::pages::ReadPages;
use super::tree::Table;
use super::{id_of_table, table};

/// A table of sub-pages, to be read: of the live state, made by [`PageReader::sub_pages`](crate::PageReader::sub_pages), or as it
/// will be after a commit, made by [`SubPageTable::view`](crate::SubPageTable::view).
#[derive(Clone, Copy)]
pub struct SubPageTableView<'a, const P: usize, const S: usize> {
    pages: &'a dyn ReadPages,
    table: Table,
    root: TableRoot,
}

impl<'a, const P: usize, const S: usize> SubPageTableView<'a, P, S> {
    pub(super) fn new(pages: &'a dyn ReadPages, id: SubPageTableId<P, S>) -> Result<Self> {
        let table = table(id);
        Ok(SubPageTableView { pages, table, root: table.root(pages)? })
    }

    /// The name of the table.
    #[must_use]
    pub fn id(&self) -> SubPageTableId<P, S> {
        id_of_table(self.table)
    }

    /// A sub-page.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchSubPage`] when the id names none; [`Error::Corrupt`] when a page of the table is not what was committed,
    /// or not what it must be; [`Error::Io`] when it cannot be read.
    pub fn page(&self, id: SubPageId<P, S>) -> Result<&'a MappedPage<S>> {
        self.table.content(self.pages, &self.root, id.to_u64()).map(MappedPage::from_bytes)
    }

    /// Whether an id names a live sub-page.
    ///
    /// # Errors
    ///
    /// Those of [`page`](Self::page), but for [`Error::NoSuchSubPage`].
    pub fn is_allocated(&self, id: SubPageId<P, S>) -> Result<bool> {
        match self.table.find_live(self.pages, &self.root, id.to_u64()) {
            Ok(_) => Ok(true),
            Err(Error::NoSuchSubPage { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Live sub-pages.
    #[must_use]
    pub fn allocated_count(&self) -> u64 {
        self.root.live
    }

    /// Sub-pages that can be handed out before another page is needed.
    #[must_use]
    pub fn free_count(&self) -> u64 {
        self.table.room(&self.root)
    }

    /// Pages in which the sub-pages lie.
    #[must_use]
    pub fn parent_count(&self) -> u64 {
        self.root.parents
    }

    /// Pages that the table has in all, those with its records included. Each takes two pages of the file.
    ///
    /// # Errors
    ///
    /// Those of [`check`](Self::check) about how the pages name one another.
    pub fn page_count(&self) -> Result<u64> {
        let (own, parents) = self.table.owned_pages(self.pages, &self.root)?;
        Ok((own.len() + parents.len()) as u64)
    }

    /// The live sub-pages, in ascending order of their ids.
    #[must_use]
    pub fn iter_allocated(&self) -> SubPageTableIter<'a, P, S> {
        SubPageTableIter::new(self.pages, self.table, self.root)
    }

    /// Reads the whole table, and compares every count, bit and list in it with the others. Takes time in proportion to the
    /// pages in which its sub-pages lie.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] with the first thing that is wrong; [`Error::Io`] when a page cannot be read.
    pub fn check(&self) -> Result<()> {
        self.table.check(self.pages)
    }
}

impl<const P: usize, const S: usize> fmt::Debug for SubPageTableView<'_, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubPageTableView")
            .field("id", &self.id())
            .field("allocated_count", &self.allocated_count())
            .field("parent_count", &self.parent_count())
            .finish_non_exhaustive()
    }
}
