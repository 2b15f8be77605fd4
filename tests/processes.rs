//! Real files and real processes: killed writers, a limit on the file's size, and full filesystems.

#![cfg(unix)]

#[path = "processes/holes.rs"]
mod holes;
#[path = "processes/second_process.rs"]
mod second_process;
#[path = "processes/small_disk.rs"]
mod small_disk;

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use diptych::{Error, PageId, Pager, PagerOptions, ProtectedPageId, ReadOnlyPager};
use tempfile::TempDir;

use second_process::{file_of_second_process, start_again};
use small_disk::run_on_small_disk;

const PAGES: u64 = 12;

/// Every commit writes its number to the header, to all protected pages, and to a fresh regular page that it names; and
/// prints it when it is durable.
fn commit_for_ever(path: &Path) {
    let mut pager = Pager::<4096>::open(path).unwrap();
    let ids: Vec<ProtectedPageId<4096>> = pager.iter_allocated_protected_pages().collect();
    let mut number = u64::from_le_bytes(pager.header()[..8].try_into().unwrap());
    let mut old = pager.iter_allocated_pages().next();
    loop {
        number += 1;
        let mut tx = pager.transaction().unwrap();
        for id in &ids {
            tx.protected_mut(*id).unwrap()[..8].copy_from_slice(&number.to_le_bytes());
        }
        let fresh = tx.alloc().unwrap();
        tx.page_mut(fresh).unwrap().fill(number.to_le_bytes()[0]);
        if let Some(old) = old.replace(fresh) {
            tx.free(old).unwrap();
        }
        tx.set_header(&number.to_le_bytes()).unwrap();
        tx.commit().unwrap();
        println!("committed {number}");
    }
}

