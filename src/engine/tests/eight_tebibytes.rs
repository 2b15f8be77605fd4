//! Files of up to 2^31 pages, 8 TiB apparent: what they cost to open, to keep open, to commit to, and to allocate from.
//!
//! Times are printed for `docs/benchmarks.md` and not judged: a test that judges time fails on a busy machine. Memory is
//! judged, in a process of its own, which holds nothing else.

use std::fs;
use std::hint::black_box;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Unallocated, options};
use crate::block::{Block, PageKind};
use crate::engine::new_file::NewFile;
use crate::engine::{Engine, EngineOptions, Owned};
use crate::error::Error;
use crate::format::PAGES_PER_LEAF;
use crate::ids::FileId;
use crate::storage::FileStorage;

const PAGES: u64 = 1 << 31;

/// Names the file that a process of its own opens.
const FILE_TO_OPEN: &str = "DIPTYCH_FILE_TO_OPEN";

/// The test that does so.
const MEASURED: &str =
    "engine::tests::eight_tebibytes::opening_takes_memory_in_proportion_to_the_pages_that_were_touched";

fn sparse() -> EngineOptions {
    EngineOptions { sparse: true, growth_limit: 1 << 40, max_file_bytes: PAGES * 4096, ..options() }
}

/// In memory where there is room: 133,000 leaves scattered over 8 TiB take a disk a minute to sync.
fn roomy_directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |memory| memory.f_bavail.saturating_mul(memory.f_frsize));
    if free > 4 << 30 { TempDir::new_in(memory).unwrap() } else { TempDir::new().unwrap() }
}

fn create(path: &Path, pages: u64) -> Engine {
    let new = NewFile::new(4096, FileId::new([7; 16]));
    let storage = FileStorage::create(path, &new.reserved, new.len, true).unwrap();
    let mut engine = Engine::create(Box::new(Unallocated(storage)), &new, sparse()).unwrap();
    engine.grow_to(pages).unwrap();
    engine.zero_pages().insert(engine.physical_pages..pages);
    engine.physical_pages = pages;
    engine
}

fn open(path: &Path) -> Engine {
    Engine::open(Box::new(Unallocated(FileStorage::open(path).unwrap())), 4096, sparse()).unwrap()
}

/// Takes nearly all pages, so that what the leaves and nodes take has room, in one commit.
fn fill(engine: &mut Engine, pages: u64) -> u64 {
    let most = pages - pages / 1000 - 8;
    let mut stage = engine.stage().unwrap();
    let runs = engine.alloc_bulk(&mut stage, most).unwrap();
    assert!(runs.iter().all(|run| run.end <= pages));
    engine.commit(stage).unwrap();
    most
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// A line of `/proc/self/status` in bytes.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).expect("Linux says so");
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Opens a file in a process of its own, which prints times and judges memory.
fn measure_opening(path: &Path) {
    if !cfg!(target_os = "linux") {
        return;
    }
    let program = std::env::current_exe().unwrap();
    let child =
        Command::new(program).args(["--exact", MEASURED, "--nocapture"]).env(FILE_TO_OPEN, path).output().unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stderr));
    said.lines().filter(|line| line.starts_with("opening")).for_each(|line| println!("{line}"));
}

#[test]
fn a_sparse_file_of_eight_tebibytes_is_filled_by_runs_and_reopened() {
    let directory = roomy_directory();
    let path = directory.path().join("large");
    let mut engine = create(&path, PAGES);

    let mut stage = engine.stage().unwrap();
    let too_many = engine.alloc_bulk(&mut stage, PAGES);
    assert!(matches!(too_many, Err(Error::Full { .. })), "{too_many:?}");
    drop(stage);

    // Next to nothing in use at both ends of the full length: what is not touched costs nothing.
    let mut stage = engine.stage().unwrap();
    let first = engine.alloc(&mut stage, 0).unwrap();
    let last = engine.alloc(&mut stage, PAGES - 1).unwrap();
    assert!(last >= PAGES - 1, "{last}");
    engine.staged_mut(&mut stage, Owned::Page(last), true).unwrap()[..3].copy_from_slice(b"end");
    engine.commit(stage).unwrap();
    assert_eq!(engine.live().kind(engine.geometry(), last), PageKind::Regular);
    let touched = fs::metadata(&path).unwrap().blocks() * 512;
    assert!(touched < 1 << 20, "two pages and their leaves take {touched} bytes");

    let most = fill(&mut engine, PAGES);
    assert_eq!(engine.live().counts().regular, most + 2);
    drop(engine);

    measure_opening(&path);
    let mut engine = open(&path);
    assert_eq!(engine.live().counts().regular, most + 2);
    assert_eq!(&engine.page(last).unwrap()[..3], b"end");
    let mut stage = engine.stage().unwrap();
    engine.free(&mut stage, &[first, last]).unwrap();
    engine.commit(stage).unwrap();
    let mut stage = engine.stage().unwrap();
    assert_eq!(engine.alloc(&mut stage, 0).unwrap(), first);
    assert_eq!(engine.alloc(&mut stage, PAGES - 1).unwrap(), last);
}

