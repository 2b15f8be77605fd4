//! `diptych`: regular pages, and protected ones.
//!
//! Two kinds, for they promise different things: allocating and freeing is compared as regular pages, replacing content as
//! protected pages, since replacing a regular page is ordered, not atomic. Their code is the same, by the traits of the crate
//! for code that works with any kind of page.

use std::marker::PhantomData;

use diptych::{
    BulkPageAllocator, Error, MappedPage, PageAllocator, PageHandle, PageId, PageMut, Pager, ProtectedPageId,
    ReadHandle, Transaction,
};

use crate::outcome::Outcome;
use crate::page::{Change, PAGE_LEN, first_word};

use super::{FILL_PAGES, Kind, Place, Reading, Store, missing};

pub(super) const REGULAR: Kind = Kind {
    name: "diptych",
    package: "diptych",
    durability: "regular pages, defaults; allocation is atomic and durable, replacing content is durable and ordered, not atomic",
    crash_safe: true,
    open: |place| Ok(Box::new(Pages::<PageId<PAGE_LEN>>::open(place)?)),
};

pub(super) const PROTECTED: Kind = Kind {
    name: "diptych-protected",
    package: "diptych",
    durability: "protected pages, defaults; everything is atomic and durable",
    crash_safe: true,
    open: |place| Ok(Box::new(Pages::<ProtectedPageId<PAGE_LEN>>::open(place)?)),
};

/// A pager that is used for the pages that `H` names.
struct Pages<H> {
    pager: Pager<PAGE_LEN>,
    handles: PhantomData<H>,
}

impl<H> Pages<H> {
    fn open(place: &Place) -> Outcome<Self> {
        Ok(Pages { pager: Pager::open_or_create(place.file())?, handles: PhantomData })
    }
}

/// What the traits of the crate do not say: a name as a number, how pages are counted, how one that was committed is replaced.
trait Handle: Copy + Send + Sync {
    fn from_number(id: u64) -> Option<Self>;

    fn number(self) -> u64;

    fn count(pager: &Pager<PAGE_LEN>) -> u64;

    fn replaced<'t>(self, tx: &'t mut Transaction<'_, PAGE_LEN>) -> Result<&'t mut MappedPage<PAGE_LEN>, Error>;
}

impl Handle for PageId<PAGE_LEN> {
    fn from_number(id: u64) -> Option<Self> {
        PageId::from_u64(id)
    }

    fn number(self) -> u64 {
        self.to_u64()
    }

    fn count(pager: &Pager<PAGE_LEN>) -> u64 {
        pager.allocated_page_count()
    }

    fn replaced<'t>(self, tx: &'t mut Transaction<'_, PAGE_LEN>) -> Result<&'t mut MappedPage<PAGE_LEN>, Error> {
        tx.overwrite(self)
    }
}

impl Handle for ProtectedPageId<PAGE_LEN> {
    fn from_number(id: u64) -> Option<Self> {
        ProtectedPageId::from_u64(id)
    }

    fn number(self) -> u64 {
        self.to_u64()
    }

    fn count(pager: &Pager<PAGE_LEN>) -> u64 {
        pager.allocated_protected_page_count()
    }

    fn replaced<'t>(self, tx: &'t mut Transaction<'_, PAGE_LEN>) -> Result<&'t mut MappedPage<PAGE_LEN>, Error> {
        tx.protected_mut(self)
    }
}

fn handle<H: Handle>(id: u64) -> Outcome<H> {
    H::from_number(id).ok_or_else(|| missing(id).into())
}

impl<H> Store for Pages<H>
where
    H: Handle + ReadHandle<Pager<PAGE_LEN>, Page = MappedPage<PAGE_LEN>> + PageHandle<Pager<PAGE_LEN>>,
    H: for<'p> ReadHandle<Transaction<'p, PAGE_LEN>, Page = MappedPage<PAGE_LEN>>,
    H: for<'p> PageHandle<Transaction<'p, PAGE_LEN>>,
    Pager<PAGE_LEN>: PageAllocator<H>,
    for<'p> Transaction<'p, PAGE_LEN>: BulkPageAllocator<H>,
{
    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.pager.close()?)
    }

    fn fill(&mut self, count: u64) -> Outcome<Vec<u64>> {
        let count = usize::try_from(count)?;
        let mut ids = Vec::with_capacity(count);
        while ids.len() < count {
            let mut tx = self.pager.transaction()?;
            for id in BulkPageAllocator::<H>::alloc_bulk(&mut tx, FILL_PAGES.min(count - ids.len()))? {
                let change = Change::new(id.number(), 0);
                PageHandle::get_mut(&id, &mut tx)?.page_mut().as_bytes_mut().copy_from_slice(change.page.as_slice());
                ids.push(change.id);
            }
            tx.commit()?;
        }
        Ok(ids)
    }

    fn reading(&self, ids: Vec<u64>) -> Outcome<Reading<'_>> {
        let ids = ids.into_iter().map(handle).collect::<Outcome<Vec<H>>>()?;
        Ok(Box::new(move || {
            let mut sum = 0u64;
            for id in &ids {
                sum = sum.wrapping_add(first_word(ReadHandle::get(id, &self.pager)?.as_bytes()));
            }
            Ok(sum)
        }))
    }

    fn alloc_one(&mut self) -> Outcome<u64> {
        Ok(PageAllocator::<H>::alloc(&mut self.pager)?.number())
    }

    fn free_one(&mut self, id: u64) -> Outcome<()> {
        Ok(PageAllocator::free(&mut self.pager, handle::<H>(id)?)?)
    }

    fn overwrite(&mut self, changes: &[Change]) -> Outcome<()> {
        let mut tx = self.pager.transaction()?;
        for change in changes {
            handle::<H>(change.id)?.replaced(&mut tx)?.copy_from_slice(change.page.as_slice());
        }
        Ok(tx.commit()?)
    }

    fn page_count(&self) -> Outcome<u64> {
        Ok(H::count(&self.pager))
    }
}
