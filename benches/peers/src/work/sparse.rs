//! Opening, and committing, against the size of a sparse file of up to 8 TiB: most of it was never touched.
//!
//! A file doubles when it is full, so whoever makes one of 8 TiB has to name the pages of half of it, and gives them back at
//! once: with pages of 64 KiB that are 2^26. Then one page behind each 16,128 is taken, which is what a leaf of the free map
//! holds: every leaf is there, as it would be in a full file, and opening reads them all.

use std::path::{Path, PathBuf};

use diptych::{Pager, PagerOptions};

use crate::bench::Bench;
use crate::measure::{Contestant, Series, interleave, timed};
use crate::outcome::{Outcome, ensure};
use crate::report::Report;
use crate::table::{compared, failures, micros};

use super::open::{CALLS, Committed, FLOOR, floor};

const PAGE_LEN: usize = 64 << 10;

/// The same, to count bytes of files with.
const PAGE_BYTES: u64 = 64 << 10;

/// The smallest one first.
const SIZES: [(&str, u64); 4] = [("1 GiB", 1 << 30), ("64 GiB", 64 << 30), ("1 TiB", 1 << 40), (LARGEST, 8 << 40)];

const LARGEST: &str = "8 TiB";

/// Pages whose kinds stand in one leaf of the free map: `docs/design.md`, section 3.
const PAGES_PER_LEAF: usize = 16_128;

/// What is opened of that size.
fn line(size: &str) -> String {
    format!("diptych, sparse, {size}")
}

/// The name of the largest file that is opened.
pub(crate) fn largest() -> String {
    line(LARGEST)
}

/// What opening took, and committing.
pub(super) fn measure(bench: &Bench, report: &mut Report) -> Outcome<(Vec<Series>, Committed)> {
    report.heading("Sparse files, pages of 64 KiB, one of 16,128 in use");
    let folder = bench.folder()?;
    let (mut pagers, mut reasons) = (Vec::new(), Vec::new());
    for (size, bytes) in SIZES {
        let path = folder.path().join(size);
        match grown(&path, bytes) {
            Ok(pager) => pagers.push((line(size), path, pager)),
            Err(error) => reasons.push(format!("{}: {error}", line(size))),
        }
    }
    report.left_out(&reasons);

    let mut contestants = vec![floor(&folder, bench)?];
    contestants.extend(pagers.iter_mut().map(|(line, _, pager)| committer(line, pager)));
    let series = interleave(contestants, bench.effort(CALLS));
    let lines = pagers.iter().map(|(line, _, _)| line.clone()).collect();
    let committed = Committed { name: "diptych, sparse files: alloc one page".to_owned(), lines, series };
    committed.show(report);

    let floors_folder = bench.folder()?;
    let mut contestants = vec![floor(&floors_folder, bench)?];
    for (line, path, pager) in pagers {
        let pages = pager.allocated_page_count();
        pager.close()?;
        contestants.push(opener(line, path, pages));
    }
    let opened = interleave(contestants, bench.effort(CALLS));
    report.subheading("diptych, sparse files: opening one that was closed");
    report.table(&compared(&opened, &[("times the floor", FLOOR), ("times the smallest", &line(SIZES[0].0))], micros));
    report.left_out(&failures(&opened));
    Ok((opened, committed))
}

/// A file of so many bytes, of which next to none take space.
fn grown(path: &Path, bytes: u64) -> Outcome<Pager<PAGE_LEN>> {
    let options = PagerOptions::new().sparse(true).growth_limit(bytes).max_file_bytes(bytes);
    let mut pager: Pager<PAGE_LEN> = options.create(path)?;
    let pages = bytes / PAGE_BYTES;
    while pager.page_count() < pages {
        let before = pager.page_count();
        // One page more than there are: the file doubles, and keeps its length when the transaction is dropped.
        let more = usize::try_from(pager.free_page_count() + 1)?;
        drop(pager.transaction()?.alloc_bulk(more)?);
        // A commit that looks for a page behind the end takes the length over.
        pager.alloc_near(before)?;
        ensure(pager.page_count() > before, || format!("a file of {before} pages did not grow"))?;
    }
    let mut tx = pager.transaction()?;
    for near in (0..pages).step_by(PAGES_PER_LEAF) {
        tx.alloc_near(near)?;
    }
    tx.commit()?;
    Ok(pager)
}

/// Allocates a page, and frees it again, which is not counted.
fn committer<'p>(line: &str, pager: &'p mut Pager<PAGE_LEN>) -> Contestant<'p> {
    Contestant::new(line, move || {
        let (id, seconds) = timed(|| Ok(pager.alloc()?))?;
        pager.free(id)?;
        Ok(seconds)
    })
}

/// Opens, and looks how many pages are in use, which is not counted; nor is closing.
fn opener<'a>(line: String, path: PathBuf, pages: u64) -> Contestant<'a> {
    Contestant::new(line, move || {
        let (pager, seconds) = timed(|| Ok(PagerOptions::new().sparse(true).open::<PAGE_LEN>(&path)?))?;
        let found = pager.allocated_page_count();
        ensure(found == pages, || format!("{found} pages, not {pages}"))?;
        Ok(seconds)
    })
}
