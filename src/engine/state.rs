//! What one generation says: how many pages there are, who owns each, and the application's header.
//!
//! A state is a value. The live one belongs to the engine, a transaction changes a clone of it (cheap: everything large is
//! shared until it is changed), and committing makes the clone the live one. Nothing here touches the storage: a call that
//! finds no room says so, and the caller grows the file and asks again.
//!
//! ```text
//!   leaf of the free map, first touch:   | copy A | copy B | missing nodes, two copies each | pages for users ...
//!                                        ^ first page of the range that the leaf covers
//! ```
//!
//! A leaf and the nodes above it lie in the range that the leaf covers, so touching a leaf never touches another and there
//! is no fixpoint to find; but where an [extent](super::extent) reaches over the head of that range, they lie before it. I6: every
//! page that is not free has exactly one owner.

use std::convert::Infallible;

use crate::block::PageKind;
use crate::format::{
    Defect, HEADER_LEN, LEAF_WORDS, MAX_TABLE_HEIGHT, PAGES_PER_LEAF, PageCounts, Slot, TableKind, TwinEntry,
};

use super::free_map::FreeMap;
use super::geometry::{Geometry, to_index};
use super::runs::Runs;
use super::twin_table::{TwinTable, unwritten};

/// Blocks that a leaf takes at most when it is touched: two copies of itself, of a node of each level below, and of each level
/// by which the table is raised.
const MOST_OVERHEAD_BLOCKS: u64 = 2 * (1 + 2 * MAX_TABLE_HEIGHT as u64);

/// See the head of this file.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(super) generation: u64,
    pub(super) total_pages: u64,
    pub(super) counts: PageCounts,
    pub(super) header: [u8; HEADER_LEN],
    /// Space of the file was given back once, so that parts of it may be holes.
    pub(super) may_have_holes: bool,
    pub(super) free_map: FreeMap,
    /// Where the copies of the free map's leaves lie.
    pub(super) leaf_table: TwinTable,
    /// Where the copies of the [protected pages and pages of tables](super::entries) lie, and the [extents](super::extent); index 0
    /// is the one with id 1.
    pub(super) directory: TwinTable,
}

