//! Where ids can be read and changed, and who hands them out: the traits of `allocator`, for the places of this folder.
//!
//! Every method here is the inherent one of the place, under the name that generic code knows.

use crate::allocator::{BulkPageAllocator, PageAllocator, PageHandle, ReadHandle};
use crate::error::{Error, Result};
use crate::ids::{PageId, ProtectedPageId};
use crate::page::MappedPage;

use super::{PageReader, Pager, ProtectedPageWriter, Transaction};

impl<const P: usize> ReadHandle<PageReader<P>> for PageId<P> {
    type Error = Error;
    type Page = MappedPage<P>;

    #[inline]
    fn get<'a>(&self, from: &'a PageReader<P>) -> Result<&'a MappedPage<P>> {
        from.page(*self)
    }
}

impl<const P: usize> ReadHandle<PageReader<P>> for ProtectedPageId<P> {
    type Error = Error;
    type Page = MappedPage<P>;

    #[inline]
    fn get<'a>(&self, from: &'a PageReader<P>) -> Result<&'a MappedPage<P>> {
        from.protected(*self)
    }
}

impl<const P: usize> ReadHandle<Pager<P>> for PageId<P> {
    type Error = Error;
    type Page = MappedPage<P>;

    #[inline]
    fn get<'a>(&self, from: &'a Pager<P>) -> Result<&'a MappedPage<P>> {
        from.page(*self)
    }
}

/// In place: [`Pager::page_mut`].
impl<const P: usize> PageHandle<Pager<P>> for PageId<P> {
    type Mut<'a> = &'a mut MappedPage<P>;

    #[inline]
    fn get_mut<'a>(&self, through: &'a mut Pager<P>) -> Result<&'a mut MappedPage<P>> {
        through.page_mut(*self)
    }
}

impl<const P: usize> ReadHandle<Pager<P>> for ProtectedPageId<P> {
    type Error = Error;
    type Page = MappedPage<P>;

    #[inline]
    fn get<'a>(&self, from: &'a Pager<P>) -> Result<&'a MappedPage<P>> {
        from.protected(*self)
    }
}

/// By a writer that has to be committed: [`Pager::protected_mut`].
impl<const P: usize> PageHandle<Pager<P>> for ProtectedPageId<P> {
    type Mut<'a> = ProtectedPageWriter<'a, P>;

    fn get_mut<'a>(&self, through: &'a mut Pager<P>) -> Result<ProtectedPageWriter<'a, P>> {
        through.protected_mut(*self)
    }
}

impl<const P: usize> PageAllocator<PageId<P>> for Pager<P> {
    type Error = Error;

    fn alloc(&mut self) -> Result<PageId<P>> {
        self.alloc()
    }

    fn free(&mut self, id: PageId<P>) -> Result<()> {
        self.free(id)
    }
}

impl<const P: usize> BulkPageAllocator<PageId<P>> for Pager<P> {
    fn alloc_bulk(&mut self, count: usize) -> Result<Vec<PageId<P>>> {
        self.alloc_bulk(count)
    }

    fn free_bulk(&mut self, ids: impl AsRef<[PageId<P>]>) -> Result<()> {
        self.free_bulk(ids)
    }
}

impl<const P: usize> PageAllocator<ProtectedPageId<P>> for Pager<P> {
    type Error = Error;

    fn alloc(&mut self) -> Result<ProtectedPageId<P>> {
        self.alloc_protected()
    }

    fn free(&mut self, id: ProtectedPageId<P>) -> Result<()> {
        self.free_protected(id)
    }
}

impl<const P: usize> BulkPageAllocator<ProtectedPageId<P>> for Pager<P> {
    fn alloc_bulk(&mut self, count: usize) -> Result<Vec<ProtectedPageId<P>>> {
        self.alloc_protected_bulk(count)
    }

    fn free_bulk(&mut self, ids: impl AsRef<[ProtectedPageId<P>]>) -> Result<()> {
        self.free_protected_bulk(ids)
    }
}

impl<const P: usize> ReadHandle<Transaction<'_, P>> for PageId<P> {
    type Error = Error;
    type Page = MappedPage<P>;

    fn get<'a>(&self, from: &'a Transaction<'_, P>) -> Result<&'a MappedPage<P>> {
        from.page(*self)
    }
}

/// Of pages that the transaction allocated: [`Transaction::page_mut`].
impl<'p, const P: usize> PageHandle<Transaction<'p, P>> for PageId<P> {
    type Mut<'a>
        = &'a mut MappedPage<P>
    where
        Self: 'a,
        Transaction<'p, P>: 'a;

    fn get_mut<'a>(&self, through: &'a mut Transaction<'p, P>) -> Result<&'a mut MappedPage<P>> {
        through.page_mut(*self)
    }
}

impl<const P: usize> ReadHandle<Transaction<'_, P>> for ProtectedPageId<P> {
    type Error = Error;
    type Page = MappedPage<P>;

    fn get<'a>(&self, from: &'a Transaction<'_, P>) -> Result<&'a MappedPage<P>> {
        from.protected(*self)
    }
}

impl<'p, const P: usize> PageHandle<Transaction<'p, P>> for ProtectedPageId<P> {
    type Mut<'a>
        = &'a mut MappedPage<P>
    where
        Self: 'a,
        Transaction<'p, P>: 'a;

    fn get_mut<'a>(&self, through: &'a mut Transaction<'p, P>) -> Result<&'a mut MappedPage<P>> {
        through.protected_mut(*self)
    }
}

impl<const P: usize> PageAllocator<PageId<P>> for Transaction<'_, P> {
    type Error = Error;

    fn alloc(&mut self) -> Result<PageId<P>> {
        self.alloc()
    }

    fn free(&mut self, id: PageId<P>) -> Result<()> {
        self.free(id)
    }
}

impl<const P: usize> BulkPageAllocator<PageId<P>> for Transaction<'_, P> {
    fn alloc_bulk(&mut self, count: usize) -> Result<Vec<PageId<P>>> {
        self.alloc_bulk(count)
    }

    fn free_bulk(&mut self, ids: impl AsRef<[PageId<P>]>) -> Result<()> {
        self.free_bulk(ids)
    }
}

impl<const P: usize> PageAllocator<ProtectedPageId<P>> for Transaction<'_, P> {
    type Error = Error;

    fn alloc(&mut self) -> Result<ProtectedPageId<P>> {
        self.alloc_protected()
    }

    fn free(&mut self, id: ProtectedPageId<P>) -> Result<()> {
        self.free_protected(id)
    }
}

impl<const P: usize> BulkPageAllocator<ProtectedPageId<P>> for Transaction<'_, P> {
    fn alloc_bulk(&mut self, count: usize) -> Result<Vec<ProtectedPageId<P>>> {
        self.alloc_protected_bulk(count)
    }

    fn free_bulk(&mut self, ids: impl AsRef<[ProtectedPageId<P>]>) -> Result<()> {
        self.free_protected_bulk(ids)
    }
}
