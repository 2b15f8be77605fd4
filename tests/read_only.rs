//! A pager that only reads: it shows what a pager shows, beside others of its kind, and changes nothing.

use std::collections::HashSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crashlab::interrupted::{Interrupted, Left, Share, each_recovery_state};
use crashlab::lab::{Lab, Start};
use crashlab::operation::Operation;
use crashlab::read_only::verify_read_only;
use crashlab::verify::reported;
use crashlab::workload::{DURABILITIES, each_operation};
use diptych::{
    CallKind, CrashOptions, Durability, Error, FaultPlan, PageId, Pager, PagerOptions, ProtectedPageId, ReadHandle,
    ReadOnlyPager, SimDisk, Verification,
};
use tempfile::TempDir;

const P: usize = 4096;

/// Counts what was looked at, so that a test can tell that it looked at something.
#[derive(Debug, Default)]
struct Tally {
    images: usize,
    clean: usize,
    adopted: usize,
    voided: usize,
    tails: usize,
}

impl Tally {
    fn look<const P: usize>(&mut self, options: &PagerOptions, left: &Left<'_>) {
        let found = reported(left.point(), || verify_read_only::<P>(options, &left.image));
        let found = found.expect("what a crash leaves opens");
        self.images += 1;
        self.clean += usize::from(found.is_clean());
        self.adopted += usize::from(found.adopted);
        self.voided += usize::from(!found.voided.is_empty());
        self.tails += usize::from(found.tail_bytes > 0);
    }
}

/// Opens every state that a power cut during an operation leaves, and a share of those that one during recovery leaves.
fn crash<const P: usize>(
    durability: Durability,
    start: Start,
    operation: &Operation,
    seen: &mut HashSet<u64>,
    tally: &mut Tally,
) {
    let options = PagerOptions::new().durability(durability);
    let crash = CrashOptions::new().sample_limit(20).exhaustive_limit(4).page_size(P as u64);
    let mut lab = Lab::<P>::start_with(options.clone(), start);
    let before = lab.model.clone();
    let first = lab.disk.epoch_count() - 1;
    lab.run(operation).expect("nothing fails");
    let interrupted = Interrupted::operation(&lab.disk, first, &before, &lab.model);
    let _ = interrupted.each_state::<()>(&crash, Share::ALL, seen, |left| {
        tally.look::<P>(&options, left);
        if tally.images % 16 == 1 {
            let _ = each_recovery_state::<P, ()>(left, 1, 8, &mut |deeper| {
                tally.look::<P>(&options, deeper);
                ControlFlow::Continue(())
            });
        }
        ControlFlow::Continue(())
    });
}

fn crash_each_operation<const P: usize>() {
    let mut tally = Tally::default();
    for durability in DURABILITIES {
        let mut seen = HashSet::new();
        for start in Start::ALL {
            for operation in each_operation() {
                crash::<P>(durability, start, &operation, &mut seen, &mut tally);
            }
        }
    }
    println!("pages of {P} bytes: {tally:?}");
    let Tally { images, clean, adopted, voided, tails } = tally;
    assert!(images > 1000 && [clean, adopted, voided, tails].into_iter().all(|count| count > 20), "{tally:?}");
}

#[test]
fn of_every_crash_it_shows_what_a_pager_shows_and_changes_nothing_with_pages_of_1_kib() {
    crash_each_operation::<1024>();
}

#[test]
fn of_every_crash_it_shows_what_a_pager_shows_and_changes_nothing_with_pages_of_4_kib() {
    crash_each_operation::<4096>();
}

/// A file with pages of both kinds and commits on top of its metadata, not sealed.
fn file() -> (TempDir, PathBuf, PageId<P>, ProtectedPageId<P>) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    let mut pager = Pager::<P>::create(&path).unwrap();
    let regular = pager.alloc_bulk(40).unwrap()[7];
    let protected = pager.alloc_protected_bulk(3).unwrap()[1];
    pager.page_mut(regular).unwrap().fill(0x21);
    let mut tx = pager.transaction().unwrap();
    tx.protected_mut(protected).unwrap().fill(0x22);
    tx.set_header(b"root").unwrap();
    tx.commit().unwrap();
    drop(pager);
    (directory, path, regular, protected)
}

/// The byte that a page is filled with, by whoever can read it.
fn fill_of<H: ReadHandle<R, Error = Error, Page = diptych::MappedPage<P>>, R>(id: H, from: &R) -> u8 {
    let page = id.get(from).unwrap();
    assert!(page.iter().all(|byte| *byte == page[0]));
    page[0]
}

#[test]
fn generic_code_reads_it_as_it_reads_a_pager_on_several_threads() {
    let (_directory, path, regular, protected) = file();
    let pager = ReadOnlyPager::<P>::open(&path).unwrap();
    assert_eq!(pager.header()[..4], *b"root");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!((fill_of(regular, &pager), fill_of(protected, &pager)), (0x21, 0x22)));
        }
    });
    assert!(format!("{pager:?}").starts_with("ReadOnlyPager(PageReader {"), "{pager:?}");
    pager.prefetch([regular]);
    pager.drop_from_memory(..);
    assert_eq!((fill_of(regular, &pager), pager.check()), (0x21, vec![]));
}

