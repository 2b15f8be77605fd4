//! A table of twins: index to twin entry, as a radix tree whose nodes are twins themselves.
//!
//! While they fit, the entries stand in the metadata (the *top*). When an index does not fit, the top moves down into a new
//! node and the table is one level higher. The free map and the directory of protected pages use this one code.
//!
//! In memory the nodes of a level form a [`SparseTree`], so an entry is found without walking the levels above it, and
//! the nodes that a commit has to write are those that differ from the live table. Where the copies of a node lie is
//! decided by the caller, who owns the free map.

use crate::block::{Block, TwinCopy};
use crate::format::{BlockBytes, ChecksumKey};
use crate::format::{NODE_FANOUT, TOP_LEN, TableKind, TableTop, TwinEntry, encode_node};

use super::geometry::to_index;
use super::planted::{Mistake, is_planted};
use super::sparse_tree::{Saturate, SparseTree};

const FANOUT: u64 = NODE_FANOUT as u64;
const ALL_USED: u128 = (1 << NODE_FANOUT) - 1;

/// An entry in 26 bytes, for a file may have hundreds of millions of them: numbers of pages have 40 bits.
#[derive(Clone, Copy)]
struct PackedEntry([u8; 26]);

impl PackedEntry {
    const EMPTY: PackedEntry = PackedEntry([0; 26]);

    fn pack(entry: &TwinEntry) -> Self {
        let [a, b] = entry.copies.map(u64::to_le_bytes);
        let stamp = entry.generation << 1 | entry.live.index() as u64;
        let mut packed = [0; 26];
        packed[..5].copy_from_slice(&a[..5]);
        packed[5..10].copy_from_slice(&b[..5]);
        packed[10..18].copy_from_slice(&stamp.to_le_bytes());
        packed[18..].copy_from_slice(&entry.checksum.to_le_bytes());
        PackedEntry(packed)
    }

    fn unpack(&self) -> TwinEntry {
        let number = |from: usize, len: usize| {
            let mut bytes = [0; 8];
            bytes[..len].copy_from_slice(&self.0[from..from + len]);
            u64::from_le_bytes(bytes)
        };
        let stamp = number(10, 8);
        TwinEntry {
            copies: [number(0, 5), number(5, 5)],
            live: if stamp & 1 == 0 { TwinCopy::A } else { TwinCopy::B },
            generation: stamp >> 1,
            checksum: number(18, 8),
        }
    }
}

/// The entries of one node.
#[derive(Clone)]
pub(super) struct NodeEntries {
    /// Bit `i`: entry `i` is not empty.
    used: u128,
    /// Bit `i`: entry `i` names a twin.
    twins: u128,
    entries: [PackedEntry; NODE_FANOUT],
}

impl Default for NodeEntries {
    fn default() -> Self {
        NodeEntries { used: 0, twins: 0, entries: [PackedEntry::EMPTY; NODE_FANOUT] }
    }
}

impl Saturate for NodeEntries {
    fn is_saturated(&self) -> bool {
        self.used == ALL_USED
    }
}

impl NodeEntries {
    pub(super) fn new(entries: [TwinEntry; NODE_FANOUT]) -> Self {
        let mut node = NodeEntries::default();
        entries.into_iter().enumerate().for_each(|(at, entry)| node.set(at, entry));
        node
    }

    fn entry(&self, at: usize) -> TwinEntry {
        self.entries[at].unpack()
    }

    fn set(&mut self, at: usize, entry: TwinEntry) {
        self.used = self.used & !(1 << at) | u128::from(!entry.is_empty()) << at;
        self.twins = self.twins & !(1 << at) | u128::from(entry.is_twin()) << at;
        self.entries[at] = PackedEntry::pack(&entry);
    }

    /// The first entry at or behind `from` that is not empty.
    fn next_used(&self, from: usize) -> Option<usize> {
        let used = self.used & u128::MAX << from;
        (used != 0).then_some(used.trailing_zeros() as usize)
    }
}

/// Turns a twin over: the entry that names the copy not live until now, and the page of that copy, to be written.
pub(super) fn turned_over(entry: &TwinEntry, generation: u64, checksum: u64) -> (TwinEntry, u64) {
    // A twin that was never written has no live copy; its first content goes to copy A. One that a commit of the same
    // generation turned over has its durable copy on the other side.
    let is_turned = entry.generation == generation && !is_planted(Mistake::TurnedOverTwiceInAGroup);
    let stays = entry.generation == 0 || is_turned || is_planted(Mistake::LiveCopyWritten);
    let live = if stays { entry.live } else { entry.live.other() };
    let turned = TwinEntry { live, generation, checksum, ..*entry };
    (turned, turned.live_page())
}

