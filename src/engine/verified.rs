//! Which protected pages were verified: a set that readers may add to.

use std::sync::atomic::{AtomicU64, Ordering};

use super::geometry::to_index;

/// A set of indexes that grows only under `&mut`.
#[derive(Debug, Default)]
pub(super) struct Verified {
    words: Vec<AtomicU64>,
}

impl Verified {
    /// Makes room for indexes below `end`.
    pub(super) fn reserve(&mut self, end: u64) {
        let words = to_index(end.div_ceil(64));
        if words > self.words.len() {
            self.words.resize_with(words, AtomicU64::default);
        }
    }

    #[inline]
    pub(super) fn contains(&self, index: u64) -> bool {
        let word = self.words.get(to_index(index / 64));
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> (index % 64) & 1 == 1)
    }

    /// Indexes without room are verified again next time. Nothing is published by the bit but itself, so it is relaxed.
    pub(super) fn insert(&self, index: u64) {
        if let Some(word) = self.words.get(to_index(index / 64)) {
            word.fetch_or(1 << (index % 64), Ordering::Relaxed);
        }
    }
}
