//! Every operation, cut off at every write and barrier: the state is the one before or the one after, and whole.

use std::collections::HashSet;
use std::ops::ControlFlow;

use crashlab::interrupted::{Interrupted, Share, each_recovery_state};
use crashlab::lab::{Lab, Start};
use crashlab::operation::{End, Operation, Step};
use crashlab::verify::{reported, verify_cycle};
use crashlab::workload::{DURABILITIES, each_operation};
use diptych::{CrashOptions, Damage, Durability, PagerOptions, Subset, Tail, TornUnit};
use proptest::prelude::{ProptestConfig, prop, proptest};

use crate::strategy::operation;

/// Counts what was looked at, so that a test can tell that it looked at something.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) images: usize,
    pub(crate) recovered: usize,
}

/// Opens every state that a power cut during the last operation may leave.
fn crash<const P: usize>(interrupted: &Interrupted<'_>, options: &CrashOptions, tally: &mut Tally) {
    let _ = interrupted.each_state::<()>(options, Share::ALL, &mut HashSet::new(), |left| {
        let recovered = reported(left.point(), || left.verify::<P>());
        tally.images += 1;
        tally.recovered += usize::from(recovered);
        if tally.images.is_multiple_of(64) {
            reported(left.point(), || verify_cycle::<P>(left.image.clone()));
        }
        ControlFlow::Continue(())
    });
}

fn crash_operation<const P: usize>(start: Start, operation: &Operation, options: &CrashOptions, tally: &mut Tally) {
    crash_operation_in(Lab::<P>::start(start), operation, options, tally);
    // What opening left in flight is cut off with the first operation.
    let mut lab = Lab::<P>::start(start);
    lab.run(&Operation::Reopen).expect("nothing fails");
    crash_operation_in(lab, operation, options, tally);
}

pub(crate) fn crash_operation_in<const P: usize>(
    mut lab: Lab<P>,
    operation: &Operation,
    options: &CrashOptions,
    tally: &mut Tally,
) -> Lab<P> {
    let before = lab.model.clone();
    let first = lab.disk.epoch_count() - 1;
    lab.run(operation).expect("nothing fails");
    lab.compare();
    let interrupted = Interrupted::operation(&lab.disk, first, &before, &lab.model);
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| crash::<P>(&interrupted, options, tally)));
    if let Err(panic) = checked {
        eprintln!("{operation:?} on a file of {} regular pages of {P} bytes", before.regular.len());
        std::panic::resume_unwind(panic);
    }
    lab
}

fn crash_each_operation<const P: usize>(torn_unit: TornUnit) {
    let options = CrashOptions::new().sample_limit(60).exhaustive_limit(8).torn_unit(torn_unit).page_size(P as u64);
    let mut tally = Tally::default();
    for start in Start::ALL {
        for operation in each_operation() {
            crash_operation::<P>(start, &operation, &options, &mut tally);
        }
    }
    println!("pages of {P} bytes, {torn_unit:?}: {tally:?}");
    assert!(tally.images > 1000 && tally.recovered > 500, "{tally:?}");
}

#[test]
fn every_operation_is_atomic_with_pages_of_1_kib() {
    crash_each_operation::<1024>(TornUnit::Sector);
}

#[test]
fn every_operation_is_atomic_with_pages_of_4_kib() {
    crash_each_operation::<4096>(TornUnit::Sector);
}

#[test]
fn every_operation_is_atomic_with_pages_of_16_kib() {
    crash_each_operation::<16384>(TornUnit::Sector);
}

#[test]
fn every_operation_is_atomic_on_disks_that_tear_4096_bytes() {
    crash_each_operation::<4096>(TornUnit::Block);
}

#[test]
fn every_operation_is_atomic_with_pages_smaller_than_the_sectors_of_the_disk() {
    crash_each_operation::<1024>(TornUnit::BlockOrSector);
}

/// Commits wait, one more is cut off, and so is the sync that makes them durable. Before that returns the state is the durable
/// one, as long as it has not begun, or the one that it makes: never one in between.
#[test]
fn commits_that_wait_become_durable_all_at_once() {
    let options = CrashOptions::new().sample_limit(20).exhaustive_limit(4).page_size(1024);
    let before = [Operation::WriteProtected(0, 0x81), Operation::Alloc, Operation::Free(0)];
    let mut tally = Tally::default();
    let one_more = Operation::WriteProtected(0, 0x82);
    let durable = vec![Step::Durable, Step::WriteProtected(0, 0x83), Step::Alloc];
    let lasts = [one_more, Operation::Sync, Operation::Transaction(durable, End::Commit)];
    for (start, last) in Start::ALL.into_iter().flat_map(|start| lasts.iter().map(move |last| (start, last))) {
        for operation in each_operation() {
            let mut lab = Lab::<1024>::start_with(PagerOptions::new().durability(Durability::None), start);
            before.iter().for_each(|operation| lab.run(operation).expect("nothing fails"));
            lab.run(&operation).expect("nothing fails");
            crash_operation_in(lab, last, &options, &mut tally);
        }
    }
    println!("{tally:?}");
    assert!(tally.images > 1000 && tally.recovered > 500, "{tally:?}");
}

