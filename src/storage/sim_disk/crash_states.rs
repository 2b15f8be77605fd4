//! All states that a power cut may leave of an epoch, or a seeded choice where there are too many.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::vec;

use super::crash_point::{CrashPoint, Damage, Subset, Tail, TornUnit};
use super::crash_state::CrashState;
use super::epoch::Epoch;
use super::image::{BLOCK_LEN, wide};
use super::random::SplitMix64;
use super::units::Units;

/// Where sectors and blocks are torn: at the first byte, behind the first word, in the middle of a small structure, at
/// half of the sector, at the last byte; blocks beside that at and between borders of sectors.
const TEARS: [usize; 9] = [1, 8, 106, 256, 511, 512, 1024, 2048, 4095];

/// Which states a power cut is simulated with.
///
/// ```
/// use diptych::{CrashOptions, TornUnit};
///
/// let options = CrashOptions::new().seed(7).sample_limit(200).torn_unit(TornUnit::Block);
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct CrashOptions {
    seed: u64,
    exhaustive_limit: u32,
    sample_limit: usize,
    torn_unit: TornUnit,
    page_size: u64,
}

impl CrashOptions {
    /// Seed 0, all subsets of up to 14 units, samples of 1000 states, sectors, pages of 4096 bytes.
    pub fn new() -> Self {
        CrashOptions {
            seed: 0,
            exhaustive_limit: 14,
            sample_limit: 1000,
            torn_unit: TornUnit::Sector,
            page_size: wide(BLOCK_LEN),
        }
    }

    /// What is drawn at random depends on this alone.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Up to how many units all subsets are taken. Units that had more than two versions count for more.
    ///
    /// # Panics
    /// If `units` is above 20.
    pub fn exhaustive_limit(mut self, units: u32) -> Self {
        assert!(units <= 20, "all subsets of {units} units are too many");
        self.exhaustive_limit = units;
        self
    }

    /// How many states are drawn where there are too many to take all: once of the subsets, once of the lengths, once
    /// of the damages. With 0, no state is drawn, and none has damage or another length.
    pub fn sample_limit(mut self, states: usize) -> Self {
        self.sample_limit = states;
        self
    }

    /// What the disk writes at once.
    pub fn torn_unit(mut self, unit: TornUnit) -> Self {
        self.torn_unit = unit;
        self
    }

    /// Bytes in a page, for the subsets that take whole pages.
    ///
    /// # Panics
    /// If `bytes` is 0.
    pub fn page_size(mut self, bytes: u64) -> Self {
        assert!(bytes > 0, "a page has bytes");
        self.page_size = bytes;
        self
    }
}

impl Default for CrashOptions {
    fn default() -> Self {
        CrashOptions::new()
    }
}

/// The states that a power cut may leave of one epoch: what [`SimDisk::crash_states`](super::SimDisk::crash_states)
/// returns.
///
/// First all with the newest length and no damage, then those of other lengths, then those with one unit torn, junk or
/// unreadable. An image is made only where it is asked for, so that states can be skipped and counted at no cost.
#[derive(Clone, Debug)]
pub struct CrashStates {
    units: Arc<Units>,
    points: vec::IntoIter<CrashPoint>,
}

impl CrashStates {
    pub(super) fn of(epoch: &Epoch, options: &CrashOptions) -> Self {
        let units = Arc::new(Units::of(epoch, options.torn_unit));
        let points = Enumeration::new(epoch, &units, options).points();
        CrashStates { units, points: points.into_iter() }
    }
}

impl Iterator for CrashStates {
    type Item = CrashState;

