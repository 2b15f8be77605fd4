//! Advice about pages: what will be read, in which order, and what need not stay in memory.

use std::ops::{Bound, Range, RangeBounds};

use crate::engine::Owned;
use crate::ids::{AnyPageId, PageId};
use crate::storage::AccessPattern;

use super::reader::{PageReader, index_of};

/// Advice to the operating system. It changes how long reads take and nothing that they return. Where the system has no such
/// call, and on a [`SimDisk`](crate::SimDisk), it does nothing.
impl<const P: usize> PageReader<P> {
    /// Says in which order pages will be read, until something else is said or the pager is closed.
    ///
    /// ```
    /// use diptych::{AccessPattern, Pager};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// let mut pager = Pager::<4096>::create(directory.path().join("index.db"))?;
    /// let ids = pager.alloc_bulk(100)?;
    /// pager.advise(AccessPattern::Sequential);
    /// let sum: u64 = ids.iter().map(|id| u64::from(id.get(&pager).unwrap()[0])).sum();
    /// pager.advise(AccessPattern::Random);
    /// # assert_eq!(sum, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn advise(&self, pattern: AccessPattern) {
        self.engine.advise(pattern);
    }

    /// Begins to read pages from the disk that will be needed, regular and protected ones, and does not wait for them. An id
    /// that names no page is passed over.
    ///
    /// ```
    /// # use diptych::Pager;
    /// # let directory = tempfile::tempdir()?;
    /// # let mut pager = Pager::<4096>::create(directory.path().join("index.db"))?;
    /// let children = pager.alloc_bulk(8)?;
    /// let roots = pager.alloc_protected_bulk(2)?;
    /// pager.prefetch(children);
    /// pager.prefetch(roots);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn prefetch(&self, ids: impl IntoIterator<Item = impl Into<AnyPageId<P>>>) {
        self.engine.prefetch(ids.into_iter().map(|id| match id.into() {
            AnyPageId::Regular(id) => Owned::Page(id.to_u64()),
            AnyPageId::Protected(id) => Owned::Protected(index_of(id)),
        }));
    }

    /// Begins to read all pages of a range, whatever they hold; `..` is the whole file. What of the range lies past the end is
    /// passed over.
    pub fn prefetch_range(&self, range: impl RangeBounds<PageId<P>>) {
        self.engine.prefetch_run(pages_of(&range));
    }

    /// Lets go of the memory that the pages of a range take, whatever they hold; `..` is the whole file. They are read from the
    /// disk again when they are next looked at. What was stored and not [synced](crate::Pager::sync) stays in memory.
    ///
    /// ```
    /// # use diptych::Pager;
    /// # let directory = tempfile::tempdir()?;
    /// # let mut pager = Pager::<4096>::create(directory.path().join("index.db"))?;
    /// # let ids = pager.alloc_bulk(100)?;
    /// pager.sync()?;
    /// pager.drop_from_memory(ids[10]..ids[90]);
    /// pager.drop_from_memory(..);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drop_from_memory(&self, range: impl RangeBounds<PageId<P>>) {
        self.engine.drop_from_memory(pages_of(&range));
    }
}

/// The numbers of the pages of a range.
fn pages_of<const P: usize>(range: &impl RangeBounds<PageId<P>>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(id) => id.to_u64(),
        Bound::Excluded(id) => id.to_u64().saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(id) => id.to_u64().saturating_add(1),
        Bound::Excluded(id) => id.to_u64(),
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

#[cfg(test)]
mod tests {
    use super::{Bound, PageId, pages_of};

    #[test]
    fn every_kind_of_range_names_the_pages_that_it_says() {
        let id = |raw| PageId::<4096>::from_u64(raw).expect("it is not zero");
        assert_eq!(pages_of(&(id(3)..id(7))), 3..7);
        assert_eq!(pages_of(&(id(3)..=id(7))), 3..8);
        assert_eq!(pages_of(&(id(3)..)), 3..u64::MAX);
        assert_eq!(pages_of(&(..id(7))), 0..7);
        assert_eq!(pages_of::<4096>(&(..)), 0..u64::MAX);
        assert_eq!(pages_of(&(Bound::Excluded(id(u64::MAX)), Bound::Unbounded)), u64::MAX..u64::MAX);
    }
}
