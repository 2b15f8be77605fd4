//! Contiguous pages under one id: looked at as one slice, atomic to allocate, free, lengthen and shorten.

use std::collections::BTreeMap;

use diptych::{
    BulkPageAllocator, Durability, Error, ExtentId, PageAllocator, PageHandle, PageId, PageKind, Pager, PagerOptions,
    ProtectedPageId, ReadOnlyPager, SimDisk,
};
use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};
use proptest::test_runner::Config;

const P: usize = 1024;
/// Pages of which a leaf of the free map holds the kinds.
const LEAF: usize = 16_128;

fn pager() -> Pager<P> {
    PagerOptions::new().create_on(&SimDisk::new()).unwrap()
}

fn assert_whole<const P: usize>(pager: &Pager<P>) {
    assert_eq!(pager.check(), []);
}

#[derive(Clone, Debug)]
enum Step {
    Alloc(usize, u8),
    Free(usize),
    Lengthen(usize, usize),
    Shorten(usize, usize),
    Store(usize, u8),
    Overwrite(usize, u8),
    Pages(usize),
    FreePages(usize, usize),
    Protected(usize),
    Roll(Vec<Step>),
    Wait(Vec<Step>),
    Compact(u64),
    Shrink,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let pick = 0usize..64;
    let len = prop_oneof![4 => 1usize..9, 2 => 9usize..100, 1 => 100usize..3000];
    let one = prop_oneof![
        4 => (len.clone(), any::<u8>()).prop_map(|(pages, fill)| Step::Alloc(pages, fill)),
        2 => pick.clone().prop_map(Step::Free),
        2 => (pick.clone(), len.clone()).prop_map(|(at, pages)| Step::Lengthen(at, pages)),
        2 => (pick.clone(), 1usize..20).prop_map(|(at, pages)| Step::Shorten(at, pages)),
        1 => (pick.clone(), any::<u8>()).prop_map(|(at, fill)| Step::Store(at, fill)),
        1 => (pick.clone(), any::<u8>()).prop_map(|(at, fill)| Step::Overwrite(at, fill)),
        2 => (1usize..40).prop_map(Step::Pages),
        2 => (pick.clone(), 1usize..9).prop_map(|(at, every)| Step::FreePages(at, every)),
        1 => (1usize..30).prop_map(Step::Protected),
    ];
    let several = prop::collection::vec(one.clone(), 1..5);
    prop_oneof![
        12 => one,
        1 => several.clone().prop_map(Step::Roll),
        1 => several.prop_map(Step::Wait),
        1 => (1u64..2000).prop_map(Step::Compact),
        1 => prop::sample::select(vec![Step::Shrink, Step::Reopen]),
    ]
}

/// The naive twin: what every page of every extent is full of.
#[derive(Clone, Default)]
struct Twin {
    extents: BTreeMap<ExtentId<P>, Vec<u8>>,
    pages: Vec<PageId<P>>,
    protected: Vec<ProtectedPageId<P>>,
}

impl Twin {
    fn pick(&self, at: usize) -> Option<ExtentId<P>> {
        let at = at.checked_rem(self.extents.len())?;
        self.extents.keys().nth(at).copied()
    }
}

