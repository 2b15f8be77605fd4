//! Who owns each page of the engine's and of tables: exactly one twin. I6.

use crate::block::{Block, PageKind};
use crate::error::Result;
use crate::format::{Defect, TwinEntry};

use super::entries::is_page;
use super::free_map::{Leaf, locate};
use super::geometry::to_index;
use super::reader::{Parent, Reader, check_all, kind_bits};
use super::state::State;

impl Reader<'_> {
    /// Pages that a copy of a twin takes.
    fn pages_of_copy(&self, block: Block) -> u64 {
        if is_page(block) { 1 } else { self.geometry.pages_per_block() }
    }

    /// I6: every page of the engine's and of tables has one owner, and every copy is a page of the kind of its twin.
    pub(super) fn check_owners(&self, state: &State) -> Result<()> {
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
        let of_tables = claimed.iter().filter(|claim| claim.kind() == PageKind::TableOwned).count() as u64;
        let of_engine = claimed.len() as u64 - of_tables;
        let owned = [
            ("engine pages with an owner", state.counts.engine - self.geometry.first_page(), of_engine),
            ("table-owned pages with an owner", state.counts.table_owned, of_tables),
        ];
        check_all(owned, Block::FreeMapLeaf { index: 0 }, 0)
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
