//! Pages are handed out lowest first, once, durably, all of a bulk or none, and taken back from their owner alone.

use std::collections::BTreeSet;

use diptych::{CallKind, Error, PageId, PageKind, Pager, PagerOptions, SimDisk};

use crate::places::{Place, assert_whole, failure, page, shape};

fn pages_come_back_after_reopening<const P: usize>() {
    for place in Place::both() {
        let mut pager = place.create::<P>();
        assert_eq!((pager.page_size(), pager.generation().to_u64()), (P, 1));
        let ids = [(); 3].map(|()| pager.alloc().expect("there is room"));
        assert!(ids[0] < ids[1] && ids[1] < ids[2], "lowest first");
        for id in ids {
            assert_eq!((id.get(&pager).expect("allocated").len(), pager.is_allocated(id)), (P, true));
            assert!(id.get(&pager).expect("allocated").iter().all(|byte| *byte == 0));
        }
        pager.free(ids[1]).expect("it is allocated");
        assert_whole(&pager);

        let mut pager = place.reopen(pager);
        assert!(pager.iter_allocated_pages().eq([ids[0], ids[2]]));
        assert_eq!(pager.alloc().expect("there is room"), ids[1]);
        assert_whole(&pager);
    }
}

#[test]
fn pages_come_back_after_reopening_at_every_page_size() {
    pages_come_back_after_reopening::<1024>();
    pages_come_back_after_reopening::<2048>();
    pages_come_back_after_reopening::<4096>();
    pages_come_back_after_reopening::<65536>();
    pages_come_back_after_reopening::<{ 16 << 20 }>();
}

#[test]
fn a_freed_page_reads_as_zeros_when_it_is_handed_out_again() {
    for place in Place::both() {
        let mut pager = place.create::<1024>();
        let ids = pager.alloc_bulk(4).expect("there is room");
        ids.iter().for_each(|id| pager.page_mut(*id).expect("allocated").fill(7));
        pager.sync().expect("nothing is in the way");
        pager.free_bulk(&ids).expect("they are allocated");
        assert_eq!(pager.alloc_bulk(4).expect("there is room"), ids);
        for id in &ids {
            assert!(id.get(&pager).expect("allocated").iter().all(|byte| *byte == 0), "{id}");
        }
        assert_whole(&pager);
    }
}

#[test]
fn a_wrong_id_is_an_error_of_its_kind_and_changes_nothing() {
    for place in Place::both() {
        let mut pager = place.create::<1024>();
        let old = pager.alloc().expect("there is room");
        let kept = pager.alloc().expect("there is room");
        pager.alloc_protected().expect("there is room");
        pager.free(old).expect("it is allocated");
        let before = shape(&pager);
        let total = pager.page_count();
        let engine: Vec<PageId<1024>> = (1..total)
            .map(page)
            .filter(|id| matches!(pager.page(*id), Err(Error::WrongKind { found: PageKind::Engine, .. })))
            .collect();
        // Pages 1 to 19 are the reserved region; behind it lie copies of the free map's leaf and of the protected page.
        assert!(engine.iter().take(19).map(|id| id.to_u64()).eq(1..20));
        assert!(engine.len() >= 19 + 8 + 2, "{engine:?}");

        let out_of_range = [total, total + 1, 1 << 40, u64::MAX - 1, u64::MAX].map(page);
        let wrong_kind = engine.iter().map(|id| (*id, PageKind::Engine)).chain([(old, PageKind::Free)]);
        let expected =
            wrong_kind.map(|(id, found)| (id, format!("page {} is {found}, expected regular", id.to_u64()))).chain(
                out_of_range
                    .map(|id| (id, format!("page {} is out of range: the file has {total} pages", id.to_u64()))),
            );
        for (id, message) in expected {
            assert_eq!(failure(id.get(&pager).map(|_| ())).to_string(), message);
            assert_eq!(failure(id.get_mut(&mut pager).map(|_| ())).to_string(), message);
            assert_eq!(failure(pager.get_many_mut([kept, id]).map(|_| ())).to_string(), message);
            assert_eq!(failure(pager.free(id)).to_string(), message);
            assert_eq!(failure(pager.free_bulk([kept, id])).to_string(), message);
            assert!(!pager.is_allocated(id));
        }
        assert_eq!(shape(&pager), before);
        assert_whole(&pager);
    }
}

#[test]
fn a_page_is_freed_once() {
    let mut pager = Place::file().create::<4096>();
    let id = pager.alloc().expect("there is room");
    pager.free(id).expect("it is allocated");
    let error = failure(pager.free(id));
    assert!(matches!(error, Error::WrongKind { page, found: PageKind::Free, .. } if page == id.to_u64()), "{error}");
    assert_whole(&pager);
}

