//! The promises of tables that are kept in the file.

use std::collections::BTreeMap;

use diptych::{
    BulkPageAllocator, CallKind, Durability, Error, FaultPlan, PageAllocator, PageId, PageKind, PageMut, Pager,
    PagerOptions, ProtectedPageId, ReadHandle, Result, SimDisk, SubPageId, SubPageMap, SubPageTableId,
};

use crate::failure;

/// A file with an empty table.
pub(crate) fn with_table<const P: usize, const S: usize>(disk: &SimDisk) -> Result<(Pager<P>, SubPageTableId<P, S>)> {
    let mut pager = PagerOptions::new().create_on::<P>(disk)?;
    let mut transaction = pager.transaction()?;
    let table = transaction.create_sub_page_table::<S>()?;
    transaction.commit()?;
    Ok((pager, table))
}

/// A transaction of one call.
pub(crate) fn commit<const P: usize, const S: usize, T>(
    pager: &mut Pager<P>,
    table: SubPageTableId<P, S>,
    change: impl FnOnce(&mut diptych::SubPageTable<'_, '_, P, S>) -> Result<T>,
) -> Result<T> {
    let mut transaction = pager.transaction()?;
    let done = change(&mut transaction.sub_pages(table)?)?;
    transaction.commit()?;
    Ok(done)
}

/// What is live, and what each holds.
pub(crate) type Twin<const P: usize, const S: usize> = BTreeMap<SubPageId<P, S>, u8>;

/// The table against its twin, itself, and the pages of the file.
#[track_caller]
pub(crate) fn assert_holds<const P: usize, const S: usize>(
    pager: &Pager<P>,
    table: SubPageTableId<P, S>,
    twin: &Twin<P, S>,
) {
    let view = pager.sub_pages(table).expect("the table is there");
    view.check().expect("the table agrees with itself");
    assert_eq!(view.allocated_count(), twin.len() as u64);
    let listed: Vec<_> = view.iter_allocated().collect::<Result<_>>().expect("nothing is damaged");
    assert!(listed.iter().eq(twin.keys()), "{listed:?}");
    for (id, fill) in twin {
        assert_eq!(view.page(*id).expect("it is live").as_bytes(), [*fill; S], "{id}");
    }
    let slots = (P / S) as u64;
    assert_eq!(view.free_count() + view.allocated_count(), view.parent_count() * slots);
    assert_eq!(pager.table_owned_page_count(), 2 * view.page_count().expect("nothing is damaged"));
    assert_eq!(pager.check(), []);
}

/// More than one parent, and back to none.
fn fills_and_empties<const P: usize, const S: usize>(count: usize) -> Result<()> {
    let disk = SimDisk::new();
    let (mut pager, table) = with_table::<P, S>(&disk)?;
    let own = pager.table_owned_page_count();
    let mut twin = Twin::new();
    let ids = commit(&mut pager, table, |table| {
        let ids = table.alloc_bulk(count)?;
        for (id, fill) in ids.iter().zip((1..=250).cycle()) {
            table.page_mut(*id)?.fill(fill);
            twin.insert(*id, fill);
        }
        Ok(ids)
    })?;
    assert_eq!((ids.len(), twin.len()), (count, count));
    assert_holds(&pager, table, &twin);
    pager.close()?;
    let mut pager = PagerOptions::new().open_on::<P>(&disk)?;
    assert_holds(&pager, table, &twin);
    let parents = (count * S).div_ceil(P) as u64;
    assert_eq!(pager.sub_pages(table)?.parent_count(), parents);

    // All of one parent, one by one and in any order.
    let slots = P / S;
    commit(&mut pager, table, |table| (0..slots).try_for_each(|at| table.free(ids[at * 7919 % slots])))?;
    twin.retain(|id, _| !ids[..slots].contains(id));
    assert_holds(&pager, table, &twin);
    assert_eq!(pager.sub_pages(table)?.parent_count(), parents - 1, "an empty page goes back");
    commit(&mut pager, table, |table| table.free_bulk(&ids[slots..]))?;
    assert_holds(&pager, table, &Twin::new());
    assert_eq!(pager.sub_pages(table)?.parent_count(), 0);

    // The pages with the records go with the table.
    let mut transaction = pager.transaction()?;
    transaction.free_sub_page_table(table)?;
    transaction.commit()?;
    assert!(own > 0 && pager.table_owned_page_count() == 0);
    assert_eq!(pager.check(), []);
    Ok(())
}

