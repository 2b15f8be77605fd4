//! The pages of a map and their sub-pages, as numbers: everything that a map knows, compiled once for all sizes.
//!
//! ```text
//!   index     page ─▶ place in parents
//!   parents   [(page, Slots), ...]           every page of the map; each has a live slot, except while a call is under way
//!   open      [place in parents, ...]        those with a free slot; the last is taken from, and Parent::open says where one
//!                                            stands, so that taking it out costs the same wherever that is
//!   log       what was done, newest last     kept while somebody may want it taken back
//! ```
//!
//! Each call looks at one page, and so takes the same time whatever their number. What decides, asks a place for pages and
//! makes errors is in `map`.

use super::page_index::PageIndex;
use super::slots::{Shape, Slots};

/// Everything that changes, so that it can be taken back.
#[derive(Clone, Copy, Debug)]
enum Done {
    Took(u64),
    Gave { unit: u64, was_blank: bool },
    Wrote(u64),
    Added(u64),
    Removed(u64),
}

/// A point to come back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    len: usize,
    /// The log began with this mark and ends with it.
    is_first: bool,
}

/// What freeing a slot came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freed {
    /// Nothing was done: the slot is not live.
    Missing,
    /// The slot is free, and others of its page are live.
    Slot,
    /// It is the last live slot of its page. It was freed if that was asked for.
    Last,
}

#[derive(Clone, Debug)]
struct Parent {
    page: u64,
    slots: Slots,
    /// Its place in `open`, while it has a free slot.
    open: usize,
}

/// See the head of this file.
#[derive(Clone, Debug)]
pub(super) struct Parents {
    shape: Shape,
    index: PageIndex,
    parents: Vec<Parent>,
    open: Vec<usize>,
    live: u64,
    log: Option<Vec<Done>>,
}

impl Parents {
    pub(super) fn new(slots: u64) -> Self {
        let shape = Shape::new(slots);
        Parents { shape, index: PageIndex::default(), parents: Vec::new(), open: Vec::new(), live: 0, log: None }
    }

    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// Slots that are free.
    pub(super) fn free(&self) -> u64 {
        (self.parents.len() * self.shape.slots()) as u64 - self.live
    }

    pub(super) fn count(&self) -> usize {
        self.parents.len()
    }

