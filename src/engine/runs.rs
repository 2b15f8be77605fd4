//! Ascending runs of pages.

use std::ops::Range;

/// Ascending runs of pages, neighbours joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs(Vec<Range<u64>>);

impl Runs {
    /// Adds pages behind all that are there.
    pub(super) fn push(&mut self, start: u64, len: u64) {
        match self.0.last_mut() {
            Some(last) if last.end == start => last.end += len,
            _ => self.0.push(start..start + len),
        }
    }

    /// Adds the pages whose bits are set in a word that begins at page `start`.
    pub(super) fn push_word(&mut self, start: u64, mut word: u64) {
        while word != 0 {
            let first = word.trailing_zeros();
            let len = (word >> first).trailing_ones();
            self.push(start + u64::from(first), u64::from(len));
            word &= u64::MAX.checked_shl(first + len).unwrap_or(0);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().cloned()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn pages(&self) -> impl Iterator<Item = u64> + '_ {
        self.iter().flatten()
    }

    /// How many pages the runs hold.
    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.iter().map(|run| run.end - run.start).sum()
    }
}

impl IntoIterator for Runs {
    type Item = Range<u64>;
    type IntoIter = std::vec::IntoIter<Range<u64>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
