//! Ids that name no sub-page of a table, and no table, and pages of tables that hold anything.

use crashlab::forgery::{DIRECTORY_TOP, Forgery};
use diptych::{Block, Error, Pager, PagerOptions, Result, SimDisk, SimImage, SubPageId, SubPageTableId};
use proptest::prelude::*;

use crate::table::{Twin, assert_holds, commit, with_table};
use crate::{failure, id};

const P: usize = 1024;
const S: usize = 256;

fn table_id<const N: usize>(raw: u64) -> SubPageTableId<P, N> {
    SubPageTableId::from_u64(raw).expect("not zero")
}

#[test]
fn an_id_that_was_freed_or_never_handed_out_is_refused_and_nothing_is_lost() -> Result<()> {
    let (mut pager, table) = with_table::<P, S>(&SimDisk::new())?;
    let ids = commit(&mut pager, table, |table| table.alloc_bulk(11))?;
    // A free slot of a parent, a number without a parent, a number that was never given, and what is no id of a table.
    commit(&mut pager, table, |table| table.free_bulk([ids[0], ids[4], ids[5], ids[6], ids[7]]))?;
    let behind = ids[10].to_u64() + 1;
    let mut twin: Twin<P, S> = ids.iter().map(|id| (*id, 0)).collect();
    twin.retain(|id, _| ![0, 4, 5, 6, 7].map(|at| ids[at]).contains(id));
    let never = [behind, behind + 4, behind + 40, 1, 2, 3, u64::MAX, 1 << 40].map(id);
    for bad in [ids[0], ids[4], ids[7]].into_iter().chain(never) {
        assert!(!pager.sub_pages(table)?.is_allocated(bad)?);
        let mut errors = vec![failure(pager.sub_pages(table)?.page(bad).map(drop))];
        let mut transaction = pager.transaction()?;
        let mut parts = transaction.sub_pages(table)?;
        errors.push(failure(parts.page(bad).map(drop)));
        errors.push(failure(parts.page_mut(bad).map(drop)));
        errors.push(failure(parts.free(bad)));
        errors.push(failure(parts.free_bulk([ids[1], bad])));
        errors.push(failure(parts.free_bulk([bad, ids[1]])));
        for error in errors {
            let raw = bad.to_u64();
            let named =
                matches!(error, Error::NoSuchSubPage { id, page, slot } if (id, page, slot) == (raw, raw / 4, raw % 4));
            assert!(named && !error.is_corruption(), "{error:?}");
        }
        transaction.commit()?;
        assert_holds(&pager, table, &twin);
    }
    Ok(())
}

#[test]
fn an_id_of_another_table_or_of_none_is_refused() -> Result<()> {
    let (mut pager, table) = with_table::<P, S>(&SimDisk::new())?;
    commit(&mut pager, table, |table| table.alloc_bulk(11))?;
    let protected = pager.alloc_protected()?;
    let mut transaction = pager.transaction()?;
    let freed = transaction.create_sub_page_table::<S>()?;
    transaction.commit()?;
    let mut transaction = pager.transaction()?;
    transaction.free_sub_page_table(freed)?;
    assert!(matches!(failure(transaction.sub_pages(freed).map(drop)), Error::NoSuchTable { .. }));
    transaction.commit()?;
    // The node and the parents of the table, a protected page, a table that was freed, and numbers.
    let own = (2..=5).map(table_id);
    for bad in own.chain([protected.to_u64(), freed.to_u64(), 1 << 50, u64::MAX].map(table_id::<S>)) {
        let mut transaction = pager.transaction()?;
        for error in [failure(transaction.sub_pages(bad).map(drop)), failure(transaction.free_sub_page_table(bad))] {
            assert!(matches!(error, Error::NoSuchTable { id } if id == bad.to_u64()), "{error:?}");
        }
        drop(transaction);
        assert!(matches!(failure(pager.sub_pages(bad).map(drop)), Error::NoSuchTable { .. }));
    }
    let other = table_id::<512>(table.to_u64());
    for error in [
        failure(pager.sub_pages(other).map(drop)),
        failure(pager.transaction()?.sub_pages(other).map(drop)),
        failure(pager.transaction()?.free_sub_page_table(other)),
    ] {
        assert!(matches!(error, Error::SubPageSize { expected: 512, found: 256 }), "{error:?}");
    }
    Ok(())
}