    fn next(&mut self) -> Option<CrashState> {
        Some(CrashState::new(self.points.next()?, Arc::clone(&self.units)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.points.size_hint()
    }

    fn nth(&mut self, n: usize) -> Option<CrashState> {
        Some(CrashState::new(self.points.nth(n)?, Arc::clone(&self.units)))
    }
}

impl ExactSizeIterator for CrashStates {}

/// The state of that name, if the epoch has one.
pub(super) fn find(epoch: &Epoch, point: &CrashPoint) -> Option<CrashState> {
    let units = Units::of(epoch, point.torn_unit);
    units.choose(point.subset)?;
    let between = *epoch.lengths.iter().min()?..=*epoch.lengths.iter().max()?;
    let fits = between.contains(&point.length) && point.damage.is_none_or(|damage| units.allows(damage));
    fits.then(|| CrashState::new(*point, Arc::new(units)))
}

/// The three things that vary, and how many of their combinations are taken.
struct Enumeration<'a> {
    epoch: usize,
    units: &'a Units,
    options: &'a CrashOptions,
    subsets: Vec<Subset>,
    /// The newest length with zeros first.
    extents: Vec<(u64, Tail)>,
    damages: Vec<Damage>,
    random: SplitMix64,
}

impl<'a> Enumeration<'a> {
    fn new(epoch: &Epoch, units: &'a Units, options: &'a CrashOptions) -> Self {
        let mut random = SplitMix64::new(options.seed ^ wide(epoch.index).rotate_left(32));
        Enumeration {
            epoch: epoch.index,
            units,
            options,
            subsets: subsets(units, options, &mut random),
            extents: extents(epoch),
            damages: damages(units, &mut random),
            random,
        }
    }

    fn points(mut self) -> Vec<CrashPoint> {
        let mut points: Vec<_> = self.subsets.iter().map(|&subset| self.point(subset, 0, None)).collect();
        self.add_other_extents(&mut points);
        self.add_damages(&mut points);
        points
    }

    fn add_other_extents(&mut self, points: &mut Vec<CrashPoint>) {
        let others = 1..self.extents.len();
        if self.subsets.len().saturating_mul(others.len()) <= self.options.sample_limit {
            let all = others.flat_map(|extent| self.subsets.iter().map(move |&subset| (subset, extent)));
            points.extend(all.map(|(subset, extent)| self.point(subset, extent, None)));
            return;
        }
        for at in 0..self.options.sample_limit {
            let extent = 1 + at % others.len();
            let subset = match at / others.len() {
                0 => self.nothing(),
                1 => self.everything(),
                _ => self.any_subset(),
            };
            points.push(self.point(subset, extent, None));
        }
    }

    fn add_damages(&mut self, points: &mut Vec<CrashPoint>) {
        let limit = self.options.sample_limit;
        if self.damages.is_empty() {
            return;
        }
        if self.is_exact() && self.subsets.len().saturating_mul(self.damages.len()) / 2 <= limit {
            for &damage in &self.damages {
                // What the unit would hold undamaged does not matter: one of its versions stands for all.
                let apart = self.subsets.iter().filter(|&&subset| self.choice(subset, damage.unit()) == 0);
                points.extend(apart.map(|&subset| self.point(subset, 0, Some(damage))));
            }
            return;
        }
        let mut left = limit;
        if 2 * self.damages.len() <= limit {
            left -= 2 * self.damages.len();
            for &damage in &self.damages {
                points.extend([self.nothing(), self.everything()].map(|subset| self.point(subset, 0, Some(damage))));
            }
        }
        for _ in 0..left {
            let damage = self.damages[self.random.below(self.damages.len())];
            let reaching: Vec<usize> = (0..self.extents.len())
                .filter(|&extent| self.extents[extent].0 > self.units.list()[damage.unit()].at)
                .collect();
            if reaching.is_empty() {
                continue;
            }
            let extent = reaching[self.random.below(reaching.len())];
            let subset = self.any_subset();
            points.push(self.point(subset, extent, Some(damage)));
        }
    }

    fn point(&self, subset: Subset, extent: usize, damage: Option<Damage>) -> CrashPoint {
        let (length, tail) = self.extents[extent];
        CrashPoint { epoch: self.epoch, torn_unit: self.units.torn_unit, subset, length, tail, damage }
    }

    fn any_subset(&mut self) -> Subset {
        self.subsets[self.random.below(self.subsets.len())]
    }

    fn nothing(&self) -> Subset {
        Subset::Prefix(0)
    }

    fn everything(&self) -> Subset {
        Subset::Prefix(self.units.arrivals().len())
    }

    fn is_exact(&self) -> bool {
        matches!(self.subsets.first(), Some(Subset::Exact(_)))
    }

