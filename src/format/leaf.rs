//! A leaf of the free map: two bits a page.
//!
//! Page `p` of the file is bit `p % 16128` of leaf `p / 16128`, and its kind is its bit of the low plane plus twice its
//! bit of the high plane: 0 free, 1 regular, 2 engine, 3 table-owned. Two planes and not pairs of bits, so that the
//! free pages of 64 are the zeros of one OR. Bit `i` of a plane is bit `i % 64` of word `i / 64`.
//!
//! # Leaf
//!
//! | offset | size | field      |
//! |-------:|-----:|------------|
//! |      0 |    4 | magic      |
//! |      4 |    4 | reserved   |
//! |      8 |    8 | index      |
//! |     16 |    8 | generation |
//! |     24 | 2016 | low plane  |
//! |   2040 | 2016 | high plane |
//! |   4056 |   36 | reserved   |
//! |   4092 |    4 | crc        |

use super::checksum::{check_crc, put_crc};
use super::field::Field;
#[cfg(test)]
use super::field::FieldSpec;
use super::{BLOCK_LEN, BlockBytes, Defect, check_equal, check_generation};
use crate::block::PageKind;

/// Pages whose kind a leaf holds.
pub(crate) const PAGES_PER_LEAF: u64 = 16128;

/// Words of 64 bits in a plane.
pub(crate) const LEAF_WORDS: usize = 252;

const _: () = assert!(PAGES_PER_LEAF == 64 * 252 && LEAF_WORDS == 252, "a plane has a bit for each page");

const LEAF_MAGIC: u32 = u32::from_le_bytes(*b"DPlf");

/// The kinds of the pages of a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeafBits {
    /// Set for regular and table-owned pages.
    pub(crate) low: [u64; LEAF_WORDS],
    /// Set for engine and table-owned pages.
    pub(crate) high: [u64; LEAF_WORDS],
}

impl Default for LeafBits {
    fn default() -> Self {
        LeafBits { low: [0; LEAF_WORDS], high: [0; LEAF_WORDS] }
    }
}

impl LeafBits {
    /// The kind of page `bit` of the leaf.
    ///
    /// # Panics
    ///
    /// If `bit` is not below [`PAGES_PER_LEAF`].
    pub(crate) fn kind(&self, bit: usize) -> PageKind {
        let (word, mask) = locate(bit);
        match (self.low[word] & mask != 0, self.high[word] & mask != 0) {
            (false, false) => PageKind::Free,
            (true, false) => PageKind::Regular,
            (false, true) => PageKind::Engine,
            (true, true) => PageKind::TableOwned,
        }
    }

    /// Sets the kind of page `bit` of the leaf.
    ///
    /// # Panics
    ///
    /// If `bit` is not below [`PAGES_PER_LEAF`].
    #[cfg(test)]
    pub(crate) fn set_kind(&mut self, bit: usize, kind: PageKind) {
        let (low, high) = match kind {
            PageKind::Free => (false, false),
            PageKind::Regular => (true, false),
            PageKind::Engine => (false, true),
            PageKind::TableOwned => (true, true),
        };
        let (word, mask) = locate(bit);
        for (plane, is_set) in [(&mut self.low, low), (&mut self.high, high)] {
            if is_set {
                plane[word] |= mask;
            } else {
                plane[word] &= !mask;
            }
        }
    }
}

fn locate(bit: usize) -> (usize, u64) {
    assert!(bit < 64 * LEAF_WORDS, "bit {bit} is outside the leaf");
    (bit / 64, 1 << (bit % 64))
}

/// What a leaf says besides the kinds of its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeafHead {
    /// The position of the leaf: the first page that it covers, divided by [`PAGES_PER_LEAF`].
    pub(crate) index: u64,
    /// The commit that wrote the leaf.
    pub(crate) generation: u64,
}