#[test]
fn any_number_of_slots_in_a_page_is_filled_and_emptied() -> Result<()> {
    fills_and_empties::<65536, 8>(8192 + 1)?;
    fills_and_empties::<65536, 32768>(5)?;
    fills_and_empties::<4096, 64>(64 * 60)?;
    fills_and_empties::<4096, 2048>(3)?;
    fills_and_empties::<1024, 8>(128 * 25 + 1)?;
    // Enough parents for branches between the root and the nodes.
    fills_and_empties::<1024, 512>(2 * 24 * 121)
}

#[test]
fn a_sub_page_that_somebody_had_reads_as_zeros_to_the_next() -> Result<()> {
    let (mut pager, table) = with_table::<4096, 1024>(&SimDisk::new())?;
    let ids = commit(&mut pager, table, |table| {
        let ids = table.alloc_bulk(2)?;
        table.page_mut(ids[0])?.fill(7);
        table.page_mut(ids[1])?.fill(8);
        Ok(ids)
    })?;
    commit(&mut pager, table, |table| table.free(ids[0]))?;
    let again = commit(&mut pager, table, |table| {
        let again = table.alloc()?;
        assert_eq!(table.page(again)?.as_bytes(), [0; 1024]);
        Ok(again)
    })?;
    assert_eq!(again, ids[0], "the lowest free slot of the page");
    assert_holds(&pager, table, &Twin::from([(again, 0), (ids[1], 8)]));
    Ok(())
}

/// With room in memory for five pages a call works, so it changes no more, whatever the number of live sub-pages.
#[test]
fn a_call_changes_five_pages_at_most_whatever_the_number_of_live_sub_pages() -> Result<()> {
    const P: usize = 1024;
    for count in [3usize, 300, 6000] {
        let disk = SimDisk::new();
        let (mut pager, table) = with_table::<P, 256>(&disk)?;
        let ids = commit(&mut pager, table, |table| {
            let ids = table.alloc_bulk(count)?;
            ids.iter().try_for_each(|id| table.page_mut(*id).map(|page| page.fill(1)))?;
            Ok(ids)
        })?;
        pager.close()?;
        let mut pager = PagerOptions::new().max_staged_bytes(5 * P as u64).open_on::<P>(&disk)?;
        let mut twin: Twin<P, 256> = ids.iter().map(|id| (*id, 1)).collect();
        // Full parents get room, parents with room become empty, in the middle of their list and at its ends.
        for round in 0..40 {
            let id = ids[round * 613 % count];
            if twin.remove(&id).is_some() {
                commit(&mut pager, table, |table| table.free(id))?;
            }
            for _ in 0..round % 2 {
                let id = commit(&mut pager, table, |table| table.alloc())?;
                assert_eq!(twin.insert(id, 0), None);
            }
        }
        assert_holds(&pager, table, &twin);
    }
    Ok(())
}

#[test]
fn tables_and_maps_of_several_sizes_share_a_pager() -> Result<()> {
    let disk = SimDisk::new();
    let (mut pager, small) = with_table::<4096, 16>(&disk)?;
    let mut map = SubPageMap::<4096, 128>::new();
    let mut transaction = pager.transaction()?;
    let large = transaction.create_sub_page_table::<1024>()?;
    let protected = transaction.alloc_protected()?;
    let id = transaction.sub_pages(small)?.alloc()?;
    let other = transaction.sub_pages(large)?.alloc()?;
    let in_map = map.alloc(&mut transaction)?;
    transaction.sub_pages(small)?.page_mut(id)?.fill(1);
    transaction.sub_pages(large)?.page_mut(other)?.fill(2);
    map.page_mut(&mut transaction, in_map)?.fill(3);
    transaction.commit()?;
    assert_eq!(pager.sub_pages(small)?.page(id)?.as_bytes(), [1; 16]);
    assert_eq!(pager.sub_pages(large)?.page(other)?.as_bytes(), [2; 1024]);
    assert_eq!(map.page(&pager, in_map)?.as_bytes(), [3; 128]);
    assert!(pager.iter_allocated_protected_pages().eq([protected]));
    assert_eq!(pager.allocated_page_count(), 1);
    assert_eq!(pager.table_owned_page_count(), 2 * (3 + 3), "of each table a root, a node and a parent");
    assert_eq!(pager.check(), []);
    Ok(())
}

