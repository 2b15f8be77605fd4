//! Which blocks of anonymous memory were handed out to be stored to.
//!
//! A view that may be stored to is made by the region that owns the memory, and lives no longer than the borrow: whatever
//! differs from what was known before lies in a block that was marked since. So the simulated disk compares those blocks
//! and not the whole of the region, and memory that is used again is cleared where it was used.

/// Bytes in a block.
pub(super) const TOUCHED_BLOCK_LEN: usize = 4096;

/// A set of blocks, and those of them that were marked since somebody last asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Touched {
    marks: Vec<Mark>,
    ever: Vec<usize>,
    since: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Never,
    Before,
    Since,
}

impl Touched {
    /// Marks the blocks in which `len` bytes from `start` lie.
    pub(super) fn mark(&mut self, start: usize, len: usize) {
        if len == 0 {
            return;
        }
        let last = (start + len - 1) / TOUCHED_BLOCK_LEN;
        if self.marks.len() <= last {
            self.marks.resize(last + 1, Mark::Never);
        }
        for block in start / TOUCHED_BLOCK_LEN..=last {
            if self.marks[block] == Mark::Never {
                self.ever.push(block);
            }
            if self.marks[block] != Mark::Since {
                self.since.push(block);
            }
            self.marks[block] = Mark::Since;
        }
    }

    /// The blocks that were marked since the last call, in ascending order.
    pub(super) fn take_recent(&mut self) -> Vec<usize> {
        self.since.iter().for_each(|block| self.marks[*block] = Mark::Before);
        self.since.sort_unstable();
        std::mem::take(&mut self.since)
    }

    /// All blocks that were ever marked, in no order.
    pub(super) fn blocks(&self) -> &[usize] {
        &self.ever
    }
}

#[cfg(test)]
mod tests {
    use super::{TOUCHED_BLOCK_LEN, Touched};

    #[test]
    fn a_block_is_recent_until_somebody_asked_and_again_when_it_is_marked_again() {
        let mut touched = Touched::default();
        touched.mark(3 * TOUCHED_BLOCK_LEN - 1, 2);
        touched.mark(0, 1);
        touched.mark(7 * TOUCHED_BLOCK_LEN, 0);
        assert_eq!(touched.take_recent(), [0, 2, 3]);
        assert_eq!(touched.take_recent(), [0; 0]);
        touched.mark(2 * TOUCHED_BLOCK_LEN, TOUCHED_BLOCK_LEN);
        assert_eq!(touched.take_recent(), [2]);
        assert_eq!(touched.blocks().len(), 3);
    }
}
