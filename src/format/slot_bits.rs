//! The bits of a record of a table of sub-pages: which slots of a parent are live.
//!
//! They stand behind the record, in words of 64: bit `i % 64` of word `i / 64` is that of slot `i`.

use super::sub_page_table::{Record, SlotShape, put_word, word};

const WORD_BITS: u64 = 64;

/// The bits of a record: which slots of a parent are live.
pub(crate) struct SlotBits;

impl SlotBits {
    fn start(shape: SlotShape, at: u64) -> usize {
        Record::place(shape, at).start + Record::LEN
    }

    /// A word of them, with the bits of slots that there are not set, as if they were live.
    fn word(shape: SlotShape, node: &[u8], at: u64, index: u64) -> u64 {
        let slots = shape.slots();
        let beyond = if slots < WORD_BITS { u64::MAX << slots } else { 0 };
        word(node, Self::start(shape, at), index) | beyond
    }

    pub(crate) fn get(shape: SlotShape, node: &[u8], at: u64, slot: u64) -> bool {
        Self::word(shape, node, at, slot / WORD_BITS) >> (slot % WORD_BITS) & 1 == 1
    }

    /// The word in which the bit of a slot is.
    pub(crate) fn word_of(slot: u64) -> u64 {
        slot / WORD_BITS
    }

    pub(crate) fn set(shape: SlotShape, node: &mut [u8], at: u64, slot: u64, is_live: bool) {
        assert!(slot < shape.slots(), "a slot is a part of its parent");
        let (start, index, bit) = (Self::start(shape, at), slot / WORD_BITS, 1 << (slot % WORD_BITS));
        let old = word(node, start, index);
        put_word(node, start, index, if is_live { old | bit } else { old & !bit });
    }

    /// Makes all slots free.
    pub(crate) fn clear(shape: SlotShape, node: &mut [u8], at: u64) {
        node[Self::start(shape, at)..Record::place(shape, at).end].fill(0);
    }

    /// The first slot that is free, in this word or behind it.
    pub(crate) fn first_free(shape: SlotShape, node: &[u8], at: u64, from: u64) -> Option<u64> {
        (from..shape.words() as u64).find_map(|index| {
            let free = !Self::word(shape, node, at, index);
            (free != 0).then(|| index * WORD_BITS + u64::from(free.trailing_zeros()))
        })
    }

    /// The first slot that is live, at this one or behind it.
    pub(crate) fn next_live(shape: SlotShape, node: &[u8], at: u64, from: u64) -> Option<u64> {
        let first = from / WORD_BITS;
        (first..shape.words() as u64).find_map(|index| {
            let below = if index == first { u64::MAX << (from % WORD_BITS) } else { u64::MAX };
            let live = Self::word(shape, node, at, index) & below;
            let slot = index * WORD_BITS + u64::from(live.trailing_zeros());
            (live != 0 && slot < shape.slots()).then_some(slot)
        })
    }

    /// Slots that are live; bits of slots that there are not count, too, so that the number is wrong if one is set.
    pub(crate) fn count(shape: SlotShape, node: &[u8], at: u64) -> u64 {
        let start = Self::start(shape, at);
        (0..shape.words() as u64).map(|index| u64::from(word(node, start, index).count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{SlotBits, SlotShape};

    #[test]
    fn bits_are_found_from_the_lowest_on() {
        for shape in [SlotShape::new(1024, 512), SlotShape::new(65536, 8), SlotShape::new(4096, 64)] {
            let mut node = vec![0; usize::try_from(shape.slots()).unwrap() * shape.place(0).len()];
            let (at, slots) = (shape.records() - 1, shape.slots());
            for slot in 0..slots {
                assert_eq!(SlotBits::first_free(shape, &node, at, 0), Some(slot));
                SlotBits::set(shape, &mut node, at, slot, true);
            }
            assert_eq!(SlotBits::first_free(shape, &node, at, 0), None);
            assert_eq!(SlotBits::count(shape, &node, at), slots);
            SlotBits::set(shape, &mut node, at, slots - 1, false);
            assert_eq!(SlotBits::next_live(shape, &node, at, slots - 1), None);
            assert_eq!(SlotBits::next_live(shape, &node, at, slots - 2), Some(slots - 2));
            assert!(!SlotBits::get(shape, &node, at, slots - 1) && SlotBits::get(shape, &node, at, 0));
            SlotBits::clear(shape, &mut node, at);
            assert_eq!(SlotBits::next_live(shape, &node, at, 0), None);
            assert!(node.iter().all(|byte| *byte == 0));
        }
    }
}
