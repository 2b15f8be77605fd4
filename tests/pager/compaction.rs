//! A file that was large and is nearly empty becomes small again, while it is in use, and loses nothing.

use std::collections::BTreeMap;

use diptych::{Compaction, Durability, Error, PageId, Pager, PagerOptions, ProtectedPageId, SimDisk};

const P: usize = 4096;

/// Pages and what they are filled with.
struct Pages<const P: usize> {
    regular: BTreeMap<PageId<P>, u64>,
    protected: BTreeMap<ProtectedPageId<P>, u64>,
}

/// A file that was filled with pages of which one in `keep` is left, with `protected` protected pages spread among them, of
/// which every second is left.
fn emptied<const P: usize>(pager: &mut Pager<P>, pages: usize, protected: usize, keep: u64) -> Pages<P> {
    let mut left = Pages { regular: BTreeMap::new(), protected: BTreeMap::new() };
    let parts = 8;
    for part in 0..parts {
        let mut transaction = pager.transaction().unwrap();
        for id in transaction.alloc_bulk(pages / parts).unwrap() {
            transaction.page_mut(id).unwrap()[..8].copy_from_slice(&id.to_u64().to_le_bytes());
            left.regular.insert(id, id.to_u64());
        }
        for id in transaction.alloc_protected_bulk(protected / parts).unwrap() {
            let fill = id.to_u64() ^ part as u64;
            transaction.protected_mut(id).unwrap()[..8].copy_from_slice(&fill.to_le_bytes());
            left.protected.insert(id, fill);
        }
        transaction.commit().unwrap();
    }
    let gone = |raw: u64| !(raw.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20).is_multiple_of(keep);
    let freed: Vec<PageId<P>> = left.regular.keys().copied().filter(|id| gone(id.to_u64())).collect();
    pager.free_bulk(&freed).unwrap();
    left.regular.retain(|id, _| !gone(id.to_u64()));
    let freed: Vec<ProtectedPageId<P>> = left.protected.keys().copied().filter(|id| id.to_u64() % 2 == 0).collect();
    pager.free_protected_bulk(&freed).unwrap();
    left.protected.retain(|id, _| id.to_u64() % 2 == 1);
    left
}

fn compact<const P: usize>(pager: &mut Pager<P>, pages: &mut Pages<P>, most: u64) -> Compaction {
    let mut moves = Vec::new();
    let done = pager.compact(most, |_, from, to| {
        moves.push((from, to));
        Ok::<(), Error>(())
    });
    for (from, to) in moves {
        assert!(to < from, "pages move towards the start");
        let word = pages.regular.remove(&from).expect("a page moves once");
        assert_eq!(pages.regular.insert(to, word), None, "a place is given once");
    }
    done.unwrap()
}

fn assert_holds<const P: usize>(pager: &Pager<P>, pages: &Pages<P>) {
    let word = |page: &[u8]| u64::from_le_bytes(page[..8].try_into().unwrap());
    for (id, held) in &pages.regular {
        assert_eq!(word(id.get(pager).unwrap().as_bytes()), *held, "{id}");
    }
    for (id, held) in &pages.protected {
        assert_eq!(word(id.get(pager).unwrap().as_bytes()), *held, "{id}");
    }
    assert!(pager.iter_allocated_pages().eq(pages.regular.keys().copied()));
    assert!(pager.iter_allocated_protected_pages().eq(pages.protected.keys().copied()));
    assert_eq!(pager.check(), []);
}

fn emptied_and_compacted<const P: usize>(pages: usize, protected: usize, keep: u64) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pages");
    let mut pager = Pager::<P>::create(&path).unwrap();
    let mut left = emptied(&mut pager, pages, protected, keep);
    let done = compact(&mut pager, &mut left, u64::MAX);
    // Pages smaller than a block cannot all lie anywhere: the copies of a page never share one.
    let most = if P < 4096 { 8 } else { 0 };
    assert!(done.left <= most, "{done}");
    assert_holds(&pager, &left);
    assert_eq!(pager.shrink().unwrap(), done.freed);
    assert_holds(&pager, &left);
    let live = (left.regular.len() + 2 * left.protected.len()) * P;
    let len = std::fs::metadata(&path).unwrap().len();
    // The directory has a node for 126 protected pages, and each two copies.
    let nodes = 2 * 4096 * protected.div_ceil(126);
    assert!(len as f64 <= 1.05 * (live + nodes) as f64 + 64.0 * 1024.0, "{len} bytes hold {live}");
    assert_eq!(pager.page_count() * P as u64, len);
    pager.close().unwrap();

    let mut pager = Pager::<P>::open(&path).unwrap();
    assert_holds(&pager, &left);
    assert_eq!(compact(&mut pager, &mut left, u64::MAX).moved, 0, "there is nothing more to move");
    // It grows again.
    let ids = pager.alloc_bulk(pages).unwrap();
    assert!(ids.iter().all(|id| id.get(&pager).unwrap().iter().all(|byte| *byte == 0)));
    assert_eq!(pager.check(), []);
}

