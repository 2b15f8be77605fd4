//! The naive twin of a pager: maps of what every page holds.

use std::collections::BTreeMap;

/// What a page of the model holds: one byte, everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regular {
    /// The byte.
    pub fill: u8,
    /// A barrier has passed since it was stored to or handed out; before that a power cut may leave anything.
    pub settled: bool,
}

/// All that a pager is to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// The number of the last commit.
    pub generation: u64,
    /// Regular pages by id.
    pub regular: BTreeMap<u64, Regular>,
    /// The byte that each protected page is full of, by id.
    pub protected: BTreeMap<u64, u8>,
    /// The byte that the header is full of.
    pub header: u8,
}

impl Model {
    /// A barrier passed.
    pub fn settle(&mut self) {
        self.regular.values_mut().for_each(|page| page.settled = true);
    }

    /// The id of the `pick`-th regular page, counted around.
    #[must_use]
    pub fn pick_regular(&self, pick: u8) -> Option<u64> {
        nth(&self.regular, pick)
    }

    /// The id of the `pick`-th protected page, counted around.
    #[must_use]
    pub fn pick_protected(&self, pick: u8) -> Option<u64> {
        nth(&self.protected, pick)
    }

    /// Up to `count` different regular pages.
    #[must_use]
    pub fn pick_many_regular(&self, pick: u8, count: u8) -> Vec<u64> {
        many(&self.regular, pick, count)
    }

    /// Up to `count` different protected pages.
    #[must_use]
    pub fn pick_many_protected(&self, pick: u8, count: u8) -> Vec<u64> {
        many(&self.protected, pick, count)
    }
}

fn nth<T>(map: &BTreeMap<u64, T>, pick: u8) -> Option<u64> {
    let at = usize::from(pick).checked_rem(map.len())?;
    map.keys().nth(at).copied()
}

fn many<T>(map: &BTreeMap<u64, T>, pick: u8, count: u8) -> Vec<u64> {
    let len = map.len();
    let first = usize::from(pick).checked_rem(len).unwrap_or(0);
    map.keys().cycle().skip(first).take(len.min(usize::from(count))).copied().collect()
}
