//! Everything that is durable when it returns, beside what the disk charges for the same pages.

use std::cell::RefCell;

use crate::bench::{Bench, Filled, able};
use crate::floors::appended::Appended;
use crate::floors::scattered::Scattered;
use crate::measure::{Contestant, Effort, Series, interleave, ratio, timed};
use crate::outcome::{Outcome, ensure};
use crate::page::Change;
use crate::plot::Plot;
use crate::random::Random;
use crate::report::Report;
use crate::stores::{Work, check_content};
use crate::table::{Table, compared, failures, micros, or_nothing, times};

/// The floor: a `pwrite` for each page, anywhere in the file, and one `fdatasync`.
pub(crate) const FLOOR: &str = "floor: scattered";

/// A floor for those who write all pages of a commit to one place.
const APPENDED: &str = "floor: appended";

/// Pages of a commit, and how often a round measures it: a short one more often, for a disk is not the same twice.
const OVERWRITES: [(usize, usize); 4] = [(1, 5), (10, 5), (100, 3), (1000, 1)];

/// Calls of a round that allocates or frees one page.
const SINGLE_CALLS: usize = 5;

/// Both floors have their files, and keep them for all tables.
struct Floors {
    scattered: Scattered,
    appended: Appended,
    pages: u64,
}

/// What the tables of single pages are called.
pub(crate) const ALLOC: &str = "alloc one page";
pub(crate) const FREE: &str = "free one page";
const ALLOC_RECYCLED: &str = "alloc one page that was freed before";

/// A table of the summary: what it is called, and what came out.
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) series: Vec<Series>,
}

/// What the table of overwriting so many pages a commit is called.
pub(crate) fn overwriting(count: usize) -> String {
    if count == 1 { "overwrite 1 page".to_owned() } else { format!("overwrite {count} pages a commit") }
}

pub(crate) fn measure(bench: &Bench, report: &mut Report, pages: u64) -> Outcome<Vec<Measured>> {
    report.heading(&format!("Durable work, of {pages} pages of 4 KiB"));
    let folder = bench.folder()?;
    let (mut stores, reasons) = bench.filled(&folder, pages)?;
    report.left_out(&reasons);
    let mut floors = Floors {
        scattered: Scattered::new(&folder.path().join("scattered"), pages)?,
        appended: Appended::new(&folder.path().join("appended"), pages)?,
        pages,
    };

    let mut measured = single_pages(bench, report, &mut stores, &mut floors)?;
    let mut plot = Plot::new("Durable overwriting of random pages", "pages a commit", "µs a page");
    for (count, calls) in OVERWRITES.into_iter().filter(|(count, _)| *count as u64 <= pages) {
        let one = overwrites(bench, report, &mut stores, &mut floors, count, calls)?;
        for series in &one.series {
            if let Some(seconds) = series.median() {
                plot.point(&series.name, count as f64, seconds * 1e6 / count as f64);
            }
        }
        measured.push(one);
    }
    report.subheading("Times the floor");
    report.table(&summary(&measured));
    report.plot("commit.svg", &plot)?;
    Ok(measured)
}

/// What each store has allocated and not freed again.
type Fresh = Vec<RefCell<Vec<u64>>>;

/// Allocating pages one by one, then freeing the same ones, then allocating where pages were freed.
fn single_pages(
    bench: &Bench,
    report: &mut Report,
    stores: &mut [Filled],
    floors: &mut Floors,
) -> Outcome<Vec<Measured>> {
    let fresh: Fresh = stores.iter().map(|_| RefCell::default()).collect();
    let counts = page_counts(stores)?;
    let allocated = single_page(bench, report, stores, floors, (ALLOC, Work::Alloc), &fresh)?;
    check_counts(stores, &fresh, &counts)?;
    write_once(stores, &fresh)?;
    let freed = single_page(bench, report, stores, floors, (FREE, Work::Free), &fresh)?;
    check_counts(stores, &fresh, &counts)?;
    let recycled = single_page(bench, report, stores, floors, (ALLOC_RECYCLED, Work::Alloc), &fresh)?;
    check_counts(stores, &fresh, &counts)?;
    Ok(vec![allocated, freed, recycled])
}

/// One page for each call: `work` is one of allocating and freeing.
fn single_page(
    bench: &Bench,
    report: &mut Report,
    stores: &mut [Filled],
    floors: &mut Floors,
    (title, work): (&str, Work),
    fresh: &Fresh,
) -> Outcome<Measured> {
    let names: Vec<&str> = stores.iter().map(|filled| filled.kind.name).collect();
    let of = |name: &str| &fresh[names.iter().position(|other| *other == name).expect("a store that takes part")];
    let (able_stores, reasons) = able(stores, work);
    let mut contestants = floors.contestants(1, bench.random());
    for filled in able_stores {
        let ids = of(filled.kind.name);
        contestants.push(Contestant::new(filled.kind.name, move || {
            if work == Work::Free {
                let id = ids.borrow_mut().pop().ok_or("it has allocated nothing")?;
                return Ok(timed(|| filled.store.free_one(id))?.1);
            }
            let (id, seconds) = timed(|| filled.store.alloc_one())?;
            ids.borrow_mut().push(id);
            Ok(seconds)
        }));
    }
    Ok(shown(report, title, contestants, bench.effort(SINGLE_CALLS), "diptych", &reasons))
}

