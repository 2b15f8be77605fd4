//! Entries of twins, and the nodes in which tables of them are kept.
//!
//! An entry is what a parent knows of a twin: where its two copies are, which of them is live, and the keyed checksum
//! of that copy. A commit writes the spare copies and then the entries that name them live, up to the root; that is how
//! one write of a slot turns over everything beneath it.
//!
//! A table of twins is a radix tree of nodes. Its top stands in the metadata.
//!
//! In the directory an entry may name an *extent* instead: contiguous pages with one content, which is not kept twice.
//!
//! # Twin entry
//!
//! The third field is twice the generation of the commit that wrote the live copy, plus 0 if copy A is live and 1 if
//! copy B is. An entry that names nothing is 32 zeros: page 0 is reserved, so no copy is ever there. A page is below 2^40.
//!
//! The entry of an extent has its first page in place of copy A, 0 in place of copy B, twice the generation of the commit
//! that gave it its place or its length, and its length in pages, at least 1, in place of the checksum.
//!
//! | offset | size | field                     |
//! |-------:|-----:|---------------------------|
//! |      0 |    8 | entry copy A              |
//! |      8 |    8 | entry copy B              |
//! |     16 |    8 | entry generation and live |
//! |     24 |    8 | entry checksum            |
//!
//! # Node
//!
//! `table` is 1 for the free map and 2 for the directory. `index` counts the nodes of a level; entry `i` of node `n` is
//! twin `126 * n + i` of the level below.
//!
//! | offset | size | field      |
//! |-------:|-----:|------------|
//! |      0 |    4 | magic      |
//! |      4 |    4 | table      |
//! |      8 |    4 | level      |
//! |     12 |    4 | reserved   |
//! |     16 |    8 | index      |
//! |     24 |    8 | generation |
//! |     32 | 4032 | entries    |
//! |   4064 |   28 | reserved   |
//! |   4092 |    4 | crc        |

use std::ops::Range;

use super::checksum::{check_crc, put_crc};
use super::field::Field;
#[cfg(test)]
use super::field::FieldSpec;
use super::{BLOCK_LEN, BlockBytes, Defect, MAX_GENERATION, PAGE_BITS, check_at_most, check_equal, check_generation};
use crate::block::TwinCopy;

/// The last page that a file can have, whatever its page size.
const MAX_PAGE: u64 = (1 << PAGE_BITS) - 1;

/// Levels of nodes that a table may have: more than 2^40 pages need, few enough that a walk is bounded before it
/// begins.
pub(crate) const MAX_TABLE_HEIGHT: u32 = 6;

/// Entries in a node.
pub(crate) const NODE_FANOUT: usize = 126;

/// What a parent knows of a twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TwinEntry {
    /// The pages of the copies, by `TwinCopy::index`.
    pub(crate) copies: [u64; 2],
    /// The copy that shows.
    pub(crate) live: TwinCopy,
    /// The commit that wrote the live copy.
    pub(crate) generation: u64,
    /// The keyed checksum of the live copy.
    pub(crate) checksum: u64,
}

impl Default for TwinEntry {
    fn default() -> Self {
        TwinEntry::EMPTY
    }
}

impl TwinEntry {
    /// The entry that names no twin.
    pub(crate) const EMPTY: TwinEntry = TwinEntry { copies: [0, 0], live: TwinCopy::A, generation: 0, checksum: 0 };

    pub(crate) const LEN: usize = 32;
    const COPY_A: Field<8> = Field::at(0);
    const COPY_B: Field<8> = Self::COPY_A.then();
    const STAMP: Field<8> = Self::COPY_B.then();
    const CHECKSUM: Field<8> = Self::STAMP.then();

    /// The rows of the table, for tests that damage each.
    #[cfg(test)]
    pub(crate) const FIELDS: &[FieldSpec] = &[
        Self::COPY_A.spec("entry copy A"),
        Self::COPY_B.spec("entry copy B"),
        Self::STAMP.spec("entry generation and live"),
        Self::CHECKSUM.spec("entry checksum"),
    ];