/// A twin whose copies have a place and no content yet.
pub(super) fn unwritten(copies: [u64; 2]) -> TwinEntry {
    TwinEntry { copies, ..TwinEntry::EMPTY }
}

/// See the head of this file.
#[derive(Clone, Debug)]
pub(super) struct TwinTable {
    kind: TableKind,
    top: [TwinEntry; TOP_LEN],
    /// `levels[0]` holds the entries of the items, `levels[l]` those of the nodes of level `l - 1`.
    levels: Vec<SparseTree<NodeEntries>>,
}

/// The name of a node of a table.
pub(super) fn node_block(kind: TableKind, level: usize, index: u64) -> Block {
    let level = u32::try_from(level).expect("a table has a handful of levels");
    match kind {
        TableKind::FreeMap => Block::FreeMapNode { level, index },
        TableKind::Directory => Block::DirectoryNode { level, index },
    }
}

/// A node's place in its table: its level and its index in the level.
pub(super) type NodeAt = (usize, u64);

impl TwinTable {
    pub(super) fn new(kind: TableKind) -> Self {
        TwinTable { kind, top: [TwinEntry::EMPTY; TOP_LEN], levels: Vec::new() }
    }

    /// A table as its top says, with all its nodes still to be [inserted](Self::insert_node).
    pub(super) fn from_top(kind: TableKind, top: &TableTop) -> Self {
        TwinTable { kind, top: top.entries, levels: vec![SparseTree::default(); to_index(u64::from(top.height))] }
    }

    pub(super) fn top(&self) -> TableTop {
        TableTop {
            height: u32::try_from(self.levels.len()).expect("a table has a handful of levels"),
            entries: self.top,
        }
    }

    pub(super) fn height(&self) -> usize {
        self.levels.len()
    }

    /// Items that fit before the table has to be raised.
    pub(super) fn capacity(&self) -> u64 {
        capacity_at(self.levels.len())
    }

    pub(super) fn get(&self, index: u64) -> TwinEntry {
        self.entry_above(0, index)
    }

    /// The twin entry of a node.
    pub(super) fn node_entry(&self, (level, index): NodeAt) -> TwinEntry {
        self.entry_above(level + 1, index)
    }

    /// Entry `index` of those that stand in the nodes of `level`, or in the top if that is the level above all nodes.
    fn entry_above(&self, level: usize, index: u64) -> TwinEntry {
        match self.levels.get(level) {
            Some(nodes) => {
                let at = to_index(index % FANOUT);
                nodes.get(index / FANOUT).map_or(TwinEntry::EMPTY, |node| node.entry(at))
            }
            None => usize::try_from(index).ok().and_then(|at| self.top.get(at)).copied().unwrap_or(TwinEntry::EMPTY),
        }
    }

    /// Changes an entry for which the table has [made room](Self::make_room).
    pub(super) fn set(&mut self, index: u64, entry: TwinEntry) {
        self.set_above(0, index, entry);
    }

    /// Makes a node one that the next checkpoint turns over, though its entries are what they were.
    pub(super) fn touch_node(&mut self, (level, index): NodeAt) {
        self.levels[level].update(index, |_| {});
    }

    /// How many nodes there are.
    pub(super) fn node_count(&self) -> u64 {
        self.levels.iter().map(|nodes| nodes.iter().count() as u64).sum()
    }

    /// All nodes with their twin entries, the lowest level first.
    pub(super) fn node_entries(&self) -> Vec<(NodeAt, TwinEntry)> {
        let levels = self.levels.iter().enumerate();
        let nodes = levels.flat_map(|(level, nodes)| nodes.iter().map(move |(index, _)| (level, index)));
        nodes.map(|node| (node, self.node_entry(node))).collect()
    }

    /// Takes away the nodes that hold no entry, and those above them that then hold none. Returns where their copies were.
    pub(super) fn take_empty_nodes(&mut self) -> Vec<[u64; 2]> {
        let mut copies = Vec::new();
        for level in 0..self.levels.len() {
            let empty = self.levels[level].iter().filter(|(_, node)| node.used == 0);
            let empty: Vec<u64> = empty.map(|(index, _)| index).collect();
            for index in empty {
                copies.push(self.node_entry((level, index)).copies);
                self.levels[level].remove(index);
                self.set_above(level + 1, index, TwinEntry::EMPTY);
            }
        }
        copies
    }

