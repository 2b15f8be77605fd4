//! Regular pages are stored to in place, and a sync makes what was stored durable.

use std::thread;

use diptych::{CallKind, Error, FaultPlan, Pager, PagerOptions, SimDisk};

use crate::places::{Place, assert_whole, failure, shape};

#[test]
fn what_is_stored_shows_at_once_and_after_reopening() {
    for place in Place::both() {
        let mut pager = place.create::<4096>();
        let id = pager.alloc().expect("there is room");
        id.get_mut(&mut pager).expect("allocated").as_bytes_mut()[..5].copy_from_slice(b"hello");
        assert!(id.get(&pager).expect("allocated").starts_with(b"hello"));
        pager.sync().expect("nothing is in the way");
        let pager = place.reopen(pager);
        assert!(pager.page(id).expect("allocated").starts_with(b"hello"));
        assert_whole(&pager);
    }
}

#[test]
fn what_was_stored_before_a_sync_survives_a_power_cut() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<4096>(&disk).expect("the disk is empty");
    let (synced, not_synced) = (pager.alloc().expect("there is room"), pager.alloc().expect("there is room"));
    pager.page_mut(synced).expect("allocated").fill(1);
    pager.sync().expect("nothing is in the way");
    pager.page_mut(not_synced).expect("allocated").fill(2);

    let crashed = SimDisk::from_image(disk.durable_image());
    let after = PagerOptions::new().open_on::<4096>(&crashed).expect("it recovers");
    assert!(synced.get(&after).expect("allocated").iter().all(|byte| *byte == 1));
    assert!(not_synced.get(&after).expect("allocated").iter().all(|byte| *byte == 0));
    assert_whole(&after);
}

#[test]
fn a_sync_without_stores_costs_nothing_and_a_commit_syncs_stores() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<4096>(&disk).expect("the disk is empty");
    let id = pager.alloc().expect("there is room");
    let barriers = disk.calls(CallKind::Barrier);
    pager.sync().expect("nothing is in the way");
    assert_eq!(disk.calls(CallKind::Barrier), barriers);
    pager.page_mut(id).expect("allocated").fill(1);
    pager.sync().expect("nothing is in the way");
    pager.sync().expect("nothing is in the way");
    assert_eq!(disk.calls(CallKind::Barrier), barriers + 1);
    pager.page_mut(id).expect("allocated").fill(2);
    pager.alloc().expect("there is room");
    let after = PagerOptions::new().open_on::<4096>(&SimDisk::from_image(disk.durable_image())).expect("it is whole");
    assert_eq!(id.get(&after).expect("allocated")[0], 2);
    assert_whole(&pager);
}

#[test]
fn several_pages_are_changed_at_once_and_none_twice() {
    for place in Place::both() {
        let mut pager = place.create::<1024>();
        let ids = pager.alloc_bulk(4).expect("there is room");
        let [a, b, c] = pager.get_many_mut([ids[2], ids[0], ids[3]]).expect("they are allocated");
        (a[0], b[0], c[0]) = (2, 0, 3);
        b.copy_from_slice(a.as_bytes());
        assert_eq!([0, 1, 2, 3].map(|at: usize| ids[at].get(&pager).expect("allocated")[0]), [2, 0, 2, 3]);
        let none: [&mut diptych::MappedPage<1024>; 0] = pager.get_many_mut([]).expect("nothing is asked for");
        assert!(none.is_empty());
        let error = failure(pager.get_many_mut([ids[1], ids[2], ids[1]]).map(|_| ()));
        assert!(matches!(error, Error::Duplicate { page } if page == ids[1].to_u64()), "{error}");
        assert_whole(&pager);
    }
}

#[test]
fn a_page_begins_at_a_multiple_of_a_kibibyte_wherever_it_lies() {
    fn check<const P: usize>() {
        for place in Place::both() {
            let mut pager = place.create::<P>();
            let (old, protected) =
                (pager.alloc().expect("there is room"), pager.alloc_protected().expect("there is room"));
            let aligned = |page: &diptych::MappedPage<P>| page.as_ptr().align_offset(1024) == 0;
            assert!(aligned(old.get(&pager).expect("allocated")));
            assert!(aligned(protected.get(&pager).expect("allocated")));
            let mut transaction = pager.transaction().expect("nothing is wrong");
            let fresh = transaction.alloc().expect("there is room");
            assert!(aligned(transaction.page(fresh).expect("allocated")));
            assert!(aligned(transaction.page_mut(fresh).expect("allocated")));
            assert!(aligned(transaction.overwrite(old).expect("allocated")));
            assert!(aligned(transaction.protected_mut(protected).expect("allocated")));
        }
    }
    check::<1024>();
    check::<4096>();
    check::<65536>();
}

#[test]
fn after_a_sync_that_failed_nothing_changes_any_more_and_reading_goes_on() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<4096>(&disk).expect("the disk is empty");
    let (id, protected) = (pager.alloc().expect("there is room"), pager.alloc_protected().expect("there is room"));
    pager.page_mut(id).expect("allocated").fill(5);
    let before = shape(&pager);
    disk.fail(FaultPlan::nth(CallKind::Barrier, 1));
    let error = failure(pager.sync());
    assert!(matches!(error, Error::Io { op: "sync", .. }), "{error}");
    let refused = [
        pager.sync(),
        pager.alloc().map(drop),
        pager.alloc_bulk(2).map(drop),
        pager.free(id),
        pager.alloc_protected().map(drop),
        pager.free_protected(protected),
        pager.page_mut(id).map(drop),
        pager.get_many_mut([id]).map(drop),
        pager.protected_mut(protected).map(drop),
        pager.protected_zeroed(protected).map(drop),
        pager.transaction().map(drop),
    ];
    for refused in refused {
        let error = failure(refused);
        assert!(matches!(error, Error::Poisoned) && error.needs_reopen(), "{error}");
    }
    assert_eq!((id.get(&pager).expect("reading goes on")[0], shape(&pager)), (5, before));
    assert!(matches!(pager.close(), Err(Error::Poisoned)));
    let pager = PagerOptions::new().open_on::<4096>(&disk).expect("the lock is free");
    assert!(pager.is_allocated(id) && pager.is_allocated(protected));
    assert_whole(&pager);
}

#[test]
fn a_pager_is_read_by_many_threads() {
    for place in Place::both() {
        let mut pager: Pager<1024> = place.create();
        let ids = pager.alloc_bulk(64).expect("there is room");
        let protected = pager.alloc_protected_bulk(64).expect("there is room");
        for (at, id) in (0u8..).zip(&ids) {
            pager.page_mut(*id).expect("allocated").fill(at);
        }
        let pager = place.reopen(pager);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for (at, (id, protected)) in (0u8..).zip(ids.iter().zip(&protected)) {
                        assert_eq!(id.get(&pager).expect("allocated")[1023], at);
                        assert_eq!(protected.get(&pager).expect("allocated")[1023], 0);
                    }
                });
            }
        });
        let mut pager = thread::spawn(move || pager).join().expect("a pager can be sent");
        pager.alloc().expect("there is room");
        assert_whole(&pager);
    }
}
