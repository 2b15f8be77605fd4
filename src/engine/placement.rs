//! Where a checkpoint writes the copies of protected pages: side by side in spare pages, if there are some.
//!
//! The copies of a twin lie where they were when the page was allocated, so a commit that changes many pages writes all over
//! the file. A disk takes the same bytes in half the time where they adjoin. So a checkpoint gives the copies that it is about
//! to write a new place, in those words of the free map that have the most free pages, and their old places become free. A
//! commit of many pages then writes a few runs, and the holes that it leaves are what a later one fills.
//!
//! ```text
//!   before    | live | spare |  ...      free   free   free
//!   after     | spare |  free |  ...     | live |             the entry names both
//! ```
//!
//! I1, I2: only pages are taken that are free in the state that the transaction began with, too, so neither what the durable
//! state owns is written, nor a page that this commit gives up. Where hardly a page is spare the file grows, up to a quarter
//! of what the engine has in it. Where that cannot be had, or the spare pages are as scattered as the copies, these stay
//! where they are.

use std::collections::BTreeSet;

use crate::block::PageKind;
use crate::error::{Error, Result};
use crate::format::{LEAF_WORDS, PAGES_PER_LEAF};

use super::change::is_out_of_space;
use super::entries::EntryKind;
use super::geometry::Geometry;
use super::planted::{Mistake, is_planted};
use super::state::State;
use super::twin_table::NodeAt;
use super::writes::CopyWrite;
use super::{Engine, Holder};

/// Copies that a checkpoint gives new places at the least: fewer are not worth a leaf of the free map.
const LEAST_COPIES: usize = 8;

/// The same where a small commit would do. A checkpoint also writes the nodes above them, and metadata.
const LEAST_INSTEAD_OF_SMALL: usize = 24;

/// Leaves at the end of the file in which spare pages are looked for, beside those that change anyway.
const LAST_LEAVES: u64 = 8;

/// Of so many pages of the engine one should be spare: the more are, the longer are the runs that a commit writes.
const SPARE_SHARE: u64 = 4;

const WORD_BITS: u64 = 64;

/// Whether so many runs, those of leaves included, cost clearly less than so many writes anywhere.
fn pays(runs: usize, writes: usize) -> bool {
    runs <= writes - writes / 4
}

/// Spare pages, ascending, to be taken one by one.
struct Spare {
    pages: std::vec::IntoIter<u64>,
}

impl Spare {
    /// The `count` pages that lie closest together among those that are free in `state` and in `base`. `None` if they, and the
    /// leaves that change, are so scattered that writing to them costs about as much as so many `writes` anywhere.
    fn find(state: &State, base: &State, changing: &BTreeSet<u64>, count: usize, writes: usize) -> Option<Spare> {
        let last = state.total_pages() / PAGES_PER_LEAF;
        let mut leaves = changing.clone();
        leaves.extend(last.saturating_sub(LAST_LEAVES)..=last);

        let end = state.total_pages();
        let free_words = |leaf: u64| {
            let (new, old) = (state.free_map.leaf(leaf), base.free_map.leaf(leaf));
            (0..LEAF_WORDS).filter_map(move |at| {
                let old_free = old.map_or(u64::MAX, |old| old.word_of_kind(at, PageKind::Free));
                let owned =
                    !old_free & if is_planted(Mistake::PlacedOnPagesThatThisCommitFrees) { 0 } else { u64::MAX };
                let first = leaf * PAGES_PER_LEAF + at as u64 * WORD_BITS;
                let below_end = !u64::MAX.checked_shl(end.saturating_sub(first).try_into().unwrap_or(64)).unwrap_or(0);
                let free = new?.word_of_kind(at, PageKind::Free) & !owned & below_end;
                (free != 0).then_some((first, free))
            })
        };
        let mut words: Vec<(u64, u64)> = leaves.iter().flat_map(|leaf| free_words(*leaf)).collect();
        if !is_planted(Mistake::PlacedOnPagesThatThisCommitFrees) {
            words.sort_by_key(|(_, free)| std::cmp::Reverse(free.count_ones()));
        }

        let mut pages = Vec::with_capacity(count);
        for (first, free) in words {
            let of_word = (0..WORD_BITS).filter(|bit| free >> bit & 1 == 1).map(|bit| first + bit);
            pages.extend(of_word.take(count - pages.len()));
            if pages.len() == count {
                break;
            }
        }
        if pages.len() < count {
            return None;
        }
        pages.sort_unstable();
        let runs = 1 + pages.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
        let taken_from: BTreeSet<u64> = pages.iter().map(|page| page / PAGES_PER_LEAF).collect();
        let leaves = taken_from.union(changing).count();
        pays(runs + leaves, writes).then(|| Spare { pages: pages.into_iter() })
    }