#[test]
fn a_page_named_twice_in_a_bulk_free_stays() {
    for place in Place::both() {
        let mut pager = place.create::<4096>();
        let ids = pager.alloc_bulk(5).expect("there is room");
        let before = shape(&pager);
        let error = failure(pager.free_bulk([ids[0], ids[3], ids[1], ids[3]]));
        assert!(matches!(error, Error::Duplicate { page } if page == ids[3].to_u64()), "{error}");
        assert_eq!(shape(&pager), before);
        pager.free_bulk(ids).expect("they are allocated");
        assert_eq!(pager.allocated_page_count(), 0);
        assert_whole(&pager);
    }
}

#[test]
fn a_bulk_of_nothing_is_no_commit() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<4096>(&disk).expect("the disk is empty");
    pager.alloc().expect("there is room");
    let (before, writes) = (shape(&pager), disk.calls(CallKind::Write));
    assert_eq!(pager.alloc_bulk(0).expect("nothing is asked for"), []);
    assert_eq!(pager.alloc_protected_bulk(0).expect("nothing is asked for"), []);
    pager.free_bulk([]).expect("nothing is asked for");
    pager.free_protected_bulk([]).expect("nothing is asked for");
    assert_eq!((shape(&pager), disk.calls(CallKind::Write)), (before, writes));
    assert_whole(&pager);
}

#[test]
fn a_bulk_is_one_commit_of_one_barrier() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<1024>(&disk).expect("the disk is empty");
    // Room for everything below, so that no growth has its own barrier.
    pager.alloc_bulk(300).and_then(|ids| pager.free_bulk(ids)).expect("there is room");
    let mut step = |act: &mut dyn FnMut(&mut Pager<1024>)| {
        let (generation, barriers) = (pager.generation().to_u64(), disk.calls(CallKind::Barrier));
        act(&mut pager);
        assert_eq!(pager.generation().to_u64(), generation + 1);
        assert_eq!(disk.calls(CallKind::Barrier), barriers + 1);
        assert_whole(&pager);
    };
    let (mut ids, mut protected_ids) = (Vec::new(), Vec::new());
    step(&mut |pager| ids = pager.alloc_bulk(100).expect("there is room"));
    step(&mut |pager| protected_ids = pager.alloc_protected_bulk(20).expect("there is room"));
    step(&mut |pager| pager.free_bulk(&ids).expect("they are allocated"));
    step(&mut |pager| pager.free_protected_bulk(&protected_ids).expect("they are allocated"));
}

#[test]
fn a_bulk_takes_the_lowest_free_pages_in_ascending_order() {
    for place in Place::both() {
        let mut pager = place.create::<1024>();
        let ids = pager.alloc_bulk(200).expect("there is room");
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        let holes: Vec<PageId<1024>> = ids.iter().copied().step_by(3).collect();
        pager.free_bulk(&holes).expect("they are allocated");
        let again = pager.alloc_bulk(holes.len() + 5).expect("there is room");
        assert_eq!(again[..holes.len()], holes);
        assert!(again[holes.len()..].iter().all(|id| id > &ids[199]));
        assert_whole(&pager);
    }
}

#[test]
fn a_bulk_that_does_not_fit_leaves_the_pager_as_it_was() {
    let options = PagerOptions::new().max_file_bytes(1 << 20);
    for place in Place::both() {
        let mut pager = place.create_with::<4096>(&options);
        let ids = pager.alloc_bulk(3).expect("there is room");
        let before = shape(&pager);
        for count in [254, 255, 300, 1 << 20, 1 << 40, usize::MAX >> 1, usize::MAX] {
            let error = failure(pager.alloc_bulk(count));
            assert!(matches!(error, Error::Full { limit: 256, needed } if needed > 256), "{count}: {error}");
            let error = failure(pager.alloc_protected_bulk(count));
            assert!(matches!(error, Error::Full { limit: 256, needed } if needed > 256), "{count}: {error}");
        }
        assert_eq!(shape(&pager), before);
        assert_whole(&pager);

        pager.free_bulk(ids).expect("they are allocated");
        // 5 pages are reserved, and the free map's leaf has two copies.
        assert_eq!(pager.alloc_bulk(256 - 5 - 2).expect("so many fit").len(), 249);
        assert!(matches!(failure(pager.alloc()), Error::Full { needed: 257, limit: 256 }));
        assert_eq!((pager.page_count(), pager.free_page_count()), (256, 0));
        assert_whole(&pager);
    }
}

