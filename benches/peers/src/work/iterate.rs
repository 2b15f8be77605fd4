//! Going through all regular pages that are in use, beside more and more protected ones.

use std::hint::black_box;

use diptych::Pager;

use crate::bench::Bench;
use crate::measure::{Contestant, Series, interleave, timed};
use crate::outcome::{Outcome, ensure};
use crate::report::Report;
use crate::table::{compared, failures, nanos};

/// The smallest pages there are: nothing of their content is read.
const SMALL: usize = 1024;

const REGULAR: usize = 100_000;
const PROTECTED: [usize; 4] = [0, 10, 1000, 100_000];

/// What fits into a file of `mappedpages`.
const RELATIVE_REGULAR: usize = 10_000;
const RELATIVE_PROTECTED: [usize; 3] = [0, 10, 1000];

/// Regular and protected pages lie in turns, so many times.
const TURNS: usize = 10;

const CALLS: usize = 3;

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<Vec<Series>> {
    report.heading("Iterating over the regular pages in use, ns a page");
    let folder = bench.folder()?;
    let mut pagers = Vec::new();
    for protected in PROTECTED {
        pagers.push(filled(Pager::create(folder.path().join(format!("{protected}.db")))?, protected)?);
    }
    let mut relatives = Vec::new();
    if bench.has("mappedpages") {
        for protected in RELATIVE_PROTECTED {
            let mut pager = mappedpages::Pager::<4096>::create(folder.path().join(format!("relative{protected}.db")))?;
            pager.alloc_bulk(RELATIVE_REGULAR)?;
            pager.alloc_protected_bulk(protected)?;
            relatives.push(pager);
        }
    }
    let mut contestants: Vec<Contestant<'_>> = PROTECTED
        .iter()
        .zip(&pagers)
        .map(|(protected, pager)| {
            Contestant::new(format!("diptych, {REGULAR} pages, {protected} protected"), move || {
                per_page(REGULAR, || {
                    pager.iter_allocated_pages().map(|id| black_box(id).to_u64()).filter(|id| *id > 0).count()
                })
            })
        })
        .collect();
    contestants.extend(RELATIVE_PROTECTED.iter().zip(&relatives).map(|(protected, pager)| {
        Contestant::new(format!("mappedpages, {RELATIVE_REGULAR} pages, {protected} protected"), move || {
            per_page(RELATIVE_REGULAR, || {
                pager.iter_allocated_pages().map(|id| black_box(id).0).filter(|id| *id > 0).count()
            })
        })
    }));
    let series = interleave(contestants, bench.effort(CALLS));
    let without = format!("diptych, {REGULAR} pages, 0 protected");
    report.table(&compared(&series, &[("times diptych without protected pages", &without)], nanos));
    report.left_out(&failures(&series));
    Ok(series)
}

fn filled(mut pager: Pager<SMALL>, protected: usize) -> Outcome<Pager<SMALL>> {
    for turn in 0..TURNS {
        pager.alloc_bulk(REGULAR / TURNS)?;
        let part = protected * (turn + 1) / TURNS - protected * turn / TURNS;
        pager.alloc_protected_bulk(part)?;
    }
    Ok(pager)
}

/// Counts them: each id passes through [`black_box`], so that none is skipped.
fn per_page(expected: usize, count: impl FnOnce() -> usize) -> Outcome<f64> {
    let (found, seconds) = timed(|| Ok(count()))?;
    ensure(found == expected, || format!("{found} pages, not {expected}"))?;
    Ok(seconds / expected as f64)
}
