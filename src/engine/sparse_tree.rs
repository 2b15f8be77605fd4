//! A sparse array that copies on write: the shape in which the engine keeps leaves and nodes in memory.
//!
//! An index finds an item through branches of 64 slots; what was never touched takes no memory. A clone shares everything
//! with its original and costs one reference count; changing an item of the clone copies the item and the branches above
//! it. So a transaction starts from a clone of the live state, a rollback drops it, a savepoint is one more clone, the
//! items that a commit has to write are those whose pointers differ, and turning over is an assignment.
//!
//! A branch knows which of its slots are *saturated* and how much *room* there is below each (see [`Saturate`]), so that the
//! first item with room, or with so much, is found in O(levels), whatever the number and fill of the items.

use std::fmt;
use std::sync::Arc;

use super::geometry::to_index;

const BITS: u32 = 6;
const FANOUT: usize = 1 << BITS;

/// An item that can say that a search for room need not look into it.
pub(super) trait Saturate {
    fn is_saturated(&self) -> bool;

    /// How much room there is in one piece at the most.
    fn room(&self) -> u16 {
        0
    }

    /// A search found no more room in one piece than this.
    fn lower_room(&mut self, _room: u16) {}
}

/// What a branch knows of what lies below a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fill {
    saturated: bool,
    room: u16,
}

impl Fill {
    fn of<T: Saturate>(item: &T) -> Self {
        Fill { saturated: item.is_saturated(), room: item.room() }
    }
}

#[derive(Clone)]
enum Slot<T> {
    Empty,
    Branch(Arc<Branch<T>>),
    Item(Arc<T>),
}

#[derive(Clone)]
struct Branch<T> {
    /// Bit `i`: everything below slot `i` is saturated. An empty slot never is.
    saturated: u64,
    /// No item below slot `i` has more room. An empty slot has none.
    rooms: [u16; FANOUT],
    slots: [Slot<T>; FANOUT],
}

impl<T> Branch<T> {
    fn new() -> Self {
        Branch { saturated: 0, rooms: [0; FANOUT], slots: [const { Slot::Empty }; FANOUT] }
    }

    fn set_fill(&mut self, position: usize, fill: Fill) {
        self.saturated = self.saturated & !(1 << position) | u64::from(fill.saturated) << position;
        self.rooms[position] = fill.room;
    }

    fn fill(&self) -> Fill {
        let room = self.rooms.iter().fold(0, |most, room| most.max(*room));
        Fill { saturated: self.saturated == u64::MAX, room }
    }
}

/// See the head of this file.
#[derive(Clone)]
pub(super) struct SparseTree<T> {
    /// Levels of branches above the items; the tree holds indexes below 64 to this power.
    height: u32,
    root: Slot<T>,
}

impl<T> Default for SparseTree<T> {
    fn default() -> Self {
        SparseTree { height: 0, root: Slot::Empty }
    }
}

impl<T> fmt::Debug for SparseTree<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SparseTree").field("height", &self.height).finish_non_exhaustive()
    }
}

/// The slot of `index` in a branch whose children are `level` levels above the items.
fn position(index: u64, level: u32) -> usize {
    to_index((index >> (BITS * level)) % FANOUT as u64)
}

/// How many indexes lie below a slot `level` levels above the items.
fn span(level: u32) -> u64 {
    1u64.checked_shl(BITS * level).unwrap_or(u64::MAX)
}

impl<T> SparseTree<T> {
    pub(super) fn get(&self, index: u64) -> Option<&T> {
        self.arc(index).map(|item| &**item)
    }

    /// The item at `index`, to be kept beside the tree.
    pub(super) fn share(&self, index: u64) -> Option<Arc<T>> {
        self.arc(index).cloned()
    }

    fn arc(&self, index: u64) -> Option<&Arc<T>> {
        if index >= span(self.height) {
            return None;
        }
        let (mut slot, mut level) = (&self.root, self.height);
        loop {
            match slot {
                Slot::Empty => return None,
                Slot::Item(item) => return Some(item),
                Slot::Branch(branch) => {
                    level -= 1;
                    slot = &branch.slots[position(index, level)];
                }
            }
        }
    }

