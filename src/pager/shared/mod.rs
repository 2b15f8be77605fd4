//! A pager that many threads read and change.
//!
//! ```text
//!   read() ───────────▶ ReadGuard ──derefs to──▶ PageReader            any number, also while a commit is written and synced
//!   transact(closure) ─▶ turns ─▶ a part of a stage ─▶ one commit for all who wait ─▶ turned over when no guard is left
//! ```
//!
//!  guard.rs   what readers hold
//!  turns.rs   who writes, and which transactions are committed together
//!
//! The lock beneath is in `pager/lock.rs`, what a thread may not wait for in `pager/reentry.rs`.

mod guard;
mod turns;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use static_assertions::{assert_impl_all, assert_not_impl_any};

use crate::error::{Error, Result};

pub use guard::ReadGuard;

use super::held::Held;
use super::lock::Lock;
use super::reentry::{Writes, Writing, check_no_guard};
use super::{Pager, Transaction};
use turns::{Group, Next, Turn, Turns};

/// A [`Pager`] that threads share. A clone is another handle of the same pager.
///
/// Any number of threads [read](Self::read) at a time, in place and without copies, and go on while a commit is written and
/// synced: only turning over, at its end, waits until no guard is left and keeps new ones out meanwhile. So does growth,
/// and whatever would change what a guard shows.
///
/// ```
/// use std::thread;
///
/// use diptych::{Pager, SharedPager};
///
/// # let directory = tempfile::tempdir()?;
/// let pager = SharedPager::new(Pager::<4096>::create(directory.path().join("index.db"))?);
/// let writers: Vec<_> = (0..4u8)
///     .map(|number| {
///         let pager = pager.clone();
///         thread::spawn(move || {
///             pager.transact(|transaction| {
///                 let id = transaction.alloc_protected()?;
///                 transaction.protected_mut(id)?.fill(number);
///                 Ok::<_, diptych::Error>(id)
///             })
///         })
///     })
///     .collect();
/// for (number, writer) in (0..4u8).zip(writers) {
///     let id = writer.join().expect("it does not panic")?;
///     assert_eq!(pager.read().protected(id)?[0], number);
/// }
/// let pager = pager.into_pager().expect("no other handle is left");
/// pager.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What a thread may not wait for
///
/// Itself: where a thread that holds a guard, or is in a transaction, calls something that waits until nobody is, that is
/// [`Error::Reentered`]. A thread that holds a guard may take further ones. Guards are to be short-lived: while one is held, no
/// commit ends, and threads that wait for each other otherwise are not noticed.
pub struct SharedPager<const P: usize> {
    /// Before `turns`: when those have one owner, so has this.
    lock: Arc<Lock<P>>,
    turns: Arc<Turns>,
}

