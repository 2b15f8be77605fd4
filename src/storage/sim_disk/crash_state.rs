//! One state that a power cut may leave.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::crash_point::{CrashPoint, Damage, Tail, TornUnit};
use super::image::{BLOCK_LEN, SECTOR_LEN, SimImage, narrow, wide};
use super::random::SplitMix64;
use super::units::Units;

/// A state that a power cut may leave.
#[derive(Clone)]
pub struct CrashState {
    point: CrashPoint,
    units: Arc<Units>,
}

impl CrashState {
    pub(super) fn new(point: CrashPoint, units: Arc<Units>) -> Self {
        CrashState { point, units }
    }

    /// The name of the state.
    #[must_use]
    pub fn point(&self) -> CrashPoint {
        self.point
    }

    /// The disk in this state, for [`SimDisk::from_image`](super::SimDisk::from_image).
    #[must_use]
    pub fn image(&self) -> SimImage {
        let mut image = self.units.base().clone();
        let synced = image.len();
        image.set_len(self.point.length);
        if self.point.tail == Tail::Junk && image.len() > synced {
            let mut junk = vec![0; narrow(image.len() - synced)];
            SplitMix64::new(synced).fill(&mut junk);
            image.write(synced, &junk);
        }
        let damage = self.point.damage;
        for (at, &version) in self.chosen().iter().enumerate() {
            if version != 0 && damage.is_none_or(|damage| damage.unit() != at) {
                self.units.lay(&mut image, at, &self.units.list()[at].versions[version]);
            }
        }
        if let Some(damage) = damage {
            self.units.lay(&mut image, damage.unit(), &self.units.damaged(damage));
        }
        image
    }

    /// The bytes of the unit that is damaged; none if none is.
    #[must_use]
    pub fn damaged(&self) -> Range<u64> {
        self.point.damage.map_or(0..0, |damage| {
            let unit = &self.units.list()[damage.unit()];
            unit.at..unit.at + wide(unit.len())
        })
    }

    fn chosen(&self) -> Vec<usize> {
        self.units.choose(self.point.subset).expect("a state is made of a subset of its epoch")
    }
}

impl fmt::Debug for CrashState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.point, f)
    }
}

/// The state in words: where the units lie that arrived.
impl fmt::Display for CrashState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CrashPoint { epoch, torn_unit, length, tail, damage, .. } = self.point;
        // Places are counted in the smallest unit that there may be.
        let (place_len, lens) = match torn_unit {
            TornUnit::Sector => (SECTOR_LEN, "512"),
            TornUnit::Block => (BLOCK_LEN, "4096"),
            TornUnit::BlockOrSector => (SECTOR_LEN, "512 or 4096"),
        };
        let chosen = self.chosen();
        let arrived = chosen.iter().filter(|&&version| version != 0).count();
        write!(f, "epoch {epoch}, {length} bytes: of {} units of {lens}, {arrived} arrived:", chosen.len())?;
        for (unit, &version) in self.units.list().iter().zip(&chosen).filter(|&(_, &version)| version != 0) {
            write!(f, " {}", unit.at / wide(place_len))?;
            if version != unit.newest {
                write!(f, " (version {version})")?;
            }
        }
        if tail == Tail::Junk {
            f.write_str(", junk in new space")?;
        }
        let Some(damage) = damage else {
            return Ok(());
        };
        let place = self.units.list()[damage.unit()].at / wide(place_len);
        match damage {
            Damage::Torn { old, new, at, .. } => {
                write!(f, "; {place} torn at byte {at}, version {new} over {old}")
            }
            Damage::Junk { .. } => write!(f, "; {place} junk"),
            Damage::Unreadable { .. } => write!(f, "; {place} unreadable"),
        }
    }
}
