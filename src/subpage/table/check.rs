//! Whether a table agrees with itself, exactly: every count, bit and list, and one owner for each page.

use crate::error::Result;
use crate::format::{Defect, SlotBits, TableRoot};

use super::pages::{ReadPages, corrupt, named_page};
use super::tree::{Found, Table};

/// What the records say, added up.
#[derive(Default)]
struct Sums {
    live: u64,
    parents: u64,
    with_room: u64,
    vacant: u64,
}

impl Table {
    /// Reads the whole table. The first thing that is wrong is the error. Takes time in proportion to the parents.
    pub(super) fn check(&self, pages: &dyn ReadPages) -> Result<()> {
        let root = self.root(pages)?;
        let wrong = |defect: Defect| corrupt(pages, self.root_index(), defect);
        let (own, parents) = self.owned_pages(pages, &root)?;
        for parent in &parents {
            named_page(pages, self.root_index(), *parent)?;
        }
        let mut all = [own, parents].concat();
        all.sort_unstable();
        if let Some(pair) = all.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(wrong(Defect { field: "owners of a page", expected: 1, found: pair[0] + 1 }));
        }
        let mut sums = Sums::default();
        for number in 0..root.numbers {
            self.check_record(pages, &root, number, &mut sums)?;
        }
        let counts = [
            ("live", sums.live, root.live),
            ("parents", sums.parents, root.parents),
            ("with room", sums.with_room, self.walk_list(pages, &root, sums.with_room)?),
            ("vacant", sums.vacant, self.walk_vacant(pages, &root, sums.vacant)?),
        ];
        match counts.into_iter().find(|(_, expected, found)| expected != found) {
            Some((field, expected, found)) => Err(wrong(Defect { field, expected, found })),
            None => Ok(()),
        }
    }

    /// A record against its bits.
    fn check_record(&self, pages: &dyn ReadPages, root: &TableRoot, number: u64, sums: &mut Sums) -> Result<()> {
        let shape = self.shape;
        let (Found { place, record, .. }, node) = self.find(pages, root, number)?;
        let live = SlotBits::count(shape, node, place.at);
        let is_parent = record.page != 0;
        let is_listed = record.next != 0 || record.previous != 0;
        let first = SlotBits::first_free(shape, node, place.at, 0).map_or(record.hint, SlotBits::word_of);
        let fields = [
            ("free", if is_parent { shape.slots() - live.min(shape.slots()) } else { 0 }, record.free),
            ("bits", if is_parent { live.min(shape.slots()) } else { 0 }, live),
            ("is in a list", 0, u64::from(is_parent && record.free == 0 && is_listed)),
            ("previous", 0, if is_parent { 0 } else { record.previous }),
            ("hint", record.hint.min(first), record.hint),
        ];
        for (field, expected, found) in fields {
            if expected != found {
                return Err(corrupt(pages, place.node, Defect { field, expected, found }));
            }
        }
        sums.live += live;
        sums.parents += u64::from(is_parent);
        sums.with_room += u64::from(record.has_room());
        sums.vacant += u64::from(!is_parent);
        Ok(())
    }

    /// How many parents are in the list of those with room, if each names the one before it; at most one more than `most`.
    fn walk_list(&self, pages: &dyn ReadPages, root: &TableRoot, most: u64) -> Result<u64> {
        let (mut before, mut name, mut count) = (0, root.with_room, 0);
        while let Some(number) = name.checked_sub(1)
            && count <= most
        {
            let (Found { place, record, .. }, _) = self.find(pages, root, number)?;
            if !record.has_room() || record.previous != before {
                let defect = Defect { field: "previous", expected: before, found: record.previous };
                return Err(corrupt(pages, place.node, defect));
            }
            (before, name, count) = (name, record.next, count + 1);
        }
        Ok(count)
    }

    /// How many numbers are in the list of the vacant ones; at most one more than `most`.
    fn walk_vacant(&self, pages: &dyn ReadPages, root: &TableRoot, most: u64) -> Result<u64> {
        let (mut name, mut count) = (root.vacant, 0);
        while let Some(number) = name.checked_sub(1)
            && count <= most
        {
            let (Found { place, record, .. }, _) = self.find(pages, root, number)?;
            if record.page != 0 {
                return Err(corrupt(pages, place.node, Defect { field: "page", expected: 0, found: record.page }));
            }
            (name, count) = (record.next, count + 1);
        }
        Ok(count)
    }
}
