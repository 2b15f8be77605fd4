//! A transaction is durable as one, or as if it had never been.

use std::mem;

use diptych::{
    AnyPageId, CallKind, Durability, Error, FaultPlan, MappedPage, PageKind, Pager, PagerOptions, ProtectedPageId,
    SimDisk, Transaction,
};

use crate::places::{Place, assert_whole, failure, page, protected, shape};

const P: usize = 1024;

/// Three regular pages full of 1, 2 and 3, and three protected ones full of 11, 12 and 13.
fn furnished(pager: &mut Pager<P>) -> ([diptych::PageId<P>; 3], [ProtectedPageId<P>; 3]) {
    let mut transaction = pager.transaction().expect("nothing is wrong");
    let pages = [1, 2, 3].map(|fill| {
        let id = transaction.alloc().expect("there is room");
        transaction.page_mut(id).expect("fresh").fill(fill);
        id
    });
    let protected = [11, 12, 13].map(|fill| {
        let id = transaction.alloc_protected().expect("there is room");
        transaction.protected_mut(id).expect("allocated").fill(fill);
        id
    });
    transaction.commit().expect("there is room");
    (pages, protected)
}

fn full_of(page: &MappedPage<P>, fill: u8) -> bool {
    page.iter().all(|byte| *byte == fill)
}

/// One operation of every kind.
fn everything(
    transaction: &mut Transaction<'_, P>,
    (pages, protected): ([diptych::PageId<P>; 3], [ProtectedPageId<P>; 3]),
) -> (diptych::PageId<P>, ProtectedPageId<P>) {
    let fresh = transaction.alloc().expect("there is room");
    transaction.page_mut(fresh).expect("fresh").fill(21);
    let near = transaction.alloc_near(fresh).expect("there is room");
    let bulk = transaction.alloc_bulk(5).expect("there is room");
    transaction.free(near).expect("allocated");
    transaction.free_bulk(&bulk[..2]).expect("allocated");
    transaction.free(pages[0]).expect("allocated");
    transaction.overwrite(pages[1]).expect("allocated").fill(22);
    let fresh_protected = transaction.alloc_protected().expect("there is room");
    transaction.protected_mut(fresh_protected).expect("allocated").fill(31);
    transaction.alloc_protected_bulk(2).and_then(|ids| transaction.free_protected_bulk(ids)).expect("there is room");
    transaction.free_protected(protected[0]).expect("allocated");
    transaction.protected_mut(protected[1]).expect("allocated")[0] = 32;
    transaction.protected_zeroed(protected[2]).expect("allocated")[0] = 33;
    transaction.set_header(b"changed").expect("it fits");
    (fresh, fresh_protected)
}

#[test]
fn operations_of_every_kind_are_one_commit_of_two_barriers() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<P>(&disk).expect("the disk is empty");
    pager.alloc_bulk(300).and_then(|ids| pager.free_bulk(ids)).expect("there is room");
    let (pages, protected) = furnished(&mut pager);
    let (generation, barriers) = (pager.generation().to_u64(), disk.calls(CallKind::Barrier));
    let mut transaction = pager.transaction().expect("nothing is wrong");
    let (fresh, fresh_protected) = everything(&mut transaction, (pages, protected));
    assert_eq!(disk.calls(CallKind::Barrier), barriers);
    transaction.commit().expect("there is room");
    assert_eq!((pager.generation().to_u64(), disk.calls(CallKind::Barrier)), (generation + 1, barriers + 2));

    let crashed = SimDisk::from_image(disk.durable_image());
    let after = PagerOptions::new().open_on::<P>(&crashed).expect("it is whole");
    assert_eq!(shape(&after), shape(&pager));
    for pager in [pager, after] {
        assert!(full_of(fresh.get(&pager).expect("committed"), 21));
        assert!(!pager.is_allocated(pages[0]) && !pager.is_allocated(protected[0]));
        assert!(full_of(pages[1].get(&pager).expect("committed"), 22));
        assert!(full_of(pages[2].get(&pager).expect("untouched"), 3));
        assert!(full_of(fresh_protected.get(&pager).expect("committed"), 31));
        assert_eq!(protected[1].get(&pager).expect("committed")[..2], [32, 12]);
        assert_eq!(protected[2].get(&pager).expect("committed")[..2], [33, 0]);
        assert!(pager.header().starts_with(b"changed\0"));
        assert_eq!((pager.allocated_page_count(), pager.allocated_protected_page_count()), (6, 3));
        assert_whole(&pager);
    }
}

