//! Where protected pages show: for those that are known to be good, one load instead of a walk down the directory.
//!
//! A page gets its place here when it is verified, or written; it loses it when a commit frees it. Readers share the pager, so
//! they may add to this at the same time.

use std::sync::atomic::{AtomicU32, Ordering};

use super::geometry::to_index;

/// Indexes that have room however few pages there are.
const ALWAYS_ROOM: u64 = 1 << 16;

/// Indexes that have room for each page there is.
const ROOM_PER_PAGE: u64 = 4;

/// See the head of this file. Gains room only under `&mut`.
#[derive(Debug)]
pub(super) struct Shown {
    /// The page of the live copy, by index; 0 where that is not known. Page 0 is no copy of anything.
    pages: Vec<AtomicU32>,
    /// Without it nothing is ever known, so that every touch verifies.
    remembers: bool,
}

impl Shown {
    /// Room for the indexes of `count` protected pages, all of them below `end`, if it `remembers` any.
    pub(super) fn with_room(remembers: bool, end: u64, count: u64) -> Self {
        let mut shown = Shown { pages: Vec::new(), remembers };
        shown.make_room(end, count);
        shown
    }

    /// Makes room for indexes below `end`, but for no more than a few for each page: a file may call a single page by a number
    /// that would take gigabytes here. What has no room is looked up and verified at every touch.
    pub(super) fn make_room(&mut self, end: u64, count: u64) {
        if !self.has_room(end, count) {
            self.pages.resize_with(wanted(end, count), AtomicU32::default);
        }
    }

    pub(super) fn has_room(&self, end: u64, count: u64) -> bool {
        !self.remembers || wanted(end, count) <= self.pages.len()
    }

    #[inline]
    pub(super) fn get(&self, index: u64) -> Option<u64> {
        let page = self.pages.get(usize::try_from(index).ok()?)?.load(Ordering::Relaxed);
        (page != 0).then_some(page.into())
    }

    /// What is at a page is good. Nothing is published by the number but itself, so it is relaxed.
    pub(super) fn set(&self, index: u64, page: u64) {
        if let Some(place) = usize::try_from(index).ok().and_then(|index| self.pages.get(index)) {
            // A page too far out for 32 bits is looked up each time.
            place.store(u32::try_from(page).unwrap_or(0), Ordering::Relaxed);
        }
    }

    pub(super) fn forget(&self, index: u64) {
        self.set(index, 0);
    }
}

/// Indexes below `end` that get room where there are so many pages.
fn wanted(end: u64, count: u64) -> usize {
    to_index(end.min(count.saturating_mul(ROOM_PER_PAGE).max(ALWAYS_ROOM)))
}

#[cfg(test)]
mod tests {
    use super::Shown;

    #[test]
    fn a_page_shows_from_when_it_is_set_until_it_is_forgotten() {
        let mut shown = Shown::with_room(true, 3, 2);
        assert_eq!(shown.get(2), None);
        shown.set(2, 77);
        shown.make_room(10, 2);
        assert_eq!([1, 2, 3, u64::MAX].map(|index| shown.get(index)), [None, Some(77), None, None]);
        shown.set(2, 78);
        assert_eq!(shown.get(2), Some(78));
        shown.forget(2);
        assert_eq!(shown.get(2), None);
    }

    #[test]
    fn without_memory_nothing_shows() {
        let shown = Shown::with_room(false, 10, 10);
        shown.set(2, 77);
        assert_eq!((shown.get(2), shown.pages.len()), (None, 0));
    }

    #[test]
    fn a_page_too_far_out_for_32_bits_is_looked_up_each_time() {
        let shown = Shown::with_room(true, 10, 10);
        shown.set(2, u64::from(u32::MAX));
        assert_eq!(shown.get(2), Some(u64::from(u32::MAX)));
        shown.set(2, 1 << 32);
        assert_eq!(shown.get(2), None);
    }

    #[test]
    fn a_single_page_with_a_huge_number_takes_little_memory_and_never_shows() {
        let shown = Shown::with_room(true, 1 << 40, 1);
        assert!(shown.pages.len() <= 1 << 16);
        shown.set((1 << 40) - 1, 7);
        assert_eq!(shown.get((1 << 40) - 1), None);
    }
}
