//! Stores that put values under keys: the id of a page is its key.

use crate::outcome::Outcome;
use crate::page::Change;

use super::{FILL_PAGES, Reading, Store};

/// What a store of keys and values has to do.
pub(crate) trait KeyedPages: Send + Sync {
    /// Writes and removes pages in one durable commit.
    fn apply(&mut self, changes: &[Change], removed: &[u64]) -> Outcome<()>;

    fn reading(&self, ids: Vec<u64>) -> Outcome<Reading<'_>>;

    fn page_count(&self) -> Outcome<u64>;
}

/// Such a store with keys that count up from 1.
pub(crate) struct Keyed<S> {
    pages: S,
    next_id: u64,
}

impl<S: KeyedPages> Keyed<S> {
    pub(crate) fn new(pages: S) -> Outcome<Self> {
        let next_id = pages.page_count()? + 1;
        Ok(Keyed { pages, next_id })
    }

    fn take_ids(&mut self, count: u64) -> std::ops::Range<u64> {
        let first = self.next_id;
        self.next_id += count;
        first..self.next_id
    }
}

impl<S: KeyedPages> Store for Keyed<S> {
    fn fill(&mut self, count: u64) -> Outcome<Vec<u64>> {
        let ids: Vec<u64> = self.take_ids(count).collect();
        for part in ids.chunks(FILL_PAGES) {
            let changes: Vec<Change> = part.iter().map(|id| Change::new(*id, 0)).collect();
            self.pages.apply(&changes, &[])?;
        }
        Ok(ids)
    }

    fn reading(&self, ids: Vec<u64>) -> Outcome<Reading<'_>> {
        self.pages.reading(ids)
    }

    fn alloc_one(&mut self) -> Outcome<u64> {
        let id = self.take_ids(1).start;
        self.pages.apply(&[Change::zeroed(id)], &[])?;
        Ok(id)
    }

    fn free_one(&mut self, id: u64) -> Outcome<()> {
        self.pages.apply(&[], &[id])
    }

    fn overwrite(&mut self, changes: &[Change]) -> Outcome<()> {
        self.pages.apply(changes, &[])
    }

    fn page_count(&self) -> Outcome<u64> {
        self.pages.page_count()
    }
}
