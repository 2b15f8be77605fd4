//! A leaf of the free map in memory: the kinds of [`PAGES_PER_LEAF`] pages, and where free ones are.
//!
//! Above its words lies a summary of 64 times fewer bits, so that the lowest free page is found by looking at a handful of
//! words. Runs are looked for word by word, and a leaf remembers how long a free run it may have, so that one that was looked
//! through in vain is passed over until something in it is freed.

use std::ops::Range;

use crate::block::PageKind;
use crate::format::{LEAF_WORDS, LeafBits, PAGES_PER_LEAF, PageCounts};

use super::geometry::to_index;
use super::runs::Runs;
use super::sparse_tree::Saturate;

pub(super) const WORD_BITS: u64 = u64::BITS as u64;
const SUMMARY_WORDS: usize = LEAF_WORDS.div_ceil(64);

/// The summary of a leaf whose pages are all free.
const OPEN: [u64; SUMMARY_WORDS] = [u64::MAX, u64::MAX, u64::MAX, u64::MAX >> (64 * SUMMARY_WORDS - LEAF_WORDS)];

/// The bits of [`PAGES_PER_LEAF`] pages and their summary.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    bits: LeafBits,
    /// Bit `w`: word `w` has a free page.
    open: [u64; SUMMARY_WORDS],
    /// No free run is longer.
    longest: u16,
}

/// Pages of a leaf, as long as a run in it can be.
const ALL: u16 = 16_128;
const _: () = assert!(ALL as u64 == PAGES_PER_LEAF, "no run of a leaf is longer than the leaf");

/// Free runs that are long enough are compared up to this number; among so many there is one that wastes little.
const MOST_COMPARED: usize = 16;

impl Default for Leaf {
    fn default() -> Self {
        Leaf { bits: LeafBits::default(), open: OPEN, longest: ALL }
    }
}

impl Saturate for Leaf {
    fn is_saturated(&self) -> bool {
        self.open == [0; SUMMARY_WORDS]
    }

    fn room(&self) -> u16 {
        self.longest
    }

    fn lower_room(&mut self, room: u16) {
        self.longest = self.longest.min(room);
    }
}

/// Words whose pages are counted at once.
const COUNTED_AT_ONCE: usize = 12;

impl Leaf {
    pub(super) fn new(bits: &LeafBits) -> Self {
        let mut leaf = Leaf { bits: bits.clone(), ..Leaf::default() };
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
    pub(super) fn differs_from(&self, old: Option<&Leaf>, word: usize) -> bool {
        let (low, high) = old.map_or((0, 0), |old| (old.bits.low[word], old.bits.high[word]));
        (self.bits.low[word], self.bits.high[word]) != (low, high)
    }

    pub(super) fn set_in_word(&mut self, word: usize, mask: u64, kind: PageKind) {
        let (low, high) = planes(kind);
        let (was_low, was_high) = (self.bits.low[word], self.bits.high[word]);
        self.set_word(word, was_low & !mask | low & mask, was_high & !mask | high & mask);
    }

    pub(super) fn set_word(&mut self, word: usize, low: u64, high: u64) {
        if (self.bits.low[word] | self.bits.high[word]) & !(low | high) != 0 {
            self.longest = ALL;
        }
        (self.bits.low[word], self.bits.high[word]) = (low, high);
        let open = u64::from(low | high != u64::MAX);
        self.open[word / 64] = self.open[word / 64] & !(1 << (word % 64)) | open << (word % 64);
    }

    /// The first free page at or behind `from`, counted from the first page of the leaf.
    pub(super) fn first_free(&self, from: u64) -> Option<u64> {
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
    pub(super) fn last_of_kind(&self, within: Range<u64>, kind: PageKind) -> Option<u64> {
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
    pub(super) fn last_in_use(&self) -> Option<u64> {
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
    pub(super) fn claim(&mut self, within: Range<u64>, most: u64, kind: PageKind, base: u64, runs: &mut Runs) -> u64 {
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

    /// Where the shortest free run of at least `least` pages begins, of those that lie in `within`, both counted from the first
    /// page of the leaf. Of many that would do, only the first ones are compared.
    pub(super) fn best_run(&self, within: Range<u64>, least: u64) -> Option<u64> {
        let (mut best, mut compared): (Option<Range<u64>>, usize) = (None, 0);
        self.visit_free_runs(within, least, |run| {
            let len = run.end - run.start;
            compared += 1;
            if best.as_ref().is_none_or(|best| len < best.end - best.start) {
                best = Some(run);
            }
            len == least || compared == MOST_COMPARED
        });
        best.map(|run| run.start)
    }

    /// Calls `visit` with the free runs in `within` of at least `least` pages, which is one or more, ascending, until it says that it
    /// has seen enough.
    pub(super) fn visit_free_runs(&self, within: Range<u64>, least: u64, mut visit: impl FnMut(Range<u64>) -> bool) {
        // Pages of the free run that reaches up to the word. Whether it ends there is not asked before it is known to be long
        // enough: at random that would be a branch that nobody can foresee in each word.
        let (mut open, mut next) = (0, to_index(within.start / WORD_BITS));
        let end = to_index(within.end.div_ceil(WORD_BITS));
        loop {
            let word = if open == 0 { self.next_open_word(next) } else { Some(next) };
            let Some(word) = word.filter(|word| *word < end) else { break };
            next = word + 1;
            let first = word as u64 * WORD_BITS;
            let mut free = self.word_of_kind(word, PageKind::Free);
            free &= u64::MAX << within.start.saturating_sub(first);
            free &= u64::MAX >> (first + WORD_BITS).saturating_sub(within.end);
            if free == u64::MAX {
                open += WORD_BITS;
                continue;
            }
            let (head, tail) = (u64::from(free.trailing_ones()), u64::from(free.leading_ones()));
            if open + head >= least && visit(first - open..first + head) {
                return;
            }
            // What is left touches neither end of the word.
            let inside = free & !(u64::MAX >> (WORD_BITS - 1 - head) >> 1) & u64::MAX >> tail;
            if has_run(inside, least) && visit_word(first, inside, least, &mut visit) {
                return;
            }
            open = tail;
        }
        if open >= least {
            visit(next as u64 * WORD_BITS - open..next as u64 * WORD_BITS);
        }
    }

    /// Free pages at the head, which may be all.
    pub(super) fn free_head(&self) -> u64 {
        self.first_other(0..PAGES_PER_LEAF, PageKind::Free).unwrap_or(PAGES_PER_LEAF)
    }
}

/// Whether a word has so many bits that are set side by side.
fn has_run(word: u64, least: u64) -> bool {
    if least > WORD_BITS {
        return false;
    }
    let (mut runs, mut len) = (word, 1);
    while len < least {
        let step = len.min(least - len);
        runs &= runs >> step;
        len += step;
    }
    runs != 0
}

/// The runs of at least `least` bits of a word that begins at `first`. Says whether `visit` has seen enough.
fn visit_word(first: u64, mut word: u64, least: u64, visit: &mut impl FnMut(Range<u64>) -> bool) -> bool {
    while word != 0 {
        let start = word.trailing_zeros();
        let len = (word >> start).trailing_ones();
        if u64::from(len) >= least && visit(first + u64::from(start)..first + u64::from(start + len)) {
            return true;
        }
        // A run that reaches the end of the word is not left for here, so the shift is defined.
        word &= u64::MAX.checked_shl(start + len).unwrap_or(0);
    }
    false
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
