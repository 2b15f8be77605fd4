//! Where things lie in a file: a second reading of the tables in `src/format`, independent of the code there.
//!
//! The structures themselves are private to the crate, and stay so: nothing is public, hidden or behind a flag for the sake of
//! this package. What the tables say is repeated here instead, as little of it as mending checksums and aiming edits takes.
//! The test of [`checksums`](crate::checksums) fails where the two readings differ. [`crashlab::forgery`] mends single links of
//! the chain in files that are whole; what is here follows whatever a file holds, as far as it goes.

/// Length of a block.
pub const BLOCK_LEN: usize = 4096;

/// Blocks of the reserved region: the identity, two slots, two copies of the metadata.
pub const RESERVED_BLOCKS: usize = 5;

/// Length of a twin entry.
pub const ENTRY_LEN: usize = 32;

/// The most levels of nodes that a table has.
pub const MAX_HEIGHT: u32 = 6;

/// Pages whose kind a leaf holds.
pub const PAGES_PER_LEAF: u64 = 16128;

/// Metadata: where the counts of pages of each kind begin, and the one of protected pages.
pub const COUNTS: usize = 128;

/// Metadata: the total of pages, the counts, and the application header.
pub const TOTALS: std::ops::Range<usize> = 120..288;

/// Slot: where the same begins.
pub const SLOT_TOTALS: usize = 56;

/// Slot: where its rows begin.
pub const SLOT_ROWS: usize = 240;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The identity.
    Identity,
    /// A commit slot.
    Slot,
    /// A copy of the metadata.
    Metadata,
    /// A void record, where a slot or a copy of the metadata would be.
    Void,
    /// A node of a table.
    Node,
    /// A leaf of the free map.
    Leaf,
    /// A protected page.
    Protected,
}

/// A field of a structure: where it begins in its block, and its length.
pub type Place = (usize, usize);

impl Kind {
    /// The fields that say something, in no particular order. There is at least one.
    #[must_use]
    pub fn fields(self) -> Vec<Place> {
        match self {
            Kind::Identity => vec![(0, 8), (8, 4), (12, 4), (16, 8), (24, 8), (60, 4)],
            Kind::Slot => {
                let mut fields = vec![(0, 8), (8, 8), (16, 8), (24, 8), (32, 4), (36, 4), (40, 8), (48, 8)];
                fields.extend(words(SLOT_TOTALS, 5));
                fields.extend([(96, 8), (224, 4), (228, 4), (232, 4), (4080, 4)]);
                fields.extend(words(SLOT_ROWS, 24));
                fields
            }
            Kind::Void => vec![(0, 8), (8, 8), (16, 8), (24, 8), (60, 4)],
            Kind::Metadata => {
                let mut fields = vec![(0, 8), (8, 4), (12, 4), (16, 8), (24, 8), (32, 8), (40, 8), (48, 8), (56, 8)];
                fields.extend([(120, 8), (128, 8), (136, 8), (144, 8), (152, 8), (160, 8)]);
                fields.extend([(288, 4), (292, 4), (296, 4), (300, 4), (4092, 4)]);
                fields.extend(words(FREE_MAP_TOP.start, 8));
                fields.extend(words(DIRECTORY_TOP.start, 16));
                fields.extend(words(LIST, 8));
                fields
            }
            Kind::Node => {
                let mut fields = vec![(0, 4), (4, 4), (8, 4), (16, 8), (24, 8), (4092, 4)];
                fields.extend(words(NODE_ENTRIES.start, 32));
                fields
            }
            Kind::Leaf => {
                let mut fields = vec![(0, 4), (8, 8), (16, 8), (4092, 4)];
                fields.extend(words(LOW_PLANE.start, 8));
                fields.extend(words(HIGH_PLANE.start, 8));
                fields
            }
            Kind::Protected => vec![(0, 8)],
        }
    }

    /// Where the CRC of the structure stands.
    #[must_use]
    pub fn crc(self) -> Option<usize> {
        match self {
            Kind::Identity | Kind::Void => Some(60),
            Kind::Slot => Some(4080),
            Kind::Metadata | Kind::Node | Kind::Leaf => Some(4092),
            Kind::Protected => None,
        }
    }
}

/// Metadata: the entries of the free map's table.
pub const FREE_MAP_TOP: std::ops::Range<usize> = 304..816;

/// Metadata: the entries of the directory.
pub const DIRECTORY_TOP: std::ops::Range<usize> = 816..1328;

/// Metadata: the list of regular pages.
pub const LIST: usize = 1328;

/// Metadata: the most rows in that list.
pub const LIST_ROWS: usize = 160;

/// Node: its entries.
pub const NODE_ENTRIES: std::ops::Range<usize> = 32..4064;

/// Leaf: its low plane.
pub const LOW_PLANE: std::ops::Range<usize> = 24..2040;

/// Leaf: its high plane.
pub const HIGH_PLANE: std::ops::Range<usize> = 2040..4056;

/// What a void record begins with, in a slot and in a copy of the metadata.
pub const VOID_MAGIC: &[u8] = b"DIPvoid\0";

/// What a copy of the metadata begins with.
pub const METADATA_MAGIC: &[u8] = b"DIPmeta\0";

/// What a slot begins with.
pub const SLOT_MAGIC: &[u8] = b"DIPslot\0";

/// What a node begins with.
pub const NODE_MAGIC: &[u8] = b"DPnd";

/// What a leaf begins with.
pub const LEAF_MAGIC: &[u8] = b"DPlf";

fn words(start: usize, count: usize) -> impl Iterator<Item = Place> {
    (0..count).map(move |word| (start + 8 * word, 8))
}

/// The integer of 4 bytes at an offset; 0 where the bytes end before.
#[must_use]
pub fn get_u32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

/// The integer of 8 bytes at an offset; 0 where the bytes end before.
#[must_use]
pub fn get_u64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

/// Replaces bytes at an offset, as far as there are any.
pub fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at.saturating_add(value.len())) {
        place.copy_from_slice(value);
    }
}
