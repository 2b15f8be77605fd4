//! Giving the space of free pages back, where they lie: the file stays as long as it is and gets holes.
//!
//! ```text
//!   seal as a file that may have holes, twice │ punch │ sync
//! ```
//!
//! Until both slots and both copies of the metadata name the same pages, recovery may still choose a state that has some of those
//! that are free now. So the live state is committed and sealed twice before the first page is punched (I1), as before the file
//! [is cut](super::shrink). What commits that wait have freed is the durable state's, so they become durable first (I2).
//!
//! The metadata says from then on that there may be holes, and whoever has the file open allocates space before a page is handed
//! out: a store through the map into a hole on a full disk would be a SIGBUS. The number of blocks that the file occupies does
//! not tell, for the filesystem's own blocks can hide a hole.

use crate::error::Result;
use crate::storage::Barrier;

use super::options::Durability;
use super::planted::{Mistake, is_planted};
use super::runs::Runs;
use super::state::State;
use super::{Engine, Holder};

impl Engine {
    /// Gives the space of free pages back to the filesystem. Returns how many bytes less the file occupies, `None` where that
    /// cannot be done.
    pub(crate) fn punch_holes(&mut self) -> Result<Option<u64>> {
        self.check_usable()?;
        if !self.storage.can_punch().map_err(|source| self.io_error("punch", source))? {
            return Ok(None);
        }
        if self.group.is_some() && !is_planted(Mistake::PunchedWhileCommitsWait) {
            <dyn Holder>::commit_group(self, Durability::TwoBarriers)?;
        }
        let free = self.free_blocks();
        if free.is_empty() {
            return Ok(Some(0));
        }
        if !is_planted(Mistake::PunchedUnsealed) && self.group.is_none() {
            for _ in 0..2 {
                self.seal_as(State { may_have_holes: true, ..State::clone(&self.live) })?;
            }
        }
        self.may_have_holes = true;
        let mut given_back = 0;
        for run in free {
            let (offset, end) = (self.geometry.offset(run.start), self.geometry.offset(run.end));
            let punched = self.storage.punch(&mut self.region, offset, end - offset);
            given_back += punched.map_err(|source| self.io_error("punch", source))?;
            self.zero_pages().insert(run);
        }
        self.barrier(Barrier::Length)?;
        Ok(Some(given_back))
    }

    /// The free pages of the live state, as far as they are whole blocks: a block that a free page shares with one in use keeps
    /// its space, and is not written.
    fn free_blocks(&self) -> Runs {
        let len = self.geometry.pages_per_block();
        let mut blocks = Runs::default();
        self.live.free_map.visit_free_runs(self.geometry.first_page()..self.live.total_pages, |run| {
            let (start, end) = (run.start.next_multiple_of(len), run.end / len * len);
            if start < end {
                blocks.push(start, end - start);
            }
        });
        blocks
    }
}
