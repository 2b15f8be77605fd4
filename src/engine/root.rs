//! The metadata that the live state stands on, and where the live state differs from it.
//!
//! ```text
//!   checkpoint: metadata ◀── names ── slot                     root.state == live
//!   small:      metadata ◀── names ── slot with rows           root.state + rows == live
//! ```
//!
//! A slot says all that differs from the metadata, so the small commits that follow one another on the same metadata each
//! repeat what those before them changed. What differs is kept as two lists, of words of the free map and of entries of the
//! directory, so that a commit compares those and not whole leaves and nodes.
//!
//! The twins of leaves and nodes turn over with the metadata alone: what they hold on disk is the root's state.
//!
//! A leaf or a node that changed and is as before again keeps one row that says so. Opening the file then knows that it was
//! another one in between, and the next checkpoint turns it over: its entry tells whoever has a copy from that time.

use crate::block::TwinCopy;
use crate::format::{ChangeRows, LEAF_WORDS, MAX_STEPS, MapWord, NODE_FANOUT, PlacedTwin, TurnedTwin, TwinEntry};

use super::planted::{Mistake, is_planted};
use super::state::State;

/// Words of the free map and entries of the directory, ascending.
#[derive(Clone, Debug, Default)]
pub(super) struct Changed {
    words: Vec<u64>,
    entries: Vec<u64>,
}

impl Changed {
    /// Those that the rows of a slot are about.
    fn of(rows: &ChangeRows) -> Self {
        let entries = rows.turned.iter().map(|row| row.index).chain(rows.placed.iter().map(|row| row.index));
        let mut changed =
            Changed { words: rows.words.iter().map(|row| row.word).collect(), entries: entries.collect() };
        changed.entries.sort_unstable();
        changed
    }

    /// These, and those that differ between two states.
    fn and_between(&self, live: &State, state: &State) -> Self {
        let mut changed = self.clone();
        changed.words.extend(state.free_map.words_changed_since(&live.free_map));
        changed.entries.extend(state.directory.entries_changed_since(&live.directory));
        for all in [&mut changed.words, &mut changed.entries] {
            all.sort_unstable();
            all.dedup();
        }
        changed
    }
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
    changed: Changed,
}

impl Root {
    /// The root that a checkpoint wrote.
    pub(super) fn new(state: State, copy: TwinCopy, checksum: u64, carries: bool) -> Self {
        Root { state, copy, checksum, carries, changed: Changed::default() }
    }

    /// The root with what the rows of a slot say of the live state.
    pub(super) fn with_rows(self, rows: &ChangeRows) -> Self {
        Root { changed: Changed::of(rows), ..self }
    }

    /// What a small commit that makes `state` of the `live` one has to say. `None` if that takes a checkpoint: the metadata
    /// carries no changes, or is too old; a leaf or a node is new; or a slot has no room.
    pub(super) fn rows(&self, live: &State, state: &State) -> Option<ChangeRows> {
        let is_near = state.generation - self.state.generation <= MAX_STEPS;
        let same_blocks =
            state.leaf_table.is(&self.state.leaf_table) && state.directory.has_nodes_of(&self.state.directory);
        if !self.carries || !is_near || !same_blocks {
            return None;
        }
        let nothing = Changed::default();
        let forgets = is_planted(Mistake::RowsOfTheLastCommitAlone);
        let changed = if forgets { &nothing } else { &self.changed }.and_between(live, state);
        let mut rows = ChangeRows::default();
        for leaf in changed.words.chunk_by(|one, next| one / LEAF_WORDS as u64 == next / LEAF_WORDS as u64) {
            let is_said = |word: &u64| state.free_map.word(*word) != self.state.free_map.word(*word);
            push_words(&mut rows, state, leaf, is_said);
        }
        for node in changed.entries.chunk_by(|one, next| one / NODE_FANOUT as u64 == next / NODE_FANOUT as u64) {
            self.push_entries(&mut rows, state, node);
        }
        rows.fit().then_some(rows)
    }

    /// Says what became of entries of one node; if all are what they were, that one of them is.
    fn push_entries(&self, rows: &mut ChangeRows, state: &State, node: &[u64]) {
        let before = rows.turned.len() + rows.placed.len();
        for index in node.iter().copied() {
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
        }
        // Only an entry that was empty can be what it was: no other comes back, for generations only grow.
        let is_empty = |index: &&u64| state.directory.get(**index).is_empty();
        let has_node = state.directory.height() > 0;
        if rows.turned.len() + rows.placed.len() == before
            && let Some(index) = node.iter().find(is_empty).filter(|_| has_node)
        {
            rows.placed.push(PlacedTwin { index: *index, entry: TwinEntry::EMPTY });
        }
    }

    /// After a small commit that said this.
    pub(super) fn set_changed(&mut self, rows: &ChangeRows) {
        self.changed = Changed::of(rows);
    }
}

/// Says the words of one leaf that have to be; if none has, the first as it is.
fn push_words(rows: &mut ChangeRows, state: &State, leaf: &[u64], is_said: impl Fn(&u64) -> bool) {
    let row = |word: &u64| {
        let (low, high) = state.free_map.word(*word);
        MapWord { word: *word, low, high }
    };
    let before = rows.words.len();
    rows.words.extend(leaf.iter().filter(|word| is_said(word)).map(row));
    if rows.words.len() == before {
        rows.words.extend(leaf.first().map(row));
    }
}

#[cfg(test)]
mod tests {
    use super::super::geometry::Geometry;
    use super::{MAX_STEPS, Root, State, TwinCopy};

    #[test]
    fn what_a_slot_cannot_say_takes_a_checkpoint() {
        let at = |generation| State { generation, ..State::empty(Geometry::new(4096), 100) };
        let root = |carries| Root::new(at(7), TwinCopy::A, 0, carries);
        assert!(root(true).rows(&at(7), &at(8)).is_some());
        assert!(root(true).rows(&at(6 + MAX_STEPS), &at(7 + MAX_STEPS)).is_some());
        assert!(root(true).rows(&at(7 + MAX_STEPS), &at(8 + MAX_STEPS)).is_none(), "rows count from the metadata");
        assert!(root(false).rows(&at(7), &at(8)).is_none(), "the metadata carries nothing");
    }

    #[test]
    fn of_what_changed_and_changed_back_one_row_a_leaf_is_said_again() {
        let geometry = Geometry::new(4096);
        let mut state = State::empty(geometry, 10_000);
        state.take_runs(geometry, 5_000, crate::block::PageKind::Regular).expect("there is room");
        let mut root = Root::new(state.clone(), TwinCopy::A, 0, true);
        let mut live = state.clone();
        for page in (1_000..1_010).map(|word| word * 4) {
            let mut freed = live.clone();
            freed.release(page, crate::block::PageKind::Regular);
            let rows = root.rows(&live, &freed).expect("there is room");
            assert_eq!(rows.words.len(), 1);
            root.set_changed(&rows);
            let rows = root.rows(&freed, &state).expect("there is room");
            assert_eq!(rows.words.iter().map(|row| row.low).collect::<Vec<_>>(), [u64::MAX]);
            root.set_changed(&rows);
            live = state.clone();
        }
    }
}
