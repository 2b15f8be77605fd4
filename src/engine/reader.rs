//! Reads the state that a metadata copy names, and believes nothing.
//!
//! Every block is read with a positioned read and compared with what its parent says: place, keyed checksum, table, level,
//! index, generation. Whatever bytes the file holds, the walk ends: a node or a leaf counts only at the one index that
//! it carries itself, so no block is read in two places, and none past the length of the file. I7.

use std::io;
use std::path::Path;

use crate::block::{Block, PageKind};
use crate::error::{Error, Result};
use crate::format::{
    BLOCK_LEN, BlockBytes, ChecksumKey, DecodedLeaf, Defect, IDENTITY_OFFSET, METADATA_OFFSETS, Metadata, NODE_FANOUT,
    Node, PAGES_PER_LEAF, PageCounts, RegularList, SLOT_OFFSETS, Slot, TableKind, TwinEntry, decode_leaf,
};
use crate::storage::Storage;

use super::free_map::FreeMap;
use super::geometry::Geometry;
use super::planted::{Mistake, is_planted};
use super::state::State;
use super::twin_table::{TwinTable, node_block};

/// The metadata is the state only together with what a slot says on top of it.
pub(super) const CHANGES_IN_SLOTS: u64 = 1;

/// Feature bits that this version of the crate knows; a file that requires others is refused.
pub(super) const KNOWN_FEATURES: u64 = CHANGES_IN_SLOTS;

/// A call that fails is made so often before what it reads counts as unreadable.
pub(super) const READ_ATTEMPTS: usize = 3;

/// What it takes to read a file's blocks and pages.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) geometry: Geometry,
    pub(super) key: ChecksumKey,
    /// Length of the file in bytes.
    pub(super) len: u64,
    /// A commit that may not be all there: what it wrote is missing where it cannot be read.
    pub(super) in_flight: Option<u64>,
}

/// Where a block hangs: the limits within which its entry has to name pages.
#[derive(Clone, Copy)]
pub(super) struct Parent {
    pub(super) total_pages: u64,
    pub(super) generation: u64,
}

