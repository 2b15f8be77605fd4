//! Who owns each page of the engine's: exactly one twin. I6.

use crate::block::{Block, PageKind};
use crate::error::Result;
use crate::format::{Defect, TwinEntry};

use super::free_map::{Leaf, locate};
use super::geometry::to_index;
use super::reader::{Parent, Reader, kind_bits};
use super::state::State;

impl Reader<'_> {
    /// Pages that a copy of a twin takes.
    fn pages_of_copy(&self, block: Block) -> u64 {
        if matches!(block, Block::ProtectedPage { .. }) { 1 } else { self.geometry.pages_per_block() }
    }

    /// I6: every page of the engine's has one owner, and every copy is a page of the engine's.
    pub(super) fn check_owners(&self, state: &State) -> Result<()> {
        let parent = Parent { total_pages: state.total_pages, generation: state.generation };
        let mut claimed: Vec<u64> = Vec::new();
        for (block, entry) in state.twins() {
            let run = self.pages_of_copy(block);
            self.check_entry(block, &entry, parent, run)?;
            claimed.extend(entry.copies.into_iter().flat_map(|copy| copy..copy + run));
        }
        // Stable, for that one takes advantage of what is in order already: leaves, and mostly protected pages.
        claimed.sort();
        let mut kinds = Kinds { state, first_page: self.geometry.first_page(), near: None };
        let mut before = None;
        for page in claimed.iter().copied() {
            let kind = kinds.of(page);
            if kind != PageKind::Engine {
                let defect = Defect { field: "kind of a copy", expected: 2, found: kind_bits(kind) };
                return Err(defect.at(self.owner(state, page), page));
            }
            if before == Some(page) {
                let defect = Defect { field: "owners of a copy", expected: 1, found: 2 };
                return Err(defect.at(self.owner(state, page), page));
            }
            before = Some(page);
        }
        let expected = state.counts.engine - self.geometry.first_page();
        let found = claimed.len() as u64;
        if expected != found {
            let block = Block::FreeMapLeaf { index: 0 };
            return Err(Defect { field: "engine pages with an owner", expected, found }.at(block, 0));
        }
        Ok(())
    }

    /// The first twin that claims a page.
    fn owner(&self, state: &State, page: u64) -> Block {
        let claims = |(block, entry): &(Block, TwinEntry)| {
            entry.copies.iter().any(|copy| (*copy..copy + self.pages_of_copy(*block)).contains(&page))
        };
        state.twins().find(claims).expect("somebody has claimed it").0
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
