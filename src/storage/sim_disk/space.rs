//! How much of the simulated disk is allocated, and how much may be.

use std::collections::BTreeSet;
use std::io;

use super::image::{BLOCK_LEN, wide};

/// Allocation, counted in blocks of 4096 bytes.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// Bytes that may be allocated.
    limit: Option<u64>,
    /// Blocks inside the file that have no space yet.
    holes: BTreeSet<u64>,
}

impl Space {
    pub(super) fn set_limit(&mut self, limit: Option<u64>) {
        self.limit = limit;
    }

    pub(super) fn has_holes(&self) -> bool {
        !self.holes.is_empty()
    }

    /// Takes the space for growing from `from` to `to` bytes, or leaves holes there.
    pub(super) fn extend(&mut self, from: u64, to: u64, sparse: bool) -> io::Result<()> {
        let new = blocks(from)..blocks(to);
        if sparse {
            self.holes.extend(new);
            return Ok(());
        }
        self.take(blocks(from), new.end.saturating_sub(new.start))
    }

    /// Takes the space of the holes among `len` bytes at `offset` in a file of `total` bytes.
    pub(super) fn fill(&mut self, offset: u64, len: u64, total: u64) -> io::Result<()> {
        if self.holes.is_empty() || len == 0 {
            return Ok(());
        }
        let filled: Vec<u64> = self.holes.range(offset / wide(BLOCK_LEN)..blocks(offset + len)).copied().collect();
        self.take(blocks(total), wide(filled.len()))?;
        filled.iter().for_each(|block| {
            self.holes.remove(block);
        });
        Ok(())
    }

    /// Gives back the blocks that lie wholly in `len` bytes at `offset`. Returns how many bytes that are.
    pub(super) fn punch(&mut self, offset: u64, len: u64) -> u64 {
        let punched = blocks(offset)..(offset + len) / wide(BLOCK_LEN);
        wide(punched.filter(|block| self.holes.insert(*block)).count()) * wide(BLOCK_LEN)
    }

    /// How many bytes may be allocated beside those of a file of `total` bytes.
    pub(super) fn available(&self, total: u64) -> u64 {
        let allocated = (blocks(total) - wide(self.holes.len())) * wide(BLOCK_LEN);
        self.limit.map_or(u64::MAX, |limit| limit.saturating_sub(allocated))
    }

    /// Forgets the holes past the end of a file that was cut to `len` bytes.
    pub(super) fn cut(&mut self, len: u64) {
        self.holes.split_off(&blocks(len));
    }

    /// Refuses `more` blocks beside those of a file of `blocks` if the limit does not allow them.
    fn take(&self, blocks: u64, more: u64) -> io::Result<()> {
        let allocated = blocks - wide(self.holes.len()) + more;
        match self.limit {
            Some(limit) if more > 0 && allocated * wide(BLOCK_LEN) > limit => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

fn blocks(len: u64) -> u64 {
    len.div_ceil(wide(BLOCK_LEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_punched_is_given_back_once_and_in_whole_blocks() {
        let mut space = Space::default();
        space.set_limit(Some(40_960));
        space.extend(0, 40_960, false).expect("ten blocks fit");
        assert_eq!((space.punch(4000, 8192), space.punch(4096, 8192)), (4096, 4096));
        assert!(space.has_holes());
        assert_eq!((space.available(40_960), space.punch(0, 0)), (8192, 0));
        space.fill(0, 40_960, 40_960).expect("what was given back is free again");
        assert!(!space.has_holes());
    }

    #[test]
    fn holes_take_space_only_when_they_are_filled() {
        let mut space = Space::default();
        space.set_limit(Some(8192));
        space.extend(0, 40_960, true).expect("holes are free");
        space.fill(4096, 8192, 40_960).expect("two blocks fit");
        assert_eq!(space.fill(0, 1, 40_960).map_err(|error| error.kind()), Err(io::ErrorKind::StorageFull));
        space.fill(5000, 100, 40_960).expect("that block has its space already");
        space.cut(4096);
        assert!(space.has_holes());
        space.cut(0);
        assert!(!space.has_holes());
    }
}
