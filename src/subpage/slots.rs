//! The sub-pages of one page: which are free, and which were never given out to be written.
//!
//! Bits in words of 64. Above the words of the slots stand words whose bits say where below a slot is free, and so on up to one
//! word: the first free one of 2^21 slots is found, taken or given back in four words. Up to 64 slots are one word in place,
//! without memory of its own.

/// Bits of a word, and the logarithm of their number.
const WORD_BITS: usize = 64;
const WORD_SHIFT: u32 = 6;

/// Levels that 2^21 slots need: pages of 16 MiB in sub-pages of 8 bytes.
const MOST_LEVELS: usize = 4;

/// How many slots a page has, and where the words of each level begin: the same for all pages of a map.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    slots: usize,
    shift: u32,
    words: usize,
    /// The first word of each level, that of the slots first; what follows the levels there are is not used.
    bases: [usize; MOST_LEVELS],
    levels: usize,
}

impl Shape {
    /// # Panics
    ///
    /// When `slots` is not a power of two from 2 to 2^21.
    pub(super) fn new(slots: u64) -> Self {
        assert!(slots.is_power_of_two() && (2..=1 << 21).contains(&slots), "sizes are checked when they are compiled");
        let slots = usize::try_from(slots).expect("2^21 fit");
        let (mut words, mut bases, mut levels) = (0, [0; MOST_LEVELS], 0);
        let mut width = slots;
        while levels == 0 || width > 1 {
            width = width.div_ceil(WORD_BITS);
            bases[levels] = words;
            words += width;
            levels += 1;
        }
        Shape { slots, shift: slots.trailing_zeros(), words, bases, levels }
    }

    #[inline]
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// The page and the slot of a sub-page, which is the number of its slot in the file.
    #[inline]
    pub(super) fn split(&self, unit: u64) -> (u64, usize) {
        let page = unit >> self.shift;
        (page, usize::try_from(unit - (page << self.shift)).expect("a slot is below 2^21"))
    }

    /// What [`split`](Self::split) takes apart. Pages are below 2^40, so nothing is lost.
    #[inline]
    pub(super) fn unit(&self, page: u64, slot: usize) -> u64 {
        (page << self.shift) + slot as u64
    }

    fn bases(&self) -> &[usize] {
        &self.bases[..self.levels]
    }
}

/// Words, of which one takes no memory of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Words {
    One(u64),
    Many(Box<[u64]>),
}

impl Words {
    fn zeros(count: usize) -> Self {
        if count == 1 { Words::One(0) } else { Words::Many(vec![0; count].into_boxed_slice()) }
    }

    #[inline]
    fn as_slice(&self) -> &[u64] {
        match self {
            Words::One(word) => std::slice::from_ref(word),
            Words::Many(words) => words,
        }
    }

    #[inline]
    fn as_mut_slice(&mut self) -> &mut [u64] {
        match self {
            Words::One(word) => std::slice::from_mut(word),
            Words::Many(words) => words,
        }
    }

    #[inline]
    fn has(&self, at: usize) -> bool {
        self.as_slice()[at >> WORD_SHIFT] & bit(at) != 0
    }
}

/// The slots of one page. A slot is free or live, and a live one is blank until it is given out to be written: it reads as
/// zeros, whatever its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slots {
    /// All levels, that of the slots first. A bit is set where a slot is free, or where one is below.
    free: Words,
    blank: Words,
    live: usize,
}

impl Slots {
    /// All free.
    pub(super) fn new(shape: &Shape) -> Self {
        let mut free = Words::zeros(shape.words);
        let mut width = shape.slots;
        for base in shape.bases() {
            let words = &mut free.as_mut_slice()[*base..];
            words[..width / WORD_BITS].fill(u64::MAX);
            if !width.is_multiple_of(WORD_BITS) {
                words[width / WORD_BITS] = bit(width % WORD_BITS) - 1;
            }
            width = width.div_ceil(WORD_BITS);
        }
        Slots { free, blank: Words::zeros(shape.slots.div_ceil(WORD_BITS)), live: 0 }
    }

    #[inline]
    pub(super) fn live(&self) -> usize {
        self.live
    }

    #[inline]
    pub(super) fn is_live(&self, slot: usize) -> bool {
        !self.free.has(slot)
    }

    #[inline]
    pub(super) fn is_blank(&self, slot: usize) -> bool {
        self.blank.has(slot)
    }

