//! Which protected pages were verified: a set that readers may add to.

use std::sync::atomic::{AtomicU64, Ordering};

use super::geometry::to_index;

/// Indexes that have room however few pages there are.
const ALWAYS_ROOM: u64 = 1 << 20;

/// A set of indexes that gains room only under `&mut`.
#[derive(Debug)]
pub(super) struct Verified {
    words: Vec<AtomicU64>,
    /// Without it the set stays empty, so that every touch verifies.
    remembers: bool,
}

impl Verified {
    /// Room for the indexes of `pages` protected pages, all of them below `end`, if it `remembers` any.
    pub(super) fn with_room(remembers: bool, end: u64, pages: u64) -> Self {
        let mut verified = Verified { words: Vec::new(), remembers };
        verified.make_room(end, pages);
        verified
    }

    /// Makes room for indexes below `end`, but for no more than some 64 for each page: a file may call a single page by a
    /// number that would take gigabytes here. What has no room is verified at every touch.
    pub(super) fn make_room(&mut self, end: u64, pages: u64) {
        let most = pages.saturating_mul(64).max(ALWAYS_ROOM);
        let words = to_index(end.min(most).div_ceil(64));
        if self.remembers && words > self.words.len() {
            self.words.resize_with(words, AtomicU64::default);
        }
    }

    #[inline]
    pub(super) fn contains(&self, index: u64) -> bool {
        let word = self.words.get(to_index(index / 64));
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> (index % 64) & 1 == 1)
    }

    /// Nothing is published by the bit but itself, so it is relaxed.
    pub(super) fn insert(&self, index: u64) {
        if let Some(word) = self.words.get(to_index(index / 64)) {
            word.fetch_or(1 << (index % 64), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Verified;

    #[test]
    fn a_single_page_with_a_huge_number_takes_little_memory_and_is_never_verified() {
        let verified = Verified::with_room(true, 1 << 40, 1);
        assert!(verified.words.len() <= 1 << 14);
        verified.insert((1 << 40) - 1);
        assert!(!verified.contains((1 << 40) - 1));
        verified.insert(7);
        assert!(verified.contains(7) && !verified.contains(6));
    }

    #[test]
    fn a_set_that_remembers_nothing_stays_empty() {
        let mut verified = Verified::with_room(false, 100, 100);
        verified.make_room(1000, 1000);
        verified.insert(7);
        assert!(!verified.contains(7));
    }
}
