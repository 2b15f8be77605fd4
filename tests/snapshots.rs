//! Copies of files that are open: what they hold, what they cost, and what is refused.

#![cfg(unix)]

#[path = "processes/second_process.rs"]
mod second_process;
#[path = "processes/small_disk.rs"]
mod small_disk;

use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use diptych::{CallKind, Durability, Error, FaultPlan, PageId, Pager, PagerOptions, SimDisk, SnapshotOptions};
use tempfile::TempDir;

use second_process::{file_of_second_process, start_again};
use small_disk::run_on_small_disk;

/// A file with pages of both kinds, stores that were not synced, and commits on top of its metadata.
fn source<const P: usize>(path: &Path) -> Pager<P> {
    let mut pager = Pager::<P>::create(path).unwrap();
    let protected = pager.alloc_protected_bulk(3).unwrap();
    let regular = pager.alloc_bulk(40).unwrap();
    let mut tx = pager.transaction().unwrap();
    tx.protected_mut(protected[1]).unwrap().fill(0x21);
    tx.free(regular[7]).unwrap();
    tx.set_header(b"root").unwrap();
    tx.commit().unwrap();
    for (id, fill) in regular.iter().zip(1..).filter(|(id, _)| **id != regular[7]) {
        pager.page_mut(*id).unwrap().fill(fill);
    }
    pager
}

/// Every page of both pagers.
#[track_caller]
fn assert_equal<const P: usize>(one: &Pager<P>, two: &Pager<P>) {
    assert_eq!((one.generation(), one.file_id(), one.header()), (two.generation(), two.file_id(), two.header()));
    assert_eq!((one.page_count(), one.free_page_count()), (two.page_count(), two.free_page_count()));
    assert!(one.iter_allocated_pages().eq(two.iter_allocated_pages()));
    assert!(one.iter_allocated_protected_pages().eq(two.iter_allocated_protected_pages()));
    for id in one.iter_allocated_pages() {
        assert!(id.get(one).unwrap() == id.get(two).unwrap(), "{id}");
    }
    for id in one.iter_allocated_protected_pages() {
        assert!(id.get(one).unwrap() == id.get(two).unwrap(), "{id}");
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn each_page_size(check: impl Fn(&TempDir, PageSize)) {
    for size in [PageSize::Small, PageSize::Block, PageSize::Large] {
        check(&TempDir::new().unwrap(), size);
    }
}

#[derive(Clone, Copy)]
enum PageSize {
    Small,
    Block,
    Large,
}

fn copies_live_apart<const P: usize>(directory: &TempDir) {
    let [path, copy] = ["file", "copy"].map(|name| directory.path().join(name));
    let mut pager = source::<P>(&path);
    let snapshot = pager.snapshot_to(&copy).unwrap();
    assert!(snapshot.written > 20_480);
    let mut opened = Pager::<P>::open(&copy).unwrap();
    assert!(opened.recovery().voided.is_empty() && !opened.recovery().adopted && opened.recovery().tail_bytes == 0);
    assert_eq!(opened.check(), []);
    assert_equal(&pager, &opened);

    // Each goes on by itself.
    let first = opened.iter_allocated_pages().next().unwrap();
    opened.page_mut(first).unwrap().fill(0xee);
    let more = opened.alloc_bulk(100).unwrap();
    more.iter().for_each(|id| opened.page_mut(*id).unwrap().fill(0xdd));
    let root = opened.iter_allocated_protected_pages().next().unwrap();
    let mut writer = opened.protected_mut(root).unwrap();
    writer.page_mut().fill(0xcc);
    writer.commit().unwrap();
    assert_eq!(first.get(&pager).unwrap()[0], 1);
    assert_eq!(root.get(&pager).unwrap()[0], 0);
    pager.free(first).unwrap();
    opened.close().unwrap();
    pager.close().unwrap();
    let opened = Pager::<P>::open(&copy).unwrap();
    assert_eq!((opened.check(), first.get(&opened).unwrap()[P - 1]), (vec![], 0xee));
    assert!(more.iter().all(|id| id.get(&opened).unwrap()[P - 1] == 0xdd));
    assert_eq!(root.get(&opened).unwrap()[P - 1], 0xcc);
    assert_eq!(Pager::<P>::open(&path).unwrap().check(), []);
}

#[test]
fn a_copy_shows_what_a_read_shows_and_goes_on_by_itself() {
    each_page_size(|directory, size| match size {
        PageSize::Small => copies_live_apart::<1024>(directory),
        PageSize::Block => copies_live_apart::<4096>(directory),
        PageSize::Large => copies_live_apart::<65536>(directory),
    });
}

#[test]
fn a_copy_of_a_copy_is_the_same_and_so_is_one_of_a_new_file() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    for (name, pager) in [("new", Pager::<4096>::create(at("new")).unwrap()), ("used", source(&at("used")))] {
        let (first, second) = (at(&format!("{name}-1")), at(&format!("{name}-2")));
        pager.snapshot_to(&first).unwrap();
        let copy = Pager::<4096>::open(&first).unwrap();
        copy.snapshot_to(&second).unwrap();
        assert_equal(&pager, &copy);
        assert_equal(&pager, &Pager::<4096>::open(&second).unwrap());
    }
}

#[test]
fn pagers_on_simulated_disks_and_on_files_are_copied_to_either() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    let pager = source::<4096>(&path);
    let (disk, other) = (SimDisk::new(), SimDisk::new());
    pager.snapshot_on(&disk).unwrap();
    let mut simulated = PagerOptions::new().open_on::<4096>(&disk).unwrap();
    assert_equal(&pager, &simulated);
    let id = simulated.iter_allocated_pages().next().unwrap();
    // No call of the disk has seen this store yet.
    simulated.page_mut(id).unwrap().fill(0xab);
    simulated.snapshot_on(&other).unwrap();
    assert_equal(&simulated, &PagerOptions::new().open_on(&other).unwrap());
    simulated.snapshot_to(directory.path().join("copy")).unwrap();
    assert_equal(&simulated, &Pager::open(directory.path().join("copy")).unwrap());
}