#[test]
fn a_killed_process_loses_nothing_that_was_acknowledged() {
    if let Some(path) = file_of_second_process() {
        commit_for_ever(&path);
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    let mut pager = Pager::<4096>::create(&path).unwrap();
    pager.alloc_protected_bulk(PAGES.try_into().unwrap()).unwrap();
    pager.close().unwrap();

    let mut last = 0;
    for round in 0..25u64 {
        let mut child = start_again("a_killed_process_loses_nothing_that_was_acknowledged", &path, "");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = |line: Option<io::Result<String>>| {
            let line = line?.unwrap();
            if let Some((_, number)) = line.split_once("committed ") {
                last = number.parse().unwrap();
            }
            Some(())
        };
        // At least one commit, then some time that falls anywhere into the next ones.
        for _ in 0..5 {
            acknowledged(lines.next());
        }
        thread::sleep(Duration::from_micros(round * round * 37 % 9000));
        child.kill().unwrap();
        child.wait().unwrap();
        while acknowledged(lines.next()).is_some() {}

        let pager = Pager::<4096>::open(&path).unwrap();
        let found = u64::from_le_bytes(pager.header()[..8].try_into().unwrap());
        assert!(found == last || found == last + 1, "{last} was acknowledged, {found} is there");
        for id in pager.iter_allocated_protected_pages() {
            assert_eq!(pager.protected(id).unwrap()[..8], found.to_le_bytes(), "{id}");
        }
        let regular: Vec<_> = pager.iter_allocated_pages().collect();
        assert_eq!(regular.len(), 1);
        assert!(pager.page(regular[0]).unwrap().iter().all(|byte| *byte == found.to_le_bytes()[0]));
        assert_eq!(pager.check(), []);
        last = found;
    }
    assert!(last > 25, "only {last} commits were made");
}

#[test]
fn processes_that_read_share_a_file_and_one_that_writes_waits_for_all_of_them() {
    const TEST: &str = "processes_that_read_share_a_file_and_one_that_writes_waits_for_all_of_them";
    if let Some(path) = file_of_second_process() {
        let pager = ReadOnlyPager::<4096>::open(&path).unwrap();
        println!("reads {}", pager.header()[0]);
        // Until the other process lets go.
        io::stdin().read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(pager.check(), []);
        return;
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    let mut pager = Pager::<4096>::create(&path).unwrap();
    let mut tx = pager.transaction().unwrap();
    tx.set_header(b"7").unwrap();
    tx.commit().unwrap();
    pager.close().unwrap();
    let before = fs::read(&path).unwrap();
    let mut children: Vec<_> = (0..3).map(|_| start_again(TEST, &path, "")).collect();
    for child in &mut children {
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines().map(|line| line.unwrap());
        assert!(lines.any(|line| line.ends_with("reads 55")));
    }
    assert_eq!(ReadOnlyPager::<4096>::open(&path).unwrap().header()[0], b'7');
    for mut child in children {
        assert!(matches!(Pager::<4096>::open(&path), Err(Error::Locked { .. })));
        drop(child.stdin.take());
        let mut rest = String::new();
        child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        assert!(child.wait().unwrap().success(), "{rest}");
    }
    assert!(fs::read(&path).unwrap() == before, "reading changes bytes");
    Pager::<4096>::open(&path).unwrap();
}

#[test]
fn a_read_only_mount_is_read_and_not_written() {
    let Some(path) = file_of_second_process() else {
        return run_on_small_disk(
            "a_read_only_mount_is_read_and_not_written",
            "a read-only mount; a file that nobody may write stands in for it",
            "mount -t tmpfs -o size=1024k tmpfs /mnt/small",
        );
    };
    let mut pager = Pager::<4096>::create(&path).unwrap();
    let id = pager.alloc_protected().unwrap();
    drop(pager);
    let folder = path.parent().unwrap();
    assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(folder).status().unwrap().success());
    let error = Pager::<4096>::open(&path).unwrap_err();
    assert!(
        matches!(&error, Error::Io { op: "open", source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem),
        "{error}"
    );
    let pagers = [(); 2].map(|()| ReadOnlyPager::<4096>::open(&path).unwrap());
    assert!(pagers.iter().all(|pager| pager.is_allocated(id) && pager.check().is_empty()));
}

#[test]
fn a_limit_on_the_size_of_files_is_a_clean_error() {
    const TEST: &str = "a_limit_on_the_size_of_files_is_a_clean_error";
    if let Some(path) = file_of_second_process() {
        let mut pager = Pager::<4096>::open(&path).unwrap();
        let before = (pager.generation(), pager.page_count(), pager.iter_allocated_pages().count());
        let error = pager.alloc_bulk(1000).unwrap_err();
        let kind = match &error {
            Error::Io { op: "grow", source, .. } => source.kind(),
            other => panic!("{other}"),
        };
        assert_eq!(kind, io::ErrorKind::FileTooLarge);
        assert_eq!((pager.generation(), pager.page_count(), pager.iter_allocated_pages().count()), before);
        // What fits is handed out, down to the last page, and the pager goes on.
        let mut pages = Vec::new();
        let full = loop {
            match pager.alloc() {
                Ok(page) => pages.push(page),
                Err(error) => break error,
            }
        };
        assert!(full.is_io() && !full.needs_reopen(), "{full}");
        pager.page_mut(pages[0]).unwrap().fill(1);
        pager.free(pages[1]).unwrap();
        assert_eq!(pager.alloc().unwrap(), pages[1]);
        assert_eq!(pager.check(), []);
        pager.close().unwrap();
        return;
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    Pager::<4096>::create(&path).unwrap().close().unwrap();
    // The signal that goes with the limit is ignored, so that the calls fail instead. Blocks of 512 bytes.
    let mut child = start_again(TEST, &path, "trap '' XFSZ; ulimit -f 700;");
    let mut printed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert!(child.wait().unwrap().success(), "{printed}");
    let pager = Pager::<4096>::open(&path).unwrap();
    assert!(pager.iter_allocated_pages().count() > 10);
    assert!(fs::metadata(&path).unwrap().len() <= 700 * 1024);
    assert_eq!(pager.check(), []);
}

#[test]
fn a_full_tmpfs_is_a_clean_error_and_never_a_signal() {
    match file_of_second_process() {
        Some(path) => fill_the_disk_of(&path),
        None => run_on_small_disk(
            "a_full_tmpfs_is_a_clean_error_and_never_a_signal",
            "a full tmpfs; the limit on file sizes stands in for it",
            "mount -t tmpfs -o size=1024k tmpfs /mnt/small",
        ),
    }
}

#[test]
fn a_full_ext4_is_a_clean_error_and_never_a_signal() {
    match file_of_second_process() {
        Some(path) => fill_the_disk_of(&path),
        None => run_on_small_disk(
            "a_full_ext4_is_a_clean_error_and_never_a_signal",
            "a full ext4; the limit on file sizes stands in for it",
            "truncate -s 8M /mnt/image && mkfs.ext4 -q -m 0 /mnt/image && mount -t ext4 -o loop /mnt/image /mnt/small",
        ),
    }
}

#[test]
fn a_full_xfs_is_a_clean_error_and_never_a_signal() {
    match file_of_second_process() {
        Some(path) => fill_the_disk_of(&path),
        // There is none smaller than 300 MiB, so most of it is taken.
        None => run_on_small_disk(
            "a_full_xfs_is_a_clean_error_and_never_a_signal",
            "a full xfs; the limit on file sizes stands in for it",
            "truncate -s 320M /mnt/image && mkfs.xfs -q /mnt/image && mount -t xfs -o loop /mnt/image /mnt/small && \
             left=$(df --output=avail -k /mnt/small | tail -1) && fallocate -l $((left - 6000))K /mnt/small/taken",
        ),
    }
}

fn is_full(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
}

fn fill_the_disk_of(path: &Path) {
    let folder = path.parent().unwrap();
    let ballast = folder.join("ballast");
    for sparse in [false, true] {
        // It is in the way until it is removed.
        fs::write(&ballast, vec![1; 300 << 10]).unwrap();
        let options = PagerOptions::new().sparse(sparse);
        let mut pager = options.create::<4096>(path).unwrap();
        let error = pager.alloc_bulk(2000).unwrap_err();
        assert!(is_full(&error), "{error}");
        let mut pages = Vec::new();
        let full = loop {
            match pager.alloc() {
                // Storing to a page that was handed out never meets a full disk.
                Ok(page) => {
                    pager.page_mut(page).unwrap().fill(7);
                    pages.push(page);
                }
                Err(error) => break error,
            }
        };
        assert!(is_full(&full) || matches!(full, Error::Full { .. }), "{full}");
        assert!(!full.needs_reopen(), "{full}");
        assert!(pages.len() > 100, "{} pages", pages.len());
        pager.sync().unwrap();
        pager.free_bulk(&pages[..10]).unwrap();
        let id = pager.alloc_protected().unwrap();
        let mut writer = pager.protected_mut(id).unwrap();
        writer.page_mut().fill(9);
        writer.commit().unwrap();
        assert_eq!(pager.check(), []);

        // Some room again: it goes on.
        let free = if sparse { 0 } else { usize::try_from(pager.free_page_count()).unwrap() };
        fs::remove_file(&ballast).unwrap();
        fs::File::open(folder).unwrap().sync_all().unwrap();
        let more = pager.alloc_bulk(free + 40).unwrap();
        more.iter().for_each(|page| pager.page_mut(*page).unwrap().fill(8));
        assert_eq!(pager.check(), []);
        pager.close().unwrap();
        let pager = options.open::<4096>(path).unwrap();
        let holds = |page: &PageId<4096>, fill: u8| pager.page(*page).unwrap().iter().all(|byte| *byte == fill);
        assert!(pages[10..].iter().all(|page| holds(page, 7)) && more.iter().all(|page| holds(page, 8)));
        assert!(pager.protected(id).unwrap().iter().all(|byte| *byte == 9));
        drop(pager);
        // A file that does not fit is not made.
        let error = PagerOptions::new().create::<{ 1 << 24 }>(folder.join("large")).unwrap_err();
        assert!(error.is_io(), "{error}");
        assert!(!folder.join("large").exists());
        fs::remove_file(path).unwrap();
    }
}