    /// Changes the twin entry of a node.
    pub(super) fn set_node_entry(&mut self, (level, index): NodeAt, entry: TwinEntry) {
        self.set_above(level + 1, index, entry);
    }

    fn set_above(&mut self, level: usize, index: u64, entry: TwinEntry) {
        match self.levels.get_mut(level) {
            Some(nodes) => nodes.update(index / FANOUT, |node| node.set(to_index(index % FANOUT), entry)),
            None => self.top[to_index(index)] = entry,
        }
    }

    /// Adds a node that was read from the file.
    pub(super) fn insert_node(&mut self, (level, index): NodeAt, entries: [TwinEntry; NODE_FANOUT]) {
        self.levels[level].update(index, |node| *node = NodeEntries::new(entries));
    }

    /// How many nodes [`make_room`](Self::make_room) would add for an item.
    pub(super) fn nodes_missing(&self, index: u64) -> u64 {
        let mut height = self.levels.len();
        let mut missing = 0;
        while index >= capacity_at(height) {
            height += 1;
            missing += 1;
        }
        // Below levels that were just raised only the path of index 0 is there.
        let mut path = index;
        for level in 0..height {
            path /= FANOUT;
            let there = if level < self.levels.len() { !self.node_entry((level, path)).is_empty() } else { path == 0 };
            missing += u64::from(!there);
        }
        missing
    }

    /// Adds the nodes that the entry of an item needs; `place` gives each the pages of its two copies.
    pub(super) fn make_room<E>(&mut self, index: u64, mut place: impl FnMut() -> Result<[u64; 2], E>) -> Result<(), E> {
        while index >= self.capacity() {
            let copies = place()?;
            self.raise(copies);
        }
        let mut path = Vec::with_capacity(self.levels.len());
        let mut at = index;
        for level in 0..self.levels.len() {
            at /= FANOUT;
            path.push((level, at));
        }
        for node in path.into_iter().rev() {
            if self.node_entry(node).is_empty() {
                let copies = place()?;
                self.set_above(node.0 + 1, node.1, unwritten(copies));
                self.insert_node(node, [TwinEntry::EMPTY; NODE_FANOUT]);
            }
        }
        Ok(())
    }

    /// Moves the top down into a new node, whose copies get their place here.
    pub(super) fn raise(&mut self, copies: [u64; 2]) {
        let mut entries = [TwinEntry::EMPTY; NODE_FANOUT];
        entries[..TOP_LEN].copy_from_slice(&self.top);
        self.levels.push(SparseTree::default());
        self.insert_node((self.levels.len() - 1, 0), entries);
        self.top = [TwinEntry::EMPTY; TOP_LEN];
        self.top[0] = unwritten(copies);
    }

    /// The lowest index without an entry; the table may have to make room for it.
    pub(super) fn first_empty(&self) -> u64 {
        let Some(nodes) = self.levels.first() else {
            return self.top.iter().position(TwinEntry::is_empty).unwrap_or(TOP_LEN) as u64;
        };
        let node = nodes.first_unsaturated(0, u64::MAX / FANOUT).expect("a sparse tree always has room");
        node * FANOUT + nodes.get(node).map_or(0, |node| u64::from(node.used.trailing_ones()))
    }

    /// The first entry at or behind `from` that is not empty, with its index.
    pub(super) fn next(&self, from: u64) -> Option<(u64, TwinEntry)> {
        let Some(nodes) = self.levels.first() else {
            let first = usize::try_from(from).unwrap_or(usize::MAX);
            let (at, entry) = self.top.iter().enumerate().skip(first).find(|(_, entry)| !entry.is_empty())?;
            return Some((at as u64, *entry));
        };
        let (mut node, mut at) = (from / FANOUT, to_index(from % FANOUT));
        loop {
            let (index, entries) = nodes.next(node)?;
            if let Some(used) = entries.next_used(if index == node { at } else { 0 }) {
                return Some((index * FANOUT + used as u64, entries.entry(used)));
            }
            (node, at) = (index + 1, 0);
        }
    }

