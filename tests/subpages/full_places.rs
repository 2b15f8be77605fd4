//! Places that fail in the middle of a call: all of it is done, or nothing.

use diptych::{CallKind, Error, FaultPlan, Pager, PagerOptions, Result, SimDisk, SubPageMap};

use crate::{assert_whole, failure};

type Map = SubPageMap<4096, 1024>;

#[test]
fn a_file_that_may_not_grow_gives_all_of_a_bulk_or_nothing() -> Result<()> {
    let mut pager: Pager<4096> = PagerOptions::new().max_file_bytes(40 * 4096).create_on(&SimDisk::new())?;
    let mut map = Map::new();
    let kept = map.alloc_bulk(&mut pager, 5)?;
    for count in [1000, 1 << 30, usize::MAX / 16, usize::MAX] {
        let before = pager.generation();
        let error = failure(map.alloc_bulk(&mut pager, count));
        assert!(matches!(error, Error::Full { .. }) || (error.is_io() && count > 1000), "{error:?}");
        assert_eq!((map.allocated_count(), map.parent_count(), pager.generation()), (5, 2, before));
    }
    // One by one to the last.
    let mut ids = Vec::new();
    let error = loop {
        match map.alloc(&mut pager) {
            Ok(id) => ids.push(id),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    assert_eq!((map.free_count(), map.allocated_count()), (0, 5 + ids.len() as u64));
    map.free(&mut pager, ids[7])?;
    assert_eq!(map.alloc(&mut pager)?, ids[7]);
    map.free_bulk(&mut pager, ids)?;
    map.free_bulk(&mut pager, kept)?;
    assert_whole(&pager, 0);
    Ok(())
}

#[test]
fn a_disk_without_space_gives_nothing_and_the_same_call_works_when_there_is_some() -> Result<()> {
    let disk = SimDisk::new();
    let mut pager: Pager<4096> = PagerOptions::new().create_on(&disk)?;
    let mut map = Map::new();
    let ids = map.alloc_bulk(&mut pager, 9)?;
    let before = pager.generation();
    disk.fail(FaultPlan::nth(CallKind::Grow, 1));
    let error = failure(map.alloc_bulk(&mut pager, 9000));
    assert!(error.is_io(), "{error:?}");
    assert_eq!((map.allocated_count(), map.parent_count(), pager.generation()), (9, 3, before));
    disk.clear_faults();
    let more = map.alloc_bulk(&mut pager, 9000)?;
    map.free_bulk(&mut pager, more)?;
    map.free_bulk(&mut pager, ids)?;
    assert_whole(&pager, 0);
    Ok(())
}

#[test]
fn a_bulk_of_which_one_page_cannot_go_back_frees_nothing() -> Result<()> {
    let mut pager: Pager<4096> = PagerOptions::new().create_on(&SimDisk::new())?;
    let mut map = Map::new();
    let ids = map.alloc_bulk(&mut pager, 12)?;
    map.page_mut(&mut pager, ids[0])?.fill(5);
    // Behind the map: what it has there is lost, and the pager says so.
    let parent = ids[11].parent().expect("page 0 is reserved");
    pager.free(parent)?;
    let before = pager.generation();
    for list in [&ids[..], &ids[1..]] {
        assert!(matches!(failure(map.free_bulk(&mut pager, list)), Error::WrongKind { .. }));
        assert_eq!((map.allocated_count(), map.parent_count(), pager.generation()), (12, 3, before));
    }
    assert_eq!((map.page(&pager, ids[0])?[0], map.page(&pager, ids[1])?[0]), (5, 0));
    map.free_bulk(&mut pager, ids.iter().copied().filter(|id| id.parent() != Some(parent)).collect::<Vec<_>>())?;
    assert_eq!((map.allocated_count(), map.parent_count()), (4, 1));
    assert_whole(&pager, 0);
    Ok(())
}

#[test]
fn a_poisoned_pager_gives_and_takes_no_page_and_the_map_stays_as_it_was() -> Result<()> {
    let disk = SimDisk::new();
    let mut pager: Pager<4096> = PagerOptions::new().create_on(&disk)?;
    let mut map = Map::new();
    let ids = map.alloc_bulk(&mut pager, 6)?;
    disk.fail(FaultPlan::nth(CallKind::Barrier, 1));
    assert!(failure(map.free_bulk(&mut pager, &ids[..5])).is_io());
    for error in [
        failure(map.free_bulk(&mut pager, &ids)),
        failure(map.alloc_bulk(&mut pager, 100)),
        failure(map.page_mut(&mut pager, ids[0])),
    ] {
        assert!(error.needs_reopen(), "{error:?}");
    }
    assert_eq!((map.allocated_count(), map.parent_count()), (6, 2));
    assert!(ids.iter().all(|id| map.page(&pager, *id).is_ok()));
    Ok(())
}
