//! The states that a power cut during the last operation of a workload may leave, each opened and verified.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

use diptych::{
    CrashOptions, CrashPoint, CrashState, CrashStates, Damage, PagerOptions, Recovery, SimDisk, SimImage, TornUnit,
};

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

/// What a disk may write at once under pages of that size: sectors of 512 bytes, or of 4096 where pages may stand on them.
#[must_use]
pub fn torn_units(page_size: usize) -> [TornUnit; 2] {
    [TornUnit::Sector, if page_size < TornUnit::Block.len() { TornUnit::BlockOrSector } else { TornUnit::Block }]
}

/// How many states are looked at, and what draws them.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// At most about so many, evenly spread over the epochs.
    pub states: usize,
    /// Draws which.
    pub seed: u64,
}

impl Share {
    /// All of them.
    pub const ALL: Share = Share { states: usize::MAX, seed: 0 };
}

/// An operation, or the recovery from a power cut, on a disk that recorded it, and the states that it leads from and to.
#[derive(Clone, Debug)]
pub struct Interrupted<'a> {
    disk: SimDisk,
    epochs: Range<usize>,
    before: &'a Model,
    after: &'a Model,
    /// The oldest state that there may be once it has returned, and the generation that recovery went on from.
    returned: &'a Model,
    reached: u64,
    /// The power cuts before it.
    earlier: Vec<CrashPoint>,
    damaged: usize,
}

impl<'a> Interrupted<'a> {
    /// An operation that returned: all that the disk saw from that epoch on. With its return it is acknowledged.
    #[must_use]
    pub fn operation(disk: &SimDisk, first: usize, before: &'a Model, after: &'a Model) -> Self {
        Interrupted { returned: after, ..Interrupted::failed(disk, first, before, after) }
    }

    /// The same of one that failed: it acknowledged nothing.
    #[must_use]
    pub fn failed(disk: &SimDisk, first: usize, before: &'a Model, after: &'a Model) -> Self {
        let epochs = first..disk.epoch_count();
        let disk = disk.clone();
        Interrupted { disk, epochs, before, after, returned: before, reached: 0, earlier: Vec::new(), damaged: 0 }
    }

    /// The recovery from what a power cut left. A commit that it has adopted stays.
    ///
    /// # Panics
    ///
    /// When it fails.
    #[must_use]
    pub fn recovery<const P: usize>(left: &Left<'a>) -> Self {
        let disk = SimDisk::from_image(left.image.clone());
        let opened = PagerOptions::new().open_on::<P>(&disk).expect("recovery succeeds");
        let reached = opened.generation().to_u64();
        drop(opened);
        // A store that was on its way when the power failed first may have been lost then, whatever was adopted.
        let interrupted = Interrupted::failed(&disk, 0, left.before, left.after);
        Interrupted { reached, earlier: left.points.clone(), damaged: left.damaged, ..interrupted }
    }

    /// With so many sectors damaged already.
    #[must_use]
    pub fn with_damage(self, sectors: usize) -> Self {
        Interrupted { damaged: sectors, ..self }
    }

    /// The disk.
    #[must_use]
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Its epochs, as far as they were recorded. In the last one it has returned.
    pub fn epochs(&self) -> impl ExactSizeIterator<Item = usize> + DoubleEndedIterator {
        let known: Vec<usize> = self.epochs.clone().filter(|epoch| self.disk.epoch(*epoch).is_some()).collect();
        known.into_iter()
    }

