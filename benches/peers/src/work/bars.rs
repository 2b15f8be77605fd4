//! Everything that is aimed at, measured three times: what came out each time, and whether two of three are inside.
//!
//! The bars are those of `docs/benchmarks.md`. What is measured, and how, is that of the other subcommands.

use crate::measure::{Series, named, ratio};
use crate::outcome::Outcome;
use crate::report::Report;
use crate::stores::Kind;
use crate::suite::Suite;
use crate::table::{Table, nanos, or_nothing, times};

use super::durable::{self, overwriting};
use super::{access, alloc, extents, memory, open, shared, sparse};

const RUNS: usize = 3;

/// Of these, so many have to be inside.
const ENOUGH: usize = 2;

/// The second size that pages are read from.
const LARGE_MIB: u64 = 4096;

const OWN: &str = "diptych";
const OWN_PROTECTED: &str = "diptych-protected";

/// Which side of the bound is inside.
#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// One aim, and what a run made of it.
struct Bar {
    aim: String,
    bound: Bound,
    show: fn(f64) -> String,
    measured: Option<f64>,
    /// Which of several it was that counts.
    which: Option<String>,
}

impl Bar {
    fn new(aim: impl Into<String>, bound: Bound, show: fn(f64) -> String, measured: Option<f64>) -> Self {
        Bar { aim: aim.into(), bound, show, measured, which: None }
    }

    /// The largest of several, and which it is.
    fn worst<'s>(
        aim: &str,
        most: f64,
        show: fn(f64) -> String,
        all: impl Iterator<Item = (String, Option<f64>)> + 's,
    ) -> Self {
        let worst =
            all.filter_map(|(which, value)| Some((which, value?))).max_by(|one, other| one.1.total_cmp(&other.1));
        let (which, measured) = worst.unzip();
        Bar { which, ..Bar::new(aim, Bound::AtMost(most), show, measured) }
    }

    fn is_inside(&self) -> bool {
        self.measured.is_some_and(|measured| match self.bound {
            Bound::AtMost(most) => measured <= most,
            Bound::AtLeast(least) => measured >= least,
        })
    }

    fn bound(&self) -> String {
        match self.bound {
            Bound::AtMost(most) => format!("at most {}", (self.show)(most)),
            Bound::AtLeast(least) => format!("at least {}", (self.show)(least)),
        }
    }

    fn cell(&self) -> String {
        let which = self.which.as_ref().map(|which| format!(" ({which})")).unwrap_or_default();
        or_nothing(self.measured.map(|measured| format!("{}{which}", (self.show)(measured))))
    }
}

pub(crate) fn measure(suite: &Suite<'_>, report: &mut Report) -> Outcome<()> {
    let own = suite.own(LARGE_MIB);
    let mut runs = Vec::new();
    for run in 1..=RUNS {
        report.line(&format!("\n# Run {run} of {RUNS}\n"));
        let mut bars = reading(&own.access(report)?);
        bars.extend(committing(&suite.durable(report)?, suite.kinds()));
        bars.extend(allocating(&own.alloc(report)?));
        bars.extend(iterating(&own.iterate(report)?));
        bars.extend(opening(&own.open(report)?));
        bars.extend(remembering(&own.memory(report)?));
        bars.extend(sharing(&own.shared(report)?));
        bars.push(extending(&own.extents(report)?));
        runs.push(bars);
    }
    report.line("\n# Bars\n");
    report.table(&verdicts(&runs));
    Ok(())
}

/// A row for each bar. All runs have the same bars.
fn verdicts(runs: &[Vec<Bar>]) -> Table {
    let mut table = Table::of_words(&["aim", "bar", "first run", "second", "third", "inside"]);
    for (at, first) in runs.first().into_iter().flatten().enumerate() {
        let bars: Vec<&Bar> = runs.iter().map(|run| &run[at]).collect();
        let inside = bars.iter().filter(|bar| bar.is_inside()).count();
        let verdict = if inside >= ENOUGH { "yes" } else { "**no**" };
        let mut cells = vec![first.aim.clone(), first.bound()];
        cells.extend(bars.iter().map(|bar| bar.cell()));
        cells.push(format!("{verdict}, {inside} of {}", runs.len()));
        table.row(cells);
    }
    table
}

fn reading(measured: &[access::Measured]) -> Vec<Bar> {
    let mut bars = Vec::new();
    for one in measured {
        for (name, most) in [(OWN, 1.15), (OWN_PROTECTED, 1.4)] {
            for (floor, called) in [
                (access::RAW, "a mapped slice"),
                (access::RAW_LARGE, "one of large folios"),
                (access::RAW_OWN, "one of diptych's file"),
            ] {
                if named(&one.one, floor).is_some() {
                    let aim = format!("{name}: a read, over {called}, {} MiB", one.mib);
                    bars.push(Bar::new(aim, Bound::AtMost(most), times, ratio(&one.one, name, floor)));
                }
            }
            let aim = format!("{name}: reads of two threads, over one, {} MiB", one.mib);
            bars.push(Bar::new(aim, Bound::AtLeast(1.9), times, one.scaling(name)));
        }
    }
    bars
}