#[test]
fn a_file_that_was_emptied_at_random_places_ends_at_its_live_size() {
    emptied_and_compacted::<4096>(40_000, 0, 100);
    emptied_and_compacted::<4096>(24_000, 6_000, 50);
    emptied_and_compacted::<1024>(60_000, 8_000, 40);
    emptied_and_compacted::<65536>(400, 80, 10);
}

#[test]
fn compaction_goes_on_where_it_ended() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<P>(&disk).unwrap();
    let mut left = emptied(&mut pager, 2_000, 400, 10);
    let mut calls = 0;
    while compact(&mut pager, &mut left, 7).left > 0 {
        assert_holds(&pager, &left);
        calls += 1;
        assert!(calls < 1_000, "it comes to an end");
    }
    assert!(calls > 10);
    pager.shrink().unwrap();
    assert_holds(&pager, &left);
}

#[test]
fn a_move_that_the_caller_refuses_is_taken_back_and_those_before_it_stay() {
    let mut pager = PagerOptions::new().create_on::<P>(&SimDisk::new()).unwrap();
    let mut left = emptied(&mut pager, 1_000, 0, 20);
    let mut calls = 0;
    let mut moves = Vec::new();
    let refused = pager.compact(u64::MAX, |transaction, from, to| {
        calls += 1;
        transaction.set_header(&[calls])?;
        if calls == 4 {
            return Err(Error::Poisoned);
        }
        moves.push((from, to));
        Ok(())
    });
    assert!(matches!(refused, Err(Error::Poisoned)));
    assert_eq!((moves.len(), pager.header()[0]), (3, 3), "what the refused call changed is gone with its move");
    for (from, to) in moves {
        let word = left.regular.remove(&from).unwrap();
        left.regular.insert(to, word);
    }
    assert_holds(&pager, &left);
    compact(&mut pager, &mut left, u64::MAX);
    assert_holds(&pager, &left);
}

#[test]
fn a_panic_of_the_caller_leaves_the_pager_as_it_was() {
    let mut pager = PagerOptions::new().create_on::<P>(&SimDisk::new()).unwrap();
    let left = emptied(&mut pager, 1_000, 8, 20);
    let generation = pager.generation();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        pager.compact(u64::MAX, |_, _, _| -> Result<(), Error> { panic!("the application has a bug") })
    }));
    assert!(panicked.is_err());
    assert_eq!(pager.generation(), generation);
    assert_holds(&pager, &left);
}

#[test]
fn a_damaged_protected_page_stays_where_it_is_and_the_rest_moves() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<P>(&disk).unwrap();
    let mut left = emptied(&mut pager, 1_000, 160, 20);
    let rotten = *left.protected.keys().last().unwrap();
    let fill = left.protected.remove(&rotten).unwrap();
    pager.close().unwrap();
    let mut image = disk.durable_image();
    // Its live copy is the one that holds what was written.
    let needle = fill.to_le_bytes();
    let mut places = 0;
    for page in 5..image.len() / P as u64 {
        let mut head = [0; 8];
        image.read(page * P as u64, &mut head);
        if head == needle {
            image.write(page * P as u64 + 100, &[0xee]);
            places += 1;
        }
    }
    assert!(places > 0);
    let mut pager = PagerOptions::new().open_on::<P>(&SimDisk::from_image(image)).unwrap();
    assert!(pager.protected(rotten).is_err_and(|error| error.is_corruption()));
    let done = compact(&mut pager, &mut left, u64::MAX);
    assert!(done.moved > 0 && done.left <= 2, "{done}");
    assert!(pager.protected(rotten).is_err_and(|error| error.is_corruption()));
    pager.protected_zeroed(rotten).unwrap().commit().unwrap();
    left.protected.insert(rotten, 0);
    assert_eq!(compact(&mut pager, &mut left, u64::MAX).left, 0);
    assert_holds(&pager, &left);
}

