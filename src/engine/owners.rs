//! Who owns each page of the engine's: exactly one twin. I6.

use crate::block::{Block, PageKind};
use crate::error::Result;
use crate::format::{Defect, TwinEntry};

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
            for page in entry.copies.into_iter().flat_map(|copy| copy..copy + run) {
                let kind = state.kind(self.geometry, page);
                if kind != PageKind::Engine {
                    return Err(Defect { field: "kind of a copy", expected: 2, found: kind_bits(kind) }.at(block, page));
                }
                claimed.push(page);
            }
        }
        claimed.sort_unstable();
        if let Some(page) = claimed.windows(2).find_map(|pair| (pair[0] == pair[1]).then_some(pair[0])) {
            let owns = |(block, entry): &(Block, TwinEntry)| {
                entry.copies.iter().any(|copy| (*copy..copy + self.pages_of_copy(*block)).contains(&page))
            };
            let (block, _) = state.twins().find(owns).expect("somebody has claimed it");
            return Err(Defect { field: "owners of a copy", expected: 1, found: 2 }.at(block, page));
        }
        let expected = state.counts.engine - self.geometry.first_page();
        let found = claimed.len() as u64;
        if expected != found {
            let block = Block::FreeMapLeaf { index: 0 };
            return Err(Defect { field: "engine pages with an owner", expected, found }.at(block, 0));
        }
        Ok(())
    }
}