/// A table of sub-pages is made, filled, emptied and freed, cut off at every write and barrier, also where its commits wait: no
/// slot is lost, none is live twice, and no page of the file is left without an owner.
#[test]
fn what_a_transaction_does_with_a_table_of_sub_pages_is_atomic() {
    let commit = |steps| Operation::Transaction(steps, End::Commit);
    let operations = [
        vec![Step::AllocSubPages(1)],
        vec![Step::AllocSubPages(9), Step::WriteSubPage(3, 0x91), Step::WriteSubPage(8, 0x92)],
        // A slot of a full page, a whole page, and slots that somebody had.
        vec![Step::FreeSubPages(6, 1)],
        vec![Step::FreeSubPages(0, 4), Step::AllocSubPages(2), Step::WriteSubPage(7, 0x93)],
        vec![Step::AllocSubPages(120)],
        vec![Step::FreeSubPages(3, 255), Step::Savepoint, Step::FreeTable, Step::Rollback(0)],
        vec![Step::FreeSubPages(0, 255)],
        vec![Step::FreeTable, Step::AllocSubPages(3), Step::WriteSubPage(1, 0x94)],
        vec![Step::FreeTable],
    ];
    let options = CrashOptions::new().sample_limit(40).exhaustive_limit(6).page_size(1024);
    let mut tally = Tally::default();
    for start in Start::ALL {
        for durability in DURABILITIES {
            let mut lab = Lab::<1024>::start_with(PagerOptions::new().durability(durability), start);
            for steps in operations.clone() {
                lab = crash_operation_in(lab, &commit(steps), &options, &mut tally);
                if durability == Durability::TwoBarriers {
                    lab = crash_operation_in(lab, &Operation::Compact(255), &options, &mut tally);
                }
            }
        }
    }
    println!("{tally:?}");
    assert!(tally.images > 1000 && tally.recovered > 500, "{tally:?}");
}

/// What the crash tests leave of the operations: no image is made, the names of the states are looked at.
#[test]
fn the_crash_tests_break_every_assumption_that_is_not_made() {
    let mut broken = HashSet::new();
    for torn_unit in [TornUnit::Sector, TornUnit::Block] {
        let options = CrashOptions::new().sample_limit(60).exhaustive_limit(8).torn_unit(torn_unit).page_size(4096);
        for (start, operation) in Start::ALL
            .into_iter()
            .flat_map(|start| each_operation().into_iter().map(move |operation| (start, operation)))
        {
            let mut lab = Lab::<4096>::start(start);
            let first = lab.disk.epoch_count() - 1;
            lab.run(&operation).expect("nothing fails");
            for epoch in (first..lab.disk.epoch_count()).filter_map(|epoch| lab.disk.epoch(epoch)) {
                let newest = *epoch.lengths().last().expect("a file has a length");
                for state in lab.disk.crash_states(epoch.index(), &options) {
                    let point = state.point();
                    let damage = point.damage.map(|damage| match damage {
                        Damage::Torn { .. } => "torn",
                        Damage::Junk { .. } => "junk",
                        _ => "unreadable",
                    });
                    let subset = match point.subset {
                        Subset::Exact(_) => "any of a few",
                        Subset::Prefix(_) => "the first",
                        Subset::AllBut { .. } => "all but one",
                        Subset::Only { .. } => "only one",
                        Subset::Pages { .. } => "page by page",
                        _ => "drawn",
                    };
                    let length = if point.length == newest { "the newest length" } else { "another length" };
                    let tail = if point.tail == Tail::Junk { "junk in new space" } else { "zeros in new space" };
                    let seen = [damage.unwrap_or("whole"), subset, length, tail];
                    broken.extend(seen.map(|seen| (torn_unit, seen)));
                }
            }
        }
    }
    let everywhere = [
        "torn",
        "junk",
        "unreadable",
        "whole",
        "any of a few",
        "the newest length",
        "another length",
        "junk in new space",
        "zeros in new space",
    ];
    // Blocks are so few that all their subsets are taken.
    let of_many =
        ["the first", "all but one", "only one", "page by page", "drawn"].map(|seen| (TornUnit::Sector, seen));
    let units = [TornUnit::Sector, TornUnit::Block].into_iter();
    let expected = units.flat_map(|unit| everywhere.map(|seen| (unit, seen))).chain(of_many);
    for (torn_unit, seen) in expected {
        assert!(broken.contains(&(torn_unit, seen)), "{torn_unit:?}: no state is {seen}");
    }
}

