//! The states that a power cut during the last operation of a workload may leave, each opened and verified.

use std::collections::HashSet;
use std::ops::ControlFlow;

use diptych::{CrashOptions, CrashPoint, Damage, PagerOptions};

use crate::interrupted::{Interrupted, Left, Share, each_recovery_state, torn_units};
use crate::read_only::verify_read_only;
use crate::run::Run;
use crate::verify::{caught, verify_again, verify_cycle};
use crate::workload::Workload;

/// Of so many images that recovery changes, it is cut off in one.
const RECOVERIES: u64 = 200;

/// How much of what may be left of a workload is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    /// Draws what is not looked at in full.
    pub seed: u64,
    /// Up to how many units all subsets are taken.
    pub exhaustive_limit: u32,
    /// How many subsets, lengths and damages are drawn where there are more.
    pub sample_limit: usize,
    /// At most so many images, evenly spread over its epochs.
    pub images: usize,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Epochs cut off.
    pub epochs: u64,
    /// Images that differ from all others of their workload.
    pub images: u64,
    /// Images with a unit torn or junk.
    pub torn: u64,
    /// Images with a unit that cannot be read.
    pub unreadable: u64,
    /// Images that recovery had to change.
    pub recovered: u64,
    /// Of those, the ones that fell back to the state before the operation.
    pub fell_back: u64,
    /// Of those, the ones whose newest commit had no slot and was all there.
    pub adopted: u64,
    /// Power cuts during recovery.
    pub recovery_crashes: u64,
}

/// A case in which something that must hold does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where the power failed; behind the first point, where it failed again during recovery. Empty if it did not fail.
    pub points: Vec<CrashPoint>,
    /// What does not hold.
    pub message: String,
}

/// One workload, its last operation cut off everywhere. Ends early when `is_over` says so, or with the third violation.
#[must_use]
pub fn crash(workload: &Workload, depth: &Depth, is_over: &dyn Fn() -> bool) -> (Tally, Vec<Violation>) {
    match workload.page_size {
        1024 => crash_sized::<1024>(workload, depth, is_over),
        4096 => crash_sized::<4096>(workload, depth, is_over),
        _ => crash_sized::<16384>(workload, depth, is_over),
    }
}

fn crash_sized<const P: usize>(
    workload: &Workload,
    depth: &Depth,
    is_over: &dyn Fn() -> bool,
) -> (Tally, Vec<Violation>) {
    let run = match caught(|| Run::<P>::of(workload, depth.seed)) {
        Ok(run) => run,
        Err(message) => return (Tally::default(), vec![Violation { points: Vec::new(), message }]),
    };
    let interrupted = run.interrupted();
    let mut search = Search::default();
    let units = torn_units(P);
    for (at, unit) in units.into_iter().enumerate() {
        let options = CrashOptions::new()
            .seed(depth.seed)
            .exhaustive_limit(depth.exhaustive_limit)
            .sample_limit(depth.sample_limit)
            .torn_unit(unit)
            .page_size(u64::try_from(P).expect("usize fits u64"));
        let left = depth.images.saturating_sub(usize::try_from(search.tally.images).unwrap_or(usize::MAX));
        let share = Share { states: left / (units.len() - at), seed: depth.seed };
        search.tally.epochs += u64::try_from(interrupted.epochs().count()).expect("usize fits u64");
        let mut seen = std::mem::take(&mut search.seen);
        let _ = interrupted.each_state(&options, share, &mut seen, |left| {
            if search.violations.len() > 2 || is_over() {
                return ControlFlow::Break(());
            }
            search.look_at::<P>(left);
            ControlFlow::Continue(())
        });
        search.seen = seen;
    }
    (search.tally, search.violations)
}

/// What was found about a workload so far.
#[derive(Default)]
struct Search {
    seen: HashSet<u64>,
    tally: Tally,
    violations: Vec<Violation>,
}

impl Search {
    fn look_at<const P: usize>(&mut self, left: &Left<'_>) {
        self.tally.images += 1;
        match left.point().damage {
            Some(Damage::Unreadable { .. }) => self.tally.unreadable += 1,
            Some(_) => self.tally.torn += 1,
            None => {}
        }
        let checked = caught(|| {
            let (disk, recovery) = left.verify_once::<P>();
            if self.tally.images.is_multiple_of(16) {
                verify_again::<P>(&disk);
            }
            if self.tally.images.is_multiple_of(64) {
                verify_cycle::<P>(left.image.clone());
            }
            if self.tally.images % 64 == 32 {
                verify_read_only::<P>(&PagerOptions::new(), &left.image);
            }
            recovery
        });
        match checked {
            Ok(recovery) if recovery.is_clean() => {}
            Ok(recovery) => {
                self.tally.recovered += 1;
                self.tally.adopted += u64::from(recovery.adopted);
                let (before, after) = (left.before.durable().generation, left.after.generation);
                self.tally.fell_back += u64::from(before != after && recovery.generation.to_u64() == before);
                if left.fingerprint.is_multiple_of(RECOVERIES) {
                    self.crash_recovery::<P>(left);
                }
            }
            Err(message) => self.violations.push(Violation { points: left.points.clone(), message }),
        }
    }

    /// Recovery's own writes, cut off in turn, three deep.
    fn crash_recovery<const P: usize>(&mut self, left: &Left<'_>) {
        let found = each_recovery_state::<P, Violation>(left, 3, 3, &mut |deeper| {
            self.tally.recovery_crashes += 1;
            match caught(|| verify_again::<P>(&deeper.verify_once::<P>().0)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(message) => ControlFlow::Break(Violation { points: deeper.points.clone(), message }),
            }
        });
        self.violations.extend(found.break_value());
    }
}

/// Runs a workload, as a run of that seed does, and cuts the power where the points say, the first during its last operation
/// and each further one during the recovery from the one before.
///
/// # Errors
///
/// When a point names no state.
///
/// # Panics
///
/// With what does not hold.
pub fn replay(workload: &Workload, seed: u64, points: &[CrashPoint]) -> Result<(), String> {
    match workload.page_size {
        1024 => replay_sized::<1024>(workload, seed, points),
        4096 => replay_sized::<4096>(workload, seed, points),
        _ => replay_sized::<16384>(workload, seed, points),
    }
}

fn replay_sized<const P: usize>(workload: &Workload, seed: u64, points: &[CrashPoint]) -> Result<(), String> {
    let run = Run::<P>::of(workload, seed);
    let mut left: Option<Left<'_>> = None;
    for point in points {
        let interrupted = left.as_ref().map_or_else(|| run.interrupted(), Interrupted::recovery::<P>);
        let next = interrupted.left_at(point).ok_or_else(|| format!("there is no state {point:?}"))?;
        println!("{}", next.state);
        left = Some(next);
    }
    if let Some(left) = left {
        verify_again::<P>(&left.verify_once::<P>().0);
        verify_cycle::<P>(left.image);
    }
    Ok(())
}
