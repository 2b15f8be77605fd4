//! A run: threads that take one task after the other, until all are done, enough was seen, or time is up.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::options::Options;
use crate::planted;
use crate::progress::Progress;
use crate::task::{Plan, Task, tasks};

/// After so many violations a run ends.
const MOST_VIOLATIONS: u64 = 20;
/// How often a run that can be resumed keeps how far it is.
const KEEPS_EVERY: Duration = Duration::from_secs(20);

/// What the threads share.
struct Run<'a> {
    options: &'a Options,
    tasks: Vec<Task>,
    plan: Plan,
    started: Instant,
    next: AtomicUsize,
    images: AtomicU64,
    over: AtomicBool,
    /// Violations of tasks that time cut short and a run that goes on does again: it counts them then.
    uncounted: AtomicU64,
    /// And up to when its milliseconds are counted.
    progress: Mutex<(Progress, Instant)>,
}

/// Runs what the options say and prints what came out. Whether everything held.
pub(crate) fn enumerate(options: &Options) -> Result<bool, String> {
    let progress = options.resume.as_deref().map_or(Ok(Progress::default()), |file| Progress::read(file, options))?;
    if let Some(file) = &options.resume {
        // Before hours of work, and not after them.
        progress.keep(file, options)?;
    }
    let tasks = tasks(options);
    let started = Instant::now();
    let run = Run {
        options,
        plan: Plan::new(options, &tasks),
        tasks,
        started,
        next: AtomicUsize::new(0),
        images: AtomicU64::new(progress.totals.tally.images),
        over: AtomicBool::new(false),
        uncounted: AtomicU64::new(0),
        progress: Mutex::new((progress, started)),
    };
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| run.work());
        }
    });
    std::panic::set_hook(loud);
    let (mut progress, kept) = run.progress.into_inner().unwrap_or_else(PoisonError::into_inner);
    progress.totals.millis += millis_since(kept);
    let kept = options.resume.as_deref().map_or(Ok(()), |file| progress.keep(file, options));
    progress.totals.violations += run.uncounted.into_inner();
    println!("{:<24} {}", "seed", options.seed);
    println!("{:<24} {}", "threads", options.threads);
    println!("{:<24} {}", "tasks", run.tasks.len());
    progress.totals.print();
    let mut holds = progress.totals.violations == 0;
    if progress.totals.tally.images < options.at_least {
        println!("{} distinct images were asked for", options.at_least);
        holds = false;
    }
    if options.planted {
        let (mistakes, caught) = planted::run()?;
        println!("{:<24} {caught} of {mistakes}", "planted mistakes caught");
        holds &= mistakes == caught;
    }
    kept.map(|()| holds)
}

fn millis_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Run<'_> {
    fn work(&self) {
        let deadline = self.options.seconds.and_then(|seconds| self.started.checked_add(Duration::from_secs(seconds)));
        let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        loop {
            let enough = self.options.images.is_some_and(|images| self.images.load(Ordering::Relaxed) >= images);
            if enough || is_late() || self.over.load(Ordering::Relaxed) {
                return;
            }
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = self.tasks.get(at) else { return };
            if self.progress().0.is_done(at) {
                continue;
            }
            let outcome = self.plan.run(task, &is_late);
            self.images.fetch_add(outcome.found.tally.images, Ordering::Relaxed);
            for (case, message) in &outcome.violations {
                println!("VIOLATION with --seed {}:\n  --replay '{case}'\n  {message}", self.options.seed);
            }
            let mut progress = self.progress();
            if is_late() {
                // What was cut short by the time is done again by a run that goes on, so it counts only here.
                if self.options.resume.is_none() {
                    progress.0.totals.add(&outcome.found);
                } else {
                    self.uncounted.fetch_add(outcome.found.violations, Ordering::Relaxed);
                }
                continue;
            }
            progress.0.finish(at, &outcome.found);
            if progress.0.totals.violations >= MOST_VIOLATIONS {
                self.over.store(true, Ordering::Relaxed);
            }
            if let Some(file) = &self.options.resume {
                self.keep(&mut progress, file);
            }
        }
    }

    fn progress(&self) -> MutexGuard<'_, (Progress, Instant)> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, progress: &mut (Progress, Instant), file: &Path) {
        if progress.1.elapsed() < KEEPS_EVERY {
            return;
        }
        progress.0.totals.millis += millis_since(progress.1);
        progress.1 = Instant::now();
        if let Err(message) = progress.0.keep(file, self.options) {
            eprintln!("{message}");
        }
    }
}
