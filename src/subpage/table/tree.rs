//! A table in its pages: where the record of each parent stands, and how the nodes grow.
//!
//! I7: whatever the pages hold, a walk goes down as many levels as the root says, and a page counts at the one place that it
//! carries.

use crate::error::{Error, Result};
use crate::format::{Defect, NodeHead, Record, SlotBits, SlotShape, TableRoot};

use super::pages::{ChangePages, ReadPages, corrupt, named_page};

/// A table, with both sizes as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) shape: SlotShape,
    /// The raw id: one more than the index of the root.
    pub(super) id: u64,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The node, by its index in the directory.
    pub(super) node: u64,
    /// The place in the node.
    pub(super) at: u64,
}

/// A parent that was looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) place: Place,
    pub(super) record: Record,
}

/// The root, or a branch or node, by its index in the directory.
#[derive(Clone, Copy)]
enum Above {
    Root(u64),
    Branch(u64),
}

impl Above {
    fn index(self) -> u64 {
        let (Above::Root(index) | Above::Branch(index)) = self;
        index
    }

    fn entry(self, shape: SlotShape, page: &[u8], at: u64) -> Option<u64> {
        match self {
            Above::Root(_) => TableRoot::entry(shape, page, at),
            Above::Branch(_) => NodeHead::entry(shape, page, at),
        }
    }

    fn put_entry(self, shape: SlotShape, page: &mut [u8], at: u64, index: u64) {
        match self {
            Above::Root(_) => TableRoot::put_entry(shape, page, at, index),
            Above::Branch(_) => NodeHead::put_entry(shape, page, at, index),
        }
    }
}

impl Table {
    pub(super) fn root_index(&self) -> u64 {
        self.id - 1
    }

    /// Makes a table without sub-pages in a page of its own.
    pub(super) fn create(shape: SlotShape, pages: &mut dyn ChangePages) -> Result<Table> {
        let index = pages.alloc()?;
        let table = Table { shape, id: index + 1 };
        TableRoot::empty(table.id).encode(shape, pages.page_mut(index)?);
        Ok(table)
    }

    /// The head of the table, if there is a table with this id and size.
    pub(super) fn root(&self, pages: &dyn ReadPages) -> Result<TableRoot> {
        let page = pages.page(self.root_index())?;
        let expected = self.shape.place(0).len() as u64;
        match TableRoot::sub_len(page, self.id) {
            None => Err(Error::NoSuchTable { id: self.id }),
            Some(found) if found != expected => Err(Error::SubPageSize { expected, found }),
            Some(_) => {
                let root = TableRoot::decode(self.shape, page, self.id);
                root.map_err(|defect| corrupt(pages, self.root_index(), defect))
            }
        }
    }

    /// How many pages of a level a table with so many numbers has.
    pub(super) fn pages_of_level(&self, root: &TableRoot, level: u32) -> u64 {
        root.numbers.div_ceil(self.shape.records()).div_ceil(self.shape.span(level))
    }

    fn head(&self, level: u32, index: u64) -> NodeHead {
        NodeHead { table: self.id, level, index }
    }

