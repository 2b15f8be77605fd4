//! Commits that write metadata: those that no slot can say, and the last one before a file is closed.
//!
//! The leaves and nodes that differ from the root are written, the metadata that names them, and the slot: behind a barrier,
//! or in one window where all of it can be proved. Copies that the root names are never written, so the slot before stands,
//! with its rows, until the new one counts.
//!
//! A checkpoint that writes more regular pages than the metadata can list, or extents, or comes after stores through the map, passes one
//! barrier more before its metadata is written: metadata that recovery finds without a slot then still tells that all of
//! that is there.

use std::io;

use crate::error::Result;
use crate::format::{BlockBytes, ChecksumKey, METADATA_OFFSETS, REGULAR_LIST_LEN, RegularList, Slot, encode_leaf};
use crate::storage::Barrier;

use super::commit::{FIRST_BARRIER, SECOND_BARRIER};
use super::new_file::{metadata_of, slot_of};
use super::options::Durability;
use super::planted::{Mistake, is_planted};
use super::root::Root;
use super::state::State;
use super::twin_table::turned_over;
use super::window::{Bytes, Window};
use super::writes::{CopyWrite, RegularPages};
use super::{Engine, Holder, Unsynced};

/// Copies of protected pages that recovery reads to prove a commit, at the most: it should take no longer than a walk.
const MOST_PROVED: usize = 4096;

impl dyn Holder + '_ {
    /// Writes all that `state` differs from the root in, and returns it as the root that it is from then on. Small commits may
    /// stand on one that `carries` them.
    pub(super) fn checkpoint(
        &mut self,
        state: &mut State,
        copies: &[CopyWrite<'_>],
        regular: &RegularPages<'_>,
        carries: bool,
    ) -> Result<Root> {
        let engine = self.engine();
        let stores = *engine.unsynced() == Unsynced::Stores && !is_planted(Mistake::OneBarrierDespiteStores);
        let twins_alone = regular.is_empty() && !stores;
        // Metadata that carries changes is that of a pager whose commits may prove themselves.
        let waiting = engine.group.as_ref().map_or(0, |group| group.copies);
        let proves = carries && twins_alone && copies.len() + waiting <= MOST_PROVED;
        let regular_list = if stores || regular.unlisted || regular.len() > REGULAR_LIST_LEN {
            self.write_pages(regular)?;
            if !is_planted(Mistake::ManyRegularPagesWithoutABarrier) {
                self.engine().barrier(Barrier::Bytes)?;
            }
            RegularList::BehindBarrier
        } else {
            let all = regular.fresh.iter().chain(&regular.overwritten);
            let mut rows: Vec<(u64, u64)> =
                all.map(|(page, source)| (*page, engine.key.checksum(engine.source(*source)))).collect();
            rows.sort_unstable();
            RegularList::Listed(rows)
        };
        self.engine().write_twins(state, copies)?;
        if matches!(regular_list, RegularList::Listed(_)) {
            self.write_pages(regular)?;
        }
        let engine = self.engine();
        let metadata = metadata_of(engine.identity, state, carries, regular_list);
        let block = metadata.encode();
        // Recovery may adopt a commit whose metadata it finds, so whether this one happened is not known from here on.
        engine.set_poisoned(!is_planted(Mistake::PoisonedOnlyFromTheSlotOn));
        let copy = engine.root.copy.other();
        engine.write(&[&block[..]], METADATA_OFFSETS[copy.index()])?;

        let checksum = engine.key.checksum(&block[..]);
        let slot = Slot { behind_barrier: !proves, ..slot_of(&metadata, copy, checksum) };
        if is_planted(Mistake::SlotWrittenBeforeTheBarrier) {
            engine.write_slot(&slot)?;
        }
        if !proves {
            engine.commit_barrier(FIRST_BARRIER)?;
        }
        engine.write_slot(&slot)?;
        engine.commit_barrier(SECOND_BARRIER)?;
        Ok(Root::new(state.clone(), copy, checksum, carries))
    }
}

impl Engine {
    /// Writes the copies, and every leaf and node that differs from the root.
    fn write_twins(&self, state: &mut State, copies: &[CopyWrite<'_>]) -> Result<()> {
        let (geometry, key) = (self.geometry, self.key);
        let mut window = Window::new(&*self.storage, &self.region);
        let root = &self.root.state;

        let mut write = || -> io::Result<()> {
            for copy in copies {
                window.push(geometry.offset(copy.page), Bytes::Page(copy.bytes))?;
            }
            turn_over_blocks(state, root, key, |page, block| window.push(geometry.offset(page), Bytes::Block(block)))?;
            window.write()
        };
        write().map_err(|source| self.io_error("write", source))
    }

    /// Makes the newest commit a promise, and what small commits said the metadata's. A commit of one barrier counts because
    /// it proves itself, and rot would look like a commit in flight. Commits that wait become durable so.
    pub(super) fn seal(&mut self) -> Result<()> {
        if self.group.is_some() {
            return <dyn Holder>::commit_group(self, Durability::TwoBarriers);
        }
        // Metadata that carries nothing was made so, or by a commit of two barriers, and nothing stands on it.
        if !self.root.carries || self.next_generation().is_err() {
            return Ok(());
        }
        self.seal_at(self.live.total_pages)
    }
}

/// Turns over, in `state`, every leaf and node that differs from the root's, children before parents; `write` gets each block
/// and the page where it goes.
pub(super) fn turn_over_blocks<E>(
    state: &mut State,
    root: &State,
    key: ChecksumKey,
    mut write: impl FnMut(u64, Box<BlockBytes>) -> Result<(), E>,
) -> Result<(), E> {
    let generation = state.generation;
    state.directory.turn_over_nodes(&root.directory, generation, key, &mut write)?;
    for index in state.free_map.changed_since(&root.free_map) {
        let leaf = state.free_map.leaf(index).expect("a changed leaf is in the map");
        let block = encode_leaf(index, generation, leaf.bits());
        let (turned, page) = turned_over(&state.leaf_table.get(index), generation, key.checksum(&block[..]));
        state.leaf_table.set(index, turned);
        write(page, block)?;
    }
    state.leaf_table.turn_over_nodes(&root.leaf_table, generation, key, &mut write)
}
