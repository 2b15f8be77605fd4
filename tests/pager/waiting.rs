//! Commits that wait for the next durable one: seen at once, durable all together, lost all together.

use diptych::{
    Call, CallKind, Durability, Error, FaultPlan, MappedPage, PageId, Pager, PagerOptions, ProtectedPageId, SimDisk,
    Transaction,
};

use crate::places::{Place, assert_whole, failure, shape};

const P: usize = 4096;

fn waiting() -> PagerOptions {
    PagerOptions::new().durability(Durability::None)
}

/// A transaction of that durability.
fn commit<T>(
    pager: &mut Pager<P>,
    durability: Durability,
    change: impl FnOnce(&mut Transaction<'_, P>) -> diptych::Result<T>,
) -> T {
    let mut transaction = pager.transaction().expect("nothing is wrong");
    transaction.set_durability(durability);
    let changed = change(&mut transaction).expect("there is room");
    transaction.commit().expect("nothing fails");
    changed
}

fn fill(pager: &mut Pager<P>, id: ProtectedPageId<P>, fill: u8) {
    let mut writer = pager.protected_mut(id).expect("it is allocated");
    writer.page_mut().fill(fill);
    writer.commit().expect("nothing fails");
}

fn is_full_of(page: &MappedPage<P>, fill: u8) -> bool {
    page.iter().all(|byte| *byte == fill)
}

/// A file with a regular page full of 1 and a protected one full of 2, both durable, and room, open with commits that wait.
fn furnished(place: &Place) -> (Pager<P>, PageId<P>, ProtectedPageId<P>) {
    let mut pager = place.create_with::<P>(&waiting());
    let (page, protected) = commit(&mut pager, Durability::OneBarrier, |transaction| {
        let (page, protected) = (transaction.alloc()?, transaction.alloc_protected()?);
        transaction.page_mut(page)?.fill(1);
        transaction.protected_mut(protected)?.fill(2);
        let room = transaction.alloc_bulk(200)?;
        transaction.free_bulk(room)?;
        Ok((page, protected))
    });
    assert_eq!(pager.durable_generation(), pager.generation());
    (pager, page, protected)
}

/// Three commits: the protected page changes twice, pages of each kind come and go, the header changes.
fn changed(pager: &mut Pager<P>, page: PageId<P>, protected: ProtectedPageId<P>) -> (PageId<P>, ProtectedPageId<P>) {
    let generation = pager.generation();
    fill(pager, protected, 3);
    let new = commit(pager, Durability::None, |transaction| {
        let (fresh, twin) = (transaction.alloc()?, transaction.alloc_protected()?);
        transaction.page_mut(fresh)?.fill(4);
        transaction.protected_mut(twin)?.fill(5);
        transaction.protected_mut(protected)?.fill(6);
        transaction.set_header(b"waits")?;
        Ok((fresh, twin))
    });
    pager.free(page).expect("it is allocated");
    assert_eq!(pager.generation().to_u64(), generation.to_u64() + 1, "they share a generation");
    assert_eq!(pager.durable_generation(), generation);
    assert_changed(pager, page, protected, new);
    new
}

fn assert_changed(
    pager: &Pager<P>,
    page: PageId<P>,
    protected: ProtectedPageId<P>,
    (fresh, twin): (PageId<P>, ProtectedPageId<P>),
) {
    assert!(!pager.is_allocated(page) && pager.page(page).is_err());
    assert!(is_full_of(pager.page(fresh).expect("it is allocated"), 4));
    assert!(is_full_of(pager.protected(twin).expect("it is allocated"), 5));
    assert!(is_full_of(pager.protected(protected).expect("it is allocated"), 6));
    assert!(pager.header().starts_with(b"waits"));
    assert_whole(pager);
}

fn assert_as_furnished(pager: &Pager<P>, page: PageId<P>, protected: ProtectedPageId<P>) {
    assert!(is_full_of(pager.page(page).expect("it is allocated"), 1));
    assert!(is_full_of(pager.protected(protected).expect("it is allocated"), 2));
    assert_eq!(pager.header(), &[0; 128]);
    assert_whole(pager);
}

#[test]
fn a_pager_that_is_dropped_and_a_crash_take_back_all_that_waits() {
    for place in Place::both() {
        let (mut pager, page, protected) = furnished(&place);
        let before = shape(&pager);
        changed(&mut pager, page, protected);
        if let Place::Sim(disk) = &place {
            for keep in [false, true] {
                let crashed = Place::Sim(SimDisk::from_image(disk.crash_now(|_| keep)));
                let opened = crashed.open::<P>();
                assert_eq!(shape(&opened), before);
                assert_as_furnished(&opened, page, protected);
            }
        }
        drop(pager);
        let pager = place.open::<P>();
        assert!(pager.recovery().is_clean(), "{:?}", pager.recovery());
        assert_eq!(shape(&pager), before);
        assert_as_furnished(&pager, page, protected);
    }
}

#[test]
fn a_sync_makes_all_that_waits_durable() {
    for (place, options) in
        Place::both().into_iter().zip([waiting(), PagerOptions::new().durability(Durability::TwoBarriers)])
    {
        let (pager, page, protected) = furnished(&place);
        drop(pager);
        // What a transaction says counts, not what the options do.
        let mut pager = place.open_with::<P>(&options);
        let new = commit(&mut pager, Durability::None, |transaction| {
            transaction.free(page)?;
            let (fresh, twin) = (transaction.alloc()?, transaction.alloc_protected()?);
            transaction.page_mut(fresh)?.fill(4);
            transaction.protected_mut(twin)?.fill(5);
            transaction.protected_mut(protected)?.fill(6);
            transaction.set_header(b"waits")?;
            Ok((fresh, twin))
        });
        let generation = pager.generation();
        assert!(pager.durable_generation() < generation);
        pager.sync().expect("nothing fails");
        assert_eq!([pager.generation(), pager.durable_generation()], [generation; 2]);
        assert_changed(&pager, page, protected, new);
        drop(pager);
        let pager = place.open::<P>();
        assert_eq!(pager.generation(), generation);
        assert_changed(&pager, page, protected, new);
    }
}

#[test]
fn closing_makes_all_that_waits_durable_with_one_commit() {
    for place in Place::both() {
        let (mut pager, page, protected) = furnished(&place);
        let new = changed(&mut pager, page, protected);
        let generation = pager.generation();
        let pager = place.reopen(pager);
        assert_eq!(pager.generation(), generation);
        assert_changed(&pager, page, protected, new);
        // It is sealed: closing it again has nothing to do.
        assert_eq!(place.reopen(pager).generation(), generation);
    }
}

#[test]
fn a_durable_commit_takes_along_all_that_waits() {
    for durability in [Durability::OneBarrier, Durability::TwoBarriers] {
        for is_empty in [false, true] {
            let place = Place::sim();
            let (mut pager, page, protected) = furnished(&place);
            let new = changed(&mut pager, page, protected);
            let more = commit(&mut pager, durability, |transaction| {
                if is_empty { Ok(None) } else { transaction.alloc_protected().map(Some) }
            });
            assert_eq!(pager.durable_generation(), pager.generation());
            drop(pager);
            let pager = place.open::<P>();
            assert_changed(&pager, page, protected, new);
            assert!(more.is_none_or(|id| pager.is_allocated(id)));
        }
    }
}

#[test]
fn what_is_freed_is_not_handed_out_before_it_is_durable() {
    let place = Place::sim();
    let (mut pager, page, protected) = furnished(&place);
    let free = pager.free_page_count();
    pager.free(page).expect("it is allocated");
    pager.free_protected(protected).expect("it is allocated");
    assert_eq!(pager.free_page_count(), free + 3, "readers see it as free");
    let mut transaction = pager.transaction().expect("nothing is wrong");
    assert!(matches!(failure(transaction.page(page)), Error::WrongKind { .. }));
    assert!(matches!(failure(transaction.overwrite(page)), Error::WrongKind { .. }));
    assert!(matches!(failure(transaction.free(page)), Error::WrongKind { .. }));
    assert!(matches!(failure(transaction.protected(protected)), Error::NoSuchProtectedPage { .. }));
    assert!(matches!(failure(transaction.free_protected(protected)), Error::NoSuchProtectedPage { .. }));
    let savepoint = transaction.savepoint();
    transaction.alloc_bulk(3).expect("there is room");
    transaction.rollback_to(&savepoint).expect("it is of this transaction");
    assert!(matches!(failure(transaction.page(page)), Error::WrongKind { .. }));
    drop(transaction);
    assert_ne!(pager.alloc().expect("there is room"), page);
    assert_ne!(pager.alloc_protected().expect("there is room"), protected);
    pager.sync().expect("nothing fails");
    assert_eq!(pager.alloc().expect("there is room"), page);
    assert_eq!(pager.alloc_protected().expect("there is room"), protected);
    assert!(is_full_of(pager.page(page).expect("it is allocated"), 0));
    assert_whole(&pager);
}

#[test]
fn what_nothing_durable_owns_is_handed_out_again_at_once() {
    let (mut pager, _, _) = furnished(&Place::sim());
    let total = pager.page_count();
    let (page, protected) = (pager.alloc().expect("there is room"), pager.alloc_protected().expect("there is room"));
    for _ in 0..3000 {
        pager.free(page).expect("it is allocated");
        pager.free_protected(protected).expect("it is allocated");
        assert_eq!(pager.alloc().expect("there is room"), page);
        assert_eq!(pager.alloc_protected().expect("there is room"), protected);
        assert!(is_full_of(pager.page(page).expect("it is allocated"), 0));
        pager.page_mut(page).expect("it is allocated").fill(9);
    }
    assert!(pager.durable_generation() < pager.generation(), "nothing of it has to be durable");
    assert_eq!(pager.page_count(), total);
    assert_whole(&pager);
}

#[test]
fn too_many_pages_that_wait_make_the_commit_durable() {
    let mut pager = Place::sim().create_with::<P>(&waiting());
    let free_pages = |pager: &Pager<P>| usize::try_from(pager.free_page_count()).expect("a small file");
    let ids = pager.alloc_bulk(6000).expect("there is room");
    pager.alloc_bulk(1000).expect("there is room");
    pager.alloc_bulk(free_pages(&pager) - 500).expect("there is room");
    pager.sync().expect("nothing fails");
    let is_durable = |pager: &Pager<P>| pager.durable_generation() == pager.generation();
    // More than are free.
    let free = free_pages(&pager);
    assert_eq!(free, 500);
    pager.free_bulk(&ids[..free]).expect("they are allocated");
    assert!(!is_durable(&pager));
    pager.free(ids[free]).expect("it is allocated");
    assert!(is_durable(&pager));
    // More than 1024.
    pager.free_bulk(&ids[free + 1..3000]).expect("they are allocated");
    assert!(is_durable(&pager));
    pager.free_bulk(&ids[3000..4024]).expect("they are allocated");
    assert!(!is_durable(&pager));
    pager.free(ids[4024]).expect("it is allocated");
    assert!(is_durable(&pager));
    assert_whole(&pager);
}

#[test]
fn a_full_file_hands_out_what_waits_after_a_sync() {
    let options = waiting().max_file_bytes(40 * P as u64);
    let mut pager = Place::sim().create_with::<P>(&options);
    let mut ids = Vec::new();
    while pager.free_page_count() > 4 || pager.page_count() < 40 {
        ids.push(pager.alloc().expect("there is room"));
    }
    pager.sync().expect("nothing fails");
    pager.free_bulk(&ids[..4]).expect("they are allocated");
    assert_eq!(pager.free_page_count(), 8);
    assert!(matches!(failure(pager.alloc_bulk(5)), Error::Full { .. }));
    pager.sync().expect("nothing fails");
    assert_eq!(pager.alloc_bulk(8).expect("there is room").len(), 8);
    // Where nothing else is free, nothing waits.
    pager.free(ids[7]).expect("it is allocated");
    assert_eq!(pager.alloc().expect("there is room"), ids[7]);
}

fn calls_of(disk: &SimDisk, operation: impl FnOnce()) -> Vec<Call> {
    let before = disk.log().len();
    operation();
    disk.log().into_iter().skip(before).collect()
}

fn barriers(disk: &SimDisk, operation: impl FnOnce()) -> usize {
    calls_of(disk, operation).iter().filter(|call| call.kind == CallKind::Barrier).count()
}

#[test]
fn a_commit_that_waits_writes_its_pages_and_nothing_else() {
    let place = Place::sim();
    let (mut pager, _, protected) = furnished(&place);
    let Place::Sim(disk) = &place else { unreachable!("it is simulated") };
    assert_eq!(calls_of(disk, || commit(&mut pager, Durability::None, |tx| tx.set_header(b"new"))), []);
    let mut offsets = Vec::new();
    for round in 0..3 {
        let calls = calls_of(disk, || fill(&mut pager, protected, round));
        let [Call { kind: CallKind::Write, offset, len, .. }] = calls[..] else { panic!("{calls:?}") };
        assert_eq!(len, P as u64);
        offsets.push(offset);
    }
    assert_eq!(offsets, [offsets[0]; 3], "never where the durable content is");
}

#[test]
fn what_waits_takes_one_barrier_and_two_where_regular_pages_were_written() {
    let place = Place::sim();
    let (mut pager, page, protected) = furnished(&place);
    let Place::Sim(disk) = &place else { unreachable!("it is simulated") };
    fill(&mut pager, protected, 7);
    pager.free(page).expect("it is allocated");
    assert_eq!(barriers(disk, || pager.sync().expect("nothing fails")), 1);
    assert_eq!(barriers(disk, || pager.sync().expect("nothing fails")), 0);
    commit(&mut pager, Durability::None, |transaction| {
        let page = transaction.alloc()?;
        transaction.page_mut(page).map(|page| page.fill(1))
    });
    fill(&mut pager, protected, 8);
    assert_eq!(barriers(disk, || pager.sync().expect("nothing fails")), 2);
}

#[test]
fn a_durable_commit_proves_the_copies_of_all_that_wait_up_to_4096() {
    for (pages, expected) in [(1024, 1), (1025, 2)] {
        let place = Place::sim();
        let mut pager = place.create_with::<P>(&waiting());
        let Place::Sim(disk) = &place else { unreachable!("it is simulated") };
        for _ in 0..2 {
            let ids = pager.alloc_protected_bulk(pages).expect("there is room");
            ids.iter().take(9).for_each(|id| fill(&mut pager, *id, 1));
        }
        assert_eq!(barriers(disk, || pager.sync().expect("nothing fails")), expected, "{pages} pages, twice");
        assert_whole(&pager);
    }
}

#[test]
fn a_first_write_that_fails_leaves_all_as_it_was_and_a_second_one_poisons() {
    let place = Place::sim();
    let (mut pager, page, protected) = furnished(&place);
    let Place::Sim(disk) = &place else { unreachable!("it is simulated") };
    let write = |pager: &mut Pager<P>| {
        let mut writer = pager.protected_mut(protected).expect("it is allocated");
        writer.page_mut().fill(9);
        writer.commit()
    };
    disk.fail(FaultPlan::nth(CallKind::Write, 1).after(512));
    assert!(failure(write(&mut pager)).is_io());
    assert_as_furnished(&pager, page, protected);
    fill(&mut pager, protected, 3);
    disk.fail(FaultPlan::nth(CallKind::Write, 1).after(512));
    assert!(failure(write(&mut pager)).is_io());
    assert!(matches!(failure(pager.sync()), Error::Poisoned));
    assert!(failure(pager.protected(protected)).is_corruption(), "the only copy of what waits is spoilt, and says so");
    assert!(is_full_of(pager.page(page).expect("it is allocated"), 1));
    drop(pager);
    assert_as_furnished(&place.open(), page, protected);
}

#[test]
fn what_waits_may_have_grown_the_file() {
    for options in [waiting(), waiting().sparse(true)] {
        for place in Place::both() {
            let mut pager = place.create_with::<P>(&options);
            pager.alloc().expect("there is room");
            pager.sync().expect("nothing fails");
            let total = pager.page_count();
            let lost = commit(&mut pager, Durability::None, |transaction| {
                let ids = transaction.alloc_bulk(40_000)?;
                ids.iter().step_by(5000).try_for_each(|id| transaction.page_mut(*id).map(|page| page.fill(1)))?;
                Ok(ids)
            });
            assert_whole(&pager);
            drop(pager);
            let mut pager = place.open_with::<P>(&options);
            assert_eq!((pager.page_count(), pager.recovery().tail_bytes), (total, 0), "what was lost is cut off");
            let kept = pager.alloc_bulk(40_000).expect("there is room");
            assert_eq!(kept, lost);
            assert!(kept.iter().all(|id| is_full_of(pager.page(*id).expect("it is allocated"), 0)));
            pager.close().expect("nothing fails");
            assert_whole(&place.open_with::<P>(&options));
        }
    }
}

#[test]
fn a_full_disk_behind_commits_that_wait_leaves_copies_where_they_are() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().growth_limit(4096).create_on::<4096>(&disk).unwrap();
    let ids = pager.alloc_protected_bulk(400).unwrap();
    while pager.free_page_count() > 2 {
        pager.alloc().unwrap();
    }
    let write = |pager: &mut Pager<4096>, durability, fill| {
        let mut tx = pager.transaction().unwrap();
        tx.set_durability(durability);
        ids.iter().for_each(|id| tx.protected_mut(*id).unwrap().fill(fill));
        tx.commit()
    };
    write(&mut pager, Durability::None, 7).unwrap();
    disk.set_space_limit(Some(disk.cached_image().len()));
    write(&mut pager, Durability::OneBarrier, 8).unwrap();
    assert_eq!(pager.protected(ids[399]).unwrap()[0], 8);
    assert_eq!(pager.check(), []);
}
