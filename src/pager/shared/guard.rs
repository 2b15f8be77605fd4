//! A look at a shared pager.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, RwLockReadGuard};

use super::super::lock::Lock;
use super::super::{PageReader, Pager, reentry};

/// What a thread reads of a [`SharedPager`](super::SharedPager): made by [`read`](super::SharedPager::read).
///
/// It derefs to [`PageReader`], and shows one state as long as it lives: nothing that can be read changes meanwhile. Commits
/// of other threads are written beside it, and wait at their end until it is dropped. It belongs to its thread. A commit that
/// [overwrites](crate::Transaction::overwrite) a regular page, or an extent, where it lies does that between guards, and becomes
/// the state at its end: a guard that is taken in between shows the page as it will be, and all else as it was.
#[must_use = "a guard that is dropped shows nothing"]
pub struct ReadGuard<'s, const P: usize> {
    /// Before `leaves`: who waits for this guard is told when it is gone.
    pager: RwLockReadGuard<'s, Arc<Pager<P>>>,
    leaves: Leaves<'s, P>,
}

struct Leaves<'s, const P: usize>(&'s Lock<P>);

impl<const P: usize> Drop for Leaves<'_, P> {
    #[inline]
    fn drop(&mut self) {
        reentry::leave(self.0.id());
        self.0.leave();
    }
}

impl<'s, const P: usize> ReadGuard<'s, P> {
    #[inline]
    pub(super) fn new(lock: &'s Lock<P>) -> Self {
        let already = reentry::enter(lock.id());
        ReadGuard { pager: lock.enter(already), leaves: Leaves(lock) }
    }
}

impl<const P: usize> Deref for ReadGuard<'_, P> {
    type Target = PageReader<P>;

    #[inline]
    fn deref(&self) -> &PageReader<P> {
        &self.pager.reader
    }
}

impl<const P: usize> fmt::Debug for ReadGuard<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Leaves(_) = &self.leaves;
        f.debug_tuple("ReadGuard").field(&**self).finish()
    }
}
