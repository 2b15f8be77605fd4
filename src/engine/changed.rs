//! What was written after a generation.
//!
//! An entry says which commit wrote its twin. Small commits write no leaf and no node; those that differ from the root were
//! changed at the live generation at the latest, and the [rows](super::root) of a slot name every one that did, be it as it
//! was before. So nothing that changed is missing here, and something may be here that changed at or before the generation.

use crate::block::Block;
use crate::format::TwinEntry;

use super::Engine;

impl Engine {
    /// The protected pages that were written after a generation, and the leaves of the free map that changed, each ascending.
    pub(crate) fn changed_since(&self, generation: u64) -> impl Iterator<Item = Block> + '_ {
        let since = self.whole_generation(generation);
        let is_newer = move |(_, entry): &(u64, TwinEntry)| entry.generation > since;
        let protected = move |(block, entry): &(Block, TwinEntry)| {
            entry.generation > since && matches!(block, Block::ProtectedPage { .. })
        };
        let pages = self.live.pages().filter(protected).map(|(block, _)| block);

        let written = self.live.leaf_table.iter().filter(is_newer).map(|(index, _)| index);
        let mut leaves: Vec<u64> = written.collect();
        if self.live.generation > since {
            leaves.extend(self.live.free_map.changed_since(&self.root.state.free_map));
        }
        leaves.sort_unstable();
        leaves.dedup();
        pages.chain(leaves.into_iter().map(|index| Block::FreeMapLeaf { index }))
    }

    /// The newest generation up to this one to which nothing will be added: commits that wait share one.
    fn whole_generation(&self, generation: u64) -> u64 {
        if self.group.is_some() { generation.min(self.durable().generation) } else { generation }
    }
}
