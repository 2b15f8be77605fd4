//! A snapshot beside a copy of the same file by `std::fs::copy`, which is what `cp` does: the kernel moves the bytes.
//!
//! ```sh
//! cargo bench --bench snapshot -- --dir /var/tmp
//! ```
//!
//! The contestants take turns, round by round; a number is the median of what is written a second, a ratio the median of the
//! ratios within each round. A snapshot is durable when it returns and `cp` alone is not, so there is also `cp` followed by a sync. The snapshots do not
//! share space with their source.

use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use diptych::{Pager, SnapshotOptions};
use tempfile::TempDir;

const ROUNDS: usize = 11;

/// Pages of 4 KiB: 256 MiB.
const PAGES: usize = 65_536;

/// A file whose pages hold bytes that no filesystem can leave out.
fn source(path: &Path, protected: bool) -> diptych::Result<Pager<4096>> {
    let mut state = 1u64;
    let mut fill = |bytes: &mut [u8; 4096]| {
        for word in bytes.as_chunks_mut::<8>().0 {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            *word = (state ^ state >> 29).to_le_bytes();
        }
    };
    let mut pager = Pager::<4096>::create(path)?;
    if protected {
        for ids in pager.alloc_protected_bulk(PAGES / 2)?.chunks(4096) {
            let mut tx = pager.transaction()?;
            for id in ids {
                fill(&mut *tx.protected_mut(*id)?);
            }
            tx.commit()?;
        }
    } else {
        for id in pager.alloc_bulk(PAGES)? {
            fill(&mut *pager.page_mut(id)?);
        }
    }
    pager.close()?;
    Pager::open(path)
}

fn timed(target: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<Duration> {
    let start = Instant::now();
    make(target)?;
    let took = start.elapsed();
    fs::remove_file(target)?;
    Ok(took)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn compare(directory: &Path, name: &str, protected: bool) -> Result<(), Box<dyn std::error::Error>> {
    let path = directory.join(name);
    let pager = source(&path, protected)?;
    let target = directory.join("copy");
    let options = SnapshotOptions::new().share_space(false);
    let mut rounds: Vec<[f64; 3]> = Vec::new();
    let len = fs::metadata(&path)?.len();
    let mut bytes = [len; 3];
    for _ in 0..ROUNDS {
        let copied = timed(&target, |target| fs::copy(&path, target).map(drop))?;
        let synced = timed(&target, |target| {
            fs::copy(&path, target)?;
            File::open(target)?.sync_all()
        })?;
        let snapshot = timed(&target, |target| {
            let made =
                pager.snapshot_with(target, &options, |_| ControlFlow::Continue(())).map_err(io::Error::other)?;
            bytes[2] = made.written;
            Ok(())
        })?;
        let mib_a_second = |at: usize, took: Duration| (bytes[at] >> 10) as f64 / 1024.0 / took.as_secs_f64();
        rounds.push([mib_a_second(0, copied), mib_a_second(1, synced), mib_a_second(2, snapshot)]);
    }
    for (at, contestant) in ["cp", "cp and sync", "snapshot"].into_iter().enumerate() {
        let of = |other: usize| median(rounds.iter().map(|round| round[at] / round[other]).collect());
        let speed = median(rounds.iter().map(|round| round[at]).collect());
        println!(
            "| {name} | {contestant} | {} MiB | {speed:.0} MiB/s | {:.2} | {:.2} |",
            bytes[at] >> 20,
            of(0),
            of(1)
        );
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let place = arguments.iter().position(|argument| argument == "--dir").and_then(|at| arguments.get(at + 1));
    let directory = TempDir::new_in(place.map_or_else(std::env::temp_dir, PathBuf::from))?;
    println!("| pages | | written | median | times cp | times cp and sync |");
    println!("|---|---|---:|---:|---:|---:|");
    compare(directory.path(), "regular", false)?;
    compare(directory.path(), "protected", true)
}
