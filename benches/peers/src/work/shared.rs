//! A pager that threads share: commits of one thread and of eight, and what reading through a guard costs.

use std::hint::black_box;
use std::ops::Deref;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use diptych::{PageId, PageReader, Pager, ProtectedPageId, SharedPager};

use crate::bench::Bench;
use crate::measure::{Contestant, Series, interleave, named, ratio, timed};
use crate::outcome::{Outcome, ensure};
use crate::page::PAGE_LEN;
use crate::report::Report;
use crate::table::{Table, compared, failures, micros, nanos, or_nothing, times};

/// Threads that commit, each its own protected page.
const WRITERS: usize = 8;
/// Commits of all threads in a round.
const COMMITS: usize = 800;

/// Pages that are read, 16 MiB, and reads of a thread in a round.
const PAGES: usize = 4096;
const READS: usize = 1 << 19;
/// Guards that are taken in a round.
const GUARDS: usize = 1 << 18;

const ALONE: &str = "Pager, one thread";
const ONE: &str = "SharedPager, one thread";
const MANY: &str = "SharedPager, 8 threads";

const IN_A_PAGER: &str = "Pager";
const IN_A_GUARD: &str = "guard";
const IN_TWO_GUARDS: &str = "guards of two threads";

const GUARD: &str = "take and drop a guard";
const NESTED: &str = "another guard of the same thread";
const GUARD_OF_TWO: &str = "guards of two threads at once";

/// What came out.
pub(crate) struct Measured {
    pub(crate) commits: Vec<Series>,
    pub(crate) reads: Vec<Series>,
    pub(crate) guards: Vec<Series>,
}

impl Measured {
    /// How many times the commits a second of one thread eight make.
    pub(crate) fn group(&self) -> Option<f64> {
        ratio(&self.commits, ONE, MANY)
    }

    /// How many times as long a read takes in a guard.
    pub(crate) fn reading(&self) -> Option<f64> {
        ratio(&self.reads, IN_A_GUARD, IN_A_PAGER)
    }

    /// How many times the reads of one guard two threads make.
    pub(crate) fn scaling(&self) -> Option<f64> {
        ratio(&self.reads, IN_A_GUARD, IN_TWO_GUARDS).map(|times| 2.0 * times)
    }

    /// Seconds that taking a guard and dropping it takes.
    pub(crate) fn guard(&self) -> Option<f64> {
        named(&self.guards, GUARD)?.median()
    }
}

type Id = ProtectedPageId<PAGE_LEN>;

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<Measured> {
    let folder = bench.folder()?;
    report.heading("A shared pager");
    let measured = Measured {
        commits: commits(bench, folder.path())?,
        reads: reads(bench, folder.path())?,
        guards: guards(bench, folder.path())?,
    };
    report.subheading("Changing one protected page, µs a commit");
    report.table(&compared(&measured.commits, &[("times one thread", ONE)], micros));
    report.subheading("Reading 8 bytes of a random regular page, ns a read of a thread");
    report.table(&compared(&measured.reads, &[("times a pager", IN_A_PAGER)], nanos));
    report.subheading("Guards, ns each");
    report.table(&compared(&measured.guards, &[("times one alone", GUARD)], nanos));
    let mut table = Table::new(&["", ""]);
    let rows = [
        ("commits a second, 8 threads over one", measured.group().map(times)),
        ("a read in a guard over one in a pager", measured.reading().map(times)),
        ("reads a second, two guards over one", measured.scaling().map(times)),
        ("a guard alone", measured.guard().map(nanos)),
    ];
    for (what, found) in rows {
        table.row(vec![what.to_owned(), or_nothing(found)]);
    }
    report.subheading("What the bars of it are about");
    report.table(&table);
    report.left_out(&[&measured.commits, &measured.reads, &measured.guards].map(|series| failures(series)).concat());
    Ok(measured)
}

/// A pager with a protected page for each writer.
fn writable(path: &Path) -> Outcome<(Pager<PAGE_LEN>, Vec<Id>)> {
    let mut pager = Pager::create(path)?;
    let ids = pager.alloc_protected_bulk(WRITERS)?;
    Ok((pager, ids))
}

fn commits(bench: &Bench, folder: &Path) -> Outcome<Vec<Series>> {
    let (mut alone, own) = writable(&folder.join("alone"))?;
    let (pager, ids) = writable(&folder.join("shared"))?;
    let (pager, ids) = (SharedPager::new(pager), &ids);
    let contestants = vec![
        Contestant::new(ALONE, || {
            let run = || {
                for round in 0..COMMITS {
                    let mut transaction = alone.transaction()?;
                    transaction.protected_mut(own[0])?[..8].copy_from_slice(&round.to_le_bytes());
                    transaction.commit()?;
                }
                Ok(())
            };
            Ok(timed(run)?.1 / COMMITS as f64)
        }),
        Contestant::new(ONE, || committed(&pager, &ids[..1])),
        Contestant::new(MANY, || committed(&pager, ids)),
    ];
    Ok(interleave(contestants, bench.effort(1)))
}

