//! The name of a state that a power cut may leave.

use super::image::{BLOCK_LEN, SECTOR_LEN};

/// What the disk writes at once, unless power fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TornUnit {
    /// A sector of 512 bytes.
    #[default]
    Sector,
    /// A block of 4096 bytes, as disks with large sectors have it.
    Block,
    /// The same disk under pages smaller than its sectors, of which it promises nothing: a block of 4096 bytes in the
    /// reserved region, and wherever every write since the last barrier covers all of it, as each one of a free-map leaf
    /// and of a table node does; else a sector of 512.
    BlockOrSector,
}

impl TornUnit {
    /// Bytes in the unit, in the larger one where there are two.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a unit has bytes")]
    pub const fn len(self) -> usize {
        match self {
            TornUnit::Sector => SECTOR_LEN,
            TornUnit::Block | TornUnit::BlockOrSector => BLOCK_LEN,
        }
    }
}

/// Which of the writes of an epoch arrived.
///
/// Units that may differ from the base are counted from 0, in the order in which they lie on the disk. Version 0 of a
/// unit is what the base holds; the others follow in the order in which they were first written. Most units have two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subset {
    /// The version of each unit is a digit of this number, that of unit 0 the lowest; the base of a digit is how many
    /// versions its unit has. With two versions each, it is a bit mask.
    Exact(u64),
    /// The first so many writes, in their order, and none of the others.
    Prefix(usize),
    /// The newest of all, but for one unit.
    AllBut {
        /// The unit.
        unit: usize,
        /// What it holds instead.
        version: usize,
    },
    /// One unit alone; of the others the base.
    Only {
        /// The unit.
        unit: usize,
        /// What it holds.
        version: usize,
    },
    /// Page by page the newest or the base.
    Pages {
        /// Bytes in a page.
        page_size: u64,
        /// A bit for each page in which units lie, the first the lowest: whether it arrived.
        mask: u64,
    },
    /// Drawn with locality in space or in time.
    Sample(u64),
}

/// What became of one unit that was in flight, beside arriving or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Damage {
    /// The unit holds the first bytes of one version and the others of another.
    Torn {
        /// The unit, counted as in [`Subset`].
        unit: usize,
        /// The version of the bytes behind the tear.
        old: usize,
        /// The version of the bytes before the tear.
        new: usize,
        /// How many bytes are new.
        at: usize,
    },
    /// The unit holds bytes that nobody wrote.
    Junk {
        /// The unit, counted as in [`Subset`].
        unit: usize,
        /// Draws the bytes.
        seed: u64,
    },
    /// The unit cannot be read.
    Unreadable {
        /// The unit, counted as in [`Subset`].
        unit: usize,
    },
}

impl Damage {
    /// The unit that is damaged.
    #[must_use]
    pub const fn unit(self) -> usize {
        match self {
            Damage::Torn { unit, .. } | Damage::Junk { unit, .. } | Damage::Unreadable { unit } => unit,
        }
    }
}

/// What the space holds by which the file grew in the epoch, where no write arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Tail {
    /// Zeros.
    #[default]
    Zeros,
    /// Bytes that nobody wrote.
    Junk,
}

/// The name of a state that a power cut may leave.
///
/// Its [`Debug`] form is the expression that makes it again: a failing test prints the point, and the run that made the
/// same calls finds the state with [`SimDisk::crash_state`](super::SimDisk::crash_state).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CrashPoint {
    /// The index of the epoch that was cut off.
    pub epoch: usize,
    /// What the disk writes at once.
    pub torn_unit: TornUnit,
    /// Which writes arrived.
    pub subset: Subset,
    /// The length of the file in bytes.
    pub length: u64,
    /// What new space holds.
    pub tail: Tail,
    /// What became of one unit in flight.
    pub damage: Option<Damage>,
}