/// Fails unless each store has as many pages as before and those it has made since, and all can be read.
fn check_counts(stores: &[Filled], fresh: &Fresh, before: &[u64]) -> Outcome<()> {
    for ((filled, ids), before) in stores.iter().zip(fresh).zip(before) {
        let (now, made) = (filled.store.page_count()?, ids.borrow().len() as u64);
        ensure(now == before + made, || format!("{}: {made} new pages, and {now} in all", filled.kind.name))?;
        filled.store.reading(ids.borrow().clone())?()?;
        check_content(filled.store.as_ref(), &filled.ids, 0)?;
    }
    Ok(())
}

/// Writes the pages that were just allocated: who frees a page has used it, and the filesystem has noted that it is written.
fn write_once(stores: &mut [Filled], fresh: &Fresh) -> Outcome<()> {
    for (filled, ids) in stores.iter_mut().zip(fresh) {
        if filled.store.cannot(Work::Overwrite).is_none() {
            let changes: Vec<Change> = ids.borrow().iter().map(|id| Change::new(*id, 1)).collect();
            filled.store.overwrite(&changes)?;
        }
    }
    Ok(())
}

fn page_counts(stores: &[Filled]) -> Outcome<Vec<u64>> {
    stores.iter().map(|filled| filled.store.page_count()).collect()
}

/// Replacing `count` pages in one commit, other ones each time.
fn overwrites(
    bench: &Bench,
    report: &mut Report,
    stores: &mut [Filled],
    floors: &mut Floors,
    count: usize,
    calls: usize,
) -> Outcome<Measured> {
    let (able_stores, reasons) = able(stores, Work::Overwrite);
    let written: Vec<RefCell<Vec<u64>>> = able_stores.iter().map(|_| RefCell::default()).collect();
    let last_stamp = RefCell::new(vec![0; able_stores.len()]);
    let mut contestants = floors.contestants(count, bench.random());
    for (at, filled) in able_stores.into_iter().enumerate() {
        let (written, last_stamp) = (&written[at], &last_stamp);
        let mut random = bench.random();
        let mut ids = filled.ids.clone();
        contestants.push(Contestant::new(filled.kind.name, move || {
            let stamp = last_stamp.borrow()[at] + 1;
            let chosen = random.choose(&mut ids, count);
            let changes: Vec<Change> = chosen.iter().map(|id| Change::new(*id, stamp)).collect();
            let ((), seconds) = timed(|| filled.store.overwrite(&changes))?;
            last_stamp.borrow_mut()[at] = stamp;
            *written.borrow_mut() = chosen;
            Ok(seconds)
        }));
    }
    let measured = shown(report, &overwriting(count), contestants, bench.effort(calls), "diptych-protected", &reasons);

    let (able_stores, _) = able(stores, Work::Overwrite);
    for ((filled, ids), stamp) in able_stores.into_iter().zip(&written).zip(last_stamp.into_inner()) {
        check_content(filled.store.as_ref(), &ids.borrow(), stamp)?;
    }
    Ok(measured)
}

impl Floors {
    fn contestants(&mut self, count: usize, random: Random) -> Vec<Contestant<'_>> {
        let all: Vec<u64> = (0..self.pages).collect();
        let mut choose = Chooser { random, ids: all.clone(), count };
        let mut choose_also = Chooser { random: Random::new(1), ids: all, count };
        let Floors { scattered, appended, .. } = self;
        vec![
            Contestant::new(FLOOR, move || {
                let changes = choose.changes();
                Ok(timed(|| scattered.overwrite(&changes))?.1)
            }),
            Contestant::new(APPENDED, move || {
                let changes = choose_also.changes();
                Ok(timed(|| appended.append(&changes))?.1)
            }),
        ]
    }
}

/// What a floor writes.
struct Chooser {
    random: Random,
    ids: Vec<u64>,
    count: usize,
}

impl Chooser {
    fn changes(&mut self) -> Vec<Change> {
        let chosen = self.random.choose(&mut self.ids, self.count);
        chosen.into_iter().map(|id| Change::new(id, 1)).collect()
    }
}

/// Measures, and prints the table.
fn shown(
    report: &mut Report,
    title: &str,
    contestants: Vec<Contestant<'_>>,
    effort: Effort,
    own: &str,
    reasons: &[String],
) -> Measured {
    let series = interleave(contestants, effort);
    report.subheading(title);
    report.table(&compared(&series, &[("times the floor", FLOOR), (&format!("times {own}"), own)], micros));
    report.left_out(&[reasons, &failures(&series)].concat());
    Measured { name: title.to_owned(), series }
}

/// All ratios to the floor in one table.
fn summary(measured: &[Measured]) -> Table {
    let mut columns = vec![""];
    columns.extend(measured.iter().map(|one| one.name.as_str()));
    let mut table = Table::new(&columns);
    let mut names: Vec<&str> = Vec::new();
    for series in measured.iter().flat_map(|one| &one.series) {
        if !names.contains(&series.name.as_str()) {
            names.push(&series.name);
        }
    }
    for name in names {
        let mut cells = vec![name.to_owned()];
        for one in measured {
            cells.push(or_nothing(ratio(&one.series, name, FLOOR).map(times)));
        }
        table.row(cells);
    }
    table
}
