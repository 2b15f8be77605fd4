//! What there is to do, in its order.

use std::fmt;
use std::io;

use crashlab::draws::Draws;
use crashlab::failing_call::{ERRORS, FailingCall};
use crashlab::lab::Start;
use crashlab::power_cut::{self, Depth};
use crashlab::rot::{CLOSED, rot};
use crashlab::verify::caught;
use crashlab::workload::{PAGE_SIZES, Workload};
use diptych::CallKind;

use crate::options::Options;
use crate::totals::Totals;

/// A share of the sequences of three operations that runs without `--long`.
const THREES: u64 = 256;
/// Of blocks that hold nothing, a share rots without `--long`.
const SPARSE: u64 = 16;
/// Sequences of one operation are looked at so many times as closely as longer ones.
const WEIGHT_OF_ONE: u64 = 8;

/// Ends the name of a task in which a file rots.
pub(crate) const ROT: &str = "/rot";
/// Ends the name of a task in which calls fail.
pub(crate) const FAIL: &str = "/fail";

/// How many states are looked at for each image that differs from all before it.
const LOOKS_AN_IMAGE: u64 = 4;

/// One piece of work.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    PowerCuts(Workload),
    /// The file that it leaves rots.
    Rot(Workload),
    /// Call n fails, for all n; the one given is the first.
    FailingCalls {
        page_size: usize,
        start: Start,
        first: FailingCall,
    },
}

impl Task {
    fn page_size(&self) -> usize {
        match self {
            Task::PowerCuts(workload) | Task::Rot(workload) => workload.page_size,
            Task::FailingCalls { page_size, .. } => *page_size,
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Task::PowerCuts(workload) => workload.fmt(f),
            Task::Rot(workload) => write!(f, "{workload}{ROT}"),
            Task::FailingCalls { page_size, start, .. } => write!(f, "{page_size}/{start:?}{FAIL}"),
        }
    }
}

/// What a task found.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) found: Totals,
    /// Case, as `--replay` takes it, and what does not hold.
    pub(crate) violations: Vec<(String, String)>,
}

/// All tasks, in an order that the seed draws, single operations first.
pub(crate) fn tasks(options: &Options) -> Vec<Task> {
    let mut draws = Draws::new(options.seed);
    let rests = Workload::all(1).into_iter().filter(|workload| !workload.write_back);
    let mut rot: Vec<Task> = rests.map(Task::Rot).collect();
    let mut ones: Vec<Task> = Workload::all(1).into_iter().map(Task::PowerCuts).collect();
    let mut others: Vec<Task> = Workload::all(2).into_iter().map(Task::PowerCuts).collect();
    let failing = failing_calls();
    let mut threes: Vec<Task> = Workload::all(3).into_iter().map(Task::PowerCuts).collect();
    if !options.long {
        threes.retain(|_| draws.number().is_multiple_of(THREES));
    }
    others.extend(failing);
    others.append(&mut rot);
    for tasks in [&mut ones, &mut others, &mut threes] {
        shuffle(&mut draws, tasks);
    }
    let mut all: Vec<Task> = ones.into_iter().chain(others).chain(threes).collect();
    all.retain(|task| options.page_size.is_none_or(|size| task.page_size() == size));
    all
}

fn failing_calls() -> Vec<Task> {
    let mut calls = Vec::new();
    let kinds = CallKind::ALL;
    for (kind, error) in kinds.iter().flat_map(|kind| ERRORS.map(|error| (*kind, error))) {
        calls.extend([false, true].map(|for_ever| FailingCall { kind, n: 1, error, for_ever, after: None }));
    }
    for kind in [CallKind::Read, CallKind::Write, CallKind::Grow] {
        calls.extend([1, 512, 4096, 5000].map(|bytes| FailingCall {
            kind,
            n: 1,
            error: io::ErrorKind::StorageFull,
            for_ever: false,
            after: Some(bytes),
        }));
    }
    let mut tasks = Vec::new();
    for (page_size, start) in PAGE_SIZES.iter().flat_map(|size| Start::ALL.map(|start| (*size, start))) {
        tasks.extend(calls.iter().map(|first| Task::FailingCalls { page_size, start, first: *first }));
    }
    tasks
}

