//! The bytes of a disk at one moment, and the sectors that cannot be read.
//!
//! An image is a list of shared blocks: a copy costs a reference count a block, and a change copies only the block that
//! it touches. The page cache, the durable state and the base of every recorded epoch are images that share what they
//! have in common.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use super::random::SplitMix64;

/// Bytes in a sector: what the disk writes at once, unless it is torn.
pub(super) const SECTOR_LEN: usize = 512;
/// Bytes in a block: what images share, and the torn unit of disks with large sectors.
pub(super) const BLOCK_LEN: usize = 4096;

/// The bytes of one sector.
pub(super) type Sector = [u8; SECTOR_LEN];

static ZEROS: LazyLock<Arc<[u8; BLOCK_LEN]>> = LazyLock::new(|| Arc::new([0; BLOCK_LEN]));

/// Most blocks of most images.
static FOLDED_ZEROS: LazyLock<u64> = LazyLock::new(|| fold_block(&ZEROS));

/// A length of something that is in memory, as a disk counts it.
pub(super) fn wide(len: usize) -> u64 {
    u64::try_from(len).expect("usize fits u64")
}

/// An offset or length on the disk as an index into memory.
///
/// # Panics
/// Where the address space is too small for the simulated disk.
pub(super) fn narrow(at: u64) -> usize {
    usize::try_from(at).expect("a simulated disk fits into the address space")
}

/// The sectors that `len` bytes at `offset` touch.
pub(super) fn sectors_of(offset: u64, len: usize) -> std::ops::Range<u64> {
    offset / wide(SECTOR_LEN)..(offset + wide(len)).div_ceil(wide(SECTOR_LEN))
}

/// What a disk holds: its bytes and the sectors that it cannot read.
///
/// Images come from a [`SimDisk`](super::SimDisk) (what is durable, what a killed process leaves, what a power cut
/// leaves) and make new ones. In between they can be damaged by hand, to test what a program makes of bit rot, lost and
/// misdirected writes. A clone shares its bytes with the original until one of them changes.
///
/// ```
/// use diptych::SimImage;
///
/// let mut image = SimImage::from(vec![7; 1000]);
/// image.write(998, &[1, 2]);
/// image.flip_bit(0, 3);
/// assert_eq!(image.to_vec()[..2], [15, 7]);
/// assert_eq!(image.len(), 1000);
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct SimImage {
    blocks: Vec<Arc<[u8; BLOCK_LEN]>>,
    len: u64,
    unreadable: BTreeSet<u64>,
}