#[test]
fn a_full_disk_is_an_error_and_the_pager_goes_on() {
    let disk = SimDisk::new();
    disk.set_space_limit(Some(256 << 10));
    let mut pager = PagerOptions::new().create_on::<4096>(&disk).expect("it fits");
    let mut ids = BTreeSet::new();
    let error = loop {
        match pager.alloc() {
            Ok(id) => assert!(ids.insert(id)),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Io { op: "grow", .. }), "{error}");
    assert!(ids.len() >= 50, "{}", ids.len());
    assert!(pager.iter_allocated_pages().eq(ids.iter().copied()));
    assert_whole(&pager);

    pager.free_bulk(ids.iter().copied().collect::<Vec<_>>()).expect("they are allocated");
    assert!(ids.contains(&pager.alloc().expect("there is room again")));
    assert_whole(&pager);
}

#[test]
fn a_hint_moves_the_search_and_never_narrows_it() {
    for place in Place::both() {
        let mut pager = place.create::<4096>();
        let ids = pager.alloc_bulk(100).expect("there is room");
        pager.free_bulk([ids[10], ids[40], ids[41], ids[70]]).expect("they are allocated");
        assert_eq!(pager.alloc_near(ids[30]).expect("there is room"), ids[40]);
        assert_eq!(pager.alloc_near(ids[41].to_u64()).expect("there is room"), ids[41]);
        // The free pages behind the last one that is allocated come first, and then those before the hint.
        let free = pager.free_page_count() - 2;
        for _ in 0..free {
            assert!(pager.alloc_near(ids[99]).expect("there is room") > ids[99]);
        }
        assert_eq!(pager.alloc_near(u64::MAX).expect("there is room"), ids[10]);
        let total = pager.page_count();
        assert_eq!(pager.alloc_near(ids[99]).expect("there is room"), ids[70]);
        assert_eq!((pager.page_count(), pager.free_page_count()), (total, 0));
        assert!(pager.alloc_near(0).expect("the file grows").to_u64() >= total);
        assert_whole(&pager);
    }
}

#[test]
fn a_file_grows_past_many_leaves_of_the_free_map() {
    let place = Place::file();
    let mut pager = place.create::<1024>();
    let ids = pager.alloc_bulk(70_000).expect("there is room");
    assert_eq!((ids.len(), pager.allocated_page_count()), (70_000, 70_000));
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    for id in ids.iter().step_by(997) {
        pager.page_mut(*id).expect("allocated")[..8].copy_from_slice(&id.to_u64().to_le_bytes());
    }
    assert_whole(&pager);
    let pager = place.reopen(pager);
    for id in ids.iter().step_by(997) {
        assert_eq!(id.get(&pager).expect("allocated")[..8], id.to_u64().to_le_bytes());
    }
    assert_whole(&pager);
}

#[test]
fn a_sparse_file_hands_out_pages_as_any_other() {
    let options = PagerOptions::new().sparse(true).growth_limit(1 << 20);
    for place in Place::both() {
        let mut pager = place.create_with::<4096>(&options);
        let ids = pager.alloc_bulk(500).expect("there is room");
        ids.iter().for_each(|id| pager.page_mut(*id).expect("allocated").fill(3));
        assert_whole(&pager);
        let pager = place.reopen(pager);
        assert!(ids.iter().all(|id| id.get(&pager).expect("allocated").iter().all(|byte| *byte == 3)));
        assert_whole(&pager);
    }
}

#[test]
fn a_file_without_reserved_addresses_grows_by_moving() {
    let options = PagerOptions::new().address_space(0);
    for place in Place::both() {
        let mut pager = place.create_with::<4096>(&options);
        let first = pager.alloc().expect("there is room");
        pager.page_mut(first).expect("allocated").fill(9);
        for _ in 0..6 {
            pager.alloc_bulk(100).expect("there is room");
            assert!(first.get(&pager).expect("allocated").iter().all(|byte| *byte == 9));
        }
        assert_whole(&pager);
    }
}

#[test]
fn a_bulk_that_nothing_can_hold_is_refused_before_memory_is_spent() {
    let disk = SimDisk::new();
    disk.set_space_limit(Some(1 << 20));
    for sparse in [false, true] {
        let disk = SimDisk::from_image(disk.cached_image());
        disk.set_space_limit(Some(1 << 20));
        let mut pager = PagerOptions::new().sparse(sparse).create_on::<1024>(&disk).unwrap();
        for count in [1_000_000, 20_000_000_000, usize::MAX] {
            let error = pager.alloc_bulk(count).unwrap_err();
            assert!(matches!(error, Error::Io { .. } | Error::Full { .. }), "{error}");
            let error = pager.alloc_protected_bulk(count).unwrap_err();
            assert!(matches!(error, Error::Io { .. } | Error::Full { .. }), "{error}");
        }
        assert_eq!(pager.alloc_bulk(10).unwrap().len(), 10);
        assert_eq!(pager.check(), []);
    }
}