/// Seconds a commit where a thread for each of the pages changes it again and again.
fn committed(pager: &SharedPager<PAGE_LEN>, ids: &[Id]) -> Outcome<f64> {
    let each = COMMITS / ids.len();
    let seconds = at_once(ids.len(), |thread| {
        for round in 0..each {
            pager.transact(|transaction| {
                transaction.protected_mut(ids[thread])?[..8].copy_from_slice(&round.to_le_bytes());
                Ok::<_, diptych::Error>(())
            })?;
        }
        Ok(())
    })?;
    let reader = pager.read();
    let last = (each - 1).to_le_bytes();
    let all_there = ids.iter().all(|id| reader.protected(*id).is_ok_and(|page| page[..8] == last));
    ensure(all_there, || "a commit is missing".to_owned())?;
    Ok(seconds / (each * ids.len()) as f64)
}

/// The seconds of the slowest of so many threads, which begin together.
fn at_once(threads: usize, act: impl Fn(usize) -> Outcome<()> + Sync) -> Outcome<f64> {
    let start = Barrier::new(threads);
    let seconds = thread::scope(|scope| {
        let all: Vec<_> = (0..threads)
            .map(|thread| {
                let (start, act) = (&start, &act);
                scope.spawn(move || {
                    start.wait();
                    timed(|| act(thread)).map(|(_, seconds)| seconds)
                })
            })
            .collect();
        all.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked")?).collect::<Outcome<Vec<_>>>()
    })?;
    Ok(seconds.into_iter().fold(0.0, f64::max))
}

/// A pager with pages that say which they are, and the order in which they are read.
fn readable(bench: &Bench, path: &Path) -> Outcome<(Pager<PAGE_LEN>, Vec<PageId<PAGE_LEN>>)> {
    let mut pager = Pager::create(path)?;
    let ids = pager.alloc_bulk(PAGES)?;
    for id in &ids {
        pager.page_mut(*id)?[..8].copy_from_slice(&id.to_u64().to_le_bytes());
    }
    pager.sync()?;
    let order = bench.random().sequence(&ids.iter().map(|id| id.to_u64()).collect::<Vec<_>>(), READS);
    Ok((pager, order.into_iter().filter_map(PageId::from_u64).collect()))
}

fn read_all(reader: impl Deref<Target = PageReader<PAGE_LEN>>, order: &[PageId<PAGE_LEN>]) -> Outcome<()> {
    let mut sum = 0u64;
    for id in order {
        let page = reader.page(*id)?;
        sum = sum.wrapping_add(u64::from_le_bytes(page[..8].try_into()?));
    }
    black_box(sum);
    Ok(())
}

fn reads(bench: &Bench, folder: &Path) -> Outcome<Vec<Series>> {
    // Of one file one after the other, so that it lies in memory in the same way.
    let (pager, order) = readable(bench, &folder.join("read"))?;
    let shared = std::cell::RefCell::new(Some(SharedPager::new(pager)));
    let per_read = |seconds: f64| seconds / READS as f64;
    let contestants = vec![
        Contestant::new(IN_A_PAGER, || {
            let pager = shared.take().and_then(|shared| shared.into_pager().ok()).ok_or("there is one handle")?;
            let seconds = timed(|| read_all(&*pager, &order))?.1;
            shared.replace(Some(SharedPager::new(pager)));
            Ok(per_read(seconds))
        }),
        Contestant::new(IN_A_GUARD, || {
            let shared = shared.borrow();
            let guard = shared.as_ref().ok_or("it was put back")?.read();
            Ok(per_read(timed(|| read_all(&*guard, &order))?.1))
        }),
        Contestant::new(IN_TWO_GUARDS, || {
            let shared = shared.borrow();
            let pager = shared.as_ref().ok_or("it was put back")?;
            Ok(per_read(at_once(2, |_| read_all(&*pager.read(), &order))?))
        }),
    ];
    Ok(interleave(contestants, bench.effort(1)))
}

fn guards(bench: &Bench, folder: &Path) -> Outcome<Vec<Series>> {
    let pager = SharedPager::new(Pager::<PAGE_LEN>::create(folder.join("guards"))?);
    let take = || {
        for _ in 0..GUARDS {
            black_box(&*pager.read());
        }
        Ok(())
    };
    let per_guard = |seconds: f64| seconds / GUARDS as f64;
    let contestants = vec![
        Contestant::new(GUARD, || Ok(per_guard(timed(take)?.1))),
        Contestant::new(NESTED, || {
            let _outer = pager.read();
            Ok(per_guard(timed(take)?.1))
        }),
        Contestant::new(GUARD_OF_TWO, || Ok(per_guard(at_once(2, |_| take())?))),
    ];
    Ok(interleave(contestants, bench.effort(1)))
}
