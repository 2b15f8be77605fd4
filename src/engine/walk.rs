//! Walks all that a metadata copy, or a slot, names, and puts it together to a state.
//!
//! Every node and leaf is compared with what its parent says: place and keyed checksum by the reader, here table, level,
//! index, generation. Whatever bytes the file holds, the walk ends: a node or a leaf counts only at the one index that
//! it carries itself, so no block is read in two places, and none past the length of the file. I7.

use crate::block::{Block, PageKind};
use crate::error::{Error, Result};
use crate::format::{
    BLOCK_LEN, Defect, MAY_HAVE_HOLES, Metadata, NODE_FANOUT, Node, PAGES_PER_LEAF, PageCounts, RegularList, Slot,
    TableKind, TwinEntry,
};

use super::reader::{Parent, Reader, check_all, kind_bits};
use super::state::State;
use super::twin_table::{TwinTable, node_block};

/// The metadata is the state only together with what a slot says on top of it.
pub(super) const CHANGES_IN_SLOTS: u64 = 1;

/// Feature bits that this version of the crate knows; a file that requires others is refused.
pub(super) const KNOWN_FEATURES: u64 = CHANGES_IN_SLOTS;

/// A state, and the pages of each kind that were counted when it was read.
pub(super) struct Counted {
    pub(super) state: State,
    found: PageCounts,
}

