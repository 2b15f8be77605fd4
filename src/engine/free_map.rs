//! The free map in memory: which kind every page is of, and where the lowest free page lies.
//!
//! Two bits a page stand in leaves of [`PAGES_PER_LEAF`] pages; a leaf that was never touched is not there and all its
//! pages are free. Above the words of a leaf lies a summary of 64 times fewer bits, above the leaves the saturation bits of
//! the [`SparseTree`]: a search looks at a handful of words, whatever the size and the fill of the file.
//!
//! The map knows nothing of the end of the file or of its own copies; [`State`](super::state::State) does.

use std::ops::Range;
use std::sync::Arc;

use crate::block::PageKind;
use crate::format::{LEAF_WORDS, LeafBits, PAGES_PER_LEAF, PageCounts};

use super::geometry::to_index;
use super::sparse_tree::{Saturate, SparseTree};

const WORD_BITS: u64 = u64::BITS as u64;
const SUMMARY_WORDS: usize = LEAF_WORDS.div_ceil(64);

/// The summary of a leaf whose pages are all free.
const OPEN: [u64; SUMMARY_WORDS] = [u64::MAX, u64::MAX, u64::MAX, u64::MAX >> (64 * SUMMARY_WORDS - LEAF_WORDS)];

/// The bits of [`PAGES_PER_LEAF`] pages and their summary.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    bits: LeafBits,
    /// Bit `w`: word `w` has a free page.
    open: [u64; SUMMARY_WORDS],
}

impl Default for Leaf {
    fn default() -> Self {
        Leaf { bits: LeafBits::default(), open: OPEN }
    }
}

impl Saturate for Leaf {
    fn is_saturated(&self) -> bool {
        self.open == [0; SUMMARY_WORDS]
    }
}

/// Words whose pages are counted at once.
const COUNTED_AT_ONCE: usize = 12;

impl Leaf {
    pub(super) fn new(bits: &LeafBits) -> Self {
        let mut leaf = Leaf { bits: bits.clone(), open: OPEN };
        leaf.summarise();
        leaf
    }

    /// Makes the summary from the bits.
    fn summarise(&mut self) {
        let words = self.bits.low.chunks(64).zip(self.bits.high.chunks(64));
        for (open, (low, high)) in self.open.iter_mut().zip(words) {
            let words = low.iter().zip(high).rev();
            *open = words.fold(0, |open, (low, high)| open << 1 | u64::from(low | high != u64::MAX));
        }
    }

    pub(super) fn bits(&self) -> &LeafBits {
        &self.bits
    }

    /// Whether a page, counted from the first page of the leaf, is regular.
    #[inline]
    pub(super) fn is_regular(&self, bit: u64) -> bool {
        let word = to_index(bit / WORD_BITS);
        (self.bits.low[word] & !self.bits.high[word]) >> (bit % WORD_BITS) & 1 == 1
    }

    /// Bits of the pages of `kind` in a word.
    pub(super) fn word_of_kind(&self, word: usize, kind: PageKind) -> u64 {
        let (low, high) = (self.bits.low[word], self.bits.high[word]);
        match kind {
            PageKind::Free => !(low | high),
            PageKind::Regular => low & !high,
            PageKind::Engine => !low & high,
            PageKind::TableOwned => low & high,
        }
    }

    /// Pages of each kind but free in the whole leaf.
    pub(super) fn counts(&self) -> PageCounts {
        let ones = |words: &[u64]| words.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        let (mut low_ones, mut high_ones, mut both) = (0, 0, 0);
        for (low, high) in self.bits.low.chunks(COUNTED_AT_ONCE).zip(self.bits.high.chunks(COUNTED_AT_ONCE)) {
            low_ones += ones(low);
            // Few pages are the engine's or a table's.
            if high.iter().fold(0, |all, word| all | word) != 0 {
                high_ones += ones(high);
                both += low.iter().zip(high).map(|(low, high)| u64::from((low & high).count_ones())).sum::<u64>();
            }
        }
        PageCounts { regular: low_ones - both, engine: high_ones - both, table_owned: both, protected: 0 }
    }

