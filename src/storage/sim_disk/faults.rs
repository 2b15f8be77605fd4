//! Calls that fail on request.

use std::io;

use super::calls::CallKind;

/// Which call is to fail, how, and how often.
///
/// The call is counted among those of its kind from the moment on at which the plan is given to
/// [`SimDisk::fail`](super::SimDisk::fail). Without further instructions it fails once, as an input/output error
/// (`EIO`), before any byte is transferred.
///
/// ```
/// use diptych::{CallKind, FaultPlan, SimDisk};
///
/// let disk = SimDisk::new();
/// disk.fail(FaultPlan::nth(CallKind::Barrier, 1));
/// disk.fail(FaultPlan::nth(CallKind::Write, 3).kind(std::io::ErrorKind::StorageFull).after(700).for_ever());
/// ```
#[derive(Clone, Debug)]
#[must_use = "a plan does nothing until it is given to a disk"]
pub struct FaultPlan {
    call: CallKind,
    /// Calls of that kind until the one that fails, that one included.
    remaining: u64,
    for_ever: bool,
    error: FaultError,
    after: u64,
}

#[derive(Clone, Copy, Debug)]
enum FaultError {
    Kind(io::ErrorKind),
    Os(i32),
}

/// A failure that is due now.
#[derive(Debug)]
pub(super) struct Fault {
    /// What the caller is told.
    pub(super) error: io::Error,
    /// Bytes that are transferred before.
    pub(super) after: u64,
}

impl FaultPlan {
    /// Lets the `n`-th call of this kind fail, counted from 1: the next one is the first.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn nth(call: CallKind, n: u64) -> Self {
        assert!(n > 0, "calls are counted from 1");
        FaultPlan { call, remaining: n, for_ever: false, error: FaultError::Os(EIO), after: 0 }
    }

    /// Lets every later call of the kind fail as well, until [`SimDisk::clear_faults`](super::SimDisk::clear_faults).
    pub fn for_ever(mut self) -> Self {
        self.for_ever = true;
        self
    }

    /// The error that the caller is told: `ErrorKind::StorageFull` (`ENOSPC`), `QuotaExceeded` (`EDQUOT`),
    /// `Interrupted` (`EINTR`; it reaches the engine, where a file would have tried again), ...
    pub fn kind(mut self, kind: io::ErrorKind) -> Self {
        self.error = FaultError::Kind(kind);
        self
    }

    /// The error that the caller is told, as the operating system numbers it.
    pub fn errno(mut self, code: i32) -> Self {
        self.error = FaultError::Os(code);
        self
    }

    /// A short transfer: a read or write moves this many of its bytes before it fails, a growth adds that many. Other
    /// calls take no notice.
    pub fn after(mut self, bytes: u64) -> Self {
        self.after = bytes;
        self
    }

    fn fault(&self) -> Fault {
        let error = match self.error {
            FaultError::Kind(kind) => io::Error::new(kind, "the simulated disk was told to fail this call"),
            FaultError::Os(EIO) => media_error(),
            FaultError::Os(code) => io::Error::from_raw_os_error(code),
        };
        Fault { error, after: self.after }
    }
}

const EIO: i32 = 5;

/// What a disk answers that cannot do what it should.
pub(super) fn media_error() -> io::Error {
    if cfg!(unix) { io::Error::from_raw_os_error(EIO) } else { io::Error::other("input/output error") }
}

/// The plans that wait for their call.
#[derive(Debug, Default)]
pub(super) struct Faults {
    plans: Vec<FaultPlan>,
    fired: u64,
}

impl Faults {
    pub(super) fn add(&mut self, plan: FaultPlan) {
        self.plans.push(plan);
    }

    pub(super) fn clear(&mut self) {
        self.plans.clear();
    }

    /// Calls that failed by plan.
    pub(super) fn fired(&self) -> u64 {
        self.fired
    }

    /// Counts a call in every plan; the first plan that is due says how it fails.
    pub(super) fn on_call(&mut self, call: CallKind) -> Option<Fault> {
        let mut due = None;
        self.plans.retain_mut(|plan| {
            if plan.call != call {
                return true;
            }
            if plan.remaining > 1 {
                plan.remaining -= 1;
                return true;
            }
            due.get_or_insert_with(|| plan.fault());
            plan.for_ever
        });
        self.fired += u64::from(due.is_some());
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_call_of_the_kind_fails_once() {
        let mut faults = Faults::default();
        faults.add(FaultPlan::nth(CallKind::Read, 2).kind(io::ErrorKind::Interrupted));
        let failed: Vec<_> = [CallKind::Read, CallKind::Write, CallKind::Read, CallKind::Read]
            .map(|kind| faults.on_call(kind).map(|fault| fault.error.kind()))
            .into();
        assert_eq!(failed, [None, None, Some(io::ErrorKind::Interrupted), None]);
        assert_eq!(faults.fired(), 1);
    }

    #[test]
    fn a_lasting_fault_fires_until_it_is_cleared() {
        let mut faults = Faults::default();
        faults.add(FaultPlan::nth(CallKind::Barrier, 2).for_ever());
        let failed = [(); 4].map(|()| faults.on_call(CallKind::Barrier).is_some());
        assert_eq!(failed, [false, true, true, true]);
        faults.clear();
        assert!(faults.on_call(CallKind::Barrier).is_none());
    }
}