/// How closely each task is looked at so that all of them together make about the images asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    seed: u64,
    long: bool,
    share: u64,
}

impl Plan {
    pub(crate) fn new(options: &Options, tasks: &[Task]) -> Plan {
        let weight = |task: &Task| match task {
            Task::PowerCuts(workload) if workload.sequence.len() == 1 => WEIGHT_OF_ONE,
            Task::PowerCuts(_) => 1,
            Task::Rot(_) | Task::FailingCalls { .. } => 0,
        };
        let all: u64 = tasks.iter().map(weight).sum();
        Plan {
            seed: options.seed,
            long: options.long,
            share: options.images.map_or(1500, |images| images.saturating_mul(LOOKS_AN_IMAGE) / all + 1),
        }
    }

    fn depth(self, workload: &Workload) -> Depth {
        if self.long {
            let Plan { seed, .. } = self;
            let [sample_limit, images] = [1000, usize::MAX];
            return Depth { seed, exhaustive_limit: 14, sample_limit, images };
        }
        let share = if workload.sequence.len() == 1 { self.share * WEIGHT_OF_ONE } else { self.share };
        let images = usize::try_from(share).unwrap_or(usize::MAX);
        let exhaustive_limit = share.max(16).ilog2().min(14) - 1;
        Depth { seed: self.seed, exhaustive_limit, sample_limit: (images / 4).clamp(20, 1000), images }
    }

    /// Does one task. A failing call that panics is the last of its task.
    pub(crate) fn run(self, task: &Task, is_over: &dyn Fn() -> bool) -> Outcome {
        let mut outcome = Outcome::default();
        match task {
            Task::PowerCuts(workload) => {
                let (tally, violations) = power_cut::crash(workload, &self.depth(workload), is_over);
                outcome.found.tally = tally;
                outcome.found.workloads = 1;
                outcome.violations.extend(violations.into_iter().map(|violation| {
                    let points: Vec<String> = violation.points.iter().map(|point| format!("{point:?}")).collect();
                    (format!("{task}:{}", points.join(" > ")), violation.message)
                }));
            }
            Task::Rot(workload) => {
                let (tally, violations) = rot(workload, if self.long { 1 } else { SPARSE }, self.seed, is_over);
                outcome.found.rot = tally;
                outcome.found.rotten_workloads = 1;
                outcome.violations.extend(violations.into_iter().map(|violation| {
                    let closed = if violation.is_closed { CLOSED } else { "" };
                    let case = violation.rot.map_or_else(String::new, |rot| format!("{rot:?}{closed}"));
                    (format!("{task}:{case}"), violation.message)
                }));
            }
            Task::FailingCalls { page_size, start, first } => {
                outcome.found.failing_tasks = 1;
                for n in 1.. {
                    if is_over() {
                        break;
                    }
                    let call = FailingCall { n, ..*first };
                    match caught(|| run_failing(*page_size, *start, call)) {
                        Ok(true) => outcome.found.failing_runs += 1,
                        Ok(false) => break,
                        Err(message) => {
                            outcome.violations.push((format!("{task}:{call:?}"), message));
                            break;
                        }
                    }
                }
            }
        }
        outcome.found.violations = outcome.violations.len().try_into().unwrap_or(u64::MAX);
        outcome
    }
}

pub(crate) fn run_failing(page_size: usize, start: Start, call: FailingCall) -> bool {
    match page_size {
        1024 => call.run::<1024>(start),
        4096 => call.run::<4096>(start),
        _ => call.run::<16384>(start),
    }
}

fn shuffle<T>(draws: &mut Draws, list: &mut [T]) {
    for at in (1..list.len()).rev() {
        let below = u64::try_from(at + 1).expect("usize fits u64");
        list.swap(at, usize::try_from(draws.below(below)).expect("below a usize"));
    }
}
