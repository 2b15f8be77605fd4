//! How many calls each operation makes, as the table of `docs/benchmarks.md` has it.

use std::fs;
use std::path::Path;

use diptych::{Durability, PageId, Pager, PagerOptions, ProtectedPageId};

use crate::folder;
use crate::interposed::{Kind, seen, watch};

const P: usize = 4096;

type Counts = Vec<(&'static str, [usize; Kind::ALL.len()])>;

/// Runs one operation and notes its calls.
fn count<T>(counts: &mut Counts, name: &'static str, operation: impl FnOnce() -> T) -> T {
    watch(None);
    let result = operation();
    let seen = seen();
    counts.push((name, Kind::ALL.map(|kind| seen.iter().filter(|call| call.kind == kind).count())));
    result
}

/// A transaction that changes every second of the pages, so that no two of them are neighbours.
fn change(pager: &mut Pager<P>, ids: &[ProtectedPageId<P>], count: usize) {
    let mut tx = pager.transaction().unwrap();
    for id in ids.iter().step_by(2).take(count) {
        tx.protected_mut(*id).unwrap()[0] += 1;
    }
    tx.commit().unwrap();
}

/// A transaction that allocates and writes regular pages.
fn write_fresh(pager: &mut Pager<P>, count: usize) -> Vec<PageId<P>> {
    let mut tx = pager.transaction().unwrap();
    let ids = tx.alloc_bulk(count).unwrap();
    for id in &ids {
        tx.page_mut(*id).unwrap().fill(1);
    }
    tx.commit().unwrap();
    ids
}

fn counted(path: &Path, durability: Durability) -> Counts {
    let options = PagerOptions::new().durability(durability);
    let mut counts = Counts::new();
    let rows = &mut counts;
    let mut pager = count(rows, "`Pager::create`", || options.create::<P>(path)).unwrap();
    let grown =
        count(rows, "`Pager::alloc_bulk` of 3000 pages, which grows the file", || pager.alloc_bulk(3000)).unwrap();
    pager.free_bulk(&grown[500..]).unwrap();
    let ids = pager.alloc_protected_bulk(800).unwrap();
    let page = count(rows, "`Pager::alloc`", || pager.alloc()).unwrap();
    count(rows, "`Pager::alloc_bulk` of 100 pages", || pager.alloc_bulk(100)).unwrap();
    count(rows, "`Pager::free`", || pager.free(grown[3])).unwrap();
    count(rows, "`Pager::alloc_protected`", || pager.alloc_protected()).unwrap();
    count(rows, "`ProtectedPageWriter::commit`", || {
        let mut writer = pager.protected_mut(ids[5]).unwrap();
        writer.page_mut()[0] = 7;
        writer.commit().unwrap();
    });
    count(rows, "transaction that changes 1 protected page", || change(&mut pager, &ids, 1));
    count(rows, "... 10", || change(&mut pager, &ids, 10));
    count(rows, "... 100", || change(&mut pager, &ids, 100));
    count(rows, "... 300, more than a slot has room for", || change(&mut pager, &ids, 300));
    count(rows, "transaction that writes 10 fresh regular pages", || write_fresh(&mut pager, 10));
    count(rows, "... 160, as many as metadata lists", || write_fresh(&mut pager, 160));
    count(rows, "... 161", || write_fresh(&mut pager, 161));
    count(rows, "transaction that overwrites 1 regular page", || {
        let mut tx = pager.transaction().unwrap();
        tx.overwrite(page).unwrap().fill(2);
        tx.commit().unwrap();
    });
    count(rows, "transaction that changes the header", || {
        let mut tx = pager.transaction().unwrap();
        tx.set_header(b"new").unwrap();
        tx.commit().unwrap();
    });
    count(rows, "transaction with `Durability::None` that changes 1 protected page", || {
        let mut tx = pager.transaction().unwrap();
        tx.set_durability(Durability::None);
        tx.protected_mut(ids[7]).unwrap()[0] = 9;
        tx.commit().unwrap();
    });
    count(rows, "`Pager::sync` after it", || pager.sync()).unwrap();
    count(rows, "transaction that is dropped", || {
        let mut tx = pager.transaction().unwrap();
        tx.alloc().unwrap();
        drop(tx);
    });
    count(rows, "`PageId::get`", || page.to_u64() + u64::from(pager.page(page).unwrap()[0]));
    count(rows, "store to a regular page", || pager.page_mut(page).unwrap().fill(3));
    count(rows, "`Pager::sync`", || pager.sync()).unwrap();
    count(rows, "`Pager::close`", || pager.close()).unwrap();
    let pager = count(rows, "`Pager::open`", || options.open::<P>(path)).unwrap();
    count(rows, "first `ProtectedPageId::get` of a page", || pager.protected(ids[9]).map(|page| page[0])).unwrap();
    count(rows, "the second", || pager.protected(ids[9]).map(|page| page[0])).unwrap();
    count(rows, "dropping the pager", || drop(pager));
    counts
}

#[test]
fn the_documented_numbers_of_calls_are_those_that_are_made() {
    let folder = folder();
    let counts = counted(&folder.path().join("file"), Durability::OneBarrier);
    let mut table = vec![
        format!("| what | {} |", Kind::ALL.map(Kind::name).join(" | ")),
        format!("|---{}|", "|---:".repeat(Kind::ALL.len())),
    ];
    table.extend(
        counts.iter().map(|(name, counts)| format!("| {name} | {} |", counts.map(|n| n.to_string()).join(" | "))),
    );
    let table = table.join("\n");
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks.md")).unwrap();
    assert!(document.contains(&table), "docs/benchmarks.md has to have this table:\n\n{table}\n");
}

#[test]
fn a_commit_has_one_barrier_two_if_pages_have_to_be_there_before_it_and_three_if_they_are_many_and_it_a_checkpoint() {
    let folder = folder();
    for (durability, small, ordered, many) in [(Durability::OneBarrier, 1, 2, 2), (Durability::TwoBarriers, 2, 2, 3)] {
        let counts = counted(&folder.path().join(format!("{durability:?}")), durability);
        let syncs = |name: &str| counts.iter().find(|row| row.0 == name).map(|(_, counts)| counts[2]);
        for name in ["`Pager::alloc`", "`Pager::free`", "`ProtectedPageWriter::commit`", "... 100"] {
            assert_eq!(syncs(name), Some(small), "{name} with {durability:?}");
        }
        assert_eq!(syncs("... 300, more than a slot has room for"), Some(small), "with {durability:?}");
        assert_eq!(syncs("... 160, as many as metadata lists"), Some(ordered), "with {durability:?}");
        assert_eq!(syncs("... 161"), Some(many), "with {durability:?}");
        assert_eq!(syncs("`Pager::sync`"), Some(1));
    }
}