impl SimImage {
    /// Bytes in a sector, 512: sectors are counted from the start of the image in these.
    pub const SECTOR_LEN: usize = SECTOR_LEN;

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the image has no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All bytes in one piece. Unreadable sectors show what was made up for them.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; narrow(self.len)];
        self.read(0, &mut bytes);
        bytes
    }

    /// Copies the bytes from `offset` on into `buffer`, those of unreadable sectors too.
    ///
    /// # Panics
    /// If the image ends before the buffer is full.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) {
        self.assert_inside(offset, buffer.len());
        for_each_block(offset, buffer.len(), |block, within, part| {
            buffer[part].copy_from_slice(&self.blocks[block][within]);
        });
    }

    /// Replaces the bytes from `offset` on. Unreadable sectors that are covered wholly can be read again.
    ///
    /// # Panics
    /// If the image ends before the last of the bytes.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.assert_inside(offset, bytes.len());
        for_each_block(offset, bytes.len(), |block, within, part| {
            Arc::make_mut(&mut self.blocks[block])[within].copy_from_slice(&bytes[part]);
        });
        if !self.unreadable.is_empty() {
            let end = offset + wide(bytes.len());
            let len = self.len;
            self.unreadable.retain(|sector| {
                let start = sector * wide(SECTOR_LEN);
                start < offset || end < (start + wide(SECTOR_LEN)).min(len)
            });
        }
    }

    /// Turns bit `bit` (0 to 7) of the byte at `offset` over.
    ///
    /// # Panics
    /// If the image ends before that byte, or `bit` is above 7.
    pub fn flip_bit(&mut self, offset: u64, bit: u32) {
        assert!(bit < 8, "a byte has bits 0 to 7, not {bit}");
        self.assert_inside(offset, 1);
        let at = narrow(offset);
        Arc::make_mut(&mut self.blocks[at / BLOCK_LEN])[at % BLOCK_LEN] ^= 1 << bit;
    }

    /// Cuts the image, or fills it up with zeros, to `len` bytes.
    pub fn set_len(&mut self, len: u64) {
        self.blocks.resize_with(narrow(len).div_ceil(BLOCK_LEN), || Arc::clone(&ZEROS));
        let tail = narrow(len) % BLOCK_LEN;
        if len < self.len && tail != 0 {
            // Bytes past the end of the last block are zeros, always: blocks are compared whole.
            let last = self.blocks.last_mut().expect("a tail is part of a block");
            Arc::make_mut(last)[tail..].fill(0);
        }
        self.len = len;
        self.unreadable.retain(|sector| sector * wide(SECTOR_LEN) < len);
    }

    /// Makes a sector unreadable: a disk made from this image fails reads that touch it, until it is written wholly.
    /// `seed` draws the bytes that a mapping shows there, where a real one would raise a bus error.
    ///
    /// # Panics
    /// If the image ends before that sector.
    pub fn set_unreadable(&mut self, sector: u64, seed: u64) {
        let start = sector * wide(SECTOR_LEN);
        assert!(start < self.len, "sector {sector} lies past the end of {} bytes", self.len);
        let mut junk = [0; SECTOR_LEN];
        SplitMix64::new(seed).fill(&mut junk);
        self.write(start, &junk[..narrow(self.len - start).min(SECTOR_LEN)]);
        self.unreadable.insert(sector);
    }

    /// The sectors that cannot be read, in ascending order.
    pub fn unreadable_sectors(&self) -> impl Iterator<Item = u64> {
        self.unreadable.iter().copied()
    }

    /// A number that two images of the same bytes and unreadable sectors share, and others almost surely do not: for
    /// counting distinct images without keeping them.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut sum = mix(0x51ed_270b_a1c5_9e37, self.len);
        for block in &self.blocks {
            sum = mix(sum, if Arc::ptr_eq(block, &ZEROS) { *FOLDED_ZEROS } else { fold_block(block) });
        }
        self.unreadable.iter().fold(sum, |sum, &sector| mix(sum, !sector))
    }

    /// The sector, filled up with zeros past the end of the image.
    pub(super) fn sector(&self, sector: u64) -> &Sector {
        let at = narrow(sector) * SECTOR_LEN;
        match self.blocks.get(at / BLOCK_LEN) {
            Some(block) => block[at % BLOCK_LEN..][..SECTOR_LEN].try_into().expect("a block is whole sectors"),
            None => &[0; SECTOR_LEN],
        }
    }

    /// The bytes of a block, filled up with zeros past the end of the image.
    pub(super) fn block(&self, block: usize) -> &[u8; BLOCK_LEN] {
        match self.blocks.get(block) {
            Some(block) => block,
            None => &[0; BLOCK_LEN],
        }
    }

    /// Whether a block is known to be zeros: one that was never written is.
    pub(super) fn is_zero_block(&self, block: usize) -> bool {
        self.blocks.get(block).is_none_or(|block| Arc::ptr_eq(block, &ZEROS))
    }

    pub(super) fn is_unreadable(&self, sector: u64) -> bool {
        !self.unreadable.is_empty() && self.unreadable.contains(&sector)
    }

    /// Whether a read of `len` bytes at `offset` touches an unreadable sector.
    pub(super) fn has_unreadable(&self, offset: u64, len: usize) -> bool {
        !self.unreadable.is_empty() && self.unreadable.range(sectors_of(offset, len)).next().is_some()
    }

    /// Takes a sector over from `other`, readable or not, as far as this image reaches.
    pub(super) fn copy_sector(&mut self, other: &SimImage, sector: u64) {
        self.write_sector(sector, other.sector(sector));
        if other.is_unreadable(sector) {
            self.mark_unreadable(sector);
        }
    }

    /// Replaces a sector as far as the image reaches; past the end nothing happens.
    pub(super) fn write_sector(&mut self, sector: u64, bytes: &Sector) {
        let start = sector * wide(SECTOR_LEN);
        if start < self.len {
            self.write(start, &bytes[..narrow((self.len - start).min(wide(SECTOR_LEN)))]);
        }
    }

    /// Marks a sector without touching its bytes; past the end nothing happens.
    pub(super) fn mark_unreadable(&mut self, sector: u64) {
        if sector * wide(SECTOR_LEN) < self.len {
            self.unreadable.insert(sector);
        }
    }

    fn assert_inside(&self, offset: u64, len: usize) {
        assert!(
            offset.checked_add(wide(len)).is_some_and(|end| end <= self.len),
            "{len} bytes at {offset} reach past the end of {} bytes",
            self.len
        );
    }
}