fn run_in(tx: &mut diptych::Transaction<'_, P>, twin: &mut Twin, fresh: &mut Vec<ExtentId<P>>, step: &Step) {
    match *step {
        Step::Alloc(pages, fill) => {
            let id = tx.alloc_extent(pages).unwrap();
            assert!(matches!(tx.extent(id), Err(Error::Unwritten { .. })));
            // Every third one is left to be zeros.
            let fill = if fill % 3 == 0 { 0 } else { fill };
            if fill != 0 {
                assert_eq!(tx.extent_mut(id).unwrap(), vec![0; pages * P]);
                tx.extent_mut(id).unwrap().fill(fill);
            }
            assert_eq!(twin.extents.insert(id, vec![fill; pages]), None, "an id is given once");
            fresh.push(id);
        }
        Step::Free(at) => {
            let Some(id) = twin.pick(at) else { return };
            tx.free_extent(id).unwrap();
            assert!(matches!(tx.extent(id), Err(Error::NoSuchExtent { .. })));
            assert!(matches!(tx.free_extent(id), Err(Error::NoSuchExtent { .. })));
            twin.extents.remove(&id);
        }
        Step::Lengthen(at, pages) => {
            let Some(id) = twin.pick(at) else { return };
            let held = twin.extents.get_mut(&id).unwrap();
            if tx.lengthen_extent(id, pages).unwrap() && pages > held.len() {
                held.resize(pages, 0);
            }
        }
        Step::Shorten(at, pages) => {
            let Some(id) = twin.pick(at) else { return };
            tx.shorten_extent(id, pages).unwrap();
            twin.extents.get_mut(&id).unwrap().truncate(pages);
        }
        Step::Store(at, fill) | Step::Overwrite(at, fill) => {
            let Some(id) = twin.pick(at) else { return };
            if !fresh.contains(&id) {
                assert!(matches!(tx.extent_mut(id), Err(Error::NotFresh { .. })));
            }
            let held = twin.extents.get_mut(&id).unwrap();
            let content = tx.overwrite_extent(id).unwrap();
            let holds: Vec<u8> = content.chunks(P).map(|page| page[P - 1]).collect();
            assert_eq!(holds, *held, "{id}");
            content.fill(fill);
            held.fill(fill);
        }
        Step::Pages(count) => twin.pages.extend(tx.alloc_bulk(count).unwrap()),
        Step::FreePages(at, every) => {
            let (gone, kept): (Vec<PageId<P>>, Vec<PageId<P>>) = std::mem::take(&mut twin.pages)
                .into_iter()
                .partition(|id| usize::try_from(id.to_u64()).unwrap() % every == at % every);
            twin.pages = kept;
            tx.free_bulk(gone).unwrap();
        }
        Step::Protected(count) => {
            if twin.protected.len() > 60 {
                tx.free_protected_bulk(twin.protected.split_off(count)).unwrap();
            } else {
                twin.protected.extend(tx.alloc_protected_bulk(count).unwrap());
            }
        }
        _ => unreachable!("a transaction holds nothing else"),
    }
}

fn run(mut pager: Pager<P>, disk: &SimDisk, twin: &mut Twin, step: &Step) -> Pager<P> {
    match step {
        Step::Store(at, fill) => {
            let Some(id) = twin.pick(*at) else { return pager };
            pager.extent_mut(id).unwrap().fill(*fill);
            twin.extents.get_mut(&id).unwrap().fill(*fill);
        }
        Step::Roll(steps) => {
            let before = pager.generation();
            let mut tx = pager.transaction().unwrap();
            let (mut gone, mut fresh) = (twin.clone(), Vec::new());
            let (first, rest) = steps.split_at(steps.len() / 2);
            first.iter().for_each(|step| run_in(&mut tx, &mut gone, &mut fresh, step));
            let (kept, savepoint) = (gone.clone(), tx.savepoint());
            rest.iter().for_each(|step| run_in(&mut tx, &mut gone, &mut fresh, step));
            tx.rollback_to(&savepoint).unwrap();
            if before.to_u64().is_multiple_of(2) {
                tx.commit().unwrap();
                *twin = kept;
            }
        }
        Step::Wait(steps) => {
            for step in steps {
                let mut tx = pager.transaction().unwrap();
                tx.set_durability(Durability::None);
                run_in(&mut tx, twin, &mut Vec::new(), step);
                tx.commit().unwrap();
            }
        }
        Step::Compact(most) => {
            let mut moves = Vec::new();
            pager
                .compact(*most, |_, from, to| {
                    moves.push((from, to));
                    Ok::<(), Error>(())
                })
                .unwrap();
            for (from, to) in moves {
                *twin.pages.iter_mut().find(|id| **id == from).unwrap() = to;
            }
        }
        Step::Shrink => {
            pager.shrink().unwrap();
        }
        Step::Reopen => {
            pager.close().unwrap();
            return PagerOptions::new().open_on(disk).unwrap();
        }
        _ => {
            let mut tx = pager.transaction().unwrap();
            run_in(&mut tx, twin, &mut Vec::new(), step);
            tx.commit().unwrap();
        }
    }
    pager
}

