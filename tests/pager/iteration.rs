//! The iterators show what is allocated, each kind alone, ascending, and know how much is left.

use std::iter::FusedIterator;

use diptych::{AllocatedPageIter, AllocatedProtectedPageIter, PageId, Pager, ProtectedPageId};

use crate::places::{Place, assert_whole};

/// Asserts that an iterator gives `expected`, with exact lengths on the way, and nothing after the end.
fn assert_gives<I>(mut iter: I, expected: &[I::Item])
where
    I: ExactSizeIterator + FusedIterator,
    I::Item: PartialEq + std::fmt::Debug,
{
    for (at, id) in expected.iter().enumerate() {
        assert_eq!(iter.size_hint(), (expected.len() - at, Some(expected.len() - at)));
        assert_eq!(iter.next().as_ref(), Some(id));
    }
    assert_eq!((iter.len(), iter.next(), iter.next()), (0, None, None));
}

#[test]
fn both_kinds_are_listed_apart_in_ascending_order_and_after_reopening() {
    for place in Place::both() {
        let mut pager = place.create::<1024>();
        assert_gives(pager.iter_allocated_pages(), &[]);
        assert_gives(pager.iter_allocated_protected_pages(), &[]);

        let mut pages: Vec<PageId<1024>> = Vec::new();
        let mut protected: Vec<ProtectedPageId<1024>> = Vec::new();
        for round in 0..20 {
            pages.extend(pager.alloc_bulk(round).expect("there is room"));
            protected.extend(pager.alloc_protected_bulk(round / 2).expect("there is room"));
            if round % 3 == 0 && !pages.is_empty() {
                pager.free(pages.remove(pages.len() / 2)).expect("it is allocated");
                pager.free_protected(protected.remove(protected.len() / 2)).expect("it is allocated");
            }
        }
        pages.sort_unstable();
        protected.sort_unstable();
        assert_gives(pager.iter_allocated_pages(), &pages);
        assert_gives(pager.iter_allocated_protected_pages(), &protected);
        assert_whole(&pager);

        let pager = place.reopen(pager);
        assert_gives(pager.iter_allocated_pages(), &pages);
        assert_gives(pager.iter_allocated_protected_pages(), &protected);
        let of_pages: AllocatedPageIter<'_, 1024> = pager.iter_allocated_pages();
        let of_protected: AllocatedProtectedPageIter<'_, 1024> = pager.iter_allocated_protected_pages();
        assert_gives(of_pages.clone(), &pages);
        assert_gives(of_protected.clone(), &protected);
        assert_eq!(format!("{:?}", of_pages), format!("AllocatedPageIter {{ left: {}, .. }}", pages.len()));
        assert_whole(&pager);
    }
}

#[test]
fn no_page_of_a_protected_page_or_of_the_engine_is_listed() {
    let mut pager = Place::sim().create::<1024>();
    pager.alloc_protected_bulk(300).expect("there is room");
    assert_eq!(pager.iter_allocated_pages().len(), 0);
    let id = pager.alloc().expect("there is room");
    assert_gives(pager.iter_allocated_pages(), &[id]);
    assert_eq!(pager.iter_allocated_protected_pages().count(), 300);
    assert_whole(&pager);
}

#[test]
fn a_few_pages_far_apart_are_found_in_a_large_file() {
    let place = Place::file();
    let mut pager: Pager<1024> = place.create();
    let ids = pager.alloc_bulk(50_000).expect("there is room");
    let (kept, freed): (Vec<_>, Vec<_>) = ids.iter().enumerate().partition(|(at, _)| at % 16_000 == 17);
    let [kept, freed] = [kept, freed].map(|ids| ids.into_iter().map(|(_, id)| *id).collect::<Vec<_>>());
    pager.free_bulk(freed).expect("they are allocated");
    assert_eq!(kept.len(), 4);
    assert_gives(pager.iter_allocated_pages(), &kept);
    assert_whole(&pager);
    let pager = place.reopen(pager);
    assert_gives(pager.iter_allocated_pages(), &kept);
}
