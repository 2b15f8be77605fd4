//! Power cuts and failed syncs: torn superblocks, all subsets of a commit, borders of the free map, stores and syncs.

use std::collections::HashSet;
use std::ops::ControlFlow;

use crashlab::failing_call::attempted_on;
use crashlab::interrupted::{Interrupted, Left, Share};
use crashlab::lab::{Lab, Start};
use crashlab::model::Model;
use crashlab::operation::{End, Operation, Step};
use crashlab::verify::{reported, verify};
use crashlab::workload::each_operation;
use diptych::{
    CallKind, CrashOptions, CrashPoint, Damage, Durability, Error, FaultPlan, PageId, Pager, PagerOptions, SimDisk,
    SimImage, Subset, TornUnit,
};

const RESERVED_LEN: u64 = 20480;

/// A file to start from, opened so that its commits pass that many barriers.
fn start_with<const P: usize>(start: Start, durability: Durability) -> Lab<P> {
    let mut lab = Lab::<P>::start(start);
    if durability != Durability::default() {
        lab = lab.reopened_with(PagerOptions::new().durability(durability));
        lab.run(&Operation::Reopen).expect("nothing fails");
        lab.disk.forget_history();
    }
    lab
}

/// Runs an operation and returns what there was before, and the first epoch that it may have touched.
fn run_one<const P: usize>(lab: &mut Lab<P>, operation: &Operation) -> (Model, usize) {
    let (before, epoch) = (lab.model.clone(), lab.disk.epoch_count() - 1);
    lab.run(operation).expect("nothing fails");
    (before, epoch)
}

/// Every unit of the reserved region that the last epochs wrote, torn at every byte where that shows.
fn tear_the_reserved_region<const P: usize>(lab: &Lab<P>, before: &Model, first: usize, torn_unit: TornUnit) -> usize {
    let mut seen = HashSet::new();
    let interrupted = Interrupted::operation(&lab.disk, first, before, &lab.model);
    for epoch in interrupted.epochs() {
        let writes = lab.disk.epoch(epoch).expect("it was recorded");
        let mut units = writes.dirty_sectors();
        units.iter_mut().for_each(|sector| *sector = *sector * 512 / torn_unit.len() as u64);
        units.dedup();
        let length = *writes.lengths().last().expect("a file has a length");
        for (unit, _) in units.iter().enumerate().filter(|(_, at)| **at * (torn_unit.len() as u64) < RESERVED_LEN) {
            for (at, [old, new]) in (1..torn_unit.len()).flat_map(|at| [(at, [0, 1]), (at, [1, 0])]) {
                let damage = Some(Damage::Torn { unit, old, new, at });
                // Beside it nothing else of its window arrived, or everything.
                for subset in [Subset::Prefix(0), Subset::AllBut { unit, version: 0 }] {
                    let point = CrashPoint { epoch, torn_unit, subset, length, tail: Default::default(), damage };
                    let Some(left) = interrupted.left_at(&point) else { continue };
                    if seen.insert(left.fingerprint) {
                        reported(point, || left.verify::<P>());
                    }
                }
            }
        }
    }
    seen.len()
}

#[test]
fn a_superblock_torn_at_any_byte_opens_at_the_commit_before_or_after() {
    let operations = [
        Operation::AllocProtected,
        Operation::Alloc,
        Operation::Transaction(vec![Step::Header(0x5a), Step::FreeProtected(0)], End::Commit),
        Operation::Reopen,
    ];
    let mut torn = 0;
    let both = [Durability::OneBarrier, Durability::TwoBarriers];
    for (start, durability) in
        [Start::Fresh, Start::HalfFull].into_iter().flat_map(|start| both.map(|how| (start, how)))
    {
        // Twice, so that each slot and each copy of the metadata is the one that is torn.
        let mut lab = start_with::<4096>(start, durability);
        for operation in operations.iter().chain(&operations) {
            let (before, first) = run_one(&mut lab, operation);
            for torn_unit in [TornUnit::Sector, TornUnit::Block] {
                torn += tear_the_reserved_region(&lab, &before, first, torn_unit);
            }
        }
    }
    assert!(torn > 2_000, "{torn} torn states");
}

