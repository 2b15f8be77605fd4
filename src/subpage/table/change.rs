//! Taking slots and giving them back: each in the root, one node, one parent, and at most two nodes of neighbours in a list.
//!
//! ```text
//!   with room  ──▶ 4 ◀──▶ 1 ◀──▶ 7        parents with a slot that is free, and one that is live
//!   vacant     ──▶ 2 ──▶ 5                 numbers without a parent
//! ```
//!
//! A parent leaves the list when its last free slot is taken, and comes to its head when the first is given back. With its
//! last live slot it goes back to the pager, and its number becomes vacant.

use crate::error::{Error, Result};
use crate::format::{Defect, MOST_NUMBERS, Record, SlotBits, TableRoot};

use super::pages::{ChangePages, ReadPages, corrupt, named_page, not_there, whole};
use super::tree::{Found, Place, Table};

impl Table {
    /// Hands out the lowest free slot of the first parent with room, or the first slot of a new one. It reads as zeros. After
    /// an error nothing has changed.
    pub(super) fn alloc(&self, pages: &mut dyn ChangePages) -> Result<u64> {
        let root = self.root(pages.as_read())?;
        let first = self.first_with_room(pages.as_read(), &root)?;
        match first {
            // The list stays as it is, so all that can fail comes before the first change.
            Some(found) if found.record.free > 1 => self.take(pages, root, first),
            _ => whole(pages, |pages| self.take(pages, root, first)),
        }
    }

    /// Hands out so many sub-pages, all of them or none.
    pub(super) fn alloc_bulk(&self, pages: &mut dyn ChangePages, count: usize, ids: &mut Vec<u64>) -> Result<()> {
        whole(pages, |pages| {
            for _ in 0..count {
                let root = self.root(pages.as_read())?;
                let first = self.first_with_room(pages.as_read(), &root)?;
                ids.push(self.take(pages, root, first)?);
            }
            Ok(())
        })
    }

    /// Takes a sub-page back. After an error nothing has changed.
    pub(super) fn free(&self, pages: &mut dyn ChangePages, id: u64) -> Result<()> {
        let root = self.root(pages.as_read())?;
        let (found, slot) = self.find_live(pages.as_read(), &root, id)?;
        if found.record.free > 0 && found.record.free + 1 < self.shape.slots() {
            // The list stays as it is.
            return self.give_back(pages, root, found, slot);
        }
        whole(pages, |pages| self.give_back(pages, root, found, slot))
    }

    /// Takes sub-pages back, all of them or none.
    pub(super) fn free_bulk(&self, pages: &mut dyn ChangePages, ids: &[u64]) -> Result<()> {
        whole(pages, |pages| {
            for id in ids {
                let root = self.root(pages.as_read())?;
                let (found, slot) = self.find_live(pages.as_read(), &root, *id)?;
                self.give_back(pages, root, found, slot)?;
            }
            Ok(())
        })
    }

    /// Gives all pages of the table back.
    pub(super) fn destroy(&self, pages: &mut dyn ChangePages) -> Result<()> {
        let root = self.root(pages.as_read())?;
        let (own, parents) = self.owned_pages(pages.as_read(), &root)?;
        whole(pages, |pages| {
            // The root comes first, and after it there is no page to look at for where an error is.
            parents.iter().chain(own.iter().rev()).try_for_each(|index| {
                let freed = pages.free(*index);
                freed.map_err(|error| not_there(pages.as_read(), self.root_index(), error))
            })
        })
    }

    /// Slots that are free in parents that there are.
    pub(super) fn room(&self, root: &TableRoot) -> u64 {
        (root.parents * self.shape.slots()).saturating_sub(root.live)
    }

