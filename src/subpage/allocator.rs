//! A pager and a map in one, and the handles that lead into it.

use crate::allocator::{BulkPageAllocator, PageAllocator, PageHandle, ReadHandle};
use crate::error::{Error, Result};
use crate::ids::SubPageId;
use crate::page::MappedPage;
use crate::pager::Pager;

use super::map::SubPageMap;
use super::recover::SubPageRecovery;

/// A pager that hands out sub-pages of `S` bytes, parts of its pages of `P` bytes.
///
/// It is a [`Pager`] and a [`SubPageMap`], which says what sub-pages are, and what they are not: what is live is known in memory
/// alone. Users of several sizes, or of transactions, have maps and a pager of their own; [`parts_mut`](Self::parts_mut) lends
/// those of this one.
///
/// ```
/// use diptych::{Pager, SubPageAllocator};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("small.db");
/// let mut parts = SubPageAllocator::<4096, 512>::new(Pager::create(&path)?);
/// let ids = parts.alloc_bulk(10)?;
/// ids[3].get_mut(&mut parts)?.as_bytes_mut()[..5].copy_from_slice(b"hello");
/// assert!(ids[3].get(&parts)?.starts_with(b"hello"));
/// assert_eq!(parts.pager().allocated_page_count(), 2);
/// parts.free_bulk(ids)?;
/// assert_eq!(parts.into_pager().allocated_page_count(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A call that takes a page of the pager, or gives one back, is a durable commit. All others are memory alone.
#[derive(Debug)]
pub struct SubPageAllocator<const P: usize, const S: usize> {
    pager: Pager<P>,
    map: SubPageMap<P, S>,
}

impl<const P: usize, const S: usize> SubPageAllocator<P, S> {
    /// Around a pager, without sub-pages. It takes no page before the first is asked for.
    ///
    /// `S` is a power of two, from 8 to half of `P`; anything else is an error of the build.
    #[must_use]
    pub fn new(pager: Pager<P>) -> Self {
        SubPageAllocator { pager, map: SubPageMap::new() }
    }

    /// Around a pager in which the sub-pages of `live_ids` are live: [`SubPageMap::recover`] says what is done with ids that
    /// cannot be.
    #[must_use]
    pub fn recover(
        pager: Pager<P>,
        live_ids: impl IntoIterator<Item = SubPageId<P, S>>,
    ) -> (Self, SubPageRecovery<P, S>) {
        let (map, found) = SubPageMap::recover(&pager, live_ids);
        (SubPageAllocator { pager, map }, found)
    }

    /// The pager.
    #[must_use]
    pub fn pager(&self) -> &Pager<P> {
        &self.pager
    }

    /// Which sub-pages are live.
    #[must_use]
    pub fn map(&self) -> &SubPageMap<P, S> {
        &self.map
    }

    /// The pager and the map, for a transaction, a header, or pages beside the sub-pages.
    #[must_use]
    pub fn parts_mut(&mut self) -> (&mut Pager<P>, &mut SubPageMap<P, S>) {
        (&mut self.pager, &mut self.map)
    }

    /// The pager and the map.
    #[must_use]
    pub fn into_parts(self) -> (Pager<P>, SubPageMap<P, S>) {
        (self.pager, self.map)
    }

    /// The pager. Pages with live sub-pages stay allocated in it.
    #[must_use]
    pub fn into_pager(self) -> Pager<P> {
        self.pager
    }

    /// Hands out a sub-page. It reads as zeros.
    ///
    /// # Errors
    ///
    /// Those of [`Pager::alloc`], where it takes a page. Nothing has changed then.
    pub fn alloc(&mut self) -> Result<SubPageId<P, S>> {
        self.map.alloc(&mut self.pager)
    }

    /// Hands out `count` sub-pages, all of them or none, with one commit at the most. They read as zeros.
    ///
    /// # Errors
    ///
    /// Those of [`Pager::alloc_bulk`], where it takes pages; [`Error::Io`] when there is no memory for so many ids. Nothing has
    /// changed then.
    pub fn alloc_bulk(&mut self, count: usize) -> Result<Vec<SubPageId<P, S>>> {
        self.map.alloc_bulk(&mut self.pager, count)
    }