#[test]
fn an_existing_name_is_refused_and_left_untouched_be_it_the_source() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    let pager = source::<4096>(&at("file"));
    fs::write(at("other"), b"mine").unwrap();
    fs::create_dir(at("directory")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
    std::os::unix::fs::symlink("file", at("alias")).unwrap();
    let before = (names(directory.path()), fs::read(at("file")).unwrap());
    for name in ["file", "other", "directory", "link", "alias", ".."] {
        match pager.snapshot_to(at(name)).unwrap_err() {
            Error::Io { op: "snapshot to", path, source } => {
                assert_eq!((path, source.kind()), (at(name), io::ErrorKind::AlreadyExists));
            }
            other => panic!("{name}: {other}"),
        }
    }
    assert_eq!((names(directory.path()), fs::read(at("file")).unwrap()), before);
    assert_eq!(fs::read(at("other")).unwrap(), b"mine");
    let missing = pager.snapshot_to(at("missing/copy")).unwrap_err();
    assert!(matches!(&missing, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound), "{missing}");

    let disk = SimDisk::new();
    let simulated = PagerOptions::new().create_on::<4096>(&disk).unwrap();
    let onto_itself = simulated.snapshot_on(&disk).unwrap_err();
    assert!(matches!(&onto_itself, Error::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists));
}

#[test]
fn a_name_that_is_taken_while_the_copy_is_written_is_not_replaced() {
    let directory = TempDir::new().unwrap();
    let (path, copy) = (directory.path().join("file"), directory.path().join("copy"));
    let pager = source::<4096>(&path);
    let refused = pager.snapshot_with(&copy, &SnapshotOptions::new(), |_| {
        fs::write(&copy, b"mine").unwrap();
        ControlFlow::Continue(())
    });
    assert!(matches!(&refused, Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists));
    assert_eq!(
        (fs::read(&copy).unwrap(), names(directory.path())),
        (b"mine".to_vec(), vec!["copy".into(), "file".into()])
    );
}