impl LeafHead {
    const MAGIC: Field<4> = Field::at(0);
    const RESERVED: Field<4> = Self::MAGIC.then();
    const INDEX: Field<8> = Self::RESERVED.then();
    const GENERATION: Field<8> = Self::INDEX.then();
    const LOW: Field<{ 8 * LEAF_WORDS }> = Self::GENERATION.then();
    const HIGH: Field<{ 8 * LEAF_WORDS }> = Self::LOW.then();
    const RESERVED_TAIL: Field<36> = Self::HIGH.then();
    const CRC: Field<4> = Self::RESERVED_TAIL.then();

    /// The rows of the table, for tests that damage each.
    #[cfg(test)]
    pub(crate) const FIELDS: &[FieldSpec] = &[
        Self::MAGIC.spec("magic"),
        Self::RESERVED.spec("reserved"),
        Self::INDEX.spec("index"),
        Self::GENERATION.spec("generation"),
        Self::LOW.spec("low plane"),
        Self::HIGH.spec("high plane"),
        Self::RESERVED_TAIL.spec("reserved"),
        Self::CRC.spec("crc"),
    ];
}

const _: () = assert!(LeafHead::CRC.end() == BLOCK_LEN, "a leaf is a block");

/// The block that holds a leaf.
pub(crate) fn encode_leaf(index: u64, generation: u64, bits: &LeafBits) -> Box<BlockBytes> {
    assert_eq!(check_generation(generation), Ok(()), "a commit writes the leaf");
    let mut block = Box::new([0; BLOCK_LEN]);
    let bytes = block.as_mut_slice();
    LeafHead::MAGIC.put_u32(bytes, LEAF_MAGIC);
    LeafHead::INDEX.put_u64(bytes, index);
    LeafHead::GENERATION.put_u64(bytes, generation);
    encode_plane(&bits.low, LeafHead::LOW.bytes_mut(bytes));
    encode_plane(&bits.high, LeafHead::HIGH.bytes_mut(bytes));
    put_crc(bytes, LeafHead::CRC);
    block
}

/// Reads the leaf that a block holds, the kinds of its pages into `bits`, which are as they were if it holds none. Whether it
/// is the one that its parent means is for the caller to check.
pub(crate) fn decode_leaf(block: &BlockBytes, bits: &mut LeafBits) -> Result<LeafHead, Defect> {
    check_equal("magic", LEAF_MAGIC, LeafHead::MAGIC.get_u32(block))?;
    check_crc(block, LeafHead::CRC)?;
    let generation = LeafHead::GENERATION.get_u64(block);
    check_generation(generation)?;
    decode_plane(LeafHead::LOW.bytes(block), &mut bits.low);
    decode_plane(LeafHead::HIGH.bytes(block), &mut bits.high);
    Ok(LeafHead { index: LeafHead::INDEX.get_u64(block), generation })
}

fn encode_plane(words: &[u64; LEAF_WORDS], bytes: &mut [u8; 8 * LEAF_WORDS]) {
    let (places, _) = bytes.as_chunks_mut();
    for (place, word) in places.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
}

