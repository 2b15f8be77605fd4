//! Maps made from what their users wrote down.

use std::collections::BTreeSet;

use diptych::{PagerOptions, Result, SimDisk, SubPageId, SubPageMap};
use proptest::prelude::*;

use crate::{assert_whole, id, pager};

type Id = SubPageId<4096, 64>;
type Map = SubPageMap<4096, 64>;

#[test]
fn the_ids_that_a_user_stored_make_the_same_map_after_opening() -> Result<()> {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<4096>(&disk)?;
    let mut map = Map::new();
    let mut ids = map.alloc_bulk(&mut pager, 1000)?;
    for id in &ids {
        map.page_mut(&mut pager, *id)?[..8].copy_from_slice(&id.to_u64().to_le_bytes());
    }
    let freed = ids.split_off(700);
    map.free_bulk(&mut pager, &freed)?;
    pager.close()?;

    let mut pager = PagerOptions::new().open_on::<4096>(&disk)?;
    let (mut map, found) = Map::recover(&pager, ids.iter().copied().rev());
    assert!(found.is_clean());
    assert_eq!(map.iter_allocated().collect::<BTreeSet<_>>(), ids.iter().copied().collect());
    assert_eq!(map.iter_parents().count() as u64, pager.allocated_page_count());
    for id in &ids {
        assert_eq!(map.page(&pager, *id)?[..8], id.to_u64().to_le_bytes());
    }
    // It is a map as any other: holes are filled first, nothing is handed out twice, and empty pages go back.
    let more = map.alloc_bulk(&mut pager, 100)?;
    assert!(more.iter().all(|id| !ids.contains(id) && map.page(&pager, *id).is_ok_and(|page| **page == [0; 64])));
    map.free_bulk(&mut pager, ids)?;
    map.free_bulk(&mut pager, more)?;
    assert_whole(&pager, 0);
    Ok(())
}

#[test]
fn ids_that_stand_twice_or_point_at_nothing_are_reported_and_the_others_are_live() -> Result<()> {
    let mut pager = pager::<4096>();
    let ids = Map::new().alloc_bulk(&mut pager, 3)?;
    let freed = pager.alloc()?;
    pager.free(freed)?;
    let protected = pager.alloc_protected()?;
    let dangling = [1, 63, 64, 200, freed.to_u64() * 64, pager.page_count() * 64, u64::MAX].map(id);
    let records = [&ids[..], &dangling[..], &ids[1..2], &ids[1..3]].concat();
    let (map, found) = Map::recover(&pager, records);
    assert_eq!(found.dangling, dangling);
    assert_eq!(found.duplicates, [ids[1], ids[1], ids[2]]);
    assert!(!found.is_clean());
    assert_eq!((map.allocated_count(), map.parent_count()), (3, 1));
    assert!(pager.is_allocated(protected));
    Ok(())
}

#[test]
fn pages_that_no_record_points_into_are_the_callers() -> Result<()> {
    let mut pager = pager::<4096>();
    let page = pager.alloc()?;
    let ids = Map::new().alloc_bulk(&mut pager, 65)?;
    let (mut map, found) = Map::recover(&pager, ids[..1].iter().copied());
    assert!(found.is_clean());
    map.free(&mut pager, ids[0])?;
    assert!(pager.is_allocated(page) && pager.is_allocated(ids[64].parent().expect("page 0 is reserved")));
    assert_whole(&pager, 2);
    Ok(())
}

proptest! {
    #[test]
    fn random_numbers_make_a_map_of_those_that_lie_in_pages(
        raws in prop::collection::vec(prop_oneof![1u64..2000, 320u64..700, 1u64..], 0..300),
    ) {
        let mut pager = pager::<4096>();
        pager.alloc_bulk(5).expect("there is room");
        pager.alloc_protected().expect("there is room");
        let ids: Vec<Id> = raws.into_iter().map(id).collect();
        let (mut map, found) = Map::recover(&pager, ids.iter().copied());
        let good: BTreeSet<Id> =
            ids.iter().copied().filter(|id| id.parent().is_some_and(|page| pager.is_allocated(page))).collect();
        prop_assert_eq!(map.iter_allocated().collect::<BTreeSet<_>>(), good.clone());
        prop_assert_eq!(good.len() + found.duplicates.len() + found.dangling.len(), ids.len());
        let pages = map.parent_count() as u64;
        map.free_bulk(&mut pager, good.into_iter().collect::<Vec<_>>()).expect("they are live");
        assert_whole(&pager, 5 - pages);
    }
}