fn assert_is<const P: usize>(pager: &Pager<P>, extents: &BTreeMap<ExtentId<P>, Vec<u8>>, pages: usize) {
    for (id, held) in extents {
        let content = pager.extent(*id).unwrap();
        assert_eq!(content.len(), held.len() * P);
        let differing = content.chunks(P).zip(held).position(|(page, fill)| page.iter().any(|byte| byte != fill));
        assert_eq!(differing, None, "{id}");
    }
    assert!(pager.iter_allocated_extents().eq(extents.keys().copied()));
    assert_eq!(pager.allocated_page_count(), pages as u64);
    assert_whole(pager);
    assert_eq!(pager.free_runs().pages(), pager.free_page_count());
}

proptest! {
    #![proptest_config(Config { cases: 60, ..Config::default() })]

    #[test]
    fn extents_behave_like_vectors(steps in prop::collection::vec(step(), 1..50)) {
        let disk = SimDisk::new();
        let mut pager = PagerOptions::new().create_on::<P>(&disk).unwrap();
        let mut twin = Twin::default();
        for step in &steps {
            pager = run(pager, &disk, &mut twin, step);
            assert_is(&pager, &twin.extents, twin.pages.len());
            assert_eq!(pager.allocated_protected_page_count(), twin.protected.len() as u64);
        }
        pager.close().unwrap();
        assert_is(&PagerOptions::new().open_on(&disk).unwrap(), &twin.extents, twin.pages.len());
    }
}

#[test]
fn an_extent_is_one_slice_that_survives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let mut pager = Pager::<4096>::create(&path).unwrap();
    let id = pager.alloc_extent(7).unwrap();
    assert_eq!(pager.extent(id).unwrap(), [0; 7 * 4096]);
    assert_eq!(pager.extent(id).unwrap().as_ptr().align_offset(1024), 0);
    for (byte, at) in pager.extent_mut(id).unwrap().iter_mut().zip(0u32..) {
        *byte = at.to_le_bytes()[1];
    }
    let raw = id.to_u64();
    pager.close().unwrap();
    let id = ExtentId::<4096>::from_u64(raw).unwrap();
    let pager = ReadOnlyPager::<4096>::open(&path).unwrap();
    assert!(id.get(&pager).unwrap().iter().zip(0u32..).all(|(byte, at)| *byte == at.to_le_bytes()[1]));
    assert_eq!(pager.check(), []);
}