#[test]
fn progress_runs_from_nothing_to_all_and_may_stop_anywhere() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut pager = source::<4096>(&at("file"));
    pager.alloc_bulk(1000).unwrap();
    let options = SnapshotOptions::new().share_space(false);
    let mut seen = Vec::new();
    let snapshot = pager.snapshot_with(at("copy"), &options, |progress| {
        assert!(!at("copy").exists(), "it has no name before it is whole");
        seen.push((progress.written, progress.total));
        ControlFlow::Continue(())
    });
    let snapshot = snapshot.unwrap();
    assert!(seen.len() > 10 && seen.windows(2).all(|pair| pair[0].0 < pair[1].0), "{seen:?}");
    assert_eq!((seen[0].0, seen.last().copied()), (0, Some((snapshot.written, snapshot.written))));
    for calls in 1..=seen.len() {
        let mut left = calls;
        let stopped = pager.snapshot_with(at("stopped"), &options, |_| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(stopped, Err(Error::SnapshotStopped)), "{stopped:?}");
        assert_eq!(names(directory.path()), ["copy", "file"]);
    }
}

#[test]
fn a_poisoned_pager_has_no_state_to_copy() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<4096>(&disk).unwrap();
    let id = pager.alloc().unwrap();
    pager.page_mut(id).unwrap().fill(1);
    disk.fail(FaultPlan::nth(CallKind::Barrier, 1));
    pager.sync().unwrap_err();
    let copy = SimDisk::new();
    assert!(matches!(pager.snapshot_on(&copy), Err(Error::Poisoned)));
    assert!(copy.cached_image().is_empty());
}

#[test]
fn damage_to_what_the_engine_keeps_is_an_error_and_to_a_protected_page_is_copied() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<4096>(&disk).unwrap();
    let id = pager.alloc_protected().unwrap();
    let mut writer = pager.protected_mut(id).unwrap();
    writer.page_mut().fill(7);
    writer.commit().unwrap();
    pager.close().unwrap();
    let image = disk.durable_image();
    let bytes = image.to_vec();
    let page = bytes.chunks(4096).position(|page| page.iter().all(|byte| *byte == 7)).unwrap() as u64;
    let mut rotten = image.clone();
    rotten.flip_bit(page * 4096, 0);
    // The other copy of the page is the one that was written first.
    let pager = PagerOptions::new().open_on::<4096>(&SimDisk::from_image(rotten)).unwrap();
    let copy = SimDisk::new();
    pager.snapshot_on(&copy).unwrap();
    let copied = PagerOptions::new().open_on::<4096>(&copy).unwrap();
    assert_eq!((pager.check().len(), copied.check().len()), (1, 1));
    assert!(id.get(&copied).unwrap_err().is_corruption());

    // A leaf of the free map that rots while the file is open.
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    let mut pager = Pager::<4096>::create(&path).unwrap();
    pager.alloc_bulk(5).unwrap();
    pager.close().unwrap();
    let pager = Pager::<4096>::open(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    for leaf in [5, 6] {
        bytes[leaf * 4096 + 2000] ^= 1;
    }
    fs::write(directory.path().join("rotten"), &bytes).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes[5 * 4096..7 * 4096], 5 * 4096).unwrap();
    let refused = pager.snapshot_to(directory.path().join("copy")).unwrap_err();
    assert!(refused.is_corruption(), "{refused}");
    assert_eq!(names(directory.path()), ["file", "rotten"]);
}

#[test]
fn what_nobody_owns_stays_a_hole_and_a_file_nearly_full_has_none() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    let options = SnapshotOptions::new().share_space(false);
    let mut pager = Pager::<4096>::create(at("file")).unwrap();
    let ids = pager.alloc_bulk(4000).unwrap();
    ids.iter().for_each(|id| pager.page_mut(*id).unwrap().fill(1));
    pager.free_bulk(&ids[100..3900]).unwrap();
    let copy = |pager: &Pager<4096>, name: &str| {
        let snapshot = pager.snapshot_with(at(name), &options, |_| ControlFlow::Continue(())).unwrap();
        let found = fs::metadata(at(name)).unwrap();
        assert_eq!(found.len(), pager.page_count() * 4096);
        (snapshot.written, found.blocks() * 512, found.len())
    };
    let (written, allocated, len) = copy(&pager, "mostly-free");
    assert!(written < 2 << 20 && allocated < 2 << 20 && len > 15 << 20, "{written} {allocated} {len}");
    // Pages of holes are handed out with space behind them.
    let mut opened = Pager::<4096>::open(at("mostly-free")).unwrap();
    let more = opened.alloc_bulk(2000).unwrap();
    assert!(fs::metadata(at("mostly-free")).unwrap().blocks() * 512 > 2000 * 4096);
    more.iter().for_each(|id| opened.page_mut(*id).unwrap().fill(2));
    opened.close().unwrap();

    while pager.free_page_count() > 0 {
        pager.alloc_bulk(usize::try_from(pager.free_page_count()).unwrap()).unwrap();
    }
    let last = pager.iter_allocated_pages().last().unwrap();
    pager.free(last).unwrap();
    let (_, allocated, len) = copy(&pager, "nearly-full");
    assert!(allocated >= len, "{allocated} {len}");
}