#[test]
fn readers_share_the_file_and_keep_writers_out_and_the_other_way_round() {
    let (_directory, path, ..) = file();
    let readers: Vec<_> = (0..5).map(|_| ReadOnlyPager::<P>::open(&path).unwrap()).collect();
    for reader in readers {
        assert!(matches!(Pager::<P>::open(&path), Err(Error::Locked { .. })));
        drop(reader);
    }
    let pager = Pager::<P>::open(&path).unwrap();
    for _ in 0..2 {
        assert!(matches!(ReadOnlyPager::<P>::open(&path), Err(Error::Locked { path: named }) if named == path));
    }
    drop(pager);
    ReadOnlyPager::<P>::open(&path).unwrap();
}

#[test]
fn a_simulated_disk_is_shared_by_readers_and_by_no_writer() {
    let disk = SimDisk::new();
    let options = PagerOptions::new();
    let pager = options.create_on::<P>(&disk).unwrap();
    assert!(matches!(options.open_read_only_on::<P>(&disk), Err(Error::Locked { .. })));
    pager.close().unwrap();
    let [one, two] = [(); 2].map(|()| options.open_read_only_on::<P>(&disk).unwrap());
    for reader in [one, two] {
        assert!(disk.is_attached());
        assert!(matches!(options.open_on::<P>(&disk), Err(Error::Locked { .. })));
        drop(reader);
    }
    assert!(!disk.is_attached());
    options.open_on::<P>(&disk).unwrap();
}

#[cfg(unix)]
fn state_of(path: &Path) -> (Vec<u8>, [i64; 4]) {
    use std::os::unix::fs::MetadataExt;
    let of = fs::metadata(path).unwrap();
    (fs::read(path).unwrap(), [of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()])
}

#[test]
#[cfg(unix)]
fn a_file_that_nobody_may_write_is_read_and_neither_its_bytes_nor_its_times_change() {
    use std::os::unix::fs::PermissionsExt;
    let (directory, path, regular, protected) = file();
    let set_mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    // A tail, which belongs to whoever writes.
    let len = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len + 5000).unwrap();
    set_mode(&path, 0o444);
    set_mode(directory.path(), 0o555);
    let before = state_of(&path);
    for verification in [Verification::FirstTouch, Verification::Always, Verification::Never] {
        let options = PagerOptions::new().verification(verification);
        let pager = options.open_read_only::<P>(&path).unwrap();
        assert_eq!((fill_of(regular, &pager), fill_of(protected, &pager)), (0x21, 0x22));
        assert_eq!((pager.recovery().tail_bytes, pager.recovery().durable), (5000, false));
        assert_eq!(pager.check(), []);
        if cfg!(target_os = "linux") {
            let maps = fs::read_to_string("/proc/self/maps").unwrap();
            let of_file: Vec<_> = maps.lines().filter(|map| map.ends_with(path.to_str().unwrap())).collect();
            assert!(of_file.len() == 1 && of_file[0].contains(" r--s "), "{of_file:?}");
        }
        drop(pager);
        assert!(state_of(&path) == before, "the file is changed");
    }
    set_mode(directory.path(), 0o755);
}

#[test]
fn a_failing_read_is_an_error_and_opening_works_afterwards() {
    let lab = Lab::<P>::start(Start::HalfFull);
    let image = lab.disk.cached_image();
    let options = PagerOptions::new();
    let disk = SimDisk::from_image(image.clone());
    drop(options.open_read_only_on::<P>(&disk).unwrap());
    let mut refused = 0;
    for (kind, count) in [(CallKind::Lock, 1), (CallKind::Read, disk.calls(CallKind::Read)), (CallKind::Map, 1)] {
        for nth in 1..=count {
            let disk = SimDisk::from_image(image.clone());
            disk.fail(FaultPlan::nth(kind, nth));
            refused += usize::from(options.open_read_only_on::<P>(&disk).is_err_and(|error| error.is_io()));
            disk.clear_faults();
            assert_eq!(options.open_read_only_on::<P>(&disk).unwrap().check(), []);
        }
    }
    assert!(refused >= 2, "{refused}");
}

#[test]
fn a_snapshot_of_a_file_that_needs_recovery_is_whole_and_the_file_stays_as_it_is() {
    let (_directory, path, regular, protected) = file();
    // The newest slot is lost, as a power cut loses it; what it names was not.
    let mut bytes = fs::read(&path).unwrap();
    let options = PagerOptions::new();
    let clean = options.open_read_only::<P>(&path).unwrap().generation();
    let torn = (1..3).find_map(|slot| {
        let mut torn = bytes.clone();
        torn[slot * 4096 + 100] ^= 1;
        fs::write(&path, &torn).unwrap();
        let opened = ReadOnlyPager::<P>::open(&path);
        opened.ok().filter(|pager| pager.recovery().voided.len() == 1).map(|_| torn)
    });
    bytes = torn.expect("one of the slots is not the newest");
    fs::write(&path, &bytes).unwrap();
    let pager = ReadOnlyPager::<P>::open(&path).unwrap();
    assert!(!pager.recovery().is_clean() && pager.generation() <= clean);
    let copy = path.with_extension("copy");
    let snapshot = pager.snapshot_to(&copy).unwrap();
    assert_eq!(snapshot.generation, pager.generation());
    let copied = Pager::<P>::open(&copy).unwrap();
    assert!(copied.recovery().is_clean());
    assert_eq!(
        (fill_of(regular, &copied), fill_of(protected, &copied)),
        (fill_of(regular, &pager), fill_of(protected, &pager))
    );
    drop(pager);
    assert!(fs::read(&path).unwrap() == bytes, "reading changes bytes");
}
