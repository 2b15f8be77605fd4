//! Opening a file that was closed, and committing one page, against the size of the file: files of all stores up to a size,
//! then those of `diptych`, then [sparse](super::sparse) ones.

use tempfile::TempDir;

use crate::bench::{Bench, Filled};
use crate::floors::scattered::Scattered;
use crate::measure::{Contestant, Series, interleave, named, ratio, timed};
use crate::outcome::{Outcome, ensure};
use crate::page::Change;
use crate::plot::Plot;
use crate::report::Report;
use crate::stores::{Kind, Place, check_content};
use crate::table::{compared, failures, micros};

use super::sparse;

pub(super) const FLOOR: &str = "floor: scattered";

/// Pages of the floor's file.
const FLOOR_PAGES: u64 = 1024;

/// Files up to this size exist for every store; above it only `diptych` takes part, unless the stores were named: together
/// they would take too much of the disk.
const EVERYBODY_MIB: u64 = 64;

pub(super) const CALLS: usize = 3;

/// Which sizes, and whether the stores that take part were named by whoever started this.
pub(crate) struct Sizes<'a> {
    pub(crate) mib: &'a [u64],
    pub(crate) stores_named: bool,
}

impl Sizes<'_> {
    fn takes_part(&self, kind: &Kind, mib: u64) -> bool {
        self.stores_named || mib <= EVERYBODY_MIB || kind.name == "diptych"
    }
}

/// What came out.
pub(crate) struct Measured {
    /// By MiB of pages.
    pub(crate) opened: Vec<(u64, Vec<Series>)>,
    pub(crate) committed: Vec<Committed>,
    /// What [`sparse`] calls them.
    pub(crate) opened_sparse: Vec<Series>,
}

/// Committing one page in files of several sizes.
pub(crate) struct Committed {
    /// In which files, and what.
    pub(crate) name: String,
    /// The names of those that are compared, the smallest file first.
    pub(super) lines: Vec<String>,
    pub(super) series: Vec<Series>,
}

impl Committed {
    /// How many times the price in the smallest file the dearest one pays.
    pub(crate) fn steepness(&self) -> Option<f64> {
        let smallest = self.lines.first()?;
        self.lines.iter().filter_map(|line| ratio(&self.series, line, smallest)).max_by(f64::total_cmp)
    }

    pub(super) fn show(&self, report: &mut Report) {
        report.subheading(&self.name);
        let smallest = self.lines.first().map_or("", String::as_str);
        let references = [("times the floor", FLOOR), ("times the smallest", smallest)];
        report.table(&compared(&self.series, &references, micros));
        report.left_out(&failures(&self.series));
    }
}

pub(crate) fn measure(bench: &Bench, report: &mut Report, sizes: &Sizes<'_>) -> Outcome<Measured> {
    report.heading("Opening a file that was closed, its blocks in the page cache");
    let mut plot = Plot::new("Opening", "MiB of pages", "µs");
    let mut all = Vec::new();
    for mib in sizes.mib {
        all.push((*mib, opened(bench, report, sizes, *mib, &mut plot)?));
    }
    report.plot("open.svg", &plot)?;

    report.heading("Committing one page, against the size of the file");
    let mut plot = Plot::new("Committing one page", "MiB of pages", "µs");
    let mut commits = Vec::new();
    for (name, work) in [("diptych", "alloc one page"), ("diptych-protected", "overwrite 1 page")] {
        commits.extend(committed(bench, report, sizes, &mut plot, name, work)?);
    }
    report.plot("commit_size.svg", &plot)?;

    let mut opened_sparse = Vec::new();
    if bench.has("diptych") {
        let (opened, committed) = sparse::measure(bench, report)?;
        opened_sparse = opened;
        commits.push(committed);
    }
    Ok(Measured { opened: all, committed: commits, opened_sparse })
}

