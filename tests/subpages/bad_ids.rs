//! Ids that name nothing: each is a typed error, and nothing is lost.

use diptych::{Error, PagerOptions, Result, SimDisk, SubPageId, SubPageMap};
use proptest::prelude::*;

use crate::{assert_whole, failure, id, pager};

type Id = SubPageId<4096, 512>;
type Map = SubPageMap<4096, 512>;

/// Every call that takes an id refuses this one by its name, and nothing changes.
fn assert_refused(map: &mut Map, pager: &mut diptych::Pager<4096>, good: Id, bad: Id) {
    let expected =
        Error::NoSuchSubPage { id: bad.to_u64(), page: bad.to_u64() / 8, slot: bad.to_u64() % 8 }.to_string();
    let before = (map.allocated_count(), map.parent_count(), pager.generation());
    let mut errors = vec![
        failure(map.page(pager, bad).map(drop)),
        failure(map.page_mut(pager, bad).map(drop)),
        failure(map.free(pager, bad)),
        failure(map.free_bulk(pager, [good, bad])),
        failure(map.free_bulk(pager, [bad, good])),
    ];
    let mut transaction = pager.transaction().expect("the pager is not poisoned");
    errors.push(failure(map.overwrite(&mut transaction, bad).map(drop)));
    errors.push(failure(map.free(&mut transaction, bad)));
    drop(transaction);
    for error in errors {
        assert!(matches!(error, Error::NoSuchSubPage { .. }), "{error:?}");
        assert_eq!(error.to_string(), expected);
        assert!(!error.is_corruption() && !error.is_io() && !error.needs_reopen());
    }
    assert!(!map.is_allocated(bad) && map.is_allocated(good));
    assert_eq!((map.allocated_count(), map.parent_count(), pager.generation()), before);
}

#[test]
fn an_id_that_was_freed_or_never_handed_out_is_refused() -> Result<()> {
    let mut pager = pager::<4096>();
    let mut map = Map::new();
    let good = map.alloc(&mut pager)?;
    map.page_mut(&mut pager, good)?.fill(9);
    let freed = map.alloc(&mut pager)?;
    map.free(&mut pager, freed)?;
    let other = pager.alloc()?;
    let gone = {
        let mut others = Map::new();
        let gone = others.alloc(&mut pager)?;
        others.free(&mut pager, gone)?;
        gone
    };
    let of_another_page = id(other.to_u64() * 8);
    let out_of_range = id(pager.page_count() * 8);
    let in_the_reserved_region = id(9);
    let in_page_0 = id(1);
    for bad in [freed, gone, of_another_page, out_of_range, in_the_reserved_region, in_page_0, id(u64::MAX)] {
        assert_refused(&mut map, &mut pager, good, bad);
    }
    assert_eq!(map.page(&pager, good)?.as_bytes(), [9; 512]);
    map.free(&mut pager, good)?;
    pager.free(other)?;
    assert_whole(&pager, 0);
    Ok(())
}

#[test]
fn an_id_of_another_map_of_the_same_sizes_is_refused() -> Result<()> {
    let mut pager = pager::<4096>();
    let (mut map, mut others) = (Map::new(), Map::new());
    let (good, foreign) = (map.alloc(&mut pager)?, others.alloc(&mut pager)?);
    assert_refused(&mut map, &mut pager, good, foreign);
    assert!(others.is_allocated(foreign));
    Ok(())
}

#[test]
fn an_id_that_is_named_twice_is_a_duplicate_and_nothing_is_freed() -> Result<()> {
    let mut pager = pager::<4096>();
    let mut map = Map::new();
    let ids = map.alloc_bulk(&mut pager, 10)?;
    map.page_mut(&mut pager, ids[1])?.fill(3);
    for list in [[ids[0], ids[1], ids[0]], [ids[9], ids[8], ids[9]]] {
        let error = failure(map.free_bulk(&mut pager, list));
        assert!(matches!(error, Error::Duplicate { page } if page == list[0].to_u64()), "{error:?}");
    }
    let error = failure(map.free_bulk(&mut pager, [ids.as_slice(), &ids[..1]].concat()));
    assert!(matches!(error, Error::Duplicate { .. }), "{error:?}");
    assert_eq!((map.allocated_count(), map.parent_count()), (10, 2));
    // What was written and what was not is as it was.
    assert_eq!((map.page(&pager, ids[1])?[0], map.page(&pager, ids[0])?[0]), (3, 0));
    map.free_bulk(&mut pager, ids)?;
    assert_whole(&pager, 0);
    Ok(())
}

#[test]
fn a_page_that_is_freed_behind_the_map_is_an_error_and_never_somebody_elses() -> Result<()> {
    let mut pager = pager::<4096>();
    let mut map = Map::new();
    let ids = map.alloc_bulk(&mut pager, 8)?;
    let parent = ids[0].parent().expect("page 0 is reserved");
    pager.free(parent)?;
    assert!(matches!(failure(map.page(&pager, ids[0]).map(drop)), Error::WrongKind { .. }));
    assert!(matches!(failure(map.page_mut(&mut pager, ids[0]).map(drop)), Error::WrongKind { .. }));
    assert!(matches!(failure(map.free_bulk(&mut pager, &ids)), Error::WrongKind { .. }));
    assert_eq!(map.allocated_count(), 8);
    // The map is full, and the page that it is given is the one that it has.
    for error in [failure(map.alloc(&mut pager)), failure(map.alloc_bulk(&mut pager, 20).map(drop).map(|()| ids[0]))] {
        assert!(matches!(error, Error::ParentInUse { page } if page == parent.to_u64()), "{error:?}");
    }
    assert_eq!((map.allocated_count(), map.parent_count()), (8, 1));
    assert_whole(&pager, 0);
    Ok(())
}

#[test]
fn another_pager_that_has_no_such_page_is_an_error() -> Result<()> {
    let (mut pager, mut empty) = (pager::<4096>(), PagerOptions::new().create_on::<4096>(&SimDisk::new())?);
    let mut map = Map::new();
    let good = map.alloc(&mut pager)?;
    assert!(matches!(failure(map.page(&empty, good).map(drop)), Error::WrongKind { .. } | Error::OutOfRange { .. }));
    assert!(matches!(failure(map.free(&mut empty, good)), Error::WrongKind { .. } | Error::OutOfRange { .. }));
    assert!(map.is_allocated(good));
    map.free(&mut pager, good)
}

proptest! {
    #[test]
    fn any_number_is_refused_or_names_what_is_live(raws in prop::collection::vec(prop_oneof![1u64..200, 1u64..], 1..50)) {
        let mut pager = pager::<4096>();
        let mut map = Map::new();
        let good = map.alloc_bulk(&mut pager, 11).expect("there is room");
        for raw in raws {
            let any = id(raw);
            if good.contains(&any) {
                prop_assert!(map.page(&pager, any).is_ok() && map.page_mut(&mut pager, any).is_ok());
            } else {
                assert_refused(&mut map, &mut pager, good[0], any);
            }
        }
    }
}
