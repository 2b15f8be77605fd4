//! Cutting off the free pages at the end of the file.
//!
//! ```text
//!   seal at the smaller total, twice │ cut │ sync of the length
//! ```
//!
//! Until both slots and both copies of the metadata name no page behind the cut, recovery may still choose one that does. So
//! the smaller total is committed and sealed twice before the file is cut. A crash before the cut leaves a file that is longer
//! than its metadata says, which is normal.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::storage::Barrier;

use super::commit::Written;
use super::options::Durability;
use super::planted::{Mistake, is_planted};
use super::state::State;
use super::writes::RegularPages;
use super::{Engine, Holder, Unsynced};

impl Engine {
    /// Where a file without the free pages at its end would end. A file has no fewer pages than its last protected page has
    /// predecessors, freed ones included: no file names more than it has pages, and whoever opens one relies on it. Nor does it name
    /// leaves of pages that it has not.
    pub(crate) fn end_of_use(&self) -> u64 {
        let content = self.live.free_map.end_of_use().max(self.geometry.first_page());
        content.max(self.live.directory_end()).max(self.live.leaves_begun())
    }

    /// Gives the free pages at the end back to the filesystem. Returns how many.
    pub(crate) fn shrink(&mut self) -> Result<u64> {
        self.check_usable()?;
        if self.group.is_some() {
            <dyn Holder>::commit_group(self, Durability::TwoBarriers)?;
        }
        let (before, end) = (self.physical_pages, self.end_of_use());
        if end == before && !self.has_tail {
            return Ok(0);
        }
        if end < self.live.total_pages {
            self.seal_at(end)?;
            if !is_planted(Mistake::CutAfterOneCommit) {
                self.seal_at(end)?;
            }
        }
        self.cut_tail()?;
        self.zero_pages().cut(end);
        self.barrier(Barrier::Length)?;
        Ok(before - end)
    }

    /// A commit of two barriers that changes nothing but the number of pages.
    pub(super) fn seal_at(&mut self, total_pages: u64) -> Result<()> {
        let mut state = State::clone(&self.live);
        state.total_pages = total_pages;
        self.seal_as(state)
    }

    /// A commit of two barriers of a state that has the pages of the live one.
    pub(super) fn seal_as(&mut self, mut state: State) -> Result<()> {
        state.generation = self.next_generation()?;
        let root = <dyn Holder>::checkpoint(self, &mut state, &[], &RegularPages::default(), false)?;
        self.turn_over(state, Written::Root(Box::new(root)), &BTreeMap::new());
        *self.unsynced() = Unsynced::Nothing;
        Ok(())
    }
}