    /// Whether a word is not that of an `old` leaf.
    fn differs_from(&self, old: Option<&Leaf>, word: usize) -> bool {
        let (low, high) = old.map_or((0, 0), |old| (old.bits.low[word], old.bits.high[word]));
        (self.bits.low[word], self.bits.high[word]) != (low, high)
    }

    fn set_in_word(&mut self, word: usize, mask: u64, kind: PageKind) {
        let (low, high) = planes(kind);
        let (was_low, was_high) = (self.bits.low[word], self.bits.high[word]);
        self.set_word(word, was_low & !mask | low & mask, was_high & !mask | high & mask);
    }

    fn set_word(&mut self, word: usize, low: u64, high: u64) {
        (self.bits.low[word], self.bits.high[word]) = (low, high);
        let open = u64::from(low | high != u64::MAX);
        self.open[word / 64] = self.open[word / 64] & !(1 << (word % 64)) | open << (word % 64);
    }

    /// The first free page at or behind `from`, counted from the first page of the leaf.
    fn first_free(&self, from: u64) -> Option<u64> {
        let word = to_index(from / WORD_BITS);
        if word >= LEAF_WORDS {
            return None;
        }
        let here = self.word_of_kind(word, PageKind::Free) & u64::MAX << (from % WORD_BITS);
        if here != 0 {
            return Some(word as u64 * WORD_BITS + u64::from(here.trailing_zeros()));
        }
        let next = self.next_open_word(word + 1)?;
        let free = self.word_of_kind(next, PageKind::Free);
        Some(next as u64 * WORD_BITS + u64::from(free.trailing_zeros()))
    }

    fn next_open_word(&self, from: usize) -> Option<usize> {
        let first = from / 64;
        let head = self.open.get(first)? & u64::MAX << (from % 64);
        if head != 0 {
            return Some(first * 64 + head.trailing_zeros() as usize);
        }
        let (at, word) = self.open.iter().enumerate().skip(first + 1).find(|(_, word)| **word != 0)?;
        Some(at * 64 + word.trailing_zeros() as usize)
    }

    /// The last page of `within` that is of `kind`, both counted from the first page of the leaf.
    fn last_of_kind(&self, within: Range<u64>, kind: PageKind) -> Option<u64> {
        let words = within.start / WORD_BITS..within.end.div_ceil(WORD_BITS);
        words.rev().find_map(|word| {
            let first = word * WORD_BITS;
            let mut pages = self.word_of_kind(to_index(word), kind);
            if within.end - first < WORD_BITS {
                pages &= !(u64::MAX << (within.end - first));
            }
            let page = first + u64::from(pages.checked_ilog2()?);
            (page >= within.start).then_some(page)
        })
    }

    /// Pages that are not free at and behind `from`, which is counted from the first page of the leaf.
    pub(super) fn in_use_from(&self, from: u64) -> u64 {
        let first = to_index(from / WORD_BITS);
        let in_use = |word: usize| self.bits.low[word] | self.bits.high[word];
        let head = in_use(first) & u64::MAX << (from % WORD_BITS);
        (first + 1..LEAF_WORDS)
            .fold(u64::from(head.count_ones()), |sum, word| sum + u64::from(in_use(word).count_ones()))
    }

    /// The last page that is not free, counted from the first page of the leaf.
    fn last_in_use(&self) -> Option<u64> {
        let words = self.bits.low.iter().zip(&self.bits.high).enumerate().rev();
        words.into_iter().find_map(|(word, (low, high))| {
            let last = (low | high).checked_ilog2()?;
            Some(word as u64 * WORD_BITS + u64::from(last))
        })
    }

    /// The first page of `within`, counted from the first page of the leaf, that is not of `kind`.
    pub(super) fn first_other(&self, within: Range<u64>, kind: PageKind) -> Option<u64> {
        let words = within.start / WORD_BITS..within.end.div_ceil(WORD_BITS);
        words.map(|word| (word * WORD_BITS, !self.word_of_kind(to_index(word), kind))).find_map(|(first, others)| {
            let behind = within.start.saturating_sub(first);
            let page = first + behind + u64::from((others >> behind).trailing_zeros());
            (others >> behind != 0 && page < within.end).then_some(page)
        })
    }

