//! The metadata that the live state stands on, and where the live state differs from it.
//!
//! ```text
//!   checkpoint: metadata ◀── names ── slot                     root.state == live
//!   small:      metadata ◀── names ── slot with rows           root.state + rows == live
//! ```
//!
//! A slot says all that differs from the metadata, so the small commits that follow one another on the same metadata each
//! repeat what those before them changed. What may differ is kept as two sets, of words of the free map and of entries of
//! the directory, so that a commit compares those and not whole leaves and nodes.
//!
//! The twins of leaves and nodes turn over with the metadata alone: what they hold on disk is the root's state.

use std::collections::BTreeSet;

use crate::block::TwinCopy;
use crate::format::{ChangeRows, Defect, LEAF_WORDS, MapWord, PlacedTwin, Slot, TurnedTwin};

use super::geometry::to_index;
use super::planted::{Mistake, is_planted};
use super::state::State;

/// Words of the free map and entries of the directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Changed {
    words: BTreeSet<u64>,
    entries: BTreeSet<u64>,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) state: State,
    pub(super) copy: TwinCopy,
    /// The keyed checksum of the metadata.
    pub(super) checksum: u64,
    /// The metadata says that small commits may stand on it.
    pub(super) carries: bool,
    /// All of it was behind a barrier before its slot was written, so that two blocks say that it happened.
    pub(super) behind_barrier: bool,
    changed: Changed,
}

impl Root {
    /// The root that a checkpoint wrote.
    pub(super) fn new(state: State, copy: TwinCopy, checksum: u64, carries: bool, behind_barrier: bool) -> Self {
        Root { state, copy, checksum, carries, behind_barrier, changed: Changed::default() }
    }

    /// The root with what the rows of a slot say of the live state.
    pub(super) fn with_rows(self, rows: &ChangeRows) -> Self {
        let changed = Changed {
            words: rows.words.iter().map(|row| row.word).collect(),
            entries: rows.turned.iter().map(|row| row.index).chain(rows.placed.iter().map(|row| row.index)).collect(),
        };
        Root { changed, ..self }
    }

    /// What a small commit that makes `state` of the `live` one has to say, and what may differ from the root from then on.
    /// `None` if that takes a checkpoint: the metadata carries no changes, a leaf or a node is new, or a slot has no room.
    pub(super) fn rows(&self, live: &State, state: &State) -> Option<(ChangeRows, Changed)> {
        let same_blocks =
            state.leaf_table.is(&self.state.leaf_table) && state.directory.has_nodes_of(&self.state.directory);
        if !self.carries || !same_blocks {
            return None;
        }
        let mut changed =
            if is_planted(Mistake::RowsOfTheLastCommitAlone) { Changed::default() } else { self.changed.clone() };
        changed.words.extend(state.free_map.words_changed_since(&live.free_map));
        changed.entries.extend(state.directory.entries_changed_since(&live.directory));
        let mut rows = ChangeRows::default();
        for word in changed.words.iter().copied() {
            let (low, high) = state.free_map.word(word);
            if (low, high) != self.state.free_map.word(word) {
                rows.words.push(MapWord { word, low, high });
            }
        }
        for index in changed.entries.iter().copied() {
            let (was, entry) = (self.state.directory.get(index), state.directory.get(index));
            if was == entry {
                continue;
            }
            if was.copies == entry.copies {
                let (live, generation, checksum) = (entry.live, entry.generation, entry.checksum);
                rows.turned.push(TurnedTwin { index, live, generation, checksum });
            } else {
                rows.placed.push(PlacedTwin { index, entry });
            }
            if !ChangeRows::fit(rows.words.len(), rows.turned.len(), rows.placed.len()) {
                return None;
            }
        }
        let fits = ChangeRows::fit(rows.words.len(), rows.turned.len(), rows.placed.len());
        fits.then_some((rows, changed))
    }

    /// After a small commit.
    pub(super) fn set_changed(&mut self, changed: Changed) {
        self.changed = changed;
    }
}

impl State {
    /// The state that a slot says, on top of this one, which its metadata says.
    pub(super) fn with_changes(&self, slot: &Slot) -> Result<State, Defect> {
        let mut state = self.clone();
        state.generation = slot.generation;
        state.total_pages = slot.total_pages;
        state.counts = slot.counts;
        state.header = slot.header;
        for row in &slot.rows.words {
            let leaf = row.word / LEAF_WORDS as u64;
            if state.free_map.leaf(leaf).is_none() {
                return Err(Defect { field: "word", expected: 0, found: row.word });
            }
            state.free_map.set_word(leaf, to_index(row.word % LEAF_WORDS as u64), row.low, row.high);
        }
        for row in &slot.rows.turned {
            let entry = state.directory.get(row.index);
            if entry.is_empty() {
                return Err(Defect { field: "turned twin", expected: 0, found: row.index });
            }
            let (live, generation, checksum) = (row.live, row.generation, row.checksum);
            state.directory.set(row.index, crate::format::TwinEntry { live, generation, checksum, ..entry });
        }
        for row in &slot.rows.placed {
            if !state.directory.has_room(row.index) {
                return Err(Defect { field: "placed twin", expected: 0, found: row.index });
            }
            state.directory.set(row.index, row.entry);
        }
        Ok(state)
    }
}
