//! The content of a protected page is the old one or the new one; its id is its own for life.

use diptych::{CallKind, Durability, Error, PagerOptions, ProtectedPageId, Recovery, SimDisk, SimImage, Verification};

use crate::places::{Place, assert_whole, failure, protected, shape};

fn content_survives_reopening<const P: usize>() {
    for place in Place::both() {
        let mut pager = place.create::<P>();
        let ids = pager.alloc_protected_bulk(3).expect("there is room");
        for (fill, id) in (1u8..).zip(&ids) {
            assert!(id.get(&pager).expect("allocated").iter().all(|byte| *byte == 0));
            let mut writer = id.get_mut(&mut pager).expect("allocated");
            writer.page_mut().fill(fill);
            assert_eq!((writer.id(), writer.page()[P - 1]), (*id, fill));
            writer.commit().expect("there is room");
            assert!(id.get(&pager).expect("allocated").iter().all(|byte| *byte == fill));
        }
        assert_whole(&pager);
        let pager = place.reopen(pager);
        for (fill, id) in (1u8..).zip(&ids) {
            assert!(id.get(&pager).expect("allocated").iter().all(|byte| *byte == fill));
        }
        assert_whole(&pager);
    }
}

#[test]
fn content_survives_reopening_at_every_page_size() {
    content_survives_reopening::<1024>();
    content_survives_reopening::<4096>();
    content_survives_reopening::<65536>();
    content_survives_reopening::<{ 16 << 20 }>();
}

#[test]
fn a_writer_starts_from_the_live_content_or_from_zeros() {
    for place in Place::both() {
        let mut pager = place.create::<4096>();
        let id = pager.alloc_protected().expect("there is room");
        let mut writer = pager.protected_mut(id).expect("allocated");
        writer.page_mut().fill(1);
        writer.commit().expect("there is room");

        let mut writer = pager.protected_mut(id).expect("allocated");
        assert_eq!(writer.page()[4095], 1);
        writer.page_mut()[0] = 2;
        writer.commit().expect("there is room");
        assert_eq!(id.get(&pager).expect("allocated")[..2], [2, 1]);

        let mut writer = pager.protected_zeroed(id).expect("allocated");
        assert!(writer.page().iter().all(|byte| *byte == 0));
        writer.page_mut()[1] = 3;
        writer.commit().expect("there is room");
        assert_eq!(id.get(&pager).expect("allocated")[..3], [0, 3, 0]);
        assert_whole(&pager);
    }
}

#[test]
fn a_dropped_writer_leaves_no_trace() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<4096>(&disk).expect("the disk is empty");
    let id = pager.alloc_protected().expect("there is room");
    let (before, image) = (shape(&pager), disk.cached_image());
    pager.protected_mut(id).expect("allocated").page_mut().fill(1);
    let mut leaked = pager.protected_zeroed(id).expect("allocated");
    leaked.page_mut().fill(2);
    std::mem::forget(leaked);
    assert!(id.get(&pager).expect("allocated").iter().all(|byte| *byte == 0));
    assert_eq!((shape(&pager), disk.cached_image()), (before, image));
    assert_whole(&pager);
}

#[test]
fn every_write_is_one_commit_of_as_many_barriers_as_was_chosen() {
    for (durability, more) in [(Durability::OneBarrier, 1), (Durability::TwoBarriers, 2)] {
        let disk = SimDisk::new();
        let options = PagerOptions::new().durability(durability);
        let mut pager = options.create_on::<4096>(&disk).expect("the disk is empty");
        let id = pager.alloc_protected().expect("there is room");
        for fill in 1..5 {
            let (generation, barriers) = (pager.generation().to_u64(), disk.calls(CallKind::Barrier));
            let mut writer = pager.protected_mut(id).expect("allocated");
            writer.page_mut().fill(fill);
            writer.commit().expect("there is room");
            assert_eq!(pager.generation().to_u64(), generation + 1);
            assert_eq!(disk.calls(CallKind::Barrier), barriers + more);
            let crashed = SimDisk::from_image(disk.durable_image());
            let after = PagerOptions::new().open_on::<4096>(&crashed).expect("it is whole");
            assert_eq!(id.get(&after).expect("allocated")[0], fill);
        }
        assert_whole(&pager);
    }
}