    /// Adds to `runs` the pages that are of `kind` here and were free in an `old` leaf; `first` is the first page of both.
    pub(super) fn gained_since(&self, old: Option<&Leaf>, kind: PageKind, first: u64, runs: &mut Runs) {
        for word in 0..LEAF_WORDS {
            let was_free = old.map_or(u64::MAX, |old| old.word_of_kind(word, PageKind::Free));
            runs.push_word(first + word as u64 * WORD_BITS, was_free & self.word_of_kind(word, kind));
        }
    }

    /// Gives `kind` to the free pages of `within`, lowest first and at most `most` of them, whole words at a time, and adds
    /// their runs, moved by `base`, to `runs`.
    fn claim(&mut self, within: Range<u64>, most: u64, kind: PageKind, base: u64, runs: &mut Runs) -> u64 {
        let (mut left, mut from) = (most, within.start);
        while left > 0 {
            let Some(free) = self.first_free(from).filter(|free| *free < within.end) else { break };
            let word = to_index(free / WORD_BITS);
            let word_start = word as u64 * WORD_BITS;
            let mut mask = self.word_of_kind(word, PageKind::Free) & u64::MAX << (free % WORD_BITS);
            if within.end - word_start < WORD_BITS {
                mask &= !(u64::MAX << (within.end - word_start));
            }
            let taken = lowest_bits(mask, left);
            left -= u64::from(taken.count_ones());
            self.set_in_word(word, taken, kind);
            runs.push_word(base + word_start, taken);
            from = word_start + WORD_BITS;
        }
        most - left
    }
}

fn planes(kind: PageKind) -> (u64, u64) {
    match kind {
        PageKind::Free => (0, 0),
        PageKind::Regular => (u64::MAX, 0),
        PageKind::Engine => (0, u64::MAX),
        PageKind::TableOwned => (u64::MAX, u64::MAX),
    }
}

/// The lowest `most` of the bits that are set.
fn lowest_bits(mask: u64, most: u64) -> u64 {
    if u64::from(mask.count_ones()) <= most {
        return mask;
    }
    let mut rest = mask;
    for _ in 0..most {
        rest &= rest - 1;
    }
    mask ^ rest
}

/// Ascending runs of pages, neighbours joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs(Vec<Range<u64>>);

impl Runs {
    /// Adds pages behind all that are there.
    pub(super) fn push(&mut self, start: u64, len: u64) {
        match self.0.last_mut() {
            Some(last) if last.end == start => last.end += len,
            _ => self.0.push(start..start + len),
        }
    }

    /// Adds the pages whose bits are set in a word that begins at page `start`.
    pub(super) fn push_word(&mut self, start: u64, mut word: u64) {
        while word != 0 {
            let first = word.trailing_zeros();
            let len = (word >> first).trailing_ones();
            self.push(start + u64::from(first), u64::from(len));
            word &= u64::MAX.checked_shl(first + len).unwrap_or(0);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().cloned()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn pages(&self) -> impl Iterator<Item = u64> + '_ {
        self.iter().flatten()
    }

    /// How many pages the runs hold.
    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.iter().map(|run| run.end - run.start).sum()
    }
}

impl IntoIterator for Runs {
    type Item = Range<u64>;
    type IntoIter = std::vec::IntoIter<Range<u64>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// See the head of this file.
#[derive(Clone, Debug, Default)]
pub(super) struct FreeMap {
    leaves: SparseTree<Leaf>,
}

/// The leaf of a page, and the page counted from the leaf's first.
#[inline]
pub(super) fn locate(page: u64) -> (u64, u64) {
    (page / PAGES_PER_LEAF, page % PAGES_PER_LEAF)
}

impl FreeMap {
    /// A leaf that is there, to be kept beside the map.
    pub(super) fn share(&self, index: u64) -> Arc<Leaf> {
        self.leaves.share(index).expect("the leaf is in the map")
    }