    /// The first item at or behind `from`, with its index.
    pub(super) fn next(&self, from: u64) -> Option<(u64, &T)> {
        if from >= span(self.height) { None } else { next_below(&self.root, self.height, 0, from) }
    }

    /// All items, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let mut from = Some(0);
        std::iter::from_fn(move || {
            let (index, item) = self.next(from?)?;
            from = index.checked_add(1);
            Some((index, item))
        })
    }

    /// Indexes, ascending, of the items that were changed since `base`, of which this tree began as a clone. Items that were
    /// taken away are not among them.
    pub(super) fn changed_since(&self, base: &SparseTree<T>) -> Vec<u64> {
        let mut changed = Vec::new();
        changed_below(&self.root, self.height, 0, base.height, &base.root, &mut changed);
        changed
    }
}

impl<T: Clone + Default + Saturate> SparseTree<T> {
    /// Changes the item at `index`, made from its default where there is none.
    pub(super) fn update<R>(&mut self, index: u64, change: impl FnOnce(&mut T) -> R) -> R {
        while index >= span(self.height) {
            self.raise();
        }
        let change = |slot: &mut Slot<T>| {
            if matches!(slot, Slot::Empty) {
                *slot = Slot::Item(Arc::new(T::default()));
            }
            let Slot::Item(item) = slot else { unreachable!("slots of level 0 hold items") };
            let item = Arc::make_mut(item);
            let result = change(item);
            (result, Fill::of(item))
        };
        change_below(&mut self.root, self.height, index, change).0
    }

    /// Puts an item where there may be one.
    pub(super) fn insert(&mut self, index: u64, item: Arc<T>) {
        while index >= span(self.height) {
            self.raise();
        }
        let fill = Fill::of(&*item);
        change_below(&mut self.root, self.height, index, |slot| (*slot = Slot::Item(item), fill));
    }

    /// The first item at or behind `from` that may have so much room, which is more than none.
    pub(super) fn first_with_room(&self, from: u64, least: u16) -> Option<u64> {
        if from >= span(self.height) { None } else { roomy_below(&self.root, self.height, from, least) }
    }

    /// A search found no more room in one piece in the item at `index`, which is there. No item is changed by that, for whoever
    /// shares it or compares it.
    pub(super) fn lower_room(&mut self, index: u64, room: u16) {
        change_below(&mut self.root, self.height, index, |slot| {
            let Slot::Item(item) = slot else { unreachable!("the item is there") };
            let fill = Fill::of(&**item);
            if let Some(item) = Arc::get_mut(item) {
                item.lower_room(room);
            }
            ((), Fill { room: fill.room.min(room), ..fill })
        });
    }

    /// The first index in `from..end` whose item is not saturated. An item that is not there is not.
    pub(super) fn first_unsaturated(&self, from: u64, end: u64) -> Option<u64> {
        if from >= end {
            return None;
        }
        let found = if from >= span(self.height) {
            from
        } else {
            unsaturated_below(&self.root, self.height, from).unwrap_or(span(self.height))
        };
        (found < end).then_some(found)
    }

    /// Takes the item at `index` away, if there is one.
    pub(super) fn remove(&mut self, index: u64) {
        if index < span(self.height) {
            remove_below(&mut self.root, self.height, index);
        }
    }

    fn raise(&mut self) {
        let below = std::mem::replace(&mut self.root, Slot::Empty);
        if let Some(fill) = fill_of(&below) {
            let mut branch = Branch::new();
            branch.set_fill(0, fill);
            branch.slots[0] = below;
            self.root = Slot::Branch(Arc::new(branch));
        }
        self.height += 1;
    }
}

/// `None` of an empty slot.
fn fill_of<T: Saturate>(slot: &Slot<T>) -> Option<Fill> {
    match slot {
        Slot::Empty => None,
        Slot::Branch(branch) => Some(branch.fill()),
        Slot::Item(item) => Some(Fill::of(&**item)),
    }
}

