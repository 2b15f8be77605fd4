//! Reads the leaves of the free map, on several threads where there are many.
//!
//! A file of terabytes has a hundred thousand leaves, far from one another. Reading one is a call of the kernel and some
//! passes over 4 KiB that stay in the cache of the processor: two checksums, the decoding, the counting of its pages. So all
//! of that is done leaf by leaf, and not in a walk for each.
//!
//! Memory that was not used before costs more than all of this. Where a file is full, one leaf says what the next one says:
//! its own copies at its head, and regular pages behind them. Leaves that say the same as the one before are kept once.

use std::io;
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};

use crate::block::{Block, PageKind};
use crate::error::Result;
use crate::format::{BLOCK_LEN, Defect, LeafBits, PAGES_PER_LEAF, PageCounts, TwinEntry, decode_leaf};

use super::free_map::FreeMap;
use super::map_leaf::Leaf;
use super::planted::{Mistake, is_planted};
use super::reader::{Parent, Reader, check_all};
use super::twin_table::TwinTable;

/// Leaves that are worth a thread: it takes as long to begin as some ten of them take.
const LEAVES_PER_THREAD: usize = 512;

/// More threads than this wait for one another to be given memory.
const MOST_THREADS: usize = 4;

/// Leaves of consecutive entries, and the pages of each kind in them.
#[derive(Default)]
struct Part {
    leaves: Vec<(u64, Arc<Leaf>)>,
    found: PageCounts,
}

/// The leaf that was read last, to be shared by the next one if that says the same.
struct Last {
    leaf: Arc<Leaf>,
    counts: PageCounts,
}

impl Last {
    fn new(bits: &LeafBits) -> Self {
        let leaf = Arc::new(Leaf::new(bits));
        Last { counts: leaf.counts(), leaf }
    }
}

impl Reader<'_> {
    /// The leaves that a table names, and the pages of each kind in them. Of several bad ones the first is the error.
    pub(super) fn free_map(&self, leaf_table: &TwinTable, parent: Parent) -> Result<(FreeMap, PageCounts)> {
        let entries: Vec<(u64, TwinEntry)> = leaf_table.iter().collect();
        let (mut free_map, mut found) = (FreeMap::default(), PageCounts::default());
        for part in self.parts(&entries, parent) {
            let part = part?;
            part.leaves.into_iter().for_each(|(index, leaf)| free_map.insert(index, leaf));
            found = found.plus(part.found);
        }
        Ok((free_map, found))
    }

    /// What entries name, in order. The last part is read by this thread, and so is one for which there is no thread. Mistakes
    /// are planted for one thread, in files of few leaves.
    fn parts(&self, entries: &[(u64, TwinEntry)], parent: Parent) -> Vec<Result<Part>> {
        let threads = match entries.len() / LEAVES_PER_THREAD {
            // To ask how many there may be takes longer than to open a small file.
            0 | 1 => 1,
            worth => worth.min(MOST_THREADS).min(thread::available_parallelism().map_or(1, usize::from)),
        };
        let mut parts = entries.chunks(entries.len().div_ceil(threads).max(1));
        let own = parts.next_back().unwrap_or(&[]);
        thread::scope(|scope| {
            let spawn = |part| thread::Builder::new().spawn_scoped(scope, move || self.part(part, parent));
            let others: Vec<(&[_], io::Result<ScopedJoinHandle<'_, _>>)> =
                parts.map(|part| (part, spawn(part))).collect();
            let own = self.part(own, parent);
            let joined = others.into_iter().map(|(part, other)| match other {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(_) => self.part(part, parent),
            });
            joined.chain([own]).collect()
        })
    }

    fn part(&self, entries: &[(u64, TwinEntry)], parent: Parent) -> Result<Part> {
        let mut part = Part { leaves: Vec::with_capacity(entries.len()), ..Part::default() };
        let (mut bytes, mut bits) = ([0; BLOCK_LEN], LeafBits::default());
        let mut last = Last::new(&bits);
        for (index, entry) in entries.iter().copied() {
            let block = Block::FreeMapLeaf { index };
            let page = entry.live_page();
            self.read_block(block, &entry, parent, &mut bytes)?;
            let head = decode_leaf(&bytes, &mut bits).map_err(|defect| defect.at(block, page))?;
            let generation = if is_planted(Mistake::StaleLeafAccepted) { entry.generation } else { head.generation };
            check_all([("index", index, head.index), ("generation", entry.generation, generation)], block, page)?;
            if *last.leaf.bits() != bits {
                last = Last::new(&bits);
            }
            self.check_ends(&last.leaf, index, parent.total_pages).map_err(|defect| defect.at(block, page))?;
            part.found = part.found.plus(last.counts);
            part.leaves.push((index, Arc::clone(&last.leaf)));
        }
        Ok(part)
    }

    /// Pages past the end belong to nobody, those of the reserved region to the engine.
    pub(super) fn check_ends(&self, leaf: &Leaf, index: u64, total_pages: u64) -> Result<(), Defect> {
        let first = index * PAGES_PER_LEAF;
        let within = |page: u64| page.saturating_sub(first).min(PAGES_PER_LEAF);
        if let Some(page) = leaf.first_other(within(total_pages)..PAGES_PER_LEAF, PageKind::Free) {
            return Err(Defect { field: "kind of a page past the end", expected: 0, found: first + page });
        }
        if let Some(page) = leaf.first_other(0..within(self.geometry.first_page()), PageKind::Engine) {
            return Err(Defect { field: "kind of a reserved page", expected: 2, found: first + page });
        }
        Ok(())
    }
}