    pub(super) fn leaf(&self, index: u64) -> Option<&Leaf> {
        self.leaves.get(index)
    }

    pub(super) fn leaves(&self) -> impl Iterator<Item = (u64, &Leaf)> {
        self.leaves.iter()
    }

    /// The first leaf at or behind `from` that was ever touched.
    pub(super) fn next_leaf(&self, from: u64) -> Option<(u64, &Leaf)> {
        self.leaves.next(from)
    }

    /// Makes a leaf one that was never touched.
    pub(super) fn remove(&mut self, index: u64) {
        self.leaves.remove(index);
    }

    /// The last page in `within` that is of `kind`, which is not free.
    pub(super) fn last_of_kind(&self, within: Range<u64>, kind: PageKind) -> Option<u64> {
        let leaves = within.start / PAGES_PER_LEAF..within.end.div_ceil(PAGES_PER_LEAF);
        leaves.rev().find_map(|index| {
            let first = index * PAGES_PER_LEAF;
            let in_leaf = within.start.saturating_sub(first)..(within.end - first).min(PAGES_PER_LEAF);
            Some(first + self.leaf(index)?.last_of_kind(in_leaf, kind)?)
        })
    }

    /// The page behind the last one that is not free.
    pub(super) fn end_of_use(&self) -> u64 {
        let ends = self.leaves().filter_map(|(index, leaf)| Some(index * PAGES_PER_LEAF + leaf.last_in_use()? + 1));
        ends.last().unwrap_or(0)
    }

    pub(super) fn insert(&mut self, index: u64, leaf: Arc<Leaf>) {
        self.leaves.insert(index, leaf);
    }

    /// Indexes of the leaves that differ from those of `base`.
    pub(super) fn changed_since(&self, base: &FreeMap) -> Vec<u64> {
        self.leaves.changed_since(&base.leaves)
    }

    /// The bits of 64 pages; word `w` begins at page `64 * w`.
    pub(super) fn word(&self, word: u64) -> (u64, u64) {
        let at = to_index(word % LEAF_WORDS as u64);
        self.leaf(word / LEAF_WORDS as u64).map_or((0, 0), |leaf| (leaf.bits.low[at], leaf.bits.high[at]))
    }

    /// Sets the bits of a word of a leaf, both counted from their first.
    pub(super) fn set_word(&mut self, leaf: u64, word: usize, low: u64, high: u64) {
        self.leaves.update(leaf, |leaf| leaf.set_word(word, low, high));
    }

    /// The words that differ from those of `base`, ascending.
    pub(super) fn words_changed_since(&self, base: &FreeMap) -> Vec<u64> {
        let mut words = Vec::new();
        for index in self.changed_since(base) {
            let (leaf, old) = (self.leaf(index).expect("a changed leaf is in the map"), base.leaf(index));
            let first = index * LEAF_WORDS as u64;
            words.extend((0..LEAF_WORDS).filter(|at| leaf.differs_from(old, *at)).map(|at| first + at as u64));
        }
        words
    }

    pub(super) fn kind(&self, page: u64) -> PageKind {
        let (leaf, bit) = locate(page);
        self.leaves.get(leaf).map_or(PageKind::Free, |leaf| leaf.bits.kind(to_index(bit)))
    }

    pub(super) fn set(&mut self, page: u64, kind: PageKind) {
        self.set_run(page..page + 1, kind);
    }

    /// Gives every page of the run its kind, whatever it was.
    pub(super) fn set_run(&mut self, run: Range<u64>, kind: PageKind) {
        let mut from = run.start;
        while from < run.end {
            let (index, first) = locate(from);
            let end = run.end.min((index + 1) * PAGES_PER_LEAF);
            self.leaves.update(index, |leaf| {
                let mut bit = first;
                while bit < end - index * PAGES_PER_LEAF {
                    let len = (WORD_BITS - bit % WORD_BITS).min(end - index * PAGES_PER_LEAF - bit);
                    let mask = (u64::MAX >> (WORD_BITS - len)) << (bit % WORD_BITS);
                    leaf.set_in_word(to_index(bit / WORD_BITS), mask, kind);
                    bit += len;
                }
            });
            from = end;
        }
    }

