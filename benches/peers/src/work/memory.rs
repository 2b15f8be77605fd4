//! Memory of a pager that is open, against the pages in use: what the allocator gave, without the map of the file.

use std::path::Path;

use diptych::Pager;

use crate::bench::Bench;
use crate::heap::counted;
use crate::outcome::{Outcome, ensure};
use crate::report::Report;
use crate::table::{Table, or_nothing};

/// The smallest pages there are: what a page takes in memory does not depend on its size.
const SMALL: usize = 1024;

/// Pages that are taken in one commit while a file is filled.
const FILL_PAGES: usize = 1 << 16;

/// Regular and protected pages of a file; the first one has none.
const FILES: [[usize; 2]; 6] = [[0, 0], [100_000, 0], [1_000_000, 0], [4_000_000, 0], [0, 100_000], [0, 1_000_000]];

/// What came out for a file: bytes.
pub(crate) struct Measured {
    regular: usize,
    protected: usize,
    /// When the file is open.
    open: usize,
    /// The most at a time while it is opened.
    peak: usize,
    /// When every page has been read.
    read: usize,
}

impl Measured {
    /// The bytes of a page, beyond those of a file without pages. There are pages of one kind only.
    fn per_page(&self, empty: &Measured) -> Option<f64> {
        let pages = self.regular + self.protected;
        (pages > 0).then(|| self.read.saturating_sub(empty.read) as f64 / pages as f64)
    }
}

/// Bits of a regular page, and bytes of a protected one, in the files that have most of them.
pub(crate) fn of_a_page(measured: &[Measured]) -> (Option<f64>, Option<f64>) {
    let of = |count: fn(&Measured) -> usize| {
        let most = measured.iter().filter(|one| count(one) > 0).max_by_key(|one| count(one))?;
        most.per_page(measured.first()?)
    };
    (of(|one| one.regular).map(|bytes| 8.0 * bytes), of(|one| one.protected))
}

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<Vec<Measured>> {
    report.heading("Memory of a file that is open");
    let mut all: Vec<Measured> = Vec::new();
    for [regular, protected] in FILES {
        let folder = bench.folder()?;
        let path = folder.path().join("memory.db");
        filled(&path, regular, protected)?;
        all.push(measured(&path, regular, protected)?);
    }
    let columns = ["regular pages", "protected pages", "open", "all pages read", "at most while opening", "a page"];
    let mut table = Table::new(&columns);
    for one in &all {
        let a_page = one.per_page(&all[0]).map(|bytes| match one.protected {
            0 => format!("{:.2} bits", 8.0 * bytes),
            _ => format!("{bytes:.1} bytes"),
        });
        let mut cells = vec![one.regular.to_string(), one.protected.to_string()];
        cells.extend([one.open, one.read, one.peak].map(|bytes| format!("{:.1} KiB", bytes as f64 / 1024.0)));
        cells.push(or_nothing(a_page));
        table.row(cells);
    }
    report.table(&table);
    Ok(all)
}

fn filled(path: &Path, regular: usize, protected: usize) -> Outcome<()> {
    let mut pager = Pager::<SMALL>::create(path)?;
    for part in parts(regular) {
        pager.alloc_bulk(part)?;
    }
    for part in parts(protected) {
        pager.alloc_protected_bulk(part)?;
    }
    Ok(pager.close()?)
}

fn parts(count: usize) -> impl Iterator<Item = usize> {
    (0..count).step_by(FILL_PAGES).map(move |start| FILL_PAGES.min(count - start))
}

fn measured(path: &Path, regular: usize, protected: usize) -> Outcome<Measured> {
    let (pager, opened) = counted(|| Ok(Pager::<SMALL>::open(path)?))?;
    let (pages, reading) = counted(|| {
        for id in pager.iter_allocated_pages() {
            id.get(&pager)?;
        }
        for id in pager.iter_allocated_protected_pages() {
            id.get(&pager)?;
        }
        Ok(pager.allocated_page_count() + pager.allocated_protected_page_count())
    })?;
    ensure(pages == (regular + protected) as u64, || format!("{pages} pages, not {}", regular + protected))?;
    Ok(Measured { regular, protected, open: opened.kept, peak: opened.peak, read: opened.kept + reading.kept })
}
