//! Maps that change in transactions: what the transaction does to its pages, the change does to the map.

use std::collections::BTreeSet;

use diptych::{Error, PagerOptions, Result, SimDisk, SubPageId, SubPageMap};

use crate::{assert_whole, failure, pager};

type Map = SubPageMap<4096, 512>;

fn live(map: &Map) -> BTreeSet<SubPageId<4096, 512>> {
    map.iter_allocated().collect()
}

#[test]
fn a_transaction_that_is_dropped_leaves_no_trace_in_the_map() -> Result<()> {
    let mut pager = pager::<4096>();
    let mut map = Map::new();
    let ids = map.alloc_bulk(&mut pager, 20)?;
    map.page_mut(&mut pager, ids[0])?.fill(1);
    let before = (live(&map), map.free_count());

    let mut transaction = pager.transaction()?;
    let mut change = map.change();
    let more = change.alloc_bulk(&mut transaction, 30)?;
    change.free(&mut transaction, ids[0])?;
    change.free_bulk(&mut transaction, &ids[4..])?;
    let again = change.alloc(&mut transaction)?;
    change.overwrite(&mut transaction, again)?.fill(2);
    change.overwrite(&mut transaction, ids[1])?.fill(3);
    change.free_bulk(&mut transaction, more)?;
    drop(change);
    drop(transaction);

    assert_eq!((live(&map), map.free_count()), before);
    // What was written is there, and what was not is still to be zeros.
    assert_eq!((map.page(&pager, ids[0])?[0], map.page(&pager, ids[1])?[0]), (1, 0));
    map.free_bulk(&mut pager, ids)?;
    assert_whole(&pager, 0);
    Ok(())
}

#[test]
fn a_commit_carries_several_maps_and_pages() -> Result<()> {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<4096>(&disk)?;
    let (mut small, mut large) = (SubPageMap::<4096, 64>::new(), Map::new());
    let mut transaction = pager.transaction()?;
    let (mut smalls, mut larges) = (small.change(), large.change());
    let name = smalls.alloc(&mut transaction)?;
    let node = larges.alloc(&mut transaction)?;
    smalls.page_mut(&mut transaction, name)?.fill(1);
    larges.page_mut(&mut transaction, node)?[..8].copy_from_slice(&name.to_u64().to_le_bytes());
    assert_eq!(smalls.page(&transaction, name)?[63], 1);
    transaction.set_header(&node.to_u64().to_le_bytes())?;
    transaction.commit()?;
    smalls.keep();
    larges.keep();
    drop(pager);

    let pager = PagerOptions::new().open_on::<4096>(&disk)?;
    let raw = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"));
    let node = SubPageId::from_u64(raw(pager.header())).expect("it was stored");
    let (large, found) = Map::recover(&pager, [node]);
    assert!(found.is_clean());
    assert_eq!(raw(large.page(&pager, node)?.as_bytes()), name.to_u64());
    assert_eq!(SubPageMap::recover(&pager, [name]).0.page(&pager, name)?.as_bytes(), [1; 64]);
    Ok(())
}

#[test]
fn parts_of_an_older_page_are_overwritten_and_not_written_as_fresh() -> Result<()> {
    let mut pager = pager::<4096>();
    let mut map = Map::new();
    let old = map.alloc(&mut pager)?;
    let mut transaction = pager.transaction()?;
    let mut change = map.change();
    let new = change.alloc(&mut transaction)?;
    for id in [old, new] {
        assert!(matches!(failure(change.page_mut(&mut transaction, id)), Error::NotFresh { .. }));
        change.overwrite(&mut transaction, id)?.fill(4);
    }
    transaction.commit()?;
    change.keep();
    assert_eq!((map.page(&pager, old)?.as_bytes(), map.page(&pager, new)?.as_bytes()), (&[4; 512][..], &[4; 512][..]));
    Ok(())
}

#[test]
fn a_change_in_a_change_goes_with_a_savepoint() -> Result<()> {
    let mut pager = pager::<4096>();
    let mut map = Map::new();
    let mut transaction = pager.transaction()?;
    let mut change = map.change();
    let kept = change.alloc_bulk(&mut transaction, 10)?;

    let savepoint = transaction.savepoint();
    let mut tried = change.change();
    tried.alloc_bulk(&mut transaction, 10)?;
    tried.free_bulk(&mut transaction, &kept)?;
    drop(tried);
    transaction.rollback_to(&savepoint)?;
    assert_eq!(live(&change), kept.iter().copied().collect());

    let mut tried = change.change();
    let more = tried.alloc(&mut transaction)?;
    tried.keep();
    transaction.commit()?;
    change.keep();
    assert_eq!(live(&map), kept.into_iter().chain([more]).collect());
    assert_whole(&pager, 2);
    Ok(())
}

#[test]
fn what_an_inner_change_kept_goes_when_the_outer_one_is_dropped() -> Result<()> {
    let mut pager = pager::<4096>();
    let mut map = Map::new();
    let mut transaction = pager.transaction()?;
    let mut change = map.change();
    let mut inner = change.change();
    inner.alloc_bulk(&mut transaction, 10)?;
    inner.keep();
    assert_eq!(change.allocated_count(), 10);
    drop((change, transaction));
    assert_eq!((map.allocated_count(), map.parent_count()), (0, 0));
    assert_whole(&pager, 0);
    Ok(())
}

#[test]
fn a_map_that_forgot_to_change_with_its_transaction_is_told_so_and_loses_nothing() -> Result<()> {
    let mut pager = pager::<4096>();
    let mut map = Map::new();
    let mut transaction = pager.transaction()?;
    let ids = map.alloc_bulk(&mut transaction, 8)?;
    drop(transaction);
    assert!(map.page(&pager, ids[0]).is_err());
    assert!(matches!(failure(map.alloc(&mut pager)), Error::ParentInUse { .. }));
    assert_whole(&pager, 0);
    Ok(())
}
