//! Extents of a state: contiguous pages under one index of the directory.
//!
//! ```text
//!   | leaf k: in use ... free │ copies of k+1, of k+2 │ extent ──────────────────────▶ into leaf k+2 |
//!                             ^ end of use
//! ```
//!
//! An extent takes the shortest free run that will do. Where there is none it begins behind all that is in use, and the copies of
//! the leaves into which it reaches are put before it: at the heads of their ranges, where they lie otherwise, they would cut it
//! in two. So an extent may be longer than a leaf.

use std::ops::Range;

use crate::block::PageKind;
use crate::format::{NODE_FANOUT, PAGES_PER_LEAF, TwinEntry};

use super::geometry::Geometry;
use super::runs::Runs;
use super::state::State;

/// By how many pages the file has to grow before it is worth trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing(pub(super) u64);

impl State {
    /// The pages of an extent, if there is one with this index.
    pub(crate) fn extent(&self, index: u64) -> Option<Range<u64>> {
        self.directory.get(index).extent()
    }

    /// The first extent at or behind an index.
    pub(crate) fn next_extent(&self, mut from: u64) -> Option<(u64, Range<u64>)> {
        loop {
            let (index, entry) = self.directory.next(from)?;
            if let Some(pages) = entry.extent() {
                return Some((index, pages));
            }
            from = index + 1;
        }
    }

