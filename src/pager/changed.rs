//! What changed since a generation.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Range;

use crate::block::Block;
use crate::format::PAGES_PER_LEAF;
use crate::ids::{Generation, ProtectedPageId};

use super::reader::PageReader;

/// Something that was written after a generation: what [`PageReader::changed_since`] yields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change<const P: usize> {
    /// A protected page: it was allocated, or its content committed.
    Protected(ProtectedPageId<P>),
    /// A leaf of the map of free pages: pages in its range were handed out, or freed, or the file grew into it.
    FreeMapLeaf {
        /// The position of the leaf.
        index: u64,
        /// The numbers of the pages that it is about, some of them perhaps behind the end of the file.
        pages: Range<u64>,
    },
}

/// What was written after a generation: made by [`PageReader::changed_since`].
pub struct ChangedSince<'a, const P: usize> {
    blocks: Box<dyn Iterator<Item = Block> + Send + Sync + 'a>,
}

impl<const P: usize> Iterator for ChangedSince<'_, P> {
    type Item = Change<P>;

    fn next(&mut self) -> Option<Change<P>> {
        self.blocks.find_map(|block| match block {
            Block::ProtectedPage { id } => ProtectedPageId::from_u64(id).map(Change::Protected),
            Block::FreeMapLeaf { index } => {
                let first = index * PAGES_PER_LEAF;
                Some(Change::FreeMapLeaf { index, pages: first..first + PAGES_PER_LEAF })
            }
            _ => None,
        })
    }
}

impl<const P: usize> FusedIterator for ChangedSince<'_, P> {}

impl<const P: usize> fmt::Debug for ChangedSince<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangedSince").finish_non_exhaustive()
    }
}

impl<const P: usize> PageReader<P> {
    /// The protected pages that were written after a generation, ascending, and then the leaves of the free map that changed.
    ///
    /// None is missing; a leaf may be there that changed at that generation or before, and so may what was written back as it
    /// was. A protected page that was freed is not there: it is no longer
    /// [allocated](Self::iter_allocated_protected_pages). Of regular pages nothing is known but, by the leaves, which
    /// are allocated; pages of tables of sub-pages are not listed, nor are extents.
    ///
    /// Commits that [wait](crate::Durability::None) share a generation with those behind them, the durable one included. While
    /// they wait, that generation counts as one before which all of them came.
    ///
    /// It takes time in proportion to the protected pages, and reads nothing from the file.
    ///
    /// ```
    /// use diptych::Change;
    /// # use diptych::{PagerOptions, SimDisk};
    ///
    /// # let mut pager = PagerOptions::new().create_on::<1024>(&SimDisk::new())?;
    /// let ids = pager.alloc_protected_bulk(3)?;
    /// let since = pager.generation();
    /// let mut writer = pager.protected_mut(ids[1])?;
    /// writer.page_mut().fill(7);
    /// writer.commit()?;
    /// assert_eq!(pager.changed_since(since).next(), Some(Change::Protected(ids[1])));
    /// assert_eq!(pager.changed_since(pager.generation()).count(), 0);
    /// # Ok::<(), diptych::Error>(())
    /// ```
    #[must_use]
    pub fn changed_since(&self, generation: Generation) -> ChangedSince<'_, P> {
        ChangedSince { blocks: Box::new(self.engine.changed_since(generation.to_u64())) }
    }
}