#[test]
fn ids_are_stable_while_others_come_and_go() {
    for place in Place::both() {
        let mut pager = place.create::<1024>();
        let ids = pager.alloc_protected_bulk(200).expect("there is room");
        assert!(ids.iter().map(|id| id.to_u64()).eq(1..201));
        let mut transaction = pager.transaction().expect("nothing is wrong");
        for id in &ids {
            transaction.protected_mut(*id).expect("allocated")[..8].copy_from_slice(&id.to_u64().to_le_bytes());
        }
        transaction.commit().expect("there is room");
        let freed: Vec<ProtectedPageId<1024>> = ids.iter().copied().step_by(2).collect();
        pager.free_protected_bulk(&freed).expect("they are allocated");
        assert_whole(&pager);

        let mut pager = place.reopen(pager);
        for (at, id) in ids.iter().enumerate() {
            assert_eq!(pager.is_allocated(*id), at % 2 == 1);
            match id.get(&pager) {
                Ok(page) => assert_eq!(page[..8], id.to_u64().to_le_bytes()),
                Err(error) => assert!(matches!(error, Error::NoSuchProtectedPage { id: raw } if raw == id.to_u64())),
            }
        }
        let again = pager.alloc_protected_bulk(freed.len() + 1).expect("there is room");
        assert_eq!((again[..freed.len()].to_vec(), again[freed.len()].to_u64()), (freed, 201));
        assert!(again.iter().all(|id| id.get(&pager).expect("allocated").iter().all(|byte| *byte == 0)));
        assert_whole(&pager);
    }
}

#[test]
fn an_id_is_reused_after_its_free_is_durable_and_not_before() {
    for place in Place::both() {
        let mut pager = place.create::<4096>();
        let ids = pager.alloc_protected_bulk(3).expect("there is room");
        let mut transaction = pager.transaction().expect("nothing is wrong");
        transaction.free_protected(ids[1]).expect("allocated");
        let fresh = transaction.alloc_protected().expect("there is room");
        assert!(fresh > ids[2]);
        transaction.commit().expect("there is room");
        assert_eq!(pager.alloc_protected().expect("there is room"), ids[1]);
        assert_whole(&pager);
    }
}

#[test]
fn an_id_that_names_no_page_is_an_error_and_changes_nothing() {
    for place in Place::both() {
        let mut pager = place.create::<1024>();
        let ids = pager.alloc_protected_bulk(3).expect("there is room");
        pager.free_protected(ids[1]).expect("allocated");
        let before = shape(&pager);
        let never = [4, 5, 100, 1 << 20, 1 << 40, u64::MAX - 1, u64::MAX].map(protected);
        for id in never.into_iter().chain([ids[1]]) {
            let failures = [
                id.get(&pager).map(drop),
                id.get_mut(&mut pager).map(drop),
                pager.protected_zeroed(id).map(drop),
                pager.free_protected(id),
                pager.free_protected_bulk([ids[0], id]),
            ];
            for result in failures {
                let error = failure(result);
                assert!(matches!(error, Error::NoSuchProtectedPage { id: raw } if raw == id.to_u64()), "{error}");
            }
            assert!(!pager.is_allocated(id));
        }
        let error = failure(pager.free_protected_bulk([ids[2], ids[0], ids[2]]));
        assert!(matches!(error, Error::Duplicate { page } if page == ids[2].to_u64()), "{error}");
        assert_eq!(shape(&pager), before);
        assert_whole(&pager);
    }
}

/// A disk with one protected page that is full of 1, and a bit of it flipped.
fn rotten() -> (SimDisk, ProtectedPageId<4096>) {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<4096>(&disk).expect("the disk is empty");
    let id = pager.alloc_protected().expect("there is room");
    let mut writer = pager.protected_mut(id).expect("allocated");
    writer.page_mut().fill(1);
    writer.commit().expect("there is room");
    pager.close().expect("nothing is in the way");
    let mut image: SimImage = disk.durable_image();
    let mut page = [0; 4096];
    let pages = (0..image.len() / 4096).map(|at| at * 4096);
    let full: Vec<u64> = pages
        .filter(|at| {
            image.read(*at, &mut page);
            page == [1; 4096]
        })
        .collect();
    assert_eq!(full.len(), 1);
    image.write(full[0] + 700, &[3]);
    (SimDisk::from_image(image), id)
}