#[test]
fn a_transaction_that_is_dropped_or_leaked_leaves_no_trace() {
    for leak in [false, true] {
        let disk = SimDisk::new();
        let mut pager = PagerOptions::new().create_on::<P>(&disk).expect("the disk is empty");
        pager.alloc_bulk(100).and_then(|ids| pager.free_bulk(ids)).expect("there is room");
        let (pages, protected) = furnished(&mut pager);
        let (before, image) = (shape(&pager), disk.cached_image());
        let mut transaction = pager.transaction().expect("nothing is wrong");
        let first = everything(&mut transaction, (pages, protected));
        if leak {
            mem::forget(transaction)
        } else {
            drop(transaction)
        }
        assert_eq!((shape(&pager), disk.cached_image() == image), (before, true));
        for (fill, (page, protected)) in (1..).zip(pages.iter().zip(&protected)) {
            assert!(full_of(page.get(&pager).expect("allocated"), fill));
            assert!(full_of(protected.get(&pager).expect("allocated"), 10 + fill));
        }
        assert_whole(&pager);

        // The next one finds all as it was, and takes the same ids.
        let mut transaction = pager.transaction().expect("nothing is wrong");
        assert!(full_of(transaction.page(pages[0]).expect("allocated"), 1));
        assert!(matches!(failure(transaction.page(first.0)), Error::WrongKind { found: PageKind::Free, .. }));
        assert_eq!(everything(&mut transaction, (pages, protected)), first);
        transaction.commit().expect("there is room");
        assert_whole(&pager);
    }
}

#[test]
fn what_a_dropped_transaction_let_the_file_grow_by_is_given_back() {
    let place = Place::file();
    let mut pager = place.create::<P>();
    pager.alloc().expect("there is room");
    let (before, len) = (shape(&pager), place.path().metadata().expect("it is there").len());
    pager.transaction().and_then(|mut transaction| transaction.alloc_bulk(5000).map(drop)).expect("there is room");
    assert_eq!(shape(&pager), before);
    assert_whole(&pager);
    pager.transaction().and_then(|mut transaction| transaction.alloc_bulk(9000).map(drop)).expect("there is room");
    assert_eq!(shape(&pager), before);
    pager.close().expect("nothing is in the way");
    assert_eq!(place.path().metadata().expect("it is there").len(), len);
    let mut pager = place.open::<P>();
    assert_eq!(shape(&pager), before.sealed());
    pager.alloc_bulk(2000).expect("there is room");
    assert_whole(&pager);
}

#[test]
fn a_transaction_sees_its_own_changes() {
    for place in Place::both() {
        let mut pager = place.create::<P>();
        let (pages, protected) = furnished(&mut pager);
        let mut transaction = pager.transaction().expect("nothing is wrong");
        let (fresh, fresh_protected) = everything(&mut transaction, (pages, protected));
        assert!(full_of(fresh.get(&transaction).expect("staged"), 21));
        assert!(matches!(failure(pages[0].get(&transaction)), Error::WrongKind { found: PageKind::Free, .. }));
        assert!(full_of(pages[1].get(&transaction).expect("staged"), 22));
        assert!(full_of(pages[2].get(&transaction).expect("live"), 3));
        assert!(full_of(fresh_protected.get(&transaction).expect("staged"), 31));
        assert!(matches!(failure(protected[0].get(&transaction)), Error::NoSuchProtectedPage { .. }));
        assert_eq!(protected[1].get(&transaction).expect("staged")[..2], [32, 12]);
        assert_eq!(protected[2].get(&transaction).expect("staged")[..2], [33, 0]);
        assert!(transaction.header().starts_with(b"changed\0"));
        let untouched = transaction.alloc().expect("there is room");
        let untouched_protected = transaction.alloc_protected().expect("there is room");
        assert!(full_of(transaction.page(untouched).expect("fresh"), 0));
        assert!(full_of(transaction.protected(untouched_protected).expect("fresh"), 0));
        drop(transaction);
        assert_whole(&pager);
    }
}