#[test]
fn a_page_of_a_table_that_rots_is_named_by_check_and_by_whoever_reads_it() -> Result<()> {
    let disk = SimDisk::new();
    let (mut pager, table) = with_table::<P, S>(&disk)?;
    let ids = commit(&mut pager, table, |table| table.alloc_bulk(3))?;
    pager.close()?;
    let whole = disk.durable_image();
    for index in 0..3 {
        let mut image = whole.clone();
        let forgery = Forgery::of(&whole);
        let page = forgery.live_copy(forgery.live_metadata() + DIRECTORY_TOP + 32 * index);
        image.flip_bit(page + 300, 3);
        let pager = PagerOptions::new().open_on::<P>(&SimDisk::from_image(image))?;
        let block = Block::TablePage { id: index + 1 };
        let findings = pager.check();
        assert!(findings.len() == 1 && findings[0].block == block, "{findings:?}");
        let error = failure(pager.sub_pages(table).and_then(|view| view.page(ids[0]).map(drop)));
        let named = matches!(error, Error::Corrupt { block: it, field: "checksum", .. } if it == block);
        assert!(named, "{error}");
    }
    Ok(())
}

/// A closed file with a table of 16 pages, whose entries stand in the metadata, and a protected page.
fn closed() -> Result<(SimImage, SubPageTableId<P, S>)> {
    let disk = SimDisk::new();
    let (mut pager, table) = with_table::<P, S>(&disk)?;
    let ids = commit(&mut pager, table, |table| {
        let ids = table.alloc_bulk(40)?;
        ids.iter().try_for_each(|id| table.page_mut(*id).map(|page| page.fill(0x33)))?;
        Ok(ids)
    })?;
    // Lists of all kinds: parents with room, full ones, vacant numbers.
    commit(&mut pager, table, |table| {
        table.free_bulk(ids.iter().enumerate().filter(|(at, _)| at % 5 == 0).map(|(_, id)| *id).collect::<Vec<_>>())?;
        table.free_bulk([16, 17, 18, 19, 21, 22, 23].map(|at| ids[at]))
    })?;
    pager.close()?;
    Ok((disk.durable_image(), table))
}

/// The image with a word of a page of the table changed, and every checksum mended.
fn forged(whole: &SimImage, index: u64, changes: &[(u64, u64)]) -> SimImage {
    let mut forgery = Forgery::of(whole);
    let metadata = forgery.live_metadata();
    let entry = metadata + DIRECTORY_TOP + 32 * index;
    let page = forgery.live_copy(entry);
    for (at, value) in changes {
        forgery.put_u64(page + at, *value);
    }
    forgery.name_copy(entry, P as u64);
    forgery.mend_block(metadata);
    forgery.name_metadata();
    forgery.image
}

/// Whether a call did what it was asked, or failed with an error that says that something in the file, or an id, is wrong.
fn is_typed<T>(result: &Result<T>) -> bool {
    let Err(error) = result else { return true };
    matches!(
        error,
        Error::Corrupt { .. } | Error::NoSuchTable { .. } | Error::SubPageSize { .. } | Error::NoSuchSubPage { .. }
    )
}

/// Every call on a table whose pages hold anything. Returns whether a check of it finds something.
fn survives(pager: &mut Pager<P>, table: SubPageTableId<P, S>) -> bool {
    let checked = pager.sub_pages(table).and_then(|view| view.check());
    assert!(is_typed(&checked), "{checked:?}");
    let mut live: Vec<SubPageId<P, S>> = Vec::new();
    if let Ok(view) = pager.sub_pages(table) {
        for found in view.iter_allocated().take(200) {
            assert!(is_typed(&found), "{found:?}");
            live.extend(found.ok());
        }
        for raw in (1..200).chain([u64::MAX]) {
            assert!(is_typed(&view.page(id(raw)).map(drop)));
        }
        assert!(is_typed(&view.page_count()));
    }
    let mut transaction = pager.transaction().expect("the pager is not poisoned");
    for round in 0..60 {
        let Ok(mut parts) = transaction.sub_pages(table) else { break };
        let tried = match round % 4 {
            0 => parts.alloc().map(|id| live.push(id)),
            1 => parts.alloc_bulk(7).map(|ids| live.extend(ids)),
            2 => live
                .pop()
                .map_or(Ok(()), |id| parts.page_mut(id).map(|page| page.fill(1)).and_then(|()| parts.free(id))),
            _ => parts.free_bulk(&live[..live.len().min(3)]).map(|()| drop(live.drain(..live.len().min(3)))),
        };
        assert!(is_typed(&tried), "{tried:?}");
    }
    let freed = transaction.free_sub_page_table(table);
    assert!(is_typed(&freed), "{freed:?}");
    transaction.commit().expect("the disk works");
    assert_eq!(pager.check(), [], "whatever a table says, pages have one owner");
    checked.is_err()
}