#[test]
fn a_rotten_page_is_found_as_the_policy_says() {
    for (policy, found) in
        [(Verification::FirstTouch, true), (Verification::Always, true), (Verification::Never, false)]
    {
        let (disk, id) = rotten();
        let options = PagerOptions::new().verification(policy);
        let mut pager = options.open_on::<4096>(&disk).expect("the rest is whole");
        assert_eq!(pager.check().len(), 1, "a check reads it in any case");
        for _ in 0..2 {
            match id.get(&pager) {
                Ok(page) => assert!(!found && page[700] == 3),
                Err(error) => assert!(found && matches!(error, Error::Corrupt { .. }) && error.is_corruption()),
            }
            assert_eq!(pager.protected_mut(id).is_err(), found);
        }
    }
}

#[test]
fn a_page_is_verified_once_or_at_every_read() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<4096>(&disk).expect("the disk is empty");
    let ids = pager.alloc_protected_bulk(3).expect("there is room");
    drop(pager);
    for (policy, expected) in [(Verification::Never, 0), (Verification::FirstTouch, 3), (Verification::Always, 12)] {
        let pager = PagerOptions::new().verification(policy).open_on::<4096>(&disk).expect("it is whole");
        let reads = disk.calls(CallKind::Read);
        (0..4).for_each(|_| ids.iter().for_each(|id| assert_eq!(id.get(&pager).expect("allocated")[9], 0)));
        assert_eq!(disk.calls(CallKind::Read) - reads, expected, "{policy:?}");
    }
}

#[test]
fn writing_a_rotten_page_from_zeros_heals_it() {
    let (disk, id) = rotten();
    let mut pager = PagerOptions::new().open_on::<4096>(&disk).expect("the rest is whole");
    assert!(matches!(failure(id.get(&pager)), Error::Corrupt { .. }));
    let mut writer = pager.protected_zeroed(id).expect("allocated");
    writer.page_mut()[..5].copy_from_slice(b"again");
    writer.commit().expect("there is room");
    assert!(id.get(&pager).expect("healed").starts_with(b"again\0"));
    assert_whole(&pager);
}

#[test]
fn an_unreadable_page_is_an_error_on_touch() {
    let (disk, id) = rotten();
    let mut image = disk.durable_image();
    let mut byte = [0];
    let sector = (0..image.len()).step_by(512).find(|at| {
        image.read(at + 188, &mut byte);
        byte == [3]
    });
    image.set_unreadable(sector.expect("the rot is there") / 512, 1);
    let disk = SimDisk::from_image(image);
    let mut pager = PagerOptions::new().open_on::<4096>(&disk).expect("the rest is whole");
    assert!(matches!(failure(id.get(&pager)), Error::Io { .. }));
    pager.protected_zeroed(id).expect("allocated").commit().expect("there is room");
    assert_eq!(id.get(&pager).expect("healed")[700], 0);
    assert_whole(&pager);
}

#[test]
fn a_file_that_was_closed_reports_nothing() {
    for place in Place::both() {
        let mut pager = place.create::<4096>();
        pager.alloc_protected().expect("there is room");
        let fresh: &Recovery = pager.recovery();
        assert!(fresh.is_clean());
        let pager = place.reopen(pager);
        assert_eq!(pager.recovery().generation, pager.generation());
        assert_whole(&pager);
    }
}

#[test]
fn protected_pages_are_handed_out_down_to_the_last_two_pages() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().max_file_bytes(86_016).create_on::<4096>(&disk).unwrap();
    let error = loop {
        if let Err(error) = pager.alloc_protected() {
            break error;
        }
    };
    assert!(matches!(error, Error::Full { limit: 21, .. }), "{error}");
    assert!(pager.free_page_count() < 2, "{} pages are free", pager.free_page_count());
    assert_eq!(pager.check(), []);
}
