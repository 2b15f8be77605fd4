//! What the twins of the directory are: protected pages, and pages of tables. Its other entries are [extents](super::extent).
//!
//! Both are twins, and turn over, move and heal alike. Which of them an entry is stands in the free map and nowhere else: the
//! copies of a protected page are the engine's pages, those of a page of a table are owned by the table. So an entry has the
//! same bytes whatever it is, and neither a node nor a row of a slot has to say it.
//!
//! I6: both copies of an entry are of one kind, which is compared whenever owners are.

use crate::block::{Block, PageKind};
use crate::error::Error;
use crate::format::{TableKind, TwinEntry};

use super::geometry::Geometry;
use super::state::State;
use super::twin_table::{TwinTable, unwritten};

/// What a twin of the directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A protected page.
    Protected,
    /// A page of a table, which is known to the table alone.
    Table,
}

impl EntryKind {
    pub(super) const ALL: [EntryKind; 2] = [EntryKind::Protected, EntryKind::Table];

    /// The kind of the pages of its copies.
    pub(super) fn page_kind(self) -> PageKind {
        match self {
            EntryKind::Protected => PageKind::Engine,
            EntryKind::Table => PageKind::TableOwned,
        }
    }

    /// What errors and findings call it.
    pub(super) fn block(self, index: u64) -> Block {
        let id = index.saturating_add(1);
        match self {
            EntryKind::Protected => Block::ProtectedPage { id },
            EntryKind::Table => Block::TablePage { id },
        }
    }
}

/// Whether a block is a page that an entry of the directory names, and not one of the engine's own blocks.
pub(super) fn is_page(block: Block) -> bool {
    matches!(block, Block::ProtectedPage { .. } | Block::TablePage { .. })
}

impl State {
    /// The entry of a twin of the directory, whatever it is.
    pub(super) fn twin(&self, index: u64) -> Option<TwinEntry> {
        Some(self.directory.get(index)).filter(TwinEntry::is_twin)
    }

    /// What a twin is.
    pub(super) fn kind_of(&self, entry: &TwinEntry) -> EntryKind {
        // Mostly there are no tables, and nothing has to be looked up.
        let is_owned = self.counts.table_owned > 0 && self.free_map.kind(entry.live_page()) == PageKind::TableOwned;
        if is_owned { EntryKind::Table } else { EntryKind::Protected }
    }

    /// The entry of a twin, if it is of this kind.
    pub(super) fn entry(&self, kind: EntryKind, index: u64) -> Option<TwinEntry> {
        self.twin(index).filter(|entry| self.kind_of(entry) == kind)
    }

    /// Whether there is a twin of this kind.
    pub(crate) fn has_entry(&self, kind: EntryKind, index: u64) -> bool {
        self.entry(kind, index).is_some()
    }

    /// The page of the live copy of a twin, for errors that name it.
    pub(crate) fn live_page_of(&self, index: u64) -> Option<u64> {
        self.twin(index).map(|entry| entry.live_page())
    }

    /// The entry of a protected page, if there is one.
    pub(super) fn protected(&self, index: u64) -> Option<TwinEntry> {
        self.entry(EntryKind::Protected, index)
    }

    /// Whether there is a protected page with this index.
    pub(crate) fn is_protected(&self, index: u64) -> bool {
        self.protected(index).is_some()
    }

    /// The first protected page at or behind an index.
    pub(crate) fn next_protected(&self, mut from: u64) -> Option<u64> {
        loop {
            let (index, entry) = self.directory.next(from)?;
            if entry.is_twin() && self.kind_of(&entry) == EntryKind::Protected {
                return Some(index);
            }
            from = index + 1;
        }
    }

    /// The index behind the last twin or extent.
    pub(super) fn directory_end(&self) -> u64 {
        self.directory.end()
    }

