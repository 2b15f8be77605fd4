//! One pager, read by several threads at the same time.
//!
//! The thread sanitizer runs this file with a standard library that it cannot look into, and would take its locks, channels and
//! scopes for races. So threads begin and end by themselves here, which the sanitizer sees, and all pagers are on files:
//! a simulated disk has a lock. `docs/proof.md` has the command.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use diptych::{Block, Error, Pager, ProtectedPageId};

use crate::places::Place;

const THREADS: usize = 4;

/// The ids of a pager with pages of both kinds, each full of a byte of its own.
fn filled(pager: &mut Pager<4096>) -> Vec<ProtectedPageId<4096>> {
    let regular = pager.alloc_bulk(90).expect("there is room");
    for (fill, id) in (0u8..).zip(regular) {
        pager.page_mut(id).expect("allocated").fill(fill);
    }
    let protected = pager.alloc_protected_bulk(90).expect("there is room");
    let mut transaction = pager.transaction().expect("not poisoned");
    for (fill, id) in (0u8..).zip(&protected) {
        transaction.protected_mut(*id).expect("allocated").fill(fill);
    }
    transaction.commit().expect("nothing fails");
    protected
}

/// Every thread calls `read` with its number, all of them at once.
fn at_once(pager: Pager<4096>, read: impl Fn(&Pager<4096>, usize) + Send + Sync + 'static) {
    let shared = Arc::new((pager, read, AtomicUsize::new(0)));
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (pager, read, arrived) = &*shared;
                arrived.fetch_add(1, Ordering::AcqRel);
                while arrived.load(Ordering::Acquire) < THREADS {
                    thread::yield_now();
                }
                read(pager, number);
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}

/// The first touch of each page after opening verifies it and notes that; all threads are first at some pages.
#[test]
fn threads_that_touch_protected_pages_first_see_what_was_committed() {
    let place = Place::file();
    let mut pager = place.create();
    let protected = filled(&mut pager);
    at_once(place.reopen(pager), move |pager, number| {
        for at in (0..protected.len()).map(|at| (at + number * 23) % protected.len()) {
            let content = pager.protected(protected[at]).expect("allocated");
            assert!(content.iter().all(|byte| usize::from(*byte) == at), "page {at}");
        }
    });
}

#[test]
fn pages_are_read_while_other_threads_check_and_iterate() {
    let place = Place::file();
    let mut pager = place.create();
    filled(&mut pager);
    at_once(place.reopen(pager), |pager, number| match number {
        0 => assert_eq!(pager.check(), []),
        1 => {
            let ids = pager.iter_allocated_protected_pages();
            assert_eq!(ids.filter(|id| pager.protected(*id).is_ok()).count(), 90);
        }
        _ => {
            for (fill, id) in (0u8..).zip(pager.iter_allocated_pages()) {
                assert!(pager.page(id).expect("allocated").iter().all(|byte| *byte == fill), "{id}");
            }
        }
    });
}

#[test]
fn a_rotten_page_is_an_error_in_every_thread_and_the_others_are_not() {
    let place = Place::file();
    let mut pager = place.create();
    let protected = filled(&mut pager);
    pager.close().expect("nothing fails");
    let mut bytes = fs::read(place.path()).expect("it is closed");
    // The regular page of that byte lies before the protected one, of which one copy holds it.
    let page = bytes.chunks(4096).rposition(|page| page.iter().all(|byte| *byte == 71)).expect("it was written");
    bytes[page * 4096 + 5] ^= 1;
    fs::write(place.path(), bytes).expect("it is closed");
    at_once(Pager::open(place.path()).expect("a page below the tables rots"), move |pager, _| {
        for (at, id) in protected.iter().enumerate() {
            match pager.protected(*id) {
                Ok(content) => assert!(at != 71 && content.iter().all(|byte| usize::from(*byte) == at)),
                Err(Error::Corrupt { block: Block::ProtectedPage { id: found }, .. }) => {
                    assert_eq!((at, found), (71, id.to_u64()));
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
}
