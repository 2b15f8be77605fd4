//! Numbers and operations drawn from a seed: the same in every process that knows it.

use crate::operation::{End, Operation, Step};

/// A stream of numbers: SplitMix64.
#[derive(Clone, Debug)]
pub struct Draws {
    state: u64,
}

impl Draws {
    /// The stream of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Draws { state: seed }
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is at least 1.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }

    fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }

    /// A byte that no fresh page holds.
    fn fill(&mut self) -> u8 {
        self.byte().max(1)
    }

    fn count(&mut self, limit: u8) -> u8 {
        self.byte() % limit
    }

    /// Any operation but a power cut.
    pub fn operation(&mut self) -> Operation {
        match self.below(22) {
            0..=2 => Operation::Alloc,
            3 => Operation::AllocBulk(self.count(40)),
            4 | 5 => Operation::Free(self.byte()),
            6 => Operation::FreeBulk(self.byte(), self.count(30)),
            7 => Operation::AllocProtected,
            8 => Operation::AllocProtectedBulk(self.count(10)),
            9 => Operation::FreeProtected(self.byte()),
            10 => Operation::FreeProtectedBulk(self.byte(), self.count(8)),
            11..=13 => Operation::WriteProtected(self.byte(), self.fill()),
            14 => Operation::DropProtected(self.byte(), self.fill()),
            15 | 16 => Operation::Store(self.byte(), self.fill()),
            17 => Operation::Sync,
            18 if self.below(4) == 0 => Operation::Drop,
            18 if self.below(3) == 0 => Operation::Reopen,
            _ => {
                let steps = (0..self.below(12)).map(|_| self.step()).collect();
                let end = match self.below(10) {
                    0 => End::Drop,
                    1 => End::Leak,
                    _ => End::Commit,
                };
                Operation::Transaction(steps, end)
            }
        }
    }

    fn step(&mut self) -> Step {
        match self.below(24) {
            0..=2 => Step::Alloc,
            3 => Step::AllocNear(self.byte()),
            4 => Step::AllocBulk(self.count(30)),
            5 | 6 => Step::Free(self.byte()),
            7 | 8 => Step::AllocProtected,
            9 => Step::FreeProtected(self.byte()),
            10..=12 => Step::WriteProtected(self.byte(), self.fill()),
            13 => Step::ZeroProtected(self.byte()),
            14..=16 => Step::Write(self.byte(), self.fill()),
            17 => Step::Header(self.byte()),
            18 => Step::Savepoint,
            19 => Step::Rollback(self.byte()),
            20 | 21 => Step::AllocSubPages(self.count(12)),
            22 => Step::WriteSubPage(self.byte(), self.fill()),
            _ if self.below(4) == 0 => Step::FreeTable,
            _ => Step::FreeSubPages(self.byte(), self.count(12)),
        }
    }
}
