//! Bytes on disk and nothing else: no I/O, no policy, no unsafe.
//!
//! Every structure of the file stands in one file of this folder, as an offset table in its header, a chain of
//! [`Field`]s, a compile-time assertion of where the chain ends, and a test that compares the table with the chain.
//! Integers are little-endian, reserved bytes are written as zeros and ignored when read. What [`increment`] describes stands
//! in files of its own.
//!
//! # Reserved region
//!
//! Five blocks at the same offsets at every page size, so that a tool can read a file without knowing it. Pages are
//! counted from offset 0; the first page that holds data is the first that begins behind this region.
//!
//! | offset | size | field            |
//! |-------:|-----:|------------------|
//! |      0 | 4096 | identity         |
//! |   4096 | 4096 | slot 0           |
//! |   8192 | 4096 | slot 1           |
//! |  12288 | 4096 | metadata A       |
//! |  16384 | 4096 | metadata B       |
//!
//! What holds for every structure:
//!
//! * Decoding returns a value or a [`Defect`], for any bytes whatever: it does not panic, allocates a bounded amount,
//!   and accepts nothing that encoding would not write (reserved bytes apart).
//! * Encoding a value that decoding would refuse is a bug of the caller, and asserts.
//! * The CRC-32 of a structure covers all its bytes before the CRC. It finds torn and rotten blocks; that a whole block
//!   is the one that its parent means is what the parent's keyed checksum tells.
//!
//! Nothing here compares a block with what its parent says of it (file id of the metadata, index, level, generation,
//! keyed checksum): that is the engine's, which knows the parent.

mod change_rows;
mod checksum;
mod field;
mod identity;
mod increment;
mod leaf;
mod metadata;
mod slot;
mod slot_bits;
#[cfg(test)]
mod specimen;
#[cfg(test)]
mod structures;
mod sub_page_table;
mod twin;
mod void;

pub(crate) use change_rows::{ChangeRows, MapWord, PlacedTwin, TurnedTwin};
pub(crate) use checksum::ChecksumKey;
pub(crate) use identity::{IDENTITY_MAGIC, Identity, IdentityDefect};
pub(crate) use increment::{Chain, IncrementDefect, IncrementEnd, IncrementHead, MAX_PIECE_LEN, PieceHead};
#[cfg(test)]
pub(crate) use leaf::LeafHead;
pub(crate) use leaf::{LEAF_WORDS, LeafBits, PAGES_PER_LEAF, decode_leaf, encode_leaf};
pub(crate) use metadata::{
    MAY_HAVE_HOLES, Metadata, MetadataRecord, PageCounts, REGULAR_LIST_LEN, RegularList, TOP_LEN, TableTop,
};
pub(crate) use slot::{MAX_STEPS, Slot, SlotRecord};
pub(crate) use slot_bits::SlotBits;
#[cfg(test)]
pub(crate) use structures::{Cell, STRUCTURES, Structure};
pub(crate) use sub_page_table::{MOST_NUMBERS, NodeHead, Record, SlotShape, TableRoot};
pub(crate) use twin::{MAX_TABLE_HEIGHT, NODE_FANOUT, Node, TableKind, TwinEntry, encode_node};
pub(crate) use void::encode_void;

use self::field::Field;
use crate::block::Block;
use crate::error::Error;
use crate::ids::FileId;

/// Length of a block in bytes, at every page size: the unit in which everything that the engine owns is written, and
/// the largest unit that a disk is assumed to tear.
pub(crate) const BLOCK_LEN: usize = 4096;

/// A block as it stands in the file.
pub(crate) type BlockBytes = [u8; BLOCK_LEN];

/// The version of the format that this crate reads and writes.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Offset of the identity in bytes.
pub(crate) const IDENTITY_OFFSET: u64 = 0;

/// Offsets of the commit slots in bytes. They never share a block: a torn write of one must not reach the other.
pub(crate) const SLOT_OFFSETS: [u64; 2] = [4096, 8192];

/// Offsets of the copies of the metadata in bytes, by `TwinCopy::index`.
pub(crate) const METADATA_OFFSETS: [u64; 2] = [12288, 16384];

/// Length of the reserved region in bytes. Data begins at the first page boundary at or after it.
pub(crate) const RESERVED_LEN: u64 = 20480;

/// The smallest page in bytes.
pub(crate) const MIN_PAGE_SIZE: usize = 1024;

/// The largest page in bytes.
pub(crate) const MAX_PAGE_SIZE: usize = 16 << 20;

/// Bits of the number of a page, and of the index of a protected page.
pub(crate) const PAGE_BITS: u32 = 40;

/// Length of the application header in bytes.
pub(crate) const HEADER_LEN: usize = 128;

/// The last generation. The bit above is free so that a twin entry packs a generation and a copy into 64 bits, and so
/// that adding one to a generation that was read from a file never overflows.
pub(crate) const MAX_GENERATION: u64 = (1 << 63) - 1;