#[test]
fn a_recycled_page_reads_as_zeros_within_the_transaction_and_after_it() {
    for place in Place::both() {
        let mut pager = place.create::<P>();
        let (pages, _) = furnished(&mut pager);
        pager.free_bulk(pages).expect("allocated");
        let mut transaction = pager.transaction().expect("nothing is wrong");
        let [untouched, looked_at, written] = pages.map(|_| transaction.alloc().expect("there is room"));
        assert_eq!([untouched, looked_at, written], pages);
        assert!(full_of(transaction.page(untouched).expect("fresh"), 0));
        assert!(full_of(transaction.page_mut(looked_at).expect("fresh"), 0));
        transaction.page_mut(written).expect("fresh")[0] = 1;
        transaction.commit().expect("there is room");
        assert!(full_of(untouched.get(&pager).expect("committed"), 0));
        assert!(full_of(looked_at.get(&pager).expect("committed"), 0));
        assert_eq!(written.get(&pager).expect("committed")[..2], [1, 0]);
        assert_whole(&pager);
        let pager = place.reopen(pager);
        assert!(pages.iter().all(|id| id.get(&pager).expect("committed")[1..].iter().all(|byte| *byte == 0)));
    }
}

#[test]
fn page_mut_takes_pages_of_this_transaction_and_overwrite_takes_any() {
    for place in Place::both() {
        let mut pager = place.create::<P>();
        let (pages, _) = furnished(&mut pager);
        let mut transaction = pager.transaction().expect("nothing is wrong");
        let fresh = transaction.alloc().expect("there is room");
        for result in [
            transaction.page_mut(pages[0]).map(drop),
            pages[0].get_mut(&mut transaction).map(drop),
            transaction.get_many_mut([fresh, pages[0]]).map(drop),
        ] {
            let error = failure(result);
            assert!(matches!(error, Error::NotFresh { page } if page == pages[0].to_u64()), "{error}");
        }
        transaction.overwrite(pages[0]).expect("allocated")[0] = 9;
        transaction.overwrite(fresh).expect("allocated")[0] = 8;
        transaction.page_mut(fresh).expect("fresh")[1] = 7;
        transaction.commit().expect("there is room");
        assert_eq!(pages[0].get(&pager).expect("committed")[..2], [9, 1]);
        assert_eq!(fresh.get(&pager).expect("committed")[..3], [8, 7, 0]);
        assert_whole(&pager);
    }
}

#[test]
fn a_page_that_was_freed_is_handed_out_after_the_commit_and_not_before() {
    for place in Place::both() {
        let mut pager = place.create::<P>();
        let (pages, protected) = furnished(&mut pager);
        let mut transaction = pager.transaction().expect("nothing is wrong");
        transaction.free(pages[0]).expect("allocated");
        transaction.free_protected(protected[0]).expect("allocated");
        let fresh = transaction.alloc().expect("there is room");
        assert!(transaction.alloc_bulk(200).expect("there is room").iter().all(|id| *id != pages[0]));
        assert_ne!(fresh, pages[0]);
        assert!(matches!(failure(transaction.free(pages[0])), Error::WrongKind { found: PageKind::Free, .. }));
        assert!(matches!(failure(transaction.overwrite(pages[0])), Error::WrongKind { .. }));
        assert!(matches!(failure(transaction.free_protected(protected[0])), Error::NoSuchProtectedPage { .. }));
        // One of its own is free at once.
        transaction.free(fresh).expect("allocated");
        assert_eq!(transaction.alloc().expect("there is room"), fresh);
        transaction.commit().expect("there is room");
        assert_eq!(pager.alloc().expect("there is room"), pages[0]);
        assert_whole(&pager);
    }
}