    #[inline]
    pub(super) fn set_blank(&mut self, slot: usize, blank: bool) {
        let word = &mut self.blank.as_mut_slice()[slot >> WORD_SHIFT];
        if blank { *word |= bit(slot) } else { *word &= !bit(slot) }
    }

    /// The lowest free slot, of a page that is not full.
    #[inline]
    pub(super) fn first_free(&self, shape: &Shape) -> usize {
        let words = self.free.as_slice();
        let mut at = 0;
        for base in shape.bases().iter().rev() {
            let word = words[base + at];
            assert!(word != 0, "a page in the list of those with free slots has one");
            at = (at << WORD_SHIFT) + word.trailing_zeros() as usize;
        }
        at
    }

    /// Makes a free slot live.
    #[inline]
    pub(super) fn take(&mut self, shape: &Shape, slot: usize) {
        debug_assert!(!self.is_live(slot), "a slot is taken while it is free");
        let words = self.free.as_mut_slice();
        let mut at = slot;
        for base in shape.bases() {
            let word = &mut words[base + (at >> WORD_SHIFT)];
            *word &= !bit(at);
            if *word != 0 {
                break;
            }
            at >>= WORD_SHIFT;
        }
        self.live += 1;
    }

    /// Makes a live slot free.
    #[inline]
    pub(super) fn give_back(&mut self, shape: &Shape, slot: usize) {
        debug_assert!(self.is_live(slot), "a slot is given back while it is live");
        let words = self.free.as_mut_slice();
        let mut at = slot;
        for base in shape.bases() {
            let word = &mut words[base + (at >> WORD_SHIFT)];
            let had = *word;
            *word |= bit(at);
            if had != 0 {
                break;
            }
            at >>= WORD_SHIFT;
        }
        self.live -= 1;
        self.set_blank(slot, false);
    }

    /// The live slots, ascending.
    pub(super) fn iter_live(&self, shape: &Shape) -> impl Iterator<Item = usize> + '_ {
        (0..shape.slots).filter(|slot| self.is_live(*slot))
    }
}

#[inline]
fn bit(at: usize) -> u64 {
    1 << (at % WORD_BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{Shape, Slots};

    #[test]
    fn every_number_of_slots_is_taken_from_the_lowest_up_and_given_back() {
        for shift in 1..=21 {
            let shape = Shape::new(1 << shift);
            let untouched = Slots::new(&shape);
            let mut slots = untouched.clone();
            for expected in 0..shape.slots() {
                assert_eq!((slots.first_free(&shape), slots.live()), (expected, expected));
                slots.take(&shape, expected);
            }
            assert_eq!(slots.live(), shape.slots());
            let middle = shape.slots() / 2;
            slots.give_back(&shape, middle);
            assert_eq!(slots.first_free(&shape), middle);
            slots.take(&shape, middle);
            (0..shape.slots()).rev().for_each(|slot| slots.give_back(&shape, slot));
            assert_eq!(slots, untouched);
        }
    }

    #[test]
    fn a_sub_page_is_its_page_and_its_slot() {
        for shift in 1..=21 {
            let shape = Shape::new(1 << shift);
            for (page, slot) in [(0, 1), (1, 0), (1 << 39, shape.slots() - 1), ((1 << 40) - 1, 1)] {
                assert_eq!(shape.split(shape.unit(page, slot)), (page, slot));
            }
            assert_eq!(shape.split(u64::MAX), (u64::MAX >> shift, shape.slots() - 1));
        }
    }

    proptest! {
        #[test]
        fn slots_agree_with_a_set_of_numbers(shift in 1u32..14, draws in prop::collection::vec(any::<(bool, u16)>(), 0..300)) {
            let shape = Shape::new(1 << shift);
            let (mut slots, mut twin) = (Slots::new(&shape), BTreeSet::new());
            for (take, draw) in draws {
                if take && twin.len() < shape.slots() {
                    let slot = slots.first_free(&shape);
                    prop_assert_eq!(Some(slot), (0..).find(|slot| !twin.contains(slot)));
                    slots.take(&shape, slot);
                    slots.set_blank(slot, draw % 2 == 0);
                    twin.insert(slot);
                } else if let Some(slot) = twin.iter().nth(usize::from(draw) % twin.len().max(1)).copied() {
                    slots.give_back(&shape, slot);
                    prop_assert!(!slots.is_blank(slot));
                    twin.remove(&slot);
                }
                prop_assert_eq!(slots.live(), twin.len());
                prop_assert!(slots.iter_live(&shape).eq(twin.iter().copied()));
            }
        }
    }
}
