//! What a transaction of a shared pager does, and what becomes of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use diptych::{Durability, Error, PageId, Pager, PagerOptions, Result, Savepoint, SharedPager, SimDisk, Transaction};

fn on(disk: &SimDisk) -> SharedPager<1024> {
    SharedPager::new(PagerOptions::new().create_on(disk).unwrap())
}

#[test]
fn what_returns_ok_is_durable_and_what_returns_an_error_or_panics_never_was() {
    let disk = SimDisk::new();
    let pager = on(&disk);
    let id = pager
        .transact(|transaction| {
            let id = transaction.alloc_protected()?;
            transaction.protected_mut(id)?.fill(1);
            transaction.set_header(b"kept")?;
            Ok::<_, Error>(id)
        })
        .unwrap();
    let change = |transaction: &mut Transaction<'_, 1024>| -> Result<()> {
        transaction.protected_mut(id)?.fill(2);
        transaction.alloc_bulk(10)?;
        transaction.set_header(b"lost")
    };
    let refused = pager.transact(|transaction| {
        change(transaction)?;
        transaction.free_protected(id)?;
        transaction.free_protected(id)
    });
    assert!(matches!(refused, Err(Error::NoSuchProtectedPage { .. })));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        pager.transact(|transaction| {
            change(transaction)?;
            if transaction.header()[0] == b'l' {
                panic!("of the closure");
            }
            Ok::<_, Error>(())
        })
    }));
    assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"of the closure"));
    let durable = PagerOptions::new().open_on::<1024>(&SimDisk::from_image(disk.durable_image())).unwrap();
    let guard = pager.read();
    for reader in [&*guard, &*durable] {
        assert_eq!((reader.protected(id).unwrap()[0], reader.allocated_page_count()), (1, 0));
        assert!(reader.header().starts_with(b"kept") && reader.check().is_empty());
    }
}

#[test]
fn an_error_of_the_caller_is_what_transact_returns() {
    #[derive(Debug)]
    enum Own {
        Pager(Error),
        Other(u32),
    }
    impl From<Error> for Own {
        fn from(error: Error) -> Self {
            Own::Pager(error)
        }
    }
    let pager = on(&SimDisk::new());
    let other = pager.transact(|transaction| {
        transaction.alloc()?;
        Err::<(), _>(Own::Other(7))
    });
    assert!(matches!(other, Err(Own::Other(7))));
    let full = pager.transact(|transaction| Ok::<_, Own>(transaction.alloc_bulk(usize::MAX).map(drop)?));
    assert!(matches!(full, Err(Own::Pager(Error::Full { .. } | Error::Io { .. }))), "{full:?}");
    assert_eq!(pager.read().allocated_page_count(), 0);
}

#[test]
fn the_calls_of_a_transaction_are_those_that_a_pager_has() {
    let pager = on(&SimDisk::new());
    let ids = pager.transact(|transaction| transaction.alloc_bulk(3)).unwrap();
    pager
        .transact(|transaction| {
            let fresh = transaction.alloc()?;
            transaction.page_mut(fresh)?.fill(1);
            transaction.overwrite(ids[0])?.fill(2);
            let savepoint = transaction.savepoint();
            transaction.free(ids[1])?;
            transaction.overwrite(ids[0])?.fill(3);
            transaction.rollback_to(&savepoint)?;
            assert!(matches!(transaction.page_mut(ids[2]), Err(Error::NotFresh { .. })));
            assert_eq!((transaction.page(ids[0])?[0], ids[1].get(transaction)?[0]), (2, 0));
            Ok::<_, Error>(())
        })
        .unwrap();
    let reader = pager.read();
    assert_eq!((ids[0].get(&reader).unwrap()[0], reader.allocated_page_count()), (2, 4));
}

#[test]
fn a_savepoint_of_one_transaction_is_no_other_ones() {
    let pager = on(&SimDisk::new());
    let kept: Savepoint = pager.transact(|transaction| Ok::<_, Error>(transaction.savepoint())).unwrap();
    let refused = pager.transact(|transaction| transaction.rollback_to(&kept));
    assert!(matches!(refused, Err(Error::ForeignSavepoint)));
}

