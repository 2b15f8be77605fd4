//! Full disks: a typed error of the call that allocates, and never a signal. `tests/processes.rs` fills real ones.

use std::io;

use diptych::{Durability, Error, PageId, Pager, PagerOptions, SimDisk};

/// Allocates until the disk is full and stores to everything that was handed out, which a simulated disk without space for
/// it answers with a panic, where a process would die.
fn fill_up(pager: &mut Pager<4096>) -> Vec<PageId<4096>> {
    let mut pages = Vec::new();
    for count in [5, 2, 1] {
        let error = loop {
            match pager.alloc_bulk(count) {
                Ok(more) => pages.extend(more),
                Err(error) => break error,
            }
        };
        assert!(matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull), "{error}");
        assert!(!error.needs_reopen(), "{error}");
    }
    for (fill, page) in (1..=250).cycle().zip(&pages) {
        pager.page_mut(*page).expect("it was handed out").fill(fill);
    }
    pager.sync().expect("what was handed out has its space");
    assert_eq!(pager.check(), []);
    pages
}

fn closes(pager: Pager<4096>) {
    pager.close().expect("nothing is in the way of closing");
}

/// A full pager goes on with what takes no space, and keeps it.
fn go_on(mut pager: Pager<4096>, disk: &SimDisk, pages: &[PageId<4096>], close: fn(Pager<4096>)) {
    let freed = pages.len().min(4);
    pager.free_bulk(&pages[..freed]).expect("freeing takes no space");
    let again = pager.alloc_bulk(freed).expect("what was freed is there again");
    again.iter().for_each(|page| pager.page_mut(*page).expect("it was handed out").fill(9));
    close(pager);
    let pager = PagerOptions::new().open_on::<4096>(disk).expect("a full disk is no damage");
    assert!(pager.recovery().is_clean());
    for (fill, page) in (1..=250).cycle().zip(pages).skip(freed) {
        assert!(pager.page(*page).expect("it is in use").iter().all(|byte| *byte == fill));
    }
    assert_eq!(pager.check(), []);
}

#[test]
fn a_store_to_a_page_that_was_handed_out_never_meets_a_full_disk() {
    const FIRST: u64 = 86_016;
    for (sparse, blocks) in [false, true].into_iter().flat_map(|sparse| (0..45).map(move |blocks| (sparse, blocks))) {
        for durability in [Durability::OneBarrier, Durability::TwoBarriers] {
            let disk = SimDisk::new();
            disk.record(false);
            disk.set_space_limit(Some(FIRST + blocks * 4096));
            let options = PagerOptions::new().sparse(sparse).durability(durability);
            let mut pager = options.create_on::<4096>(&disk).expect("it fits");
            let small = durability == Durability::OneBarrier;
            if sparse && small {
                // Opening writes the reserved region, which the simulated disk calls a hole until then.
                drop(pager);
                pager = options.open_on::<4096>(&disk).expect("it fits");
            }
            let pages = fill_up(&mut pager);
            assert!(pages.len() as u64 >= blocks, "{} pages on {blocks} free blocks", pages.len());
            go_on(pager, &disk, &pages, closes);
        }
    }
}

/// The file grew without taking space, and is opened by somebody who does not know.
#[test]
fn a_store_to_a_file_with_holes_never_meets_a_full_disk() {
    for blocks in 20..120 {
        let disk = SimDisk::new();
        disk.record(false);
        let mut pager = PagerOptions::new().sparse(true).create_on::<4096>(&disk).expect("the disk is empty");
        let pages = pager.alloc_bulk(50).expect("there is room");
        pager.free_bulk(&pages[10..]).expect("they are in use");
        pager.close().expect("nothing fails");
        disk.set_space_limit(Some(blocks * 4096));
        let mut pager = PagerOptions::new().open_on::<4096>(&disk).expect("it was closed");
        let more = fill_up(&mut pager);
        go_on(pager, &disk, &more, closes);
    }
}