fn each_state(interrupted: &Interrupted<'_>, options: &CrashOptions, share: Share, mut look: impl FnMut(&Left<'_>)) {
    let _ = interrupted.each_state::<()>(options, share, &mut HashSet::new(), |left| {
        reported(left.point(), || look(left));
        ControlFlow::Continue(())
    });
}

/// All 2^n states of the n sectors of each window, nothing drawn; but of the zeros that fill a recycled page behind the commit,
/// which are 32 sectors of a page of 16 KiB.
fn all_subsets<const P: usize>(lab: &Lab<P>, before: &Model, first: usize) -> usize {
    let options = CrashOptions::new().exhaustive_limit(16).sample_limit(0).page_size(P as u64);
    let interrupted = Interrupted::operation(&lab.disk, first, before, &lab.model);
    let behind = interrupted.epochs().last().filter(|_| P == 16384);
    each_state(&interrupted, &options, Share::ALL, |left| {
        let CrashPoint { epoch, subset, .. } = left.point();
        assert!(matches!(subset, Subset::Exact(_)) || Some(epoch) == behind, "every subset is taken, none is drawn");
        left.verify::<P>();
    });
    interrupted.epochs().map(|epoch| lab.disk.crash_states(epoch, &options).len()).sum()
}

fn all_subsets_of_commits<const P: usize>(durability: Durability) -> usize {
    let mut largest = 0;
    for start in Start::ALL {
        let mut lab = start_with::<P>(start, durability);
        let several = vec![Step::Alloc, Step::Free(0), Step::Alloc, Step::WriteProtected(0, 0x61)];
        let mut operations = vec![Operation::Alloc, Operation::Free(0), Operation::AllocProtected, Operation::Alloc];
        if P < 16384 {
            operations.push(Operation::Transaction(several, End::Commit));
        }
        for operation in &operations {
            let (before, first) = run_one(&mut lab, operation);
            largest = largest.max(all_subsets(&lab, &before, first));
            if P == 16384 {
                // Else its zeros are on their way through the first window of the next one, too.
                lab.run(&Operation::Sync).expect("nothing fails");
            }
        }
    }
    largest
}

#[test]
fn every_subset_of_the_sectors_of_a_commit_opens_and_loses_nothing() {
    // A small commit writes less.
    for (durability, least) in [(Durability::TwoBarriers, [128, 4097, 64]), (Durability::OneBarrier, [32, 1025, 64])] {
        let largest = [
            all_subsets_of_commits::<1024>(durability),
            all_subsets_of_commits::<4096>(durability),
            all_subsets_of_commits::<16384>(durability),
        ];
        let enough = largest.iter().zip(least).all(|(states, least)| *states >= least);
        assert!(enough, "{largest:?} states of one commit at the most");
    }
}

/// Pages that one leaf of the free map covers.
const PAGES_PER_LEAF: u64 = 16_128;

/// The file may not become longer than so many pages, a few behind the border, where a leaf would not fit or just so.
fn end_at(image: &SimImage, pages: u64) {
    let disk = SimDisk::from_image(image.clone());
    disk.record(false);
    let limited = PagerOptions::new().max_file_bytes(pages * 1024);
    let mut pager = limited.open_on::<1024>(&disk).expect("it is whole");
    let error = (0..40).find_map(|_| pager.alloc().err()).expect("the limit is near");
    assert!(matches!(error, Error::Full { limit, .. } if limit == pages), "{error}");
    assert!(matches!(pager.alloc_protected(), Err(Error::Full { .. })));
    assert_eq!(pager.check(), []);
    pager.close().expect("nothing is in the way of closing");
    let mut pager = PagerOptions::new().open_on::<1024>(&disk).expect("it was closed");
    let more = pager.alloc_bulk(20).expect("there is no limit");
    assert!(more[19].to_u64() > pages);
    assert_eq!(pager.check(), []);
}

