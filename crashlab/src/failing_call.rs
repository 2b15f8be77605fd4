//! One call of the system fails: nothing acknowledged is lost, nothing else is reported.

use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use diptych::{CallKind, CrashOptions, Error, FaultPlan, PageId, Pager, PagerOptions, SimDisk};

use crate::interrupted::{Interrupted, Share};
use crate::lab::{Lab, Start};
use crate::model::Model;
use crate::operation::{End, Operation, Step};
use crate::verify::{compare, compare_after_failure, is_filled, reported, verify};
use crate::workload::DURABILITIES;

/// The errors that calls fail with: `EIO`, for which `Other` stands, because it has no kind of its own; `ENOSPC`, `EDQUOT`,
/// `EINTR`.
pub const ERRORS: [io::ErrorKind; 4] =
    [io::ErrorKind::Other, io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::Interrupted];

/// What runs until a call fails.
#[must_use]
pub fn workload() -> Vec<Operation> {
    let steps = vec![
        Step::Alloc,
        Step::Write(249, 0x11),
        Step::WriteProtected(0, 0x12),
        Step::AllocProtected,
        Step::Free(0),
        Step::Header(0x13),
    ];
    vec![
        Operation::Alloc,
        Operation::AllocProtectedBulk(2),
        Operation::WriteProtected(0, 0x14),
        Operation::Store(0, 0x15),
        Operation::Sync,
        Operation::Transaction(steps, End::Commit),
        Operation::Transaction(vec![Step::Write(0, 0x16), Step::Write(1, 0x17)], End::Commit),
        Operation::WriteProtected(0, 0x18),
        Operation::Free(0),
        Operation::AllocBulk(40),
        Operation::FreeProtected(1),
        Operation::FreeBulk(3, 30),
        Operation::PunchHoles,
        Operation::Compact(60),
        Operation::Shrink,
        Operation::Reopen,
        Operation::Alloc,
    ]
}

/// Which call fails, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailingCall {
    /// Calls of which kind are counted.
    pub kind: CallKind,
    /// Which of them fails, counted from 1.
    pub n: u64,
    /// What the engine is told: one of [`ERRORS`].
    pub error: io::ErrorKind,
    /// Whether all later calls of the kind fail as well.
    pub for_ever: bool,
    /// How many bytes are transferred before.
    pub after: Option<u64>,
}

impl FailingCall {
    /// Runs the workload until a call fails, with commits of one barrier, again with those of two, and with those that wait.
    /// What was acknowledged must be there at once, after reopening in the same boot, and after a power cut. Returns whether
    /// there was such a call.
    ///
    /// # Panics
    ///
    /// With the invariant that does not hold.
    #[must_use]
    pub fn run<const P: usize>(self, start: Start) -> bool {
        self.run_on::<P>(start, &workload())
    }

    /// The same with other operations. None of them may lose stores, as a dropped pager and a power cut do: what is left after
    /// the failure could not be told from what they lost.
    ///
    /// # Panics
    ///
    /// With the invariant that does not hold.
    #[must_use]
    pub fn run_on<const P: usize>(self, start: Start, operations: &[Operation]) -> bool {
        let failed = DURABILITIES.into_iter().map(|durability| {
            let options = PagerOptions::new().durability(durability);
            run_until_failure::<P>(&options, start, operations, self)
        });
        failed.fold(false, |any, failed| any | failed)
    }
}

fn run_until_failure<const P: usize>(
    options: &PagerOptions,
    start: Start,
    operations: &[Operation],
    failing: FailingCall,
) -> bool {
    let FailingCall { kind, n, error, for_ever, after } = failing;
    let mut lab = Lab::<P>::start_with(options.clone(), start);
    let mut plan = FaultPlan::nth(kind, n);
    if error != io::ErrorKind::Other {
        plan = plan.kind(error);
    }
    if for_ever {
        plan = plan.for_ever();
    }
    if let Some(bytes) = after {
        plan = plan.after(bytes);
    }
    lab.disk.fail(plan);
    for (at, operation) in operations.iter().enumerate() {
        let before = lab.model.clone();
        match lab.run(operation) {
            // Comparing reads, too: the call that fails would be one of those.
            Ok(()) if kind == CallKind::Read && lab.disk.faults_fired() == 0 => {}
            Ok(()) => {
                if kind == CallKind::Read {
                    lab.disk.clear_faults();
                }
                lab.compare();
                if lab.disk.faults_fired() > 0 {
                    // Whatever the engine made of the failure, what it acknowledged has to be on the disk.
                    power_cuts(&lab, &lab.model, &lab.model);
                }
            }
            Err(failure) => {
                assert!(failure.is_io(), "{operation:?} fails with {failure}");
                lab.disk.clear_faults();
                let attempted = attempted_with::<P>(options, start, &operations[..at], operation);
                let checked = AssertUnwindSafe(|| after_failure(lab, &before, &attempted, operation));
                if let Err(panic) = catch_unwind(checked) {
                    eprintln!("{operation:?}, call {n} of kind {kind} fails with {error:?}, for ever: {for_ever}");
                    resume_unwind(panic);
                }
                return true;
            }
        }
    }
    lab.disk.faults_fired() > 0
}

/// The state after the operation, had it not failed. Ids are deterministic, so a second lab finds the same.
///
/// # Panics
///
/// When an operation fails.
#[must_use]
pub fn attempted_on<const P: usize>(start: Start, earlier: &[Operation], operation: &Operation) -> Model {
    attempted_with::<P>(&PagerOptions::new(), start, earlier, operation)
}

