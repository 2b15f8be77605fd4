//! Space of free pages is given back: what any state names that recovery may still choose is not among it.

use std::io;

use crashlab::failing_call::FailingCall;
use crashlab::lab::{Lab, Start};
use crashlab::operation::{End, Operation, Step};
use crashlab::verify::compare;
use crashlab::workload::DURABILITIES;
use diptych::{CallKind, CrashOptions, Durability, FaultPlan, PagerOptions, SimDisk, TornUnit};

use crate::at_every_barrier::{Tally, crash_operation_in};

/// What frees pages of each kind, at once or to wait.
fn freeing() -> Vec<Vec<Operation>> {
    let waits = vec![Step::Wait, Step::Free(0), Step::FreeProtected(0), Step::Alloc, Step::WriteProtected(0, 0x71)];
    vec![
        vec![],
        vec![Operation::Store(0, 0x72), Operation::Sync, Operation::Free(0)],
        vec![Operation::FreeProtected(1)],
        vec![Operation::FreeBulk(0, 3), Operation::AllocProtected],
        vec![Operation::Transaction(waits, End::Commit)],
        vec![Operation::Transaction(vec![Step::Alloc, Step::Write(254, 0x73), Step::Free(0)], End::Drop)],
        vec![Operation::PunchHoles, Operation::AllocBulk(2), Operation::Store(1, 0x74), Operation::Free(0)],
    ]
}

fn cut_off<const P: usize>(torn_unit: TornUnit) {
    let options = CrashOptions::new().sample_limit(60).exhaustive_limit(6).torn_unit(torn_unit).page_size(P as u64);
    let mut tally = Tally::default();
    for (start, durability) in Start::ALL.into_iter().flat_map(|start| DURABILITIES.map(|chosen| (start, chosen))) {
        for before in freeing() {
            let mut lab = Lab::<P>::start_with(PagerOptions::new().durability(durability), start);
            before.iter().for_each(|operation| lab.run(operation).expect("nothing fails"));
            crash_operation_in(lab, &Operation::PunchHoles, &options, &mut tally);
        }
    }
    println!("pages of {P} bytes, {torn_unit:?}: {tally:?}");
    assert!(tally.images > 1000 && tally.recovered > 300, "{tally:?}");
}

#[test]
fn punching_that_is_cut_off_loses_nothing_with_pages_of_1_kib() {
    cut_off::<1024>(TornUnit::BlockOrSector);
}

#[test]
fn punching_that_is_cut_off_loses_nothing_with_pages_of_4_kib() {
    cut_off::<4096>(TornUnit::Sector);
}

#[test]
fn punching_that_is_cut_off_loses_nothing_with_pages_of_16_kib() {
    cut_off::<16384>(TornUnit::Block);
}

#[test]
fn after_punching_a_bad_block_costs_nothing() {
    for (start, durability) in Start::ALL.into_iter().flat_map(|start| DURABILITIES.map(|chosen| (start, chosen))) {
        for before in freeing() {
            let mut lab = Lab::<4096>::start_with(PagerOptions::new().durability(durability), start);
            before.iter().for_each(|operation| lab.run(operation).expect("nothing fails"));
            let calls = lab.disk.calls(CallKind::Punch);
            lab.run(&Operation::PunchHoles).expect("nothing fails");
            if lab.disk.calls(CallKind::Punch) == calls + 1 {
                // It was asked whether it can be done, and there is nothing to be punched.
                continue;
            }
            for block in 0..5u64 {
                let mut image = lab.disk.durable_image();
                image.write(block * 4096, &[0x55; 4096]);
                let opened = PagerOptions::new().open_on::<4096>(&SimDisk::from_image(image));
                let pager = match opened {
                    Ok(pager) => pager,
                    // Metadata that a slot names is a promise.
                    Err(error) if block >= 3 => {
                        assert!(error.is_corruption(), "{error}");
                        continue;
                    }
                    Err(error) => panic!("block {block}: {error}"),
                };
                compare(&pager, &lab.model, &|_, page| Some(vec![page.fill]), 0);
                assert_eq!(pager.check(), [], "block {block}");
            }
        }
    }
}

#[test]
fn a_call_that_fails_while_holes_are_punched_loses_nothing() {
    let mut failed = 0;
    let starts = [Start::HalfFull, Start::JustGrown];
    for (start, before) in starts.into_iter().flat_map(|start| freeing().into_iter().map(move |ops| (start, ops))) {
        let operations = [before, vec![Operation::PunchHoles, Operation::AllocBulk(9)]].concat();
        for (kind, for_ever) in [CallKind::Punch, CallKind::Write, CallKind::Barrier, CallKind::Allocate]
            .into_iter()
            .flat_map(|kind| [false, true].map(|for_ever| (kind, for_ever)))
        {
            let mut n = 1;
            let call = |n| FailingCall { kind, n, error: io::ErrorKind::StorageFull, for_ever, after: None };
            while call(n).run_on::<4096>(start, &operations) {
                n += 1;
            }
            failed += n - 1;
        }
    }
    assert!(failed > 500, "{failed} calls failed");
}

#[test]
fn where_space_cannot_be_given_back_nothing_is_done() {
    let mut lab = Lab::<4096>::start_with(PagerOptions::new().durability(Durability::None), Start::HalfFull);
    lab.run(&Operation::Free(0)).expect("nothing fails");
    lab.disk.fail(FaultPlan::nth(CallKind::Punch, 1).kind(io::ErrorKind::Unsupported));
    let (writes, before) = (lab.disk.calls(CallKind::Write), lab.disk.cached_image());
    let pager = lab.pager.as_mut().expect("it is open");
    assert_eq!(pager.punch_holes().expect("it is no error"), None);
    assert!(pager.durable_generation() < pager.generation(), "what waits goes on waiting");
    assert_eq!((lab.disk.calls(CallKind::Write), lab.disk.cached_image() == before), (writes, true));
}