/// A commit that writes as many regular pages as the metadata can list, and one that writes more.
#[test]
fn a_commit_of_many_regular_pages_is_atomic() {
    let options = CrashOptions::new().sample_limit(300);
    for pages in [160, 200] {
        let mut steps = vec![Step::AllocBulk(pages)];
        steps.extend((0..pages).map(|pick| Step::Write(pick, 0x61)));
        let mut tally = Tally::default();
        crash_operation::<4096>(Start::Fresh, &Operation::Transaction(steps, End::Commit), &options, &mut tally);
        assert!(tally.images > 100, "{tally:?}");
    }
}

#[test]
fn a_commit_that_moves_copies_is_atomic() {
    let mut steps: Vec<Step> = (0..4).map(|_| Step::FreeProtected(1)).collect();
    steps.extend((0..26).map(|pick| Step::WriteProtected(pick, 0x67)));
    steps.push(Step::Free(0));
    let operation = Operation::Transaction(steps, End::Commit);
    for durability in [Durability::OneBarrier, Durability::TwoBarriers] {
        let mut lab = Lab::<4096>::start_with(PagerOptions::new().durability(durability), Start::HalfFull);
        lab.run(&Operation::AllocProtectedBulk(34)).expect("nothing fails");
        for _ in 0..3 {
            let (before, first) = (lab.model.clone(), lab.disk.epoch_count() - 1);
            lab.run(&operation).expect("nothing fails");
            assert_eq!(lab.pager.as_ref().expect("it is open").check(), []);
            let mut tally = Tally::default();
            let interrupted = Interrupted::operation(&lab.disk, first, &before, &lab.model);
            crash::<4096>(&interrupted, &CrashOptions::new().sample_limit(200), &mut tally);
            assert!(tally.images > 100, "{tally:?}");
            lab.run(&Operation::AllocProtectedBulk(4)).expect("nothing fails");
        }
    }
}

#[test]
fn recovery_may_be_cut_off_three_times() {
    let mut images = 0;
    for operation in
        [Operation::AllocProtectedBulk(2), Operation::Transaction(vec![Step::Alloc, Step::Write(9, 7)], End::Commit)]
    {
        let mut lab = Lab::<4096>::start(Start::HalfFull);
        let before = lab.model.clone();
        let first = lab.disk.epoch_count() - 1;
        lab.run(&operation).expect("nothing fails");
        let options = CrashOptions::new().sample_limit(40).exhaustive_limit(4);
        let interrupted = Interrupted::operation(&lab.disk, first, &before, &lab.model);
        let share = Share { states: 30, seed: 0 };
        let _ = interrupted.each_state::<()>(&options, share, &mut HashSet::new(), |left| {
            each_recovery_state::<4096, ()>(left, 3, usize::MAX, &mut |deeper| {
                reported(deeper.point(), || deeper.verify::<4096>());
                images += 1;
                ControlFlow::Continue(())
            })
        });
    }
    println!("{images} images");
    assert!(images > 1000, "{images} images");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Long runs: the last operation of a random sequence is cut off.
    #[test]
    fn the_last_operation_of_any_sequence_is_atomic(
        operations in prop::collection::vec(operation(), 1..25),
        seed in 0u64..1000,
        write_back in prop::bool::ANY,
        durability in prop::sample::select(DURABILITIES.to_vec()),
    ) {
        let mut lab = Lab::<1024>::with_options(PagerOptions::new().durability(durability));
        lab.disk.record(false);
        lab.disk.set_write_back(write_back.then_some(seed));
        let (last, first) = operations.split_last().expect("at least one operation");
        for operation in first {
            lab.run(operation).expect("nothing fails");
        }
        lab.disk.record(true);
        let before = lab.model.clone();
        let first = lab.disk.epoch_count() - 1;
        lab.run(last).expect("nothing fails");
        lab.compare();
        let options = CrashOptions::new().seed(seed).sample_limit(60).exhaustive_limit(5).page_size(1024);
        let interrupted = Interrupted::operation(&lab.disk, first, &before, &lab.model);
        crash::<1024>(&interrupted, &options, &mut Tally::default());
    }
}

/// Coherence is probed in the block of a slot. Were it still in flight in the next commit, a power cut could make that slot
/// unreadable beside an unfinished commit, and nothing would tell whether it had been acknowledged.
#[test]
fn a_power_cut_in_the_first_commit_after_opening_finds_both_slots_readable() {
    let overwrites = Operation::Transaction(vec![Step::Write(0, 0x71), Step::Write(1, 0x72)], End::Commit);
    let fresh = Operation::Transaction(vec![Step::Alloc, Step::Write(9, 0x73)], End::Commit);
    for torn_unit in [TornUnit::Sector, TornUnit::Block] {
        let options = CrashOptions::new().torn_unit(torn_unit).sample_limit(4000);
        let mut tally = Tally::default();
        crash_operation::<4096>(Start::JustGrown, &overwrites, &options, &mut tally);
        // A new file was probed as well.
        crash_operation::<4096>(Start::Fresh, &fresh, &options, &mut tally);
        assert!(tally.images > 50, "{tally:?}");
    }
}