#[test]
fn shrinking_gives_back_what_is_free_at_the_end_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pages");
    let mut pager = Pager::<P>::create(&path).unwrap();
    let ids = pager.alloc_bulk(5_000).unwrap();
    pager.free_bulk(&ids[2_000..]).unwrap();
    pager.page_mut(ids[1_999]).unwrap().fill(9);
    let before = pager.page_count();
    assert_eq!(pager.shrink().unwrap(), before - ids[1_999].to_u64() - 1);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), pager.page_count() * P as u64);
    assert_eq!(pager.shrink().unwrap(), 0, "there is nothing more");
    assert_eq!(pager.check(), []);
    drop(pager);
    let pager = Pager::<P>::open(&path).unwrap();
    assert_eq!(pager.page(ids[1_999]).unwrap()[4095], 9, "what was stored before is durable");
    assert!(pager.recovery().is_clean());
}

#[test]
fn after_shrinking_a_bad_slot_costs_nothing() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<P>(&disk).unwrap();
    let ids = pager.alloc_bulk(500).unwrap();
    pager.free_bulk(&ids[100..]).unwrap();
    let generation = pager.generation();
    assert!(pager.shrink().unwrap() > 300);
    // With one of them gone, the other one names no page behind the cut either.
    for block in 0..3u64 {
        let mut image = disk.durable_image();
        image.write(block * 4096, &[0x55; 4096]);
        let pager = PagerOptions::new().open_on::<P>(&SimDisk::from_image(image)).unwrap();
        assert!(pager.generation() > generation, "block {block}");
        assert!(pager.iter_allocated_pages().eq(ids[..100].iter().copied()));
    }
}

#[test]
fn a_protected_page_whose_number_is_higher_than_the_file_is_long_survives_shrinking() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<P>(&disk).unwrap();
    let ids = pager.alloc_protected_bulk(3_000).unwrap();
    let (last, others) = ids.split_last().unwrap();
    let mut writer = pager.protected_mut(*last).unwrap();
    writer.page_mut().fill(7);
    writer.commit().unwrap();
    pager.free_protected_bulk(others).unwrap();
    let done = pager.compact(u64::MAX, |_, _, _| Ok::<(), Error>(())).unwrap();
    assert_eq!((done.left, pager.shrink().unwrap()), (0, done.freed));
    assert_eq!(pager.page_count(), last.to_u64(), "no file names more than it has pages");
    pager.close().unwrap();
    let mut pager = PagerOptions::new().open_on::<P>(&disk).unwrap();
    assert_eq!(pager.protected(*last).unwrap()[4095], 7);
    pager.free_protected(*last).unwrap();
    assert!(pager.shrink().unwrap() > 2_000);
}

#[test]
fn a_node_that_lies_alone_behind_the_end_moves() {
    let mut pager = PagerOptions::new().create_on::<P>(&SimDisk::new()).unwrap();
    let first = pager.alloc_protected_bulk(16).unwrap();
    let ids = pager.alloc_bulk(40).unwrap();
    pager.free(ids[3]).unwrap();
    let id = pager.alloc_protected().unwrap();
    pager.free_protected(id).unwrap();
    pager.free(ids[10]).unwrap();
    // A checkpoint that changes the node turns it over.
    let mut transaction = pager.transaction().unwrap();
    transaction.protected_mut(first[0]).unwrap().fill(3);
    transaction.set_durability(Durability::TwoBarriers);
    transaction.commit().unwrap();
    assert_eq!(pager.compact(u64::MAX, |_, _, _| Ok::<(), Error>(())).unwrap().left, 0);
    assert_eq!(pager.check(), []);
}

#[test]
fn a_compaction_is_durable_though_its_caller_would_have_it_wait() {
    let mut pager = PagerOptions::new().durability(Durability::None).create_on::<P>(&SimDisk::new()).unwrap();
    let mut left = emptied(&mut pager, 1_000, 16, 20);
    assert!(pager.durable_generation() < pager.generation(), "commits wait before it");
    let mut moves = Vec::new();
    let done = pager.compact(u64::MAX, |transaction, from, to| {
        transaction.set_durability(Durability::None);
        moves.push((from, to));
        Ok::<(), Error>(())
    });
    for (from, to) in moves {
        let word = left.regular.remove(&from).unwrap();
        left.regular.insert(to, word);
    }
    let done = done.unwrap();
    assert_eq!((done.left, pager.durable_generation()), (0, pager.generation()));
    assert_holds(&pager, &left);
    assert_eq!(compact(&mut pager, &mut left, u64::MAX).moved, 0, "what waited counted as free");
}