    fn choice(&self, subset: Subset, unit: usize) -> usize {
        self.units.choose(subset).expect("it was made for these units")[unit]
    }
}

/// All subsets where they are few; else those that a mistake most likely shows in, and a sample.
fn subsets(units: &Units, options: &CrashOptions, random: &mut SplitMix64) -> Vec<Subset> {
    let limit = 1_u64 << options.exhaustive_limit;
    if let Some(combinations) = units.combinations(limit) {
        return (0..combinations).map(Subset::Exact).collect();
    }
    let mut subsets: Vec<Subset> = (0..=units.arrivals().len()).map(Subset::Prefix).collect();
    for (at, unit) in units.list().iter().enumerate() {
        let versions = 0..unit.versions.len();
        let others = versions.clone().filter(|&version| version != unit.newest);
        subsets.extend(others.map(|version| Subset::AllBut { unit: at, version }));
        subsets.extend(versions.skip(1).map(|version| Subset::Only { unit: at, version }));
    }
    let pages = units.pages(options.page_size).len();
    if pages < units.list().len() && u32::try_from(pages).is_ok_and(|pages| pages <= options.exhaustive_limit) {
        let page_size = options.page_size;
        subsets.extend((0..1_u64 << pages).map(|mask| Subset::Pages { page_size, mask }));
    }
    subsets.extend((0..options.sample_limit).map(|_| Subset::Sample(random.next())));
    subsets
}

/// The lengths that the file may have, the newest first, and one between; where it grew, also with junk.
fn extents(epoch: &Epoch) -> Vec<(u64, Tail)> {
    let mut lengths: Vec<u64> = Vec::new();
    for &length in epoch.lengths.iter().rev() {
        if !lengths.contains(&length) {
            lengths.push(length);
        }
    }
    let (least, most) = lengths.iter().fold((u64::MAX, 0), |(least, most), &len| (least.min(len), most.max(len)));
    let middle = least.midpoint(most) / wide(BLOCK_LEN) * wide(BLOCK_LEN);
    if least < middle && middle < most && !lengths.contains(&middle) {
        lengths.push(middle);
    }
    let grown = lengths.iter().filter(|&&length| length > epoch.base.len()).map(|&length| (length, Tail::Junk));
    lengths.iter().map(|&length| (length, Tail::Zeros)).chain(grown).collect()
}

/// Every tear that shows, and each unit junk and unreadable.
fn damages(units: &Units, random: &mut SplitMix64) -> Vec<Damage> {
    let mut damages = Vec::new();
    for (unit, pairs) in overwrites(units).into_iter().enumerate() {
        for (old, new) in pairs {
            let tears = TEARS.map(|at| Damage::Torn { unit, old, new, at });
            damages.extend(tears.into_iter().filter(|&tear| units.allows(tear)));
        }
        damages.push(Damage::Junk { unit, seed: random.next() });
        damages.push(Damage::Unreadable { unit });
    }
    damages
}

/// For each unit, the pairs of versions of which the second may have been in flight over the first.
fn overwrites(units: &Units) -> Vec<BTreeSet<(usize, usize)>> {
    let mut held = vec![0; units.list().len()];
    let mut pairs: Vec<BTreeSet<_>> = units.list().iter().map(|unit| BTreeSet::from([(0, unit.newest)])).collect();
    for &(unit, version) in units.arrivals() {
        pairs[unit].insert((held[unit], version));
        held[unit] = version;
    }
    pairs.iter_mut().for_each(|pairs| pairs.retain(|(old, new)| old != new));
    pairs
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::epoch::SectorWrite;
    use super::super::image::SimImage;
    use super::*;

    /// An epoch on `len` zeros that writes each of the sectors full of one byte, each by a call of its own.
    fn epoch_of(len: usize, writes: &[(u64, u8)]) -> Epoch {
        let mut epoch = Epoch::first(SimImage::from(vec![0; len]));
        let numbered = writes.iter().zip(1..);
        epoch.writes =
            numbered.map(|(&(sector, byte), sequence)| SectorWrite { sequence, sector, bytes: [byte; 512] }).collect();
        epoch
    }

    fn images(epoch: &Epoch, options: &CrashOptions) -> HashSet<SimImage> {
        CrashStates::of(epoch, options).map(|state| state.image()).collect()
    }

    fn undamaged(states: CrashStates) -> HashSet<SimImage> {
        states.filter(|state| state.point().damage.is_none()).map(|state| state.image()).collect()
    }

    #[test]
    fn a_small_epoch_leaves_all_its_subsets() {
        let epoch = epoch_of(16_384, &[(0, 1), (3, 2), (9, 3), (12, 4), (31, 5)]);
        let plain = undamaged(CrashStates::of(&epoch, &CrashOptions::new()));
        assert_eq!(plain.len(), 32);
        let twice = epoch_of(16_384, &[(0, 1), (3, 2), (0, 3)]);
        assert_eq!(undamaged(CrashStates::of(&twice, &CrashOptions::new())).len(), 6);
    }

    #[test]
    fn a_sector_overwritten_with_its_own_bytes_is_in_no_state_changed() {
        let epoch = epoch_of(8192, &[(1, 0), (2, 7)]);
        let states = CrashStates::of(&epoch, &CrashOptions::new());
        assert!(states.len() > 4);
        for state in states {
            assert_eq!(state.image().sector(1), &[0; 512], "{state:?}");
            assert!(!state.image().is_unreadable(1), "{state:?}");
        }
    }

    #[test]
    fn a_value_that_was_there_for_a_while_and_the_old_one_may_be_left() {
        let epoch = epoch_of(4096, &[(0, 1), (0, 0)]);
        let left: HashSet<u8> =
            undamaged(CrashStates::of(&epoch, &CrashOptions::new())).iter().map(|image| image.sector(0)[0]).collect();
        assert_eq!(left, HashSet::from([0, 1]));
    }

    #[test]
    fn each_tear_shows_new_bytes_before_and_old_bytes_behind_it() {
        let mut epoch = epoch_of(4096, &[]);
        let mut bytes = [0; 512];
        bytes[100..300].fill(5);
        epoch.writes.push(SectorWrite { sequence: 1, sector: 2, bytes });
        let tears: Vec<_> = CrashStates::of(&epoch, &CrashOptions::new())
            .filter_map(|state| match state.point().damage {
                Some(Damage::Torn { at, .. }) => Some((at, state.image())),
                _ => None,
            })
            .collect();
        assert_eq!(tears.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [106, 256]);
        for (at, image) in tears {
            let sector = image.sector(2);
            assert!(sector[..at] == bytes[..at] && sector[at..] == [0; 512][at..]);
        }
    }

    #[test]
    fn junk_and_unreadable_units_are_among_the_states_of_a_small_epoch() {
        let epoch = epoch_of(4096, &[(0, 1), (5, 2)]);
        let images = images(&epoch, &CrashOptions::new());
        assert!(
            (0..2_u8)
                .all(|other| images.iter().any(|image| { image.is_unreadable(0) && image.sector(5)[0] == other * 2 }))
        );
        let junk =
            |image: &SimImage| !image.is_unreadable(5) && image.sector(5).iter().collect::<HashSet<_>>().len() > 9;
        assert!(images.iter().any(junk));
    }

    #[test]
    fn with_large_sectors_whole_blocks_arrive_or_not() {
        let mut epoch = epoch_of(8192, &[(1, 1), (2, 2), (9, 3)]);
        epoch.writes[1].sequence = 1;
        let options = CrashOptions::new().torn_unit(TornUnit::Block);
        let seen: HashSet<_> = undamaged(CrashStates::of(&epoch, &options))
            .iter()
            .map(|image| [1, 2, 9].map(|sector| image.sector(sector)[0]))
            .collect();
        assert_eq!(seen, HashSet::from([[0, 0, 0], [1, 2, 0], [0, 0, 3], [1, 2, 3]]));
    }

    #[test]
    fn under_small_pages_a_block_is_whole_where_it_is_reserved_or_written_whole() {
        let sector = |sector, sequence| SectorWrite { sequence, sector, bytes: [1; 512] };
        let mut epoch = epoch_of(65_536, &[]);
        // Of the reserved region, of a block that one call covers, and of one of which a call covers a part.
        epoch.writes = vec![sector(8, 1), sector(9, 1), sector(80, 2), sector(81, 2), sector(88, 3), sector(89, 3)];
        epoch.parted = BTreeSet::from([1, 11]);
        let options = CrashOptions::new().torn_unit(TornUnit::BlockOrSector);
        let mut seen = HashSet::new();
        for state in CrashStates::of(&epoch, &options) {
            let image = state.image();
            if state.point().damage.is_none() {
                seen.insert([8, 9, 80, 81, 88, 89].map(|sector| image.sector(sector)[0]));
            } else {
                let len = if state.damaged().start < 88 * 512 { 4096 } else { 512 };
                assert_eq!(state.damaged().end - state.damaged().start, len, "{state:?}");
            }
            assert!(find(&epoch, &state.point()).expect("it was enumerated").image() == image, "{state:?}");
        }
        let expected = (0..16_u8).map(|mask| [3, 3, 2, 2, 1, 0].map(|bit| mask >> bit & 1));
        assert_eq!(seen, expected.collect());
    }

    #[test]
    fn a_large_epoch_leaves_prefixes_single_sectors_and_whole_pages() {
        let writes: Vec<(u64, u8)> = (0..24).map(|sector| (sector, 1)).collect();
        let epoch = epoch_of(16_384, &writes);
        let states = CrashStates::of(&epoch, &CrashOptions::new());
        let seen: HashSet<Vec<bool>> = undamaged(states)
            .iter()
            .map(|image| (0..24).map(|sector| image.sector(sector)[0] == 1).collect())
            .collect();
        for at in 0..24 {
            assert!(seen.contains(&(0..24).map(|sector| sector < at).collect::<Vec<_>>()), "prefix of {at}");
            assert!(seen.contains(&(0..24).map(|sector| sector == at).collect::<Vec<_>>()), "only {at}");
            assert!(seen.contains(&(0..24).map(|sector| sector != at).collect::<Vec<_>>()), "all but {at}");
        }
        assert!(seen.contains(&(0..24).map(|sector| sector / 8 != 1).collect::<Vec<_>>()), "all but a page");
        assert!(seen.len() > 500, "{} distinct subsets", seen.len());
    }

    #[test]
    fn a_grown_file_has_the_old_length_or_the_new_one_with_zeros_or_junk() {
        let mut epoch = epoch_of(4096, &[(0, 1)]);
        epoch.lengths.push(16_384);
        let extents: HashSet<_> = CrashStates::of(&epoch, &CrashOptions::new())
            .map(|state| (state.point().length, state.point().tail))
            .collect();
        assert!(extents.is_superset(&HashSet::from([
            (4096, Tail::Zeros),
            (8192, Tail::Zeros),
            (16_384, Tail::Zeros),
            (16_384, Tail::Junk)
        ])));
        let images = images(&epoch, &CrashOptions::new());
        assert!(images.iter().any(|image| image.len() == 16_384 && image.sector(20) != &[0; 512]));
        assert!(images.iter().any(|image| image.len() == 4096 && image.sector(0) == &[1; 512]));
    }

    #[test]
    fn every_state_is_found_again_by_its_name() {
        let writes: Vec<(u64, u8)> = (0..20).map(|at| (at * 3, 1)).chain([(3, 2), (6, 0)]).collect();
        let mut epoch = epoch_of(32_768, &writes);
        epoch.lengths.push(40_960);
        for torn_unit in [TornUnit::Sector, TornUnit::Block] {
            for state in CrashStates::of(&epoch, &CrashOptions::new().sample_limit(150).torn_unit(torn_unit)) {
                let again = find(&epoch, &state.point()).expect("it was enumerated");
                assert!(again.image() == state.image(), "{state:?}");
            }
        }
        let absent = Subset::Prefix(23);
        let point = CrashStates::of(&epoch, &CrashOptions::new()).next().expect("one state at least").point();
        assert!(find(&epoch, &CrashPoint { subset: absent, ..point }).is_none());
    }

    #[test]
    fn the_seed_decides_what_is_drawn() {
        let writes: Vec<(u64, u8)> = (0..40).map(|sector| (sector, 1)).collect();
        let epoch = epoch_of(32_768, &writes);
        let points = |seed| -> Vec<_> {
            CrashStates::of(&epoch, &CrashOptions::new().seed(seed).sample_limit(50))
                .map(|state| state.point())
                .collect()
        };
        assert_eq!(points(1), points(1));
        assert_ne!(points(1), points(2));
    }

    #[test]
    fn a_state_says_in_words_what_arrived_and_what_broke() {
        let epoch = epoch_of(8192, &[(1, 1), (9, 3)]);
        let point = CrashPoint {
            epoch: 0,
            torn_unit: TornUnit::Sector,
            subset: Subset::Exact(0b10),
            length: 8192,
            tail: Tail::Zeros,
            damage: Some(Damage::Torn { unit: 0, old: 0, new: 1, at: 8 }),
        };
        let state = find(&epoch, &point).expect("it fits");
        assert_eq!(
            state.to_string(),
            "epoch 0, 8192 bytes: of 2 units of 512, 1 arrived: 9; 1 torn at byte 8, version 1 over 0"
        );
    }
}
