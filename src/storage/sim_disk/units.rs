//! An epoch as the disk sees it: units that change at once, and the versions that each of them had.

use std::collections::BTreeMap;

use super::crash_point::{Damage, Subset, TornUnit};
use super::epoch::Epoch;
use super::image::{BLOCK_LEN, SECTOR_LEN, SimImage, narrow, wide};
use super::random::SplitMix64;
use crate::format::RESERVED_LEN;

/// What a unit held at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// The whole unit, zeros past the end of the file.
    pub(super) bytes: Vec<u8>,
    /// A bit a sector: it could not be read before the epoch and was not written since.
    unreadable: u8,
}

/// A unit of which the disk may hold one of several versions.
#[derive(Debug)]
pub(super) struct Unit {
    /// Its first byte on the disk.
    pub(super) at: u64,
    /// All different. Version 0 is what the base holds.
    pub(super) versions: Vec<Version>,
    /// The version that was written last; 0 if the first bytes were written again at the end.
    pub(super) newest: usize,
}

impl Unit {
    pub(super) fn len(&self) -> usize {
        self.versions[0].bytes.len()
    }
}

/// The units of an epoch that may differ from its base, in ascending order, and what may become of them.
#[derive(Debug)]
pub(super) struct Units {
    pub(super) torn_unit: TornUnit,
    base: SimImage,
    units: Vec<Unit>,
    /// Which unit got which version, in the order of the writes.
    arrivals: Vec<(usize, usize)>,
}

impl Units {
    pub(super) fn of(epoch: &Epoch, torn_unit: TornUnit) -> Self {
        let mut histories: BTreeMap<u64, Vec<(u64, Version)>> = BTreeMap::new();
        for write in epoch.carried.iter().chain(&epoch.writes) {
            let offset = write.sector * wide(SECTOR_LEN);
            let len = unit_len(epoch, torn_unit, offset);
            let at = offset - offset % wide(len);
            let history = histories.entry(at).or_insert_with(|| vec![(0, base_version(&epoch.base, at, len))]);
            let (sequence, last) = history.last().expect("a history begins with the base");
            if *sequence != write.sequence {
                let next = (write.sequence, last.clone());
                history.push(next);
            }
            let (_, newest) = history.last_mut().expect("a history begins with the base");
            let within = narrow(offset - at);
            newest.bytes[within..within + SECTOR_LEN].copy_from_slice(&write.bytes);
            newest.unreadable &= !(1 << (within / SECTOR_LEN));
        }
        let mut units = Vec::new();
        let mut arrivals = Vec::new();
        for (at, history) in histories {
            let mut unit = Unit { at, versions: Vec::new(), newest: 0 };
            let mut events = Vec::new();
            for (sequence, version) in history {
                let known = unit.versions.iter().position(|other| *other == version);
                unit.newest = known.unwrap_or(unit.versions.len());
                if known.is_none() {
                    unit.versions.push(version);
                }
                events.push((sequence, (units.len(), unit.newest)));
            }
            if unit.versions.len() > 1 {
                units.push(unit);
                arrivals.extend(events.into_iter().skip(1));
            }
        }
        arrivals.sort_by_key(|&(sequence, (unit, _))| (sequence, unit));
        let arrivals = arrivals.into_iter().map(|(_, arrival)| arrival).collect();
        Units { torn_unit, base: epoch.base.clone(), units, arrivals }
    }

    pub(super) fn list(&self) -> &[Unit] {
        &self.units
    }

    pub(super) fn arrivals(&self) -> &[(usize, usize)] {
        &self.arrivals
    }

    pub(super) fn base(&self) -> &SimImage {
        &self.base
    }

    /// In how many ways each unit can have one of its versions; `None` if that is more than `limit`.
    pub(super) fn combinations(&self, limit: u64) -> Option<u64> {
        self.units.iter().try_fold(1_u64, |product, unit| {
            product.checked_mul(wide(unit.versions.len())).filter(|&product| product <= limit)
        })
    }

    /// The pages in which units lie, in ascending order.
    pub(super) fn pages(&self, page_size: u64) -> Vec<u64> {
        let mut pages: Vec<u64> = self.units.iter().map(|unit| unit.at / page_size.max(1)).collect();
        pages.dedup();
        pages
    }

    /// The version of each unit that is on disk, or `None` if there is no such subset in this epoch.
    pub(super) fn choose(&self, subset: Subset) -> Option<Vec<usize>> {
        let newest = || self.units.iter().map(|unit| unit.newest).collect::<Vec<_>>();
        let mut chosen = vec![0; self.units.len()];
        match subset {
            Subset::Exact(mut digits) => {
                for (choice, unit) in chosen.iter_mut().zip(&self.units) {
                    let versions = wide(unit.versions.len());
                    *choice = narrow(digits % versions);
                    digits /= versions;
                }
                (digits == 0).then_some(chosen)
            }
            Subset::Prefix(arrived) => {
                self.arrivals.get(..arrived)?.iter().for_each(|&(unit, version)| chosen[unit] = version);
                Some(chosen)
            }
            Subset::AllBut { unit, version } => {
                self.units.get(unit)?.versions.get(version)?;
                chosen = newest();
                chosen[unit] = version;
                Some(chosen)
            }
            Subset::Only { unit, version } => {
                self.units.get(unit)?.versions.get(version)?;
                chosen[unit] = version;
                Some(chosen)
            }
            Subset::Pages { page_size, mask } => {
                let pages = self.pages(page_size);
                let bits = u32::try_from(pages.len()).ok().filter(|&bits| bits < u64::BITS)?;
                for (choice, unit) in chosen.iter_mut().zip(&self.units) {
                    let page = pages.binary_search(&(unit.at / page_size.max(1))).expect("every unit lies in a page");
                    *choice = if mask >> page & 1 == 1 { unit.newest } else { 0 };
                }
                (mask >> bits == 0).then_some(chosen)
            }
            Subset::Sample(seed) => Some(self.sample(&mut SplitMix64::new(seed))),
        }
    }

