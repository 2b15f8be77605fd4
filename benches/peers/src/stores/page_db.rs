//! `page-db`: a file of pages, a list of free ones, and a pool of frames.
//!
//! A page has a header of 32 bytes, so one of 4 KiB keeps that much less of the content than the others do.

use std::sync::Arc;

use page_db::{BufferPool, DEFAULT_PAGE_SIZE, PageAllocator, PageFile, PageFileOptions, PageId};

use crate::outcome::Outcome;
use crate::page::{Change, first_word};

use super::{Kind, Place, Reading, Store};

pub(super) const KIND: Kind = Kind {
    name: "page-db",
    package: "page-db",
    durability: "`fdatasync` after the writes; **not atomic**: pages are written in place; direct I/O where the filesystem has it",
    crash_safe: false,
    open: |place| Ok(Box::new(PageDb::open(place)?)),
};

struct PageDb {
    allocator: PageAllocator<Arc<PageFile>>,
    pool: BufferPool<Arc<PageFile>>,
}

impl PageDb {
    fn open(place: &Place) -> Outcome<Self> {
        let options = PageFileOptions::new().page_size(DEFAULT_PAGE_SIZE);
        let file = options.clone().open(place.file()).or_else(|_| options.direct_io(false).open(place.file()))?;
        let file = Arc::new(file);
        let allocator = PageAllocator::new(Arc::clone(&file))?;
        // Room for all of them, and for those that are allocated while it is measured.
        let capacity = usize::try_from(place.pages)? + 4096;
        Ok(PageDb { allocator, pool: BufferPool::new(file, capacity) })
    }

    fn write(&self, change: &Change) -> Outcome<()> {
        let id = PageId::new(change.id);
        {
            let guard = self.pool.new_page(id)?;
            let mut page = guard.write();
            let payload = page.payload_mut();
            let len = payload.len();
            payload.copy_from_slice(&change.page[..len]);
        }
        Ok(self.pool.flush(id)?)
    }
}

impl Store for PageDb {
    fn fill(&mut self, count: u64) -> Outcome<Vec<u64>> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let id = self.allocator.allocate()?.get();
            self.write(&Change::new(id, 0))?;
            ids.push(id);
        }
        self.allocator.sync()?;
        Ok(ids)
    }

    fn reading(&self, ids: Vec<u64>) -> Outcome<Reading<'_>> {
        let ids: Vec<_> = ids.into_iter().map(PageId::new).collect();
        Ok(Box::new(move || {
            let mut sum = 0u64;
            for id in &ids {
                sum = sum.wrapping_add(first_word(self.pool.fetch(*id)?.read().payload()));
            }
            Ok(sum)
        }))
    }

    fn alloc_one(&mut self) -> Outcome<u64> {
        let id = self.allocator.allocate()?.get();
        self.write(&Change::zeroed(id))?;
        self.allocator.sync()?;
        Ok(id)
    }

    fn free_one(&mut self, id: u64) -> Outcome<()> {
        self.allocator.free(PageId::new(id))?;
        Ok(self.allocator.sync()?)
    }

    fn overwrite(&mut self, changes: &[Change]) -> Outcome<()> {
        for change in changes {
            self.write(change)?;
        }
        Ok(self.pool.sync()?)
    }

    fn page_count(&self) -> Outcome<u64> {
        Ok(self.allocator.high_water() - 1 - self.allocator.free_count())
    }
}
