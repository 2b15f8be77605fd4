//! Images that were changed by somebody who also mended the checksums, down to any link of the chain.
//!
//! ```text
//!   slot ──checksum──▶ metadata ──checksum──▶ node ──checksum──▶ leaf, protected page
//!    crc                  crc                  crc                 crc
//! ```
//!
//! Offsets are those of the tables in `src/format/`. They stand here a second time on purpose: a format that changes by
//! mistake makes the forgeries fail.

use diptych::SimImage;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Bytes in a block.
pub const BLOCK: u64 = 4096;

/// Where a block's CRC begins.
const BLOCK_CRC: u64 = 4092;

/// Where the CRC of a slot begins.
const SLOT_CRC: u64 = 4080;

/// Where the generation of the metadata that a slot stands on stands in it.
pub const SLOT_METADATA_GENERATION: u64 = 48;

/// Where the total of pages stands in a slot; the counts follow.
pub const SLOT_TOTAL_PAGES: u64 = 56;

/// Where the numbers of rows stand in a slot, four bytes each: of the free map, turned, placed.
pub const SLOT_ROW_COUNTS: u64 = 224;

/// Where the first row stands in a slot.
pub const SLOT_ROWS: u64 = 240;

/// Where the total of pages stands in the metadata.
pub const TOTAL_PAGES: u64 = 120;

/// Where the free map's first twin entry stands in the metadata.
pub const FREE_MAP_TOP: u64 = 304;

/// Where the directory's first twin entry stands in the metadata.
pub const DIRECTORY_TOP: u64 = 816;

/// Where the first row of the list of regular pages stands in the metadata: page, checksum.
pub const REGULAR_LIST: u64 = 1328;

/// Where the first twin entry stands in a node.
pub const NODE_ENTRIES: u64 = 32;

/// An image to be changed.
#[derive(Clone, Debug)]
pub struct Forgery {
    /// The image as it is now.
    pub image: SimImage,
}

impl Forgery {
    /// Begins with an image that is whole.
    #[must_use]
    pub fn of(image: &SimImage) -> Self {
        Forgery { image: image.clone() }
    }

    /// Eight bytes as a number.
    #[must_use]
    pub fn u64_at(&self, offset: u64) -> u64 {
        let mut bytes = [0; 8];
        self.image.read(offset, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A number as eight bytes.
    pub fn put_u64(&mut self, offset: u64, value: u64) {
        self.image.write(offset, &value.to_le_bytes());
    }

    fn page_size(&self) -> u64 {
        self.u64_at(8) >> 32
    }

    fn checksum(&self, offset: u64, len: u64) -> u64 {
        let mut file_id = [0; 16];
        self.image.read(16, &mut file_id);
        let mut bytes = vec![0; usize::try_from(len).expect("a page is in memory")];
        self.image.read(offset, &mut bytes);
        xxh3_64_with_seed(&bytes, xxh3_64(&file_id))
    }

    fn mend_crc(&mut self, offset: u64, crc: u64) {
        let mut covered = vec![0; usize::try_from(crc).expect("a block is small")];
        self.image.read(offset, &mut covered);
        self.image.write(offset + crc, &crc32fast::hash(&covered).to_le_bytes());
    }

    /// Makes the CRC of a block right: metadata, a node, or a leaf.
    pub fn mend_block(&mut self, offset: u64) {
        self.mend_crc(offset, BLOCK_CRC);
    }

    /// Where the block of the newest slot begins. Both slots, or the other one's void record, are whole.
    #[must_use]
    pub fn live_slot(&self) -> u64 {
        let [first, second] = [BLOCK, 2 * BLOCK].map(|slot| self.u64_at(slot + 24));
        if second > first { 2 * BLOCK } else { BLOCK }
    }

    /// Where the metadata begins that the newest slot names.
    #[must_use]
    pub fn live_metadata(&self) -> u64 {
        let copy = self.u64_at(self.live_slot() + 32) & 1;
        (3 + copy) * BLOCK
    }

    /// Makes the CRC of the newest slot right.
    pub fn mend_slot(&mut self) {
        let slot = self.live_slot();
        self.mend_crc(slot, SLOT_CRC);
    }

    /// Makes the newest slot name the metadata as it is now, with a right checksum and CRC of its own.
    pub fn name_metadata(&mut self) {
        let (slot, checksum) = (self.live_slot(), self.checksum(self.live_metadata(), BLOCK));
        self.put_u64(slot + 40, checksum);
        self.mend_slot();
    }

    /// Where the live copy begins that the twin entry at an offset names.
    #[must_use]
    pub fn live_copy(&self, entry: u64) -> u64 {
        let copy = self.u64_at(entry + 16) & 1;
        self.u64_at(entry + 8 * copy) * self.page_size()
    }

    /// Makes the twin entry at an offset hold the checksum of its live copy: a block, or a page.
    pub fn name_copy(&mut self, entry: u64, len: u64) {
        let checksum = self.checksum(self.live_copy(entry), len);
        self.put_u64(entry + 24, checksum);
    }
}