/// Opens the file that [`FILE_TO_OPEN`] names, or a smaller one of its own; only the process that was made for it is judged.
#[cfg(target_os = "linux")]
#[test]
fn opening_takes_memory_in_proportion_to_the_pages_that_were_touched() {
    let given = std::env::var_os(FILE_TO_OPEN).map(PathBuf::from);
    let directory = TempDir::new().unwrap();
    let path = given.clone().unwrap_or_else(|| {
        let path = directory.path().join("small");
        fill(&mut create(&path, 1 << 22), 1 << 22);
        path
    });

    let before = memory("VmRSS:");
    let begun = Instant::now();
    let engine = open(&path);
    let first = begun.elapsed();
    let (peak, held) = (memory("VmHWM:").saturating_sub(before), memory("VmRSS:").saturating_sub(before));
    let total = engine.live().total_pages();
    let touched = engine.live().free_map.leaves().count() as u64 * PAGES_PER_LEAF;
    drop(engine);
    if given.is_some() {
        let bits = |bytes: u64| bytes as f64 * 8.0 / touched as f64;
        println!("opening takes {:.3} bits of memory a touched page, and {:.3} stay", bits(peak), bits(held));
        assert!(peak <= touched * 22 / 80 + (64 << 20), "{peak} bytes for {touched} pages");
        assert!(held <= touched * 22 / 80 + (1 << 20), "{held} bytes for {touched} pages");
    }

    let opened = |_| {
        let begun = Instant::now();
        let engine = black_box(open(&path));
        let elapsed = begun.elapsed();
        drop(engine);
        elapsed
    };
    println!("opening {total} pages takes {first:?}, later {:?} (median of 5)", median((0..5).map(opened).collect()));
}

/// Commits of one allocation in files of 64 MiB to 8 TiB, in turns, beside the write and the sync of one block.
#[test]
fn a_commit_to_a_file_of_any_size_writes_one_block() {
    const ROUNDS: usize = 200;
    let directory = roomy_directory();
    let mut engines: Vec<Engine> =
        [14, 18, 24, 31].map(|shift| create(&directory.path().join(shift.to_string()), 1 << shift)).into();
    for (engine, shift) in engines.iter_mut().zip([14, 18, 24, 31]) {
        fill(engine, 1 << shift);
    }
    let floor = fs::File::create(directory.path().join("floor")).unwrap();
    let mut times = vec![Vec::new(); engines.len() + 1];
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        floor.write_all_at(&[7; 4096], 0).unwrap();
        floor.sync_data().unwrap();
        times[0].push(begun.elapsed());
        for (engine, times) in engines.iter_mut().zip(&mut times[1..]) {
            let begun = Instant::now();
            let mut stage = engine.stage().unwrap();
            let page = engine.alloc(&mut stage, 0).unwrap();
            engine.commit(stage).unwrap();
            times.push(begun.elapsed());
            // It is freed again by a commit of its own, so that the next one finds it.
            let mut stage = engine.stage().unwrap();
            engine.free(&mut stage, &[page]).unwrap();
            engine.commit(stage).unwrap();
        }
    }
    let [floor, commits @ ..] = &times.into_iter().map(median).collect::<Vec<_>>()[..] else {
        unreachable!("the floor is the first")
    };
    println!("one write and one sync take {floor:?}");
    for (engine, commit) in engines.iter().zip(commits) {
        println!("a commit of one page to a file of {} pages takes {commit:?}", engine.live().total_pages());
    }
}