#[test]
fn an_operation_that_fails_changes_nothing_and_the_transaction_goes_on() {
    let options = PagerOptions::new().max_file_bytes(256 << 10).max_staged_bytes(4 * P as u64);
    for place in Place::both() {
        let mut pager = place.create_with::<P>(&options);
        let (pages, protected_ids) = {
            let ids = [(); 3].map(|()| pager.alloc().expect("there is room"));
            (ids, [(); 3].map(|()| pager.alloc_protected().expect("there is room")))
        };
        let mut transaction = pager.transaction().expect("nothing is wrong");
        let fresh = transaction.alloc().expect("there is room");
        transaction.page_mut(fresh).expect("fresh").fill(1);
        let free = page::<P>(transaction.alloc().map(|id| id.to_u64()).expect("there is room"));
        transaction.free(free).expect("allocated");

        for _ in 0..2 {
            assert!(matches!(failure(transaction.alloc_bulk(1000)), Error::Full { .. }));
            assert!(matches!(failure(transaction.alloc_protected_bulk(1000)), Error::Full { .. }));
            assert!(matches!(failure(transaction.free(free)), Error::WrongKind { .. }));
            assert!(matches!(failure(transaction.free(page(1))), Error::WrongKind { found: PageKind::Engine, .. }));
            assert!(matches!(failure(transaction.free_bulk([pages[0], pages[0]])), Error::Duplicate { .. }));
            assert!(matches!(failure(transaction.free_bulk([pages[0], page(9999)])), Error::OutOfRange { .. }));
            assert!(matches!(failure(transaction.page_mut(pages[0])), Error::NotFresh { .. }));
            assert!(matches!(
                failure(transaction.free_protected(protected(77))),
                Error::NoSuchProtectedPage { id: 77 }
            ));
            let twice = [protected_ids[1], protected_ids[0], protected_ids[1]];
            assert!(matches!(failure(transaction.free_protected_bulk(twice)), Error::Duplicate { page: 2 }));
            assert!(matches!(failure(transaction.get_many_mut(twice).map(drop)), Error::Duplicate { page: 2 }));
            assert!(matches!(failure(transaction.protected_mut(protected(77))), Error::NoSuchProtectedPage { id: 77 }));
            let error = failure(transaction.set_header(&[1; 129]));
            assert!(matches!(error, Error::HeaderTooLong { max: 128, found: 129 }), "{error}");
        }
        transaction.protected_mut(protected_ids[0]).expect("the second page").fill(2);
        transaction.overwrite(pages[1]).expect("the third page").fill(3);
        transaction.protected_mut(protected_ids[1]).expect("the fourth page").fill(4);
        let error = failure(transaction.protected_mut(protected_ids[2]));
        assert!(matches!(error, Error::StageFull { needed: 5120, limit: 4096 }), "{error}");
        assert!(matches!(failure(transaction.overwrite(pages[2])), Error::StageFull { .. }));
        transaction.protected_mut(protected_ids[0]).expect("it is staged")[0] = 5;
        transaction.commit().expect("there is room");

        assert!(full_of(fresh.get(&pager).expect("committed"), 1));
        assert_eq!(protected_ids[0].get(&pager).expect("committed")[..2], [5, 2]);
        assert!(full_of(pages[1].get(&pager).expect("committed"), 3));
        assert!(full_of(protected_ids[1].get(&pager).expect("committed"), 4));
        assert!(full_of(protected_ids[2].get(&pager).expect("untouched"), 0));
        assert!(full_of(pages[2].get(&pager).expect("untouched"), 0));
        assert!(!pager.is_allocated(free) && pager.is_allocated(pages[0]));
        assert_whole(&pager);
    }
}

#[test]
fn a_header_of_any_length_up_to_128_bytes_is_filled_up_with_zeros() {
    for place in Place::both() {
        let mut pager = place.create::<P>();
        assert_eq!(pager.header(), &[0; 128]);
        for len in [128, 127, 1, 0, 64] {
            let mut transaction = pager.transaction().expect("nothing is wrong");
            transaction.set_header(&[7; 128][..len]).expect("it fits");
            let expected: Vec<u8> = (0..128).map(|at| if at < len { 7 } else { 0 }).collect();
            assert_eq!(transaction.header()[..], expected);
            transaction.commit().expect("there is room");
            assert_eq!(pager.header()[..], expected);
            pager = place.reopen(pager);
            assert_eq!(pager.header()[..], expected);
        }
        assert_whole(&pager);
    }
}

#[test]
fn a_transaction_without_changes_writes_nothing() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<P>(&disk).expect("the disk is empty");
    let (pages, _) = furnished(&mut pager);
    let (before, writes) = (shape(&pager), disk.calls(CallKind::Write));
    let mut transaction = pager.transaction().expect("nothing is wrong");
    let savepoint = transaction.savepoint();
    transaction.free(pages[0]).expect("allocated");
    transaction.rollback_to(&savepoint).expect("it is this transaction's");
    transaction.commit().expect("nothing is to be done");
    assert_eq!((shape(&pager), disk.calls(CallKind::Write)), (before, writes));
    assert_whole(&pager);
}

