//! What this thread has of each shared pager: guards, a transaction, or all of it.
//!
//! A thread that waits for itself waits forever, so what would is refused instead.

use std::cell::RefCell;

use crate::error::{Error, Result};

thread_local! {
    /// An entry for each pager of which the thread has something; hardly ever more than one.
    static HELD: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

struct Entry {
    lock: u64,
    guards: usize,
    writes: Option<Writes>,
}

/// What a thread does that changes a pager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writes {
    /// It is in a transaction, beside readers.
    Transacts,
    /// It has the pager to itself.
    Alone,
}

fn with<T>(lock: u64, act: impl FnOnce(&mut Entry) -> T) -> T {
    HELD.with_borrow_mut(|held| {
        let at = held.iter().position(|entry| entry.lock == lock).unwrap_or_else(|| {
            held.push(Entry { lock, guards: 0, writes: None });
            held.len() - 1
        });
        let done = act(&mut held[at]);
        if held[at].guards == 0 && held[at].writes.is_none() {
            held.swap_remove(at);
        }
        done
    })
}

/// The thread takes a guard. Says whether it had one, or is in a transaction.
///
/// # Panics
///
/// When it has the pager to itself.
#[inline]
pub(super) fn enter(lock: u64) -> bool {
    with(lock, |entry| {
        assert!(
            entry.writes != Some(Writes::Alone),
            "this thread has the pager to itself, and cannot be a reader beside"
        );
        entry.guards += 1;
        entry.guards > 1 || entry.writes.is_some()
    })
}

#[inline]
pub(super) fn leave(lock: u64) {
    with(lock, |entry| entry.guards -= 1);
}

/// Refuses where the thread is a reader.
pub(super) fn check_no_guard(lock: u64, op: &'static str) -> Result<()> {
    with(lock, |entry| if entry.guards == 0 { Ok(()) } else { Err(Error::Reentered { op }) })
}

/// Until it is dropped the thread changes a pager.
#[derive(Debug)]
pub(super) struct Writing {
    lock: u64,
}

impl Writing {
    /// Refuses where the thread has anything of the pager.
    pub(super) fn begin(lock: u64, writes: Writes, op: &'static str) -> Result<Self> {
        with(lock, |entry| {
            if entry.guards > 0 || entry.writes.is_some() {
                return Err(Error::Reentered { op });
            }
            entry.writes = Some(writes);
            Ok(Writing { lock })
        })
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        with(self.lock, |entry| entry.writes = None);
    }
}