    /// What a power cut leaves there, if there is such a state.
    #[must_use]
    pub fn left_at(&self, point: &CrashPoint) -> Option<Left<'a>> {
        self.epochs.contains(&point.epoch).then_some(())?;
        Some(self.left(self.disk.crash_state(point)?))
    }

    fn left(&self, state: CrashState) -> Left<'a> {
        let point = state.point();
        let returned = point.epoch + 1 == self.epochs.end;
        let mut points = self.earlier.clone();
        points.push(point);
        let image = state.image();
        Left {
            fingerprint: image.fingerprint(),
            image,
            before: if returned { self.returned } else { self.before },
            reached: if returned { self.reached } else { 0 },
            after: self.after,
            damaged: self.damaged + damaged_sectors(&state),
            points,
            state,
        }
    }

    /// Looks at the states that a power cut may leave, or at a share of them, until it is told to stop; at images that were
    /// seen before not again.
    pub fn each_state<B>(
        &self,
        options: &CrashOptions,
        share: Share,
        seen: &mut HashSet<u64>,
        mut look: impl FnMut(&Left<'a>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut draws = Draws::new(share.seed);
        let mut left = share.states;
        let epochs = self.epochs();
        let count = epochs.len();
        // The last one first: once the operation is acknowledged less may be left, and what was seen is not looked at again.
        for (at, epoch) in epochs.rev().enumerate() {
            let states = self.disk.crash_states(epoch, options);
            let most = (left / (count - at)).max(1);
            let step = states.len().div_ceil(most).max(1);
            for state in one_of_each(states, step, &mut draws) {
                left = left.saturating_sub(1);
                let state = self.left(state);
                if seen.insert(state.fingerprint) {
                    look(&state)?;
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// What a power cut left, and what must be there.
#[derive(Clone, Debug)]
pub struct Left<'a> {
    /// Where the power failed, and where it failed again during recovery.
    pub points: Vec<CrashPoint>,
    /// The last of these states.
    pub state: CrashState,
    /// The disk in it.
    pub image: SimImage,
    /// The oldest state that it may be in.
    pub before: &'a Model,
    /// The newest one.
    pub after: &'a Model,
    /// The generation that an opening went on from before: no later one goes back behind it.
    pub reached: u64,
    /// How many sectors may hold what nobody wrote.
    pub damaged: usize,
    /// Of the image.
    pub fingerprint: u64,
}

impl Left<'_> {
    /// The last point.
    #[must_use]
    pub fn point(&self) -> CrashPoint {
        self.state.point()
    }

    /// Opens it twice and says whether recovery had work to do.
    ///
    /// # Panics
    ///
    /// With the invariant that does not hold.
    pub fn verify<const P: usize>(&self) -> bool {
        let (disk, recovery) = self.verify_once::<P>();
        verify_again::<P>(&disk);
        !recovery.is_clean()
    }

    /// The same, opened once. Returns the disk, closed, and what recovery did.
    ///
    /// # Panics
    ///
    /// With the invariant that does not hold.
    pub fn verify_once<const P: usize>(&self) -> (SimDisk, Recovery) {
        let (disk, recovery) = verify_once::<P>(self.image.clone(), self.before, self.after, self.damaged);
        let found = recovery.generation.to_u64();
        assert!(found >= self.reached, "generation {} was adopted, and now {found} stands", self.reached);
        (disk, recovery)
    }
}

/// Cuts off the recovery from what a power cut left, in at most about so many states an epoch, and recovery from one in six
/// of these again, `depth` deep.
///
/// # Panics
///
/// When recovery fails.
pub fn each_recovery_state<'a, const P: usize, B>(
    left: &Left<'a>,
    depth: u32,
    an_epoch: usize,
    look: &mut dyn FnMut(&Left<'a>) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let recovery = Interrupted::recovery::<P>(left);
    let options = CrashOptions::new()
        .sample_limit(12)
        .exhaustive_limit(3)
        .seed(depth.into())
        .torn_unit(left.point().torn_unit)
        .page_size(u64::try_from(P).expect("usize fits u64"));
    let states = an_epoch.saturating_mul(recovery.epochs().len());
    let mut at = 0_usize;
    let share = Share { states, seed: left.fingerprint };
    recovery.each_state(&options, share, &mut HashSet::new(), |deeper| {
        look(deeper)?;
        at += 1;
        if depth > 1 && at % 6 == 1 {
            each_recovery_state::<P, B>(deeper, depth - 1, an_epoch, look)?;
        }
        ControlFlow::Continue(())
    })
}

/// A workload that ran.
pub(crate) struct Run<const P: usize> {
    pub(crate) lab: Lab<P>,
    pub(crate) before: Model,
    /// The epoch in which its last operation began.
    pub(crate) first: usize,
}

impl<const P: usize> Run<P> {
    /// The seed draws when the kernel writes stores back.
    pub(crate) fn of(workload: &Workload, seed: u64) -> Self {
        let operations = operations();
        let mut lab = Lab::<P>::start(workload.start);
        lab.disk.set_write_back(workload.write_back.then_some(seed));
        lab.disk.record(false);
        let (last, first) = workload.sequence.split_last().expect("a workload has an operation");
        first.iter().for_each(|place| lab.run(&operations[*place]).expect("nothing fails"));
        lab.disk.record(true);
        let before = lab.model.clone();
        let first = lab.disk.epoch_count() - 1;
        lab.run(&operations[*last]).expect("nothing fails");
        lab.compare();
        Run { lab, before, first }
    }

    fn interrupted(&self) -> Interrupted<'_> {
        Interrupted::operation(&self.lab.disk, self.first, &self.before, &self.lab.model)
    }
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
            recovery
        });
        match checked {
            Ok(recovery) if recovery.is_clean() => {}
            Ok(recovery) => {
                self.tally.recovered += 1;
                self.tally.adopted += u64::from(recovery.adopted);
                let (before, after) = (left.before.generation, left.after.generation);
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

/// Runs a workload, as a run of that seed does, and cuts the power where the points say, the first during its last operation and each further one during
/// the recovery from the one before.
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use diptych::{CrashOptions, Subset};

    use super::{Draws, Run, one_of_each};

    #[test]
    fn every_unit_arrives_and_stays_away_in_the_states_that_are_drawn_of_many() {
        let run = Run::<4096>::of(&"4096/HalfFull/8".parse().expect("a workload"), 0);
        let options = CrashOptions::new().exhaustive_limit(14).sample_limit(0);
        let interrupted = run.interrupted();
        let states = interrupted.epochs().map(|epoch| interrupted.disk().crash_states(epoch, &options));
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
