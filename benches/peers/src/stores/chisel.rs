//! `chisel-storage`, whose handles are the ids.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chisel::{Chisel, Handle, Options};

use crate::outcome::Outcome;
use crate::page::{Change, PAGE_LEN, first_word};

use super::{FILL_PAGES, Kind, Reading, Store};

pub(super) const KIND: Kind = Kind {
    name: "chisel",
    package: "chisel-storage",
    durability: "defaults but for the cache: a commit syncs data, then a superblock; pages of 8 KiB",
    crash_safe: true,
    open: |place| {
        let options = Options::default().cache_max_bytes(2 * place.cache_bytes());
        Ok(Box::new(Chiselled { database: Mutex::new(Chisel::open(&place.file(), options)?) }))
    },
};

/// Its reads count in cells, so threads cannot share it: hence the lock, which is taken once for a whole sequence.
struct Chiselled {
    database: Mutex<Chisel>,
}

impl Chiselled {
    fn database(&self) -> MutexGuard<'_, Chisel> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit<T>(&self, work: impl FnOnce(&mut Chisel) -> Outcome<T>) -> Outcome<T> {
        let mut database = self.database();
        database.begin()?;
        let done = work(&mut database)?;
        database.commit()?;
        Ok(done)
    }
}

impl Store for Chiselled {
    fn fill(&mut self, count: u64) -> Outcome<Vec<u64>> {
        let mut ids = Vec::new();
        while (ids.len() as u64) < count {
            let part = FILL_PAGES.min(usize::try_from(count)? - ids.len());
            let made = self.commit(|database| {
                // The handle is the id, and the content has to tell it, so it is written once it is known.
                let handles: Vec<Handle> =
                    (0..part).map(|_| database.allocate(&[0; PAGE_LEN])).collect::<Result<_, _>>()?;
                for handle in &handles {
                    database.update(*handle, Change::new(handle.get(), 0).page.as_slice())?;
                }
                Ok(handles)
            })?;
            ids.extend(made.into_iter().map(Handle::get));
        }
        Ok(ids)
    }

    fn reading(&self, ids: Vec<u64>) -> Outcome<Reading<'_>> {
        Ok(Box::new(move || {
            let database = self.database();
            let mut sum = 0u64;
            for id in &ids {
                sum = sum.wrapping_add(first_word(&database.read(Handle::from(*id))?));
            }
            Ok(sum)
        }))
    }

    fn alloc_one(&mut self) -> Outcome<u64> {
        self.commit(|database| Ok(database.allocate(&[0; PAGE_LEN])?.get()))
    }

    fn free_one(&mut self, id: u64) -> Outcome<()> {
        self.commit(|database| Ok(database.delete(Handle::from(id))?))
    }

    fn overwrite(&mut self, changes: &[Change]) -> Outcome<()> {
        self.commit(|database| {
            for change in changes {
                database.update(Handle::from(change.id), change.page.as_slice())?;
            }
            Ok(())
        })
    }

    fn page_count(&self) -> Outcome<u64> {
        Ok(self.database().handles()?.len() as u64)
    }

    fn reader_limit(&self) -> usize {
        1
    }
}
