//! How a call that changes something reaches the engine, while others may read.
//!
//! ```text
//!   engine()      live state, views │ writes to what nobody can view │ barriers        beside readers
//!   alone(act)    growth │ what is overwritten where it is │ turning over             no reader
//! ```
//!
//! A commit, and an operation of a transaction, is told a holder and not the engine. Of a pager that one thread has to itself the
//! engine is its own holder, and both are a borrow. Of one that is shared, `alone` waits until no reader is left, and keeps
//! new ones out. There is at most one holder at a time that changes something.

use super::{Engine, Result, Unsynced};
use crate::storage::Barrier;

/// See the head of this file.
pub(crate) trait Holder {
    /// The engine, which others may be reading.
    fn engine(&self) -> &Engine;

    /// Whether [`alone`](Self::alone) can be had: not where the caller himself is a reader. Asked by what is not a commit; no commit
    /// begins where he is.
    fn check_alone(&self) -> Result<()>;

    /// Runs `act` while nobody else has the engine. What [`engine`](Self::engine) lent before has been given back.
    fn alone(&mut self, act: &mut dyn FnMut(&mut Engine));
}

impl Holder for Engine {
    fn check_alone(&self) -> Result<()> {
        Ok(())
    }

    fn engine(&self) -> &Engine {
        self
    }

    fn alone(&mut self, act: &mut dyn FnMut(&mut Engine)) {
        act(self);
    }
}

impl dyn Holder + '_ {
    /// [`alone`](Holder::alone), for what returns something.
    pub(super) fn with_alone<T>(&mut self, act: impl FnOnce(&mut Engine) -> T) -> T {
        let (mut act, mut done) = (Some(act), None);
        self.alone(&mut |engine| done = act.take().map(|act| act(engine)));
        done.expect("a holder runs what it is told to, once")
    }

    /// Makes durable what was stored through the region, and the commits that wait.
    pub(crate) fn sync(&mut self) -> Result<()> {
        let engine = self.engine();
        engine.check_usable()?;
        if engine.group.is_some() {
            let durability = engine.options.durability;
            return self.commit_group(durability);
        }
        let unsynced = *engine.unsynced();
        if unsynced == Unsynced::Nothing {
            Ok(())
        } else {
            self.under_way(|holder| holder.engine().barrier(Barrier::Bytes))
        }
    }

    /// Runs what may fail, and tells readers that it goes on.
    pub(super) fn under_way<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        use std::sync::atomic::Ordering::SeqCst;
        self.engine().under_way.store(true, SeqCst);
        let done = act(self);
        self.engine().under_way.store(false, SeqCst);
        done
    }
}
