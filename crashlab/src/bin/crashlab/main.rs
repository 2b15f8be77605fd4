//! The crash lab: enumerates what power cuts and failing calls may leave of a pager, and verifies all of it.

mod options;
mod task;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crashlab::power_cut;
use crashlab::replay::{crash_point, failing_call};
use crashlab::workload::{Workload, start_called};

use self::options::{Options, USAGE};
use self::task::{Outcome, Plan, Task, run_failing, tasks};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if options.help {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let done = match &options.replay {
        Some(case) => replay(case).map(|()| {
            println!("all holds");
            true
        }),
        None => enumerate(&options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

/// Runs one case; what does not hold panics.
fn replay(case: &str) -> Result<(), String> {
    let (name, rest) = case.split_once(':').unwrap_or((case, ""));
    if let Some(file) = name.strip_suffix("/fail") {
        let (size, start) = file.split_once('/').ok_or_else(|| format!("{file} is no page size and start"))?;
        let start = start_called(start).ok_or_else(|| format!("{start} is no start"))?;
        let size = size.parse().map_err(|_| format!("{size} is no page size"))?;
        println!("a call failed: {}", run_failing(size, start, failing_call(rest)?));
        return Ok(());
    }
    let workload: Workload = name.parse()?;
    let points = rest.split(" > ").filter(|point| !point.is_empty()).map(crash_point).collect::<Result<Vec<_>, _>>()?;
    power_cut::replay(&workload, &points)
}

/// What the threads share.
struct Shared {
    next: AtomicUsize,
    images: AtomicU64,
    over: AtomicBool,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    total: Outcome,
    workloads: u64,
    failing_tasks: u64,
    /// Tasks that are done while one before them is not.
    done: BTreeSet<usize>,
    /// All tasks before it are done.
    first_open: usize,
}

impl Found {
    fn finish(&mut self, at: usize) {
        self.done.insert(at);
        while self.done.remove(&self.first_open) {
            self.first_open += 1;
        }
    }
}

fn enumerate(options: &Options) -> Result<bool, String> {
    let tasks = tasks(options);
    let plan = Plan::new(options, &tasks);
    let first = options.resume.as_deref().map_or(Ok(0), |file| resumed(file, options))?;
    let shared = Shared {
        next: AtomicUsize::new(first),
        images: AtomicU64::new(0),
        over: AtomicBool::new(false),
        found: Mutex::new(Found { first_open: first, ..Found::default() }),
    };
    let started = Instant::now();
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| work(options, &tasks, plan, &shared, started));
        }
    });
    let found = shared.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = &options.resume {
        keep(file, options, found.first_open)?;
    }
    summarize(options, &tasks, first, &found, started.elapsed());
    Ok(found.total.violations.is_empty())
}

fn work(options: &Options, tasks: &[Task], plan: Plan, shared: &Shared, started: Instant) {
    let deadline = options.seconds.map(|seconds| started + Duration::from_secs(seconds));
    let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    loop {
        let enough = options.images.is_some_and(|images| shared.images.load(Ordering::Relaxed) >= images);
        if enough || is_late() || shared.over.load(Ordering::Relaxed) {
            return;
        }
        let at = shared.next.fetch_add(1, Ordering::Relaxed);
        let Some(task) = tasks.get(at) else { return };
        let outcome = plan.run(task, &is_late);
        shared.images.fetch_add(outcome.tally.images, Ordering::Relaxed);
        for (case, message) in &outcome.violations {
            println!("VIOLATION with --seed {}:\n  --replay '{case}'\n  {message}", options.seed);
        }
        let mut found = shared.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.total.tally.add(&outcome.tally);
        found.total.failing_runs += outcome.failing_runs;
        found.total.violations.extend(outcome.violations);
        if found.total.violations.len() >= 20 {
            shared.over.store(true, Ordering::Relaxed);
        }
        // What was cut short by the time is done again.
        if !is_late() {
            match task {
                Task::PowerCuts(_) => found.workloads += 1,
                Task::FailingCalls { .. } => found.failing_tasks += 1,
            }
            found.finish(at);
            if found.first_open.is_multiple_of(256)
                && let Some(file) = &options.resume
                && let Err(message) = keep(file, options, found.first_open)
            {
                eprintln!("{message}");
            }
        }
    }
}

/// Which tasks there are, and in which order, depends on these.
fn run_name(options: &Options) -> String {
    format!("seed {} long {}", options.seed, options.long)
}

fn resumed(file: &Path, options: &Options) -> Result<usize, String> {
    let Ok(text) = fs::read_to_string(file) else { return Ok(0) };
    let next = text.strip_prefix(&run_name(options)).and_then(|rest| rest.trim().strip_prefix("next "));
    let next = next.and_then(|next| next.parse().ok());
    next.ok_or_else(|| format!("{} is of another run than \"{}\"", file.display(), run_name(options)))
}

fn keep(file: &Path, options: &Options, next: usize) -> Result<(), String> {
    let new = file.with_extension("new");
    fs::write(&new, format!("{} next {next}\n", run_name(options)))
        .and_then(|()| fs::rename(&new, file))
        .map_err(|error| format!("{}: {error}", file.display()))
}

fn summarize(options: &Options, tasks: &[Task], first: usize, found: &Found, took: Duration) {
    let tally = &found.total.tally;
    let is_workload = |task: &&Task| matches!(task, Task::PowerCuts(_));
    let workloads = tasks[first.min(tasks.len())..].iter().filter(is_workload).count();
    let failing = tasks.len() - first.min(tasks.len()) - workloads;
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    println!("seed                     {}", options.seed);
    println!("threads                  {}", options.threads);
    println!("seconds                  {}", millis / 1000);
    println!("workloads                {} of {workloads}", found.workloads);
    println!("epochs                   {}", tally.epochs);
    println!("distinct images          {}", tally.images);
    println!("images/s                 {}", tally.images * 1000 / millis);
    println!("torn or junk             {}", tally.torn);
    println!("unreadable               {}", tally.unreadable);
    println!("recovered with work      {}", tally.recovered);
    println!("recovery crashes         {}", tally.recovery_crashes);
    println!("kinds of failing calls   {} of {failing}", found.failing_tasks);
    println!("failing-call runs        {}", found.total.failing_runs);
    println!("violations               {}", found.total.violations.len());
}