#[test]
fn savepoints_nest_and_take_back_every_kind_of_change() {
    for place in Place::both() {
        let mut pager = place.create::<P>();
        let (pages, protected) = furnished(&mut pager);
        let mut transaction = pager.transaction().expect("nothing is wrong");
        transaction.overwrite(pages[2]).expect("allocated").fill(40);
        let outer = transaction.savepoint();
        transaction.overwrite(pages[2]).expect("allocated").fill(41);
        transaction.set_header(b"outer").expect("it fits");
        let kept = transaction.alloc().expect("there is room");
        transaction.page_mut(kept).expect("fresh").fill(42);
        let inner = transaction.savepoint();
        let first = everything(&mut transaction, (pages, protected));
        transaction.free(kept).expect("allocated");

        transaction.rollback_to(&inner).expect("it is this transaction's");
        assert!(transaction.header().starts_with(b"outer"));
        assert!(full_of(transaction.page(kept).expect("back"), 42));
        assert!(full_of(transaction.page(pages[0]).expect("back"), 1));
        assert!(full_of(transaction.page(pages[1]).expect("back"), 2));
        assert!(full_of(transaction.page(pages[2]).expect("kept"), 41));
        assert!(
            [0, 1, 2]
                .iter()
                .all(|at: &usize| { full_of(transaction.protected(protected[*at]).expect("back"), [11, 12, 13][*at]) })
        );
        // It can be rolled back to again.
        assert_eq!(everything(&mut transaction, (pages, protected)), first);
        transaction.rollback_to(&inner).expect("it stays");
        assert!(full_of(transaction.page(pages[1]).expect("back"), 2));

        transaction.rollback_to(&outer).expect("it is this transaction's");
        assert!(matches!(failure(transaction.rollback_to(&inner)), Error::StaleSavepoint));
        assert!(full_of(transaction.page(pages[2]).expect("kept"), 40));
        assert!(matches!(failure(transaction.page(kept)), Error::WrongKind { found: PageKind::Free, .. }));
        assert_eq!(transaction.header(), &[0; 128]);
        let again = transaction.savepoint();
        assert!(matches!(failure(transaction.rollback_to(&inner)), Error::StaleSavepoint));
        transaction.free(pages[0]).expect("allocated");
        transaction.rollback_to(&again).expect("it is this transaction's");
        transaction.commit().expect("there is room");

        assert!(full_of(pages[0].get(&pager).expect("kept"), 1));
        assert!(full_of(pages[2].get(&pager).expect("committed"), 40));
        assert_eq!((pager.allocated_page_count(), pager.allocated_protected_page_count()), (3, 3));
        assert_whole(&pager);
        assert_whole(&place.reopen(pager));
    }
}

#[test]
fn a_savepoint_of_another_transaction_is_refused() {
    let mut pager = Place::sim().create::<P>();
    let mut other = Place::sim().create::<P>();
    let mut transaction = pager.transaction().expect("nothing is wrong");
    let earlier = transaction.savepoint();
    drop(transaction);
    let mut of_other = other.transaction().expect("nothing is wrong");
    let foreign = of_other.savepoint();
    let mut transaction = pager.transaction().expect("nothing is wrong");
    let id = transaction.alloc().expect("there is room");
    let own = transaction.savepoint();
    for savepoint in [&earlier, &foreign] {
        assert!(matches!(failure(transaction.rollback_to(savepoint)), Error::ForeignSavepoint));
    }
    transaction.rollback_to(&own).expect("it is this transaction's");
    transaction.commit().expect("there is room");
    assert!(pager.is_allocated(id));
    assert_whole(&pager);
}

#[test]
fn a_rollback_gives_back_the_staged_bytes() {
    let options = PagerOptions::new().max_staged_bytes(3 * P as u64);
    let mut pager = Place::sim().create_with::<P>(&options);
    let ids = pager.alloc_protected_bulk(4).expect("there is room");
    let mut transaction = pager.transaction().expect("nothing is wrong");
    transaction.protected_mut(ids[0]).expect("the first page").fill(1);
    for _ in 0..5 {
        let savepoint = transaction.savepoint();
        transaction.protected_mut(ids[1]).expect("the second page").fill(2);
        transaction.protected_mut(ids[2]).expect("the third page").fill(2);
        assert!(matches!(failure(transaction.protected_mut(ids[3])), Error::StageFull { .. }));
        transaction.rollback_to(&savepoint).expect("it is this transaction's");
    }
    transaction.commit().expect("there is room");
    assert!(full_of(ids[0].get(&pager).expect("committed"), 1));
    assert!(full_of(ids[1].get(&pager).expect("untouched"), 0));
    assert_whole(&pager);
}