#[test]
fn page_ids_into_an_extent_are_refused_and_iteration_skips_it() {
    let mut pager = pager();
    let before = pager.alloc().unwrap();
    let extent = pager.alloc_extent(5).unwrap();
    let protected = pager.alloc_protected().unwrap();
    let first = (0..pager.page_count())
        .filter_map(PageId::<P>::from_u64)
        .find(|id| matches!(pager.page(*id), Err(Error::WrongKind { found: PageKind::TableOwned, .. })))
        .unwrap();
    for page in first.to_u64()..first.to_u64() + 5 {
        let id = PageId::<P>::from_u64(page).unwrap();
        assert!(!pager.is_allocated(id));
        let refused = [pager.page(id).err(), pager.free(id).err(), pager.page_mut(id).err()];
        for error in refused {
            assert!(matches!(error, Some(Error::WrongKind { found: PageKind::TableOwned, .. })), "{error:?}");
        }
    }
    assert!(pager.iter_allocated_pages().eq([before]));
    assert!(pager.iter_allocated_protected_pages().eq([protected]));
    assert_eq!((pager.allocated_page_count(), pager.allocated_protected_page_count()), (1, 1));
    // The ids of extents and of protected pages are numbers of one table.
    let as_protected = ProtectedPageId::<P>::from_u64(extent.to_u64()).unwrap();
    assert!(matches!(pager.protected(as_protected), Err(Error::NoSuchProtectedPage { .. })));
    assert!(matches!(pager.free_protected(as_protected), Err(Error::NoSuchProtectedPage { .. })));
    assert!(matches!(pager.protected_mut(as_protected), Err(Error::NoSuchProtectedPage { .. })));
    assert!(!pager.is_allocated(as_protected));
    let as_extent = ExtentId::<P>::from_u64(protected.to_u64()).unwrap();
    assert!(matches!(pager.extent(as_extent), Err(Error::NoSuchExtent { .. })));
    assert!(matches!(pager.free_extent(as_extent), Err(Error::NoSuchExtent { .. })));
    assert_whole(&pager);
}

#[test]
fn ids_that_name_no_extent_are_typed_errors() {
    let mut pager = pager();
    let id = pager.alloc_extent(2).unwrap();
    pager.free_extent(id).unwrap();
    for raw in [id.to_u64(), 1, 2, 17, 1 << 40, u64::MAX - 1, u64::MAX] {
        let id = ExtentId::<P>::from_u64(raw).unwrap();
        let errors = [
            pager.extent(id).err(),
            pager.extent_mut(id).err(),
            pager.free_extent(id).err(),
            pager.lengthen_extent(id, 9).err(),
            pager.shorten_extent(id, 1).err(),
        ];
        for error in errors {
            assert!(matches!(error, Some(Error::NoSuchExtent { id }) if id == raw), "{raw}: {error:?}");
        }
    }
    let generation = pager.generation();
    assert!(matches!(pager.alloc_extent(0), Err(Error::EmptyExtent)));
    let id = pager.alloc_extent(2).unwrap();
    assert!(matches!(pager.shorten_extent(id, 0), Err(Error::EmptyExtent)));
    assert!(matches!(pager.alloc_extent(usize::MAX), Err(Error::Full { .. })));
    assert!(matches!(pager.lengthen_extent(id, usize::MAX), Err(Error::Full { .. })));
    assert_eq!(pager.generation().to_u64(), generation.to_u64() + 1);
    assert_whole(&pager);
}

/// The end of a leaf and the head of the next one are free, so that runs across them are looked at.
#[test]
fn a_number_of_pages_that_no_file_has_is_full_however_the_free_pages_lie() {
    let mut pager = pager();
    let id = pager.alloc_extent(LEAF + 100).unwrap();
    pager.shorten_extent(id, LEAF - 1000).unwrap();
    let generation = pager.generation();
    for pages in [usize::MAX, usize::MAX - 1, usize::MAX - LEAF, usize::MAX / P, 1 << 41, 1 << 40] {
        assert!(matches!(pager.alloc_extent(pages), Err(Error::Full { .. })), "{pages}");
        assert!(matches!(pager.lengthen_extent(id, pages), Err(Error::Full { .. })), "{pages}");
        pager.shorten_extent(id, pages).unwrap();
    }
    assert_eq!((pager.generation(), pager.iter_allocated_extents().count()), (generation, 1));
    assert_whole(&pager);
}

