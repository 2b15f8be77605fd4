//! Sub-pages: freeing one at random and allocating one, against how many are live.
//!
//! Everybody has parents of 64 slots, the most that `mappedpages` has. Freeing and allocating take turns, so no page comes or
//! goes and no disk is measured.

use diptych::{SubPageAllocator, SubPageId};
use mappedpages::{BulkPageAllocator, PageAllocator};

use crate::bench::Bench;
use crate::measure::{Contestant, interleave, timed};
use crate::outcome::{Outcome, ensure};
use crate::report::Report;
use crate::table::{Table, failures, nanos, or_nothing};

const PARENT: usize = 16384;
const SUB: usize = 256;

/// The shapes that only diptych has: many slots in a page, and few.
const LARGE: usize = 65536;
const LEAST: usize = 8;
const SMALL: usize = 1024;
const HALF: usize = 512;

const LIVE: [usize; 5] = [100, 1000, 10_000, 100_000, 1_000_000];

/// Pairs of a call, and of one of `mappedpages`, which looks at all its pages each time.
const PAIRS: usize = 1 << 14;
const RELATIVE_PAIRS: usize = 1 << 8;

const CALLS: usize = 3;

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<()> {
    report.heading("Sub-pages: freeing a random one and allocating one, ns for both together");
    let mut table = Table::new(&[
        "live",
        "diptych, 64 in a page",
        "mappedpages, 64 in a page",
        "diptych, 8192 in a page",
        "diptych, 2 in a page",
    ]);
    let mut reasons = Vec::new();
    for live in LIVE {
        let folder = bench.folder()?;
        let file = |name: &str| folder.path().join(name);
        let mut contestants = vec![own(
            "diptych",
            SubPageAllocator::<PARENT, SUB>::new(diptych::Pager::create(file("own"))?),
            live,
            bench,
        )?];
        if bench.has("mappedpages") {
            let pager = mappedpages::Pager::<PARENT>::create(file("relative"))?;
            contestants.push(relative(mappedpages::SubPageAllocator::<PARENT, SUB>::new(pager), live, bench)?);
        }
        let many = SubPageAllocator::<LARGE, LEAST>::new(diptych::Pager::create(file("many"))?);
        contestants.push(own("many", many, live, bench)?);
        let few = SubPageAllocator::<SMALL, HALF>::new(diptych::Pager::create(file("few"))?);
        contestants.push(own("few", few, live, bench)?);
        let series = interleave(contestants, bench.effort(CALLS));
        reasons.extend(failures(&series).into_iter().map(|reason| format!("{live} live, {reason}")));
        let mut cells = vec![live.to_string()];
        cells.extend(["diptych", "mappedpages", "many", "few"].map(|name| {
            let one = series.iter().find(|series| series.name == name);
            or_nothing(one.and_then(|series| series.median()).map(nanos))
        }));
        table.row(cells);
    }
    report.table(&table);
    report.left_out(&reasons);
    Ok(())
}

/// Frees and allocates, going on each time where it stopped, so that all of them have their turn.
fn own<const P: usize, const S: usize>(
    name: &str,
    mut parts: SubPageAllocator<P, S>,
    live: usize,
    bench: &Bench,
) -> Outcome<Contestant<'static>> {
    let mut ids = parts.alloc_bulk(live)?;
    let mut ids: Vec<SubPageId<P, S>> = bench.random().choose(&mut ids, live);
    let mut at = 0;
    Ok(Contestant::new(name, move || {
        let (_, seconds) = timed(|| {
            for _ in 0..PAIRS {
                parts.free(ids[at])?;
                ids[at] = parts.alloc()?;
                at = if at + 1 == live { 0 } else { at + 1 };
            }
            Ok(())
        })?;
        let found = parts.map().allocated_count();
        ensure(found == live as u64, || format!("{found} are live, not {live}"))?;
        Ok(seconds / PAIRS as f64)
    }))
}

fn relative(
    mut parts: mappedpages::SubPageAllocator<PARENT, SUB>,
    live: usize,
    bench: &Bench,
) -> Outcome<Contestant<'static>> {
    let mut ids = parts.alloc_bulk(live)?;
    let mut ids = bench.random().choose(&mut ids, live);
    let mut at = 0;
    Ok(Contestant::new("mappedpages", move || {
        let (_, seconds) = timed(|| {
            for _ in 0..RELATIVE_PAIRS {
                parts.free(ids[at])?;
                ids[at] = parts.alloc()?;
                at = if at + 1 == live { 0 } else { at + 1 };
            }
            Ok(())
        })?;
        Ok(seconds / RELATIVE_PAIRS as f64)
    }))
}