    fn first_with_room(&self, pages: &dyn ReadPages, root: &TableRoot) -> Result<Option<Found>> {
        let Some(number) = root.with_room.checked_sub(1) else { return Ok(None) };
        let (found, _) = self.find(pages, root, number)?;
        let Record { free, previous, .. } = found.record;
        if !found.record.has_room() || previous != 0 {
            let (field, expected) = if free == 0 { ("free", 1) } else { ("previous", 0) };
            let defect = Defect { field, expected, found: if free == 0 { 0 } else { previous } };
            return Err(corrupt(pages, found.place.node, defect));
        }
        Ok(Some(found))
    }

    /// Takes a slot of the first parent with room, a new one if there is none.
    fn take(&self, pages: &mut dyn ChangePages, mut root: TableRoot, first: Option<Found>) -> Result<u64> {
        let shape = self.shape;
        let found = match first {
            Some(found) => found,
            None => self.add_parent(pages, &mut root)?,
        };
        let Found { number, place, mut record } = found;
        let slot = if first.is_some() {
            let node = pages.page(place.node)?;
            let missing = Defect { field: "free", expected: 0, found: record.free };
            let slot = SlotBits::first_free(shape, node, place.at, record.hint);
            slot.ok_or_else(|| corrupt(pages.as_read(), place.node, missing))?
        } else {
            0
        };
        self.clear(pages, &record, place, slot)?;
        record.free -= 1;
        record.hint = SlotBits::word_of(slot);
        root.live += 1;
        if record.free == 0 {
            self.unlink(pages, &mut root, number, &mut record)?;
        }
        self.write(pages, &root, place, &record, |node| SlotBits::set(shape, node, place.at, slot, true))?;
        Ok(self.id_of(number, slot))
    }

    /// Makes a slot that somebody had before read as zeros.
    fn clear(&self, pages: &mut dyn ChangePages, record: &Record, place: Place, slot: u64) -> Result<()> {
        let (parent, slot) = (record.page - 1, self.shape.place(slot));
        let bytes = &named_page(pages.as_read(), place.node, parent)?[slot.clone()];
        if bytes.iter().any(|byte| *byte != 0) {
            pages.page_mut(parent)?[slot].fill(0);
        }
        Ok(())
    }

    /// Gives a number a parent, which becomes the only one with room. Its record is not written yet.
    fn add_parent(&self, pages: &mut dyn ChangePages, root: &mut TableRoot) -> Result<Found> {
        let shape = self.shape;
        let number = if let Some(number) = root.vacant.checked_sub(1) {
            number
        } else {
            if root.numbers >= MOST_NUMBERS {
                let defect = Defect { field: "numbers", expected: MOST_NUMBERS - 1, found: root.numbers };
                return Err(corrupt(pages.as_read(), self.root_index(), defect));
            }
            if root.numbers.is_multiple_of(shape.records()) {
                self.add_node(pages, root, root.numbers / shape.records())?;
            }
            root.numbers += 1;
            root.numbers - 1
        };
        let (Found { place, record, .. }, _) = self.find(pages.as_read(), root, number)?;
        if record.page != 0 {
            let defect = Defect { field: "page", expected: 0, found: record.page };
            return Err(corrupt(pages.as_read(), place.node, defect));
        }
        if root.vacant != 0 {
            root.vacant = record.next;
        }
        let page = pages.alloc()? + 1;
        SlotBits::clear(shape, pages.page_mut(place.node)?, place.at);
        root.parents += 1;
        root.with_room = number + 1;
        Ok(Found { number, place, record: Record { page, free: shape.slots(), ..Record::vacant(0) } })
    }