#[test]
fn an_extent_takes_the_shortest_run_that_will_do() {
    let mut pager = pager();
    let ids = pager.alloc_bulk(600).unwrap();
    let free = |pager: &mut Pager<P>, range: std::ops::Range<usize>| pager.free_bulk(&ids[range]).unwrap();
    [20..40, 60..70, 90..104, 200..260].into_iter().for_each(|range| free(&mut pager, range));
    let at = |pager: &Pager<P>, id: ExtentId<P>| {
        let offset = pager.extent(id).unwrap().as_ptr() as usize - pager.page(ids[0]).unwrap().as_ptr() as usize;
        offset / P
    };
    for (pages, place) in [(11, 90), (10, 60), (18, 20), (3, 101), (50, 200), (2, 38), (9, 250)] {
        let id = pager.alloc_extent(pages).unwrap();
        assert_eq!(at(&pager, id), place, "{pages} pages");
    }
    assert_whole(&pager);
}

#[test]
fn an_extent_grows_where_it_lies_as_long_as_nobody_is_in_its_way() {
    let mut pager = pager();
    let first = pager.alloc_extent(4).unwrap();
    pager.extent_mut(first).unwrap().fill(1);
    let second = pager.alloc_extent(4).unwrap();
    pager.extent_mut(second).unwrap().fill(2);
    assert!(!pager.lengthen_extent(first, 5).unwrap());
    assert!(pager.lengthen_extent(first, 3).unwrap(), "it is as long already");
    // The last one grows with the file.
    assert!(pager.lengthen_extent(second, 5000).unwrap());
    let content = pager.extent(second).unwrap();
    assert_eq!(content.len(), 5000 * P);
    assert!(content[..4 * P].iter().all(|byte| *byte == 2) && content[4 * P..].iter().all(|byte| *byte == 0));
    pager.free_extent(second).unwrap();
    assert!(pager.lengthen_extent(first, 5).unwrap());
    assert_eq!(pager.extent(first).unwrap(), [vec![1; 4 * P], vec![0; P]].concat(), "what it gains are zeros");
    pager.shorten_extent(first, 2).unwrap();
    assert_eq!(pager.extent(first).unwrap(), [1; 2 * P]);
    assert!(pager.lengthen_extent(first, 5).unwrap());
    assert_eq!(pager.extent(first).unwrap(), [vec![1; 2 * P], vec![0; 3 * P]].concat());
    assert_whole(&pager);
}

#[test]
fn what_an_extent_leaves_is_not_handed_out_before_the_commit() {
    let mut pager = pager();
    let id = pager.alloc_extent(8).unwrap();
    pager.extent_mut(id).unwrap().fill(7);
    pager.sync().unwrap();
    let mut tx = pager.transaction().unwrap();
    tx.shorten_extent(id, 3).unwrap();
    assert!(!tx.lengthen_extent(id, 4).unwrap(), "the tail is the durable state's");
    for page in tx.alloc_bulk(500).unwrap() {
        tx.page_mut(page).unwrap().fill(9);
    }
    drop(tx);
    assert_eq!(pager.extent(id).unwrap(), [7; 8 * P]);
    assert_whole(&pager);
}

#[test]
fn an_extent_may_be_longer_than_a_leaf_of_the_free_map() {
    for (pages, at) in [(LEAF + 1, 0), (3 * LEAF, 5000), (20 * LEAF, 100)] {
        let disk = SimDisk::new();
        let mut pager = PagerOptions::new().create_on::<P>(&disk).unwrap();
        let mut others = pager.alloc_bulk(at + 50).unwrap();
        let id = pager.alloc_extent(pages).unwrap();
        assert_eq!(pager.extent(id).unwrap().len(), pages * P);
        let content = pager.extent_mut(id).unwrap();
        for page in (0..pages).step_by(997) {
            content[page * P] = 5;
        }
        pager.close().unwrap();
        let mut pager = PagerOptions::new().open_on::<P>(&disk).unwrap();
        assert!(pager.extent(id).unwrap().iter().step_by(997 * P).all(|byte| *byte == 5));
        // One can be made so long as well, behind this one, if the map of free pages finds room for what it adds to itself.
        let next = pager.alloc_extent(60).unwrap();
        assert!(!pager.lengthen_extent(next, LEAF + 77).unwrap());
        pager.free_bulk(others.split_off(at)).unwrap();
        assert!(pager.lengthen_extent(next, LEAF + 77).unwrap());
        pager.free_extent(next).unwrap();
        assert_whole(&pager);
        // Its place is found again, though it crosses the ends of leaves.
        let total = pager.page_count();
        pager.free_extent(id).unwrap();
        let again = pager.alloc_extent(pages).unwrap();
        assert_eq!(pager.page_count(), total);
        assert_eq!(pager.extent(again).unwrap().iter().position(|byte| *byte != 0), None, "it reads as zeros");
        pager.free_extent(again).unwrap();
        pager.compact(u64::MAX, |_, _, _| Ok::<(), Error>(())).unwrap();
        pager.shrink().unwrap();
        assert!(pager.page_count() < at as u64 + 100, "{} pages are left", pager.page_count());
        pager.close().unwrap();
        let pager = PagerOptions::new().open_on::<P>(&disk).unwrap();
        assert!(others.iter().all(|id| pager.page(*id).is_ok()));
        assert_whole(&pager);
    }
}

