//! The bytes of a B+tree node: a sorted list of cells in a protected page.
//!
//! A leaf holds keys and values. A branch holds keys and children: what is below the leftmost child is less than the first
//! key, and what is below the child of a cell is not less than the key of that cell.
//!
//! | offset      | size      | field                                                                  |
//! |------------:|----------:|------------------------------------------------------------------------|
//! |           0 |         2 | kind: 1 a leaf, 2 a branch                                             |
//! |           2 |         2 | count of cells                                                         |
//! |           4 |         4 | zeros                                                                  |
//! |           8 |         8 | leftmost child; zero in a leaf                                         |
//! |          16 |           | cells: key length (2), value length (2), key, value, one after another |
//! | 4096 - 2 *i* |        2 | offset of cell *i*, counted from 1                                     |
//!
//! A node is never edited: a change writes all cells anew, into one page or into two. That costs a microsecond and leaves no
//! holes. Nothing that is read is trusted: every length and every offset is checked where it is used.

use crate::error::{Error, Result};
use crate::pages::{NodeId, PAGE_LEN};

const COUNT: usize = 2;
const LEFTMOST: usize = 8;
const CELLS: usize = 16;
const CELL_HEAD_LEN: usize = 4;
const OFFSET_LEN: usize = 2;

const LEAF: u16 = 1;
const BRANCH: u16 = 2;

/// Bytes that cells and their offsets can take.
const ROOM: usize = PAGE_LEN - CELLS;

/// The most bytes of a key and its value. With four cells to a page, two pages always have room for one page and a cell.
pub(crate) const MAX_CELL_LEN: usize = ROOM / 4 - CELL_HEAD_LEN - OFFSET_LEN;

/// A key and its value; in a branch, a key and its child.
pub(crate) type Cell<'a> = (&'a [u8], &'a [u8]);

fn size_of((key, value): Cell<'_>) -> usize {
    CELL_HEAD_LEN + key.len() + value.len() + OFFSET_LEN
}

/// A node as it stands in a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a> {
    id: NodeId,
    bytes: &'a [u8],
    is_leaf: bool,
    count: usize,
}

impl<'a> Node<'a> {
    pub(crate) fn new(id: NodeId, bytes: &'a [u8]) -> Result<Self> {
        let mut node = Node { id, bytes, is_leaf: false, count: 0 };
        node.is_leaf = match node.u16_at(0, "kind")? {
            LEAF => true,
            BRANCH => false,
            _ => return Err(node.wrong("kind")),
        };
        node.count = node.u16_at(COUNT, "count")?;
        Ok(node)
    }

    pub(crate) fn is_leaf(&self) -> bool {
        self.is_leaf
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn wrong(&self, field: &'static str) -> Error {
        Error::Node { node: self.id.to_u64(), field }
    }

    fn slice(&self, start: usize, len: usize, field: &'static str) -> Result<&'a [u8]> {
        self.bytes.get(start..).and_then(|rest| rest.get(..len)).ok_or_else(|| self.wrong(field))
    }

    fn u16_at<T: From<u16>>(&self, at: usize, field: &'static str) -> Result<T> {
        let bytes = self.slice(at, 2, field)?;
        bytes.try_into().map(|bytes| T::from(u16::from_le_bytes(bytes))).map_err(|_| self.wrong(field))
    }

    /// The cell at `index`, counted from 0.
    pub(crate) fn cell(&self, index: usize) -> Result<Cell<'a>> {
        let at = PAGE_LEN.checked_sub(OFFSET_LEN * (index + 1)).ok_or_else(|| self.wrong("count"))?;
        let start: usize = self.u16_at(at, "cell offset")?;
        let key_len = self.u16_at(start, "key length")?;
        let value_len = self.u16_at(start + 2, "value length")?;
        let key = self.slice(start + CELL_HEAD_LEN, key_len, "key")?;
        let value = self.slice(start + CELL_HEAD_LEN + key_len, value_len, "value")?;
        Ok((key, value))
    }

    /// Where `key` is, or where it would be.
    pub(crate) fn find(&self, key: &[u8]) -> Result<Result<usize, usize>> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            match self.cell(middle)?.0.cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(Ok(middle)),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(Err(low))
    }

    /// The children of a branch are counted from 0, the leftmost.
    pub(crate) fn child(&self, index: usize) -> Result<NodeId> {
        let bytes = match index.checked_sub(1) {
            None => self.slice(LEFTMOST, 8, "leftmost child")?,
            Some(cell) => self.cell(cell)?.1,
        };
        let raw = bytes.try_into().map(u64::from_le_bytes).unwrap_or(0);
        NodeId::from_u64(raw).ok_or_else(|| self.wrong("child"))
    }