/// What is wrong with a block, before it is known which block it is.
///
/// `expected` is the value that the field must have; where a range is allowed, it is the bound that `found` exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Defect {
    /// The field, as the structure's table calls it.
    pub(crate) field: &'static str,
    /// What the field should hold.
    pub(crate) expected: u64,
    /// What it holds.
    pub(crate) found: u64,
}

impl Defect {
    /// The error that names the block in which the defect was found, and the page in which that block begins.
    pub(crate) fn at(self, block: Block, page: u64) -> Error {
        Error::Corrupt { block, page, field: self.field, expected: self.expected, found: self.found }
    }
}

fn check_equal(field: &'static str, expected: impl Into<u64>, found: impl Into<u64>) -> Result<(), Defect> {
    let (expected, found) = (expected.into(), found.into());
    if expected == found { Ok(()) } else { Err(Defect { field, expected, found }) }
}

fn check_at_most(field: &'static str, max: impl Into<u64>, found: impl Into<u64>) -> Result<(), Defect> {
    let (expected, found) = (max.into(), found.into());
    if found <= expected { Ok(()) } else { Err(Defect { field, expected, found }) }
}

/// Generation 0 is no commit; those above the last do not fit into a twin entry.
fn check_generation(generation: u64) -> Result<(), Defect> {
    if generation == 0 {
        return Err(Defect { field: "generation", expected: 1, found: 0 });
    }
    check_at_most("generation", MAX_GENERATION, generation)
}

/// A defect has room for 64 bits: of two ids that differ it shows the first half that does.
fn check_file_id(expected: FileId, found: FileId) -> Result<(), Defect> {
    const FIRST_HALF: Field<8> = Field::at(0);
    const SECOND_HALF: Field<8> = FIRST_HALF.then();
    let (expected, found) = (expected.to_bytes(), found.to_bytes());
    check_equal("file id", FIRST_HALF.get_u64(&expected), FIRST_HALF.get_u64(&found))?;
    check_equal("file id", SECOND_HALF.get_u64(&expected), SECOND_HALF.get_u64(&found))
}

#[cfg(test)]
mod tests {
    use super::field::FieldSpec;
    use super::{
        BLOCK_LEN, Defect, IDENTITY_OFFSET, METADATA_OFFSETS, RESERVED_LEN, SLOT_OFFSETS, check_file_id,
        check_generation, specimen,
    };
    use crate::block::{Block, TwinCopy};
    use crate::ids::FileId;

    #[test]
    fn the_table_of_the_reserved_region_is_the_code() {
        let names = ["identity", "slot 0", "slot 1", "metadata A", "metadata B"];
        let [slot_0, slot_1] = SLOT_OFFSETS;
        let offsets = [IDENTITY_OFFSET, slot_0, slot_1]
            .into_iter()
            .chain(TwinCopy::BOTH.map(|copy| METADATA_OFFSETS[copy.index()]));
        let blocks: Vec<_> = names
            .into_iter()
            .zip(offsets)
            .map(|(name, offset)| FieldSpec {
                name,
                offset: usize::try_from(offset).unwrap(),
                len: BLOCK_LEN,
                parts: &[],
            })
            .collect();
        let len = usize::try_from(RESERVED_LEN).unwrap();
        specimen::assert_table_matches_chain(include_str!("mod.rs"), "Reserved region", &blocks, len);
    }

    #[test]
    fn a_defect_becomes_an_error_that_says_where() {
        let defect = Defect { field: "crc", expected: 1, found: 2 };
        let error = defect.at(Block::Metadata(TwinCopy::B), 4);
        assert!(error.is_corruption());
        assert_eq!(error.to_string(), "page 4 (metadata copy B): crc is 0x2, expected 0x1");
    }

    #[test]
    fn a_foreign_file_id_is_shown_by_the_half_that_differs() {
        let ours = FileId::new(*b"aaaaaaaabbbbbbbb");
        let word = |bytes| u64::from_le_bytes(bytes);
        assert_eq!(check_file_id(ours, ours), Ok(()));
        assert_eq!(
            check_file_id(ours, FileId::new(*b"zaaaaaaabbbbbbbb")),
            Err(Defect { field: "file id", expected: word(*b"aaaaaaaa"), found: word(*b"zaaaaaaa") })
        );
        assert_eq!(
            check_file_id(ours, FileId::new(*b"aaaaaaaabbbbbbbz")),
            Err(Defect { field: "file id", expected: word(*b"bbbbbbbb"), found: word(*b"bbbbbbbz") })
        );
    }

    #[test]
    fn generations_run_from_1_to_2_to_the_63rd_minus_1() {
        assert_eq!(check_generation(0), Err(Defect { field: "generation", expected: 1, found: 0 }));
        assert_eq!(check_generation(1), Ok(()));
        assert_eq!(check_generation((1 << 63) - 1), Ok(()));
        let max = (1 << 63) - 1;
        assert_eq!(check_generation(1 << 63), Err(Defect { field: "generation", expected: max, found: 1 << 63 }));
    }
}