/// Allocates up to a few pages before a border, then one by one over it, each cut off.
fn cross_border(lab: &mut Lab<1024>, border: u64) {
    lab.disk.record(false);
    let total = |lab: &Lab<1024>| lab.model.regular.keys().last().copied().unwrap_or(0);
    while total(lab) + 4 < border {
        let count = u8::try_from((border - 4 - total(lab)).min(250)).expect("at most 250");
        lab.run(&Operation::AllocBulk(count)).expect("nothing fails");
    }
    let before = lab.disk.crash_now(|_| true);
    (0..=12).for_each(|behind| end_at(&before, border + behind));
    lab.disk.record(true);
    let options = CrashOptions::new().sample_limit(4).exhaustive_limit(3).page_size(1024);
    let mut highest = total(lab);
    while highest <= border + 12 {
        lab.disk.forget_history();
        let (before, first) = run_one(lab, &Operation::Alloc);
        assert!(total(lab) > highest, "the pages behind the border are handed out in their order");
        highest = total(lab);
        let interrupted = Interrupted::operation(&lab.disk, first, &before, &lab.model);
        let share = Share { states: 5 * interrupted.epochs().len(), seed: highest };
        each_state(&interrupted, &options, share, |left| {
            left.verify::<1024>();
        });
    }
    assert_eq!(lab.pager.as_ref().expect("it is open").check(), []);
}

#[test]
fn a_file_grows_over_every_border_of_the_free_map_and_may_be_cut_off_there() {
    // It grows by no more than is needed.
    let mut lab = Lab::<1024>::with_options(PagerOptions::new().growth_limit(1024));
    for leaves in 1..=3 {
        cross_border(&mut lab, leaves * PAGES_PER_LEAF);
    }
    lab.run(&Operation::Reopen).expect("nothing fails");
    lab.compare();
}

/// From 17 leaves on their entries stand in nodes.
#[test]
fn a_file_grows_past_the_leaves_that_the_metadata_has_room_for() {
    let disk = SimDisk::new();
    disk.record(false);
    let mut pager = PagerOptions::new().create_on::<1024>(&disk).expect("the disk is empty");
    let first = pager.alloc_bulk(16 * 16_000).expect("there is room");
    for _ in 0..3 {
        let more = pager.alloc_bulk(9_000).expect("there is room");
        assert!(more[0] > first[first.len() - 1]);
        assert_eq!(pager.check(), []);
    }
    let pages = pager.allocated_page_count();
    drop(pager);
    let pager =
        PagerOptions::new().open_on::<1024>(&SimDisk::from_image(disk.crash_now(|_| false))).expect("it is durable");
    assert_eq!((pager.allocated_page_count(), pager.check()), (pages, vec![]));
}

/// Barrier `n` of an operation fails; then everything is tried again.
fn fail_barrier(start: Start, operation: &Operation, n: u64, for_ever: bool) -> bool {
    let mut lab = Lab::<4096>::start(start);
    let before = lab.model.clone();
    let first = lab.disk.epoch_count() - 1;
    let plan = FaultPlan::nth(CallKind::Barrier, n);
    lab.disk.fail(if for_ever { plan.for_ever() } else { plan });
    let failed = lab.run(operation);
    let fired = lab.disk.faults_fired() > 0;
    lab.disk.clear_faults();
    let Err(error) = failed else {
        assert!(!fired, "a barrier failed and {operation:?} succeeds");
        return false;
    };
    assert!(matches!(error, Error::Io { op: "sync", .. }), "{operation:?}: {error}");
    let attempted = attempted_on::<4096>(start, &[], operation);
    if lab.pager.is_some() {
        for retried in [operation, &Operation::Sync, &Operation::Alloc, operation, &Operation::Reopen] {
            // A drop is no success: it says nothing.
            if matches!(retried, Operation::Drop) {
                continue;
            }
            let again = lab.run(retried).expect_err("nothing changes any more");
            assert!(matches!(again, Error::Poisoned), "{operation:?}, then {retried:?}: {again}");
        }
    }
    lab.pager = None;
    let options = CrashOptions::new().sample_limit(20).exhaustive_limit(6);
    let interrupted = Interrupted::failed(&lab.disk, first, &before, &attempted);
    each_state(&interrupted, &options, Share::ALL, |left| {
        left.verify::<4096>();
    });
    // What opening it again in the same boot says is what the disk holds from then on.
    let pager = PagerOptions::new().open_on::<4096>(&lab.disk).expect("the same boot opens it");
    let generation = pager.generation();
    let durable = PagerOptions::new().open_on::<4096>(&SimDisk::from_image(lab.disk.crash_now(|_| false)));
    assert_eq!(durable.expect("it was opened before").generation(), generation, "{operation:?}");
    true
}

