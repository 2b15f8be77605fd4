//! What a pager asks of the disk, and what it leaves unasked: counted in the log of the simulated disk.

use std::io::ErrorKind;

use diptych::{Call, CallKind, Durability, FaultPlan, Pager, PagerOptions, SimDisk};

use crate::places::{Place, assert_whole, failure};

const P: usize = 4096;

/// The calls of one kind that the disk got during an operation.
fn calls_of(disk: &SimDisk, kind: CallKind, operation: impl FnOnce()) -> Vec<Call> {
    let before = disk.log().len();
    operation();
    disk.log().into_iter().skip(before).filter(|call| call.kind == kind).collect()
}

fn create(disk: &SimDisk) -> Pager<P> {
    PagerOptions::new().create_on(disk).expect("the disk is empty")
}

/// A commit that writes so many fresh pages.
fn write_pages(pager: &mut Pager<P>, count: usize) {
    let mut transaction = pager.transaction().expect("nothing is wrong");
    let ids = transaction.alloc_bulk(count).expect("there is room");
    ids.iter().for_each(|id| transaction.page_mut(*id).expect("it is fresh").fill(7));
    transaction.commit().expect("there is room");
}

#[test]
fn every_page_handed_out_of_a_hole_has_space_behind_it() {
    let disk = SimDisk::new();
    let sparse = PagerOptions::new().sparse(true);
    let mut pager = sparse.create_on::<P>(&disk).expect("the disk is empty");
    let kept = pager.alloc_bulk(400).expect("there is room");
    pager.free_bulk(kept.iter().copied().step_by(2).collect::<Vec<_>>()).expect("they are allocated");
    for options in [sparse, PagerOptions::new()] {
        let (free, mut handed_out) = (pager.free_page_count(), 0);
        assert!(free > 60, "{free} pages are free in what the file has grown to");
        let allocated = calls_of(&disk, CallKind::Allocate, || {
            handed_out = pager.alloc_bulk(60).expect("there is room").len() as u64;
        });
        assert_eq!(allocated.iter().map(|call| call.len).sum::<u64>(), handed_out * P as u64);
        pager.close().expect("nothing is in the way");
        pager = options.open_on(&disk).expect("it is whole");
    }
    // The file that has holes is opened as any other, and they are seen.
    assert!(
        !calls_of(&disk, CallKind::Allocate, || {
            pager.alloc().expect("there is room");
        })
        .is_empty()
    );
}

#[test]
fn a_file_without_holes_is_asked_for_no_space() {
    let disk = SimDisk::new();
    let mut pager = create(&disk);
    assert_eq!(calls_of(&disk, CallKind::Allocate, || drop(pager.alloc_bulk(500).expect("there is room"))), []);
}

#[test]
fn what_a_dropped_transaction_let_the_file_grow_by_serves_the_next_one() {
    let disk = SimDisk::new();
    let mut pager = create(&disk);
    let mut grow = || {
        let mut transaction = pager.transaction().expect("nothing is wrong");
        transaction.alloc_bulk(5000).expect("there is room");
    };
    assert_ne!(calls_of(&disk, CallKind::Grow, &mut grow), []);
    assert_eq!(calls_of(&disk, CallKind::Grow, &mut grow), []);
}

#[test]
fn a_page_near_one_that_the_file_has_grown_by_already_is_taken_there() {
    let mut pager = create(&SimDisk::new());
    let total = pager.page_count();
    pager.transaction().and_then(|mut transaction| transaction.alloc_bulk(5000).map(drop)).expect("there is room");
    assert_eq!(pager.page_count(), total);
    assert_eq!(pager.alloc_near(total + 100).expect("there is room").to_u64(), total + 100);
    assert_whole(&pager);
}

#[test]
fn growth_that_fails_for_want_of_space_alone_is_tried_again_smaller() {
    for (kind, again) in [(ErrorKind::StorageFull, true), (ErrorKind::PermissionDenied, false)] {
        let disk = SimDisk::new();
        let mut pager = create(&disk);
        disk.fail(FaultPlan::nth(CallKind::Grow, 1).kind(kind));
        let mut grown = None;
        let calls = calls_of(&disk, CallKind::Grow, || grown = Some(pager.alloc_bulk(500)));
        assert_eq!((calls.len() > 1, grown.expect("it was called").is_ok()), (again, again), "{kind}");
        assert_whole(&pager);
    }
}

#[test]
fn a_protected_page_is_read_for_its_verification_once_however_many_there_are() {
    for count in [64, 65, 2500] {
        let disk = SimDisk::new();
        let mut pager = create(&disk);
        let ids = pager.alloc_protected_bulk(count).expect("there is room");
        let touch = |pager: &Pager<P>| {
            calls_of(&disk, CallKind::Read, || {
                ids.iter()
                    .for_each(|id| assert!(id.get(pager).expect("it is allocated").iter().all(|byte| *byte == 0)));
            })
        };
        assert_eq!(touch(&pager), [], "what was written just now is good");
        pager.close().expect("nothing is in the way");
        let pager = PagerOptions::new().open_on(&disk).expect("it is whole");
        assert_eq!((touch(&pager).len(), touch(&pager).len()), (count, 0));
    }
}