    /// Whether the entry names no twin.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.copies == [0, 0]
    }

    /// The entry of an extent: these pages, by the commit that gave them to it.
    pub(crate) fn of_extent(pages: &Range<u64>, generation: u64) -> TwinEntry {
        let checksum = pages.end - pages.start;
        TwinEntry { copies: [pages.start, 0], live: TwinCopy::A, generation, checksum }
    }

    /// The pages of the extent that the entry names; `None` if it names a twin or nothing.
    #[inline]
    pub(crate) fn extent(&self) -> Option<Range<u64>> {
        match self.copies {
            [0, _] => None,
            [first, 0] => Some(first..first.saturating_add(self.checksum)),
            _ => None,
        }
    }

    /// Whether the entry names a twin.
    #[inline]
    pub(crate) fn is_twin(&self) -> bool {
        !self.copies.contains(&0)
    }

    /// The page of the live copy.
    #[inline]
    pub(crate) fn live_page(&self) -> u64 {
        self.page_of(self.live)
    }

    #[inline]
    fn page_of(&self, copy: TwinCopy) -> u64 {
        let [a, b] = self.copies;
        match copy {
            TwinCopy::A => a,
            TwinCopy::B => b,
        }
    }

    /// The bytes of the entry in its parent.
    pub(crate) fn encode(&self) -> [u8; 32] {
        assert_eq!(self.check(), Ok(()), "an entry is empty, or names a twin or an extent");
        assert!(self.generation <= MAX_GENERATION, "the generation leaves a bit for the live copy");
        let [a, b] = self.copies;
        let mut bytes = [0; Self::LEN];
        Self::COPY_A.put_u64(&mut bytes, a);
        Self::COPY_B.put_u64(&mut bytes, b);
        Self::STAMP.put_u64(&mut bytes, self.generation << 1 | u64::from(self.live == TwinCopy::B));
        Self::CHECKSUM.put_u64(&mut bytes, self.checksum);
        bytes
    }

    /// The entry that bytes of its parent hold. Whether its pages exist and are the engine's is for the caller to
    /// check.
    pub(crate) fn decode(bytes: &[u8; 32]) -> Result<TwinEntry, Defect> {
        let stamp = Self::STAMP.get_u64(bytes);
        let entry = TwinEntry {
            copies: [Self::COPY_A.get_u64(bytes), Self::COPY_B.get_u64(bytes)],
            live: if stamp & 1 == 0 { TwinCopy::A } else { TwinCopy::B },
            generation: stamp >> 1,
            checksum: Self::CHECKSUM.get_u64(bytes),
        };
        entry.check()?;
        Ok(entry)
    }

    /// An entry is all zeros, or names two copies in different places and a commit that wrote one of them, or an extent.
    pub(crate) fn check(&self) -> Result<(), Defect> {
        let stamp = self.generation << 1 | u64::from(self.live == TwinCopy::B);
        match self.copies {
            [0, 0] => {
                check_equal("entry generation and live", 0u64, stamp)?;
                check_equal("entry checksum", 0u64, self.checksum)
            }
            [0, _] => Err(Defect { field: "entry copy A", expected: 1, found: 0 }),
            [found, _] if found > MAX_PAGE => Err(Defect { field: "entry copy A", expected: MAX_PAGE, found }),
            [first, 0] => {
                let most = MAX_PAGE + 1 - first;
                if self.checksum == 0 || self.checksum > most {
                    let expected = self.checksum.clamp(1, most);
                    return Err(Defect { field: "entry checksum", expected, found: self.checksum });
                }
                check_equal("entry generation and live", self.generation.max(1) << 1, stamp)
            }
            [a, b] if a == b => Err(Defect { field: "distance of entry copies", expected: 1, found: 0 }),
            [_, found] if found > MAX_PAGE => Err(Defect { field: "entry copy B", expected: MAX_PAGE, found }),
            _ if self.generation == 0 => {
                Err(Defect { field: "entry generation and live", expected: stamp | 2, found: stamp })
            }
            _ => Ok(()),
        }
    }
}

const _: () = assert!(TwinEntry::CHECKSUM.end() == TwinEntry::LEN, "an entry is 32 bytes");

/// Writes entries one behind the other.
pub(super) fn encode_entries(entries: &[TwinEntry], bytes: &mut [u8]) {
    let (places, rest) = bytes.as_chunks_mut();
    assert!(places.len() == entries.len() && rest.is_empty(), "the field is as long as its entries");
    for (place, entry) in places.iter_mut().zip(entries) {
        *place = entry.encode();
    }
}

/// Reads entries that stand one behind the other.
pub(super) fn decode_entries<const N: usize>(bytes: &[u8]) -> Result<[TwinEntry; N], Defect> {
    let (places, _) = bytes.as_chunks();
    let mut entries = [TwinEntry::EMPTY; N];
    for (entry, place) in entries.iter_mut().zip(places) {
        *entry = TwinEntry::decode(place)?;
    }
    Ok(entries)
}

