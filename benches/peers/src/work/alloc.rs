//! Allocating in memory: inside a transaction that is dropped, so that no disk is measured.
//!
//! A file is filled and then emptied at random, step by step, so that the free pages are holes all over it.

use diptych::{PageId, Pager};

use crate::bench::Bench;
use crate::measure::{Contestant, interleave, timed};
use crate::outcome::{Outcome, ensure};
use crate::plot::Plot;
use crate::report::Report;
use crate::table::{Table, failures, nanos, or_nothing};

/// The smallest pages there are, for a file of many.
const SMALL: usize = 1024;

/// Pages that are taken in one commit while a file is filled.
const FILL_PAGES: usize = 1 << 16;

/// Parts in a thousand of the file that are in use, from full to empty.
const FILLS: [u32; 8] = [999, 990, 900, 700, 500, 300, 100, 10];

/// The most pages that a bulk call asks for, and that single calls take.
const BULK: usize = 10_000;
const SINGLES: usize = 1000;

const CALLS: usize = 3;

/// The pages of a file of `mappedpages` that is measured: its files end at 16,384 pages of 4 KiB.
const RELATIVE_PAGES: usize = 10_000;

/// What came out for a file: seconds a page.
pub(crate) struct Measured {
    pub(crate) pages: usize,
    /// Parts in a thousand that are in use.
    pub(crate) fill: u32,
    pub(crate) bulk: Option<f64>,
    pub(crate) single: Option<f64>,
}

pub(crate) fn measure(bench: &Bench, report: &mut Report, huge: bool) -> Outcome<Vec<Measured>> {
    report.heading("Allocating in memory: inside a transaction that is dropped, ns a page");
    let mut plot = Plot::new("Allocating among random holes, in memory", "% of the file in use", "ns a page");
    let mut table = Table::new(&["pages of the file", "in use", "free", "bulk", "a page at a time"]);
    let (mut all, mut reasons) = (Vec::new(), Vec::new());
    let mut sizes = vec![10_000, 100_000, 1_000_000];
    if huge {
        sizes.push(10_000_000);
    }
    for pages in sizes {
        let folder = bench.folder()?;
        let mut file = Holes::new(Pager::create(folder.path().join("holes.db"))?, pages, bench)?;
        for fill in FILLS {
            file.empty_to(fill)?;
            let percent = f64::from(fill) / 10.0;
            let free = file.free();
            let [bulk, single] = file.measured(bench, &mut reasons)?;
            for (name, seconds) in [("bulk", bulk), ("single", single)] {
                plot.point(&format!("{name}, {pages} pages"), percent, seconds.unwrap_or_default() * 1e9);
            }
            let shown = [bulk, single].map(|seconds| or_nothing(seconds.map(nanos)));
            let mut cells = vec![pages.to_string(), format!("{percent} %"), free.to_string()];
            cells.extend(shown);
            table.row(cells);
            all.push(Measured { pages, fill, bulk, single });
        }
    }
    report.table(&table);
    report.left_out(&reasons);
    report.plot("alloc.svg", &plot)?;
    relative(bench, report)?;
    Ok(all)
}

/// A file with holes.
struct Holes {
    pager: Pager<SMALL>,
    /// Those in use, in an order that tells nothing.
    used: Vec<PageId<SMALL>>,
    pages: usize,
}

impl Holes {
    fn new(mut pager: Pager<SMALL>, pages: usize, bench: &Bench) -> Outcome<Self> {
        let mut used = Vec::with_capacity(pages);
        while used.len() < pages {
            used.extend(pager.alloc_bulk(FILL_PAGES.min(pages - used.len()))?);
        }
        let used = bench.random().choose(&mut used, pages);
        Ok(Holes { pager, used, pages })
    }

    /// Frees pages until so many of a thousand are left.
    fn empty_to(&mut self, fill: u32) -> Outcome<()> {
        let left = self.pages / 1000 * usize::try_from(fill)?;
        while self.used.len() > left {
            let part = self.used.len() - FILL_PAGES.min(self.used.len() - left);
            self.pager.free_bulk(self.used.split_off(part))?;
        }
        Ok(())
    }

    /// Holes: what is free behind the last page that ever was in use does not count.
    fn free(&self) -> usize {
        self.pages - self.used.len()
    }

    /// Seconds a page, of a bulk call and of single ones.
    fn measured(&mut self, bench: &Bench, reasons: &mut Vec<String>) -> Outcome<[Option<f64>; 2]> {
        let before = self.pager.allocated_page_count();
        let (bulk, singles) = (self.free().min(BULK), self.free().min(SINGLES));
        let pager = std::cell::RefCell::new(&mut self.pager);
        let contestants = vec![
            Contestant::new("bulk", || {
                let mut pager = pager.borrow_mut();
                let mut tx = pager.transaction()?;
                let (ids, seconds) = timed(|| Ok(tx.alloc_bulk(bulk)?))?;
                ensure(ids.len() == bulk, || format!("{} pages, not {bulk}", ids.len()))?;
                Ok(seconds / bulk as f64)
            }),
            Contestant::new("single", || {
                let mut pager = pager.borrow_mut();
                let mut tx = pager.transaction()?;
                let (last, seconds) = timed(|| {
                    let mut last = None;
                    for _ in 0..singles {
                        last = Some(tx.alloc()?);
                    }
                    Ok(last)
                })?;
                ensure(last.is_some(), || "nothing was allocated".to_owned())?;
                Ok(seconds / singles as f64)
            }),
        ];
        let series = interleave(contestants, bench.effort(CALLS));
        reasons.extend(failures(&series));
        let after = self.pager.allocated_page_count();
        ensure(before == after, || "a transaction that was dropped has changed the file".to_owned())?;
        Ok([series[0].median(), series[1].median()])
    }
}

/// What `mappedpages` can do of it: it has no transactions, so each call is a commit.
fn relative(bench: &Bench, report: &mut Report) -> Outcome<()> {
    if !bench.has("mappedpages") {
        return Ok(());
    }
    report.subheading("mappedpages, 10000 pages of 4 KiB: each call is a durable commit");
    let folder = bench.folder()?;
    let mut pager = mappedpages::Pager::<4096>::create(folder.path().join("relative.db"))?;
    let mut used = pager.alloc_bulk(RELATIVE_PAGES)?;
    let mut used = bench.random().choose(&mut used, RELATIVE_PAGES);
    let mut table = Table::new(&["in use", "bulk", "pages of the call"]);
    let mut reasons = Vec::new();
    for fill in FILLS {
        let left = RELATIVE_PAGES / 1000 * usize::try_from(fill)?;
        pager.free_bulk(used.split_off(left.min(used.len())))?;
        let bulk = RELATIVE_PAGES - left;
        let contestant = Contestant::new("mappedpages", || {
            let (ids, seconds) = timed(|| Ok(pager.alloc_bulk(bulk)?))?;
            pager.free_bulk(ids)?;
            Ok(seconds / bulk as f64)
        });
        let series = interleave(vec![contestant], bench.effort(CALLS));
        reasons.extend(failures(&series));
        let cell = or_nothing(series[0].median().map(nanos));
        table.row(vec![format!("{} %", f64::from(fill) / 10.0), cell, bulk.to_string()]);
    }
    report.table(&table);
    report.left_out(&reasons);
    Ok(())
}