    pub(super) fn pages(&self) -> impl Iterator<Item = u64> + '_ {
        self.parents.iter().map(|parent| parent.page)
    }

    pub(super) fn has_page(&self, page: u64) -> bool {
        self.index.get(page).is_some()
    }

    /// The live slots, in no order.
    pub(super) fn iter_live(&self) -> impl Iterator<Item = u64> + '_ {
        let parents = self.parents.iter();
        parents.flat_map(|Parent { page, slots, .. }| {
            slots.iter_live(&self.shape).map(|slot| self.shape.unit(*page, slot))
        })
    }

    /// Whether a slot is blank; `None` where it is not live.
    pub(super) fn is_blank(&self, unit: u64) -> Option<bool> {
        let (page, slot) = self.shape.split(unit);
        let slots = &self.parents[self.index.get(page)?].slots;
        slots.is_live(slot).then(|| slots.is_blank(slot))
    }

    /// Says that a live slot holds what it is to hold.
    pub(super) fn set_written(&mut self, unit: u64) {
        let (page, slot) = self.shape.split(unit);
        self.slots_mut(page).set_blank(slot, false);
        self.note(Done::Wrote(unit));
    }

    /// Takes a free slot, if any page has one. It is blank.
    pub(super) fn take(&mut self) -> Option<u64> {
        let Parent { page, slots, .. } = &mut self.parents[*self.open.last()?];
        let slot = slots.first_free(&self.shape);
        slots.take(&self.shape, slot);
        slots.set_blank(slot, true);
        let unit = self.shape.unit(*page, slot);
        if slots.live() == self.shape.slots() {
            self.open.pop();
        }
        self.live += 1;
        self.note(Done::Took(unit));
        Some(unit)
    }

    /// Takes that very slot, if it is free. It is not blank. The page is one of the map.
    pub(super) fn take_this(&mut self, unit: u64) -> bool {
        let (page, slot) = self.shape.split(unit);
        let Parent { slots, open, .. } = &mut self.parents[self.index.get(page).expect(LISTED)];
        if slots.is_live(slot) {
            return false;
        }
        slots.take(&self.shape, slot);
        if slots.live() == self.shape.slots() {
            let open = *open;
            self.close(open);
        }
        self.live += 1;
        self.note(Done::Took(unit));
        true
    }

    /// Frees a slot; one that is the last of its page only if `may_empty` says so.
    pub(super) fn free_slot(&mut self, unit: u64, may_empty: bool) -> Freed {
        let (page, slot) = self.shape.split(unit);
        let Some(place) = self.index.get(page) else { return Freed::Missing };
        let Parent { slots, open, .. } = &mut self.parents[place];
        if !slots.is_live(slot) {
            return Freed::Missing;
        }
        let is_last = slots.live() == 1;
        if is_last && !may_empty {
            return Freed::Last;
        }
        if slots.live() == self.shape.slots() {
            *open = self.open.len();
            self.open.push(place);
        }
        let was_blank = slots.is_blank(slot);
        slots.give_back(&self.shape, slot);
        self.live -= 1;
        self.note(Done::Gave { unit, was_blank });
        if is_last { Freed::Last } else { Freed::Slot }
    }

    /// Adds a page that the map does not have, with all its slots free.
    pub(super) fn add(&mut self, page: u64) {
        assert!(!self.has_page(page), "a page is added once");
        let place = self.parents.len();
        self.index.set(page, place);
        self.parents.push(Parent { page, slots: Slots::new(&self.shape), open: self.open.len() });
        self.open.push(place);
        self.note(Done::Added(page));
    }

    /// Takes out a page of which all slots are free.
    pub(super) fn remove(&mut self, page: u64) {
        let place = self.index.get(page).expect(LISTED);
        assert!(self.parents[place].slots.live() == 0, "a page goes back when all its slots are free");
        self.close(self.parents[place].open);
        self.index.clear(page);
        self.parents.swap_remove(place);
        if let Some(moved) = self.parents.get(place) {
            self.index.set(moved.page, place);
            if moved.slots.live() < self.shape.slots() {
                self.open[moved.open] = place;
            }
        }
        self.note(Done::Removed(page));
    }

    /// Takes out of `open` what stands there.
    fn close(&mut self, open: usize) {
        self.open.swap_remove(open);
        if let Some(moved) = self.open.get(open) {
            self.parents[*moved].open = open;
        }
    }

    fn slots_mut(&mut self, page: u64) -> &mut Slots {
        &mut self.parents[self.index.get(page).expect(LISTED)].slots
    }

    fn note(&mut self, done: Done) {
        if let Some(log) = &mut self.log {
            log.push(done);
        }
    }

    /// Marks this point. Each mark is [kept](Self::keep) or [rolled back to](Self::roll_back), the newest first.
    pub(super) fn mark(&mut self) -> Mark {
        let is_first = self.log.is_none();
        Mark { len: self.log.get_or_insert_default().len(), is_first }
    }

    /// Keeps what was done since the mark, if nobody before it wants it taken back.
    pub(super) fn keep(&mut self, mark: Mark) {
        if mark.is_first {
            self.log = None;
        }
    }

    /// Takes back what was done since the mark, the newest first.
    pub(super) fn roll_back(&mut self, mark: Mark) {
        // Taking back is not noted.
        let Some(mut log) = self.log.take() else { return };
        while log.len() > mark.len
            && let Some(done) = log.pop()
        {
            self.take_back(done);
        }
        self.log = (!mark.is_first).then_some(log);
    }

    fn take_back(&mut self, done: Done) {
        match done {
            Done::Took(unit) => {
                let freed = self.free_slot(unit, true);
                assert!(freed != Freed::Missing, "what was taken is live");
            }
            Done::Gave { unit, was_blank } => {
                assert!(self.take_this(unit), "what was given back is free");
                let (page, slot) = self.shape.split(unit);
                self.slots_mut(page).set_blank(slot, was_blank);
            }
            Done::Wrote(unit) => {
                let (page, slot) = self.shape.split(unit);
                self.slots_mut(page).set_blank(slot, true);
            }
            Done::Added(page) => self.remove(page),
            Done::Removed(page) => self.add(page),
        }
    }
}

/// Pages in the list, and those named by slots that are known to be live, are there.
const LISTED: &str = "the page is one of the map";

#[cfg(test)]
mod tests {
    use super::Parent;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_page_of_up_to_64_slots_takes_56_bytes() {
        assert_eq!(size_of::<Parent>(), 56);
    }
}