#[test]
fn a_step_takes_no_more_than_may_be_staged() {
    for limit in [8, 11, 16, 23] {
        let options = PagerOptions::new().max_staged_bytes(limit * P as u64);
        let mut pager = options.create_on::<P>(&SimDisk::new()).unwrap();
        let root = pager.alloc_protected().unwrap();
        let low = pager.alloc_bulk(200).unwrap();
        let high = pager.alloc_bulk(64).unwrap();
        pager.alloc_protected_bulk(40).unwrap();
        pager.free_bulk(&low).unwrap();
        let done = pager.compact(u64::MAX, |transaction, _, to| {
            transaction.protected_mut(root)?[..8].copy_from_slice(&to.to_u64().to_le_bytes());
            Ok::<(), Error>(())
        });
        let done = done.unwrap();
        assert_eq!((done.moved, done.left), (high.len() as u64, 0));
        assert_eq!(pager.check(), []);
    }
}

/// Each move lets go of its own savepoint; those of the caller in between remember what they have to.
#[test]
fn a_caller_may_go_back_to_savepoints_of_its_own() {
    let mut pager = PagerOptions::new().create_on::<P>(&SimDisk::new()).unwrap();
    let note = pager.alloc_protected().unwrap();
    let mut left = emptied(&mut pager, 1_000, 0, 20);
    let mut moves = Vec::new();
    let done = pager.compact(u64::MAX, |transaction, from, to| {
        moves.push((from, to));
        let count = moves.len() as u64;
        transaction.protected_mut(note)?[..8].copy_from_slice(&count.to_le_bytes());
        let savepoint = transaction.savepoint();
        transaction.protected_mut(note)?.fill(0xee);
        transaction.page_mut(to)?[8..].fill(0xee);
        transaction.rollback_to(&savepoint)
    });
    assert!(done.unwrap().moved == moves.len() as u64 && moves.len() > 20);
    for (from, to) in &moves {
        let word = left.regular.remove(from).unwrap();
        left.regular.insert(*to, word);
        assert!(to.get(&pager).unwrap()[8..].iter().all(|byte| *byte == 0));
    }
    assert_eq!(note.get(&pager).unwrap()[..8], (moves.len() as u64).to_le_bytes());
    left.protected.insert(note, moves.len() as u64);
    assert_holds(&pager, &left);
}

#[test]
fn a_page_that_moved_can_be_read_changed_and_freed_at_its_new_place_in_the_same_commit() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<P>(&disk).unwrap();
    let ids = pager.alloc_bulk(100).unwrap();
    for id in &ids {
        pager.page_mut(*id).unwrap().fill(u8::try_from(id.to_u64() % 251).unwrap());
    }
    pager.free_bulk(&ids[..90]).unwrap();
    let mut places = Vec::new();
    pager
        .compact(u64::MAX, |tx, from, to| {
            let fill = u8::try_from(from.to_u64() % 251).unwrap();
            assert!(tx.page(to)?.iter().all(|byte| *byte == fill), "it shows at its new place");
            assert!(tx.page(from).is_err() && tx.overwrite(from).is_err(), "and is gone from the old one");
            match from.to_u64() % 3 {
                0 => tx.page_mut(to)?[0] ^= 0xff,
                1 => return tx.free(to),
                _ => {}
            }
            let savepoint = tx.savepoint();
            tx.page_mut(to)?.fill(0);
            tx.rollback_to(&savepoint)?;
            places.push((from, to));
            Ok::<(), Error>(())
        })
        .unwrap();
    pager.close().unwrap();
    let pager = PagerOptions::new().open_on::<P>(&disk).unwrap();
    for (from, to) in places {
        let fill = u8::try_from(from.to_u64() % 251).unwrap();
        let first = if from.to_u64() % 3 == 0 { fill ^ 0xff } else { fill };
        let page = pager.page(to).unwrap();
        assert!(page[0] == first && page[1..].iter().all(|byte| *byte == fill), "{from} at {to}");
    }
    assert_eq!(pager.check(), []);
}