#[test]
fn staged_bytes_are_those_of_the_pages_and_of_their_copies_for_savepoints() {
    let options = PagerOptions::new().max_staged_bytes(3 * P as u64);
    let mut pager = Place::sim().create_with::<P>(&options);
    let ids = pager.alloc_protected_bulk(6).expect("there is room");
    let mut transaction = pager.transaction().expect("nothing is wrong");
    for id in &ids[..3] {
        transaction.protected_mut(*id).expect("one of three").fill(1);
    }
    transaction.protected_mut(ids[0]).expect("it is staged").fill(1);
    assert!(matches!(failure(transaction.protected_mut(ids[3])), Error::StageFull { .. }));
    // What is freed is not staged any more, and neither is what is known to be zeros.
    transaction.free_protected(ids[0]).expect("it is allocated");
    transaction.protected_mut(ids[3]).expect("one of three").fill(1);
    assert!(matches!(failure(transaction.protected_mut(ids[4])), Error::StageFull { .. }));
    transaction.free_protected(ids[1]).expect("it is allocated");
    transaction.free_protected(ids[2]).expect("it is allocated");

    let savepoint = transaction.savepoint();
    transaction.protected_mut(ids[3]).expect("two of three: the page, and as it was").fill(2);
    transaction.protected_mut(ids[3]).expect("as before").fill(3);
    transaction.protected_mut(ids[4]).expect("three of three").fill(3);
    transaction.protected_mut(ids[4]).expect("as before: it was not there").fill(4);
    assert!(matches!(failure(transaction.protected_mut(ids[5])), Error::StageFull { .. }));
    // The savepoint needs it still.
    transaction.free_protected(ids[3]).expect("it is allocated");
    transaction.protected_mut(ids[5]).expect("the place of what was freed").fill(5);
    assert!(matches!(
        failure(transaction.alloc().and_then(|id| transaction.page_mut(id).map(drop))),
        Error::StageFull { .. }
    ));
    transaction.rollback_to(&savepoint).expect("it is this transaction's");
    transaction.protected_mut(ids[3]).expect("two of three").fill(6);
    transaction.protected_mut(ids[4]).expect("three of three").fill(7);
    transaction.commit().expect("there is room");
    assert!(full_of(ids[3].get(&pager).expect("committed"), 6) && full_of(ids[5].get(&pager).expect("untouched"), 0));
    assert_whole(&pager);
}

#[test]
fn pages_of_either_kind_are_changed_at_once_and_none_twice() {
    for place in Place::both() {
        let mut pager = place.create::<P>();
        let (_, protected) = furnished(&mut pager);
        let mut transaction = pager.transaction().expect("nothing is wrong");
        let ids = transaction.alloc_bulk(3).expect("there is room");
        let [a, b] = transaction.get_many_mut([ids[2], ids[0]]).expect("fresh");
        (a[0], b[0]) = (2, 1);
        let [c, d, e] = transaction.get_many_mut([protected[2], protected[0], protected[1]]).expect("allocated");
        assert_eq!((c[0], d[0], e[0]), (13, 11, 12));
        mem::swap(&mut d[0], &mut e[0]);
        let [f, g] = transaction.get_many_mut([AnyPageId::from(ids[1]), protected[2].into()]).expect("allocated");
        f.copy_from_slice(g.as_bytes());
        // A regular and a protected page of the same number are two pages.
        let same = ids[0].to_u64();
        let known = (1..=same).map(|_| transaction.alloc_protected().expect("there is room")).last();
        let clash = known.filter(|id| id.to_u64() >= same).expect("so many were allocated");
        transaction.get_many_mut([AnyPageId::from(ids[0]), clash.into()]).expect("they differ");
        for twice in [[ids[0].into(), ids[0].into()], [AnyPageId::from(clash), clash.into()]] {
            assert!(matches!(failure(transaction.get_many_mut(twice).map(drop)), Error::Duplicate { .. }));
        }
        transaction.commit().expect("there is room");
        assert_eq!([0, 1, 2].map(|at: usize| ids[at].get(&pager).expect("committed")[0]), [1, 13, 2]);
        assert_eq!(protected.map(|id| id.get(&pager).expect("committed")[0]), [12, 11, 13]);
        assert_whole(&pager);
    }
}

