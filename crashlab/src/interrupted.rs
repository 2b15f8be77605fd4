//! What a power cut leaves of an operation, or of the recovery from another power cut, and what must be there then.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

use diptych::{CrashOptions, CrashPoint, CrashState, CrashStates, PagerOptions, Recovery, SimDisk, SimImage, TornUnit};

use crate::draws::Draws;
use crate::model::Model;
use crate::verify::{damaged_sectors, verify_again, verify_once};

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

/// An operation, or the recovery from a power cut, on a disk that recorded it, and the durable states that it leads from and to.
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
        Interrupted { returned: after.durable(), ..Interrupted::failed(disk, first, before, after) }
    }

    /// The same of one that failed: it acknowledged nothing.
    #[must_use]
    pub fn failed(disk: &SimDisk, first: usize, before: &'a Model, after: &'a Model) -> Self {
        let epochs = first..disk.epoch_count();
        let disk = disk.clone();
        let after = after.durable();
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use diptych::{CrashOptions, Subset};

    use crate::run::Run;

    use super::{Draws, one_of_each};

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
