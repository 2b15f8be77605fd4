//! What opening a file had to do, or would have had to.

use crate::block::Block;
use crate::ids::Generation;

/// What opening a file found and did: never silent, and empty after an orderly close.
///
/// Of a [`ReadOnlyPager`](crate::ReadOnlyPager) it says what opening for writing would do; in the file nothing is done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// The generation that the file is at.
    pub generation: Generation,
    /// No commit slot named the generation: it was torn, lost, or not written yet. Everything that the commit wrote was found,
    /// written again, and named by a new slot. Where a generation was passed over as well, protected pages that commits since
    /// have turned over are errors on touch.
    pub adopted: bool,
    /// The identity block was lost and written again from the metadata.
    pub identity_rebuilt: bool,
    /// Slots and metadata copies that held an unfinished commit, or nothing that can be read, and hold a void record now.
    pub voided: Vec<Block>,
    /// A newer generation that was damaged and passed over because the options asked for the older state. Where no slot is left
    /// to say how many there were, the first of those that may have been.
    pub passed_over: Option<Generation>,
    /// Bytes by which the file was longer than its metadata says; they are cut off before the file grows.
    pub tail_bytes: u64,
    /// Whether the verdict is behind a barrier. A [`ReadOnlyPager`](crate::ReadOnlyPager) writes nothing, so of its verdict
    /// this is `false`, whatever was found: what it shows may be what the cache of the operating system holds and the disk
    /// lacks, as after a failed sync, and a power cut can leave the file at another generation.
    pub durable: bool,
}

impl Recovery {
    pub(super) fn nothing(generation: u64) -> Self {
        Recovery {
            generation: Generation::new(generation),
            adopted: false,
            identity_rebuilt: false,
            voided: Vec::new(),
            passed_over: None,
            tail_bytes: 0,
            durable: true,
        }
    }

    /// Whether nothing had to be done, as after an orderly close, be it [durable](Self::durable) or not.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Recovery { durable: self.durable, ..Recovery::nothing(self.generation.to_u64()) }
    }
}
