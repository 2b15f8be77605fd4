//! Sub-pages of every size in pages of every size.

use std::collections::BTreeSet;

use diptych::{Result, SubPageAllocator, SubPageId, SubPageMap};

use crate::{assert_whole, pager};

/// Fills two pages and one slot of a third, checks that nothing overlaps, frees in two halves, and finds every page back.
fn fill_and_empty<const P: usize, const S: usize>() -> Result<()> {
    let slots = P / S;
    let mut pager = pager::<P>();
    let mut map = SubPageMap::<P, S>::new();
    let mut ids = map.alloc_bulk(&mut pager, slots)?;
    assert_eq!((map.parent_count(), map.free_count()), (1, 0));
    ids.extend((0..=slots).map(|_| map.alloc(&mut pager).expect("there is room")));
    assert_eq!((map.parent_count(), map.allocated_count()), (3, 2 * slots as u64 + 1));
    assert_whole(&pager, 3);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());

    for (number, id) in (0u64..).zip(&ids) {
        assert!(map.page(&pager, *id)?.iter().all(|byte| *byte == 0));
        let page = map.page_mut(&mut pager, *id)?;
        assert_eq!(page.as_ptr().align_offset(S.min(1024)), 0);
        page[..8].copy_from_slice(&number.to_le_bytes());
        page[S - 1] |= 0x80;
    }
    for (number, id) in (0u64..).zip(&ids) {
        let page = map.page(&pager, *id)?;
        assert!(page[..7] == number.to_le_bytes()[..7] && page[S - 1] & 0x80 != 0);
        // By hand, as the number of the id says.
        let parent = id.parent().expect("page 0 is reserved");
        let start = usize::try_from(id.slot()).expect("a slot") * S;
        assert_eq!(&pager.page(parent)?[start..start + S], page.as_bytes());
    }

    let rest = ids.split_off(slots);
    map.free_bulk(&mut pager, &ids)?;
    assert_eq!(map.parent_count(), 2);
    for id in rest {
        map.free(&mut pager, id)?;
    }
    assert_eq!((map.parent_count(), map.allocated_count(), map.free_count()), (0, 0, 0));
    assert_whole(&pager, 0);
    Ok(())
}

#[test]
fn pages_of_every_shape_are_filled_and_go_back() -> Result<()> {
    fill_and_empty::<1024, 512>()?;
    fill_and_empty::<1024, 8>()?;
    fill_and_empty::<4096, 64>()?;
    fill_and_empty::<4096, 32>()?;
    fill_and_empty::<4096, 2048>()?;
    fill_and_empty::<65536, 8>()?;
    fill_and_empty::<65536, 32768>()?;
    fill_and_empty::<16777216, 4096>()?;
    fill_and_empty::<16777216, 8388608>()
}

#[test]
fn two_million_slots_of_8_bytes_in_a_page_of_16_mib() -> Result<()> {
    const SLOTS: usize = 1 << 21;
    let mut parts = SubPageAllocator::<{ 1 << 24 }, 8>::new(pager());
    let mut ids = parts.alloc_bulk(SLOTS)?;
    assert_eq!((parts.map().parent_count(), parts.map().free_count()), (1, 0));
    let hole = ids.swap_remove(SLOTS / 3);
    parts.free(hole)?;
    assert_eq!(parts.alloc()?, hole);
    parts.free(hole)?;
    parts.free_bulk(&ids)?;
    assert_whole(&parts.into_pager(), 0);
    Ok(())
}

#[test]
fn several_sizes_share_a_pager_with_its_other_pages() -> Result<()> {
    let mut pager = pager::<4096>();
    let (mut small, mut large) = (SubPageMap::<4096, 8>::new(), SubPageMap::<4096, 1024>::new());
    let (mut smalls, mut larges, mut pages) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..20 {
        smalls.extend(small.alloc_bulk(&mut pager, 100)?);
        larges.push(large.alloc(&mut pager)?);
        pages.push(pager.alloc()?);
        let filled = u8::try_from(round + 1).expect("20 rounds");
        large.page_mut(&mut pager, larges[round])?.fill(filled);
        pager.page_mut(pages[round])?.fill(filled);
    }
    for id in &smalls {
        small.page_mut(&mut pager, *id)?.fill(0xff);
    }
    for round in 0..20 {
        let filled = u8::try_from(round + 1).expect("20 rounds");
        assert!(large.page(&pager, larges[round])?.iter().all(|byte| *byte == filled));
        assert!(pager.page(pages[round])?.iter().all(|byte| *byte == filled));
    }
    assert_whole(&pager, (small.parent_count() + large.parent_count() + pages.len()) as u64);
    small.free_bulk(&mut pager, smalls)?;
    large.free_bulk(&mut pager, larges)?;
    assert_whole(&pager, 20);
    Ok(())
}

#[test]
fn ids_show_their_sizes_and_fit_into_an_option() {
    let id = SubPageId::<4096, 64>::from_u64(67).expect("not zero");
    assert_eq!(format!("{id} {id:?}"), "sub-page 67 SubPageId<4096, 64>(67)");
    assert_eq!(size_of::<Option<SubPageId<4096, 64>>>(), 8);
    assert_eq!(SubPageId::<4096, 64>::from_u64(0), None);
    assert_eq!(SubPageId::<4096, 64>::from_u64(63).and_then(SubPageId::parent), None);
}