    /// The lowest free page in `within`.
    pub(super) fn first_free(&self, within: Range<u64>) -> Option<u64> {
        let mut from = within.start;
        while from < within.end {
            let (index, bit) = locate(from);
            let open = self.leaves.first_unsaturated(index, within.end.div_ceil(PAGES_PER_LEAF))?;
            let bit = if open == index { bit } else { 0 };
            let free = match self.leaves.get(open) {
                Some(leaf) => leaf.first_free(bit),
                None => Some(bit),
            };
            if let Some(free) = free {
                let page = open * PAGES_PER_LEAF + free;
                return (page < within.end).then_some(page);
            }
            from = (open + 1) * PAGES_PER_LEAF;
        }
        None
    }

    /// The lowest free block of `len` pages in `within` that begins at a multiple of `len`, a power of two of at most 64.
    pub(super) fn first_free_block(&self, within: Range<u64>, len: u64) -> Option<u64> {
        let mut from = within.start;
        while let Some(free) = self.first_free(from..within.end) {
            let start = free.next_multiple_of(len);
            if start + len > within.end {
                return None;
            }
            if (start..start + len).all(|page| self.kind(page) == PageKind::Free) {
                return Some(start);
            }
            from = start + if start == free { len } else { 0 };
        }
        None
    }

    /// Gives `kind` to the free pages of one leaf that lie in `within`, lowest first, at most `most`. Returns how many.
    pub(super) fn claim(&mut self, leaf: u64, within: Range<u64>, most: u64, kind: PageKind, runs: &mut Runs) -> u64 {
        let base = leaf * PAGES_PER_LEAF;
        let within = within.start.saturating_sub(base)..within.end.saturating_sub(base).min(PAGES_PER_LEAF);
        self.leaves.update(leaf, |leaf| leaf.claim(within, most, kind, base, runs))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{Strategy, prop, prop_oneof, proptest};

    use super::{FreeMap, PAGES_PER_LEAF, PageCounts, PageKind, Runs, locate};

    const END: u64 = 3 * PAGES_PER_LEAF;

    #[derive(Clone, Debug)]
    enum Step {
        Set(u64, u64, bool),
        Claim(u64, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..END, 1u64..3000, prop::bool::ANY).prop_map(|(start, len, free)| Step::Set(start, len, free)),
            (0u64..3, 1u64..2000).prop_map(|(leaf, most)| Step::Claim(leaf, most)),
        ]
    }

    proptest! {
        /// The naive twin is the set of free pages.
        #[test]
        fn behaves_like_a_set(steps in prop::collection::vec(step(), 1..40), froms in prop::collection::vec(0..END, 30)) {
            let mut map = FreeMap::default();
            let mut free: BTreeSet<u64> = (0..END).collect();
            for step in steps {
                match step {
                    Step::Set(start, len, set_free) => {
                        let run = start..(start + len).min(END);
                        map.set_run(run.clone(), if set_free { PageKind::Free } else { PageKind::Engine });
                        run.for_each(|page| if set_free { free.insert(page); } else { free.remove(&page); });
                    }
                    Step::Claim(leaf, most) => {
                        let within = leaf * PAGES_PER_LEAF + 7..(leaf + 1) * PAGES_PER_LEAF - 3;
                        let mut runs = Runs::default();
                        let count = map.claim(leaf, within.clone(), most, PageKind::Regular, &mut runs);
                        let expected: Vec<u64> =
                            free.range(within).copied().take(usize::try_from(most).unwrap()).collect();
                        assert_eq!(runs.pages().collect::<Vec<_>>(), expected);
                        assert_eq!((count, runs.count()), (expected.len() as u64, expected.len() as u64));
                        expected.iter().for_each(|page| { free.remove(page); });
                    }
                }
            }
            for from in froms {
                assert_eq!(map.first_free(from..END), free.range(from..).next().copied());
                assert_eq!(map.kind(from) == PageKind::Free, free.contains(&from));
                let block = (from.next_multiple_of(4)..END - 3).step_by(4).find(|start| {
                    (*start..start + 4).all(|page| free.contains(&page))
                });
                assert_eq!(map.first_free_block(from..END, 4), block);
                let (index, bit) = locate(from);
                for end in [bit, bit + 1, (bit + 100).min(PAGES_PER_LEAF), PAGES_PER_LEAF] {
                    let found = map.leaf(index).map(|leaf| leaf.first_other(bit..end, PageKind::Free));
                    let first = index * PAGES_PER_LEAF;
                    let expected = (bit..end).find(|page| !free.contains(&(first + page)));
                    assert_eq!(found.unwrap_or(None), expected);
                }
            }
            let used: u64 = map.leaves().map(|(_, leaf)| leaf.counts().in_use()).sum();
            assert_eq!(used, END - free.len() as u64);
        }
    }

