//! The free map in memory: which kind every page is of, and where the lowest free page, or a free run, lies.
//!
//! Two bits a page stand in [leaves](Leaf) of [`PAGES_PER_LEAF`] pages; a leaf that was never touched is not there and all its
//! pages are free. Above the leaves lie the saturation bits of the [`SparseTree`], and how long a free run each leaf may have: a
//! search looks into one leaf, whatever the size and the fill of the file.
//!
//! The map knows nothing of the end of the file or of its own copies; [`State`](super::state::State) does.

use std::ops::Range;
use std::sync::Arc;

use crate::block::PageKind;
use crate::format::{LEAF_WORDS, PAGES_PER_LEAF};

use super::geometry::to_index;
use super::map_leaf::{Leaf, WORD_BITS};
use super::runs::Runs;
use super::sparse_tree::SparseTree;

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

    /// Makes sure that a leaf is there.
    pub(super) fn touch(&mut self, index: u64) {
        self.leaves.update(index, |_| {});
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
        self.leaf(word / LEAF_WORDS as u64).map_or((0, 0), |leaf| (leaf.bits().low[at], leaf.bits().high[at]))
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
        self.leaves.get(leaf).map_or(PageKind::Free, |leaf| leaf.bits().kind(to_index(bit)))
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

    /// Where a free run of `len` pages begins in `within`: in the first leaf that has one as long, the shortest that will do. A run
    /// that crosses the end of a leaf is found where no leaf has one. Leaves that were never touched are not looked at.
    pub(super) fn find_run(&mut self, within: Range<u64>, len: u64) -> Option<u64> {
        if len > within.end.saturating_sub(within.start) {
            return None;
        }
        let mut from = within.start / PAGES_PER_LEAF;
        while let Some(index) = u16::try_from(len).ok().and_then(|len| self.leaves.first_with_room(from, len)) {
            let first = index * PAGES_PER_LEAF;
            if first >= within.end {
                break;
            }
            let in_leaf = within.start.saturating_sub(first)..(within.end - first).min(PAGES_PER_LEAF);
            if let Some(run) = self.leaf(index).and_then(|leaf| leaf.best_run(in_leaf.clone(), len)) {
                return Some(first + run);
            }
            if in_leaf.end == PAGES_PER_LEAF {
                let least = u16::try_from(len).expect("it fits, as was seen before");
                self.leaves.lower_room(index, least - 1);
            }
            from = index + 1;
        }
        self.find_crossing_run(within, len)
    }

    /// The first free run of `len` pages that crosses the end of a leaf, cut off there.
    fn find_crossing_run(&self, within: Range<u64>, len: u64) -> Option<u64> {
        let (mut start, mut behind) = (within.start, within.start);
        for (index, leaf) in self.leaves() {
            let first = index * PAGES_PER_LEAF;
            let head = leaf.free_head();
            if first != behind {
                start = first.max(within.start);
            }
            if (first + head).min(within.end) >= start + len {
                return Some(start);
            }
            if head < PAGES_PER_LEAF {
                start = first + leaf.last_in_use().map_or(0, |last| last + 1);
            }
            start = start.max(within.start);
            behind = first + PAGES_PER_LEAF;
        }
        None
    }

    /// Calls `visit` with every free run in `within`, ascending, whole ones where they cross the ends of leaves.
    pub(super) fn visit_free_runs(&self, within: Range<u64>, mut visit: impl FnMut(Range<u64>)) {
        let mut open = within.start..within.start;
        let mut push = |run: Range<u64>| {
            if run.start == open.end {
                open.end = run.end;
            } else {
                let done = std::mem::replace(&mut open, run);
                if !done.is_empty() {
                    visit(done);
                }
            }
        };
        let mut behind = within.start;
        for (index, leaf) in self.leaves() {
            let leaf_start = (index * PAGES_PER_LEAF).clamp(within.start, within.end);
            let leaf_end = ((index + 1) * PAGES_PER_LEAF).clamp(within.start, within.end);
            if behind < leaf_start {
                push(behind..leaf_start);
            }
            let first = index * PAGES_PER_LEAF;
            if leaf_start < leaf_end {
                leaf.visit_free_runs(leaf_start - first..leaf_end - first, 1, |run| {
                    push(first + run.start..first + run.end);
                    false
                });
            }
            behind = behind.max(leaf_end);
        }
        if behind < within.end {
            push(behind..within.end);
        }
        if !open.is_empty() {
            visit(open);
        }
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

    use crate::format::PageCounts;

    use super::{FreeMap, PAGES_PER_LEAF, PageKind, Runs, locate};

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
                for end in [from, (from + 777).min(END), END] {
                    let mut found = Vec::new();
                    map.visit_free_runs(from..end, |run| found.extend(run));
                    assert!(found.into_iter().eq(free.range(from..end).copied()));
                }
                for (end, len) in [(from, 3), (from, 300), (from / 2, 70), (from + 1000, 900)] {
                    if let Some(start) = map.find_run(5..end.min(END), len) {
                        assert!(start >= 5 && start + len <= end.min(END), "{len} pages at {start} before {end}");
                        assert!((start..start + len).all(|page| free.contains(&page)));
                    }
                }
                let (index, bit) = locate(from);
                for end in [bit, bit + 1, (bit + 100).min(PAGES_PER_LEAF), PAGES_PER_LEAF] {
                    let found = map.leaf(index).map(|leaf| leaf.first_other(bit..end, PageKind::Free));
                    let first = index * PAGES_PER_LEAF;
                    let expected = (bit..end).find(|page| !free.contains(&(first + page)));
                    assert_eq!(found.unwrap_or(None), expected);
                }
            }
            let mut found = Vec::new();
            map.visit_free_runs(5..END - 9, |run| found.push(run));
            let mut runs = Runs::default();
            free.range(5..END - 9).for_each(|page| runs.push(*page, 1));
            assert!(runs.iter().eq(found));
            for len in [1, 2, 3, 9, 64, 65, 200, 1000, PAGES_PER_LEAF + 1] {
                // Twice, since a search in vain is remembered.
                for _ in 0..2 {
                    let longest = runs.iter().map(|run| run.end - run.start).max().unwrap_or(0);
                    match map.find_run(5..END - 9, len) {
                        Some(start) => assert!(runs.iter().any(|run| run.start <= start && start + len <= run.end)),
                        // Leaves that were never touched are free and not looked at.
                        None => assert!(longest < len || map.leaves().count() < 3),
                    }
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