#[test]
fn commits_that_wait_are_rewritten_and_made_durable_by_a_sync() {
    let disk = SimDisk::new();
    let pager = on(&disk);
    let id = pager.transact(|transaction| transaction.alloc_protected()).unwrap();
    for value in 1..5 {
        pager
            .transact(|transaction| {
                transaction.set_durability(Durability::None);
                transaction.protected_mut(id)?.fill(value);
                Ok::<_, Error>(())
            })
            .unwrap();
        assert_eq!(pager.read().protected(id).unwrap()[0], value);
    }
    let durable = |disk: &SimDisk| {
        let pager = PagerOptions::new().open_on::<1024>(&SimDisk::from_image(disk.durable_image())).unwrap();
        pager.protected(id).unwrap()[0]
    };
    assert_eq!(durable(&disk), 0);
    pager.sync().unwrap();
    assert_eq!(durable(&disk), 4);
}

#[test]
fn the_last_handle_gives_the_pager_back_and_no_other_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pages");
    let pager = SharedPager::new(Pager::<4096>::create(&path).unwrap());
    let clone = pager.clone();
    let pager = pager.into_pager().unwrap_err();
    drop(clone);
    pager.transact(|transaction| transaction.set_header(b"there")).unwrap();
    pager.into_pager().unwrap().close().unwrap();
    let reopened = SharedPager::new(Pager::<4096>::open(&path).unwrap());
    assert!(reopened.read().header().starts_with(b"there"));
    drop(reopened);
    Pager::<4096>::open(&path).expect("dropping the last handle lets go of the lock");
}

#[test]
fn stores_to_pages_compaction_and_shrinking_have_the_pager_alone() {
    let pager = on(&SimDisk::new());
    let ids = pager.transact(|transaction| transaction.alloc_bulk(200)).unwrap();
    pager.exclusive(|pager| pager.page_mut(ids[199]).map(|page| page.fill(9))).unwrap().unwrap();
    pager.transact(|transaction| transaction.free_bulk(&ids[..199])).unwrap();
    let mut at = ids[199];
    let done = pager.exclusive(|pager| {
        pager.compact(u64::MAX, |_, from, to| {
            assert_eq!(from, at);
            at = to;
            Ok::<_, Error>(())
        })
    });
    assert_eq!(done.unwrap().unwrap().moved, 1);
    assert!(pager.exclusive(|pager| pager.shrink()).unwrap().unwrap() > 0);
    assert_eq!(pager.read().page(at).unwrap().as_bytes(), [9; 1024]);
}

#[test]
fn every_transaction_of_many_threads_happens_once() {
    let disk = SimDisk::new();
    let (pager, started) = (on(&disk), Arc::new(AtomicUsize::new(0)));
    let counter = pager.transact(|transaction| transaction.alloc_protected()).unwrap();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (pager, started) = (pager.clone(), Arc::clone(&started));
            thread::spawn(move || {
                started.fetch_add(1, Ordering::Relaxed);
                while started.load(Ordering::Relaxed) < 8 {
                    thread::yield_now();
                }
                let count = |transaction: &mut Transaction<'_, 1024>| -> Result<PageId<1024>> {
                    let page = transaction.protected_mut(counter)?;
                    let count = u64::from_le_bytes(page[..8].try_into().unwrap());
                    page[..8].copy_from_slice(&(count + 1).to_le_bytes());
                    transaction.alloc()
                };
                (0..50).map(|_| pager.transact(count).unwrap()).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut ids: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 400, "no page is handed out twice");
    let durable = PagerOptions::new().open_on::<1024>(&SimDisk::from_image(disk.durable_image())).unwrap();
    assert_eq!(durable.protected(counter).unwrap()[..8], 400u64.to_le_bytes());
    assert_eq!(durable.allocated_page_count(), 400);
    assert!(pager.read().check().is_empty());
}
