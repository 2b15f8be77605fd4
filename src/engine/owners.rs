//! Who owns each page of the engine's and of tables: exactly one twin, or one extent. I6.

use std::ops::Range;

use crate::block::{Block, PageKind};
use crate::error::Result;
use crate::format::{Defect, TwinEntry};

use super::entries::is_page;
use super::free_map::locate;
use super::geometry::to_index;
use super::map_leaf::Leaf;
use super::reader::{Parent, Reader, check_all, kind_bits};
use super::state::State;

impl Reader<'_> {
    /// Pages that a copy of a twin takes.
    fn pages_of_copy(&self, block: Block) -> u64 {
        if is_page(block) { 1 } else { self.geometry.pages_per_block() }
    }

    /// I6: every page of the engine's and of tables has one owner, and every copy is a page of the kind of its twin.
    pub(super) fn check_owners(&self, state: &State) -> Result<()> {
        let of_tables = self.check_owners_of_copies(state)?;
        let of_extents = self.check_owners_of_extents(state, &of_tables)?;
        let (expected, found) = (state.counts.table_owned, of_tables.len() as u64 + of_extents);
        check_all([("table-owned pages with an owner", expected, found)], Block::FreeMapLeaf { index: 0 }, 0)
    }

    /// Returns the copies that are pages of tables, ascending.
    fn check_owners_of_copies(&self, state: &State) -> Result<Vec<u64>> {
        let parent = Parent { total_pages: state.total_pages, generation: state.generation };
        let mut claimed: Vec<Claim> = Vec::new();
        for (block, entry) in state.twins() {
            let run = self.pages_of_copy(block);
            self.check_entry(block, &entry, parent, run)?;
            let is_table = matches!(block, Block::TablePage { .. });
            let pages = entry.copies.into_iter().flat_map(|copy| copy..copy + run);
            claimed.extend(pages.map(|page| Claim::new(page, is_table)));
        }
        // Stable, for that one takes advantage of what is in order already: leaves, and mostly protected pages.
        claimed.sort();
        let mut kinds = Kinds { state, first_page: self.geometry.first_page(), near: None };
        let mut before = None;
        for claim in claimed.iter().copied() {
            let (page, expected) = (claim.page(), claim.kind());
            let kind = kinds.of(page);
            if kind != expected {
                let (expected, found) = (kind_bits(expected), kind_bits(kind));
                return Err(Defect { field: "kind of a copy", expected, found }.at(self.owner(state, page), page));
            }
            if before == Some(page) {
                let defect = Defect { field: "owners of a copy", expected: 1, found: 2 };
                return Err(defect.at(self.owner(state, page), page));
            }
            before = Some(page);
        }
        let of_tables = claimed.iter().filter(|claim| claim.kind() == PageKind::TableOwned);
        let of_tables: Vec<u64> = of_tables.map(|claim| claim.page()).collect();
        let (expected, found) =
            (state.counts.engine - self.geometry.first_page(), (claimed.len() - of_tables.len()) as u64);
        check_all([("engine pages with an owner", expected, found)], Block::FreeMapLeaf { index: 0 }, 0)?;
        Ok(of_tables)
    }

    /// Returns how many pages extents have: none of these `copies`.
    fn check_owners_of_extents(&self, state: &State, copies: &[u64]) -> Result<u64> {
        let mut extents: Vec<(Range<u64>, u64)> = Vec::new();
        for (index, pages, entry) in state.extents() {
            let block = Block::Extent { id: index + 1 };
            let at = |field, expected, found| Err(Defect { field, expected, found }.at(block, pages.start));
            if pages.start < self.geometry.first_page() {
                return at("first page", self.geometry.first_page(), pages.start);
            }
            if pages.end > state.total_pages {
                return at("end", state.total_pages, pages.end);
            }
            if entry.generation > state.generation {
                return at("generation", state.generation, entry.generation);
            }
            extents.push((pages, index));
        }
        extents.sort_unstable_by_key(|(pages, index)| (pages.start, *index));
        let (mut found, mut end) = (0, 0);
        for (pages, index) in extents {
            let block = Block::Extent { id: index + 1 };
            let first_copy = copies.partition_point(|page| *page < pages.start);
            let copy = copies.get(first_copy).copied().filter(|page| *page < pages.end);
            if let Some(page) = (pages.start < end).then_some(pages.start).or(copy) {
                let defect = Defect { field: "owners of a page", expected: 1, found: 2 };
                return Err(defect.at(block, page));
            }
            if let Some(page) = state.first_other(pages.clone(), PageKind::TableOwned) {
                let kind = state.free_map.kind(page);
                let defect = Defect { field: "kind of an extent's page", expected: 3, found: kind_bits(kind) };
                return Err(defect.at(block, page));
            }
            found += pages.end - pages.start;
            end = pages.end;
        }
        Ok(found)
    }

    /// The first twin that claims a page.
    fn owner(&self, state: &State, page: u64) -> Block {
        let claims = |(block, entry): &(Block, TwinEntry)| {
            entry.copies.iter().any(|copy| (*copy..copy + self.pages_of_copy(*block)).contains(&page))
        };
        state.twins().find(claims).expect("somebody has claimed it").0
    }
}

/// A page that a twin says is its copy, and whether it is a table's: in one word, since there are as many as pages in use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim(u64);

impl Claim {
    fn new(page: u64, is_table: bool) -> Self {
        // The page was compared with the end of the file, far below 2^63.
        Claim(page << 1 | u64::from(is_table))
    }

    fn page(self) -> u64 {
        self.0 >> 1
    }

    /// The kind that the page has to be of.
    fn kind(self) -> PageKind {
        if self.0 & 1 == 1 { PageKind::TableOwned } else { PageKind::Engine }
    }
}

/// Kinds of pages that are asked for in ascending order.
struct Kinds<'a> {
    state: &'a State,
    first_page: u64,
    /// The leaf of the page before, and its index.
    near: Option<(u64, Option<&'a Leaf>)>,
}

impl Kinds<'_> {
    fn of(&mut self, page: u64) -> PageKind {
        let (index, bit) = locate(page);
        let leaf = match self.near {
            Some((near, leaf)) if near == index => leaf,
            _ => self.state.free_map.leaf(index),
        };
        self.near = Some((index, leaf));
        match leaf {
            _ if page < self.first_page => PageKind::Engine,
            Some(leaf) => leaf.bits().kind(to_index(bit)),
            None => PageKind::Free,
        }
    }
}