#[test]
fn a_commit_whose_first_window_fails_leaves_the_pager_as_it_was() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<P>(&disk).expect("the disk is empty");
    let (pages, protected) = furnished(&mut pager);
    let before = shape(&pager);
    disk.fail(FaultPlan::nth(CallKind::Write, 1));
    let mut transaction = pager.transaction().expect("nothing is wrong");
    transaction.protected_mut(protected[0]).expect("allocated").fill(99);
    let fresh = transaction.alloc().expect("there is room");
    transaction.page_mut(fresh).expect("fresh").fill(98);
    let error = failure(transaction.commit());
    assert!(matches!(error, Error::Io { op: "write", .. }), "{error}");
    assert_eq!((shape(&pager), disk.faults_fired()), (before, 1));
    assert!(full_of(protected[0].get(&pager).expect("as it was"), 11));
    assert_whole(&pager);
    pager.free(pages[0]).expect("the pager goes on");
    assert_whole(&pager);
}

#[test]
fn a_commit_whose_barrier_fails_poisons_and_the_file_opens_before_or_after_it() {
    for (durability, barrier) in
        [(Durability::OneBarrier, 1), (Durability::TwoBarriers, 1), (Durability::TwoBarriers, 2)]
    {
        let disk = SimDisk::new();
        let options = PagerOptions::new().durability(durability);
        let mut pager = options.create_on::<P>(&disk).expect("the disk is empty");
        let (_, protected) = furnished(&mut pager);
        disk.fail(FaultPlan::nth(CallKind::Barrier, barrier));
        let mut transaction = pager.transaction().expect("nothing is wrong");
        transaction.protected_mut(protected[0]).expect("allocated").fill(99);
        assert!(matches!(failure(transaction.commit()), Error::Io { op: "sync", .. }));
        assert!(matches!(failure(pager.alloc()), Error::Poisoned));
        assert!(full_of(protected[0].get(&pager).expect("reading goes on"), 11));
        drop(pager);
        for disk in [SimDisk::from_image(disk.durable_image()), disk] {
            let after = PagerOptions::new().open_on::<P>(&disk).expect("it recovers");
            let content = protected[0].get(&after).expect("allocated");
            assert!(full_of(content, 11) || full_of(content, 99));
            assert_whole(&after);
        }
    }
}

#[test]
fn a_large_transaction_is_one_commit() {
    let place = Place::file();
    let mut pager = place.create::<P>();
    let mut transaction = pager.transaction().expect("nothing is wrong");
    let ids = transaction.alloc_bulk(3000).expect("there is room");
    let protected = transaction.alloc_protected_bulk(1000).expect("there is room");
    for id in &ids {
        transaction.page_mut(*id).expect("fresh")[..8].copy_from_slice(&id.to_u64().to_le_bytes());
    }
    for id in &protected {
        transaction.protected_mut(*id).expect("allocated")[..8].copy_from_slice(&id.to_u64().to_be_bytes());
    }
    transaction.commit().expect("there is room");
    assert_eq!(pager.generation().to_u64(), 2);
    assert_whole(&pager);
    let pager = place.reopen(pager);
    assert!(ids.iter().all(|id| id.get(&pager).expect("committed")[..8] == id.to_u64().to_le_bytes()));
    assert!(protected.iter().all(|id| id.get(&pager).expect("committed")[..8] == id.to_u64().to_be_bytes()));
    assert_whole(&pager);
}

#[test]
fn several_pages_that_cannot_all_be_staged_leave_none_of_them_staged() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().max_staged_bytes(1024).create_on::<1024>(&disk).unwrap();
    let ids = pager.alloc_protected_bulk(3).unwrap();
    let generation = pager.generation();
    let mut tx = pager.transaction().unwrap();
    assert!(matches!(tx.get_many_mut([ids[0], ids[1]]), Err(Error::StageFull { needed: 2048, limit: 1024 })));
    tx.commit().unwrap();
    assert_eq!(pager.generation(), generation, "nothing was staged, so nothing is committed");
    let mut tx = pager.transaction().unwrap();
    assert!(tx.get_many_mut([ids[0], ids[1]]).is_err());
    tx.protected_mut(ids[2]).unwrap().fill(1);
    tx.commit().unwrap();
    assert!(pager.protected(ids[2]).unwrap().iter().all(|byte| *byte == 1));
}
