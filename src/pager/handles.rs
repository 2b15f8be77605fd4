//! Where ids can be read and changed, and who hands them out: the traits of `allocator`, for the places of this folder.
//!
//! Every method here is the inherent one of the place, under the name that generic code knows.

use crate::allocator::{BulkPageAllocator, PageAllocator, PageHandle, ReadHandle};
use crate::error::{Error, Result};
use crate::ids::{PageId, ProtectedPageId};
use crate::page::MappedPage;

use super::{PageReader, Pager, ProtectedPageWriter, ReadGuard, ReadOnlyPager, Transaction};

macro_rules! readable {
    ($id:ident by $read:ident from $($place:ty),+) => {$(
        impl<const P: usize> ReadHandle<$place> for $id<P> {
            type Error = Error;
            type Page = MappedPage<P>;

            #[inline]
            fn get<'a>(&self, from: &'a $place) -> Result<&'a MappedPage<P>> {
                from.$read(*self)
            }
        }
    )+};
}

readable!(PageId by page from PageReader<P>, Pager<P>, ReadOnlyPager<P>, ReadGuard<'_, P>, Transaction<'_, P>);
readable!(ProtectedPageId by protected from PageReader<P>, Pager<P>, ReadOnlyPager<P>, ReadGuard<'_, P>, Transaction<'_, P>);

/// In place: [`Pager::page_mut`].
impl<const P: usize> PageHandle<Pager<P>> for PageId<P> {
    type Mut<'a> = &'a mut MappedPage<P>;

    #[inline]
    fn get_mut<'a>(&self, through: &'a mut Pager<P>) -> Result<&'a mut MappedPage<P>> {
        through.page_mut(*self)
    }
}

/// By a writer that has to be committed: [`Pager::protected_mut`].
impl<const P: usize> PageHandle<Pager<P>> for ProtectedPageId<P> {
    type Mut<'a> = ProtectedPageWriter<'a, P>;

    fn get_mut<'a>(&self, through: &'a mut Pager<P>) -> Result<ProtectedPageWriter<'a, P>> {
        through.protected_mut(*self)
    }
}

macro_rules! staged {
    ($(#[$doc:meta])* $id:ident by $change:ident) => {
        $(#[$doc])*
        impl<'p, const P: usize> PageHandle<Transaction<'p, P>> for $id<P> {
            type Mut<'a>
                = &'a mut MappedPage<P>
            where
                Self: 'a,
                Transaction<'p, P>: 'a;

            fn get_mut<'a>(&self, through: &'a mut Transaction<'p, P>) -> Result<&'a mut MappedPage<P>> {
                through.$change(*self)
            }
        }
    };
}

staged! {
    /// Of pages that the transaction allocated: [`Transaction::page_mut`].
    PageId by page_mut
}

staged! {
    /// Of any protected page: [`Transaction::protected_mut`].
    ProtectedPageId by protected_mut
}

macro_rules! allocators {
    ($id:ident by $alloc:ident, $free:ident, $alloc_bulk:ident, $free_bulk:ident from $($place:ty),+) => {$(
        impl<const P: usize> PageAllocator<$id<P>> for $place {
            type Error = Error;

            fn alloc(&mut self) -> Result<$id<P>> {
                self.$alloc()
            }

            fn free(&mut self, id: $id<P>) -> Result<()> {
                self.$free(id)
            }
        }

        impl<const P: usize> BulkPageAllocator<$id<P>> for $place {
            fn alloc_bulk(&mut self, count: usize) -> Result<Vec<$id<P>>> {
                self.$alloc_bulk(count)
            }

            fn free_bulk(&mut self, ids: impl AsRef<[$id<P>]>) -> Result<()> {
                self.$free_bulk(ids)
            }
        }
    )+};
}

allocators!(PageId by alloc, free, alloc_bulk, free_bulk from Pager<P>, Transaction<'_, P>);
allocators!(
    ProtectedPageId by alloc_protected, free_protected, alloc_protected_bulk, free_protected_bulk
    from Pager<P>, Transaction<'_, P>
);