#[test]
fn pages_of_tables_are_nobody_elses() -> Result<()> {
    let disk = SimDisk::new();
    let (mut pager, table) = with_table::<1024, 64>(&disk)?;
    commit(&mut pager, table, |table| table.alloc_bulk(40))?;
    assert_eq!((pager.iter_allocated_pages().count(), pager.iter_allocated_protected_pages().count()), (0, 0));
    assert_eq!((pager.allocated_page_count(), pager.allocated_protected_page_count()), (0, 0));
    let mut owned = 0;
    for page in (1..pager.page_count()).filter_map(PageId::<1024>::from_u64) {
        assert!(!pager.is_allocated(page));
        let refused = [
            failure(pager.page(page).map(drop)),
            failure(pager.page_mut(page).map(drop)),
            failure(pager.free(page)),
            failure(pager.transaction()?.overwrite(page).map(drop)),
        ];
        for error in refused {
            let Error::WrongKind { found, .. } = error else { panic!("{error}") };
            owned += u64::from(found == PageKind::TableOwned);
        }
    }
    assert_eq!(owned, 4 * pager.table_owned_page_count());
    for id in (1..=20).filter_map(ProtectedPageId::<1024>::from_u64) {
        assert!(!pager.is_allocated(id));
        for error in [
            failure(pager.protected(id).map(drop)),
            failure(pager.protected_mut(id).map(drop)),
            failure(pager.free_protected(id)),
            failure(pager.transaction()?.protected_zeroed(id).map(drop)),
        ] {
            assert!(matches!(error, Error::NoSuchProtectedPage { .. }), "{error}");
        }
    }
    // Verified once, a page of the table is still no protected page.
    assert!(pager.sub_pages(table)?.iter_allocated().all(|id| id.is_ok()));
    assert!(pager.protected(ProtectedPageId::from_u64(table.to_u64()).expect("an id")).is_err());
    Ok(())
}

#[test]
fn a_savepoint_and_a_dropped_transaction_take_all_of_it_back() -> Result<()> {
    let (mut pager, table) = with_table::<1024, 256>(&SimDisk::new())?;
    let ids = commit(&mut pager, table, |table| table.alloc_bulk(9))?;
    let twin: Twin<1024, 256> = ids.iter().map(|id| (*id, 0)).collect();
    let mut transaction = pager.transaction()?;
    let kept = transaction.sub_pages(table)?.alloc()?;
    let savepoint = transaction.savepoint();
    let mut parts = transaction.sub_pages(table)?;
    parts.free_bulk(&ids[..6])?;
    parts.alloc_bulk(30)?;
    parts.page_mut(ids[8])?.fill(5);
    transaction.free_sub_page_table(table)?;
    assert!(matches!(failure(transaction.sub_pages(table).map(drop)), Error::NoSuchTable { .. }));
    transaction.rollback_to(&savepoint)?;
    transaction.commit()?;
    let mut with_kept = twin.clone();
    with_kept.insert(kept, 0);
    assert_holds(&pager, table, &with_kept);

    let mut transaction = pager.transaction()?;
    transaction.sub_pages(table)?.free_bulk(&ids)?;
    transaction.create_sub_page_table::<8>()?;
    drop(transaction);
    assert_holds(&pager, table, &with_kept);
    commit(&mut pager, table, |table| table.free(kept))?;
    assert_holds(&pager, table, &twin);
    Ok(())
}

#[test]
fn a_call_that_finds_no_room_changes_nothing_and_the_transaction_goes_on() -> Result<()> {
    const P: usize = 1024;
    let disk = SimDisk::new();
    let (pager, table) = with_table::<P, 512>(&disk)?;
    pager.close()?;
    let options = PagerOptions::new().max_staged_bytes(8 * P as u64).max_file_bytes(400 * P as u64);
    let mut pager = options.open_on::<P>(&disk)?;
    let mut transaction = pager.transaction()?;
    let ids = transaction.sub_pages(table)?.alloc_bulk(5)?;
    transaction.sub_pages(table)?.page_mut(ids[4])?.fill(4);
    let mut parts = transaction.sub_pages(table)?;
    for count in [2000, usize::MAX / 16, usize::MAX] {
        let error = failure(parts.alloc_bulk(count));
        assert!(matches!(error, Error::Full { .. }) || error.is_io(), "{error}");
    }
    let error = failure(parts.alloc_bulk(300));
    assert!(matches!(error, Error::StageFull { .. }), "{error}");
    assert!(matches!(failure(parts.free_bulk([ids[0], ids[1], ids[0]])), Error::Duplicate { .. }));
    let view = parts.view()?;
    view.check()?;
    assert_eq!((view.allocated_count(), view.parent_count()), (5, 3));
    let last = parts.alloc()?;
    transaction.commit()?;
    let mut twin: Twin<P, 512> = ids.iter().map(|id| (*id, 0)).collect();
    twin.insert(ids[4], 4);
    twin.insert(last, 0);
    assert_holds(&pager, table, &twin);
    Ok(())
}

