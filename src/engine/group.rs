//! The commits that wait for the next durable one.
//!
//! ```text
//!   slot ──says──▶ durable ──None──▶ live ──None──▶ live ══any other, sync, close══▶ live = durable
//!   generation        g              g + 1          g + 1                              g + 1
//! ```
//!
//! A commit with [`Durability::None`](super::Durability::None) makes a state live that no slot says. Those that follow one
//! another are a *group*: the next durable commit takes all of them along as if they had been part of it. They share its
//! generation, so what recovery proves of that commit it proves of them, and before it they are nothing.
//!
//! What they write is written at once, where the durable state has nothing. I1: a protected page turns over once in a group and
//! is rewritten from then on; turned over twice it would be where the durable state has it. I2: what they free and the durable
//! state owns waits: readers see it as free, and nobody gets it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::planted::{Mistake, is_planted};
use super::stage::Owned;
use super::state::State;

/// Names that may wait: the state that readers see is made anew, without them, by every commit of a group.
const MOST_WAITING: usize = 1024;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Group {
    /// What the slot says.
    pub(super) durable: State,
    /// The live state, but with what waits still in use: what the next transaction begins with.
    pub(super) base: State,
    /// What was freed and belongs to the durable state.
    pub(super) waiting: Arc<BTreeSet<Owned>>,
    /// Copies of protected pages that were written, those that were rewritten counted once.
    pub(super) copies: usize,
}

impl Group {
    /// A group of no commits on top of this state.
    pub(super) fn on(durable: &State) -> Self {
        Group { durable: durable.clone(), base: durable.clone(), waiting: Arc::default(), copies: 0 }
    }

    /// Takes in a commit that makes `state` of the base, wrote so many copies, and frees this.
    pub(super) fn push(&mut self, state: State, freed: Vec<Owned>, copies: usize) {
        self.base = state;
        self.copies += copies;
        for owned in freed {
            if owned.is_in(&self.durable) && !is_planted(Mistake::WaitingPagesHandedOut) {
                Arc::make_mut(&mut self.waiting).insert(owned);
            } else {
                owned.release_from(&mut self.base);
            }
        }
    }
}

/// Whether so much may wait: not too much, and no more pages than there are free ones to be handed out instead.
pub(super) fn may_wait<'o>(waiting: impl Iterator<Item = &'o Owned> + Clone, state: &State) -> bool {
    let pages = waiting.clone().map(|owned| owned.pages(state));
    waiting.take(MOST_WAITING + 1).count() <= MOST_WAITING && pages.sum::<u64>() <= state.free_pages()
}