    /// Takes a sub-page back, and gives its page back if it was the last one in it.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchSubPage`] when the id names none; where it gives a page back, those of [`Pager::free`]. Nothing has
    /// changed then.
    pub fn free(&mut self, id: SubPageId<P, S>) -> Result<()> {
        self.map.free(&mut self.pager, id)
    }

    /// Takes sub-pages back, all of them or none, with one commit at the most.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchSubPage`] when an id names none, [`Error::Duplicate`] when one stands twice; where it gives pages back,
    /// those of [`Pager::free_bulk`]. Nothing has changed then.
    pub fn free_bulk(&mut self, ids: impl AsRef<[SubPageId<P, S>]>) -> Result<()> {
        self.map.free_bulk(&mut self.pager, ids)
    }

    /// A sub-page, in place.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchSubPage`] when the id names none.
    #[inline]
    pub fn page(&self, id: SubPageId<P, S>) -> Result<&MappedPage<S>> {
        self.map.page(&self.pager, id)
    }

    /// A sub-page, in place, to be stored to. [`sync`](Self::sync) makes it durable.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchSubPage`] when the id names none; [`Error::Poisoned`].
    #[inline]
    pub fn page_mut(&mut self, id: SubPageId<P, S>) -> Result<&mut MappedPage<S>> {
        self.map.page_mut(&mut self.pager, id)
    }

    /// Makes durable what was stored to sub-pages.
    ///
    /// # Errors
    ///
    /// Those of [`Pager::sync`].
    pub fn sync(&mut self) -> Result<()> {
        self.pager.sync()
    }
}

impl<const P: usize, const S: usize> PageAllocator<SubPageId<P, S>> for SubPageAllocator<P, S> {
    type Error = Error;

    fn alloc(&mut self) -> Result<SubPageId<P, S>> {
        self.alloc()
    }

    fn free(&mut self, id: SubPageId<P, S>) -> Result<()> {
        self.free(id)
    }
}

impl<const P: usize, const S: usize> BulkPageAllocator<SubPageId<P, S>> for SubPageAllocator<P, S> {
    fn alloc_bulk(&mut self, count: usize) -> Result<Vec<SubPageId<P, S>>> {
        self.alloc_bulk(count)
    }

    fn free_bulk(&mut self, ids: impl AsRef<[SubPageId<P, S>]>) -> Result<()> {
        self.free_bulk(ids)
    }
}

impl<const P: usize, const S: usize> ReadHandle<SubPageAllocator<P, S>> for SubPageId<P, S> {
    type Error = Error;
    type Page = MappedPage<S>;

    #[inline]
    fn get<'a>(&self, from: &'a SubPageAllocator<P, S>) -> Result<&'a MappedPage<S>> {
        from.page(*self)
    }
}

/// In place: [`SubPageAllocator::page_mut`].
impl<const P: usize, const S: usize> PageHandle<SubPageAllocator<P, S>> for SubPageId<P, S> {
    type Mut<'a> = &'a mut MappedPage<S>;

    #[inline]
    fn get_mut<'a>(&self, through: &'a mut SubPageAllocator<P, S>) -> Result<&'a mut MappedPage<S>> {
        through.page_mut(*self)
    }
}

impl<const P: usize, const S: usize> SubPageId<P, S> {
    /// The sub-page, in place.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchSubPage`] when the id names none.
    #[inline]
    pub fn get<'a, A: ?Sized>(&self, from: &'a A) -> Result<&'a MappedPage<S>>
    where
        Self: ReadHandle<A, Page = MappedPage<S>, Error = Error>,
    {
        ReadHandle::get(self, from)
    }

    /// The sub-page, to be stored to: in place through a [`SubPageAllocator`], where [`sync`](SubPageAllocator::sync) makes it
    /// durable.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get); [`Error::Poisoned`].
    #[inline]
    pub fn get_mut<'a, A: ?Sized>(&self, through: &'a mut A) -> Result<<Self as PageHandle<A>>::Mut<'a>>
    where
        Self: PageHandle<A, Error = Error>,
    {
        PageHandle::get_mut(self, through)
    }
}