    #[test]
    fn a_kind_is_kept_until_it_is_changed() {
        let mut map = FreeMap::default();
        for (page, kind) in [(3, PageKind::Regular), (4, PageKind::Engine), (5, PageKind::TableOwned)] {
            map.set(page, kind);
        }
        assert_eq!([2, 3, 4, 5, 6].map(|page| map.kind(page)), {
            use PageKind::{Engine, Free, Regular, TableOwned};
            [Free, Regular, Engine, TableOwned, Free]
        });
        map.set(4, PageKind::Free);
        assert_eq!(map.first_free(3..100), Some(4));
    }

    #[test]
    fn words_and_counts_of_a_leaf_say_what_its_pages_are() {
        const KINDS: [PageKind; 4] = [PageKind::Free, PageKind::Regular, PageKind::Engine, PageKind::TableOwned];
        let mut map = FreeMap::default();
        // Of each kind some pages in the first word, in one further on, and in a whole word.
        for (at, kind) in (0..).zip(KINDS) {
            map.set_run(at * 5..at * 5 + 2 + at, kind);
            map.set_run(700 + at * 9..700 + at * 9 + 3 * at, kind);
            map.set_run(1280 + at * 64..1344 + at * 64, kind);
        }
        let leaf = map.leaf(0).expect("it was touched");
        for word in 0..30 {
            for kind in KINDS {
                let bits = (0..64).filter(|bit| map.kind(word * 64 + bit) == kind).map(|bit| 1 << bit).sum::<u64>();
                assert_eq!(leaf.word_of_kind(usize::try_from(word).unwrap(), kind), bits, "{kind:?} in word {word}");
            }
        }
        let count = |kind| (0..PAGES_PER_LEAF).filter(|page| map.kind(*page) == kind).count() as u64;
        let [regular, engine, table_owned] = [PageKind::Regular, PageKind::Engine, PageKind::TableOwned].map(count);
        assert_eq!(leaf.counts(), PageCounts { regular, engine, table_owned, protected: 0 });
    }

    #[test]
    fn a_word_of_pages_that_tables_own_has_no_free_one() {
        let mut map = FreeMap::default();
        map.set_run(0..130, PageKind::Regular);
        map.set_run(64..128, PageKind::TableOwned);
        assert_eq!(map.first_free(0..200), Some(130));
    }

    #[test]
    fn a_block_lies_within_the_pages_that_are_asked_for() {
        let mut map = FreeMap::default();
        map.set(1, PageKind::Regular);
        assert_eq!((map.first_free_block(0..8, 4), map.first_free_block(0..7, 4)), (Some(4), None));
    }

    #[test]
    fn pages_of_leaves_that_were_never_touched_are_free() {
        let map = FreeMap::default();
        assert_eq!(map.first_free(1 << 39..1 << 40), Some(1 << 39));
        assert_eq!(map.kind(1 << 39), PageKind::Free);
        assert_eq!(map.leaves().count(), 0);
    }
}