    /// The page that an entry of another one names, which has to be this one.
    fn child<'a>(
        &self,
        pages: &'a dyn ReadPages,
        by: u64,
        entry: Option<u64>,
        head: NodeHead,
    ) -> Result<(u64, &'a [u8])> {
        let missing = Defect { field: "entry", expected: 1, found: 0 };
        let index = entry.ok_or_else(|| corrupt(pages, by, missing))?;
        let page = named_page(pages, by, index)?;
        head.check(page).map_err(|defect| corrupt(pages, index, defect))?;
        Ok((index, page))
    }

    /// The node that has the records of some numbers, all of them below the numbers of the root.
    pub(super) fn node<'a>(&self, pages: &'a dyn ReadPages, root: &TableRoot, node: u64) -> Result<(u64, &'a [u8])> {
        let (shape, mut by, mut level) = (self.shape, self.root_index(), root.height);
        let mut entry = TableRoot::entry(shape, pages.page(by)?, node / shape.span(level));
        loop {
            let (index, page) = self.child(pages, by, entry, self.head(level, node / shape.span(level)))?;
            if level == 0 {
                return Ok((index, page));
            }
            level -= 1;
            entry = NodeHead::entry(shape, page, node / shape.span(level) % shape.fanout());
            by = index;
        }
    }

    /// The record of a number below the numbers of the root, and the node that it is in.
    pub(super) fn find<'a>(
        &self,
        pages: &'a dyn ReadPages,
        root: &TableRoot,
        number: u64,
    ) -> Result<(Found, &'a [u8])> {
        let (node, at) = (number / self.shape.records(), number % self.shape.records());
        let (index, page) = self.node(pages, root, node)?;
        let record = Record::decode(self.shape, page, at, root.numbers);
        let record = record.map_err(|defect| corrupt(pages, index, defect))?;
        Ok((Found { number, place: Place { node: index, at }, record }, page))
    }

    /// The parent of a sub-page that is live, and its slot.
    pub(super) fn find_live(&self, pages: &dyn ReadPages, root: &TableRoot, id: u64) -> Result<(Found, u64)> {
        let (page, slot) = (id / self.shape.slots(), id % self.shape.slots());
        let no_such = Error::NoSuchSubPage { id, page, slot };
        let Some(number) = page.checked_sub(1).filter(|number| *number < root.numbers) else { return Err(no_such) };
        let (found, node) = self.find(pages, root, number)?;
        if found.record.page == 0 || !SlotBits::get(self.shape, node, found.place.at, slot) {
            return Err(no_such);
        }
        Ok((found, slot))
    }

    /// What [`find_live`](Self::find_live) takes apart.
    pub(super) fn id_of(&self, number: u64, slot: u64) -> u64 {
        (number + 1) * self.shape.slots() + slot
    }

    /// The bytes of a sub-page.
    pub(super) fn content<'a>(&self, pages: &'a dyn ReadPages, root: &TableRoot, id: u64) -> Result<&'a [u8]> {
        let (found, slot) = self.find_live(pages, root, id)?;
        let page = named_page(pages, found.place.node, found.record.page - 1)?;
        Ok(&page[self.shape.place(slot)])
    }

    /// Makes the node that the next number needs, and the branches above it.
    pub(super) fn add_node(&self, pages: &mut dyn ChangePages, root: &mut TableRoot, node: u64) -> Result<()> {
        let shape = self.shape;
        if node >= shape.nodes_below(root.height) {
            self.raise(pages, root)?;
        }
        let (mut above, mut level) = (Above::Root(self.root_index()), root.height);
        let mut at = node / shape.span(level);
        loop {
            let entry = above.entry(shape, pages.page(above.index())?, at);
            let head = self.head(level, node / shape.span(level));
            let index = if entry.is_some() {
                self.child(pages.as_read(), above.index(), entry, head)?.0
            } else {
                let index = pages.alloc()?;
                head.encode(pages.page_mut(index)?);
                above.put_entry(shape, pages.page_mut(above.index())?, at, index);
                index
            };
            if level == 0 {
                return Ok(());
            }
            level -= 1;
            at = node / shape.span(level) % shape.fanout();
            above = Above::Branch(index);
        }
    }

    /// Puts a branch between the root and what it names.
    fn raise(&self, pages: &mut dyn ChangePages, root: &mut TableRoot) -> Result<()> {
        let index = pages.alloc()?;
        let page = pages.page_mut(self.root_index())?;
        let entries = TableRoot::take_entries(page);
        TableRoot::put_entry(self.shape, page, 0, index);
        let branch = pages.page_mut(index)?;
        root.height += 1;
        self.head(root.height, 0).encode(branch);
        NodeHead::put_entries(branch, &entries);
        Ok(())
    }

    /// Every page of the table by its index: the root, branches and nodes, and apart from them the parents.
    pub(super) fn owned_pages(&self, pages: &dyn ReadPages, root: &TableRoot) -> Result<(Vec<u64>, Vec<u64>)> {
        let shape = self.shape;
        let (mut all, mut parents) = (vec![self.root_index()], Vec::new());
        let mut above = vec![Above::Root(self.root_index())];
        for level in (0..=root.height).rev() {
            let mut of_level = Vec::new();
            for index in 0..self.pages_of_level(root, level) {
                let (by, at) = if level == root.height {
                    (above[0], index)
                } else {
                    // There are as many pages above as these need.
                    let by = usize::try_from(index / shape.fanout()).ok().and_then(|by| above.get(by).copied());
                    (by.expect("each level has the pages that the one below needs"), index % shape.fanout())
                };
                let entry = by.entry(shape, pages.page(by.index())?, at);
                of_level.push(Above::Branch(self.child(pages, by.index(), entry, self.head(level, index))?.0));
            }
            all.extend(of_level.iter().map(|page| page.index()));
            above = of_level;
        }
        for number in 0..root.numbers {
            let (found, _) = self.find(pages, root, number)?;
            parents.extend(found.record.page.checked_sub(1));
        }
        Ok((all, parents))
    }
}