fn attempted_with<const P: usize>(
    options: &PagerOptions,
    start: Start,
    earlier: &[Operation],
    operation: &Operation,
) -> Model {
    let mut lab = Lab::<P>::start_with(options.clone(), start);
    for earlier in earlier {
        lab.run(earlier).expect("nothing fails here");
    }
    lab.run(operation).expect("nothing fails here");
    lab.model
}

/// What a pager shows after an operation that was cut off by an error, and that may be several commits: those before the failing
/// one stand.
///
/// # Panics
///
/// When there are more commits than without the failure.
pub fn reached<const P: usize>(pager: &Pager<P>, before: &Model, attempted: &Model) -> Model {
    let generation = pager.generation().to_u64();
    let durable = pager.durable_generation().to_u64();
    if generation == before.generation && durable == before.durable().generation {
        return before.clone();
    }
    assert!(generation <= attempted.generation, "a commit more than without a failure");
    let shows = |model: &Model| pager.iter_allocated_pages().map(PageId::to_u64).eq(model.regular.keys().copied());
    let mut reached = if shows(before) { before.clone() } else { attempted.clone() };
    reached.generation = generation;
    if durable == generation {
        reached.commit(|_| true);
    }
    reached
}

fn after_failure<const P: usize>(mut lab: Lab<P>, before: &Model, attempted: &Model, operation: &Operation) {
    let before = &lab.pager.as_ref().map_or_else(|| before.clone(), |pager| reached(pager, before, attempted));
    if let Some(pager) = &mut lab.pager {
        // Committed data stay readable, but for protected pages of commits that wait, if another one was changing them.
        let changed =
            |id: u64| attempted.protected.get(&id).is_some_and(|fill| before.protected.get(&id) != Some(fill));
        let table_changed = attempted.table != before.table;
        let is_table = |id: u64| before.table.as_ref().is_some_and(|table| table.id == id);
        compare_after_failure(
            pager,
            before,
            &|id, page| {
                // A store that was made and not synced shows; an overwrite that was cut off may.
                let touched = attempted.stored(id).is_some_and(|other| other.fill != page.fill);
                (!touched).then(|| vec![page.fill])
            },
            0,
            &|id| before.beneath.is_some() && (changed(id) || table_changed && is_table(id)),
        );
        // What a process that is killed now would leave.
        let left = lab.disk.cached_image();
        match pager.alloc() {
            Ok(id) => {
                verify::<P>(left, before, before, 0);
                // Not poisoned, so the operation left no trace and the pager goes on.
                let fresh = pager.page(id).expect("it was handed out");
                assert!(is_filled(&fresh[..], 0), "a fresh page shows what a commit wrote that failed");
                pager.free(id).expect("nothing fails any more");
                compare(pager, before, &|_, page| Some(vec![page.fill]), 0);
                assert_eq!(pager.check(), [], "{operation:?}");
            }
            Err(error) => {
                assert!(matches!(error, Error::Poisoned), "{operation:?} leads to {error}");
                assert!(error.needs_reopen());
                assert!(matches!(pager.sync(), Err(Error::Poisoned)));
            }
        }
    }
    let durable = lab.pager.as_mut().map_or(0, |pager| {
        let durable = pager.durable_generation();
        if durable.to_u64() > before.durable().generation && durable < pager.generation() {
            // Of the two, the first one did not wait.
            pager.sync().expect("nothing fails any more");
        }
        pager.durable_generation().to_u64()
    });
    lab.pager = None;
    if durable > before.durable().generation {
        // Two more commits, without effect on what there is, whose barriers passed all earlier stores.
        let mut after = Model { generation: durable, ..before.clone() };
        after.commit(|_| true);
        verify::<P>(lab.disk.cached_image(), &after, &after, 0);
        verify::<P>(lab.disk.durable_image(), &after, &after, 0);
        return;
    }
    // The same boot sees the page cache.
    verify::<P>(lab.disk.cached_image(), before, attempted, 1);
    power_cuts(&lab, before, attempted);
    // Reopening rests on what it writes again, not on the cache: after it, a power cut changes nothing.
    let first = lab.disk.epoch_count() - 1;
    let mut pager = PagerOptions::new().open_on::<P>(&lab.disk).expect("the same boot opens it");
    let generation = pager.generation().to_u64();
    pager.sync().expect("nothing fails any more");
    drop(pager);
    // And while it does so, one leaves the state before or the state after.
    let options = CrashOptions::new().sample_limit(25).exhaustive_limit(4);
    // A write that stopped half-way has left a sector that nobody wrote.
    let reopening = Interrupted::failed(&lab.disk, first, before, attempted).with_damage(1);
    let _ = reopening.each_state::<()>(&options, Share::ALL, &mut HashSet::new(), |left| {
        reported(left.point(), || left.verify::<P>());
        ControlFlow::Continue(())
    });
    for keep in [false, true] {
        let image = lab.disk.crash_now(|_| keep);
        let pager = PagerOptions::new().open_on::<P>(&SimDisk::from_image(image.clone())).expect("it opens");
        assert_eq!(pager.generation().to_u64(), generation, "what reopening found is durable");
        verify::<P>(image, before, attempted, 1);
    }
}

/// A power cut leaves the disk, which may lack what the cache shows as clean.
fn power_cuts<const P: usize>(lab: &Lab<P>, before: &Model, attempted: &Model) {
    for keep in [0u64, 1, 2, 3, u64::MAX] {
        let image = lab.disk.crash_now(|sector| match keep {
            0 => false,
            u64::MAX => true,
            keep => (sector ^ keep) % 2 == 0,
        });
        verify::<P>(image, before, attempted, 1);
    }
}
