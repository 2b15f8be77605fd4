//! What can be read of a pager: the one place where every read method stands.

use std::fmt;

use static_assertions::assert_impl_all;

use crate::block::PageKind;
use crate::engine::{Engine, Finding, Recovery};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::ids::{AnyPageId, FileId, Generation, PageId, ProtectedPageId};
use crate::page::MappedPage;

use super::iter::{AllocatedPageIter, AllocatedProtectedPageIter};

/// Bytes of the application header: [`PageReader::header`].
pub const HEADER_LEN: usize = 128;

/// The live state of a file with pages of `P` bytes: everything that can be read, and nothing that changes it.
///
/// [`Pager`](crate::Pager), [`ReadOnlyPager`](crate::ReadOnlyPager) and the [`ReadGuard`](crate::ReadGuard) of a shared one deref to
/// it. A [`Transaction`](crate::Transaction) does not: what it reads includes its own changes.
///
/// What is borrowed from it is looked at in place, without a copy. All of it is `Send + Sync`: any number of threads read
/// at the same time.
pub struct PageReader<const P: usize> {
    pub(super) engine: Engine,
}

assert_impl_all!(PageReader<4096>: Send, Sync);

impl<const P: usize> PageReader<P> {
    /// A regular page, in place.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] when the file has no such page; [`Error::WrongKind`] when it is free, or somebody else's: of the
    /// reserved region, or a copy of something that is kept twice.
    #[inline]
    pub fn page(&self, id: PageId<P>) -> Result<&MappedPage<P>> {
        self.engine.page_array(id.to_u64()).map(MappedPage::from_array)
    }

    /// The live content of a protected page, in place, verified as [`PagerOptions::verification`] says.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchProtectedPage`] when it was never allocated, or freed; [`Error::Corrupt`] when its content is not what
    /// was committed ([`protected_zeroed`] heals the page); [`Error::Io`] when it cannot be read.
    ///
    /// [`PagerOptions::verification`]: crate::PagerOptions::verification
    /// [`protected_zeroed`]: crate::Pager::protected_zeroed
    #[inline]
    pub fn protected(&self, id: ProtectedPageId<P>) -> Result<&MappedPage<P>> {
        self.engine.protected_array(index_of(id)).map(MappedPage::from_array)
    }

    /// The application header: 128 bytes that belong to the user and change with a commit, zeros in a new file.
    ///
    /// It is where the root of a user's own structures is kept; [`Transaction::set_header`](crate::Transaction::set_header)
    /// changes it.
    #[must_use]
    pub fn header(&self) -> &[u8; HEADER_LEN] {
        self.engine.live().header()
    }

    /// The size of a page in bytes: `P`.
    #[must_use]
    pub fn page_size(&self) -> usize {
        P
    }

    /// Pages in the file, those of the reserved region and of the engine included.
    #[must_use]
    pub fn page_count(&self) -> u64 {
        self.engine.live().total_pages()
    }

    /// Pages in the file that nobody owns. The map of free pages takes a few of them as it grows.
    #[must_use]
    pub fn free_page_count(&self) -> u64 {
        self.engine.live().free_pages()
    }

    /// Regular pages that are allocated.
    #[must_use]
    pub fn allocated_page_count(&self) -> u64 {
        self.engine.live().counts().regular
    }

    /// Protected pages that are allocated.
    #[must_use]
    pub fn allocated_protected_page_count(&self) -> u64 {
        self.engine.live().counts().protected
    }

    /// Pages of the file that are owned by tables, each of them kept twice, and by extents.
    #[must_use]
    pub fn table_owned_page_count(&self) -> u64 {
        self.engine.live().counts().table_owned
    }

    /// The number of the last commit. A new file is at generation 1; every commit that changes something adds 1. Commits that wait
    /// for the next durable one share its number.
    #[must_use]
    pub fn generation(&self) -> Generation {
        Generation::new(self.engine.live().generation())
    }

    /// The number of the last commit that is durable: one less than [`generation`](Self::generation) while commits of
    /// [`Durability::None`](crate::Durability::None) wait, else the same.
    #[must_use]
    pub fn durable_generation(&self) -> Generation {
        Generation::new(self.engine.durable().generation())
    }

    /// The random name that the file was given when it was created.
    #[must_use]
    pub fn file_id(&self) -> FileId {
        self.engine.identity().file_id
    }

    /// Whether an id names a page that is allocated: a regular page by a [`PageId`], a protected one by a
    /// [`ProtectedPageId`]. Takes constant time and reads nothing.
    #[must_use]
    pub fn is_allocated(&self, id: impl Into<AnyPageId<P>>) -> bool {
        let live = self.engine.live();
        match id.into() {
            AnyPageId::Regular(id) => {
                let page = id.to_u64();
                page < live.total_pages() && live.kind(self.engine.geometry(), page) == PageKind::Regular
            }
            AnyPageId::Protected(id) => live.is_protected(index_of(id)),
        }
    }

    /// What opening the file found and did, or, of a [`ReadOnlyPager`](crate::ReadOnlyPager), would have done.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        self.engine.recovery()
    }

    /// Reads everything that the live state names, whatever was verified before, and lists what is wrong. Changes nothing. Of
    /// blocks that a [`ReadOnlyPager`](crate::ReadOnlyPager) reports in its [`recovery`](Self::recovery) it says nothing.
    ///
    /// It takes time in proportion to what is allocated, contents of regular pages excepted: nothing is known about them.
    #[must_use]
    pub fn check(&self) -> Vec<Finding> {
        self.engine.check()
    }

    /// The regular pages that are allocated, in ascending order.
    ///
    /// ```
    /// # use diptych::{PagerOptions, SimDisk};
    /// # let mut pager = PagerOptions::new().create_on::<1024>(&SimDisk::new())?;
    /// let ids = pager.alloc_bulk(3)?;
    /// assert!(pager.iter_allocated_pages().eq(ids));
    /// assert_eq!(pager.iter_allocated_pages().len(), 3);
    /// # Ok::<(), diptych::Error>(())
    /// ```
    #[must_use]
    pub fn iter_allocated_pages(&self) -> AllocatedPageIter<'_, P> {
        AllocatedPageIter::new(self.engine.live())
    }

    /// The protected pages that are allocated, in ascending order.
    #[must_use]
    pub fn iter_allocated_protected_pages(&self) -> AllocatedProtectedPageIter<'_, P> {
        AllocatedProtectedPageIter::new(self.engine.live())
    }
}

impl<const P: usize> fmt::Debug for PageReader<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageReader")
            .field("page_size", &P)
            .field("page_count", &self.page_count())
            .field("generation", &self.generation())
            .field("file_id", &self.file_id())
            .finish_non_exhaustive()
    }
}

/// The engine numbers protected pages from 0, ids from 1: zero is no id.
#[inline]
pub(super) fn index_of<const P: usize>(id: ProtectedPageId<P>) -> u64 {
    id.to_u64() - 1
}
