//! Walking over the sub-pages of a table that are live.

use std::fmt;
use std::iter::FusedIterator;

use crate::error::Result;
use crate::format::{Record, SlotBits, TableRoot};
use crate::ids::SubPageId;

use super::pages::{ReadPages, corrupt};
use super::tree::Table;

/// The live sub-pages of a table in ascending order of their ids: made by
/// [`SubPageTableView::iter_allocated`](crate::SubPageTableView::iter_allocated).
///
/// Where a page of the table is not what it has to be, that is the last item, an error.
#[derive(Clone)]
pub struct SubPageTableIter<'a, const P: usize, const S: usize> {
    pages: &'a dyn ReadPages,
    table: Table,
    root: TableRoot,
    /// The node that was looked up last: which one, where, and what it holds.
    node: Option<(u64, u64, &'a [u8])>,
    number: u64,
    slot: u64,
}

impl<'a, const P: usize, const S: usize> SubPageTableIter<'a, P, S> {
    pub(super) fn new(pages: &'a dyn ReadPages, table: Table, root: TableRoot) -> Self {
        SubPageTableIter { pages, table, root, node: None, number: 0, slot: 0 }
    }

    /// The next live slot, if there is one.
    fn step(&mut self) -> Result<Option<u64>> {
        let shape = self.table.shape;
        while self.number < self.root.numbers {
            let (of, at) = (self.number / shape.records(), self.number % shape.records());
            let (index, page) = match self.node {
                Some((known, index, page)) if known == of => (index, page),
                _ => self.table.node(self.pages, &self.root, of)?,
            };
            self.node = Some((of, index, page));
            let record = Record::decode(shape, page, at, self.root.numbers);
            let record = record.map_err(|defect| corrupt(self.pages, index, defect))?;
            let is_parent = record.page != 0 && self.slot < shape.slots();
            let live = if is_parent { SlotBits::next_live(shape, page, at, self.slot) } else { None };
            if let Some(slot) = live {
                self.slot = slot + 1;
                return Ok(Some(self.table.id_of(self.number, slot)));
            }
            (self.number, self.slot) = (self.number + 1, 0);
        }
        Ok(None)
    }
}

impl<const P: usize, const S: usize> Iterator for SubPageTableIter<'_, P, S> {
    type Item = Result<SubPageId<P, S>>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.step();
        if found.is_err() {
            self.number = self.root.numbers;
        }
        found.map(|id| id.and_then(SubPageId::from_u64)).transpose()
    }
}

impl<const P: usize, const S: usize> FusedIterator for SubPageTableIter<'_, P, S> {}

impl<const P: usize, const S: usize> fmt::Debug for SubPageTableIter<'_, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubPageTableIter").field("table", &self.table.id).finish_non_exhaustive()
    }
}