fn opened(bench: &Bench, report: &mut Report, sizes: &Sizes<'_>, mib: u64, plot: &mut Plot) -> Outcome<Vec<Series>> {
    let folder = bench.folder()?;
    let pages = mib * 256;
    let (mut contestants, mut reasons) = (vec![floor(&folder, bench)?], Vec::new());
    for kind in bench.kinds.iter().filter(|kind| sizes.takes_part(kind, mib)) {
        let place = Place::new(folder.path().join(kind.name), pages - 64)?;
        let closed = Filled::new(kind, &place, pages - 64).and_then(|filled| {
            filled.store.close()?;
            Ok(filled.ids)
        });
        match closed {
            Ok(ids) => contestants.push(opener(kind, place, ids)),
            Err(error) => reasons.push(format!("{}: {error}", kind.name)),
        }
    }
    let series = interleave(contestants, bench.effort(CALLS));
    report.subheading(&format!("{mib} MiB of pages"));
    report.table(&compared(&series, &[("times the floor", FLOOR), ("times diptych", "diptych")], micros));
    report.left_out(&[reasons, failures(&series)].concat());
    add_points(plot, &series, mib);
    Ok(series)
}

fn add_points(plot: &mut Plot, series: &[Series], mib: u64) {
    for one in series {
        plot.point(&one.name, mib as f64, one.median().unwrap_or_default() * 1e6);
    }
}

/// One page, written and synced.
pub(super) fn floor<'a>(folder: &TempDir, bench: &Bench) -> Outcome<Contestant<'a>> {
    let mut floor = Scattered::new(&folder.path().join("floor"), FLOOR_PAGES)?;
    let mut random = bench.random();
    let ids: Vec<u64> = (0..FLOOR_PAGES).collect();
    Ok(Contestant::new(FLOOR, move || {
        let changes = [Change::new(ids[random.below(ids.len())], 1)];
        Ok(timed(|| floor.overwrite(&changes))?.1)
    }))
}

/// Opens, and looks whether a page is there, which is not counted; nor is closing.
fn opener<'a>(kind: &'static Kind, place: Place, ids: Vec<u64>) -> Contestant<'a> {
    Contestant::new(kind.name, move || {
        let (store, seconds) = timed(|| (kind.open)(&place))?;
        check_content(store.as_ref(), &ids[ids.len() / 2..][..1], 0)?;
        Ok(seconds)
    })
}

/// One store in files of all sizes, side by side.
fn committed(
    bench: &Bench,
    report: &mut Report,
    sizes: &Sizes<'_>,
    plot: &mut Plot,
    name: &str,
    work: &str,
) -> Outcome<Option<Committed>> {
    let Some(kind) = bench.kinds.iter().find(|kind| kind.name == name) else { return Ok(None) };
    let folder = bench.folder()?;
    let mut contestants = vec![floor(&folder, bench)?];
    let mut line_names = Vec::new();
    for mib in sizes.mib.iter().filter(|mib| sizes.takes_part(kind, **mib)) {
        let place = Place::new(folder.path().join(mib.to_string()), mib * 256)?;
        let filled = Filled::new(kind, &place, mib * 256)?;
        let line = format!("{name}, {mib} MiB: {work}");
        line_names.push((line.clone(), *mib));
        contestants.push(committer(filled, line, bench, work.starts_with("alloc")));
    }
    let series = interleave(contestants, bench.effort(CALLS));
    for (line, mib) in &line_names {
        let median = named(&series, line).and_then(Series::median);
        plot.point(&format!("{name}: {work}"), *mib as f64, median.unwrap_or_default() * 1e6);
    }
    let lines = line_names.into_iter().map(|(line, _)| line).collect();
    let committed = Committed { name: format!("{name}: {work}"), lines, series };
    committed.show(report);
    Ok(Some(committed))
}

fn committer<'a>(mut filled: Filled, line: String, bench: &Bench, allocates: bool) -> Contestant<'a> {
    let mut random = bench.random();
    let mut stamp = 0;
    Contestant::new(line, move || {
        if allocates {
            let (id, seconds) = timed(|| filled.store.alloc_one())?;
            filled.store.free_one(id)?;
            return Ok(seconds);
        }
        stamp += 1;
        let id = filled.ids[random.below(filled.ids.len())];
        let changes = [Change::new(id, stamp)];
        let ((), seconds) = timed(|| filled.store.overwrite(&changes))?;
        check_content(filled.store.as_ref(), &[id], stamp)?;
        ensure(seconds > 0.0, || "a commit took no time".to_owned())?;
        Ok(seconds)
    })
}
