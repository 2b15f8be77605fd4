//! A change of a map in the making: kept when the transaction is committed, taken back when it is not.

use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};

use super::map::SubPageMap;
use super::parents::Mark;

/// What a map does in a transaction: made by [`SubPageMap::change`]. It derefs to the map.
///
/// Dropped, it takes back all that was done through it, as a [`Transaction`](crate::Transaction) does that is dropped;
/// [`keep`](Self::keep) keeps it. So both end together, whichever call failed.
///
/// ```
/// use diptych::{PagerOptions, SimDisk, SubPageMap};
///
/// # let mut pager = PagerOptions::new().create_on::<4096>(&SimDisk::new())?;
/// let mut nodes = SubPageMap::<4096, 256>::new();
///
/// let mut transaction = pager.transaction()?;
/// let mut change = nodes.change();
/// let id = change.alloc(&mut transaction)?;
/// change.overwrite(&mut transaction, id)?.fill(1);
/// transaction.set_header(&id.to_u64().to_le_bytes())?;
/// transaction.commit()?;
/// change.keep();
/// assert_eq!(nodes.page(&pager, id)?[255], 1);
///
/// let mut transaction = pager.transaction()?;
/// let mut change = nodes.change();
/// change.free(&mut transaction, id)?;
/// drop((transaction, change));
/// assert!(nodes.is_allocated(id) && pager.allocated_page_count() == 1);
/// # Ok::<(), diptych::Error>(())
/// ```
///
/// A change of a change goes with a [`Savepoint`](crate::Savepoint): dropped when the transaction is rolled back to it, kept
/// otherwise.
///
/// While one is open, each operation is noted in some bytes of memory. Leaked with [`mem::forget`], it keeps what was done, and
/// the map goes on noting.
#[must_use = "a change that is not kept is taken back"]
pub struct SubPageChange<'m, const P: usize, const S: usize> {
    map: &'m mut SubPageMap<P, S>,
    mark: Mark,
}

impl<const P: usize, const S: usize> SubPageMap<P, S> {
    /// Begins a change that can be taken back: for what the map does in a transaction, reads excepted.
    pub fn change(&mut self) -> SubPageChange<'_, P, S> {
        let mark = self.parents.mark();
        SubPageChange { map: self, mark }
    }
}

impl<const P: usize, const S: usize> SubPageChange<'_, P, S> {
    /// Keeps all that was done: to be called when the transaction is committed.
    pub fn keep(self) {
        let mark = self.mark;
        self.map.parents.keep(mark);
        // Nothing is left to take back; the change owns no memory.
        mem::forget(self);
    }
}

impl<const P: usize, const S: usize> Drop for SubPageChange<'_, P, S> {
    fn drop(&mut self) {
        self.map.parents.roll_back(self.mark);
    }
}

impl<const P: usize, const S: usize> Deref for SubPageChange<'_, P, S> {
    type Target = SubPageMap<P, S>;

    fn deref(&self) -> &SubPageMap<P, S> {
        self.map
    }
}

impl<const P: usize, const S: usize> DerefMut for SubPageChange<'_, P, S> {
    fn deref_mut(&mut self) -> &mut SubPageMap<P, S> {
        self.map
    }
}

impl<const P: usize, const S: usize> fmt::Debug for SubPageChange<'_, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubPageChange").field("map", &self.map).finish_non_exhaustive()
    }
}