impl Reader<'_> {
    /// Reads all that a metadata copy names, protected and regular pages apart. Who owns the pages is not checked yet.
    pub(super) fn state(&self, metadata: &Metadata, copy: Block) -> Result<Counted> {
        let unknown = metadata.required_features & !KNOWN_FEATURES;
        if unknown != 0 {
            return Err(Error::UnknownFeatures { expected: KNOWN_FEATURES, found: metadata.required_features });
        }
        let total_pages = metadata.total_pages;
        self.check_total(total_pages, copy)?;

        let parent = Parent { total_pages, generation: metadata.generation };
        let leaf_table = self.table(TableKind::FreeMap, metadata, parent)?;
        let (free_map, mut found) = self.free_map(&leaf_table, parent)?;
        let directory = self.table(TableKind::Directory, metadata, parent)?;
        let state = State {
            generation: metadata.generation,
            total_pages,
            counts: metadata.counts,
            header: metadata.header,
            may_have_holes: metadata.optional_features & MAY_HAVE_HOLES != 0,
            free_map,
            leaf_table,
            directory,
        };
        found.protected = state.counted_protected();
        self.check_counts(&state, &found, copy)?;
        Ok(Counted { state, found })
    }

    /// What a slot says on top of the `root` that its metadata says.
    pub(super) fn state_of_slot(&self, root: &Counted, carries: bool, slot: &Slot, block: Block) -> Result<State> {
        let page = self.reserved_page(block);
        let Counted { state: root, found } = root;
        if slot.is_checkpoint() {
            check_all(totals(&root.counts, root.total_pages, &slot.counts, slot.total_pages), block, page)?;
            check_all([("application header", 1, u64::from(slot.header == root.header))], block, page)?;
            return Ok(root.clone());
        }
        check_all([("required features", CHANGES_IN_SLOTS, if carries { CHANGES_IN_SLOTS } else { 0 })], block, page)?;
        self.check_total(slot.total_pages, block)?;
        if slot.total_pages < root.total_pages {
            let (expected, found) = (root.total_pages, slot.total_pages);
            return Err(Defect { field: "total pages", expected, found }.at(block, page));
        }
        let state = root.with_changes(slot).map_err(|defect| defect.at(block, page))?;
        let mut found = PageCounts { protected: state.counted_protected(), ..*found };
        // What no row is about is as the metadata says, and nothing was in use past an end that came before this one.
        for leaf in state.free_map.changed_since(&root.free_map) {
            let [was, is] = [root, &state].map(|state| state.free_map.leaf(leaf));
            let (Some(was), Some(is)) = (was, is) else { unreachable!("rows are about leaves that are there") };
            self.check_ends(is, leaf, slot.total_pages).map_err(|defect| defect.at(block, page))?;
            found = found.minus(was.counts()).plus(is.counts());
        }
        self.check_counts(&state, &found, block)?;
        Ok(state)
    }

    /// A file has room for its reserved region, no more pages than there are numbers, and is as long as it says.
    fn check_total(&self, total_pages: u64, block: Block) -> Result<()> {
        if total_pages < self.geometry.first_page() || total_pages > self.geometry.capacity() {
            let expected = total_pages.clamp(self.geometry.first_page(), self.geometry.capacity());
            let defect = Defect { field: "total pages", expected, found: total_pages };
            return Err(defect.at(block, self.reserved_page(block)));
        }
        let expected = self.geometry.offset(total_pages);
        if expected > self.len { Err(Error::Truncated { expected, found: self.len }) } else { Ok(()) }
    }

    /// Reads the nodes of a table, the highest level first.
    fn table(&self, kind: TableKind, metadata: &Metadata, parent: Parent) -> Result<TwinTable> {
        let top = match kind {
            TableKind::FreeMap => &metadata.free_map,
            TableKind::Directory => &metadata.directory,
        };
        let mut table = TwinTable::from_top(kind, top);
        // No table has more items than pages; of the free map's leaves even that is generous.
        let items = match kind {
            TableKind::FreeMap => parent.total_pages.div_ceil(PAGES_PER_LEAF),
            TableKind::Directory => parent.total_pages,
        };
        for level in (0..table.height()).rev() {
            let spanned = (0..=level).fold(1u64, |span, _| span.saturating_mul(NODE_FANOUT as u64));
            let nodes = items.div_ceil(spanned);
            let entries: Vec<(u64, TwinEntry)> = table.entries_of_nodes(level).collect();
            for (index, entry) in entries {
                let block = node_block(kind, level, index);
                if index >= nodes {
                    return Err(
                        Defect { field: "index", expected: nodes - 1, found: index }.at(block, entry.live_page())
                    );
                }
                let node = self.node(kind, level, index, &entry, parent)?;
                table.insert_node((level, index), node.entries);
            }
        }
        if let Some((index, entry)) = table.next(items) {
            let block = match kind {
                TableKind::FreeMap => Block::FreeMapLeaf { index },
                TableKind::Directory => Block::ProtectedPage { id: index + 1 },
            };
            return Err(Defect { field: "index", expected: items - 1, found: index }.at(block, entry.live_page()));
        }
        Ok(table)
    }

    fn node(&self, kind: TableKind, level: usize, index: u64, entry: &TwinEntry, parent: Parent) -> Result<Box<Node>> {
        let block = node_block(kind, level, index);
        let page = entry.live_page();
        let mut bytes = [0; BLOCK_LEN];
        self.read_block(block, entry, parent, &mut bytes)?;
        let node = Node::decode(&bytes).map_err(|defect| defect.at(block, page))?;
        let table = |kind| match kind {
            TableKind::FreeMap => 1,
            TableKind::Directory => 2,
        };
        let expectations = [
            ("table", table(kind), table(node.table)),
            ("level", level as u64, u64::from(node.level)),
            ("index", index, node.index),
            ("generation", entry.generation, node.generation),
        ];
        check_all(expectations, block, page)?;
        Ok(node)
    }

    /// The counts in the metadata, or in a slot, against those that were `found`.
    pub(super) fn check_counts(&self, state: &State, found: &PageCounts, block: Block) -> Result<()> {
        let mut counts = *found;
        if state.free_map.leaf(0).is_none() {
            counts.engine += self.geometry.first_page();
        }
        let expectations = totals(&counts, state.total_pages, &state.counts, state.total_pages);
        check_all(expectations, block, self.reserved_page(block))
    }

    /// The pages that the metadata lists are regular pages of its state.
    pub(super) fn check_list(&self, state: &State, list: &RegularList) -> Result<()> {
        let RegularList::Listed(rows) = list else { return Ok(()) };
        for (page, _) in rows.iter().copied() {
            // Behind the end all are free, as was checked before.
            let kind = state.kind(self.geometry, page);
            if kind != PageKind::Regular {
                let defect = Defect { field: "kind of a listed page", expected: 1, found: kind_bits(kind) };
                return Err(defect.at(Block::RegularPage, page));
            }
        }
        Ok(())
    }
}

/// The totals that should be, and those that are.
fn totals(counts: &PageCounts, total: u64, found: &PageCounts, found_total: u64) -> [(&'static str, u64, u64); 5] {
    [
        ("regular pages", counts.regular, found.regular),
        ("engine pages", counts.engine, found.engine),
        ("table-owned pages", counts.table_owned, found.table_owned),
        ("protected pages", counts.protected, found.protected),
        ("total pages", total, found_total),
    ]
}
