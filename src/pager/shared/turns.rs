//! Who writes: one thread at a time, and what they staged is committed together where several want to.
//!
//! ```text
//!   take() ─▶ turn ─▶ closure, in a part of the open group's stage ─┬─▶ somebody waits for the turn: he goes on with the group
//!                                                                   ├─▶ more are expected: linger, until they come or the time is over
//!                                                                   └─▶ commit for all, tell all
//! ```
//!
//! A thread that is in a barrier has the turn, so the others queue up, and run their closures one after another in one stage when
//! it is over: the last of them commits for all. The first of them does not know that the others, who have just been told of
//! the commit before, are about to come. So a group waits for as many as were in the one before or came while it was being
//! written, but no longer than half of what that took. Where one thread is alone nobody is expected, and nothing waits.
//!
//! A group that is open is somebody's business at any time: of who has the turn, of who waits for it, or of who lingers.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::{Durability, Stage};
use crate::error::{Error, Result};

/// What is staged may take so much memory until it is committed, however many wait.
const MOST_BYTES: u64 = 4 << 20;

/// A group lingers no longer.
const LONGEST: Duration = Duration::from_millis(5);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What became of a group. `Err` is what its commit failed with.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    told: Mutex<Option<Result<()>>>,
    changed: Condvar,
}

impl Outcome {
    fn tell(&self, outcome: Result<()>) {
        lock(&self.told).get_or_insert(outcome);
        self.changed.notify_all();
    }

    fn of(told: &Result<()>) -> Result<()> {
        told.as_ref().copied().map_err(Error::of_the_same_commit)
    }

    pub(super) fn wait(&self) -> Result<()> {
        let mut told = lock(&self.told);
        loop {
            match &*told {
                Some(told) => return Self::of(told),
                None => told = self.changed.wait(told).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    pub(super) fn wait_until(&self, end: Instant) -> Option<Result<()>> {
        let mut told = lock(&self.told);
        loop {
            if let Some(told) = &*told {
                return Some(Self::of(told));
            }
            let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            told = self.changed.wait_timeout(told, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Transactions that are committed together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) stage: Stage,
    /// The strictest that one of them asks for.
    durability: Option<Durability>,
    members: usize,
    /// When it ceases to linger.
    end: Option<Instant>,
    telling: Telling,
}

impl Group {
    pub(super) fn new(stage: Stage) -> Box<Self> {
        Box::new(Group { stage, durability: None, members: 0, end: None, telling: Telling::default() })
    }

    /// Takes a transaction in that has just been staged.
    pub(super) fn join(&mut self) {
        let (strictest, asked) = (self.durability, self.stage.durability());
        self.durability = Some(strictest.map_or(asked, |strictest| strictest.or_stricter(asked)));
        self.members += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members == 0
    }

    /// The stage, to be committed as the strictest asks for, and those who are to be told.
    fn into_parts(mut self: Box<Self>) -> (Stage, Telling) {
        if let Some(durability) = self.durability {
            self.stage.set_durability(durability);
        }
        (self.stage, self.telling)
    }
}

#[derive(Debug, Default)]
struct State {
    taken: bool,
    waiting: usize,
    open: Option<Box<Group>>,
    /// How many are likely to want to be in the next group.
    expected: usize,
    /// How long the last commit took.
    took: Duration,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Turns {
    state: Mutex<State>,
    released: Condvar,
}

/// The right to write, and the group that is open.
#[derive(Debug)]
pub(super) struct Turn<'t> {
    turns: &'t Turns,
    pub(super) group: Option<Box<Group>>,
}

/// What is to be done with a group when a closure has run.
pub(super) enum Next<'t> {
    /// The one who has the turn commits it.
    Commit(Turn<'t>),
    /// It is somebody else's business, and this will say what became of it.
    Wait(Arc<Outcome>),
    /// The same, unless nobody has come until then.
    Linger(Arc<Outcome>, Instant),
}

impl Turns {
    /// Waits for the turn.
    pub(super) fn take(&self) -> Turn<'_> {
        let mut state = lock(&self.state);
        state.waiting += 1;
        while state.taken {
            state = self.released.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        state.taken = true;
        Turn { turns: self, group: state.open.take() }
    }

    /// How many threads wait for their turn.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        lock(&self.state).waiting
    }

    /// Takes the turn if the group is still open, and nobody has it.
    pub(super) fn take_over(&self, outcome: &Arc<Outcome>) -> Option<Turn<'_>> {
        let mut state = lock(&self.state);
        let is_open = state.open.as_ref().is_some_and(|group| Arc::ptr_eq(&group.telling.0, outcome));
        if state.taken || !is_open {
            return None;
        }
        state.taken = true;
        Some(Turn { turns: self, group: state.open.take() })
    }
}

impl<'t> Turn<'t> {
    /// The closure has run, and is in the group or not. A group of others is not left behind: whoever is not in it does not
    /// linger.
    pub(super) fn pass(mut self, joined: bool) -> Next<'t> {
        let turns = self.turns;
        let mut state = lock(&turns.state);
        let mut group = self.group.take().expect("a closure ran in a group");
        let is_full = group.stage.staged_bytes() >= MOST_BYTES;
        // Who lingers already does so for all who come, until that time: setting a clock for each of them takes longer than
        // staging what they change.
        let is_late = group.end.is_some_and(|end| Instant::now() >= end);
        let lingers = joined && group.members < state.expected && !is_late;
        if is_full || (state.waiting == 0 && !lingers) {
            self.group = Some(group);
            drop(state);
            return Next::Commit(self);
        }
        let outcome = Arc::clone(&group.telling.0);
        let next = if state.waiting > 0 || group.end.is_some() {
            Next::Wait(outcome)
        } else {
            let end = Instant::now() + (state.took / 2).min(LONGEST);
            group.end = Some(end);
            Next::Linger(outcome, end)
        };
        state.open = Some(group);
        drop(state);
        next
    }

    /// Commits the group, if there is one, and tells all who are in it. The turn stays.
    pub(super) fn commit(&mut self, commit: impl FnOnce(Stage) -> Result<()>) -> Result<()> {
        let Some(group) = self.group.take() else { return Ok(()) };
        let (members, began) = (group.members, Instant::now());
        let (stage, telling) = group.into_parts();
        let done = commit(stage);
        let mut state = lock(&self.turns.state);
        state.took = began.elapsed();
        state.expected = members + state.waiting;
        drop(state);
        let own = Outcome::of(&done);
        telling.0.tell(done);
        own
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.turns.state).taken = false;
        self.turns.released.notify_one();
    }
}

/// Tells the members of a group that it failed if nothing else was told, so that a panic of the crate's own leaves nobody waiting.
#[derive(Debug, Default)]
struct Telling(Arc<Outcome>);

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.tell(Err(Error::Poisoned));
    }
}
