//! Giving the space of free pages back, on the simulated disk; what filesystems make of it is in `tests/processes/holes.rs`, what
//! a crash does in `tests/crash/punching.rs`.

use std::io;

use diptych::{CallKind, Durability, Error, FaultPlan, PageId, Pager, PagerOptions, SimDisk};

const P: usize = 4096;

fn is_full(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
}

fn holds(pager: &Pager<P>, id: PageId<P>, fill: u8) -> bool {
    id.get(pager).unwrap().iter().all(|byte| *byte == fill)
}

/// The blocks that a file occupies need not show its holes: here the disk knows of none. The metadata says so.
#[test]
fn whoever_opens_a_punched_file_allocates_space_before_a_page_is_handed_out() {
    for (punches, reads) in [(false, false), (true, false), (true, true)] {
        let disk = SimDisk::new();
        let mut pager = PagerOptions::new().create_on::<P>(&disk).unwrap();
        let ids = pager.alloc_bulk(100).unwrap();
        pager.free_bulk(&ids[..50]).unwrap();
        if punches {
            assert!(pager.punch_holes().unwrap().is_some_and(|given_back| given_back >= 50 * P as u64));
        }
        // Small commits, a checkpoint and sealing say so as well.
        pager.alloc().unwrap();
        let id = pager.alloc_protected().unwrap();
        pager.close().unwrap();
        let disk = SimDisk::from_image(disk.durable_image());
        if reads {
            drop(PagerOptions::new().open_read_only_on::<P>(&disk).unwrap());
        }
        let mut pager = PagerOptions::new().open_on::<P>(&disk).unwrap();
        let calls = disk.calls(CallKind::Allocate);
        pager.alloc_bulk(3).unwrap();
        pager.free_protected(id).unwrap();
        pager.alloc_protected().unwrap();
        assert_eq!(disk.calls(CallKind::Allocate) > calls, punches);
    }
}

#[test]
fn what_is_punched_is_not_zeroed_again() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<P>(&disk).unwrap();
    let ids = pager.alloc_bulk(60).unwrap();
    ids.iter().for_each(|id| pager.page_mut(*id).unwrap().fill(7));
    pager.free_bulk(&ids).unwrap();
    pager.punch_holes().unwrap().unwrap();
    let first = disk.log().len();
    let again = pager.alloc_bulk(60).unwrap();
    let written = |disk: &SimDisk| {
        let pages = (ids[0].to_u64() * P as u64)..((ids[59].to_u64() + 1) * P as u64);
        disk.log()[first..].iter().any(|call| call.kind == CallKind::Write && pages.contains(&call.offset))
    };
    assert!(again.iter().all(|id| holds(&pager, *id, 0)) && !written(&disk));
    // Of pages that somebody had since, zeros are written.
    pager.page_mut(again[5]).unwrap().fill(8);
    pager.free(again[5]).unwrap();
    assert_eq!(pager.alloc().unwrap(), again[5]);
    assert!(holds(&pager, again[5], 0) && written(&disk));
}

#[test]
fn a_pager_that_is_poisoned_punches_nothing() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<P>(&disk).unwrap();
    let ids = pager.alloc_bulk(60).unwrap();
    pager.free_bulk(&ids[..30]).unwrap();
    disk.fail(FaultPlan::nth(CallKind::Barrier, 1));
    pager.alloc().unwrap_err();
    let calls = disk.calls(CallKind::Punch);
    assert!(matches!(pager.punch_holes(), Err(Error::Poisoned)));
    assert_eq!(disk.calls(CallKind::Punch), calls);
}

/// A full disk is met while the smaller total is sealed, or the same one before holes are punched: where leaves have no space yet.
#[test]
fn a_full_disk_while_a_sparse_file_is_shrunk_or_punched_loses_nothing() {
    let mut refused = 0;
    for (durability, shrinks) in [Durability::OneBarrier, Durability::TwoBarriers, Durability::None]
        .into_iter()
        .flat_map(|durability| [(durability, true), (durability, false)])
    {
        for limit in 120..220 {
            let disk = SimDisk::new();
            let options = PagerOptions::new().sparse(true).durability(durability);
            drop(options.create_on::<P>(&disk).unwrap());
            // Opening writes the reserved region, which the simulated disk calls a hole until then.
            let mut pager = options.open_on::<P>(&disk).unwrap();
            let ids = pager.alloc_bulk(120).unwrap();
            ids.iter().for_each(|id| pager.page_mut(*id).unwrap().fill(7));
            let twins = pager.alloc_protected_bulk(20).unwrap();
            pager.free_bulk(&ids[60..]).unwrap();
            pager.free_protected_bulk(&twins[..10]).unwrap();
            disk.set_space_limit(Some(limit * P as u64));
            let done = if shrinks { pager.shrink().map(drop) } else { pager.punch_holes().map(drop) };
            if let Err(error) = done {
                refused += 1;
                assert!(is_full(&error) && !error.needs_reopen(), "{error}");
            }
            let shows = |pager: &Pager<P>| {
                assert!(pager.iter_allocated_pages().eq(ids[..60].iter().copied()));
                assert!(ids[..60].iter().all(|id| holds(pager, *id, 7)));
                assert!(pager.iter_allocated_protected_pages().eq(twins[10..].iter().copied()));
                assert_eq!(pager.check(), []);
            };
            shows(&pager);
            disk.set_space_limit(None);
            pager.sync().unwrap();
            shows(&PagerOptions::new().open_on::<P>(&SimDisk::from_image(disk.durable_image())).unwrap());
            pager.shrink().unwrap();
            shows(&pager);
        }
    }
    assert!(refused > 0, "no disk was full");
}