#[test]
fn a_commit_that_fails_before_its_first_byte_that_counts_leaves_the_table_as_it_was() -> Result<()> {
    let disk = SimDisk::new();
    let (mut pager, table) = with_table::<4096, 512>(&disk)?;
    let ids = commit(&mut pager, table, |table| table.alloc_bulk(9))?;
    let twin: Twin<4096, 512> = ids.iter().map(|id| (*id, 0)).collect();
    disk.fail(FaultPlan::nth(CallKind::Write, 1));
    assert!(failure(commit(&mut pager, table, |table| table.free_bulk(&ids[..8]))).is_io());
    disk.clear_faults();
    assert_holds(&pager, table, &twin);
    // What failed later is there after opening again, or not, and nothing between.
    disk.fail(FaultPlan::nth(CallKind::Barrier, 1));
    assert!(failure(commit(&mut pager, table, |table| table.free_bulk(&ids[..8]))).is_io());
    disk.clear_faults();
    assert!(failure(commit(&mut pager, table, |table| table.alloc())).needs_reopen());
    drop(pager);
    let pager = PagerOptions::new().open_on::<4096>(&disk)?;
    let freed = Twin::from([(ids[8], 0)]);
    let is_before = pager.sub_pages(table)?.allocated_count() == 9;
    assert_holds(&pager, table, if is_before { &twin } else { &freed });
    Ok(())
}

#[test]
fn ids_stay_what_they_are_when_the_pages_of_a_table_move() -> Result<()> {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<1024>(&disk)?;
    let before = pager.alloc_bulk(2000)?;
    let mut transaction = pager.transaction()?;
    let table = transaction.create_sub_page_table::<128>()?;
    let mut parts = transaction.sub_pages(table)?;
    let mut twin = Twin::new();
    for (id, fill) in parts.alloc_bulk(400)?.into_iter().zip((1..=250).cycle()) {
        parts.page_mut(id)?.fill(fill);
        twin.insert(id, fill);
    }
    transaction.commit()?;
    pager.free_bulk(before)?;
    let (count, owned) = (pager.page_count(), pager.table_owned_page_count());
    let done = pager.compact(u64::MAX, |_, _, _| Ok::<(), Error>(()))?;
    assert!(done.moved_twins > 0 && done.left == 0, "{done:?}");
    pager.shrink()?;
    assert!(pager.page_count() < count / 3);
    assert_eq!(pager.table_owned_page_count(), owned);
    assert_holds(&pager, table, &twin);
    pager.close()?;
    assert_holds(&PagerOptions::new().open_on::<1024>(&disk)?, table, &twin);
    Ok(())
}

#[test]
fn commits_that_wait_and_snapshots_take_tables_along() -> Result<()> {
    let disk = SimDisk::new();
    let (mut pager, table) = with_table::<4096, 256>(&disk)?;
    let mut twin = Twin::new();
    for fill in 1..20 {
        let mut transaction = pager.transaction()?;
        transaction.set_durability(Durability::None);
        let mut parts = transaction.sub_pages(table)?;
        let ids = parts.alloc_bulk(3)?;
        for id in &ids {
            parts.page_mut(*id)?.fill(fill);
            twin.insert(*id, fill);
        }
        let first = *twin.keys().next().expect("there are some");
        parts.free(first)?;
        twin.remove(&first);
        transaction.commit()?;
        assert_holds(&pager, table, &twin);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("snapshot");
    pager.snapshot_to(&path)?;
    assert_holds(&Pager::<4096>::open(&path)?, table, &twin);
    pager.sync()?;
    drop(pager);
    assert_holds(&PagerOptions::new().open_on::<4096>(&disk)?, table, &twin);
    Ok(())
}

#[test]
fn generic_code_takes_a_table_as_a_place() -> Result<()> {
    fn fill<A: BulkPageAllocator<SubPageId<1024, 32>>>(place: &mut A) -> Vec<SubPageId<1024, 32>>
    where
        SubPageId<1024, 32>: diptych::PageHandle<A, Page = diptych::MappedPage<32>>,
    {
        let mut ids = BulkPageAllocator::alloc_bulk(place, 5).unwrap_or_default();
        ids.extend(PageAllocator::alloc(place));
        for id in &ids {
            if let Ok(mut page) = diptych::PageHandle::get_mut(id, place) {
                page.page_mut().fill(9);
            }
        }
        ids
    }
    let (mut pager, table) = with_table::<1024, 32>(&SimDisk::new())?;
    let ids = commit(&mut pager, table, |table| Ok(fill(table)))?;
    let view = pager.sub_pages(table)?;
    for id in &ids {
        assert_eq!(id.get(&view)?.as_bytes(), ReadHandle::get(id, &view)?.as_bytes());
    }
    assert_holds(&pager, table, &ids.into_iter().map(|id| (id, 9)).collect());
    Ok(())
}
