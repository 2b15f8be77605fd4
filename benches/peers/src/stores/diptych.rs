//! `diptych`: regular pages, and protected ones.
//!
//! Two kinds, for a page of either has its own call for everything. Allocating and freeing is compared as regular pages,
//! replacing content as protected pages: replacing a regular page is ordered, not atomic.

use diptych::{PageId, Pager, ProtectedPageId};

use crate::outcome::Outcome;
use crate::page::{Change, PAGE_LEN, first_word};

use super::{FILL_PAGES, Kind, Reading, Store, missing};

pub(super) const REGULAR: Kind = Kind {
    name: "diptych",
    package: "diptych",
    durability: "regular pages, defaults; allocation is atomic and durable, replacing content is durable and ordered, not atomic",
    open: |place| Ok(Box::new(Regular { pager: Pager::open_or_create(place.file())? })),
};

pub(super) const PROTECTED: Kind = Kind {
    name: "diptych-protected",
    package: "diptych",
    durability: "protected pages, defaults; everything is atomic and durable",
    open: |place| Ok(Box::new(Protected { pager: Pager::open_or_create(place.file())? })),
};

struct Regular {
    pager: Pager<PAGE_LEN>,
}

struct Protected {
    pager: Pager<PAGE_LEN>,
}

fn regular(id: u64) -> Outcome<PageId<PAGE_LEN>> {
    PageId::from_u64(id).ok_or_else(|| missing(id).into())
}

fn protected(id: u64) -> Outcome<ProtectedPageId<PAGE_LEN>> {
    ProtectedPageId::from_u64(id).ok_or_else(|| missing(id).into())
}

/// How many pages each transaction gets while a pager is filled.
fn parts(count: u64) -> Outcome<Vec<usize>> {
    let count = usize::try_from(count)?;
    Ok((0..count).step_by(FILL_PAGES).map(|start| FILL_PAGES.min(count - start)).collect())
}

impl Store for Regular {
    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.pager.close()?)
    }

    fn fill(&mut self, count: u64) -> Outcome<Vec<u64>> {
        let mut ids = Vec::new();
        for part in parts(count)? {
            let mut tx = self.pager.transaction()?;
            for id in tx.alloc_bulk(part)? {
                tx.page_mut(id)?.copy_from_slice(Change::new(id.to_u64(), 0).page.as_slice());
                ids.push(id.to_u64());
            }
            tx.commit()?;
        }
        Ok(ids)
    }

    fn reading(&self, ids: Vec<u64>) -> Outcome<Reading<'_>> {
        let ids = ids.into_iter().map(regular).collect::<Outcome<Vec<_>>>()?;
        Ok(Box::new(move || {
            let mut sum = 0u64;
            for id in &ids {
                sum = sum.wrapping_add(first_word(id.get(&self.pager)?.as_bytes()));
            }
            Ok(sum)
        }))
    }

    fn alloc_one(&mut self) -> Outcome<u64> {
        Ok(self.pager.alloc()?.to_u64())
    }

    fn free_one(&mut self, id: u64) -> Outcome<()> {
        Ok(self.pager.free(regular(id)?)?)
    }

    fn overwrite(&mut self, changes: &[Change]) -> Outcome<()> {
        let mut tx = self.pager.transaction()?;
        for change in changes {
            tx.overwrite(regular(change.id)?)?.copy_from_slice(change.page.as_slice());
        }
        Ok(tx.commit()?)
    }

    fn page_count(&self) -> Outcome<u64> {
        Ok(self.pager.allocated_page_count())
    }
}

impl Store for Protected {
    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.pager.close()?)
    }

    fn fill(&mut self, count: u64) -> Outcome<Vec<u64>> {
        let mut ids = Vec::new();
        for part in parts(count)? {
            let mut tx = self.pager.transaction()?;
            for id in tx.alloc_protected_bulk(part)? {
                tx.protected_mut(id)?.copy_from_slice(Change::new(id.to_u64(), 0).page.as_slice());
                ids.push(id.to_u64());
            }
            tx.commit()?;
        }
        Ok(ids)
    }

    fn reading(&self, ids: Vec<u64>) -> Outcome<Reading<'_>> {
        let ids = ids.into_iter().map(protected).collect::<Outcome<Vec<_>>>()?;
        Ok(Box::new(move || {
            let mut sum = 0u64;
            for id in &ids {
                sum = sum.wrapping_add(first_word(id.get(&self.pager)?.as_bytes()));
            }
            Ok(sum)
        }))
    }

    fn alloc_one(&mut self) -> Outcome<u64> {
        Ok(self.pager.alloc_protected()?.to_u64())
    }

    fn free_one(&mut self, id: u64) -> Outcome<()> {
        Ok(self.pager.free_protected(protected(id)?)?)
    }

    fn overwrite(&mut self, changes: &[Change]) -> Outcome<()> {
        let mut tx = self.pager.transaction()?;
        for change in changes {
            tx.protected_mut(protected(change.id)?)?.copy_from_slice(change.page.as_slice());
        }
        Ok(tx.commit()?)
    }

    fn page_count(&self) -> Outcome<u64> {
        Ok(self.pager.allocated_protected_page_count())
    }
}