fn committing(measured: &[durable::Measured], kinds: &[&'static Kind]) -> Vec<Bar> {
    let of = |title: &str| {
        let found = measured.iter().find(|one| one.name == title);
        found.map_or(&[][..], |one| one.series.as_slice())
    };
    let mut bars = Vec::new();
    for title in [durable::ALLOC, durable::FREE] {
        let series = of(title);
        let aim = format!("{OWN}: {title}, over the floor");
        bars.push(Bar::new(aim, Bound::AtMost(1.25), times, ratio(series, OWN, durable::FLOOR)));
        bars.push(fastest_peer(series, title, kinds));
    }
    for count in [1, 10, 100, 1000] {
        let (title, series) = (overwriting(count), of(&overwriting(count)));
        let aim = format!("{OWN_PROTECTED}: {title}, over the floor");
        bars.push(Bar::new(aim, Bound::AtMost(1.35), times, ratio(series, OWN_PROTECTED, durable::FLOOR)));
        let peers =
            if count == 1 { [("mappedpages-protected", 2.5), ("lmdb", 2.0)] } else { [("lmdb", 2.0), ("redb", 2.0)] };
        for (peer, least) in peers {
            let aim = format!("{OWN_PROTECTED}: {title}, {peer} over it");
            bars.push(Bar::new(aim, Bound::AtLeast(least), times, ratio(series, peer, OWN_PROTECTED)));
        }
    }
    bars
}

/// The peer that comes nearest, of those that survive a power cut.
fn fastest_peer(series: &[Series], title: &str, kinds: &[&'static Kind]) -> Bar {
    let peers = kinds.iter().filter(|kind| kind.crash_safe && kind.package != OWN);
    let ratios = peers.filter_map(|kind| Some((kind.name.to_owned(), ratio(series, kind.name, OWN)?)));
    let (which, measured) = ratios.min_by(|one, other| one.1.total_cmp(&other.1)).unzip();
    let aim = format!("{OWN}: {title}, the fastest peer that survives a power cut over it");
    Bar { which, ..Bar::new(aim, Bound::AtLeast(1.0), times, measured) }
}

fn allocating(measured: &[alloc::Measured]) -> Vec<Bar> {
    let called = |one: &alloc::Measured| format!("{} pages, {} % in use", one.pages, f64::from(one.fill) / 10.0);
    let bulk = |most: u32| {
        let taken = measured.iter().filter(move |one| one.fill <= most);
        taken.map(move |one| (called(one), one.bulk))
    };
    let single = measured.iter().map(|one| (called(one), one.single));
    vec![
        Bar::worst("bulk allocation, a page, up to 99 % in use", 12e-9, nanos, bulk(990)),
        Bar::worst("bulk allocation, a page, up to 99.9 %", 12e-9, nanos, bulk(999)),
        Bar::worst("single allocation in a transaction", 60e-9, nanos, single),
    ]
}

fn iterating(series: &[Series]) -> Vec<Bar> {
    let own = series.iter().filter(|one| one.name.starts_with(OWN));
    let all = own.map(|one| (one.name.clone(), one.median()));
    vec![Bar::worst("iterating, a page", 2e-9, nanos, all)]
}

fn extending(measured: &[extents::Measured]) -> Bar {
    Bar::worst("allocating an extent, at any fill", 1e-6, nanos, measured.iter().flat_map(extents::Measured::calls))
}

fn sharing(measured: &shared::Measured) -> Vec<Bar> {
    vec![
        Bar::new(
            "a shared pager: commits a second of 8 threads, over one",
            Bound::AtLeast(4.0),
            times,
            measured.group(),
        ),
        Bar::new(
            "a shared pager: a read in a guard, over one in a pager",
            Bound::AtMost(1.15),
            times,
            measured.reading(),
        ),
        Bar::new("a shared pager: reads of two guards, over one", Bound::AtLeast(1.8), times, measured.scaling()),
        Bar::new("a shared pager: a guard alone", Bound::AtMost(40e-9), nanos, measured.guard()),
    ]
}

fn opening(measured: &open::Measured) -> Vec<Bar> {
    let mut bars = Vec::new();
    for (name, mib, most) in [(OWN, 64, 1e-3), (OWN_PROTECTED, 64, 1e-3), (OWN, 1024, 2e-3)] {
        let series = measured.opened.iter().find(|(size, _)| *size == mib);
        let median = series.and_then(|(_, series)| named(series, name)?.median());
        bars.push(Bar::new(format!("{name}: opening {mib} MiB"), Bound::AtMost(most), millis, median));
    }
    let median = named(&measured.opened_sparse, &sparse::largest()).and_then(Series::median);
    bars.push(Bar::new(format!("{}: opening", sparse::largest()), Bound::AtMost(0.3), millis, median));
    for committed in &measured.committed {
        let aim = format!("{}: the dearest size, over the smallest", committed.name);
        bars.push(Bar::new(aim, Bound::AtMost(1.3), times, committed.steepness()));
    }
    bars
}

fn remembering(measured: &[memory::Measured]) -> Vec<Bar> {
    let (bits, bytes) = memory::of_a_page(measured);
    vec![
        Bar::new("memory of a touched page", Bound::AtMost(2.2), |bits| format!("{bits:.2} bits"), bits),
        Bar::new("memory of a protected page", Bound::AtMost(32.0), |bytes| format!("{bytes:.1} bytes"), bytes),
    ]
}

/// Seconds, in milliseconds.
fn millis(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1e3)
}

#[cfg(test)]
mod tests {
    use super::{Bar, Bound, verdicts};
    use crate::table::times;

    #[test]
    fn two_of_three_runs_are_enough() {
        let run = |low, high| {
            vec![
                Bar::new("low", Bound::AtMost(1.0), times, low),
                Bar { which: Some("it".into()), ..Bar::new("high", Bound::AtLeast(2.0), times, high) },
            ]
        };
        let table = verdicts(&[run(Some(0.5), Some(1.0)), run(Some(1.5), Some(2.0)), run(Some(1.0), None)]).to_string();
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| low | at most 1.00 | 0.50 | 1.50 | 1.00 | yes, 2 of 3 |",
                "| high | at least 2.00 | 1.00 (it) | 2.00 (it) | - | **no**, 1 of 3 |",
            ]
        );
    }
}