    /// All entries of extents, ascending.
    pub(super) fn extents(&self) -> impl Iterator<Item = (u64, Range<u64>, TwinEntry)> + '_ {
        self.directory.iter().filter_map(|(index, entry)| Some((index, entry.extent()?, entry)))
    }

    /// Gives an extent the lowest free index and so many pages, where neither takes anything that is not there. Changes nothing if
    /// there is no room.
    pub(super) fn take_extent_at_hand(&mut self, geometry: Geometry, pages: u64, generation: u64) -> Option<u64> {
        let index = self.directory.first_empty();
        if !self.directory.has_room(index) {
            return None;
        }
        let start = self.free_map.find_run(geometry.first_page()..self.total_pages, pages)?;
        let run = start..start + pages;
        self.place_extent(index, &run, generation);
        self.take_pages(run);
        Some(index)
    }

    /// Gives an extent the lowest free index and so many pages. After an error the state may have changed, so the caller works on
    /// a clone.
    pub(super) fn take_extent(&mut self, geometry: Geometry, pages: u64, generation: u64) -> Result<u64, Missing> {
        let run = self.take_run(geometry, pages)?;
        let index = self.take_index(geometry).ok_or(Missing(1))?;
        self.place_extent(index, &run, generation);
        Ok(index)
    }

    /// Takes contiguous free pages.
    pub(super) fn take_run(&mut self, geometry: Geometry, pages: u64) -> Result<Range<u64>, Missing> {
        let within = geometry.first_page()..self.total_pages;
        let start = match self.free_map.find_run(within, pages) {
            Some(start) => start,
            None => self.reach_behind_the_end(geometry, pages)?,
        };
        let run = start..start + pages;
        self.take_pages(run.clone());
        Ok(run)
    }

    /// Takes free pages, of leaves that have their copies.
    pub(super) fn take_pages(&mut self, run: Range<u64>) {
        self.counts.table_owned += run.end - run.start;
        self.free_map.set_run(run, PageKind::TableOwned);
    }

    /// Where a run can begin behind all that is in use, with the leaves there that it reaches into.
    fn reach_behind_the_end(&mut self, geometry: Geometry, pages: u64) -> Result<u64, Missing> {
        let mut start = self.free_map.end_of_use().max(geometry.first_page());
        let least = start.saturating_add(pages);
        if least > self.total_pages {
            // Before anything is made for leaves behind the end of the file.
            let leaves = pages / PAGES_PER_LEAF + 2;
            let nodes = leaves / NODE_FANOUT as u64 + self.leaf_table.nodes_missing((least - 1) / PAGES_PER_LEAF);
            let copies = 2 * geometry.pages_per_block() * (leaves + nodes);
            return Err(Missing((least - self.total_pages).saturating_add(copies)));
        }
        let mut leaf = start / PAGES_PER_LEAF;
        while leaf <= (start + pages - 1) / PAGES_PER_LEAF {
            if !self.is_touched(leaf) {
                start = self.touch_at(geometry, leaf, start.next_multiple_of(geometry.pages_per_block()));
            }
            leaf += 1;
        }
        match (start + pages).checked_sub(self.total_pages) {
            None | Some(0) => Ok(start),
            Some(missing) => Err(Missing(missing)),
        }
    }

    /// Makes an extent longer where it lies, if the pages behind it are free; says whether they are. If it is not
    /// longer then the state may have changed, so the caller works on a clone.
    pub(super) fn lengthen_extent(
        &mut self,
        geometry: Geometry,
        index: u64,
        pages: u64,
        generation: u64,
    ) -> Result<bool, Missing> {
        let run = self.extent(index).expect("the caller has looked it up");
        let more = run.end..run.start.saturating_add(pages);
        let there = more.start..more.end.min(self.total_pages);
        if self.first_other(there, PageKind::Free).is_some() {
            return Ok(false);
        }
        if more.end > self.total_pages {
            return Err(Missing(more.end - self.total_pages));
        }
        for leaf in more.start / PAGES_PER_LEAF..=(more.end - 1) / PAGES_PER_LEAF {
            if !self.is_touched(leaf) && !self.touch_before(geometry, leaf, run.start) {
                return Ok(false);
            }
        }
        self.place_extent(index, &(run.start..more.end), generation);
        self.take_pages(more);
        Ok(true)
    }

    /// Gives a leaf its copies before `end`, if there is room for them in leaves that have theirs.
    fn touch_before(&mut self, geometry: Geometry, leaf: u64, end: u64) -> bool {
        let len = self.leaf_overhead(geometry, leaf);
        let block = geometry.pages_per_block();
        let Some(start) = self.free_map.find_run(geometry.first_page()..end, len + block - 1) else { return false };
        self.touch_at(geometry, leaf, start.next_multiple_of(block));
        true
    }

    /// Has an entry name these pages.
    pub(super) fn place_extent(&mut self, index: u64, pages: &Range<u64>, generation: u64) {
        self.directory.set(index, TwinEntry::of_extent(pages, generation));
    }

    /// Makes an extent and its pages free.
    pub(super) fn release_extent(&mut self, index: u64) {
        let pages = self.extent(index).expect("an extent is freed once (I6)");
        self.release_run(pages);
        self.directory.set(index, TwinEntry::EMPTY);
    }

    /// Makes pages free that an extent had.
    pub(super) fn release_run(&mut self, pages: Range<u64>) {
        let other = self.first_other(pages.clone(), PageKind::TableOwned);
        assert_eq!(other, None, "pages {pages:?} are released by their owner (I6)");
        self.counts.table_owned -= pages.end - pages.start;
        self.free_map.set_run(pages, PageKind::Free);
    }

    /// The first page of a run that is not of a kind.
    pub(super) fn first_other(&self, run: Range<u64>, kind: PageKind) -> Option<u64> {
        let mut from = run.start;
        while from < run.end {
            let first = from / PAGES_PER_LEAF * PAGES_PER_LEAF;
            let end = run.end.min(first + PAGES_PER_LEAF);
            let other = match self.free_map.leaf(from / PAGES_PER_LEAF) {
                Some(leaf) => leaf.first_other(from - first..end - first, kind),
                None => (kind != PageKind::Free).then_some(from - first),
            };
            if let Some(other) = other {
                return Some(first + other);
            }
            from = end;
        }
        None
    }

    /// The pages that extents have here and had not in `base`, each with the index of its extent.
    pub(super) fn extent_pages_gained_since(&self, base: &State) -> Vec<(u64, Runs)> {
        let changed = self.directory.entries_changed_since(&base.directory);
        let gained = changed.into_iter().filter_map(|index| {
            let pages = self.extent(index)?;
            let from = match base.extent(index) {
                Some(old) if old.start == pages.start => old.end.min(pages.end),
                _ => pages.start,
            };
            let mut runs = Runs::default();
            (from < pages.end).then(|| runs.push(from, pages.end - from));
            Some((index, runs))
        });
        gained.filter(|(_, runs)| !runs.is_empty()).collect()
    }
}