impl<'a> Reader<'a> {
    fn path(&self) -> &'a Path {
        self.storage.path()
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.storage.read_at(buffer, offset).map_err(|source| Error::io("read", self.path(), source))
    }

    /// Reads the live copy of a twin. A power cut leaves what was in flight unreadable, which is then damage like any other; a
    /// call that fails elsewhere, or a disk that cannot be read at all, says nothing of what is there.
    fn read_copy(&self, block: Block, entry: &TwinEntry, buffer: &mut [u8]) -> Result<()> {
        let mut read = || self.read(buffer, self.geometry.offset(entry.live_page()));
        let Err(error) = read() else { return Ok(()) };
        if self.in_flight != Some(entry.generation) {
            return Err(error);
        }
        let again = (1..READ_ATTEMPTS).any(|_| read().is_ok());
        let Error::Io { source, .. } = &error else { return Err(error) };
        let reserved = [SLOT_OFFSETS, METADATA_OFFSETS].concat();
        match () {
            () if again => Ok(()),
            () if reserved.iter().all(|offset| self.read(&mut [0; BLOCK_LEN], *offset).is_err()) => Err(error),
            () => {
                Err(Defect { field: "read error", expected: 0, found: os_error(source) }.at(block, entry.live_page()))
            }
        }
    }

    /// The live copy of a twin of the engine, compared with its entry.
    pub(super) fn read_block(&self, block: Block, entry: &TwinEntry, parent: Parent) -> Result<Box<BlockBytes>> {
        self.check_entry(block, entry, parent, self.geometry.pages_per_block())?;
        let mut bytes = Box::new([0; BLOCK_LEN]);
        self.read_copy(block, entry, &mut bytes[..])?;
        self.check_checksum(block, entry, &bytes[..])?;
        Ok(bytes)
    }

    /// Whether an entry names pages that there are, by a commit that there was. `run` is the length of each copy in pages.
    fn check_entry(&self, block: Block, entry: &TwinEntry, parent: Parent, run: u64) -> Result<()> {
        let [a, b] = entry.copies;
        for (field, page) in [("page of copy A", a), ("page of copy B", b)] {
            let last = parent.total_pages - run;
            if page > last || page < self.geometry.first_page() {
                return Err(Defect { field, expected: last, found: page }.at(block, page));
            }
            if page % run != 0 {
                return Err(Defect { field, expected: page - page % run, found: page }.at(block, page));
            }
        }
        let pages_per_block = self.geometry.pages_per_block();
        if a / pages_per_block == b / pages_per_block {
            // One torn block would spoil both copies.
            let expected = self.geometry.next_block(a);
            return Err(Defect { field: "page of copy B", expected, found: b }.at(block, b));
        }
        if entry.generation > parent.generation {
            let (expected, found) = (parent.generation, entry.generation);
            return Err(Defect { field: "generation", expected, found }.at(block, entry.live_page()));
        }
        Ok(())
    }

    fn check_checksum(&self, block: Block, entry: &TwinEntry, bytes: &[u8]) -> Result<()> {
        let found = self.key.checksum(bytes);
        let stale = matches!(block, Block::FreeMapLeaf { .. }) && is_planted(Mistake::StaleLeafAccepted)
            || matches!(block, Block::ProtectedPage { .. }) && is_planted(Mistake::StaleProtectedPageAccepted);
        if found == entry.checksum || stale {
            return Ok(());
        }
        Err(Defect { field: "checksum", expected: entry.checksum, found }.at(block, entry.live_page()))
    }

    /// The content of a protected page, verified.
    pub(super) fn verify_protected(&self, index: u64, entry: &TwinEntry, scratch: &mut [u8]) -> Result<()> {
        let block = Block::ProtectedPage { id: index + 1 };
        self.read_copy(block, entry, scratch)?;
        self.check_checksum(block, entry, scratch)
    }

    /// Reads all that a metadata copy names, protected and regular pages apart. Who owns the pages is not checked yet.
    pub(super) fn state(&self, metadata: &Metadata, copy: Block) -> Result<State> {
        let unknown = metadata.required_features & !KNOWN_FEATURES;
        if unknown != 0 {
            return Err(Error::UnknownFeatures { expected: KNOWN_FEATURES, found: metadata.required_features });
        }
        let total_pages = metadata.total_pages;
        self.check_total(total_pages, copy)?;

        let parent = Parent { total_pages, generation: metadata.generation };
        let leaf_table = self.table(TableKind::FreeMap, metadata, parent)?;
        let free_map = self.free_map(&leaf_table, parent)?;
        let directory = self.table(TableKind::Directory, metadata, parent)?;
        let state = State {
            generation: metadata.generation,
            total_pages,
            counts: metadata.counts,
            header: metadata.header,
            free_map,
            leaf_table,
            directory,
        };
        self.check_counts(&state, copy)?;
        Ok(state)
    }

    /// What a slot says on top of the `root` that its metadata says.
    pub(super) fn state_of_slot(&self, root: &State, carries: bool, slot: &Slot, block: Block) -> Result<State> {
        let page = self.reserved_page(block);
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
        for (leaf, _) in state.free_map.leaves() {
            self.check_ends(&state.free_map, leaf, slot.total_pages).map_err(|defect| defect.at(block, page))?;
        }
        self.check_counts(&state, block)?;
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

    /// The page in which a block of the reserved region begins.
    pub(super) fn reserved_page(&self, block: Block) -> u64 {
        self.geometry.page_at(match block {
            Block::Slot(slot) => SLOT_OFFSETS[usize::from(slot)],
            Block::Metadata(copy) => METADATA_OFFSETS[copy.index()],
            _ => IDENTITY_OFFSET,
        })
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
        let bytes = self.read_block(block, entry, parent)?;
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

    fn free_map(&self, leaf_table: &TwinTable, parent: Parent) -> Result<FreeMap> {
        let mut free_map = FreeMap::default();
        for (index, entry) in leaf_table.iter() {
            let block = Block::FreeMapLeaf { index };
            let page = entry.live_page();
            let bytes = self.read_block(block, &entry, parent)?;
            let DecodedLeaf { index: found, generation, bits } =
                decode_leaf(&bytes).map_err(|defect| defect.at(block, page))?;
            let generation = if is_planted(Mistake::StaleLeafAccepted) { entry.generation } else { generation };
            check_all([("index", index, found), ("generation", entry.generation, generation)], block, page)?;
            free_map.insert(index, bits);
            self.check_ends(&free_map, index, parent.total_pages).map_err(|defect| defect.at(block, page))?;
        }
        Ok(free_map)
    }

    /// Pages past the end belong to nobody, those of the reserved region to the engine.
    fn check_ends(&self, free_map: &FreeMap, leaf: u64, total_pages: u64) -> Result<(), Defect> {
        let first = leaf * PAGES_PER_LEAF;
        let within = |page: u64| page.saturating_sub(first).min(PAGES_PER_LEAF);
        let other = |pages, kind| free_map.leaf(leaf).and_then(|leaf| leaf.first_other(pages, kind));
        if let Some(page) = other(within(total_pages)..PAGES_PER_LEAF, PageKind::Free) {
            return Err(Defect { field: "kind of a page past the end", expected: 0, found: first + page });
        }
        if let Some(page) = other(0..within(self.geometry.first_page()), PageKind::Engine) {
            return Err(Defect { field: "kind of a reserved page", expected: 2, found: first + page });
        }
        Ok(())
    }

    /// The counts in the metadata, or in a slot, against the bits.
    pub(super) fn check_counts(&self, state: &State, block: Block) -> Result<()> {
        let mut counts = PageCounts { protected: state.directory.iter().count() as u64, ..PageCounts::default() };
        for (_, leaf) in state.free_map.leaves() {
            let [regular, engine, table_owned] = leaf.counts();
            counts.regular += regular;
            counts.engine += engine;
            counts.table_owned += table_owned;
        }
        if state.free_map.leaf(0).is_none() {
            counts.engine += self.geometry.first_page();
        }
        let expectations = totals(&counts, state.total_pages, &state.counts, state.total_pages);
        check_all(expectations, block, self.reserved_page(block))
    }

    /// I6: every page of the engine's has one owner, and every copy is a page of the engine's.
    pub(super) fn check_owners(&self, state: &State) -> Result<()> {
        let parent = Parent { total_pages: state.total_pages, generation: state.generation };
        let mut claimed: Vec<(u64, Block)> = Vec::new();
        let block_run = self.geometry.pages_per_block();
        for (block, entry) in state.twins() {
            let run = if matches!(block, Block::ProtectedPage { .. }) { 1 } else { block_run };
            self.check_entry(block, &entry, parent, run)?;
            for page in entry.copies.into_iter().flat_map(|copy| copy..copy + run) {
                let kind = state.kind(self.geometry, page);
                if kind != PageKind::Engine {
                    return Err(Defect { field: "kind of a copy", expected: 2, found: kind_bits(kind) }.at(block, page));
                }
                claimed.push((page, block));
            }
        }
        claimed.sort_unstable_by_key(|(page, _)| *page);
        let twice = claimed.windows(2).find(|pair| pair[0].0 == pair[1].0);
        if let Some((page, block)) = twice.and_then(<[_]>::first) {
            return Err(Defect { field: "owners of a copy", expected: 1, found: 2 }.at(*block, *page));
        }
        let expected = state.counts.engine - self.geometry.first_page();
        let found = claimed.len() as u64;
        if expected != found {
            let block = Block::FreeMapLeaf { index: 0 };
            return Err(Defect { field: "engine pages with an owner", expected, found }.at(block, 0));
        }
        Ok(())
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

    /// Whether the live copies of protected pages are there: those that a commit wrote, to prove it.
    pub(super) fn prove_twins(&self, written: impl Iterator<Item = (u64, TwinEntry)>) -> Result<()> {
        let mut scratch = vec![0; self.geometry.page_len()];
        for (index, entry) in written {
            self.verify_protected(index, &entry, &mut scratch)?;
        }
        Ok(())
    }

    /// A regular page that does not hold what the commit that listed it wrote.
    pub(super) fn page_that_differs(&self, state: &State, list: &RegularList) -> Result<Option<u64>> {
        let skipped = is_planted(Mistake::AdoptionWithoutTheListOfRegularPages)
            || is_planted(Mistake::ChecksumsSkippedWhereACountIsZero) && state.counts.protected == 0;
        let RegularList::Listed(rows) = list else { return Ok(None) };
        if skipped {
            return Ok(None);
        }
        let mut scratch = vec![0; self.geometry.page_len()];
        for (page, checksum) in rows.iter().copied() {
            self.read(&mut scratch, self.geometry.offset(page))?;
            if self.key.checksum(&scratch) != checksum {
                return Ok(Some(page));
            }
        }
        Ok(None)
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

/// The number of an error of the operating system, 0 where it has none.
pub(super) fn os_error(error: &io::Error) -> u64 {
    u64::from(error.raw_os_error().unwrap_or(0).unsigned_abs())
}

pub(super) fn kind_bits(kind: PageKind) -> u64 {
    match kind {
        PageKind::Free => 0,
        PageKind::Regular => 1,
        PageKind::Engine => 2,
        PageKind::TableOwned => 3,
    }
}

fn check_all<const K: usize>(expectations: [(&'static str, u64, u64); K], block: Block, page: u64) -> Result<()> {
    for (field, expected, found) in expectations {
        if expected != found {
            return Err(Defect { field, expected, found }.at(block, page));
        }
    }
    Ok(())
}