    /// The child of a branch below which `key` is, if it is anywhere.
    pub(crate) fn child_for(&self, key: &[u8]) -> Result<usize> {
        Ok(match self.find(key)? {
            Ok(cell) => cell + 1,
            Err(cell) => cell,
        })
    }

    /// The node with one cell more, or with another value in the cell that `key` has.
    pub(crate) fn with(&self, key: &[u8], value: &[u8]) -> Result<Rebuilt> {
        let mut cells = Vec::with_capacity(self.count + 1);
        for index in 0..self.count {
            cells.push(self.cell(index)?);
        }
        match self.find(key)? {
            Ok(index) => cells[index] = (key, value),
            Err(index) => cells.insert(index, (key, value)),
        }
        let leftmost = if self.is_leaf { None } else { Some(self.child(0)?) };
        let size: usize = cells.iter().copied().map(size_of).sum();
        if size <= ROOM {
            return Ok(Rebuilt { left: NodeImage::of(leftmost, &cells), split: None });
        }

        let mut left_size = 0;
        let middle = cells.iter().position(|cell| {
            let is_half = left_size >= size / 2;
            left_size += size_of(*cell);
            is_half
        });
        let Some((left, right @ [first, ..])) = middle.map(|middle| cells.split_at(middle)) else {
            return Err(self.wrong("length of a cell"));
        };
        if size_sum(left) > ROOM || size_sum(right) > ROOM {
            return Err(self.wrong("length of a cell"));
        }
        let separator = first.0.to_vec();
        let right = if self.is_leaf {
            NodeImage::of(None, right)
        } else {
            // The middle key moves up, and its child begins the right branch.
            NodeImage::of(Some(self.child_of(first)?), &right[1..])
        };
        Ok(Rebuilt { left: NodeImage::of(leftmost, left), split: Some(Split { separator, right }) })
    }

    fn child_of(&self, cell: &Cell<'_>) -> Result<NodeId> {
        let raw = cell.1.try_into().map(u64::from_le_bytes).unwrap_or(0);
        NodeId::from_u64(raw).ok_or_else(|| self.wrong("child"))
    }
}

fn size_sum(cells: &[Cell<'_>]) -> usize {
    cells.iter().copied().map(size_of).sum()
}

/// What a change makes of a node.
#[derive(Debug)]
pub(crate) struct Rebuilt {
    pub(crate) left: NodeImage,
    /// Where the cells did not fit into one page.
    pub(crate) split: Option<Split>,
}

/// The right half of a node, and the key that parts it from the left one.
#[derive(Debug)]
pub(crate) struct Split {
    pub(crate) separator: Vec<u8>,
    pub(crate) right: NodeImage,
}

/// The bytes of a new node.
#[derive(Debug)]
pub(crate) struct NodeImage(Box<[u8; PAGE_LEN]>);

impl NodeImage {
    pub(crate) fn empty_leaf() -> Self {
        Self::of(None, &[])
    }

    pub(crate) fn branch(leftmost: NodeId, separator: &[u8], right: NodeId) -> Self {
        Self::of(Some(leftmost), &[(separator, &right.to_u64().to_le_bytes())])
    }

    /// A branch with a leftmost child, or a leaf without. The caller has seen to it that the cells fit.
    fn of(leftmost: Option<NodeId>, cells: &[Cell<'_>]) -> Self {
        let mut bytes = Box::new([0; PAGE_LEN]);
        put_u16(&mut bytes, 0, if leftmost.is_some() { usize::from(BRANCH) } else { usize::from(LEAF) });
        put_u16(&mut bytes, COUNT, cells.len());
        bytes[LEFTMOST..CELLS].copy_from_slice(&leftmost.map_or(0, NodeId::to_u64).to_le_bytes());
        let mut at = CELLS;
        for (index, (key, value)) in cells.iter().enumerate() {
            put_u16(&mut bytes, PAGE_LEN - OFFSET_LEN * (index + 1), at);
            put_u16(&mut bytes, at, key.len());
            put_u16(&mut bytes, at + 2, value.len());
            at += CELL_HEAD_LEN;
            for part in [key, value] {
                bytes[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
        }
        NodeImage(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0[..]
    }
}

fn put_u16(bytes: &mut [u8; PAGE_LEN], at: usize, value: usize) {
    let value = u16::try_from(value).expect("offsets and lengths in a page of 4 KiB have 13 bits");
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}
