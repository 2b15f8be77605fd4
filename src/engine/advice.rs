//! Advice about pages, passed on to the region. It changes nothing that can be read, so nothing of it fails: what names no page
//! is passed over, and a system without such a call does nothing.

use std::ops::Range;

use crate::storage::AccessPattern;

use super::geometry::to_index;
use super::{Engine, Owned};

impl Engine {
    pub(crate) fn advise(&self, pattern: AccessPattern) {
        self.region.advise(pattern);
    }

    /// Has pages read before anybody asks for them: of a protected page the copy that is live.
    pub(crate) fn prefetch(&self, names: impl Iterator<Item = Owned>) {
        let located = names.filter_map(|name| match name {
            Owned::Page(page) => self.live.is_regular(page).then_some(page),
            Owned::Protected(index) => self.live.protected(index).map(|entry| entry.live_page()),
            Owned::Copy(_) | Owned::Extent(_) | Owned::Left { .. } => None,
        });
        let mut pages: Vec<u64> = located.collect();
        pages.sort_unstable();
        pages.dedup();
        for run in pages.chunk_by(|page, next| page + 1 == *next) {
            if let [first, ..] = run {
                self.prefetch_run(*first..*first + run.len() as u64);
            }
        }
    }

    /// The same of all pages of a run, whatever they hold.
    pub(crate) fn prefetch_run(&self, pages: Range<u64>) {
        let (offset, len) = self.visible(pages);
        self.region.prefetch(offset, len);
    }

    /// Lets go of the memory that pages of a run take. What was stored to them and is not on the disk yet stays.
    pub(crate) fn drop_from_memory(&self, pages: Range<u64>) {
        let (offset, len) = self.visible(pages);
        self.region.release(offset, len);
        self.storage.forget_cached(offset, len as u64);
    }

    /// Where the pages of a run lie that there are.
    fn visible(&self, pages: Range<u64>) -> (u64, usize) {
        let end = pages.end.min(self.live.total_pages());
        let start = pages.start.min(end);
        let offset = self.geometry.offset(start);
        (offset, to_index(self.geometry.offset(end) - offset))
    }
}
