//! Commits that do not become durable at once, and making them durable.
//!
//! ```text
//!   commit that waits   zeros into recycled pages │ copies, fresh regular pages │ overwrites │      live = staged
//! ```
//!
//! Neither slot nor metadata, leaf, node or barrier. Everything goes where the [durable state](super::group) has nothing, but for
//! overwrites, which may come early, since they are ordered and not atomic. So a crash leaves the durable state. The regular pages
//! count as stores that wait for a barrier.

use crate::error::Result;

use super::group::may_wait;
use super::options::Durability;
use super::planted::{Mistake, is_planted};
use super::stage::{Owned, Stage};
use super::state::State;
use super::writes::{Copies, RegularPages};
use super::{Engine, Holder};

impl Engine {
    /// What a transaction begins with.
    pub(super) fn base(&self) -> &State {
        self.group.as_ref().map_or(&self.live, |group| &group.base)
    }

    fn waiting(&self) -> impl Iterator<Item = &Owned> + Clone {
        self.group.iter().flat_map(|group| group.waiting.iter())
    }

    /// How a stage becomes durable: as it says, or at once if what waits then would be too much.
    pub(super) fn durability_of(&self, stage: &Stage) -> Durability {
        let freed = stage.freed().iter().filter(|owned| owned.is_in(self.durable()));
        let would_wait = self.waiting().chain(freed);
        match stage.durability() {
            Durability::None if !may_wait(would_wait, stage.state()) => self.options.durability.now(),
            chosen => chosen,
        }
    }

    /// Makes free what a stage frees and what waits, for the readers of its state.
    pub(super) fn release(&self, state: &mut State, freed: &[Owned]) {
        self.waiting().chain(freed).for_each(|owned| owned.release_from(state));
    }
}

impl dyn Holder + '_ {
    /// Writes what a commit that waits changes. After an error nothing has changed, unless the pager is poisoned.
    pub(super) fn write_waiting(
        &mut self,
        state: &State,
        copies: &Copies<'_>,
        regular: &RegularPages<'_>,
    ) -> Result<()> {
        self.engine().write_sorted(copies.writes.iter().map(|copy| (copy.page, copy.bytes)))?;
        self.write_pages(regular)?;
        let engine = self.engine();
        if is_planted(Mistake::WaitingCommitWritesASlot)
            && let Some(rows) = engine.root.rows(engine.durable(), state)
        {
            engine.write_slot(&engine.small_slot(state, rows, regular))?;
        }
        Ok(())
    }

    /// Makes the commits that wait durable, by a commit that changes nothing else.
    pub(super) fn commit_group(&mut self, durability: Durability) -> Result<()> {
        let mut stage = self.engine().stage()?;
        stage.set_durability(durability.now());
        self.commit(stage)
    }
}
