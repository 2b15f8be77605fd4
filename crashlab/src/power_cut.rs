//! The states that a power cut during the last operation of a workload may leave, each opened and verified.

use std::collections::HashSet;
use std::ops::Range;

use diptych::{CrashOptions, CrashPoint, CrashState, CrashStates, Damage, PagerOptions, SimDisk, TornUnit};

use crate::draws::Draws;
use crate::lab::Lab;
use crate::model::Model;
use crate::verify::{caught, damaged_sectors, verify_again, verify_cycle, verify_once};
use crate::workload::{Workload, operations};

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
    let mut run = match caught(|| Run::<P>::of(workload)) {
        Ok(run) => run,
        Err(message) => return (Tally::default(), vec![Violation { points: Vec::new(), message }]),
    };
    let units = torn_units(P);
    for (at, unit) in units.into_iter().enumerate() {
        let options = CrashOptions::new()
            .seed(depth.seed)
            .exhaustive_limit(depth.exhaustive_limit)
            .sample_limit(depth.sample_limit)
            .torn_unit(unit)
            .page_size(u64::try_from(P).expect("usize fits u64"));
        let left = depth.images.saturating_sub(usize::try_from(run.tally.images).unwrap_or(usize::MAX));
        run.crash_epochs(&options, left / (units.len() - at), depth, is_over);
    }
    (run.tally, run.violations)
}

/// What a disk may write at once under pages of that size: sectors of 512 bytes, or of 4096 where pages may stand on them.
#[must_use]
pub fn torn_units(page_size: usize) -> [TornUnit; 2] {
    [TornUnit::Sector, if page_size < TornUnit::Block.len() { TornUnit::BlockOrSector } else { TornUnit::Block }]
}

/// A workload that ran, and what was found about it so far.
pub(crate) struct Run<const P: usize> {
    pub(crate) lab: Lab<P>,
    pub(crate) before: Model,
    pub(crate) epochs: Range<usize>,
    seen: HashSet<u64>,
    tally: Tally,
    violations: Vec<Violation>,
}

impl<const P: usize> Run<P> {
    pub(crate) fn of(workload: &Workload) -> Self {
        let operations = operations();
        let mut lab = Lab::<P>::start(workload.start);
        lab.disk.set_write_back(workload.write_back.then_some(1));
        lab.disk.record(false);
        let (last, first) = workload.sequence.split_last().expect("a workload has an operation");
        first.iter().for_each(|place| lab.run(&operations[*place]).expect("nothing fails"));
        lab.disk.record(true);
        let before = lab.model.clone();
        let epoch = lab.disk.epoch_count() - 1;
        lab.run(&operations[*last]).expect("nothing fails");
        lab.compare();
        let epochs = epoch..lab.disk.epoch_count();
        Run { lab, before, epochs, seen: HashSet::new(), tally: Tally::default(), violations: Vec::new() }
    }

    /// Looks at up to `images` states.
    fn crash_epochs(&mut self, options: &CrashOptions, images: usize, depth: &Depth, is_over: &dyn Fn() -> bool) {
        let known: Vec<usize> = self.epochs.clone().filter(|epoch| self.lab.disk.epoch(*epoch).is_some()).collect();
        let mut left = images;
        let mut draws = Draws::new(depth.seed);
        for (at, epoch) in known.iter().enumerate() {
            self.tally.epochs += 1;
            let states = self.lab.disk.crash_states(*epoch, options);
            let share = (left / (known.len() - at)).max(1);
            let step = states.len().div_ceil(share).max(1);
            for state in one_of_each(states, step, &mut draws) {
                if self.violations.len() > 2 || is_over() {
                    return;
                }
                left = left.saturating_sub(1);
                self.look_at(&state);
            }
        }
    }

    fn look_at(&mut self, state: &CrashState) {
        let image = state.image();
        let fingerprint = image.fingerprint();
        if !self.seen.insert(fingerprint) {
            return;
        }
        self.tally.images += 1;
        match state.point().damage {
            Some(Damage::Unreadable { .. }) => self.tally.unreadable += 1,
            Some(_) => self.tally.torn += 1,
            None => {}
        }
        let damaged = damaged_sectors(&state.point());
        let checked = caught(|| {
            let before = self.oldest(&state.point());
            let (disk, recovery) = verify_once::<P>(image.clone(), before, &self.lab.model, damaged);
            if self.tally.images.is_multiple_of(16) {
                verify_again::<P>(&disk);
            }
            if self.tally.images.is_multiple_of(64) {
                verify_cycle::<P>(image);
            }
            recovery
        });
        match checked {
            Ok(recovery) if recovery.is_clean() => {}
            Ok(recovery) => {
                self.tally.recovered += 1;
                self.tally.adopted += u64::from(recovery.adopted);
                let (before, after) = (self.before.generation, self.lab.model.generation);
                self.tally.fell_back += u64::from(before != after && recovery.generation.to_u64() == before);
                if fingerprint.is_multiple_of(RECOVERIES) {
                    self.crash_recovery(std::slice::from_ref(state), 3);
                }
            }
            Err(message) => self.violations.push(Violation { points: vec![state.point()], message }),
        }
    }

