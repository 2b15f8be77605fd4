//! A compaction beside a copy, by `std::fs::copy`, of as many bytes as it moves, which is what `cp` of them does.
//!
//! ```sh
//! cargo bench --bench compaction -- --dir /var/tmp
//! ```
//!
//! Of a file of regular pages every second one is freed, or 64 of 128, and what is left is moved to the front; a callback notes the
//! new places. The contestants take turns, round by round, each on files of its own; a number is the median of what is moved a second, a
//! ratio the median of the ratios within each round. A compaction is durable when it returns and `cp` alone is not, so there is
//! also `cp` followed by a sync.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use diptych::{Error, Pager};
use tempfile::TempDir;

const ROUNDS: usize = 11;

/// Pages of 4 KiB: 256 MiB, of which about 64 MiB are moved.
const PAGES: usize = 65_536;

/// Bytes that no filesystem can leave out.
fn fill(seed: u64, bytes: &mut [u8; 4096]) {
    let mut state = seed;
    for word in bytes.as_chunks_mut::<8>().0 {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        *word = (state ^ state >> 29).to_le_bytes();
    }
}

/// A file of which half is holes of so many pages.
fn emptied(path: &Path, hole: usize) -> diptych::Result<Pager<4096>> {
    let mut pager = Pager::<4096>::create(path)?;
    let ids = pager.alloc_bulk(PAGES)?;
    for id in &ids {
        fill(id.to_u64(), &mut *pager.page_mut(*id)?);
    }
    let freed: Vec<_> = ids.chunks(hole).step_by(2).flatten().copied().collect();
    pager.free_bulk(freed)?;
    pager.close()?;
    Pager::open(path)
}

/// Bytes moved, and bytes moved a second by: a compaction, a copy, a copy and a sync.
fn round(directory: &Path, hole: usize) -> Result<(u64, [f64; 3]), Box<dyn std::error::Error>> {
    let (path, bytes, target) = (directory.join("pages"), directory.join("bytes"), directory.join("copy"));
    let mut pager = emptied(&path, hole)?;
    let mut places = Vec::new();
    let start = Instant::now();
    let done = pager.compact(u64::MAX, |_, from, to| {
        places.push((from, to));
        Ok::<(), Error>(())
    })?;
    let took = start.elapsed();
    assert_eq!((done.left, done.moved), (0, places.len() as u64), "all of it has moved");
    drop(pager);
    fs::remove_file(&path)?;

    let moved = done.moved * 4096;
    let mut content = vec![0; usize::try_from(moved)?];
    (0..).zip(content.as_chunks_mut().0).for_each(|(seed, page)| fill(seed, page));
    fs::write(&bytes, content)?;
    File::open(&bytes)?.sync_all()?;
    let copied = |syncs: bool| -> io::Result<f64> {
        let start = Instant::now();
        fs::copy(&bytes, &target)?;
        if syncs {
            File::open(&target)?.sync_all()?;
        }
        let took = start.elapsed();
        fs::remove_file(&target)?;
        Ok(moved as f64 / took.as_secs_f64())
    };
    Ok((moved, [moved as f64 / took.as_secs_f64(), copied(false)?, copied(true)?]))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let place = arguments.iter().position(|argument| argument == "--dir").and_then(|at| arguments.get(at + 1));
    let directory = TempDir::new_in(place.map_or_else(std::env::temp_dir, PathBuf::from))?;
    println!("| pages in a hole | | moved | median | times cp | times cp and sync |");
    println!("|---:|---|---:|---:|---:|---:|");
    compare(directory.path(), 1)?;
    compare(directory.path(), 64)
}

fn compare(directory: &Path, hole: usize) -> Result<(), Box<dyn std::error::Error>> {
    let rounds = (0..ROUNDS).map(|_| round(directory, hole)).collect::<Result<Vec<_>, _>>()?;
    for (at, contestant) in ["compaction", "cp", "cp and sync"].into_iter().enumerate() {
        let of = |other: usize| median(rounds.iter().map(|(_, speeds)| speeds[at] / speeds[other]).collect());
        let speed = median(rounds.iter().map(|(_, speeds)| speeds[at] / f64::from(1 << 20)).collect());
        let moved = rounds.first().map_or(0, |(moved, _)| moved >> 20);
        println!("| {hole} | {contestant} | {moved} MiB | {speed:.0} MiB/s | {:.2} | {:.2} |", of(1), of(2));
    }
    Ok(())
}
