//! Call n fails, for every n until a run passes untouched: nothing acknowledged is lost, nothing else is reported.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::ops::ControlFlow;

use crashlab::failing_call::{ERRORS, FailingCall, attempted_on};
use crashlab::interrupted::{Interrupted, Share};
use crashlab::lab::{Lab, Start};
use crashlab::operation::Operation;
use crashlab::verify::reported;
use diptych::{CallKind, CrashOptions, Durability, Error, FaultPlan, PagerOptions, SimDisk};

fn fail_each(kind: CallKind) {
    for error in ERRORS {
        for for_ever in [false, true] {
            let mut n = 1;
            while (FailingCall { kind, n, error, for_ever, after: None }).run::<4096>(Start::HalfFull) {
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
        let failing = |n| FailingCall {
            kind: CallKind::Write,
            n,
            error: io::ErrorKind::StorageFull,
            for_ever: false,
            after: Some(bytes),
        };
        while failing(n).run::<4096>(Start::HalfFull) {
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
fn giving_space_back_or_taking_it_that_fails_loses_nothing() {
    for kind in [CallKind::Punch, CallKind::Cut, CallKind::Allocate] {
        fail_each(kind);
    }
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
    for (durability, barrier) in [(Durability::OneBarrier, 1), (Durability::TwoBarriers, 2)] {
        let mut lab = Lab::<4096>::start_with(PagerOptions::new().durability(durability), Start::Fresh);
        let before = lab.model.clone();
        lab.disk.fail(FaultPlan::nth(CallKind::Barrier, barrier));
        lab.run(&Operation::Alloc).expect_err("the barrier behind the slot fails");
        let attempted = attempted_on::<4096>(Start::Fresh, &[], &Operation::Alloc);
        lab.pager = None;
        let first = lab.disk.epoch_count() - 1;
        drop(PagerOptions::new().open_on::<4096>(&lab.disk).expect("the same boot opens it"));
        let interrupted = Interrupted::failed(&lab.disk, first, &before, &attempted);
        let _ = interrupted.each_state::<()>(&CrashOptions::new(), Share::ALL, &mut HashSet::new(), |left| {
            reported(left.point(), || left.verify::<4096>());
            ControlFlow::Continue(())
        });
    }
}

/// The cache shows what the failed opening wrote, and the disk lacks it. The second opening finds nothing to mend, and writes
/// everything again all the same.
#[test]
fn what_an_opening_voided_before_its_barrier_failed_is_void_on_the_disk_after_the_next_one() {
    let open = |disk: &SimDisk| PagerOptions::new().open_on::<4096>(disk);
    let mut voided = BTreeSet::new();
    // A small commit, and the checkpoint with which it is sealed.
    let mut lab = Lab::<4096>::start(Start::HalfFull);
    let first = lab.disk.epoch_count() - 1;
    lab.run(&Operation::AllocProtected).expect("nothing fails");
    lab.run(&Operation::Reopen).expect("nothing fails");
    for epoch in (first..lab.disk.epoch_count()).filter(|epoch| lab.disk.epoch(*epoch).is_some()) {
        for state in lab.disk.crash_states(epoch, &CrashOptions::new().exhaustive_limit(6)) {
            let disk = SimDisk::from_image(state.image());
            disk.fail(FaultPlan::nth(CallKind::Barrier, 1));
            open(&disk).expect_err("its first barrier fails");
            let second = open(&disk).expect("the same boot opens it");
            drop(second);
            let after = open(&SimDisk::from_image(disk.durable_image())).expect("it is whole");
            assert!(after.recovery().is_clean(), "{:?}: {:?}", state.point(), after.recovery());
            let report = open(&SimDisk::from_image(state.image())).expect("it is whole").recovery().clone();
            voided.extend(report.voided.iter().map(ToString::to_string));
        }
    }
    let expected = ["commit slot 1", "metadata copy A"].map(str::to_owned);
    assert_eq!(voided, BTreeSet::from(expected), "what some of these states are refused for");
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