#[test]
fn compaction_moves_extents_whole_and_their_ids_stay() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<P>(&disk).unwrap();
    let holes = pager.alloc_bulk(3000).unwrap();
    let ids: Vec<ExtentId<P>> = (1..40).map(|pages| pager.alloc_extent(pages).unwrap()).collect();
    for (id, fill) in ids.iter().zip(1u8..) {
        pager.extent_mut(*id).unwrap().fill(fill);
    }
    pager.free_bulk(&holes).unwrap();
    let done = pager.compact(u64::MAX, |_, _, _| Ok::<(), Error>(())).unwrap();
    assert_eq!((done.moved, done.moved_extents, done.left), (0, (1..40).sum::<u64>(), 0), "{done}");
    pager.shrink().unwrap();
    assert!(pager.page_count() < (1..40).sum::<u64>() + 60);
    pager.close().unwrap();
    let pager = PagerOptions::new().open_on::<P>(&disk).unwrap();
    for ((id, fill), pages) in ids.iter().zip(1u8..).zip(1..) {
        assert_eq!(pager.extent(*id).unwrap(), vec![fill; pages * P]);
    }
    assert_whole(&pager);
}

#[test]
fn an_extent_for_which_no_hole_is_long_enough_comes_as_far_to_the_front_as_it_can() {
    let mut pager = pager();
    let pages = pager.alloc_protected_bulk(600).unwrap();
    let filler = pager.alloc_extent(3000).unwrap();
    let extent = pager.alloc_extent(200).unwrap();
    pager.extent_mut(extent).unwrap().fill(7);
    pager.sync().unwrap();
    let every_second: Vec<ProtectedPageId<P>> = pages.into_iter().step_by(2).collect();
    pager.free_protected_bulk(every_second).unwrap();
    pager.free_extent(filler).unwrap();

    let done = pager.compact(u64::MAX, |_, _, _| Ok::<(), Error>(())).unwrap();
    pager.shrink().unwrap();
    assert!(pager.page_count() < 1500, "{done}, and {} pages are left", pager.page_count());
    assert!(pager.extent(extent).unwrap().iter().all(|byte| *byte == 7));
    assert_whole(&pager);
    let again = pager.compact(u64::MAX, |_, _, _| Ok::<(), Error>(())).unwrap();
    assert_eq!((again.moved_extents, again.moved_twins), (0, 0), "{again}");
}