#[test]
fn a_sync_waits_for_what_was_stored_and_for_the_zeros_of_pages_that_were_used_before_and_for_nothing_else() {
    let disk = SimDisk::new();
    let mut pager = create(&disk);
    let sync = |pager: &mut Pager<P>| calls_of(&disk, CallKind::Barrier, || pager.sync().expect("nothing fails")).len();
    let first = pager.alloc().expect("there is room");
    assert_eq!(sync(&mut pager), 0, "it was never used");
    first.get_mut(&mut pager).expect("it is allocated").fill(1);
    assert_eq!((sync(&mut pager), sync(&mut pager)), (1, 0));
    pager.free(first).expect("it is allocated");
    assert_eq!(sync(&mut pager), 0);
    assert_eq!(pager.alloc().expect("there is room"), first);
    assert_eq!((sync(&mut pager), sync(&mut pager)), (1, 0));
}

#[test]
fn a_checkpoint_of_more_regular_pages_than_its_metadata_lists_passes_one_more_barrier() {
    for (pages, barriers) in [(160, 2), (161, 3)] {
        let disk = SimDisk::new();
        let options = PagerOptions::new().durability(Durability::TwoBarriers);
        let mut pager = options.create_on::<P>(&disk).expect("the disk is empty");
        pager.alloc_bulk(1000).and_then(|ids| pager.free_bulk(ids)).expect("there is room");
        assert_eq!(calls_of(&disk, CallKind::Barrier, || write_pages(&mut pager, pages)).len(), barriers);
    }
}

#[test]
fn a_commit_writes_neighbours_in_one_call_but_no_more_than_64_kib() {
    let disk = SimDisk::new();
    let mut pager = create(&disk);
    pager.alloc_bulk(4000).and_then(|ids| pager.free_bulk(ids)).expect("there is room");
    let written = calls_of(&disk, CallKind::Write, || write_pages(&mut pager, 3000));
    let of_pages: Vec<u64> = written.iter().map(|call| call.len).filter(|len| *len > P as u64).collect();
    assert_eq!((of_pages.iter().sum::<u64>(), of_pages.len()), (3000 * P as u64, 188));
    assert_eq!(of_pages.iter().max(), Some(&(64 << 10)));
}

#[test]
fn the_first_commit_of_a_protected_page_writes_both_copies_where_space_is_allocated_ahead() {
    for (sparse, pages) in [(false, 2), (true, 1)] {
        let disk = SimDisk::new();
        let mut pager = PagerOptions::new().sparse(sparse).create_on::<P>(&disk).expect("the disk is empty");
        pager.alloc_protected().expect("there is room");
        let written = calls_of(&disk, CallKind::Write, || {
            pager.alloc_protected().expect("there is room");
        });
        // And the slot.
        assert_eq!(written.iter().map(|call| call.len).sum::<u64>(), (pages + 1) * P as u64, "sparse: {sparse}");
    }
}

#[test]
fn zeros_are_written_over_a_run_of_pages_that_were_used_before_in_few_calls() {
    let disk = SimDisk::new();
    let mut pager = create(&disk);
    let ids = pager.alloc_bulk(2000).expect("there is room");
    pager.free_bulk(ids).expect("they are allocated");
    let written = calls_of(&disk, CallKind::Write, || drop(pager.alloc_bulk(2000).expect("there is room")));
    assert!(written.iter().map(|call| call.len).sum::<u64>() > 2000 * P as u64);
    assert!(written.len() < 200, "{} calls", written.len());
}

#[test]
fn a_pager_that_is_dropped_gives_back_what_no_commit_took() {
    let place = Place::file();
    let mut pager = place.create::<P>();
    pager.alloc().expect("there is room");
    let len = || place.path().metadata().expect("it is there").len();
    let before = len();
    pager.transaction().and_then(|mut transaction| transaction.alloc_bulk(5000).map(drop)).expect("there is room");
    assert!(len() > before);
    drop(pager);
    assert_eq!(len(), before);
}

#[test]
fn a_poisoned_pager_cuts_nothing_off_when_it_is_dropped() {
    let disk = SimDisk::new();
    let mut pager = create(&disk);
    let kept = pager.alloc().expect("there is room");
    pager.transaction().and_then(|mut transaction| transaction.alloc_bulk(5000).map(drop)).expect("there is room");
    disk.fail(FaultPlan::nth(CallKind::Barrier, 1));
    kept.get_mut(&mut pager).expect("it is allocated").fill(1);
    failure(pager.sync());
    assert_eq!(calls_of(&disk, CallKind::Cut, || drop(pager)), []);
}

#[test]
fn a_tail_that_nobody_names_is_cut_off_by_closing() {
    let place = Place::file();
    let mut pager = place.create::<P>();
    pager.alloc().expect("there is room");
    pager.close().expect("nothing is in the way");
    let len = || place.path().metadata().expect("it is there").len();
    let before = len();
    let file = std::fs::File::options().write(true).open(place.path()).expect("it is there");
    file.set_len(before + 10_000).expect("there is room");
    drop(file);
    let pager = place.open::<P>();
    assert_eq!(pager.recovery().tail_bytes, 10_000);
    pager.close().expect("nothing is in the way");
    assert_eq!(len(), before);
}

#[test]
fn what_a_failed_growth_left_behind_is_cut_off_by_closing() {
    let disk = SimDisk::new();
    let mut pager = create(&disk);
    let before = disk.cached_image().len();
    // The file becomes longer, and then the map of it fails.
    disk.fail(FaultPlan::nth(CallKind::Map, 1));
    failure(pager.alloc_bulk(500));
    assert!(disk.cached_image().len() > before);
    pager.close().expect("nothing is in the way");
    assert_eq!(disk.cached_image().len(), before);
}