    /// The oldest state that a power cut there may leave: once the operation is acknowledged, the one after it.
    fn oldest(&self, point: &CrashPoint) -> &Model {
        if point.epoch + 1 == self.epochs.end { &self.lab.model } else { &self.before }
    }

    /// Recovery's own writes, cut off in turn, `depth` deep.
    fn crash_recovery(&mut self, path: &[CrashState], depth: u32) {
        let image = path.last().expect("a path has an end").image();
        let mut draws = Draws::new(image.fingerprint());
        let Ok(disk) = caught(|| recover::<P>(&SimDisk::from_image(image))) else { return };
        let options = CrashOptions::new().sample_limit(12).exhaustive_limit(3).seed(depth.into());
        let mut at = 0_usize;
        for epoch in (0..disk.epoch_count()).filter(|epoch| disk.epoch(*epoch).is_some()) {
            let states = disk.crash_states(epoch, &options);
            let step = states.len().div_ceil(3).max(1);
            for state in one_of_each(states, step, &mut draws) {
                let mut deeper = path.to_vec();
                deeper.push(state);
                self.tally.recovery_crashes += 1;
                if let Err(violation) = self.check_path(&deeper) {
                    self.violations.push(violation);
                    return;
                }
                if depth > 1 && at.is_multiple_of(6) {
                    self.crash_recovery(&deeper, depth - 1);
                }
                at += 1;
            }
        }
    }

    fn check_path(&self, path: &[CrashState]) -> Result<(), Violation> {
        let points: Vec<CrashPoint> = path.iter().map(CrashState::point).collect();
        let damaged = points.iter().map(damaged_sectors).sum();
        let image = path.last().expect("a path has an end").image();
        let before = self.oldest(&points[0]);
        caught(|| verify_again::<P>(&verify_once::<P>(image, before, &self.lab.model, damaged).0))
            .map_err(|message| Violation { points, message })
    }
}

/// One state, drawn, of each `step` neighbours. Those at a fixed distance would leave the lowest units of all subsets as they
/// were: a subset is a number, and a unit one of its digits.
fn one_of_each(mut states: CrashStates, step: usize, draws: &mut Draws) -> impl Iterator<Item = CrashState> {
    let mut behind = 0;
    std::iter::from_fn(move || {
        let drawn = usize::try_from(draws.below(u64::try_from(step).expect("usize fits u64"))).expect("below a usize");
        let state = states.nth(behind + drawn);
        behind = step - 1 - drawn;
        state
    })
}

/// Opens a disk, recording what recovery writes.
fn recover<const P: usize>(disk: &SimDisk) -> SimDisk {
    drop(PagerOptions::new().open_on::<P>(disk).expect("recovery succeeds"));
    disk.clone()
}

/// Runs a workload and cuts the power where the points say, the first during its last operation and each further one during
/// the recovery from the one before.
///
/// # Errors
///
/// When a point names no state.
///
/// # Panics
///
/// With what does not hold.
pub fn replay(workload: &Workload, points: &[CrashPoint]) -> Result<(), String> {
    match workload.page_size {
        1024 => replay_sized::<1024>(workload, points),
        4096 => replay_sized::<4096>(workload, points),
        _ => replay_sized::<16384>(workload, points),
    }
}

fn replay_sized<const P: usize>(workload: &Workload, points: &[CrashPoint]) -> Result<(), String> {
    let run = Run::<P>::of(workload);
    let mut disk = run.lab.disk.clone();
    let mut path: Vec<CrashState> = Vec::new();
    for point in points {
        if let Some(state) = path.last() {
            disk = recover::<P>(&SimDisk::from_image(state.image()));
        }
        let state = disk.crash_state(point).ok_or_else(|| format!("there is no state {point:?}"))?;
        println!("{state}");
        path.push(state);
    }
    if let Some(state) = path.last() {
        let damaged = points.iter().map(damaged_sectors).sum();
        let before = run.oldest(&points[0]);
        verify_again::<P>(&verify_once::<P>(state.image(), before, &run.lab.model, damaged).0);
        verify_cycle::<P>(state.image());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use diptych::{CrashOptions, Subset};

    use super::{Draws, Run, one_of_each};

    #[test]
    fn every_unit_arrives_and_stays_away_in_the_states_that_are_drawn_of_many() {
        let run = Run::<4096>::of(&"4096/HalfFull/8".parse().expect("a workload"));
        let options = CrashOptions::new().exhaustive_limit(14).sample_limit(0);
        let states = run.epochs.clone().map(|epoch| run.lab.disk.crash_states(epoch, &options));
        let states = states.max_by_key(ExactSizeIterator::len).expect("it has epochs");
        let (all, units) = (states.len(), states.len().ilog2());
        let drawn: Vec<_> = one_of_each(states, 8, &mut Draws::new(0)).map(|state| state.point().subset).collect();
        assert!(all > 256 && drawn.len().abs_diff(all / 8) <= 1, "{} of {all}", drawn.len());
        let seen = drawn.iter().flat_map(|subset| {
            let Subset::Exact(mask) = subset else { panic!("{subset:?} is drawn") };
            (0..units).map(move |unit| (unit, mask >> unit & 1))
        });
        let seen: HashSet<_> = seen.collect();
        let expected = (0..units).flat_map(|unit| [(unit, 0), (unit, 1)]);
        assert_eq!(seen, expected.collect());
    }
}