/// A file of 10^9 pages of which one in a thousand is free, anywhere.
#[test]
fn free_pages_scattered_over_a_large_file_are_all_found() {
    const PAGES: u64 = 1_000_000_000;
    let directory = roomy_directory();
    let path = directory.path().join("scattered");
    let mut engine = create(&path, PAGES);
    let taken = fill(&mut engine, PAGES);
    let mut stage = engine.stage().unwrap();
    // What stood free at the end goes first, so that the holes are all that is free.
    let rest: Vec<u64> =
        std::iter::from_fn(|| (stage.state.free_pages() > 0).then(|| engine.alloc(&mut stage, 0).unwrap())).collect();
    let mut random = 1u64;
    let mut holes: Vec<u64> = (0..PAGES / 1000)
        .map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % PAGES
        })
        .filter(|page| stage.state.kind(engine.geometry(), *page) == PageKind::Regular)
        .collect();
    holes.sort_unstable();
    holes.dedup();
    engine.commit(stage).unwrap();
    let mut stage = engine.stage().unwrap();
    engine.free(&mut stage, &holes).unwrap();
    engine.commit(stage).unwrap();
    assert_eq!(engine.live().counts().regular, taken + rest.len() as u64 - holes.len() as u64);

    let nanos = |elapsed: Duration, pages: u64| elapsed.as_secs_f64() * 1e9 / pages as f64;
    for pages in [10_000, holes.len() as u64] {
        let taken = |_| {
            let mut stage = engine.stage().unwrap();
            let begun = Instant::now();
            let runs = engine.alloc_bulk(&mut stage, pages).unwrap();
            let elapsed = begun.elapsed();
            assert!(runs.pages().eq(holes[..usize::try_from(pages).unwrap()].iter().copied()));
            elapsed
        };
        let elapsed = median((0..5).map(taken).collect());
        println!("{pages} pages of 10^9 at once, 99.9 % full: {:.1} ns a page", nanos(elapsed, pages));
    }
    let mut stage = engine.stage().unwrap();
    let begun = Instant::now();
    for page in &holes[..10_000] {
        assert_eq!(engine.alloc(&mut stage, 0).unwrap(), *page);
    }
    println!("one page of 10^9 at a time, 99.9 % full: {:.1} ns a page", nanos(begun.elapsed(), 10_000));
    drop(stage);
    drop(engine);
    println!("{} holes in 10^9 pages, no two leaves alike:", holes.len());
    measure_opening(&path);
    let engine = open(&path);
    assert_eq!(engine.live().free_pages(), holes.len() as u64);
}

#[test]
fn leaves_that_are_read_by_several_threads_are_what_was_written_and_the_first_bad_one_is_named() {
    const PAGES: u64 = 1200 * PAGES_PER_LEAF;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("pages");
    let mut engine = create(&path, PAGES);
    fill(&mut engine, PAGES);
    // Holes, so that a leaf differs from those beside it, and from every other one.
    let mut stage = engine.stage().unwrap();
    let holes: Vec<u64> = (0..1190).step_by(3).map(|leaf| leaf * PAGES_PER_LEAF + 100 + leaf).collect();
    engine.free(&mut stage, &holes).unwrap();
    engine.commit(stage).unwrap();
    let written = engine.live().clone();
    drop(engine);

    let engine = open(&path);
    assert!(
        engine
            .live()
            .free_map
            .leaves()
            .map(|(index, leaf)| (index, leaf.bits()))
            .eq(written.free_map.leaves().map(|(index, leaf)| (index, leaf.bits())))
    );
    assert_eq!(engine.check(), []);
    drop(engine);

    let file = fs::File::options().write(true).open(&path).unwrap();
    // None of them is of the newest commit, whose leaves may be missing: then the one before would stand.
    for bad in [1100, 700, 4] {
        let entry = written.leaf_table.get(bad);
        file.write_all_at(&[0xa5; 4096], entry.live_page() * 4096).unwrap();
        let opened = Engine::open(Box::new(Unallocated(FileStorage::open(&path).unwrap())), 4096, sparse());
        let expected = Block::FreeMapLeaf { index: bad };
        assert!(matches!(opened, Err(Error::Corrupt { block, .. }) if block == expected), "{opened:?}");
    }
}
