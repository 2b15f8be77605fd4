//! What the type that owns its pager does, and what sub-pages read as.

use diptych::{
    BulkPageAllocator, PageHandle, PageId, PageMut, Pager, PagerOptions, Result, SimDisk, SubPageAllocator, SubPageId,
    SubPageMap,
};

use crate::{assert_whole, pager};

/// Everything the traits can do, as it is asked of pages.
fn exercise<A, H>(place: &mut A) -> Result<H, A::Error>
where
    A: BulkPageAllocator<H>,
    H: PageHandle<A> + Copy + PartialEq + std::fmt::Debug,
{
    let kept = place.alloc()?;
    let others = place.alloc_bulk(4)?;
    assert!(others.len() == 4 && !others.contains(&kept));
    for id in &others {
        assert!(id.get(place)?.as_ref().iter().all(|byte| *byte == 0));
        let mut page = id.get_mut(place)?;
        page.page_mut().as_mut().fill(1);
        page.commit()?;
    }
    place.free_bulk(&others[..3])?;
    place.free(others[3])?;
    assert!(others.iter().all(|id| id.get(place).is_err()));
    let again = place.alloc_bulk(4)?;
    assert!(again.iter().all(|id| id.get(place).is_ok_and(|page| page.as_ref().iter().all(|byte| *byte == 0))));
    place.free_bulk(again)?;
    Ok(kept)
}

#[test]
fn one_function_runs_over_pages_and_sub_pages() -> Result<()> {
    let mut pages = pager::<4096>();
    let page: PageId<4096> = exercise(&mut pages)?;
    assert!(pages.is_allocated(page));
    let mut parts = SubPageAllocator::<4096, 256>::new(pager());
    let id = exercise(&mut parts)?;
    assert!(parts.map().is_allocated(id));
    parts.free(id)?;
    assert_whole(&parts.into_pager(), 0);
    Ok(())
}

#[test]
fn a_slot_that_is_handed_out_again_reads_as_zeros_and_is_written_from_zeros() -> Result<()> {
    let mut parts = SubPageAllocator::<4096, 64>::new(pager());
    let ids = parts.alloc_bulk(2)?;
    for id in &ids {
        id.get_mut(&mut parts)?.fill(0xaa);
    }
    parts.free(ids[0])?;
    assert_eq!(parts.alloc()?, ids[0]);
    assert_eq!(ids[0].get(&parts)?.as_bytes(), [0; 64]);
    // Its bytes are those of its last owner until it is given out to be written, and all zeros from then on.
    let parent = ids[0].parent().expect("page 0 is reserved");
    assert_eq!(parts.pager().page(parent)?[..64], [0xaa; 64]);
    id_written(&mut parts, ids[0])?;
    assert_eq!(parts.pager().page(parent)?[..64], *ids[0].get(&parts)?.as_bytes());
    assert_eq!(ids[1].get(&parts)?.as_bytes(), [0xaa; 64]);
    Ok(())
}

fn id_written(parts: &mut SubPageAllocator<4096, 64>, id: SubPageId<4096, 64>) -> Result<()> {
    id.get_mut(parts)?[3] = 1;
    let mut expected = [0; 64];
    expected[3] = 1;
    assert_eq!(id.get(parts)?.as_bytes(), expected);
    id.get_mut(parts)?[4] = 2;
    assert_eq!(id.get(parts)?[3..5], [1, 2]);
    Ok(())
}

#[test]
fn only_calls_that_take_a_page_or_give_one_back_are_commits() -> Result<()> {
    let mut parts = SubPageAllocator::<1024, 256>::new(pager());
    let generation = |parts: &SubPageAllocator<1024, 256>| parts.pager().generation().to_u64();
    let start = generation(&parts);
    let ids = [parts.alloc()?, parts.alloc()?, parts.alloc()?, parts.alloc()?];
    assert_eq!(generation(&parts), start + 1);
    let more = parts.alloc_bulk(9)?;
    assert_eq!(generation(&parts), start + 2);
    parts.free(ids[2])?;
    assert_eq!(parts.alloc()?, ids[2]);
    assert_eq!(generation(&parts), start + 2);
    parts.free_bulk(more)?;
    assert_eq!(generation(&parts), start + 3);
    assert_eq!((parts.alloc_bulk(0)?, parts.free_bulk([])?), (vec![], ()));
    assert_eq!(generation(&parts), start + 3);
    Ok(())
}

#[test]
fn what_was_stored_and_synced_is_there_after_opening() -> Result<()> {
    let disk = SimDisk::new();
    let mut parts = SubPageAllocator::<4096, 128>::new(PagerOptions::new().create_on(&disk)?);
    let ids = parts.alloc_bulk(40)?;
    for (number, id) in (0u8..).zip(&ids) {
        parts.page_mut(*id)?.fill(number);
    }
    parts.sync()?;
    drop(parts);
    let (mut parts, found) = SubPageAllocator::recover(PagerOptions::new().open_on(&disk)?, ids.iter().copied());
    assert!(found.is_clean() && parts.map().parent_count() == 2);
    for (number, id) in (0u8..).zip(&ids) {
        assert_eq!(parts.page(*id)?.as_bytes(), [number; 128]);
    }
    parts.free_bulk(ids)?;
    assert_whole(&parts.into_pager(), 0);
    Ok(())
}

#[test]
fn the_parts_come_apart_and_are_lent_out() -> Result<()> {
    let mut parts = SubPageAllocator::<4096, 128>::new(pager());
    let id = parts.alloc()?;
    let (pager, map) = parts.parts_mut();
    let page = pager.alloc()?;
    assert!(map.is_allocated(id));
    let (pager, map): (Pager<4096>, SubPageMap<4096, 128>) = parts.into_parts();
    assert!(pager.is_allocated(page));
    assert_eq!((map.iter_allocated().collect::<Vec<_>>(), map.iter_parents().count()), (vec![id], 1));
    assert_eq!(
        format!("{map:?}"),
        "SubPageMap { page_size: 4096, sub_page_size: 128, allocated_count: 1, parent_count: 1, .. }"
    );
    Ok(())
}