#[test]
fn the_callback_of_a_compaction_may_change_extents_that_have_just_moved() {
    let mut pager = pager();
    let holes = pager.alloc_bulk(500).unwrap();
    let ids: Vec<ExtentId<P>> = (0..4).map(|_| pager.alloc_extent(5).unwrap()).collect();
    ids.iter().for_each(|id| pager.extent_mut(*id).unwrap().fill(3));
    let last = pager.alloc().unwrap();
    pager.free_bulk(&holes).unwrap();
    let mut called = false;
    pager
        .compact(u64::MAX, |tx, from, _| {
            assert_eq!(from, last);
            called = true;
            assert_eq!(tx.extent(ids[0])?, [3; 5 * P], "it shows at its new place");
            assert!(matches!(tx.extent_mut(ids[0]), Err(Error::NotFresh { .. })));
            tx.shorten_extent(ids[0], 2)?;
            tx.free_extent(ids[1])?;
            tx.overwrite_extent(ids[2])?[P..].fill(4);
            // The next one is in the way, or not: what it held stays.
            tx.lengthen_extent(ids[3], 6)?;
            Ok::<(), Error>(())
        })
        .unwrap();
    assert!(called);
    assert_eq!(pager.extent(ids[0]).unwrap(), [3; 2 * P]);
    assert!(pager.extent(ids[1]).is_err());
    assert_eq!(pager.extent(ids[2]).unwrap(), [vec![3; P], vec![4; 4 * P]].concat());
    assert_eq!(pager.extent(ids[3]).unwrap()[..5 * P], [3; 5 * P]);
    assert_whole(&pager);
}

#[test]
fn staged_extents_count_by_their_length() {
    let mut pager = PagerOptions::new().max_staged_bytes(10 * P as u64).create_on::<P>(&SimDisk::new()).unwrap();
    let mut tx = pager.transaction().unwrap();
    let (short, long) = (tx.alloc_extent(6).unwrap(), tx.alloc_extent(5).unwrap());
    tx.extent_mut(short).unwrap().fill(1);
    assert!(
        matches!(tx.extent_mut(long), Err(Error::StageFull { needed, limit }) if (needed, limit) == (11 * P as u64, 10 * P as u64))
    );
    tx.shorten_extent(short, 5).unwrap();
    tx.extent_mut(long).unwrap().fill(2);
    assert!(matches!(tx.lengthen_extent(long, 6), Err(Error::StageFull { .. })));
    tx.free_extent(short).unwrap();
    assert!(tx.lengthen_extent(long, 6).unwrap());
    assert_eq!(tx.extent(long).unwrap(), [vec![2; 5 * P], vec![0; P]].concat());
    tx.commit().unwrap();
    assert_eq!(pager.extent(long).unwrap()[..5 * P], [2; 5 * P]);
    assert_whole(&pager);
}

#[test]
fn a_full_file_refuses_an_extent_and_loses_nothing() {
    let mut pager = PagerOptions::new().max_file_bytes(200 * P as u64).create_on::<P>(&SimDisk::new()).unwrap();
    let ids = pager.alloc_bulk(100).unwrap();
    assert!(matches!(pager.alloc_extent(120), Err(Error::Full { .. })));
    let every_second: Vec<PageId<P>> = ids.iter().copied().step_by(2).collect();
    pager.free_bulk(every_second).unwrap();
    // Enough pages are free, but not side by side.
    assert!(matches!(pager.alloc_extent(90), Err(Error::Full { .. })));
    let largest = usize::try_from(pager.free_runs().largest_free_run()).unwrap();
    assert!(largest < 90, "{largest}");
    pager.alloc_extent(largest).unwrap();
    assert_whole(&pager);
}

#[test]
fn one_function_runs_over_extents_too() {
    fn twice<A: PageAllocator<H>, H: PageHandle<A> + Copy>(place: &mut A) -> [H; 2]
    where
        A::Error: std::fmt::Debug,
    {
        [place.alloc().unwrap(), place.alloc().unwrap()]
    }
    let mut pager = pager();
    let [a, b]: [ExtentId<P>; 2] = twice(&mut pager);
    a.get_mut(&mut pager).unwrap().fill(1);
    let pages: Vec<PageId<P>> = pager.alloc_bulk(2).unwrap();
    BulkPageAllocator::free_bulk(&mut pager, pages).unwrap();
    PageAllocator::free(&mut pager, b).unwrap();
    assert_eq!(a.get(&pager).unwrap(), [1; P]);
}