/// The tables of twins in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableKind {
    /// The table that finds the leaves of the free map.
    FreeMap,
    /// The table of protected pages.
    Directory,
}

/// A block of a table, between its top and its twins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// The table to which the node belongs.
    pub(crate) table: TableKind,
    /// Levels of nodes below this one.
    pub(crate) level: u32,
    /// The position of the node among those of its level.
    pub(crate) index: u64,
    /// The commit that wrote the node.
    pub(crate) generation: u64,
    /// What the node knows of the twins below it.
    pub(crate) entries: [TwinEntry; NODE_FANOUT],
}

const NODE_MAGIC: u32 = u32::from_le_bytes(*b"DPnd");

impl Node {
    const MAGIC: Field<4> = Field::at(0);
    const TABLE: Field<4> = Self::MAGIC.then();
    const LEVEL: Field<4> = Self::TABLE.then();
    const RESERVED: Field<4> = Self::LEVEL.then();
    const INDEX: Field<8> = Self::RESERVED.then();
    const GENERATION: Field<8> = Self::INDEX.then();
    const ENTRIES: Field<{ NODE_FANOUT * TwinEntry::LEN }> = Self::GENERATION.then();
    const RESERVED_TAIL: Field<28> = Self::ENTRIES.then();
    const CRC: Field<4> = Self::RESERVED_TAIL.then();

    /// The rows of the table, for tests that damage each.
    #[cfg(test)]
    pub(crate) const FIELDS: &[FieldSpec] = &[
        Self::MAGIC.spec("magic"),
        Self::TABLE.spec("table"),
        Self::LEVEL.spec("level"),
        Self::RESERVED.spec("reserved"),
        Self::INDEX.spec("index"),
        Self::GENERATION.spec("generation"),
        Self::ENTRIES.spec("entries").made_of(TwinEntry::FIELDS),
        Self::RESERVED_TAIL.spec("reserved"),
        Self::CRC.spec("crc"),
    ];

    /// The block that holds the node.
    #[cfg(test)]
    pub(crate) fn encode(&self) -> Box<BlockBytes> {
        encode_node(self.table, self.level, self.index, self.generation, &self.entries)
    }

    /// The node that a block holds. Whether it is the one that its parent means is for the caller to check.
    pub(crate) fn decode(block: &BlockBytes) -> Result<Box<Node>, Defect> {
        check_equal("magic", NODE_MAGIC, Self::MAGIC.get_u32(block))?;
        check_crc(block, Self::CRC)?;
        let table = match Self::TABLE.get_u32(block) {
            1 => TableKind::FreeMap,
            2 => TableKind::Directory,
            found => return Err(Defect { field: "table", expected: found.clamp(1, 2).into(), found: found.into() }),
        };
        let level = Self::LEVEL.get_u32(block);
        check_at_most("level", MAX_TABLE_HEIGHT - 1, level)?;
        let generation = Self::GENERATION.get_u64(block);
        check_generation(generation)?;
        let index = Self::INDEX.get_u64(block);
        let entries = decode_entries(Self::ENTRIES.bytes(block))?;
        Ok(Box::new(Node { table, level, index, generation, entries }))
    }
}

const _: () = assert!(Node::CRC.end() == BLOCK_LEN, "a node is a block");