impl State {
    /// The state of a file that holds nothing but the reserved region.
    pub(super) fn empty(geometry: Geometry, total_pages: u64) -> Self {
        State {
            generation: 0,
            total_pages,
            counts: PageCounts { engine: geometry.first_page(), ..PageCounts::default() },
            header: [0; HEADER_LEN],
            may_have_holes: false,
            free_map: FreeMap::default(),
            leaf_table: TwinTable::new(TableKind::FreeMap),
            directory: TwinTable::new(TableKind::Directory),
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn total_pages(&self) -> u64 {
        self.total_pages
    }

    pub(crate) fn header(&self) -> &[u8; HEADER_LEN] {
        &self.header
    }

    pub(crate) fn counts(&self) -> PageCounts {
        self.counts
    }

    /// Pages that nobody owns. A few of them are taken by leaves and nodes before the last one is handed out.
    pub(crate) fn free_pages(&self) -> u64 {
        self.total_pages - self.counts.in_use()
    }

    /// The kind of a page below the total. Pages of the reserved region are the engine's before any leaf says so.
    pub(crate) fn kind(&self, geometry: Geometry, page: u64) -> PageKind {
        if page < geometry.first_page() { PageKind::Engine } else { self.free_map.kind(page) }
    }

    /// The page behind the first one of the last leaf.
    pub(super) fn leaves_begun(&self) -> u64 {
        self.leaf_table.end().saturating_sub(1) * PAGES_PER_LEAF + u64::from(self.leaf_table.end() > 0)
    }

    /// Pages of each kind, counted in the leaves and in the directory, whatever the totals say.
    pub(super) fn counted(&self) -> PageCounts {
        let nothing = PageCounts { protected: self.counted_protected(), ..PageCounts::default() };
        self.free_map.leaves().fold(nothing, |found, (_, leaf)| found.plus(leaf.counts()))
    }

    /// Regular pages in ascending order, a word of the map at a time: pages of word `n` start at `n * 64`.
    pub(crate) fn next_regular_word(&self, from: u64) -> Option<(u64, u64)> {
        const WORDS: u64 = PAGES_PER_LEAF / 64;
        let (mut leaf, mut first) = (from / WORDS, from % WORDS);
        loop {
            let (index, bits) = self.free_map.next_leaf(leaf)?;
            let start = if index == leaf { first } else { 0 };
            let found = (start..WORDS).find_map(|word| {
                let at = usize::try_from(word).expect("a leaf has few words");
                let regular = bits.word_of_kind(at, PageKind::Regular);
                (regular != 0).then_some((index * WORDS + word, regular))
            });
            if found.is_some() {
                return found;
            }
            (leaf, first) = (index + 1, 0);
        }
    }

    fn count_of(&mut self, kind: PageKind) -> &mut u64 {
        match kind {
            PageKind::Regular => &mut self.counts.regular,
            PageKind::Engine => &mut self.counts.engine,
            PageKind::TableOwned => &mut self.counts.table_owned,
            PageKind::Free => unreachable!("free pages are what is left; they are not counted"),
        }
    }

    pub(super) fn table(&self, kind: TableKind) -> &TwinTable {
        match kind {
            TableKind::FreeMap => &self.leaf_table,
            TableKind::Directory => &self.directory,
        }
    }

    pub(super) fn table_mut(&mut self, kind: TableKind) -> &mut TwinTable {
        match kind {
            TableKind::FreeMap => &mut self.leaf_table,
            TableKind::Directory => &mut self.directory,
        }
    }

    /// A leaf has its copies, and an entry in the table, from when it is in the map.
    pub(super) fn is_touched(&self, leaf: u64) -> bool {
        self.free_map.leaf(leaf).is_some()
    }

    /// Pages that a leaf takes out of its own range when it is touched.
    pub(super) fn leaf_overhead(&self, geometry: Geometry, leaf: u64) -> u64 {
        (1 + self.leaf_table.nodes_missing(leaf)) * 2 * geometry.pages_per_block()
    }

    /// The end of the pages that can be handed out. The last leaf may have too few pages below the total to hold its own
    /// copies and one page more; then its range waits for the file to grow.
    fn usable_end(&self, geometry: Geometry) -> u64 {
        let last = self.total_pages.saturating_sub(1) / PAGES_PER_LEAF;
        let start = (last * PAGES_PER_LEAF).max(geometry.first_page());
        let room = self.total_pages.saturating_sub(start);
        // Mostly there is more room than any leaf needs, and nothing to be looked up.
        if room > MOST_OVERHEAD_BLOCKS * geometry.pages_per_block() || self.is_touched(last) {
            return self.total_pages;
        }
        if room > self.leaf_overhead(geometry, last) { self.total_pages } else { start.min(self.total_pages) }
    }

    /// By how many pages the file has to grow at least before `pages` more can be handed out.
    pub(super) fn shortfall(&self, geometry: Geometry, pages: u64) -> u64 {
        let last = self.total_pages / PAGES_PER_LEAF;
        let overhead = if self.is_touched(last) { 0 } else { self.leaf_overhead(geometry, last) };
        if self.total_pages % PAGES_PER_LEAF + overhead + pages <= PAGES_PER_LEAF {
            return overhead + pages;
        }
        // Every further leaf takes its own copies and perhaps a node's; half a leaf's pages is more than they ever need.
        let leaves = pages / (PAGES_PER_LEAF / 2) + 2;
        pages + overhead + leaves * self.leaf_overhead(geometry, last + leaves)
    }

    /// Gives a leaf and the missing nodes above it their copies, at the head of the range that the leaf covers.
    fn touch(&mut self, geometry: Geometry, leaf: u64) {
        if self.is_touched(leaf) {
            return;
        }
        let end = self.touch_at(geometry, leaf, (leaf * PAGES_PER_LEAF).max(geometry.first_page()));
        assert!(end <= self.total_pages, "usable_end leaves room for a leaf's own copies");
    }

    /// Gives a leaf, which has none, and the missing nodes above it their copies from `start` on, where a block begins. Returns
    /// where they end.
    pub(super) fn touch_at(&mut self, geometry: Geometry, leaf: u64, start: u64) -> u64 {
        let block = geometry.pages_per_block();
        let mut end = start;
        let mut place = || -> Result<[u64; 2], Infallible> {
            end += 2 * block;
            Ok([end - 2 * block, end - block])
        };
        let Ok(copies) = place();
        let Ok(()) = self.leaf_table.make_room(leaf, &mut place);
        self.leaf_table.set(leaf, unwritten(copies));
        self.free_map.touch(leaf);
        self.free_map.set_run(start..end, PageKind::Engine);
        self.counts.engine += end - start;
        if leaf == 0 {
            self.free_map.set_run(0..geometry.first_page(), PageKind::Engine);
        }
        end
    }

    /// Touches the first leaf that never was, if the file reaches so far that some of its pages can be handed out.
    pub(super) fn touch_next(&mut self, geometry: Geometry) -> Option<u64> {
        let leaf = self.leaf_table.first_empty();
        let has_room = leaf * PAGES_PER_LEAF < self.usable_end(geometry);
        has_room.then(|| self.touch(geometry, leaf))?;
        Some(leaf)
    }

    /// Makes a leaf that holds nothing but its own copies, if these, one that was never touched. Returns those of its copies that
    /// lie elsewhere, for the caller to give up; `None` if it is no such leaf.
    pub(super) fn untouch(&mut self, geometry: Geometry, leaf: u64) -> Option<Vec<u64>> {
        let copies = self.leaf_table.get(leaf).copies.into_iter().flat_map(|copy| geometry.block_pages(copy));
        let (own, elsewhere): (Vec<u64>, Vec<u64>) = copies.partition(|page| page / PAGES_PER_LEAF == leaf);
        let own = own.len() as u64;
        let holds = self.free_map.leaf(leaf)?.counts();
        if leaf == 0 || holds != (PageCounts { engine: own, ..PageCounts::default() }) {
            return None;
        }
        self.counts.engine -= own;
        self.leaf_table.set(leaf, TwinEntry::EMPTY);
        self.free_map.remove(leaf);
        Some(elsewhere)
    }

    /// Takes the lowest free pages at or behind `from`, one or an aligned block, touching leaves on the way.
    pub(super) fn take(&mut self, geometry: Geometry, from: u64, len: u64, kind: PageKind) -> Option<u64> {
        loop {
            let within = from.max(geometry.first_page())..self.usable_end(geometry);
            let page = if len == 1 {
                self.free_map.first_free(within)?
            } else {
                self.free_map.first_free_block(within, len)?
            };
            let leaf = page / PAGES_PER_LEAF;
            if self.is_touched(leaf) {
                self.free_map.set_run(page..page + len, kind);
                *self.count_of(kind) += len;
                return Some(page);
            }
            // The leaf's own copies may take just this page, so look again.
            self.touch(geometry, leaf);
        }
    }

    /// Takes the lowest free page at or behind `near`, else the lowest of all.
    pub(super) fn take_page(&mut self, geometry: Geometry, near: u64, kind: PageKind) -> Option<u64> {
        let page = self.take(geometry, near, 1, kind);
        if page.is_none() && near > geometry.first_page() { self.take(geometry, 0, 1, kind) } else { page }
    }

    /// Takes the lowest free page, or block, of which `page` is not a part, if it lies before `end`.
    pub(super) fn take_before(
        &mut self,
        geometry: Geometry,
        end: u64,
        len: u64,
        page: u64,
        kind: PageKind,
    ) -> Option<u64> {
        let mut taken = self.take(geometry, 0, len, kind)?;
        if geometry.next_block(taken) == geometry.next_block(page) {
            let other = self.take(geometry, geometry.next_block(page), len, kind);
            (taken..taken + len).for_each(|page| self.release(page, kind));
            taken = other?;
        }
        if taken + len > end {
            (taken..taken + len).for_each(|page| self.release(page, kind));
            return None;
        }
        Some(taken)
    }

    /// Takes two blocks for the copies of a node of the directory.
    pub(super) fn take_node(&mut self, geometry: Geometry) -> Option<[u64; 2]> {
        let block = geometry.pages_per_block();
        let a = self.take(geometry, 0, block, PageKind::Engine)?;
        let Some(b) = self.take(geometry, 0, block, PageKind::Engine) else {
            geometry.block_pages(a).for_each(|page| self.release(page, PageKind::Engine));
            return None;
        };
        Some([a, b])
    }

    /// Takes the `count` lowest free pages, whole words at a time. `None` if there are not so many; the state may then
    /// have changed, so the caller works on a clone.
    pub(super) fn take_runs(&mut self, geometry: Geometry, count: u64, kind: PageKind) -> Option<Runs> {
        let (mut runs, mut left) = (Runs::default(), count);
        while left > 0 {
            let within = geometry.first_page()..self.usable_end(geometry);
            let leaf = self.free_map.first_free(within.clone())? / PAGES_PER_LEAF;
            self.touch(geometry, leaf);
            let taken = self.free_map.claim(leaf, within, left, kind, &mut runs);
            *self.count_of(kind) += taken;
            left -= taken;
        }
        Some(runs)
    }

    /// Makes a page free.
    pub(super) fn release(&mut self, page: u64, kind: PageKind) {
        assert_eq!(self.free_map.kind(page), kind, "page {page} is released by its owner (I6)");
        self.free_map.set(page, PageKind::Free);
        *self.count_of(kind) -= 1;
    }

    /// The state that a slot says, on top of this one, which its metadata says.
    pub(super) fn with_changes(&self, slot: &Slot) -> Result<State, Defect> {
        let mut state = self.clone();
        state.generation = slot.generation;
        state.total_pages = slot.total_pages;
        state.counts = slot.counts;
        state.header = slot.header;
        for row in &slot.rows.words {
            let leaf = row.word / LEAF_WORDS as u64;
            if state.free_map.leaf(leaf).is_none() {
                return Err(Defect { field: "word", expected: 0, found: row.word });
            }
            state.free_map.set_word(leaf, to_index(row.word % LEAF_WORDS as u64), row.low, row.high);
        }
        for row in &slot.rows.turned {
            let entry = state.directory.get(row.index);
            if entry.is_empty() {
                return Err(Defect { field: "turned twin", expected: 0, found: row.index });
            }
            let (live, generation, checksum) = (row.live, row.generation, row.checksum);
            let turned = TwinEntry { live, generation, checksum, ..entry };
            turned.check()?;
            state.directory.set(row.index, turned);
        }
        for row in &slot.rows.placed {
            if !state.directory.has_room(row.index) {
                return Err(Defect { field: "placed twin", expected: 0, found: row.index });
            }
            state.directory.set(row.index, row.entry);
        }
        Ok(state)
    }

    /// Runs of the pages that are of `kind` here and were free in `base`.
    pub(super) fn handed_out_since(&self, base: &State, kind: PageKind) -> Runs {
        let mut runs = Runs::default();
        for index in self.free_map.changed_since(&base.free_map) {
            let leaf = self.free_map.leaf(index).expect("a changed leaf is in the map");
            leaf.gained_since(base.free_map.leaf(index), kind, index * PAGES_PER_LEAF, &mut runs);
        }
        runs
    }

    /// Whether committing this state in place of `base` would change anything on disk, apart from staged content.
    pub(super) fn differs_from(&self, base: &State) -> bool {
        self.header != base.header
            || self.total_pages != base.total_pages
            || !self.leaf_table.is(&base.leaf_table)
            || !self.directory.is(&base.directory)
            || !self.free_map.changed_since(&base.free_map).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{Geometry, PAGES_PER_LEAF, PageKind, State};

    /// A state all of whose pages are in use that can be.
    fn full(geometry: Geometry, total_pages: u64) -> State {
        let mut state = State::empty(geometry, total_pages);
        while state.take_page(geometry, 0, PageKind::Regular).is_some() {
            let free = state.free_map.leaves().map(|(_, leaf)| PAGES_PER_LEAF - leaf.counts().in_use());
            let free: u64 = free.sum::<u64>().min(state.free_pages());
            for count in [free, free / 2, free / 4].into_iter().filter(|count| *count > 0) {
                let mut more = state.clone();
                if more.take_runs(geometry, count, PageKind::Regular).is_some() {
                    state = more;
                    break;
                }
            }
        }
        state
    }

    #[test]
    fn a_leaf_is_touched_once_its_range_has_room_for_more_than_its_own_copies() {
        let geometry = Geometry::new(4096);
        for (behind, is_touched) in [(1, false), (2, false), (3, true)] {
            let state = full(geometry, PAGES_PER_LEAF + behind);
            assert_eq!((state.is_touched(1), state.free_pages()), (is_touched, if is_touched { 0 } else { behind }));
        }
    }

    #[test]
    fn growing_by_the_shortfall_makes_room_and_wastes_next_to_nothing() {
        const LEAF: u64 = PAGES_PER_LEAF;
        for page_size in [1024, 4096, 65536] {
            let geometry = Geometry::new(page_size);
            // Short of the end of a leaf, at it and behind it; the sixteenth leaf and its neighbours take a node.
            let totals =
                [24, 1000, LEAF - 9, LEAF - 1, LEAF, LEAF + 1, LEAF + 30, 2 * LEAF - 3, 14 * LEAF + 1, 17 * LEAF];
            for total in totals {
                let state = full(geometry, total);
                for pages in [1, 2, 9, 500, LEAF - 31, LEAF - 8, LEAF - 1, LEAF, 3 * LEAF, 20 * LEAF + 5] {
                    let shortfall = state.shortfall(geometry, pages);
                    let mut grown = State { total_pages: total + shortfall, ..state.clone() };
                    let case = format!("{pages} pages of {page_size} more than {total}: {shortfall}");
                    assert!(grown.take_runs(geometry, pages, PageKind::Regular).is_some(), "{case}");
                    // The copies of each leaf, and those of a node.
                    let most = (pages / (LEAF / 2) + 3) * 4 * geometry.pages_per_block();
                    assert!((pages..=pages + most).contains(&shortfall), "{case}, at most {most} more expected");
                }
            }
        }
    }
}