#[test]
fn after_any_failed_sync_every_retry_is_refused_and_the_disk_holds_what_was_acknowledged() {
    let mut failures = 0;
    for start in [Start::HalfFull, Start::Full] {
        for operation in each_operation() {
            for for_ever in [false, true] {
                failures += (1..).take_while(|n| fail_barrier(start, &operation, *n, for_ever)).count();
            }
        }
    }
    assert!(failures > 60, "{failures} barriers failed");
}

/// What may come between a store and the success that covers it: every operation, whole or with a call that fails.
fn between() -> Vec<(Operation, Option<FaultPlan>)> {
    let mut all: Vec<(Operation, Option<FaultPlan>)> = Vec::new();
    for operation in each_operation() {
        all.push((operation.clone(), None));
        for kind in [CallKind::Write, CallKind::Grow, CallKind::Map, CallKind::Read] {
            all.extend([1, 2].map(|n| (operation.clone(), Some(FaultPlan::nth(kind, n)))));
        }
    }
    all
}

/// Stores to a page in one of the ways that there are.
fn store(pager: &mut Pager<4096>, id: PageId<4096>, way: u8, fill: u8) {
    match way {
        0 => pager.page_mut(id).expect("allocated").fill(fill),
        1 => pager.get_many_mut([id]).expect("allocated").into_iter().for_each(|page| page.fill(fill)),
        _ => id.get_mut(pager).expect("allocated").fill(fill),
    }
}

#[test]
fn a_store_is_durable_after_the_next_success_whatever_came_between() {
    let header = Operation::Transaction(vec![Step::Header(0x7b)], End::Commit);
    let covers = [Operation::Sync, header, Operation::Alloc, Operation::Reopen];
    let mut covered = 0;
    for (number, (operation, fault)) in between().into_iter().enumerate() {
        for (way, cover) in (0..3u8).flat_map(|way| covers.iter().map(move |cover| (way, cover))) {
            let mut lab = Lab::<4096>::start(Start::HalfFull);
            lab.disk.record(false);
            lab.disk.set_write_back((number % 2 == 1).then_some(number as u64));
            let page = lab.model.pick_regular(1).expect("the file is half full");
            lab.model.regular.get_mut(&page).expect("it is there").store(0xd1);
            let id = PageId::from_u64(page).expect("the model holds ids");
            store(lab.pager.as_mut().expect("it is open"), id, way, 0xd1);
            if let Some(fault) = fault.clone() {
                lab.disk.fail(fault);
            }
            let _ = lab.run(&operation);
            lab.disk.clear_faults();
            if lab.pager.is_none() || lab.run(cover).is_err() {
                // The failure poisoned the pager, so nothing was acknowledged.
                continue;
            }
            covered += 1;
            if matches!(cover, Operation::Alloc) {
                // What was handed out by the last commit has not been written by anybody.
                assert_eq!(lab.model.regular.values().filter(|page| !page.settled).count(), 1);
            } else {
                assert!(lab.model.regular.values().all(|page| page.settled), "{operation:?}, {cover:?}");
            }
            let checked = || verify::<4096>(lab.disk.crash_now(|_| false), &lab.model, &lab.model, 0);
            if let Err(message) = crashlab::verify::caught(checked) {
                panic!("store, {operation:?} with {fault:?}, {cover:?}: {message}");
            }
        }
    }
    assert!(covered > 1500, "{covered} successes");
}
