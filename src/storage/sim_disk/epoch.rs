//! What is written between two barriers, of which a power cut leaves any part.

use std::collections::BTreeSet;
use std::ops::Range;

use super::image::{Sector, SimImage};

/// How an epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EpochEnd {
    /// It has not: this is the epoch that is going on.
    Open,
    /// With a successful barrier: what it wrote is durable.
    Synced,
    /// With a failed barrier: what it wrote may be on disk or not, until it is written again.
    Failed,
}

/// A new value of one sector.
#[derive(Clone, Debug)]
pub(super) struct SectorWrite {
    /// Writes of one call, and stores found by one comparison, share a number. Numbers grow over the disk's life.
    pub(super) sequence: u64,
    pub(super) sector: u64,
    /// The whole sector as it is then, zeros past the end of the file.
    pub(super) bytes: Sector,
}

/// The writes between two barriers, and what they were made on.
///
/// An epoch is what a power cut hits: until the barrier at its end has returned, any of its sectors may be on disk and
/// any may not. [`SimDisk::crash_states`](super::SimDisk::crash_states) enumerates what may be left.
#[derive(Clone, Debug)]
pub struct Epoch {
    pub(super) index: usize,
    pub(super) end: EpochEnd,
    /// The disk at the last successful barrier.
    pub(super) base: SimImage,
    /// Writes of earlier epochs that ended with a failed barrier, of sectors not written since: for ever uncertain.
    pub(super) carried: Vec<SectorWrite>,
    /// The writes of this epoch, in their order.
    pub(super) writes: Vec<SectorWrite>,
    /// Blocks of which some of these writes, or of the carried ones, covers only a part.
    pub(super) parted: BTreeSet<u64>,
    /// Lengths that the file may have: the durable one first, the newest last.
    pub(super) lengths: Vec<u64>,
    pub(super) calls: Range<u64>,
}

impl Epoch {
    pub(super) fn first(base: SimImage) -> Self {
        let lengths = vec![base.len()];
        Epoch {
            index: 0,
            end: EpochEnd::Open,
            base,
            carried: Vec::new(),
            writes: Vec::new(),
            parted: BTreeSet::new(),
            lengths,
            calls: 0..0,
        }
    }

    /// Its number: 0 is the first of the disk's life, and every barrier, failed or not, begins another.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// How it ended.
    #[must_use]
    pub fn end(&self) -> EpochEnd {
        self.end
    }

    /// The numbers of the calls made in it, as [`SimDisk::log`](super::SimDisk::log) gives them; the barrier that ended
    /// it is the last.
    #[must_use]
    pub fn calls(&self) -> Range<u64> {
        self.calls.clone()
    }

    /// What was certain when it began: the state at the last successful barrier.
    #[must_use]
    pub fn base(&self) -> SimImage {
        self.base.clone()
    }

    /// The sectors that may differ from the base, in ascending order: those written in this epoch with other bytes, and
    /// those that a failed barrier left uncertain and nobody wrote since.
    #[must_use]
    pub fn dirty_sectors(&self) -> Vec<u64> {
        let writes = self.carried.iter().chain(&self.writes);
        let differing = writes
            .filter(|write| self.base.is_unreadable(write.sector) || *self.base.sector(write.sector) != write.bytes);
        differing.map(|write| write.sector).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The lengths in bytes that the file had: the durable one first, the newest last.
    #[must_use]
    pub fn lengths(&self) -> &[u64] {
        &self.lengths
    }

    /// What a power cut leaves if of every dirty sector the newest bytes arrived where `keep` says so, else none. The
    /// file has its newest length.
    #[must_use]
    pub fn crash(&self, mut keep: impl FnMut(u64) -> bool) -> SimImage {
        let mut image = self.base.clone();
        image.set_len(*self.lengths.last().expect("a file has a length"));
        let kept: BTreeSet<u64> = self.dirty_sectors().into_iter().filter(|&sector| keep(sector)).collect();
        for write in self.carried.iter().chain(&self.writes).filter(|write| kept.contains(&write.sector)) {
            image.write_sector(write.sector, &write.bytes);
        }
        image
    }
}