    /// Draws versions with locality in space or in time, as caches and queues of real disks have it.
    fn sample(&self, random: &mut SplitMix64) -> Vec<usize> {
        let (units, arrivals) = (self.units.len(), self.arrivals.len());
        let any = |unit: &Unit, random: &mut SplitMix64| match random.once_in(4) {
            true => random.below(unit.versions.len()),
            false => unit.newest,
        };
        let mut chosen = vec![0; units];
        match random.below(3) {
            // Runs of neighbours arrive together.
            0 => {
                let turn = 2 + random.below(units.clamp(1, 32));
                let mut arrived = random.once_in(2);
                for (choice, unit) in chosen.iter_mut().zip(&self.units) {
                    arrived ^= random.once_in(turn);
                    *choice = if arrived { any(unit, random) } else { 0 };
                }
            }
            // All that was written until some moment, but for a window of queued writes, of which any arrived.
            1 => {
                let cut = random.below(arrivals + 1);
                let window = cut.saturating_sub(1 + random.below(32))..(cut + random.below(32)).min(arrivals);
                for (at, &(unit, version)) in self.arrivals[..window.end].iter().enumerate() {
                    if !window.contains(&at) || random.once_in(2) {
                        chosen[unit] = version;
                    }
                }
            }
            // Each on its own, most of them or few.
            _ => {
                let (wins, of) = [(1, 8), (1, 2), (7, 8)][random.below(3)];
                for (choice, unit) in chosen.iter_mut().zip(&self.units) {
                    *choice = if random.below(of) < wins { any(unit, random) } else { 0 };
                }
            }
        }
        chosen
    }

    /// Whether the damage is one that this epoch can do, and shows: a tear between equal bytes does not.
    pub(super) fn allows(&self, damage: Damage) -> bool {
        match damage {
            Damage::Torn { unit, old, new, at } => {
                let version = |version: usize| self.units.get(unit).and_then(|unit| unit.versions.get(version));
                let (Some(old), Some(new)) = (version(old), version(new)) else {
                    return false;
                };
                at < old.bytes.len() && old.bytes[..at] != new.bytes[..at] && old.bytes[at..] != new.bytes[at..]
            }
            Damage::Junk { unit, .. } | Damage::Unreadable { unit } => unit < self.units.len(),
        }
    }

    /// Lays a version of a unit over an image.
    pub(super) fn lay(&self, image: &mut SimImage, unit: usize, version: &Version) {
        let first = self.units[unit].at / wide(SECTOR_LEN);
        for (at, bytes) in version.bytes.chunks_exact(SECTOR_LEN).enumerate() {
            image.write_sector(first + wide(at), bytes.try_into().expect("a sector"));
            if version.unreadable >> at & 1 == 1 {
                image.mark_unreadable(first + wide(at));
            }
        }
    }

    /// What damage leaves of its unit.
    pub(super) fn damaged(&self, damage: Damage) -> Version {
        match damage {
            Damage::Torn { unit, old, new, at } => {
                let versions = &self.units[unit].versions;
                let mut torn = versions[old].clone();
                torn.bytes[..at].copy_from_slice(&versions[new].bytes[..at]);
                let behind = u8::MAX << (at / SECTOR_LEN);
                torn.unreadable = versions[old].unreadable & behind | versions[new].unreadable & !behind;
                torn
            }
            Damage::Junk { unit, seed } => self.junk(unit, seed, 0),
            Damage::Unreadable { unit } => self.junk(unit, self.units[unit].at, u8::MAX),
        }
    }

    fn junk(&self, unit: usize, seed: u64, unreadable: u8) -> Version {
        let mut bytes = vec![0; self.units[unit].len()];
        SplitMix64::new(seed).fill(&mut bytes);
        Version { bytes, unreadable }
    }
}

/// Bytes in the unit that holds the byte at `offset`.
fn unit_len(epoch: &Epoch, torn_unit: TornUnit, offset: u64) -> usize {
    let in_sectors = match torn_unit {
        TornUnit::Sector => true,
        TornUnit::Block => false,
        TornUnit::BlockOrSector => offset >= RESERVED_LEN && epoch.parted.contains(&(offset / wide(BLOCK_LEN))),
    };
    if in_sectors { SECTOR_LEN } else { BLOCK_LEN }
}

fn base_version(base: &SimImage, at: u64, len: usize) -> Version {
    let first = at / wide(SECTOR_LEN);
    let sectors = first..first + wide(len / SECTOR_LEN);
    let bytes = sectors.clone().flat_map(|sector| *base.sector(sector)).collect();
    let unreadable = sectors.rev().fold(0, |mask, sector| mask << 1 | u8::from(base.is_unreadable(sector)));
    Version { bytes, unreadable }
}
