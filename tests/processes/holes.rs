//! Space of free pages is given back in the middle of a file, and on a full disk a later allocation there is an error.
//!
//! What a crash or a failing call makes of it is in `tests/crash/punching.rs`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use diptych::{PageId, Pager};

use crate::is_full;
use crate::second_process::file_of_second_process;
use crate::small_disk::run_on_small_disk;

const P: usize = 4096;

fn occupied(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

fn holds(pager: &Pager<P>, id: PageId<P>, fill: u8) -> bool {
    id.get(pager).unwrap().iter().all(|byte| *byte == fill)
}

/// Makes a file of 400 pages of which the first, the last and every eighth between stay.
fn thinned(path: &Path) -> (Pager<P>, Vec<PageId<P>>, Vec<PageId<P>>) {
    let mut pager = Pager::<P>::create(path).unwrap();
    let ids = pager.alloc_bulk(400).unwrap();
    ids.iter().for_each(|id| pager.page_mut(*id).unwrap().fill(7));
    let is_kept = |at: usize| at.is_multiple_of(8) || at == 399;
    let kept: Vec<_> = (0..400).filter(|at| is_kept(*at)).map(|at| ids[at]).collect();
    let freed: Vec<_> = (0..400).filter(|at| !is_kept(*at)).map(|at| ids[at]).collect();
    pager.free_bulk(&freed).unwrap();
    (pager, kept, freed)
}

/// What these pages take, without blocks that the filesystem needs to say where the holes are.
fn most_of(pages: &[PageId<P>]) -> u64 {
    ((pages.len() - 8) * P) as u64
}

/// Fills the filesystem with a file until nothing fits any more.
fn fill_up(ballast: &Path) {
    let mut file = fs::File::create(ballast).unwrap();
    for len in [1 << 16, 4096, 512] {
        while file.write_all(&vec![1; len]).is_ok() {}
    }
    let _ = file.sync_all();
}

fn punch_on(path: &Path) {
    let ballast = path.with_file_name("ballast");
    let (mut pager, kept, freed) = thinned(path);
    let (before, len) = (occupied(path), fs::metadata(path).unwrap().len());
    let given_back = pager.punch_holes().unwrap().expect("this filesystem can");
    assert!(given_back >= most_of(&freed), "{given_back} bytes");
    assert_eq!(before - occupied(path), given_back, "the file occupies as much less as the call says");
    assert_eq!(fs::metadata(path).unwrap().len(), len, "it is as long as before");
    assert!(kept.iter().all(|id| holds(&pager, *id, 7)));
    assert_eq!(pager.check(), []);

    // What is free is there, without space behind it.
    let again = pager.alloc_bulk(10).unwrap();
    assert_eq!(again, freed[..10]);
    assert!(again.iter().all(|id| holds(&pager, *id, 0)));
    again.iter().for_each(|id| pager.page_mut(*id).unwrap().fill(8));
    let twin = pager.alloc_protected().unwrap();
    pager.sync().unwrap();
    fill_up(&ballast);
    for reopens in [false, true] {
        if reopens {
            pager.close().unwrap();
            pager = Pager::<P>::open(path).unwrap();
        }
        let error = pager.alloc_bulk(200).unwrap_err();
        assert!(is_full(&error) && !error.needs_reopen(), "{error}");
        let mut more = Vec::new();
        let error = loop {
            match pager.alloc() {
                // A store to a page that was handed out never meets a full disk.
                Ok(id) => {
                    pager.page_mut(id).unwrap().fill(9);
                    more.push(id);
                }
                Err(error) => break error,
            }
        };
        assert!(is_full(&error) && !error.needs_reopen(), "{error}");
        let error = pager.alloc_protected_bulk(50).unwrap_err();
        assert!(is_full(&error) && !error.needs_reopen(), "{error}");
        let mut writer = pager.protected_mut(twin).unwrap();
        writer.page_mut().fill(6);
        writer.commit().unwrap();
        pager.free_bulk(&more).unwrap();
        assert_eq!(pager.check(), []);
    }
    fs::remove_file(&ballast).unwrap();
    fs::File::open(path.parent().unwrap()).unwrap().sync_all().unwrap();
    let more = pager.alloc_bulk(freed.len() - 20).unwrap();
    more.iter().for_each(|id| pager.page_mut(*id).unwrap().fill(5));
    pager.close().unwrap();
    let pager = Pager::<P>::open(path).unwrap();
    assert!(kept.iter().all(|id| holds(&pager, *id, 7)) && again.iter().all(|id| holds(&pager, *id, 8)));
    assert!(more.iter().all(|id| holds(&pager, *id, 5)));
    assert!(twin.get(&pager).unwrap().iter().all(|byte| *byte == 6));
    assert_eq!(pager.check(), []);
}

#[test]
fn on_tmpfs_space_comes_back_and_a_full_disk_is_an_error_later() {
    match file_of_second_process() {
        Some(path) => punch_on(&path),
        None => run_on_small_disk(
            "holes::on_tmpfs_space_comes_back_and_a_full_disk_is_an_error_later",
            "holes in a file on tmpfs",
            "mount -t tmpfs -o size=4096k tmpfs /mnt/small",
        ),
    }
}

#[test]
fn on_ext4_space_comes_back_and_a_full_disk_is_an_error_later() {
    match file_of_second_process() {
        Some(path) => punch_on(&path),
        None => run_on_small_disk(
            "holes::on_ext4_space_comes_back_and_a_full_disk_is_an_error_later",
            "holes in a file on ext4",
            "truncate -s 8M /mnt/image && mkfs.ext4 -q -m 0 /mnt/image && mount -t ext4 -o loop /mnt/image /mnt/small",
        ),
    }
}

#[test]
fn on_xfs_space_comes_back_and_a_full_disk_is_an_error_later() {
    match file_of_second_process() {
        Some(path) => punch_on(&path),
        None => run_on_small_disk(
            "holes::on_xfs_space_comes_back_and_a_full_disk_is_an_error_later",
            "holes in a file on xfs",
            "truncate -s 320M /mnt/image && mkfs.xfs -q /mnt/image && mount -t xfs -o loop /mnt/image /mnt/small && \
             left=$(df --output=avail -k /mnt/small | tail -1) && fallocate -l $((left - 6000))K /mnt/small/taken",
        ),
    }
}

#[test]
fn where_tests_run_the_file_occupies_less_and_every_other_page_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pages");
    let (mut pager, kept, freed) = thinned(&path);
    pager.sync().unwrap();
    let before = occupied(&path);
    match pager.punch_holes().unwrap() {
        Some(given_back) => {
            assert!(given_back >= most_of(&freed) && occupied(&path) < before, "{given_back} bytes");
            assert_eq!(pager.punch_holes().unwrap(), Some(0), "there is nothing more to be given back");
        }
        None => assert_eq!(occupied(&path), before),
    }
    assert!(kept.iter().all(|id| holds(&pager, *id, 7)));
    assert_eq!(pager.check(), []);
}