    /// How many entries name twins.
    pub(super) fn count_twins(&self) -> u64 {
        match self.levels.first() {
            Some(nodes) => nodes.iter().map(|(_, node)| u64::from(node.twins.count_ones())).sum(),
            None => self.top.iter().filter(|entry| entry.is_twin()).count() as u64,
        }
    }

    /// The index behind the last entry that is not empty.
    pub(super) fn end(&self) -> u64 {
        let Some(nodes) = self.levels.first() else {
            return self.top.iter().rposition(|entry| !entry.is_empty()).map_or(0, |at| at as u64 + 1);
        };
        let ends = nodes.iter().filter(|(_, node)| node.used != 0);
        ends.last().map_or(0, |(index, node)| index * FANOUT + u64::from(u128::BITS - node.used.leading_zeros()))
    }

    /// All entries that are not empty, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, TwinEntry)> + '_ {
        self.entries_in(0)
    }

    /// The entries of the nodes of a level, ascending: what the level above them holds.
    pub(super) fn entries_of_nodes(&self, level: usize) -> impl Iterator<Item = (u64, TwinEntry)> + '_ {
        self.entries_in(level + 1)
    }

    /// The entries that stand in the nodes of a level, or in the top if that is the level above all nodes.
    fn entries_in(&self, level: usize) -> impl Iterator<Item = (u64, TwinEntry)> + '_ {
        let nodes = self.levels.get(level);
        let in_nodes = nodes.into_iter().flat_map(SparseTree::iter).flat_map(|(node, entries)| {
            entries.entries.iter().enumerate().map(move |(at, entry)| (node * FANOUT + at as u64, entry.unpack()))
        });
        let in_top = if nodes.is_none() { &self.top[..] } else { &[] };
        let in_top = in_top.iter().enumerate().map(|(at, entry)| (at as u64, *entry));
        in_nodes.chain(in_top).filter(|(_, entry)| !entry.is_empty())
    }

    /// All nodes with their names and twin entries, the highest level first.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (Block, TwinEntry)> + '_ {
        (0..self.levels.len()).rev().flat_map(move |level| {
            self.entries_of_nodes(level).map(move |(index, entry)| (node_block(self.kind, level, index), entry))
        })
    }

    /// Whether the table is still that of `base`, of which it began as a clone.
    pub(super) fn is(&self, base: &TwinTable) -> bool {
        let mut levels = self.levels.iter().zip(&base.levels);
        self.levels.len() == base.levels.len()
            && self.top == base.top
            && levels.all(|(nodes, old)| nodes.changed_since(old).is_empty())
    }

    /// Whether the nodes are those of `base`, of which the table began as a clone, whatever entries of items they hold.
    pub(super) fn has_nodes_of(&self, base: &TwinTable) -> bool {
        let mut above = self.levels.iter().zip(&base.levels).skip(1);
        self.levels.len() == base.levels.len()
            && (self.levels.is_empty() || self.top == base.top)
            && above.all(|(nodes, old)| nodes.changed_since(old).is_empty())
    }

    /// Indexes of the items whose entries differ from those of `base`, which has the same nodes.
    pub(super) fn entries_changed_since(&self, base: &TwinTable) -> Vec<u64> {
        let (Some(nodes), Some(old)) = (self.levels.first(), base.levels.first()) else {
            let differs = |at: &u64| self.get(*at) != base.get(*at);
            let behind = self.iter().map(|(index, _)| index).filter(|index| *index >= TOP_LEN as u64);
            return (0..TOP_LEN as u64).filter(differs).chain(behind).collect();
        };
        let mut changed = Vec::new();
        for node in nodes.changed_since(old) {
            let empty = NodeEntries::default();
            let (entries, old) = (nodes.get(node).unwrap_or(&empty), old.get(node).unwrap_or(&empty));
            let differing = (0..NODE_FANOUT).filter(|at| entries.entries[*at].0 != old.entries[*at].0);
            changed.extend(differing.map(|at| node * FANOUT + at as u64));
        }
        changed
    }

    /// Whether the entry of an item can be set without [making room](Self::make_room).
    pub(super) fn has_room(&self, index: u64) -> bool {
        index < self.capacity() && (self.levels.is_empty() || !self.node_entry((0, index / FANOUT)).is_empty())
    }

    /// Indexes of the nodes of a level that differ from those of `base`, ascending.
    fn changed_nodes(&self, level: usize, base: &TwinTable) -> Vec<u64> {
        match base.levels.get(level) {
            Some(old) => self.levels[level].changed_since(old),
            None => self.levels[level].iter().map(|(index, _)| index).collect(),
        }
    }

    /// The nodes that [`turn_over_nodes`](Self::turn_over_nodes) will write and that have been written before: those that
    /// differ from `base`, and all above them.
    pub(super) fn nodes_to_turn_over(&self, base: &TwinTable) -> Vec<NodeAt> {
        let (mut nodes, mut below) = (Vec::new(), Vec::new());
        for level in 0..self.levels.len() {
            let mut changed = self.changed_nodes(level, base);
            changed.extend(below.iter().map(|index| index / FANOUT));
            changed.sort_unstable();
            changed.dedup();
            nodes.extend(changed.iter().map(|index| (level, *index)));
            below = changed;
        }
        nodes.retain(|node| self.node_entry(*node).generation != 0);
        nodes
    }

    /// Turns over every node that differs from `base`, lower levels first, so that a node holds what became of the
    /// nodes below it; `write` gets each block and the page where it goes.
    pub(super) fn turn_over_nodes<E>(
        &mut self,
        base: &TwinTable,
        generation: u64,
        key: ChecksumKey,
        mut write: impl FnMut(u64, Box<BlockBytes>) -> Result<(), E>,
    ) -> Result<(), E> {
        for level in 0..self.levels.len() {
            for index in self.changed_nodes(level, base) {
                let node = self.levels[level].get(index).expect("a changed node is in the tree");
                let on_disk_level = u32::try_from(level).expect("a table has a handful of levels");
                let block =
                    encode_node(self.kind, on_disk_level, index, generation, &node.entries.map(|entry| entry.unpack()));
                let entry = self.node_entry((level, index));
                let (turned, page) = turned_over(&entry, generation, key.checksum(&block[..]));
                self.set_above(level + 1, index, turned);
                write(page, block)?;
            }
        }
        Ok(())
    }
}

