//! What the layer costs: access beside a raw map, and everything durable beside the disk's own floor.
//!
//! What is durable costs what the disk's syncs cost, and that changes from machine to machine and from second to second. So each
//! call of such a benchmark is preceded by the *floor*, which is not counted: one `pwrite` of 4 KiB and one `fdatasync`, on
//! a file in the same folder. Behind the lines of Criterion a line gives the medians of both and their ratio, and the ratio
//! is what a change can be judged by. The files lie in the folder that `DIPTYCH_BENCH_DIR` names, else in the build's
//! own temporary folder.

use std::env;
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, criterion_group, criterion_main};
use diptych::{PageId, Pager, ProtectedPageId};
use memmap2::Mmap;
use tempfile::TempDir;

const PAGE_LEN: usize = 4096;
const FILE_PAGES: usize = (64 << 20) / PAGE_LEN;

/// Pages of the file that are not the application's: far more than the engine takes of 64 MiB.
const ENGINE_PAGES: usize = 64;

/// Protected pages have two copies, so these fill the file as well.
const PROTECTED_PAGES: usize = 8000;

/// How many pages a benchmark allocates before it frees them all, or the other way round, which is not counted.
const ROUND: usize = 256;

fn folder() -> TempDir {
    let parent = env::var_os("DIPTYCH_BENCH_DIR").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    tempfile::tempdir_in(parent).expect("the folder of the benchmarks can be written to")
}

/// A file of 64 MiB that is on the disk and in the page cache.
fn filled_file(path: &Path) -> File {
    let mut file = File::options().read(true).write(true).create_new(true).open(path).expect("a new file");
    (0..FILE_PAGES).for_each(|_| file.write_all(&[0x5a; PAGE_LEN]).expect("room for 64 MiB"));
    file.sync_all().expect("a disk that syncs");
    file
}

/// What a program would use that needs none of what the pager does.
#[expect(unsafe_code, reason = "a raw map of a file is what access is compared with")]
fn raw_map(file: &File) -> Mmap {
    // SAFETY: the file does not change while it is mapped: it lies in a new folder of this process that is named at random,
    // and this process writes nothing to it from here on.
    unsafe { Mmap::map(file) }.expect("64 MiB of addresses")
}

fn create(folder: &TempDir) -> Pager<PAGE_LEN> {
    Pager::create(folder.path().join("bench.db")).expect("a new file")
}

/// Numbers that lead all over the file, the same in each run: the generator of Marsaglia's "Xorshift RNGs" (2003).
struct Random(u64);

impl Random {
    fn new() -> Self {
        Random(0x9e37_79b9_7f4a_7c15)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (end as u64)).expect("less than a length")
    }

    /// So many of `items` that no prefetcher learns them, any number of times each.
    fn sequence<T: Copy>(&mut self, items: &[T]) -> Vec<T> {
        (0..1 << 16).map(|_| items[self.below(items.len())]).collect()
    }

    /// `count` of `items`, each once.
    fn choose<T: Copy>(&mut self, items: &mut [T], count: usize) -> Vec<T> {
        for at in 0..count {
            let other = at + self.below(items.len() - at);
            items.swap(at, other);
        }
        items[..count].to_vec()
    }
}

/// The first eight bytes of a page.
fn first_word(page: &[u8]) -> u64 {
    page.first_chunk().copied().map_or(0, u64::from_le_bytes)
}

fn for_memory(group: &mut BenchmarkGroup<'_, WallTime>) {
    group.sample_size(30).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
}

fn for_disk(group: &mut BenchmarkGroup<'_, WallTime>) {
    group.sampling_mode(SamplingMode::Flat).sample_size(30);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
}

/// The least that anything durable costs.
struct Floor {
    file: File,
    random: Random,
    round: u64,
}

impl Floor {
    fn new(path: &Path) -> Self {
        Floor { file: filled_file(path), random: Random::new(), round: 0 }
    }

    fn once(&mut self) -> Duration {
        let mut page = [0x5a; PAGE_LEN];
        self.round += 1;
        page[..8].copy_from_slice(&self.round.to_le_bytes());
        let offset = (self.random.below(FILE_PAGES) * PAGE_LEN) as u64;
        timed(|| write_at(&self.file, &page, offset).and_then(|()| self.file.sync_data()).expect("a disk that syncs"))
    }
}

fn timed<T>(operation: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    black_box(operation());
    start.elapsed()
}

/// Measures what `operation` says that it took, beside the floor just before it.
fn beside_the_floor(
    group: &mut BenchmarkGroup<'_, WallTime>,
    floor: &mut Floor,
    name: &str,
    mut operation: impl FnMut() -> Duration,
) {
    let (mut times, mut floors) = (Vec::new(), Vec::new());
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let mut sum = Duration::ZERO;
            for _ in 0..iterations {
                floors.push(floor.once());
                let time = operation();
                times.push(time);
                sum += time;
            }
            sum
        });
    });
    if let (Some(time), Some(floor)) = (median(&mut times), median(&mut floors)) {
        let ratio = time.as_secs_f64() / floor.as_secs_f64();
        let calls = times.len();
        println!("{name}: median {time:.1?} beside a floor of {floor:.1?}, {ratio:.2} times, {calls} calls of each");
    }
}

fn median(times: &mut [Duration]) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset).map(drop)
}

