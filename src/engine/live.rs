//! The live state, with a shortcut for what every access looks up.
//!
//! The trees of a state are walked level by level; a look at a page should take a handful of instructions. So the leaves of
//! the free map stand in an array beside the state as well, by index. They are shared with the tree: the array costs 8 bytes
//! for the 16128 pages of a leaf.
//!
//! The live state changes as a whole, when a commit turns over, and the shortcut with it.

use std::ops::Deref;
use std::sync::Arc;

use crate::block::PageKind;

use super::free_map;
use super::geometry::to_index;
use super::map_leaf::Leaf;
use super::state::State;

/// Leaves that have a place in the array: the first ones, so that a file that uses a single page with a huge number takes no
/// more than 8 MiB here. They hold 64 TiB of pages of 4 KiB.
const MOST_LEAVES: u64 = 1 << 20;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Live {
    state: State,
    leaves: Vec<Arc<Leaf>>,
    /// Stands for the leaves that the tree does not have.
    untouched: Arc<Leaf>,
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
        let mut live = Live { leaves: Vec::new(), untouched: Arc::default(), state };
        let all: Vec<u64> = live.state.free_map.leaves().map(|(index, _)| index).collect();
        live.follow(&all);
        live
    }

    /// Makes a state that began as a clone of this one the live one.
    pub(super) fn turn_over(&mut self, state: State) {
        let changed = state.free_map.changed_since(&self.state.free_map);
        self.state = state;
        self.follow(&changed);
    }

    /// Takes leaves of the state over into the array.
    fn follow(&mut self, changed: &[u64]) {
        for index in changed.iter().copied().filter(|index| *index < MOST_LEAVES) {
            let at = to_index(index);
            if at >= self.leaves.len() {
                self.leaves.resize(at + 1, Arc::clone(&self.untouched));
            }
            self.leaves[at] = self.state.free_map.share(index);
        }
    }

    /// Whether a page is regular; behind the end of the file none is, and in the reserved region neither.
    #[inline]
    pub(crate) fn is_regular(&self, page: u64) -> bool {
        let (leaf, bit) = free_map::locate(page);
        match usize::try_from(leaf).ok().and_then(|leaf| self.leaves.get(leaf)) {
            Some(leaf) => leaf.is_regular(bit),
            None => self.is_regular_far_out(page),
        }
    }

    #[cold]
    fn is_regular_far_out(&self, page: u64) -> bool {
        self.state.free_map.kind(page) == PageKind::Regular
    }
}

#[cfg(test)]
mod tests {
    use crate::block::PageKind;
    use crate::format::PAGES_PER_LEAF;

    use super::super::geometry::Geometry;
    use super::{Live, MOST_LEAVES, State};

    /// The array against the tree.
    fn assert_agrees(live: &Live, geometry: Geometry) {
        let far_out = MOST_LEAVES * PAGES_PER_LEAF;
        for page in (0..3 * PAGES_PER_LEAF).chain(far_out - 3..far_out + 3).chain([u64::MAX]) {
            assert_eq!(live.is_regular(page), live.kind(geometry, page) == PageKind::Regular, "page {page}");
        }
    }

    #[test]
    fn the_array_says_what_the_tree_does() {
        let geometry = Geometry::new(4096);
        let mut live = Live::new(State::empty(geometry, 2 * PAGES_PER_LEAF + 100));
        assert_agrees(&live, geometry);
        for round in 0..6u64 {
            let mut state = State::clone(&live);
            state.take_runs(geometry, 1500 * round, PageKind::Regular).expect("there is room");
            if round > 2 {
                state.free_map.set(2000 + round, PageKind::Free);
            }
            if round == 3 {
                for page in [MOST_LEAVES * PAGES_PER_LEAF - 1, MOST_LEAVES * PAGES_PER_LEAF + 1] {
                    state.free_map.set(page, PageKind::Regular);
                }
            }
            live.turn_over(state);
            assert_agrees(&live, geometry);
        }
        assert_agrees(&Live::new(State::clone(&live)), geometry);
    }
}