#[test]
fn any_word_of_a_table_may_hold_anything() -> Result<()> {
    let (whole, table) = closed()?;
    assert!(!survives(&mut PagerOptions::new().open_on::<P>(&SimDisk::from_image(whole.clone()))?, table));
    let (mut forgeries, mut found) = (0, 0);
    // The head and entries of the root, and of the node the head and the records.
    for (index, words) in [(0, 12), (1, 4 + 5 * 24)] {
        for word in 0..words {
            for value in [0, 1, 2, 3, 5, 12, 1 << 32, u64::from(u32::MAX), 1 << 40, u64::MAX] {
                let image = forged(&whole, index, &[(8 * word, value)]);
                if image == whole {
                    continue;
                }
                let mut pager = PagerOptions::new().open_on::<P>(&SimDisk::from_image(image))?;
                found += u32::from(survives(&mut pager, table));
                forgeries += 1;
            }
        }
    }
    // The rest are entries and records that nothing names.
    assert!(forgeries > 1000 && found > forgeries / 3, "{found} of {forgeries} forgeries are found");
    Ok(())
}

#[test]
fn every_count_list_and_bit_that_is_wrong_is_found_by_a_check() -> Result<()> {
    let (whole, table) = closed()?;
    let forgery = Forgery::of(&whole);
    let page = |index: u64| forgery.live_copy(forgery.live_metadata() + DIRECTORY_TOP + 32 * index);
    let (root, node) = (page(0), page(1));
    // Words that are read: of the root all but the end of its entries, of the node those of numbers that there are.
    let numbers = forgery.u64_at(root + 24);
    let words = (0..9u64).map(|word| (0, root, word)).chain((0..4 + 5 * numbers).map(|word| (1, node, word)));
    for (index, start, word) in words {
        let was = forgery.u64_at(start + 8 * word);
        for value in [was ^ 1, was ^ 2, was.wrapping_add(3), was ^ 1 << 40, !was] {
            let image = forged(&whole, index, &[(8 * word, value)]);
            let pager = PagerOptions::new().open_on::<P>(&SimDisk::from_image(image))?;
            let checked = pager.sub_pages(table).and_then(|view| view.check());
            // A hint may be lower than need be, and which of so many slots are live nothing else says.
            let lower = word >= 4 && (word - 4) % 5 == 3 && index == 1 && (value ^ was) << 32 == 0;
            let is_bits = word >= 4 && (word - 4) % 5 == 4 && index == 1;
            let others = is_bits && value.count_ones() == was.count_ones();
            assert!(checked.is_err() || lower || others, "word {word} of page {index} is {value:#x}, was {was:#x}");
            assert!(is_typed(&checked), "{checked:?}");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn pages_of_a_table_may_hold_anything(
        // Two of the first twelve pages went with their sub-pages.
        index in prop_oneof![0u64..2, 0u64..6, 8u64..12],
        changes in prop::collection::vec((0u64..128, prop_oneof![0u64..20, any::<u64>()]), 1..30),
    ) {
        let (whole, table) = closed().expect("nothing fails");
        let changes: Vec<(u64, u64)> = changes.into_iter().map(|(word, value)| (8 * word, value)).collect();
        let image = forged(&whole, index, &changes);
        let mut pager = PagerOptions::new().open_on::<P>(&SimDisk::from_image(image)).expect("it opens");
        survives(&mut pager, table);
    }
}