    /// Protected pages, counted in the directory.
    pub(super) fn counted_protected(&self) -> u64 {
        if self.counts.table_owned == 0 {
            return self.directory.count_twins();
        }
        let is_protected =
            |(_, entry): &(u64, TwinEntry)| entry.is_twin() && self.kind_of(entry) == EntryKind::Protected;
        self.directory.iter().filter(is_protected).count() as u64
    }

    /// Twins of a kind, or at least so many.
    pub(super) fn most_entries(&self, kind: EntryKind) -> u64 {
        match kind {
            EntryKind::Protected => self.counts.protected,
            EntryKind::Table => self.counts.table_owned / 2,
        }
    }

    /// Makes a twin and both its copies free.
    pub(super) fn release_twin(&mut self, index: u64) {
        let entry = self.directory.get(index);
        let kind = self.kind_of(&entry);
        entry.copies.into_iter().for_each(|page| self.release(page, kind.page_kind()));
        self.directory.set(index, TwinEntry::EMPTY);
        if kind == EntryKind::Protected {
            self.counts.protected -= 1;
        }
    }

    /// Takes two pages for the copies of a twin, never in one block: a torn block spoils one of them at most.
    fn take_copies(&mut self, geometry: Geometry, kind: PageKind) -> Option<[u64; 2]> {
        let a = self.take(geometry, 0, 1, kind)?;
        let Some(b) = self.take(geometry, geometry.next_block(a), 1, kind) else {
            self.release(a, kind);
            return None;
        };
        Some([a, b])
    }

    /// Gives a twin the lowest free index and two copies. `None` if there is no room; the state may then have changed, so the
    /// caller works on a clone.
    pub(super) fn take_twin(&mut self, geometry: Geometry, kind: EntryKind) -> Option<u64> {
        let index = self.take_index(geometry)?;
        let copies = self.take_copies(geometry, kind.page_kind())?;
        self.directory.set(index, unwritten(copies));
        if kind == EntryKind::Protected {
            self.counts.protected += 1;
        }
        Some(index)
    }

    /// The lowest free index, with room for its entry. As [`take_twin`](Self::take_twin).
    pub(super) fn take_index(&mut self, geometry: Geometry) -> Option<u64> {
        let index = self.directory.first_empty();
        // The table asks the state for pages while it is changed, so it leaves the state for the time being.
        let mut directory = std::mem::replace(&mut self.directory, TwinTable::new(TableKind::Directory));
        let placed = directory.make_room(index, || self.take_node(geometry).ok_or(()));
        self.directory = directory;
        placed.ok().map(|()| index)
    }

    /// Every twin that this state owns, with its name.
    pub(super) fn twins(&self) -> impl Iterator<Item = (Block, TwinEntry)> + '_ {
        let leaves = self.leaf_table.iter().map(|(index, entry)| (Block::FreeMapLeaf { index }, entry));
        let nodes = [&self.leaf_table, &self.directory].into_iter().flat_map(TwinTable::nodes);
        nodes.chain(leaves).chain(self.pages())
    }

    /// What errors and findings call an entry that is not empty.
    pub(super) fn block_of(&self, index: u64, entry: &TwinEntry) -> Block {
        if entry.is_twin() { self.kind_of(entry).block(index) } else { Block::Extent { id: index.saturating_add(1) } }
    }

    /// Every twin of the directory, with its name.
    pub(super) fn pages(&self) -> impl Iterator<Item = (Block, TwinEntry)> + '_ {
        let twins = self.directory.iter().filter(|(_, entry)| entry.is_twin());
        twins.map(|(index, entry)| (self.kind_of(&entry).block(index), entry))
    }
}

/// Why there is no such twin.
#[cold]
pub(super) fn no_such_twin(kind: EntryKind, index: u64) -> Error {
    let id = index.saturating_add(1);
    match kind {
        EntryKind::Protected => Error::NoSuchProtectedPage { id },
        EntryKind::Table => Error::NoSuchTable { id },
    }
}