#[test]
fn a_full_disk_is_an_error_and_nothing_stands_under_the_name() {
    let (disk, copy) = (SimDisk::new(), SimDisk::new());
    let mut pager = PagerOptions::new().create_on::<4096>(&disk).unwrap();
    pager.alloc_bulk(300).unwrap();
    copy.set_space_limit(Some(200 * 4096));
    let full = pager.snapshot_on(&copy).unwrap_err();
    assert!(matches!(&full, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull), "{full}");
    assert!(copy.cached_image().is_empty());
    copy.set_space_limit(None);
    pager.snapshot_on(&copy).unwrap();
    assert_eq!(pager.check(), []);
}

/// A source that leaves no room for a copy of itself.
fn snapshot_onto_a_full_disk(path: &Path) {
    let folder = path.parent().unwrap();
    let mut pager = Pager::<4096>::create(path).unwrap();
    while let Ok(ids) = pager.alloc_bulk(100) {
        ids.iter().for_each(|id| pager.page_mut(*id).unwrap().fill(7));
    }
    assert!(pager.allocated_page_count() >= 100);
    pager.sync().unwrap();
    let options = SnapshotOptions::new().share_space(false);
    let full = pager.snapshot_with(folder.join("copy"), &options, |_| ControlFlow::Continue(())).unwrap_err();
    assert!(
        matches!(&full, Error::Io { op: "snapshot to", source, .. } if source.kind() == io::ErrorKind::StorageFull),
        "{full}"
    );
    assert!(!names(folder).iter().any(|name| name.contains("copy") || name.starts_with(".diptych")));
    assert_eq!(pager.check(), []);
    assert!(pager.iter_allocated_pages().all(|id| id.get(&pager).unwrap()[4095] == 7));
    pager.close().unwrap();
}

#[test]
fn a_snapshot_onto_a_full_tmpfs_is_a_clean_error() {
    match file_of_second_process() {
        Some(path) => snapshot_onto_a_full_disk(&path),
        None => run_on_small_disk(
            "a_snapshot_onto_a_full_tmpfs_is_a_clean_error",
            "a snapshot onto a full tmpfs",
            "mount -t tmpfs -o size=1024k tmpfs /mnt/small",
        ),
    }
}

#[test]
fn a_snapshot_onto_a_full_ext4_is_a_clean_error() {
    match file_of_second_process() {
        Some(path) => snapshot_onto_a_full_disk(&path),
        None => run_on_small_disk(
            "a_snapshot_onto_a_full_ext4_is_a_clean_error",
            "a snapshot onto a full ext4",
            "truncate -s 8M /mnt/image && mkfs.ext4 -q -m 0 /mnt/image && mount -t ext4 -o loop /mnt/image /mnt/small",
        ),
    }
}

