//! Numbers that lead all over a file, the same in each run that is given the same seed.

/// The generator of Marsaglia's "Xorshift RNGs" (2003).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Zero is the one state that the generator never leaves.
        Random(if seed == 0 { 0x9e37_79b9_7f4a_7c15 } else { seed })
    }

    /// Less than `end`, which is not zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (end as u64)).expect("less than a length")
    }

    /// `count` of `items`, any number of times each.
    pub(crate) fn sequence<T: Copy>(&mut self, items: &[T], count: usize) -> Vec<T> {
        (0..count).map(|_| items[self.below(items.len())]).collect()
    }

    /// `count` of `items`, each at most once. The order of the items changes.
    pub(crate) fn choose<T: Copy>(&mut self, items: &mut [T], count: usize) -> Vec<T> {
        let count = count.min(items.len());
        for at in 0..count {
            let other = at + self.below(items.len() - at);
            items.swap(at, other);
        }
        items[..count].to_vec()
    }
}
