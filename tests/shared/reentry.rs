//! A thread never waits for itself.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use diptych::{Error, PageId, Pager, PagerOptions, Result, SharedPager, SimDisk};

fn shared() -> SharedPager<1024> {
    SharedPager::new(PagerOptions::new().create_on(&SimDisk::new()).unwrap())
}

fn alloc(pager: &SharedPager<1024>) -> Result<PageId<1024>> {
    pager.transact(|transaction| transaction.alloc())
}

fn is_reentered<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Reentered { .. }))
}

#[test]
fn a_thread_that_holds_a_guard_changes_nothing() {
    let pager = shared();
    let (one, two) = (pager.read(), pager.read());
    assert!(is_reentered(alloc(&pager)));
    drop(one);
    assert!(is_reentered(alloc(&pager)) && is_reentered(pager.sync()) && is_reentered(pager.exclusive(|_| ())));
    drop(two);
    alloc(&pager).unwrap();
    // Another clone is the same pager, and another pager another one.
    let (clone, other) = (pager.clone(), shared());
    let guard = clone.read();
    assert!(is_reentered(alloc(&pager)));
    alloc(&other).unwrap();
    drop(guard);
    assert_eq!(pager.read().allocated_page_count(), 1);
}

#[test]
fn a_transaction_in_a_transaction_is_an_error_and_the_outer_one_goes_on() {
    let pager = shared();
    pager
        .transact(|transaction| {
            transaction.alloc()?;
            assert!(is_reentered(alloc(&pager)) && is_reentered(pager.sync()) && is_reentered(pager.exclusive(|_| ())));
            transaction.alloc().map(drop)
        })
        .unwrap();
    assert_eq!(pager.read().allocated_page_count(), 2);
    let refused = pager.exclusive(|_| alloc(&pager)).unwrap();
    assert!(is_reentered(refused));
}

#[test]
fn a_guard_in_a_transaction_shows_the_state_before_it_and_keeps_the_file_from_growing() {
    let pager = shared();
    let free = usize::try_from(pager.read().free_page_count()).unwrap();
    pager
        .transact(|transaction| {
            let guard = pager.read();
            transaction.alloc_bulk(free / 2)?;
            assert_eq!(guard.allocated_page_count(), 0);
            assert!(is_reentered(transaction.alloc_bulk(free * 4)), "it would wait for its own guard");
            drop(guard);
            transaction.alloc_bulk(free * 4).map(drop)
        })
        .unwrap();
    assert_eq!(pager.read().allocated_page_count(), (free / 2 + free * 4) as u64);
}

#[test]
fn a_transaction_that_leaves_a_guard_behind_is_taken_back() {
    let pager = shared();
    let kept = RefCell::new(None);
    let refused = pager.transact(|transaction| {
        *kept.borrow_mut() = Some(pager.read());
        transaction.alloc()
    });
    assert!(is_reentered(refused));
    assert_eq!(kept.take().map(|guard| guard.allocated_page_count()), Some(0));
    alloc(&pager).unwrap();
}

#[test]
fn reading_in_what_has_the_pager_alone_panics_and_harms_nobody() {
    let pager = shared();
    assert!(catch_unwind(AssertUnwindSafe(|| pager.exclusive(|_| drop(pager.read())))).is_err());
    alloc(&pager).unwrap();
    assert_eq!(pager.read().allocated_page_count(), 1);
}

#[test]
fn growth_waits_for_guards_of_others_and_goes_on_when_they_are_dropped() {
    let pager = SharedPager::new(Pager::<4096>::create(tempfile::tempdir().unwrap().path().join("pages")).unwrap());
    let (id, pages) = (pager.transact(|transaction| transaction.alloc()).unwrap(), pager.read().page_count());
    let guard = pager.read();
    let view = guard.page(id).unwrap();
    let (says, told) = channel();
    let grows = {
        let pager = pager.clone();
        thread::spawn(move || {
            pager.transact(|transaction| transaction.alloc_bulk(1000).map(drop)).unwrap();
            says.send(()).unwrap();
        })
    };
    assert!(told.recv_timeout(Duration::from_millis(100)).is_err());
    assert_eq!((view[0], guard.page_count()), (0, pages));
    drop(guard);
    grows.join().unwrap();
    assert!(pager.read().page_count() > 1000);
}

#[test]
fn a_guard_that_is_leaked_keeps_its_thread_from_writing_and_no_other_pager() {
    let pager = shared();
    std::mem::forget(pager.read());
    assert!(is_reentered(alloc(&pager)));
    alloc(&shared()).unwrap();
    assert_eq!(pager.into_pager().map(|pager| pager.allocated_page_count()).ok(), Some(0));
}