impl From<Vec<u8>> for SimImage {
    fn from(bytes: Vec<u8>) -> Self {
        SimImage::from(bytes.as_slice())
    }
}

impl From<&[u8]> for SimImage {
    fn from(bytes: &[u8]) -> Self {
        let mut image = SimImage { len: wide(bytes.len()), ..SimImage::default() };
        image.blocks = bytes
            .chunks(BLOCK_LEN)
            .map(|part| {
                if *part == ZEROS[..part.len()] {
                    return Arc::clone(&ZEROS);
                }
                let mut block = [0; BLOCK_LEN];
                block[..part.len()].copy_from_slice(part);
                Arc::new(block)
            })
            .collect();
        image
    }
}

impl fmt::Debug for SimImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimImage")
            .field("len", &self.len)
            .field("fingerprint", &format_args!("{:#018x}", self.fingerprint()))
            .field("unreadable", &self.unreadable)
            .finish()
    }
}

/// Calls `each` with the block, the bytes within it and the same bytes within the piece, for every block of the piece.
fn for_each_block(
    offset: u64,
    len: usize,
    mut each: impl FnMut(usize, std::ops::Range<usize>, std::ops::Range<usize>),
) {
    let start = narrow(offset);
    let mut done = 0;
    while done < len {
        let within = (start + done) % BLOCK_LEN;
        let taken = (BLOCK_LEN - within).min(len - done);
        each((start + done) / BLOCK_LEN, within..within + taken, done..done + taken);
        done += taken;
    }
}

fn mix(sum: u64, word: u64) -> u64 {
    let mixed = (sum ^ word).wrapping_mul(0x9fb2_1c65_1e98_df25);
    (mixed ^ (mixed >> 32)).rotate_left(27)
}

/// Four lanes, so that the multiplications of one do not wait for those of another.
fn fold_block(block: &[u8; BLOCK_LEN]) -> u64 {
    let mut lanes = [1_u64, 2, 3, 4];
    for part in block.chunks_exact(32) {
        for (lane, word) in lanes.iter_mut().zip(part.chunks_exact(8)) {
            *lane = mix(*lane, u64::from_le_bytes(word.try_into().expect("eight bytes")));
        }
    }
    lanes.iter().fold(0, |sum, &lane| mix(sum, lane))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_across_blocks_is_read_back_and_a_clone_keeps_the_old_bytes() {
        let mut image = SimImage::from(vec![0; 10_000]);
        let old = image.clone();
        let bytes: Vec<u8> = (0..5000_u32).map(|at| at.to_le_bytes()[0] | 1).collect();
        image.write(4000, &bytes);
        let mut back = vec![0; 5000];
        image.read(4000, &mut back);
        assert_eq!(back, bytes);
        assert_eq!(old.to_vec(), vec![0; 10_000]);
        assert_ne!(old.fingerprint(), image.fingerprint());
    }

    #[test]
    fn what_was_cut_off_reads_as_zeros_when_the_image_grows_again() {
        let mut image = SimImage::from(vec![9; 5000]);
        image.set_len(4500);
        image.set_len(9000);
        assert!(image.to_vec()[..4500].iter().all(|&byte| byte == 9));
        assert!(image.to_vec()[4500..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn an_unreadable_sector_is_cured_by_a_whole_write_only() {
        let mut image = SimImage::from(vec![0; 2000]);
        image.set_unreadable(1, 3);
        image.set_unreadable(3, 3);
        image.write(512, &[1; 511]);
        assert_eq!(image.unreadable_sectors().collect::<Vec<_>>(), [1, 3]);
        image.write(512, &[1; 512]);
        assert_eq!(image.unreadable_sectors().collect::<Vec<_>>(), [3]);
        image.write(1536, &[1; 2000 - 1536]);
        assert_eq!(image.unreadable_sectors().count(), 0);
    }

    #[test]
    fn the_fingerprint_sees_one_bit_the_length_and_unreadable_sectors() {
        let image = SimImage::from(vec![0; 8192]);
        let mut flipped = image.clone();
        flipped.flip_bit(5000, 7);
        let mut longer = image.clone();
        longer.set_len(8193);
        let mut marked = image.clone();
        marked.mark_unreadable(2);
        let all = [&image, &flipped, &longer, &marked].map(SimImage::fingerprint);
        assert!((0..4).all(|one| (0..one).all(|other| all[one] != all[other])));
        assert_eq!(image.fingerprint(), SimImage::from(vec![0; 8192]).fingerprint());
    }
}