#[test]
fn a_snapshot_shares_the_space_of_its_source_where_the_filesystem_can() {
    let Some(path) = file_of_second_process() else {
        return run_on_small_disk(
            "a_snapshot_shares_the_space_of_its_source_where_the_filesystem_can",
            "a snapshot that shares space",
            "truncate -s 320M /mnt/image && mkfs.xfs -q -m reflink=1 /mnt/image && mount -t xfs -o loop /mnt/image /mnt/small",
        );
    };
    let at = |name: &str| path.with_file_name(name);
    let mut pager = source::<4096>(&path);
    let ids = pager.alloc_bulk(10_000).unwrap();
    ids.iter().for_each(|id| pager.page_mut(*id).unwrap().fill(3));
    // A tail that no commit has used.
    let mut tx = pager.transaction().unwrap();
    tx.alloc_bulk(5_000).unwrap();
    drop(tx);
    let available = || rustix::fs::statvfs(path.parent().unwrap()).map(|it| it.f_bavail * it.f_frsize).unwrap();
    pager.sync().unwrap();
    let before = available();
    let snapshot = pager.snapshot_to(at("copy")).unwrap();
    assert!(snapshot.shared && snapshot.written < 1 << 20, "{snapshot:?}");
    assert!(before - available() < 8 << 20, "{before} bytes were available, now {}", available());
    assert_eq!(fs::metadata(at("copy")).unwrap().len(), pager.page_count() * 4096);
    // What is stored now is not in the copy.
    pager.page_mut(ids[5]).unwrap().fill(4);
    pager.free_bulk(&ids[100..200]).unwrap();
    let copy = Pager::<4096>::open(at("copy")).unwrap();
    assert_eq!(copy.check(), []);
    assert!(ids.iter().all(|id| id.get(&copy).unwrap()[4095] == 3));
    pager.sync().unwrap();
    drop(copy);

    let options = SnapshotOptions::new().share_space(false);
    let copied = pager.snapshot_with(at("apart"), &options, |_| ControlFlow::Continue(())).unwrap();
    assert!(!copied.shared && copied.written > 9_000 * 4096, "{copied:?}");
    assert_equal(&pager, &Pager::open(at("apart")).unwrap());
}

#[test]
fn a_killed_process_leaves_no_half_copy() {
    const TEST: &str = "a_killed_process_leaves_no_half_copy";
    if let Some(path) = file_of_second_process() {
        let mut pager = Pager::<4096>::open(&path).unwrap();
        for number in 0u32.. {
            let id = pager.iter_allocated_pages().next().unwrap();
            pager.page_mut(id).unwrap()[..4].copy_from_slice(&number.to_le_bytes());
            let options = SnapshotOptions::new().share_space(false);
            let name = path.with_file_name(format!("copy-{number}"));
            pager.snapshot_with(name, &options, |_| ControlFlow::Continue(())).unwrap();
        }
    }
    let mut copies = 0;
    for round in 0..8 {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("file");
        let mut pager = source::<4096>(&path);
        pager.alloc_bulk(500).unwrap();
        pager.close().unwrap();
        let mut child = start_again(TEST, &path, "");
        thread::sleep(Duration::from_millis(60 + 37 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        for name in names(directory.path()).iter().filter_map(|name| name.strip_prefix("copy-")) {
            let copy = Pager::<4096>::open(directory.path().join(format!("copy-{name}"))).unwrap();
            let id: PageId<4096> = copy.iter_allocated_pages().next().unwrap();
            assert_eq!(id.get(&copy).unwrap()[..4], name.parse::<u32>().unwrap().to_le_bytes());
            assert_eq!((copy.check(), copy.allocated_page_count()), (vec![], 539));
            copies += 1;
        }
    }
    assert!(copies > 0);
}

#[test]
fn a_snapshot_holds_the_commits_that_wait() {
    let directory = TempDir::new().unwrap();
    for share in [true, false] {
        let [path, copy] = ["source", "copy"].map(|name| directory.path().join(format!("{name} {share}")));
        let mut pager = source::<4096>(&path);
        let protected = pager.iter_allocated_protected_pages().next().unwrap();
        let mut tx = pager.transaction().unwrap();
        tx.set_durability(Durability::None);
        tx.protected_mut(protected).unwrap().fill(0x77);
        let fresh = tx.alloc().unwrap();
        tx.page_mut(fresh).unwrap().fill(0x78);
        tx.commit().unwrap();
        let options = SnapshotOptions::new().share_space(share);
        pager.snapshot_with(&copy, &options, |_| ControlFlow::Continue(())).unwrap();
        assert!(pager.durable_generation() < pager.generation(), "they still wait");
        let opened = Pager::open(&copy).unwrap();
        assert_equal(&pager, &opened);
        assert_eq!(opened.protected(protected).unwrap()[4095], 0x77);
        assert_eq!(opened.check(), []);
    }
}
