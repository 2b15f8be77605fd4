//! The live state, with shortcuts for what every access looks up.
//!
//! The trees of a state are walked level by level; a look at a page should take a handful of instructions. So the leaves of
//! the free map and the nodes that hold the entries of protected pages stand in arrays beside the state as well, by index.
//! They are shared with the trees: an array costs 8 bytes for the 16128 pages of a leaf or the 126 entries of a node.
//!
//! The live state changes as a whole, when a commit turns over, and the shortcuts with it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::block::PageKind;
use crate::format::NODE_FANOUT;

use super::free_map::{self, Leaf};
use super::geometry::to_index;
use super::sparse_tree::SparseTree;
use super::state::State;
use super::twin_table::NodeEntries;

/// Items of a tree that have a shortcut: the first ones, so that a file that calls a single page by a huge number takes
/// no more than 8 MiB here. The leaves among them hold 64 TiB of pages of 4 KiB.
const MOST_ITEMS: u64 = 1 << 20;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Live {
    state: State,
    leaves: Shortcuts<Leaf>,
    nodes: Shortcuts<NodeEntries>,
}

impl Deref for Live {
    type Target = State;

    #[inline]
    fn deref(&self) -> &State {
        &self.state
    }
}

impl Live {
    pub(super) fn new(state: State) -> Self {
        let mut live = Live { leaves: Shortcuts::new(), nodes: Shortcuts::new(), state };
        live.leaves.add_all(live.state.free_map.tree());
        if let Some(nodes) = live.state.directory.entry_nodes() {
            live.nodes.add_all(nodes);
        }
        live
    }

    /// Makes a state that began as a clone of this one the live one.
    pub(super) fn turn_over(&mut self, state: State) {
        self.leaves.follow(state.free_map.tree(), Some(self.state.free_map.tree()));
        if let Some(nodes) = state.directory.entry_nodes() {
            self.nodes.follow(nodes, self.state.directory.entry_nodes());
        }
        self.state = state;
    }

    /// Whether a page is regular; behind the end of the file none is, and in the reserved region neither.
    #[inline]
    pub(crate) fn is_regular(&self, page: u64) -> bool {
        let (leaf, bit) = free_map::locate(page);
        match self.leaves.get(leaf) {
            Some(leaf) => leaf.is_regular(bit),
            None => self.is_regular_far_out(page),
        }
    }

    #[cold]
    fn is_regular_far_out(&self, page: u64) -> bool {
        self.state.free_map.kind(page) == PageKind::Regular
    }

    /// The page of the live copy of a protected page, if there is one.
    #[inline]
    pub(crate) fn protected_page(&self, index: u64) -> Option<u64> {
        const FANOUT: u64 = NODE_FANOUT as u64;
        match self.nodes.get(index / FANOUT) {
            // The page of the live copy is 0 where there is no twin: that page is the engine's.
            Some(node) => Some(node.live_page(to_index(index % FANOUT))).filter(|page| *page != 0),
            None => self.protected_page_far_out(index),
        }
    }

    /// Also while the entries still stand in the metadata.
    #[cold]
    fn protected_page_far_out(&self, index: u64) -> Option<u64> {
        self.state.protected(index).map(|entry| entry.live_page())
    }
}

/// The first items of a tree, by index.
struct Shortcuts<T> {
    items: Vec<Arc<T>>,
    /// Stands for the items that the tree does not have.
    untouched: Arc<T>,
}

impl<T> fmt::Debug for Shortcuts<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shortcuts").field("len", &self.items.len()).finish_non_exhaustive()
    }
}

impl<T: Default> Shortcuts<T> {
    fn new() -> Self {
        Shortcuts { items: Vec::new(), untouched: Arc::default() }
    }

    #[inline]
    fn get(&self, index: u64) -> Option<&T> {
        self.items.get(usize::try_from(index).ok()?).map(|item| &**item)
    }

    fn add_all(&mut self, tree: &SparseTree<T>) {
        tree.iter().for_each(|(index, _)| self.add(tree, index));
    }

    /// Takes over what `tree` has that its `base` had not.
    fn follow(&mut self, tree: &SparseTree<T>, base: Option<&SparseTree<T>>) {
        match base {
            Some(base) => tree.changed_since(base).into_iter().for_each(|index| self.add(tree, index)),
            None => self.add_all(tree),
        }
    }

    fn add(&mut self, tree: &SparseTree<T>, index: u64) {
        let Some(item) = tree.share(index).filter(|_| index < MOST_ITEMS) else { return };
        let at = to_index(index);
        if at >= self.items.len() {
            self.items.resize(at + 1, Arc::clone(&self.untouched));
        }
        self.items[at] = item;
    }
}

#[cfg(test)]
mod tests {
    use crate::block::PageKind;
    use crate::format::PAGES_PER_LEAF;

    use super::super::geometry::Geometry;
    use super::{Live, MOST_ITEMS, State};

    /// The shortcuts against the trees.
    fn assert_agrees(live: &Live, geometry: Geometry) {
        let far_out = MOST_ITEMS * PAGES_PER_LEAF;
        for page in (0..3 * PAGES_PER_LEAF).chain(far_out - 3..far_out + 3).chain([u64::MAX]) {
            assert_eq!(live.is_regular(page), live.kind(geometry, page) == PageKind::Regular, "page {page}");
        }
        for index in (0..2000).chain([u64::MAX]) {
            assert_eq!(live.protected_page(index), live.protected(index).map(|entry| entry.live_page()), "{index}");
        }
    }

    #[test]
    fn shortcuts_lead_where_the_trees_do() {
        let geometry = Geometry::new(4096);
        let mut live = Live::new(State::empty(geometry, 2 * PAGES_PER_LEAF + 100));
        assert_agrees(&live, geometry);
        let mut kept = Vec::new();
        // The directory outgrows the metadata in the second round, and its first node in the fourth.
        for round in 0..6u64 {
            let mut state = State::clone(&live);
            state.take_runs(geometry, 1500 * round, PageKind::Regular).expect("there is room");
            kept.extend((0..1 + 40 * round).map(|_| state.take_protected(geometry).expect("there is room")));
            if round > 2 {
                kept.drain(..7).for_each(|index| state.release_protected(index));
                state.free_map.set(2000 + round, PageKind::Free);
            }
            if round == 3 {
                for page in [MOST_ITEMS * PAGES_PER_LEAF - 1, MOST_ITEMS * PAGES_PER_LEAF + 1] {
                    state.free_map.set(page, PageKind::Regular);
                }
            }
            live.turn_over(state);
            assert_agrees(&live, geometry);
        }
        assert_agrees(&Live::new(State::clone(&live)), geometry);
    }
}
