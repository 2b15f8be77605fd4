//! One pager that many threads read, and that one of them has to itself from time to time.
//!
//! ```text
//!   enter() ──▶ guard ─ ─ ─ ▶ dropped                 any number at once; nobody waits, unless somebody wants to be alone
//!   alone()     closes the gate, waits until the last guard is dropped, opens it
//!   share()     the pager without a guard, for the one who writes: he gives it back before he is alone
//! ```
//!
//! It is a [`RwLock`] with a gate before it. A thread that holds a guard may take another one, and passes the gate: if it
//! waited behind a writer that waits for its first guard, both would wait forever. So the writer never queues at the lock
//! itself, he tries it when the gate is closed and somebody has left.
//!
//! Who writes is settled elsewhere: at most one thread at a time calls [`alone`](Lock::alone) and [`share`](Lock::share).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
};

use super::Pager;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// See the head of this file. Panics leave nothing half done in it, so poison of the locks is passed over.
pub(super) struct Lock<const P: usize> {
    /// No other lock of this process has it.
    id: u64,
    pager: RwLock<Arc<Pager<P>>>,
    /// Somebody is alone, or waits for it.
    closed: AtomicBool,
    gate: Mutex<()>,
    left: Condvar,
    opened: Condvar,
}

impl<const P: usize> Lock<P> {
    pub(super) fn new(pager: Pager<P>) -> Self {
        Lock {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            pager: RwLock::new(Arc::new(pager)),
            closed: AtomicBool::new(false),
            gate: Mutex::new(()),
            left: Condvar::new(),
            opened: Condvar::new(),
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    fn gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader enters, who holds a guard [`already`] or not. Whoever drops what this returns calls [`leave`](Self::leave).
    ///
    /// [`already`]: super::reentry
    #[inline]
    pub(super) fn enter(&self, already: bool) -> RwLockReadGuard<'_, Arc<Pager<P>>> {
        if !already && self.closed.load(Ordering::Relaxed) {
            self.wait_until_open();
        }
        self.pager.read().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    fn wait_until_open(&self) {
        let mut gate = self.gate();
        while self.closed.load(Ordering::Relaxed) {
            gate = self.opened.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A guard was dropped.
    #[inline]
    pub(super) fn leave(&self) {
        // Either the one who waits finds that the guard is gone, or this finds that he waits.
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::Relaxed) {
            drop(self.gate());
            self.left.notify_one();
        }
    }

    /// The pager, for the one who writes.
    pub(super) fn share(&self) -> Arc<Pager<P>> {
        Arc::clone(&self.pager.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `act` while nobody else has the pager, and nobody reads.
    pub(super) fn alone<T>(&self, act: impl FnOnce(&mut Pager<P>) -> T) -> T {
        let _closed = Closed::new(self);
        let mut pager = self.wait_until_left();
        let pager = Arc::get_mut(&mut pager).expect("the one who writes has given his share back");
        act(pager)
    }

    fn wait_until_left(&self) -> RwLockWriteGuard<'_, Arc<Pager<P>>> {
        let mut gate = self.gate();
        loop {
            match self.pager.try_write() {
                Ok(pager) => return pager,
                Err(TryLockError::Poisoned(pager)) => return pager.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    gate = self.left.wait(gate).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// `None` if somebody still has a share.
    pub(super) fn into_inner(self) -> Option<Pager<P>> {
        Arc::into_inner(self.pager.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Opens the gate again, also where what was done alone panics.
struct Closed<'l, const P: usize>(&'l Lock<P>);

impl<'l, const P: usize> Closed<'l, P> {
    fn new(lock: &'l Lock<P>) -> Self {
        lock.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        Closed(lock)
    }
}

impl<const P: usize> Drop for Closed<'_, P> {
    fn drop(&mut self) {
        let gate = self.0.gate();
        self.0.closed.store(false, Ordering::Relaxed);
        drop(gate);
        self.0.opened.notify_all();
    }
}
