//! Extents: allocating them in a transaction, against how full the file is and how its free pages lie.
//!
//! A call is one allocation of so many pages; 1000 of them are taken in a transaction, which is dropped, so that each round
//! begins with the same file and no disk is measured. None of the peers has contiguous pages under one name.

use diptych::{PageId, Pager};

use crate::bench::Bench;
use crate::measure::{Contestant, Series, interleave, timed};
use crate::outcome::{Outcome, ensure};
use crate::report::Report;
use crate::table::{Table, failures, nanos, or_nothing};

const P: usize = 4096;

/// 1 GiB.
const PAGES: usize = 1 << 18;

/// Pages in use of a thousand; what is free lies at random.
const FILLS: [usize; 5] = [0, 500, 900, 990, 999];

/// Pages of an extent.
const LENGTHS: [usize; 4] = [2, 8, 64, 1000];

const CALLS: usize = 1000;

/// What came out: a series for each fill, of a contestant for each length.
pub(crate) struct Measured {
    pub(crate) fill: usize,
    pub(crate) series: Vec<Series>,
}

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<Vec<Measured>> {
    report.heading("Extents: allocating one in a file of 1 GiB, ns");
    let mut columns = vec!["in use".to_owned()];
    columns.extend(LENGTHS.map(name));
    let mut table = Table::new(&columns.iter().map(String::as_str).collect::<Vec<_>>());
    let (mut all, mut reasons) = (Vec::new(), Vec::new());
    for fill in FILLS {
        let folder = bench.folder()?;
        let contestants = LENGTHS.map(|pages| contestant(bench, &folder.path().join(name(pages)), fill, pages));
        let contestants = contestants.into_iter().collect::<Outcome<Vec<_>>>()?;
        let series = interleave(contestants, bench.effort(1));
        reasons.extend(failures(&series));
        let mut cells = vec![format!("{} %", tenths(fill))];
        cells.extend(series_of(&series).map(|median| or_nothing(median.map(nanos))));
        table.row(cells);
        all.push(Measured { fill, series });
    }
    report.table(&table);
    report.left_out(&reasons);
    Ok(all)
}

impl Measured {
    /// What each is called, and how long a call took.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (String, Option<f64>)> + '_ {
        let named = LENGTHS.map(|pages| format!("{} at {} %", name(pages), tenths(self.fill)));
        named.into_iter().zip(series_of(&self.series))
    }
}

fn series_of(series: &[Series]) -> impl Iterator<Item = Option<f64>> + '_ {
    LENGTHS.into_iter().map(|pages| {
        let found = series.iter().find(|one| one.name == name(pages));
        found.and_then(Series::median)
    })
}

fn name(pages: usize) -> String {
    format!("{pages} pages")
}

fn tenths(fill: usize) -> String {
    format!("{}.{}", fill / 10, fill % 10)
}

fn contestant(bench: &Bench, path: &std::path::Path, fill: usize, pages: usize) -> Outcome<Contestant<'static>> {
    let mut pager = Pager::<P>::create(path)?;
    let mut ids: Vec<PageId<P>> = pager.alloc_bulk(PAGES)?;
    let freed = bench.random().choose(&mut ids, PAGES - PAGES / 1000 * fill);
    pager.free_bulk(freed)?;
    // Room behind what is in use, so that no round makes the file longer.
    let mut transaction = pager.transaction()?;
    for _ in 0..CALLS {
        transaction.alloc_extent(pages)?;
    }
    drop(transaction);
    Ok(Contestant::new(name(pages), move || {
        let mut transaction = pager.transaction()?;
        let (last, seconds) = timed(|| {
            let mut last = transaction.alloc_extent(pages)?;
            for _ in 1..CALLS {
                last = transaction.alloc_extent(pages)?;
            }
            Ok(last)
        })?;
        let len = transaction.extent_mut(last)?.len();
        ensure(len == pages * P, || format!("an extent of {pages} pages has {len} bytes"))?;
        Ok(seconds / CALLS as f64)
    }))
}