/// Changes the slot of an item, which says what its fill is then; returns what became of this slot.
fn change_below<T: Clone, R>(
    slot: &mut Slot<T>,
    level: u32,
    index: u64,
    change: impl FnOnce(&mut Slot<T>) -> (R, Fill),
) -> (R, Fill) {
    if level == 0 {
        return change(slot);
    }
    if matches!(slot, Slot::Empty) {
        *slot = Slot::Branch(Arc::new(Branch::new()));
    }
    let Slot::Branch(branch) = slot else { unreachable!("slots above level 0 hold branches") };
    let branch = Arc::make_mut(branch);
    let position = position(index, level - 1);
    let (result, fill) = change_below(&mut branch.slots[position], level - 1, index, change);
    branch.set_fill(position, fill);
    (result, branch.fill())
}

fn remove_below<T: Clone>(slot: &mut Slot<T>, level: u32, index: u64) {
    match slot {
        Slot::Empty => {}
        Slot::Item(_) => *slot = Slot::Empty,
        Slot::Branch(branch) => {
            let branch = Arc::make_mut(branch);
            let position = position(index, level - 1);
            remove_below(&mut branch.slots[position], level - 1, index);
            let fill = match &branch.slots[position] {
                Slot::Branch(below) => Fill { saturated: false, ..below.fill() },
                Slot::Empty | Slot::Item(_) => Fill { saturated: false, room: 0 },
            };
            branch.set_fill(position, fill);
        }
    }
}

/// The first unsaturated index at or behind `from` below this slot; `from` counts from the slot's first index.
fn unsaturated_below<T: Saturate>(slot: &Slot<T>, level: u32, from: u64) -> Option<u64> {
    match slot {
        Slot::Empty => Some(from),
        Slot::Item(item) => (!item.is_saturated()).then_some(0),
        Slot::Branch(branch) => {
            let below = span(level - 1);
            let first = position(from, level - 1);
            // The slot in which `from` lies may have room only before it.
            if branch.saturated >> first & 1 == 0
                && let Some(found) = unsaturated_below(&branch.slots[first], level - 1, from % below)
            {
                return Some(first as u64 * below + found);
            }
            // The slots behind the first: shifted twice, since no shift by 64 is defined.
            let behind = !branch.saturated & u64::MAX << first << 1;
            let next = (behind != 0).then(|| behind.trailing_zeros())?;
            let found = unsaturated_below(&branch.slots[next as usize], level - 1, 0)?;
            Some(u64::from(next) * below + found)
        }
    }
}

/// The first item at or behind `from` that may have so much room, both counted from the slot's first index.
fn roomy_below<T: Saturate>(slot: &Slot<T>, level: u32, from: u64, least: u16) -> Option<u64> {
    match slot {
        Slot::Empty => None,
        Slot::Item(item) => (item.room() >= least).then_some(0),
        Slot::Branch(branch) => {
            let below = span(level - 1);
            let first = position(from, level - 1);
            let slots = branch.rooms.iter().enumerate().skip(first).filter(|(_, room)| **room >= least);
            slots.into_iter().find_map(|(at, _)| {
                let from = if at == first { from % below } else { 0 };
                // What a search lowered is known to the branch and perhaps not to the item.
                let found = if level == 1 { Some(0) } else { roomy_below(&branch.slots[at], level - 1, from, least) };
                Some(at as u64 * below + found?)
            })
        }
    }
}

fn next_below<T>(slot: &Slot<T>, level: u32, base: u64, from: u64) -> Option<(u64, &T)> {
    match slot {
        Slot::Empty => None,
        Slot::Item(item) => Some((base, item)),
        Slot::Branch(branch) => {
            let below = span(level - 1);
            let first = if from <= base { 0 } else { position(from, level - 1) };
            let slots = branch.slots.iter().enumerate().skip(first);
            slots.into_iter().find_map(|(at, slot)| next_below(slot, level - 1, base + at as u64 * below, from))
        }
    }
}