    /// Gives a slot back, and with the last one the parent.
    fn give_back(&self, pages: &mut dyn ChangePages, mut root: TableRoot, found: Found, slot: u64) -> Result<()> {
        let (shape, Found { number, place, mut record }) = (self.shape, found);
        // A table that has this one has a live one, and a parent.
        let less = |field: &'static str, count: u64| {
            let defect = Defect { field, expected: 1, found: count };
            count.checked_sub(1).ok_or(defect)
        };
        let counted = less("live", root.live).and_then(|live| Ok((live, less("parents", root.parents)?)));
        let (live, parents) = counted.map_err(|defect| corrupt(pages.as_read(), self.root_index(), defect))?;
        root.live = live;
        if record.free + 1 == shape.slots() {
            if record.free > 0 {
                self.unlink(pages, &mut root, number, &mut record)?;
            }
            let freed = pages.free(record.page - 1);
            freed.map_err(|error| not_there(pages.as_read(), place.node, error))?;
            record = Record::vacant(root.vacant);
            root.vacant = number + 1;
            root.parents = parents;
        } else {
            if record.free == 0 {
                self.link(pages, &mut root, number, &mut record)?;
            }
            record.free += 1;
            record.hint = record.hint.min(SlotBits::word_of(slot));
        }
        self.write(pages, &root, place, &record, |node| SlotBits::set(shape, node, place.at, slot, false))
    }

    /// Puts a parent at the head of the list of those with room.
    fn link(&self, pages: &mut dyn ChangePages, root: &mut TableRoot, number: u64, record: &mut Record) -> Result<()> {
        if root.with_room != 0 {
            self.change_neighbour(pages, root, root.with_room - 1, |next| {
                let expected = std::mem::replace(&mut next.previous, number + 1);
                (expected == 0, "previous", 0, expected)
            })?;
        }
        (record.next, record.previous) = (root.with_room, 0);
        root.with_room = number + 1;
        Ok(())
    }

    /// Takes a parent out of the list of those with room.
    fn unlink(
        &self,
        pages: &mut dyn ChangePages,
        root: &mut TableRoot,
        number: u64,
        record: &mut Record,
    ) -> Result<()> {
        let (name, Record { next, previous, .. }) = (number + 1, *record);
        match previous.checked_sub(1) {
            Some(previous) => self.change_neighbour(pages, root, previous, |record| {
                let found = std::mem::replace(&mut record.next, next);
                (found == name, "next", name, found)
            })?,
            None if root.with_room == name => root.with_room = next,
            None => {
                let defect = Defect { field: "with room", expected: name, found: root.with_room };
                return Err(corrupt(pages.as_read(), self.root_index(), defect));
            }
        }
        if let Some(next) = next.checked_sub(1) {
            self.change_neighbour(pages, root, next, |record| {
                let found = std::mem::replace(&mut record.previous, previous);
                (found == name, "previous", name, found)
            })?;
        }
        (record.next, record.previous) = (0, 0);
        Ok(())
    }

    /// Changes the record of a neighbour in the list, if that agrees: whether, and which field, what it should and does say.
    fn change_neighbour(
        &self,
        pages: &mut dyn ChangePages,
        root: &TableRoot,
        number: u64,
        change: impl FnOnce(&mut Record) -> (bool, &'static str, u64, u64),
    ) -> Result<()> {
        let (Found { place, mut record, .. }, _) = self.find(pages.as_read(), root, number)?;
        let (agrees, field, expected, found) = change(&mut record);
        if !agrees || !record.has_room() {
            return Err(corrupt(pages.as_read(), place.node, Defect { field, expected, found }));
        }
        record.encode(self.shape, pages.page_mut(place.node)?, place.at);
        Ok(())
    }

    /// Writes the record, its bit, and the root. All that can fail comes before the first change.
    fn write(
        &self,
        pages: &mut dyn ChangePages,
        root: &TableRoot,
        place: Place,
        record: &Record,
        change: impl FnOnce(&mut [u8]),
    ) -> Result<(), Error> {
        root.check(self.shape).map_err(|defect| corrupt(pages.as_read(), self.root_index(), defect))?;
        pages.page_mut(self.root_index())?;
        let node = pages.page_mut(place.node)?;
        record.encode(self.shape, node, place.at);
        change(node);
        root.encode(self.shape, pages.page_mut(self.root_index())?);
        Ok(())
    }
}