fn capacity_at(height: usize) -> u64 {
    (0..height).fold(TOP_LEN as u64, |capacity, _| capacity.saturating_mul(FANOUT))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use proptest::prelude::{prop, proptest};

    use super::{TableKind, TwinTable, unwritten};

    fn insert(table: &mut TwinTable, index: u64, next_page: &mut u64) -> u64 {
        let missing = table.nodes_missing(index);
        let before = *next_page;
        let placed = table.make_room(index, || -> Result<[u64; 2], Infallible> {
            *next_page += 2;
            Ok([*next_page - 2, *next_page - 1])
        });
        assert!(placed.is_ok());
        assert_eq!((*next_page - before) / 2, missing, "nodes_missing foretells make_room");
        *next_page += 2;
        let entry = unwritten([*next_page - 2, *next_page - 1]);
        table.set(index, entry);
        *next_page - 2
    }

    proptest! {
        /// The naive twin is a map from index to the page of copy A.
        #[test]
        fn behaves_like_a_map(steps in prop::collection::vec((0u64..60, 0u32..4, prop::bool::ANY), 1..200)) {
            let (mut table, mut map) = (TwinTable::new(TableKind::Directory), BTreeMap::new());
            let mut next_page = 1;
            for (near, shift, remove) in steps {
                let index = near * 113_u64.pow(shift);
                if remove && map.remove(&index).is_some() {
                    table.set(index, crate::format::TwinEntry::EMPTY);
                } else {
                    map.insert(index, insert(&mut table, index, &mut next_page));
                }
                let empty = (0..).find(|index| !map.contains_key(index)).unwrap();
                assert_eq!(table.first_empty(), empty);
            }
            let found: BTreeMap<u64, u64> = table.iter().map(|(index, entry)| (index, entry.copies[0])).collect();
            assert_eq!(found, map);
            map.iter().for_each(|(index, page)| assert_eq!(table.get(*index).copies[0], *page));
        }
    }

    #[test]
    fn a_table_that_is_raised_keeps_its_entries() {
        let mut table = TwinTable::new(TableKind::FreeMap);
        let mut next_page = 1;
        let pages: Vec<u64> = (0..17).map(|index| insert(&mut table, index, &mut next_page)).collect();
        assert_eq!(table.height(), 1);
        (0..17).for_each(|index| assert_eq!(table.get(index).copies[0], pages[usize::try_from(index).unwrap()]));
        insert(&mut table, 16 * 126, &mut next_page);
        assert_eq!(table.height(), 2);
        assert_eq!(table.get(16).copies[0], pages[16]);
    }
}