/// Reads of eight bytes all over 64 MiB that are in memory.
fn access(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read 8 bytes, random page of 64 MiB");
    for_memory(&mut group);

    let folder = folder();
    let map = raw_map(&filled_file(&folder.path().join("raw")));
    let starts: Vec<usize> = (0..FILE_PAGES - ENGINE_PAGES).map(|page| page * PAGE_LEN).collect();
    let mut sequence = Random::new().sequence(&starts).into_iter().cycle();
    group.bench_function("raw memmap2 slice", |bencher| {
        bencher.iter(|| first_word(&map[sequence.next().expect("a cycle")..]));
    });

    let mut pager = create(&folder);
    let ids: Vec<PageId<PAGE_LEN>> = pager.alloc_bulk(FILE_PAGES - ENGINE_PAGES).expect("room for 64 MiB");
    ids.iter().for_each(|id| pager.page_mut(*id).expect("allocated").fill(1));
    pager.sync().expect("a disk that syncs");
    let mut sequence = Random::new().sequence(&ids).into_iter().cycle();
    group.bench_function("regular page", |bencher| {
        bencher.iter(|| sequence.next().expect("a cycle").get(&pager).map(|page| first_word(page.as_bytes())));
    });
    drop(pager);

    let folder = self::folder();
    let mut pager = create(&folder);
    let ids = protected_pages(&mut pager);
    let mut sequence = Random::new().sequence(&ids).into_iter().cycle();
    group.bench_function("protected page, verified before", |bencher| {
        bencher.iter(|| sequence.next().expect("a cycle").get(&pager).map(|page| first_word(page.as_bytes())));
    });
    group.finish();
}

fn protected_pages(pager: &mut Pager<PAGE_LEN>) -> Vec<ProtectedPageId<PAGE_LEN>> {
    let ids = pager.alloc_protected_bulk(PROTECTED_PAGES).expect("room for 64 MiB");
    let mut tx = pager.transaction().expect("a sound pager");
    ids.iter().for_each(|id| tx.protected_mut(*id).expect("allocated").fill(1));
    tx.commit().expect("a disk that syncs");
    ids
}

/// Allocating and freeing, each call durable when it returns, in a file of 64 MiB that is half full.
fn allocation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("durable allocation");
    for_disk(&mut group);
    let folder = folder();
    let mut floor = Floor::new(&folder.path().join("floor"));
    let mut control = Floor::new(&folder.path().join("control"));
    beside_the_floor(&mut group, &mut floor, "the floor itself", || control.once());

    let mut pager = create(&folder);
    pager.alloc_bulk(FILE_PAGES / 2).expect("room for 64 MiB");
    let spare = pager.alloc_bulk(FILE_PAGES / 2 - ENGINE_PAGES).expect("room for 64 MiB");
    pager.free_bulk(spare).expect("allocated before");

    let mut ids = Vec::new();
    beside_the_floor(&mut group, &mut floor, "alloc", || {
        if ids.len() == ROUND {
            pager.free_bulk(std::mem::take(&mut ids)).expect("allocated before");
        }
        timed(|| ids.push(pager.alloc().expect("room")))
    });
    beside_the_floor(&mut group, &mut floor, "free", || {
        if ids.is_empty() {
            ids = pager.alloc_bulk(ROUND).expect("room");
        }
        let id = ids.pop().expect("a round has pages");
        timed(|| pager.free(id).expect("allocated before"))
    });
    beside_the_floor(&mut group, &mut floor, "alloc_bulk of 1000", || {
        let mut ids = Vec::new();
        let time = timed(|| ids = pager.alloc_bulk(1000).expect("room"));
        pager.free_bulk(ids).expect("allocated before");
        time
    });
    group.finish();
}

/// Changing eight bytes of each of some protected pages, out of 8000.
fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("durable change of protected pages");
    for_disk(&mut group);
    let folder = folder();
    let mut floor = Floor::new(&folder.path().join("floor"));

    let mut pager = create(&folder);
    let mut ids = protected_pages(&mut pager);
    let (mut random, mut round) = (Random::new(), 0u64);
    beside_the_floor(&mut group, &mut floor, "a writer of 1 page", || {
        round += 1;
        let id = ids[random.below(ids.len())];
        timed(|| {
            let mut writer = pager.protected_mut(id).expect("allocated");
            writer.page_mut()[..8].copy_from_slice(&round.to_le_bytes());
            writer.commit().expect("a disk that syncs");
        })
    });
    for count in [1, 10, 100, 1000] {
        beside_the_floor(&mut group, &mut floor, &format!("a transaction of {count}"), || {
            round += 1;
            let chosen = random.choose(&mut ids, count);
            timed(|| {
                let mut tx = pager.transaction().expect("a sound pager");
                for id in chosen {
                    tx.protected_mut(id).expect("allocated")[..8].copy_from_slice(&round.to_le_bytes());
                }
                tx.commit().expect("a disk that syncs");
            })
        });
    }
    group.finish();
}

/// Opening a file that was closed, with its blocks in the page cache. It writes again what its verdict rests on, and syncs.
fn opening(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open a file of 64 MiB");
    for_disk(&mut group);
    let folder = folder();
    let mut floor = Floor::new(&folder.path().join("floor"));

    for (name, protected) in [("with 16320 regular pages", false), ("with 8000 protected pages", true)] {
        let path = folder.path().join(name);
        let mut pager = Pager::<PAGE_LEN>::create(&path).expect("a new file");
        if protected {
            protected_pages(&mut pager);
        } else {
            pager.alloc_bulk(FILE_PAGES - ENGINE_PAGES).expect("room for 64 MiB");
        }
        pager.close().expect("a disk that syncs");
        beside_the_floor(&mut group, &mut floor, name, || {
            let mut opened = None;
            let time = timed(|| opened = Some(Pager::<PAGE_LEN>::open(&path).expect("a sound file")));
            drop(opened);
            time
        });
    }
    group.finish();
}

criterion_group!(benches, access, allocation, commits, opening);
criterion_main!(benches);