    /// A place for the copy of a twin whose other copy is at `other`, which never lies in the same block.
    fn take(&mut self, geometry: Geometry, other: u64) -> Option<u64> {
        let page = *self.pages.as_slice().first()?;
        if geometry.next_block(page) == geometry.next_block(other) {
            return None;
        }
        self.pages.next()
    }
}

impl dyn Holder + '_ {
    /// Gives the copies that a commit is about to write, and those of the nodes above them, places beside one another, if that
    /// pays. Then the commit has to be a checkpoint, even where it could be small. Says whether it did.
    pub(super) fn place_copies(
        &mut self,
        state: &mut State,
        copies: &mut [CopyWrite<'_>],
        may_be_small: bool,
    ) -> Result<bool> {
        let least = if may_be_small { LEAST_INSTEAD_OF_SMALL } else { LEAST_COPIES };
        let engine = self.engine();
        if copies.len() < least || engine.may_have_holes {
            return Ok(false);
        }
        let geometry = engine.geometry;
        // What is new has just been given its place.
        let was_there = |copy: &&mut CopyWrite<'_>| {
            let entry = engine.base().directory.get(copy.index);
            entry.generation != 0 && entry.copies == state.directory.get(copy.index).copies
        };
        let moving: Vec<&mut CopyWrite<'_>> = copies.iter_mut().filter(was_there).collect();
        let nodes = if geometry.pages_per_block() == 1 {
            state.directory.nodes_to_turn_over(&engine.root.state.directory)
        } else {
            Vec::new()
        };
        let spare_copy = |node| {
            let entry = state.directory.node_entry(node);
            entry.copies[entry.live.other().index()]
        };
        let left = moving.iter().map(|copy| copy.page).chain(nodes.iter().map(|node| spare_copy(*node)));
        let mut changing: BTreeSet<u64> = left.map(|page| page / PAGES_PER_LEAF).collect();
        let count = moving.len() + nodes.len();
        if moving.len() < least {
            return Ok(false);
        }
        let writes = if may_be_small { moving.len() } else { count };
        if !pays(changing.len() + 1, writes) {
            // However close the spare pages, the leaves alone would cost too much.
            return Ok(false);
        }
        let mut find = |engine: &Engine, state: &mut State| {
            Spare::find(state, engine.base(), &changing, count, writes).or_else(|| {
                let mut wider = state.clone();
                changing.insert(wider.touch_next(geometry)?);
                let spare = Spare::find(&wider, engine.base(), &changing, count, writes)?;
                *state = wider;
                Some(spare)
            })
        };
        let mut spare = find(engine, state);
        if spare.is_none() && state.free_pages() < state.counts().engine / SPARE_SHARE {
            self.with_alone(|engine| engine.grow_for_copies(state))?;
            spare = find(self.engine(), state);
        }
        let Some(spare) = spare else { return Ok(false) };
        move_to(spare, geometry, state, moving, &nodes);
        let engine = self.engine();
        for kind in EntryKind::ALL {
            engine.zero_pages().remove(&state.handed_out_since(&engine.live, kind.page_kind()));
        }
        Ok(true)
    }
}

impl Engine {
    /// Grows the file as for an allocation. That there is no room for it is no error: everything has a place already.
    fn grow_for_copies(&mut self, state: &mut State) -> Result<()> {
        match self.grow(state, 1) {
            Err(Error::Full { .. }) => Ok(()),
            Err(Error::Io { source, .. }) if !self.is_poisoned() && is_out_of_space(&source) => Ok(()),
            grown => grown,
        }
    }
}

/// Moves the copies that are about to be written, of protected pages and of nodes. A copy for which there is no page outside
/// the block of the live one stays where it is.
fn move_to(mut spare: Spare, geometry: Geometry, state: &mut State, copies: Vec<&mut CopyWrite<'_>>, nodes: &[NodeAt]) {
    let mut given_up = Vec::with_capacity(copies.len() + nodes.len());
    for copy in copies {
        let mut entry = state.directory.get(copy.index);
        let (live, other) = (entry.live.index(), entry.live.other().index());
        let Some(page) = spare.take(geometry, entry.copies[other]) else { continue };
        let kind = state.kind_of(&entry).page_kind();
        given_up.push((std::mem::replace(&mut entry.copies[live], page), page, kind));
        state.directory.set(copy.index, entry);
        copy.page = page;
    }
    for node in nodes {
        let mut entry = state.directory.node_entry(*node);
        let (to, other) = (entry.live.other().index(), entry.live.index());
        let Some(page) = spare.take(geometry, entry.copies[other]) else { continue };
        given_up.push((std::mem::replace(&mut entry.copies[to], page), page, PageKind::Engine));
        state.directory.set_node_entry(*node, entry);
    }
    for (_, page, kind) in &given_up {
        state.free_map.set(*page, *kind);
    }
    for (page, ..) in given_up {
        state.free_map.set(page, PageKind::Free);
    }
}
