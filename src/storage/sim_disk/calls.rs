//! The calls that a simulated disk sees: numbered, counted, and logged while recording is on.

use std::fmt;
use std::io;

/// What a call asks of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallKind {
    /// Taking the exclusive lock: the first call of every opener.
    Lock,
    /// A positioned read.
    Read,
    /// A positioned write.
    Write,
    /// Making bytes visible to users: once after opening, and as the second step of every growth.
    Map,
    /// Making the file longer and allocating the space: the first step of a growth.
    Grow,
    /// Cutting the file.
    Cut,
    /// Allocating the space of holes.
    Allocate,
    /// Giving space back, and asking whether that can be done: it cannot where the call fails as `Unsupported`.
    Punch,
    /// A sync that all earlier writes pass, of the bytes alone or of the length as well.
    Barrier,
    /// A sync of the directory that holds the file's name.
    SyncDirectory,
}

impl CallKind {
    /// Every kind, in the order in which they are declared.
    pub const ALL: [CallKind; 10] = [
        CallKind::Lock,
        CallKind::Read,
        CallKind::Write,
        CallKind::Map,
        CallKind::Grow,
        CallKind::Cut,
        CallKind::Allocate,
        CallKind::Punch,
        CallKind::Barrier,
        CallKind::SyncDirectory,
    ];
}

impl fmt::Display for CallKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CallKind::Lock => "lock",
            CallKind::Read => "read",
            CallKind::Write => "write",
            CallKind::Map => "map",
            CallKind::Grow => "grow",
            CallKind::Cut => "cut",
            CallKind::Allocate => "allocate",
            CallKind::Punch => "punch",
            CallKind::Barrier => "barrier",
            CallKind::SyncDirectory => "directory sync",
        })
    }
}

/// One call that the disk saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// Its number among all calls of the disk's life, from 0.
    pub number: u64,
    /// What was asked.
    pub kind: CallKind,
    /// Where: the first byte of a read or write; the old length of a growth; the new length of a cut; else 0.
    pub offset: u64,
    /// How many bytes: of a read or write, of a growth, cut off, mapped, allocated, given back; the whole length for a sync.
    pub len: u64,
    /// The epoch in which it was made. A barrier belongs to the epoch that it ends.
    pub epoch: usize,
    /// What the caller was told, if the call failed.
    pub error: Option<io::ErrorKind>,
}

/// Numbers, counts and, while recording, keeps the calls.
#[derive(Debug, Default)]
pub(super) struct CallLog {
    counts: [u64; CallKind::ALL.len()],
    made: u64,
    kept: Vec<Call>,
}

impl CallLog {
    /// Counts a call; `keep` says whether to log it. What comes back names the call in [`failed`](CallLog::failed).
    pub(super) fn begin(&mut self, kind: CallKind, range: (u64, u64), epoch: usize, keep: bool) -> u64 {
        let number = self.made;
        self.made += 1;
        self.counts[kind as usize] += 1;
        if keep {
            let (offset, len) = range;
            self.kept.push(Call { number, kind, offset, len, epoch, error: None });
        }
        number
    }

    /// Notes that the call failed. It is among the newest.
    pub(super) fn failed(&mut self, number: u64, error: io::ErrorKind) {
        if let Some(call) = self.kept.iter_mut().rev().take_while(|call| call.number >= number).last()
            && call.number == number
        {
            call.error = Some(error);
        }
    }

    pub(super) fn count(&self, kind: CallKind) -> u64 {
        self.counts[kind as usize]
    }

    pub(super) fn made(&self) -> u64 {
        self.made
    }

    pub(super) fn kept(&self) -> &[Call] {
        &self.kept
    }

    pub(super) fn forget(&mut self) {
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_listed_in_the_order_of_their_counters() {
        assert!(CallKind::ALL.iter().enumerate().all(|(at, &kind)| kind as usize == at));
    }

    #[test]
    fn a_failure_is_noted_at_its_own_call() {
        let mut log = CallLog::default();
        let grow = log.begin(CallKind::Grow, (0, 1), 0, true);
        let map = log.begin(CallKind::Map, (0, 1), 0, true);
        log.failed(grow, io::ErrorKind::StorageFull);
        log.failed(map, io::ErrorKind::Other);
        let errors: Vec<_> = log.kept().iter().map(|call| call.error).collect();
        assert_eq!(errors, [Some(io::ErrorKind::StorageFull), Some(io::ErrorKind::Other)]);
        log.forget();
        log.failed(map, io::ErrorKind::Other);
        assert_eq!((log.made(), log.count(CallKind::Grow), log.kept().len()), (2, 1, 0));
    }
}
