//! Walking over what is allocated.
//!
//! The regular pages come a word of the free map at a time: the walk costs time in proportion to the words, not to the pages
//! that are free. Both iterators borrow the reader, so nothing is allocated or freed while one is alive, and they know how
//! many ids are left.

use std::fmt;
use std::iter::FusedIterator;

use crate::engine::State;
use crate::ids::{PageId, ProtectedPageId};

/// Pages in a word of the free map.
const WORD_PAGES: u64 = 64;

/// The regular pages that are allocated, ascending: made by
/// [`PageReader::iter_allocated_pages`](crate::PageReader::iter_allocated_pages).
#[derive(Clone)]
pub struct AllocatedPageIter<'a, const P: usize> {
    state: &'a State,
    left: usize,
    /// The pages of the current word that were not handed out yet; bit `i` is page `first + i`.
    word: u64,
    first: u64,
    next_word: u64,
}

impl<'a, const P: usize> AllocatedPageIter<'a, P> {
    pub(super) fn new(state: &'a State) -> Self {
        AllocatedPageIter { state, left: to_len(state.counts().regular), word: 0, first: 0, next_word: 0 }
    }
}

impl<const P: usize> Iterator for AllocatedPageIter<'_, P> {
    type Item = PageId<P>;

    fn next(&mut self) -> Option<PageId<P>> {
        if self.word == 0 {
            let (index, word) = self.state.next_regular_word(self.next_word)?;
            (self.word, self.first, self.next_word) = (word, index * WORD_PAGES, index + 1);
        }
        let page = self.first + u64::from(self.word.trailing_zeros());
        self.word &= self.word - 1;
        self.left -= 1;
        PageId::from_u64(page)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<const P: usize> ExactSizeIterator for AllocatedPageIter<'_, P> {}
impl<const P: usize> FusedIterator for AllocatedPageIter<'_, P> {}

impl<const P: usize> fmt::Debug for AllocatedPageIter<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllocatedPageIter").field("left", &self.left).finish_non_exhaustive()
    }
}

/// The protected pages that are allocated, ascending: made by
/// [`PageReader::iter_allocated_protected_pages`](crate::PageReader::iter_allocated_protected_pages).
#[derive(Clone)]
pub struct AllocatedProtectedPageIter<'a, const P: usize> {
    state: &'a State,
    left: usize,
    next_index: u64,
}

impl<'a, const P: usize> AllocatedProtectedPageIter<'a, P> {
    pub(super) fn new(state: &'a State) -> Self {
        AllocatedProtectedPageIter { state, left: to_len(state.counts().protected), next_index: 0 }
    }
}

impl<const P: usize> Iterator for AllocatedProtectedPageIter<'_, P> {
    type Item = ProtectedPageId<P>;

    fn next(&mut self) -> Option<ProtectedPageId<P>> {
        let index = self.state.next_protected(self.next_index)?;
        self.next_index = index + 1;
        self.left -= 1;
        ProtectedPageId::from_u64(index + 1)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<const P: usize> ExactSizeIterator for AllocatedProtectedPageIter<'_, P> {}
impl<const P: usize> FusedIterator for AllocatedProtectedPageIter<'_, P> {}

impl<const P: usize> fmt::Debug for AllocatedProtectedPageIter<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllocatedProtectedPageIter").field("left", &self.left).finish_non_exhaustive()
    }
}

fn to_len(count: u64) -> usize {
    usize::try_from(count).expect("a mapped file has fewer pages than there are addresses")
}
