//! Every version of the format that was ever released has a golden image here: it opens, or is refused by naming both
//! versions.
//!
//! `tests/golden/version-1.img` was made by `write_specimen` below. If the code comes to write other bytes, either pages are
//! handed out in another order, and the image is made anew with `DIPTYCH_WRITE_GOLDEN=1`; or the format has changed, and
//! then the version changes as well and the old image stays.

use std::path::PathBuf;

use crashlab::forgery::{BLOCK, SLOT_ROW_COUNTS};
use diptych::{PageId, Pager, PagerOptions, ProtectedPageId, SimDisk};

fn golden(version: u32) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/version-{version}.img"))
}

/// Some of everything: both tables with nodes, freed pages, all counts, a header, and slots with rows of every sort. It is
/// not closed, so the newest commit is a small one of one barrier; the one before it had two.
fn write_specimen(disk: &SimDisk) {
    disk.set_seed(2026);
    let mut pager: Pager<2048> = PagerOptions::new().create_on(disk).unwrap();
    let ids = pager.alloc_protected_bulk(40).unwrap();
    let pages = pager.alloc_bulk(9).unwrap();
    let mut tx = pager.transaction().unwrap();
    for (fill, id) in (1..).zip(ids.iter().step_by(7)) {
        tx.protected_mut(*id).unwrap().fill(fill);
    }
    let fresh = tx.alloc().unwrap();
    tx.page_mut(fresh).unwrap().fill(0x99);
    tx.free(pages[4]).unwrap();
    tx.free_protected(ids[1]).unwrap();
    tx.free_protected(ids[10]).unwrap();
    tx.set_header(b"a golden image").unwrap();
    tx.commit().unwrap();
    let mut tx = pager.transaction().unwrap();
    // Two of them were there before, the third is new.
    for id in tx.alloc_protected_bulk(3).unwrap() {
        tx.protected_mut(id).unwrap().fill(0x77);
    }
    tx.free_protected(ids[20]).unwrap();
    tx.protected_mut(ids[2]).unwrap().fill(0x77);
    tx.commit().unwrap();
}

fn check_specimen(pager: &Pager<2048>) {
    assert!(pager.recovery().is_clean(), "{:?}", pager.recovery());
    assert_eq!(pager.check(), []);
    assert_eq!(pager.generation().to_u64(), 5);
    assert_eq!(&pager.header()[..15], b"a golden image\0");
    let ids: Vec<u64> = pager.iter_allocated_protected_pages().map(ProtectedPageId::to_u64).collect();
    assert_eq!(ids, (1..=41).filter(|id| *id != 21).collect::<Vec<_>>());
    for id in ids {
        let fill = match id - 1 {
            1 | 2 | 10 | 40 => 0x77,
            at if at % 7 == 0 => at / 7 + 1,
            _ => 0,
        };
        let content = pager.protected(ProtectedPageId::from_u64(id).unwrap()).unwrap();
        assert!(content.iter().all(|byte| u64::from(*byte) == fill), "protected page {id}");
    }
    let pages: Vec<PageId<2048>> = pager.iter_allocated_pages().collect();
    assert_eq!(pages.len(), 9);
    let filled = pages.iter().filter(|id| pager.page(**id).unwrap().iter().all(|byte| *byte == 0x99)).count();
    assert_eq!(filled, 1);
}

#[test]
fn the_golden_image_of_version_1_opens() {
    let disk = SimDisk::from_image(std::fs::read(golden(1)).unwrap());
    check_specimen(&PagerOptions::new().open_on(&disk).unwrap());
}

#[test]
fn the_golden_image_has_slots_with_rows_of_every_sort() {
    let image = std::fs::read(golden(1)).unwrap();
    let u32_at = |at: u64| u32::from_le_bytes(*image[usize::try_from(at).unwrap()..].first_chunk().unwrap());
    let slots = [BLOCK, 2 * BLOCK];
    for slot in slots {
        let counts = [0, 4, 8].map(|at| u32_at(slot + SLOT_ROW_COUNTS + at));
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
    // One was behind a barrier, the other proves itself.
    let mut flags = slots.map(|slot| u32_at(slot + 36));
    flags.sort_unstable();
    assert_eq!(flags, [0, 1]);
}

#[test]
fn the_format_is_written_as_the_golden_image_of_its_version_was() {
    let disk = SimDisk::new();
    write_specimen(&disk);
    let written = disk.cached_image().to_vec();
    if std::env::var_os("DIPTYCH_WRITE_GOLDEN").is_some() {
        std::fs::write(golden(1), &written).unwrap();
    }
    let kept = std::fs::read(golden(1)).unwrap();
    assert_eq!(written.len(), kept.len());
    let different = written.iter().zip(&kept).position(|(written, kept)| written != kept);
    assert_eq!(different, None, "the first byte that differs");
}
