//! Reading eight bytes of random pages that are in memory, with one thread and with two.

use std::sync::Barrier;
use std::thread;

use crate::bench::{Bench, Filled};
use crate::floors::mapped::Mapped;
use crate::floors::{Folios, copied};
use crate::measure::{Contestant, Series, interleave, named, timed};
use crate::outcome::{Failure, Outcome, ensure};
use crate::report::Report;
use crate::stores::{Reading, sum_of_words};
use crate::table::{Table, compared, failures, nanos, or_nothing, times};

/// The floor: a slice of a map of a file that was written page by page.
pub(crate) const RAW: &str = "floor: mapped slice";

/// The same, where the file was written in pieces of 1 MiB.
pub(crate) const RAW_LARGE: &str = "floor: mapped slice, large folios";

/// The same of the file that `diptych` reads from: the same pages of the cache, so that only the layer differs.
pub(crate) const RAW_OWN: &str = "floor: mapped slice, diptych's file";

/// The store whose file that is. Its ids say where in the file the pages lie.
const OWN: &str = "diptych";

/// Columns of ratios.
const REFERENCES: [(&str, &str); 4] = [
    ("times the slice", RAW),
    ("times the slice of large folios", RAW_LARGE),
    ("times the slice of diptych's file", RAW_OWN),
    ("times diptych", OWN),
];

const COPIED: &str = "floor: memcpy of the page";

/// Pages that are left out of a size, so that the nearest relative, whose files end at 64 MiB, can take part at that size.
const ENGINE_PAGES: u64 = 64;

/// Up to this size there are both maps.
const BOTH_MAPS_MIB: u64 = 256;

/// What a run reads.
pub(crate) struct Reads {
    pub(crate) mib: u64,
    /// Reads of each thread in a round: short, so that all contestants see the same state of the machine.
    pub(crate) count: usize,
}

/// What stores are compared with.
struct Maps {
    small: Mapped,
    /// Only beside small files: two maps and a store of some GiB are more than most machines have memory for.
    large: Option<Mapped>,
    /// With the ids of its pages.
    own: Option<(Mapped, Vec<u64>)>,
    all: Vec<u64>,
}

/// One that is read from: readings for each thread, and what they have to return.
struct Reader<'s> {
    name: &'static str,
    readings: Vec<Reading<'s>>,
    expected: Vec<u64>,
}

/// What came out for one size.
pub(crate) struct Measured {
    pub(crate) mib: u64,
    pub(crate) one: Vec<Series>,
    two: Vec<Series>,
}

impl Measured {
    /// How many times the reads of one thread two threads make in the same time.
    pub(crate) fn scaling(&self, name: &str) -> Option<f64> {
        Some(2.0 * named(&self.one, name)?.median()? / named(&self.two, name)?.median()?)
    }
}

pub(crate) fn measure(bench: &Bench, report: &mut Report, reads: &Reads) -> Outcome<Measured> {
    let pages = (reads.mib * 256).saturating_sub(ENGINE_PAGES).max(1);
    report.heading(&format!("Reading 8 bytes of a random page, {} MiB in memory", reads.mib));
    let folder = bench.folder()?;
    let (stores, reasons) = bench.filled(&folder, pages)?;
    report.left_out(&reasons);
    let own = stores.iter().find(|filled| filled.kind.name == OWN);
    let maps = Maps {
        small: Mapped::new(&folder.path().join("small"), pages, Folios::Small)?,
        large: (reads.mib <= BOTH_MAPS_MIB)
            .then(|| Mapped::new(&folder.path().join("large"), pages, Folios::Large))
            .transpose()?,
        own: own.map(|filled| Ok::<_, Failure>((Mapped::of_store(&filled.file)?, filled.ids.clone()))).transpose()?,
        all: (0..pages).collect(),
    };

    let one = with_threads(bench, report, &maps, &stores, reads.count, 1)?;
    let two = with_threads(bench, report, &maps, &stores, reads.count, 2)?;
    let measured = Measured { mib: reads.mib, one, two };
    report.subheading("Reads a second: two threads over one");
    report.table(&scaling(&measured));
    Ok(measured)
}

fn with_threads(
    bench: &Bench,
    report: &mut Report,
    maps: &Maps,
    stores: &[Filled],
    count: usize,
    threads: usize,
) -> Outcome<Vec<Series>> {
    let (readers, reasons) = readers(bench, maps, stores, count, threads)?;
    let contestants =
        readers.into_iter().map(|mut reader| Contestant::new(reader.name, move || Ok(reader.run()? / count as f64)));
    let series = interleave(contestants.collect(), bench.effort(1));
    report.subheading(&format!("{threads} thread{}, ns a read of a thread", if threads == 1 { "" } else { "s" }));
    report.table(&compared(&series, &REFERENCES, nanos));
    report.left_out(&[reasons, failures(&series)].concat());
    Ok(series)
}

fn readers<'s>(
    bench: &Bench,
    maps: &'s Maps,
    stores: &'s [Filled],
    count: usize,
    threads: usize,
) -> Outcome<(Vec<Reader<'s>>, Vec<String>)> {
    let mut random = bench.random();
    let (mut readers, mut reasons) = (Vec::new(), Vec::new());
    let small = Some((&maps.small, &maps.all));
    let large = maps.large.as_ref().map(|mapped| (mapped, &maps.all));
    let own = maps.own.as_ref().map(|(mapped, ids)| (mapped, ids));
    for (name, map, copy) in
        [(RAW, small, false), (RAW_LARGE, large, false), (RAW_OWN, own, false), (COPIED, small, true)]
    {
        let Some((mapped, all)) = map else { continue };
        let mut reader = Reader { name, readings: Vec::new(), expected: Vec::new() };
        for _ in 0..threads {
            let ids = random.sequence(all, count);
            reader.expected.push(sum_of_words(&ids, 0));
            reader.readings.push(if copy { copied::reading(mapped, &ids)? } else { mapped.reading(&ids)? });
        }
        readers.push(reader);
    }
    for Filled { kind, store, ids, .. } in stores {
        if store.reader_limit() < threads {
            reasons.push(format!("{}: threads cannot share it", kind.name));
            continue;
        }
        let mut reader = Reader { name: kind.name, readings: Vec::new(), expected: Vec::new() };
        for _ in 0..threads {
            let ids = random.sequence(ids, count);
            reader.expected.push(sum_of_words(&ids, 0));
            reader.readings.push(store.reading(ids)?);
        }
        readers.push(reader);
    }
    Ok((readers, reasons))
}

impl Reader<'_> {
    /// The seconds of the slowest thread. All begin together.
    fn run(&mut self) -> Outcome<f64> {
        let runs = match self.readings.as_mut_slice() {
            [reading] => vec![timed(reading)?],
            readings => at_once(readings)?,
        };
        let sums: Vec<u64> = runs.iter().map(|(sum, _)| *sum).collect();
        ensure(sums == self.expected, || "what was read is not what was written".to_owned())?;
        Ok(runs.iter().map(|(_, seconds)| *seconds).fold(0.0, f64::max))
    }
}

fn at_once(readings: &mut [Reading<'_>]) -> Outcome<Vec<(u64, f64)>> {
    let start = Barrier::new(readings.len());
    thread::scope(|scope| {
        let threads: Vec<_> = readings
            .iter_mut()
            .map(|reading| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    timed(reading)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a reader panicked")?).collect()
    })
}

fn scaling(measured: &Measured) -> Table {
    let mut table = Table::new(&["", "two threads over one"]);
    for series in &measured.one {
        table.row(vec![series.name.clone(), or_nothing(measured.scaling(&series.name).map(times))]);
    }
    table
}