fn changed_below<T>(
    slot: &Slot<T>,
    level: u32,
    base_index: u64,
    base_height: u32,
    base: &Slot<T>,
    changed: &mut Vec<u64>,
) {
    match (slot, base) {
        (Slot::Empty, _) => {}
        (Slot::Item(item), Slot::Item(old)) if Arc::ptr_eq(item, old) => {}
        (Slot::Branch(branch), Slot::Branch(old)) if level == base_height && Arc::ptr_eq(branch, old) => {}
        (Slot::Item(_), _) => changed.push(base_index),
        (Slot::Branch(branch), _) => {
            let below = span(level - 1);
            for (at, child) in branch.slots.iter().enumerate() {
                // A tree that was raised since holds its whole base in slot 0 of the new branches.
                let old = match base {
                    _ if level > base_height && at == 0 => base,
                    Slot::Branch(old) if level == base_height => &old.slots[at],
                    _ => &Slot::Empty,
                };
                let old_height = if level > base_height { base_height } else { level - 1 };
                changed_below(child, level - 1, base_index + at as u64 * below, old_height, old, changed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{any, prop, proptest};

    use super::{Saturate, SparseTree};

    #[derive(Clone, Default, PartialEq, Debug)]
    struct Cell(u8);

    impl Saturate for Cell {
        fn is_saturated(&self) -> bool {
            self.0 == u8::MAX
        }
    }

    /// The naive twin: first index without a saturated cell.
    fn first_unsaturated(cells: &BTreeMap<u64, u8>, from: u64, end: u64) -> Option<u64> {
        (from..end).find(|index| cells.get(index) != Some(&u8::MAX))
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(
            changes in prop::collection::vec((0u64..9000, prop::bool::ANY), 1..300),
            froms in prop::collection::vec(any::<u16>(), 20),
        ) {
            let (mut tree, mut cells) = (SparseTree::<Cell>::default(), BTreeMap::new());
            for (index, full) in changes {
                let value = if full { u8::MAX } else { 1 };
                tree.update(index, |cell| cell.0 = value);
                cells.insert(index, value);
            }
            let found: BTreeMap<u64, u8> = tree.iter().map(|(index, cell)| (index, cell.0)).collect();
            assert_eq!(found, cells);
            for from in froms.into_iter().map(u64::from) {
                assert_eq!(tree.get(from).map(|cell| cell.0), cells.get(&from).copied());
                assert_eq!(tree.next(from).map(|(index, _)| index), cells.range(from..).next().map(|(index, _)| *index));
                let end = from + 70;
                assert_eq!(tree.first_unsaturated(from, end), first_unsaturated(&cells, from, end));
            }
        }

        #[test]
        fn a_clone_differs_in_exactly_what_was_changed(
            before in prop::collection::btree_set(0u64..5000, 0..40),
            after in prop::collection::btree_set(0u64..600_000, 0..40),
        ) {
            let mut base = SparseTree::<Cell>::default();
            before.iter().for_each(|index| base.update(*index, |cell| cell.0 = 1));
            let mut tree = base.clone();
            after.iter().for_each(|index| tree.update(*index, |cell| cell.0 = 2));
            assert_eq!(tree.changed_since(&base), after.iter().copied().collect::<Vec<_>>());
            assert!(base.iter().map(|(index, _)| index).eq(before.iter().copied()), "the base kept what it held");
            assert!(base.iter().all(|(_, cell)| cell.0 == 1));
        }
    }

    #[test]
    fn a_run_of_saturated_items_is_skipped_whole() {
        let mut tree = SparseTree::<Cell>::default();
        (0..10_000).for_each(|index| tree.update(index, |cell| cell.0 = u8::MAX));
        assert_eq!(tree.first_unsaturated(0, u64::MAX), Some(10_000));
        assert_eq!((tree.first_unsaturated(0, 10_000), tree.first_unsaturated(0, 10_001)), (None, Some(10_000)));
        tree.update(4711, |cell| cell.0 = 0);
        assert_eq!(tree.first_unsaturated(0, u64::MAX), Some(4711));
        assert_eq!(tree.first_unsaturated(4712, u64::MAX), Some(10_000));
    }
}