/// The block that holds a node whose entries are kept elsewhere.
pub(crate) fn encode_node(
    table: TableKind,
    level: u32,
    index: u64,
    generation: u64,
    entries: &[TwinEntry; NODE_FANOUT],
) -> Box<BlockBytes> {
    assert!(level < MAX_TABLE_HEIGHT, "no table has nodes of a higher level");
    assert_eq!(check_generation(generation), Ok(()), "a commit writes the node");
    let mut block = Box::new([0; BLOCK_LEN]);
    let bytes = block.as_mut_slice();
    Node::MAGIC.put_u32(bytes, NODE_MAGIC);
    Node::TABLE.put_u32(
        bytes,
        match table {
            TableKind::FreeMap => 1,
            TableKind::Directory => 2,
        },
    );
    Node::LEVEL.put_u32(bytes, level);
    Node::INDEX.put_u64(bytes, index);
    Node::GENERATION.put_u64(bytes, generation);
    encode_entries(entries, Node::ENTRIES.bytes_mut(bytes));
    put_crc(bytes, Node::CRC);
    block
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, proptest};

    use super::{NODE_FANOUT, Node, TableKind, TwinEntry};
    use crate::block::TwinCopy;
    use crate::format::{BLOCK_LEN, Defect, MAX_GENERATION, specimen};

    const ENTRY: TwinEntry = TwinEntry {
        copies: [0x04_0506_0708, 0x14_1516_1718],
        live: TwinCopy::B,
        generation: 5,
        checksum: 0x2122_2324_2526_2728,
    };

    fn node() -> Node {
        let mut entries = [TwinEntry::EMPTY; NODE_FANOUT];
        entries[0] = ENTRY;
        entries[NODE_FANOUT - 1] = TwinEntry { live: TwinCopy::A, ..ENTRY };
        Node { table: TableKind::Directory, level: 3, index: 0x3132, generation: 6, entries }
    }

    fn nodes() -> impl Strategy<Value = Node> {
        let table = prop::sample::select(vec![TableKind::FreeMap, TableKind::Directory]);
        let entries = prop::collection::vec(specimen::entries(), NODE_FANOUT);
        (table, 0u32..6, any::<u64>(), 1..=MAX_GENERATION, entries).prop_map(
            |(table, level, index, generation, entries)| Node {
                table,
                level,
                index,
                generation,
                entries: entries.try_into().expect("as many entries as a node has"),
            },
        )
    }

    #[test]
    fn the_tables_are_the_chains() {
        let source = include_str!("twin.rs");
        specimen::assert_table_matches_chain(source, "Twin entry", TwinEntry::FIELDS, TwinEntry::LEN);
        specimen::assert_table_matches_chain(source, "Node", Node::FIELDS, BLOCK_LEN);
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(
            specimen::hex(&ENTRY.encode()),
            ["0000: 08070605040000001817161514000000", "0016: 0b000000000000002827262524232221"]
        );
        assert_eq!(
            specimen::hex(&node().encode()[..]),
            [
                "0000: 44506e64020000000300000000000000",
                "0016: 32310000000000000600000000000000",
                "0032: 08070605040000001817161514000000",
                "0048: 0b000000000000002827262524232221",
                "4032: 08070605040000001817161514000000",
                "4048: 0a000000000000002827262524232221",
                "4080: 00000000000000000000000022834cf2"
            ]
        );
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        specimen::assert_every_flipped_bit_is_detected(&node().encode(), BLOCK_LEN, Node::decode);
    }

    #[test]
    fn an_entry_knows_the_page_that_shows_and_the_page_that_does_not() {
        let entry = TwinEntry { copies: [8, 9], ..ENTRY };
        assert_eq!(entry.live_page(), 9);
        let turned = TwinEntry { live: TwinCopy::A, ..entry };
        assert_eq!(turned.live_page(), 8);
    }

    #[test]
    fn the_empty_entry_is_32_zeros() {
        assert_eq!(TwinEntry::EMPTY.encode(), [0; 32]);
        assert_eq!(TwinEntry::decode(&[0; 32]), Ok(TwinEntry::EMPTY));
        assert!(TwinEntry::default().is_empty() && !ENTRY.is_empty());
    }

    #[test]
    fn an_entry_is_all_zeros_or_names_two_places_and_a_commit() {
        let defect_after = |change: fn(&mut [u8; 32])| {
            let mut bytes = ENTRY.encode();
            change(&mut bytes);
            TwinEntry::decode(&bytes).unwrap_err()
        };
        let defect = |field, expected, found| Defect { field, expected, found };
        assert_eq!(defect_after(|bytes| TwinEntry::COPY_A.put_u64(bytes, 0)), defect("entry copy A", 1, 0));
        const LAST: u64 = (1 << 40) - 1;
        assert_eq!(defect_after(|bytes| bytes[5] = 1).field, "entry copy A");
        assert_eq!(
            defect_after(|bytes| TwinEntry::COPY_B.put_u64(bytes, LAST + 1)),
            defect("entry copy B", LAST, LAST + 1)
        );
        assert_eq!(
            defect_after(|bytes| TwinEntry::COPY_B.put_u64(bytes, ENTRY.copies[0])),
            defect("distance of entry copies", 1, 0)
        );
        assert_eq!(defect_after(|bytes| TwinEntry::STAMP.put_u64(bytes, 1)), defect("entry generation and live", 3, 1));
        assert_eq!(defect_after(|bytes| bytes[..16].fill(0)), defect("entry generation and live", 0, 11));
        assert_eq!(defect_after(|bytes| bytes[..24].fill(0)), defect("entry checksum", 0, ENTRY.checksum));
    }

    #[test]
    fn an_extent_has_a_first_page_a_length_and_a_commit() {
        let extent = TwinEntry::of_extent(&(70..75), 9);
        assert_eq!((extent.extent(), extent.is_twin(), extent.is_empty()), (Some(70..75), false, false));
        assert_eq!((ENTRY.extent(), ENTRY.is_twin(), TwinEntry::EMPTY.extent()), (None, true, None));
        assert_eq!(
            specimen::hex(&extent.encode()),
            ["0000: 46000000000000000000000000000000", "0016: 12000000000000000500000000000000"]
        );
        assert_eq!(TwinEntry::decode(&extent.encode()), Ok(extent));
        let defect_after = |change: fn(&mut [u8; 32])| {
            let mut bytes = TwinEntry::of_extent(&(70..75), 9).encode();
            change(&mut bytes);
            TwinEntry::decode(&bytes).unwrap_err()
        };
        let defect = |field, expected, found| Defect { field, expected, found };
        const MOST: u64 = (1 << 40) - 70;
        assert_eq!(defect_after(|bytes| TwinEntry::CHECKSUM.put_u64(bytes, 0)), defect("entry checksum", 1, 0));
        assert_eq!(
            defect_after(|bytes| TwinEntry::CHECKSUM.put_u64(bytes, MOST + 1)),
            defect("entry checksum", MOST, MOST + 1)
        );
        assert_eq!(
            defect_after(|bytes| TwinEntry::STAMP.put_u64(bytes, 19)),
            defect("entry generation and live", 18, 19)
        );
        assert_eq!(defect_after(|bytes| TwinEntry::STAMP.put_u64(bytes, 0)), defect("entry generation and live", 2, 0));
        assert_eq!(defect_after(|bytes| bytes[5] = 1).field, "entry copy A");
    }

    #[test]
    fn the_last_generation_fits_into_an_entry() {
        let entry = TwinEntry { generation: MAX_GENERATION, ..ENTRY };
        assert_eq!(TwinEntry::decode(&entry.encode()), Ok(entry));
    }

    #[test]
    #[should_panic(expected = "an entry is empty, or names a twin or an extent")]
    fn encoding_half_an_entry_is_a_bug() {
        TwinEntry { copies: [7, 0], ..ENTRY }.encode();
    }

    #[test]
    fn a_node_refuses_what_no_commit_writes() {
        let defect_after = |change: fn(&mut [u8])| {
            let block = specimen::forged(&node().encode(), Node::CRC, change);
            Node::decode(&block).unwrap_err()
        };
        let defect = |field, expected, found| Defect { field, expected, found };
        assert_eq!(defect_after(|block| Node::TABLE.put_u32(block, 0)), defect("table", 1, 0));
        assert_eq!(defect_after(|block| Node::TABLE.put_u32(block, 3)), defect("table", 2, 3));
        assert_eq!(defect_after(|block| Node::LEVEL.put_u32(block, 6)), defect("level", 5, 6));
        assert_eq!(defect_after(|block| Node::GENERATION.put_u64(block, 0)), defect("generation", 1, 0));
        assert_eq!(defect_after(|block| Node::ENTRIES.bytes_mut(block)[4000..4008].fill(0)).field, "entry copy A");
    }

    proptest! {
        #[test]
        fn an_entry_that_is_encoded_is_decoded(entry in specimen::entries()) {
            assert_eq!(TwinEntry::decode(&entry.encode()), Ok(entry));
        }

        #[test]
        fn an_entry_that_decodes_is_what_encodes_to_these_bytes(
            bytes in any::<[u8; 32]>(), zeroed in any::<[bool; 4]>()
        ) {
            let mut bytes = bytes;
            for (field, is_zeroed) in bytes.chunks_mut(8).zip(zeroed) {
                if is_zeroed {
                    field.fill(0);
                }
            }
            if let Ok(entry) = TwinEntry::decode(&bytes) {
                assert_eq!(entry.encode(), bytes);
            }
        }

        #[test]
        fn a_node_that_is_encoded_is_decoded(node in nodes()) {
            assert_eq!(Node::decode(&node.encode()).as_deref(), Ok(&node));
        }

        #[test]
        fn a_node_that_decodes_encodes_again(block in specimen::forgeries(*node().encode(), Node::FIELDS, Node::CRC)) {
            if let Ok(node) = Node::decode(&block) {
                assert_eq!(Node::decode(&node.encode()), Ok(node));
            }
        }

        #[test]
        fn noise_is_refused(block in specimen::noise(b"DPnd")) {
            assert!(Node::decode(&block).is_err());
        }
    }
}
