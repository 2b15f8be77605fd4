//! Call n fails, for every n until a run passes untouched: nothing acknowledged is lost, nothing else is reported.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use diptych::{CallKind, CrashOptions, Error, FaultPlan, PagerOptions, SimDisk};

use crate::at_every_barrier::reported;
use crate::lab::{Lab, Start};
use crate::model::Model;
use crate::operation::{End, Operation, Step};
use crate::verify::{compare, verify};

const ERRORS: [io::ErrorKind; 3] = [io::ErrorKind::Other, io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];

fn workload() -> Vec<Operation> {
    let steps = vec![
        Step::Alloc,
        Step::Write(250, 0x11),
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
        Operation::Free(0),
        Operation::AllocBulk(40),
        Operation::FreeProtected(1),
        Operation::Reopen,
        Operation::Alloc,
    ]
}

/// Runs the workload until a call fails. What was acknowledged must be there at once, after reopening in the same boot, and
/// after a power cut.
pub(crate) fn run_until_failure(
    kind: CallKind,
    n: u64,
    error: io::ErrorKind,
    for_ever: bool,
    after: Option<u64>,
) -> bool {
    let mut lab = Lab::<4096>::start(Start::HalfFull);
    let mut plan = FaultPlan::nth(kind, n).kind(error);
    if for_ever {
        plan = plan.for_ever();
    }
    if let Some(bytes) = after {
        plan = plan.after(bytes);
    }
    lab.disk.fail(plan);
    for (at, operation) in workload().into_iter().enumerate() {
        let before = lab.model.clone();
        match lab.run(&operation) {
            // Comparing reads, too.
            Ok(()) if kind == CallKind::Read => {}
            Ok(()) => {
                lab.compare();
                if lab.disk.faults_fired() > 0 {
                    // Whatever the engine made of the failure, what it acknowledged has to be on the disk.
                    power_cuts(&lab, &lab.model, &lab.model);
                }
            }
            Err(failure) => {
                assert!(failure.is_io(), "{operation:?} fails with {failure}");
                lab.disk.clear_faults();
                let attempted = attempted_on(Start::HalfFull, &workload()[..at], &operation);
                let checked = AssertUnwindSafe(|| after_failure(lab, &before, &attempted, &operation));
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
fn attempted_on(start: Start, earlier: &[Operation], operation: &Operation) -> Model {
    let mut lab = Lab::<4096>::start(start);
    for earlier in earlier {
        lab.run(earlier).expect("nothing fails here");
    }
    lab.run(operation).expect("nothing fails here");
    lab.model
}

fn after_failure(mut lab: Lab<4096>, before: &Model, attempted: &Model, operation: &Operation) {
    if let Some(pager) = &mut lab.pager {
        // Committed data stay readable.
        compare(
            pager,
            before,
            &|id, page| {
                // A store that was made and not synced shows; an overwrite that was cut off may.
                let touched = attempted.regular.get(&id).is_some_and(|other| other.fill != page.fill);
                (!touched).then(|| vec![page.fill])
            },
            0,
        );
        // What a process that is killed now would leave.
        let left = lab.disk.cached_image();
        match pager.alloc() {
            Ok(id) => {
                verify::<4096>(left, before, before, 0);
                // Not poisoned, so the operation left no trace and the pager goes on.
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
    let generations = lab.pager.as_ref().map(|pager| pager.generation().to_u64());
    let went_on = generations.is_some_and(|generation| generation > before.generation);
    lab.pager = None;
    if went_on {
        // Two more commits, without effect on what there is.
        let mut models = [before.clone(), before.clone()];
        models.iter_mut().for_each(|model| model.generation = before.generation + 2);
        models.iter_mut().for_each(|model| model.regular.values_mut().for_each(|page| page.settled = false));
        verify::<4096>(lab.disk.cached_image(), &models[0], &models[1], 0);
        return;
    }
    // The same boot sees the page cache.
    verify::<4096>(lab.disk.cached_image(), before, attempted, 1);
    power_cuts(&lab, before, attempted);
    // Reopening rests on what it writes again, not on the cache: after it, a power cut changes nothing.
    let first = lab.disk.epoch_count() - 1;
    let mut pager = PagerOptions::new().open_on::<4096>(&lab.disk).expect("the same boot opens it");
    let generation = pager.generation().to_u64();
    pager.sync().expect("nothing fails any more");
    drop(pager);
    // And while it does so, one leaves the state before or the state after.
    let options = CrashOptions::new().sample_limit(25).exhaustive_limit(4);
    for epoch in (first..lab.disk.epoch_count()).filter(|epoch| lab.disk.epoch(*epoch).is_some()) {
        for state in lab.disk.crash_states(epoch, &options) {
            reported(state.point(), || verify::<4096>(state.image(), before, attempted, 8));
        }
    }
    for keep in [false, true] {
        let image = lab.disk.crash_now(|_| keep);
        let pager = PagerOptions::new().open_on::<4096>(&SimDisk::from_image(image.clone())).expect("it opens");
        assert_eq!(pager.generation().to_u64(), generation, "what reopening found is durable");
        verify::<4096>(image, before, attempted, 1);
    }
}

/// A power cut leaves the disk, which may lack what the cache shows as clean.
fn power_cuts(lab: &Lab<4096>, before: &Model, attempted: &Model) {
    for keep in [0u64, 1, 2, 3, u64::MAX] {
        let image = lab.disk.crash_now(|sector| match keep {
            0 => false,
            u64::MAX => true,
            keep => (sector ^ keep) % 2 == 0,
        });
        verify::<4096>(image, before, attempted, 1);
    }
}

fn fail_each(kind: CallKind) {
    for error in ERRORS {
        for for_ever in [false, true] {
            let mut n = 1;
            while run_until_failure(kind, n, error, for_ever, None) {
                n += 1;
                assert!(n < 400, "the workload makes fewer calls");
            }
            assert!(n > 1, "no {kind} is made at all");
        }
    }
}

#[test]
fn a_write_that_fails_loses_nothing() {
    fail_each(CallKind::Write);
}

#[test]
fn a_write_that_fails_half_way_loses_nothing() {
    for bytes in [1, 512, 4096, 5000] {
        let mut n = 1;
        while run_until_failure(CallKind::Write, n, io::ErrorKind::StorageFull, false, Some(bytes)) {
            n += 1;
        }
        assert!(n > 1);
    }
}

#[test]
fn a_barrier_that_fails_loses_nothing_and_is_never_retried() {
    fail_each(CallKind::Barrier);
}

#[test]
fn a_growth_that_fails_leaves_the_pager_as_it_was() {
    fail_each(CallKind::Grow);
}

#[test]
fn a_read_that_fails_is_an_error_and_nothing_else() {
    fail_each(CallKind::Read);
}

#[test]
fn a_map_that_fails_loses_nothing() {
    fail_each(CallKind::Map);
}

#[test]
fn a_directory_sync_that_fails_loses_nothing() {
    fail_each(CallKind::SyncDirectory);
}

#[test]
fn a_full_disk_is_a_clean_error_and_what_was_committed_goes_on() {
    let mut lab = Lab::<4096>::start(Start::HalfFull);
    let len = lab.disk.cached_image().len();
    lab.disk.set_space_limit(Some(len + 3 * 4096));
    let before = lab.model.clone();
    let error = lab.run(&Operation::AllocBulk(200)).expect_err("the disk is full");
    assert!(matches!(&error, Error::Io { op: "grow", source, .. } if source.kind() == io::ErrorKind::StorageFull));
    assert_eq!(lab.model, before);
    lab.compare();
    // What still fits is handed out.
    while lab.run(&Operation::Alloc).is_ok() {}
    lab.compare();
    lab.run(&Operation::Free(0)).expect("freeing takes no space");
    lab.run(&Operation::Alloc).expect("a freed page is there again");
    lab.run(&Operation::WriteProtected(0, 9)).expect("overwriting takes no space");
    lab.compare();
    assert_eq!(lab.pager.as_ref().expect("it is open").check(), []);
}

/// The slot that the cache shows as old is the newest one that the disk has, so nothing may be tried in its block before
/// the verdict is durable.
#[test]
fn a_power_cut_while_a_file_is_opened_after_a_failed_slot_sync_loses_nothing() {
    let mut lab = Lab::<4096>::start(Start::Fresh);
    let before = lab.model.clone();
    lab.disk.fail(FaultPlan::nth(CallKind::Barrier, 2));
    lab.run(&Operation::Alloc).expect_err("the second barrier fails");
    let attempted = attempted_on(Start::Fresh, &[], &Operation::Alloc);
    lab.pager = None;
    let first = lab.disk.epoch_count() - 1;
    drop(PagerOptions::new().open_on::<4096>(&lab.disk).expect("the same boot opens it"));
    for epoch in (first..lab.disk.epoch_count()).filter(|epoch| lab.disk.epoch(*epoch).is_some()) {
        for state in lab.disk.crash_states(epoch, &CrashOptions::new()) {
            reported(state.point(), || verify::<4096>(state.image(), &before, &attempted, 0));
        }
    }
}

#[test]
fn a_creation_that_fails_leaves_no_file_behind() {
    for kind in [CallKind::Grow, CallKind::Write, CallKind::Barrier, CallKind::SyncDirectory, CallKind::Map] {
        for n in 1.. {
            let disk = SimDisk::new();
            disk.fail(FaultPlan::nth(kind, n));
            match PagerOptions::new().create_on::<4096>(&disk) {
                Ok(_) => {
                    assert!(n > 1, "no {kind} is made at all");
                    break;
                }
                Err(error) => assert!(error.is_io(), "{error}"),
            }
            assert!(disk.cached_image().is_empty() && disk.durable_image().is_empty(), "call {n} of kind {kind}");
            assert!(PagerOptions::new().create_on::<4096>(&disk).is_ok(), "the name is free again");
        }
    }
}