fn decode_plane(bytes: &[u8; 8 * LEAF_WORDS], words: &mut [u64; LEAF_WORDS]) {
    let (places, _) = bytes.as_chunks();
    for (word, place) in words.iter_mut().zip(places) {
        *word = u64::from_le_bytes(*place);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, proptest};

    use super::{LEAF_WORDS, LeafBits, LeafHead, PAGES_PER_LEAF, decode_leaf, encode_leaf};
    use crate::block::PageKind;
    use crate::format::{BLOCK_LEN, BlockBytes, Defect, MAX_GENERATION, specimen};

    const KINDS: [PageKind; 4] = [PageKind::Free, PageKind::Regular, PageKind::Engine, PageKind::TableOwned];

    fn leaf() -> Box<BlockBytes> {
        let mut bits = LeafBits::default();
        for (bit, kind) in [(0, PageKind::Regular), (65, PageKind::Engine), (16127, PageKind::TableOwned)] {
            bits.set_kind(bit, kind);
        }
        encode_leaf(0x0102, 9, &bits)
    }

    fn decoded(block: &BlockBytes) -> Result<(LeafHead, LeafBits), Defect> {
        let mut bits = LeafBits::default();
        decode_leaf(block, &mut bits).map(|head| (head, bits))
    }

    fn planes() -> impl Strategy<Value = [u64; LEAF_WORDS]> {
        prop::collection::vec(any::<u64>(), LEAF_WORDS).prop_map(|words| words.try_into().expect("252 words"))
    }

    #[test]
    fn the_table_is_the_chain() {
        specimen::assert_table_matches_chain(include_str!("leaf.rs"), "Leaf", LeafHead::FIELDS, BLOCK_LEN);
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(
            specimen::hex(&leaf()[..]),
            [
                "0000: 44506c66000000000201000000000000",
                "0016: 09000000000000000100000000000000",
                "2032: 00000000000000800000000000000000",
                "2048: 02000000000000000000000000000000",
                "4048: 00000000000000800000000000000000",
                "4080: 000000000000000000000000b76719b6"
            ]
        );
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        specimen::assert_every_flipped_bit_is_detected(&leaf(), BLOCK_LEN, decoded);
    }

    #[test]
    fn a_leaf_of_generation_0_is_refused() {
        let block = specimen::forged(&leaf(), LeafHead::CRC, |block| LeafHead::GENERATION.put_u64(block, 0));
        assert_eq!(decoded(&block), Err(Defect { field: "generation", expected: 1, found: 0 }));
    }

    #[test]
    fn a_new_leaf_is_all_free() {
        let bits = LeafBits::default();
        assert!((0..64 * LEAF_WORDS).all(|bit| bits.kind(bit) == PageKind::Free));
        assert_eq!(u64::try_from(64 * LEAF_WORDS), Ok(PAGES_PER_LEAF));
    }

    #[test]
    fn the_planes_are_the_low_and_the_high_bit_of_the_kind() {
        for (number, kind) in (0u64..).zip(KINDS) {
            let mut bits = LeafBits::default();
            bits.set_kind(66, kind);
            assert_eq!((bits.low[1], bits.high[1]), ((number & 1) << 2, (number >> 1) << 2));
        }
    }

    #[test]
    #[should_panic(expected = "bit 16128 is outside the leaf")]
    fn a_bit_outside_the_leaf_is_a_bug() {
        LeafBits::default().kind(16128);
    }

    proptest! {
        /// The naive twin is an array of kinds.
        #[test]
        fn each_page_keeps_the_kind_that_it_was_given_last(
            steps in prop::collection::vec((0..64 * LEAF_WORDS, prop::sample::select(KINDS.to_vec())), 0..300)
        ) {
            let (mut bits, mut kinds) = (LeafBits::default(), [PageKind::Free; 64 * LEAF_WORDS]);
            for (bit, kind) in steps {
                bits.set_kind(bit, kind);
                kinds[bit] = kind;
            }
            for (bit, kind) in kinds.into_iter().enumerate() {
                assert_eq!(bits.kind(bit), kind);
            }
        }

        #[test]
        fn what_is_encoded_is_decoded(
            index in any::<u64>(), generation in 1..=MAX_GENERATION, low in planes(), high in planes()
        ) {
            let bits = LeafBits { low, high };
            let block = encode_leaf(index, generation, &bits);
            assert_eq!(decoded(&block), Ok((LeafHead { index, generation }, bits)));
        }

        #[test]
        fn what_decodes_encodes_again(block in specimen::forgeries(*leaf(), LeafHead::FIELDS, LeafHead::CRC)) {
            if let Ok((head, bits)) = decoded(&block) {
                assert_eq!(decoded(&encode_leaf(head.index, head.generation, &bits)), Ok((head, bits)));
            }
        }

        #[test]
        fn noise_is_refused(block in specimen::noise(b"DPlf")) {
            assert!(decoded(&block).is_err());
        }
    }
}
