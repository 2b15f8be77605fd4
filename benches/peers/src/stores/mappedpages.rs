//! `mappedpages`: the nearest relative, with regular and protected pages.
//!
//! Its bitmap of free pages has to fit into one page, so a file ends at 64 MiB with pages of 4 KiB; growing past that is a
//! panic of the library, which is why the capacity is tested here first.

use mappedpages::{PageId, Pager, ProtectedPageId};

use crate::outcome::{Outcome, ensure};
use crate::page::{Change, PAGE_BYTES, PAGE_LEN, first_word};

use super::{Kind, Place, Reading, Store, Work};

pub(super) const REGULAR: Kind = Kind {
    name: "mappedpages",
    package: "mappedpages",
    durability: "regular pages; allocation is atomic and durable, content is not synced",
    crash_safe: true,
    open: |place| Ok(Box::new(Regular { pager: open(place)? })),
};

pub(super) const PROTECTED: Kind = Kind {
    name: "mappedpages-protected",
    package: "mappedpages",
    durability: "protected pages; atomic and durable page by page, a commit of several does not exist",
    crash_safe: true,
    open: |place| Ok(Box::new(Protected { pager: open(place)? })),
};

/// The pages that a file can have: the next doubling does not fit into the bitmap.
const FILE_PAGES: u64 = (64 << 20) / PAGE_BYTES;

/// Protected pages that fit into such a file, with two copies each and the blocks of the directory.
const PROTECTED_PAGES: u64 = 8000;

struct Regular {
    pager: Pager<PAGE_LEN>,
}

struct Protected {
    pager: Pager<PAGE_LEN>,
}

fn open(place: &Place) -> Outcome<Pager<PAGE_LEN>> {
    let file = place.file();
    Ok(if file.exists() { Pager::open(file)? } else { Pager::create(file)? })
}

/// Fails where the library would panic.
fn ensure_room(pager: &Pager<PAGE_LEN>, pages: u64) -> Outcome<()> {
    let left = FILE_PAGES - pager.page_count().min(FILE_PAGES) + pager.free_page_count();
    ensure(left >= pages, || format!("a file has at most {FILE_PAGES} pages, and {left} are left"))
}

impl Store for Regular {
    fn fill(&mut self, count: u64) -> Outcome<Vec<u64>> {
        ensure_room(&self.pager, count)?;
        let ids = self.pager.alloc_bulk(usize::try_from(count)?)?;
        for id in &ids {
            id.get_mut(&mut self.pager)?.as_bytes_mut().copy_from_slice(Change::new(id.0, 0).page.as_slice());
        }
        Ok(ids.into_iter().map(|id| id.0).collect())
    }

    fn reading(&self, ids: Vec<u64>) -> Outcome<Reading<'_>> {
        let ids: Vec<_> = ids.into_iter().map(PageId).collect();
        Ok(Box::new(move || {
            let mut sum = 0u64;
            for id in &ids {
                sum = sum.wrapping_add(first_word(id.get(&self.pager)?.as_bytes()));
            }
            Ok(sum)
        }))
    }

    fn alloc_one(&mut self) -> Outcome<u64> {
        ensure_room(&self.pager, 1)?;
        Ok(self.pager.alloc()?.0)
    }

    fn free_one(&mut self, id: u64) -> Outcome<()> {
        Ok(self.pager.free(PageId(id))?)
    }

    fn overwrite(&mut self, _changes: &[Change]) -> Outcome<()> {
        Err(UNSYNCED.into())
    }

    fn page_count(&self) -> Outcome<u64> {
        Ok(self.pager.page_count() - self.pager.free_page_count())
    }

    fn cannot(&self, work: Work) -> Option<&'static str> {
        (work == Work::Overwrite).then_some(UNSYNCED)
    }
}

const UNSYNCED: &str = "the library has no call that syncs the content of regular pages";

impl Store for Protected {
    /// Fills at most as many as fit.
    fn fill(&mut self, count: u64) -> Outcome<Vec<u64>> {
        let ids = self.pager.alloc_protected_bulk(usize::try_from(count.min(PROTECTED_PAGES))?)?;
        let ids: Vec<u64> = ids.into_iter().map(|id| id.0).collect();
        for id in &ids {
            self.overwrite(&[Change::new(*id, 0)])?;
        }
        Ok(ids)
    }

    fn reading(&self, ids: Vec<u64>) -> Outcome<Reading<'_>> {
        let ids: Vec<_> = ids.into_iter().map(ProtectedPageId).collect();
        Ok(Box::new(move || {
            let mut sum = 0u64;
            for id in &ids {
                sum = sum.wrapping_add(first_word(id.get(&self.pager)?.as_bytes()));
            }
            Ok(sum)
        }))
    }

    fn alloc_one(&mut self) -> Outcome<u64> {
        // Two copies, and at times a block of the directory, which has two copies itself.
        ensure_room(&self.pager, 4)?;
        Ok(self.pager.alloc_protected()?.0)
    }

    fn free_one(&mut self, id: u64) -> Outcome<()> {
        Ok(self.pager.free_protected(ProtectedPageId(id))?)
    }

    /// As many commits as pages, for want of one that takes several.
    fn overwrite(&mut self, changes: &[Change]) -> Outcome<()> {
        for change in changes {
            let id = ProtectedPageId(change.id);
            let mut writer = id.get_mut(&mut self.pager)?;
            writer.page_mut().as_bytes_mut().copy_from_slice(change.page.as_slice());
            writer.commit()?;
        }
        Ok(())
    }

    fn page_count(&self) -> Outcome<u64> {
        Ok(self.pager.iter_allocated_protected_pages().count() as u64)
    }
}