#[test]
fn the_histogram_counts_free_runs_by_their_length() {
    let mut pager = pager();
    let ids = pager.alloc_bulk(2000).unwrap();
    let before = pager.free_runs();
    for (from, pages) in [(10, 1), (20, 2), (30, 3), (40, 4), (100, 7), (200, 8), (500, 100)] {
        pager.free_bulk(&ids[from..from + pages]).unwrap();
    }
    let after = pager.free_runs();
    let gained: Vec<u64> = after.histogram().iter().zip(before.histogram()).map(|(is, was)| is - was).collect();
    assert_eq!(gained[..8], [1, 2, 2, 1, 0, 0, 1, 0]);
    assert_eq!(after.count(), before.count() + 7);
    assert_eq!(after.largest_free_run(), before.largest_free_run().max(100));
    assert_eq!((after.pages(), before.pages()), (pager.free_page_count(), pager.free_page_count() - 125));
}

#[test]
fn a_compaction_goes_beyond_the_moves_that_are_left_by_one_extent_and_moves_nothing_where_none_is() {
    let with_hole = || {
        let mut pager = pager();
        let ids = [50, 20, 20].map(|pages| pager.alloc_extent(pages).unwrap());
        pager.free_extent(ids[0]).unwrap();
        pager
    };
    for (most, moved) in [(0, 0), (1, 20), (20, 20), (21, 40)] {
        let mut pager = with_hole();
        let generation = pager.generation();
        let done = pager.compact(most, |_, _, _| Ok::<(), Error>(())).unwrap();
        assert_eq!((done.moved_extents, done.moved, done.moved_twins), (moved, 0, 0), "{most} moves");
        assert_eq!(pager.generation() == generation, moved == 0);
        assert_whole(&pager);
    }
}

/// Leaves of the free map into which an extent would reach need a place before it for their copies.
#[test]
fn an_extent_that_cannot_be_made_longer_leaves_no_trace_of_it() {
    for hole in [0, 12] {
        let mut pager = pager();
        let ids = pager.alloc_bulk(20).unwrap();
        let id = pager.alloc_extent(1).unwrap();
        pager.free_bulk(&ids[..hole]).unwrap();
        let before = |pager: &Pager<P>| (pager.generation(), pager.page_count(), pager.free_page_count());
        let expected = before(&pager);
        // Room for the copies of one leaf at the most, where two are needed.
        assert!(!pager.lengthen_extent(id, 2 * LEAF + 10).unwrap());
        assert_eq!(before(&pager), expected, "a hole of {hole} pages");
        let mut tx = pager.transaction().unwrap();
        assert!(!tx.lengthen_extent(id, 2 * LEAF + 10).unwrap());
        tx.set_header(b"another change").unwrap();
        tx.commit().unwrap();
        assert_eq!((pager.page_count(), pager.free_page_count()), (expected.1, expected.2));
        assert_whole(&pager);
    }
}

#[test]
fn the_leaves_into_which_an_extent_grows_have_their_copies_before_it() {
    let mut pager = pager();
    let ids = pager.alloc_bulk(40).unwrap();
    let id = pager.alloc_extent(1).unwrap();
    pager.free_bulk(&ids[..30]).unwrap();
    assert!(pager.lengthen_extent(id, 2 * LEAF + 10).unwrap());
    assert_whole(&pager);
    // What is searched ends before leaves that have room.
    pager.shorten_extent(id, 1).unwrap();
    assert_eq!(pager.alloc_bulk(30 - 16).unwrap(), ids[16..30], "what the copies have left");
    assert!(pager.lengthen_extent(id, 2 * LEAF + 10).unwrap());
    assert!(!pager.lengthen_extent(id, 3 * LEAF).unwrap(), "no place for the copies of one leaf more");
    assert_whole(&pager);
}