assert_impl_all!(SharedPager<4096>: Send, Sync);
assert_impl_all!(ReadGuard<'static, 4096>: Sync);
assert_not_impl_any!(ReadGuard<'static, 4096>: Send);

impl<const P: usize> Clone for SharedPager<P> {
    fn clone(&self) -> Self {
        SharedPager { lock: Arc::clone(&self.lock), turns: Arc::clone(&self.turns) }
    }
}

impl<const P: usize> SharedPager<P> {
    /// Shares a pager.
    #[must_use]
    pub fn new(pager: Pager<P>) -> Self {
        SharedPager { lock: Arc::new(Lock::new(pager)), turns: Arc::default() }
    }

    /// The pager itself, to be closed for one, if this is the only handle.
    ///
    /// # Errors
    ///
    /// This handle, where there are others.
    pub fn into_pager(self) -> Result<Pager<P>, Self> {
        let SharedPager { lock, turns } = self;
        match Arc::try_unwrap(turns) {
            Ok(_) => Ok(Arc::into_inner(lock).and_then(Lock::into_inner).expect("only handles own the pager")),
            Err(turns) => Err(SharedPager { lock, turns }),
        }
    }

    /// A guard, through which the thread reads. It waits only while somebody turns over, grows the file, or has the pager
    /// [alone](Self::exclusive).
    ///
    /// Inside of [`transact`](Self::transact) it shows the state before the transaction.
    ///
    /// # Panics
    ///
    /// Inside of [`exclusive`](Self::exclusive), on the thread that is in it.
    #[inline]
    pub fn read(&self) -> ReadGuard<'_, P> {
        ReadGuard::new(&self.lock)
    }

    /// Runs `change` in a transaction and commits it if that returns `Ok`. If it returns an error, or panics, nothing of it
    /// happens.
    ///
    /// When this returns `Ok`, what was changed is as durable as the transaction [asks for](Transaction::set_durability).
    /// Transactions of threads that wait for their turn meanwhile are committed together, with as many barriers as one of them, or
    /// not at all; the strictest durability among them is that of all. So each of them sees what those before it have staged,
    /// which readers do not see yet, and a page that one of them allocated is a fresh one to the next. Where several threads
    /// commit all the time, one may wait for others up to half as long as the last commit took.
    ///
    /// ```
    /// # use diptych::{Error, PagerOptions, SharedPager, SimDisk};
    /// # let pager = SharedPager::new(PagerOptions::new().create_on::<1024>(&SimDisk::new())?);
    /// let id = pager.transact(|transaction| transaction.alloc())?;
    /// let failed = pager.transact(|transaction| {
    ///     transaction.free(id)?;
    ///     transaction.alloc_bulk(usize::MAX).map(drop)
    /// });
    /// assert!(failed.is_err() && pager.read().is_allocated(id));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What `change` returns; [`Error::Reentered`] when the thread holds a guard of this pager, or is in a transaction of it
    /// already, and when it comes out of `change` with a guard: nothing happens then. Those of [`Transaction::commit`], which
    /// all whose transactions are committed together get.
    pub fn transact<T, E: From<Error>>(
        &self,
        change: impl FnOnce(&mut Transaction<'_, P>) -> Result<T, E>,
    ) -> Result<T, E> {
        let _writing = Writing::begin(self.lock.id(), Writes::Transacts, "transact")?;
        let mut turn = self.turns.take();
        let held = Held::shared(&self.lock);
        let durability = held.get().default_durability();
        let mut group = match turn.group.take() {
            Some(group) => group,
            None => Group::new(held.get().stage()?),
        };
        let begun = group.stage.begin_part(durability);
        let mut transaction = Transaction::part(held, group.stage);
        let ran = catch_unwind(AssertUnwindSafe(|| change(&mut transaction)));
        let (held, stage) = transaction.into_part();
        drop(held);
        group.stage = stage;
        let ran = ran.map(|ran| ran.and_then(|done| Ok(check_no_guard(self.lock.id(), "commit").map(|()| done)?)));
        let joined = matches!(ran, Ok(Ok(_)));
        if joined {
            group.stage.keep_part();
            group.join();
        } else {
            group.stage.take_back_part(begun);
        }
        let committed = if group.is_empty() {
            Ok(())
        } else {
            turn.group = Some(group);
            self.settle(turn.pass(joined), joined)
        };
        match ran {
            Ok(Ok(done)) => Ok(committed.map(|()| done)?),
            Ok(Err(error)) => Err(error),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Sees to it that a group is committed. Whoever is in it waits for that.
    fn settle(&self, next: Next<'_>, joined: bool) -> Result<()> {
        match next {
            Next::Commit(mut turn) => self.commit(&mut turn),
            Next::Wait(outcome) if joined => outcome.wait(),
            Next::Wait(_) => Ok(()),
            Next::Linger(outcome, end) => match outcome.wait_until(end) {
                Some(told) => told,
                None => match self.turns.take_over(&outcome) {
                    Some(mut turn) => self.commit(&mut turn),
                    None => outcome.wait(),
                },
            },
        }
    }

    fn commit(&self, turn: &mut Turn<'_>) -> Result<()> {
        turn.commit(|stage| Held::shared(&self.lock).holder().commit(stage))
    }

    /// Runs `act` with the pager, while no other thread reads or changes it: for [`Pager::compact`], [`Pager::shrink`],
    /// [`Pager::page_mut`] and all else that asks for it.
    ///
    /// ```
    /// # use diptych::{Error, PagerOptions, SharedPager, SimDisk};
    /// # let pager = SharedPager::new(PagerOptions::new().create_on::<1024>(&SimDisk::new())?);
    /// let ids = pager.transact(|transaction| transaction.alloc_bulk(100))?;
    /// pager.transact(|transaction| transaction.free_bulk(&ids[1..]))?;
    /// let gone = pager.exclusive(|pager| pager.shrink())??;
    /// assert!(gone > 0);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Reentered`] when the thread holds a guard of this pager, or is in a transaction of it.
    pub fn exclusive<T>(&self, act: impl FnOnce(&mut Pager<P>) -> T) -> Result<T> {
        let _writing = Writing::begin(self.lock.id(), Writes::Alone, "have the pager alone")?;
        let mut turn = self.turns.take();
        // Its members are told; if it failed, the pager shows as much.
        let _ = self.commit(&mut turn);
        Ok(self.lock.alone(act))
    }

    /// Makes durable what was stored to regular pages, and the commits that [wait](crate::Durability::None), as
    /// [`Pager::sync`] does. Others read meanwhile.
    ///
    /// # Errors
    ///
    /// Those of [`Pager::sync`]; [`Error::Reentered`] when the thread holds a guard of this pager, or is in a transaction of it.
    pub fn sync(&self) -> Result<()> {
        let _writing = Writing::begin(self.lock.id(), Writes::Transacts, "sync")?;
        let mut turn = self.turns.take();
        let _ = self.commit(&mut turn);
        Held::shared(&self.lock).holder().sync()
    }
}

impl<const P: usize> fmt::Debug for SharedPager<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPager").field("page_size", &P).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
