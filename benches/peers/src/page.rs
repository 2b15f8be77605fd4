//! The content that every store keeps: 4 KiB under a number, of which the first eight bytes tell which page this is.
//!
//! The rest is noise, so that no store gains by compressing it.

/// The bytes of a page.
pub(crate) const PAGE_LEN: usize = 4096;

/// The same, to count bytes of files with.
pub(crate) const PAGE_BYTES: u64 = 4096;

pub(crate) type Page = [u8; PAGE_LEN];

/// A page and what it shall hold.
pub(crate) struct Change {
    pub(crate) id: u64,
    pub(crate) page: Box<Page>,
}

impl Change {
    /// The content of page `id` after it was written `stamp` times, or in the round `stamp`: different for each.
    pub(crate) fn new(id: u64, stamp: u64) -> Self {
        let mut page = Box::new([0; PAGE_LEN]);
        let mut noise = word(id, stamp);
        for chunk in page.chunks_exact_mut(8) {
            chunk.copy_from_slice(&noise.to_le_bytes());
            noise = mixed(noise);
        }
        Change { id, page }
    }

    /// A page of zeros, which is what allocating means where pages have to be put under a key.
    pub(crate) fn zeroed(id: u64) -> Self {
        Change { id, page: Box::new([0; PAGE_LEN]) }
    }
}

/// What the first eight bytes of such a page say.
pub(crate) fn word(id: u64, stamp: u64) -> u64 {
    mixed(mixed(id) ^ stamp)
}

/// The first eight bytes of a page.
#[inline]
pub(crate) fn first_word(page: &[u8]) -> u64 {
    page.first_chunk().copied().map_or(0, u64::from_le_bytes)
}

/// A step of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
